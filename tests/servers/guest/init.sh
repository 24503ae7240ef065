#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013,SC2086 # words are what it is about
# The guest's first process: mounts each ext4 disk at /mnt/<disk>, starts the
# guest agent, says "READY <n>" on the serial line at its nth boot.
#
# Words of the kernel's command line:
#	fb.probe            say "READY 0" and power off at once
#	fb.noacpi           the power button does nothing
#	fb.noagent          no guest agent
#	fb.hook             the agent freezes four seconds late while there is
#	                    a file /run/hang
#	fb.slowstop=<s>     take so long to stop
#	fb.writer=<KiB>     write to each disk, ten times a second
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/sbin LD_LIBRARY_PATH=/lib64
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run

word() { # <name>: its value, or 1
	for word in $(cat /proc/cmdline); do
		case $word in
		"$1") echo 1 ;;
		"$1="*) echo "${word#*=}" ;;
		esac
	done
}

[ -z "$(word fb.probe)" ] || {
	echo "READY 0" >/dev/ttyS0
	poweroff -f
}
while read -r module; do
	insmod "/lib/modules/$module"
done </lib/modules/load

# Disks appear when it suits them: the command line says how many there are.
disks=$(word fb.disks)
i=0
until [ "$(find /sys/block -name 'vd*' | wc -l)" -ge "${disks:-1}" ]; do
	i=$((i + 1))
	[ $i -lt 500 ] || break
	usleep 20000
done
first=
for disk in /sys/block/[vs]d*; do
	disk=${disk##*/}
	mkdir -p "/mnt/$disk"
	if mount -t ext4 -o discard "/dev/$disk" "/mnt/$disk" 2>/dev/null; then
		[ -n "$first" ] || first=$disk
	else
		rmdir "/mnt/$disk"
	fi
done
echo "$first" >/run/first
boots=0
[ -z "$first" ] || {
	echo "boot $(cat /proc/sys/kernel/random/boot_id)" >>"/mnt/$first/boot.log"
	boots=$(wc -l <"/mnt/$first/boot.log")
	sync
}

[ -n "$(word fb.noacpi)" ] ||
	acpid -c /etc/acpi -p /run/acpid.pid -l /dev/null

# A process of its own, so that a test can end the agent and see it again.
agent() {
	hook=
	[ -z "$(word fb.hook)" ] || {
		hook=-F/run/hook
		cat >/run/hook <<-'END'
			#!/bin/sh
			[ "$1" = thaw ] || [ ! -e /run/hang ] || sleep 4
		END
		chmod 755 /run/hook
	}
	while [ ! -e /run/stopping ]; do
		port=$(find /dev -name 'vport*p*' | head -n 1)
		if [ -z "$port" ]; then
			usleep 20000
			continue
		fi
		qemu-ga -m virtio-serial -p "$port" -t /run -f /run/agent.pid \
			-l /run/agent.log $hook
		usleep 200000
	done
}
[ -n "$(word fb.noagent)" ] || agent </dev/null >/dev/null 2>&1 &

# A file for each of eight turns; the last turn that is whole is in writer.n.
writer() {
	n=0
	while [ ! -e /run/stopping ]; do
		n=$((n + 1))
		for at in /mnt/*; do
			dd if=/dev/urandom of="$at/writer.$((n % 8))" bs=1k \
				count="$1" conv=fsync 2>/dev/null
			echo $n >"$at/writer.n"
		done
		usleep 100000
	done
}
writer=$(word fb.writer)
[ -z "$writer" ] || writer "$writer" &

echo "READY $boots" >/dev/ttyS0
while :; do
	sleep 3600 &
	wait $!
done
