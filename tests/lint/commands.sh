#!/bin/sh
# The table of commands and options is the truth: every command has a manual
# page that names each of its options, and no page names another one.
set -eu
cd "$(dirname "$0")/../.."

fb=${FB_BIN:-build/debug}/fleetbak
[ -x "$fb" ] || {
	echo "commands.sh: $fb is not there: make first"
	exit 1
}
table=$("$fb" __complete table)
bad=0

page_of() {
	if [ "$1" = '*' ]; then
		echo man/fleetbak.1
	else
		echo "man/fleetbak-$1.1"
	fi
}

complain() {
	echo "$*"
	bad=1
}

# Forward: each row of the table in its page.
while IFS='	' read -r command name letter value; do
	page=$(page_of "$command")
	[ -f "$page" ] || {
		complain "$page is missing"
		continue
	}
	if [ "$name" = - ] && [ "$letter" = - ]; then
		grep -q "Xr fleetbak-$command 1" man/fleetbak.1 ||
			complain "man/fleetbak.1 does not name $command"
		continue
	fi
	[ "$name" = - ] || grep -qE "^\.It .*Fl -$name( |$)" "$page" ||
		complain "$page: --$name has no paragraph"
	[ "$letter" = - ] || grep -qE "^\.It Fl $letter( |$)" "$page" ||
		complain "$page: -$letter has no paragraph"
	[ "$value" = - ] || grep -qE "^\.It .*Fl -$name Ar $value( |$)" "$page" ||
		complain "$page: --$name does not say $value"
done <<END
$table
END

# Backward: each paragraph of a page in the table.
for page in man/fleetbak.1 man/fleetbak-*.1; do
	command=${page#man/fleetbak}
	command=${command%.1}
	command=${command#-}
	while IFS= read -r name; do
		[ -n "$name" ] || continue
		echo "$table" | grep -qF "${command:-*}	$name	" ||
			echo "$table" |
			grep -qF "${command:-*}	${name#no-}	" ||
			complain "$page: --$name is not in the table"
	done <<-END
		$(grep -E '^\.It .*Fl -' "$page" | grep -oE 'Fl -[a-z-]+' |
			sed 's/^Fl -//' | sort -u)
	END
done

# Every exit status too.
for code in $("$fb" help exit-codes | sed -n 's/^ *\([0-9][0-9]*\)  .*/\1/p'); do
	grep -q "^\.It $code Pq" man/fleetbak.1 ||
		complain "man/fleetbak.1: exit status $code is missing"
done

# The completions are what their shells can read.
bash -n completions/fleetbak.bash || bad=1
if command -v zsh >/dev/null; then
	zsh -n completions/fleetbak.zsh || bad=1
fi
if command -v fish >/dev/null; then
	fish -n completions/fleetbak.fish || bad=1
fi
exit $bad
