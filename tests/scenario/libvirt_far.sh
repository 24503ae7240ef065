#!/bin/sh
# Guests of another host, over ssh: a libvirtd and an sshd in namespaces of their
# own, whose files fleetbak does not see.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for a guest
if [ -z "${FAR_INSIDE:-}" ] && [ "$(id -u)" -eq 0 ]; then
	FAR_INSIDE=1 exec unshare --net --mount sh "$0"
fi
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
. "$(dirname "$0")/../servers/libvirtd_far.sh"
requires jq ip ssh openssl /usr/sbin/sshd

mkdir -p /var/lib/libvirt
mount -t tmpfs tmpfs /var/lib/libvirt
far_certificates
start_libvirtd
far_up
guest_boots=no guest_channel=no
make_guest one
make_guest off
boot_file "$guests/kept-kernel"
uuid=$(guest_uuid off)
vir dumpxml --inactive off | sed "s|</os>|<kernel>$guests/kept-kernel</kernel>\
<loader readonly='yes' type='pflash'>$guests/kept-code</loader>\
<nvram>$guests/kept-vars</nvram></os>|" >"$work/off.xml"
truncate -s 256K "$guests/kept-code" "$guests/kept-vars"
echo "the firmware's" | dd of="$guests/kept-vars" conv=notrunc status=none
cp "$guests/kept-kernel" "$work/kernel"
expect 0 vir define "$work/off.xml"
expect 0 vir start one
far_fleet "$work/f" 'capture: live'
sed -i 's/jobs: 2/verify_unchanged: 0%, jobs: 2/' "$conf"
cd "$work/f" || exit 1
expect 0 "$fb" -c "$conf" init
poke_off() { # <byte> <offset> <length>
	qemu-io -f qcow2 -c "write -P $1 $2 $3" "$guests/off-a.qcow2" >/dev/null
}
sums() { # <image>...: of what is in them
	for sums_image; do
		raw_image "$sums_image"
		sha256sum <"$raw_image"
		rm "$raw_image"
	done
}
nothing_far() {
	[ -z "$(in_spaces find /var/lib/libvirt/fleetbak -mindepth 1)" ] ||
		fail "left there: $(in_spaces find /var/lib/libvirt/fleetbak)"
	[ -z "$(ls "$far_dir/tmp")" ] || fail "left there: $(ls "$far_dir/tmp")"
}
poke one 0 3M 100k 0x11
poke_off 0x12 3M 100k
expect 0 far download -n
grep -q "one.*" "$work/stdout" || fail "no plan: $(cat "$work/stdout")"
expect 0 far download
sums "$guests"/off-[ab].qcow2 >"$work/was"
nothing_left one off
nothing_far
ok "guests of another host are captured over ssh, running and off"

# What a run that was killed has left there goes with the next one.
if [ "${FB_VARIANT:-debug}" != release ]; then
	expect 137 env FLEETBAK_CRASH=driver.2:kill \
		unshare --mount sh "$far_dir/fleetbak" -c "$conf" download one
	[ -n "$(in_spaces find /var/lib/libvirt/fleetbak -mindepth 1)" ] ||
		fail "nothing was there to be left"
	left_alone "$work/f"
	expect 0 far recover
	expect 0 far download one
	nothing_left one
	nothing_far
	ok "what a run that was killed has left on another host goes"
fi
expect 0 far restore one --target "$work/out"
one=$(guest_uuid one)
vir destroy one >/dev/null
for disk in a b; do
	raw_image "$guests/one-$disk.qcow2"
	cmp "$raw_image" "$work/out/$one/vd$disk.img" || fail "vd$disk of one differs"
