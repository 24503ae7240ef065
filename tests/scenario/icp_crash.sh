#!/bin/sh
# A backup of canisters, and a restore of one, cut off at every step that has to
# do with the platform and at some of the others, and with answers that are
# lost: the next one ends it, does nothing twice, and leaves nothing.
# CRASH_EVERY=n: at every n-th of the others.
. "$(dirname "$0")/lib.sh"
requires_faults
# shellcheck source=tests/scenario/lib_icp.sh
. "$here/lib_icp.sh"

icp_canister "$icp_root" root Running
icp_canister "$icp_app" app Stopped "$icp_root"
cd "$work"
export FLEETBAK_CONFIG=fleetbak.yaml
icp_fleet
cp -a "$icp_dir/canisters" before
icp_rules
expect 0 "$fb" init

# Snapshots of what was cut off may be left by an upload, and by nothing else.
nothing_left() { # <what> <snapshots that may be left>
	icp_is "$icp_root" Running
	icp_is "$icp_app" Stopped
	for each in "$icp_root" "$icp_app"; do
		icp_same "$each" "before/$each"
		[ "$(icp_snapshots "$each")" -le "$2" ] ||
			fail "$1: $each has a snapshot left"
	done
	[ -z "$(find spool/ic/captures -mindepth 1 2>/dev/null)" ] ||
		fail "$1: left: $(find spool/ic/captures)"
	icp_fair
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

# Which steps: all with the platform, and some of the others.
steps() { # <crash log>
	awk -v every="${CRASH_EVERY:-96}" \
		'$2 == "driver" || $1 % every == 0 { print $1 }' "$1"
}

FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" download
tried=0
for n in $(steps steps); do
	: >"$icp_dir/effects"
	FLEETBAK_CRASH=$n:kill "$fb" download >out 2>&1 || :
	good "$fb" download
	nothing_left "download, step $n" 0
	for each in "$icp_root" "$icp_app"; do
		made=$(grep -c "^create $each" "$icp_dir/effects" || :)
		gone=$(grep -c "^delete $each" "$icp_dir/effects" || :)
		[ "$made" -eq "$gone" ] ||
			fail "step $n: $made made and $gone removed of $each"
	done
	tried=$((tried + 1))
done
[ $tried -ge 5 ] || fail "only $tried steps"
expect 0 "$fb" verify --full
ok "$tried backups were cut off, and each was ended by the next one"

for fault in lost late timeout; do
	for n in 1 2; do
		FLEETBAK_FAULT=driver.$n:$fault "$fb" download >out 2>&1 || :
		good "$fb" download
		nothing_left "download, driver.$n:$fault" 0
	done
done
ok "answers that are lost or late leave nothing behind"

FLEETBAK_CRASH_LOG=$work/steps \
	expect 0 "$fb" restore "$icp_root" --in-place --yes
tried=0
for n in $(steps steps); do
	icp_change "$icp_root" other
	FLEETBAK_CRASH=$n:kill "$fb" restore "$icp_root" --in-place --yes \
		>out 2>&1 || :
	good "$fb" recover
	good "$fb" restore "$icp_root" --in-place --yes
	nothing_left "restore, step $n" 1
	tried=$((tried + 1))
done
[ $tried -ge 5 ] || fail "only $tried steps"
ok "$tried restores in place were cut off, and each was ended"
