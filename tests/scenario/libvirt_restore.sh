#!/bin/sh
# A guest is restored in place: off, its disks are again what they were, whatever
# was written since, and it is defined as it was.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for a guest
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

# Its own name says as well which guest is meant.
expect 0 "$fb" -c "$conf" list machines
grep -q "lab/$uuid (one)" "$work/stdout" || fail "the list has no name"
expect 0 "$fb" -c "$conf" list one
expect 0 "$fb" -c "$conf" download -n one
grep -q "^lab/$uuid (one)  down" "$work/stdout" || fail "the plan has no name"
expect 2 "$fb" -c "$conf" restore ones --in-place --yes
grep -q "did you mean 'one'" "$work/stderr" || fail "no near name"
poke_off 0x44 3M 100k
expect 0 "$fb" -c "$conf" restore lab/one --in-place --yes
raw_sums | cmp -s - "$work/was" || fail "lab/one is not as it was"
cp "$conf" "$work/conf"
sed -i "s|^  lab: .*|&\n  twin: {driver: libvirt, uri: \"$libvirt_uri\", scratch: $work/t, machines: [one]}|" "$conf"
expect 0 "$fb" -c "$conf" download
for command in "restore one --in-place --yes" "list one" "download -n one"; do
	# shellcheck disable=SC2086 # words
	expect 2 "$fb" -c "$conf" $command
	grep -q AMBIGUOUS "$work/stderr" || fail "$command: $(cat "$work/stderr")"
done
expect 0 "$fb" -c "$conf" restore twin/one --in-place -n
cp "$work/conf" "$conf"
ok "a guest is restored by its name, if it alone has that"

# Renamed, it is the same guest: it keeps the name, and has the rest again.
vir desc one --config 'written since' >/dev/null
vir domrename one two >/dev/null
cp "$guests/one.sources" "$guests/two.sources"
poke_off 0x55 3M 100k
expect 0 "$fb" -c "$conf" restore lab/one --in-place -n
grep -q "definition of 'two', which was called 'one' then" "$work/stdout" ||
	fail "the plan does not tell the names"
expect 0 "$fb" -c "$conf" restore lab/one --in-place --yes
raw_sums | cmp -s - "$work/was" || fail "the disks of two are not as they were"
[ "$(guest_uuid two)" = "$uuid" ] || fail "two is another one"
vir desc two --config | grep -q 'written since' && fail "two is not defined anew"
nothing_left two
ok "a guest that was renamed is restored under its new name"

# The firmware's variables, however the XML names their file; lost, they are
# made again, and nobody else's are overwritten.
with_nvram() { # <guest> [XML of nvram]: none is none
	vir dumpxml --inactive "$1" | sed "/<nvram.*nvram>/d;/<nvram/,/nvram>/d
		/<loader/d;${2:+s|</os>|$nvram_loader$2</os>|}" >"$work/nvram.xml"
	vir define "$work/nvram.xml" >/dev/null
}
nvram_loader="<loader readonly='yes' type='pflash'>$guests/kept/code</loader>"
mkdir "$guests/kept"
truncate -s 256K "$guests/kept/code" "$guests/kept/vars"
for nvram in "<nvram>$guests/kept/vars</nvram>" \
	"<nvram type='file'><source file='$guests/kept/vars'/></nvram>"; do
	echo "the backup's" | dd of="$guests/kept/vars" conv=notrunc status=none
	with_nvram two "$nvram"
	expect 0 "$fb" -c "$conf" download
	sha256sum "$guests/kept/vars" >"$work/vars"
	echo "written since" | dd of="$guests/kept/vars" conv=notrunc status=none
	expect 0 "$fb" -c "$conf" restore two --in-place --yes
	sha256sum --quiet -c "$work/vars" || fail "$nvram: not as it was"
	rm "$guests/kept/vars"
	expect 0 "$fb" -c "$conf" restore two --in-place --yes
	sha256sum --quiet -c "$work/vars" || fail "$nvram: not made again"
done
mv "$guests/kept/vars" "$guests/kept/moved"
with_nvram two "<nvram>$guests/kept/moved</nvram>"
echo "another's" >"$guests/kept/vars"
echo "written since" | dd of="$guests/kept/moved" conv=notrunc status=none
expect 0 "$fb" -c "$conf" restore two --in-place --yes
sed "s/vars$/moved/" "$work/vars" | sha256sum --quiet -c ||
	fail "variables that were moved are not as they were"
[ "$(cat "$guests/kept/vars")" = "another's" ] || fail "another's were overwritten"
with_nvram two
expect 1 "$fb" -c "$conf" restore two --in-place --yes
grep -q "kept/vars' is there already" "$work/stderr" ||
	fail "another's variables: $(cat "$work/stderr")"
ok "the firmware's variables are as they were, wherever they are"
with_nvram two "<nvram>$guests/kept/moved</nvram>"

