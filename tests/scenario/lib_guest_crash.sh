# shellcheck shell=sh
# What libvirt_crash*.sh source after lib.sh: fleetbak is killed in the middle of
# the backup of a guest, before what it does to it, before what it journals of it,
# while it reads.  The guest is again as it was after `recover`, on its own images,
# and after the next run nothing is left.
#
#	CRASH_EVERY=n   at every n-th step that has to do with a guest, not only
#	                at those that matter most; 1: at all of them
#
# shellcheck disable=SC2034,SC2154 # the lab's variables
. "$here/../servers/servers.sh"
requires_faults
start_libvirtd
guest_channel=no

fleet() { # <name> <capture>: $work/<name>.0 is it before its first run
	# A guest that was asked to stop and did not see it is watched that long.
	libvirt_fleet "$work/$1.0" \
		"machines: [\"$1\"], scratch: $work/s, capture: $2, stop_timeout: 60s"
	sed -i 's/jobs: 2/jobs: 1/' "$conf"
	(cd "$work/$1.0" && expect 0 "$fb" -c fleetbak.yaml init)
}
fresh() { # <name>
	cd "$work" || exit 1
	left_alone "$work/f"
	rm -rf f log
	cp -a "$work/$1.0" f
	cd f || exit 1
}
run() { # [VAR=VALUE...] <argument of fleetbak>...: its status
	run_env=
	while [ "${1#*=}" != "$1" ]; do
		run_env="$run_env $1"
		shift
	done
	# shellcheck disable=SC2086 # words
	status_of env FLEETBAK_CRASH_LOG="$work/log" $run_env "$fb" \
		-c fleetbak.yaml --lock-wait 60s "$@"
}

# crash <name> <step's pattern>...: at these, and at every n-th of those that have
# to do with the guest.  Those of the driver are counted by themselves, because
# threads take turns; what holds must hold at whatever step is hit.
crash() {
	crash_name=$1
	shift
	fresh "$crash_name"
	[ "$(run download)" -eq 0 ] || fail "$crash_name: undisturbed"
	nothing_left "$crash_name"
	awk '$2 == "driver" { print "driver." ++n, $0; next } { print $1, $0 }' \
		"$work/log" >"$work/named"
	for pattern; do
		grep -m 1 "$pattern" "$work/named" ||
			fail "$crash_name: there is no $pattern"
	done >"$work/chosen"
	[ -z "${CRASH_EVERY:-}" ] ||
		grep -E -e ' driver ' -e ' write .*journal (machine|volume) ' \
			"$work/named" | awk -v every="$CRASH_EVERY" \
			'NR % every == 0' >>"$work/chosen"
	sort -u "$work/chosen" | sort -n -k 2,2 | cut -d ' ' -f 1 >"$work/steps"
	set -- "$crash_name"
	crashed=0
	while read -r step <&3; do
		fresh "$1"
		[ "$1" != real ] || await_boot real
		rc=$(run FLEETBAK_CRASH="$step:kill" download)
		# A step that is not reached is no crash.
		case $rc,$step in
		0,[0-9]*) continue ;;
		137,*) ;;
		*) fail "$1, step $step: exit $rc" ;;
		esac
		at="$1, before $(grep "^$step " "$work/named" | cut -d ' ' -f 3- |
			sed 's/ .*journal / journal /')"
		left_alone "$work/f"
		[ "$(run recover)" -eq 0 ] || fail "$at: recover"
		guest_is "$1" running || fail "$at: it is $(guest_state "$1")"
		# Nobody looks after it from here on until the next night.
		vir domblklist "$1" | sed 's/ *$//' |
			cmp -s - "$guests/$1.sources" ||
			fail "$at: on overlays: $(vir domblklist "$1")"
		[ "$1" != real ] || await_boot real
		[ "$(run download)" -eq 0 ] || fail "$at: the next run"
		guest_is "$1" running || fail "$at: it is $(guest_state "$1") in the end"
		nothing_left "$1"
		[ -z "$(find "$work/s" -type s -o -type f)" ] ||
			fail "$at: $(find "$work/s")"
		[ "$(run verify --full)" -eq 0 ] || fail "$at: verify"
		crashed=$((crashed + 1))
	done 3<"$work/steps"
	[ $crashed -ge "$(grep -c driver "$work/steps")" ] ||
		fail "$1: only $crashed crashes"
	ok "$1: $crashed crashes"
}
