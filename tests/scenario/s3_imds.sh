#!/bin/sh
# Keys of the role that a virtual machine has: asked for at its metadata service
# as version 2 wants it, renewed in the middle of a run, before they expire and
# when the server says that they have; and a service that is refused, hangs or
# is a hop too far.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
. "$(dirname "$0")/lib_s3.sh"

export RGW_SESSIONS=true
start_radosgw
s3_make bucket
start_imds
start_proxy main
export AWS_EC2_METADATA_SERVICE_ENDPOINT="$imds_url"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE
unset AWS_METADATA_SERVICE_TIMEOUT AWS_EC2_METADATA_DISABLED
s3_at=$proxy_url s3_credentials=imds s3_more='retry_for: 10s'
s3_fleet "$work/f" 2 bucket
cd "$work/f"

new_keys() { # <seconds that they are good for>
	s3_session
	imds_keys "$session_key" "$session_secret" "$session_token" "$1"
}
change() {
	head -c 3M /dev/urandom >machines/m1/disk.img
	: >"$proxy_log"
	: >"$imds_dir/log"
}
asked() { # <method> <path> <status>: how often
	grep -c "^$1 $2 $3\$" "$imds_dir/log" || :
}
roles=/latest/meta-data/iam/security-credentials/

new_keys 3600
expect 0 "$fb" -c "$conf" init
change
expect 0 "$fb" -c "$conf" download
for question in 'PUT /latest/api/token' "GET $roles" "GET ${roles}night"; do
	[ "$(asked "${question% *}" "${question#* }" 200)" -eq 1 ] ||
		fail "not one $question: $(cat "$imds_dir/log")"
done
[ "$(wc -l <"$imds_dir/log")" -eq 3 ] || fail "$(cat "$imds_dir/log")"
whole "three questions for a run, and none without a token"

# in_the_middle <seconds>: of a run whose keys are good for so long, and whose
# server does not take them any more.
in_the_middle() {
	new_keys "$1"
	one=$session_key
	change
	rules 'hang method=PUT path=*/packs/*'
	"$fb" -c "$conf" download >"$work/run.out" 2>&1 &
	run=$!
	until_true "no pack" fault_began hang
}
goes_on() { # <what>
	wait $run || fail "$1: $(tail -5 "$work/run.out")"
	! grep -q 'FAIL\|failed, [^0]' "$work/run.out" || fail "a machine failed"
	! grep -qF -e "$session_secret" -e "$session_token" "$work/run.out" ||
		fail "a secret is told"
	whole "$1"
}

in_the_middle 3600
new_keys 3600
rules "error=400,ExpiredToken key=$one"
goes_on "keys that the server finds expired in the middle"
fault_began error || fail "nothing had expired"

# The server need not say it: they are renewed before.
in_the_middle 8
new_keys 3600
is_late() {
	[ "$(date +%s)" -ge "$late" ]
}
late=$(($(date +%s) + 7))
until_true "time stands still" is_late
# What hung libcurl may send again as it was.
rules 'delay=1 method=PUT path=*/packs/*' "error=400,ExpiredToken key=$one"
goes_on "keys that are renewed before they expire"
! fault_began error || fail "they were used when they had expired"

# A service that is not there, or gives nothing: which, why, what to do.
refused() { # <what it says> <what> [<variable>...]
	refused_says=$1 refused_what=$2
	shift 2
	for refused_m in m1 m2; do
		: >machines/$refused_m/effects
	done
	refused_began=$(date +%s)
	expect 12 env "$@" "$fb" -c "$conf" download
	[ $(($(date +%s) - refused_began)) -le 10 ] || fail "$refused_what: it waited"
	grep -q 'E-S3-KEYS: ' "$work/stderr" || fail "$refused_what: no E-S3-KEYS"
	grep -q "$refused_says" "$work/stderr" ||
		fail "$refused_what: it does not say: $refused_says"
	[ "$(cat machines/*/effects | wc -c)" -eq 0 ] ||
		fail "$refused_what: a machine was touched"
	ok "$refused_what: exit 12"
}
echo hang >"$imds_dir/how"
refused 'metadata service: .*timed out' "a service that hangs" A=b
grep -q 'fix .*hop limit' "$work/stderr" || fail "it does not say what to do"
: >"$imds_dir/log"
echo hop >"$imds_dir/how"
refused 'metadata service: .*timed out' "a service a hop too far" A=b
[ "$(asked GET '.*' 200)" -eq 0 ] || fail "something was told"
echo off >"$imds_dir/how"
refused "/latest/api/token.: it answers 403" "a service that is switched off" A=b
rm "$imds_dir/how"
free_ports 1
refused "metadata service: .*port $free_ports" "nobody listens there" \
	AWS_EC2_METADATA_SERVICE_ENDPOINT="http://$server_address:$free_ports"
refused AWS_EC2_METADATA_DISABLED "it is not to be asked" \
	AWS_EC2_METADATA_DISABLED=true
printf '{"Code": "AssumeRoleUnauthorizedAccess", "Message": "no"}' >"$imds_dir/keys"
refused 'AssumeRoleUnauthorizedAccess' "a role that may not be taken" A=b
rm "$imds_dir/role"
refused "security-credentials/.: it answers 404" "a machine without a role" A=b
new_keys 3600
expect 0 "$fb" -c "$conf" download
whole "and when it is there again, all is well"
