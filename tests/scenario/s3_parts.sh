#!/bin/sh
# What is large goes up in parts, several at once: whole in the end; gone on with
# after a kill; and what nobody ends is found and given up by prune.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires_faults
requires jq

start_radosgw
s3_make bucket
s3_env
start_proxy main
s3_at=$proxy_url
# A pack that is made again after a kill is the same where none has a key of its
# own; and S3 takes no smaller parts.
s3_more='encrypt_to: []' s3_fleet "$work/f" 1 bucket
cd "$work/f"
export FLEETBAK_PARTS=5242880
change() {
	head -c 33M /dev/urandom >machines/m1/disk.img
}
parts_sent() {
	grep '^[0-9].* PUT .*partNumber=' "$proxy_log" | grep -c ' 200 ' || :
}
uploads_left() {
	s3_curl GET '/bucket?uploads=' | grep -c '<Upload>' || :
}

expect 0 "$fb" -c "$conf" init
change
: >"$proxy_log"
expect 0 "$fb" -c "$conf" download
nothing_wrong
[ "$(parts_sent)" -eq 7 ] || fail "$(parts_sent) parts instead of 7"
[ "$(requests POST '*/packs/*uploads*')" -eq 1 ] || fail "not one upload"
pack=$(s3_keys bucket fleet/packs/ | head -n 1)
s3_curl GET "/bucket/$pack" -f | sha256sum | cut -d ' ' -f 1 >"$work/digest"
[ "$(cat "$work/digest")" = "$(basename "$pack" .pack)" ] ||
	fail "the object is not what its name says"
[ "$(uploads_left)" -eq 0 ] || fail "an upload is left"
expect 0 "$fb" -c "$conf" verify --full
ok "a pack in 7 parts, and nothing left"

# Killed when some parts are there: the same pack goes on with the others.
change
: >"$proxy_log"
# Three parts are put, and no other one, however late it is killed.
rules 'hang method=PUT path=*partNumber* skip=3'
"$fb" -c "$conf" download >"$work/stdout" 2>"$work/stderr" &
run=$!
some_parts() {
	[ "$(parts_sent)" -ge 3 ]
}
until_true "no parts" some_parts
kill -KILL $run
wait $run 2>/dev/null && fail "it was over too soon" || :
left_alone "$PWD" # its guardian
rules
there=$(parts_sent)
[ "$(uploads_left)" -eq 1 ] || fail "$(uploads_left) uploads are left"
: >"$proxy_log"
expect 0 "$fb" -c "$conf" download --lock-wait 30s
again=$(parts_sent)
[ "$again" -le $((7 - there)) ] || fail "$again parts are sent again, $there were there"
[ "$(requests POST '*/packs/*uploads*')" -eq 0 ] || fail "another upload was begun"
[ "$(uploads_left)" -eq 0 ] || fail "an upload is left"
nothing_wrong
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
ok "killed with $there parts there, and gone on with the other $again"

# The answer to the last step is lost, or an error behind a 200; once a part is
# damaged on its way.
change
rules 'lost method=POST path=*uploadId* times=1' \
	'corrupt-upload=77 method=PUT path=*partNumber* times=1' \
	'error=500,InternalError method=PUT path=*partNumber* times=2'
expect 0 "$fb" -c "$conf" download
fault_began lost || fail "nothing was lost"
fault_began corrupt-upload || fail "nothing was damaged"
rules
expect 0 "$fb" -c "$conf" verify --full
ok "a lost answer, a damaged part and errors"

# The host is lost in the middle: its upload costs, and no list shows it.
change
: >"$proxy_log"
rules 'hang method=PUT path=*partNumber* skip=3'
"$fb" -c "$conf" download >"$work/stdout" 2>"$work/stderr" &
run=$!
until_true "no parts" some_parts
kill -KILL $run
wait $run 2>/dev/null && fail "it was over too soon" || :
rules
left_alone "$PWD" # its guardian
[ -e machines/m1/up ] || fail "m1 is down"
rm -rf state
expect 0 "$fb" -c "$conf" prune --yes --json
[ "$(uploads_left)" -eq 1 ] || fail "an upload that may go on was given up"
[ "$(jq .data.abandoned_uploads "$work/stdout")" -eq 0 ] || fail "it says another"
expect 0 "$fb" -c "$conf" prune --yes --fence-after 0s
grep -q '^1 uploads that nobody ended were given up' "$work/stdout" ||
	fail "it does not say so: $(cat "$work/stdout")"
[ "$(uploads_left)" -eq 0 ] || fail "an upload is left"
expect 0 "$fb" -c "$conf" download
expect 0 "$fb" -c "$conf" verify --full
ok "what a lost host left is given up by prune, and only that"
