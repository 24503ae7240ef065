#!/bin/sh
# A table of speed, processor time, memory and stored bytes for this machine.
#
#	bench.sh FLEETBAK MKFLEET MEASURE        (`make bench` builds and calls it)
#
# BENCH_SIZE=1G   size of each of the four images (M or G); less when the
#                 directory has no room, and then it says so
# BENCH_RUNS=3    rounds; the table shows the median of each figure
# BENCH_DIR=DIR   where to work; else /dev/shm, else $TMPDIR, else /tmp
#
# Each round: first backup, nothing changed, 3 % changed, restore into an empty
# directory (compared byte by byte with the source), verify of every byte; and
# over the same images `zstd -T0 -3 | openssl dgst -sha256`, there and back.
# Fails when a restore differs or fleetbak ever needed more than 256 MiB.
set -eu

fleetbak=$1 mkfleet=$2 measure=$3
runs=${BENCH_RUNS:-3}
machines='machine00 machine01 machine02 machine03'
memory_max=256

fail() {
	echo "bench: $*" >&2
	exit 1
}

# MiB of "512M", "1G" or plain bytes.
to_mib() {
	case $1 in
	*[!0-9]*[!0-9MG] | *[!0-9MG]* | [MG]*) fail "'$1' is not a size: write 512M or 1G" ;;
	*G) echo $((${1%G} * 1024)) ;;
	*M) echo "${1%M}" ;;
	*) echo $(($1 / 1048576)) ;;
	esac
}

choose_dir() {
	if [ -n "${BENCH_DIR:-}" ]; then
		echo "$BENCH_DIR"
	elif [ -d /dev/shm ] && [ -w /dev/shm ]; then
		echo /dev/shm
	else
		echo "${TMPDIR:-/tmp}"
	fi
}

# MiB that can be used there; what memory holds counts against memory too.
room_in() {
	room=$(($(df -Pk "$1" | awk 'NR == 2 { print $4 }') / 1024))
	if [ "$(stat -f -c %T "$1")" = tmpfs ]; then
		memory=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
		memory=$((memory - 1024))
		[ "$memory" -ge "$room" ] || room=$memory
	fi
	echo "$room"
}

# At the most: images 3.1, repository and spool 1.9, what is restored 3.1, the
# pipeline's files 1.9 times the size of one image.
choose_size() {
	size=$(to_mib "${BENCH_SIZE:-1G}")
	room=$(room_in "$1")
	[ "$size" -ge 64 ] || fail "images of $size MiB are too small: 64M at least"
	if [ $((size * 10)) -gt "$room" ]; then
		fits=$((room / 10 / 64 * 64))
		[ "$fits" -ge 64 ] || fail "$1 has $room MiB of room, 640 are needed: \
set BENCH_DIR to a larger directory"
		echo "bench: $1 has $room MiB of room, $((size * 10)) are needed for" \
			"images of $size MiB: making them $fits MiB" >&2
		size=$fits
	fi
	echo "$size"
}

case $runs in
'' | *[!0-9]* | 0*) fail "BENCH_RUNS is '$runs', not a number of rounds" ;;
esac
dir=$(choose_dir)
size=$(choose_size "$dir")
for tool in zstd openssl cmp; do
	command -v $tool >/dev/null || fail "$tool is not installed: make setup"
