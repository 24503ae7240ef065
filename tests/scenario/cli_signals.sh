#!/bin/sh
# Signals: the first one stops in order and says how to go on; the program
# dies by it, so that a loop around it stops; no machine is left down.
. "$(dirname "$0")/lib.sh"
requires jq python3

make_fleet "$work/f" 3
cd "$work/f"
expect 0 "$fb" -c "$conf" init

# A machine that takes its time to stop, until it is interrupted.
for m in m1 m2 m3; do
	sed 's/^stop)$/stop)\n\t: >stopping; while [ ! -e go ]; do sleep 0.05; done/' \
		machines/$m/ctl >ctl.new
	cat ctl.new >machines/$m/ctl
done

for signal in INT TERM; do
	rm -f machines/*/stopping machines/*/go
	# A shell starts background jobs with SIGINT ignored: not so here.
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' \
		"$fb" -c "$conf" download --json >"$work/stdout" \
		2>"$work/stderr" &
	pid=$!
	until_true "m1 is not stopped" [ -e machines/m1/stopping ]
	kill -$signal $pid
	touch machines/m1/go machines/m2/go machines/m3/go
	status=0
	wait $pid || status=$?
	case $signal in
	INT) want=130 ;;
	TERM) want=143 ;;
	esac
	[ "$status" -eq "$want" ] || fail "$signal gave $status"
	jq -es --argjson code "$want" 'length == 1 and .[0].ok == false and
		.[0].exit_code == $code and .[0].exit_name == "signal"' \
		"$work/stdout" >/dev/null ||
		fail "no document: $(cat "$work/stdout")"
	grep -q "stopping in order" "$work/stderr" || fail "no word"
	for m in m1 m2 m3; do
		[ -e machines/$m/up ] || fail "$m is down after $signal"
	done
	expect 0 "$fb" -c "$conf" recover -n
	grep -q "nothing is owed" "$work/stdout" || fail "something is owed"
	ok "SIG$signal: stopped in order, everything up, exit $want"
done

touch machines/m1/go machines/m2/go machines/m3/go
expect 0 "$fb" -c "$conf" download --json
ok "the next download goes on"

# A reader that goes away.
status=0
{
	"$fb" -c "$conf" explain || echo $? >"$work/status"
} | true
sleep 0.2
[ ! -s "$work/status" ] || [ "$(cat "$work/status")" -eq 141 ] ||
	fail "a broken pipe gave $(cat "$work/status")"
ok "a broken pipe ends it by SIGPIPE"
