#!/bin/sh
# Object lock and versions: what a run writes is locked, what it uses again is
# locked for longer, and the cost of that is told before; what is locked is left
# by prune, and deleted by a later one; a bucket with a default retention; what
# somebody deleted or overwrote is told by verify and brought back by doctor.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

start_radosgw
s3_env
s3_more='object_lock: governance\
    lock_for: 1h'
s3_fleet "$work/f" 1 locked
cd "$work/f"

# lock_of <bucket> <key>: until when, in seconds since 1970; 0: it is not locked.
lock_of() {
	s3_curl GET "/$1/$2" -f -o "$work/lock.body" -D "$work/lock.head" ||
		fail "no object $2"
	lock_of=$(sed -n 's/^x-amz-object-lock-retain-until-date: *\([^ .]*\).*\r*$/\1/p' \
		"$work/lock.head" | tr -d '\r')
	[ -n "$lock_of" ] || {
		echo 0
		return
	}
	date -u -d "${lock_of%Z}Z" +%s
}
keys() { # <prefix>
	s3_keys locked "fleet/$1"
}
versions_of() { # <key>: ids, newest first
	s3_curl GET "/locked?prefix=$(s3_escape "$1")&versions=" -f |
		sed 's/<\/*\(Version\|DeleteMarker\)>/\n&\n/g' |
		grep -F "<Key>$1</Key>" | sed 's/.*<VersionId>\([^<]*\).*/\1/'
}
json() { # <filter>
	jq -er "$1" "$work/stdout" 2>/dev/null ||
		fail "not so: $1: $(cat "$work/stdout")"
}

# A bucket that cannot lock is refused before anything is promised.
s3_make plain
sed 's|s3://locked/|s3://plain/|' "$conf" >plain.yaml
expect 2 "$fb" -c plain.yaml init
grep -q E-S3-LOCK "$work/stderr" || fail "not refused"
ok "a bucket without object lock is refused"

# What every store promises holds in a bucket that locks objects.
s3_curl PUT /promises -f -H 'x-amz-bucket-object-lock-enabled: true' \
	-o "$work/stdout" || fail "no bucket with object lock"
FB_STORE_URL=s3://promises/suite FB_STORE_ENDPOINT="$s3_url" \
	FB_STORE_REGION=us-east-1 FB_STORE_CREDENTIALS=env FB_STORE_LARGE=1 \
	FB_STORE_ONE_WRITER=1 \
	FB_STORE_WITHOUT="a_list_of_thousands_is_whole_and_in_order $many_writers" \
	"$bin/unit/test_store" >"$work/suite.out" 2>&1 || {
	grep -v '^\[ *\(RUN\|OK\) ' "$work/suite.out" | tail -40
	fail "a promise is not kept"
}
grep -q '^\[==========\] [0-9]* test(s) run' "$work/suite.out" ||
	fail "nothing was tried"
ok "every promise of a store for one writer"

# The stricter of the two modes: nobody may shorten it.
sed 's|s3://locked/|s3://strict/|; s|governance|compliance|
	s|^state_dir: .*|state_dir: ./state.strict|' "$conf" >strict.yaml
now=$(date +%s)
expect 0 "$fb" -c strict.yaml init
expect 0 "$fb" -c strict.yaml download
pack=$(s3_keys strict fleet/packs/ | head -n 1)
was=$(lock_of strict "$pack")
[ "$was" -ge $((now + 3600)) ] || fail "$pack is locked until $was"
grep -qi '^x-amz-object-lock-mode: COMPLIANCE' "$work/lock.head" ||
	fail "$(cat "$work/lock.head")"
expect 0 env FLEETBAK_REPOSITORIES_MAIN_LOCK_FOR=2h "$fb" -c strict.yaml download
[ "$(lock_of strict "$pack")" -ge $((now + 7200)) ] || fail "not renewed"
ok "in compliance mode, and for longer when it is used again"

# Who could open it is taken out, and what was sealed to him is locked: it is
# only hidden, and that is said.
openssl req -new -x509 -newkey rsa:2048 -nodes -days 10 -subj /CN=second \
	-keyout keys/second.pem -out keys/second.crt 2>/dev/null
sed '/^    sign_with:/a\
    encrypt_to: ["file:./keys/second.crt"]\
    decrypt_with: "file:./keys/recovery.pem"' strict.yaml >second.yaml
was=$(s3_keys strict fleet/keys/ | wc -l)
expect 0 "$fb" -c second.yaml keys remove keys/recovery.crt
grep -q "^$was of those removed are locked" "$work/stdout" "$work/stderr" ||
	fail "it does not say what is left: $(cat "$work/stdout" "$work/stderr")"
s3_curl GET '/strict?prefix=fleet%2Fkeys%2F&versions=' -f >"$work/versions" ||
	fail "no versions"
[ "$(grep -o '<IsLatest>false' "$work/versions" | wc -l)" -eq "$was" ] ||
	fail "not $was: $(cat "$work/versions")"
