#!/bin/sh
# Canisters: found in their root's registry, backed up controllers first, and
# restored; with answers that are lost, and others at work.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_icp.sh
. "$here/lib_icp.sh"

fresh=rwlgt-iiaaa-aaaaa-aaaaa-cai
icp_canister "$icp_root" root Running
icp_canister "$icp_app" app Running "$icp_root"
icp_canister "$icp_worker" worker Stopped "$icp_app"
# Not in the registry, and nothing is in it.
mkdir -p "$icp_dir/canisters/$fresh"
printf ',{"id":"%s","status":"Running","registered":false}' \
	"$fresh" >>"$work/canisters"
echo "[$(cat "$work/canisters")]" >"$icp_dir/canisters.json"
cd "$work"
export FLEETBAK_CONFIG=fleetbak.yaml
icp_fleet
cp -a "$icp_dir/canisters" before
expect 0 "$fb" init

# What is up was up, nothing is left, and nobody did what nobody may do.
all_well() {
	icp_rules
	icp_is "$icp_root" Running
	icp_is "$icp_app" Running
	icp_is "$icp_worker" Stopped
	for each in "$icp_root" "$icp_app" "$icp_worker"; do
		[ "$(icp_snapshots "$each")" -eq "0" ] ||
			fail "$each has $(icp_snapshots "$each") snapshots"
	done
	[ -z "$(find spool/ic/captures -mindepth 1 2>/dev/null)" ] ||
		fail "left in the spool: $(find spool/ic/captures)"
	icp_fair
}

icp_begin 'version=1.1.9'
expect 1 "$fb" discover
grep -q E-ICP-VERSION stderr || fail "$(cat stderr)"
icp_begin 'version=2.0.0'
expect 1 "$fb" download
icp_effects 0 '.*'
icp_begin
expect 0 "$fb" discover
[ "$(grep -c '^ic/' stdout)" -eq 3 ] || fail "$(cat stdout)"
expect 0 "$fb" topology
cp stdout first
for form in list flat candid; do
	icp_rules "registry=$form"
	expect 0 "$fb" topology
	cmp stdout first || fail "the registry as $form is another fleet"
done
for form in err empty; do
	icp_rules "registry=$form"
	expect 1 "$fb" discover
	grep -q 'E-ICP-REGISTRY' stderr || fail "$(cat stderr)"
done
icp_rules "public command=*canister_status_$icp_app*"
expect 3 "$fb" discover
grep -q E-ICP-CONTROLLER stderr stdout || fail "$(cat stdout stderr)"
icp_rules 'flood=40 command=*canister_call_*'
expect 1 "$fb" discover
ok "a fleet is what its root says, to a command of a known version"

icp_begin
expect 0 "$fb" download
printf '%s\n' "stop $icp_root" "stop $icp_app" "create $icp_root" \
	"create $icp_app" "create $icp_worker" "start $icp_app" \
	"start $icp_root" "download $icp_root" "download $icp_app" \
	"download $icp_worker" >wanted
cut -d ' ' -f 1,2 "$icp_dir/effects" | grep -v delete | cmp - wanted ||
	fail "$(cat "$icp_dir/effects")"
all_well
expect 0 "$fb" verify --full
expect 0 "$fb" show "$icp_app" --json
grep -q '"consistency": *"offline"' stdout || fail "$(cat stdout)"
! grep -rq hush repo state spool stdout stderr || fail "a secret is kept"
ok "controllers stop first and start last, and bytes are read in between"

icp_begin 'cut=70000 command=*canister_snapshot_download_* times=3'
expect 0 "$fb" download
[ "$(grep -c 'begin .*canister snapshot download .* --resume' \
	"$icp_dir/log")" -ge 2 ] || fail "nothing was resumed"
all_well
icp_begin 'short command=*canister_snapshot_download_* times=1'
expect 3 "$fb" download
grep -q E-ICP-ANSWER stderr || fail "$(cat stderr)"
all_well
ok "a download that is cut off goes on, and a short one is none"

# Each is one snapshot more that was made, or none, and never a second one.
for fault in die-after mute garbage hang-after; do
	icp_begin "$fault command=*canister_snapshot_create_$icp_app* times=1"
	[ "$fault" != hang-after ] || icp_fleet 'timeout: 1s'
	expect 0 "$fb" download
	icp_effects 1 "create $icp_app .*"
	icp_effects 1 "delete $icp_app .*"
	all_well
done
icp_fleet
ok "a snapshot whose answer is lost is found by what was there before"

icp_begin "$(printf %s 'fail=The_replica_returned_a_rejection_error:_' \
	'reject_code_CanisterError,_reject_message_out_of_cycles') \
command=*canister_snapshot_create_$icp_app*"
expect 3 "$fb" download
grep -q 'E-ICP-FAILED.*out of cycles' stderr || fail "$(cat stderr)"
icp_effects 0 "create $icp_app .*"
all_well
icp_begin "two command=*canister_snapshot_create_$icp_app* times=1"
expect 3 "$fb" download
grep -q E-ICP-AMBIGUOUS stderr || fail "$(cat stderr)"
icp_effects 1 "delete $icp_app .*"
[ "$(icp_snapshots "$icp_app")" -eq 1 ] || fail "the other one is gone"
rm -r "$icp_dir"/snapshots/"$icp_app"-* 2>/dev/null
ok "where there are two new ones it stops, and removes only its own"

icp_fleet 'timeout: 1s' 'stop_timeout: 1s'
icp_begin "hang command=*canister_stop_$icp_app*"
expect 3 "$fb" download
grep -q E-ICP-TIMEOUT stderr || fail "$(cat stderr)"
all_well
icp_fleet
icp_begin "stopping=2 command=*canister_stop_$icp_app* times=1"
expect 0 "$fb" download
all_well
icp_begin "die-after command=*canister_stop_* times=2" \
	"die-after command=*canister_start_* times=2"
expect 0 "$fb" download
icp_effects 2 'stop .*'
icp_effects 2 'start .*'
all_well
ok "a stop and a start are what came of them"

# A root that is down says nothing: what it said last is its fleet.
icp_begin
./icp --identity-password-file secret canister stop "$icp_root" -e here \
	--identity operator
expect 0 "$fb" discover
[ "$(grep -c '^ic/' stdout)" -eq 3 ] || fail "$(cat stdout)"
icp_ran 0 '.*canic_subnet_registry.*'
rm -r spool
expect 15 "$fb" discover
grep -q E-ICP-REGISTRY stderr || fail "$(cat stderr)"
ok "of a root that is down the last word counts"

icp_begin
./icp --identity-password-file secret canister start "$icp_root" -e here \
	--identity operator
cd "$work"
"$bin/scenario/conform" icp "$work" "{\"root_canister\":\"$icp_root\",
	\"icp\":\"./icp\",\"spool\":\"$work/spool\",\"identity\":\"operator\",
	\"icp_environment\":\"here\",
	\"identity_password_file\":\"$work/secret\"}" "$icp_app" >conformed ||
	fail "$(cat conformed)"
grep -q '^pass snapshot-twice-is-once' conformed || fail "$(cat conformed)"
icp_is "$icp_app" Running
icp_fair
ok "it does what every driver does: $(tail -1 conformed)"
