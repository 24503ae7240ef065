#!/bin/sh
# A guest with an agent, whose disks are a linked clone and a raw file, is shut
# down and started at once, and read while it runs: what it writes goes to
# overlays, which are merged back into its own images and never into the one
# below.  Neither a fleetbak that is killed nor a scratch that is full leaves an
# overlay behind.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for a guest
. "$(dirname "$0")/lib.sh"
requires_root
mkdir "$work/s"
mount -t tmpfs -o size=160m tmpfs "$work/s" 2>/dev/null || {
	echo 'skip  cannot mount'
	exit 77
}
# shellcheck source=tests/scenario/lib_guest_crash.sh
. "$here/lib_guest_crash.sh"
trap 'stop_servers; umount -l "$work/s"; clear_work' EXIT
guest_channel=yes
mkdir -p "$libvirt_dir/guests"
guests=$libvirt_dir/guests
guest_ready_made
cp "$guest/disk.qcow2" "$guests/kept-template"
template=$(sha256sum <"$guests/kept-template")
qemu-img create -q -f qcow2 -b "$guests/kept-template" -F qcow2 \
	"$guests/one-a.qcow2"
make_guest one fb.writer=16
boot_guest one
uuid=$(guest_uuid one)
libvirt_fleet "$work/f" "scratch: $work/s"
cd "$work/f"
expect 0 "$fb" -c "$conf" init
left_nothing() {
	guest_is one running || fail "one is $(guest_state one)"
	nothing_left one
	[ -z "$(find "$work/s" -type s -o -type f)" ] ||
		fail "left in scratch: $(find "$work/s")"
	[ "$(sha256sum <"$guests/kept-template")" = "$template" ] ||
		fail "the template was changed"
}

expect 0 "$fb" -c "$conf" plan
grep -q 'below an overlay' "$work/stdout" || fail "the plan: $(cat "$work/stdout")"
write_in_guest one /mnt/vda/before before
# Far more than it can write while a busy host takes its time.
in_guest one 'head -c 24000000 /dev/urandom >/mnt/vda/large && sync'
expect 0 "$fb" -c "$conf" download --json
[ "$(jq -r '.machines[0] | .result + " " + .consistency' "$work/stdout")" = 'ok offline' ] ||
	fail "result: $(jq -c .machines "$work/stdout")"
await_agent one
write_in_guest one /mnt/vda/after after
left_nothing
expect 0 "$fb" -c "$conf" plan --exit-code
expect 0 "$fb" -c "$conf" restore "$uuid" --target "$work/out"
for disk in vda vdb; do
	image_clean "$work/out/$uuid/$disk.img"
done
image=$work/out/$uuid/vda.img
[ "$(image_cat "$image" before)" = before ] || fail "what was written before"
! image_has "$image" after || fail "what was written after is there"
[ "$(image_cat "$image" boot.log | wc -l)" -eq 1 ] &&
	[ "$(image_cat "$image" stop.log | wc -l)" -eq 1 ] ||
	fail "not the moment between its stop and its start"
ok "a guest with an agent is read while it runs, and its agent answers"

# The next night: what it wrote since, above its overlays too, and little else.
read_bytes() {
	jq '[.machines[0].volumes[] | select(.kind == "disk").read_bytes] | add' \
		"$(find repo/runs -name manifest.json | sort | tail -n 1)"
}
first=$(read_bytes)
in_guest one 'head -c 1000000 /dev/urandom >/mnt/vdb/news && sync'
news=$(in_guest one 'sha256sum </mnt/vdb/news')
expect 0 "$fb" -c "$conf" download --json
! grep -q 'read as a whole' "$work/stderr" || fail "$(cat "$work/stderr")"
await_agent one
left_nothing
second=$(read_bytes)
[ "$second" -ge 1000000 ] && [ "$second" -le $((first * 3 / 4)) ] ||
	fail "$first bytes were read the first time, then $second"
rm -r "$work/out"
expect 0 "$fb" -c "$conf" restore "$uuid" --target "$work/out"
for disk in vda vdb; do
	image_clean "$work/out/$uuid/$disk.img"
