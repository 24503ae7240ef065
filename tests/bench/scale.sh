#!/bin/sh
# How memory and time grow with the fleet, the runs and the repository.
#
#	scale.sh FLEETBAK MEASURE MKINDEX     (`make bench-scale` builds and calls it)
#
# SCALE_MAX=100000000     chunks in the largest repository
# SCALE_MACHINES=10000    machines in the largest fleet
# SCALE_RUNS=1000         runs in the longest history
# SCALE_DIR=DIR           where to work; else the fleets are in /dev/shm, because
#                         each machine's steps are synced, and the repositories,
#                         which take 5 GiB, in $TMPDIR or /tmp
#
# tests/bench/scale.md explains the tables.  Fails when a process ever needed
# more than 256 MiB, or a chunk that the repository has was not found.
set -eu

fleetbak=$(realpath "$1") measure=$(realpath "$2") mkindex=$(realpath "$3")
chunks_max=${SCALE_MAX:-100000000}
machines_max=${SCALE_MACHINES:-10000}
runs_max=${SCALE_RUNS:-1000}
memory_max=256

fail() {
	echo "bench-scale: $*" >&2
	exit 1
}
for number in "$chunks_max" "$machines_max" "$runs_max"; do
	case $number in
	'' | *[!0-9]* | 0*) fail "'$number' is not a number" ;;
	esac
done
unset FLEETBAK_CONFIG
memory=${SCALE_DIR:-/dev/shm}
[ -w "$memory" ] || memory=${TMPDIR:-/tmp}
small=$(mktemp -d "$memory/fleetbak-scale.XXXXXX")
large=$(mktemp -d "${SCALE_DIR:-${TMPDIR:-/tmp}}/fleetbak-scale.XXXXXX")
base=$small
trap 'rm -rf "$small" "$large"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A new fleet of so many machines, each with one small disk of its own.
fleet() { # COUNT
	work=$base/work
	rm -rf "$work"
	mkdir -p "$work/machines" "$work/spool"
	cat >"$work/fleetbak.yaml" <<-END
		fleet: {name: scale}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  lab: {driver: local, root: ./machines}
		retention: {keep: "last 1", grace: 0s, max_remove: 100%}
	END
	n=0
	while [ "$n" -lt "$1" ]; do
		id=$(printf 'm%06d' "$n")
		mkdir "$work/machines/$id"
		printf 'disk of %s\n' "$id" >"$work/machines/$id/disk.img"
		printf 'id: %s\nvolumes:\n  - {name: root, kind: disk, path: disk.img}\n' \
			"$id" >"$work/machines/$id/machine.yaml"
		n=$((n + 1))
	done
	"$fleetbak" -c "$work/fleetbak.yaml" init >/dev/null 2>&1
}

# timed COMMAND...: its line of figures in $line.
timed() {
	rm -f "$work/line"
	"$measure" "$work/line" "$@" </dev/null >"$work/out" 2>"$work/err" || {
		rc=$?
		tail -n 5 "$work/out" "$work/err" >&2
		fail "exit $rc: $*"
	}
	line=$(cat "$work/line")
	peak=$(echo "$line" | awk '{ print int($3 / 1024) }')
	[ "$peak" -le $memory_max ] ||
		fail "peak of $peak MiB, more than $memory_max: $*"
}

fb() {
	timed "$fleetbak" -c "$work/fleetbak.yaml" "$@"
}

# row COUNT OPERATION: what was timed last, and the CPU time for each of COUNT.
row() {
	echo "$line" | awk -v count="$1" -v what="$2" '{
		printf "%11d  %-22s %9.2f %9.2f %9.1f %12.2f\n", count, what, $1, $2,
		    $3 / 1024, $2 / count * 1e6
	}'
}

table() {
	echo
	printf '%11s  %-22s %9s %9s %9s %12s\n' "$1" '' 'wall s' 'cpu s' \
		'peak MiB' 'cpu us each'
}

# The journal of the run in progress.
journal() {
	find "$work/state/runs" -name 'journal*' -type f 2>/dev/null | head -n 1
}

# A second name for it keeps it when the run is over and takes it away.
watch_journal() {
	while [ ! -e "$work/kept" ]; do
		path=$(journal)
		[ -z "$path" ] || ln "$path" "$work/kept" 2>/dev/null || :
	done
}

first_run() { # COUNT
	watch_journal &
	watcher=$!
	fb download
	row "$1" 'first backup'
	wait "$watcher"
	bytes=$(stat -c %s "$work/kept")
	echo "$1 $bytes" | awk '{
		printf "%11d  journal: %d bytes, %.0f each machine\n", $1, $2, $2 / $1 }'
}

# Killed when its journal is half as long as the first one was.
killed_run() { # COUNT
	"$fleetbak" -c "$work/fleetbak.yaml" download </dev/null >/dev/null 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		path=$(journal)
		size=$(stat -c %s "$path" 2>/dev/null || echo 0)
		[ "$size" -lt $((bytes / 2)) ] || kill -9 $pid 2>/dev/null || :
	done
	wait $pid 2>/dev/null || :
	fb download
	row "$1" 'after kill -9 half-way'
}

fleets() {
	table machines
	count=10
	while [ "$count" -le "$machines_max" ]; do
		fleet "$count"
		fb discover
		row "$count" discover
		fb plan
		row "$count" plan
		first_run "$count"
		fb download
		row "$count" 'nothing changed'
		killed_run "$count"
		for command in status list 'list runs' 'prune -n'; do
			# shellcheck disable=SC2086
			fb $command
			row "$count" "$command"
		done
		count=$((count * 10))
	done
}

histories() {
	table runs
	count=10 made=0
	fleet 10
	while [ "$count" -le "$runs_max" ]; do
		while [ "$made" -lt "$count" ]; do
			"$fleetbak" -c "$work/fleetbak.yaml" download >/dev/null 2>&1
			made=$((made + 1))
		done
		for command in status list 'list runs' 'prune -n'; do
			# shellcheck disable=SC2086
			fb $command
			row "$count" "$command"
		done
		count=$((count * 10))
	done
}

find_chunks() { # COUNT TITLE
	timed "$mkindex" find "$work/repo" "$work/keys/sign.pem" "$work/index" \
		"$work/spool" "$1" 300000
	row "$1" "$2"
	awk -v count="$1" '{
		printf "%11d  load %.2f s; each look-up %.2f us (there), %.2f us (not)\n",
		    count, $1, $2, $3 }' "$work/out"
}

repositories() {
	table chunks
	count=100000
	while [ "$count" -le "$chunks_max" ]; do
		fleet 1
		"$mkindex" make "$work/repo" "$work/keys/sign.pem" "$count"
		find_chunks "$count" 'index, first time'
		find_chunks "$count" 'index, again'
		rm -rf "$work/index"
		fb download
		row "$count" 'first backup here'
		fb download
		row "$count" 'the next one'
		for command in 'list runs' 'prune -n' 'prune -y'; do
			# shellcheck disable=SC2086
			fb $command
			row "$count" "$command"
		done
		count=$((count * 10))
	done
}

echo "$("$fleetbak" version | head -n 1): fleets on $(stat -f -c %T "$small")," \
	"repositories on $(stat -f -c %T "$large")," \
	"$(getconf _NPROCESSORS_ONLN) processors"
fleets
histories
base=$large
repositories
