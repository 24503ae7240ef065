#!/bin/sh
# Signals, and standard streams that are closed, full or gone: what is safe is
# finished, machines come up, a run that is committed stays committed, and the
# exit code is 0 only when the answer has reached somebody.
# shellcheck disable=SC2016 # the scripts are for the machines
. "$(dirname "$0")/lib.sh"
requires jq python3

make_fleet "$work/f" 0
cd "$work/f"
make_evil machines m1
make_evil machines m2
mkfifo machines/m1/gate
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download

# hold <verb>: the next time m1 does that, it says "held" and waits for `go`.
hold() {
	rm -f machines/m1/held
	echo 'rm -f on-'"$1"'; : >held; read -r _ <gate' >"machines/m1/on-$1"
}

go() {
	echo go >machines/m1/gate
}

# begin <command>...: in the background, as from a terminal: a shell would have
# it ignore SIGINT.
begin() {
	rm -f machines/m1/held
	for m in m1 m2; do : >machines/$m/effects; done
	python3 -c 'import os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for s in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
    signal.signal(s, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$fb" -c "$conf" "$@" \
		>"$work/stdout" 2>"$work/stderr" &
	run=$!
}

ends() { # <what> <status>
	status=0
	wait $run || status=$?
	[ "$status" -eq "$2" ] || fail "$1: exit $status instead of $2"
}

is_up() {
	[ -e machines/m1/up ] && [ -e machines/m2/up ]
}

all_up() { # <what>
	until_true "$1: a machine is down" is_up
}

heard() {
	grep -q "stopping in order" "$work/stderr"
}

committed() { # how many runs there are
	"$fb" -c "$conf" list runs --json | jq '.data | length'
}

goes_on() { # <what>: nothing is left behind and the next run works
	rm -f machines/m1/on-*
	expect 0 "$fb" -c "$conf" download --lock-wait 60s --json
	all_up "$1"
	[ -z "$(ls state/runs)" ] || fail "$1: left $(ls state/runs)"
}

# 1. Once: in order, whatever is in flight.
for case in "INT stop 130" "HUP start 129" "TERM status 143"; do
	# shellcheck disable=SC2086 # three words
	set -- $case
	hold "$2"
	begin download
	until_true "$case: nothing is held" [ -e machines/m1/held ]
	kill "-$1" $run
	until_true "$case: it is not heard" heard
	go
	ends "$case" "$3"
	all_up "$case"
	[ "$(grep -c start machines/m1/effects || :)" -le 1 ] ||
		fail "$case: started twice"
	expect 0 "$fb" -c "$conf" recover -n
	grep -q "nothing is owed" "$work/stdout" || fail "$case: something is owed"
	goes_on "$case"
	ok "once: SIG$1 at a $2"
done

# 2. Twice, or one that nobody catches: at once, and the guardian does the rest.
hold stop
begin download
until_true "nothing is held" [ -e machines/m1/held ]
kill -INT $run
until_true "the first is not heard" heard
kill -HUP $run
ends "twice" 129
go
until_true "twice: not started" grep -q start machines/m1/effects
all_up "twice"
[ "$(tr '\n' ' ' <machines/m1/effects)" = "stop start " ] ||
	fail "twice: $(cat machines/m1/effects)"
goes_on "twice"
ok "twice: it ends at once, its guardian starts the machine, once"
for signal in QUIT KILL ABRT; do
	hold stop
	begin download
	until_true "nothing is held" [ -e machines/m1/held ]
	kill -$signal $run
	wait $run 2>/dev/null || :
	go
	until_true "$signal: not started" grep -q start machines/m1/effects
	all_up $signal
	[ "$(tr '\n' ' ' <machines/m1/effects)" = "stop start " ] ||
		fail "$signal: $(cat machines/m1/effects)"
	goes_on $signal
done
ok "SIGQUIT, SIGKILL, SIGABRT: the guardian starts the machine, once"

# 3. What is none of its business.
hold stop
begin download
until_true "nothing is held" [ -e machines/m1/held ]
kill -PIPE $run
kill -CHLD $run
kill -WINCH $run
go
ends "others" 0
[ "$(tr '\n' ' ' <machines/m1/effects)" = "stop start " ] || fail "others"
hold stop
(trap '' HUP && exec "$fb" -c "$conf" download) >"$work/stdout" \
	2>"$work/stderr" &
run=$!
until_true "nothing is held" [ -e machines/m1/held ]
kill -HUP $run
go
ends "nohup" 0
ok "SIGPIPE, SIGCHLD, SIGWINCH and an ignored SIGHUP change nothing"

# 4. Stopped for longer than a deadline: who ended in time was in time, who did
# not is ended, and a cap on downtime that has passed is kept to.
set_stopped() { # <what>: stop the run while m1 is held
	until_true "$1: nothing is held" [ -e machines/m1/held ]
	kill -STOP $run
}
sed -i 's/^stop_timeout: .*/stop_timeout: 3s/' machines/m1/machine.yaml
hold stop
begin download
set_stopped "in time"
go
until_true "m1 does not stop" [ ! -e machines/m1/up ]
sleep 3.2 # the deadline has to pass
kill -CONT $run
ends "in time" 0
all_up "in time"
sed -i 's/^stop_timeout: .*/stop_timeout: 1s/' machines/m1/machine.yaml
hold stop
begin download
set_stopped "too late"
sleep 1.2
kill -CONT $run
ends "too late" 3
all_up "too late"
grep -q "did not end in time" "$work/stderr" || fail "no word of the deadline"
sed -i 's/^stop_timeout: .*/stop_timeout: 10min/' machines/m1/machine.yaml
sed -i 's/max_downtime: 20min/max_downtime: 3s/' "$conf"
hold stop
begin download --set download.jobs=1
set_stopped "downtime"
go
until_true "m1 does not stop" [ ! -e machines/m1/up ]
sleep 3.1
kill -CONT $run
ends "downtime" 3
all_up "downtime"
grep -q E-DOWNTIME "$work/stderr" || fail "no word of max_downtime"
sed -i 's/max_downtime: 3s/max_downtime: 20min/' "$conf"
goes_on "stopped"
ok "SIGSTOP and SIGCONT: deadlines are kept, and no child is blamed"

# 5. A terminal that goes away: SIGHUP, and nobody to write to.
hold stop
: >machines/m1/effects
cat >"$work/terminal.py" <<-'PY'
	import os, pty, sys, time
	pid, fd = pty.fork()
	if pid == 0:
	    os.environ["TERM"] = "xterm"
	    os.execv(sys.argv[1], sys.argv[1:])
	for _ in range(1200):
	    if os.path.exists("machines/m1/held"):
	        break
	    time.sleep(0.05)
	os.close(fd)
	with open("machines/m1/gate", "w") as gate:
	    gate.write("go\n")
	status = os.waitpid(pid, 0)[1]
	sys.exit(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 99)
PY
expect 1 python3 "$work/terminal.py" "$fb" -c "$conf" download
all_up "terminal"
goes_on "terminal"
ok "a terminal that goes away: in order, by SIGHUP"

# 6. Standard streams.
before=$(committed)
commits() { # <what>: one more run is there, and its machines are up
	before=$((before + 1))
	[ "$(committed)" -eq "$before" ] || fail "$1: no run was committed"
	all_up "$1"
	[ -z "$(ls state/runs)" ] || fail "$1: left $(ls state/runs)"
}
for case in '0 <&-' '0 2>&-' '1 >&-' '1 <&- >&- 2>&-' '1 >/dev/full' \
	'0 2>/dev/full' '1 >/dev/full 2>/dev/full'; do
	want=${case%% *}
	streams=${case#* }
	case $streams in
	*2\>*) ;;
	*) streams="$streams 2>$work/stderr" ;;
	esac
	case $streams in
	*\>\&-*[0-9]\>* | \>* | *" >"*) ;;
	*) streams="$streams >$work/stdout" ;;
	esac
	: >"$work/stderr"
	eval '"$fb" -c "$conf" download --json '"$streams" && got=0 || got=$?
	[ "$got" -eq "$want" ] || fail "exit $got: $streams"
	commits "$streams"
	[ "$case" != '1 >/dev/full' ] || grep -q E-STDOUT "$work/stderr" ||
		fail "a full device is not named"
