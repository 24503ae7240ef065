#!/bin/sh
# An encrypted repository: made by init, written to by a host that can open
# nothing of it, read with the private key; recipients come and go.
. "$(dirname "$0")/lib.sh"
requires openssl zstd jq tar

make_fleet "$work/f" 2
cd "$work/f"
marker='a line that nobody else writes'
for i in 1 2 3 4 5 6 7 8 9; do echo "$marker $i"; done >machines/m1/data/marked
sed -i 's|sign.pem"}|sign.pem", encrypt_to: ["file:./keys/recovery.crt"]}|' "$conf"
writer=$conf
reader=$work/f/reader.yaml
sed 's|recovery.crt"\]|&, decrypt_with: "file:'"$work"'/safe/recovery.pem"|' \
	"$writer" >"$reader"

# A writer alone cannot make the pair: the private half has no place to go.
expect 12 "$fb" -c "$writer" init
grep -q E-RECIPIENT "$work/stderr" || fail "another error"
expect 0 "$fb" -c "$reader" init --json
[ "$(field encrypted)" = true ] || fail "not encrypted"
[ "$(field made_recovery_key)" = true ] || fail "no pair was made"
expect 0 "$fb" -c "$reader" init --json
[ "$(field made_recovery_key)" = false ] || fail "the pair was made again"
expect 0 "$fb" -c "$writer" init
openssl x509 -in keys/recovery.crt -noout -subject >/dev/null ||
	fail "no certificate"
ok "init makes the pair once, where it has a place"

# From here on only the reader has the private key.
expect 0 "$fb" -c "$writer" download
expect 0 "$fb" -c "$writer" download --json
jq -e '.new_bytes == 0' "$work/stdout" >/dev/null ||
	fail "what is there was stored again: $(cat "$work/stdout")"
echo 'one line more' >>machines/m2/data/hello.txt
expect 0 "$fb" -c "$writer" download
expect 0 "$fb" -c "$writer" verify --full
grep -q 'nothing was opened' "$work/stdout" || fail "it does not say so"
expect 0 "$fb" -c "$reader" verify --full --json
[ "$(field opened)" = true ] || fail "with the key it was not opened"
ok "a host that opens nothing backs up, knows its chunks again and verifies"

: >machines/m1/effects
for how in "restore m1 --target $work/none" "restore m1 --in-place --yes"; do
	# shellcheck disable=SC2086 # words
	expect 12 "$fb" -c "$writer" $how
	grep -q E-DECRYPT-WITH "$work/stderr" || fail "another error: $how"
done
[ ! -s machines/m1/effects ] || fail "a machine was stopped for nothing"
expect 0 "$fb" -c "$reader" restore m1 --target "$work/out"
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "the disk differs"
same_tree machines/m1/data "$work/out/m1/data" || fail "the tree differs"
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 \
	-out "$work/other.pem"
sed "s|safe/recovery.pem|other.pem|" "$reader" >other.yaml
expect 12 "$fb" -c other.yaml restore m1 --target "$work/none"
grep -q E-DECRYPT-KEY "$work/stderr" || fail "a wrong key is not named"
[ ! -e "$work/none" ] || fail "something was made"
ok "it is restored with the key, and not without it or with another"

