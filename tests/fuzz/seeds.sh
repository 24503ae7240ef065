#!/bin/sh
# Seeds for the fuzz targets from what the program itself writes:
#
#	FB_BIN=build/debug sh tests/fuzz/seeds.sh [DIRECTORY]
#
# makes DIRECTORY/<target>/good-real-* (default: fixtures).  A fleet of two is
# backed up twice and restored, and both are cut off once for their journals.
# shellcheck source=tests/scenario/lib.sh
. "$(dirname "$0")/../scenario/lib.sh"

out=${1:-$(dirname "$0")/../../fixtures}
mkdir -p "$out"
out=$(cd "$out" && pwd -P)

seed() { # <target> <name> [file]: the file, or standard input
	mkdir -p "$out/$1"
	cat ${3:+"$3"} >"$out/$1/good-real-$2"
}

# A journal's records as the targets take them: type and body.
records() { # <journal>
	sed -n 's/^[0-9]* [0-9a-f]\{64\} \([a-z-]* {.*\)/\1/p' "$1" | sed 1d
}

make_fleet "$work/f" 2
cd "$work/f"
for machine in m1 m2; do
	# small, but with chunks, holes and members of every kind
	(seq 1 4000; echo "$machine") >machines/$machine/disk.img
	truncate -s 1M machines/$machine/disk.img
	seq 1 300 >machines/$machine/data/sub/numbers
done
mkfifo machines/m1/data/fifo
truncate -s 10M machines/m1/data/sparse
echo end >>machines/m1/data/sparse
export FLEETBAK_CLOCK=1763688726
expect 0 "$fb" -c fleetbak.yaml init
FLEETBAK_SESSION=20251121-013206123-3fa92c17 \
	expect 0 "$fb" -c fleetbak.yaml download
echo more >>machines/m1/data/hello.txt
touch machines/m2/fail-stop
FLEETBAK_SESSION=20251122-013206123-3fa92c17 FLEETBAK_CLOCK=1763775126 \
	expect 3 "$fb" -c fleetbak.yaml download
rm machines/m2/fail-stop
one=20251121-013206123-3fa92c17
two=20251122-013206123-3fa92c17

seed fuzz_config fleet fleetbak.yaml
seed fuzz_machine_yaml machine machines/m1/machine.yaml
seed fuzz_json format repo/format/1.json
seed fuzz_format_doc format repo/format/1.json
seed fuzz_manifest complete repo/runs/$one/manifest.json
seed fuzz_manifest partial repo/runs/$two/manifest.json
seed fuzz_register commit repo/commits/$two
seed fuzz_volumes run repo/runs/$one/VOLUMES
seed fuzz_sums run repo/runs/$one/SHA256SUMS
seed fuzz_register seal repo/hints/$one.seal
sed "s/$one/20261121-013205123-3fa92c17/" repo/hints/$one | seed fuzz_hints run
seed fuzz_keys private keys/sign.pem
seed fuzz_keys public keys/sign.pub.pem
seed fuzz_newest run "$(find state/newest -type f | head -1)"
for recipe in repo/recipes/*/*; do
	seed fuzz_recipe "$(sed -n 's/^kind //p' "$recipe")" "$recipe"
done
# A catalogue is compressed: one run of one pack.
recipe=$(grep -l '^kind catalogue' repo/recipes/*/* | head -1)
pack=$(sed -n '/^packs 1/{n;s/ .*//p;}' "$recipe")
sed -n '/^runs 1/{n;p;}' "$recipe" | {
	read -r _ _ _ from count _
	dd if="repo/packs/$(printf %.2s "$pack")/$pack.pack" bs=1M skip="$from" \
		count="$count" iflag=skip_bytes,count_bytes status=none
} | zstd -dcq | sed 1d | seed fuzz_catalogue tree
pack=$(find repo/packs -name '*.pack' | LC_ALL=C sort | head -1)
grep -a -n 'fleetbak-pack 1' "$pack" >/dev/null || fail "no pack table"
tail -c "$(($(stat -c %s "$pack") - 8 - \
	$(tail -c 27 "$pack" | sed 's/table 0*//')))" "$pack" |
	seed fuzz_pack_table run
sh repo/restore.sh m1 data "$work/m1.tar" 2>/dev/null
{
	echo raw
	cat "$work/m1.tar"
} | seed fuzz_tree_unpack tree

# Journals of a download and a restore that were cut off late.
cut_off() { # <command>...
	rm -f "$work/steps"
	FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c fleetbak.yaml "$@"
	step=$(($(wc -l <"$work/steps") * 3 / 4))
	rm -rf "$work/out"
	FLEETBAK_CRASH=$step:kill expect 137 "$fb" -c fleetbak.yaml "$@"
	expect 0 "$fb" -c fleetbak.yaml recover --lock-wait 30s
}
cut_off download
journal=$(find state/runs -name journal)
seed fuzz_journal download "$journal"
records "$journal" |
	sed 's/"run":"20[-0-9a-f]*"/"run":"20261121-013205123-3fa92c17"/g' |
	seed fuzz_run_replay download
expect 0 "$fb" -c fleetbak.yaml download --lock-wait 30s
cut_off restore m1 --target "$work/out"
journal=$(find state/restores -name journal | head -1)
seed fuzz_journal restore "$journal"
records "$journal" | seed fuzz_restore_journal directory

# A shared run of which one shard is done: its objects, without signatures, as
# lines, and of the repository that the target has.
expect 0 "$fb" -c fleetbak.yaml download --shard 1/2 --run n
(cd repo/shared/n && find . -type f) | sed 's|^\./||' | LC_ALL=C sort |
	while read -r object; do
		printf '%s ' "$object"
		sed '1d;/^signature /d' "repo/shared/n/$object" |
			sed 's/"repository":"[0-9a-f]*"/"repository":"0123456789abcdef0123456789abcdef"/
				s/$/\\n/' | tr -d '\n'
		echo
	done | seed fuzz_shared shard
ok "seeds in $out"
