#!/bin/sh
# Guests with a system in them are backed up: one whose agent would come up while
# it is read, one that runs while it is read, one that is off.  What comes back
# is clean, of one moment, and whole; the guests are as they were.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for a guest
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_libvirtd
make_guest agent fb.writer=16
guest_channel=no
odd='web $HOME two'
# It has a raw disk too, which libvirt keeps no account of; the other one's are on
# another image, which is nobody's to change, and in a pool.
{
	seq 1 40000
	head -c 1000000 /dev/zero
	seq 1 9000
} >"$guests/kept-raw"
truncate -s 2M "$guests/kept-raw"
guest_devices=$(guest_disk "$guests/kept-raw" vdc raw)
make_guest "$odd" fb.writer=16
cp "$guest/disk.qcow2" "$guests/kept-base.qcow2"
sum=$(sha256sum <"$guests/kept-base.qcow2")
qemu-img create -q -f qcow2 -b "$guests/kept-base.qcow2" -F qcow2 \
	"$guests/off-b.qcow2"
qemu-io -f qcow2 -c 'write -P 0x55 3M 100k' -c 'write -z 5M 64k' \
	"$guests/off-b.qcow2" >/dev/null
mkdir "$guests/kept-pool"
expect 0 vir pool-create-as 'the pool' dir --target "$guests/kept-pool"
expect 0 vir vol-create-as 'the pool' 'a $volume' 8M --format qcow2
qemu-io -f qcow2 -c 'write -P 0x66 1M 1M' "$guests/kept-pool/a \$volume" >/dev/null
guest_devices="<disk type='volume' device='disk'>
	<driver name='qemu' type='qcow2'/><source pool='the pool' volume='a \$volume'/>
	<target dev='vdc' bus='virtio'/></disk>"
make_guest off
guest_devices=
libvirt_fleet "$work/f" "scratch: $work/s"
cd "$work/f"
expect 0 "$fb" -c "$conf" init
expect 0 vir start "$odd"
boot_guest agent
await_boot "$odd"
for disk in vda vdb; do
	write_in_guest agent /mnt/$disk/before "before, on $disk"
done

expect 0 "$fb" -c "$conf" download --json
cp "$work/stdout" "$work/first"
[ "$(jq -r '[.machines[].result] | join(",")' "$work/stdout")" = ok,ok,ok ] ||
	fail "a result is not ok: $(cat "$work/stdout")"
for name in agent "$odd"; do
	guest_is "$name" running || fail "$name is $(guest_state "$name")"
done
guest_is off 'shut off' || fail "off is $(guest_state off)"
await_agent agent
for disk in vda vdb; do
	write_in_guest agent /mnt/$disk/after "after, on $disk"
done
nothing_left agent "$odd" off
[ -z "$(find "$work/s" -type s -o -type f 2>/dev/null)" ] ||
	fail "left in scratch: $(find "$work/s")"
for name in agent "$odd" off; do
	! guest_checkpoints "$name" | grep -qv "^fb-" ||
		fail "checkpoints: $(guest_checkpoints "$name")"
done
ok "three guests are backed up, and are as they were"

expect 0 "$fb" -c "$conf" restore "$(guest_uuid agent)" "$(guest_uuid "$odd")" \
	"$(guest_uuid off)" --target "$work/out"
restored() { # <name> <target>: its image
	echo "$work/out/$(guest_uuid "$1")/$2.img"
}
for name in agent "$odd"; do
	for disk in vda vdb; do
		image_clean "$(restored "$name" $disk)"
		image_has "$(restored "$name" $disk)" random.bin ||
			fail "$name, $disk: a file is missing"
	done
	image=$(restored "$name" vda)
	# It ran once, and it was stopped once: the guest that wrote on while it
	# was read has booted twice.
	[ "$(image_cat "$image" boot.log | wc -l)" -eq 1 ] &&
		[ "$(image_cat "$image" stop.log | wc -l)" -eq 1 ] ||
		fail "$name: not the moment between its stop and its start"
done
for disk in vda vdb; do
	image=$(restored agent $disk)
	[ "$(image_cat "$image" before)" = "before, on $disk" ] ||
		fail "$disk: what was written before is not there"
	! image_has "$image" after ||
		fail "$disk: what was written after is there"
done
ok "what comes back is clean, and of the moment they were stopped at"

cmp "$guests/kept-raw" "$(restored "$odd" vdc)" || fail "the raw disk differs"
cp "$guests/kept-pool/a \$volume" "$guests/off-c.qcow2"
for disk in a b c; do
	raw_image "$guests/off-$disk.qcow2"
	cmp "$raw_image" "$(restored off vd$disk)" || fail "off: disk $disk differs"
	rm "$raw_image"
done
[ "$(sha256sum <"$guests/kept-base.qcow2")" = "$sum" ] ||
	fail "the image below a disk was changed"
rm "$guests/off-c.qcow2"
ok "a guest that is off is read as it is, as are a raw disk and what others lie on"

# Stopped once more: what it wrote since is read, and not the rest.
read_of() { # <run>: of the odd guest's disk vda
	jq --arg name "$odd" '.machines[] | select(.name == $name).volumes[] |
		select(.name == "vda").read_bytes' "repo/runs/$1/manifest.json"
}
first=$(jq -r .run "$work/first")
expect 0 "$fb" -c "$conf" download --json -s "$(guest_uuid "$odd")"
! grep -q 'read as a whole' "$work/stderr" || fail "warned: $(cat "$work/stderr")"
second=$(jq -r .run "$work/stdout")
nothing_left "$odd"
[ "$(read_of "$second")" -lt "$(($(read_of "$first") * 3 / 4))" ] ||
	fail "read: $(read_of "$first"), then $(read_of "$second")"
rm -rf "$work/again"
expect 0 "$fb" -c "$conf" restore "$(guest_uuid "$odd")" --target "$work/again"
image=$work/again/$(guest_uuid "$odd")/vda.img
image_clean "$image"
[ "$(image_cat "$image" stop.log | wc -l)" -eq 2 ] ||
	fail "not the moment of its second stop"
ok "the second time what changed is read: $(read_of "$second") bytes"

# Made anew from what was restored alone, it boots and is whole.
uuid=$(guest_uuid agent)
vir destroy agent >/dev/null
for disk in a b; do
	rm "$guests/agent-$disk.qcow2"
	expect 0 qemu-img convert -f raw -O qcow2 "$(restored agent vd$disk)" \
		"$guests/agent-$disk.qcow2"
done
expect 0 vir undefine agent --checkpoints-metadata
expect 0 vir define "$(find "$work/out" -path "*/definition/domain.xml" \
	-exec grep -l "$uuid" {} +)"
boot_guest agent
for disk in vda vdb; do
	in_guest agent "cd /mnt/$disk && sha256sum -cs SHA256SUMS && cat before" \
		>"$work/said" || fail "$disk: the guest's files are not whole"
	[ "$(cat "$work/said")" = "before, on $disk" ] ||
		fail "$disk: $(cat "$work/said")"
done
ok "a guest that was lost boots from its backup, and its files are whole"
