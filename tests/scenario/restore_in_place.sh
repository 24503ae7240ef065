#!/bin/sh
# In place: only what differs, trees mirrored, power as it was.
. "$(dirname "$0")/lib.sh"

make_fleet "$work/a" 2
m1=$work/a/machines/m1
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
cp -a "$m1" "$work/saved"

expect 2 "$fb" -c "$conf" restore m1 --in-place --volume rot </dev/null
grep -q "did you mean 'root'" "$work/stderr" || fail "no nearest name"

printf 'scribble' | dd of="$m1/disk.img" bs=1 seek=1500000 conv=notrunc \
	status=none
echo changed >"$m1/data/hello.txt"
rm "$m1/data/empty"
mkdir "$m1/data/extra"
echo more >"$m1/data/extra/file"
: >"$m1/effects"

expect 20 "$fb" -c "$conf" restore m1 --in-place </dev/null
[ ! -s "$m1/effects" ] || fail "touched without consent"
ok "without a terminal and --yes it is refused"

expect 0 "$fb" -c "$conf" restore m1 --in-place -n
grep -q extra/file "$work/stdout" || fail "the removal is not listed"
grep -q scratch.tmp "$work/stdout" && fail "an excluded file is listed"
[ ! -s "$m1/effects" ] || fail "a dry run stopped the machine"
[ -e "$m1/data/extra/file" ] || fail "a dry run removed"
ok "the plan lists what mirroring removes, and touches nothing"

expect 0 "$fb" -c "$conf" restore m1 --in-place --yes --json
written=$(field written_bytes)
cmp "$work/saved/disk.img" "$m1/disk.img" || fail "disk differs"
same_tree "$work/saved/data" "$m1/data" || fail "tree differs"
[ ! -e "$m1/data/extra" ] || fail "an extra file is still there"
[ -e "$m1/data/scratch.tmp" ] || fail "an excluded file was removed"
[ "$written" -lt 100000 ] || fail "wrote $written bytes"
ok "it is as it was, and little more than the difference was written"

[ "$(cat "$m1/effects")" = "stop
start" ] || fail "effects: $(cat "$m1/effects")"
[ -e "$m1/up" ] || fail "it is not up"
ok "it was stopped once and started once"

# A command that cannot be run, whichever it is: what was up is up afterwards,
# or the restore says that it is not.
if [ "${FB_VARIANT:-debug}" != release ]; then
	for child in 1 2 3 4 5 6 7 8; do
		echo changed >"$m1/data/hello.txt"
		got=$(FLEETBAK_FAULT=child.$child:EAGAIN status_of \
			"$fb" -c "$conf" restore m1 --in-place --yes)
		[ "$got" -ne 0 ] || [ -e "$m1/up" ] ||
			fail "restored, not started, and content (command $child)"
		for half in "$work"/a/state/restores/*; do
			[ ! -e "$half" ] || expect 0 "$fb" -c "$conf" restore \
				--resume "${half##*/}" --yes
		done
		[ -e "$m1/up" ] || fail "it stays down (command $child)"
	done
	ok "a command that cannot be run leaves no machine down in silence"
fi

rm "$m1/up"
: >"$m1/effects"
expect 0 "$fb" -c "$conf" restore m1 --in-place --yes
[ ! -s "$m1/effects" ] || fail "a machine that was down was touched"
[ ! -e "$m1/up" ] || fail "it is up"
ok "a machine that was down stays down"

: >"$m1/up"
echo changed >"$m1/data/hello.txt"
rm -r "$m1/data/sub"
expect 0 "$fb" -c "$conf" restore m1 --in-place --yes --volume data \
	--path hello.txt --path hard
[ "$(cat "$m1/data/hello.txt")" = "hello from m1" ] || fail "path differs"
[ ! -e "$m1/data/sub" ] || fail "more than the path came back"
[ -e "$m1/up" ] || fail "it is not up"
ok "single paths go into the tree and leave the rest alone"

: >"$m1/fail-stop"
: >"$m1/effects"
echo changed >"$m1/data/hello.txt"
expect 1 "$fb" -c "$conf" restore m1 --in-place --yes
[ "$(cat "$m1/data/hello.txt")" = changed ] || fail "written while up"
rm "$m1/fail-stop"
: >"$m1/unknown"
status_of "$fb" -c "$conf" restore m1 --in-place --yes >"$work/got"
[ "$(cat "$work/got")" -ne 0 ] || fail "an unknown state was overwritten"
rm "$m1/unknown"
[ "$(cat "$m1/data/hello.txt")" = changed ] || fail "written while unknown"
ok "what is not surely down is not overwritten"

mv "$m1" "$work/gone"
expect 0 "$fb" -c "$conf" restore m1 --in-place --yes
cmp "$work/saved/disk.img" "$m1/disk.img" || fail "disk differs"
same_tree "$work/saved/data" "$m1/data" || fail "tree differs"
[ -e "$m1/up" ] || fail "it was up in the backup and is not"
ok "a machine that is gone comes back and is started"

sed -i 's/^role: web$/role: web\nparent: m2/' "$m1/machine.yaml"
expect 0 "$fb" -c "$conf" download
for m in m1 m2; do
	cat >>"$work/a/machines/$m/ctl" <<-EOF
		[ \$1 = status ] || echo "$m \$1" >>"$work/order"
	EOF
done
expect 0 "$fb" -c "$conf" restore --run latest --all --in-place --yes
[ "$(head -n 2 "$work/order" | tr '\n' ,)" = "m1 stop,m2 stop," ] ||
	fail "order of stops: $(cat "$work/order")"
[ -e "$work/a/machines/m1/up" ] || fail "m1 is down"
[ -e "$work/a/machines/m2/up" ] || fail "m2 is down"
ok "a whole run: children stop before their parents"

# What a download that was cut off has captured is older than what is written over.
requires_faults
make_fleet "$work/g" 1
cd "$work/g"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
first=$(ls repo/runs)
printf one >>machines/m1/disk.img
rc=$(FLEETBAK_CRASH=store.6:kill status_of "$fb" -c "$conf" download -s m1)
[ "$rc" -eq 137 ] || fail "not killed: $rc"
[ -n "$(ls state/runs)" ] || fail "nothing was cut off"
printf two >>machines/m1/disk.img
cp machines/m1/disk.img "$work/now"
left_alone "$work/g"
expect 0 "$fb" -c "$conf" restore "m1@$first" --in-place --backup-first --yes
expect 0 "$fb" -c "$conf" restore m1 --run latest --target "$work/back" --yes
cmp "$work/now" "$work/back/m1/root.img" || fail "the way back is an older one"
ok "the backup before a restore is of this moment"
