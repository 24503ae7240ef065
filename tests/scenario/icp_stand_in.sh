#!/bin/sh
# The stand-in for the `icp` command is what the contract says, and goes wrong
# as it is told: driven here by the shell alone.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_icp.sh
. "$here/lib_icp.sh"

icp_canister "$icp_root" root Running
icp_canister "$icp_app" app Running "$icp_root"
icp_canister "$icp_worker" worker Stopped "$icp_app"
cd "$work"

# has <pattern>: what it printed does; said: on stderr.
has() {
	tr '\n' ' ' <stdout | grep -qE "$1" ||
		fail "no $1 in $(head -c 500 stdout)"
}
said() {
	grep -qE "$1" stderr || fail "no $1"
}

expect 0 "$icp" --version
has '^icp 1\.2\.0 $'
expect 0 "$icp" canister status "$icp_app" --json
hash=$(sha256sum <"$icp_dir/canisters/$icp_app/wasm_module.bin" | cut -c1-64)
has "^\\{\"id\":\"$icp_app\",\"status\":\"Running\",.*\"controllers\":\\[\"2vxsx-fae\"\\].*\"module_hash\":\"0x$hash\""
expect 0 "$icp" canister status "$icp_worker"
has 'Status: Stopped'
expect 0 "$icp" canister call "$icp_root" canic_subnet_registry '()' --json
has "^\\{\"Ok\":\\[\\{\"pid\":\"$icp_root\",\"role\":\"root\",\"record\":\\{.*\"parent_pid\":null"
has "\"parent_pid\":\\[\"$icp_root\"\\],\"module_hash\":\"$hash\""
icp_rules 'registry=flat'
expect 0 "$icp" canister call "$icp_root" canic_subnet_registry '()' --json
has "\\{\"pid\":\"$icp_app\",\"role\":\"app\",\"parent_pid\":\"$icp_root\",\"module_hash\":\"$hash\"\\}"
icp_rules 'registry=candid'
expect 0 "$icp" canister call "$icp_root" canic_subnet_registry '()' --json
has '"response_candid":"\(.n  variant.*parent_pid = opt principal'
icp_rules
expect 1 "$icp" canister status xxxxx-xx
said '^Error: Canister xxxxx-xx was not found'
expect 1 "$icp" canister call "$icp_app" canic_subnet_registry '()' --json
icp_fair
expect 2 "$icp" canister status "$icp_app" --jsonn
icp_complained 'a command line that is none'
ok "what there is, in each form"

# A snapshot, there and back.
cp -a "$icp_dir/canisters/$icp_app" before
expect 1 "$icp" canister snapshot create "$icp_app" --json
said 'currently running. Please stop'
expect 0 "$icp" canister stop "$icp_app"
[ ! -s stdout ] || fail "a stop says something"
icp_is "$icp_app" Stopped
expect 0 "$icp" canister stop "$icp_app"
expect 0 "$icp" canister snapshot create "$icp_app" --json
has '^\{"snapshot_id":"[0-9a-f]+","taken_at_timestamp":[0-9]{19},"total_size_bytes":[0-9]+\}$'
id=$(field snapshot_id)
expect 0 "$icp" canister snapshot list "$icp_app" --json
has "^\\{\"snapshots\":\\[\\{\"snapshot_id\":\"$id\""
expect 0 "$icp" canister snapshot list "$icp_worker" --json
has '^\{"snapshots":\[\]\}$'
icp_rules 'cut=200000 times=1'
expect 1 "$icp" canister snapshot download "$icp_app" "$id" --output d
[ -e d/.download_progress.json ] || fail "no progress"
expect 1 "$icp" canister snapshot download "$icp_app" "$id" --output d
said 'is not empty. Use --resume'
expect 0 "$icp" canister snapshot download "$icp_app" "$id" --output d --resume
[ ! -e d/.download_progress.json ] || fail "progress"
for file in wasm_module.bin wasm_memory.bin stable_memory.bin; do
	cmp "d/$file" "before/$file" || fail "another $file"
done
[ -d d/wasm_chunk_store ] && [ -e d/.lock ] && [ -s d/metadata.json ] ||
	fail "not the layout"
