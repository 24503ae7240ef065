#!/bin/sh
# What changed in a guest's disks since its last run is read, and nothing else.
# A bitmap that is missing, broken, of another image or wrong costs a full read
# and a warning, never a wrong backup; what others keep account with stays.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for its spaces
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
. "$(dirname "$0")/lib_changes.sh"
requires jq qemu-img qemu-io

start_libvirtd
guest_boots=no guest_channel=no
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
uuid=$(guest_uuid one)
libvirt_fleet "$work/f" "scratch: $work/s, capture: live"
cd "$work/f"
sed -i 's/jobs: 2/jobs: 2, verify_unchanged: 0%/' "$conf"
expect 0 "$fb" -c "$conf" init
expect 0 vir start one

behind() { # <command of qemu-io>: to vdb
	guest_io one 1 "$1"
}
run_it() { # [option...]
	expect 0 "$fb" -c "$conf" download --json "$@"
	look_at_run unclean # it was cut off: that stays known
}
off() { # what it holds back is written then
	vir destroy one >/dev/null
}
# <what> <least bytes read of vdb> <most>: and what is stored is what it has,
# which is off now.
whole() {
	rm -rf "$work/out"
	expect 0 "$fb" -c "$conf" restore "$uuid" --target "$work/out"
	for whole_disk in a b; do
		raw_image "$guests/one-$whole_disk.qcow2"
		cmp "$raw_image" "$work/out/$uuid/vd$whole_disk.img" ||
			fail "$1: vd$whole_disk differs"
		rm "$raw_image"
	done
	cmp "$guests/kept-raw" "$work/out/$uuid/vdc.img" || fail "$1: vdc differs"
	read_between "$@"
}

run_it
! warned || fail "warned without need: $(cat "$work/said")"
[ "$read_raw" -eq 2097152 ] || fail "of vdc $read_raw bytes"
nothing_left one
[ "$(ours | wc -l)" -eq 1 ] || fail "checkpoints: $(guest_checkpoints one)"
checkpoint_of_others
behind 'write -P 0x11 5000k 640k'
run_it
! warned || fail "warned without need: $(cat "$work/said")"
[ "$read_raw" -eq 2097152 ] || fail "of vdc $read_raw bytes"
off
whole "one in a hundred bytes changed" 655360 $((655360 + slack))

# It was off meanwhile; zeros come where data was, data where a hole was.
expect 0 vir start one
behind 'write -z 8M 1M'
behind 'discard 10M 1M'
behind 'write -P 0x22 40M 100k'
run_it
! warned || fail "warned without need: $(cat "$work/said")"
off
whole "it was off, and ranges became zeros" 102400 $((102400 + 4 * slack))

# It stays off: nothing is read, night after night, until it has run again.
expect 0 "$fb" -c "$conf" plan
grep -q 'while it is down, what changed' "$work/stdout" ||
	fail "the plan: $(cat "$work/stdout")"
for night in 1 2; do
	run_it
	! warned || fail "warned without need: $(cat "$work/said")"
	[ "$(of_volume vda)" -eq 0 ] || fail "of vda $(of_volume vda) bytes"
	whole "it is off, night $night" 0 $(((102400 + 4 * slack) * (2 - night)))
done
# It ran since it was captured off: its bitmap is from before that, and an older
# copy of the image would have it as well.
cp "$image" "$guests/older"
expect 0 vir start one
behind 'write -P 0x2a 12M 100k'
off
run_it
! warned || fail "warned without need: $(cat "$work/said")"
whole "it ran, and is off again" $((all - 3000000)) $((all + 1000000))
cat "$guests/older" >"$image"
run_it
! warned || fail "warned without need: $(cat "$work/said")"
whole "an older copy of its image" $((all - 3000000)) $((all + 1000000))
expect 0 vir start one
behind 'write -P 0x2b 14M 100k'
run_it
! warned || fail "warned without need: $(cat "$work/said")"
off
whole "it runs again" $((all - 3000000)) $((all + 1000000))
expect 0 vir start one
run_it
off
whole "and then nothing changed, as before" 0 0
for name in $(ours); do
	qemu-img bitmap --disable "$image" "$name"
done
run_it
warned || fail "nobody is warned"
whole "it is off, and its bitmap was stopped" $((all - 3000000)) $((all + 1000000))

# The bitmap goes, the guest is killed, the image becomes another one.
expect 0 vir start one
run_it
off
last=$(ours | tail -n 1)
for name in $(ours); do
	qemu-img bitmap --remove "$image" "$name"
done
expect 0 vir start one
behind 'write -P 0x33 6M 64k'
run_it
warned || fail "nobody is warned"
off
whole "without its bitmap" $((all - 3000000)) $((all + 1000000))

expect 0 vir start one
behind 'write -P 0x44 7M 64k'
in_spaces sh -c 'kill -KILL $(cat /run/libvirt/qemu/one.pid)'
await_state one 'shut off'
expect 0 vir start one
run_it
warned || fail "nobody is warned"
off
whole "after QEMU was killed" $((all - 3000000)) $((all + 1000000))

cp "$image" "$guests/kept-b"
mv "$guests/kept-b" "$image"
expect 0 vir start one
run_it
warned || fail "nobody is warned"
grep -q 'another image' "$work/said" || fail "why: $(cat "$work/said")"
off
whole "another image" $((all - 3000000)) $((all + 1000000))
expect 0 vir start one
run_it
! warned || fail "warned without need: $(cat "$work/said")"
off
whole "and then nothing changed" 0 0

# A bitmap that lies, about data and about a hole.
for place in 5M 50M; do
	expect 0 vir start one
	behind "write -P 0x55 $place 64k"
	off
	for name in $(ours); do
		qemu-img bitmap --clear "$image" "$name"
	done
	expect 0 vir start one
	run_it --set download.verify_unchanged=100%
	grep -q 'not what they were' "$work/said" || fail "nobody sees the lie"
	off
	whole "a bitmap that lies, at $place" $((all - 3000000)) $((2 * all + 2000000))
done

expect 0 vir start one
run_it --set sources.lab.changes=none
! warned || fail "warned without need: $(cat "$work/said")"
[ "$(guest_checkpoints one)" = theirs ] ||
	fail "checkpoints: $(guest_checkpoints one)"
off
whole "with no account kept" $((all - 3000000)) $((all + 1000000))
qemu-img info "$image" | grep -q 'name: theirs' || fail "their bitmap is gone"
ok "a checkpoint that somebody else made is there"
