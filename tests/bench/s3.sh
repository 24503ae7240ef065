#!/bin/sh
# fleetbak, restic and rclone with a bucket of Ceph's S3 gateway, alternating
# over the same data with as many connections, beside what the gateway gives to
# a client that does nothing else; and how long the records of many runs take.
#
#	s3.sh FLEETBAK TOOLS        (`make bench-s3` builds and calls it)
#
# s3.md says what is measured and how to read it.  Settings:
#
# S3_ROUNDS=3        rounds; the tables show medians
# S3_SIZE=512M       size of each of the four images (M or G)
# S3_CONNECTIONS=4   of every tool
# S3_SETS="images random history"   what to measure
# S3_RUNS=1000 S3_MACHINES=100      of the history
# S3_DIR=DIR         where to work; else /dev/shm
# S3_GATE=20         seconds to wait for a quiet machine before each command
# S3_WARM=0          MiB of memory that is found before each command
# S3_OUT=FILE        rows as JSON lines; else build/bench/s3.jsonl
#
# shellcheck disable=SC2154 # servers.sh and lib.sh have the other half
set -eu

fleetbak=$(realpath "$1") tools=$(realpath "$2")
out=$(realpath -m "${S3_OUT:-build/bench/s3.jsonl}")
TMPDIR=${S3_DIR:-/dev/shm}
FB_BIN=$(dirname "$fleetbak")
export TMPDIR FB_BIN
. "$(dirname "$0")/../scenario/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

rounds=${S3_ROUNDS:-3} connections=${S3_CONNECTIONS:-4} gate=${S3_GATE:-20}
runs=${S3_RUNS:-1000} machines=${S3_MACHINES:-100}
sets=${S3_SETS:-images random history} warm=${S3_WARM:-0}
requires restic rclone jq openssl cmp
for number in "$rounds" "$connections" "$gate" "$runs" "$machines" "$warm"; do
	case $number in
	'' | *[!0-9]*) fail "'$number' is not a number" ;;
	esac
done
case ${S3_SIZE:-512M} in
*G) size=$((${S3_SIZE%G} * 1024)) ;;
*M) size=${S3_SIZE:-512M} size=${size%M} ;;
*) fail "S3_SIZE: write 512M or 1G" ;;
esac
mkdir -p "$(dirname "$out")"

# What of a machine's memory a memory store may hold.
export RGW_BYTES=$((16 << 30))
start_radosgw
s3_env
unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN http_proxy HTTP_PROXY
export HOME="$work/home" RESTIC_PASSWORD=x RESTIC_CACHE_DIR="$work/home/restic"
export RCLONE_CONFIG="$work/rclone.conf"
mkdir -p "$work/home"
cat >"$RCLONE_CONFIG" <<-END
	[s3]
	type = s3
	provider = Ceph
	env_auth = true
	endpoint = $s3_url
	region = us-east-1
END

# Requests that the gateway has answered since it began.
answered() {
	rgw_ceph ceph --admin-daemon "$rgw_dir/run/client.rgw.asok" perf dump rgw |
		jq .rgw.req
}

# timed COMMAND...: what it cost, in $work/cost, and how many requests.
timed() {
	before=$(answered)
	rm -f "$work/cost"
	"$tools/measure" -q "$gate" -w "$warm" "$work/cost" "$@" </dev/null \
		>"$work/stdout" 2>"$work/stderr" || fail "it failed: $*"
	requests=$(($(answered) - before))
}

# row TOOL OPERATION [BYTES]: BYTES, of the source, went through it.
row() {
	# shellcheck disable=SC2046 # words
	set -- "$1" "$2" "${3:-null}" $(cat "$work/cost")
	jq -nc --arg set "$set" --argjson round "$round" --arg tool "$1" \
		--arg op "$2" --argjson bytes "$3" --argjson wall "$4" \
		--argjson cpu "$5" --argjson peak_kib "$6" --argjson others "$7" \
		--argjson requests "$requests" --argjson stored "${stored:-null}" \
		'$ARGS.named | with_entries(select(.value != null))' >>"$out"
	printf '%s %-9s %-16s %8.2f s  cpu %7.2f  peak %4d MiB  %6d requests\n' \
		"$round" "$1" "$2" "$4" "$5" $(($6 / 1024)) "$requests" >&2
}

# Bytes of the objects under a prefix.
bytes_of() { # PREFIX
	rclone size --json "s3:$bucket/$1" | jq .bytes
}

configure() { # DIRECTORY OF IMAGES
	mkdir -p "$work/f/machines"
	cd "$work/f"
	cat >fleetbak.yaml <<-END
		fleet: {name: scale}
		state_dir: ./state
		repositories:
		  main:
		    url: "s3://$bucket/fleetbak"
		    endpoint: "$s3_url"
		    path_style: true
		    credentials: env
		    sign_with: "file:./keys/sign.pem"
		    ${encrypt:-}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  lab: {driver: local, root: ./machines}
		download: {jobs: $connections}
		retention: {keep: "last $((runs - runs / 10))", grace: 0s, max_remove: 100%}
	END
	for image in "$1"/*.img; do
		machine=${image##*/}
		machine=${machine%.img}
		mkdir -p "machines/$machine"
		printf 'id: %s\nvolumes:\n  - {name: root, kind: disk, path: %s}\n' \
			"$machine" "$image" >"machines/$machine/machine.yaml"
	done
}


fb() {
	"$fleetbak" -c "$work/f/fleetbak.yaml" "$@"
}

