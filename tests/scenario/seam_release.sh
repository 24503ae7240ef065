#!/bin/sh
# A release build holds none of the variables of the seam, and obeys none.
. "$(dirname "$0")/lib.sh"

# Is it in the program, as a string of its own?
holds() { # <variable>
	tr '\0' '\n' <"$fb" | grep -aqx ".*$1"
}

holds FLEETBAK_CONFIG || fail "strings of the program are not found"
for name in CRASH CRASH_LOG FAULT FAULT_LOG CLOCK SESSION; do
	if [ "${FB_VARIANT:-debug}" = release ]; then
		! holds "FLEETBAK_$name" || fail "a release holds FLEETBAK_$name"
	else
		holds "FLEETBAK_$name" || fail "no FLEETBAK_$name: which is looked for?"
	fi
done
ok "variables of the seam: in all builds but a release"

make_fleet "$work" 0
cd "$work"
want=1
[ "${FB_VARIANT:-debug}" != release ] || want=0
FLEETBAK_FAULT=write.1+:EIO expect "$want" "$fb" -c fleetbak.yaml init
ok "a script of faults: obeyed by all builds but a release"
