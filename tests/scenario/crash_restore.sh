#!/bin/sh
# Kill a restore before each of its durable steps in turn: in place, as a new
# machine, into a directory.  A half-restored machine stays down, one that was
# not touched comes up, and what is run next ends with all of it restored.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
act() { run fleetbak download; }
cut_at=
[ "$(act)" -eq 0 ] || fail "download"
retry rm -rf state/runs
cp -a machines "$base/saved"
cp -a --reflink=auto "$dir" "$pristine"

unfinished() {
	find state/restores -mindepth 1 -maxdepth 1 -printf '%f\n' \
		2>/dev/null | tail -n 1
}

# go_on <command>...: continue the restore that was cut off, or, when it had
# not begun or had ended, ask for it once more unless all of it is there.
go_on() {
	id=$(unfinished)
	way=again
	if [ -n "$id" ]; then
		got=$(run fleetbak restore --resume "$id" --yes)
		if [ "$got" -eq 0 ]; then
			way=resumed
			return
		fi
		grep -q E-RST-RESUME "$work/stderr" ||
			fail "$what: resume: exit $got"
	fi
	if whole; then
		way=over
		return
	fi
	got=$(run FLEETBAK_SESSION=20270115-080000000-0000000b "$@")
	[ "$got" -eq 0 ] || fail "$what: the next run: exit $got"
}

same_machine() { # <dir>: the machine there is as it was backed up
	cmp -s "$base/saved/$2/disk.img" "$1/disk.img" &&
		{ [ ! -e "$base/saved/$2/data" ] ||
			same_tree "$base/saved/$2/data" "$1/data"; }
}

# Restored trees, with all that is known of a file but its inode and when it
# was last changed or looked at: the same bytes as undisturbed.
all_of() { # <tree>...
	for tree; do
		find "$tree" -printf '%y %m %U:%G %T@ %n %p %l\n'
		find "$tree" -type f -exec sha256sum {} +
	done | sort
}

same_as_calm() { # <tree>...
	all_of "$@" >"$work/got.trees"
	cmp -s "$work/calm.trees" "$work/got.trees" || {
		diff "$work/calm.trees" "$work/got.trees"
		fail "$what: another tree than undisturbed"
	}
}

# In place: two machines that are stopped for it, one that was down.
scribble() {
	for m in copy snap down; do
		printf 'scribble' | dd of=machines/$m/disk.img bs=1 \
			seek=700000 conv=notrunc status=none
		: >machines/$m/effects
	done
	echo changed >machines/copy/data/hello.txt
	echo more >machines/copy/data/extra
	rm machines/down/data/sub/link
}
cd "$pristine"
scribble
cp -a machines "$base/scribbled"

whole() {
	for m in copy snap down; do
		same_machine machines/$m $m || return 1
	done
}

act() {
	run fleetbak restore --in-place --yes copy snap down
}

untouched() { # <machine>
	cmp -s "$base/scribbled/$1/disk.img" "machines/$1/disk.img" &&
		{ [ ! -e "machines/$1/data" ] ||
			same_tree "$base/scribbled/$1/data" "machines/$1/data"; }
}

mend() {
	# The guardian may be at work, or have done it already.
	got=$(run fleetbak recover)
	case $got in
	0 | 20) ;; # 20: something is half-restored
	*) fail "$what: recover: exit $got" ;;
	esac
	for m in copy snap; do
		if [ -e machines/$m/up ]; then
			same_machine machines/$m $m || untouched $m ||
				fail "$what: $m is half-restored and up"
		else
			! untouched $m || [ -n "$(unfinished)" ] ||
				fail "$what: $m is untouched and down"
		fi
	done
	go_on fleetbak restore --in-place --yes copy snap down
}

judge() {
	judge_power
	whole || fail "$what: it is not as it was backed up"
	same_as_calm machines/copy/data machines/down/data
	outcome=$way
	for m in copy snap; do
		effects=$(effects_of $m)
		outcome=$outcome,$m:$effects
		case $effects in
		1.1.0 | 2.2.0) ;;
		*) fail "$what: $m: stops, starts, snapshots: $effects" ;;
		esac
	done
	judge_repository
}

survey
all_of machines/copy/data machines/down/data >"$work/calm.trees"
crash_loop kill 2
crash_loop torn 4 write
crash_loop lost 8

# As a new machine.
retry rm -rf "$pristine/machines"
cp -a "$base/saved" "$pristine/machines"

whole() {
	[ -e machines/new/up ] && same_machine machines/new copy
}

act() {
	run fleetbak restore copy --as new --start
}

mend() {
	[ ! -e machines/new ] || same_machine machines/new copy ||
		fail "$what: a half machine has its name"
	go_on fleetbak restore copy --as new --start
}

judge() {
	judge_power
	whole || fail "$what: it is not as it was backed up"
	same_as_calm machines/new/data
	outcome=$way,new:$(effects_of new)
	case $outcome in
	*:0.1.0) ;;
	*) fail "$what: starts: $outcome" ;;
	esac
	left=$(find machines/.fleetbak-new -mindepth 1 2>/dev/null || true)
	[ -z "$left" ] || fail "$what: left: $left"
	judge_repository
}

survey
all_of machines/new/data >"$work/calm.trees"
crash_loop kill 2
crash_loop lost 8

# Into a directory.
whole() {
	cmp -s "$base/saved/copy/disk.img" out/copy/root.img &&
		cmp -s "$base/saved/snap/disk.img" out/snap/root.img &&
		same_tree "$base/saved/copy/data" out/copy/data
}

act() {
	run fleetbak restore copy snap --target out
}

mend() {
	for m in copy snap; do
		[ ! -e out/$m ] ||
			cmp -s "$base/saved/$m/disk.img" out/$m/root.img ||
			fail "$what: a half machine has its name"
	done
	go_on fleetbak restore copy snap --target out
}

judge() {
	whole || fail "$what: it is not as it was backed up"
	same_as_calm out/copy/data
	outcome=$way
}

survey
all_of out/copy/data >"$work/calm.trees"
crash_loop kill 2
crash_loop lost 8
