#!/bin/sh
# A run with nobody watching: quiet when good, loud when not; metrics that
# would page somebody; notifications that never decide; words to systemd.
. "$(dirname "$0")/lib.sh"
requires jq promtool

make_fleet "$work/f" 2
cd "$work/f"
expect 0 "$fb" -c "$conf" init
cat >>"$conf" <<-'EOF2'
	metrics: {textfile: ./m/fleetbak.prom}
	notify:
	  ops: {type: exec, command: [/bin/sh, -c, "cat >>told"], on: [start, success, failure, budget]}
EOF2
mkdir m

value() { # <metric> [label...]: of the sample that has them all
	value_lines=$(grep "^$1{" m/fleetbak.prom) || return 0
	shift
	for label; do
		value_lines=$(printf '%s\n' "$value_lines" | grep -F "$label") ||
			return 0
	done
	printf '%s\n' "$value_lines" | sed 's/.* //'
}
told() { # <jq expression>: of the last that was told
	tail -1 told | jq -r "$1"
}

umask 077
expect 0 "$fb" -c "$conf" -q download
[ ! -s "$work/stdout" ] && [ ! -s "$work/stderr" ] ||
	fail "-q says something of a good run"
umask 022
[ "$(stat -c %a m/fleetbak.prom)" = 644 ] || fail "the collector cannot read it"
expect 0 promtool check metrics <m/fleetbak.prom
[ ! -s "$work/stdout" ] && [ ! -s "$work/stderr" ] || fail "promtool complains"
[ "$(value fleetbak_last_run_exit_code)" = 0 ] || fail "exit code"
[ "$(value fleetbak_last_run_machines 'result="ok"')" = 2 ] || fail "machines"
good=$(value fleetbak_machine_last_success_timestamp_seconds 'machine="m1"')
[ "$good" -gt 0 ] || fail "no time of the last success"
[ "$(value fleetbak_machine_rpo_seconds 'machine="m2"')" = 93600 ] || fail "rpo"
[ "$(jq -r .event told | tr '\n' ' ')" = "start success " ] || fail "events"
[ "$(told .run)" != null ] && [ "$(told .exit_code)" = 0 ] ||
	fail "what was told: $(told .)"
ok "a good night: silent, measured, told"

# One machine fails: the whole summary, exit 3, its last success is kept.
: >machines/m1/fail-stop
expect 3 "$fb" -c "$conf" -q download
grep -q '1 stored, 1 failed' "$work/stderr" || fail "no summary"
grep -q '^FAILED   lab/m1' "$work/stderr" || fail "who failed is not said"
grep -q 'exit 3' "$work/stderr" || fail "no exit"
[ "$(value fleetbak_last_run_exit_code)" = 3 ] || fail "exit code after failure"
[ "$(value fleetbak_machine_last_success_timestamp_seconds 'machine="m1"')" = "$good" ] ||
	fail "the last success is lost"
[ "$(told .event)" = failure ] || fail "told: $(told .)"
told .summary | grep -q 'FAILED   lab/m1' || fail "the summary is not told"
rm machines/m1/fail-stop
ok "a bad one: loud, measured, told; the last success stands"

# An unreachable source; nothing of it is forgotten.
mv machines away
expect 15 "$fb" -c "$conf" -q download
grep -q '  fix ' "$work/stderr" || fail "nothing says what to do"
[ "$(value fleetbak_last_run_exit_code)" = 15 ] || fail "exit code 15"
[ "$(value fleetbak_machine_last_success_timestamp_seconds 'machine="m1"')" = "$good" ] ||
	fail "the last success is lost with its source"
mv away machines
ok "an unreachable source: exit 15, what to do, and a metric that pages"

# A machine that is gone from its source pages nobody; one that never
# succeeded does.
mv machines/m2 gone
make_machine machines m3
: >machines/m3/fail-stop
expect 3 "$fb" -c "$conf" -q download
[ -z "$(value fleetbak_machine_last_success_timestamp_seconds 'machine="m2"')" ] ||
	fail "a machine that is gone is measured"
[ "$(value fleetbak_machine_last_success_timestamp_seconds 'machine="m3"')" = 0 ] ||
	fail "a machine without a backup is not measured"
rm machines/m3/fail-stop
ok "machines come and go"

# No credentials, that is, no key: exit 12, told and measured.
mv keys/sign.pem keys/away
expect 12 "$fb" -c "$conf" -q download
grep -q '^fleetbak: E-KEY' "$work/stderr" || fail "the key is not named"
[ "$(value fleetbak_last_run_exit_code)" = 12 ] || fail "exit code 12"
told .summary | grep -q E-KEY || fail "the error is not told"
mv keys/away keys/sign.pem
ok "a missing key: exit 12, told, measured"

# verify and status too; a failing notifier changes nothing.
expect 0 "$fb" -c "$conf" -q verify
[ "$(value fleetbak_repo_damaged_objects)" = 0 ] || fail "damaged objects"
[ "$(value fleetbak_machine_last_verified_timestamp_seconds 'machine="m1"')" -gt 0 ] ||
	fail "no time of the last verify"
