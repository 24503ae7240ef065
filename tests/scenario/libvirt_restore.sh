#!/bin/sh
# A guest is restored in place: off, its disks are again what they were, whatever
# was written since, and it is defined as it was.
#
# shellcheck disable=SC2034,SC2154 # the lab's variables
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_libvirtd
guest_boots=no guest_channel=no
make_guest one
uuid=$(guest_uuid one)
libvirt_fleet "$work/f" "scratch: $work/s"
cd "$work/f"
expect 0 "$fb" -c "$conf" init
poke_off() { # <byte> <offset> <length>
	qemu-io -f qcow2 -c "write -P $1 $2 $3" "$guests/one-a.qcow2" >/dev/null
}
raw_sums() {
	for sums_disk in a b; do
		raw_image "$guests/one-$sums_disk.qcow2"
		sha256sum <"$raw_image"
		rm "$raw_image"
	done
}
poke_off 0x11 3M 100k
raw_sums >"$work/was"
expect 0 "$fb" -c "$conf" download
poke_off 0x22 3M 50k
poke_off 0x33 40M 1M
! raw_sums | cmp -s - "$work/was" || fail "nothing was written"

expect 0 "$fb" -c "$conf" restore "$uuid" --in-place --yes
raw_sums | cmp -s - "$work/was" || fail "the disks are not as they were"
guest_is one 'shut off' || fail "one is $(guest_state one)"
nothing_left one
ok "disks that were written to are as they were"

for disk in a b; do
	rm "$guests/one-$disk.qcow2"
	qemu-img create -q -f qcow2 "$guests/one-$disk.qcow2" 64M
done
expect 0 "$fb" -c "$conf" restore "$uuid" --in-place --yes
raw_sums | cmp -s - "$work/was" || fail "empty disks are not as they were"
nothing_left one
ok "so are disks that were lost and made anew, empty"