expect 1 "$icp" canister snapshot download "$icp_app" "$id" --output e --resume
said 'Cannot resume: no existing download'
icp_change "$icp_app" other
expect 1 "$icp" canister snapshot upload "$icp_app" --input d --json --resume
said 'no upload progress'
icp_rules 'cut=200000 times=1'
expect 1 "$icp" canister snapshot upload "$icp_app" --input d --json
expect 0 "$icp" canister snapshot upload "$icp_app" --input d --json --resume
has '^\{"snapshot_id":"[0-9a-f]+"\}$'
new=$(field snapshot_id)
[ "$new" != "$id" ] || fail "the same one"
expect 0 "$icp" canister start "$icp_app"
expect 1 "$icp" canister snapshot restore "$icp_app" "$new"
icp_complained 'of a canister that runs'
expect 0 "$icp" canister stop "$icp_app"
expect 0 "$icp" canister snapshot restore "$icp_app" "$new"
icp_same "$icp_app" before
expect 1 "$icp" canister snapshot restore "$icp_worker" "$new"
said 'Could not find the snapshot'
expect 0 "$icp" canister snapshot delete "$icp_app" "$new"
icp_effects 2 "stop $icp_app"
icp_effects 1 "stop-again $icp_app"
icp_effects 1 "create $icp_app $id"
icp_effects 1 "upload $icp_app $new"
icp_effects 1 "restore $icp_app $new"
icp_ran 3 "canister stop $icp_app"
[ "$(icp_snapshots "$icp_app")" -eq 1 ] || fail "not one snapshot"
icp_fair
ok "a snapshot is taken, fetched with a break, uploaded and loaded"

# As whom, and where.
echo production >"$icp_dir/environment"
echo backup >"$icp_dir/identity"
echo secret >"$icp_dir/password"
echo secret >pass
expect 1 "$icp" canister status "$icp_app" --json
said "environment named 'local'"
expect 0 "$icp" --identity-password-file pass canister status "$icp_app" \
	--json -e production --identity backup
expect 1 "$icp" canister status "$icp_app" -e production --identity backup
icp_fair
rm "$icp_dir/environment" "$icp_dir/identity" "$icp_dir/password"
ok "environment, identity and password are checked"

# What goes wrong.
icp_rules 'die-after command=canister_start_* times=1'
expect 137 "$icp" canister start "$icp_app"
icp_is "$icp_app" Running
icp_rules 'die command=canister_stop_* times=1'
expect 137 "$icp" canister stop "$icp_app"
icp_is "$icp_app" Running
icp_rules 'stopping=1'
expect 1 "$icp" canister stop "$icp_app"
icp_rules
expect 0 "$icp" canister status "$icp_app" --json
has '"status":"Stopping"'
expect 0 "$icp" canister status "$icp_app" --json
has '"status":"Stopped"'
icp_rules 'two'
expect 0 "$icp" canister snapshot create "$icp_app" --json
[ "$(icp_snapshots "$icp_app")" -eq 3 ] || fail "not two new ones"
icp_rules 'mute'
expect 0 "$icp" canister snapshot create "$icp_app" --json
[ ! -s stdout ] || fail "it says something"
icp_rules 'garbage=7'
expect 0 "$icp" canister status "$icp_app" --json
[ "$(wc -c <stdout)" -eq 7 ] || fail "no garbage"
icp_rules 'flood=3'
expect 0 "$icp" canister status "$icp_app" --json
[ "$(wc -c <stdout)" -gt 3000000 ] || fail "no flood"
icp_rules 'version=1.1.9'
expect 0 "$icp" --version
has '^icp 1\.1\.9 $'
icp_rules 'corrupt'
expect 0 "$icp" canister snapshot download "$icp_app" "$id" --output f
! cmp -s f/wasm_module.bin before/wasm_module.bin || fail "not corrupt"
icp_rules 'hang command=*--version'
expect 124 timeout 1 "$icp" --version
icp_rules 'fail=No_route'
expect 1 "$icp" canister status "$icp_app"
said '^Error: No route$'
icp_fair
ok "it goes wrong as it is told"
