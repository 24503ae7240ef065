# shellcheck shell=sh
# What scenarios source after lib.sh that follow a printed page: the commands are
# cut out of it and carried out as they stand, but for the names in capitals.
# shellcheck disable=SC2154 # the variables are the scenario's

# steps_of <page>: the commands of its numbered steps.
steps_of() {
	awk '/^ [1-9]\. / { on = 1 } on && /^$/ { exit }
		on && /^        / { print substr($0, 9) }' "$1"
}

# command_of <page> <beginning> [n]: the n-th command that begins so, and the
# lines that belong to it.
command_of() {
	command_of_got=$(awk -v want="$2" -v nth="${3:-1}" '
		{ line = $0; sub(/^ +/, "", line) }
		!on && index(line, want) == 1 && ++seen == nth { on = 1 }
		on { print line; if (line !~ /[|\\]$/) exit }' "$1")
	[ -n "$command_of_got" ] || fail "no such command on the page: $2"
	printf '%s\n' "$command_of_got"
}

# stranger <page> <machine> <volume> <output>: somebody with the page and, in
# the working directory, recovery.pem, and nothing else of the fleet's.
stranger() {
	sed -n '/^-----BEGIN PUBLIC KEY/,/^-----END/p' "$1" >signer.pem
	sed -n '/^-----BEGIN CERT/,/^-----END/p' "$1" >ca.pem
	steps_of "$1" | sed "s|MACHINE VOLUME OUTPUT|$2 $3 $4|" >steps.sh
	grep -q "restore.sh.*" steps.sh || fail "no steps on the page"
	env -i PATH="$PATH" HOME="$PWD" \
		AWS_ACCESS_KEY_ID="${AWS_ACCESS_KEY_ID:-}" \
		AWS_SECRET_ACCESS_KEY="${AWS_SECRET_ACCESS_KEY:-}" \
		sh -eu steps.sh >"$work/stdout" 2>"$work/stderr" ||
		fail "the steps of the page do not work: $(cat steps.sh)"
}

# by_hand <page> <n> <machine> <volume> <output>: in a copy of the repository,
# with the n-th command that writes a range; $recovery opens it, if it is set.
by_hand() {
	by_hand_page=$1 by_hand_nth=$2 by_hand_out=$5
	by_hand_run=$(sed -n 's/^run //p' commits/* | sort | tail -n 1)
	# shellcheck disable=SC2046 # words
	set -- $(awk -v machine="lab/$3" -v volume="$4" \
		'$1 == machine && $2 == volume' "runs/$by_hand_run/VOLUMES")
	by_hand_recipe=recipes/$(printf %.2s "$5")/$5
	{
		echo 'set -eu'
		command_of "$by_hand_page" 'truncate ' |
			sed "s|SIZE|$4|; s|OUTPUT|$by_hand_out|"
		awk '$1 == "packs" && NF == 2 { packs = $2; next }
			$1 == "runs" && NF == 2 { runs = $2; next }
			packs > 0 { id[n++] = $1; packs--; next }
			runs > 0 { print $1, id[$3], $4, $5; runs-- }' \
			"$by_hand_recipe" >"$work/ranges"
		[ -s "$work/ranges" ] || fail "no ranges in $by_hand_recipe"
		while read -r by_hand_offset by_hand_pack by_hand_from by_hand_count; do
			by_hand_dir=packs/$(printf %.2s "$by_hand_pack")
			by_hand_hex=
			[ -z "${recovery:-}" ] || {
				by_hand_hex=$(hand_key "$by_hand_dir/$by_hand_pack.pack")
				command_of "$by_hand_page" 'B=' |
					sed "s|FROM|$by_hand_from|"
			}
			command_of "$by_hand_page" 'dd if=' "$by_hand_nth" |
				sed "s|packs/<2 digits>/PACK|$by_hand_dir/$by_hand_pack|
					s|if=PACK |if=$by_hand_dir/$by_hand_pack.pack |
					s|HEX|$by_hand_hex|; s|FROM|$by_hand_from|g
					s|COUNT|$by_hand_count|; s|OUTPUT|$by_hand_out|
					s|OFFSET|$by_hand_offset|"
		done <"$work/ranges"
	} >"$work/hand.sh"
	sh "$work/hand.sh" >"$work/stdout" 2>"$work/stderr" ||
		fail "by hand it does not work: $(head -20 "$work/hand.sh")"
}

# hand_key <pack>: its key, by the page's command.
hand_key() {
	hand_key_sid=$(tail -c 100000 "$1" | sed -n 's/^session //p' | head -n 1)
	hand_key_id=$(tail -c 100000 "$1" | sed -n 's/^key //p' | head -n 1)
	for hand_key_file in keys/"$hand_key_sid".*.cms; do
		command_of "$by_hand_page" 'openssl cms' |
			sed "s|keys/SID.N.cms|$hand_key_file|
				s|-inkey .*|-inkey $recovery|" >"$work/hand_key.sh"
		sh "$work/hand_key.sh" 2>>"$work/stderr" |
			sed -n "s/^$hand_key_id //p"
	done | head -n 1
}
