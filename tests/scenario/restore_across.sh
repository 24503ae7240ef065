#!/bin/sh
# A machine of one system goes to one of another: disks to disks, trees to
# trees; what does not fit is refused in the plan, before anything is touched.
. "$(dirname "$0")/lib.sh"
requires /usr/bin/python3

mkdir "$work/p"
cd "$work/p"
make_fleet "$work/p" 2
mkdir far far/w1
truncate -s 6M far/w1/disk.img
seq 1 900000 | dd of=far/w1/disk.img bs=1M conv=notrunc status=none
mkdir far/w1/data
echo other >far/w1/data/other
: >far/w1/up
cp "$here/../servers/plugin_dir.py" plugin
sed '/^sources:/a\
  far: {driver: plugin, command: [./plugin], options: {root: ./far}}' \
	fleetbak.yaml >with && mv with fleetbak.yaml
conf=fleetbak.yaml
across() { "$fb" -c $conf restore "$@" --in-place; }
did() { sed 's/ .*//' far/.effects 2>/dev/null | tr '\n' ' '; }
size=$(stat -c %s machines/m1/disk.img)

expect 0 "$fb" -c $conf init
expect 0 "$fb" -c $conf download
cp -a far/w1 w1.before
cp -a machines/m1 m1.before
: >far/.effects

# refused <status> <words> <argument...>: by the dry run and for real.
refused() {
	want=$1 words=$2
	shift 2
	for how in -n --yes; do
		expect "$want" across "$@" $how
		grep -q "$words" "$work/stderr" "$work/stdout" ||
			fail "not '$words': $(cat "$work/stderr")"
	done
	[ -z "$(did)" ] || fail "touched: $(did)"
	cmp -s far/w1/disk.img w1.before/disk.img || fail "disk was touched"
	cmp -s machines/m1/disk.img m1.before/disk.img || fail "m1 was touched"
}
to="--map source:lab=far"
# shellcheck disable=SC2086 # words
{
	refused 2 "no machine 'm1' to write over" m1 $to
	refused 2 "no machine 'w9' to write over" m1 $to --map machine:m1=w9
	refused 2 "backup has no such machine" m1 $to --map machine:*=w1 \
		--map machine:x=w1
	refused 2 "backup has no such volume" m1 $to --map machine:m1=w1 \
		--map volume:x=root
	refused 2 "has no volume 'nodisk'" m1 $to --map machine:m1=w1 \
		--map volume:root=nodisk
	refused 1 "it is disk, and 'data' of 'w1' is tree" m1 $to \
		--map machine:m1=w1 --map volume:root=data --volume root
	refused 1 "keeps its definition" m1 $to --map machine:m1=w1 \
		--volume definition
	refused 2 "would both become\|would be written over by" m1 m2 $to \
		--map 'machine:*=w1'
	refused 20 "keeps its definition" m1 $to \
		--map machine:m1=w1 --map network:a=b
	refused 17 "holds" w1 --map source:far=lab --map machine:w1=m1 \
		--volume root
	expect 1 "$fb" -c $conf restore m1 --as new $to -n
	grep -q E-RST-ACROSS "$work/stderr" || fail "another error"
	expect 2 "$fb" -c $conf restore m1 --as new --map machine:m1=w1 -n
}
ok "what does not fit is refused with its reason, and nothing is touched"

expect 0 across m1 --map "source:lab=far" --map machine:m1=w1 -n --json
python3 - "$work/stdout" lab <<'END' || fail "$(cat "$work/stdout")"
import json, sys
plan = json.load(open(sys.argv[1]))["data"]["actions"]
rows = {(a["from_machine"], a["from_volume"]): a for a in plan}
root = rows[sys.argv[2] + "/m1", "root"]
assert root["machine"] == "far/w1" and root["volume"] == "root", root
assert root["action"] == "rewrite", root
assert rows[sys.argv[2] + "/m1", "definition"]["action"] == "skip"
END
expect 0 across m1 --map "source:lab=far" --map machine:m1=w1 -n
grep -q "from lab/m1 root" "$work/stdout" || fail "not told"
grep -q "removes.*far/w1 data other" "$work/stdout" || fail "no removal told"
ok "the plan names whose each volume was and is"

expect 0 across m1 --map "source:lab=far" --map machine:m1=w1 --yes
cmp -n "$size" m1.before/disk.img far/w1/disk.img || fail "another disk"
[ "$(stat -c %s far/w1/disk.img)" = 6291456 ] || fail "its size has changed"
[ -z "$(tail -c +$((size + 1)) far/w1/disk.img | tr -d '\0' | head -c 1)" ] ||
	fail "the rest of the disk holds what was there"
[ "$(cat far/w1/data/hello.txt)" = "hello from m1" ] || fail "another tree"
[ ! -e far/w1/data/other ] || fail "the tree is not mirrored"
[ "$(did)" = 'stop restore_begin start ' ] || fail "effects: $(did)"
ok "a local machine's disk and tree are in the plugin's, which is up again"

# Back, into another one; a map may name one machine's volume.
expect 0 "$fb" -c $conf download -s w1
echo changed >machines/m2/data/hello.txt
truncate -s 6M machines/m2/disk.img
expect 0 across w1 --map "source:far=lab" --map machine:w1=m2 \
	--map volume:w1/root=root --yes
cmp far/w1/disk.img machines/m2/disk.img || fail "another disk"
[ "$(cat machines/m2/data/hello.txt)" = "hello from m1" ] || fail "m2's tree"
grep -q 'id: m2' machines/m2/machine.yaml || fail "its definition is another"
[ -e machines/m2/up ] || fail "it is down"
ok "and back, over a machine that keeps its definition"

# Cut off while it is written: the machine that is written is the half one.
echo twist >far/w1/data/twist
sed -i 's/options: .*/options: {root: .\/far, fault: "write_stream:FAILED", once: "1"}}/' $conf
: >far/.fault
: >far/.effects
expect 1 across m1 --map "source:lab=far" --map machine:m1=w1 --yes
[ ! -e far/w1/up ] || fail "a half one was started"
expect 0 "$fb" -c $conf status --json
grep -q 'far/w1' "$work/stdout" || fail "the half one is not named"
expect 3 "$fb" -c $conf download
grep -q "E-HALF-RESTORED" "$work/stderr" || fail "a half one is backed up"
id=$(ls state/restores)
expect 0 "$fb" -c $conf restore --resume "$id" --yes
[ -e far/w1/up ] || fail "it is down"
[ ! -e far/w1/data/twist ] || fail "the tree is not mirrored"
[ -z "$(ls state/restores)" ] || fail "the journal is left"
[ "$(did)" = 'stop restore_begin restore_begin start ' ] ||
	fail "effects: $(did)"
ok "what was cut off stays down under its own name, and is gone on with"

# Among machines of one driver, too.
expect 0 across m1 --map machine:m1=m2 --volume data --yes
[ "$(cat machines/m2/data/hello.txt)" = "hello from m1" ] || fail "m2's tree"
ok "a volume of one machine goes into another one's of the same system"
