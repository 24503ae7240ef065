#!/bin/sh
# A copy sleeps so long that a prune of the copy's place gives it up, decides
# what goes, and is killed; then the copy wakes up and commits.  What its run
# needs stays, the next prune goes on, and the copy says what happened.
. "$(dirname "$0")/lib.sh"
requires_faults

make_fleet "$work/f" 1
cd "$work/f"
sed -i 's|^  main: .*|&\n  vault: {url: "file:./vault", copy_of: main, sign_with: "file:./keys/sign.pem"}|' "$conf"
cat >>"$conf" <<-'EOC'
	retention: {keep: "last 1", min: 1, grace: 0s, max_remove: "100%"}
EOC
sed 's|state_dir: ./state|state_dir: ./state2|' "$conf" >second.yaml
is_halted() {
	[ -d "/proc/$copy" ] || fail "it ended before it came there"
	grep -q '^State:.T' "/proc/$copy/status"
}

expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
expect 0 "$fb" -c "$conf" copy --to vault
seq 100000 160000 >machines/m1/data/new
expect 0 "$fb" -c "$conf" download
cp -a . "$work/start"
FLEETBAK_FAULT_LOG=$work/log expect 0 "$fb" -c "$conf" copy --to vault
commit=$(awk '/store commits\// { print $1; exit }' "$work/log")
[ -n "$commit" ] || fail "no such step"

# Which of prune's steps fix what goes: the second time gc/current is replaced.
restart() {
	cd "$work"
	until_true "the fleet is not removed" rm -rf "$work/f"
	cp -a "$work/start" "$work/f"
	cd "$work/f"
	FLEETBAK_FAULT=$commit:stop "$fb" -c "$conf" copy --to vault \
		>"$work/copy.out" 2>&1 &
	copy=$!
	until_true "the copy does not come to its commit" is_halted
}
prune() {
	"$fb" -c second.yaml -r vault prune -y --fence-after 1ms "$@"
}
restart
rm -f "$work/log"
FLEETBAK_CRASH_LOG=$work/log expect 0 prune
kill -KILL "$copy"
wait "$copy" 2>/dev/null || :
removed=$(awk '/store (packs|recipes)\// { print $1; exit }' "$work/log")
[ -n "$removed" ] || fail "nothing was to go: $(cat "$work/log")"

restart
got=$(FLEETBAK_CRASH=$removed:kill status_of prune)
[ "$got" -eq 137 ] || fail "the prune was not killed: exit $got"
kill -CONT "$copy"
status=0
wait "$copy" || status=$?
cp "$work/copy.out" "$work/stderr"
[ "$status" -ne 0 ] || fail "the copy says nothing"
grep -q E-COPY-FENCED "$work/stderr" || fail "it does not say why"
nothing_lost vault "committed beside a prune"
expect 0 prune
nothing_lost vault "pruned afterwards"
expect 0 "$fb" -c "$conf" copy --to vault
expect 0 "$fb" -c "$conf" -r vault verify --full
expect 0 prune
ok "a copy that was given up and committed all the same costs nothing"
