#!/bin/sh
# Damaged, altered, missing and foreign objects: verify names each, what it
# harms and what is still whole; restore refuses; the exit codes are right.
. "$(dirname "$0")/lib.sh"
requires jq openssl

make_fleet "$work/f" 2
cd "$work/f"
conf=fleetbak.yaml
expect 10 "$fb" -c $conf download
expect 10 "$fb" -c $conf list
ok "no repository: 10"
expect 0 "$fb" -c $conf init
expect 0 "$fb" -c $conf download
one=$("$fb" -c $conf list --json | jq -r '.data[0].run')
head -c 300000 /dev/urandom | dd of=machines/m1/disk.img bs=4096 seek=100 \
	conv=notrunc status=none
expect 0 "$fb" -c $conf download
two=$("$fb" -c $conf list --json | jq -r '.data[0].run')
[ "$one" != "$two" ] || fail "one run"
cp -a repo whole
again() {
	chmod -R u+w repo
	rm -rf repo
	cp -a whole repo
}
expect 0 "$fb" -c $conf verify --full

# A bit of the pack that only the second run has.
new=$(comm -13 \
	"$(sed -n 's/^[0-9a-f]*  \(packs.*\)/\1/p' "repo/runs/$one/SHA256SUMS" >"$work/a"; echo "$work/a")" \
	"$(sed -n 's/^[0-9a-f]*  \(packs.*\)/\1/p' "repo/runs/$two/SHA256SUMS" >"$work/b"; echo "$work/b")" | head -1)
[ -n "$new" ] || fail "the second run has no pack of its own"
damage "repo/$new" 1000
expect 14 "$fb" -c $conf verify --full
grep -q "$new" "$work/stdout" || grep -q "$new" "$work/stderr" || fail "which object?"
cat "$work/stdout" "$work/stderr" | grep -q "m1" || fail "whom does it harm?"
cat "$work/stdout" "$work/stderr" | grep -q "$one" || fail "what is whole?"
expect 14 "$fb" -c $conf verify --full --json
jq -e '.ok == false and .exit_code == 14' "$work/stdout" >/dev/null || fail "json"
ok "a flipped bit in a pack: 14, with what it harms and what is whole"
got=$(status_of "$fb" -c $conf restore m1 --target "$work/out1")
[ "$got" -eq 14 ] || fail "restore from a damaged pack: exit $got"
[ ! -e "$work/out1/m1" ] || fail "something half was left as if it were whole"
expect 0 "$fb" -c $conf restore "m1@$one" --target "$work/out2"
expect 0 "$fb" -c $conf restore m2 --target "$work/out3"
ok "restore refuses what is damaged, and restores the rest"
again

for victim in "repo/$new" "repo/runs/$two/manifest.json" "repo/runs/$two/SHA256SUMS" \
	"$(find repo/recipes -type f | head -1)"; do
	rm -f "$victim"
	expect 14 "$fb" -c $conf verify --full
	grep -q "$(basename "$victim")" "$work/stdout" "$work/stderr" ||
		fail "it does not name $victim"
	again
	for size in 0 100; do
		chmod u+w "$victim"
		truncate -s $size "$victim"
		got=$(status_of "$fb" -c $conf verify --full)
		[ "$got" -eq 14 ] || [ "$got" -eq 13 ] || fail "exit $got: $victim cut"
		again
	done
done
ok "missing and cut objects are found"

# Signatures: altered, missing, by another key.
chmod u+w "repo/commits/$two"
sed -i 's/^signature ../signature 00/' "repo/commits/$two"
got=$(status_of "$fb" -c $conf verify)
[ "$got" -eq 13 ] || [ "$got" -eq 14 ] || fail "an altered signature: exit $got"
got=$(status_of "$fb" -c $conf restore "m1@$two" --target "$work/out4")
[ "$got" -eq 13 ] || fail "restored what nobody signed: exit $got"
again
# Who spoils the newest register does not choose what is restored.
chmod u+w "repo/commits/$two"
: >"repo/commits/$two"
for what in m1 m1@latest "--all --run latest"; do
	# shellcheck disable=SC2086 # words
	expect 14 "$fb" -c $conf restore $what --target "$work/out4"
	grep -q "$two" "$work/stderr" || fail "it does not say which run: $what"
done
expect 0 "$fb" -c $conf restore "m1@$one" --target "$work/out4"
expect 0 "$fb" -c $conf restore m1 --allow-rollback --target "$work/out4b"
again
openssl genpkey -algorithm ed25519 -out other.pem 2>/dev/null
openssl pkey -in other.pem -pubout -out other.pub.pem
sed 's|keys/sign.pub.pem|other.pub.pem|' $conf >other.yaml
expect 13 "$fb" -c other.yaml verify
expect 13 "$fb" -c other.yaml restore m1 --target "$work/out5"
ok "what nobody trusted signed is refused: 13"

# A run of another repository, signed by the same key for the same fleet.
sed 's|file:./repo|file:./second|; s|state_dir: .*|state_dir: ./state2|' \
	$conf >second.yaml
expect 0 "$fb" -c second.yaml init
cp -a repo/commits repo/runs repo/packs repo/recipes second/
expect 13 "$fb" -c second.yaml restore m1 --target "$work/out5b"
grep -q "not made in this repository" "$work/stderr" || fail "why?"
got=$(status_of "$fb" -c second.yaml verify)
[ "$got" -eq 13 ] || [ "$got" -eq 14 ] || fail "a foreign run: exit $got"
ok "a run of another repository is refused: 13"

# Rolled back: the newest run is gone with its register.
rm -rf "repo/commits/$two" "repo/runs/$two"
expect 13 "$fb" -c $conf restore m1 --target "$work/out6"
grep -q ROLLBACK "$work/stderr" || fail "it does not say that it was rolled back"
expect 0 "$fb" -c $conf restore m1 --target "$work/out6" --allow-rollback
expect 13 "$fb" -c $conf status
grep -q ROLLBACK "$work/stderr" || fail "status does not say so"
again
ok "a rolled back repository is refused: 13"

# A newer format.
chmod u+w repo/format/1.json
sed -i 's/"version":1/"version":2/' repo/format/1.json
got=$(status_of "$fb" -c $conf list)
[ "$got" -eq 18 ] || [ "$got" -eq 13 ] || fail "a newer format: exit $got"
again
mkdir -p repo/format && cp whole/format/1.json repo/format/2.json
expect 18 "$fb" -c $conf list
again
ok "a newer format is refused: 18"

mkdir foreign && echo hello >foreign/file
sed 's|file:./repo|file:./foreign|' $conf >foreign.yaml
expect 20 "$fb" -c foreign.yaml init
[ "$(ls foreign)" = file ] || fail "init wrote into a foreign directory"
ok "init refuses a directory that holds something else: 20"

chmod 644 keys/sign.pem
expect 12 "$fb" -c $conf download
chmod 600 keys/sign.pem
printf garbage >keys/sign.pem
expect 12 "$fb" -c $conf download
ok "a key that is readable by all, or none: 12"
