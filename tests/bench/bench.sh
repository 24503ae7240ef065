#!/bin/sh
# fleetbak, its peers and the yardstick, alternating over the same data.
#
#	bench.sh FLEETBAK TOOLS        (`make bench` builds and calls it)
#
# README.md says what is measured and how to read it.  Settings:
#
# BENCH_RUNS=5       rounds; the tables show medians
# BENCH_SIZE=1G      size of each of the four images (M or G)
# BENCH_FILES=60000  entries of the small-file tree
# BENCH_SETS="images tree parallel"     what to measure
# BENCH_PEERS="restic borg casync"      with whom; borg-blake2 is known too
# BENCH_DIR=DIR      where to work; else /dev/shm, else $TMPDIR, else /tmp
# BENCH_GATE=30      seconds to wait for a quiet machine before each command
# BENCH_OUT=FILE     rows as JSON lines; else build/bench/rows.jsonl
# BENCH_ASSERT=1     a missed target fails
#
# shellcheck disable=SC2317 # each() calls by name
set -eu

fleetbak=$1 tools=$2
here=$(cd "$(dirname "$0")" && pwd)
runs=${BENCH_RUNS:-5}
sets=${BENCH_SETS:-images tree parallel}
peers=${BENCH_PEERS-restic borg casync}
gate=${BENCH_GATE:-30}
out=${BENCH_OUT:-build/bench/rows.jsonl}
threads=$(getconf _NPROCESSORS_ONLN)

. "$here/common.sh"
. "$here/tools.sh"

# At the most, times the size of one image: images 3.1, what is restored 3.1,
# and a repository of 1.2 to 2 for each tool.
choose_size() {
	size=$(to_mib "${BENCH_SIZE:-1G}")
	room=$(room_in "$dir")
	parts=$((8 + 2 * $(echo "$peers" | wc -w) + 2))
	[ "$size" -ge 64 ] || fail "images of $size MiB are too small: 64M at least"
	if [ $((size * parts)) -gt "$room" ]; then
		fits=$((room / parts / 64 * 64))
		[ "$fits" -ge 64 ] || fail "$dir has $room MiB of room," \
			"$((64 * parts)) are needed: set BENCH_DIR to a larger directory"
		echo "bench: $dir has $room MiB of room, $((size * parts)) are needed" \
			"for images of $size MiB: making them $fits MiB" >&2
		size=$fits
	fi
}

choose_files() {
	files=$(number BENCH_FILES "${BENCH_FILES:-60000}")
	[ "$files" -ge 1000 ] || fail "BENCH_FILES is $files: 1000 at least"
	tree_mib=$((files / 40))
	room=$(room_in "$dir")
	parts=$((4 + $(echo "$peers" | wc -w)))
	if [ $((tree_mib * parts)) -gt "$room" ]; then
		files=$((room * 40 / parts))
		echo "bench: $dir has $room MiB of room: a tree of $files files" >&2
		tree_mib=$((files / 40))
	fi
}

# record OPERATION CHECK: what the last command cost, and what it stored.
record() {
	# shellcheck disable=SC2046 # words
	set -- "$1" "$2" $(tail -n 1 "$work/cost")
	jq -nc --arg set "$set" --argjson round "$round" --arg tool "$tool" \
		--arg op "$1" --arg check "$2" --argjson wall "$3" \
		--argjson cpu "$4" --argjson peak_kib "$5" --argjson others "$6" \
		--argjson stored "$stored" --argjson added "$added" \
		--argjson waste "$waste" \
		'$ARGS.named | with_entries(select(.value != null and .value != ""))' \
		>>"$out"
	printf '%s %-13s %-15s %8.3f s  cpu %8.3f  peak %4d MiB  others %.2f %s\n' \
		"$round" "$tool" "$1" "$3" "$4" $(($5 / 1024)) "$6" "$2" >&2
}

# timed OPERATION: the tool's command for it, when it has one.
timed() {
	stored=null added=null waste=null
	command=$(command_of "$tool" "$1")
	[ -n "$command" ] || return 1
	"$tools/measure" -q "$gate" "$work/cost" sh -ec "$command" \
		</dev/null >"$work/out" 2>"$work/err" || {
		rc=$?
		cat "$work/out" "$work/err" >&2
		fail "$tool: $1: exit $rc: $command"
	}
}

plain() { # OPERATION
	timed "$1" || return 0
	record "$1" ""
}

# What a backup has added to the repository.
backup() { # OPERATION
	before=$(bytes_in "$(repo_of "$tool")")
	timed "$1" || return 0
	stored=$(bytes_in "$(repo_of "$tool")")
	added=$((stored - before))
	record "$1" ""
}

# Was it restored as it was?  A peer's failure is a row, ours ends the bench.
judge() { # OPERATION, then the command that compares
	operation=$1
	shift
	verdict=same
	"$@" || verdict=different
	record "$operation" "$verdict"
	[ "$tool $verdict" != "fleetbak different" ] ||
		fail "$set: $operation: not restored as it was"
}

restore() {
	mkdir -p "$work/target"
	if timed restore; then
		judge restore compare_restored
	fi
	rm -rf "$work/target"
}

