#!/bin/sh
# Nights with a bad network and a bad server: lost answers, storms, cuts, a
# stopped and a killed gateway, keys that expire, certificates, two writers.
# Each run ends whole, verified and restorable, or says why not.
# STORM_SECONDS=600 lets the last one, everything at random, go on so long.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
. "$(dirname "$0")/lib_s3.sh"
requires jq

export RGW_SESSIONS=true
start_radosgw
s3_make bucket
s3_env
start_proxy main --seed "${S3_SEED:-11}"
s3_at=$proxy_url
s3_fleet "$work/f" 2 bucket
cd "$work/f"
expect 0 "$fb" -c "$conf" init

change() {
	head -c 3M /dev/urandom >machines/m1/disk.img
}

# Every upload is done, and its answer lost, once.
change
rules 'lost method=PUT times=8' 'lost-hang=200 method=PUT times=1'
expect 0 "$fb" -c "$conf" download
[ "$(grep -c '^# [0-9]* lost ' "$proxy_log")" -eq 8 ] || fail "not 8 lost"
runs=$(s3_keys bucket fleet/commits/ | wc -l)
[ "$runs" -eq 1 ] || fail "$runs commits of one run"
whole "answers lost behind the effect: one run, one commit"

change
rules 'error=503,SlowDown,1 times=6' 'error=500,InternalError prob=0.2' \
	'reset-upload=1000 method=PUT prob=0.2' 'refuse prob=0.1'
expect 0 "$fb" -c "$conf" download
whole "storms of 500 and 503, resets and refusals"

# What is read is cut or changed on its way; it is read again or told.
rules 'cut=2000 method=GET path=*/packs/* times=3' \
	'reset-answer=1000 method=GET path=*/packs/* times=3'
expect 0 "$fb" -c "$conf" restore m1 --target "$work/cut" --yes
cmp machines/m1/disk.img "$work/cut/m1/root.img" || fail "another disk"
rules 'corrupt=100 method=GET path=*/packs/*'
got=$(status_of "$fb" -c "$conf" verify --full)
[ "$got" -eq 14 ] || fail "verify of changed bytes: exit $got"
whole "downloads that are cut go on, and changed bytes are seen"

# Stopped for a while, then killed and started again.
change
rules 'slow-upload=2000000 method=PUT path=*/packs/*'
: >"$proxy_log"
"$fb" -c "$conf" download >"$work/run.out" 2>&1 &
run=$!
until_true "no pack" grep -q '^# [0-9]* slow-upload' "$proxy_log"
kill -STOP "$rgw_pid"
sleep 1
kill -CONT "$rgw_pid"
kill -KILL "$rgw_pid"
wait "$rgw_pid" 2>/dev/null || :
rules
start_gateway
wait $run || fail "the run failed: $(tail -5 "$work/run.out")"
whole "a gateway that is stopped, killed, and comes back"

# A list that knows nothing of the last hour, which is all that there is here.
change
rules 'lag=3600000'
expect 0 "$fb" -c "$conf" download
sed 's|state_dir: ./state|state_dir: ./state2|' "$conf" >second.yaml
expect 0 "$fb" -c second.yaml list runs -o tsv --no-header
[ ! -s "$work/stdout" ] || fail "the list does not lag: $(cat "$work/stdout")"
whole "a list that lags behind what was put"

# A prune whose lists show no run deletes nothing of what is there: on another
# host, which knows of the runs by their sessions, or, when a prune has tidied
# these away, by what it would delete; and on this one, which remembers.
echo 'retention: {keep: "last 2", min: 1, grace: 0s, max_remove: "100%"}' >>second.yaml
objects() {
	{ s3_keys bucket fleet/packs/ && s3_keys bucket fleet/recipes/; } >"$work/$1"
}
behind() { # <config> <what>
	objects before
	rules 'lag=3600000 path=*prefix=fleet%2Fcommits*'
	expect 11 "$fb" -c "$1" prune -y --fence-after 0s
	grep -q E-LIST-BEHIND "$work/stderr" || fail "$2: another error"
	rules
	objects after
	cmp "$work/before" "$work/after" || fail "$2: objects are gone"
}
behind second.yaml "by sessions"
expect 0 "$fb" -c second.yaml prune -y
objects after
! cmp -s "$work/before" "$work/after" || fail "nothing was pruned"
behind second.yaml "by objects"
behind "$conf" "by memory"
whole "a prune whose list of runs lags deletes nothing"

