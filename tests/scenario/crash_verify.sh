#!/bin/sh
# Kill a verification anywhere: it changed nothing, and the next one says what
# an undisturbed one says.
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

dir=$work/dir
pristine=$work/pristine
crash_fleet
cut_at=
[ "$(run fleetbak download)" -eq 0 ] || fail "download"

# (A reader announces itself: its session may be left.)
everything() {
	find repo state machines -type f ! -path "*/sessions/*" \
		-exec sha256sum {} + | sort
}

check() {
	"$fb" -c fleetbak.yaml verify --full
}

export FLEETBAK_CLOCK=$clock
everything >"$work/before.it"
FLEETBAK_FAULT_LOG=$work/log check >"$work/want"
reads=$(grep -c ' read ' "$work/log")
asks=$(grep -c ' ask ' "$work/log")
[ "$asks" -gt 10 ] || fail "only $reads reads and $asks questions"

crashes=0
crash_verify() { # <kind>.<n> [case]
	got=$(FLEETBAK_CRASH=$1:kill status_of check)
	# Threads share the packs, and ask a few questions more or less.
	[ "$got" -ne 0 ] || [ "${1#ask.}" -le $((asks * 8 / 10)) ] || return 1
	[ "$got" -eq 137 ] || fail "$1: exit $got"
	[ ! -s "$work/stdout" ] || fail "$1: it said something"
	everything >"$work/after.it"
	cmp -s "$work/before.it" "$work/after.it" || {
		diff "$work/before.it" "$work/after.it"
		fail "$1: changed something"
	}
	[ "$(status_of check)" -eq 0 ] || fail "$1: the next one"
	cmp -s "$work/want" "$work/stdout" || fail "$1: it says something else"
	crashes=$((crashes + 1))
	[ -z "${2:-}" ] || echo "$scenario|kill|$2|same" >>"$ledger"
}

# The first question is about the format; the last one is answered before
# the result is put out.
crash_verify ask.1 before-document
crash_verify ask.$((asks / 2)) mid-checksum
last=$asks
until crash_verify ask."$last" before-output; do
	last=$((last - 1))
done
n=1
while [ "$n" -le "$asks" ]; do
	crash_verify ask.$n || break
	n=$((n + 7))
done
ok "verify: $crashes crashes"
