#!/bin/sh
# Make a guest from Debian's packages, which boots in two seconds without KVM:
# make.sh <directory>
#
#	vmlinux     Debian's kernel for clouds, unpacked: boots through PVH
#	initrd.img  busybox, the modules it needs, the guest agent
#	disk.raw    a disk of 64 MiB with ext4, and disk.qcow2: templates
#	made        what it was made from; written last
#
# The packages are downloaded into <directory>/debs and not installed; once
# they are there, nothing is asked of the network.  Needs no root, no mount.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
mkdir -p "$1/debs"
cd "$1"
dir=$PWD

# One at a time: tests share it.
exec 9>lock
flock 9
made=$(cat "$here/make.sh" "$here/init.sh" "$here/stop.sh" | sha256sum)
[ "$(cat made 2>/dev/null)" != "$made" ] || exit 0
rm -f made
work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

give_up() {
	echo "guest: $*" >&2
	exit 1
}

# Packages.
apt() { # <command>...: who is not root needs no other user to drop to
	apt-get -qq -o APT::Sandbox::User="$(id -un)" "$@"
}
kernel_package() {
	apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}
have() { # <package's name, a pattern>
	find debs -name "$1_*.deb" | grep -q .
}
download() { # <package>
	(cd debs && apt download "$1") || {
		as_root=
		[ "$(id -u)" -eq 0 ] || as_root=sudo
		$as_root apt-get -qq update || :
		(cd debs && apt download "$1")
	}
}
have 'linux-image-*-cloud-amd64' || {
	[ -n "$(kernel_package)" ] || apt-get -qq update
	download "$(kernel_package)"
}
have busybox-static || download busybox-static
have qemu-guest-agent || download qemu-guest-agent
mkdir "$work/x" "$work/root"
for deb in debs/*.deb; do
	dpkg-deb -x "$deb" "$work/x"
done

# The kernel's payload follows its own loader, compressed: setup_sects is at
# 0x1f1 of the image, payload_offset and _length at 0x248.
number() { # <offset> <bytes>
	od -An "-tu$2" -j "$1" -N "$2" "$kernel" | tr -d ' '
}
kernel=$(find "$work/x/boot" -name 'vmlinuz-*')
modules=$(find "$work/x" -type d -path "*lib/modules/${kernel##*/vmlinuz-}")
[ -n "$kernel" ] && [ -n "$modules" ] || give_up "no kernel in the package"
sects=$(number 497 1)
[ "$sects" -ne 0 ] || sects=4
start=$(((sects + 1) * 512 + $(number 584 4)))
tail -c +$((start + 1)) "$kernel" | head -c "$(number 588 4)" >"$work/payload"
for unpack in 'lz4 -dcq' 'xz -dcq' 'zstd -dcq' 'gzip -dcq'; do
	# What follows the payload is not ours: the status says nothing.
	$unpack <"$work/payload" >"$work/vmlinux" 2>/dev/null || :
	[ "$(od -An -tx1 -N 4 "$work/vmlinux" | tr -d ' ')" != 7f454c46 ] || break
done
[ "$(od -An -tx1 -N 4 "$work/vmlinux" | tr -d ' ')" = 7f454c46 ] ||
	give_up "the kernel's compression is an unknown one"

# What it boots into.
root=$work/root
(cd "$root" && mkdir -p bin sbin proc sys dev mnt run tmp etc/acpi/PWRF var/log \
	lib/modules lib64 usr/sbin && ln -s /run var/run)
cp "$(find "$work/x" -path '*bin/busybox')" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/init.sh" "$root/init"
cp "$here/stop.sh" "$root/sbin/shutdown"
printf '#!/bin/sh\nexec /sbin/shutdown -h\n' >"$root/etc/acpi/PWRF/00000080"
chmod 755 "$root/init" "$root/sbin/shutdown" "$root/etc/acpi/PWRF/00000080"

# Modules, those that others need first; what is not found is built in.
find "$modules" -name '*.ko' >"$work/modules"
add_module() { # <name>
	add_file=$(grep "/$(echo "$1" | sed 's/[_-]/[_-]/g')\.ko\$" "$work/modules") ||
		return 0
	[ ! -e "$root/lib/modules/${add_file##*/}" ] || return 0
	cp "$add_file" "$root/lib/modules/"
	for needed in $(tr '\0' '\n' <"$add_file" | sed -n 's/^depends=//p' |
		tr , ' '); do
		(add_module "$needed")
	done
	echo "${add_file##*/}" >>"$root/lib/modules/load"
}
: >"$root/lib/modules/load"
for module in virtio virtio_ring virtio_pci virtio_blk virtio_console button \
	evdev virtio_scsi sd_mod sr_mod; do
	(add_module "$module")
done

# The agent, with this host's libraries.
cp "$(find "$work/x" -path '*sbin/qemu-ga')" "$root/usr/sbin/qemu-ga"
ldd "$root/usr/sbin/qemu-ga" >"$work/libraries" 2>&1 || :
! grep 'not found' "$work/libraries" >&2 ||
	give_up "a library of the guest agent's is missing here"
awk '/=> \//{ print $3 } /^[ \t]*\/lib.*ld-linux/{ print $1 }' \
	"$work/libraries" | while read -r library; do
	cp -L "$library" "$root/lib64/"
done
[ -e "$root/lib64/libc.so.6" ] || give_up "the guest agent has no libc"
# Not compressed: that would cost a third of a second at each boot.
(cd "$root" && find . | LC_ALL=C sort |
	"$root/bin/busybox" cpio -o -H newc) >"$work/initrd.img" 2>/dev/null

# The disk.
mkdir "$work/disk"
echo 'hello from a guest' >"$work/disk/hello.txt"
head -c 4194304 /dev/zero | openssl enc -aes-128-ctr \
	-K 00000000000000000000000000000001 -iv 00 2>/dev/null \
	>"$work/disk/random.bin"
(cd "$work/disk" && sha256sum hello.txt random.bin >SHA256SUMS)
truncate -s 64M "$work/disk.raw"
mke2fs -q -t ext4 -F -L guest -E lazy_itable_init=0 -d "$work/disk" "$work/disk.raw"
qemu-img convert -q -f raw -O qcow2 -o compat=1.1 "$work/disk.raw" "$work/disk.qcow2"

mv "$work/vmlinux" "$work/initrd.img" "$work/disk.raw" "$work/disk.qcow2" .
echo "$made" >made
