#!/bin/sh
# Commands of machines that hang, outlive their deadline, leave processes
# behind, flood us or are not there: a deadline ends them, memory stays small,
# what they did is looked at, and every machine that was up comes up again.
# shellcheck disable=SC2016 # the scripts are for the machines
. "$(dirname "$0")/lib.sh"
requires jq setsid
umask 022

# Each machine misbehaves in its own way, all at the same time: what is waited
# for is the slowest of them.
make_fleet "$work/f" 0
cd "$work/f"
sed -i 's/jobs: 2/jobs: 20/' "$conf"

evil() { # <id> [<verb> <script>]...
	make_evil machines "$@"
}

set_timeouts() { # <id> <stop> <start>
	sed -i "s/^stop_timeout: .*/stop_timeout: $2/
		s/^start_timeout: .*/start_timeout: $3/" \
		machines/"$1"/machine.yaml
}

# Whatever else happens, nothing that a machine left behind outlives the test.
leave() {
	for file in "$work"/[fs]/machines/*/left; do
		[ ! -e "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || :
	done
	clear_work
}
trap leave EXIT

effects() { # <id> <expected>: what was done to it, in order
	got=$(tr '\n' ' ' <machines/"$1"/effects)
	[ "$got" = "$2" ] || fail "$1: effects are '$got', not '$2'"
}

result() { # <id>
	jq -r --arg m "lab/$1" \
		'.machines[] | select(.machine == $m) | .result' "$work/stdout"
}

message() { # <id>
	jq -r --arg m "lab/$1" \
		'.machines[] | select(.machine == $m) | .error.message' \
		"$work/stdout"
}

is() { # <id> <result> <effects> [<words of the message>]
	[ -e machines/"$1"/up ] || fail "$1 is down"
	[ "$(result "$1")" = "$2" ] || fail "$1: $(result "$1") $(message "$1")"
	effects "$1" "$3"
	[ $# -lt 4 ] || message "$1" | grep -q -- "$4" ||
		fail "$1: '$(message "$1")' does not say '$4'"
	ok "$1"
}

# 0. States that cannot be told; a status that hangs takes the longest, so that
# is waited for beside the rest.
make_fleet "$work/s" 0
cd "$work/s"
sed -i 's/jobs: 2/jobs: 20/' "$conf"
evil good
evil status-hangs status 'exec sleep 600'
evil status-floods status 'head -c 300M /dev/zero; exit 1'
evil status-dies status 'kill -KILL $$'
evil status-stops-itself status 'kill -STOP $$'
evil status-leaves status '[ -e up ] && code=0 || code=3
	[ -e left ] || { setsid sleep 600 & echo $! >left; }; exit $code'
evil status-is-missing
sed -i 's|^status: .*|status: [./missing]|' \
	machines/status-is-missing/machine.yaml
expect 0 "$fb" -c "$conf" init
("$fb" -c "$conf" download --json >"$work/s.stdout" 2>"$work/s.stderr" &&
	echo 0 >"$work/s.status" || echo $? >"$work/s.status") &
cd "$work/f"
conf=$work/f/fleetbak.yaml

# 1. Stops.
evil good
evil stop-hangs stop 'echo stop >>effects; exec sleep 600'
evil stop-hangs-when-done stop 'echo stop >>effects; rm up; exec sleep 600'
evil stop-ignores-sigterm stop 'echo stop >>effects; trap "" TERM INT HUP
	while :; do sleep 1; done'
evil stop-stops-itself stop 'echo stop >>effects; kill -STOP $$'
evil stop-dies stop 'echo stop >>effects; kill -KILL $$'
evil stop-dies-when-done stop 'echo stop >>effects; rm up; kill -KILL $$'
evil stop-floods stop 'echo stop >>effects; rm up
	head -c 700M /dev/zero & head -c 700M /dev/zero >&2; wait; exit 0'
evil stop-says-garbage stop 'echo stop >>effects
	printf "one\\nt\\033[2Jwo \\377\\376 \\302\\2332J \\303\\251 \\007end\\n" >&2
	exit 4'
evil stop-cuts-a-character stop 'echo stop >>effects
	i=0; while [ $i -lt 700 ]; do printf "\\303\\251"; i=$((i + 1)); done >&2
	printf x >&2; exit 4'
evil stop-leaves-in-group stop 'echo stop >>effects; rm up
	sleep 600 & echo $! >left; exit 0'
evil stop-leaves-a-session stop 'echo stop >>effects; rm up
	setsid sleep 600 & echo $! >left; exit 0'
evil stop-leaves-silently stop 'echo stop >>effects; rm up
	setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $! >left; exit 0'
evil stop-is-missing
evil stop-is-no-program
evil stop-is-a-directory
evil start-leaves-a-machine start 'echo start >>effects; : >up
	setsid sleep 600 & echo $! >left; exit 0'
# Time to come to that, beside all the others.
for m in stop-hangs stop-ignores-sigterm stop-stops-itself \
	stop-hangs-when-done; do
	set_timeouts $m 5s 20s
done
sed -i 's|^stop: .*|stop: [./missing]|' machines/stop-is-missing/machine.yaml
sed -i 's|^stop: .*|stop: [./disk.img]|' \
	machines/stop-is-no-program/machine.yaml
sed -i 's|^stop: .*|stop: [./data]|' machines/stop-is-a-directory/machine.yaml
expect 0 "$fb" -c "$conf" init

expect 3 "$bin/scenario/peak" "$work/peak" "$fb" -c "$conf" download --json
is good ok "stop start "
is stop-hangs failed "stop " "did not end in time"
is stop-hangs-when-done ok "stop start "
is stop-ignores-sigterm failed "stop " "did not end in time"
is stop-stops-itself failed "stop " "did not end in time"
is stop-dies failed "stop " "signal 9"
is stop-dies-when-done ok "stop start "
is stop-floods ok "stop start "
is stop-says-garbage failed "stop " \
	"said: one t%1b\[2Jwo %ff%fe %c2%9b2J .* %07end"
is stop-cuts-a-character failed "stop " "said: éé.*éx"
is stop-leaves-in-group ok "stop start "
is stop-leaves-a-session ok "stop start "
is stop-leaves-silently ok "stop start "
is stop-is-missing failed "" "missing"
is stop-is-no-program failed "" "disk.img"
is stop-is-a-directory failed "" "data"
is start-leaves-a-machine ok "stop start "
used=$(cat "$work/peak")
[ "$used" -lt 262144 ] || fail "it took $used KiB"
ok "memory stays bounded: $used KiB"

# 2. What the failures said is in the repository as text, and shown as such.
expect 0 "$fb" -c "$conf" verify --structure
: >"$work/shown"
for command in "status" "list" "list runs" "show latest"; do
	# shellcheck disable=SC2086 # a command and its arguments
	status_of "$fb" -c "$conf" $command >/dev/null
	cat "$work/stdout" "$work/stderr" >>"$work/shown"
done
grep -q 'said: one t%1b' "$work/shown" || fail "it is not shown"
! LC_ALL=C grep -q "$(printf '[\001-\010\016-\037]')" "$work/shown" ||
	fail "it is not escaped"
! grep -q "$(printf '\302\233')" "$work/shown" || fail "a C1 control"
iconv -f UTF-8 -t UTF-8 "$work/shown" >/dev/null || fail "it is no text"
ok "what a command says is escaped wherever it is shown"

# 3. Three processes were left behind: a run does not begin over them, and
# they are named.  What a start left behind is a machine, and holds nothing up.
expect 11 "$fb" -c "$conf" download good --lock-wait 2s
grep -q E-CHILD-ALIVE "$work/stderr" || fail "no word of it"
for m in in-group a-session silently; do
	pid=$(cat "machines/stop-leaves-$m/left")
	grep -q "pid $pid (sleep)" "$work/stderr" || fail "$pid is not named"
done
pid=$(cat machines/start-leaves-a-machine/left)
! grep -q "pid $pid " "$work/stderr" || fail "the machine is blamed"
expect 11 "$fb" -c "$conf" recover --lock-wait 2s
for m in in-group a-session silently; do
	kill -KILL "$(cat machines/stop-leaves-$m/left)"
	rm machines/stop-leaves-$m/left
done
expect 0 "$fb" -c "$conf" download good --lock-wait 20s
kill -0 "$pid" || fail "the machine that was started is gone"
ok "a run does not begin over what stops left behind, and does after it"

# 4. Starts: what fails to come up stays owed, is not taken for one that is
# down on purpose, and comes up by `recover`, once.
left_alone "$PWD" # the guardian of the run that left the three behind
rm -r machines
mkdir machines
evil start-hangs start 'echo start >>effects; exec sleep 600'
evil start-lies start 'echo start >>effects; exit 0'
evil start-dies start 'echo start >>effects; kill -SEGV $$'
evil start-hangs-when-done start 'echo start >>effects; : >up; exec sleep 600'
evil start-takes-its-time start 'echo start >>effects
	(sleep 1; : >up) >/dev/null 2>&1 & exit 0'
evil start-is-missing
for m in start-hangs start-lies; do
	set_timeouts $m 20s 1s
done
set_timeouts start-hangs-when-done 20s 5s
sed -i 's|^start: .*|start: [./missing]|' \
	machines/start-is-missing/machine.yaml
expect 3 "$fb" -c "$conf" download --json
is start-hangs-when-done ok "stop start "
is start-takes-its-time ok "stop start "
for m in hangs lies dies is-missing; do
	[ ! -e machines/start-$m/up ] || fail "start-$m: how can it be up"
	[ "$(result start-$m)" = failed ] || fail "start-$m did not fail"
done
# Tried by the window, and once more before the run ended; perhaps by the
# guardian too, which may be at work when the next command comes.
case $(tr '\n' ' ' <machines/start-hangs/effects) in
"stop start start "*) ;;
*) fail "start-hangs: $(tr '\n' ' ' <machines/start-hangs/effects)" ;;
esac
effects start-is-missing "stop "
expect 3 "$fb" -c "$conf" download --json --lock-wait 60s
for m in hangs lies dies is-missing; do
	message start-$m | grep -q "has not come up again" ||
		fail "start-$m: $(message start-$m)"
	[ "$(grep -c stop machines/start-$m/effects)" -eq 1 ] ||
		fail "start-$m was stopped again"
done
ok "a machine that does not come up is owed, said, and not stopped again"
left_alone "$PWD"
rm machines/*/on-start
sed -i 's|^start: .*|start: [./ctl, start]|' \
	machines/start-is-missing/machine.yaml
for m in machines/*; do : >"$m/effects"; done
expect 0 "$fb" -c "$conf" recover --lock-wait 60s
for m in hangs lies dies is-missing; do
	[ -e machines/start-$m/up ] || fail "recover did not start start-$m"
	effects start-$m "start "
done
expect 0 "$fb" -c "$conf" recover --lock-wait 60s
grep -q 'nothing is owed' "$work/stdout" || fail "something is still owed"
effects start-hangs "start "
ok "recover starts each of them once"


# 5. What cannot be told whether it is up is not touched.
wait
cd "$work/s"
cp "$work/s.stdout" "$work/stdout"
cp "$work/s.stderr" "$work/stderr"
[ "$(cat "$work/s.status")" -eq 3 ] || fail "exit $(cat "$work/s.status")"
is good ok "stop start "
is status-leaves ok "stop start "
is status-hangs failed "" "did not end in time"
is status-stops-itself failed "" "did not end in time"
is status-floods failed "" "exit code 1"
is status-dies failed "" "signal 9"
is status-is-missing failed "" "missing"
expect 0 "$fb" -c fleetbak.yaml recover -n
grep -q 'nothing is owed' "$work/stdout" || fail "something is owed"
ok "a state that cannot be told is not touched"