expect 12 "$fb" -c second.yaml restore m1 --target "$work/none" --yes
expect 0 "$fb" -c second.yaml verify
ok "a recipient who is taken out, and $was keys that are locked and only hidden"

# Everything that is written is locked, for as long as was said.
now=$(date +%s)
expect 0 "$fb" -c "$conf" init --json
json .data.store.object_lock >/dev/null
json .data.store.versioning >/dev/null
expect 0 "$fb" -c "$conf" download --json
first=$(field run)
keys '' >"$work/keys"
while read -r key; do
	until=$(lock_of locked "$key")
	[ "$until" -ge $((now + 3600)) ] || fail "$key is locked until $until"
done <"$work/keys"
ok "locked: all of $(wc -l <"$work/keys") objects"

# Used again, they are locked for longer; a plan says what it costs.
expect 0 "$fb" -c "$conf" download -n --json
[ "$(json .data.locks.renewed)" -eq 0 ] || fail "renewed too soon"
export FLEETBAK_REPOSITORIES_MAIN_LOCK_FOR=2h
expect 0 "$fb" -c "$conf" download -n --json
planned=$(json .data.locks.renewed)
[ "$planned" -gt 0 ] || fail "nothing to lock for longer"
[ "$(json .data.locks.requests)" -gt "$planned" ] || fail "no cost"
expect 0 "$fb" -c "$conf" download -n
grep -q 'requests to look' "$work/stdout" || fail "the plan tells no cost"
pack=$(keys packs/ | head -n 1)
before=$(lock_of locked "$pack")
[ "$before" -lt $((now + 7200)) ] || fail "the plan has locked something"
expect 0 "$fb" -c "$conf" download -v --json
[ "$(json .locks.renewed)" -ge "$planned" ] || fail "not what was planned"
[ "$(json .locks.failed)" -eq 0 ] || fail "some were not locked"
grep -q 'locks: .* objects looked at' "$work/stderr" || fail "not told before"
for key in "$pack" "$(keys keys/ | head -n 1)" fleet/format/1.json; do
	[ "$(lock_of locked "$key")" -ge $((now + 7200)) ] ||
		fail "$key is not locked for longer"
done
expect 0 "$fb" -c "$conf" download --json
[ "$(json .locks.renewed)" -eq 0 ] || fail "renewed each night"
ok "used again, $planned objects are locked for longer"

# What is locked stays, and prune says so; a later one deletes it.
expect 4 "$fb" -c "$conf" doctor
grep -q 'locks  *ok ' "$work/stdout" || fail "doctor tells no locks"
grep -q 'object lock  *ok  *governance' "$work/stdout" || fail "no lock"
sed -i 's/^download:/retention: {grace: 0s, max_remove: 100%}\n&/' "$conf"
head -c 3M /dev/urandom >machines/m1/disk.img
expect 0 "$fb" -c "$conf" download
newest=$("$fb" -c "$conf" list runs -o tsv --no-header | head -n 1 | cut -f 1)
for old in $("$fb" -c "$conf" list runs -o tsv --no-header | cut -f 1); do
	[ "$old" = "$newest" ] || expect 0 "$fb" -c "$conf" forget -y -q "$old"
done
keys packs/ >"$work/packs"
expect 0 "$fb" -c "$conf" prune -n
grep -q 'locked: the first until' "$work/stdout" || fail "the plan tells no lock"
expect 0 "$fb" -c "$conf" prune -y --json
left=$(json .data.left_locked.objects)
[ "$left" -gt 0 ] || fail "nothing is locked"
json '.data.left_locked.some[0].until' >/dev/null
keys packs/ | cmp -s - "$work/packs" || fail "a locked pack is gone"
expect 0 "$fb" -c "$conf" prune -y
grep -q 'a later prune deletes them' "$work/stdout" || fail "no word on it"
ok "prune leaves $left locked objects and says until when"

# Time passes: who may override governance makes it pass.
expire() { # <key>
	printf '<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>' \
		"$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)" >"$work/retention"
	s3_curl PUT "/locked/$1?retention=" -f --data-binary @"$work/retention" \
		-H 'x-amz-bypass-governance-retention: true' \
		-H 'Content-Type: application/xml'
}
"$fb" -c "$conf" prune -y --json | jq -r '.data.left_locked.some[].object' |
	grep '^packs/\|^recipes/' >"$work/garbage"
while read -r key; do
	# (Those two seconds may be over before the server hears of them.)
	until_true "the lock of $key stays" expire "fleet/$key"
done <"$work/garbage"
all_gone() {
	expect 0 "$fb" -c "$conf" prune -y
	keys '' >"$work/keys"
	while read -r key; do
		! grep -qxF "fleet/$key" "$work/keys" || return 1
	done <"$work/garbage"
}
until_true "they stay" all_gone
while read -r key; do
	[ -z "$(versions_of "fleet/$key")" ] || fail "versions of $key are left"
