#!/bin/sh
# What scripts keep: checkpoints and a state, by several processes at once, and
# with the program killed at each step of its own.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

ck() { "$fb" checkpoint "$@"; }
st() { "$fb" state "$@"; }
cd "$work"

# As fleetbak-checkpoint(1) shows it.
expect 1 "$fb" checkpoint latest steps
grep -q E-CHECKPOINT-NONE "$work/stderr" || fail "another error"
ck init steps
[ "$(stat -c %a steps)" = 700 ] || fail "others may look"
expect 1 "$fb" checkpoint latest steps
[ "$(printf 'a\0b' | ck add steps --label first)" = 1 ] || fail "not the first"
[ "$(echo two | ck add steps)" = 2 ] || fail "not the second"
[ "$(ck load steps 1 | od -An -c | tr -d ' ')" = 'a\0b' ] || fail "not its bytes"
[ "$(ck latest steps)" = two ] || fail "not the newest"
expect 0 "$fb" checkpoint load steps 1 --json
jq -e '.data.data_base64 == "YQBi" and .data.label == "first"' \
	"$work/stdout" >/dev/null || fail "not its JSON"
ck list steps --no-header | grep -q first || fail "no list"
ck compact steps --label second
expect 1 "$fb" checkpoint load steps 1
[ "$(ck load steps 2)" = two ] || fail "its number changed"
ck complete steps
expect 1 "$fb" checkpoint latest steps
grep -q complete "$work/stderr" || fail "not said that it is complete"
[ "$(echo three | ck add steps)" = 3 ] || fail "a number came again"
for bad in '' 0 -1 01 9x ../../etc/passwd; do
	expect 2 "$fb" checkpoint load steps -- "$bad"
done
for bad in '' nonsense; do expect 2 "$fb" checkpoint "$bad" steps; done
expect 2 "$fb" checkpoint add
expect 2 "$fb" checkpoint complete -n steps
expect 2 "$fb" checkpoint add steps --label ../../x </dev/null
ok "checkpoints: numbers, labels, bytes"

# Killed before each of its steps: the newest is that one or the one before.
loop() { # <what> <judge> <command>...
	loop_what=$1 loop_judge=$2 loop_n=1
	shift 2
	while :; do
		prepare
		loop_rc=0
		FLEETBAK_CRASH=$loop_n:kill "$@" <input >out 2>&1 || loop_rc=$?
		"$loop_judge"
		[ $loop_rc -ne 0 ] || break
		[ $loop_rc -eq 137 ] || fail "$loop_what: exit $loop_rc"
		loop_n=$((loop_n + 1))
	done
	[ $loop_n -gt 3 ] || fail "$loop_what: it was never killed"
	ok "$loop_what: killed $((loop_n - 1)) times"
}
prepare() {
	rm -rf steps
	echo old | ck add -q steps
	echo older | ck add -q steps >/dev/null
	echo new >input
}
judge_add() {
	got=$(ck latest steps)
	case $got in
	older) [ "$loop_rc" -ne 0 ] || fail "said to be kept, and is not" ;;
	new) ;;
	*) fail "add: the newest is '$got'" ;;
	esac
	echo more | ck add -q steps
	[ "$(ck latest steps)" = more ] || fail "add: it does not go on"
}
judge_compact() {
	[ "$(ck load steps 2)" = older ] || fail "compact: the newest is lost"
	ck compact steps
	[ "$(ck list steps --no-header | wc -l)" -eq 1 ] || fail "not compact"
	[ "$(find steps -name '*.data*' | wc -l)" -eq 1 ] || fail "litter"
}
judge_complete() {
	expect_any=$(status_of "$fb" checkpoint latest steps)
	case $expect_any in
	0) [ "$(ck latest steps)" = older ] || fail "not what there was" ;;
	1) ;;
	*) fail "complete: exit $expect_any" ;;
	esac
	ck complete steps
	[ "$(find steps -name '*.data*' | wc -l)" -eq 0 ] || fail "litter"
	[ "$(echo 3 | ck add steps)" = 3 ] || fail "a number came again"
}
loop add judge_add "$fb" checkpoint add steps
loop compact judge_compact "$fb" checkpoint compact steps
loop complete judge_complete "$fb" checkpoint complete steps

# A state.
echo '{"phase":"running"}' | st create s machine web
expect 1 "$fb" state create s machine web </dev/null
grep -q E-STATE-EXISTS "$work/stderr" || fail "another error"
expect 1 "$fb" state update s machine db </dev/null
st begin s web snapshot </dev/null
expect 1 "$fb" state begin s web stop </dev/null
grep -q E-STATE-PENDING "$work/stderr" || fail "another error"
echo '{"id":"s1"}' | jq -c '[{do: "create", kind: "snapshot", id: .id,
	entry: (. + {machine: "web"})}, {do: "done", id: "web"}]' | st apply -q s
[ "$(st list s snapshot --machine web | jq -r .id)" = s1 ] || fail "no s1"
[ -z "$(st list s operation)" ] || fail "still pending"
[ -z "$(st list s volume --machine nobody)" ] || fail "of nobody"
[ "$(st get s machine web)" = '{"phase":"running"}' ] || fail "not its entry"
echo '{not json' >bad
expect 2 "$fb" state create s machine x <bad
expect 2 "$fb" state create s disk x </dev/null
expect 2 "$fb" state apply s <bad
grep -q "line 1" "$work/stderr" || fail "not said where"
ok "a state: ids, operations, changes that belong together"

# Two processes, 400 creates: nothing is lost, nothing refused.
creates() { # <letter>
	i=0
	while [ $i -lt 200 ]; do
		echo "{\"n\":$i}" | st create two machine "$1$i" || exit 1
		i=$((i + 1))
	done
}
creates a & first=$!
creates b & second=$!
wait $first && wait $second || fail "a create was refused"
[ "$(st list two machine | wc -l)" -eq 400 ] || fail "entries are lost"
ok "two processes, 400 creates"

# Many at once; what stands before a line that is refused is made.
seq 10000 | sed 's/.*/{"do":"create","kind":"volume","id":"v&","entry":{}}/' >many
st apply -q many.d <many
[ "$(st list many.d volume | wc -l)" -eq 10000 ] || fail "not all of them"
(sed -n 1,5p many | sed s/v/w/2; head -1 many) >some
sed 's/"v\([0-9]\)"/"w\1"/' many | sed -n 1,5p >some
sed -n 1p many >>some
expect 1 "$fb" state apply many.d <some
grep -q "line 6" "$work/stderr" || fail "not said where"
[ "$(st list many.d volume | wc -l)" -eq 10005 ] || fail "not what stood before"
ok "ten thousand in one go"

prepare() {
	rm -rf state
	echo '{}' | st create state machine a
	echo '[{"do":"create","kind":"machine","id":"b","entry":{}},
		{"do":"begin","id":"b","type":"t","entry":{}}]' |
		tr -d '\n' >input
}
judge_apply() {
	machines=$(st list state machine | wc -l)
	pending=$(st list state operation | wc -l)
	[ "$machines" -eq $((1 + pending)) ] || fail "half a change"
	[ "$loop_rc" -ne 0 ] || [ "$pending" -eq 1 ] ||
		fail "said to be made, and is not"
	echo '{}' | st create state machine c
}
loop apply judge_apply "$fb" state apply state
