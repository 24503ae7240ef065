#!/bin/sh
# A backup directory of canic's becomes a run like any other, or nothing does.
# What makes the directories follows the description of canic's documents, and
# knows nothing of what reads them.
. "$(dirname "$0")/lib.sh"
requires jq sha256sum
requires_faults

hub=rrkah-fqaaa-aaaaa-aaaaq-cai
app=ryjl3-tyaaa-aaaaa-aaaba-cai
root=rwlgt-iiaaa-aaaaa-aaaaa-cai

# canic's checksum of a tree.
sum_of() { # <directory>
	(cd "$1" && find . -type f | sed 's#^\./##' | tr / '\001' | sort |
		tr '\001' / | while read -r path; do
		printf '%s\000%s\n' "$path" \
			"$(sha256sum "$path" | cut -c1-64)"
	done) | sha256sum | cut -c1-64
}

# make_backup <directory> <backup id> fleet|deployment: two canisters.
make_backup() {
	for id in $hub $app; do
		mkdir -p "$1/$id/wasm_chunk_store"
		printf 'a module of %s of %s' "$id" "$2" >"$1/$id/wasm_module.bin"
		printf '{"globals":[],"id":"%s"}' "$id" >"$1/$id/metadata.json"
		seq 1 20000 >"$1/$id/stable_memory.bin"
		echo chunk >"$1/$id/wasm_chunk_store/0.bin"
		: >"$1/$id/wasm-x"
	done
	topology=$(printf 'topology of %s' "$2" | sha256sum | cut -c1-64)
	members='[]' rows='[]'
	for id in $hub $app; do
		sum=$(sum_of "$1/$id")
		parent=$root role=hub
		[ "$id" = $hub ] || parent=$hub role=app
		members=$(echo "$members" | jq --arg id "$id" --arg sum "$sum" \
			--arg parent $parent --arg role $role '. + [{
			role: $role, canister_id: $id,
			parent_canister_id: $parent, subnet_canister_id: null,
			controller_hint: null, identity_mode: "relocatable",
			verification_checks: [{kind: "status", roles: [$role]}],
			source_snapshot: {snapshot_id: "0000\($role)",
				module_hash: "01ab", code_version: null,
				artifact_path: $id, checksum_algorithm: "sha256",
				checksum: $sum}}]')
		rows=$(echo "$rows" | jq --arg id "$id" --arg sum "$sum" \
			--arg role $role --arg form "$3" '. + [{
			canister_id: $id, snapshot_id: "0000\($role)",
			state: "Durable", temp_path: null, artifact_path: $id,
			checksum_algorithm: "sha256", checksum: $sum,
			updated_at: "unix:1763688726"} +
			if $form == "fleet" then {} else {
				snapshot_taken_at_timestamp: 1763688720000000000,
				snapshot_total_size_bytes: null} end]')
	done
	jq -n --arg id "$2" --arg form "$3" --arg hash "$topology" \
		--arg root $root --argjson members "$members" '{
		manifest_version: 1, backup_id: $id,
		created_at: "unix:1763688726",
		tool: {name: "canic-cli", version: "0.35.10"},
		source: {environment: "local", root_canister: $root},
		consistency: {backup_units: [{unit_id: "backup-selection",
			kind: "subtree", roles: ["hub", "app"]}]},
		($form): {topology_hash_algorithm: "sha256",
			topology_hash_input: "canic-backup-plan:plan-demo",
			discovery_topology_hash: $hash,
			pre_snapshot_topology_hash: $hash,
			topology_hash: $hash, members: $members},
		verification: {"\($form)_checks": [], member_checks: []}}' \
		>"$1/$3-backup-manifest.json"
	jq -n --arg id "$2" --arg hash "$topology" --argjson rows "$rows" '{
		journal_version: 1, backup_id: $id,
		discovery_topology_hash: $hash,
		pre_snapshot_topology_hash: $hash,
		operation_metrics: {target_count: 2}, artifacts: $rows}' \
		>"$1/download-journal.json"
}

runs() { "$fb" -c "$conf" list --json | jq '[.data[].run] | unique | length'; }
edit() { # <file> <filter>
	jq "$2" "$1" >"$work/edited"
	cat "$work/edited" >"$1"
}

make_fleet "$work/a" 2
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
make_backup "$work/b1" run-demo-20251121-013206 fleet
touch "$work/b1/backup-plan.json"
cp -a "$work/b1" "$work/saved"

