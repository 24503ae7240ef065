#!/bin/sh
# Get a volume back out of this repository without fleetbak.
#
#   sh REPO/restore.sh -l [-r RUN]
#   sh REPO/restore.sh [-r RUN] [-k PUBKEY] [-d KEY] MACHINE VOLUME OUTPUT
#
#   -l         list the machines and volumes of a run
#   -r RUN     the run to restore from; else the newest that has the machine
#   -k PUBKEY  PEM file of the signer's public key: check who made the run
#   -d KEY     PEM file of a private key that opens an encrypted repository
#   MACHINE    an id, or source/id
#   OUTPUT     must not exist.  A disk becomes a sparse image; a tree and a
#              definition become a pax archive: tar --xattrs --acls -xpf OUTPUT
#
# Needs a POSIX sh, awk, coreutils and zstd; openssl 3 for -k and -d.
# RESTORE.txt says what the files here are.
set -eu
LC_ALL=C
export LC_ALL

say() { printf 'restore.sh: %s\n' "$*" >&2; }
die() {
	say "$@"
	exit 1
}
usage() {
	sed -n '4,14s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

run='' pubkey='' secret='' list=''
while getopts lr:k:d: opt; do
	case $opt in
	l) list=yes ;;
	r) run=$OPTARG ;;
	k) pubkey=$OPTARG ;;
	d) secret=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
