#!/bin/sh
# A dry run writes nothing anywhere, and its plan can be carried out exactly,
# or is refused when the world has changed.
. "$(dirname "$0")/lib.sh"
requires strace jq

make_fleet "$work/f" 2
cd "$work/f"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download -q
[ ! -s "$work/stdout" ] && [ ! -s "$work/stderr" ] || fail "-q said something"

find . -printf '%p %T@ %C@ %s\n' | sort >"$work/before"
# A sanitizer keeps its own files out of the trace: its leak check is a second
# tracer, which cannot be, and its log is made with mkdir.
expect 0 env ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS= TSAN_OPTIONS= \
	strace -f -o "$work/trace" -e trace=openat,open,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,truncate,ftruncate,fallocate,fchmod,fchown,utimensat \
	"$fb" -c "$conf" download --dry-run --json
find . -printf '%p %T@ %C@ %s\n' | sort >"$work/after"
cmp "$work/before" "$work/after" || fail "something changed"
# What the status commands of the machines do is theirs: our own process is
# the first in the trace.
pid=$(awk 'NR == 1 { print $1 }' "$work/trace")
if grep "^$pid " "$work/trace" |
	grep -E 'O_(WRONLY|RDWR|CREAT)|mkdir|unlink|rename|link\(|linkat|trunc|fallocate|fchmod|utimens' |
	grep -v -e '/dev/null' -e '"/tmp/tsan\.' -e '\.gcda"' | grep -q .; then
	fail "it writes: $(grep "^$pid " "$work/trace" | grep -E 'O_(WRONLY|RDWR|CREAT)|mkdir|unlink|rename|trunc' | head -3)"
fi
ok "a dry run writes nothing"

plan=$(jq -r .plan "$work/stdout")
jq -e '.dry_run == true and (.data.machines | length) == 2 and
	([.data.machines[0].steps[].step] | index("stop") != null and
	index("start") != null)' "$work/stdout" >/dev/null ||
	fail "the plan lacks steps: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" download --plan "$plan"
ok "the plan was carried out"

expect 19 "$fb" -c "$conf" download --plan "$plan"
ok "a plan made before the newest run is stale"
expect 0 "$fb" -c "$conf" plan --json
plan=$(jq -r .plan "$work/stdout")
rm machines/m2/up
: >machines/m1/effects
expect 19 "$fb" -c "$conf" download --plan "$plan"
[ ! -s machines/m1/effects ] || fail "a stale plan touched a machine"
ok "a machine that went down makes a plan stale"

expect 0 "$fb" -c "$conf" plan m2 --json
jq -e '.data.machines[0] | .state == "down" and .downtime_seconds == 0 and
	([.steps[].step] | index("stop") == null and index("start") == null)' \
	"$work/stdout" >/dev/null || fail "plan: $(cat "$work/stdout")"
ok "a machine that is down is neither stopped nor started, says the plan"

expect 0 "$fb" -c "$conf" download m1
grep -q 'ok .*lab/m1 .*read .*, new .*, stored ' "$work/stderr" ||
	fail "no figures of the machine"
expect 0 "$fb" -c "$conf" plan --json
jq -e '[.data.machines[].change] == ["same", "same"]' "$work/stdout" \
	>/dev/null || fail "m2 was in an older run: $(cat "$work/stdout")"
ok "what a run of some machines left out is not new"

printf 'units:\n  all: {label: env=test}\n' >>"$conf"
expect 0 "$fb" -c "$conf" plan
grep -q '^unit all ' "$work/stdout" || fail "no unit in the plan"
expect 0 "$fb" -c "$conf" plan --json
jq -e '.data.units == [{unit: "all", stop_order: ["lab/m1", "lab/m2"]}]' \
	"$work/stdout" >/dev/null || fail "units: $(cat "$work/stdout")"
ok "the plan says which machines are stopped together"

expect 19 "$fb" -c "$conf" download --plan "$plan"
[ "$(wc -l <"$work/stderr")" -eq 2 ] || fail "a summary of no run"
ok "a refused plan has no figures"

sed 's|root: ./machines|root: ./elsewhere|' "$conf" >moved.yaml
expect 15 "$fb" -c moved.yaml plan --json
jq -e '.data.gone == []' "$work/stdout" >/dev/null ||
	fail "gone, says a plan that could not ask: $(cat "$work/stdout")"
mkdir elsewhere
expect 2 "$fb" -c moved.yaml plan
expect 2 "$fb" -c moved.yaml download
ok "a source that cannot be asked, and one that is empty"

expect 2 "$fb" -c "$conf" download nosuch
grep -q "nosuch" "$work/stderr" || fail "which one?"
expect 2 "$fb" -c "$conf" download -s 'env=nothing'
ok "what matches nothing is refused"
