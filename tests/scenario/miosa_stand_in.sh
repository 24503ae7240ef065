#!/bin/sh
# The stand-in for MIOSA is what the contract says, sees what is wrong with a
# request, and goes wrong as it is told: driven here by curl alone.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_miosa.sh
. "$here/lib_miosa.sh"

miosa_computer comp_a running
miosa_computer comp_b stopped
miosa_begin
cd "$work"
key=11111111-2222-4333-8444-55555555555

# has <pattern>: the last answer does.
has() {
	grep -qE "$1" answer || fail "no $1 in $(head -c 500 answer)"
}
post() { # <status> <path> <json> [key's last digit]
	if [ $# -gt 3 ]; then
		api_is "$1" POST "$2" -H 'Content-Type: application/json' \
			-H "Idempotency-Key: $key$4" -d "$3"
	else
		api_is "$1" POST "$2" -H 'Content-Type: application/json' \
			-d "$3"
	fi
}
status_is() { # <computer> <status>
	api_is 200 GET "/computers/$1"
	has "\"status\":\"$2\""
}

# Who asks.
api_is 200 GET /computers
has '^\[\{.*comp_a.*comp_b'
curl -s -o answer -w '%{http_code}' -H 'Accept: application/json' \
	"$base/computers" >status
[ "$(cat status)" = 401 ] || fail "no key is enough"
has '"error":"[^"]*","code":"invalid_token"'
api_is 404 GET /computers/comp_x
has '"error":"Not found","code":"NOT_FOUND"'
miosa_fair
api_is 200 GET /computers -H 'Accept: text/html' -H 'Accept:'
api_is 200 GET /computers -H 'Content-Type: application/json'
miosa_complained 'a Content-Type without a body'
api_is 404 POST /elsewhere -d '{}'
miosa_complained 'a body without application/json'
post 201 /computers/comp_a/checkpoints '{}'
miosa_complained 'without an Idempotency-Key'
ok "keys and heads of requests are looked at"

# The first family.
: >"$cloud/effects"
post 201 /computers/comp_b/checkpoints '{"name":"one"}' 1
has '^\{"id":"snap_[0-9]+","status":"creating"\}$'
sid=$(field id answer)
post 201 /computers/comp_b/checkpoints '{"name":"one"}' 1
[ "$(field id answer)" = "$sid" ] || fail "another one for the same key"
effects 1 'snapshot comp_b .*'
effects 1 'replay .*'
post 409 /computers/comp_b/checkpoints '{"name":"two"}' 1
has IDEMPOTENCY_PAYLOAD_MISMATCH
miosa_complained 'of another payload'
at=/computers/comp_b/checkpoints/$sid
api_is 200 GET "$at"
has '"status":"creating"'
api_is 200 GET "$at"
has '"name":"one".*"size_bytes":[0-9]{4,}'
has '"status":"ready"'
api_is 200 GET "$at/export" -H 'Accept: */*'
tar -tf answer | grep -qx './data/hello.txt' || fail "no tar"
cp answer whole
api_is 206 GET "$at/export" -H 'Range: bytes=1000-1999'
[ "$(wc -c <answer)" -eq 1000 ] || fail "another range"
tail -c +1001 whole | head -c 1000 | cmp - answer || fail "other bytes"
api_is 416 GET "$at/export" -H 'Range: bytes=99999999-'
echo changed >"$cloud/computers/comp_b/data/hello.txt"
api_is 202 POST "$at/restore"
grep -q 'hello from comp_b' "$cloud/computers/comp_b/data/hello.txt" ||
	fail "it was not restored"
status_is comp_b starting
status_is comp_b running
effects 1 "restore comp_b $sid"
effects 0 'restore-stop .*'
miosa_rules 'conflict'
api_is 409 POST "$at/restore"
has '"error":"Computer is running","code":"CONFLICT"'
api_is 202 POST /computers/comp_b/stop
status_is comp_b stopping
status_is comp_b stopped
miosa_rules 'stays'
api_is 202 POST "$at/restore"
status_is comp_b stopped
miosa_rules
effects 1 'stop comp_b'
api_is 200 DELETE "$at"
has '^\{"ok":true\}$'
api_is 404 GET "$at"
miosa_fair
ok "checkpoints are made once, exported, restored in place and deleted"

# The second, and an account's.
post 409 /computers/comp_b/snapshots '{}' 2
post 201 /computers/comp_a/snapshots '{"comment":"two"}' 3
has '^\{"data":\{.*"status":"creating"'
sid=$(field id answer)
api_is 200 POST /auth/sse-ticket
ticket=$(field ticket answer)
events="/computers/comp_a/snapshots/$sid/events?ticket=$ticket"
api_is 200 GET "$events" -H 'Accept: text/event-stream'
has '^data: .*"status":"ready"'
tail -2 answer | grep -qx 'data: \[DONE\]' || fail "no end"
api_is 401 GET "$events"
miosa_complained 'ticket'
api_is 200 GET '/snapshots?limit=1'
has "\"id\":\"$sid\".*\"browsable\":true"
api_is 200 GET "/snapshots/$sid/tree?path=%2Fdata"
has '"name":"hello.txt","path":"/data/hello.txt","type":"file"'
has '"name":"empty dir".*"type":"directory"'
api_is 200 GET "/snapshots/$sid/files?path=/data/hello.txt"
grep -qx 'hello from comp_a' answer || fail "another file"
api_is 200 GET "/snapshots/$sid/files?path=/data"
tar -tf answer | grep -qx './sub/numbers' || fail "no tar"
miosa_rules 'tar-names=plain'
api_is 200 GET "/snapshots/$sid/files?path=/data"
tar -tf answer | grep -qx 'sub/numbers' || fail "no plain tar"
miosa_rules 'tar-names=base'
api_is 200 GET "/snapshots/$sid/files?path=/data"
tar -tf answer | grep -qx 'data/sub/numbers' || fail "no tar of the folder"
miosa_rules 'tar-entries=3'
api_is 413 GET "/snapshots/$sid/files?path=/data"
has '"error":\{"code":"TOO_LARGE","message".*"request_id"'
miosa_rules 'warming=500 times=1'
api_is 202 GET "/snapshots/$sid/tree"
has '"status":"warming","retry_after_ms":500'
api_is 200 GET "/snapshots/$sid/tree"
miosa_rules 'in-use'
api_is 409 DELETE "/snapshots/$sid"
has 'SNAPSHOT_IN_USE.*"dependents":\[\{'
miosa_rules
post 201 "/snapshots/$sid/fork" '{}' 4
new=$(field id answer)
grep -q comp_a "$cloud/computers/$new/etc/hostname" || fail "no fork"
miosa_fair
ok "snapshots are browsed, forked and protected"

# In a computer.
api_is 200 GET '/computers/comp_a/files/download?path=/etc/hostname'
grep -qx comp_a answer || fail "another file"
post 200 /computers/comp_a/files/write \
	'{"path":"/data/new/file","content_base64":"aGVsbG8K"}'
grep -qx hello "$cloud/computers/comp_a/data/new/file" || fail "not written"
api_is 200 POST /computers/comp_a/files/upload -F 'file=@whole' \
	-F path=/data/whole -F create_dirs=true
cmp whole "$cloud/computers/comp_a/data/whole" || fail "not uploaded"
post 200 /computers/comp_a/files/export '{"path":"/data/whole"}'
curl -s -o got "$(field url answer)"
cmp whole got || fail "not exported"
if unshare -m true 2>/dev/null; then
	post 200 /computers/comp_a/exec \
		'{"command":"tar -czf /tmp/x.tgz -C / data && cat /etc/hostname"}'
	has '"exit_code":0,"stdout":"comp_a'
	tar -tzf "$cloud/computers/comp_a/tmp/x.tgz" | grep -q data/hello.txt ||
		fail "no tar"
	[ ! -e "$cloud/computers/comp_a/usr" ] || fail "something is left"
fi
miosa_fair
ok "files and commands of a computer"

# What goes wrong.
miosa_rules 'error=429,RATE_LIMITED,date:5 times=1' 'shape=5'
api_is 429 GET /computers
has '^\{"message":"injected","code":"RATE_LIMITED"\}$'
grep -qi '^retry-after: .*GMT' answer.head || fail "no date"
miosa_rules 'error=503,X,7 times=1' 'shape=8'
api_is 503 GET /computers
grep -qi '^retry-after: 7' answer.head || fail "no Retry-After"
has '<html>'
miosa_rules 'lost method=POST times=1'
! api POST /computers/comp_b/start || fail "an answer"
status_is comp_b starting
effects 1 'start comp_b'
miosa_rules becomes=frobnicated polls=0
api_is 202 POST /computers/comp_a/stop
status_is comp_a frobnicated
miosa_rules 'paging=meta,1' 'total=7'
api_is 200 GET '/computers?page=2&per_page=50'
has '^\{"data":\[\{"id":"comp_b"[^]]*\],"meta":\{"total":7,"page":2,"per_page":1\}'
miosa_rules 'envelope=named'
api_is 200 GET /computers
has '^\{"computers":\['
miosa_rules 'no-length' 'cut=100'
api_is 200 GET /computers
[ "$(wc -c <answer)" -eq 100 ] || fail "it was not cut"
miosa_rules 'chunked' 'cut=100'
! api GET /computers >out || fail "it was not cut"
miosa_rules 'slow=2000'
api_is 200 GET /computers/comp_a
miosa_rules 'sse=crlf,split,two-lines,comment,ids,open'
api_is 200 POST /auth/sse-ticket
events="/computers/comp_a/snapshots/$sid/events?ticket=$(field ticket answer)"
api_is 200 GET "$events" -H 'Accept: text/event-stream'
[ "$(grep -c '^data:' answer)" -eq 6 ] || fail "no two lines"
[ "$(tail -c 1 answer)" = "}" ] || fail "the end is no open frame"
miosa_rules 'need-json'
curl -s -o answer -w '%{http_code}' -H "Authorization: Bearer $cloud_key" \
	-H 'Accept: text/event-stream' "$base$events" >status
[ "$(cat status)" = 406 ] || fail "$(cat status)"
sed '/^!/d' "$cloud_log" >log.new && cat log.new >"$cloud_log"
miosa_rules
miosa_end
miosa_begin --families account --off-status 405
status_is comp_a frobnicated
api_is 405 GET /computers/comp_a/checkpoints
api_is 200 GET "/snapshots/$sid"
miosa_fair
ok "it goes wrong as it is told, and begins again where it was"
