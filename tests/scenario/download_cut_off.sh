#!/bin/sh
# What a run leaves when it is cut off: it is continued, closed or cleared
# away, whichever is right, and what it owes is never forgotten.
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

make_fleet "$work/f" 2
sed -i "s/jobs: 2/jobs: 1/" "$conf" # the steps come in the same order
cd "$work/f"
expect 0 "$fb" -c "$conf" init

# crash_before <pattern>: a download that dies before the first such step.
crash_before() {
	FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$conf" download --lock-wait 30s
	# Of its kind: how many files an index has changes from run to run.
	step=$(awk -v what="$1" '{ n[$2]++ } index($0, what) {
		print $2 "." n[$2]; exit }' "$work/steps")
	[ -n "$step" ] || fail "no step '$1'"
	dies
}

# dies <argument>...: a download that is cut off there; its guardian, too, is at
# its end, and holds up nobody who comes.
dies() {
	FLEETBAK_CRASH=$step:kill expect 137 "$fb" -c "$conf" download "$@" \
		--lock-wait 30s
	left_alone "$PWD"
}

commits() {
	find repo/commits -type f | wc -l
}

nothing_left() { # <what>
	[ -z "$(ls state/runs)" ] || fail "$1: left $(ls state/runs)"
	for m in m1 m2; do [ -e machines/$m/up ] || fail "$1: $m is down"; done
	[ -z "$(find repo/sessions -type f ! -name '*.end' | while read -r s; do
		[ -e "$s.end" ] || [ -e "repo/commits/${s##*/}" ] || echo "$s"
	done)" ] || fail "$1: a session was not ended"
}

# A run that ended but could not start a machine keeps what says so ...
touch machines/m1/fail-start
expect 3 "$fb" -c "$conf" download --lock-wait 30s
[ -n "$(ls state/runs)" ] || fail "nothing remembers that m1 is owed a start"
# ... and while it is so, the machine is not taken for one that is off.
expect 3 "$fb" -c "$conf" download --lock-wait 30s --json
jq -e '.machines[] | select(.machine == "lab/m1") | .result == "failed" and
	.error.id == "E-OWED"' "$work/stdout" >/dev/null ||
	fail "$(cat "$work/stdout")"
left_alone "$PWD"
expect 20 "$fb" -c "$conf" download m1
left_alone "$PWD"
rm machines/m1/fail-start
expect 0 "$fb" -c "$conf" recover
nothing_left "recover"
ok "a machine that is owed a start fails until it is up, then all is cleared"

touch machines/m1/fail-start
expect 3 "$fb" -c "$conf" download --lock-wait 30s
left_alone "$PWD"
rm machines/m1/fail-start
expect 0 "$fb" -c "$conf" download --lock-wait 30s
nothing_left "the next download"
ok "the next download clears it away as well"

# A machine that is started when the manifest lies there already, before the
# commit and after it: it says what it said, and the run ends.
fails_before() { # <step or "">
	touch machines/m1/fail-start
	if [ -n "$1" ]; then
		FLEETBAK_CRASH=$1:kill expect 137 "$fb" -c "$conf" download \
			--lock-wait 30s
		left_alone "$work/f"
	else
		FLEETBAK_CRASH_LOG=$work/steps expect 3 "$fb" -c "$conf" \
			download --lock-wait 30s
	fi
	rm machines/m1/fail-start
	expect 0 "$fb" -c "$conf" recover --lock-wait 30s
}
fails_before ''
for what in commits/ SHA256SUMS.sig; do
	step=$(awk -v what=$what '$2 == "store" && index($0, what) {
		print $1; exit }' "$work/steps")
	[ -n "$step" ] || fail "no step '$what'"
	before=$(commits)
	fails_before "$step"
	expect 3 "$fb" -c "$conf" download --lock-wait 30s
	[ "$(commits)" -eq $((before + 1)) ] || fail "$what: not committed once"
	nothing_left "started before $what"
	expect 0 "$fb" -c "$conf" verify