# The keys expire in the middle; the file has new ones by then.
s3_session
one=$session_key
write_keys() {
	printf 'aws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n' \
		"$session_key" "$session_secret" "$session_token" >keys/s3.new
	chmod 600 keys/s3.new
	mv keys/s3.new keys/s3
}
write_keys
sed "s|credentials: .*|credentials: \"file:./keys/s3\"|" "$conf" >file.yaml
expect 0 "$fb" -c file.yaml list runs
change
rules 'hang method=PUT path=*/packs/*' # until there are other rules
: >"$proxy_log"
"$fb" -c file.yaml download >"$work/run.out" 2>&1 &
run=$!
until_true "no pack" grep -q '^# [0-9]* hang' "$proxy_log"
s3_session
write_keys
rules "error=400,ExpiredToken key=$one"
wait $run || fail "the run failed: $(tail -5 "$work/run.out")"
grep -q '^# [0-9]* error' "$proxy_log" || fail "nothing had expired"
rules "error=400,ExpiredToken"
expect 16 "$fb" -c file.yaml list runs
grep -q 'expired' "$work/stderr" || fail "it does not say that they have expired"
! grep -q "$session_secret" "$work/stderr" || fail "a secret is printed"
whole "keys that expire in the middle are read again"

# A stop in order does not wait for a server that hangs; the next run goes on.
change
rules 'hang method=PUT path=*/packs/*'
: >"$proxy_log"
"$fb" -c "$conf" download >"$work/run.out" 2>&1 &
run=$!
until_true "no pack" grep -q '^# [0-9]* hang' "$proxy_log"
kill -TERM $run
rc=0
wait $run || rc=$?
[ $rc -eq 143 ] || fail "stopped: exit $rc"
grep -q 'hardly a byte moved for 5 seconds after a stop' "$work/run.out" ||
	fail "it waited for the server: $(tail -3 "$work/run.out")"
rules
expect 0 "$fb" -c "$conf" download --json
[ "$(field resumed)" = true ] || fail "it was not gone on with"
whole "stopped while a write hangs"

# Certificates.
make_ca "$work" other
sed "s|endpoint: .*|endpoint: \"$s3_tls_url\"|" "$conf" >tls.yaml
expect 15 "$fb" -c tls.yaml list runs
grep -q E-TLS "$work/stderr" || fail "an unknown authority is believed"
sed -i "s|path_style: .*|&\n    ca: \"$work/other.crt\"|" tls.yaml
expect 15 "$fb" -c tls.yaml list runs
grep -q E-TLS "$work/stderr" || fail "another authority is believed"
sed -i "s|ca: .*|ca: \"$s3_ca\"|" tls.yaml
expect 0 "$fb" -c tls.yaml list runs
log=$proxy_log
make_certificate "$work" rgw/ca wrong 'DNS:elsewhere.example'
start_proxy wrong --cert "$work/wrong.crt" --key "$work/wrong.key"
sed "s|endpoint: .*|endpoint: \"$proxy_url\"|" tls.yaml >wrong.yaml
expect 15 "$fb" -c wrong.yaml list runs
grep -q E-TLS "$work/stderr" || fail "another server's name is believed"
[ ! -s "$proxy_log" ] || fail "a request was sent to it"
ok "a private authority, and certificates that are not believed"
proxy_log=$log proxy_rules=${log%/log}/rules

