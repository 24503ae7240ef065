#!/bin/sh
# A run dies (SIGKILL) in each state while a command of a machine is at work,
# with its guardian or without: nothing is begun over the living command, it is
# named, and when it has ended every machine comes up, once.
# shellcheck disable=SC2016 # the scripts are for the machines
. "$(dirname "$0")/lib.sh"
requires jq setsid

make_fleet "$work/f" 0
cd "$work/f"
make_evil machines m1
make_evil machines m2
rm machines/m2/up # was down: never to be started
mkfifo machines/m1/gate
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download

# Whatever happens, no command outlives the test.
child=
leave() {
	[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || :
	clear_work
}
trap leave EXIT

# hold <verb>: the next time m1 does that it waits for `go`, then does it.
# outlive <verb>: it leaves a process behind that waits and then does it.
hold() {
	echo 'rm -f on-'"$1"'; echo $$ >held; read -r _ <gate' \
		>"machines/m1/on-$1"
}

outlive() {
	echo 'rm -f on-'"$1"'; echo '"$1"' >>effects
	setsid sh -c "echo \$\$ >held; read -r _ <gate; ./ctl '"$1"'" \
	</dev/null >/dev/null 2>&1 & exit 0' >"machines/m1/on-$1"
}

go() {
	echo go >machines/m1/gate
}

# begin: a download that comes to where m1 is held; $run and $guardian.
begin() {
	rm -f machines/m1/held
	: >machines/m1/up
	: >machines/m1/effects
	"$1"  "$2"
	"$fb" -c "$conf" download --set download.jobs=1 >"$work/run.out" 2>&1 &
	run=$!
	until_true "m1 is not held at $2" [ -s machines/m1/held ]
	child=$(cat machines/m1/held)
	guardian=
	for pid in $(cat /proc/$run/task/*/children 2>/dev/null || :); do
		[ "$(readlink "/proc/$pid/exe")" != "$(readlink -f "$fb")" ] ||
			[ "$(awk '{ print $6 }' "/proc/$pid/stat")" != "$pid" ] ||
			guardian=$pid
	done
}

kill_run() { # [the guardian]
	kill -KILL "$@" $run
	wait $run 2>/dev/null || :
}

effects() { # <what> <expected>
	got=$(tr '\n' ' ' <machines/m1/effects)
	[ "$got" = "$2" ] || fail "$1: effects are '$got', not '$2'"
	[ ! -s machines/m2/effects ] || fail "$1: m2 was touched"
}

refused() { # <what>: while the command lives
	for command in download recover "restore m1 --in-place --yes"; do
		# shellcheck disable=SC2086 # a command and its arguments
		expect 11 "$fb" -c "$conf" $command
		grep -q "E-CHILD-ALIVE.*pid [0-9]* (ctl)" "$work/stderr" ||
			fail "$1: $command does not name it"
	done
	expect 0 "$fb" -c "$conf" status
	expect 0 "$fb" -c "$conf" recover -n
}

settled() { # <what>: nothing is left, and the next run works
	[ -e machines/m1/up ] || fail "$1: m1 is down"
	expect 0 "$fb" -c "$conf" recover --lock-wait 60s
	grep -q "nothing is owed" "$work/stdout" || fail "$1: something is owed"
	expect 0 "$fb" -c "$conf" download --lock-wait 60s --json
	jq -e '[.machines[] | select(.result == "ok")] | length == 2' \
		"$work/stdout" >/dev/null || fail "$1: $(cat "$work/stdout")"
	[ -z "$(ls state/runs)" ] || fail "$1: left $(ls state/runs)"
	[ ! -e machines/m2/up ] || fail "$1: m2 was started"
	left_alone "$PWD" # a guardian that found the lock taken looks once more
}

# 1. Run and guardian die while m1 stops.
begin hold stop
kill_run "$guardian"
refused stop
go
until_true "m1 does not stop" [ ! -e machines/m1/up ]
expect 0 "$fb" -c "$conf" recover --lock-wait 60s
effects stop "stop start "
settled stop
ok "a stop in flight, run and guardian dead: recover"

# 2. While it starts: the start goes on by itself, and is not made twice.
begin hold start
kill_run "$guardian"
refused start
go
expect 0 "$fb" -c "$conf" recover --lock-wait 60s
effects start "stop start "
settled start
ok "a start in flight, run and guardian dead: it is seen up"

# 3. While it is asked for its state, before anything was done to it: that has
# no effect, and holds nobody up.
begin hold status
kill_run ${guardian:+"$guardian"}
settled status
effects status "stop start "
kill -KILL "$child"
ok "a status in flight: nothing was owed, and nobody waits"

# 4. The guardian alone dies: the run does its own work.
begin hold stop
kill -KILL "$guardian"
go
status=0
wait $run || status=$?
[ "$status" -eq 0 ] || fail "without its guardian the run ends with $status"
effects "guardian dead" "stop start "
settled "guardian dead"
ok "a run whose guardian was killed goes on"

# 5. The run alone dies: its guardian waits for the command, and names it to
# others meanwhile.
for verb in stop start; do
	begin hold $verb
	kill_run
	expect 11 "$fb" -c "$conf" download
	grep -q "E-CHILD-ALIVE\|E-LOCKED" "$work/stderr" || fail "not a word"
	kill -0 "$guardian" || fail "the guardian does not wait"
	go
	until_true "$verb: the guardian does not leave" \
		[ ! -e "/proc/$guardian" ]
	effects "$verb, guardian" "stop start "
	settled "$verb, guardian"
done
ok "a guardian waits for the command of its dead run"

# 6. The stop has ended, and what it left behind goes on when the run dies: it
# is waited for as well, and what it does in the end is made good.
begin outlive stop
kill_run
left=$child
kill -0 "$guardian" || fail "the guardian does not wait"
go
until_true "the guardian does not leave" [ ! -e "/proc/$guardian" ]
until_true "$left lives" [ ! -e "/proc/$left" ]
effects "left behind" "stop stop start "
settled "left behind"
ok "what a stop left behind is waited for"

# 7. A stop misses its deadline, its machine is up, and what it left behind
# takes it down after all: while the run lasts, the run starts it; later, its
# guardian does.
late() { # a run that goes on with m2 while m1's stop is late
	sed -i 's/^stop_timeout: .*/stop_timeout: 1s/' machines/m1/machine.yaml
	mkfifo machines/m2/gate
	: >machines/m2/up
	: >machines/m2/effects
	echo 'rm -f on-stop; : >held; read -r _ <gate' >machines/m2/on-stop
	begin outlive stop
	until_true "m2 is not held" [ -e machines/m2/held ]
	grep -q "m1.*not down in time" "$work/run.out" ||
		fail "m1 has not failed: $(cat "$work/run.out")"
}

ends_late() {
	echo go >machines/m2/gate
	status=0
	wait $run || status=$?
	[ "$status" -eq 3 ] || fail "$1: exit $status: $(cat "$work/run.out")"
	rm machines/m2/gate machines/m2/held
}

late
go
until_true "m1 does not go down" [ ! -e machines/m1/up ]
until_true "$child lives" [ ! -e "/proc/$child" ]
ends_late "late, in the run"
[ -e machines/m1/up ] || fail "late, in the run: m1 is down"
[ "$(tail -1 machines/m1/effects)" = start ] || fail "late: not started"
expect 0 "$fb" -c "$conf" recover
grep -q "nothing is owed" "$work/stdout" || fail "late: something is owed"
ok "a stop that takes effect late, in the run: the run starts the machine"

late
ends_late "late, after the run"
grep -q "E-CHILD-ALIVE" "$work/run.out" || grep -q "still lives" \
	"$work/run.out" || fail "not a word: $(cat "$work/run.out")"
expect 11 "$fb" -c "$conf" download
go
until_true "m1 is not started" grep -q start machines/m1/effects
until_true "m1 is down" [ -e machines/m1/up ]
expect 0 "$fb" -c "$conf" recover --lock-wait 60s
grep -q "nothing is owed" "$work/stdout" || fail "late: something is owed"
ok "a stop that takes effect after the run: its guardian starts the machine"
