#!/bin/sh
# A run is interrupted, once or twice, wherever it is: it ends, it dies by
# the signal, every machine comes up, and the next run goes on.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 3
cd "$work/f"
# One machine of the source at a time, though more threads wait for it.
sed -i 's/labels: {site: a}/labels: {site: a}, jobs: 1/; s/jobs: 2/jobs: 3/' \
	"$conf"
for m in m1 m2 m3; do
	sed 's/^stop)$/stop)\n\t: >stopping; while [ ! -e go ]; do sleep 0.1; done/; s/^start)$/start)\n\t: >starting; while [ -e slow-start ]; do sleep 0.1; done/' \
		machines/$m/ctl >ctl.new
	cat ctl.new >machines/$m/ctl
done
expect 0 "$fb" -c "$conf" init

gone() {
	! kill -0 "$run" 2>/dev/null
}

begin() {
	rm -f machines/*/stopping machines/*/starting machines/*/go
	"$fb" -c "$conf" download --lock-wait 30s >"$work/stdout" \
		2>"$work/stderr" &
	run=$!
	until_true "nothing is stopped" [ -e machines/m1/stopping ]
}

ends() { # <what>
	until_true "$1: it does not end" gone
	status=0
	wait $run || status=$?
	[ "$status" -eq 143 ] || fail "$1: exit $status"
}

all_up() { # <what>
	for m in m1 m2 m3; do
		until_true "$1: $m is down" [ -e machines/$m/up ]
	done
}

goes_on() { # <what>
	touch machines/m1/go machines/m2/go machines/m3/go
	expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
	jq -e '[.machines[] | select(.result == "ok")] | length == 3' \
		"$work/stdout" >/dev/null || fail "$1: $(cat "$work/stdout")"
	all_up "$1"
	[ -z "$(ls state/runs)" ] || fail "$1: something was left"
}

heard() {
	grep -q "stopping in order" "$work/stderr"
}

begin
kill -TERM $run
until_true "it is not heard" heard
touch machines/m1/go
ends "once, at a stop"
all_up "once, at a stop"
[ ! -e machines/m2/stopping ] || fail "the next machine was stopped"
goes_on "once, at a stop"
ok "once, while machines wait for their source"

begin
touch machines/m1/slow-start machines/m1/go
until_true "it is not started" [ -e machines/m1/starting ]
kill -TERM $run
until_true "it is not heard" heard
rm machines/m1/slow-start
ends "once, at a start"
all_up "once, at a start"
goes_on "once, at a start"
ok "once, while a machine starts"

begin
kill -TERM $run
until_true "the first is not heard" heard
kill -TERM $run
ends "twice, at a stop"
touch machines/m1/go # the stop command ends, the guardian starts it
until_true "the guardian does nothing" grep -q start machines/m1/effects
all_up "twice, at a stop"
goes_on "twice, at a stop"
ok "twice, at a stop: its guardian starts the machine"

begin
expect 11 "$fb" -c "$conf" download --lock-wait 0s
touch machines/m1/go machines/m2/go machines/m3/go
status=0
wait $run || status=$?
[ "$status" -eq 0 ] || fail "the first of two: exit $status"
ok "of two at once the second is refused"
