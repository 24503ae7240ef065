#!/bin/sh
# The first process of a libvirtd's own namespaces: libvirtd_init.sh <directory>
# libvirtd's places are compiled in, so they are laid over the host's.  What is
# killed comes again; being the first process, it reaps each QEMU at once, which
# libvirtd waits for.
set -eu
dir=$1
for place in etc:/etc/libvirt run:/run/libvirt lib:/var/lib/libvirt \
	cache:/var/cache/libvirt log:/var/log/libvirt; do
	mkdir -p "${place#*:}"
	mount --bind "$dir/${place%%:*}" "${place#*:}"
done
# Its network interfaces are this namespace's.
mount -t sysfs sysfs /sys 2>/dev/null || :
# A user that libvirtd wants to know, though nothing runs as it; the package that
# makes it brings firewalls and policies along.
for file in passwd group; do
	if ! grep -q '^libvirt-qemu:' /etc/$file; then
		cp /etc/$file "$dir/$file"
		case $file in
		passwd) echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' ;;
		group) echo 'libvirt-qemu:x:64055:' ;;
		esac >>"$dir/$file"
		mount --bind "$dir/$file" /etc/$file
	fi
done
while :; do
	rc=0
	# shellcheck disable=SC2086 # words
	libvirtd ${LIBVIRTD_OPTIONS:-} -f /etc/libvirt/libvirtd.conf \
		-p "$dir/libvirtd.pid" &
	wait $! || rc=$?
	[ $rc -eq 137 ] || exit $rc
done
