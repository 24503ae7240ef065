#!/bin/sh
# Hosts that share an encrypted repository and do not trust each other's
# packs: each stores for itself, until a verifier, who has the private key, has
# attested what others stored; what a writer that was taken over puts there
# poisons nobody outside its domain, and inside it is found.
. "$(dirname "$0")/lib.sh"
requires openssl zstd jq

# host <name>: a fleet of its own with keys of its own, into the same place.
host() {
	make_fleet "$work/$1" 1
	openssl genpkey -algorithm ED25519 -out "$work/$1/keys/sign.pem"
	openssl pkey -in "$work/$1/keys/sign.pem" -pubout \
		-out "$work/$1/keys/sign.pub.pem"
	chmod 600 "$work/$1/keys/sign.pem"
	head -c 3M /dev/urandom >"$work/$1/machines/m1/disk.img"
	sed -i "s|^fleet: .*|fleet: {name: $1}|
		s|file:./repo|file:$work/repo|
		s|sign.pem\"}|sign.pem\", encrypt_to: [\"file:$work/recovery.crt\"]}|
		s|^trusted_signers: .*|trusted_signers: [$signers]|" "$conf"
	sed "s|recovery.crt\"\]|&, decrypt_with: \"file:$work/safe/recovery.pem\"|" \
		"$conf" >"$work/$1/reader.yaml"
}
signers=
for name in a b c; do
	signers="$signers${signers:+, }\"file:$work/$name/keys/sign.pub.pem\""
done
for name in a b c; do host "$name"; done
a=$work/a/fleetbak.yaml b=$work/b/fleetbak.yaml c=$work/c/fleetbak.yaml
cd "$work"
ids() { # <file>...: the last part of each name, without its suffix
	for ids_file; do basename "$ids_file" .pack; done | sort
}
new_bytes() {
	jq .new_bytes "$work/stdout"
}
stored_again() { # <what>
	[ "$(new_bytes)" -ge 3000000 ] || fail "$1: only $(new_bytes) bytes"
}
used_again() { # <what>
	[ "$(new_bytes)" -lt 1000000 ] || fail "$1: $(new_bytes) bytes"
}

expect 0 "$fb" -c a/reader.yaml init
expect 0 "$fb" -c "$a" download
ids repo/packs/*/* >a.packs
large=$(basename "$(find repo/packs -type f -size +2M)")
expect 0 "$fb" -c "$b" download
# The verifier signs with a key that signs no runs.
sed "s|sign_with: \"[^\"]*\"|sign_with: \"file:$work/safe/verifier.pem\"|" \
	a/reader.yaml >a/verifier.yaml
openssl genpkey -algorithm ED25519 -out safe/verifier.pem
chmod 600 safe/verifier.pem
openssl pkey -in safe/verifier.pem -pubout -out verifier.pub.pem
verifiers="trusted_verifiers: [\"file:$work/verifier.pub.pem\"]"
expect 12 "$fb" -c "$a" verify --attest
grep -q E-DECRYPT-WITH stderr || fail "who opens nothing attests"
expect 2 "$fb" -c a/verifier.yaml verify --attest --packs
expect 0 "$fb" -c a/verifier.yaml verify --attest --json
[ "$(field opened)" = true ] || fail "nothing was opened"
[ "$(field domains)" = 2 ] || fail "not both domains: $(cat stdout)"
[ "$(field made)" -eq "$(wc -l <a.packs)" ] || fail "not of each pack"
ids repo/attests/*/* | cmp -s - a.packs || fail "other attestations"
expect 0 "$fb" -c a/verifier.yaml verify --attest --json
[ "$(field made)" = 0 ] || fail "attested twice"
ok "who has the private key attests packs; who has not does not"

# As it is before b needs what a has.
rm -rf before
mkdir before
cp -a repo b before
restart() {
	cd "$work"
	rm -rf repo b
	cp -a before/repo before/b .
	make_machine b/machines m2
	cp a/machines/m1/disk.img b/machines/m2/disk.img
}
restart
expect 0 "$fb" -c "$b" download --json
stored_again "nobody is trusted to attest"
ok "without a word from a verifier another domain's packs are not used"

restart
echo "$verifiers" | tee -a "$b" b/reader.yaml >>before/b/fleetbak.yaml
expect 0 "$fb" -c "$b" download --json
used_again "attested"
! grep -q 'not believed\|another domain' stderr || fail "something is not believed"
expect 0 "$fb" -c b/reader.yaml verify --full
expect 0 "$fb" -c b/reader.yaml restore m2 --target out
cmp a/machines/m1/disk.img out/m2/root.img || fail "another disk"
expect 0 "$fb" -c "$b" download --json
[ "$(new_bytes)" = 0 ] || fail "nothing changed, and $(new_bytes) bytes are new"
sh repo/restore.sh -d safe/recovery.pem -k b/keys/sign.pub.pem m2 root \
	stranger.img >stdout 2>stderr || fail "a stranger does not restore it"
