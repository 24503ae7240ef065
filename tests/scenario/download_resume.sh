#!/bin/sh
# The copy of a large disk is killed in the middle: the next download goes on
# at the last durable pack, from the same snapshot, without another stop.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 2500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
requires jq mkfs.xfs
requires_root
requires_faults

fs=$work/fs
mkdir "$fs"
truncate -s 2G "$work/fs.img"
mkfs.xfs -q -m reflink=1 "$work/fs.img" 2>/dev/null &&
	mount -o loop "$work/fs.img" "$fs" 2>/dev/null || {
	echo 'skip  cannot mount a file system with reflinks'
	exit 77
}
trap 'unmount "$fs"; clear_work' EXIT

make_fleet "$fs/f" 1
cd "$fs/f"
sed -i '/kind: tree/d' machines/m1/machine.yaml
rm -r machines/m1/data
pack=$((47 * 1024 * 1024)) # a little less than a pack holds
size=$((240 * 1024 * 1024))

packs() {
	find repo/packs -type f 2>/dev/null | wc -l
}

stops() {
	grep -q '^State:.T' "/proc/$run/status"
}
hangs() { # <packs>: when they are durable and noted down
	[ "$(cat state/runs/*/journal 2>/dev/null | grep -c ' checkpoint ')" -ge "$1" ]
}

# interrupt_at <signal> <packs> <how>: a first copy that ends at so many packs,
# before which it stops as a whole, or hangs with one thread.
interrupt_at() {
	rm -rf repo state
	head -c $size /dev/urandom >machines/m1/disk.img
	: >machines/m1/effects
	expect 0 "$fb" -c "$conf" init
	# The session, then the packs: the next one is not stored.
	FLEETBAK_FAULT=store.$(($2 + 2)):$3 "$fb" -c "$conf" download \
		>"$work/stdout" 2>"$work/stderr" &
	run=$!
	until_true "no $2 packs" "$3s" "$2"
	[ "$(packs)" -eq "$2" ] || fail "$(packs) packs instead of $2"
	kill -"$1" $run
	kill -CONT $run 2>/dev/null || :
	wait $run 2>/dev/null && fail "it was over too soon" || true
}

# goes_on <what> <most bytes>
goes_on() {
	expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
	jq -e --argjson most "$2" '.resumed and
		.machines[0].result == "ok" and .read_bytes <= $most' \
		"$work/stdout" >/dev/null || fail "$1: $(cat "$work/stdout")"
	[ "$(grep -c stop machines/m1/effects)" -eq 1 ] ||
		fail "$1: stopped more than once"
	[ -e machines/m1/up ] || fail "$1: it is down"
	expect 0 "$fb" -c "$conf" verify --full
	expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
	cmp machines/m1/disk.img "$work/out/m1/root.img" ||
		fail "$1: another disk"
	rm -r "$work/out"
	[ -z "$(find machines -path '*/.fleetbak/*')" ] ||
		fail "$1: a snapshot was left"
	[ -z "$(ls state/runs)" ] || fail "$1: the run was left"
}

for count in 2 4; do
	interrupt_at KILL $count hang
	goes_on "killed" $((size - count * pack))
	ok "killed at $count packs, it goes on at the last durable one"
done

interrupt_at TERM 2 stop
goes_on "interrupted" $((size - 2 * pack))
ok "interrupted, it goes on where it was"
