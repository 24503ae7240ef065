#!/bin/sh
# What a server or an authority refuses: each has its error, its exit code and
# its word on what to do; no secret is printed, and no machine is touched.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

start_radosgw
s3_make bucket
s3_env
secret=$s3_secret
s3_fleet "$work/f" 1 bucket
cd "$work/f"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download

# refuses <exit> <id> <words of the hint> <command>...
refuses() {
	refuses_exit=$1 refuses_id=$2 refuses_hint=$3
	shift 3
	: >machines/m1/effects
	expect "$refuses_exit" "$@"
	grep -q "$refuses_id" "$work/stderr" || fail "no $refuses_id"
	grep -q "fix .*$refuses_hint" "$work/stderr" || fail "it does not say what to do: $refuses_hint"
	! grep -q "$secret\|wrong-secret" "$work/stderr" "$work/stdout" || fail "a secret is printed"
	[ ! -s machines/m1/effects ] || fail "m1 was touched"
	ok "$refuses_id, exit $refuses_exit: $refuses_hint"
}

refuses 16 E-S3-DENIED 'credentials' env AWS_SECRET_ACCESS_KEY=wrong-secret \
	"$fb" -c "$conf" download
refuses 16 E-S3-DENIED 'credentials' env AWS_ACCESS_KEY_ID=NOBODY \
	"$fb" -c "$conf" download
refuses 12 E-S3-KEYS '' env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY \
	"$fb" -c "$conf" download

# Another user's bucket.
rgw_admin user create --uid=other --display-name=other \
	--access-key=OTHERACCESSKEY000001 --secret-key=othersecret000000000001 \
	>"$work/other" 2>&1 || fail "no other user"
refuses 16 E-S3-DENIED 'policy' env AWS_ACCESS_KEY_ID=OTHERACCESSKEY000001 \
	AWS_SECRET_ACCESS_KEY=othersecret000000000001 "$fb" -c "$conf" download

sed 's|s3://bucket/|s3://nowhere/|' "$conf" >nowhere.yaml
refuses 10 E-S3-NO-BUCKET 'name' "$fb" -c nowhere.yaml download
refuses 10 E-S3-NO-BUCKET 'name' "$fb" -c nowhere.yaml list runs

sed 's|/fleet"|/elsewhere"|' "$conf" >elsewhere.yaml
expect 10 "$fb" -c elsewhere.yaml download
ok "a prefix without a repository"

# A clock that is two hours off, there or here.
[ "${FB_VARIANT:-debug}" = release ] ||
	refuses 15 E-S3-CLOCK 'clock' env \
		FLEETBAK_CLOCK=$(($(date +%s) - 7200)) "$fb" -c "$conf" download

# A region that the server does not take; radosgw takes every one.
start_proxy main
printf '%s\r\n' 'HTTP/1.1 400 Bad Request' 'Content-Type: application/xml' \
	'Connection: close' '' '<?xml version="1.0"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message><Region>eu-west-1</Region></Error>' \
	>"$work/region"
sed "s|endpoint: .*|endpoint: \"$proxy_url\"|" "$conf" >proxied.yaml
rules "answer=$work/region"
refuses 2 E-S3-REGION 'region: eu-west-1' "$fb" -c proxied.yaml download
rules 'error=403,QuotaExceeded method=PUT'
refuses 17 E-S3-QUOTA 'quota' "$fb" -c proxied.yaml download
rules

# What is no S3 at all says hostile things.
head -c 100000 /dev/urandom >"$work/noise"
{
	printf 'HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><ListBucketResult><Contents><Key>&b;</Key></Contents></ListBucketResult>'
} >"$work/bomb"
{
	printf 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>fleet/../../etc/passwd</Key><Size>1</Size></Contents><NextContinuationToken>x</NextContinuationToken></ListBucketResult>'
} >"$work/endless"
for what in noise bomb endless; do
	rules "answer=$work/$what"
	got=$(status_of timeout 100 "$fb" -c proxied.yaml list runs)
	case $got in
	0 | 124 | 13[0-9] | 77) fail "$what: exit $got" ;;
	esac
	[ "$(wc -c <"$work/stderr")" -lt 5000 ] || fail "$what: much is said"
	! tr -d '\t\n -~' <"$work/stderr" | grep -q . || fail "$what: its bytes are printed"
	ok "a server that answers with $what: exit $got"
done