expect 0 "$fb" -c "$conf" import canic "$work/b1" --dry-run
grep -q "canic/$hub *hub" "$work/stdout" || fail "does not show the hub"
[ "$(runs)" = 1 ] || fail "a run was made"
expect 0 "$fb" -c "$conf" import canic "$work/b1" -n --json
jq -e '.dry_run and .ok and .data.run == null and (.data.already | not) and
	.data.backup == "run-demo-20251121-013206" and
	[.data.canisters[].role] == ["hub", "app"]' "$work/stdout" >/dev/null ||
	fail "not its JSON"
ok "what would be imported is shown"

expect 0 "$fb" -c "$conf" import canic "$work/b1" --json
run=$(field run)
same_tree "$work/saved" "$work/b1" || fail "the directory was changed"
expect 0 "$fb" -c "$conf" show "$run" --json
expect 0 "$fb" -c "$conf" show "canic/$app@$run"
for fact in 01ab 0000app relocatable unix:1763688726; do
	grep -q "$fact" "$work/stdout" || fail "show does not tell $fact"
done
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" restore "canic/$app" "canic/$hub" --target "$work/out"
for id in $app $hub; do
	same_tree "$work/b1/$id" "$work/out/$id/snapshot" || fail "$id differs"
	for file in fleet-backup-manifest.json download-journal.json; do
		cmp "$work/b1/$file" "$work/out/$id/definition/$file" ||
			fail "not its document"
	done
done
[ "$(sum_of "$work/out/$hub/snapshot")" = "$(sum_of "$work/b1/$hub")" ] ||
	fail "canic would not know it"
expect 2 "$fb" -c "$conf" restore "canic/$app" --in-place --yes
# The newest run of the fleet is still that of its own machines.
expect 0 "$fb" -c "$conf" restore --run latest --all --target "$work/latest"
[ -d "$work/latest/m1" ] && [ ! -e "$work/latest/$hub" ] ||
	fail "latest: $(ls "$work/latest")"
mv "$work/a/machines/m1" "$work/m1"
expect 0 "$fb" -c "$conf" download --dry-run
grep -q gone "$work/stdout" || fail "not said that m1 is gone"
mv "$work/m1" "$work/a/machines/m1"
ok "it is a run: shown, verified, restored"

cp -a "$work/b1" "$work/copy"
expect 0 "$fb" -c "$conf" import canic "$work/copy" --json
jq -e --arg run "$run" '.data.already and .data.run == $run' "$work/stdout" \
	>/dev/null || fail "not said that it is there"
[ "$(runs)" = 2 ] || fail "imported again"
expect 0 "$fb" -c "$conf" download --dry-run --exit-code
! grep -q gone "$work/stdout" || fail "an imported canister is gone"
expect 0 "$fb" -c "$conf" status --check --set fleet.rpo=1d
FLEETBAK_CLOCK=$(($(date +%s) + 864000)) \
	expect 4 "$fb" -c "$conf" status --check --set fleet.rpo=1d
grep -q "^ok *canic/$hub" "$work/stdout" || fail "it is overdue"
ok "the same backup is not imported twice, nor waited for"

# Each is refused by name, and nothing is stored.
refused() { # <id> <what> [filter for the manifest] [for the journal]
	[ -z "${3:-}" ] || edit "$work/bad/$manifest" "$3"
	[ -z "${4:-}" ] || edit "$work/bad/download-journal.json" "$4"
	expect 14 "$fb" -c "$conf" import canic "$work/bad"
	grep -q "$1" "$work/stderr" || fail "$2: another error"
	expect 14 "$fb" -c "$conf" import canic "$work/bad" -n
	rm -rf "$work/bad"
	make_bad
}
make_bad() { cp -a "$work/$from" "$work/bad"; }
from=b1 manifest=fleet-backup-manifest.json
make_bad
damage "$work/bad/$hub/stable_memory.bin" 4711
refused E-CANIC-CHECKSUM "a byte"
mv "$work/bad/$hub/wasm_module.bin" "$work/bad/$hub/module.bin"
refused E-CANIC-CHECKSUM "a name"
echo >"$work/bad/$app/more"
refused E-CANIC-CHECKSUM "one file more"
rm -r "$work/bad/${app:?}"
refused E-CANIC-INCOMPLETE "no artifact"
mv "$work/bad/$app" "$work/bad/elsewhere"
ln -s elsewhere "$work/bad/$app"
refused E-CANIC-ENTRY "a link in the way"
ln -sf /etc/passwd "$work/bad/$app/wasm-x"
refused E-CANIC-ENTRY "a link in it"
mkfifo "$work/bad/$app/fifo"
refused E-CANIC-ENTRY "a fifo"
rm "$work/bad/$manifest"
refused E-CANIC-INCOMPLETE "no manifest"
rm "$work/bad/download-journal.json"
refused E-CANIC-INCOMPLETE "no journal"
cp "$work/bad/$manifest" "$work/bad/deployment-backup-manifest.json"
refused E-CANIC-MISMATCH "two manifests"
mv "$work/bad/$manifest" "$work/bad/deployment-backup-manifest.json"
refused E-CANIC-FORMAT "another version's manifest"
truncate -s 500 "$work/bad/$manifest"
refused E-CANIC-FORMAT "half a manifest"
refused E-CANIC-INCOMPLETE "not durable" "" \
	'.artifacts[0].state = "ChecksumVerified" | .artifacts[0].temp_path = "x"'