fleetbak_round() {
	encrypt=
	configure "$source"
	fb init >"$work/init" 2>&1 || fail "$(cat "$work/init")"
	timed "$fleetbak" -c "$work/f/fleetbak.yaml" download -q
	stored=$(bytes_of fleetbak/packs)
	row fleetbak up "$bytes"
	mkdir "$work/target"
	timed "$fleetbak" -c "$work/f/fleetbak.yaml" restore --run latest --all \
		--target "$work/target" --yes
	row fleetbak down "$bytes"
	for image in "$source"/*.img; do
		name=${image##*/}
		cmp "$image" "$work/target/${name%.img}/root.img" ||
			fail "not restored as it was"
	done
	timed "$fleetbak" -c "$work/f/fleetbak.yaml" verify --full
	row fleetbak verify "$bytes"
	cd "$work"
	rm -rf "$work/f"
}

restic_round() {
	export RESTIC_REPOSITORY="s3:$s3_url/$bucket/restic"
	restic init -o s3.connections="$connections" >"$work/init" 2>&1 ||
		fail "$(cat "$work/init")"
	timed restic -o s3.connections="$connections" backup "$source"
	stored=$(bytes_of restic)
	row restic up "$bytes"
	mkdir "$work/target"
	timed restic -o s3.connections="$connections" restore latest \
		--target "$work/target"
	row restic down "$bytes"
	for image in "$source"/*.img; do
		cmp "$image" "$work/target$image" || fail "restic: not as it was"
	done
	rm -rf "$RESTIC_CACHE_DIR"
}

# One connection for each of as many files.
rclone_round() {
	timed rclone copy --transfers "$connections" --checkers "$connections" \
		--s3-upload-concurrency 1 --multi-thread-streams 0 \
		"$source" "s3:$bucket/rclone"
	stored=$(bytes_of rclone)
	row rclone up "$bytes"
	mkdir "$work/target"
	timed rclone copy --transfers "$connections" --checkers "$connections" \
		--multi-thread-streams 0 "s3:$bucket/rclone" "$work/target"
	row rclone down "$bytes"
	for image in "$source"/*.img; do
		cmp "$image" "$work/target/${image##*/}" || fail "rclone: not as it was"
	done
}

# Objects as long as packs are: what the gateway gives.
ceiling_round() {
	count=$((size * 4 / 48 > 4 ? size * 4 / 48 : 4))
	stored=null
	timed "$tools/s3bench" "$s3_url" "$bucket" $((48 << 20)) "$count" \
		"$connections" hash
	jq -c --arg set "$set" --argjson round "$round" \
		'{$set, $round, tool: "ceiling", op: (if .op == "put" then "up" else
		    "down" end), wall: .seconds, cpu, rate: .mib_per_s}' \
		"$work/stdout" >>"$out"
	sed "s/^/$round ceiling /" "$work/stdout" >&2
}

make_source() {
	source=$work/$set
	mkdir -p "$source"
	if [ "$set" = images ]; then
		"$tools/mkfleet" images --out "$source" --machines 4 --size "${size}M"
	else
		for n in 0 1 2 3; do
			head -c "${size}M" /dev/urandom >"$source/machine0$n.img"
		done
	fi
	bytes=$(find "$source" -type f -printf '%s\n' |
		awk '{ n += $1 } END { printf "%d", n }')
}

measure_set() {
	make_source
	order='ceiling fleetbak restic rclone'
	round=0
	while [ "$round" -lt "$rounds" ]; do
		round=$((round + 1))
		for tool in $order; do
			bucket=$set-$round-$tool
			s3_make "$bucket"
			"${tool}_round"
			rm -rf "$work/target"
			# The memory store gets its memory back.
			rclone purge --checkers 16 "s3:$bucket"
			rgw_admin gc process --include-all >"$work/gc.out" 2>&1 || :
		done
		order="${order#* } ${order%% *}"
	done
	rm -rf "$source"
}

# Many runs of many machines, without their bytes.
measure_history() {
	round=1 bucket=history stored=null
	s3_make "$bucket"
	source=$work/history
	mkdir -p "$source"
	n=0
	while [ "$n" -lt "$machines" ]; do
		printf 'disk %s\n' "$n" >"$source/$(printf 'm%03d' "$n").img"
		n=$((n + 1))
	done
	encrypt='encrypt_to: []'
	configure "$source"
	fb init >"$work/init" 2>&1 || fail "$(cat "$work/init")"
	timed "$tools/mkruns" "s3://$bucket/fleetbak" "$s3_url" \
		"$work/f/keys/sign.pem" "$runs" "$machines"
	row mkruns make
	for command in plan 'list runs' list 'prune -n' 'prune -y'; do
		# shellcheck disable=SC2086 # words
		timed "$fleetbak" -c "$work/f/fleetbak.yaml" $command
		row fleetbak "$command"
	done
}

jq -nc --arg set machine --argjson processors "$(getconf _NPROCESSORS_ONLN)" \
	--arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
	--arg load "$(cut -d ' ' -f 1-3 /proc/loadavg)" \
	--arg date "$(date -u +%Y-%m-%dT%H:%M:%SZ)" --argjson image_mib "$size" \
	--argjson connections "$connections" --argjson runs "$runs" \
	--argjson machines "$machines" \
	--arg versions "$("$fleetbak" version | head -n 1), $(restic version), $(rclone version | head -n 1), $(radosgw --version)" \
	'$ARGS.named' >"$out"
for set in $sets; do
	case $set in
	images | random) measure_set ;;
	history) measure_history ;;
	*) fail "S3_SETS names '$set': images, random and history are known" ;;
	esac
done
jq -rs -f "$here/s3.jq" "$out"
echo "rows: $out"
