#!/bin/sh
# Machines into a plain directory: no driver, no source, nothing half.
. "$(dirname "$0")/lib.sh"

make_fleet "$work/a" 2
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download --json
run1=$(field run)
echo "second night" >"$work/a/machines/m1/data/hello.txt"
expect 0 "$fb" -c "$conf" download --json
run2=$(field run)
cp -a "$work/a/machines" "$work/saved"

# The newest run taken away: the state directory remembers it.
cp -a "$work/a/repo" "$work/older"
grep -l "^run $run2" "$work"/older/commits/* | while read -r commit; do
	chmod u+w "$commit"
	rm "$commit"
done
sed "s#file:./repo#file:$work/older#" "$conf" >"$work/a/older.yaml"
expect 13 "$fb" -c "$work/a/older.yaml" restore m1 --target "$work/r"
grep -q E-ROLLBACK "$work/stderr" || fail "no id"
[ ! -e "$work/r" ] || fail "something was written"
expect 0 "$fb" -c "$work/a/older.yaml" restore m1 --target "$work/r" \
	--allow-rollback
ok "a repository that was rolled back is refused, unless told"

# Gone: sources, state, the machine itself.
rm -rf "$work/a/machines" "$work/a/state"

expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --json
[ "$(field ok)" = true ] || fail "not ok"
cmp "$work/saved/m1/disk.img" "$work/out/m1/root.img" || fail "disk differs"
[ "$(stat -c %b "$work/out/m1/root.img")" -lt 2048 ] || fail "holes are gone"
same_tree "$work/saved/m1/data" "$work/out/m1/data" || fail "tree differs"
[ -f "$work/out/m1/definition/machine.yaml" ] || fail "no definition"
[ "$(stat -c %i "$work/out/m1/data/hard")" = \
	"$(stat -c %i "$work/out/m1/data/hello.txt")" ] || fail "link broken"
ok "a machine whose source is gone comes back into a directory"

find "$work/out" -maxdepth 1 -name '.*part*' | grep . && fail "part left"
find "$work/a/state/restores" -mindepth 1 2>/dev/null | grep . &&
	fail "a finished restore left its journal"
ok "nothing but the machine is left"

expect 20 "$fb" -c "$conf" restore m1 --target "$work/out"
grep -q E-RST-EXISTS "$work/stderr" || fail "no id"
mkdir "$work/busy" "$work/bare"
echo mine >"$work/busy/file"
expect 20 "$fb" -c "$conf" restore m1 --target "$work/busy"
[ "$(ls -A "$work/busy")" = file ] || fail "a directory of another's was touched"
expect 0 "$fb" -c "$conf" restore m1 --target "$work/bare"
cmp "$work/saved/m1/disk.img" "$work/out/m1/root.img" || fail "touched"
ok "an existing target is refused and not touched"

expect 0 "$fb" -c "$conf" restore "m1@$run1" --target "$work/old"
[ "$(cat "$work/old/m1/data/hello.txt")" = "hello from m1" ] ||
	fail "not the older content"
expect 0 "$fb" -c "$conf" restore lab/m1@latest --target "$work/new"
[ "$(cat "$work/new/m1/data/hello.txt")" = "second night" ] ||
	fail "not the newest content"
ok "MACHINE@RUN and MACHINE@latest are what they say"

expect 0 "$fb" -c "$conf" restore --run "$run2" --all --target "$work/all"
same_tree "$work/saved/m2/data" "$work/all/m2/data" || fail "m2 differs"
[ -d "$work/all/m1" ] || fail "m1 is missing"
ok "a whole run comes back"

expect 0 "$fb" -c "$conf" restore m2 --target "$work/one" --volume root
cmp "$work/saved/m2/disk.img" "$work/one/m2/root.img" || fail "disk differs"
[ ! -e "$work/one/m2/data" ] || fail "more than the volume"
ok "a single volume comes back"

expect 0 "$fb" -c "$conf" restore m2 --target "$work/p" --volume data \
	--path sub/numbers --path hard
cmp "$work/saved/m2/data/sub/numbers" "$work/p/m2/data/sub/numbers" ||
	fail "path differs"
[ "$(cat "$work/p/m2/data/hard")" = "hello from m2" ] || fail "link"
[ ! -e "$work/p/m2/data/empty" ] || fail "more than the path"
ok "single paths come back, with what their links point at"

expect 2 "$fb" -c "$conf" restore m2 --target "$work/q" --volume data \
	--path sub/nunbers
grep -q sub/numbers "$work/stderr" || fail "no nearest path"
expect 2 "$fb" -c "$conf" restore m3 --target "$work/q"
expect 2 "$fb" -c "$conf" restore "m1@20200101-000000000-00000000" \
	--target "$work/q"
expect 2 "$fb" -c "$conf" restore m1 --target "$work/q" --volume rot
grep -q root "$work/stderr" || fail "no nearest volume"
[ ! -e "$work/q" ] || fail "something was written"
ok "wrong names are refused with the nearest, before anything is written"

expect 0 "$fb" -c "$conf" restore m1 --target "$work/n" -n
[ ! -e "$work/n" ] || fail "a dry run wrote"
find "$work/a/state/restores" -mindepth 1 2>/dev/null | grep . &&
	fail "a dry run left state"
ok "a dry run writes nothing"

cp -a "$work/a/repo" "$work/forged"
none=$(printf '%0128d' 0)
for commit in "$work"/forged/commits/*; do
	chmod u+w "$commit"
	sed -i "s/^signature .*/signature $none/" "$commit"