refused E-CANIC-INCOMPLETE "no row" "" '.artifacts |= .[:1]'
refused E-CANIC-MISMATCH "a row too many" \
	'.fleet.members |= .[:1] | .consistency.backup_units[0].roles = ["hub"]'
refused E-CANIC-MISMATCH "the id" "" '.backup_id = "other"'
refused E-CANIC-MISMATCH "the topology" "" \
	'del(.discovery_topology_hash)'
refused E-CANIC-MISMATCH "the checksum" \
	'.fleet.members[0].source_snapshot.checksum = ("0" * 64)'
refused E-CANIC-CHECKSUM "both checksums" \
	'.fleet.members[0].source_snapshot.checksum = ("0" * 64)' \
	'.artifacts[0].checksum = ("0" * 64)'
refused E-CANIC-FORMAT "a way out" \
	'.fleet.members[0].source_snapshot.artifact_path = "../b1/x"' \
	'.artifacts[0].artifact_path = "../b1/x"'
refused E-CANIC-FORMAT "no principal" \
	'.fleet.members[0].canister_id = "../../etc"'
refused E-CANIC-FORMAT "a unit that is no subtree" \
	'.fleet.members[1].parent_canister_id = null'
[ "$(runs)" = 2 ] || fail "something was stored"
expect 1 "$fb" -c "$conf" import canic "$work/nothing"
expect 2 "$fb" -c "$conf" import
expect 2 "$fb" -c "$conf" import canic
expect 2 "$fb" -c "$conf" import kanik "$work/b1"
expect 2 "$fb" -c "$work/a/fleetbak.yaml" import canic "$work/b1" \
	--set sources.canic.driver=local --set sources.canic.root=/
ok "what is damaged, incomplete or hostile is refused, and why"

# The later names are strict; the former ones let more stand there.
make_backup "$work/b2" run-demo-20261121-013206 deployment
rm -rf "$work/bad"
from=b2 manifest=deployment-backup-manifest.json
make_bad
refused E-CANIC-FORMAT "a member that is not known" '.more = 1'
refused E-CANIC-FORMAT "a later state with a temporary path" "" \
	'.artifacts[0].temp_path = "x"'
rm -rf "$work/bad"
make_backup "$work/b3" run-more fleet
edit "$work/b3/fleet-backup-manifest.json" '.more = 1 |
	del(.fleet.members[].source_snapshot.code_version)'
expect 0 "$fb" -c "$conf" import canic "$work/b3"
expect 0 "$fb" -c "$conf" import canic "$work/b2" --json
expect 0 "$fb" -c "$conf" restore "canic/$hub@$(field run)" --target "$work/o2"
same_tree "$work/b2/$hub" "$work/o2/$hub/snapshot" || fail "it differs"
[ "$(runs)" = 4 ] || fail "not two runs more"
ok "both names of its documents"

# Cut off at each of its steps: the next one has all of it, and no run twice.
make_backup "$work/b4" run-cut-off fleet
n=1
while :; do
	cp -a "$work/a/repo" "$work/repo.before"
	cp -a "$work/a/state" "$work/state.before"
	rc=0
	FLEETBAK_CRASH=$n:kill "$fb" -c "$conf" import canic "$work/b4" -q \
		>"$work/stdout" 2>"$work/stderr" || rc=$?
	[ $rc -ne 0 ] || break
	[ $rc -eq 137 ] || fail "step $n: exit $rc"
	expect 0 "$fb" -c "$conf" import canic "$work/b4" --json
	[ "$(runs)" = 5 ] || fail "step $n: $(runs) runs"
	rm -rf "$work/a/repo" "$work/a/state"
	mv "$work/repo.before" "$work/a/repo"
	mv "$work/state.before" "$work/a/state"
	n=$((n + 19))
done
[ $n -gt 60 ] || fail "it was not cut off"
[ "$(runs)" = 5 ] || fail "not one run"
ok "cut off and continued: $((n / 19)) times"