done
ok "what happens behind a stored manifest does not change it"

# Of another configuration: closed, then a new run.
crash_before SHA256SUMS
before=$(commits)
sed -i 's/max_downtime: 20min/max_downtime: 21min/' "$conf"
expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
jq -e '.closed_run != null and .closed_run != .run and .committed and
	(.resumed | not)' "$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
[ "$(commits)" -eq $((before + 2)) ] || fail "not two runs more"
nothing_left "another configuration"
ok "a run of another configuration is closed, and a new one begins"

# Its manifest was there, and now there is a source more: the same manifest.
crash_before SHA256SUMS
mkdir more
sed -i 's|^sources:|sources:\n  more: {driver: local, root: ./more}|' "$conf"
expect 0 "$fb" -c "$conf" download --lock-wait 30s
nothing_left "another source"
expect 0 "$fb" -c "$conf" verify
ok "a manifest says what its run began with"

# Too old: closed, then a new run.
crash_before SHA256SUMS
before=$(commits)
FLEETBAK_CLOCK=$(($(date +%s) + 7 * 3600)) \
	expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
jq -e '.closed_run != null and (.resumed | not)' "$work/stdout" >/dev/null ||
	fail "$(cat "$work/stdout")"
[ "$(commits)" -eq $((before + 2)) ] || fail "not two runs more"
nothing_left "too old"
ok "a run older than resume_within is closed, and a new one begins"

# One machine fails and the run is cut off behind its manifest: what is
# rebuilt from the journal has the same bytes.
touch machines/m2/fail-stop
FLEETBAK_CRASH_LOG=$work/failing expect 3 "$fb" -c "$conf" download \
	--lock-wait 30s
step=$(awk '/SHA256SUMS/ { print $1; exit }' "$work/failing")
dies
run=$(ls state/runs)
[ -e "repo/runs/$run/manifest.json" ] || fail "it died before its manifest"
expect 3 "$fb" -c "$conf" download --lock-wait 30s --json
[ "$(field run)" = "$run" ] || fail "another run: $(cat "$work/stdout")"
rm machines/m2/fail-stop
nothing_left "a machine that failed"
ok "what failed is told in the same bytes by who goes on"

# What failed before it was cut off is tried again, not told again.
touch machines/m1/fail-stop
FLEETBAK_CRASH_LOG=$work/failing expect 3 "$fb" -c "$conf" download \
	--lock-wait 30s
step=$(awk '/driver stop lab\/m2/ { print $1; exit }' "$work/failing")
dies
run=$(ls state/runs)
rm machines/m1/fail-stop
expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
[ "$(field run)" = "$run" ] || fail "another run: $(cat "$work/stdout")"
nothing_left "a run of failures"
ok "what failed before anything was copied is tried again"

# Cut off while it was being closed: closed, and not continued, though the
# same is asked for again.
crash_before "stop lab/m2"
run=$(ls state/runs)
step=0
until grep -q E-CUT-OFF "state/runs/$run/journal"; do
	step=$((step + 1))
	dies m2
done
expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
jq -e --arg run "$run" '.closed_run == $run and .run != $run and
	(.resumed | not)' "$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
nothing_left "cut off while it was closed"
ok "a run that was being closed is not continued"

# --resume: that run, no other, and nothing new.
crash_before SHA256SUMS
run=$(ls state/runs)
before=$(commits)
expect 2 "$fb" -c "$conf" download --resume 20000101-000000000-00000000 --lock-wait 30s
grep -q E-RUN-UNKNOWN "$work/stderr" || fail "$(cat "$work/stderr")"
sed -i 's/max_downtime: 21min/max_downtime: 22min/' "$conf"
expect 0 "$fb" -c "$conf" download --resume "$run" --lock-wait 30s --json
[ "$(field run)" = "$run" ] || fail "another run: $(field run)"
[ "$(commits)" -eq $((before + 1)) ] || fail "not one run more"
nothing_left "--resume"
expect 2 "$fb" -c "$conf" download --resume "$run"
[ "$(commits)" -eq $((before + 1)) ] || fail "a new run was begun"
ok "--resume continues that run and begins no other"

