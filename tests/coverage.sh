#!/bin/sh
# What the tests of the cov variant ran, by line and branch, per file and per
# layer; fails where it is too little.
#
# gcov's own JSON, jq and awk, which the tests need anyway: gcovr and lcov know
# neither our layers nor reasons, and would be two packages more.
#
# Journal, manifest, format and recovery must be run to the last line.  A line
# of theirs that truly cannot be reached says why, on that line or on a line of
# its own before it; such lines are counted and listed:
#
#	/* uncovered: the reason */
set -eu
cd "$(dirname "$0")/.."

least=85 # percent of the lines of every other layer
strict='^src/(journal|manifest|format)/|^src/engine/(recover|owed|guardian|facts|run_replay)\.c$'

work=$(mktemp -d "${TMPDIR:-/tmp}/fleetbak.XXXXXX")
trap 'rm -rf "$work"' EXIT

find build/cov/src -name '*.gcno' | LC_ALL=C sort >"$work/notes"
[ -s "$work/notes" ] || {
	echo "coverage.sh: nothing is built for it: make check BUILD=cov" >&2
	exit 1
}
# Counters of a build that is gone would be a report of nothing.
while read -r notes; do
	gcov -j -t -b "$notes" >>"$work/json" 2>"$work/said" || {
		cat "$work/said" >&2
		echo "coverage.sh: old counters? make check BUILD=cov" >&2
		exit 1
	}
done <"$work/notes"
# One line per line of code: file, number, count, branches, branches taken.
jq -r '.files[] | select(.file | startswith("src/")) |
	.file as $file | .lines[] | [$file, .line_number, .count,
	(.branches | length), ([.branches[] | select(.count > 0)] | length)] |
	@tsv' "$work/json" >"$work/lines"

LC_ALL=C sort -k1,1 -k2,2n "$work/lines" |
	awk -F '\t' -v least="$least" -v strict="$strict" '
	# The reasons in a file, by the line of code they are for.
	function read_reasons(file,    text, n, held) {
		split("", reason)
		split("", source)
		n = 0
		held = ""
		while ((getline text <file) > 0) {
			source[++n] = text
			if (held != "") {
				reason[n] = held
				held = ""
			}
			if (match(text, /\/\* uncovered: .*[^ ] \*\//)) {
				held = substr(text, RSTART + 14,
				    RLENGTH - 17)
				if (text !~ /^[ \t]*\/\*/) {
					reason[n] = held
					held = ""
				}
			}
		}
		close(file)
	}
	function percent(part, all) {
		return all == 0 ? 100 : 100 * part / all
	}
	function row(name, l, c, m, b, t) {
		return sprintf("%-36s %6d %6.1f %6d %6.1f %6d", name, l,
		    percent(c, l), b, percent(t, b), m)
	}
	function end_file() {
		if (file == "")
			return
		split(file, part, "/")
		layer = part[2]
		layers[layer] = 1
		L[layer] += lines; C[layer] += run; M[layer] += marked
		B[layer] += branches; T[layer] += taken
		print row(file, lines, run, marked, branches, taken)
		if (file ~ strict && run + marked < lines)
			bad[++bads] = sprintf("%s: %d lines were not run " \
			    "and do not say why", file, lines - run - marked)
	}
	# Of several builds of a line the best one counts.
	function end_line() {
		if (number == 0)
			return
		lines++
		branches += most
		taken += best
		if (count > 0) {
			run++
		} else if (number in reason) {
			marked++
			why[++whys] = file ":" number ": " reason[number]
		} else if (file ~ strict) {
			lost[++losts] = file ":" number ": " source[number]
		}
		number = 0
	}
	BEGIN {
		printf "%-36s %6s %6s %6s %6s %6s\n", "FILE", "LINES",
		    "%", "BRANCH", "%", "REASON"
	}
	$1 != file {
		end_line()
		end_file()
		file = $1
		lines = run = marked = branches = taken = 0
		read_reasons(file)
	}
	$2 != number {
		end_line()
		number = $2
		count = most = best = 0
	}
	{
		if ($3 > count) count = $3
		if ($4 > most) most = $4
		if ($5 > best) best = $5
	}
	END {
		end_line()
		end_file()
		print ""
		printf "%-36s %6s %6s %6s %6s %6s\n", "LAYER", "LINES",
		    "%", "BRANCH", "%", "REASON"
		order = "base crypto format fleet store driver repo journal " \
		    "manifest engine cli"
		n = split(order, names, " ")
		for (i = 1; i <= n; i++) {
			name = names[i]
			print row(name, L[name], C[name], M[name], B[name],
			    T[name])
			if (percent(C[name], L[name]) < least)
				bad[++bads] = sprintf("%s: %.1f %% of its " \
				    "lines were run, not %d", name,
				    percent(C[name], L[name]), least)
			l += L[name]; c += C[name]; m += M[name]
			b += B[name]; t += T[name]
			delete layers[name]
		}
		for (name in layers)
			bad[++bads] = "coverage.sh: unknown layer " name
		print row("all", l, c, m, b, t)
		if (whys > 0)
			print "\nNot run, with a reason:"
		for (i = 1; i <= whys; i++)
			print "  " why[i]
		if (losts > 0)
			print "\nNot run, and no reason:"
		for (i = 1; i <= losts; i++)
			print "  " lost[i]
		if (bads > 0)
			print ""
		for (i = 1; i <= bads; i++)
			print "FAIL  " bad[i]
		exit bads > 0
	}'