done
[ "$(image_cat "$work/out/$uuid/vda.img" after)" = after ] ||
	fail "what was written above the overlay"
image_cat "$work/out/$uuid/vdb.img" news >"$work/news"
[ "$(sha256sum <"$work/news")" = "$news" ] || fail "what was written since"
[ "$(image_cat "$work/out/$uuid/vda.img" stop.log | wc -l)" -eq 2 ] ||
	fail "not the moment after its second stop"
ok "the next night reads what it wrote since: $second bytes after $first"

# What it writes has no room: it is held while it is read.
sed 's|^download: {|&limit_read: 8MiB/s, |' "$conf" >slow.yaml
definition_there() {
	kill -0 $pid 2>/dev/null || fail "it ended: $(cat "$work/stdout")"
	for there in "$work/s/$uuid"/*/definition/initrd; do
		[ -e "$there" ]
	done
}
"$fb" -c slow.yaml download --json >"$work/stdout" 2>"$work/stderr" &
pid=$!
await_guest "its definition is not read" definition_there
kill -STOP $pid
dd if=/dev/zero of="$work/s/kept" bs=64k 2>/dev/null || :
await_state one paused
kill -CONT $pid
rc=0
wait $pid || rc=$?
[ "$rc" -ne 0 ] || fail "there was room after all"
grep -q E-SCRATCH-FULL "$work/stdout" || fail "$(cat "$work/stdout")"
rm "$work/s/kept"
left_nothing
ok "a guest that has no room to write goes on, and its capture fails"
stop_guest one
raw_image "$guests/one-a.qcow2"
image_clean "$raw_image"
rm "$raw_image"
ok "its own image has what it wrote, and is clean"

# Killed: a guest without a system, which has to be switched off.
guest_boots=no
qemu-img create -q -f qcow2 -b "$guests/kept-template" -F qcow2 \
	"$guests/bare-a.qcow2"
make_guest bare
[ "${CRASH_EVERY:-2}" -eq 1 ] || CRASH_EVERY=
fleet bare 'stop, after_stop_timeout: force'
sed -i 's/stop_timeout: 60s/stop_timeout: 1s/' "$work/bare.0/fleetbak.yaml"
expect 0 vir start bare
crash bare 'driver libvirt checkpoint-create' 'driver libvirt overlay' \
	'driver libvirt resume' 'journal volume ' \
	'driver libvirt block-commit' 'driver libvirt pivot'
[ "$(sha256sum <"$guests/kept-template")" = "$template" ] ||
	fail "the template was changed"

# Its definition is put back as it was before anything is merged: what it wrote is
# in an overlay that nothing names any more, and that is nobody's to remove.  Its
# guardian, who would have merged it, was killed as well.
fresh bare
vir dumpxml --inactive bare >"$work/bare.xml"
step=$(sed -n '/block-commit/{s/ .*//p;q;}' "$work/named")
env FLEETBAK_FAULT="$step:stop" "$fb" -c fleetbak.yaml download \
	>"$work/stdout" 2>"$work/stderr" &
pid=$!
is_stopped() {
	kill -0 $pid 2>/dev/null || fail "it ended: $(cat "$work/stderr")"
	grep -q '^State:.*T' /proc/$pid/status
}
until_true "it does not come to its merge" is_stopped
for child in $(pgrep -P $pid); do
	kill -KILL "$child"
done
kill -KILL $pid
wait $pid 2>/dev/null || :
left_alone "$work/f"
overlay=$(vir domblklist bare | sed -n 's/^ *vda *//p')
vir destroy bare >/dev/null
expect 0 vir define "$work/bare.xml"
expect 0 vir start bare
rc=$(run download) # it was read as a whole before
grep -q 'is not merged into' "$work/stderr" || fail "not told: $(cat "$work/stderr")"
[ "$(run download)" -ne 0 ] || fail "the next night is called a success"
grep -q E-OVERLAY "$work/stderr" || fail "not refused: $(cat "$work/stderr")"
[ -e "$overlay" ] || fail "$overlay is gone"
guest_is bare running || fail "bare is $(guest_state bare)"
ok "an overlay that was not merged is kept, whatever the definition says"