# Of another fleet that shares the state directory: left alone.
crash_before SHA256SUMS
run=$(ls state/runs)
sed 's/name: demo/name: other/' "$conf" >other.yaml
expect 0 "$fb" -c "$work/f/other.yaml" download --lock-wait 30s
[ "$(ls state/runs)" = "$run" ] || fail "the other fleet's run was touched"
expect 2 "$fb" -c "$work/f/other.yaml" download --resume "$run"
expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
[ "$(field run)" = "$run" ] || fail "it was not continued"
nothing_left "another fleet"
ok "a run of another fleet is left alone"

# A source that is away.
make_machine more m3
crash_before SHA256SUMS
mv more away
got=$(status_of "$fb" -c "$conf" download --lock-wait 30s --json)
[ "$got" -eq 3 ] || fail "a source that is away: exit $got"
jq -e '([.machines[] | select(.result == "ok")] | length == 2) and
	.closed_run != null and .sources[0].source == "more"' "$work/stdout" \
	>/dev/null || fail "$(cat "$work/stdout")"
grep -q E-SRC-UNREACHABLE "$work/stderr" || fail "the snapshot is not named"
mv away more
[ -n "$(find more -path '*/.fleetbak/*')" ] || fail "where is its snapshot?"
expect 0 "$fb" -c "$conf" download
nothing_left "a source that is away"
[ -z "$(find more -path '*/.fleetbak/*')" ] || fail "its snapshot was left"
[ -e more/m3/up ] || fail "m3 is down"
ok "a source that is away does not stop the others"

# A machine that failed before the run was cut off gets another try.
make_fleet "$work/g" 2
sed -i "s/jobs: 2/jobs: 1/" "$conf"
cd "$work/g"
expect 0 "$fb" -c "$conf" init
touch machines/m1/fail-stop
cp -a "$work/g" "$work/h"
FLEETBAK_CRASH_LOG=$work/tried expect 3 "$fb" -c "$conf" download
step=$(awk '$2 == "driver" { n++ }
	/driver start lab\/m2/ { print "driver." n; exit }' "$work/tried")
[ -n "$step" ] || fail "m2 was not started"
cd "$work/h"
conf=$work/h/fleetbak.yaml
dies
expect 0 "$fb" -c "$conf" recover --lock-wait 30s
before=$(commits)
for m in m1 m2; do : >machines/$m/effects; done
rm machines/m1/fail-stop
expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
jq -e '.resumed and all(.machines[]; .result == "ok")' "$work/stdout" \
	>/dev/null || fail "$(cat "$work/stdout")"
[ "$(commits)" -eq $((before + 1)) ] || fail "not one run"
[ "$(sort machines/m1/effects | uniq -c | xargs)" = "1 start 1 stop" ] ||
	fail "m1: $(xargs <machines/m1/effects)"
nothing_left "the second try"
ok "a machine that failed before the run was cut off is tried again with it"

# What a plan does not hold is not done on its behalf.
dies
expect 0 "$fb" -c "$conf" recover --lock-wait 30s
run=$(ls state/runs)
expect 0 "$fb" -c "$conf" plan m1 --json
plan=$(jq -r .plan "$work/stdout")
before=$(commits)
for m in m1 m2; do : >machines/$m/effects; done
expect 19 "$fb" -c "$conf" download m1 --plan "$plan"
grep -q "E-PLAN-STALE.*$run" "$work/stderr" || fail "it does not say why"
[ "$(commits)" -eq "$before" ] || fail "a run was closed"
[ ! -s machines/m1/effects ] || fail "m1 was touched"
expect 0 "$fb" -c "$conf" download --resume "$run"
expect 0 "$fb" -c "$conf" plan m1 --json
expect 0 "$fb" -c "$conf" download m1 --plan "$(jq -r .plan "$work/stdout")"
nothing_left "the plan"
ok "a plan is refused while another run has to be ended first"
