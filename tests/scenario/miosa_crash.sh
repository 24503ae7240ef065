#!/bin/sh
# A backup of a computer of MIOSA, and a restore in place, cut off at every step
# that has to do with the provider and at some of the others: the next one ends
# it, does nothing twice, and leaves nothing.
# CRASH_EVERY=n: at every n-th of the others.
. "$(dirname "$0")/lib.sh"
requires_faults
# shellcheck source=tests/scenario/lib_miosa.sh
. "$here/lib_miosa.sh"

miosa_computer comp_a running '"name":"web"'
miosa_begin --families checkpoints
cd "$work"
miosa_fleet 'keep_snapshot: true'
cp -a "$cloud/computers/comp_a" before
expect 0 "$fb" init

nothing_left() {
	miosa_kept 1 "$1"
	status_is comp_a running
	same_tree comp_a before
	! grep '^!' "$cloud_log" || fail "$1: MIOSA complains"
}

# Who was cut off is looked after; as long as that takes, others are refused.
good() { # <command>...
	good_i=0
	while :; do
		good_got=$(status_of "$@")
		[ "$good_got" -eq 11 ] && [ $good_i -lt 600 ] || break
		good_i=$((good_i + 1))
		sleep 0.05
	done
	[ "$good_got" -eq 0 ] || fail "exit $good_got: $*"
}

steps() { # <crash log>
	awk -v every="${CRASH_EVERY:-40}" \
		'$2 == "driver" || $1 % every == 0 { print $1 }' "$1"
}

FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" download
tried=0
for n in $(steps steps); do
	FLEETBAK_CRASH=$n:kill "$fb" download >out 2>&1 || :
	good "$fb" download
	nothing_left "download, step $n"
	tried=$((tried + 1))
done
[ $tried -ge 5 ] || fail "only $tried steps"
expect 0 "$fb" verify --full
ok "$tried backups were cut off, and each was ended by the next one"

for fault in lost timeout; do
	FLEETBAK_FAULT=driver.2:$fault "$fb" download >out 2>&1 || :
	good "$fb" download
	nothing_left "download, driver.2:$fault"
done
ok "answers that are lost or late leave nothing behind"

FLEETBAK_CRASH_LOG=$work/steps \
	expect 0 "$fb" restore web --in-place --yes
tried=0
for n in $(CRASH_EVERY=1000000 steps steps); do
	FLEETBAK_CRASH=$n:kill "$fb" restore web --in-place --yes >out 2>&1 ||
		:
	good "$fb" recover
	good "$fb" restore web --in-place --yes
	nothing_left "restore, step $n"
	tried=$((tried + 1))
done
[ $tried -ge 4 ] || fail "only $tried steps"
ok "$tried restores in place were cut off, and each was ended"
