#!/bin/sh
# A download that reads nothing, because nothing changed since the run before,
# is cut off before each of its durable steps in turn; the next one commits the
# same volumes, still without reading them.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
cut_at=
steps=$work/steps
[ "$(run fleetbak download)" -eq 0 ] || fail "the first run"
first=$(find repo/runs -name manifest.json)
cp -a --reflink=auto "$dir" "$pristine"
keep_machines=yes
session=20270115-080000000-0000000b

volumes() { # <manifest>
	jq -S '[.machines[] | {id, failure, lifecycle,
		volumes: [.volumes[] | select(.kind != "definition") |
			{name, kind, size, root, change_token}]}]' "$1"
}
volumes "$first" >"$work/want"
[ "$(grep -c '"change_token": "file:' "$work/want")" -eq 4 ] ||
	fail "not four tokens: $(cat "$work/want")"

act() {
	run fleetbak download
}

mend() {
	id=$session
	if [ "$(find repo/commits -type f | wc -l)" -gt 1 ] && ended; then
		id=20270115-080000000-0000000c
	fi
	got=$(run FLEETBAK_SESSION="$id" fleetbak download)
	[ "$got" -eq 0 ] || fail "$what: the next run: exit $got"
}

judge() {
	judge_power
	outcome=unread
	find repo/runs -name manifest.json | sort | sed 1d >"$work/later"
	while read -r manifest; do
		volumes "$manifest" | diff "$work/want" - ||
			fail "$what: other volumes"
		# The end of an archive, and nothing of a disk.
		jq -e '[.machines[].volumes[] | select(.kind != "definition") |
			.read_bytes <= if .kind == "disk" then 0 else 1024 end] |
			all' "$manifest" >/dev/null || fail "$what: it was read"
	done <"$work/later"
	[ -s "$work/later" ] || fail "$what: no run"
	[ -z "$(ls state/runs)" ] || fail "$what: the run was not cleared away"
	judge_repository
}

survey
crash_loop kill 12
crash_loop torn 40 write
crash_loop lost 40
