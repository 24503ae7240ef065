#!/bin/sh
# check.sh <variant>: has every declared case been run, with the outcome that
# is declared for it?  The scenarios write down what they cut off where, and
# what came of it, in build/crash/<variant>.
set -eu
cd "$(dirname "$0")/../.."
ran=build/crash/$1
cases=tests/crash/cases

# How many cases each point of the matrix has.
points='B01 2 B02 2 B03 2 B04 12 B05 1 B06 1 B07 2 B08 1 B09 1 B10 2 B11 1
	B12 2 B13 2 B14 2 B15 2 B16 12 B17 1 B18 4 V01 1 V02 1 V03 1 R01 2 R02 2
	R03 1 R04 12 R05 1 R06 1 R07 1 R08 1 R09 1 R10 1 R11 1 R12 12 R13 1 R14 4
	C01 1 C02 1 C03 1 C04 1 C05 1 C06 1 C07 1 C08 1 C09 1 C10 1'
# shellcheck disable=SC2086 # words
printf '%s %s\n' $points | while read -r point count; do
	found=$(grep -c "^$point/" $cases || true)
	[ "$found" -eq "$count" ] || {
		echo "check.sh: $found cases of $point are declared, not $count"
		exit 1
	}
done
[ "$(cut -d'|' -f1 $cases | grep -v '^#' | sort -u | wc -l)" -eq 106 ] || {
	echo "check.sh: the declared cases are not 106"
	exit 1
}

missing=$(cat "$ran"/* 2>/dev/null | awk -F'|' '
	FNR == NR { ran[$1 "|" $2 "|" $3] = ran[$1 "|" $2 "|" $3] $4 "\n"; next }
	/^#/ { next }
	{
		key = $2 "|" $3 "|" $4
		if (!(key in ran))
			print $1 ": was not run (" key ")"
		else if (index("\n" ran[key], "\n" $5 "\n") == 0)
			print $1 ": " $5 " was not what came of " key
	}' - $cases)
[ -z "$missing" ] || {
	printf '%s\n' "$missing"
	echo "fail crash $1 cases" >>build/results
	exit 1
}
echo "pass crash $1 cases" >>build/results
echo "crash cases: all 106 were run; $(cat "$ran"/* | wc -l) crashes in all"
