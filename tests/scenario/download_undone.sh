#!/bin/sh
# A copy that is cut off in the middle, from a snapshot that the next run goes
# on with: what a crash undid, or somebody took away, is copied again.
. "$(dirname "$0")/lib.sh"
requires jq mkfs.xfs
requires_faults
requires_root
mkdir "$work/fs"
truncate -s 700M "$work/fs.img"
mkfs.xfs -q -m reflink=1 "$work/fs.img" 2>/dev/null &&
	mount -o loop "$work/fs.img" "$work/fs" 2>/dev/null || {
	echo 'skip  cannot mount a file system with reflinks'
	exit 77
}
trap 'unmount "$work/fs"; clear_work' EXIT
cd "$work/fs"

# One machine that is copied for long enough to be cut off.
make_live() { # <dir>
	make_fleet "$1" 0
	sed -i "s/jobs: 2/jobs: 1/" "$conf"
	cd "$1"
	mkdir -p machines/live
	for v in a b; do
		head -c 20000000 /dev/urandom >machines/live/$v.img
	done
	cat >machines/live/machine.yaml <<-'EOF'
		id: live
		volumes:
		  - {name: a, kind: disk, path: a.img}
		  - {name: b, kind: disk, path: b.img}
	EOF
}
# Interrupted in the middle of a copy, which it keeps.  When that is depends on
# how far the readers are ahead: the first moment that is one.
stop_early() {
	mkdir "$work/before"
	cp -a repo machines "$work/before"
	[ ! -e state ] || cp -a state "$work/before"
	FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$conf" download
	awk '/spool\/pack.0$/ { print $1 }' "$work/steps" >"$work/moments"
	kept=
	while [ -z "$kept" ] && read -r step; do
		rm -rf repo state machines
		cp -a "$work/before/." .
		FLEETBAK_CRASH=$step:SIGINT status_of "$fb" -c "$conf" \
			download >/dev/null
		left_alone "$PWD"
		if grep -q 'checkpoint.*copies":{"m[^}]*"leaves":[1-9]' state/runs/*/journal; then
			kept=$step
		fi
	done <"$work/moments"
	rm -r "$work/before"
	[ -n "$kept" ] || fail "no moment in the middle of a copy"
	[ -z "$(find repo -path '*/commits/*')" ] || fail "it was not cut off"
}
ends_whole() {
	expect 0 "$fb" -c "$conf" download
	cp "$work/stderr" "$work/said"
	expect 0 "$fb" -c "$conf" verify --full
	[ "$(find repo/commits -type f | wc -l)" -eq 1 ] || fail "not one run"
	[ -z "$(ls state/runs)" ] || fail "a run is still there"
}

# Cut off twice: what the first crash undid, though the journal has it, is not
# taken for done because the second one left a later state.
make_live "$work/fs/g"
expect 0 "$fb" -c "$conf" init
cp -a repo made
FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$conf" download
step=$(awk '/journal volume lab\/live a/ { print $1 + 1; exit }' "$work/steps")
[ -n "$step" ] || fail "no volume in the log"
rm -rf repo state
cp -a made repo
FLEETBAK_CRASH=$step:kill expect 137 "$fb" -c "$conf" download
left_alone "$PWD"
stop_early
ends_whole
if grep -q E-SPOOL "$work/said"; then
	fail "what was undone is taken for lost"
fi
ok "what two crashes undid is copied again"

# The key of an open pack is gone.
make_live "$work/fs/e"
sed -i 's|sign.pem"}|sign.pem", encrypt_to: ["file:./keys/recovery.crt"], \
    decrypt_with: "file:./keys/recovery.pem"}|' "$conf"
expect 0 "$fb" -c "$conf" init
stop_early
rm state/runs/*/spool/pack.0.key
ends_whole
grep -q E-SPOOL "$work/said" || fail "nothing is said of the key"
ok "a key that is gone is a part that is gone"

# And what is under way: it begins anew.
for how in gone short; do
	make_live "$work/fs/u$how"
	expect 0 "$fb" -c "$conf" init
	stop_early
	leaves=$(echo state/runs/*/spool/m00000-e1-v0.leaves)
	[ -s "$leaves" ] || fail "nothing is under way"
	if [ $how = gone ]; then rm "$leaves"; else truncate -s -1 "$leaves"; fi
	ends_whole
done
ok "a copy under way whose leaves are gone begins anew"
