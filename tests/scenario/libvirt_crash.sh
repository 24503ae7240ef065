#!/bin/sh
# fleetbak is killed while it backs up a guest that runs on.
#
# shellcheck disable=SC2034 # the lab's variables
. "$(dirname "$0")/lib.sh"
. "$here/lib_guest_crash.sh"

guest_boots=no
make_guest bare
fleet bare live
expect 0 vir start bare
# While it is read: the first of what is journaled as a volume that was.
crash bare 'driver libvirt backup-begin' 'journal volume ' \
	'driver libvirt abort-job'
