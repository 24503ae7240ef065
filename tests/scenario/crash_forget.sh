#!/bin/sh
# Kill forget, its undoing, and prune before each of their durable steps in
# turn: what a kept run needs is there at every moment, and the next one ends
# with what an undisturbed one leaves.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
rm -r machines/snap machines/live machines/down
cut_at=

# Three runs, each with bytes of its own and some that all have.
day=86400
for n in 1 2 3; do
	echo "only in run $n" >machines/copy/data/hello.txt
	printf 'run %s' $n | dd of=machines/copy/disk.img bs=1 \
		seek=200000 conv=notrunc status=none
	got=$(run FLEETBAK_CLOCK=$((clock + n * day)) \
		FLEETBAK_SESSION=2027011${n}-080000000-0000000$n \
		fleetbak download)
	[ "$got" -eq 0 ] || fail "run $n: exit $got"
done
gone=20270112-080000000-00000002
clock=$((clock + 4 * day))
cp -a --reflink=auto "$dir" "$pristine"

objects() {
	(cd repo && find packs recipes runs commits forgets -type f \
		! -name '*.sig' 2>/dev/null | sort)
}

judge_kept() { # the other two, at any moment
	for n in 1 3; do
		got=$(run FLEETBAK_SESSION=2027012${n}-080000000-0000000$n \
			fleetbak verify --full 2027011${n}-080000000-0000000$n)
		[ "$got" -eq 0 ] || fail "$what: run $n is damaged: exit $got"
	done
}

judge() {
	objects >"$work/got"
	cmp -s "$work/want" "$work/got" || {
		diff "$work/want" "$work/got"
		fail "$what: other objects than undisturbed"
	}
	judge_kept
}

# Given up, and brought back.
act() { run fleetbak forget --yes $gone; }
mend() {
	judge_kept
	got=$(run FLEETBAK_SESSION=20270121-080000000-00000001 \
		fleetbak forget --yes $gone)
	[ "$got" -eq 0 ] || fail "$what: the next forget: exit $got"
	outcome=forgotten
}
survey
objects >"$work/want"
crash_loop kill 1
crash_loop lost 3

cd "$base"
retry rm -rf "$pristine"
mv "$dir" "$pristine"
act() { run fleetbak forget --undo $gone; }
mend() {
	judge_kept
	got=$(run FLEETBAK_SESSION=20270121-080000000-00000001 \
		fleetbak forget --undo $gone)
	[ "$got" -eq 0 ] || fail "$what: the next undo: exit $got"
	outcome=undone
}
survey
objects >"$work/want"
crash_loop kill 1
crash_loop lost 3

# Given up for good, when its grace is over.
clock=$((clock + 60 * day))
act() { run fleetbak prune --yes; }
mend() {
	judge_kept
	# The dead one's session is open: it is fenced off when it is old.
	got=$(run FLEETBAK_SESSION=20270121-080000000-00000001 \
		FLEETBAK_CLOCK=$((clock + 30 * day)) fleetbak prune --yes)
	[ "$got" -eq 0 ] || [ "$got" -eq 11 ] ||
		fail "$what: the next prune: exit $got"
	if [ "$got" -eq 11 ]; then
		judge_kept
		got=$(run FLEETBAK_SESSION=20270122-080000000-00000001 \
			FLEETBAK_CLOCK=$((clock + 60 * day)) fleetbak prune --yes)
		[ "$got" -eq 0 ] || fail "$what: the prune after: exit $got"
	fi
	outcome=pruned
}
survey
objects >"$work/want"
! objects | grep -q "runs/$gone/" || fail "the run is still there"
grep -q "given up for good; 1 packs" "$work/stdout" || fail "no pack is deleted"
crash_loop kill 1
crash_loop torn 2 write
crash_loop lost 3
