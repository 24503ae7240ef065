#!/bin/sh
# Each snapshot with the rules that keep it: by days of the fleet's zone, by
# group, held, pending, in the future, and of machines that left.
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

make_fleet "$work/f" 3
cd "$work/f"
expect 0 "$fb" -c "$conf" init
backup() { # <seconds since 1970> <argument>...
	backup_at=$1
	shift
	FLEETBAK_CLOCK=$backup_at expect 0 "$fb" -c "$conf" download "$@"
}
why() { # <seconds since 1970> <argument>...: machine, run's day, kept by
	why_at=$1
	shift
	FLEETBAK_CLOCK=$why_at expect 0 "$fb" -c "$conf" list --why --json "$@"
	jq -r '.data[] | .machine[4:] + " " + .time[5:16] + " " +
		(if .action then .action elif .kept_by == [] then "-"
		else .kept_by | join("+") end)' "$work/stdout"
}
at() { date -u -d "2026-$1:00Z" +%s; }

for day in 20 21 22 23; do
	backup "$(at "11-${day}T22:30")" -s m1,m2
done
backup "$(at 11-23T23:30)" -s m1,m2
day24=$(at 11-24T12:00)

why "$day24" m1 >"$work/got"
cat >"$work/want" <<-'END'
	m1 11-23T23:30 no policy
	m1 11-23T22:30 no policy
	m1 11-22T22:30 no policy
	m1 11-21T22:30 no policy
	m1 11-20T22:30 no policy
END
cmp -s "$work/want" "$work/got" || fail "$(cat "$work/got")"
FLEETBAK_CLOCK=$day24 expect 0 "$fb" -c "$conf" prune -n --json
[ "$(jq '.data.removed_snapshots' "$work/stdout")" -eq 0 ] ||
	fail "without a policy something would go"
ok "without a policy everything is kept"

cat >>"$conf" <<-'END'
	retention:
	  keep: all within 1h, 2 daily
	  max_remove: 50%
END
why "$day24" m1 >"$work/got"
cat >"$work/want" <<-'END'
	m1 11-23T23:30 all within 1h+daily 1
	m1 11-23T22:30 all within 1h
	m1 11-22T22:30 daily 2
	m1 11-21T22:30 remove
	m1 11-20T22:30 remove
END
cmp -s "$work/want" "$work/got" || fail "$(cat "$work/got")"
sed 's/rpo: 26h/rpo: 26h, timezone: Europe\/Berlin/' "$conf" >"$conf.new"
mv "$conf.new" "$conf"
# 23:30 UTC is half past midnight there, and so one day more.
why "$day24" m1 >"$work/got"
cat >"$work/want" <<-'END'
	m1 11-23T23:30 all within 1h+daily 1
	m1 11-23T22:30 all within 1h+daily 2
	m1 11-22T22:30 remove
	m1 11-21T22:30 remove
	m1 11-20T22:30 remove
END
cmp -s "$work/want" "$work/got" || fail "$(cat "$work/got")"
ok "days are those of the fleet's zone"

FLEETBAK_CLOCK=$day24 expect 20 "$fb" -c "$conf" prune -y
grep -q E-PRUNE-LIMIT "$work/stderr" || fail "another refusal"
why "$day24" m1 | cmp -s "$work/want" - || fail "a refused prune did something"
ok "more than retention.max_remove is refused"

cat >>"$conf" <<-'END'
	groups:
	  precious: {select: m2, keep: "3 daily", min: 4}
END
why "$day24" >"$work/got"
cat >"$work/want" <<-'END'
	m1 11-23T23:30 all within 1h+daily 1
	m2 11-23T23:30 daily 1
	m1 11-23T22:30 all within 1h+daily 2
	m2 11-23T22:30 daily 2
	m1 11-22T22:30 -
	m2 11-22T22:30 daily 3
	m1 11-21T22:30 -
	m2 11-21T22:30 min 4
	m1 11-20T22:30 remove
	m2 11-20T22:30 remove
END
cmp -s "$work/want" "$work/got" || fail "$(cat "$work/got")"
expect 0 "$fb" -c "$conf" list --why m1
[ "$(grep -c 'no rule: others of its run' "$work/stdout")" -eq 2 ] ||
	fail "$(cat "$work/stdout")"