done
ok "streams that are closed or full: committed, up, and never a false 0"
run_id=$("$fb" -c "$conf" list runs --json | jq -r '.data[-1].run')
for command in "list" "status" "show latest" "verify --structure" \
	"recover" "plan" "discover" "topology" "restore m1 --json --target $work/out" \
	"prune -y" "prune -n" "forget -n $run_id" "list runs" \
	"download -o ndjson" "list -o tsv" "explain" "version" "config show"; do
	# shellcheck disable=SC2086 # a command and its arguments
	got=$("$fb" -c "$conf" $command 2>"$work/stderr" >/dev/full &&
		echo 0 || echo $?)
	[ "$got" -eq 1 ] || fail "exit $got: $command >/dev/full"
	grep -q E-STDOUT "$work/stderr" || fail "$command: not a word"
done
all_up "/dev/full"
ok "no command says 0 when its answer is lost"

# A reader that has gone before the first word.
cat >"$work/gone.py" <<-'PY'
	import os, signal, sys
	reader, writer = os.pipe()
	os.close(reader)
	os.dup2(writer, 1)
	os.close(writer)
	signal.signal(signal.SIGPIPE, signal.SIG_DFL)
	os.execv(sys.argv[1], sys.argv[1:])
PY
before=$(committed)
for form in json ndjson; do
	: >machines/m1/effects
	expect 141 python3 "$work/gone.py" "$fb" -c "$conf" download -o $form
	commits "$form"
	[ "$(tr '\n' ' ' <machines/m1/effects)" = "stop start " ] ||
		fail "$form: $(cat machines/m1/effects)"
done
for command in "list" "status" "verify --structure" "explain" "recover"; do
	# shellcheck disable=SC2086 # a command and its arguments
	expect 141 python3 "$work/gone.py" "$fb" -c "$conf" $command
done
"$fb" -c "$conf" download -o ndjson 2>/dev/null | head -1 |
	jq -e '.seq == 1' >/dev/null || fail "no first line"
commits "head -1"
ok "a reader that goes away: the run is committed, and it dies by SIGPIPE"

# 7. The other commands are interrupted: they end, by the signal, and nothing
# is held or half done that a second call does not finish.
if [ "${FB_VARIANT:-debug}" != release ]; then
	stopped() {
		grep -q '^State:.T' "/proc/$run/status"
	}
	for command in "verify" "restore m1 --target $work/out2" "list" \
		"discover" "prune -y"; do
		for at in 20 60; do
			rm -rf "$work/out2"
			# shellcheck disable=SC2086 # a command, its arguments
			FLEETBAK_FAULT=$at:stop "$fb" -c "$conf" $command \
				>"$work/stdout" 2>"$work/stderr" &
			run=$!
			until_true "$command does not stop at $at" stopped
			kill -TERM $run
			kill -CONT $run
			ends "$command at $at" 143
		done
		rm -rf "$work/out2"
		# shellcheck disable=SC2086 # a command and its arguments
		expect 0 "$fb" -c "$conf" $command
	done
	ok "verify, restore, list, discover and prune die by it, and can go again"
fi
