#!/bin/sh
# A short random walk against the model, always the same one: see tests/soak.
# `make soak` walks for an hour.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
requires_faults

# Two at a time, each with seeds of its own.
walk() { # <seed>
	TMPDIR=$work SOAK_SEED=$1 SOAK_WALKS=1 "$bin/soak/soak" "$fb" \
		>"$work/log.$1" 2>&1
}
walk 10 &
one=$!
walk 20 &
two=$!
rc=0
wait $one || rc=1
wait $two || rc=1
[ $rc -eq 0 ] || {
	cat "$work"/log.*
	fail "the walk broke a promise"
}
ok "$(awk '$1 == "steps" { n += $2 } END { print n }' "$work"/log.*) random steps"