done
sed "s#file:./repo#file:$work/forged#" "$conf" >"$work/a/forged.yaml"
expect 13 "$fb" -c "$work/a/forged.yaml" restore m1 --target "$work/f"
[ ! -e "$work/f" ] || fail "an unsigned run was restored"
expect 0 "$fb" -c "$work/a/forged.yaml" restore m1 --target "$work/f" \
	--allow-untrusted
same_tree "$work/saved/m1/data" "$work/f/m1/data" || fail "tree differs"
ok "a run that nobody trusted signed is refused, unless told"

# Altered packs: 14, and nothing under the machine's own name.
cp -a "$work/a/repo" "$work/hurt"
for pack in "$work"/hurt/packs/*/*.pack; do
	chmod u+w "$pack"
	frames=$(tail -c 27 "$pack" | awk '{ print $2 + 0 }')
	dd if=/dev/zero of="$pack" bs="$frames" count=1 conv=notrunc \
		status=none
done
sed "s#file:./repo#file:$work/hurt#" "$conf" >"$work/a/hurt.yaml"
expect 14 "$fb" -c "$work/a/hurt.yaml" restore m1 --target "$work/h"
[ ! -e "$work/h/m1" ] || fail "a damaged machine looks whole"
ok "damage is 14, and what is half never has the machine's name"

# Everything is restored, but the restore's own directory cannot be removed.
if [ "${FB_VARIANT:-debug}" != release ]; then
	FLEETBAK_FAULT_LOG=$work/log expect 0 "$fb" -c "$work/a/fleetbak.yaml" restore m1 \
		--target "$work/tidy1"
	last=$(awk '$2 == "rename" { n++ }
		$2 == "rename" && $3 ~ /state\/restores\/[^\/]*$/ { last = n }
		END { print last }' "$work/log")
	FLEETBAK_FAULT=rename.$last:EIO expect 0 "$fb" -c "$work/a/fleetbak.yaml" restore m1 \
		--target "$work/tidy2"
	grep -q 'warning: .*state/restores' "$work/stderr" || fail "not said"
	left=$(grep -o 'state/restores/[-0-9a-f]*' "$work/stderr")
	[ -d "$work/a/$left" ] || fail "nothing is left"
	grep -q resume "$work/stdout" && fail "there is nothing to go on with"
	expect 0 "$fb" -c "$work/a/fleetbak.yaml" restore m1 --target "$work/tidy3"
	[ ! -e "$work/a/$left" ] || fail "it is still there"
	ok "what a restore could not clear away, the next one does"
fi

# Two sources with a machine of one name.
make_fleet "$work/b" 1
make_machine "$work/b/other" m1
sed -i 's#^sources:#sources:\n  other: {driver: local, root: ./other}#' \
	"$conf"
make_machine "$work/b/machines" lab.m1 # as if it were the one of lab
make_machine "$work/b/machines" other.m1
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
expect 2 "$fb" -c "$conf" restore m1 --target "$work/two"
grep -q E-RST-AMBIGUOUS "$work/stderr" || fail "no id"
expect 0 "$fb" -c "$conf" restore --run latest --all --target "$work/two"
for m in lab+m1 other+m1 lab.m1 other.m1; do
	[ -f "$work/two/$m/root.img" ] || fail "no $m"
done
grep -aq 'end of lab.m1' "$work/two/lab.m1/root.img" || fail "another's disk"
ok "machines of one name are told apart by their sources"

# A disk's file and a tree of the same name.
make_fleet "$work/c" 1
mv "$work/c/machines/m1/data" "$work/c/machines/m1/root.img"
sed -i 's/name: data, kind: tree, path: data/name: root.img, kind: tree, path: root.img/' \
	"$work/c/machines/m1/machine.yaml"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
status=$(status_of "$fb" -c "$conf" restore m1 --target "$work/c/one")
[ "$status" -ne 0 ] || fail "one was written over the other"
grep -q "would both be 'root.img'" "$work/stderr" || fail "not said"
[ ! -e "$work/c/one/m1" ] || fail "something is there"
expect 0 "$fb" -c "$conf" restore m1 --volume root --target "$work/c/one"
cmp "$work/c/machines/m1/disk.img" "$work/c/one/m1/root.img" || fail "the disk"
expect 0 "$fb" -c "$conf" restore m1 --volume root.img --target "$work/c/other"
same_tree "$work/c/machines/m1/root.img" "$work/c/other/m1/root.img" ||
	fail "the tree"
ok "two volumes are never written to one place"
