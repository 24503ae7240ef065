#!/bin/sh
# Kill a download before each of its durable steps in turn; the next download
# must finish the work, repeat no snapshot, leave no machine stopped, and
# commit what an undisturbed one commits.  One machine with each lifecycle.
. "$(dirname "$0")/lib.sh"
requires_faults
requires jq

# A file system with reflinks, where root may mount one: there a machine is
# started again before it is read.
base=$work/fs
mkdir -p "$base"
mounted=
if [ "$(id -u)" -eq 0 ] && command -v mkfs.xfs >/dev/null &&
	truncate -s 400M "$work/fs.img" &&
	mkfs.xfs -q -m reflink=1 "$work/fs.img" 2>/dev/null &&
	mount -o loop "$work/fs.img" "$base" 2>/dev/null; then
	mounted=yes
	trap 'umount "$base"; rm -rf "$work"' EXIT
fi

make_fleet "$base/calm" 0
cd "$base/calm"
sed -i 's/jobs: 2/jobs: 1/' "$conf"
for m in copy snap live down; do make_machine machines $m; done
# snap: disks only, so that a snapshot holds all of it (with reflinks)
sed -i '/kind: tree/d' machines/snap/machine.yaml
rm -r machines/snap/data
# live: no commands
sed -i '/^start:/d; /^stop/d; /^status:/d; /_timeout:/d' machines/live/machine.yaml
rm machines/down/up
for m in copy snap live down; do truncate -s 1M machines/$m/disk.img; done
expect 0 "$fb" -c fleetbak.yaml init
cp -a --reflink=auto "$base/calm" "$base/pristine"

# What must come out, whatever happens: per machine its result, size and root.
projection() {
	jq -S '[.machines[] | {id, failure, parent, role, volumes:
		[.volumes[] | {name, kind, size, root}]}]' \
		"$1"/repo/runs/*/manifest.json
}
FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c fleetbak.yaml download
projection . >"$work/want"
[ "$(jq length "$work/want")" = 4 ] || fail "not four machines"
steps=$(wc -l <"$work/steps")
[ "$steps" -gt 50 ] || fail "only $steps steps: no fault points?"

check() { # <what>: the promises, after the next download
	[ -e machines/copy/up ] && [ -e machines/snap/up ] ||
		fail "$1: a machine was left stopped"
	[ ! -e machines/down/up ] || fail "$1: a machine that was down was started"
	for m in copy snap; do
		[ "$(grep -c stop machines/$m/effects)" -le \
			"$(grep -c start machines/$m/effects)" ] ||
			fail "$1: $m was stopped more often than started"
		[ "$(grep -c stop machines/$m/effects)" -le 2 ] ||
			fail "$1: $m was stopped more than twice"
	done
	[ -z "$(find machines -path '*/.fleetbak/*')" ] ||
		fail "$1: a snapshot was left: $(find machines -path '*/.fleetbak/*')"
	[ "$(find repo/commits -type f | wc -l)" = 1 ] ||
		fail "$1: $(find repo/commits -type f | wc -l) commits"
	projection . >"$work/got"
	cmp -s "$work/want" "$work/got" || {
		diff "$work/want" "$work/got" | head -20
		fail "$1: another manifest"
	}
	[ -z "$(ls state/runs)" ] || fail "$1: the run was not cleared away"
	expect 0 "$fb" -c fleetbak.yaml verify --full
}

crash_at() { # <step> <how>: 0 when the run was not stopped
	cd "$base"
	rm -rf "$base/work"
	cp -a --reflink=auto "$base/pristine" "$base/work"
	cd "$base/work"
	status=$(FLEETBAK_CRASH=$1:$2 status_of "$fb" -c fleetbak.yaml download)
	[ "$status" -ne 0 ] || return 0
	[ "$status" -eq 137 ] || fail "step $1 $2: exit $status"
	# The guardian may be at work: the next run waits for it.
	got=$(status_of "$fb" -c fleetbak.yaml download --lock-wait 60s)
	[ "$got" -eq 0 ] || fail "step $1 $2: the next run: exit $got"
	check "step $1 $2"
	return 1
}

for how in kill torn lost; do
	# Every step is killed; torn and lost look at every third, and begin
	# elsewhere each, so that together they cover all kinds of step.
	case $how in
	kill) step=1 stride=1 ;;
	torn) step=1 stride=3 ;;
	lost) step=2 stride=3 ;;
	esac
	crashes=0
	until crash_at "$step" "$how"; do
		step=$((step + stride))
		crashes=$((crashes + 1))
		[ $step -lt 2000 ] || fail "it never ends"
	done
	[ $crashes -gt 15 ] || fail "only $crashes crashes ($how)"
	ok "recovered from $crashes crashes ($how${mounted:+, with snapshots})"
done
