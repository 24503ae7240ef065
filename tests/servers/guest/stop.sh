#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013 # words are what it is about
# What stops the guest, for the power button and for the agent, which gives -r
# when it wants a reboot: nothing is left unwritten, and stop.log says that.
export PATH=/bin:/sbin:/usr/sbin
[ ! -e /run/stopping ] || exit 0
: >/run/stopping
for word in $(cat /proc/cmdline); do
	case $word in
	fb.slowstop=*) sleep "${word#*=}" ;;
	esac
done
first=$(cat /run/first)
[ -z "$first" ] ||
	echo "stop $(cat /proc/sys/kernel/random/boot_id)" >>"/mnt/$first/stop.log"
sync
for at in /mnt/*; do
	i=0
	until umount "$at" 2>/dev/null; do
		i=$((i + 1))
		[ $i -lt 100 ] || {
			mount -o remount,ro "$at"
			break
		}
		usleep 50000
	done
done
echo STOP >/dev/ttyS0
case " $* " in
*' -r '*) reboot -f ;;
*) poweroff -f ;;
esac
