#!/bin/sh
# The tests' own fault proxy before the real gateway: each fault is the one that
# its rule names, and its log tells what happened. What stands on it is not
# worth more than this.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

export RGW_SESSIONS=true
start_radosgw
s3_make bucket
seq 1 20000 >"$work/body" # 108894 bytes
size=$(wc -c <"$work/body")
start_proxy main --seed 7
server_url=$s3_url
s3_url=$proxy_url

# status <expected> <curl's exit> <method> <path> [option...]
status() {
	want=$1 want_rc=$2
	shift 2
	rc=0
	got=$(s3_curl "$@" -o "$work/got" -w '%{http_code}' 2>"$work/stderr") || rc=$?
	# An upload has had its "100 Continue" by then.
	[ "$got" != 100 ] || got=000
	[ "$got $rc" = "$want $want_rc" ] ||
		fail "$1 $2: status $got, curl's $rc; not $want, $want_rc"
}

in_bucket() { # <key>: really there, whatever the proxy says
	s3_url=$server_url
	in_bucket_status=$(s3_curl HEAD "/bucket/$1" -I -o /dev/null -w '%{http_code}')
	s3_url=$proxy_url
	[ "$in_bucket_status" = 200 ]
}

refused() {
	s3_curl GET / 2>&1 | grep -q 'connect to'
}
listens() {
	s3_curl GET /bucket/a -o /dev/null 2>/dev/null
}

rules
status 200 0 PUT /bucket/a -T "$work/body"
status 200 0 GET /bucket/a
cmp -s "$work/body" "$work/got" || fail "another body"
status 200 0 PUT /bucket/small --data-binary x
status 404 0 GET /bucket/none
status 200 0 HEAD /bucket/a -I
status 204 0 DELETE /bucket/small
ok "without rules everything passes"

rules 'error=503,SlowDown,7 method=GET times=1'
status 503 0 GET /bucket/a -D "$work/head"
grep -q '<Code>SlowDown</Code>' "$work/got" || fail "no SlowDown"
grep -qi '^Retry-After: 7' "$work/head" || fail "no Retry-After"
status 200 0 GET /bucket/a
rules 'error=500,InternalError method=PUT skip=1 times=1'
status 200 0 PUT /bucket/e1 -T "$work/body"
status 500 0 PUT /bucket/e2 -T "$work/body"
status 200 0 PUT /bucket/e3 -T "$work/body"
in_bucket e1 && ! in_bucket e2 && in_bucket e3 || fail "skip and times"
rules 'early=503,SlowDown path=/bucket/e*'
status 503 0 PUT /bucket/e4 -T "$work/body" -H 'Expect: 100-continue'
rules "error=400,ExpiredToken key=$s3_key"
status 400 0 GET /bucket/a
rules 'error=400,ExpiredToken key=TESTACCESSKEY000000'
status 200 0 GET /bucket/a
ok "errors, for whom and how often"

rules 'refuse'
until_true "it still listens" refused
status 000 7 GET /bucket/a
rules
until_true "it does not listen" listens
ok "refused, and not any more"

rules 'reset'
status 000 56 GET /bucket/a
rules 'reset-upload=1000'
rc=$(s3_curl PUT /bucket/r1 -T "$work/body" 2>/dev/null && echo 0 || echo $?)
case $rc in 52 | 55 | 56) ;; *) fail "reset of an upload: curl's $rc" ;; esac
! in_bucket r1 || fail "a piece of an upload became an object"
rules 'reset-answer=1000'
status 200 56 GET /bucket/a
[ "$(wc -c <"$work/got")" -le 1000 ] || fail "more than 1000 bytes"
rules 'cut=1000'
status 200 18 GET /bucket/a
[ "$(wc -c <"$work/got")" -eq 1000 ] || fail "not 1000 bytes"
ok "resets and cuts in the middle of bodies"

rules 'lost method=PUT'
status 000 56 PUT /bucket/lost -T "$work/body"
in_bucket lost || fail "nothing was done"
rules 'lost-hang'
s3_curl PUT /bucket/lost2 -T "$work/body" >"$work/got" 2>&1 &
until_true "nothing was done" in_bucket lost2
kill -0 $! || fail "no silence"
rules
rc=0
wait $! || rc=$?
case $rc in 52 | 56) ;; *) fail "a lost answer: curl's $rc" ;; esac
rules 'hang=200'
status 000 56 GET /bucket/a
rules 'hang'
s3_curl GET /bucket/a >/dev/null 2>&1 &
until_true "it does not hang" fault_began 'hang'
rules
wait $! || [ $? -eq 56 ] || fail "silence has another end"
ok "answers lost behind the effect, and silence"