in_place() {
	[ -n "$(command_of "$tool" in-place)" ] || return 0
	make_day 1
	timed in-place
	judge in-place compare_digests
}

prune() {
	timed prune || return 0
	stored=$(bytes_in "$(repo_of "$tool")")
	if [ "$tool" = fleetbak ]; then
		waste=$("$fleetbak" -c "$work/repos/fleetbak/fleetbak.yaml" \
			prune -n --json | jq .data.waste_bytes)
	fi
	record prune ""
}

make_day() { # 1 or 2
	if [ "$set" = images ]; then
		if [ "$1" = 1 ]; then
			"$tools/mkfleet" images --out "$work/images" --size "${size}M"
		else
			"$tools/mkfleet" mutate --out "$work/images" --size "${size}M"
		fi
	else
		rm -rf "$work/tree"
		"$tools/mktree" tree --out "$work/tree" --files "$files" \
			--size "${tree_mib}M"
	fi
	# borg reads the file with the newest change time always: this one.
	sleep 0.05
	date +%N >"$work/$set/zz-newest"
}

digests_of_images() {
	for image in "$work"/images/*.img; do
		openssl dgst -r -sha256 "$image"
	done
}

compare_digests() {
	digests_of_images | cmp -s - "$work/digests"
}

# Where the tool has put what it restored: under the names the source has.
compare_restored() {
	if [ "$set" = tree ]; then
		place=$(find "$work/target" -name zz-newest -exec dirname {} \;)
		[ -n "$place" ] || return 1
		diff -rq --no-dereference "$work/tree" "$place"
		return
	fi
	for image in "$work"/images/*.img; do
		name=${image##*/}
		place=$(find "$work/target" -name "$name" -o \
			-path "*/${name%.img}/root.img")
		cmp "$image" "$place" || return 1
	done
}

# each STEP [ARGUMENT]: of every tool, another one first in each round.
each() {
	for tool in $order; do
		"$@"
	done
}

rotate() {
	# shellcheck disable=SC2086 # words
	set -- $order
	first=$1
	shift
	order="$* $first"
}

images_round() {
	each plain init
	each plain list
	make_day 1
	each backup first
	make_day 2
	each backup changed
	each backup unchanged-read
	each backup unchanged-skip
	each restore
	each plain verify
	digests_of_images >"$work/digests"
	each in_place
	each prune
}

tree_round() {
	each timed init || :
	make_day 1
	each backup first
	each backup unchanged
	each restore
}

# A first backup of sixteen machines, so many at once.
jobs_at_once() { # JOBS, then more options
	jobs=$1
	shift
	prepare_repos parallel
	timed init
	more="-j $jobs $*"
	timed download
	more=
}

# Bytes a second from the first pack in the repository to the last.
pack_rate() {
	find "$(repo_of fleetbak)/packs" -type f -printf '%C@ %s\n' | sort -n |
		awk 'NR == 1 { first = $1 } NR > 1 { n += $2; last = $1 }
			END { printf("%.0f", last > first ? n / (last - first) : 0) }'
}

# What goes through a limit that makes a backup take twelve seconds; the second
# argument is the bytes that are limited.
limited() { # read|upload BYTES
	allowed=$(($2 / 12))
	jobs_at_once 4 --set "download.limit_$1=${allowed}B/s"
	reached=$(awk -v bytes="$2" 'END { printf "%.0f", bytes / $1 }' "$work/cost")
	[ "$1" = read ] || reached=$(pack_rate)
	stored=$allowed added=$reached
	record "limit-$1" ""
}

parallel_round() {
	tool=fleetbak
	"$tools/mkfleet" images --out "$work/parallel" --machines 16 \
		--size "$((size / 4 > 16 ? size / 4 : 16))M"
	for n in 1 2 4 8 16; do
		jobs_at_once "$n" --json
		record "jobs-$n" ""
	done
	packed=$(bytes_in "$(repo_of fleetbak)/packs")
	limited read "$(jq '[.machines[].read_bytes] | add' "$work/out")"
	limited upload "$packed"
}

measure_set() {
	set=$1
	order="$(tools_of "$set" "$peers")"
	round=0
	while [ "$round" -lt "$runs" ]; do
		round=$((round + 1))
		echo "bench: $set, round $round of $runs" >&2
		prepare "$set"
		"${set}_round"
		rotate
	done
	rm -rf "$work/images" "$work/tree" "$work/parallel" "$work/repos"
}

runs=$(number BENCH_RUNS "$runs")
gate=$(number BENCH_GATE "$gate")
choose_dir
choose_size
choose_files
check_tools
work=$(mktemp -d "$dir/fleetbak-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
unset FLEETBAK_CONFIG FLEETBAK_CRASH FLEETBAK_CLOCK FLEETBAK_SESSION

mkdir -p "$(dirname "$out")"
describe_machine >"$out"
for set in $sets; do
	case $set in
	images | tree | parallel) measure_set "$set" ;;
	*) fail "BENCH_SETS names '$set': images, tree and parallel are known" ;;
	esac
done
jq -rs --arg assert "${BENCH_ASSERT:-}" -f "$here/report.jq" "$out" >"$work/report"
sed '/^exit /d' "$work/report"
echo "rows: $out"
exit "$(sed -n 's/^exit //p' "$work/report")"
