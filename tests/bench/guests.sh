#!/bin/sh
# Three guests with two disks each, under write load, night after night: how long
# each is down, what is read and stored, and how that compares with nbdcopy,
# which reads and does nothing else, and with virtnbdbackup.
#
#	guests.sh FLEETBAK TOOLS    (`make bench-guests` builds and calls it)
#
# guests.md says what is measured and how to read it.  Settings:
#
# GUESTS_SIZE=1G     size of each guest's data disk (M or G)
# GUESTS_NIGHTS=20   nights after the first
# GUESTS_MORE=""     more of the source's configuration, as in a flow map
# GUESTS_DIR=DIR     where to work; else /dev/shm
# VIRTNBDBACKUP=DIR  its source tree, to be measured too
# GUESTS_OUT=FILE    rows as JSON lines; else build/bench/guests.jsonl
#
# shellcheck disable=SC2086,SC2154 # $names is words; servers.sh and lib.sh have
# the other half
set -eu

fleetbak=$(realpath "$1") tools=$(realpath "$2")
out=$(realpath -m "${GUESTS_OUT:-build/bench/guests.jsonl}")
here=$(cd "$(dirname "$0")" && pwd -P)
TMPDIR=${GUESTS_DIR:-/dev/shm}
FB_BIN=$(dirname "$fleetbak")
export TMPDIR FB_BIN
. "$(dirname "$0")/../scenario/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

nights=${GUESTS_NIGHTS:-20} size=${GUESTS_SIZE:-1G}
case $nights in
'' | *[!0-9]*) fail "'$nights' is not a number" ;;
esac
case $size in
*G) mib=$((${size%G} * 1024)) ;;
*M) mib=${size%M} ;;
*) fail "GUESTS_SIZE: write 512M or 1G" ;;
esac
mkdir -p "$(dirname "$out")"
: >"$out"
names='one two three'

start_libvirtd
guests=$libvirt_dir/guests
mkdir -p "$guests"
"$tools/mkfleet" images --out "$work/images" --machines 3 --size "${mib}M" \
	>/dev/null 2>&1 || fail "no images"
