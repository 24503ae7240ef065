#!/bin/sh
# A backup of a machine of computer-host, and a restore to it, cut off at every
# step that has to do with the host and at some of the others, and with answers
# that are lost: the next one ends it, does nothing twice, and leaves nothing.
# CRASH_EVERY=n: at every n-th of the others.
. "$(dirname "$0")/lib.sh"
requires_faults
# shellcheck source=tests/scenario/lib_chost.sh
. "$here/lib_chost.sh"

chost_machine m1 running 1 2
chost_begin --reconcile 100
cd "$work"
export FLEETBAK_CONFIG=fleetbak.yaml
chost_fleet 'serve: "127.0.0.1:0"' 'settle_time: 400ms'
cp -a "$host/machine-disks/m1" before
expect 0 "$fb" init

# A create that was cut off is the daemon's to put right.
nothing_left() {
	until_true "$1: a snapshot is left" \
		sh -c "[ -z \"\$(ls '$host/snapshots' | grep -v '^fbr-')\" ]"
	[ "$(phase m1)" = running ] || fail "$1: m1 is $(phase m1)"
	! grep '^!' "$log" | grep -v 'client has gone' ||
		fail "$1: the host complains"
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

# Which steps: all with the host, and some of the others.
steps() { # <crash log>
	awk -v every="${CRASH_EVERY:-12}" \
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

for fault in lost late timeout; do
	for n in 1 2; do
		FLEETBAK_FAULT=driver.$n:$fault "$fb" download >out 2>&1 || :
		good "$fb" download
		nothing_left "download, driver.$n:$fault"
	done
done
ok "answers that are lost or late leave nothing behind"

FLEETBAK_CRASH_LOG=$work/steps \
	expect 0 "$fb" restore m1 --in-place --yes
tried=0
for n in $(steps steps); do
	FLEETBAK_CRASH=$n:kill "$fb" restore m1 --in-place --yes >out 2>&1 ||
		:
	good "$fb" recover
	good "$fb" restore m1 --in-place --yes
	same_disks m1 before
	nothing_left "restore, step $n"
	tried=$((tried + 1))
done
[ $tried -ge 5 ] || fail "only $tried steps"
ok "$tried restores in place were cut off, and each was ended"
