#!/bin/sh
# A machine that a cut-off restore left half: it stays down, everything says
# so, it is not backed up, and resuming or restoring again makes it whole.
. "$(dirname "$0")/lib.sh"
requires_faults

make_fleet "$work/a" 2
cd "$work/a"
m1=$work/a/machines/m1
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" --lock-wait 20s download
cp -a "$m1" "$work/saved"

spoil() {
	printf 'scribble' | dd of="$m1/disk.img" bs=1 seek=1500000 \
		conv=notrunc status=none
	echo "not this" >"$m1/data/hello.txt"
	: >"$m1/up"
}

# The step that first writes into the disk.
spoil
FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$conf" restore m1 \
	--in-place --yes
step=$(awk '$3 ~ /disk.img$/ { print $1; exit }' "$work/steps")
[ -n "$step" ] || fail "the disk was not written"

cut_off() {
	spoil
	FLEETBAK_CRASH=$step:kill expect 137 "$fb" -c "$conf" restore m1 \
		--in-place --yes
	left_alone "$PWD" # its guardian
	[ ! -e "$m1/up" ] || fail "it is up"
}

cut_off
expect 0 "$fb" -c "$conf" --lock-wait 20s recover
[ ! -e "$m1/up" ] || fail "recover started a half-restored machine"
status_of "$fb" -c "$conf" status >/dev/null
cat "$work/stdout" "$work/stderr" >"$work/said"
grep -q "half restored" "$work/said" || fail "status does not say so"
status_of "$fb" -c "$conf" list >/dev/null
grep -q "half restored" "$work/stderr" || fail "list does not say so"
ok "it stays down, and commands say why"

expect 3 "$fb" -c "$conf" --lock-wait 20s download --json
[ ! -e "$m1/up" ] || fail "download started it"
grep -q "half restored" "$work/stdout" "$work/stderr" ||
	fail "download does not say why"
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out"
cmp "$work/saved/disk.img" "$work/out/m1/root.img" ||
	fail "half a machine was backed up"
ok "it is not backed up; the others are"

id=$(find "$work/a/state/restores" -mindepth 1 -maxdepth 1 -printf '%f\n')
expect 0 "$fb" -c "$conf" --lock-wait 20s restore --resume "$id" --yes
cmp "$work/saved/disk.img" "$m1/disk.img" || fail "disk differs"
same_tree "$work/saved/data" "$m1/data" || fail "tree differs"
[ -e "$m1/up" ] || fail "it was up and is not started"
expect 2 "$fb" -c "$conf" --lock-wait 20s restore --resume "$id" --yes
ok "resumed, it is whole and up"

cut_off
expect 0 "$fb" -c "$conf" --lock-wait 20s restore m1 --in-place --yes
cmp "$work/saved/disk.img" "$m1/disk.img" || fail "disk differs"
[ -e "$m1/up" ] || fail "it was up before the first restore"
[ -z "$(find "$work/a/state/restores" -mindepth 1 -maxdepth 1)" ] ||
	fail "the first restore is still open"
expect 0 "$fb" -c "$conf" --lock-wait 20s download
ok "restored again, the first restore is overtaken"

# One that was cut off before it wrote is overtaken as well.
spoil
FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$conf" --lock-wait 20s \
	restore m1 --in-place --yes
before=$(awk '$2 == "driver" { print $1; exit }' "$work/steps")
spoil
FLEETBAK_CRASH=$before:kill expect 137 "$fb" -c "$conf" --lock-wait 20s \
	restore m1 --in-place --yes
left_alone "$PWD"
expect 0 "$fb" -c "$conf" --lock-wait 20s restore m1 --in-place --yes
expect 0 "$fb" -c "$conf" status --json
grep -q '"unfinished_restores":\[\]' "$work/stdout" ||
	fail "the first restore is still open"
ok "restored again, a restore that had not begun to write is overtaken"

# Part of a machine does not make whole what is half.
whole_step=$step
step=$((step - 12))
half() { # stopped, suspended, and its disk not yet written
	[ ! -e "$m1/up" ] && ! cmp -s "$work/saved/disk.img" "$m1/disk.img" &&
		status_of "$fb" -c "$conf" --lock-wait 20s status >/dev/null &&
		grep -q "half restored" "$work/stdout" "$work/stderr"
}
until cut_off && half; do
	step=$((step + 1))
	[ $step -lt $((whole_step + 12)) ] || fail "no step leaves it half"
	expect 0 "$fb" -c "$conf" --lock-wait 20s restore m1 --in-place --yes
done
expect 20 "$fb" -c "$conf" --lock-wait 20s restore m1 --in-place --yes \
	--volume data
[ ! -e "$m1/up" ] || fail "half restored and up"
expect 0 "$fb" -c "$conf" --lock-wait 20s restore m1 --in-place --yes
cmp "$work/saved/disk.img" "$m1/disk.img" || fail "disk differs"
[ -e "$m1/up" ] || fail "it is down"
ok "part of a machine does not make whole what is half"

# Damage met in the middle: down, and another copy of the backup mends it.
spoil
cp -a "$work/a/repo" "$work/hurt"
for pack in "$work"/hurt/packs/*/*.pack; do
	chmod u+w "$pack"
	frames=$(tail -c 27 "$pack" | awk '{ print $2 + 0 }')
	dd if=/dev/zero of="$pack" bs="$frames" count=1 conv=notrunc \
		status=none
done
sed "s#file:./repo#file:$work/hurt#" "$conf" >"$work/a/hurt.yaml"
expect 14 "$fb" -c "$work/a/hurt.yaml" restore m1 --in-place --yes
if [ -e "$m1/up" ]; then
	# Found before anything was touched.
	[ "$(cat "$m1/data/hello.txt")" = "not this" ] || fail "half and up"
fi
expect 0 "$fb" -c "$conf" restore m1 --in-place --yes
cmp "$work/saved/disk.img" "$m1/disk.img" || fail "disk differs"
same_tree "$work/saved/data" "$m1/data" || fail "tree differs"
[ -e "$m1/up" ] || fail "it is down"
ok "damage in the middle leaves it down until a good copy makes it whole"
