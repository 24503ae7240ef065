#!/bin/sh
# A command of the machine tells what changed in a disk: only the chunks that
# this touches are read.  A map that is broken, late or lies costs a full read
# and a warning, never a wrong backup.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 1
cd "$work/f"
m=machines/m1
sed -i '/kind: tree/d; s|path: disk.img}|path: disk.img, changed: [./map]}|' \
	$m/machine.yaml
sed -i 's/jobs: 2/verify_unchanged: 0%, jobs: 2/' "$conf"
rm -r $m/data
# A map kept by hand: the ranges of each night, and which night it is.
cat >$m/map <<'END'
#!/bin/sh
echo "$FLEETBAK_SINCE $FLEETBAK_VOLUME" >>asked
[ ! -e broken ] || exec cat broken
[ ! -e fail ] || exit 1
echo "token night-$(cat night)"
cat ranges
END
chmod +x $m/map
head -c 8000000 /dev/urandom >$m/disk.img
truncate -s 32M $m/disk.img
head -c 4000000 /dev/urandom |
	dd of=$m/disk.img bs=1M seek=20 conv=notrunc status=none
echo 0 >$m/night
: >$m/ranges

night() {
	echo $(($(cat $m/night) + 1)) >$m/night
}
change() { # <offset> <bytes> [unsaid]
	head -c "$2" /dev/urandom | dd of=$m/disk.img bs=65536 oflag=seek_bytes \
		seek="$1" conv=notrunc status=none
	[ -n "${3:-}" ] || echo "$1 $2" >>$m/ranges
}
run_it() { # <option>...
	expect 0 "$fb" -c "$conf" download --json "$@"
	read=$(jq '[.machines[].volumes[] | select(.kind == "disk").read_bytes] |
		add' "repo/runs/$(jq -r .run "$work/stdout")/manifest.json")
	cp "$work/stderr" "$work/said"
	night
	: >$m/ranges
}
# <what> <least bytes read> <most>
whole() {
	[ "$read" -ge "$2" ] && [ "$read" -le "$3" ] ||
		fail "$1: $read bytes were read"
	rm -rf out
	expect 0 "$fb" -c "$conf" restore m1 --target out
	cmp $m/disk.img out/m1/root.img || fail "$1: another disk"
	ok "$1: $read bytes read"
}
chunk=600000 # more than the largest one
all=12000000

expect 0 "$fb" -c "$conf" init
run_it
whole "the first time" $all 14000000
[ "$(cat $m/asked)" = " root" ] || fail "asked: $(cat $m/asked)"
run_it
whole "nothing changed" 0 0
[ "$(tail -1 $m/asked)" = "night-0 root" ] || fail "asked: $(tail -1 $m/asked)"
change 3000000 1000
change 22000000 5000
change 22001000 100
run_it
whole "two places changed" 6000 $((4 * chunk))
change 12000001 70000
change 33500000 1000
run_it
whole "in a hole and at the end" 71000 $((2 * chunk))
run_it
whole "and then nothing" 0 0

truncate -s 40M $m/disk.img
change 35000000 100000
run_it
whole "it has grown" 100000 $((2 * chunk))
truncate -s 23M $m/disk.img
run_it
whole "it was cut off" 0 $((2 * chunk))
truncate -s 32M $m/disk.img
change 24000000 10
run_it
whole "it is as long as it was" 10 $chunk

now=$(stat -c %s $m/disk.img)
for what in "night-9" "token a b" "token x
10" "token x
$((now - 5)) 6" "token x
18446744073709551615 2" "token x
99999999999999999999999 1" "token x
-1 5" "token x
1 2 3" ""; do
	printf '%s\n' "$what" >$m/broken
	[ -n "$what" ] || : >$m/broken
	change 5000000 100
	run_it
	grep -q 'read as a whole' "$work/said" || fail "no warning: '$what'"
	whole "a map of '$(echo "$what" | tr '\n' ',')'" 7000000 14000000
	rm $m/broken
	run_it # there is a token again
done
yes "1 1" | head -c 20000000 >$m/broken
run_it
grep -q 'read as a whole' "$work/said" || fail "no warning: a long map"
whole "a map of 20 MB" 7000000 14000000
rm $m/broken
: >$m/fail
run_it
grep -q 'E-CHANGE-MAP\|exit code 1' "$work/said" || fail "no warning: fails"
whole "a map that fails" 7000000 14000000
rm $m/fail
run_it
whole "a map after a night without" 7000000 14000000
echo all >$m/ranges
run_it
whole "a map of all" 7000000 14000000
run_it
whole "and then nothing" 0 0

# A lie is found by what is read all the same.
change 1000000 6000000 unsaid
sed -i 's/verify_unchanged: 0%/verify_unchanged: 100%/' "$conf"
run_it
grep -q 'not what they were' "$work/said" || fail "nobody is warned"
whole "a map that lies" 7000000 20000000
run_it
whole "all of it compared" 7000000 14000000
! grep -q 'not what they were' "$work/said" || fail "warned without need"
sed -i 's/verify_unchanged: 100%/verify_unchanged: 10%/' "$conf"
run_it
whole "a share of it compared" 1 4000000
sed -i 's/verify_unchanged: 10%/verify_unchanged: 0%/' "$conf"
change 2000000 100 unsaid
run_it --full
whole "--full" 7000000 14000000
run_it
whole "after --full" 0 0
expect 0 "$fb" -c "$conf" verify --full
ok "verify --full"
