#!/bin/sh
# Rates are kept: what is limited takes at least as long as it must, however
# many machines share it, and a limit is no reason not to stop.  Nothing here
# depends on how fast this computer is.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 3
cd "$work/f"
sed -i 's/, max_downtime: 20min//' "$conf"
expect 0 "$fb" -c "$conf" init

read_bytes() { # of the newest run
	jq '[.machines[].volumes[].read_bytes // 0] | add' \
		"$(find repo/runs -name manifest.json | sort | tail -1)"
}

milliseconds() {
	awk '{ printf "%.0f\n", $1 * 1000 }' /proc/uptime
}

# at_least <bytes> <rate> <what>: so long it took, from $before.  The clock
# has steps of 10 ms, and a bucket that was idle has saved up 100 ms.
at_least() {
	took=$(($(milliseconds) - before))
	least=$(($1 * 1000 / $2 - 120))
	[ "$took" -ge "$least" ] || fail "$3: $1 bytes in $took ms"
}

before=$(milliseconds)
expect 0 "$fb" -c "$conf" download --set download.limit_read=500kB/s -j 3
bytes=$(read_bytes)
[ "$bytes" -gt 600000 ] || fail "only $bytes bytes were read"
at_least "$bytes" 500000 "three machines at once"
ok "machines share what a run may read"

rm -rf repo state
expect 0 "$fb" -c "$conf" init
before=$(milliseconds)
expect 0 "$fb" -c "$conf" download --set sources.lab.limit_read=4Mbit/s -j 3
at_least "$(read_bytes)" 500000 "a source"
ok "a source has a limit of its own"

rm -rf repo state
expect 0 "$fb" -c "$conf" init
before=$(milliseconds)
expect 0 "$fb" -c "$conf" download --set download.limit_upload=20kB/s
stored=$(find repo/packs -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
[ "$stored" -gt 30000 ] || fail "only $stored bytes were stored"
at_least "$stored" 20000 "packs"
ok "packs go into the repository no faster than they may"

# At 1 KiB a second all of it would take a quarter of an hour.
for limit in download.limit_read sources.lab.limit_read; do
	rm -rf repo state
	expect 0 "$fb" -c "$conf" init
	: >machines/m1/effects
	"$fb" -c "$conf" download --set $limit=1KiB/s >"$work/stdout" \
		2>"$work/stderr" &
	pid=$!
	retry test -s machines/m1/effects
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	[ $status -eq 143 ] || fail "$limit: exit $status"
	for m in m1 m2 m3; do
		[ -e machines/$m/up ] || fail "$limit: $m is down"
	done
done
ok "who waits for a limit stops when asked to"

# By the time of day, in the fleet's time zone: 11:59 UTC is 12:59 in Berlin.
rm -rf repo state
noon=1795867199 # Saturday 2026-11-28, 11:59:59 UTC
expect 0 "$fb" -c "$conf" init
cp "$conf" "$work/unlimited.yaml"
sed -i 's|^fleet: {|&timezone: Europe/Berlin, |
	s|^download: {|&limit_read: ["Mon-Fri 1MB/s", "Sat-Sun 12:00-13:00 1KiB/s", "* unlimited"], |' \
	"$conf"
if [ "${FB_VARIANT:-debug}" != release ]; then
	FLEETBAK_CLOCK=$noon expect 0 "$fb" -c "$conf" config check
	grep -qF 'download.limit_read: 1KiB/s now, unlimited from 2026-11-28 13:00 +01:00' \
		"$work/stdout" || fail "config check: $(cat "$work/stdout")"
	FLEETBAK_CLOCK=$noon expect 0 "$fb" -c "$conf" plan
	grep -qF 'download.limit_read: 1KiB/s now, unlimited from' \
		"$work/stdout" || fail "the plan does not say it"
	FLEETBAK_CLOCK=$noon expect 0 "$fb" -c "$conf" plan --json
	jq -e '.data.limits[0] | .now == "1KiB/s" and .then == "unlimited" and
		.until == "2026-11-28T12:00:00Z" and .windows ==
		"Mon-Fri 1MB/s, Sat-Sun 12:00-13:00 1KiB/s, unlimited"' \
		"$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"

	# The window ends while it waits, which is asked for once a second: a
	# quarter of an hour becomes seconds.
	FLEETBAK_FAULT_LOG=$work/log FLEETBAK_CLOCK=$((noon + 1)) \
		expect 0 "$fb" -c "$conf" download
	n=$(($(grep -c ' clock ' "$work/log") / 2)) # the sooner it ends
	rm -rf repo state "$work/log"
	expect 0 "$fb" -c "$conf" init
	expect 0 timeout 100 env FLEETBAK_CLOCK=$noon \
		FLEETBAK_FAULT_LOG="$work/log" FLEETBAK_FAULT="clock.$n:+2" \
		"$fb" -c "$conf" download
	[ "$(grep -c ' clock ' "$work/log")" -ge "$n" ] || fail "it did not wait"
fi
ok "limits change with the time of day, also for what waits"
cp "$work/unlimited.yaml" "$conf" # whatever day it is

# A change map that says nothing changed, and all of it read again to see.
m=machines/m1
rm -rf repo state machines/m2 machines/m3
sed -i 's|path: disk.img}|path: disk.img, changed: [./map]}|' $m/machine.yaml
printf '#!/bin/sh\necho token always\n' >$m/map
chmod +x $m/map
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
before=$(milliseconds)
expect 0 "$fb" -c "$conf" download --set download.verify_unchanged=100% \
	--set download.limit_read=200kB/s
bytes=$(read_bytes)
[ "$bytes" -gt 100000 ] || fail "only $bytes bytes were read again"
at_least "$bytes" 200000 "what is read again"
ok "what is read again to see whether a map lies is limited too"

expect 2 "$fb" -c "$conf" download --set download.limit_read=20MiB
grep -q "limit_read '20MiB': not a rate: write 20MiB/s" "$work/stderr" ||
	fail "a size is taken for a rate"
ok "a rate says of what, and how often"
