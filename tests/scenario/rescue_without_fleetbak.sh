#!/bin/sh
# A repository restores itself where there is no fleetbak: only sh, coreutils,
# awk, zstd and openssl in an otherwise empty environment.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_page.sh"
requires zstd openssl tar

make_fleet "$work/f" 2
cd "$work/f"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
first=$("$fb" -c "$conf" list --json | tr -d ' \n' | sed 's/.*"run":"\([^"]*\)".*/\1/')
cp machines/m1/disk.img "$work/day1.img"
echo changed | dd of=machines/m1/disk.img bs=1 seek=500000 conv=notrunc status=none
expect 0 "$fb" -c "$conf" download

# The other place: the repository alone, and a PATH of stock tools.
mkdir "$work/rescue" "$work/rescue/bin"
cp -a repo "$work/rescue/repo"
for tool in sh cat cp cut dd head tail tr sed grep sort uniq wc rm mkdir \
	mktemp mv truncate stat awk sha256sum zstd openssl printf od test dirname \
	basename ls expr seq env find touch; do
	path=$(command -v "$tool") || continue
	case $path in /*) ln -s "$path" "$work/rescue/bin/$tool" ;; esac
done
rescue() {
	(cd "$work/rescue" && env -i PATH="$work/rescue/bin" HOME=/nonexistent \
		sh repo/restore.sh "$@")
}
rescue m1 root new.img >"$work/stdout" 2>"$work/stderr" ||
	fail "restore.sh of a disk"
cmp machines/m1/disk.img "$work/rescue/new.img" || fail "the disk differs"
rescue -r "$first" lab/m1 root old.img >"$work/stdout" 2>"$work/stderr" ||
	fail "restore.sh -r"
cmp "$work/day1.img" "$work/rescue/old.img" || fail "the older disk differs"
[ "$(stat -c %b "$work/rescue/new.img")" -lt \
	$(($(stat -c %s "$work/rescue/new.img") / 512)) ] || fail "holes were filled"
ok "disks, of the newest and of an older run"

rescue m2 data tree.pax >"$work/stdout" 2>"$work/stderr" || fail "a tree"
mkdir "$work/tree"
tar -xf "$work/rescue/tree.pax" -C "$work/tree"
same_tree machines/m2/data "$work/tree" || fail "the tree differs"
rescue m2 definition definition.pax >"$work/stdout" 2>"$work/stderr" ||
	fail "a definition"
tar -tf "$work/rescue/definition.pax" | grep -q machine.yaml || fail "no machine.yaml"
ok "trees and definitions, unpacked by tar"

# As the printed page says, and RESTORE.txt, word for word.
expect 0 "$fb" -c "$conf" keys sheet
cp "$work/stdout" "$work/page"
mkdir "$work/stranger"
cd "$work/stranger"
stranger "$work/page" m1 root disk.img
cmp "$work/f/machines/m1/disk.img" disk.img || fail "the page: another disk"
cd REPO
newest=$(sed -n 's/^run //p' commits/* | sort | tail -n 1)
for command in 'openssl pkeyutl' sha256sum; do
	command_of RESTORE.txt "$command" |
		sed "s|RUN|$newest|g; s|PUBKEY|../signer.pem|" >"$work/command.sh"
	sh -eu "$work/command.sh" >"$work/stdout" 2>"$work/stderr" ||
		fail "RESTORE.txt: $(cat "$work/command.sh")"
done
by_hand RESTORE.txt 1 m1 root ../hand.img
cmp "$work/f/machines/m1/disk.img" ../hand.img || fail "by hand: another disk"
cd "$work/f"
ok "as the page for a stranger says, and by hand as RESTORE.txt says"

if rescue m1 root new.img >"$work/stdout" 2>"$work/stderr"; then
	fail "an existing file was overwritten"
fi
if rescue nosuch root x.img >"$work/stdout" 2>"$work/stderr"; then
	fail "there is no such machine"
fi
find "$work/rescue/repo/packs" -name '*.pack' >"$work/packs"
while read -r pack; do
	damage "$pack" 200
done <"$work/packs"
if rescue m1 root broken.img >"$work/stdout" 2>"$work/stderr"; then
	fail "a damaged pack was restored from"
fi
ok "what it cannot do, it refuses"

# The same of an encrypted repository: with the private key, and nothing of
# the host that wrote it.
make_fleet "$work/e" 1
cd "$work/e"
sed -i 's|sign.pem"}|sign.pem", encrypt_to: ["file:./keys/recovery.crt"], \
    decrypt_with: "file:./keys/recovery.pem"}|' "$conf"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
echo changed | dd of=machines/m1/disk.img bs=1 seek=500000 conv=notrunc status=none
expect 0 "$fb" -c "$conf" download
rm -rf "$work/rescue/repo" "$work/rescue/tree.pax"
cp -a repo "$work/rescue/repo"
cp keys/recovery.pem keys/sign.pub.pem "$work/rescue"
rescue -l >"$work/stdout" 2>"$work/stderr" || fail "restore.sh -l without a key"
grep -q '^lab/m1 root disk' "$work/stdout" || fail "no list"
if rescue m1 root secret.img >"$work/stdout" 2>"$work/stderr"; then
	fail "it was opened without a key"
fi
grep -q 'encrypted' "$work/stderr" || fail "it does not say why"
rescue -d recovery.pem -k sign.pub.pem m1 root secret.img >"$work/stdout" \
	2>"$work/stderr" || fail "restore.sh of an encrypted disk"
cmp machines/m1/disk.img "$work/rescue/secret.img" || fail "the disk differs"
rescue -d recovery.pem m1 data tree.pax >"$work/stdout" 2>"$work/stderr" ||
	fail "an encrypted tree"
mkdir "$work/tree2"
tar -xf "$work/rescue/tree.pax" -C "$work/tree2"
same_tree machines/m1/data "$work/tree2" || fail "the tree differs"
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 \
	-out "$work/rescue/other.pem"
if rescue -d other.pem m1 root other.img >"$work/stdout" 2>"$work/stderr"; then
	fail "another key opened it"
fi
ok "an encrypted repository, with the private key alone"
