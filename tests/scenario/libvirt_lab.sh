#!/bin/sh
# What the scenarios with virtual machines stand on: a libvirtd of their own, a
# guest that boots, its agent, two disks, and what libvirt's own tools read from
# them - and that nothing of it is left at the end.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for a guest
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq nbdcopy nbdinfo e2fsck debugfs

start_libvirtd other
other=$libvirt_pid
[ -z "$(vir list --all --name | sed '/^$/d')" ] || fail "a guest is there already"
start_libvirtd
ok "two libvirtd run beside each other"

make_guest one fb.writer=64
boot_guest one
ok "a guest boots, and its agent answers ($guest_type)"
LIBVIRT_AUTOSTART=0 virsh -q \
	-c "qemu+unix:///system?socket=$work/libvirt.other/run/libvirt-sock" \
	list --all --name | grep -q . && fail "the other libvirtd sees the guest"
[ "$(in_guest one 'echo $((6 * 7)); cd /mnt/vdb && sha256sum -c SHA256SUMS' |
	sed -n '1p;$p' | tr '\n' ' ')" = '42 random.bin: OK ' ] ||
	fail "a command in the guest"
in_guest one 'exit 7' && fail "exit 7 was 0"
[ $? -eq 7 ] || fail "exit 7 was not 7"
ok "commands run in the guest, with their output and their status"

# A point in time of both disks, as backups take it.
for disk in vda vdb; do
	write_in_guest one /mnt/$disk/before "before, on $disk"
done
vir domfsfreeze one >/dev/null
guest_frozen one || fail "the guest is not frozen"
cat >"$work/backup.xml" <<-END
	<domainbackup mode='pull'>
	<server transport='unix' socket='$guests/one.sock'/>
	<disks>
	<disk name='vda' backup='yes' type='file' exportname='vda'>
	<scratch file='$guests/one-vda.scratch'/></disk>
	<disk name='vdb' backup='yes' type='file' exportname='vdb'>
	<scratch file='$guests/one-vdb.scratch'/></disk>
	<disk name='sda' backup='no'/>
	</disks>
	</domainbackup>
END
cat >"$work/checkpoint.xml" <<-END
	<domaincheckpoint><name>lab-1</name><disks>
	<disk name='vda' checkpoint='bitmap'/><disk name='vdb' checkpoint='bitmap'/>
	<disk name='sda' checkpoint='no'/>
	</disks></domaincheckpoint>
END
expect 0 vir backup-begin one "$work/backup.xml" "$work/checkpoint.xml"
vir domfsthaw one >/dev/null
! guest_frozen one || fail "the guest is frozen still"
! guest_idle one || fail "there is no job"
(nothing_left one) >"$work/said" && fail "a job that runs counts as nothing"
grep -q 'a job' "$work/said" || fail "what is left: $(cat "$work/said")"
for disk in vda vdb; do
	write_in_guest one /mnt/$disk/after "after, on $disk"
done
restart_libvirtd
! guest_idle one || fail "a libvirtd that was killed forgets its job"
ok "libvirtd comes again, with its guests and their jobs"

for disk in vda vdb; do
	expect 0 nbdcopy "nbd+unix:///$disk?socket=$guests/one.sock" "$work/$disk.raw"
	image_clean "$work/$disk.raw"
	[ "$(image_cat "$work/$disk.raw" before)" = "before, on $disk" ] ||
		fail "$disk: what was written before is not there"
	image_cat "$work/$disk.raw" writer.n | grep -qx '[0-9]*' ||
		fail "$disk: nobody wrote"
	! image_has "$work/$disk.raw" after ||
		fail "$disk: what was written after is there"
done
[ "$(nbdinfo --map=base:allocation --totals \
	"nbd+unix:///vda?socket=$guests/one.sock" | wc -l)" -ge 2 ] ||
	fail "no holes in vda"
vir domjobabort one
await_guest "the job does not end" guest_idle one
rm -f "$guests/one.sock" "$guests"/one-vd?.scratch
[ "$(guest_checkpoints one)" = lab-1 ] || fail "the checkpoint is not there"
nothing_left one
ok "both disks are read as they were frozen, and are clean"

# Without a system in it, what a disk holds is changed from outside.
guest_boots=no guest_channel=no
make_guest empty
expect 0 vir start empty --paused
sha256sum <"$guests/empty-b.qcow2" >"$work/was"
poke empty 1 8M 64k 0x55
vir destroy empty >/dev/null
sha256sum <"$guests/empty-b.qcow2" | cmp -s - "$work/was" &&
	fail "a write from outside does not arrive"
ok "an empty guest's disk is written from outside"

stop_guest one
vir domstate --reason one | grep -q '(shutdown)' || fail "not a clean stop"
raw_image "$guests/one-a.qcow2"
image_clean "$raw_image"
[ "$(image_cat "$raw_image" stop.log | wc -l)" -eq 1 ] || fail "no word of a stop"
rm "$raw_image"
nothing_left one
ok "the guest stops when it is told to"

expect 0 vir start empty --paused
# Their processes have a namespace of their own to be known by.
space=$(readlink "/proc/$libvirt_pid/ns/pid_for_children" | tr '[]' '??')
inside() {
	find /proc/[0-9]*/ns/pid -maxdepth 0 -lname "$space" 2>/dev/null | wc -l
}
[ "$(inside)" -ge 3 ] || fail "libvirtd and QEMU are not where they should be"
none_inside() {
	[ "$(inside)" -eq 0 ]
}
stop_libvirtd
until_true "a process of the first libvirtd is left" none_inside
kill -0 "$other" || fail "the other libvirtd went too"
ok "a libvirtd that is stopped leaves no process"