done <"$work/garbage"
expect 0 "$fb" -c "$conf" verify --full
ok "when they are not locked any more, $(wc -l <"$work/garbage") objects go with their versions"

# Somebody has the key to write.
attack() { # <key> [bytes]: delete it, or overwrite it
	if [ $# -eq 1 ]; then
		s3_curl DELETE "/locked/$1" -f || fail "cannot delete $1"
	else
		s3_curl PUT "/locked/$1" -f --data-binary "$2" \
			-o "$work/attack.out" || fail "cannot overwrite $1"
	fi
}
session=$(keys commits/ | tail -n 1)
old=$(versions_of "$session")
[ "$(s3_curl DELETE "/locked/$session?versionId=$old" -o "$work/out.xml" \
	-w '%{http_code}')" = 403 ] || fail "a locked version was deleted"
pack=$(keys packs/ | head -n 1)
recipe=$(keys recipes/ | head -n 1)
attack "$session"
attack "$pack"
attack "$recipe" 'all your files are belong to us'
attack "fleet/runs/$newest/manifest.json" '{}'
attack "fleet/runs/$newest/SHA256SUMS"
attack "$(keys keys/ | tail -n 1)"
attack fleet/restore.sh 'echo pay'
expect 14 "$fb" -c "$conf" verify
for key in "$session" "$pack" "fleet/runs/$newest/SHA256SUMS"; do
	grep -A1 "DAMAGED  ${key#fleet/}\$" "$work/stdout" |
		grep -q 'E-VERSION-DELETED.*is good' ||
		fail "$key was deleted: $(cat "$work/stdout")"
done
for key in "$recipe" "fleet/runs/$newest/manifest.json"; do
	grep -A1 "DAMAGED  ${key#fleet/}\$" "$work/stdout" |
		grep -q 'E-VERSION-REPLACED.*is good' ||
		fail "$key was overwritten: $(cat "$work/stdout")"
done
grep -q 'doctor --fix' "$work/stdout" || fail "it does not say what to do"
ok "verify tells what was deleted, what was overwritten, and what is good"

expect 14 "$fb" -c "$conf" doctor --json
[ "$(json .data.mendable)" -eq 7 ] || fail "not all are found"
expect 14 "$fb" -c "$conf" doctor --fix -n
expect 20 "$fb" -c "$conf" doctor --fix </dev/null
expect 14 "$fb" -c "$conf" verify --signatures
expect 4 "$fb" -c "$conf" doctor --fix --yes
grep -q '^7 objects were brought back' "$work/stdout" || fail "not 7"
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
rm -r "$work/out"
ok "doctor --fix brings them back, after it was asked"

# All of it is deleted, the format too: without it nothing can be opened.
keys '' >"$work/keys"
while read -r key; do
	attack "$key"
done <"$work/keys"
expect 10 "$fb" -c "$conf" list runs
expect 14 "$fb" -c "$conf" doctor
grep -q 'format/1.json  *FAIL' "$work/stdout" || fail "not found"
expect 4 "$fb" -c "$conf" doctor --fix --yes
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" download
ok "a bucket that was emptied is whole again"

# A bucket that locks by itself, and a configuration that does not know it.
s3_curl PUT /default -f -H 'x-amz-bucket-object-lock-enabled: true' ||
	fail "no bucket"
s3_curl PUT '/default?object-lock=' -f -H 'Content-Type: application/xml' \
	--data-binary '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>' ||
	fail "no default retention"
unset FLEETBAK_REPOSITORIES_MAIN_LOCK_FOR
s3_more='encrypt_to: []'
s3_fleet "$work/d" 1 default
cd "$work/d"
sed -i 's/^download:/retention: {grace: 0s, max_remove: 100%}\n&/' "$conf"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download --json
first=$(field run)
[ "$(lock_of default "fleet/commits/$first")" -gt "$now" ] || fail "no lock"
head -c 3M /dev/urandom >machines/m1/disk.img
expect 0 "$fb" -c "$conf" download
expect 0 "$fb" -c "$conf" forget -y "$first"
expect 0 "$fb" -c "$conf" prune -y --json
json '.data.left_locked.objects > 0' >/dev/null
expect 0 "$fb" -c "$conf" download
expect 0 "$fb" -c "$conf" verify --full
expect 4 "$fb" -c "$conf" doctor
grep -q 'object lock  *warn .*governance, 1 d' "$work/stdout" || fail "no word"
expect 0 "$fb" -c "$conf" hold -y "$("$fb" -c "$conf" list runs -o tsv --no-header |
	head -n 1 | cut -f 1)"
expect 0 "$fb" -c "$conf" hold --remove "$("$fb" -c "$conf" list runs -o tsv --no-header |
	head -n 1 | cut -f 1)"
ok "a bucket with a default retention: init, download, prune, verify"
