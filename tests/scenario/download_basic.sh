#!/bin/sh
# A fleet is backed up twice; what is stored is signed, checkable with stock
# tools, and costs nothing the second time; every machine is up afterwards.
. "$(dirname "$0")/lib.sh"
requires openssl jq

make_fleet "$work/f" 3
cd "$work/f"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" init
ok "init twice"
[ "$(stat -c %a keys/sign.pem)" = 600 ] || fail "the signing key is readable"

expect 0 "$fb" -c "$conf" download --json
run=$(jq -r .run "$work/stdout")
[ "$(jq -r '.machines | length' "$work/stdout")" = 3 ] || fail "3 machines"
[ "$(jq -r '[.machines[].result] | unique | join(",")' "$work/stdout")" = ok ] ||
	fail "a result is not ok"
jq -e '.ok == true and .exit_code == 0 and .stored_bytes > 0 and
	.read_bytes > 0 and .machines[0].downtime_seconds >= 0 and
	(.schema | startswith("fleetbak.download/"))' "$work/stdout" >/dev/null ||
	fail "the document lacks something: $(cat "$work/stdout")"
for m in m1 m2 m3; do
	[ -e machines/$m/up ] || fail "$m is down"
	[ "$(tr '\n' ' ' <machines/$m/effects)" = "stop start " ] ||
		fail "effects of $m: $(cat machines/$m/effects)"
	[ -z "$(find machines/$m -path '*/.fleetbak/*')" ] ||
		fail "$m keeps a snapshot"
done
ok "three machines, one stop and one start each"

cd repo
sha256sum -c --quiet "runs/$run/SHA256SUMS" || fail "sha256sum -c"
openssl pkeyutl -verify -pubin -inkey ../keys/sign.pub.pem -rawin \
	-in "runs/$run/SHA256SUMS" -sigfile "runs/$run/SHA256SUMS.sig" \
	>/dev/null || fail "openssl refuses the signature"
find packs -name '*.pack' -exec zstd -tq {} + || fail "a pack is no zstd stream"
for name in manifest.json VOLUMES; do
	grep -q "runs/$run/$name\$" "runs/$run/SHA256SUMS" || fail "no $name"
done
ok "sha256sum, openssl and zstd agree"
cd ..

expect 0 "$fb" -c "$conf" topology
[ "$(sha256sum <"$work/stdout" | cut -c1-64)" = \
	"$(jq -r .fleet.topology_hash "repo/runs/$run/manifest.json")" ] ||
	fail "the topology hash is not of what topology prints"
ok "fleetbak topology | sha256sum is the hash in the manifest"

packs=$(find repo/packs -name '*.pack' | wc -l)
expect 0 "$fb" -c "$conf" download --json
[ "$(jq -r .stored_bytes "$work/stdout")" -lt 4096 ] ||
	fail "an unchanged fleet stored $(jq -r .stored_bytes "$work/stdout")"
[ "$(find repo/packs -name '*.pack' | wc -l)" -le $((packs + 1)) ] ||
	fail "more packs than one"
expect 0 "$fb" -c "$conf" list --json
[ "$(jq -r '.data | length' "$work/stdout")" = 6 ] || fail "list"
[ "$(jq -r '.data[0].run >= .data[5].run' "$work/stdout")" = true ] ||
	fail "list is not newest first"
ok "unchanged, nothing new is stored"

expect 0 "$fb" -c "$conf" verify --full --json
expect 0 "$fb" -c "$conf" status --json
ok "verify and status"

# Tree and disk come back as they were.
expect 0 "$fb" -c "$conf" restore m2 --target "$work/out"
cmp machines/m2/disk.img "$work/out/m2/root.img" || fail "the disk differs"
same_tree machines/m2/data "$work/out/m2/data" || fail "the tree differs"
cmp machines/m2/machine.yaml "$work/out/m2/definition/machine.yaml" ||
	fail "the definition differs"
[ ! -e "$work/out/m2/data/scratch.tmp" ] || fail "an excluded file is there"
ok "restored"
