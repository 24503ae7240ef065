#!/bin/sh
# A disk that is a block device: backed up, and restored in place by writing
# only the blocks that differ.
. "$(dirname "$0")/lib.sh"
requires_root
requires losetup jq

mkdir -p "$work/f"
cd "$work/f"
truncate -s 16M image
device=$(losetup -f --show image 2>"$work/stderr") || {
	echo 'skip  no loop devices'
	exit 77
}
trap 'losetup -d "$device" || :; clear_work' EXIT

make_fleet . 0
conf=fleetbak.yaml
mkdir machines/dev
cat >machines/dev/machine.yaml <<END
id: dev
volumes: [{name: root, kind: disk, path: $device}]
END
seq 1 400000 | dd of="$device" bs=1M seek=2 conv=notrunc status=none
sync
want=$(sha256sum <"$device")
expect 0 "$fb" -c $conf init
expect 0 "$fb" -c $conf download

head -c 65536 /dev/zero | tr '\0' x |
	dd of="$device" bs=64K seek=40 conv=notrunc status=none
head -c 65536 /dev/zero | tr '\0' y |
	dd of="$device" bs=64K seek=200 conv=notrunc status=none
sync
expect 0 "$fb" -c $conf restore dev --in-place --yes --json
[ "$(sha256sum <"$device")" = "$want" ] || fail "the device holds something else"
wrote=$(jq '.machines[0].written_bytes' "$work/stdout")
[ "$wrote" -gt 0 ] && [ "$wrote" -lt 2000000 ] ||
	fail "it wrote $wrote bytes for 131072 that differ"
expect 0 "$fb" -c $conf restore dev --in-place --yes --json
[ "$(jq '.machines[0].written_bytes' "$work/stdout")" -eq 0 ] ||
	fail "it wrote what was the same"
ok "a block device, in place"

truncate -s 8M image
losetup -c "$device"
before=$(sha256sum <"$device")
got=$(status_of "$fb" -c $conf restore dev --in-place --yes)
[ "$got" -ne 0 ] || fail "a device that is too small was accepted"
grep -q "$device" "$work/stderr" || fail "it does not say which device"
[ "$(sha256sum <"$device")" = "$before" ] ||
	fail "a device that is too small was written to"
ok "one that is too small is refused before it is touched"
