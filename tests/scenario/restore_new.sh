#!/bin/sh
# As a new machine beside the old one.
. "$(dirname "$0")/lib.sh"

make_fleet "$work/a" 1
machines=$work/a/machines
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
: >"$machines/m1/effects"

expect 0 "$fb" -c "$conf" restore m1 --as copy-1 --json
cmp "$machines/m1/disk.img" "$machines/copy-1/disk.img" ||
	fail "disk differs"
same_tree "$machines/m1/data" "$machines/copy-1/data" || fail "tree differs"
[ ! -e "$machines/copy-1/up" ] || fail "it was started"
[ ! -s "$machines/m1/effects" ] || fail "the original was touched"
expect 0 "$fb" -c "$conf" discover --json
fields machine | grep -q copy-1 || grep -q copy-1 "$work/stdout" ||
	fail "the new machine is not there"
ok "a new machine is made, not started, and the old one not touched"

expect 20 "$fb" -c "$conf" restore m1 --as copy-1
grep -q E-RST-EXISTS "$work/stderr" || fail "no id"
expect 2 "$fb" -c "$conf" restore m1 --as ../up
[ ! -e "$work/a/up" ] || fail "left the source"
ok "a taken name and a hostile one are refused"

expect 0 "$fb" -c "$conf" restore m1 --as copy-2 --start
[ -e "$machines/copy-2/up" ] || fail "it was not started"
ok "with --start it is up"
