#!/bin/sh
# fleetbak is killed while it backs up a guest that it has stopped for that: the
# guest, a real one, is up again.
. "$(dirname "$0")/lib.sh"
. "$here/lib_guest_crash.sh"

make_guest real
fleet real stop
expect 0 vir start real
await_boot real
crash real 'driver libvirt resume'
