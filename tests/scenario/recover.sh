#!/bin/sh
# A run dies while a machine is stopped: its guardian, `recover`, or the next
# download brings the machine up again, once; and nobody starts what was down,
# what is in an unknown state, or what has been owed for too long.
. "$(dirname "$0")/lib.sh"

make_fleet "$work/fleet" 2
cd "$work/fleet"
rm machines/m2/up # was down: never to be started

# A stop that takes until somebody opens the gate.
sed -i 's|exec sleep 300|{ : >stopping; read -r _ <gate; }|' machines/m1/ctl
mkfifo machines/m1/gate
expect 0 "$fb" -c fleetbak.yaml init

# begin_run: a download that is stopping m1; its pid and its guardian's.
begin_run() {
	: >machines/m1/up
	: >machines/m1/effects
	rm -f machines/m1/stopping
	: >machines/m1/slow-stop
	"$fb" -c fleetbak.yaml download >"$work/run.out" 2>&1 &
	run=$!
	until_true "the stop does not begin" [ -e machines/m1/stopping ]
	until_true "there is no guardian" find_guardian
}

# Of the run's children it is the one in a session of its own.
find_guardian() {
	guardian=
	# Its threads come and go, and some are gone before they are read.
	children=$(cat /proc/$run/task/*/children 2>/dev/null || true)
	for pid in $children; do
		[ "$(readlink "/proc/$pid/exe")" != "$(readlink -f "$fb")" ] ||
			[ "$(awk '{ print $6 }' "/proc/$pid/stat")" != "$pid" ] ||
			guardian=$pid
	done
	[ -n "$guardian" ]
}

# end_stop: let the stop command of the dead run come to its end.
end_stop() {
	rm machines/m1/slow-stop
	echo go >machines/m1/gate
	until_true "the stop does not end" [ ! -e machines/m1/up ]
}

kill_run() {
	kill -KILL "$@"
	wait "$run" 2>/dev/null || true
}

starts() {
	grep -c start "machines/$1/effects" || true
}

expect_starts() {
	[ "$(starts m1)" -eq "$1" ] || fail "$2: $(starts m1) starts of m1"
	[ "$(starts m2)" -eq 0 ] || fail "$2: a machine that was down was started"
}

# 1. The guardian waits for the stop of the dead run, then starts.
begin_run
kill_run "$run"
rm machines/m1/slow-stop
echo go >machines/m1/gate
until_true "the guardian does not start it" grep -q start machines/m1/effects
until_true "it is not up" [ -e machines/m1/up ]
until_true "the guardian does not leave" [ ! -e "/proc/$guardian" ]
expect_starts 1 guardian
expect 0 "$fb" -c fleetbak.yaml recover
grep -q 'nothing is owed' "$work/stdout" || fail "something is owed"
ok "a guardian starts what its dead run had stopped, once"

# 2. Run and guardian die; while the child lives nothing is touched.
expect 0 "$fb" -c fleetbak.yaml download
begin_run
kill_run "$guardian" "$run"
expect 11 "$fb" -c fleetbak.yaml recover
grep -q E-CHILD-ALIVE "$work/stderr" || fail "the living child is not named"
expect 11 "$fb" -c fleetbak.yaml download
end_stop
expect_starts 0 "child alive"
ok "a child of a dead run is not run over"

# 3. A dry run says what is owed and does nothing.
expect 0 "$fb" -c fleetbak.yaml recover -n
grep -q 'lab/m1' "$work/stdout" || fail "the dry run does not name m1"
[ ! -e machines/m1/up ] || fail "the dry run started m1"

# 4. In an unknown state it is not touched, and stays owed.
: >machines/m1/unknown
got=$(status_of "$fb" -c fleetbak.yaml recover)
[ "$got" -ne 0 ] || fail "recover is content with an unknown state"
rm machines/m1/unknown
expect_starts 0 "unknown state"
ok "an unknown state is not touched"

# 5. It is started, once, and then nothing is owed.
expect 0 "$fb" -c fleetbak.yaml recover
[ -e machines/m1/up ] || fail "recover did not start m1"
expect_starts 1 recover
expect 0 "$fb" -c fleetbak.yaml recover
expect_starts 1 "recover again"
ok "recover starts what is owed, once"

# 6. The next download meets what is owed as well, and goes on.
expect 0 "$fb" -c fleetbak.yaml download
begin_run
kill_run "$guardian" "$run"
end_stop
expect 0 "$fb" -c fleetbak.yaml download --dry-run --json
plan=$(field plan)
expect 0 "$fb" -c fleetbak.yaml download --plan "$plan"
[ -e machines/m1/up ] || fail "the next download left m1 down"
[ ! -e machines/m2/up ] || fail "the next download started m2"
[ -z "$(ls state/runs)" ] || fail "a run was left: $(ls state/runs)"
ok "the next download meets it, as was planned, and leaves nothing"

# 7. A machine that came up by itself owes nothing.
begin_run
kill_run "$guardian" "$run"
end_stop
: >machines/m1/up
expect 0 "$fb" -c fleetbak.yaml recover
expect_starts 0 "seen up"
ok "what is up already is not started"

# 8. What has been owed for too long needs a word; how long that is does not
# depend on a clock that somebody sets.
if [ "${FB_VARIANT:-debug}" != release ]; then
	later=$((30 * 86400))
	begin_run
	kill_run "$guardian" "$run"
	end_stop
	expect 20 env FLEETBAK_FAULT=mono.1:+$later "$fb" -c fleetbak.yaml \
		recover
	expect_starts 0 "too old"
	expect 0 env FLEETBAK_FAULT=mono.1:+$later "$fb" -c fleetbak.yaml \
		recover --force
	expect_starts 1 "too old, forced"
	ok "an old obligation is met only on request"
	for jump in +$later -$later; do
		begin_run
		kill_run "$guardian" "$run"
		end_stop
		expect 0 env "FLEETBAK_FAULT=clock.1:$jump" \
			"$fb" -c fleetbak.yaml recover
		expect_starts 1 "the clock was set"
	done
	ok "a clock that is set makes no obligation old"
fi

# 9. Where there is no state directory nothing is owed, and none is made: a
# guardian may come when all of it has been taken away.
rm -rf state
expect 0 "$fb" -c fleetbak.yaml recover
grep -q 'nothing is owed' "$work/stdout" || fail "something is owed"
expect 0 "$fb" -c fleetbak.yaml recover --guardian
[ ! -e state ] || fail "recover made a state directory"
ok "no state directory, nothing owed, and none is made"
