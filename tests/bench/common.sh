# shellcheck shell=sh
# What bench.sh is made of besides measuring: settings, room, the machine.
#
# shellcheck disable=SC2154 # bench.sh has the other half

fail() {
	echo "bench: $*" >&2
	exit 1
}

number() { # NAME VALUE
	case $2 in
	'' | *[!0-9]* | 0?*) fail "$1 is '$2', not a number" ;;
	esac
	echo "$2"
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
		dir=$BENCH_DIR
	elif [ -d /dev/shm ] && [ -w /dev/shm ]; then
		dir=/dev/shm
	else
		dir=${TMPDIR:-/tmp}
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

# Bytes of all files under a directory, as a user of it is billed for.
bytes_in() {
	find "$1" -type f -printf '%s\n' 2>/dev/null |
		awk '{ n += $1 } END { printf "%.0f", n }'
}

# Processor features that hashing, cutting and compressing may use.
features() {
	awk '/^flags|^Features/ {
		for (i = 3; i <= NF; i++)
			if ($i ~ /^(sha_ni|sha2|avx2|avx512f|avx512bw|avx512vl|vaes|gfni|pclmulqdq|bmi2|asimd)$/)
				printf "%s ", $i
		exit
	}' /proc/cpuinfo | sed 's/ $//'
}

describe_machine() {
	jq -nc --arg set machine \
		--arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		--arg features "$(features)" --argjson processors "$threads" \
		--argjson memory_kib \
		"$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)" \
		--arg kernel "$(uname -sr)" --arg file_system "$(stat -f -c %T "$dir")" \
		--argjson image_mib "$size" --argjson files "$files" \
		--argjson tree_mib "$tree_mib" --argjson runs "$runs" \
		--argjson gate_s "$gate" --arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
		--arg limit "$limit_note" --arg versions "$(versions)" \
		--arg commands "$(commands)" '$ARGS.named'
}
