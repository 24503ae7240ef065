#!/bin/sh
# What changed in the disks of a guest with a channel to an agent, which are read
# below overlays, is read and nothing else; what it wrote to an overlay has
# changed at the next run, also when QEMU was killed above it.  A bitmap that is
# missing, broken or wrong costs a full read and a warning, never a wrong backup.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for its spaces
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
. "$(dirname "$0")/lib_changes.sh"
requires jq qemu-img qemu-io

start_libvirtd
guest_boots=no
guests=$libvirt_dir/guests
mkdir -p "$guests"
image=$guests/one-b.qcow2
head -c 16M /dev/urandom >"$guests/kept-raw"
qemu-img create -q -f qcow2 "$image" 64M
qemu-io -f qcow2 -c "write -s $guests/kept-raw 4M 16M" "$image" >/dev/null
truncate -s 2M "$guests/kept-raw"
guest_devices=$(guest_disk "$guests/kept-raw" vdc raw)
make_guest one
guest_devices=
# What it has flushed is there when QEMU is killed.
vir undefine one >/dev/null
sed -i "s/cache='unsafe'/cache='writeback'/" "$guests/one.xml"
expect 0 vir define "$guests/one.xml"
uuid=$(guest_uuid one)
libvirt_fleet "$work/f" \
	"scratch: $work/s, stop_timeout: 1s, after_stop_timeout: force"
cd "$work/f"
sed -i 's/jobs: 2/jobs: 2, verify_unchanged: 0%/' "$conf"
sed 's|^download: {|&limit_read: 1MiB/s, |' "$conf" >slow.yaml
expect 0 "$fb" -c "$conf" init
expect 0 vir start one

behind() { # <command of qemu-io>: to vdb
	guest_io one 1 "$1"
	guest_io one 1 flush
}
run_it() { # [option...]
	expect 0 "$fb" -c "$conf" download --json "$@"
	guest_is one running || fail "one is $(guest_state one)"
	nothing_left one
	look_at_run none
}
# <what> <least bytes read of vdb> <most>: what is stored is what the guest had at
# that moment, of which kept-was is a copy.
whole() {
	rm -rf "$work/out"
	expect 0 "$fb" -c "$conf" restore "$uuid" --target "$work/out"
	cmp "$guests/kept-was" "$work/out/$uuid/vdb.img" || fail "$1: vdb differs"
	cmp "$guests/kept-raw" "$work/out/$uuid/vdc.img" || fail "$1: vdc differs"
	read_between "$@"
}
keep() {
	qemu-img convert -U -O raw "$image" "$guests/kept-was"
}

expect 0 "$fb" -c "$conf" plan
grep -q 'below an overlay.*what changed since' "$work/stdout" ||
	fail "the plan: $(cat "$work/stdout")"
run_it
! warned || fail "warned without need: $(cat "$work/said")"
[ "$read_raw" -eq 2097152 ] || fail "of vdc $read_raw bytes"
[ "$(ours | wc -l)" -eq 1 ] || fail "checkpoints: $(guest_checkpoints one)"
checkpoint_of_others
behind 'write -P 0x11 5000k 640k'
keep
run_it
! warned || fail "warned without need: $(cat "$work/said")"
[ "$read_raw" -eq 2097152 ] || fail "of vdc $read_raw bytes"
whole "one in a hundred bytes changed" 655360 $((655360 + slack))

# It was off meanwhile; zeros come where data was, data where a hole was.  What it
# writes while it is read is above the overlay, and has changed at the next run.
behind 'write -z 8M 1M'
behind 'discard 10M 1M'
vir destroy one >/dev/null
expect 0 vir start one
keep
above() { # <command of qemu-io>: done while it is read, which stops meanwhile
	"$fb" -c slow.yaml download --json >"$work/stdout" 2>"$work/stderr" &
	pid=$!
	await_guest "it has no overlay, or is not up" is_above
	kill -STOP $pid
	is_above || fail "it was read before"
	behind "$1"
}
is_above() {
	kill -0 $pid 2>/dev/null || fail "it ended: $(cat "$work/stdout" "$work/stderr")"
	vir domblklist one | grep -q "$work/s" && guest_is one running
}
above 'write -P 0x22 40M 100k'
kill -CONT $pid
wait $pid || fail "$(cat "$work/stdout" "$work/stderr")"
nothing_left one
look_at_run none
! warned || fail "warned without need: $(cat "$work/said")"
whole "ranges became zeros" 0 $((4 * slack))
keep
run_it
! warned || fail "warned without need: $(cat "$work/said")"
whole "it was written to an overlay" 102400 $((102400 + slack))

