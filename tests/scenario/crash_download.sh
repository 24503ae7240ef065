#!/bin/sh
# Kill a download before each of its durable steps in turn; the next download
# must finish the work, repeat no snapshot, leave no machine stopped, and
# commit what an undisturbed one commits.  One machine with each lifecycle.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
cp -a --reflink=auto "$dir" "$pristine"

keep_machines=yes

act() {
	run fleetbak download
}

manifest() { # the newest
	find repo/runs -name manifest.json | sort | tail -1
}

# The bytes of the run's manifest, without what a crash does change: how long
# a machine was down, by a clock that is not fixed; and the number of a second
# window, which is in its token too.
bytes() {
	sed -E 's/"downtime_ms":[0-9]+/"downtime_ms":0/g
		s/"epoch":[12]/"epoch":1/g; s/("token":"[^"]*)\.2"/\1.1"/g' \
		repo/runs/$session/manifest.json
}

projection() {
	jq -S '[.machines[] | {id, failure, parent, role, lifecycle, level,
		description, volumes: [.volumes[] | {name, kind, size, root}]}]' \
		"$newest"
}

# The states in which the machines were when the run died.
states_then() {
	sed -n 's/^[0-9]* [0-9a-f]* machine {.*"machine":"lab\/\([a-z]*\)".*"state":"\([a-z]*\)".*}$/\1 \2/p' \
		state/runs/*/journal 2>/dev/null |
		awk '{ s[$1] = $2 } END { for (m in s) print m, s[m] }'
}

# Only the answer was lost: what is done once more changes nothing.
judge_repetition() {
	find repo machines -type f -exec sha256sum {} + | sort >"$work/before.it"
	[ "$(run fleetbak recover)" -eq 0 ] || fail "$what: recover"
	find repo machines -type f -exec sha256sum {} + | sort >"$work/after.it"
	cmp -s "$work/before.it" "$work/after.it" ||
		fail "$what: something was done once more"
}

mend() {
	then=$(states_then)
	commits=1
	id=$(next_session)
	[ "$id" = "$session" ] || commits=2
	[ $commits -eq 1 ] || judge_repetition
	got=$(run FLEETBAK_SESSION="$id" fleetbak download)
	[ "$got" -eq 0 ] || fail "$what: the next run: exit $got"
}

# A machine has one window, and a second one only when it died in the first
# before all was captured that only a stopped machine has.
judge_windows() { # <machine>
	effects=$(effects_of "$1")
	epoch=${epochs#* "$1" }
	epoch=${epoch%% *}
	outcome=$outcome$1:$effects.$epoch,
	if [ $commits -eq 2 ]; then
		want=2.2.2.1
	else
		state=$(echo "$then" | sed -n "s/^$1 //p")
		case $1.$state in
		*. | *.planned | *.copied | *.verified | *.durable | *.releas* | \
			snap.snapshotted | snap.starting | snap.up | snap.copying)
			want=1.1.1.1 ;;
		*.stopping) want='[12].[12].1.2' ;;
		*.stopped) want=2.2.1.2 ;;
		copy.copying) want='[12].[12].[12].[12]' ;; # is a checkpoint kept?
		snap.snapshotting) want='[12].[12].[12].[12]' ;;
		*) want='[12].[12].[12].2' ;;
		esac
	fi
	# shellcheck disable=SC2254 # a pattern
	case $effects.$epoch in
	$want) ;;
	*) fail "$what: $1 ($state): $effects.$epoch instead of $want" ;;
	esac
	starts=${effects#*.}
	[ "${effects%%.*}" = "${starts%%.*}" ] ||
		fail "$what: $1: stops and starts: $effects"
}

judge() {
	judge_power
	outcome=
	newest=$(manifest)
	epochs=$(jq -j '.machines[] | " ", .id, " ", .epoch, " "' "$newest")
	for m in copy snap; do judge_windows $m; done
	[ "$(find repo/commits -type f | wc -l)" -eq $commits ] ||
		fail "$what: not $commits commits"
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

survey
newest=$(manifest)
projection >"$work/want"
[ "$(jq length "$work/want")" = 4 ] || fail "not four machines"
bytes >"$work/want.bytes"
total=$(wc -l <"$work/calm.steps")
[ "$total" -gt 50 ] || fail "only $total steps: no fault points?"
[ "$total" -lt 600 ] || fail "$total durable steps for four small machines"

crash_loop kill 1
crash_loop torn 4 write
crash_loop lost 8