pack=$(find repo/packs -type f | head -1)
damage "$pack" 100
expect 14 "$fb" -c "$conf" -q verify
[ "$(value fleetbak_repo_damaged_objects)" -gt 0 ] || fail "damage is not measured"
[ "$(value fleetbak_last_run_exit_code 'command="download"')" = 12 ] ||
	fail "verify forgot what download said"
ok "verify is measured beside it"

sed -i 's|"cat >>told"|"echo no >\&2; exit 7"|' "$conf"
expect 0 "$fb" -c "$conf" download
grep -q 'warning: notify.ops could not be told: .*exit status 7: no' \
	"$work/stderr" || fail "no warning"
mv m n
expect 0 "$fb" -c "$conf" download
grep -q 'warning: metrics.textfile' "$work/stderr" || fail "no warning"
mv n m
ok "what cannot be told is a warning and changes no exit status"

# A dry run tells nobody and measures nothing.
rm -f told m/fleetbak.prom
sed -i 's|"echo no >&2; exit 7"|"cat >>told"|' "$conf"
expect 0 "$fb" -c "$conf" download -n
[ ! -e told ] && [ ! -e m/fleetbak.prom ] || fail "a dry run has effects"

# systemd hears that it is ready, how far it is, and that it stops.
"$bin/scenario/receiver" notify "$work/socket" "$work/heard" &
receiver=$!
retry test -S "$work/socket"
sed -i 's|exec sleep 300|while [ -e slow-stop ]; do sleep 0.05; done|' \
	machines/m1/ctl
: >machines/m1/slow-stop
NOTIFY_SOCKET="$work/socket" WATCHDOG_USEC=200000 "$fb" -c "$conf" -q \
	download --full --set download.limit_read=300kB/s 2>"$work/stderr" &
pid=$!
fed() {
	[ "$(grep -cx 'WATCHDOG=1' "$work/heard")" -ge 3 ]
}
until_true "the watchdog would bite" fed
rm machines/m1/slow-stop
wait $pid || fail "a slow night fails: $(cat "$work/stderr")"
# (What was said last may not have been written down yet.)
until_true "not ready" grep -qx 'READY=1' "$work/heard"
until_true "no status" grep -q '^STATUS=.*read ' "$work/heard"
: >"$work/heard"
: >machines/m1/effects
NOTIFY_SOCKET="$work/socket" "$fb" -c "$conf" -q download \
	--set download.limit_read=1KiB/s --full 2>"$work/stderr" &
pid=$!
retry test -s machines/m1/effects
kill -TERM $pid
status=0
wait $pid || status=$?
[ $status -eq 143 ] || fail "exit $status"
until_true "it does not say that it stops" grep -qx 'STOPPING=1' "$work/heard"
until_true "it asks no time" grep -qx 'EXTEND_TIMEOUT_USEC=30000000' "$work/heard"
[ -e machines/m1/up ] || fail "a machine is down"
[ "$(value fleetbak_last_run_exit_code)" = 143 ] || fail "exit code 143"
kill $receiver
ok "systemd hears all of it"

# Its time is over: resumable, machines up, exit 21, and not an incident.
: >machines/m1/effects
expect 21 "$fb" -c "$conf" -q download --max-duration 3s --limit-read 1KiB/s
grep -q 'its time is over; go on: fleetbak download --resume' "$work/stderr" ||
	fail "it does not say how to go on"
for m in m1 m3; do
	[ -e machines/$m/up ] || fail "$m is down"
done
[ "$(told .event)" = budget ] || fail "told: $(told .)"
[ "$(value fleetbak_last_run_exit_code)" = 21 ] || fail "exit code 21"
expect 0 "$fb" -c "$conf" download --json
[ "$(jq .resumed "$work/stdout")" = true ] || fail "it was not resumed"
ok "a night that is too short goes on in the next"

# Lines of the log: in the journal with priorities, in a file with times.
: >machines/m1/fail-stop
: >"$work/journal"
stream=$(stat -c %d:%i "$work/journal")
JOURNAL_STREAM=$stream "$fb" -c "$conf" download 2>>"$work/journal" || :
grep -q '^<6>.* ok ' "$work/journal" || fail "no priority of information"
grep -q '^<3>.* FAIL ' "$work/journal" || fail "no priority of errors"
[ "$(grep -cv '^<[346]>' "$work/journal")" -eq 0 ] || fail "bare lines"
JOURNAL_STREAM=1:1 "$fb" -c "$conf" download 2>"$work/plain" || :
! grep -q '^<' "$work/plain" || fail "priorities where there is no journal"
expect 3 "$fb" -c "$conf" -q download --log-file log.txt
grep -q '^20[0-9-]*T[0-9:]*Z error   .*FAIL  lab/m1' log.txt || fail "no log"
rm machines/m1/fail-stop
rm log.txt
: >machines/m1/slow-stop
sed -i "s|stop_timeout: 10min|stop_timeout: 1s|" machines/m1/machine.yaml
: >machines/m1/effects
"$fb" -c "$conf" -q download --log-file "$work/f/log.txt" &
pid=$!
retry test -e log.txt
mv log.txt log.old
kill -HUP $pid
retry test -s machines/m1/effects
kill -TERM $pid
wait $pid || :
[ -s log.txt ] || fail "it was not opened anew"
ok "the log: priorities for the journal, a file that can be rotated"
