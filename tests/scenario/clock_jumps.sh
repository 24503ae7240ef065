#!/bin/sh
# Somebody sets the clock, by a year in either direction, between two runs and
# in the middle of one: machines come up, no deadline and no age is fooled,
# runs stay in order, history holds, and status does not lie.
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

year=31536000
make_fleet "$work/f" 2
cd "$work/f"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download

# What was done since it was last asked: each machine once down and up.
once() { # <what>
	for m in m1 m2; do
		[ -e machines/$m/up ] || fail "$1: $m is down"
		[ "$(tr '\n' ' ' <machines/$m/effects)" = "stop start " ] ||
			fail "$1: $(cat machines/$m/effects)"
		: >machines/$m/effects
	done
}

# newest: what the lists call the newest run is the last one that was made.
newest() { # <what>
	run=$(field run)
	expect 0 "$fb" -c "$conf" verify --structure
	expect 0 "$fb" -c "$conf" list runs --json
	[ "$(field run)" = "$run" ] || fail "$1: the newest is $(field run)"
	[ "$(fields run | LC_ALL=C sort -r)" = "$(fields run)" ] ||
		fail "$1: runs are not in order"
	[ "$(fields run | sort -u | wc -l)" -eq "$(fields run | wc -l)" ] ||
		fail "$1: a run is there twice"
	expect 0 "$fb" -c "$conf" show latest --json
	[ "$(field run)" = "$run" ] || fail "$1: latest is $(field run)"
}

later() { # <run> <other>
	[ "$1" != "$2" ] &&
		[ "$(printf '%s\n' "$1" "$2" | LC_ALL=C sort | tail -1)" = "$1" ]
}

fresh() { # <what>: a run made with the right clock makes all well again
	: >machines/m1/effects
	: >machines/m2/effects
	expect 0 "$fb" -c "$conf" download --json
	once "$1"
	newest "$1"
	expect 0 "$fb" -c "$conf" status --check
}
: >machines/m1/effects
: >machines/m2/effects

# 1. In the middle of a run, at every reading of the clock.
FLEETBAK_FAULT_LOG=$work/log "$fb" -c "$conf" download --json >/dev/null 2>&1
readings=$(grep -c ' clock ' "$work/log")
[ "$readings" -ge 8 ] || fail "only $readings readings"
once "without a jump"
n=0
while [ $n -lt "$readings" ]; do
	n=$((n + 1))
	for jump in +$year -$year; do
		expect 0 env FLEETBAK_FAULT=clock.$n:"$jump" \
			"$fb" -c "$conf" download --json
		once "$jump at $n"
		[ -z "$(ls state/runs)" ] || fail "$jump at $n: left $(ls state/runs)"
	done
done
fresh "after jumps in runs"
ok "a jump of a year at each of $readings readings"

# 2. A run that was made a year ahead: status says what it cannot know, until
# there is a run that it can.
expect 0 env FLEETBAK_FAULT=clock.1:+$year "$fb" -c "$conf" download --json
newest "a year ahead"
ahead=$run
expect 4 "$fb" -c "$conf" status --check
grep -q E-CLOCK "$work/stderr" || grep -q "later than this host's clock" \
	"$work/stderr" || fail "status does not say it"
grep -q "it is from the future" "$work/stdout" || fail "nor where"
expect 0 "$fb" -c "$conf" status --json
jq -e '[.data.machines[] | select(.age_seconds == null and .over_rpo)]
	| length == 2' "$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
jq -e '.warnings[0].id == "E-CLOCK"' "$work/stdout" >/dev/null ||
	fail "no warning"
ok "a backup from the future is not said to be fresh"
: >machines/m1/effects
: >machines/m2/effects
expect 0 "$fb" -c "$conf" download --json
jq -e '.warnings[0].id == "E-CLOCK"' "$work/stdout" >/dev/null ||
	fail "a run after one from the future does not say it"
once "after a year ahead"
newest "after a year ahead"
later "$run" "$ahead" || fail "$run is not after $ahead"
expect 0 "$fb" -c "$conf" status --check
ok "the next run follows it, and all is well"

