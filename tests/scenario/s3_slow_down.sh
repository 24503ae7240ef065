#!/bin/sh
# A server that says SlowDown gets fewer requests at once, and as many as before
# when it does not say so any more.  How many they are is counted where they
# arrive.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_radosgw
s3_env
start_proxy main
s3_at=$proxy_url
s3_more='object_lock: governance\
    lock_for: 1h'
s3_fleet "$work/f" 1 locked
cd "$work/f"

# One run of many small objects: each volume has its own.
sed -i '/^volumes:/,$d' machines/m1/machine.yaml
{
	echo 'volumes:'
	for i in $(seq 1 240); do
		echo "  - {name: v$i, kind: disk, path: v$i.img}"
		echo "volume $i" >"machines/m1/v$i.img"
	done
} >>machines/m1/machine.yaml
expect 0 "$fb" -c "$conf" init

# Once each of them is there, a run looks how long they are locked, as many at
# once as it may.  Each answer takes a moment; in the middle the server has
# enough.
: >"$proxy_log"
rules 'delay=50 method=HEAD skip=250'
"$fb" -c "$conf" download >"$work/stdout" 2>"$work/stderr" &
run=$!
many_at_once() {
	awk '$3 == "HEAD" && $9 >= 12 { n++ } END { exit n < 20 }' "$proxy_log"
}
until_true "never many at once" many_at_once
rules 'error=503,SlowDown method=HEAD'
# Fewer are allowed once a second at most: three times, so.
slow_for_long() {
	awk '$5 == 503 { if (!n++) first = $2; last = $2 }
		END { exit n == 0 || last - first < 2500 }' "$proxy_log"
}
until_true "it does not ask again" slow_for_long
rules 'delay=100 method=HEAD'
wait $run || fail "the run failed"
rules

sort -n "$proxy_log" | awk '$3 == "HEAD" { print $5, $9 }' >"$work/heads"
last=$(grep -n '^503' "$work/heads" | tail -1 | cut -d : -f 1)
most() { # of the lines read
	awk '$2 > most { most = $2 } END { print most + 0 }'
}
before=$(sed '/^503/,$d' "$work/heads" | most)
slow=$(sed "1,${last}d" "$work/heads" | head -15 | most)
again=$(sed "1,${last}d" "$work/heads" | most)
[ "$before" -le 16 ] || fail "$before at once"
[ "$slow" -le 4 ] || fail "$slow at once behind the slow down, $before before"
[ "$again" -ge 8 ] || fail "$again at once at the end: it does not climb back"
nothing_wrong
ok "at once: $before, $slow behind the slow down, and then $again"
