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
icp_rules
cd "$work"
export FLEETBAK_CONFIG=fleetbak.yaml
fleet() { # [line of the source...]
	cat >fleetbak.yaml <<-END
		fleet: {name: demo}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		units:
		  fleet: {subtree: ic/$icp_root}
		sources:
		  ic:
		    driver: icp
		    icp: ./icp
		    icp_environment: here
		    identity: operator
		    identity_password_file: ./secret
		    root_canister: $icp_root
		    spool: ./spool
		    settle_time: 100ms
	END
	for fleet_line; do
		echo "    $fleet_line" >>fleetbak.yaml
	done
}
fleet
echo here >"$icp_dir/environment"
echo operator >"$icp_dir/identity"
echo hush >secret
echo hush >"$icp_dir/password"
cp -a "$icp_dir/canisters" before
expect 0 "$fb" init

begin() { # [rule...]: count from here
	: >"$icp_dir/effects"
	: >"$icp_dir/log"
	icp_rules "$@"
}
# What is up was up, nothing is left, and nobody did what nobody may do.
all_well() {
	icp_rules
	icp_is "$icp_root" Running
	icp_is "$icp_app" Running
	icp_is "$icp_worker" Stopped
	for each in "$icp_root" "$icp_app" "$icp_worker"; do
		[ "$(icp_snapshots "$each")" -eq "${1:-0}" ] ||
			fail "$each has $(icp_snapshots "$each") snapshots"
	done
	[ -z "$(find spool/ic/captures -mindepth 1 2>/dev/null)" ] ||
		fail "left in the spool: $(find spool/ic/captures)"
	icp_fair
}

begin 'version=1.1.9'
expect 1 "$fb" discover
grep -q E-ICP-VERSION stderr || fail "$(cat stderr)"
begin 'version=2.0.0'
expect 1 "$fb" download
icp_effects 0 '.*'
begin
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

begin
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

begin 'cut=70000 command=*canister_snapshot_download_* times=3'
expect 0 "$fb" download
[ "$(grep -c 'begin .*canister snapshot download .* --resume' \
	"$icp_dir/log")" -ge 2 ] || fail "nothing was resumed"
all_well
begin 'short command=*canister_snapshot_download_* times=1'
expect 3 "$fb" download
grep -q E-ICP-ANSWER stderr || fail "$(cat stderr)"
all_well
ok "a download that is cut off goes on, and a short one is none"

# Each is one snapshot more that was made, or none, and never a second one.
for fault in die-after mute garbage hang-after; do
	begin "$fault command=*canister_snapshot_create_$icp_app* times=1"
	[ "$fault" != hang-after ] || fleet 'timeout: 2s'
	expect 0 "$fb" download
	icp_effects 1 "create $icp_app .*"
	icp_effects 1 "delete $icp_app .*"
	all_well
done
fleet
ok "a snapshot whose answer is lost is found by what was there before"

begin "fail=out_of_cycles command=*canister_snapshot_create_$icp_app*"
expect 3 "$fb" download
grep -q 'E-ICP-FAILED.*out of cycles' stderr || fail "$(cat stderr)"
icp_effects 0 "create $icp_app .*"
all_well
begin "two command=*canister_snapshot_create_$icp_app* times=1"
expect 3 "$fb" download
grep -q E-ICP-AMBIGUOUS stderr || fail "$(cat stderr)"
icp_effects 1 "delete $icp_app .*"
[ "$(icp_snapshots "$icp_app")" -eq 1 ] || fail "the other one is gone"
rm -r "$icp_dir"/snapshots/"$icp_app"-* 2>/dev/null
ok "where there are two new ones it stops, and removes only its own"
