#!/bin/sh
# Canisters restored: into themselves, and into an empty one; what was uploaded
# and nothing else is loaded, and only while they are down.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_icp.sh
. "$here/lib_icp.sh"

fresh=rwlgt-iiaaa-aaaaa-aaaaa-cai
other=rkp4c-7iaaa-aaaaa-aaaca-cai
icp_canister "$icp_root" root Running
icp_canister "$icp_app" app Running "$icp_root"
icp_canister "$icp_worker" worker Stopped "$icp_app"
# No machines: one with nothing in it, and one of somebody else.
icp_canister "$other" other Running '' '"registered":false'
mkdir -p "$icp_dir/canisters/$fresh"
printf ',{"id":"%s","status":"Running","registered":false}' \
	"$fresh" >>"$work/canisters"
echo "[$(cat "$work/canisters")]" >"$icp_dir/canisters.json"
cd "$work"
export FLEETBAK_CONFIG=fleetbak.yaml
icp_fleet
cp -a "$icp_dir/canisters" before
icp_rules
expect 0 "$fb" init
expect 0 "$fb" download

# all_same [canister left out]: each is what it was, and as up as it was.
all_same() {
	icp_rules
	icp_is "$icp_root" Running
	icp_is "$icp_app" Running
	icp_is "$icp_worker" Stopped
	for each in "$icp_root" "$icp_app" "$icp_worker"; do
		icp_same "$each" "before/$each"
		[ "$(icp_snapshots "$each")" -eq 0 ] ||
			fail "$each has a snapshot left"
	done
	[ -z "$(find spool -name artifact)" ] || fail "left in the spool"
	icp_fair
}

resume() {
	expect 0 "$fb" restore --resume "$(sed -n \
		's/.*--resume \([0-9a-f-]*\).*/\1/p' stderr | head -n 1)" --yes
}

icp_begin
for each in "$icp_root" "$icp_app" "$icp_worker"; do
	icp_change "$each" other
done
expect 0 "$fb" restore --run latest --all --in-place --yes
cut -d ' ' -f 1,2 "$icp_dir/effects" | grep -v delete >did
printf '%s\n' "stop $icp_root" "stop $icp_app" \
	"upload $icp_worker" "restore $icp_worker" \
	"upload $icp_app" "restore $icp_app" \
	"upload $icp_root" "restore $icp_root" \
	"start $icp_app" "start $icp_root" | cmp - did || fail "$(cat did)"
all_same
ok "a fleet is restored in its place, controllers down first and up last"

expect 20 "$fb" restore "$icp_root" --as "$fresh" --yes
grep -q E-ICP-FIXED stderr || fail "$(cat stderr)"
expect 20 "$fb" restore "$icp_app" --as "$other" --yes
grep -q E-ICP-EMPTY stderr || fail "$(cat stderr)"
expect 2 "$fb" restore "$icp_app" --as nobody --yes
icp_fleet "fixed: [$icp_app]"
expect 20 "$fb" restore "$icp_app" --as "$fresh" --yes
icp_fleet
icp_begin
expect 0 "$fb" restore "$icp_app" --as "$fresh" --start --yes
icp_same "$fresh" "before/$icp_app"
icp_is "$fresh" Running
icp_same "$other" "before/$other"
[ "$(icp_snapshots "$fresh")" -eq 0 ] || fail "a snapshot is left"
all_same
ok "a relocatable one is restored into one that is empty, a fixed one is not"

# What an upload left whose answer was lost is not loaded, and not removed.
for fault in die-after garbage cut=100000; do
	icp_begin "$fault command=*canister_snapshot_upload_* times=1"
	icp_change "$icp_app" other
	if [ $fault = die-after ]; then
		expect 0 "$fb" restore "$icp_app" --in-place --yes
		cat stderr >said
	else
		expect 1 "$fb" restore "$icp_app" --in-place --yes
		icp_is "$icp_app" Stopped
		resume
		cat stderr >said
	fi
	grep -q 'may be left of this restore' said || fail "nobody says what is left: $(cat said)"
	icp_effects 2 "upload $icp_app .*"
	icp_effects 1 "restore $icp_app .*"
	icp_effects 1 "delete $icp_app .*"
	[ "$(icp_snapshots "$icp_app")" -eq 1 ] || fail "it is not left"
	left=$(basename "$(ls -d "$icp_dir"/snapshots/"$icp_app"-*)")
	./icp --identity-password-file secret canister snapshot delete \
		"$icp_app" "${left#"$icp_app"-}" -e here --identity operator \
		2>/dev/null
	all_same
done
ok "an upload whose answer is lost is done again, and what is left is told"

icp_begin "die-after command=*canister_snapshot_restore_* times=1"
icp_change "$icp_app" other
expect 0 "$fb" restore "$icp_app" --in-place --yes
all_same
icp_begin "module=abcd command=*canister_status_$icp_app*"
icp_change "$icp_app" other
expect 1 "$fb" restore "$icp_app" --in-place --yes
grep -q E-ICP-MODULE stderr || fail "$(cat stderr)"
icp_rules
icp_is "$icp_app" Stopped
resume
all_same
ok "another module than the backup's leaves it stopped"
