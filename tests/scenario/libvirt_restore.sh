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
tpms=$libvirt_dir/lib/swtpm
libvirt_fleet "$work/f" "scratch: $work/s, tpm: $tpms"
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

# What a restore writes over is backed up first, when asked: the way back.
poke_off 0x77 5M 70k
raw_sums >"$work/before"
expect 2 "$fb" -c "$conf" restore "$uuid" --as other --backup-first --yes
expect 0 "$fb" -c "$conf" restore "$uuid" --in-place --backup-first --yes
raw_sums | cmp -s - "$work/was" || fail "the disks are not the backup's"
undo=$(sed -n 's/^undo: fleetbak //p' "$work/stderr")
[ -n "$undo" ] || fail "no way back is told: $(cat "$work/stderr")"
first=$("$fb" -c "$conf" list runs -o json | jq -r '.data[-1].run')
# shellcheck disable=SC2086 # words
expect 0 "$fb" -c "$conf" $undo --yes
raw_sums | cmp -s - "$work/before" || fail "the disks are not as before the restore"
expect 0 "$fb" -c "$conf" restore "$uuid@$first" --in-place --yes
raw_sums | cmp -s - "$work/was" || fail "the disks are not the first run's"
expect 0 "$fb" -c "$conf" download
ok "a restore in place is undone from what was backed up before it"

for disk in a b; do
	rm "$guests/one-$disk.qcow2"
	qemu-img create -q -f qcow2 "$guests/one-$disk.qcow2" 64M
done
expect 0 "$fb" -c "$conf" restore "$uuid" --in-place --yes
raw_sums | cmp -s - "$work/was" || fail "empty disks are not as they were"
nothing_left one
ok "so are disks that were lost and made anew, empty"

# A raw disk of another system, into the guest's and back out of it.
mkdir -p "$work/raw/r1"
seq 1 300000 >"$work/raw/r1/disk.img"
truncate -s 40M "$work/raw/r1/disk.img"
printf 'id: r1\nvolumes:\n  - {name: root, kind: disk, path: disk.img}\n' \
	>"$work/raw/r1/machine.yaml"
cp "$conf" "$work/alone.yaml"
printf '  raw: {driver: local, root: "%s"}\n' "$work/raw" |
	sed -i '/^sources:/r /dev/stdin' "$conf"
expect 0 "$fb" -c "$conf" download r1
raw_image "$guests/one-b.qcow2"
cp "$raw_image" "$work/b.raw"
rm "$raw_image"
set -- r1 --in-place --map source:raw=lab --map machine:r1=one
expect 2 "$fb" -c "$conf" restore "$@" --yes
grep -q 'vda (disk), vdb (disk)' "$work/stderr" || fail "its disks are not told"
expect 0 "$fb" -c "$conf" restore "$@" --map volume:root=vda -n
expect 0 "$fb" -c "$conf" restore "$@" --map volume:root=vda --yes
raw_image "$guests/one-a.qcow2"
cmp -n 41943040 "$raw_image" "$work/raw/r1/disk.img" || fail "another disk"
[ -z "$(tail -c +41943041 "$raw_image" | tr -d '\0' | head -c 1)" ] ||
	fail "what was behind it is still there"
rm "$raw_image"
raw_image "$guests/one-b.qcow2"
cmp "$raw_image" "$work/b.raw" || fail "the other disk was touched"
rm "$raw_image"
expect 17 "$fb" -c "$conf" restore one --in-place --map source:lab=raw \
	--map machine:one=r1 --map volume:vdb=root --volume vdb --yes
truncate -s 64M "$work/raw/r1/disk.img"
expect 0 "$fb" -c "$conf" restore one --in-place --map source:lab=raw \
	--map machine:one=r1 --map volume:vdb=root --volume vdb --yes
cmp "$work/b.raw" "$work/raw/r1/disk.img" || fail "it did not come out"
expect 0 "$fb" -c "$conf" restore "$uuid" --in-place --yes
raw_sums | cmp -s - "$work/was" || fail "the disks are not as they were"
cp "$work/alone.yaml" "$conf"
expect 0 "$fb" -c "$conf" download
ok "a raw disk of another system goes into a guest's disk, and one comes out"