done
work=$(mktemp -d "$dir/fleetbak-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
unset FLEETBAK_CONFIG FLEETBAK_CRASH FLEETBAK_CLOCK FLEETBAK_SESSION

write_fleet() {
	mkdir -p "$work/machines"
	for machine in $machines; do
		mkdir -p "$work/machines/$machine"
		cat >"$work/machines/$machine/machine.yaml" <<-END
			id: $machine
			volumes:
			  - {name: root, kind: disk, path: $work/images/$machine.img}
		END
	done
	cat >"$work/fleetbak.yaml" <<-END
		fleet: {name: bench}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  bench: {driver: local, root: ./machines}
	END
}

make_images() {
	rm -rf "$work/images"
	"$mkfleet" images --out "$work/images" --machines 4 --size "${size}M"
}

# Bytes of all files under a directory, as a user of it is billed for.
bytes_in() {
	find "$1" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%.0f", n }'
}

# timed OPERATION COMMAND...: one line more in $work/OPERATION.
timed() {
	operation=$1
	shift
	"$measure" "$work/$operation" "$@" </dev/null >"$work/out" 2>"$work/err" || {
		rc=$?
		cat "$work/out" "$work/err" >&2
		fail "$operation: exit $rc: $*"
	}
}

fb() {
	operation=$1
	shift
	timed "$operation" "$fleetbak" -c "$work/fleetbak.yaml" "$@"
}

# What a backup added to the repository.
backup() {
	before=$(bytes_in "$work/repo")
	fb "$1" download
	echo $(($(bytes_in "$work/repo") - before)) >>"$work/$1.bytes"
}

compare() {
	for machine in $machines; do
		cmp "$work/images/$machine.img" "$1/$machine$2.img" ||
			fail "$machine was not restored as it was"
	done
}

# The least that anyone would do with stock tools, one image after the other.
pipeline() {
	mkdir -p "$work/pipe" "$work/back"
	# shellcheck disable=SC2016
	timed pipe-out sh -ec 'for image in "$1"/images/*.img; do
		zstd -q -T0 -3 -c "$image" | tee "$1/pipe/${image##*/}.zst" |
			openssl dgst -sha256; done' sh "$work"
	bytes_in "$work/pipe" >>"$work/pipe-out.bytes"
	echo >>"$work/pipe-out.bytes"
	# shellcheck disable=SC2016
	timed pipe-in sh -ec 'for image in "$1"/images/*.img; do
		zstd -q -d -c "$1/pipe/${image##*/}.zst" |
			tee "$1/back/${image##*/}" | openssl dgst -sha256
		done' sh "$work"
	compare "$work/back" ""
	rm -rf "$work/pipe" "$work/back"
}

round() {
	rm -rf "$work/repo" "$work/state" "$work/target"
	make_images
	timed init "$fleetbak" -c "$work/fleetbak.yaml" init
	backup first
	backup unchanged
	"$mkfleet" mutate --out "$work/images" --machines 4 --size "${size}M" --rate 3
	backup changed
	fb restore restore --run latest --all --target "$work/target" --yes
	compare "$work/target" /root
	rm -rf "$work/target"
	fb verify verify --full
	rm -rf "$work/repo" "$work/state"
	pipeline
}

# median FILE COLUMN
median() {
	awk -v column="$2" '{ print $column }' "$1" | sort -n | awk '
	{ value[NR] = $1 }
	END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'
}

# row TITLE OPERATION: the medians, and the speed over all the images' bytes.
row() {
	stored=-
	[ ! -f "$work/$2.bytes" ] || stored=$(median "$work/$2.bytes" 1)
	awk -v title="$1" -v wall="$(median "$work/$2" 1)" \
		-v cpu="$(median "$work/$2" 2)" -v peak="$(median "$work/$2" 3)" \
		-v stored="$stored" -v mib=$((size * 4)) 'BEGIN {
		if (stored != "-")
			stored = sprintf("%.1f", stored / 1048576)
		printf "%-24s %9.2f %9.2f %9.1f %11s %9.0f\n", title, wall, cpu,
		    peak / 1024, stored, mib * 1.048576 / (wall > 0.001 ? wall : 0.001)
	}'
}

check_memory() {
	for operation in first unchanged changed restore verify; do
		peak=$(sort -n -k 3 "$work/$operation" | awk 'END { print int($3 / 1024) }')
		[ "$peak" -le $memory_max ] ||
			fail "$operation: peak of $peak MiB, more than $memory_max"
	done
}

write_fleet
n=0
while [ "$n" -lt "$runs" ]; do
	n=$((n + 1))
	echo "bench: round $n of $runs" >&2
	round
done

echo "$("$fleetbak" version | head -n 1): 4 images of $size MiB on" \
	"$(stat -f -c %T "$work"), $(getconf _NPROCESSORS_ONLN) processors," \
	"median of $runs"
printf '%-24s %9s %9s %9s %11s %9s\n' '' 'wall s' 'cpu s' 'peak MiB' \
	'stored MiB' 'MB/s'
row 'first backup' first
row 'nothing changed' unchanged
row '3 % changed' changed
row 'restore' restore
row 'verify every byte' verify
row 'zstd | sha256, out' pipe-out
row 'zstd | sha256, back' pipe-in
check_memory