i=0
for image in "$work/images"/*; do
	i=$((i + 1))
	name=$(echo "$names" | cut -d' ' -f$i)
	qemu-img convert -q -O qcow2 "$image" "$guests/$name-b.qcow2"
done
rm -r "$work/images"
for name in $names; do
	make_guest "$name" fb.writer=16
done
boot_guest $names
libvirt_fleet "$work/f" "scratch: $work/s${GUESTS_MORE:+, $GUESTS_MORE}"
cd "$work/f"
expect 0 "$fb" -c "$conf" init

# timed COMMAND...: wall clock, processor seconds and peak in $cost
timed() {
	rm -f "$work/cost"
	"$tools/measure" "$work/cost" "$@" </dev/null \
		>"$work/stdout" 2>"$work/stderr" ||
		fail "it failed: $*: $(tail -n 5 "$work/stderr")"
	read -r wall cpu peak _ <"$work/cost"
}

# row TOOL OPERATION [key value]...: numbers
row() {
	row_tool=$1 row_op=$2
	shift 2
	jq -nc --arg tool "$row_tool" --arg op "$row_op" --argjson night "$night" \
		--argjson wall "$wall" --argjson cpu "$cpu" --argjson peak_kib "$peak" \
		'[$ARGS.positional | select(. != []) | _nwise(2) | {key: .[0], value: (.[1] | tonumber)}]
			as $more | $ARGS.named + ($more | from_entries)' \
		--args "$@" | tee -a "$out" >&2
}

# A hundredth of each data disk, in sixteen places.
change() {
	night_seed=$night
	for name in $names; do
		night_seed=$((night_seed + 100))
		head -c $((mib * 10486 / 16 / 4096 * 4096)) /dev/urandom >"$work/news"
		awk -v seed="$night_seed" -v mib="$mib" 'BEGIN { srand(seed)
			for (i = 0; i < 16; i++)
				print int((i + rand() * 0.9) * mib * 16) * 4096 }' |
			while read -r at; do
				guest_io "$name" 1 \
					"write -s $work/news $at $(stat -c %s "$work/news")"
			done
	done
}

# A guest that is still booting when the next night begins is no guest at night:
# its agent is not there, and nobody hears its button.
fleetbak_night() {
	for name in $names; do await_agent "$name"; done
	timed "$fleetbak" -c "$conf" download --json
	manifest=$(find repo/runs -name manifest.json | sort | tail -n 1)
	[ "$(jq '[.machines[] | select(.failure == null)] | length' "$manifest")" -eq 3 ] ||
		fail "a guest is missing: $(cat "$work/stdout")"
	# shellcheck disable=SC2046 # words
	row fleetbak "$1" $(jq -r '
		[.machines[].downtime_ms] as $down |
		[.machines[].volumes[] | select(.kind == "disk")] as $volumes |
		"down_ms_min", ($down | min), "down_ms_max", ($down | max),
		"read", ($volumes | map(.read_bytes) | add),
		"stored", ($volumes | map(.stored_bytes) | add)' "$manifest")
}

# The yardstick: every disk of a guest's, from a frozen point, to nowhere.
nbdcopy_night() {
	for name in $names; do
		cat >"$work/backup.xml" <<-END
			<domainbackup mode='pull'>
			<server transport='unix' socket='$work/$name.sock'/>
			<disks><disk name='sda' backup='no'/>
			<disk name='vda' backup='yes' type='file' exportname='vda'>
			<scratch file='$work/$name-a.scratch'/></disk>
			<disk name='vdb' backup='yes' type='file' exportname='vdb'>
			<scratch file='$work/$name-b.scratch'/></disk></disks>
			</domainbackup>
		END
		expect 0 vir backup-begin "$name" "$work/backup.xml"
	done
	# shellcheck disable=SC2016 # the shell's below
	timed sh -c 'work=$1; shift
		for name; do for disk in vda vdb; do
		nbdcopy "nbd+unix:///$disk?socket=$work/$name.sock" null: || exit 1
		done; done' sh "$work" $names
	for name in $names; do
		vir domjobabort "$name"
		await_guest "the job does not end" guest_idle "$name"
		rm -f "$work/$name.sock" "$work/$name"-?.scratch
	done
	row nbdcopy "$1"
}

virtnbdbackup_night() { # OPERATION LEVEL
	before=$(vnb_bytes)
	# shellcheck disable=SC2016 # the shell's below
	timed sh -c 'tree=$1 uri=$2 level=$3 work=$4; shift 4
		for name; do
		PYTHONPATH=$tree /usr/bin/python3 "$tree/virtnbdbackup" -U "$uri" -d "$name" \
			-l "$level" -o "$work/vnb/$name" -z --noprogress \
			--scratchdir "$work" -f "$work/$name.vnb" || exit 1
		done' sh "$VIRTNBDBACKUP" "$libvirt_uri" "$2" "$work" $names
	row virtnbdbackup "$1" stored \
		$(($(vnb_bytes) - before))
}
vnb_bytes() { # of disks
	find "$work/vnb" -name '*.data' -printf '%s\n' |
		awk '{ n += $1 } END { print n + 0 }'
}

night=0
mkdir -p "$work/vnb"
nbdcopy_night full

# To an empty repository of its own, without a stop: what reading gives.
libvirt_fleet "$work/live" "scratch: $work/s, capture: live, changes: none"
cd "$work/live"
expect 0 "$fb" -c "$conf" init
fleetbak_night live
cd "$work/f"
conf=$work/f/fleetbak.yaml
rm -r "$work/live"
fleetbak_night full
while [ "$night" -lt "$nights" ]; do
	night=$((night + 1))
	change
	fleetbak_night changed
done
nbdcopy_night full

# What the last night stored is what they have.
for name in $names; do
	guest_is "$name" running || fail "$name is $(guest_state "$name")"
	[ "$(guest_checkpoints "$name" | grep -c '^fb-')" -le 2 ] ||
		fail "checkpoints: $(guest_checkpoints "$name")"
done
timed "$fleetbak" -c "$conf" restore --run latest --all --target "$work/out" --yes
row fleetbak restore
for name in $names; do
	vir destroy "$name" >/dev/null
	raw_image "$guests/$name-b.qcow2"
	cmp "$raw_image" "$work/out/$(guest_uuid "$name")/vdb.img" ||
		fail "$name: not what it has"
	image_clean "$work/out/$(guest_uuid "$name")/vda.img"
	rm "$raw_image"
done

# The same nights of the same guests: it refuses one with another's checkpoints.
[ -z "${VIRTNBDBACKUP:-}" ] || {
	rm -rf "$work/out"
	boot_guest $names
	for name in $names; do
		for checkpoint in $(guest_checkpoints "$name"); do
			expect 0 vir checkpoint-delete "$name" "$checkpoint"
		done
	done
	night=0
	virtnbdbackup_night full full
	while [ "$night" -lt "$nights" ]; do
		night=$((night + 1))
		change
		virtnbdbackup_night changed inc
	done
}
du -sB1 repo/packs | cut -f1 >"$work/repo"
jq -rs --argjson mib "$mib" --argjson repo "$(cat "$work/repo")" \
	-f "$here/guests.jq" "$out"
