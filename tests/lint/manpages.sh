#!/bin/sh
# Every manual page is good mdoc, and fleetbak.conf(5) has every setting of
# the two tables, with its type and default.
set -eu
cd "$(dirname "$0")/../.."

bad=0
for page in man/*.[1-8]; do
	# Debian's mandoc knows no operating system name to put in the footer,
	# and pages of other packages, or not yet built, are not its concern.
	if mandoc -T lint -W warning "$page" |
		grep -v -e 'operating system' -e 'referenced manual not found'
	then
		bad=1
	fi
done

page=$(mandoc -T ascii man/fleetbak.conf.5 | sed "s|.$(printf '\b')||g")

# One line per row: "path|type|default", as the page writes them.
rows() {
	cat "$@" | tr '\n' ' ' | sed 's/#define /\n#define /g; s/{ \.path = /\nROW /g
	    s|/\* clang-format on|\n&|g' | sed -n '
	/^#define/s/^#define \([A-Z]*\) .*\.type = "\([^"]*\)".*/D \1 \2/p
	/^ROW/p' | awk '
	/^D / { name = $2; $1 = $2 = ""; sub(/^ */, ""); type[name] = $0; next }
	{
		split($0, part, "\""); path = part[2]
		split($3, kind, /[^A-Z]/)
		split($0, value, /\.fallback = "/); split(value[2], fall, "\"")
		note = /\.required = true/ ? ", required" : ""
		if (fall[1] != "")
			note = ", default " fall[1]
		sub(/\.\*\./, ".NAME.", path); sub(/\.\[\]/, "[]", path)
		print path " (" type[kind[1]] note ")"
	}'
}

# A table may stand in two files, the first of which has its words.
# shellcheck disable=SC2086 # several
for table in 'src/format/config_schema.c src/format/config_sources.h' \
	src/format/local_machine.c; do
	rows $table | grep . >/dev/null || { echo "$table: no rows found"; exit 1; }
	while IFS= read -r line; do
		case $page in
		*"$line"*) ;;
		*)
			echo "man/fleetbak.conf.5: missing: $line"
			bad=1
			;;
		esac
	done <<-END
	$(rows $table)
	END
done
exit $bad
