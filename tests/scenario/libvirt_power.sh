#!/bin/sh
# How a guest goes down and comes up: one that goes down late is started again,
# whoever died meanwhile; one that never does is switched off where its source
# says so; what a stop would take from it, or what somebody does with it, is seen
# first.  None of these guests has a system, so that none heeds its power button.
#
# shellcheck disable=SC2034,SC2154 # the lab's variables
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_libvirtd
guest_boots=no guest_channel=no
make_guest one
uuid=$(guest_uuid one)
libvirt_fleet "$work/f" "scratch: $work/s, stop_timeout: 15s"
cd "$work/f"
expect 0 "$fb" -c "$conf" init
expect 0 vir start one

no_file_left() {
	[ -z "$(find "$work/s" -type s -o -type f)" ] || fail "left: $(find "$work/s")"
}
gave_up() {
	grep -aq '"state":"failed"' state/runs/*/journal 2>/dev/null
}

# Somebody else switches it off in the place of a system that takes its time.  It
# does not wait for another one to be read.
make_guest long
libvirt_fleet "$work/late" "scratch: $work/late.s, stop_timeout: 15s"
sed -i 's|^download: {|&limit_read: 128KiB/s, |' "$conf"
cd "$work/late"
expect 0 "$fb" -c "$conf" init
"$fb" -c "$conf" download --json >"$work/stdout" 2>"$work/stderr" &
pid=$!
until_true "the stop is not given up" gave_up
vir destroy one >/dev/null
await_state one running
cat state/runs/*/journal >"$work/journal" &&
	! grep -aq '"state":"copied"' "$work/journal" ||
	fail "the other guest was read first"
kill -TERM $pid
rc=0
wait $pid || rc=$?
[ $rc -ne 0 ] || fail "it is said to be backed up: $(cat "$work/stdout")"
guest_is one running || fail "one went down late, and is $(guest_state one)"
nothing_left one long
expect 0 vir undefine long
cd "$work/f"
conf=$work/f/fleetbak.yaml
ok "a guest that goes down after its time is started again"

"$fb" -c "$conf" download --json >"$work/stdout" 2>"$work/stderr" &
pid=$!
until_true "it is not asked to go down" test -e "$work/s/$uuid/asked"
kill -KILL $pid
wait $pid 2>/dev/null || :
vir destroy one >/dev/null
expect 0 "$fb" -c "$conf" --lock-wait 60s recover
await_state one running
expect 0 "$fb" -c "$conf" --lock-wait 60s recover
guest_is one running || fail "one is $(guest_state one)"
ok "so is one whose run was killed while it went down"

libvirt_fleet "$work/force" \
	"scratch: $work/s, stop_timeout: 2s, after_stop_timeout: force"
cd "$work/force"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download --json
[ "$(jq -r '.machines[0] | .result + " " + .consistency' "$work/stdout")" = 'ok crash' ] ||
	fail "switched off: $(jq -c .machines "$work/stdout")"
grep -q 'it was cut off' "$work/stderr" || fail "nobody says so: $(cat "$work/stderr")"
guest_is one running || fail "one is $(guest_state one)"
nothing_left one
no_file_left
ok "a guest that does not go down is switched off where that is asked for"

qemu-img create -q -f qcow2 "$guests/kept-extra" 1M
expect 0 vir attach-disk one "$guests/kept-extra" sdb --live --driver qemu \
	--subdriver qcow2 --targetbus scsi
rc=$(status_of "$fb" -c "$conf" download --json)
[ "$rc" -ne 0 ] || fail "a guest that would lose a disk was stopped"
grep -q E-DISK-LIVE-ONLY "$work/stdout" || fail "$(cat "$work/stdout")"
guest_is one running || fail "one is $(guest_state one)"
vir domblklist one | grep -q kept-extra || fail "one has lost its disk"
expect 0 vir detach-disk one sdb --live
ok "a guest that would lose a disk when it stops is not stopped"

# Another fleetbak, with a state of its own, is at work on it.
libvirt_fleet "$work/other" "scratch: $work/s, capture: live"
cd "$work/other"
sed 's|^download: {|&limit_read: 256KiB/s, |' "$conf" >slow.yaml
expect 0 "$fb" -c "$conf" init
"$fb" -c slow.yaml download --json >"$work/other.out" 2>"$work/other.err" &
pid=$!
is_copying() {
	kill -0 $pid 2>/dev/null || fail "it ended: $(cat "$work/other.out")"
	grep -aq '"state":"copying"' state/runs/*/journal 2>/dev/null
}
until_true "no copy begins" is_copying
cd "$work/force"
conf=$work/force/fleetbak.yaml
rc=$(status_of "$fb" -c "$conf" download --json)
[ "$rc" -ne 0 ] || fail "both captured it at once"
[ "$(jq -r '.errors[0].id' "$work/stdout")" = E-DOMAIN-BUSY ] ||
	fail "held: $(jq -c .errors "$work/stdout")"
vir backup-dumpxml one | grep -qF "$work/s/" || fail "the other's job is gone"
kill -TERM $pid
wait $pid || :
guest_idle one || fail "its job goes on with nobody there"
nothing_left one
ok "two of fleetbak with one scratch do not take a guest from each other"