# Its own name says as well which guest is meant.
expect 0 "$fb" -c "$conf" list machines
grep -q "lab/$uuid (one)" "$work/stdout" || fail "the list has no name"
expect 0 "$fb" -c "$conf" list one
expect 0 "$fb" -c "$conf" download -n one
grep -q "^lab/$uuid (one)  down" "$work/stdout" || fail "the plan has no name"
expect 2 "$fb" -c "$conf" restore ones --in-place --yes
grep -q "did you mean 'one'" "$work/stderr" || fail "no near name"
# A run is shown and given up by it, too.
run=$("$fb" -c "$conf" list runs -o json | jq -r '.data[0].run')
expect 0 "$fb" -c "$conf" show "one@$run"
grep -q "$uuid" "$work/stdout" || fail "show: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" forget "lab/one@$run" --yes
expect 0 "$fb" -c "$conf" forget --undo "$run"
expect 1 "$fb" -c "$conf" forget "ones@$run" --yes
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

# What else goes with it: the state of its TPM, the records of its snapshots,
# what it boots and the networks that it is in.
edit_guest() { # <guest> <words for sed>
	vir dumpxml --inactive "$1" | sed "$2" >"$work/edit.xml"
	vir define "$work/edit.xml" >/dev/null
}
net() { # <name>
	cat >"$work/net.xml" <<-END
		<network><name>$1</name><bridge name='fb${#1}'/><dns enable='no'/></network>
	END
	expect 0 vir net-define "$work/net.xml"
	expect 0 vir net-start "$1"
}
mkdir "$guests/kept"
net 'a net'
boot_file "$guests/kept/kernel"
cp "$guests/kept/kernel" "$work/kernel"
echo "a disk in memory" >"$guests/kept/initrd"
tpm_device="<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
nic="<interface type='network'><source network='a net'/></interface>"
boots="<kernel>$guests/kept/kernel</kernel><initrd>$guests/kept/initrd</initrd>"
edit_guest two "s|</devices>|$tpm_device$nic</devices>|;s|</os>|$boots</os>|"
expect 0 vir start two --paused
vir destroy two >/dev/null
tpm=$tpms/$uuid/tpm2
[ -s "$tpm/tpm2-00.permall" ] || fail "the TPM has no state"
(cd "$tpm" && sha256sum ./*) >"$work/tpm"
expect 0 vir snapshot-create-as two first
expect 0 vir snapshot-create-as two 'the $second'
forget_snapshots() {
	vir snapshot-delete two first --metadata >/dev/null
	vir snapshot-delete two 'the $second' --metadata >/dev/null
}
expect 0 "$fb" -c "$conf" download -n two
grep -q 'of its 2 snapshots the records are kept' "$work/stdout" ||
	fail "the plan does not tell of snapshots: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" download two
was_defined() {
	(cd "$tpm" && sha256sum ./*) | cmp -s - "$work/tpm" &&
		[ "$(vir snapshot-list two --name | sed '/^$/d' | sort | tr '\n' ,)" = \
			"${1-first,the \$second,}" ]
}
echo "written since" >>"$tpm/tpm2-00.permall"
echo "written since" >"$tpm/tpm2-00.volatilestate"
forget_snapshots
rm "$guests/kept/kernel"
echo "another one" >"$guests/kept/initrd"
expect 0 "$fb" -c "$conf" restore two --in-place -n
for said in "TPM's state into '$tpm'" '2 snapshots are known again' \
	"its kernel into '$guests/kept/kernel'" \
	"its initrd into '$guests/kept/initrd-[0-9a-f]*', as '$guests/kept/initrd' is"; do
	grep -q "$said" "$work/stdout" || fail "the plan lacks '$said': $(cat "$work/stdout")"
done
expect 0 "$fb" -c "$conf" restore two --in-place --yes
was_defined || fail "the TPM or snapshots: $(ls -l "$tpm"; vir snapshot-list two)"
[ "$(vir snapshot-current two --name)" = 'the $second' ] || fail "another is current"
cmp -s "$guests/kept/kernel" "$work/kernel" || fail "the kernel is not put back"
[ "$(cat "$guests/kept/initrd")" = "another one" ] || fail "another's was written over"
[ "$(cat "$(vir dumpxml --inactive two | sed -n 's|.*<initrd>\(.*\)</initrd>.*|\1|p')")" = \
	"a disk in memory" ] || fail "it boots another initrd"
expect 0 vir snapshot-revert two first
ok "a guest has its TPM's state again, its snapshots' records, and what it boots"

# What a record tells of may be gone, and so may a network.
forget_snapshots
qemu-img snapshot -d first "$guests/one-b.qcow2"
rm -r "${tpm:?}"
edit_guest two "/<interface/,/interface>/d"
vir net-destroy 'a net' >/dev/null
vir net-undefine 'a net' >/dev/null
expect 1 "$fb" -c "$conf" restore two --in-place --yes
grep -q "libvirt has no network 'a net'" "$work/stderr" ||
	fail "a network that is not there: $(cat "$work/stderr")"
net 'a net'
expect 0 "$fb" -c "$conf" restore two --in-place -n
grep -q 'without 2 of its 2 snapshots, of which' "$work/stdout" ||
	fail "the plan does not tell of snapshots: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" restore two --in-place --yes
was_defined '' || fail "the TPM or snapshots: $(ls -l "$tpm"; vir snapshot-list two)"
qemu-img snapshot -d 'the $second' "$guests/one-a.qcow2"
qemu-img snapshot -d 'the $second' "$guests/one-b.qcow2"
qemu-img snapshot -d first "$guests/one-a.qcow2"
edit_guest two "/<interface/,/interface>/d;/<tpm/,/tpm>/d;/<kernel/d;/<initrd/d"
rm "$guests"/kept/kernel "$guests"/kept/initrd*
nothing_left two
ok "what is not there any more is said before anything is touched"

# The firmware's variables, however the XML names their file; lost, they are
# made again, and nobody else's are overwritten.
with_nvram() { # <guest> [XML of nvram]: none is none
	vir dumpxml --inactive "$1" | sed "/<nvram.*nvram>/d;/<nvram/,/nvram>/d
		/<loader/d;${2:+s|</os>|$nvram_loader$2</os>|}" >"$work/nvram.xml"
	vir define "$work/nvram.xml" >/dev/null
}
nvram_loader="<loader readonly='yes' type='pflash'>$guests/kept/code</loader>"
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
[ -z "$(find "$work/s" -type f ! -name unclean)" ] || fail "left in scratch: $(find "$work/s")"
vir undefine four --nvram >/dev/null
untouched
nothing_left two
ok "a guest is restored as another one beside itself, and runs"

# Elsewhere: into other pools, networks and formats, into a volume that is
# there, with the addresses that it had.
mkdir "$guests/kept/fast"
expect 0 vir pool-create-as 'fast $pool' dir --target "$guests/kept/fast"
net 'other net'
expect 0 vir vol-create-as 'fast $pool' old 64M --format raw
edit_guest two "s|</devices>|$nic</devices>|"
expect 0 "$fb" -c "$conf" download two
raw_sums >"$work/was"
sha256sum "$guests"/one-[ab].qcow2 "$guests/kept/moved" >"$work/originals"
vir dumpxml --inactive two >"$work/two.xml"
vir net-destroy 'a net' >/dev/null
elsewhere() { # [more options]
	"$fb" -c "$conf" restore two --as four --map 'disk:vda=fast $pool/' \
		--map 'format:vda=raw' --map 'disk:vdb=fast $pool/old' "$@"
}
expect 1 elsewhere --yes
grep -q "network 'a net' is not started" "$work/stderr" ||
	fail "a network that is not started: $(cat "$work/stderr")"
expect 2 elsewhere --map 'network:an et=x' --yes
grep -q 'the backup has no such network' "$work/stderr" || fail "a map of nothing"
expect 1 elsewhere --map 'network:*=other net' --keep-mac --yes
grep -q "is the domain 'two's" "$work/stderr" || fail "addresses: $(cat "$work/stderr")"
expect 20 elsewhere --map 'network:*=other net' --keep-uuid --yes
grep -q "'two' has the UUID" "$work/stderr" || fail "a UUID: $(cat "$work/stderr")"
[ ! -e "$guests/kept/fast/four-vda.img" ] || fail "what was refused was begun"
# From a file, of which the words of an option have precedence.
cat >"$work/maps" <<-'END'
	network: {a net: other net}
	disk: {vda: nowhere/}
	formats: {}
END
expect 2 elsewhere --map-file "$work/maps" --yes
grep -q "maps:3:1: there is no such kind" "$work/stderr" ||
	fail "a file of maps: $(cat "$work/stderr")"
sed -i /formats/d "$work/maps"
expect 0 elsewhere --map-file "$work/maps" --start --yes
guest_is four running || fail "four is $(guest_state four)"
vir dumpxml four | grep -q "network='other net'" || fail "four is in another network"
vir destroy four >/dev/null
for disk in four-vda.img old; do
	sha256sum <"$guests/kept/fast/$disk"
done | cmp -s - "$work/was" || fail "the disks of four are not the backup's"
vir net-start 'a net' >/dev/null
expect 1 "$fb" -c "$conf" restore two --as five --map 'disk:vdb=fast $pool/old' --yes
grep -q "it is the disk 'vdb' of the domain 'four'" "$work/stderr" ||
	fail "another's volume: $(cat "$work/stderr")"
untouched
vir undefine four --nvram >/dev/null
rm "$guests/kept/fast/four-vda.img"

# Not two disks in one place, by whatever names, and nothing below an image of
# another guest's, which would read what is written there.
ln -s fast "$guests/kept/quick"
refused() { # <what is said> <options>...
	refused_why=$1
	shift
	expect 1 "$fb" -c "$conf" restore two "$@" --yes
	grep -qF "$refused_why" "$work/stderr" ||
		fail "'$refused_why' is not said: $(cat "$work/stderr")"
}
refused "its disk 'vdb' goes there too" --as five --map 'disk:vda=fast $pool/both' \
	--map "disk:vdb=$guests/kept/quick/both"
[ ! -e "$guests/kept/fast/both" ] || fail "what was refused was begun"
clone_of() { # <image> <format>
	qemu-img create -q -f qcow2 -b "$1" -F "$2" "$guests/clone-a.qcow2"
	make_guest clone
}
clone_gone() {
	vir undefine clone >/dev/null
	rm "$guests"/clone*
}
clone_of "$guests/kept/quick/old" raw
refused "the disk 'vda' of the domain 'clone' lies above it" --as five \
	--map 'disk:vdb=fast $pool/old'
refused "it is the disk 'vda' of the domain 'clone'" --as five \
	--map "disk:vdb=$guests/kept/../clone-a.qcow2"
clone_gone
clone_of "$guests/one-b.qcow2" qcow2
refused "the disk 'vda' of the domain 'clone' lies above it" --in-place
clone_gone
untouched
rm "$guests/kept/quick"
ok "two disks are not put in one place, and nothing is written below another guest's"
vir pool-destroy 'fast $pool' >/dev/null
ok "a guest is restored into another pool, a volume that is there, another network"

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
cp "$conf" "$work/conf"
sed -i "s|^  lab: .*|&\n  spare: {driver: libvirt, uri: \"$libvirt_uri\", scratch: $work/t}|" "$conf"
expect 15 "$fb" -c "$conf" restore "$dead" --in-place --yes
expect 2 "$fb" -c "$conf" restore "$dead" --in-place --map source:lab=spar --yes
expect 1 "$fb" -c "$conf" restore "$dead" --in-place --map source:lab=spare --yes
grep -q "cannot find the pool 'the pool'" "$work/stderr" ||
	fail "a pool that is not there: $(cat "$work/stderr")"
make_pool
runs() {
	[ "$(guest_uuid "$dead")" = "$uuid" ] || fail "the guest is another one"
	await_agent "$dead"
	in_guest "$dead" 'cd /mnt/vda && sha256sum -c SHA256SUMS &&
		cd /mnt/vdb && sha256sum -c SHA256SUMS' >/dev/null || fail "files are not whole"
}
expect 0 "$fb" -c "$conf" restore "$dead" --in-place --map source:lab=spare --start --yes
runs
sha256sum --quiet -c "$work/volume" || fail "the volume is not as it was"
[ "$(du -k "$volume" | cut -f 1)" -lt 1024 ] || fail "the volume is not sparse"
nothing_left "$dead"
expect 20 "$fb" -c "$conf" restore "$dead" --in-place --map source:lab=spare --yes
cp "$work/conf" "$conf"
sed -i "s|uri: \"[^\"]*\"|uri: \"$libvirt_uri\"|" "$conf"
expect 0 "$fb" -c "$conf" restore "$dead" --in-place -n
ok "a guest of a hypervisor that died runs on another one, with all it had"

# Without any: images, and XML that starts it from them.
vir destroy "$dead" >/dev/null
vir undefine "$dead" >/dev/null
expect 0 "$fb" -c "$conf" restore "$dead" --target "$guests/kept/a dir"
expect 0 vir define "$guests/kept/a dir/$uuid/domain.xml"
expect 0 vir start "$dead"
[ "$(vir domblklist "$dead" | grep -c "$guests/kept/a dir/$uuid/vd[abc].img")" -eq 3 ] ||
	fail "it runs with other images: $(vir domblklist "$dead")"
runs
ok "a guest restored into a directory starts from what lies there"