if [ "$list" ]; then
	[ $# -eq 0 ] || usage
	machine='' volume='' output=''
else
	[ $# -eq 3 ] || usage
	machine=$1 volume=$2 output=$3
fi

for tool in awk cat dd dirname grep mktemp rm sed sha256sum sort tail \
	truncate wc zstd; do
	command -v "$tool" >/dev/null || die "'$tool' is needed"
done
[ -z "$pubkey$secret" ] || command -v openssl >/dev/null ||
	die "-k and -d need openssl"
[ -z "$pubkey" ] || [ -r "$pubkey" ] || die "cannot read '$pubkey'"
[ -z "$secret" ] || [ -r "$secret" ] || die "cannot read '$secret'"
root=$(dirname -- "$0")
root=$(cd -- "$root" && pwd)
[ -f "$root/format/1.json" ] || die "'$root' is no fleetbak repository"
[ ! -e "$root/format/2.json" ] ||
	die "the repository has a newer format: read its newest restore.sh"
if grep -q '"mode":"clear"' "$root/format/1.json"; then
	encrypted=''
else
	grep -q '"mode":"encrypted"' "$root/format/1.json" ||
		die "the repository is of a kind that is not known here"
	encrypted=yes
	[ "$secret" ] || [ "$list" ] ||
		die "the repository is encrypted: give its private key with -d"
fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/fleetbak-restore.XXXXXX")
made=''
finish() {
	[ -z "$made" ] || rm -f -- "$output"
	rm -rf -- "$tmp"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# What is no file (a fifo has no end) is not opened, and what is no id is no
# part of a path: whoever could write here may have written anything.
is_id() { # text, with so many characters
	[ ${#1} -eq "$2" ] || return 1
	case $1 in *[!0-9a-f-]*) return 1 ;; esac
}

# The committed runs that were not given up, newest first: run, register.
# A run without a register does not exist.
for register in "$root"/commits/*; do
	[ -f "$register" ] && is_id "${register##*/}" 27 || continue
	[ ! -e "$root/forgets/${register##*/}" ] || [ -n "$run" ] || continue
	awk -v name="${register##*/}" '
	NR == 1 && $0 != "fleetbak-commit 1" { exit }
	$1 == "run" && length($2) == 27 && $2 !~ /[^0-9a-f-]/ { print $2, name }
	$1 == "run" { exit }' "$register"
done | sort -r >"$tmp/runs"
[ -s "$tmp/runs" ] || die "there is no committed run"

value_of() { # register key
	awk -v key="$2" '$1 == key { print $2; exit }' "$1"
}

# The raw signature, from the register when the .sig is missing.
signature() { # run register
	if [ -f "$root/runs/$1/SHA256SUMS.sig" ]; then
		cat -- "$root/runs/$1/SHA256SUMS.sig"
		return
	fi
	octal=$(value_of "$2" signature | awk '{
		for (i = 1; i < length($0); i += 2) {
			high = index("0123456789abcdef", substr($0, i, 1)) - 1
			low = index("0123456789abcdef", substr($0, i + 1, 1)) - 1
			printf "\\0%03o", high * 16 + low
		}
	}')
	printf '%b' "$octal"
}

# Check SHA256SUMS of a run, and VOLUMES and the manifest against it.
check_run() { # run register
	sums=$root/runs/$1/SHA256SUMS
	[ -f "$sums" ] || die "run $1: SHA256SUMS is missing"
	want=$(value_of "$2" sums)
	have=$(sha256sum <"$sums")
	[ "${have%% *}" = "$want" ] ||
		die "run $1: SHA256SUMS is not what commits/${2##*/} says"
	if [ "$pubkey" ]; then
		signature "$1" "$2" >"$tmp/sig"
		openssl pkeyutl -verify -pubin -inkey "$pubkey" -rawin \
			-in "$sums" -sigfile "$tmp/sig" >/dev/null ||
			die "run $1: the signature is NOT of '$pubkey'"
	fi
	check_objects "runs/$1/VOLUMES" "runs/$1/manifest.json"
}

# Each of these must be named by SHA256SUMS and have that digest.
check_objects() { # path...
	printf '%s\n' "$@" >"$tmp/paths"
	check_paths
}
check_paths() { # the paths stand in $tmp/paths
	awk 'NR == FNR { wanted[$0]; next } $2 in wanted' \
		"$tmp/paths" "$sums" >"$tmp/check"
	if [ "$(wc -l <"$tmp/paths")" -ne "$(wc -l <"$tmp/check")" ]; then
		awk 'NR == FNR { named[$2]; next } !($0 in named)' \
			"$sums" "$tmp/paths" >&2
		die "SHA256SUMS does not name the objects above"
	fi
	while read -r object; do
		[ -f "$root/$object" ] ||
			die "'$object' is missing, or no file"
	done <"$tmp/paths"
	if ! (cd -- "$root" && sha256sum -c "$tmp/check") \
		>"$tmp/checked" 2>&1; then
		grep -v ': OK$' "$tmp/checked" >&2 || :
		die "the objects above are damaged or missing"
	fi
}

# The volumes of a run that match: source/id volume kind size recipe root.
find_volumes() { # run
	[ "$(sed -n 1p "$root/runs/$1/VOLUMES")" = 'fleetbak-volumes 1' ] ||
		die "run $1: VOLUMES has another version"
	MACHINE=$machine awk '
	BEGIN { machine = ENVIRON["MACHINE"] }
	NR == 1 { next }
	machine == "" || $1 == machine { print; next }
	index(machine, "/") == 0 &&
	    substr($1, length($1) - length(machine)) == "/" machine' \
		"$root/runs/$1/VOLUMES" >"$tmp/volumes"
	[ -s "$tmp/volumes" ]
}

# Choose the run.
chosen=''
while read -r name register; do
	[ -z "$run" ] || [ "$run" = "$name" ] || continue
	check_run "$name" "$root/commits/$register"
	find_volumes "$name" || continue
	chosen=$name
	break
done <"$tmp/runs"
if [ -z "$chosen" ] && [ -n "$run" ] && ! grep -q "^$run " "$tmp/runs"; then
	sed 's/ .*//' "$tmp/runs" >&2
	die "there is no run '$run'; the runs above are"
fi
[ -n "$chosen" ] || die "no machine '$machine'${run:+ in run $run}"
[ -n "$pubkey" ] ||
	say "NOT VERIFIED who made run $chosen: give the public key with -k"
if [ "$list" ]; then
	printf 'run %s\n' "$chosen"
	awk '{ print $1, $2, $3, $4 " bytes" }' "$tmp/volumes"
	exit 0
fi

# Choose the volume.
if [ "$(awk '{ print $1 }' "$tmp/volumes" | sort -u | wc -l)" -gt 1 ]; then
	awk '{ print $1 }' "$tmp/volumes" | sort -u >&2
	die "'$machine' is ambiguous; say which of the above"
fi
VOLUME=$volume awk '$2 == ENVIRON["VOLUME"]' "$tmp/volumes" >"$tmp/volume"
if [ ! -s "$tmp/volume" ]; then
	awk '{ print $2, $3 }' "$tmp/volumes" >&2
	die "'$machine' has no volume '$volume'; the volumes above are"
fi
read -r _ _ kind size recipe _ <"$tmp/volume"

# Check the recipe, then every pack that it needs.
is_id "$recipe" 64 || die "run $chosen: '$recipe' is no recipe"
case $size in
'' | *[!0-9]*) die "run $chosen: '$size' is no size" ;;
esac
path=recipes/$(printf '%.2s' "$recipe")/$recipe
check_objects "$path"
[ "$(sed -n 1p "$root/$path")" = 'fleetbak-recipe 1' ] ||
	die "recipe $recipe has another version"
awk '
$1 == "packs" && NF == 2 { packs = $2; next }
$1 == "runs" && NF == 2 { runs = $2; next }
packs > 0 && NF == 4 {
	if (length($1) != 64 || $1 ~ /[^0-9a-f]/)
		bad = 1
	id[n++] = $1
	packs--
	next
}
runs > 0 && NF == 7 { used[$3]; runs-- }
END {
	if (bad || packs != 0 || runs != 0)
		exit 1
	for (i = 0; i < n; i++)
		if (i in used)
			print "packs/" substr(id[i], 1, 2) "/" id[i] ".pack"
}' "$root/$path" >"$tmp/paths" || die "recipe $recipe is malformed"
say "run $chosen, $kind '$volume', $size bytes: checking $(
	wc -l <"$tmp/paths") packs"
[ ! -s "$tmp/paths" ] || check_paths

# An encrypted pack's table, which is not encrypted, names its key; that is in
# one of the envelopes of the pack's session.  Its name is made of the key, so
# that one that somebody else put there is not taken for it.
key_of() { # session key-id
	[ -e "$tmp/keys.$1" ] || for envelope in "$root/keys/$1".*.cms; do
		[ -f "$envelope" ] || continue
		openssl cms -decrypt -inform DER -in "$envelope" \
			-inkey "$secret" 2>"$tmp/why" >>"$tmp/keys.$1" ||
			say "'$secret' does not open ${envelope##*/}"
	done
	[ -e "$tmp/keys.$1" ] || die "keys/$1.*.cms is missing"
	awk -v id="$2" 'NF == 2 && $1 == id && length($2) == 64 &&
		$2 !~ /[^0-9a-f]/ { print $2 }' "$tmp/keys.$1" >"$tmp/found"
	while read -r key; do
		mac=$(printf 'fleetbak-pack-key 1' | openssl dgst -sha256 -r \
			-mac HMAC -macopt "hexkey:$key")
		[ "$(printf '%.32s' "$mac")" = "$2" ] || continue
		echo "$key"
		return
	done <"$tmp/found"
	die "no key opens a pack of session $1"
}
: >"$tmp/pack-keys"
if [ "$encrypted" ]; then
	awk '
	$1 == "packs" && NF == 2 { packs = $2; next }
	packs > 0 && NF == 4 {
		print "packs/" substr($1, 1, 2) "/" $1 ".pack", $2, $3
		packs--
	}' "$root/$path" >"$tmp/tables"
	while read -r pack offset length; do
		grep -q "^$pack\$" "$tmp/paths" || continue
		dd if="$root/$pack" bs=1M skip=$((offset + 8)) count="$length" \
			iflag=skip_bytes,count_bytes status=none >"$tmp/table"
		session=$(value_of "$tmp/table" session)
		id=$(value_of "$tmp/table" key)
		is_id "$session" 27 && is_id "$id" 32 ||
			die "the table of $pack names no key"
		key=$(key_of "$session" "$id") || exit 1
		printf '%s %s\n' "$pack" "$key" >>"$tmp/pack-keys"
	done <"$tmp/tables"
	[ "$(wc -l <"$tmp/pack-keys")" -eq "$(wc -l <"$tmp/paths")" ] ||
		die "not every pack has a key"
fi

# The bytes of a range.  Of an encrypted pack they are opened from the block of
# 16 on in which they begin.
range() { # pack from count key
	if [ "$4" = - ]; then
		dd if="$root/$1" bs=1M skip="$2" count="$3" \
			iflag=skip_bytes,count_bytes status=none
		return
	fi
	block=$(($2 / 16)) extra=$(($2 % 16))
	dd if="$root/$1" bs=1M skip=$((block * 16)) count=$((extra + $3)) \
		iflag=skip_bytes,count_bytes status=none |
		openssl enc -d -aes-256-ctr -K "$4" \
			-iv "$(printf '%032x' "$block")" |
		tail -c +$((extra + 1))
}

# Each run of a recipe is a range of a pack: whole zstd frames, one after the
# other.  What the runs leave out is zeros, so the file is made sparse.
awk '
FILENAME == ARGV[1] { key[$1] = $2; next }
$1 == "packs" && NF == 2 { packs = $2; next }
$1 == "runs" && NF == 2 { runs = $2; next }
packs > 0 && NF == 4 { id[n++] = $1; packs--; next }
runs > 0 && NF == 7 {
	pack = "packs/" substr(id[$3], 1, 2) "/" id[$3] ".pack"
	print $1, $2, pack, $4, $5, pack in key ? key[pack] : "-"
	runs--
}' "$tmp/pack-keys" "$root/$path" >"$tmp/ranges"

if [ -e "$output" ] || [ -L "$output" ]; then
	die "'$output' exists"
fi
(set -C && : >"$output") || die "cannot make '$output'"
made=yes
case $output in
/*) target=$output ;;
*) target=./$output ;;
esac
truncate -s "$size" -- "$target"
while read -r offset length pack from count key; do
	result=$({
		{
			range "$pack" "$from" "$count" "$key" || echo read >&3
		} | {
			zstd -dcq || echo decompress >&3
		} | {
			dd of="$target" bs=1M seek="$offset" count="$length" \
				iflag=fullblock,count_bytes oflag=seek_bytes \
				conv=notrunc status=none || echo write >&3
		}
	} 3>&1)
	[ -z "$result" ] ||
		die "cannot $result $length bytes at $offset from $pack"
done <"$tmp/ranges"
have=$(wc -c <"$target")
[ "$have" -eq "$size" ] || die "'$output' has $have bytes, not $size"
made=''
say "'$output' is complete"