# Two writers at once.
s3_fleet "$work/g" 1 bucket
cp "$work/f/keys/"* "$work/g/keys/"
change
"$fb" -c "$work/g/fleetbak.yaml" download >"$work/g.out" 2>&1 &
other=$!
conf=$work/f/fleetbak.yaml
expect 0 "$fb" -c "$conf" download
wait $other || fail "the other writer failed: $(tail -5 "$work/g.out")"
expect 0 "$fb" -c "$conf" verify --full
ok "two writers at once"

# Everything at random, and one after the other what a rule cannot be: a gateway
# that is stopped, one that is killed, writes that hang, a list that lags, a
# certificate or a clock that is wrong, and nobody who listens.
storm() { # [rule...]
	rules 'refuse prob=0.02' 'lost prob=0.03' 'lost-hang=300 prob=0.01' \
		'reset prob=0.02' 'error=500,InternalError prob=0.03' \
		'error=503,SlowDown,1 prob=0.02' 'early=503,SlowDown prob=0.01' \
		'reset-upload=5000 method=PUT prob=0.03' 'hang=300 prob=0.01' \
		'cut=100 method=GET prob=0.03' 'close prob=0.05' \
		'reset-answer=1000 method=GET prob=0.03' \
		'slow=200000 prob=0.01' 'slow-upload=2000000 prob=0.01' \
		'corrupt-upload=3 method=PUT prob=0.01' 'date=-900 prob=0.1' "$@"
}
# in_the_middle <command>: of a night
in_the_middle() {
	in_the_middle_n=$(($(wc -l <"$proxy_log") + 1))
	"$fb" -c "$conf" download >"$work/run.out" 2>&1 &
	run=$!
	until_true "nothing is asked" asked_since "$in_the_middle_n"
	"$1"
	wait $run || fail "night $nights ($1): $(tail -5 "$work/run.out")"
}
asked_since() {
	[ "$(wc -l <"$proxy_log")" -gt $(($1 + 10)) ]
}
stop_it() {
	kill -STOP "$rgw_pid"
	sleep 0.5
	kill -CONT "$rgw_pid"
}
kill_it() {
	kill -KILL "$rgw_pid"
	wait "$rgw_pid" 2>/dev/null || :
	start_gateway
}
goes_away() {
	rules refuse reset
	sleep 1
	storm
}
hangs() {
	tail -n "+$in_the_middle_n" "$proxy_log" | grep -q '^# [0-9]* hang PUT .*/packs/'
}
# One whose answer is lost instead is not sent again: then none hangs.
hangs_or_is_over() {
	hangs || [ ! -e "/proc/$run/exe" ]
}
let_go() {
	until_true "no write hangs" hangs_or_is_over
	storm
}
end=$(($(date +%s) + ${STORM_SECONDS:-15}))
nights=0
: >"$proxy_log"
while [ "$(date +%s)" -lt $end ]; do
	change
	storm
	case $((nights % 7)) in
	0) in_the_middle stop_it ;;
	1) in_the_middle kill_it ;;
	2)
		storm 'hang method=PUT path=*/packs/*'
		in_the_middle let_go
		;;
	3)
		storm 'lag=300'
		expect 0 "$fb" -c "$conf" download
		;;
	4)
		expect 15 "$fb" -c wrong.yaml download
		grep -q E-TLS "$work/stderr" || fail "another server's name is believed"
		expect 0 "$fb" -c "$conf" download
		;;
	5)
		[ "${FB_VARIANT:-debug}" = release ] || expect 15 env \
			FLEETBAK_CLOCK=$(($(date +%s) - 7200)) "$fb" -c "$conf" download
		expect 0 "$fb" -c "$conf" download
		;;
	6) in_the_middle goes_away ;;
	esac
	rules
	expect 0 "$fb" -c "$conf" verify
	nights=$((nights + 1))
done
faults=$(grep -c '^#' "$proxy_log")
[ "$faults" -gt 0 ] || fail "nothing went wrong"
whole "everything at random: $nights nights"
