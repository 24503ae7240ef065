#!/bin/sh
# One object of every kind that a repository has is deleted, then overwritten,
# by somebody with the key to write: verify tells each of them, doctor --fix
# brings the same bytes back, and what fleetbak itself has taken away stays away.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

start_radosgw
s3_env
s3_more='object_lock: governance\
    lock_for: 1h'
s3_fleet "$work/f" 1 locked
cd "$work/f"
sed -i 's/^download:/retention: {grace: 0s, max_remove: 100%}\n&/' "$conf"

keys() { # <prefix>
	s3_keys locked "fleet/$1"
}
get() { # <key> <file>
	s3_curl GET "/locked/$1" -f -o "$2" || fail "$1 is not there"
}
attack() { # <key> [bytes]: delete it, or overwrite it
	if [ $# -eq 1 ]; then
		s3_curl DELETE "/locked/$1" -f || fail "cannot delete $1"
	else
		s3_curl PUT "/locked/$1" -f --data-binary "$2" \
			-o "$work/attack.out" || fail "cannot overwrite $1"
	fi
}
run_of() { # <number>: the run's id, the newest is 1
	"$fb" -c "$conf" list runs -o tsv --no-header | sed -n "$1p" | cut -f 1
}

# A run that was given up, and one whose giving up was undone; a run that is
# held, and one that was; a prune that has deleted something; a session that is
# open, as of a run that goes on elsewhere.
expect 0 "$fb" -c "$conf" init
for i in 1 2 3 4; do
	echo "$i" >machines/m1/data/change
	keys '' | sort >"$work/before"
	expect 0 "$fb" -c "$conf" download
done
# What only the newest run needs: of the one that is given up, what is locked
# stays, and nobody misses it.
keys '' | sort | comm -13 "$work/before" - >"$work/new"
expect 0 "$fb" -c "$conf" hold -y "$(run_of 1)" --reason 'the auditor asks'
expect 0 "$fb" -c "$conf" hold -y "$(run_of 2)"
expect 0 "$fb" -c "$conf" hold --remove "$(run_of 2)"
let_go=$(run_of 2)
sed -i 's/grace: 0s/grace: 30d/' "$conf"
undone=$(run_of 3)
expect 0 "$fb" -c "$conf" forget -y "$undone"
expect 0 "$fb" -c "$conf" forget --undo "$undone"
sed -i 's/grace: 30d/grace: 0s/' "$conf"
expect 0 "$fb" -c "$conf" forget -y "$(run_of 4)"
expect 0 "$fb" -c "$conf" prune -y
open=20261128-101112131-0123abcd
printf 'fleetbak-session 1\n' >"$work/session"
s3_curl PUT "/locked/fleet/sessions/$open" -f --data-binary @"$work/session" ||
	fail "no session"
# Of a shard that was joined with others nobody needs the hints.
hints=$(keys hints/ | tail -n 1)
expect 0 "$fb" -c "$conf" download --shard 1/1 --run night
expect 0 "$fb" -c "$conf" verify --full
ok "nothing was deleted or overwritten but by fleetbak: verify finds nothing"

# One of each kind: of runs each of its files, of what is given up each step.
newest=$(run_of 1)
{
	echo "$hints"
	for kind in commits forgets holds keys; do
		keys "$kind/" | tail -n 1
	done
	for kind in packs recipes; do
		grep "^fleet/$kind/" "$work/new" | tail -n 1
	done
	keys "runs/$newest/"
	keys "pending/$undone"
	keys shared/
	echo "fleet/sessions/$open"
	printf 'fleet/%s\n' restore.sh RESTORE.txt gc/current
} | sort >"$work/victims"
# The hold's own end, and a session's, are what fleetbak takes away.
keys '' | cut -d / -f 2 | sort -u >"$work/kinds"
{
	cut -d / -f 2 "$work/victims"
	echo format # by itself below: nothing is read without it
} | sort -u | comm -13 - "$work/kinds" >"$work/missing"
[ ! -s "$work/missing" ] || fail "kinds that are not tried: $(cat "$work/missing")"
mkdir "$work/was"
while read -r key; do
	get "$key" "$work/was/$(echo "$key" | tr / _)"
done <"$work/victims"

all_back() {
	while read -r key; do
		get "$key" "$work/now"
		cmp -s "$work/now" "$work/was/$(echo "$key" | tr / _)" ||
			fail "$key is another one"
	done <"$work/victims"
}
told() { # <id>
	jq -r '.data.damages[] | select(.error.id == "'"$1"'") | .object' \
		"$work/stdout" | sed 's|^|fleet/|' | sort >"$work/told"
	diff "$work/victims" "$work/told" >"$work/diff" ||
		fail "$1 is not told of each: $(cat "$work/diff")"
}
count=$(wc -l <"$work/victims")

while read -r key; do
	attack "$key"
done <"$work/victims"
expect 14 "$fb" -c "$conf" verify --json
told E-VERSION-DELETED
expect 14 "$fb" -c "$conf" doctor --json
[ "$(jq .data.mendable "$work/stdout")" -eq "$count" ] ||
	fail "not $count: $(cat "$work/stdout")"
expect 4 "$fb" -c "$conf" doctor --fix --yes
all_back
expect 0 "$fb" -c "$conf" verify --full
! keys holds/ | grep -q "$let_go" || fail "a hold that was let go is back"
ok "$count objects of every kind were deleted, told and brought back"

while read -r key; do
	attack "$key" 'all your files are belong to us'
done <"$work/victims"
expect 14 "$fb" -c "$conf" verify --json
told E-VERSION-REPLACED
expect 4 "$fb" -c "$conf" doctor --fix --yes
all_back
expect 0 "$fb" -c "$conf" verify --full
ok "overwritten, told and brought back"

# Without its format nothing can be opened: verify says why.
for key in fleet/format/1.json fleet/format/1.json.sig; do
	get "$key" "$work/was/format"
	attack "$key"
	expect 14 "$fb" -c "$conf" verify
	grep -q "${key#fleet/}.*it was deleted at .* is good" "$work/stderr" ||
		fail "verify does not tell of $key: $(cat "$work/stderr")"
	expect 4 "$fb" -c "$conf" doctor --fix --yes
	attack "$key" 'pay'
	expect 14 "$fb" -c "$conf" verify
	grep -q "${key#fleet/}.*it was overwritten at .* is good" \
		"$work/stderr" || fail "verify does not tell of $key"
	expect 4 "$fb" -c "$conf" doctor --fix --yes
	get "$key" "$work/now"
	cmp -s "$work/now" "$work/was/format" || fail "$key is another one"
done
expect 0 "$fb" -c "$conf" verify --full
ok "the format and its signature too"