cmp a/machines/m1/disk.img stranger.img || fail "a stranger gets another disk"
ok "an attested pack is used again, and what is made of it comes back"

# What is not what it says is worth nothing, and is told.
of_b() {
	while read -r of_b_pack; do
		ls repo/attests/*/"$of_b_pack"
	done <a.packs
}
sign() { # <key> <file>: what stands before its signature, anew
	sed -i '$d' "$2"
	openssl pkeyutl -sign -rawin -inkey "$1" -in "$2" -out signature
	echo "signature $(od -An -v -tx1 signature | tr -d ' \n')" >>"$2"
}
forged() {
	sed -i '9s/.*/'"$(printf %064d 7)"'/' "$1"
}
by_a_stranger() { # who signs runs, but is no verifier
	sign c/keys/sign.pem "$1"
}
of_another_repository() {
	sed -i "2s/.*/repository $(printf %032d 7)/" "$1"
	sign safe/verifier.pem "$1"
}
of_another_domain() {
	sed -i "3s/.*/domain $(printf %032d 7)/" "$1"
	sign safe/verifier.pem "$1"
}
of_another_pack() {
	sed -i "4s/.*/pack $(printf %064d 7)/" "$1"
	sign safe/verifier.pem "$1"
}
cut_off() {
	truncate -s -70 "$1"
}
for bad in forged by_a_stranger of_another_repository of_another_domain \
	of_another_pack cut_off; do
	restart
	for file in $(of_b); do
		chmod u+w "$file"
		$bad "$file"
	done
	expect 0 "$fb" -c "$b" download --json
	stored_again "$bad"
	grep -q 'warning: .*attests.* is not believed' stderr || fail "$bad: it is not said"
done
expect 0 "$fb" -c b/reader.yaml verify --full
expect 0 "$fb" -c a/verifier.yaml verify --attest --json
[ "$(field made)" -eq "$(wc -l <a.packs)" ] || fail "not made anew: $(cat stdout)"
ok "forged, replayed and foreign attestations are ignored, and told"

# A pack that goes takes its attestation along.
restart
cp -a a a.before
first=$("$fb" -c "$a" list runs -o tsv --no-header | cut -f 1)
rm -rf a/machines/m1
make_machine a/machines m9
rm a/machines/m9/data/sub/numbers
head -c 3M /dev/urandom >a/machines/m9/disk.img
expect 0 "$fb" -c "$a" download
echo 'retention: {keep: "last 9", grace: 0s}' >>"$a"
expect 0 "$fb" -c "$a" forget -y "$first"
expect 0 "$fb" -c "$a" prune -y
cp a.before/machines/m1/disk.img b/machines/m2/disk.img
ids repo/packs/*/* >left.packs
gone=$(comm -23 a.packs left.packs)
[ -n "$gone" ] || fail "no pack went"
for pack in $gone; do
	! ls repo/attests/*/"$pack" 2>/dev/null || fail "its attestation stays"
done
expect 0 "$fb" -c "$b" download --json
stored_again "a pack that is gone"
expect 0 "$fb" -c b/reader.yaml verify --full
rm -rf a
mv a.before a
ok "an attestation goes with its pack"

# A writer is taken over: hints and a pack that claim the ids of what a has.
# b is outside of a's domain; c is inside, for it has a's domain key.
mkdir -p c/state/domain
cp -p a/state/domain/* c/state/domain/
poison() { # <who> <session>
	restart
	rm -rf a/state a/machines/m3
	cp -a safe/a.state a/state
	poisoned=$("$bin/scenario/poison" "$1" "$2" \
		"$(find repo/packs -name "$large")")
	rm -rf a/state/index
	make_machine a/machines m3
	cp a/machines/m1/disk.img a/machines/m3/disk.img
	expect 0 "$fb" -c "$a" download --json
	used_again "it has it"
}
cp -a a/state safe/a.state
poison "$b" 20991231-235959999-0000000b
expect 0 "$fb" -c a/reader.yaml verify --full
expect 0 "$fb" -c a/reader.yaml restore m3 --target outside
cmp a/machines/m1/disk.img outside/m3/root.img || fail "poisoned from outside"
ok "from outside of the domain nothing is poisoned"

poison "$c" 20991231-235959999-0000000c
expect 0 "$fb" -c "$a" verify
expect 14 "$fb" -c a/reader.yaml verify --full
grep -q "DAMAGED *$poisoned" stdout || fail "the pack is not named"
grep -aq '^session 20991231-235959999-0000000c' "repo/$poisoned" ||
	fail "it does not say whose it is"
got=$(status_of "$fb" -c a/reader.yaml restore m3 --target inside)
[ "$got" -eq 14 ] || [ "$got" -eq 3 ] || fail "poison is restored: exit $got"
! grep -aqs PPPPPPPP inside/m3/root.img || fail "poison came back"
expect 14 "$fb" -c a/verifier.yaml verify --attest
! ls repo/attests/*/"$(ids "$poisoned")" 2>/dev/null ||
	fail "poison was attested"
ok "from inside of the domain a holder finds it, and attests none of it"
