#!/bin/sh
# Kill a worker before each of its durable steps in turn.  Its node is lost, and
# a worker on another one, with nothing but the repository, starts what is down,
# removes what is left, does the shard, and seals; or its node is back, and it
# goes on.  Whatever the step: one sealed run that is whole, every machine up,
# no window but those that were begun, and nothing left anywhere.
#
#	CRASH=all     every step in every way, not a sample
#	SLICE=K/N     of those every N-th, from the K-th on: N slices are all
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
# A deaf machine is started by its first worker and by nobody else on that node:
# its guardian, which is none of the processes that crash, is not heard.
for m in copy snap; do
	# shellcheck disable=SC2016 # for the script that is made
	sed 's/^start)/&\n	[ ! -e deaf ] || [ -n "${FLEETBAK_CRASH:-}" ] || exit 1/' \
		"machines/$m/ctl" >"$work/ctl"
	grep -q deaf "$work/ctl" || fail "the machine hears all"
	cat "$work/ctl" >"machines/$m/ctl"
	: >"machines/$m/deaf"
done
cp -a --reflink=auto "$dir" "$pristine"

# worker <n> <argument>...: on a node of its own, after the one that died.  The
# first id that one makes is the run's, if it is the first to come, else its
# session's: never the one that the dead one has made.
worker() {
	worker_n=$1
	shift
	run FLEETBAK_STATE_DIR="$dir/state$worker_n" \
		FLEETBAK_SESSION="20270115-08000000$worker_n-0000000b" \
		fleetbak "$@"
}

act() {
	run FLEETBAK_STATE_DIR="$dir/state1" \
		FLEETBAK_SESSION=20270115-080000001-0000000a \
		FLEETBAK_CRASH="${cut_at:-999999:kill}" \
		fleetbak download --shard 1/1 --run night
}

mend() {
	then=open
	grep -qs '^number 1$' repo/commits/* && then=committed
	if [ "$node" = lost ]; then
		# Once its guardian has done what it can it is gone.
		worker 1 recover >"$work/recover.out"
		rm -f machines/copy/deaf machines/snap/deaf
		retry rm -rf "$dir/state1" || fail "$what: the node stays"
		next=2
	else
		rm -f machines/copy/deaf machines/snap/deaf
		next=1
	fi
	# What is its own it goes on with; a lease of which its node remembers
	# nothing yet it takes over.
	set -- --take-over
	got=$(worker $next download --shard 1/1 --run night "$@")
	# It was sealed already.
	[ "$got" -eq 0 ] || grep -q E-SHARED-SEALED "$work/stderr" ||
		fail "$what: the next worker: exit $got"
	[ "$(worker $next seal --run night "$@")" -eq 0 ] || fail "$what: seal"
}

# Each machine has one window, and one more only if the worker died before its
# shard was committed; it starts as often as it stops.
judge_windows() { # <machine>
	effects=$(effects_of "$1")
	case $then.$effects in
	*.1.1.1) ;;
	open.1.1.2 | open.2.2.1 | open.2.2.2) ;;
	*) fail "$what: $1 ($then): stops.starts.snapshots $effects" ;;
	esac
}

judge() {
	judge_power
	for m in copy snap; do judge_windows $m; done
	[ "$(worker $next list runs --output json)" -eq 0 ] || fail "$what: list"
	id=$(fields run | sort -u)
	[ "$(echo "$id" | wc -w)" -eq 1 ] || fail "$what: runs: $id"
	projection "$id" | cmp -s "$work/want" - || {
		projection "$id" | diff "$work/want" -
		fail "$what: another manifest"
	}
	[ "$(find repo/shared -type f | wc -l)" -eq 2 ] ||
		fail "$what: left: $(find repo/shared -type f)"
	[ -z "$(ls state$next/runs 2>/dev/null)" ] || fail "$what: a run was left"
	[ "$(worker $next verify --full)" -eq 0 ] || fail "$what: verify"
	nothing_lost repo "$what"
	outcome=$then
}

projection() { # <run>
	jq -S '[.machines[] | {id, failure, parent, role, lifecycle, level,
		description, volumes: [.volumes[] | {name, kind, size, root}]}]' \
		"repo/runs/$1/manifest.json"
}

survey
projection 20270115-080000001-0000000a >"$work/want"
[ "$(jq length "$work/want")" = 4 ] || fail "not four machines"
node=lost
crash_loop kill 59
crash_loop torn 37 write
crash_loop lost 97
node=back
crash_loop kill 89
crash_loop lost 149
