#!/bin/sh
# Computers of MIOSA: found, backed up and restored, by each family of paths.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_miosa.sh
. "$here/lib_miosa.sh"

miosa_computer comp_a running \
	'"name":"web","metadata":{"token":"hush-hush-token"}'
miosa_computer comp_b stopped '"name":"db"'
miosa_begin --off-status 404
cd "$work"
miosa_fleet
cp -a "$cloud/computers" before
expect 0 "$fb" init

for style in meta page,1 offset,1 cursor,1; do
	miosa_rules "paging=$style"
	expect 0 "$fb" discover --json
	grep -q comp_a stdout && grep -q comp_b stdout ||
		fail "$style: $(cat stdout)"
done
for mode in bare data named items; do
	miosa_rules "envelope=$mode"
	expect 0 "$fb" topology
	sha256sum <stdout >"topology.$mode"
	cmp topology.bare "topology.$mode" || fail "$mode: another fleet"
done
miosa_rules 'total=9 path=*/computers?*' 'paging=meta'
! "$fb" topology >out 2>&1 || fail "a part of the fleet passes for all"
grep -q 'the list is none' out || fail "$(cat out)"
miosa_rules 'envelope=other path=*/computers?*'
! "$fb" topology >out 2>&1 || fail "no list passes for an empty one"
miosa_rules
api POST /computers/comp_a/restart >out
for _ in 1 2 3 4; do
	api GET /computers/comp_a >out
done
expect 0 "$fb" topology
sha256sum <stdout | cmp - topology.bare || fail "a restart is a change"
ok "computers are found in pages of any style, or it is said that they are not"

expect 0 "$fb" plan
grep -q 'opaque-export' stdout && grep -q 'as a file only' stdout ||
	fail "$(cat stdout)"
expect 0 "$fb" download
expect 0 "$fb" verify --full
miosa_kept 0
effects 1 'stop comp_a'
effects 1 'start comp_a'
effects 0 '(stop|start) comp_b'
effects 0 'snapshot-running .*'
status_is comp_a running
expect 0 "$fb" show web --json
grep -q '"consistency": *"offline"' stdout || fail "$(cat stdout)"
! grep -rqE "hush-hush|$cloud_key" repo state stdout stderr ||
	fail "a secret is kept"
expect 0 "$fb" restore web --target files
mkdir unpacked
tar -xpf "$(find files -name 'export.bin')" -C unpacked
same_tree comp_a unpacked
expect 1 "$fb" restore web --in-place --yes
grep -q 'takes no export back' stderr || fail "$(cat stderr)"
miosa_fair
ok "checkpoints: stopped, exported, started; restored as a file, and no more"

miosa_fleet 'keep_snapshot: true'
expect 0 "$fb" download
miosa_kept 2
expect 0 "$fb" download
miosa_kept 2
echo worse >"$cloud/computers/comp_a/data/hello.txt"
expect 0 "$fb" restore web --in-place --dry-run
grep -q "MIOSA's own snapshot" stdout || fail "$(cat stdout)"
expect 0 "$fb" restore web --in-place --yes
same_tree comp_a before/comp_a
status_is comp_a running
effects 1 'restore comp_a .*'
miosa_fair
ok "the snapshot that is kept goes back in place"

echo worse >"$cloud/computers/comp_b/data/hello.txt"
miosa_rules 'conflict'
expect 0 "$fb" restore db --in-place --yes
same_tree comp_b before/comp_b
status_is comp_b stopped
effects 1 'restore comp_b .*'
miosa_rules 'stays' 'says=stopped path=*/computers/comp_b'
expect 1 "$fb" restore db --in-place --yes
grep -q E-MIOSA-UNSEEN stderr || fail "$(cat stderr)"
miosa_rules
expect 0 "$fb" restore --resume "$("$fb" status --json |
	grep -o '[0-9]\{8\}-[0-9]\{9\}-[0-9a-f]\{8\}' | tail -1)" --yes
same_tree comp_b before/comp_b
miosa_fair
ok "a stopped computer goes back and stays down; what nothing shows is not done"

"$bin/scenario/conform" miosa "$work" "{\"url\":\"$base\",
	\"api_key\":\"file:$work/key\",\"spool\":\"$work/spool\",
	\"settle_time\":\"300ms\"}" comp_a >conformed || fail "$(cat conformed)"
grep -q ' 0 failed' conformed && [ "$(grep -c '^pass' conformed)" -ge 14 ] ||
	fail "$(cat conformed)"
miosa_fair
ok "it passes the conformance suite: $(tail -1 conformed)"
