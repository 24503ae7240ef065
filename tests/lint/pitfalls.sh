#!/bin/sh
# Every pitfall of guests that is listed has a test, which is there.
set -eu
cd "$(dirname "$0")/.."
grep -v '^#' scenario/libvirt_pitfalls.list | (
	rc=0
	while IFS='|' read -r pitfall file words; do
		[ -n "$words" ] && grep -qF -e "$words" "$file" || {
			echo "$pitfall: '$words' is not in tests/$file"
			rc=1
		}
	done
	exit $rc
)
