#!/bin/sh
# Of a tree only the files are opened that changed since the machine's last
# run; the others' chunks are used again.  What is restored is the same tree,
# whatever was added, removed, renamed, linked or changed in between.
. "$(dirname "$0")/lib.sh"
requires_faults
requires jq strace setfattr

make_fleet "$work/f" 1
cd "$work/f"
sed -i '/kind: disk/d' machines/m1/machine.yaml
rm machines/m1/disk.img
data=machines/m1/data
i=0
while [ $i -lt 400 ]; do
	i=$((i + 1))
	mkdir -p $data/d$((i % 7))
	seq 1 $((i * 3)) >$data/d$((i % 7))/f$i
done
head -c 300000 /dev/urandom >$data/d3/large
head -c 100000 /dev/urandom >$data/last
mkfifo $data/fifo
truncate -s 1M $data/sparse
echo "in a hole" | dd of=$data/sparse bs=1 seek=500000 conv=notrunc status=none

now=$(date +%s)
later() {
	now=$((now + 60))
	export FLEETBAK_CLOCK=$now
}
# run_it <option>...: the bytes of the tree that were read are in $read, the
# files of it that were opened in $work/opened.
run_it() {
	later
	expect 0 traced trace openat "$fb" -c "$conf" \
		download --json "$@"
	run=$(jq -r .run "$work/stdout")
	manifest=repo/runs/$run/manifest.json
	read=$(jq '.machines[].volumes[] | select(.kind == "tree").read_bytes' \
		"$manifest")
	sed -n "s|.* = [0-9]*<.*/$data/\\(.*\\)>\$|\\1|p" trace |
		while read -r name; do
			[ ! -f "$data/$name" ] || echo "$name"
		done | sort -u >"$work/opened"
}
opens() { # <what> [<file>...]
	what=$1
	shift
	for name; do echo "$name"; done | sort >"$work/wanted"
	cmp -s "$work/wanted" "$work/opened" ||
		fail "$what: opened $(head -5 "$work/opened" | tr '\n' ' ')"
	rm -rf out
	expect 0 "$fb" -c "$conf" restore m1 --target out
	same_tree $data out/m1/data || fail "$what: another tree"
	(cd $data && find . ! -name '*.tmp' ! -type d -printf '%p %T@ %n\n' |
		sort) >"$work/times.a"
	(cd out/m1/data && find . ! -type d -printf '%p %T@ %n\n' | sort) \
		>"$work/times.b"
	cmp -s "$work/times.a" "$work/times.b" || fail "$what: other times"
	ok "$what: $(wc -l <"$work/opened") opened, $read bytes read"
}
everything() { # <what>
	[ "$(wc -l <"$work/opened")" -gt 300 ] || fail "$1: not all was opened"
	cp "$work/opened" "$work/all"
	# shellcheck disable=SC2046 # names of ours
	opens "$1" $(cat "$work/all")
}

expect 0 "$fb" -c "$conf" init
run_it
everything "the first time"
run_it
opens "unchanged"
# The archive's end, and no member.
[ "$read" -le 1024 ] || fail "$read bytes of an unchanged tree were read"
root=$(jq -r '.machines[].volumes[] | select(.kind == "tree").root.digest' \
	"$manifest")
run_it --full
everything "--full"
[ "$root" = "$(jq -r '.machines[].volumes[] |
	select(.kind == "tree").root.digest' "$manifest")" ] ||
	fail "read as a whole it has other chunks"
ok "the same chunks as when everything is read"

echo "another line" >>$data/d2/f100
run_it
opens "one file changed" d2/f100
[ "$read" -le 8192 ] || fail "$read bytes were read for one file"
run_it
opens "and then none"

cp -p $data/d2/f107 before
tr 1 2 <before >$data/d2/f107
touch -r before $data/d2/f107
run_it
opens "changed behind its old size and time" d2/f107

chmod 600 $data/d1/f8
setfattr -n user.note -v "new" $data/d1/f15 2>/dev/null ||
	chmod 640 $data/d1/f15
run_it
opens "only metadata changed" d1/f15 d1/f8

rm $data/d4/f4 $data/d4/f11
mv $data/d5/f5 $data/d5/renamed
mkdir $data/new
seq 1 50 >$data/new/file
ln $data/d6/f6 $data/d0/f6-too
rm -r $data/d1
run_it
opens "added, removed, renamed and linked" d0/f6-too d5/renamed new/file

# Nothing else is young then, by a clock that stands at the second after.
changed=$(find $data -printf '%C@\n' | sort -n | tail -1)
until [ "$(date +%s)" -gt $((${changed%.*} + 3)) ]; do
	sleep 0.1
done
echo "written" >$data/d2/young
FLEETBAK_CLOCK=$(($(stat -c %Z $data/d2/young) + 1))
export FLEETBAK_CLOCK
expect 0 "$fb" -c "$conf" download --json
run_it
opens "what was young when it was read" d2/young
run_it
opens "and is old now"

expect 0 "$fb" -c "$conf" verify --full
ok "verify --full"

# A damaged catalogue: everything is read.
recipe=$(jq -r '.machines[].volumes[] |
	select(.kind == "tree").catalogue.recipe' "$manifest")
recipe=repo/recipes/$(echo "$recipe" | cut -c1-2)/$recipe
chmod u+w "$recipe"
sed -i 's/^runs .*/runs 0/' "$recipe"
run_it
everything "with a damaged catalogue"
run_it
opens "and after that"
