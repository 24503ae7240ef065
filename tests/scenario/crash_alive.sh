#!/bin/sh
# A run is killed, its guardian too, and a command that it started lives on:
# nothing is done before that has ended, and then all of it.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
cut_at=
open_gates() {
	for gate in "$dir"/machines/*/gate; do
		[ ! -p "$gate" ] || echo go 1<>"$gate"
	done
}
trap 'open_gates; crash_end' EXIT

# Commands that stop at a gate when the file "hang" says so: a verb, then what
# the last record of the journal holds; a third word: only their child does.
for m in copy snap down; do
	mkfifo machines/$m/gate
	# shellcheck disable=SC2016 # they are for that file
	sed -i '2a\
if [ -e hang ]; then\
	read -r verb record how <hang\
	if [ "$1" = "$verb" ] \&\& tail -qn 1 ../../state/*/*/journal |\
		grep -q -e "$record"; then\
		rm hang\
		: >hanging\
		if [ -n "$how" ]; then\
			{ read -r _ <gate; } \&\
		else\
			read -r _ <gate\
		fi\
	fi\
fi' machines/$m/ctl
done
sh -n machines/copy/ctl
cp -a "$dir" "$pristine"

everything() { # all but who holds the lock
	find repo state machines -type f ! -name lock -exec sha256sum {} + |
		sort
}

# killed <machine> <verb> <last record> <how> ARG...: a run dies at that point.
killed() {
	at=$1
	echo "$2 $3 $4" >"machines/$1/hang"
	shift 4
	env FLEETBAK_CLOCK=$clock FLEETBAK_SESSION=$session \
		FLEETBAK_CRASH_LOG="$steps" \
		"$fb" -c fleetbak.yaml "$@" >>"$work/said" 2>&1 &
	pid=$!
	until_true "$what: it does not hang" [ -e "machines/$at/hanging" ]
	rm "machines/$at/hanging"
	# Its threads come and go, and some are gone before they are read.  The
	# guardian is the one without children: another waits for a start.
	for child in $(cat /proc/$pid/task/*/children 2>/dev/null || true); do
		[ "$(readlink "/proc/$child/exe")" != "$(readlink -f "$fb")" ] ||
			[ -n "$(cat "/proc/$child"/task/*/children)" ] ||
			kill -KILL "$child"
	done
	kill -KILL $pid
	wait $pid 2>/dev/null || true
}

refused() { # <status> fleetbak ARG...
	got=$("$fb" -c fleetbak.yaml "$@" >"$work/stdout" 2>"$work/stderr" &&
		echo 0 || echo $?)
	[ "$got" -eq 11 ] || fail "$what: $1: exit $got"
	grep -q E-CHILD-ALIVE "$work/stderr" || fail "$what: $1: another error"
}

nothing_is_done() { # <command that died>
	everything >"$work/before.it"
	refused download
	refused recover
	[ "$1" = download ] || refused restore --in-place --yes copy
	everything >"$work/after.it"
	cmp -s "$work/before.it" "$work/after.it" || {
		diff "$work/before.it" "$work/after.it"
		fail "$what: something was done"
	}
	echo go >"machines/$at/gate"
}

alive() { # <case> <what it was> <machine> <verb> <last record> [how]
	what=$1
	name=
	fresh
	if [ "$2" = download ]; then
		killed "$3" "$4" "$5" "${6:-}" download
	else
		killed "$3" "$4" "$5" "${6:-}" restore --in-place --yes \
			copy snap down
	fi
	nothing_is_done "$2"
	[ "$(run fleetbak recover)" -eq 0 ] || [ "$2" = restore ] ||
		fail "$what: recover"
	if [ "$2" = download ]; then
		got=$(run fleetbak download)
	else
		got=$(run fleetbak restore --yes --resume $session)
	fi
	[ "$got" -eq 0 ] || fail "$what: the next run: exit $got"
	judge_power
	for m in copy snap; do
		effects=$(effects_of $m)
		case $effects in
		0.0.* | 1.1.* | 2.2.*) ;;
		*) fail "$what: $m: $effects" ;;
		esac
	done
	judge_repository
	! grep -qF -e "$secret" "$work/said" || fail "$what: says a secret"
	echo "$scenario|alive|$what|refused" >>"$ledger"
	ok "$what: not run over"
}

alive 'download stop' download snap stop '"state":"stopping"'
alive 'download create' download down status 'lab/copy.*"state":"copied"'
alive 'download start' download snap start '"state":"starting"'
alive 'download download' download down status 'lab/down.*"volume":"data"'
alive 'lock-held-by-descendant' download snap stop '"state":"stopping"' child

fresh
[ "$(run fleetbak download)" -eq 0 ] || fail "download"
retry rm -rf state/runs
printf 'scribble' | dd of=machines/copy/disk.img bs=1 seek=700000 \
	conv=notrunc status=none
for m in copy snap; do : >machines/$m/effects; done
cd "$base"
left_alone "$dir"
rm -rf "$pristine"
mv "$dir" "$pristine"

alive 'restore stop' restore snap stop '"verb":"stop"'
alive 'restore upload' restore snap status 'lab/copy.*ok\|ok.*lab/copy'
alive 'restore load' restore snap status '"existed"'
alive 'restore start' restore snap start '"verb":"start"'
