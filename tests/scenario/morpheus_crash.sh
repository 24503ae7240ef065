#!/bin/sh
# A backup of a machine of a Morpheus appliance, and its way back to a kept
# snapshot, cut off at every step that has to do with the appliance and at some
# of the others, and with answers that are lost: the next one ends it, the
# machine is up, and nothing is left.
# CRASH_EVERY=n: at every n-th of the others.
if [ -z "${SSH_INSIDE:-}" ] && [ "$(id -u)" -eq 0 ]; then
	SSH_INSIDE=1 exec unshare --net --mount sh "$0"
fi
. "$(dirname "$0")/lib.sh"
requires_faults
requires qemu-nbd python3
# shellcheck source=tests/scenario/lib_morpheus.sh
. "$here/lib_morpheus.sh"

server 13 one on 1
hypervisor_begin
api_token=by-hand
morpheus_begin --power 10 --step 10 --revert 10 --delete 10 \
	--token "$api_token"
cd "$work"
morpheus_fleet
expect 0 "$fb" init

# Whoever was cut off is looked after; as long as that takes, others are
# refused.
good() { # <command>...
	good_i=0
	while :; do
		good_got=$(status_of "$@")
		[ "$good_got" -eq 11 ] && [ $good_i -lt 600 ] || break
		good_i=$((good_i + 1))
		sleep 0.05
	done
	[ "$good_got" -eq 0 ] || fail "exit $good_got: $*: $(cat stderr)"
}
has_snapshots() {
	[ "$(snapshots 13)" -eq "$1" ]
}
is_as_it_was() { # <what> <snapshots>
	until_true "$1: it is down" has_power 13 on
	until_true "$1: not $2 snapshots" has_snapshots "$2"
	! grep '^!' "$log" || fail "$1: the appliance complains"
	forget_log
}

steps() { # <crash log>
	awk -v every="${CRASH_EVERY:-150}" \
		'$2 == "driver" || $1 % every == 0 { print $1 }' "$1"
}

FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" download
tried=0
for n in $(steps steps); do
	FLEETBAK_CRASH=$n:kill "$fb" download >out 2>&1 || :
	good "$fb" download
	is_as_it_was "download, step $n" 0
	tried=$((tried + 1))
done
[ $tried -ge 4 ] || fail "only $tried steps"
ok "$tried backups were cut off, and each was ended by the next one"

for fault in 1:lost 2:lost 2:timeout 3:lost 4:lost; do
	FLEETBAK_FAULT=driver.$fault "$fb" download >out 2>&1 || :
	good "$fb" download
	is_as_it_was "download, driver.$fault" 0
done
expect 0 "$fb" verify --full
ok "answers that are lost or late leave nothing behind"

morpheus_fleet 'keep_snapshot: true'
expect 0 "$fb" download
cp "$h1/one-0" one.img
FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" restore one --in-place --yes
tried=0
for n in $(steps steps); do
	FLEETBAK_CRASH=$n:kill "$fb" restore one --in-place --yes >out 2>&1 ||
		:
	good "$fb" recover
	good "$fb" restore one --in-place --yes
	is_as_it_was "restore, step $n" 1
	tried=$((tried + 1))
done
[ $tried -ge 4 ] || fail "only $tried steps"
ok "$tried restores in place were cut off, and each was ended"
