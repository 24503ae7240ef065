#!/bin/sh
# A repository that lost its newest run is not written to, until somebody who
# knows why says so; then it goes on from what is there.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 1
cd "$work/f"
conf=fleetbak.yaml
expect 0 "$fb" -c $conf init
expect 0 "$fb" -c $conf download
cp -a repo older
expect 0 "$fb" -c $conf download --json
lost=$(jq -r .run "$work/stdout")
mv repo newer
cp -a older repo

: >machines/m1/effects
expect 13 "$fb" -c $conf download
grep -q E-ROLLBACK "$work/stderr" || fail "no id"
grep -q allow-rollback "$work/stderr" || fail "it does not say what to do"
[ ! -s machines/m1/effects ] || fail "a machine was touched"
[ "$(find repo/commits -type f | wc -l)" -eq 1 ] || fail "it was written to"
ok "a rolled-back repository is refused, and nothing is touched"

expect 0 "$fb" -c $conf download --allow-rollback
grep -q "$lost" "$work/stderr" || fail "it does not say what is missing"
expect 0 "$fb" -c $conf download
expect 0 "$fb" -c $conf verify --full
expect 0 "$fb" -c $conf list --json
[ "$(jq '.data | length' "$work/stdout")" -eq 3 ] || fail "not three runs"
ok "who knows why goes on, once"