# In the attacker's hands: all that the host has, and the repository.  Each 32
# bytes in it that could be a key are tried on each pack, and each private key
# on each envelope.
candidates() { # <directory>...: hexadecimal keys
	find "$@" -type f -size -2000k -exec cat {} + |
		tr -c '0-9a-f' '\n' | awk 'length($0) == 64'
	find "$@" -type f -size 32c -exec sh -c '
		for f; do od -An -v -tx1 "$f" | tr -d " \n"; echo; done' sh {} +
}
begins() { # <pack> <key>: as a zstd frame?
	head -c 16 "$1" | openssl enc -d -aes-256-ctr -K "$2" -iv 00 \
		2>/dev/null | od -An -tx1 | grep -q '^ 28 b5 2f fd'
}
opens() { # <file with keys>: how many packs
	count=0
	for pack in repo/packs/*/*.pack; do
		while read -r key; do
			! begins "$pack" "$key" || count=$((count + 1))
		done <"$1"
	done
	echo $count
}
candidates state keys "$writer" repo/format repo/runs repo/hints \
	repo/commits repo/keys | sort -u >"$work/keys"
[ -s "$work/keys" ] || fail "nothing to try"
cat state/domain/*.key >>"$work/keys"
[ "$(opens "$work/keys")" -eq 0 ] || fail "something the host has opens a pack"
for envelope in repo/keys/*; do
	for pem in keys/*.pem; do
		if openssl cms -decrypt -inform DER -in "$envelope" \
			-inkey "$pem" >"$work/opened" 2>/dev/null; then
			fail "$pem opens $envelope"
		fi
	done
	# The same try, with the right key, does open.
	openssl cms -decrypt -inform DER -in "$envelope" \
		-inkey "$work/safe/recovery.pem" 2>/dev/null |
		awk 'NF == 2 && length($2) == 64 { print $2 }' >>"$work/right"
done
[ "$(opens "$work/right")" -eq "$(find repo/packs -type f | wc -l)" ] ||
	fail "the right keys do not open"
! grep -rqF "$marker" repo state || fail "a content is in clear"
find repo state -type f -exec sh -c '
	for f; do zstd -dcqf "$f" 2>/dev/null; done' sh {} + >"$work/unpacked"
! grep -qF "$marker" "$work/unpacked" || fail "a content is only compressed"
[ "$(find state -name '*.key' | wc -l)" -eq 1 ] || fail "keys beside the domain's"
ok "with all that the host has, nothing that is stored opens"

# ... nor in the middle of a run: its host is lost when its packs are stored.
if [ "${FB_VARIANT:-debug}" != release ]; then
	head -c 300k /dev/urandom >machines/m1/data/blob
	FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$writer" download
	step=$(awk '/store recipes\// { print $1; exit }' "$work/steps")
	[ -n "$step" ] || fail "no recipe is stored"
	head -c 300k /dev/urandom >machines/m1/data/blob
	before=$(find repo/packs -type f | wc -l)
	got=$(FLEETBAK_CRASH=$step:kill status_of "$fb" -c "$writer" download)
	[ "$got" -eq 137 ] || fail "not killed: exit $got"
	left_alone "$PWD" # its guardian
	[ "$(find repo/packs -type f | wc -l)" -gt "$before" ] ||
		fail "no pack was stored before"
	candidates state keys "$writer" repo/format repo/runs repo/hints \
		repo/commits repo/sessions repo/keys | sort -u >"$work/keys"
	[ "$(opens "$work/keys")" -eq 0 ] ||
		fail "what a run in the middle leaves opens a pack"
	expect 0 "$fb" -c "$writer" download
	expect 0 "$fb" -c "$reader" verify --full
	ok "nor with what a run in the middle has"
fi

# Who can open it is changed without a pack being touched.
find repo/packs -type f -exec sha256sum {} + | sort >"$work/packs"
openssl req -new -x509 -newkey rsa:2048 -nodes -days 10 -subj /CN=second \
	-keyout "$work/second.pem" -out second.crt 2>/dev/null
sed "s|safe/recovery.pem|second.pem|" "$reader" >second.yaml
expect 12 "$fb" -c second.yaml restore m1 --target "$work/none"
expect 12 "$fb" -c "$writer" keys add second.crt
expect 0 "$fb" -c "$reader" keys add second.crt -n
expect 12 "$fb" -c second.yaml restore m1 --target "$work/none"
expect 0 "$fb" -c "$reader" keys add second.crt
expect 0 "$fb" -c second.yaml restore m1 --target "$work/second"
expect 0 "$fb" -c "$reader" restore m1 --target "$work/first"
sed -i 's|recovery.crt"|&, "file:./second.crt"|' "$reader" "$writer" second.yaml
expect 0 "$fb" -c "$reader" keys check
expect 12 "$fb" -c second.yaml keys remove keys/recovery.crt
grep -q 'were left' "$work/stderr" || fail "what is left is not said"
expect 0 "$fb" -c "$reader" restore m1 --target "$work/still"
expect 0 "$fb" -c "$reader" keys remove keys/recovery.crt
expect 12 "$fb" -c "$reader" restore m1 --target "$work/none"
expect 0 "$fb" -c second.yaml verify --full
sed -i 's|"file:./keys/recovery.crt", ||' "$reader" "$writer" second.yaml
echo 'and another' >>machines/m2/data/hello.txt
expect 0 "$fb" -c "$writer" download
expect 0 "$fb" -c second.yaml restore m2 --target "$work/third"
same_tree machines/m2/data "$work/third/m2/data" || fail "the tree differs"
expect 12 "$fb" -c second.yaml keys remove second.crt
grep -q E-ENCRYPT-TO "$work/stderr" || fail "everybody was removed"
expect 0 "$fb" -c second.yaml keys rotate
sha256sum --quiet -c "$work/packs" || fail "a pack was changed"
ok "recipients are added, removed and rotated"

# In place: only what differs is opened and written.
expect 0 "$fb" -c "$writer" download
cp machines/m1/disk.img "$work/m1.img"
printf 'spoiled' | dd of=machines/m1/disk.img bs=1 seek=100000 conv=notrunc \
	status=none
rm machines/m1/data/hello.txt
expect 0 "$fb" -c second.yaml restore m1 --in-place --yes
cmp machines/m1/disk.img "$work/m1.img" || fail "another disk"
[ -e machines/m1/data/hello.txt ] && [ -e machines/m1/up ] ||
	fail "m1 is not what it was"
ok "an encrypted machine is restored in place"

expect 0 "$fb" -c "$writer" keys sheet
grep -q 'restore.sh -k signer.pem -d recovery.pem' "$work/stdout" ||
	fail "no page"
grep -q 'BEGIN PUBLIC KEY' "$work/stdout" || fail "no signer on the page"
! grep -q 'PRIVATE' "$work/stdout" || fail "a secret is on the page"
ok "the page for a stranger"

# Runs are given up and their packs deleted without any key.
oldest=$("$fb" -c "$writer" list runs -o tsv --no-header | cut -f1 | sort | head -1)
echo 'retention: {keep: "last 2", min: 1, grace: 0s, max_remove: "90%"}' >>"$writer"
# Without hints only the tables of packs know whose keys are still needed.
rm -r repo/hints
expect 0 "$fb" -c "$writer" prune -y
"$fb" -c "$writer" list runs -o tsv --no-header | cut -f1 >"$work/runs"
{ cat "$work/runs" && find repo/packs -type f -exec \
	grep -ah '^session ' {} + | cut -d ' ' -f 2; } | sort -u >"$work/needed"
find repo/keys -type f | sed 's|.*/||; s/\..*//' | sort -u >"$work/keys"
diff "$work/needed" "$work/keys" || fail "other keys than those of its packs"
! grep -q "$oldest" "$work/runs" || fail "the oldest run is still there"
expect 0 "$fb" -c second.yaml verify --full
ok "old runs go without a key, with their own, and what the others need stays"

# What is meant to be encrypted is never written in clear.
make_fleet "$work/g" 1
cd "$work/g"
expect 0 "$fb" -c "$conf" init
cp "$work/f/keys/recovery.crt" keys
sed -i 's|sign.pem"}|sign.pem", encrypt_to: ["file:./keys/recovery.crt"]}|' "$conf"
expect 20 "$fb" -c "$conf" download
grep -q E-NOT-ENCRYPTED "$work/stderr" || fail "another error"
[ -z "$(find repo -name '*.pack')" ] || fail "something was written"
ok "a repository in clear is refused where encryption is configured"
