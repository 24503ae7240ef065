#!/bin/sh
# No room: said before anything is touched.
. "$(dirname "$0")/lib.sh"
requires_root
mkdir "$work/small"
mount -t tmpfs -o size=100k none "$work/small" 2>/dev/null || {
	echo 'skip  cannot mount'
	exit 77
}
trap 'unmount "$work/small"; clear_work' EXIT

make_fleet "$work/a" 1
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download

expect 17 "$fb" -c "$conf" restore m1 --target "$work/small/out"
grep -q E-RST-SPACE "$work/stderr" || fail "no id"
[ ! -e "$work/small/out" ] || fail "something was made"
ok "a directory without room is refused, untouched"

mkdir "$work/small/machines"
sed -i "s#root: ./machines#root: $work/small/machines#" "$conf"
expect 17 "$fb" -c "$conf" restore m1 --as copy
[ -z "$(find "$work/small/machines" -mindepth 1)" ] || fail "something was made"
expect 17 "$fb" -c "$conf" restore m1 --in-place --yes
[ -z "$(find "$work/small/machines" -mindepth 1)" ] || fail "something was made"
ok "a source without room is refused, untouched"
