#!/bin/sh
# Kill a copy before each of its durable steps: what is committed there is
# whole, nothing is lost here, and the next copy finishes to what an
# undisturbed one leaves.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
requires_faults

make_fleet "$work/f" 1
cd "$work/f"
sed -i 's|^  main: .*|&\n  vault: {url: "file:./vault", copy_of: main}|' "$conf"
export FLEETBAK_CLOCK=1795003200
expect 0 "$fb" -c fleetbak.yaml init
for n in 0 1; do
	FLEETBAK_CLOCK=$((1795003200 + n * 86400))
	echo $n >machines/m1/data/new
	expect 0 "$fb" -c fleetbak.yaml download
done
copy() {
	"$fb" -c fleetbak.yaml copy --to vault
}
left() {
	(cd vault && find . -type f ! -path './sessions/*' ! -name .lock \
		-exec sha256sum {} + | LC_ALL=C sort)
}
cp -a "$work/f" "$work/start"
FLEETBAK_CRASH_LOG=$work/steps expect 0 copy
left >"$work/want"
steps=$(wc -l <"$work/steps")
[ "$steps" -gt 40 ] || fail "only $steps steps"

# CRASH=all: every step, not a sample.
crash_step=11 fault_step=17
[ "${CRASH:-}" != all ] || crash_step=1 fault_step=1
crashes=0
for how in kill lost; do
	n=1
	while :; do
		cd "$work"
		rm -rf f
		cp -a start f
		cd f
		got=$(FLEETBAK_CRASH=$n:$how status_of copy)
		[ "$got" -ne 0 ] || break
		[ "$got" -eq 137 ] || fail "step $n $how: exit $got"
		crashes=$((crashes + 1))
		[ ! -d vault/commits ] || nothing_lost vault "step $n $how"
		nothing_lost repo "step $n $how: here"
		expect 0 copy
		left >"$work/got"
		diff "$work/want" "$work/got" >"$work/diff" || {
			cat "$work/diff"
			fail "step $n $how: something else is left"
		}
		n=$((n + crash_step))
		[ $how = kill ] || n=$((n + 2 * crash_step))
	done
done
expect 0 "$fb" -c fleetbak.yaml -r vault verify --full
ok "recovered from $crashes crashes of copy"

# Each call of a store fails once instead, or its answer is lost: what is
# committed there is whole, and exit status 0 means that all of it is.
cd "$work"
rm -rf f
cp -a start f
cd f
FLEETBAK_FAULT_LOG=$work/calls expect 0 copy
calls=$(grep -c ' store ' "$work/calls")
[ "$calls" -gt 30 ] || fail "only $calls calls"
faults=0
for what in ENOSPC EIO lost timeout; do
	n=1
	while [ $n -le "$calls" ]; do
		cd "$work"
		rm -rf f
		cp -a start f
		cd f
		got=$(FLEETBAK_FAULT=store.$n:$what status_of copy)
		faults=$((faults + 1))
		[ ! -d vault/commits ] || nothing_lost vault "call $n: $what"
		[ "$got" -eq 0 ] || expect 0 copy
		left >"$work/got"
		diff "$work/want" "$work/got" >"$work/diff" || {
			cat "$work/diff"
			fail "call $n: $what: something else is left (exit $got)"
		}
		n=$((n + fault_step))
	done
done
ok "went through $faults faults of copy"
