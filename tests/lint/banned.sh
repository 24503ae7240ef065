#!/bin/sh
# Calls that copy without a bound, parse without an error, run a shell, or wait
# outside the clock have no place in the program; tests may use them.  Nor has
# a file over 700 lines or a function over 80.
set -eu
cd "$(dirname "$0")/../.."

calls='strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|atof'
calls="$calls|system|popen|alloca|sleep|usleep"

# Comments may name them; a line of ours inside one begins with " *".
awk -v calls="(^|[^[:alnum:]_])($calls)[[:space:]]*[(]" '
FNR > 700 && !(FILENAME in long) {
	print FILENAME ": over 700 lines"
	long[FILENAME] = bad = 1
}
/^\{/ { start = FNR }
/^\}/ {
	if (start && FNR - start - 1 > 80) {
		print FILENAME ":" start ": a function over 80 lines"
		bad = 1
	}
	start = 0
}
{
	text = $0
	gsub(/\/\*[^*]*\*\//, "", text)
	sub(/\/\*.*/, "", text)
	if (text !~ /^[[:space:]]*\*[ \/]/ && text ~ calls) {
		print FILENAME ":" FNR ": a banned call: " $0
		bad = 1
	}
}
END { exit bad }' src/*/*.[ch] include/fleetbak/*/*.h