# 3. A year back: it still follows, and a rollback would still be seen.
expect 0 env FLEETBAK_FAULT=clock.1:-$year "$fb" -c "$conf" download --json
newest "a year back"
later "$run" "$ahead" || fail "$run is not after $ahead"
grep -q "\"$run\"" state/newest/* || fail "it is not remembered as the newest"
fresh "after a year back"
ok "a run made a year back follows what it follows"

# 4. A run that is cut off: within its hours it is continued; if its age is not
# known it is closed, and nothing is skipped.
cut_off() { # <jump>: a run that dies before its commit, made at that time
	: >machines/m1/effects
	: >machines/m2/effects
	FLEETBAK_CRASH_LOG=$work/steps "$fb" -c "$conf" download \
		>/dev/null 2>&1
	total=$(grep -n ' store commits/' "$work/steps" | head -1 | cut -d: -f1)
	rm "$work/steps"
	: >machines/m1/effects
	: >machines/m2/effects
	expect 137 env FLEETBAK_FAULT=clock.1:"$1" \
		FLEETBAK_CRASH="$((total - 20)):kill" "$fb" -c "$conf" download
	left_alone "$PWD" # its guardian
	[ -e machines/m1/up ] && [ -e machines/m2/up ] || fail "$1: down"
	id=$(ls state/runs)
	[ "$(echo "$id" | wc -w)" -eq 1 ] || fail "runs: $id"
}

cut_off +0
expect 0 "$fb" -c "$conf" download --json --lock-wait 30s
[ "$(field run)" = "$id" ] || fail "it was not continued"
once "continued"
for jump in +$year -$year; do
	cut_off "$jump"
	expect 0 "$fb" -c "$conf" download --json --lock-wait 30s
	[ "$(field run)" != "$id" ] || fail "$jump: it was continued"
	newest "closed, $jump"
	"$fb" -c "$conf" list runs --json | grep -q "$id" ||
		fail "$jump: what it captured is lost"
	fresh "closed, $jump"
done
ok "a cut-off run whose age is not known is closed, not continued"

# 5. Deadlines are no matter of the clock: a stop that hangs is ended by its
# own, whatever the clock does meanwhile.
sed -i 's/stop_timeout: 10min/stop_timeout: 1s/' machines/m1/machine.yaml
for jump in +$year -$year; do
	touch machines/m1/slow-stop
	expect 3 env FLEETBAK_FAULT=clock.6+:"$jump" \
		"$fb" -c "$conf" download --json
	grep -q "did not end in time" "$work/stdout" || fail "$jump: no deadline"
	[ -e machines/m1/up ] || fail "$jump: m1 is down"
	rm machines/m1/slow-stop
done
fresh "after deadlines"
ok "deadlines hold while the clock jumps"

# 6. Prune with a clock that is a year off gives up nothing that is to be kept,
# and what it does to a writer at work costs no backup and leaves no machine
# down.
printf 'retention: {keep: all}\n' >>"$conf"
before=$("$fb" -c "$conf" list runs --json | jq '.data | length')
for jump in +$year -$year; do
	expect 0 env FLEETBAK_FAULT=clock.1:"$jump" "$fb" -c "$conf" prune -y
	after=$("$fb" -c "$conf" list runs --json | jq '.data | length')
	[ "$after" -eq "$before" ] || fail "$jump: $before runs became $after"
	expect 0 "$fb" -c "$conf" verify --structure
	expect 0 "$fb" -c "$conf" status --check
	stopped() {
		grep -q '^State:.T' "/proc/$writer/status"
	}
	FLEETBAK_FAULT=store.3:stop "$fb" -c "$conf" download \
		>"$work/writer.out" 2>&1 &
	writer=$!
	until_true "the writer does not stop" stopped
	# It is fenced off when it looks old; otherwise nothing is deleted.
	got=$(status_of env FLEETBAK_FAULT=clock.1:"$jump" "$fb" -c "$conf" \
		prune -y)
	[ "$got" -eq 0 ] || [ "$got" -eq 11 ] || fail "prune: exit $got"
	kill -CONT $writer
	status=0
	wait $writer || status=$?
	[ "$status" -lt 128 ] || fail "$jump: the writer ends with $status"
	[ -e machines/m1/up ] && [ -e machines/m2/up ] || fail "$jump: down"
	fresh "prune at $jump"
	expect 0 "$fb" -c "$conf" verify
	before=$("$fb" -c "$conf" list runs --json | jq '.data | length')
done
ok "prune with a wrong clock costs no backup"
