#!/bin/sh
# The server goes away in the middle: nobody listens any more, and connections
# that were there are reset; or its bytes come so slowly that it might as well.
# When it is back, the run ends whole and verified; when it stays away, with the
# right code, every machine up, and the next run goes on.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
. "$(dirname "$0")/lib_s3.sh"
requires jq strace

start_radosgw
s3_make bucket
s3_env
start_proxy main
s3_at=$proxy_url
s3_fleet "$work/f" 1 bucket
cd "$work/f"
expect 0 "$fb" -c "$conf" init

change() {
	head -c 3M /dev/urandom >machines/m1/disk.img
	: >"$proxy_log"
}
# go_away [option...]: in the middle of a run with these options; it has been
# refused when this returns.  Sets $run.
go_away() {
	change
	rules 'hang method=PUT path=*/packs/*'
	traced "$work/trace" connect,getsockopt "$fb" -c "$conf" download "$@" \
		--json >"$work/run.out" 2>"$work/run.err" &
	run=$!
	until_true "no pack" fault_began hang
	rules refuse reset
	until_true "nobody was refused" grep -q 'ECONNREFUSED' "$work/trace"
	kill -0 $run || fail "it gave up at once: $(cat "$work/run.err")"
}

go_away
rules
wait $run || fail "the run failed: $(cat "$work/run.err")"
whole "nobody listened for a while"

go_away --set repositories.main.retry_for=2s
rc=0
wait $run || rc=$?
cp "$work/run.err" "$work/stderr"
[ $rc -eq 15 ] || fail "nobody listens any more: exit $rc"
grep -q '  fix ' "$work/stderr" || fail "it does not say what to do"
rules
expect 0 "$fb" -c "$conf" download
grep -q 'the run that was cut off was kept' "$work/stderr" ||
	fail "it was not gone on with"
whole "nobody listens any more: exit 15, and the next run goes on"

# Fewer than 128 bytes a second are none.
short='--set repositories.main.retry_for=4s'
change
rules 'slow-upload=50 method=PUT path=*/packs/* times=1'
expect 0 "$fb" -c "$conf" download --set repositories.main.retry_for=16s
fault_began slow-upload || fail "nothing was slow"
whole "an upload that dripped is sent again"

rules 'slow=50 method=GET path=*/packs/* times=1'
# shellcheck disable=SC2086 # words
expect 0 "$fb" -c "$conf" restore m1 --target "$work/drip" --yes $short
fault_began 'slow' || fail "nothing was slow"
cmp machines/m1/disk.img "$work/drip/m1/root.img" || fail "another disk"
ok "a download that dripped is asked for again"

rules 'slow=50 method=GET path=*/packs/* skip=2'
# shellcheck disable=SC2086 # words
expect 15 timeout 60 "$fb" -c "$conf" verify --full $short
ok "downloads that go on dripping: exit 15"

rules 'slow=50 method=GET path=*/packs/*'
: >"$proxy_log"
"$fb" -c "$conf" verify --full >"$work/run.out" 2>"$work/stderr" &
run=$!
until_true "nothing is slow" fault_began slow
kill -TERM $run
is_over() {
	[ ! -e "/proc/$run/exe" ]
}
until_true "it goes on" is_over
rc=0
wait $run || rc=$?
[ $rc -eq 143 ] || fail "stopped: exit $rc"
ok "a stop does not wait for what drips"
