#!/bin/sh
# What a guest overwrites while it is read has no room: the hypervisor holds the
# guest.  Its capture is given up, and it goes on, also when nobody was there any
# more to see to it.
#
# shellcheck disable=SC2034,SC2154 # the lab's variables
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires_root
mkdir "$work/s"
mount -t tmpfs -o size=256m tmpfs "$work/s" 2>/dev/null || {
	echo 'skip  cannot mount'
	exit 77
}
trap 'stop_servers; umount -l "$work/s"; clear_work' EXIT

start_libvirtd
guest_channel=no
make_guest one fb.writer=512
libvirt_fleet "$work/f" "scratch: $work/s, capture: live"
cd "$work/f"
sed 's|^download: {|&limit_read: 4MiB/s, |' "$conf" >slow.yaml
expect 0 "$fb" -c "$conf" init
expect 0 vir start one
await_boot one

expect 0 "$fb" -c "$conf" download -n
! grep -q 'scratch has room' "$work/stdout" || fail "no room: $(cat "$work/stdout")"
dd if=/dev/zero of="$work/s/kept" bs=64k 2>/dev/null || :
expect 0 "$fb" -c "$conf" download -n
[ "$(grep -c 'scratch has room for .* of what it overwrites' "$work/stdout")" -eq 2 ] ||
	fail "the plan: $(cat "$work/stdout")"
rm "$work/s/kept"
ok "a plan says when there is not room for all that a guest may overwrite"

uuid=$(guest_uuid one)
begin() { # [conf]: read it; when its definition is there all the room goes
	"$fb" -c "${1:-slow.yaml}" --lock-wait 60s download --json \
		>"$work/stdout" 2>"$work/stderr" &
	pid=$!
	until_true "its definition is not read" definition_there
	dd if=/dev/zero of="$work/s/kept" bs=64k 2>/dev/null || :
}
definition_there() {
	kill -0 $pid 2>/dev/null || fail "it ended: $(cat "$work/stdout")"
	for there in "$work/s/$uuid"/*/definition/initrd; do
		[ -e "$there" ]
	done
}
# Not read on before the guest stands still.
begin
kill -STOP $pid
await_state one paused
kill -CONT $pid
rc=0
wait $pid || rc=$?
[ "$rc" -ne 0 ] || fail "there was room after all"
grep -q E-SCRATCH-FULL "$work/stdout" || fail "$(cat "$work/stdout")"
guest_is one running || fail "one is $(guest_state one)"
nothing_left one
ok "a guest that has no room to write goes on, and its capture fails"

# Nothing of it is read while it stands still.
rm "$work/s/kept"
sed 's|^download: {|&limit_read: 1KiB/s, |' "$conf" >still.yaml
begin still.yaml
goes_on() {
	guest_idle one && guest_is one running
}
await_guest "it is held while nothing is read" goes_on
kill -TERM $pid
wait $pid || :
rm "$work/s/kept"
expect 0 "$fb" -c "$conf" download
nothing_left one
ok "also while nothing of it is read"

# Its guardian sees to that, and whoever meets what is owed.
begin
kill -KILL $pid
wait $pid 2>/dev/null || :
await_guest "one whose run was killed is held" goes_on
expect 0 "$fb" -c "$conf" --lock-wait 60s recover
rm "$work/s/kept"
status_of "$fb" -c "$conf" --lock-wait 60s download --json >/dev/null
guest_is one running || fail "one is $(guest_state one)"
nothing_left one
ok "so does one whose run was killed"

# With room for all that it may overwrite its job is taken over.
"$fb" -c slow.yaml --lock-wait 60s download --json >"$work/stdout" 2>"$work/stderr" &
pid=$!
until_true "its definition is not read" definition_there
kill -KILL $pid
wait $pid 2>/dev/null || :
expect 0 "$fb" -c "$conf" --lock-wait 60s recover
! guest_idle one || fail "a job that cannot hold its guest was ended"
expect 0 "$fb" -c "$conf" --lock-wait 60s download
nothing_left one
ok "a job that has room is taken over after a crash"
