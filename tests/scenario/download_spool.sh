#!/bin/sh
# A run that was cut off and whose spool is not what its journal says: it was
# cleaned, edited, or the disk lost it.  The run is given up, everything is
# taken again, no machine is left stopped.  A spool that cannot be read at the
# moment is no such thing.
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

make_fleet "$work/f" 2
sed -i "s/jobs: 2/jobs: 1/" "$conf" # the steps come in the same order
cd "$work/f"
expect 0 "$fb" -c "$conf" init
FLEETBAK_CRASH_LOG=$work/log expect 0 "$fb" -c "$conf" download
step=$(awk 'index($0, "SHA256SUMS") { print $1; exit }' "$work/log")
[ -n "$step" ] || fail "nothing is committed in the log"
early=$(awk '$2 == "store" && index($0, "packs/") { print $1; exit }' "$work/log")
[ -n "$early" ] || fail "no pack is stored in the log"
rm -rf repo state
expect 0 "$fb" -c "$conf" init

cut_off() { # <step>
	rm -rf repo state
	cp -a "$work/made" repo
	for m in m1 m2; do : >machines/$m/effects; done
	got=$(FLEETBAK_CRASH=$1:kill status_of \
		"$fb" -c "$conf" download)
	[ "$got" -eq 137 ] || fail "it was not cut off: exit $got"
	left_alone "$work/f"
	expect 0 "$fb" -c "$conf" recover --lock-wait 30s
	spool=$(echo state/runs/*/spool)
	[ -f "$spool/packs" ] || fail "no spool"
}
cp -a repo "$work/made"

whole() { # <what>
	expect 0 "$fb" -c "$conf" verify --full
	[ "$(find repo/commits -type f | wc -l)" -eq 1 ] || fail "$1: not one run"
	[ -z "$(ls state/runs)" ] || fail "$1: the run is still there"
	jq -e '[.machines[].failure] == [null, null]' \
		repo/runs/*/manifest.json >/dev/null || fail "$1: a failure"
	for m in m1 m2; do
		[ -e machines/$m/up ] || fail "$1: $m is down"
	done
}

cut_off "$step"
expect 0 "$fb" -c "$conf" download --lock-wait 30s
whole "untouched"
[ "$(grep -c stop machines/m1/effects)" -eq 1 ] || fail "m1 was stopped again"
ok "what was copied is not copied again"

n=0
lose() { # <step> <file of the spool>...
	at=$1
	shift
	for victim; do
		for how in gone short; do
			cut_off "$at"
			[ -f "$spool/$victim" ] || fail "there is no $victim"
			if [ $how = gone ]; then
				rm "$spool/$victim"
			else
				truncate -s -1 "$spool/$victim"
			fi
			got=$(status_of "$fb" -c "$conf" download --lock-wait 30s)
			[ "$got" -eq 0 ] || fail "$victim is $how: exit $got"
			whole "$victim is $how"
			n=$((n + 1))
		done
	done
}
lose "$early" packs pack.0 pack.0.chunks m00000-e1-v0.leaves
lose "$step" packs hints m00000-e1-v0.leaves m00001-e1-v0-cat.leaves
cut_off "$step"
rm -r "$spool"
expect 0 "$fb" -c "$conf" download --lock-wait 30s
whole "there is no spool"
ok "a spool that lost a part: everything is taken again, in $n cases"

# Named, it is not replaced by another.
cut_off "$step"
rm "$spool/packs"
id=$(ls state/runs)
got=$(status_of "$fb" -c "$conf" download --resume "$id" --lock-wait 30s)
[ "$got" -eq 14 ] || fail "--resume of a lost spool: exit $got"
grep -q E-SPOOL "$work/stderr" || fail "--resume does not say why"
[ ! -e repo/commits ] || [ -z "$(ls repo/commits)" ] || fail "something was committed"
[ -z "$(ls state/runs)" ] || fail "the run is still there"
expect 0 "$fb" -c "$conf" download
whole "after --resume"
ok "a run that was asked for by name ends with its reason"

# The first reading of each file of the spool fails: what is there stays there.
cut_off "$step"
cp -a state "$work/state"
cp -a repo "$work/repo"
FLEETBAK_FAULT_LOG=$work/log "$fb" -c "$conf" download --lock-wait 30s \
	>/dev/null 2>&1 || fail "no log"
tried=0
awk '/\/spool/ { sub(".*/", "", $3) } /spool|leaves/ && !seen[$2, $3]++ {
	print $1 }' "$work/log" >"$work/steps"
while read -r at; do
	rm -rf state repo
	cp -a "$work/state" state
	cp -a "$work/repo" repo
	got=$(FLEETBAK_FAULT=$at:EIO status_of "$fb" -c "$conf" download \
		--lock-wait 30s)
	[ "$got" -eq 0 ] || {
		expect 0 "$fb" -c "$conf" download --lock-wait 30s
		whole "fault $at"
		[ "$(grep -c stop machines/m1/effects)" -eq 1 ] ||
			fail "fault $at: m1 was stopped again"
	}
	tried=$((tried + 1))
done <"$work/steps"
[ $tried -gt 0 ] || fail "no step in the spool"
ok "a spool that cannot be read at the moment is kept: $tried faults"
