#!/bin/sh
# What happens to a hypervisor while a guest is read: libvirtd is killed and comes
# again, QEMU is killed, the guest is gone, its image is another's.  The run says
# so or does not notice; no backup is wrong, and nothing is left.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for its spaces
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_libvirtd
guest_boots=no guest_channel=no
for name in one two; do
	make_guest $name
done
libvirt_fleet "$work/f" "scratch: $work/s, capture: live"
# Slow enough that what happens to it happens while it is read.
cd "$work/f"
sed 's|^download: {|&limit_read: 2MiB/s, |' "$conf" >slow.yaml
expect 0 "$fb" -c "$conf" init

begin() { # <name>: a run in the background that reads it
	"$fb" -c slow.yaml download --json -s "$1" >"$work/stdout" 2>"$work/stderr" &
	pid=$!
	until_true "no copy of $1 begins" is_copying
}
is_copying() {
	kill -0 $pid 2>/dev/null || fail "the run ended: $(cat "$work/stdout")"
	grep -aq '"state":"copying"' state/runs/*/journal 2>/dev/null
}
ended() { # sets $rc
	rc=0
	wait $pid || rc=$?
}
same_as_disks() { # <name>
	rm -rf "$work/out"
	expect 0 "$fb" -c "$conf" restore "$(guest_uuid "$1")" --target "$work/out"
	for same_disk in a b; do
		raw_image "$guests/$1-$same_disk.qcow2"
		cmp "$raw_image" "$work/out/$(guest_uuid "$1")/vd$same_disk.img" ||
			fail "$1: disk $same_disk differs"
		rm "$raw_image"
	done
}

expect 0 vir start one
begin one
# What is written from now on is not in it.
raw_image "$guests/one-a.qcow2"
mv "$raw_image" "$work/one-a.raw"
poke one 0 1M 256k 0x77
restart_libvirtd
ended
[ $rc -eq 0 ] || fail "libvirtd came again: exit $rc: $(cat "$work/stdout")"
nothing_left one
expect 0 "$fb" -c "$conf" restore "$(guest_uuid one)" --target "$work/out"
cmp "$work/one-a.raw" "$work/out/$(guest_uuid one)/vda.img" ||
	fail "what was written while it was read is in it"
ok "libvirtd is killed in the middle of a copy, and the copy goes on"

begin one
in_spaces sh -c 'kill -KILL $(cat /run/libvirt/qemu/one.pid)'
ended
[ $rc -ne 0 ] || fail "a guest that was killed was backed up"
[ "$(jq '[.machines[] | select(.result == "ok")] | length' "$work/stdout")" -eq 0 ] ||
	fail "it is said to be backed up: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" recover
guest_is one 'shut off' || fail "one is $(guest_state one)"
nothing_left one
[ -z "$(find "$work/s" -type s -o -type f ! -name unclean)" ] || fail "left: $(find "$work/s")"
expect 0 "$fb" -c "$conf" download -s one
same_as_disks one
ok "QEMU is killed in the middle of a copy: no backup, and the next one is right"

# A disk that only the hypervisor has a way to is read through it, while it runs.
truncate -s 8M "$guests/kept-far"
serve qemu-nbd "$work" qemu-nbd --persistent --format=raw --export-name='a disk' \
	--socket="$work/far.sock" "$guests/kept-far"
await "qemu-nbd does not start" "$serve_pid" test -S "$work/far.sock"
guest_devices="<disk type='network' device='disk'>
	<driver name='qemu' type='raw'/><source protocol='nbd' name='a disk'>
	<host transport='unix' socket='$work/far.sock'/></source>
	<target dev='vdc' bus='virtio'/></disk>"
make_guest far
guest_devices=
expect 0 "$fb" -c "$conf" topology
cp "$work/stdout" "$work/topology"
expect 0 vir start far
expect 0 "$fb" -c "$conf" topology
cmp "$work/stdout" "$work/topology" || fail "it is another one when it runs"
poke far 2 3M 64k 0x66
expect 0 "$fb" -c "$conf" download -s far
nothing_left far
expect 0 "$fb" -c "$conf" restore far --target "$work/far"
cmp "$guests/kept-far" "$work/far/$(guest_uuid far)/vdc.img" ||
	fail "a network disk differs"
vir destroy far >/dev/null
expect 1 "$fb" -c "$conf" restore far --in-place --yes
grep -q 'a network disk cannot be written' "$work/stderr" ||
	fail "a network disk in place: $(cat "$work/stderr")"
expect 0 "$fb" -c "$conf" download --json -s far
[ "$(jq -c '.machines[].volumes[] | select(.name == "vdc") | .method' \
	"repo/runs/$(jq -r .run "$work/stdout")/manifest.json")" = '"left-out"' ] ||
	fail "a network disk of a guest that is off"
expect 0 vir undefine far --checkpoints-metadata
ok "a network disk is read while its guest runs, and left out of one that is off"

same_as() { # <uuid> <name whose images they are>
	rm -rf "$work/out"
	expect 0 "$fb" -c "$conf" restore "$1" --target "$work/out"
	for same_disk in a b; do
		raw_image "$guests/$2-$same_disk.qcow2"
		cmp "$raw_image" "$work/out/$1/vd$same_disk.img" ||
			fail "$2: disk $same_disk differs"
		rm "$raw_image"
	done
	[ -z "$(find "$work/s" -type s -o -type f ! -name unclean)" ] || fail "left: $(find "$work/s")"
}

# It would be gone if it were stopped, whatever its source says.
sed 's|<name>two</name>|<name>brief</name>|' "$guests/two.xml" >"$work/brief.xml"
expect 0 vir create "$work/brief.xml"
uuid=$(guest_uuid brief)
poke brief 1 2M 64k 0x21
expect 0 "$fb" -c "$conf" --set sources.lab.capture=stop download -s brief
guest_is brief running || fail "brief is $(guest_state brief)"
vir destroy brief >/dev/null
same_as "$uuid" two
ok "a guest that is not defined is backed up while it runs"

# An image of the first qcow2 keeps no account; two disks of one file are one.
qemu-img create -q -f qcow2 -o compat=0.10 "$guests/old-b.qcow2" 64M
qemu-io -f qcow2 -c 'write -P 0x22 5M 100k' "$guests/old-b.qcow2" >/dev/null
guest_devices=$(guest_disk "$guests/old-b.qcow2" vdc)
make_guest old
guest_devices=
uuid=$(guest_uuid old)
expect 0 "$fb" -c "$conf" download -n -s old
grep -q "vdc: .*not captured: it is the same image as 'vdb'" "$work/stdout" ||
	fail "two disks of one file: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" download -s old
same_as "$uuid" old
expect 0 vir detach-disk old vdc --config
expect 0 vir start old
poke old 1 6M 64k 0x23
expect 0 "$fb" -c "$conf" download -s old
vir destroy old >/dev/null
same_as "$uuid" old
ok "two disks of one file are one, and an old image is read in full"

# It is on its way to another hypervisor, which waits for the end of the job.
here_uri=$libvirt_uri here_dir=$libvirt_dir here_pid=$libvirt_pid
start_libvirtd there
there_uri=$libvirt_uri
libvirt_uri=$here_uri libvirt_dir=$here_dir libvirt_pid=$here_pid
expect 0 vir start two
uuid=$(guest_uuid two)
poke two 1 7M 64k 0x31
begin two
migrate() {
	vir migrate --live --unsafe --persistent --undefinesource two \
		"$there_uri" --migrateuri "unix://$work/migrate.sock"
}
migrate >"$work/migrate" 2>&1 &
migrate_pid=$!
ended
[ $rc -eq 0 ] || fail "it was to migrate: exit $rc: $(cat "$work/stdout")"
# libvirt itself waits for half a minute.
wait $migrate_pid || expect 0 migrate
! vir domuuid two >/dev/null 2>&1 || fail "two is here still"
expect 0 "$fb" -c "$conf" recover
libvirt_uri=$there_uri
guest_is two running || fail "two is $(guest_state two) there"
vir destroy two >/dev/null
vir undefine two --checkpoints-metadata
libvirt_uri=$here_uri
make_guest two
same_as "$uuid" two
ok "a guest that is to migrate waits for the end of its backup"

expect 0 vir start two
begin two
uuid=$(guest_uuid two)
vir destroy two >/dev/null
expect 0 vir undefine two --checkpoints-metadata
ended
[ $rc -ne 0 ] || fail "a guest that is gone was backed up"
expect 0 "$fb" -c "$conf" recover
[ -z "$(find "$work/s" -type s -o -type f ! -name unclean)" ] || fail "left: $(find "$work/s")"
expect 0 "$fb" -c "$conf" download -s one
ok "a guest that is gone in the middle of a copy leaves nothing"
