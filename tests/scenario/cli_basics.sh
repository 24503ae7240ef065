#!/bin/sh
# The command line: usage errors, where output goes, one JSON document in
# every case, a full or closed standard output.
. "$(dirname "$0")/lib.sh"
requires jq

expect 2 "$fb"
[ ! -s "$work/stdout" ] || fail "help that nobody asked for on stdout"
grep -q "fleetbak download" "$work/stderr" || fail "no help"
expect 0 "$fb" -h
[ ! -s "$work/stderr" ] && [ "$(wc -l <"$work/stdout")" -le 34 ] ||
	fail "-h does not fit"
expect 0 "$fb" --version
expect 2 "$fb" downlaod
grep -q "did you mean 'download'" "$work/stderr" || fail "no suggestion"
expect 2 "$fb" list --dry-rum
grep -q "did you mean '--dry-run'" "$work/stderr" || fail "no suggestion"
expect 2 "$fb" list --dry
ok "usage errors exit 2 and name the nearest"

make_fleet "$work/f" 1
cd "$work/f"
document() { # <status> <command>...: exactly one document that says so
	document_want=$1
	expect "$@"
	jq -es --argjson code "$document_want" 'length == 1 and (.[0] |
		.exit_code == $code and .ok == ($code == 0) and
		(.schema | test("^fleetbak[.][a-z]+/1$")) and
		has("time") and has("data") and has("exit_name") and
		(.warnings | type) == "array" and (.errors | type) == "array"
		and ($code == 0 or $code == 4 or
		(.errors[0] | has("id") and has("message"))))' \
		"$work/stdout" >/dev/null ||
		fail "not one good document: $(head -c 600 "$work/stdout")"
}
document 2 "$fb" --json
document 2 "$fb" nonsense --json
document 2 "$fb" list -o json --bad-option
document 2 "$fb" list --json -c /nonexistent.yaml
document 10 "$fb" -c "$conf" list --json
document 10 "$fb" -c "$conf" download --json
document 0 "$fb" -c "$conf" init --json
document 0 "$fb" -c "$conf" init --json
document 0 "$fb" -c "$conf" list --json
jq -e '.data == []' "$work/stdout" >/dev/null || fail "an empty list is []"
document 4 "$fb" -c "$conf" status --check --json
document 0 "$fb" -c "$conf" download --json
for command in 'config check' 'config show --origin' 'config path' \
	'config schema' discover topology plan list 'list runs' \
	'list machines' 'show m1' 'show latest' 'show m1 --files' \
	'status --check' verify 'verify --full m1@latest' \
	'restore m1 --in-place -n' 'recover -n' recover 'keys list' \
	'keys check' 'explain E-LOCKED' explain version help \
	'help download' 'help selectors'; do
	# shellcheck disable=SC2086 # the words of a command
	document 0 "$fb" -c "$conf" --json $command
done
document 2 "$fb" -c "$conf" list nosuch --json
document 20 "$fb" -c "$conf" restore m1 --in-place --json
document 2 "$fb" -c "$conf" restore m1 --json
document 2 "$fb" -c "$conf" show m1@nonsense --json
document 1 "$fb" -c "$conf" show 20200101-000000000-00000000 --json
document 2 "$fb" -c "$conf" explain E-NONSENSE --json
document 2 "$fb" -c "$conf" -r nosuch list --json
ok "one JSON document, whatever happens"

expect 0 "$fb" -c "$conf" download -o ndjson
jq -es '([.[].seq] == [range(1; length + 1)]) and
	.[-1].type == "run.end" and .[-1].exit_code == 0 and
	.[0].type == "run.start"' "$work/stdout" >/dev/null ||
	fail "events: $(cat "$work/stdout")"
ok "events have no gap and end with run.end"

expect 0 env -i PATH="$PATH" "$fb" -c "$conf" download -q <&-
[ ! -s "$work/stdout" ] && [ ! -s "$work/stderr" ] ||
	fail "-q said something: $(cat "$work/stdout" "$work/stderr")"
: >machines/m1/fail-stop
expect 1 "$fb" -c "$conf" download -q
[ ! -s "$work/stdout" ] || fail "a summary on stdout"
grep -q E-COMMAND "$work/stderr" || fail "no summary"
grep -q "exit 1: error" "$work/stderr" || fail "no status"
! grep -q "$(printf '[\033\r]')" "$work/stderr" || fail "control characters"
rm machines/m1/fail-stop
ok "in cron: silent when good, the whole summary when not"

if [ -w /dev/full ]; then
	status=0
	"$fb" -c "$conf" list >/dev/full 2>"$work/stderr" || status=$?
	[ "$status" -eq 1 ] || fail "a full stdout gave $status"
	grep -q E-STDOUT "$work/stderr" || fail "no word about it"
fi
status=0
"$fb" -c "$conf" list >&- 2>"$work/stderr" || status=$?
[ "$status" -eq 1 ] || fail "a closed stdout gave $status"
ok "an answer that cannot be written is an error"

FLEETBAK_DOWNLOAD_JOSB=3 "$fb" -c "$conf" list >"$work/stdout" \
	2>"$work/stderr" || fail "list"
grep -q FLEETBAK_DOWNLOAD_JOSB "$work/stderr" || fail "unknown variable"
FLEETBAK_CONFIG=$conf "$fb" list -o tsv --no-header >"$work/stdout" ||
	fail "FLEETBAK_CONFIG"
[ "$(cut -f1 "$work/stdout" | sort -u)" = lab/m1 ] || fail "tsv"
expect 0 "$fb" -c "$conf" --set download.jobs=7 config show --origin
grep -q '^download.jobs  *7 ' "$work/stdout" || fail "--set"
expect 2 "$fb" -c "$conf" --set download.josb=7 config show
ok "variables and --set"
