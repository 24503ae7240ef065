#!/bin/sh
# A disk whose metadata say that it did not change is not read again: its
# content is taken over from the machine's last run, if that can be trusted
# and is whole.  Whatever changed is read, also when its size and times say
# that it did not.
. "$(dirname "$0")/lib.sh"
requires_faults
requires jq openssl strace

make_fleet "$work/f" 1
cd "$work/f"
sed -i '/kind: tree/d' machines/m1/machine.yaml
rm -r machines/m1/data
disk=machines/m1/disk.img

# The file system's clock goes on by itself; ours is told to be later, so that
# what was written just now counts as old.
now=$(date +%s)
later() {
	now=$((now + 60))
	export FLEETBAK_CLOCK=$now
}
later

run_it() { # <option>...: what the disk cost is in $read, $new
	expect 0 "$fb" -c "$conf" download --json "$@"
	run=$(jq -r .run "$work/stdout")
	manifest=repo/runs/$run/manifest.json
	read=$(jq '[.machines[].volumes[] | select(.kind == "disk").read_bytes] |
		add' "$manifest")
	new=$(jq '[.machines[].volumes[] | select(.kind == "disk").new_bytes] |
		add' "$manifest")
	token=$(jq -r '.machines[].volumes[] | select(.kind == "disk") |
		.change_token' "$manifest")
	root=$(jq -r '.machines[].volumes[] | select(.kind == "disk").root.digest' \
		"$manifest")
}
whole() { # <what>
	rm -rf out
	expect 0 "$fb" -c "$conf" restore m1 --target out
	cmp "$disk" out/m1/root.img || fail "$1: another disk is restored"
}
is_read() { # <what>
	[ "$read" -gt 0 ] || fail "$1: it was not read"
	whole "$1"
	ok "$1: read"
}
is_not_read() { # <what>
	[ "$read" -eq 0 ] || fail "$1: $read bytes were read"
	[ "$new" -eq 0 ] || fail "$1: $new bytes are new"
	whole "$1"
	ok "$1: not read"
}

expect 0 "$fb" -c "$conf" init
run_it
is_read "the first time"
first_root=$root
later
run_it
is_not_read "unchanged"
[ "$root" = "$first_root" ] || fail "another root"
later
expect 0 traced trace read,pread64,readv,preadv,mmap \
	"$fb" -c "$conf" download --json
! grep -q 'disk\.img' trace || fail "bytes were read: $(grep disk.img trace)"
ok "no byte of it is read"
expect 0 "$fb" -c "$conf" verify --full
ok "verify --full of what was taken over"

later
expect 0 "$fb" -c "$conf" download -n
grep -q 'root: unchanged so far: not read' "$work/stdout" ||
	fail "the plan does not say so: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" download -n --json
jq -e '.data.machines[0].not_read == ["root"] and .data.read_bytes < 100000' \
	"$work/stdout" >/dev/null || fail "the plan as JSON: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" download -n --full
! grep -q 'not read' "$work/stdout" || fail "the plan with --full"
expect 0 "$fb" -c "$conf" show "$run"
ok "the plan says what will not be read"

run_it --full
is_read "--full"
[ "$new" -eq 0 ] || fail "--full stored $new bytes"
later
run_it
is_not_read "after --full"

touch "$disk"
later
run_it
is_read "touched"
[ "$new" -eq 0 ] || fail "a touched disk stored $new bytes"
later
run_it
is_not_read "after it was touched"

cp -p "$disk" before
echo "other bytes, equally many" |
	dd of="$disk" bs=1 seek=2000000 conv=notrunc status=none
touch -r before "$disk"
[ "$(stat -c '%s %Y %i' before | cut -d' ' -f1,2)" = \
	"$(stat -c '%s %Y' "$disk")" ] || fail "size or time differ"
later
run_it
is_read "changed behind its old size and time"
[ "$new" -gt 0 ] || fail "nothing is new"
later
run_it
is_not_read "and then unchanged"

# Written within the grain of the clock: it may be written again unseen.
echo "first" | dd of="$disk" bs=1 seek=2000000 conv=notrunc status=none
FLEETBAK_CLOCK=$(date +%s)
run_it
[ "$token" = null ] || fail "a token that may be stale: $token"
later
run_it
is_read "written just before it was looked at"
later
run_it
is_not_read "when it is old enough"

# What the last run stored is damaged: all is read, and stored again.
pack=$(jq -r '.machines[].volumes[] | select(.kind == "disk").recipe' \
	"$manifest")
pack=$(sed -n '/^packs /{n;s/ .*//p;q}' "repo/recipes/$(echo "$pack" |
	cut -c1-2)/$pack")
mv "repo/packs/$(echo "$pack" | cut -c1-2)/$pack.pack" "$work/away"
later
run_it
is_read "without the pack of the last run"
[ "$new" -gt 0 ] || fail "it relies on the missing pack"
later
run_it
is_not_read "and after that"

recipe=$(jq -r '.machines[].volumes[] | select(.kind == "disk").recipe' \
	"$manifest")
recipe=repo/recipes/$(echo "$recipe" | cut -c1-2)/$recipe
chmod u+w "$recipe"
cp "$recipe" "$work/recipe"
sed -i 's/^runs .*/runs 0/' "$recipe"
later
expect 0 "$fb" -c "$conf" download --json
grep -q 'cannot be used' "$work/stderr" || fail "nobody is warned"
run_it
is_not_read "the run after that with the damaged recipe"
cat "$work/recipe" >"$recipe"
mv "$work/away" "repo/packs/$(echo "$pack" | cut -c1-2)/$pack.pack"

# Somebody else's run is not believed.
openssl genpkey -algorithm ed25519 -out keys/other.pem
openssl pkey -in keys/other.pem -pubout -out keys/other.pub.pem
chmod 600 keys/other.pem
sed 's|sign_with: "file:./keys/sign.pem"|sign_with: "file:./keys/other.pem"|
	s|sign.pub.pem"\]|sign.pub.pem", "file:./keys/other.pub.pem"]|
	s|./state|./state2|' "$conf" >other.yaml
echo "seen by the other" |
	dd of="$disk" bs=1 seek=2000000 conv=notrunc status=none
later
expect 0 "$fb" -c other.yaml download --json
later
run_it
is_read "only in a run of a signer that is not trusted"
later
run_it
is_not_read "in a run of our own"

# With the flat digest, too.
later
sed -i 's/jobs: 2/digest: flat, jobs: 2/' "$conf"
run_it
is_read "the first time with the flat digest"
flat=$(jq -r '.machines[].volumes[] | select(.kind == "disk").flat.digest' \
	"$manifest")
[ "$flat" = "$(sha256sum <"$disk" | cut -c1-64)" ] || fail "flat: $flat"
later
run_it
is_not_read "with the flat digest"
[ "$flat" = "$(jq -r '.machines[].volumes[] |
	select(.kind == "disk").flat.digest' "$manifest")" ] || fail "another one"
expect 0 "$fb" -c other.yaml verify --full
ok "verify --full of all of it"