# A download ends what is left of an import as it ends its own, with what was
# copied; all of it is imported all the same.
for part in 8 4 2; do
	make_backup "$work/ended$part" "run-ended-$part" fleet
	FLEETBAK_CRASH=$((n / part)):kill \
		expect 137 "$fb" -c "$conf" import canic "$work/ended$part"
	expect 0 "$fb" -c "$conf" download --lock-wait 30s
	[ -z "$(ls "$work/a/state/runs")" ] || fail "it was left there"
	expect 0 "$fb" -c "$conf" import canic "$work/ended$part" --json
	run=$(field run)
	expect 0 "$fb" -c "$conf" restore "canic/$hub@$run" "canic/$app@$run" \
		--target "$work/ended$part.out"
	for id in $hub $app; do
		same_tree "$work/ended$part/$id" \
			"$work/ended$part.out/$id/snapshot" || fail "not all of it"
	done
done
ok "a download ends what an import has left"

# Changed after it was verified: that canister is not stored, the other one is.
make_backup "$work/b7" run-changes fleet
FLEETBAK_FAULT=driver.1:stop "$fb" -c "$conf" import canic "$work/b7" \
	>"$work/stdout" 2>"$work/stderr" &
first=$!
n=0
until grep -q '^State:.T' "/proc/$first/status"; do
	grep -q '^State:.[^Z]' "/proc/$first/status" || fail "it ended"
	n=$((n + 1))
	[ $n -lt 1200 ] || fail "it does not stop"
	sleep 0.05
done
damage "$work/b7/$app/stable_memory.bin" 4711
kill -CONT "$first"
rc=0
wait "$first" || rc=$?
[ $rc -eq 14 ] || fail "exit $rc instead of 14"
grep -q "partial: 1 canister" "$work/stderr" || fail "not said that it is half"
grep -q "canic/$app.*E-CANIC-CHECKSUM" "$work/stderr" || fail "not said which"
expect 14 "$fb" -c "$conf" import canic "$work/b7"
damage "$work/b7/$app/stable_memory.bin" 4711
expect 0 "$fb" -c "$conf" import canic "$work/b7" --json
jq -e '.data.already | not' "$work/stdout" >/dev/null || fail "half is whole"
ok "what changes while it is imported is not stored"

# A run of the fleet's own that was cut off comes first, with its sources.
make_backup "$work/b5" run-waits fleet
cd "$work/a"
FLEETBAK_CRASH=60:kill status_of "$fb" -c "$conf" download >"$work/rc"
[ "$(cat "$work/rc")" = 137 ] || fail "not cut off: $(cat "$work/rc")"
left_alone "$PWD"
[ -n "$(ls "$work/a/state/runs")" ] || fail "it left no run"
expect 11 "$fb" -c "$conf" import canic "$work/b5"
grep -q E-IMPORT-WAITS "$work/stderr" || fail "no id"
expect 0 "$fb" -c "$conf" download
expect 0 "$fb" -c "$conf" import canic "$work/b5"
ok "what a run of the fleet's has left comes first"

# What an import brought has not left the fleet with the next run, nor have the
# fleet's own machines with the import; each only when its own runs say so.
make_fleet "$work/c" 2
cat >>"$conf" <<-'END'
	retention:
	  keep: 1 daily
	  orphans: keep 2d
	  max_remove: 100%
END
make_backup "$work/b8" run-kept fleet
at() { date -u -d "2026-11-$1T12:00Z" +%s; }
kept() { # <day>: the machines of which a rule keeps something
	FLEETBAK_CLOCK=$(at "$1") expect 0 "$fb" -c "$conf" list --why --json
	jq -r '[.data[] | select(.kept_by != []) | .machine] | unique |
		join(" ")' "$work/stdout"
}
expect 0 "$fb" -c "$conf" init
FLEETBAK_CLOCK=$(at 01) expect 0 "$fb" -c "$conf" download
FLEETBAK_CLOCK=$(at 05) expect 0 "$fb" -c "$conf" import canic "$work/b8"
all="canic/$hub canic/$app lab/m1 lab/m2"
[ "$(kept 05)" = "$all" ] || fail "after the import: $(kept 05)"
mv "$work/c/machines/m2" "$work/c/gone"
FLEETBAK_CLOCK=$(at 09) expect 0 "$fb" -c "$conf" download
all="canic/$hub canic/$app lab/m1"
[ "$(kept 09)" = "$all" ] || fail "after the next run: $(kept 09)"
FLEETBAK_CLOCK=$(at 09) expect 0 "$fb" -c "$conf" prune -y
FLEETBAK_CLOCK=$(at 09) \
	expect 0 "$fb" -c "$conf" restore "canic/$hub" --target "$work/kept"
ok "neither makes prune take the other for gone"
