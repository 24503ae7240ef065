#!/bin/sh
# Kill a prune before each of its durable steps: nothing that a run needs is
# lost, the next prune finishes, and what is left is what an undisturbed one
# leaves.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
requires_faults

make_fleet "$work/f" 1
cd "$work/f"
cat >>"$conf" <<-'EOC'
	retention: {keep: "1 daily", min: 1, grace: 0s, max_remove: "100%"}
EOC
day() { # <n>
	export FLEETBAK_CLOCK=$((1795003200 + $1 * 86400))
}
prune() {
	"$fb" -c fleetbak.yaml prune -y
}
left() { # what is there, without what has the time of a prune in it
	(cd repo && find . -type f ! -name .lock | LC_ALL=C sort)
}

day 0
expect 0 "$fb" -c fleetbak.yaml init
for n in 0 1 2; do
	day $n
	echo $n >machines/m1/data/new
	expect 0 "$fb" -c fleetbak.yaml download
done
# One cut off before its commit, which nobody goes on with.
got=$(FLEETBAK_CRASH=store.6:kill status_of "$fb" -c fleetbak.yaml download)
[ "$got" -eq 137 ] || fail "not cut off: exit $got"
left_alone "$PWD" # its guardian
[ -e machines/m1/up ] || fail "a machine stays down"
rm -rf state/runs
day 20
cp -a "$work/f" "$work/start"
FLEETBAK_CRASH_LOG=$work/steps expect 0 prune
left >"$work/want"
steps=$(wc -l <"$work/steps")
[ "$steps" -gt 20 ] || fail "only $steps steps"
nothing_lost repo "after a prune"

n=0
crashes=0
for how in kill lost; do
	n=1
	while :; do
		cd "$work"
		rm -rf f
		cp -a start f
		cd f
		got=$(FLEETBAK_CRASH=$n:$how status_of prune)
		[ "$got" -ne 0 ] || break
		[ "$got" -eq 137 ] || fail "step $n $how: exit $got"
		crashes=$((crashes + 1))
		nothing_lost repo "step $n $how"
		expect 0 prune
		nothing_lost repo "step $n $how, finished"
		left >"$work/got"
		diff "$work/want" "$work/got" >"$work/diff" || {
			cat "$work/diff"
			fail "step $n $how: something else is left"
		}
		n=$((n + 1))
		[ $how = kill ] || n=$((n + 3))
	done
done
expect 0 "$fb" -c fleetbak.yaml verify --full
ok "recovered from $crashes crashes of prune"