ok "a group has a policy of its own, and its runs stay for all"

oldest=$("$fb" -c "$conf" list runs -o tsv --no-header | tail -1 | cut -f1)
FLEETBAK_CLOCK=$day24 expect 0 "$fb" -c "$conf" hold "$oldest" --reason audit
why "$day24" m1 | tail -1 >"$work/got"
grep -qx 'm1 11-20T22:30 held' "$work/got" || fail "$(cat "$work/got")"
FLEETBAK_CLOCK=$day24 expect 0 "$fb" -c "$conf" hold --remove "$oldest"
FLEETBAK_CLOCK=$day24 expect 0 "$fb" -c "$conf" prune -y
why "$day24" m1 | tail -1 >"$work/got"
grep -qx 'm1 11-20T22:30 pending' "$work/got" || fail "$(cat "$work/got")"
FLEETBAK_CLOCK=$day24 expect 0 "$fb" -c "$conf" list --why m1
grep -q 'pending: can be undone until 2026-12-01 13:00 +01:00' \
	"$work/stdout" || fail "$(cat "$work/stdout")"
why "$((day24 + 7 * 86400))" m1 | tail -1 >"$work/got"
grep -qx 'm1 11-20T22:30 final' "$work/got" || fail "$(cat "$work/got")"
ok "what is held or pending says so"

why "$(at 11-23T23:00)" m1 >"$work/got"
cat >"$work/want" <<-'END'
	m1 11-23T23:30 in the future
	m1 11-23T22:30 all within 1h+daily 1
	m1 11-22T22:30 daily 2
	m1 11-21T22:30 -
	m1 11-20T22:30 pending
END
cmp -s "$work/want" "$work/got" || fail "$(cat "$work/got")"
ok "what is in the future is kept and takes no place"

sed 's/min: 4}/min: 4}\
  gone: {select: nosuch, keep: all}/' "$conf" >wrong.yaml
FLEETBAK_CLOCK=$day24 expect 2 "$fb" -c "$work/f/wrong.yaml" prune -y
grep -q "groups.gone: .*'nosuch'" "$work/stderr" || fail "which group?"
expect 2 "$fb" -c "$conf" list runs --why
ok "a group that nothing is in is an error, and nothing goes"

# Of the fleet's runs the newest whole one says who is there; no clock does.
backup "$(at 11-25T12:00)"
mv machines/m3 gone
backup "$(at 11-26T12:00)"
sed -i 's/max_remove: 50%/max_remove: 50%\
  orphans: keep 2d/' "$conf"
why "$(at 12-30T12:00)" m3 >"$work/got"
grep -qx 'm3 11-25T12:00 all within 1h+daily 1' "$work/got" ||
	fail "$(cat "$work/got")"
backup "$(at 11-27T12:01)"
why "$(at 11-27T12:02)" m3 >"$work/got"
grep -qx 'm3 11-25T12:00 -' "$work/got" || fail "$(cat "$work/got")"
why "$(at 11-27T11:00)" m3 >"$work/got"
grep -qx 'm3 11-25T12:00 all within 1h+daily 1' "$work/got" ||
	fail "$(cat "$work/got")"
ok "a machine that left is kept for its time, by runs and not by the clock"

# The same when hardly anything of it may be in memory.
for asked in 'list --json' 'list' 'list --why --json' 'list --why' \
	'list m1 --why --json' 'prune -n --explain --json' 'prune -n --explain'; do
	# shellcheck disable=SC2086 # words
	FLEETBAK_CLOCK=$day24 expect 0 "$fb" -c "$conf" $asked
	sed 's/"duration_seconds":[^,]*,//' "$work/stdout" >"$work/want"
	[ -s "$work/want" ] || fail "$asked: no answer"
	# shellcheck disable=SC2086 # words
	FLEETBAK_ROWS=100 FLEETBAK_CLOCK=$day24 expect 0 "$fb" -c "$conf" $asked
	sed 's/"duration_seconds":[^,]*,//' "$work/stdout" |
		cmp -s "$work/want" - || fail "$asked: another answer with little memory"
done
ok "what does not fit into memory waits in a file"
