#!/bin/sh
# A release knows nothing of crashes and faults on request: what the
# preprocessor leaves of each source names none of the seam's variables.
set -eu
cd "$(dirname "$0")/../.."

names='FLEETBAK_(CRASH|CRASH_LOG|CRASH_PLACE|FAULT|FAULT_LOG|CLOCK|SESSION|ROWS)"'
left() { # <source> [option...]: how often one is named
	source=$1
	shift
	${CC:-cc} -E -Iinclude -D_GNU_SOURCE -DFB_VERSION='""' "$@" "$source" |
		grep -Ec "$names" || :
}

grep -El 'base/seam\.h|FLEETBAK_' src/*/*.c | while read -r source; do
	[ "$(left "$source")" -eq 0 ] || {
		echo "$source: a release build would know the seam's variables"
		exit 1
	}
done

# The check itself: where faults are built in, they are found.
[ "$(left src/base/seam.c -DFB_FAULTS)" -gt 0 ] || {
	echo "src/base/seam.c: the seam's variables have other names now"
	exit 1
}
