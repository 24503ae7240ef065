#!/bin/sh
# A repository that somebody altered who has no key: verify names what was
# altered, restore gives back what was backed up or nothing, and nothing beside
# its target is touched, in little memory and time.
# HOSTILE=all tries every alteration, else a sample.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 2
cd "$work/f"
for machine in m1 m2; do
	(seq 1 3000; echo "$machine") >machines/$machine/disk.img
	truncate -s 1M machines/$machine/disk.img
	seq 1 200 >machines/$machine/data/sub/numbers
done
conf=$work/f/fleetbak.yaml
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
echo changed >>machines/m1/data/hello.txt
expect 0 "$fb" -c "$conf" download

mkdir "$work/sentinel"
echo mine >"$work/sentinel/file"
outside() {
	find "$work/sentinel" "$work/f/machines" "$work/f/keys" \
		-printf '%p %y %m %s %T@ %l\n' | LC_ALL=C sort
}
outside >"$work/before"
if [ "${HOSTILE:-}" = all ]; then sample=1; else sample=13; fi
"$bin/scenario/hostile" "$conf" "$work/out" "$sample" >"$work/hostile" ||
	fail "$(tail -40 "$work/hostile")"
outside | diff "$work/before" - || fail "something outside was touched"
ok "$(tail -1 "$work/hostile")"
