#!/bin/sh
# Old runs are given up by policy: shown first, undoable while they are
# pending, one-way afterwards; what is held or refused stays; what the kept
# runs need is there after every step, and can be restored.
. "$(dirname "$0")/lib.sh"
requires_faults # for a clock that is ours
requires jq

make_fleet "$work/f" 2
cd "$work/f"
cat >>"$conf" <<-'EOC'
	retention: {keep: "2 daily", min: 1, grace: 7d, max_remove: "60%"}
EOC
day() { # <n>: it is noon of that day
	export FLEETBAK_CLOCK=$((1795003200 + $1 * 86400))
}
prune() {
	"$fb" -c "$conf" prune "$@"
}
nth() { # <n>: the id of the n-th run, the oldest is 1
	"$fb" -c "$conf" list runs -o tsv --no-header | cut -f1 | sort |
		sed -n "$1p"
}
objects() {
	find repo -type f ! -name .lock | LC_ALL=C sort
}

day 0
expect 0 "$fb" -c "$conf" init
for n in 1 2 3 4; do
	day $n
	echo "state $n" >machines/m1/data/new
	seq "$n" 9000 >machines/m2/data/sub/numbers
	expect 0 "$fb" -c "$conf" download
done
one=$(nth 1) two=$(nth 2) three=$(nth 3)
nothing_lost repo "after the downloads"

# A dry run says what and why, and changes nothing at all.
objects >"$work/before"
expect 0 prune -n --explain --json
objects | cmp -s - "$work/before" || fail "a dry run changed the repository"
[ "$(jq -r '[.data.runs[] | select(.action == "remove").run] | sort |
	join(" ")' "$work/stdout")" = "$one $two" ] ||
	fail "the plan removes other runs: $(cat "$work/stdout")"
[ "$(jq '[.data.snapshots[] | select(.why == null)] | length' \
	"$work/stdout")" -eq 0 ] || fail "a snapshot without a reason"
[ "$(jq '.data.freed_after_grace.bytes > 0 and .data.freed_now.bytes == 0' \
	"$work/stdout")" = true ] || fail "what would be freed"
ok 'a dry run changes nothing and gives a reason for each snapshot'

# Limits: nobody here to say yes; too much at a time.
expect 20 prune </dev/null
expect 20 prune -y --max-remove 40%
grep -q E-PRUNE-LIMIT "$work/stderr" || fail "no limit"
expect 2 prune -y --max-remove 40
objects | cmp -s - "$work/before" || fail "a refusal changed the repository"
expect 0 prune -y --max-remove 40% --force -n
ok 'refused without a yes, and beyond the limit'

# Pending: all is still there; undone; pending again.
expect 0 prune -y
[ "$(jq -r '.data | length' <<-END
	$("$fb" -c "$conf" list runs --json)
END
)" -eq 4 ] || fail "a pending run is not listed"
nothing_lost repo "while runs are pending"
[ "$("$fb" -c "$conf" status --json | jq '.data.pending_runs | length')" -eq 2 ] ||
	fail "status does not tell of pending runs"
"$fb" -c "$conf" list runs | grep -q "^$one .*pending" || fail "list runs"
"$fb" -c "$conf" show "$two" | grep -q 'to be given up' || fail "show"
expect 0 "$fb" -c "$conf" restore "m1@$one" --target out
rm -r out
expect 0 "$fb" -c "$conf" forget --undo "$one"
expect 0 "$fb" -c "$conf" forget --undo "$one"
expect 1 "$fb" -c "$conf" forget --undo latest
grep -q E-NOT-PENDING "$work/stderr" || fail "what was never pending is undone"
day 10
expect 0 "$fb" -c "$conf" hold "$one" --reason 'evidence'
expect 20 "$fb" -c "$conf" forget -y "$one"
grep -q E-HELD "$work/stderr" || fail "not held"
expect 2 "$fb" -c "$conf" forget -y "m1@$one"
grep -q E-FORGET-PART "$work/stderr" || fail "a part of a run"
ok 'pending runs are there, can be restored, and brought back'

# Its grace is not over on day 10 for what became pending on day 4: no, it is
# over on day 11.
expect 0 prune -y
[ -z "$(ls repo/forgets 2>/dev/null)" ] || fail "gone before its grace was over"
day 12
expect 0 prune -y --json
[ "$(jq '.data.made_final == 1 and .data.removed.packs > 0' \
	"$work/stdout")" = true ] || fail "what was made final"
[ -z "$(find "repo/runs/$two" -type f)" ] && [ -e "repo/forgets/$two" ] ||
	fail "a forgotten run has left something"
expect 1 "$fb" -c "$conf" forget --undo "$two"
nothing_lost repo "after a run was given up for good"
[ -z "$(find repo/pending -name "$two*")" ] || fail "records were not tidied"
ok 'when its grace is over a run goes for good'

# What is left is whole, and comes back; the held one too.
expect 0 "$fb" -c "$conf" verify --full
for run in "$one" "$three" latest; do
	expect 0 "$fb" -c "$conf" restore "m2@$run" --target out
	[ -e out/m2/data/sub/numbers ] || fail "nothing restored of $run"
	rm -r out
done
ok 'what is kept is whole and can be restored'

# Held no more: the rules decide again.
expect 0 "$fb" -c "$conf" hold --remove "$one"
expect 0 prune -y
day 30
expect 0 prune -y
[ -e "repo/forgets/$one" ] || fail "it was held no more, and stayed"
expect 1 "$fb" -c "$conf" forget --undo "$one"
objects >"$work/before"
expect 0 prune -y
objects | cmp -s - "$work/before" || fail "a prune without work did something"
expect 0 prune -n --json
[ "$(jq '.data.waste_bytes > 0 and .data.waste_bytes < .data.stored.bytes' \
	"$work/stdout")" = true ] || fail "what is stored in vain"
nothing_lost repo "at the end"
expect 0 "$fb" -c "$conf" verify --full

# A backup after all that uses what is there, and another state directory has
# never seen the old runs.
expect 0 "$fb" -c "$conf" download
mv state state.old
expect 0 "$fb" -c "$conf" verify --full
nothing_lost repo "after another download"
ok 'backups go on'
