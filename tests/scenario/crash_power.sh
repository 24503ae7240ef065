#!/bin/sh
# Power loss, truly: the file system with the repository and the state goes
# down under a download, a restore into a directory of it, a prune, or a
# recover, is mounted again, and the next one finishes the work.  On ext4 and on XFS, with and without their log's last records.
# shellcheck disable=SC2317 # the harness calls what is defined here
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
# Apart from all others: who makes a namespace meanwhile would copy the mount,
# hold the file system that went down, and have mount(8) bring that one again.
[ -n "${FB_APART:-}" ] || ! unshare --mount true 2>/dev/null ||
	FB_APART=yes exec unshare --mount sh "$0"
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
		[ $n -lt 600 ] || umount -l "$place"
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
	cp "$work/calm.steps" "$work/first.steps"
	crash_loop power 20
	crash_loop log 40
done

# What the other acts begin with: two runs, of which the first is given up.
format ext4
fresh
cut_at=
echo 'retention: {grace: 0s}' >>fleetbak.yaml
for n in 1 2; do
	echo "only in run $n" >"$base/machines/copy/data/hello.txt"
	got=$(run FLEETBAK_CLOCK=$((clock + n)) \
		FLEETBAK_SESSION=2027011${n}-080000000-0000000$n \
		fleetbak download)
	[ "$got" -eq 0 ] || fail "run $n: exit $got"
done
clock=$((clock + 86400))
got=$(run FLEETBAK_SESSION=20270113-080000000-00000003 \
	fleetbak forget --yes 20270111-080000000-00000001)
[ "$got" -eq 0 ] || fail "forget: exit $got"
keep_machines= # all of $dir is made anew; they lie elsewhere
retry rm -rf "$pristine"
cp -a "$dir" "$pristine"

cut_fleetbak() { # ARG...
	sync -f "$place"
	run FLEETBAK_CRASH_PLACE="$place" fleetbak "$@"
}

mend_prune() {
	power_off
	power_on
	nothing_lost repo "$what"
	# The dead one's session is open: it is fenced off when it is old.
	for later in 30 60; do
		got=$(run FLEETBAK_CLOCK=$((clock + later * 86400)) \
			FLEETBAK_SESSION=202702${later}-080000000-00000001 \
			fleetbak prune --yes)
		[ "$got" -ne 11 ] || continue
		break
	done
	[ "$got" -eq 0 ] || fail "$what: the next prune: exit $got"
	nothing_lost repo "$what, finished"
	outcome=$fs,pruned
}

objects() {
	(cd repo && find packs recipes runs commits forgets -type f \
		! -name '*.sig' | sort)
}

judge_prune() {
	objects >"$work/got"
	cmp -s "$work/want" "$work/got" || {
		diff "$work/want" "$work/got"
		fail "$what: other objects than undisturbed"
	}
	judge_repository
}

mend_restore() {
	power_off
	power_on
	id=$(find state/restores -mindepth 1 -maxdepth 1 -printf '%f\n' \
		2>/dev/null | tail -n 1)
	got=1
	outcome=$fs,again
	if [ -n "$id" ]; then
		got=$(run fleetbak restore --resume "$id" --yes)
		[ "$got" -ne 0 ] || outcome=$fs,resumed
		[ "$got" -eq 0 ] || grep -q E-RST-RESUME "$work/stderr" ||
			fail "$what: resume: exit $got"
	fi
	[ "$got" -eq 0 ] || whole || {
		got=$(run FLEETBAK_SESSION=20270116-080000000-0000000b \
			fleetbak restore copy snap --target out)
		[ "$got" -eq 0 ] || fail "$what: once more: exit $got"
	}
}

whole() {
	cmp -s "$base/machines/copy/disk.img" out/copy/root.img &&
		cmp -s "$base/machines/snap/disk.img" out/snap/root.img &&
		same_tree "$base/machines/copy/data" out/copy/data
}

judge_restore() {
	whole || fail "$what: it is not as it was backed up"
	judge_repository
}

act_recover() {
	rm -f machines/copy/up
	: >machines/copy/effects
	cut_fleetbak recover
}

mend_recover() {
	power_off
	power_on
	got=$(run fleetbak recover)
	[ "$got" -eq 0 ] || fail "$what: the next recover: exit $got"
	[ -e machines/copy/up ] || fail "$what: it is down"
	outcome=$fs,copy:$(effects_of copy)
	[ "$outcome" = "$fs,copy:0.1.0" ] || fail "$what: $outcome"
	[ "$(run fleetbak recover)" -eq 0 ] || fail "$what: once more"
	grep -q 'nothing is owed' "$work/stdout" || fail "$what: it is owed"
}

act() { cut_fleetbak prune --yes; }
mend() { mend_prune; }
judge() { judge_prune; }
for type in ext4 xfs; do
	format $type
	survey
	objects >"$work/want"
	crash_loop power 24
	crash_loop log 48
done

act() { cut_fleetbak restore copy snap --target out; }
mend() { mend_restore; }
judge() { judge_restore; }
for type in ext4 xfs; do
	format $type
	survey
	crash_loop power 16
	crash_loop log 32
done

# A run that died with a machine down, and nobody to start it.
fresh
: >machines/copy/fail-start
number=$(grep -n . "$work/first.steps" | sed -n \
	's/^[0-9]*:\([0-9]*\) write .* machine snapshotted lab\/copy$/\1/p')
cut_at=$number:kill
[ "$(run fleetbak download)" -eq 137 ] || fail "the run was not cut off"
cut_at=
[ "$(run fleetbak recover)" -ne 0 ] || fail "it was started"
left_alone "$dir"
rm machines/copy/fail-start
retry rm -rf "$pristine"
cp -a "$dir" "$pristine"
act() { act_recover; }
mend() { mend_recover; }
judge() { judge_repository; }
for type in ext4 xfs; do
	format $type
	survey
	crash_loop power 5
	crash_loop log 10
done
