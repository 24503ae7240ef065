#!/bin/sh
# A run that was cut off, and whose session was fenced off by a prune before it
# could be continued: it is over, its machines are up, and backups go on.
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

make_fleet "$work/f" 2
sed -i "s/jobs: 2/jobs: 1/" "$conf" # the steps come in the same order
cd "$work/f"
expect 0 "$fb" -c "$conf" init

# fenced_at <pattern>: a download dies before such a step and is fenced off.
fenced_at() {
	rm -f "$work/steps"
	FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$conf" download \
		--lock-wait 30s
	step=$(awk -v what="$1" 'index($0, what) { print $1; exit }' \
		"$work/steps")
	[ -n "$step" ] || fail "no step '$1'"
	# Something new to store, which the fence then costs.
	head -c 300000 /dev/urandom >machines/m1/data/new
	FLEETBAK_CRASH=$step:kill expect 137 "$fb" -c "$conf" download \
		--lock-wait 30s
	left_alone "$PWD" # its guardian
	dead=$(ls state/runs)
	expect 0 "$fb" -c "$conf" recover --lock-wait 30s
	# An older run goes, so that there is something to delete.
	expect 0 "$fb" -c "$conf" forget -y latest
	expect 0 "$fb" -c "$conf" prune -y --fence-after 0s \
		--set retention.grace=0s
	grep -q 'fleetbak-fence' "repo/commits/$dead" || fail "$1: no fence"
}

for step in 'machine copying lab/m2' 'SHA256SUMS' commits/; do
	fenced_at "$step"
	expect 0 "$fb" -c "$conf" download --lock-wait 30s
	grep -q E-FENCED "$work/stderr" || fail "$step: nobody says so"
	[ -z "$(ls state/runs)" ] || fail "$step: left $(ls state/runs)"
	for m in m1 m2; do [ -e machines/$m/up ] || fail "$step: $m is down"; done
	[ -z "$(find machines -path '*/.fleetbak/*')" ] ||
		fail "$step: left $(find machines -path '*/.fleetbak/*')"
	expect 0 "$fb" -c "$conf" verify --full
	expect 0 "$fb" -c "$conf" prune -y
	expect 0 "$fb" -c "$conf" verify --full
done
ok "a fenced run is given up, and the next one is whole"
