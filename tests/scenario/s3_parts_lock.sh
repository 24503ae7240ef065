#!/bin/sh
# What goes up in parts into a bucket with object lock: locked for as long as
# what is small, also when it is gone on with long after it was begun; in a
# bucket that locks by itself; and given up by prune when nobody ends it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires_faults
requires jq

start_radosgw
s3_env
start_proxy main
s3_at=$proxy_url
export FLEETBAK_PARTS=5242880
change() {
	head -c 33M /dev/urandom >machines/m1/disk.img
}
parts_sent() {
	grep '^[0-9].* PUT .*partNumber=' "$proxy_log" | grep -c ' 200 ' || :
}
some_parts() {
	[ "$(parts_sent)" -ge 3 ]
}
uploads_left() {
	s3_curl GET "/$1?uploads=" | grep -c '<Upload>' || :
}
lock_of() { # <bucket> <key>: until when, in seconds since 1970; 0: never
	s3_curl HEAD "/$1/$2" -f -I -o "$work/lock.head" || fail "no object $2"
	until=$(sed -n 's/^x-amz-object-lock-retain-until-date: *\([^ .]*\).*\r*$/\1/p' \
		"$work/lock.head" | tr -d '\r')
	[ -z "$until" ] || until=$(date -u -d "${until%Z}Z" +%s)
	echo "${until:-0}"
}
cut_off() { # a download that is killed when some parts are there
	: >"$proxy_log"
	rules 'slow-upload=4000000 method=PUT path=*partNumber*'
	"$fb" -c "$conf" download >"$work/stdout" 2>"$work/stderr" &
	run=$!
	until_true "no parts" some_parts
	kill -KILL $run
	wait $run 2>/dev/null && fail "it was over too soon" || :
	rules
}

# A pack that is made again after a kill is the same where none has a key of its
# own.
s3_more='encrypt_to: []\
    object_lock: governance\
    lock_for: 1h' s3_fleet "$work/f" 1 locked
cd "$work/f"
now=$(date +%s)
expect 0 "$fb" -c "$conf" init
change
: >"$proxy_log"
expect 0 "$fb" -c "$conf" download
nothing_wrong
[ "$(parts_sent)" -eq 7 ] || fail "$(parts_sent) parts instead of 7"
pack=$(s3_keys locked fleet/packs/ | head -n 1)
until=$(lock_of locked "$pack")
[ "$until" -ge $((now + 3600)) ] || fail "$pack is locked until $until"
ok "a pack in 7 parts is locked"

# Its upload was begun with a lock that would have ended too soon.
change
cut_off
there=$(parts_sent)
[ "$(uploads_left locked)" -eq 1 ] || fail "$(uploads_left locked) uploads are left"
export FLEETBAK_REPOSITORIES_MAIN_LOCK_FOR=3h
: >"$proxy_log"
expect 0 "$fb" -c "$conf" download --lock-wait 30s
[ "$(requests POST '*/packs/*uploads*')" -eq 0 ] || fail "another was begun"
[ "$(parts_sent)" -le $((7 - there)) ] || fail "what was there is sent again"
for key in $(s3_keys locked fleet/packs/ | grep -vxF "$pack"); do
	until=$(lock_of locked "$key")
	[ "$until" -ge $((now + 10800)) ] || fail "$key is locked until $until"
done
expect 0 "$fb" -c "$conf" verify --full
ok "gone on with after $there parts, and locked for as long as is wanted now"

# The host is lost in the middle.  No lock is on what never became an object.
change
cut_off
until_true "m1 is down" [ -e machines/m1/up ]
# Its guardian may be at work there.
until_true "the state directory is not removed" rm -rf state
expect 0 "$fb" -c "$conf" prune --yes --fence-after 0s
grep -q '^1 uploads that nobody ended were given up' "$work/stdout" ||
	fail "it does not say so: $(cat "$work/stdout")"
[ "$(uploads_left locked)" -eq 0 ] || fail "an upload is left"
expect 0 "$fb" -c "$conf" verify
ok "what a lost host left is given up"

# A bucket that locks by itself, and a configuration that does not know it.
unset FLEETBAK_REPOSITORIES_MAIN_LOCK_FOR
s3_curl PUT /default -f -H 'x-amz-bucket-object-lock-enabled: true' ||
	fail "no bucket"
s3_curl PUT '/default?object-lock=' -f -H 'Content-Type: application/xml' \
	--data-binary '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>' ||
	fail "no default retention"
s3_more='encrypt_to: []' s3_fleet "$work/d" 1 default
cd "$work/d"
expect 0 "$fb" -c "$conf" init
change
cut_off
[ "$(uploads_left default)" -eq 1 ] || fail "$(uploads_left default) uploads are left"
: >"$proxy_log"
expect 0 "$fb" -c "$conf" download --lock-wait 30s
[ "$(requests POST '*/packs/*uploads*')" -eq 0 ] || fail "another was begun"
for key in $(s3_keys default fleet/packs/); do
	until=$(lock_of default "$key")
	[ "$until" -ge $((now + 80000)) ] || fail "$key is locked until $until"
done
expect 0 "$fb" -c "$conf" verify --full
ok "cut off and gone on with in a bucket that locks by itself"