# As another one: beside the first, and with nothing of it.
vir dumpxml --inactive two | sed "s|</devices>|<interface type='user'>\
<mac address='52:54:00:01:02:03'/></interface></devices>|" >"$work/nic.xml"
vir define "$work/nic.xml" >/dev/null
expect 0 "$fb" -c "$conf" download
poke_off 0x66 3M 100k
sha256sum "$guests"/one-[ab].qcow2 "$guests/kept/moved" >"$work/originals"
vir dumpxml --inactive two >"$work/two.xml"
untouched() {
	sha256sum --quiet -c "$work/originals" &&
		vir dumpxml --inactive two | cmp -s - "$work/two.xml" ||
		fail "two is not as it was"
}
: >"$guests/four-vdb.qcow2"
expect 20 "$fb" -c "$conf" restore two --as two --yes
expect 1 "$fb" -c "$conf" restore two --as four --yes
grep -q "four-vdb.qcow2' exists already" "$work/stderr" ||
	fail "a file that is there: $(cat "$work/stderr")"
[ ! -s "$guests/four-vdb.qcow2" ] && [ ! -e "$guests/four-vda.qcow2" ] ||
	fail "what was refused was begun"
rm "$guests/four-vdb.qcow2"
if [ "${FB_VARIANT:-debug}" = release ]; then
	expect 0 "$fb" -c "$conf" restore two --as four --start --yes
else
	# Cut off when its images are whole, before it is defined.
	expect 137 env FLEETBAK_CRASH=driver.5:kill \
		"$fb" -c "$conf" restore two --as four --start --yes
	left_alone "$work/f"
	vir domuuid four >/dev/null 2>&1 && fail "four is defined too early"
	expect 0 "$fb" -c "$conf" restore --resume "$(ls state/restores)" --yes
fi
guest_is four running || fail "four is $(guest_state four)"
vir destroy four >/dev/null
for disk in a b; do
	raw_image "$guests/four-vd$disk.qcow2"
	sha256sum <"$raw_image"
	[ "$(du -k "$guests/four-vd$disk.qcow2" | cut -f 1)" -lt 32768 ] ||
		fail "vd$disk of four is not sparse"
	rm "$raw_image" "$guests/four-vd$disk.qcow2"
done | cmp -s - "$work/was" || fail "the disks of four are not the backup's"
[ "$(guest_uuid four)" != "$uuid" ] || fail "four has the UUID of two"
vir dumpxml --inactive four | grep 'mac address' >"$work/mac"
grep -q '52:54:00:01:02:03' "$work/mac" && fail "four has the address of two"
cmp -s "$guests/kept/four_VARS.fd" "$guests/kept/moved" ||
	fail "four has no variables of its own"
[ -z "$(find "$work/s" -type f)" ] || fail "left in scratch: $(find "$work/s")"
vir undefine four --nvram >/dev/null
untouched
nothing_left two
ok "a guest is restored as another one beside itself, and runs"

# A hypervisor that died, with its images: the same backup on another one.
guest_boots=yes guest_channel=yes
mkdir "$guests/kept/pool"
make_pool() {
	expect 0 vir pool-create-as 'the pool' dir --target "$guests/kept/pool"
}
make_pool
expect 0 vir vol-create-as 'the pool' 'a $volume' 8M --format raw --allocation 0
volume="$guests/kept/pool/a \$volume"
printf here | dd of="$volume" bs=1 seek=5000000 conv=notrunc status=none
sha256sum "$volume" >"$work/volume"
guest_devices="<disk type='volume' device='disk'>
	<driver name='qemu' type='raw'/><source pool='the pool' volume='a \$volume'/>
	<target dev='vdc' bus='virtio'/></disk>"
dead='web $HOME one'
make_guest "$dead"
uuid=$(guest_uuid "$dead")
expect 0 "$fb" -c "$conf" download "$dead"
stop_libvirtd
rm "$guests/$dead"-[ab].qcow2 "$volume"
start_libvirtd second
sed -i "s|uri: \"[^\"]*\"|uri: \"$libvirt_uri\"|" "$conf"
expect 1 "$fb" -c "$conf" restore "$dead" --in-place --yes
grep -q "cannot find the pool 'the pool'" "$work/stderr" ||
	fail "a pool that is not there: $(cat "$work/stderr")"
make_pool
expect 0 "$fb" -c "$conf" restore "$dead" --in-place --start --yes
[ "$(guest_uuid "$dead")" = "$uuid" ] || fail "the guest is another one"
sha256sum --quiet -c "$work/volume" || fail "the volume is not as it was"
[ "$(du -k "$volume" | cut -f 1)" -lt 1024 ] || fail "the volume is not sparse"
await_agent "$dead"
in_guest "$dead" 'cd /mnt/vda && sha256sum -c SHA256SUMS &&
	cd /mnt/vdb && sha256sum -c SHA256SUMS' >/dev/null || fail "files are not whole"
nothing_left "$dead"
ok "a guest of a hypervisor that died runs on another one, with all it had"
