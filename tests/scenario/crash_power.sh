#!/bin/sh
# Power loss, truly: the file system with the repository and the state goes
# down under a download, is mounted again, and the next download finishes the
# work.  On ext4 and on XFS, with and without their log's last records.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
requires_root
requires mkfs.ext4 mkfs.xfs
. "$here/../crash/harness.sh"

crash_base
[ -n "$mounted" ] || {
	echo 'skip  no file system can be mounted'
	exit 77
}
place=$work/place
mkdir "$place"
trap 'cd /; power_off; crash_end' EXIT

power_off() {
	cd /
	# A guardian may be at its end still.
	n=0
	# (A file system that is down cannot be asked.)
	while grep -q " $place " /proc/mounts && ! umount "$place" 2>/dev/null; do
		n=$((n + 1))
		[ $n -lt 100 ] || umount -l "$place"
		sleep 0.1
	done
}

power_on() {
	mount -o loop "$work/place.img" "$place"
	cd "$dir"
}

# The machines are elsewhere, and stay.
crash_fleet
mv machines "$base/machines"
sed -i "s|root: ./machines|root: $base/machines|" fleetbak.yaml
ln -s "$base/machines" machines
retry rm -rf "$pristine"
mv "$dir" "$pristine"
keep_machines=yes
dir=$place/dir

format() { # <type> [option...]
	power_off
	rm -f "$work/place.img"
	truncate -s 320M "$work/place.img"
	"mkfs.$1" -q "$work/place.img"
	mount -o loop "$work/place.img" "$place"
	cp -a "$pristine" "$dir"
	sync -f "$place"
	fs=$1
}

act() {
	sync -f "$place"
	run FLEETBAK_CRASH_PLACE="$place" fleetbak download
}

projection() {
	jq -S '[.machines[] | {id, failure, parent, role, lifecycle, level,
		description, volumes: [.volumes[] | {name, kind, size, root}]}]' \
		"$(find repo/runs -name manifest.json | sort | tail -1)"
}

mend() {
	power_off
	power_on
	[ "$(run fleetbak recover)" -eq 0 ] || fail "$what: recover"
	for m in copy snap; do
		[ -e machines/$m/up ] || fail "$what: $m is down"
	done
	id=$(next_session)
	got=$(run FLEETBAK_SESSION="$id" fleetbak download)
	[ "$got" -eq 0 ] || fail "$what: the next run: exit $got"
}

judge() {
	judge_power
	outcome=$fs,
	for m in copy snap; do
		effects=$(effects_of $m)
		outcome=$outcome$m:$effects,
		case $effects in
		1.1.1 | 2.2.[12]) ;;
		*) fail "$what: $m: stops, starts, snapshots: $effects" ;;
		esac
	done
	projection >"$work/got"
	cmp -s "$work/want" "$work/got" || {
		diff "$work/want" "$work/got"
		fail "$what: another manifest"
	}
	[ -z "$(ls state/runs)" ] || fail "$what: the run was not cleared away"
	judge_repository
}

for type in ext4 xfs; do
	format $type
	survey
	projection >"$work/want"
	crash_loop power 14
	crash_loop log 28
done
