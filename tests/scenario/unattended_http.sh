#!/bin/sh
# Who is told by HTTP: what is sent, that it is tried again but not for ever,
# that nothing of it decides, and that the URL is in no message.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 1
cd "$work/f"
expect 0 "$fb" -c "$conf" init
cp "$conf" plain.yaml

receivers=
listen() { # <name> <answer>...: sets $port
	listen_name=$1
	shift
	rm -f "$listen_name.port" "$listen_name.log"
	"$bin/scenario/receiver" http "$listen_name.port" "$listen_name.log" "$@" &
	receivers="$receivers $!"
	retry test -s "$listen_name.port"
	port=$(cat "$listen_name.port")
}
stop_all() {
	for pid in $receivers; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	receivers=
}
trap 'stop_all; clear_work' EXIT
notify() { # <type> <port>: the configuration tells this one
	cp plain.yaml "$conf"
	printf 'notify:\n  it: {type: %s, url: "file:./url", on: [start, success, failure, budget]}\n' \
		"$1" >>"$conf"
	(umask 077 && echo "http://127.0.0.1:$2/ping/top-secret-uuid" >url)
}
lines() { # <log>: the request lines
	sed -n 's/^\(POST [^ ?]*\).*/\1/p' "$1" | tr '\n' ' '
}

listen hc 200
notify healthchecks "$port"
expect 0 "$fb" -c "$conf" -q download
[ ! -s "$work/stdout" ] && [ ! -s "$work/stderr" ] || fail "-q says something"
[ "$(lines hc.log)" = "POST /ping/top-secret-uuid/start POST /ping/top-secret-uuid/0 " ] ||
	fail "pinged: $(lines hc.log)"
[ "$(sed -n 's/.*?rid=\([0-9a-f-]*\) HTTP.*/\1/p' hc.log | sort -u | wc -l)" -eq 1 ] ||
	fail "start and end have not the same rid"
sed -n 's/.*?rid=\([0-9a-f-]*\) HTTP.*/\1/p' hc.log | head -1 |
	grep -qE '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' ||
	fail "the rid is no UUID"
grep -q '1 stored, 0 failed' hc.log || fail "the summary is not the body"
: >machines/m1/fail-stop
expect 1 "$fb" -c "$conf" -q download
lines hc.log | grep -q '/start POST /ping/top-secret-uuid/1 $' ||
	fail "pinged: $(lines hc.log)"
grep -q 'FAILED   lab/m1' hc.log || fail "who failed is not told"
expect 0 "$fb" -c "$conf" -q verify
[ "$(grep -c ^POST hc.log)" -eq 4 ] || fail "verify is taken for a night"
rm machines/m1/fail-stop
ok "healthchecks: start and end of a night, with what it says"

listen hook 500 503 200
notify webhook "$port"
expect 0 "$fb" -c "$conf" -q download
[ "$(grep -c '^POST /ping/top-secret-uuid HTTP' hook.log)" -eq 4 ] ||
	fail "tried: $(lines hook.log)"
grep -q '^[Cc]ontent-[Tt]ype: application/json' hook.log || fail "no JSON"
grep '^{' hook.log | tail -1 | jq -e '.event == "success" and .exit_code == 0 and
	.fleet == "demo" and .command == "download" and (.run | length > 0)' \
	>/dev/null || fail "what is posted"
ok "a webhook gets the document; a server in trouble is asked again"

listen bad 404
notify webhook "$port"
expect 0 "$fb" -c "$conf" download
[ "$(grep -c ^POST bad.log)" -eq 2 ] || fail "a refusal is tried again"
grep -q 'warning: notify.it could not be told: .*404' "$work/stderr" ||
	fail "no warning"
! grep -rq top-secret "$work/stderr" "$work/stdout" || fail "the URL is told"
listen down 500
notify webhook "$port"
expect 0 "$fb" -c "$conf" download
[ "$(grep -c ^POST down.log)" -eq 6 ] || fail "not three tries each"
stop_all
notify webhook 9 # where nobody listens; its own port may be another's by now
expect 0 "$fb" -c "$conf" download --log-file log.txt -v
grep -q 'warning: notify.it could not be told' "$work/stderr" || fail "no warning"
! grep -rq top-secret "$work/stderr" "$work/stdout" log.txt ||
	fail "the URL is told"
ok "what cannot be told changes no exit status and gives no URL away"

echo "something else entirely" >url
expect 0 "$fb" -c "$conf" download
grep -q 'what file:./url names is not a URL' "$work/stderr" || fail "no URL"
chmod 644 url
expect 1 "$fb" -c "$conf" notify
grep -q '^fleetbak: E-NOTIFY' "$work/stderr" || fail "notify succeeds"
for wrong in 'type: webhook' 'type: exec' 'type: webhook, command: [x], url: "cred:a"' \
	'type: exec, command: [x], on: [sucess]' 'type: exec, command: [x], commands: [pune]' \
	'type: webhook, url: "http://in.the/open"'; do
	cp plain.yaml "$conf"
	printf 'notify:\n  it: {%s}\n' "$wrong" >>"$conf"
	expect 2 "$fb" -c "$conf" config check
done
ok "what is wrong under notify is said"
