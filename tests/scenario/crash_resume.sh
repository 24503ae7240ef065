#!/bin/sh
# A download that goes on after a crash is cut off itself, before each of its
# durable steps in turn; a third one finishes the work.  The first crash: with
# a machine stopped; when its snapshot has just been made; between two machines;
# when the commit is made and not recorded.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
cp -a --reflink=auto "$dir" "$base/new"
keep_machines=yes

# The bytes of the run's manifest, without what a crash does change: how long
# a machine was down, by a clock that is not fixed; and the number of a second
# or third window, which is in its token too.
bytes() {
	sed -E 's/"downtime_ms":[0-9]+/"downtime_ms":0/g
		s/"epoch":[123]/"epoch":1/g
		s/("token":"[^"]*)\.[23]"/\1.1"/g' \
		repo/runs/$session/manifest.json
}

projection() {
	jq -S '[.machines[] | {id, failure, parent, role, lifecycle, description,
		volumes: [.volumes[] | {name, kind, size, root}]}]' \
		"$(find repo/runs -name manifest.json | sort | tail -1)"
}

act() {
	run fleetbak download
}

mend() {
	commits=1
	id=$(next_session)
	[ "$id" = "$session" ] || commits=2
	got=$(run FLEETBAK_SESSION="$id" fleetbak download)
	[ "$got" -eq 0 ] || fail "$what: the next run: exit $got"
}

judge() {
	judge_power
	outcome=
	for m in copy snap; do
		effects=$(effects_of $m)
		outcome=$outcome$m:$effects,
		case $commits:$effects in
		1:1.1.1 | 1:2.2.[12] | 1:3.3.* | 2:2.2.2) ;;
		*) fail "$what: $m: stops, starts, snapshots: $effects" ;;
		esac
	done
	projection >"$work/got"
	cmp -s "$work/want" "$work/got" || {
		diff "$work/want" "$work/got"
		fail "$what: another manifest"
	}
	bytes | cmp -s "$work/want.bytes" - ||
		fail "$what: the manifest has other bytes"
	[ -z "$(ls state/runs)" ] || fail "$what: the run was not cleared away"
	judge_repository
}

cp -a --reflink=auto "$base/new" "$pristine"
survey
projection >"$work/want"
bytes >"$work/want.bytes"
cp "$work/calm.steps" "$work/first.steps"

# from <step>: the first crash is at the one of that name.
from() {
	number=$(step_names <"$work/first.steps" | grep -m 1 " $1\$" |
		cut -d' ' -f1)
	[ -n "$number" ] || fail "no step '$1'"
	retry rm -rf "$pristine"
	cp -a --reflink=auto "$base/new" "$pristine"
	fresh
	cut_at=$number:kill
	got=$(act)
	[ "$got" -eq 137 ] || fail "the first crash: exit $got"
	cut_at=
	cat "$steps" >"$work/before"
	[ "$(run fleetbak recover)" -eq 0 ] || fail "recover"
	cd "$base"
	left_alone "$dir"
	rm -rf "$pristine"
	cp -a --reflink=auto "$dir" "$pristine"
	survey
}

from 'driver stop lab/snap'
crash_loop kill 6
from 'write state/runs/RUN/journal machine snapshotted lab/snap'
crash_loop kill 8
from 'write state/runs/RUN/journal machine copied lab/down'
crash_loop kill 6
crash_loop torn 16 write
crash_loop lost 32
from 'write state/runs/RUN/journal commit'
crash_loop kill 2
crash_loop lost 8
