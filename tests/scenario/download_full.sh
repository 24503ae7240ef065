#!/bin/sh
# A disk fills up in the middle of a run, the spool's or the repository's:
# every machine is up again, the exit code says why, no machine counts as
# backed up or as failed, and the next run goes on when there is room.
. "$(dirname "$0")/lib.sh"
requires jq
requires_root

mounted=
clean_up() {
	for clean_up_dir in $mounted; do unmount "$clean_up_dir"; done
	clear_work
}
trap clean_up EXIT

small() { # <directory> <size>: a file system of its own
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2" tmpfs "$1" 2>/dev/null || {
		echo 'skip  cannot mount a tmpfs'
		exit 77
	}
	mounted="$PWD/$1 $mounted"
}

noise() { # <machine>: a disk that cannot be compressed
	head -c 6M /dev/urandom >"machines/$1/disk.img"
}

all_up() { # <what>
	for m in m1 m2; do [ -e machines/$m/up ] || fail "$1: $m is down"; done
}

full() { # <what>: it stops with 17, everything up, nothing promised
	expect 17 "$fb" -c "$conf" download --json
	jq -e '(.committed | not) and
		([.machines[] | select(.result == "ok")] | length == 0) and
		([.machines[] | select(.result == "failed")] | length == 0)' \
		"$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
	! grep -q ' ok  ' "$work/stderr" || fail "$1: it says ok"
	all_up "$1"
	expect 0 "$fb" -c "$conf" recover -n
}

goes_on() { # <what>
	run=$(ls state/runs)
	expect 0 "$fb" -c "$conf" download --json
	[ "$(field run)" = "$run" ] || fail "$1: another run"
	jq -e '[.machines[] | select(.result == "ok")] | length == 2' \
		"$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
	all_up "$1"
	[ -z "$(ls state/runs)" ] || fail "$1: something was left"
	expect 0 "$fb" -c "$conf" verify --full
}

for jobs in 1 2; do
	make_fleet "$work/$jobs" 2
	cd "$work/$jobs"
	sed -i "s/jobs: 2/jobs: $jobs/" "$conf"
	noise m1
	noise m2
	small state 3M
	expect 0 "$fb" -c "$conf" init
	full "the spool, $jobs at once"
	mount -o remount,size=64M state
	goes_on "the spool, $jobs at once"
	ok "the state directory is full, $jobs at once"

	rm -r repo
	small repo 7500k
	expect 0 "$fb" -c "$conf" init
	full "the repository, $jobs at once"
	mount -o remount,size=64M repo
	goes_on "the repository, $jobs at once"
	ok "the repository is full, $jobs at once"
done

# One machine, the last: what its copy needs at the end is not there.
noise m1
noise m2
mount -o remount,size=$(($(du -sk repo | cut -f1) + 4500))k repo
expect 17 "$fb" -c "$conf" download m1 --json
jq -e '.machines[0].result == "skipped"' "$work/stdout" >/dev/null ||
	fail "$(cat "$work/stdout")"
all_up "the last machine"
mount -o remount,size=64M repo
expect 0 "$fb" -c "$conf" download m1
ok "a full repository is not the machine's fault"

# The journal's disk is full at the very moment at which machines are down.
for m in m1 m2; do
	sed "s|rm -f up ;;|rm -f up; dd if=/dev/zero of=$PWD/state/fill bs=4k 2>/dev/null \|\|:;;|" \
		machines/$m/ctl >ctl.new
	cp machines/$m/ctl ctl.$m
	cat ctl.new >machines/$m/ctl
done
grep -q state/fill machines/m1/ctl || fail "the test fills nothing"
mount -o remount,size=16M state
full "the journal"
for m in m1 m2; do cat ctl.$m >machines/$m/ctl; done
rm state/fill
goes_on "the journal"
ok "the journal cannot be written while a machine is down"
