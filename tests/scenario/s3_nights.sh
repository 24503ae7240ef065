#!/bin/sh
# Nights that go wrong with nobody watching: a missed one, a full bucket, a full
# server whose writes hang, keys that expire, a source that is away.  Each ends
# with the right code, a message that says what to do, every machine up, and
# metrics over which our own rules page somebody; the next one goes on.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq promtool

export RGW_SESSIONS=true
start_radosgw
s3_make bucket
s3_env
start_proxy main
s3_at=$proxy_url
s3_fleet "$work/f" 2 bucket
cd "$work/f"
mkdir m
echo 'metrics: {textfile: ./m/fleetbak.prom}' >>"$conf"
"$fb" -c "$conf" config alerts >rules.yml
secrets=$s3_secret
expect 0 "$fb" -c "$conf" init

change() {
	head -c 3M /dev/urandom >machines/m1/disk.img
}

# pages <hours> [<alert>=<how many>...]: so long after <now>, with the metrics
# as they are, these fire and no others.
pages() {
	pages_hours=$1
	shift
	{
		printf 'rule_files: [rules.yml]\nevaluation_interval: 1m\n'
		printf 'tests:\n- interval: 1m\n  input_series:\n'
		grep -v '^#' m/fleetbak.prom | while read -r series value; do
			# Their time begins now, at 0.
			case $series in
			*_timestamp_seconds\{*) value=$((value - now)) ;;
			esac
			printf "  - {series: '%s', values: '%sx%d'}\n" "$series" \
				"$value" $((pages_hours * 60 + 60))
		done
		printf '  promql_expr_test:\n'
		printf '  - expr: count by (alertname) (ALERTS{alertstate="firing"})\n'
		printf '    eval_time: %dh\n' "$pages_hours"
		[ $# -gt 0 ] || printf '    exp_samples: []\n'
		[ $# -eq 0 ] || printf '    exp_samples:\n'
		for alert; do
			printf "    - {labels: '{alertname=\"%s\"}', value: %d}\n" \
				"${alert%=*}" "${alert#*=}"
		done
	} >rules_test.yml
	promtool test rules rules_test.yml >"$work/promtool" 2>&1 || {
		cat "$work/promtool"
		fail "other pages than $*"
	}
}

# night <exit> <id> <words of what to do> [option...]
night() {
	night_exit=$1 night_id=$2 night_hint=$3
	shift 3
	expect "$night_exit" "$fb" -c "$conf" "$@" -q download
	now=$(date +%s)
	[ -z "$night_id" ] || {
		grep -q "$night_id" "$work/stderr" || fail "no $night_id"
		grep -q "  fix .*$night_hint" "$work/stderr" ||
			fail "it does not say what to do: $night_hint"
	}
	[ "$night_exit" -ne 0 ] || [ ! -s "$work/stderr" ] ||
		fail "-q says something of a good night"
	for secret in $secrets; do
		! grep -qF -e "$secret" "$work/stderr" m/fleetbak.prom ||
			fail "a secret is told"
	done
	for night_m in m1 m2; do
		[ ! -e machines/$night_m/ctl ] || [ -e machines/$night_m/up ] ||
			fail "$night_m is down"
	done
	promtool check metrics <m/fleetbak.prom >"$work/promtool" 2>&1 ||
		fail "$(cat "$work/promtool")"
	grep -q "^fleetbak_last_run_exit_code{.*\"download\".* $night_exit\$" \
		m/fleetbak.prom || fail "another exit code is measured"
}
# After it: what was left is done, and nobody is paged.
day() {
	night 0 '' ''
	expect 0 "$fb" -c "$conf" verify
	pages 1
}

change
day
expect 0 "$fb" -c "$conf" -q status --check
pages 1
cp m/fleetbak.prom "$work/good.prom"
ok "a good night pages nobody"

# A night is missed.  What looks at it in the morning says so too.
pages 27 FleetbakMachineOverRPO=2 FleetbakNotRunning=1
expect 4 "$fb" -c "$conf" -q --set fleet.rpo=1ms status --check
cat "$work/stdout" "$work/stderr" >"$work/said"
grep -q '2 of 2 machines over their recovery point objective' "$work/said" ||
	fail "$(cat "$work/said")"
grep -q '  fix .*fleetbak-download.timer' "$work/said" ||
	fail "it does not say what to do"
cp "$work/good.prom" m/fleetbak.prom
ok "a missed night: exit 4, what to do, and a page"

# The bucket's quota is used up.
change
rgw_admin quota set --quota-scope=bucket --uid=test --max-size=100K \
	>"$work/quota" 2>&1 && rgw_admin quota enable --quota-scope=bucket \
	--uid=test >>"$work/quota" 2>&1 || fail "no quota: $(cat "$work/quota")"
is_full() {
	# It may go through while the gateway does not know of the quota yet.
	[ "$(s3_curl PUT /bucket/full -d x -o /dev/null -w '%{http_code}')" = 403 ]
}
until_true "there is no quota" is_full
night 17 E-S3-QUOTA 'quota, or make room'
pages 1 FleetbakRunFailed=1
pages 27 FleetbakRunFailed=1 FleetbakMachineOverRPO=2 FleetbakNotRunning=1
rgw_admin quota disable --quota-scope=bucket --uid=test >"$work/quota" 2>&1
has_room() {
	[ "$(s3_curl PUT /bucket/full -d x -o /dev/null -w '%{http_code}')" = 200 ]
}
until_true "there is a quota" has_room
day
ok "a full bucket: exit 17, what to do, and a page"

# The server's disks are full: its writes hang.
change
rules 'hang method=PUT path=*/packs/*'
night 15 E-TIMEOUT 'is full or overloaded' --set repositories.main.retry_for=3s
rules
pages 1 FleetbakRunFailed=1
day
ok "writes that hang: exit 15, what to do, and a page"

# The same in truth: to its cluster's full disks it writes nothing, and hangs.
change
for night_m in m1 m2; do
	: >machines/$night_m/effects
done
cluster() { # <command>...
	rgw_ceph ceph "$@" >"$work/cluster" 2>&1 || fail "$(cat "$work/cluster")"
}
writes_hang() {
	! s3_curl PUT /bucket/full -d x -o /dev/null --max-time 1 2>/dev/null
}
cluster osd set-nearfull-ratio 0.000001
cluster osd set-backfillfull-ratio 0.000001
cluster osd set-full-ratio 0.000001
until_true "it writes all the same" writes_hang
night 15 E-TIMEOUT 'is full or overloaded' --set repositories.main.retry_for=3s
[ "$(cat machines/*/effects | wc -c)" -eq 0 ] || fail "a machine was touched"
for level in full:0.95 backfillfull:0.9 nearfull:0.85; do
	cluster osd set-${level%:*}-ratio ${level#*:}
done
pages 1 FleetbakRunFailed=1
day
ok "a cluster that is full: exit 15, no machine touched, and a page"

# The keys of a command expire, and it gives the same ones again.
s3_session
cat >keys.sh <<-'END'
	#!/bin/sh
	printf '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "%s",
		"SessionToken": "%s", "Expiration": "%s"}' $(cat "${0%/*}/session") \
		"$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)"
END
chmod 755 keys.sh
new_session() {
	secrets="$secrets $session_secret $session_token"
	(umask 077 && echo "$session_key $session_secret $session_token" >session)
}
new_session
with_command="repositories.main.credentials=cmd:$work/f/keys.sh"
change
rules "error=400,ExpiredToken key=$session_key method=PUT path=*/packs/*"
night 16 E-S3-DENIED 'have expired; get new ones' --set "$with_command"
fault_began error || fail "nothing had expired"
pages 1 FleetbakRunFailed=1
rules "error=400,ExpiredToken key=$session_key"
s3_session
new_session
night 0 '' '' --set "$with_command"
rules
day
ok "keys that expire: exit 16, what to do, and a page"

# The source is away.
mv machines away
night 15 E-SRC-UNREACHABLE ''
pages 1 FleetbakRunFailed=1
mv away machines
day
ok "a source that is away: exit 15, what to do, and a page"

# What is counted by others than download.
expect 0 "$fb" -c "$conf" -q prune --yes --set retention.keep=all
expect 0 "$fb" -c "$conf" -q status --check
for name in machine_snapshots machine_last_duration_seconds repo_stored_bytes \
	repo_logical_bytes repo_snapshots; do
	[ "$(sed -n "s/^fleetbak_$name{.*} \\([0-9]*\\).*/\\1/p" m/fleetbak.prom |
		head -1)" -ge 0 ] || fail "no $name"
done
promtool check metrics <m/fleetbak.prom >"$work/promtool" 2>&1 ||
	fail "$(cat "$work/promtool")"
nothing_wrong
ok "the repository is measured"