rules 'slow=200000'
began=$(date +%s%N)
status 200 0 GET /bucket/a
[ $((($(date +%s%N) - began) / 1000000)) -ge 400 ] || fail "not slow"
cmp -s "$work/body" "$work/got" || fail "another body"
rules 'slow-upload=200000'
began=$(date +%s%N)
status 200 0 PUT /bucket/slow -T "$work/body"
[ $((($(date +%s%N) - began) / 1000000)) -ge 400 ] || fail "not slow"
rules 'delay=300'
began=$(date +%s%N)
status 200 0 GET /bucket/a
[ $((($(date +%s%N) - began) / 1000000)) -ge 300 ] || fail "not later"
ok "slow and late"

rules 'corrupt=70000'
status 200 0 GET /bucket/a
[ "$(cmp -l "$work/body" "$work/got" | wc -l)" -eq 1 ] || fail "not one byte"
rules 'corrupt-upload=70000'
status 200 0 PUT /bucket/c -T "$work/body"
rules
status 200 0 GET /bucket/c
[ "$(cmp -l "$work/body" "$work/got" | wc -l)" -eq 1 ] || fail "not one byte"
ok "another byte on the way"

rules 'lag=60000'
status 200 0 PUT /bucket/new -T "$work/body"
status 200 0 GET '/bucket?list-type=2'
! grep -q '<Key>new<' "$work/got" || fail "the list knows what is new"
status 200 0 PUT /bucket/new/a -T "$work/body"
for encoding in '' 'encoding-type=url&'; do
	status 200 0 GET "/bucket?${encoding}list-type=2&prefix=new"
	! grep -q '<Key>new' "$work/got" || fail "the list knows what is new: $encoding"
done
rules 'lag=1'
status 200 0 GET '/bucket?list-type=2'
grep -q '<Key>new<' "$work/got" || fail "the list does not know what is old"
rules 'date=-3600'
status 200 0 GET /bucket/a -D "$work/head"
then=$(date -d "$(sed -n 's/^Date: //p' "$work/head" | tr -d '\r')" +%s)
off=$(($(date +%s) - then))
[ $off -gt 3590 ] && [ $off -lt 3660 ] || fail "the Date is $off s off"
printf 'HTTP/1.1 418 I am a teapot\r\nContent-Length: 3\r\n\r\ntea' >"$work/tea"
rules "answer=$work/tea method=GET"
status 418 0 GET /bucket/a
[ "$(cat "$work/got")" = tea ] || fail "not the file's bytes"
ok "lists that lag, clocks that are off, answers from a file"

rules 'error=500,InternalError prob=0.5 path=*chance*'
i=0 failed=0
while [ $i -lt 40 ]; do
	i=$((i + 1))
	[ "$(s3_curl HEAD /bucket/chance$i -I -o /dev/null -w '%{http_code}')" = 404 ] ||
		failed=$((failed + 1))
done
[ $failed -ge 8 ] && [ $failed -le 32 ] || fail "$failed of 40 by chance"
ok "by chance"

s3_url=$server_url
s3_session
other_token=$session_token
s3_session
rules "error=400,ExpiredToken key=$s3_key"
lasting_key=$s3_key lasting_secret=$s3_secret
s3_key=$session_key s3_secret=$session_secret s3_url=$proxy_url
status 200 0 GET /bucket/a -H "x-amz-security-token: $session_token"
status 403 0 GET /bucket/a -H "x-amz-security-token: $other_token"
s3_key=$lasting_key s3_secret=$lasting_secret
ok "a session with a token"

[ "$(requests PUT '/bucket/e[123]')" -eq 3 ] || fail "the log counts otherwise"
grep -q "^[0-9]* [0-9]* GET /bucket/a 200 0 $size - 1\$" "$proxy_log" ||
	fail "no line of a whole GET"
grep -q '^[0-9]* [0-9]* PUT /bucket/r1 0 1000 0 reset-upload 1$' "$proxy_log" ||
	fail "no line of the upload that was reset"
ok "the log tells what happened"

# curl's own signature leaves out what ours may not.
rules
grep -q '^! [0-9]* x-amz-content-sha256 is UNSIGNED-PAYLOAD' "$proxy_log" ||
	fail "it does not see an unsigned payload"
: >"$proxy_log"
curl -sS -o /dev/null "$s3_url/bucket/a" -H "x-amz-meta-a: $s3_secret"
grep -q 'no Authorization' "$proxy_log" || fail "it does not see an unsigned one"
grep -q 'a secret in clear' "$proxy_log" || fail "it does not see the secret"
: >"$proxy_log"
curl -sS -o /dev/null -X PUT "$s3_url/bucket/x" -H 'Transfer-Encoding: chunked' \
	-H "x-amz-content-sha256: $(echo other | sha256sum | cut -c 1-64)" \
	-H 'Authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b' \
	-H 'x-amz-date: 20200101T000000Z' -d x
for what in 'no Content-Length' 'Transfer-Encoding: chunked' \
	'unsigned header x-amz-date' 'another hash'; do
	grep -q "$what" "$proxy_log" || fail "it does not see: $what"
done
ok "it sees what is wrong with a request"
