#!/bin/sh
# Every error id in the source is explained, and fleetbak-errors(7) says what
# `fleetbak explain` says.  errors.sh --write writes the page.
set -eu
cd "$(dirname "$0")/../.."

fb=${FB_BIN:-build/debug}/fleetbak
page=man/fleetbak-errors.7
[ -x "$fb" ] || {
	echo "errors.sh: $fb is not there: make first"
	exit 1
}

write() {
	cat <<-'EOF'
		.\" Written by tests/lint/errors.sh --write from the table of
		.\" fleetbak explain, src/cli/explain_table.c.
		.Dd November 21, 2026
		.Dt FLEETBAK-ERRORS 7
		.Os
		.Sh NAME
		.Nm fleetbak-errors
		.Nd what each error id of fleetbak means
		.Sh DESCRIPTION
		Every error that
		.Xr fleetbak 1
		reports has an id, in text and in JSON, which stays the same
		for ever.
		An exit status of
		.Dq 3, or 1 alone
		means 3 when other machines succeeded and 1 when none did.
		.Xr fleetbak-explain 1
		prints the same texts.
		.Bl -tag -width Ds
	EOF
	"$fb" __complete errors
	cat <<-'EOF'
		.El
		.Sh SEE ALSO
		.Xr fleetbak 1 ,
		.Xr fleetbak-explain 1 ,
		.Xr fleetbak.conf 5
	EOF
}

if [ "${1-}" = --write ]; then
	write >$page
	exit 0
fi

bad=0
known=$("$fb" explain -o tsv --no-header | cut -f1)
for id in $(grep -rhoE '"E-[A-Z0-9-]+"' src | tr -d '"' | sort -u); do
	case " $(echo "$known" | tr '\n' ' ') " in
	*" $id "*) ;;
	*)
		echo "src/cli/explain_table.c: $id is not explained"
		bad=1
		;;
	esac
done
for id in $known; do
	grep -rqF "\"$id\"" src --include='*.c' --exclude='explain_table*.c' || {
		echo "src/cli/explain_table.c: $id is raised nowhere"
		bad=1
	}
done
write | cmp -s - $page || {
	echo "$page is not what the table says: tests/lint/errors.sh --write"
	bad=1
}
exit $bad