done
rm "$guests"/*.raw
rm -r "$work/out"

# Off now, what changed is told by the bitmap in its image there.
expect 0 far download one
! grep -q E-CHANGE-MAP "$work/stderr" || fail "full: $(cat "$work/stderr")"
grep -Eq "^read [0-9.]+ (B|KiB) " "$work/stderr" ||
	fail "it was read in full: $(cat "$work/stderr")"
ok "of one that is off what changed is read, by the bitmap in its image there"

# In place, by the blocks that differ; and made again when it is gone.
poke_off 0x22 3M 50k
poke_off 0x33 40M 1M
echo "written since" | dd of="$guests/kept-vars" conv=notrunc status=none
rm "$guests/kept-kernel"
expect 0 far restore off --in-place -n
grep -q "its kernel into '$guests/kept-kernel'" "$work/stdout" ||
	fail "the plan does not tell of the kernel: $(cat "$work/stdout")"
expect 0 far restore off --in-place --yes
as_was() {
	sums "$guests"/off-[ab].qcow2 | cmp -s - "$work/was" &&
		cmp -s "$guests/kept-kernel" "$work/kernel" &&
		grep -q "the firmware's" "$guests/kept-vars" ||
		fail "off is not as it was"
}
as_was
vir undefine off --nvram >/dev/null
rm "$guests"/off-[ab].qcow2 "$guests/kept-kernel"
expect 0 far restore off --in-place --yes
[ "$(guest_uuid off)" = "$uuid" ] || fail "off is another one"
as_was
nothing_left off
nothing_far
ok "a guest of another host is restored over ssh, in place and when it is gone"

# As another one, into a pool and a file there.
mkdir "$guests/kept"
expect 0 vir pool-create-as 'a pool' dir --target "$guests/kept"
: >"$guests/kept/taken"
refused() { # <what is said> <options>...
	refused_why=$1
	shift
	expect 1 far restore off --as new "$@" --yes
	grep -qF "$refused_why" "$work/stderr" ||
		fail "'$refused_why' is not said: $(cat "$work/stderr")"
}
refused "kept/taken' exists already" --map "disk:vda=$guests/kept/taken"
refused "it is the disk 'vda' of the domain 'one'" --map "disk:vda=$guests/one-a.qcow2"
refused "its disk 'vdb' goes there too" --map "disk:*=$guests/kept/one"
expect 0 far restore off --as new --map 'disk:vda=a pool/' --map format:vda=raw \
	--map "disk:vdb=$guests/kept/" --start --yes
guest_is new running || fail "new is $(guest_state new)"
vir destroy new >/dev/null
sums "$guests/kept/new-vdb.qcow2" >"$work/new"
sha256sum <"$guests/kept/new-vda.img" | cat - "$work/new" | cmp -s - "$work/was" ||
	fail "the disks of new are not the backup's"
[ "$(du -k "$guests/kept/new-vda.img" | cut -f 1)" -lt 32768 ] || fail "not sparse"
nothing_far
ok "a guest of another host is restored as another one into its pools and files"

# Over TLS nobody reaches a file there: guests are made in pools, by libvirt.
sed -i "s|uri: \"[^\"]*\"|uri: \"$far_tls_uri\"|" "$conf"
far download -n >"$work/stdout" 2>&1 || :
grep -q "over ssh only" "$work/stdout" || fail "a capture: $(cat "$work/stdout")"
far restore one --in-place --yes >"$work/stdout" 2>&1 &&
	fail "images there were written over"
grep -q "over ssh only" "$work/stdout" || fail "in place: $(cat "$work/stdout")"
expect 0 vir vol-create-as 'a pool' old 64M --format raw
head -c 64M /dev/zero | tr '\0' '\377' >"$guests/kept/old"
third() { # [option]...
	far restore one --as third --map 'disk:vda=a pool/' \
		--map 'disk:vdb=a pool/old' --yes "$@"
}
expect 1 third
grep -q "raw images only: --map format:vda=raw" "$work/stderr" ||
	fail "an image in qcow2: $(cat "$work/stderr")"
expect 0 third --map format:vda=raw --start
guest_is third running || fail "third is $(guest_state third)"
vir destroy third >/dev/null
sums "$guests"/one-[ab].qcow2 >"$work/one"
for disk in third-vda.img old; do
	sha256sum <"$guests/kept/$disk"
done | cmp -s - "$work/one" || fail "the disks of third are not the backup's"
[ "$(du -k "$guests/kept/third-vda.img" | cut -f 1)" -lt 32768 ] || fail "not sparse"
ok "over TLS a guest is made in pools, also in a volume that is there"
