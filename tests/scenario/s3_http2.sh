#!/bin/sh
# HTTP/2 before the real gateway: streams that are reset in the middle of bodies,
# connections that the server ends with GOAWAY, many ranges at once, and a server
# that is restarted under a run.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_radosgw
s3_make bucket
s3_env
start_proxy main
# shellcheck disable=SC2034 # for start_front
front_before=${proxy_url#http://}
start_front h2 "IP:$server_address"
s3_at=$front_url s3_more="ca: \"$s3_ca\""
s3_fleet "$work/f" 1 bucket
cd "$work/f"
expect 0 "$fb" -c "$conf" init

change() {
	head -c 12M /dev/urandom >machines/m1/disk.img
	: >"$proxy_log"
	: >"$front_log"
}
night() { # <what>
	expect 0 "$fb" -c "$conf" download
	expect 0 "$fb" -c "$conf" verify --full
	restored "$1"
}
restored() {
	expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
	cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "$1: another disk"
	rm -r "$work/out"
	rules
	nothing_wrong
	! grep -v '^[A-Z]* /.* HTTP/2 ' "$front_log" | grep /bucket/ ||
		fail "$1: not all of it is HTTP/2"
}

# What the fault proxy cuts is to us a stream that is reset: curl says so.
change
expect 0 "$fb" -c "$conf" download
pack=$(s3_keys bucket fleet/packs/ | head -1)
rules 'cut=2000 method=GET path=*/packs/*'
s3_server=$s3_url s3_url=$front_url
expect 92 s3_curl GET "/bucket/$pack" --cacert "$s3_ca" -o "$work/cut"
s3_url=$s3_server

change
rules 'reset-upload=5000 method=PUT path=*/packs/* times=2' \
	'cut=2000 method=GET path=*/packs/* times=4' \
	'reset-answer=70000 method=GET path=*/packs/* times=4'
night "streams that are reset"
for kind in reset-upload cut reset-answer; do
	fault_began $kind || fail "no $kind"
done
ok "streams that are reset in the middle of bodies"

# Nights that each change a little: its bytes are in many packs.
for at in 1 3 5 7 9 11; do
	head -c 1M /dev/urandom | dd of=machines/m1/disk.img bs=1M seek=$at \
		conv=notrunc status=none
	expect 0 "$fb" -c "$conf" download
done
: >"$proxy_log"
rules 'delay=100 method=GET path=*/packs/*'
restored "ranges"
at_once=$(awk '$4 ~ "/packs/" && $9 > most { most = $9 } END { print most + 0 }' \
	"$proxy_log")
[ "$at_once" -ge 4 ] || fail "only $at_once at once"
ok "$at_once ranges at once"

# Three requests a connection, and GOAWAY.
kill -KILL "$front_pid"
wait "$front_pid" 2>/dev/null || :
run_front --frontend-max-requests=3
change
night "connections of three requests"
most=$(grep ' HTTP/2 ' "$front_log" | awk '{ print $NF }' | sort | uniq -c |
	sort -n | tail -1 | awk '{ print $1 }')
[ "$most" -eq 3 ] || fail "$most requests over one connection"
ok "GOAWAY behind each third request"

# Killed in the middle, and started again.
change
rules 'slow-upload=4000000 method=PUT path=*/packs/*'
"$fb" -c "$conf" download >"$work/run.out" 2>&1 &
run=$!
until_true "no pack" fault_began slow-upload
kill -KILL "$front_pid"
wait "$front_pid" 2>/dev/null || :
kill -0 $run || fail "the run was over: $(tail -3 "$work/run.out")"
run_front
wait $run || fail "the run failed: $(tail -5 "$work/run.out")"
expect 0 "$fb" -c "$conf" verify --full
restored "restarted"
ok "the server is killed and started again in the middle"
