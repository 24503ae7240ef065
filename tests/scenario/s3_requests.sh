#!/bin/sh
# How many requests a night and a restore take of a bucket: what is neighbours
# in a pack comes together, what was cut off goes on where it was, and which runs
# there are is asked once for each decision.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_radosgw
s3_make bucket
s3_env
start_proxy main
s3_at=$proxy_url
s3_fleet "$work/f" 1 bucket
cd "$work/f"
sed -i '/^    sign_with: /a\
  disk: {url: "file:./disk", copy_of: main, sign_with: "file:./keys/sign.pem",\
    decrypt_with: "file:./keys/recovery.pem"}
' "$conf"
# 96 MiB that become about half of it: more than one pack is not needed, one
# request for all of them is not possible.
head -c 32M /dev/urandom | od -An -v -tx1 -w64 | head -c 96M \
	>machines/m1/disk.img
expect 0 "$fb" -c "$conf" init

# counted <method> <glob> <most>: no more of them; $n is how many.
counted() {
	n=$(requests "$1" "$2")
	[ "$n" -le "$3" ] || {
		grep " $1 " "$proxy_log" | cut -d ' ' -f 3-7 | head -60
		fail "$n requests $1 $2, $3 are enough"
	}
}
# down <glob>: bytes that came.
down() {
	grep '^[0-9].* GET ' "$proxy_log" | grep "$1" |
		awk '{ n += $7 } END { printf "%d\n", n }'
}

: >"$proxy_log"
expect 0 "$fb" -c "$conf" download
counted GET '*list-type*commits*' 3
commits=$n
counted GET '*list-type*forgets*' 3
nothing_wrong
ok "a night lists the runs $commits times, and what is given up $n times"
packs=$(s3_keys bucket fleet/packs/ | wc -l)
stored=$(requests PUT '*/packs/*')
[ "$stored" -eq "$packs" ] || fail "$stored uploads of $packs packs"

# measured <what> <KiB> <command>...: it succeeds, in no more memory.
measured() {
	measured_what=$1 measured_most=$2
	shift 2
	expect 0 "$bin/scenario/peak" "$work/peak" "$@"
	case ${FB_VARIANT:-debug} in
	debug | release)
		[ "$(cat "$work/peak")" -le "$measured_most" ] ||
			fail "$measured_what took $(cat "$work/peak") KiB"
		;;
	esac
}

# Three volumes; the disk's stored bytes are more than two requests' worth.
: >"$proxy_log"
measured "the restore" 49152 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
same_tree machines/m1/data "$work/out/m1/data" || fail "another tree"
rm -r "$work/out"
counted GET '*/packs/*' 10
nothing_wrong
all=$(down '/packs/')
ok "restored with $n reads of packs, $(grep -c '^[0-9]' "$proxy_log") requests in all"

: >"$proxy_log"
rules 'cut=9000000 method=GET path=*/packs/* times=2' \
	'reset-answer=5000000 method=GET path=*/packs/* times=2'
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
rm -r "$work/out"
rules
fault_began cut || fail "nothing was cut off"
again=$(down '/packs/')
[ "$again" -lt $((all + 4000000)) ] || fail "$again bytes came instead of $all"
ok "cut off four times, $((again - all)) bytes came twice"

: >"$proxy_log"
measured "verify" 49152 "$fb" -c "$conf" verify --full
counted GET '*/packs/*' $((3 * packs))
nothing_wrong
ok "verified with $n reads of $packs packs"

: >"$proxy_log"
expect 0 "$fb" -c "$conf" copy --from main --to disk
counted GET '*/packs/*' $((3 * packs))
nothing_wrong
ok "copied with $n reads of $packs packs"

# Beside a server that gives few requests at once, nothing waits for itself.
rules 'error=503,SlowDown times=7' 'slow=60000000 path=*/packs/*'
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
ok "restored from a server that wants it slower"

# Clones: what they share comes once, also where one was killed in the middle of
# all three.
rules
for m in m2 m3; do
	cp -a machines/m1 "machines/$m"
	sed -i "s/^id: m1/id: $m/" "machines/$m/machine.yaml"
done
rm -rf "$work/out"
damage machines/m2/disk.img 40000000
expect 0 "$fb" -c "$conf" download
: >"$proxy_log"
expect 0 "$fb" -c "$conf" restore --run latest --all --target "$work/out" --yes
came=$(down '/packs/')
for m in m1 m2 m3; do
	cmp "machines/$m/disk.img" "$work/out/$m/root.img" || fail "another disk"
	same_tree "machines/$m/data" "$work/out/$m/data" || fail "another tree"
done
rm -r "$work/out"
nothing_wrong
# Each joins when its thread gets that far: what was read by then comes again.
[ "$came" -lt $((all * 5 / 2)) ] || fail "$came bytes came, $all are one's"
ok "three clones took less than three times one's bytes"

got=$(FLEETBAK_CRASH=write.150:kill status_of "$fb" -c "$conf" restore \
	--run latest --all --target "$work/out" --yes)
[ "$got" -eq 137 ] || fail "it ended with $got"
for m in m1 m2 m3; do
	[ ! -e "$work/out/$m" ] || fail "$m passes for whole"
done
id=$(ls state/restores)
expect 0 "$fb" -c "$conf" restore --resume "$id" --yes
for m in m1 m2 m3; do
	cmp "machines/$m/disk.img" "$work/out/$m/root.img" || fail "another disk"
	same_tree "machines/$m/data" "$work/out/$m/data" || fail "another tree"
done
ok "killed in the middle of three and resumed"
