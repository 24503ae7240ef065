# shellcheck shell=sh
# What scenarios of changed blocks share, about the guest "one" with two images,
# vda and vdb, and a raw file, vdc; sourced after servers.sh.

# shellcheck disable=SC2034,SC2154 # the scenarios have the other half
slack=1300000 # what is read beside a change: the chunks at its ends
all=16000000

ours() { # its checkpoints that are ours
	guest_checkpoints one | grep '^fb-'
}
of_volume() { # <name>: what was read of it
	jq --arg name "$1" '.machines[0].volumes[] | select(.name == $name) |
		.read_bytes' "repo/runs/$run/manifest.json"
}
# look_at_run <name>: after a download --json, which left no file but one of this
# name.  Sets $run, $read and $read_raw.
look_at_run() {
	cp "$work/stderr" "$work/said"
	run=$(jq -r .run "$work/stdout")
	read=$(of_volume vdb)
	read_raw=$(of_volume vdc)
	[ -z "$(find "$work/s" -type s -o -type f ! -name "$1")" ] ||
		fail "left: $(find "$work/s")"
	[ "$(guest_checkpoints one | grep -vcx theirs)" -le 2 ] ||
		fail "checkpoints: $(guest_checkpoints one)"
}
warned() {
	grep -q 'read as a whole' "$work/said"
}
# read_between <what> <least> <most>: bytes of vdb.
read_between() {
	[ "$read" -ge "$2" ] && [ "$read" -le "$3" ] ||
		fail "$1: $read bytes were read of vdb: $(cat "$work/said")"
	ok "$1: $read bytes read"
}
checkpoint_of_others() {
	expect 0 vir checkpoint-create-as one theirs \
		--diskspec vda,checkpoint=bitmap --diskspec vdb,checkpoint=bitmap \
		--diskspec vdc,checkpoint=no --diskspec sda,checkpoint=no
}
