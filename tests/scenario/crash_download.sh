#!/bin/sh
# Kill a download before each of its durable steps in turn; the next download
# must finish the work, repeat no snapshot, leave no machine stopped, and
# commit what an undisturbed one commits.  One machine with each lifecycle.
# In memory where that is possible: a run syncs hundreds of times.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
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
	trap 'cd /; umount "$base" && rm -rf "$work"' EXIT
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
		"$(find "$1/repo/runs" -name manifest.json | sort | tail -1)"
}
FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c fleetbak.yaml download
projection . >"$work/want"
[ "$(jq length "$work/want")" = 4 ] || fail "not four machines"
want=$work/want
steps=$(wc -l <"$work/steps")
[ "$steps" -gt 50 ] || fail "only $steps steps: no fault points?"
[ "$steps" -lt 600 ] || fail "$steps durable steps for four small machines"

check() { # <what> <commits>: the promises, after the next download
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
	commits=$(find repo/commits -type f | wc -l)
	[ "$commits" -eq "$2" ] || fail "$1: $commits commits instead of $2"
	projection . >"$work/got"
	cmp -s "$want" "$work/got" || {
		diff "$want" "$work/got" | head -20
		fail "$1: another manifest"
	}
	[ -z "$(ls state/runs)" ] || fail "$1: the run was not cleared away"
	expect 0 "$fb" -c fleetbak.yaml verify --full
}

crash_at() { # <step> <how> <worker>: 1 when the run was not stopped
	dir=$base/work$3
	cd "$base"
	rm -rf "$dir"
	cp -a --reflink=auto "$base/pristine" "$dir"
	cd "$dir"
	status=$(FLEETBAK_CRASH=$1:$2 status_of "$fb" -c fleetbak.yaml download)
	[ "$status" -ne 0 ] || return 1
	[ "$status" -eq 137 ] || fail "step $1 $2: exit $status"
	# Whoever dies after his last record has finished: the next run is another.
	commits=1
	grep -qs '^[0-9]* [0-9a-f]* end ' state/runs/*/journal && commits=2
	[ -n "$(find state -path '*/runs/*/journal' 2>/dev/null)" ] ||
		[ -z "$(find repo/commits -type f 2>/dev/null)" ] || commits=2
	# The guardian may be at work: the next run waits for it.
	got=$(status_of "$fb" -c fleetbak.yaml download --lock-wait 60s)
	[ "$got" -eq 0 ] || fail "step $1 $2: the next run: exit $got"
	check "step $1 $2" "$commits"
}

# What one worker does: every step that is its turn, until one is not reached.
loop() { # <how> <worker> <workers>: the steps come from standard input
	crashes=0
	turn=0
	while read -r step; do
		turn=$((turn + 1))
		[ $((turn % $3)) -eq "$2" ] || continue
		crash_at "$step" "$1" "$2" || break
		crashes=$((crashes + 1))
	done
	echo $crashes >"$base/crashes.$1.$2"
}

worker() { # <how> <worker>: with a directory of its own for what is said
	work=$work/$2
	mkdir -p "$work"
	loop "$1" "$2" 2
}

# Two at a time, each with a fleet of its own.
crash_all() { # <how> <file with step numbers>
	worker "$1" 0 <"$2" &
	one=$!
	worker "$1" 1 <"$2" &
	two=$!
	rc=0
	wait $one || rc=1
	wait $two || rc=1
	[ $rc -eq 0 ] || exit 1
	crashes=$(($(cat "$base/crashes.$1.0") + $(cat "$base/crashes.$1.1")))
	[ "$crashes" -gt $((15 / few)) ] || fail "only $crashes crashes ($1)"
	ok "recovered from $crashes crashes ($1${mounted:+, with snapshots})"
}

# Every step is killed (and some beyond, should a run take more of them); a
# torn write is tried at every fourth write, lost bytes at every eighth step.
# Under a sanitizer, which is slow and looks for something else, a few of each.
case ${FB_VARIANT:-debug} in
debug) few=1 ;;
*) few=7 ;;
esac
seq 1 "$few" $((steps + 50)) >"$work/kill"
awk -v every=$((4 * few)) '$2 == "write" && ++n % every == 0 { print $1 }' \
	"$work/steps" >"$work/torn"
awk -v every=$((8 * few)) '++n % every == 3 { print $1 }' \
	"$work/steps" >"$work/lost"
crash_all kill "$work/kill"
crash_all torn "$work/torn"
crash_all lost "$work/lost"