# QEMU is killed above an overlay, whose bitmaps are worth nothing then: what was
# written there is merged, and has changed.
keep
above 'write -P 0x33 50M 100k'
in_spaces sh -c 'kill -KILL $(cat /run/libvirt/qemu/one.pid)'
kill -CONT $pid
wait $pid || :
expect 0 "$fb" -c "$conf" --lock-wait 60s recover
guest_is one running || expect 0 vir start one
keep
[ "$(qemu-io -U -r -f qcow2 -c 'read -P 0x33 50M 100k' "$image" | grep -c 'verification failed')" -eq 0 ] ||
	fail "what was written to the overlay is lost"
run_it
whole "QEMU was killed above an overlay" 102400 $((all + 2000000))

# What it is read from is in the record of its capture, and is not what it writes
# to.  When somebody writes there all the same, nothing of it is kept.
record() { # <program of jq>
	jq -er "$1" "$work/s/$uuid"/*/snapshot
}
keep
behind 'write -P 0x3a 5M 3M'
above 'write -P 0x3b 50M 100k'
[ "$(record '.for_backup and .for_export')" = true ] || fail "what for"
[ "$(record '.files[] | select(.volume == "vdb") |
	.type + " " + .export_path + " " + (.size | tostring)')" = \
	"file $image 67108864" ] || fail "the record: $(record .)"
! vir domblklist one | grep -q " $image\$" || fail "it writes to what is read"
touch "$image"
kill -CONT $pid
rc=0
wait $pid || rc=$?
[ $rc -ne 0 ] || fail "nobody sees that somebody wrote there"
grep -q E-EXPORT "$work/stdout" || fail "not told: $(cat "$work/stdout")"
guest_is one running || fail "one is $(guest_state one)"
nothing_left one
keep
run_it
! warned || fail "warned without need: $(cat "$work/said")"
whole "what does not stand still is given up, and the next run" \
	3145728 $((3145728 + 3 * slack))

# The bitmap goes, and the guest is killed.
vir destroy one >/dev/null
for name in $(ours); do
	qemu-img bitmap --remove "$image" "$name"
done
expect 0 vir start one
behind 'write -P 0x44 6M 64k'
keep
run_it
warned || fail "nobody is warned"
grep -q 'is not in' "$work/said" || fail "why: $(cat "$work/said")"
whole "without its bitmap" $((all - 3000000)) $((all + 2000000))

behind 'write -P 0x55 7M 64k'
in_spaces sh -c 'kill -KILL $(cat /run/libvirt/qemu/one.pid)'
await_state one 'shut off'
expect 0 vir start one
keep
run_it
warned || fail "nobody is warned"
grep -q 'lacks something' "$work/said" || fail "why: $(cat "$work/said")"
whole "after QEMU was killed" $((all - 3000000)) $((all + 2000000))
keep
run_it
! warned || fail "warned without need: $(cat "$work/said")"
whole "and then nothing changed" 0 0

# A bitmap that lies.
behind "write -P 0x66 5M 64k"
vir destroy one >/dev/null
for name in $(ours); do
	qemu-img bitmap --clear "$image" "$name"
done
expect 0 vir start one
keep
run_it --set download.verify_unchanged=100%
grep -q 'not what they were' "$work/said" || fail "nobody sees the lie"
whole "a bitmap that lies" $((all - 3000000)) $((2 * all + 2000000))

keep
run_it --set sources.lab.changes=none
! warned || fail "warned without need: $(cat "$work/said")"
[ "$(guest_checkpoints one)" = theirs ] ||
	fail "checkpoints: $(guest_checkpoints one)"
whole "with no account kept" $((all - 3000000)) $((all + 2000000))
vir destroy one >/dev/null
qemu-img info "$image" | grep -q 'name: theirs' || fail "their bitmap is gone"
ok "a checkpoint that somebody else made is there"
