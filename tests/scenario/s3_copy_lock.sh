#!/bin/sh
# A copy into a bucket with object lock: what it puts there is locked, what is
# there already and is used again by what it copies is locked for longer, and a
# plan tells the cost before.  What was copied before is left as it is.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

start_radosgw
s3_env
s3_make bucket
s3_fleet "$work/f" 1 bucket
cd "$work/f"
sed -i '/^    sign_with: /a\
  vault:\
    {url: "s3://vault/fleet", endpoint: "'"$s3_url"'", path_style: true,\
     copy_of: main, sign_with: "file:./keys/sign.pem",\
     object_lock: governance, lock_for: 1h}' "$conf"
s3_curl PUT /vault -f -H 'x-amz-bucket-object-lock-enabled: true' ||
	fail "no bucket"

lock_of() { # <key>: until when, in seconds since 1970; 0: it is not locked
	s3_curl GET "/vault/$1" -f -o "$work/lock.body" -D "$work/lock.head" ||
		fail "no object $1"
	until=$(sed -n 's/^x-amz-object-lock-retain-until-date: *\([^ .]*\).*\r*$/\1/p' \
		"$work/lock.head" | tr -d '\r')
	[ -z "$until" ] || until=$(date -u -d "${until%Z}Z" +%s)
	echo "${until:-0}"
}
keys() { # <prefix>
	s3_keys vault "fleet/$1" | grep -Ev '^fleet/(sessions|gc)/' || :
}
is() { # <filter>
	jq -e "$1" "$work/stdout" >/dev/null ||
		fail "not so: $1: $(cat "$work/stdout")"
}

# What a copy puts there is locked; nothing else was there to be looked at.
now=$(date +%s)
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download --json
first=$(field run)
expect 0 "$fb" -c "$conf" copy --from main --to vault -n --json
is '.data.locks.objects == 0 and .data.locks.renewed == 0'
expect 0 "$fb" -c "$conf" copy --from main --to vault --json
is '.data.locks.renewed == 0 and .data.locks.failed == 0'
keys '' >"$work/keys"
while read -r key; do
	until=$(lock_of "$key")
	[ "$until" -ge $((now + 3600)) ] || fail "$key is locked until $until"
done <"$work/keys"
pack=$(keys packs/ | head -n 1)
ok "locked: all of $(wc -l <"$work/keys") objects of a new copy"

# The next run uses the pack again.
echo more >machines/m1/data/more.txt
expect 0 "$fb" -c "$conf" download --json
second=$(field run)
export FLEETBAK_REPOSITORIES_VAULT_LOCK_FOR=2h
expect 0 "$fb" -c "$conf" copy --from main --to vault -n --json
planned=$(jq .data.locks.renewed "$work/stdout")
[ "$planned" -gt 0 ] || fail "nothing to lock for longer"
is '.data.locks.requests > .data.locks.renewed'
expect 0 "$fb" -c "$conf" copy --from main --to vault -n
grep -q 'requests to look' "$work/stdout" || fail "the plan tells no cost"
[ "$(lock_of "$pack")" -lt $((now + 7200)) ] || fail "the plan locks"
expect 0 "$fb" -c "$conf" copy --from main --to vault -v --json
is ".data.locks.renewed == $planned and .data.locks.failed == 0"
grep -q 'locks: .* objects looked at' "$work/stderr" || fail "not told before"
for key in $(s3_keys vault fleet/packs/) $(keys keys/) fleet/format/1.json \
	fleet/restore.sh "fleet/commits/$second" \
	"fleet/runs/$second/SHA256SUMS.sig"; do
	[ "$(lock_of "$key")" -ge $((now + 7200)) ] ||
		fail "$key is not locked for longer"
done
[ "$(lock_of "fleet/commits/$first")" -lt $((now + 7200)) ] ||
	fail "what is not used again is locked for longer"
expect 0 "$fb" -c "$conf" copy --from main --to vault --json
is '.data.locks.objects == 0'
ok "used again, $planned objects are locked for longer, as planned"

# A run that is put back is locked whole again.
export FLEETBAK_REPOSITORIES_VAULT_LOCK_FOR=3h
s3_curl DELETE "/vault/fleet/runs/$second/VOLUMES" -f || fail "it stays"
expect 0 "$fb" -c "$conf" copy --from main --to vault
grep -q ' 1 repaired' "$work/stdout" "$work/stderr" || fail "not repaired"
for key in "fleet/commits/$second" $(keys "runs/$second/") \
	$(s3_keys vault fleet/packs/); do
	[ "$(lock_of "$key")" -ge $((now + 10800)) ] ||
		fail "$key of a repaired run is not locked for longer"
done
expect 0 "$fb" -c "$conf" -r vault verify --full
ok "what is put back is locked with all that it uses"

# Where it cannot, the copy is there all the same, and says so.
export FLEETBAK_REPOSITORIES_VAULT_LOCK_FOR=4h
printf '<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>' \
	"$(date -u -d '+200 minutes' +%Y-%m-%dT%H:%M:%SZ)" >"$work/retention"
s3_curl PUT "/vault/$pack?retention=" -f --data-binary @"$work/retention" \
	-H 'x-amz-bypass-governance-retention: true' \
	-H 'Content-Type: application/xml' || fail "the lock of $pack stays"
echo again >machines/m1/data/again.txt
expect 0 "$fb" -c "$conf" download
expect 3 "$fb" -c "$conf" copy --from main --to vault --json
is '.data.locks.failed == 1'
jq -e ".warnings[] | select(.id == \"E-LOCK-RENEW\")" "$work/stdout" >/dev/null || fail "no word on it"
expect 0 "$fb" -c "$conf" -r vault verify
ok "a lock that cannot be made longer is told, and the copy is there"
