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

# Objects that are large where nobody expects it, of somebody without a key:
# they cost no memory to speak of.
bounded() { # <what>
	status=$(status_of timeout 120 "$bin/scenario/peak" "$work/peak" \
		"$fb" -c "$conf" verify --full)
	case $status in
	13 | 14) ;;
	*) fail "$1: exit $status" ;;
	esac
	[ "${FB_VARIANT:-debug}" != debug ] || [ "$(cat "$work/peak")" -le 262144 ] ||
		fail "$1: $(cat "$work/peak") KiB"
}
two=$(find repo/commits -type f | LC_ALL=C sort | tail -1)
two=${two##*/}
cp -a repo whole
again() {
	chmod -R u+w repo
	rm -rf repo
	cp -a whole repo
	chmod -R u+w repo
}
again
truncate -s 127M "repo/runs/$two/SHA256SUMS"
bounded "checksums of holes"
again
truncate -s 63M "repo/commits/$two"
bounded "a register of holes"
again
truncate -s 4G "repo/runs/$two/manifest.json"
bounded "a manifest of holes"

# The script has the same care.
rescue() { # <what> <object>
	again
	rm "repo/$2"
	mkfifo "repo/$2"
	status=$(status_of timeout 60 sh repo/restore.sh -r "$two" m1 root \
		"$work/rescued")
	[ "$status" -eq 1 ] || fail "restore.sh, $1 is a fifo: exit $status"
	[ ! -e "$work/rescued" ] || fail "restore.sh, $1: something is left"
}
recipe=$(awk '$1 == "lab/m1" && $2 == "root" { print $5 }' \
	"repo/runs/$two/VOLUMES")
recipe=recipes/$(printf %.2s "$recipe")/$recipe
pack=$(sed -n '/^packs [1-9]/{n;s/ .*//p;}' "repo/$recipe")
rescue "the format" format/1.json
rescue "the register" "commits/$two"
rescue "SHA256SUMS" "runs/$two/SHA256SUMS"
rescue "VOLUMES" "runs/$two/VOLUMES"
rescue "the recipe" "$recipe"
rescue "the pack" "packs/$(printf %.2s "$pack")/$pack.pack"
again
sh repo/restore.sh -r "$two" m1 root "$work/rescued" 2>/dev/null &&
	cmp -s machines/m1/disk.img "$work/rescued" || fail "restore.sh"
ok "restore.sh waits for no fifo"

# A run that nobody signed, with a manifest of its own.
forge() { # <what> <word of the answer>; the manifest is $work/manifest
	again
	forged=21001231-000000000-00000000
	mkdir "repo/runs/$forged"
	sed "s/$two/$forged/g" "$work/manifest" >"repo/runs/$forged/manifest.json"
	echo 'fleetbak-volumes 1' >"repo/runs/$forged/VOLUMES"
	(cd repo && sha256sum format/1.json restore.sh \
		"runs/$forged/VOLUMES" "runs/$forged/manifest.json") \
		>"repo/runs/$forged/SHA256SUMS"
	sums=$(sha256sum <"repo/runs/$forged/SHA256SUMS")
	sed "s/$two/$forged/; s/^sums .*/sums ${sums%% *}/
		/^predecessors/,\$d" "whole/commits/$two" >"repo/commits/$forged"
	printf 'predecessors 0\nrecipes 0\npacks 0\nend\n' \
		>>"repo/commits/$forged"
	bounded "$1"
	grep -q "$2" "$work/stdout" "$work/stderr" ||
		fail "$1: it was not looked at: $(head -20 "$work/stdout")"
}
manifest=whole/runs/$two/manifest.json
{
	printf '{"drift":['
	yes 0 | head -n 7000000 | tr '\n' ,
	printf '0],"machines":[\n],"version":1}\n'
} >"$work/manifest"
forge "a manifest of seven million numbers" "too many values"
{
	sed '$d' "$manifest"
	tail -1 "$manifest" | sed 's/"sources":\[.*/"sources":[/' | tr -d '\n'
	seq 100000 |
		sed 's/.*/{"driver":"local","name":"s&","problem":null}/' |
		tr '\n' , | sed 's/,$//'
	tail -1 "$manifest" | sed 's/.*"sources":\[[^]]*//'
} >"$work/manifest"
forge "a manifest of a hundred thousand sources" "100000 sources"
ok "what is large and signed by nobody takes little memory"
