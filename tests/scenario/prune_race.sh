#!/bin/sh
# prune beside others: a download that is in the middle, one that was cut off
# and never goes on, a verification that reads, another prune.  What a run
# needs is there at every moment; who cannot be waited for is named.
. "$(dirname "$0")/lib.sh"
requires_faults
requires jq

make_fleet "$work/f" 2
cd "$work/f"
sed -i 's/jobs: 2/jobs: 1/' "$conf"
cat >>"$conf" <<-'EOC'
	retention: {keep: "1 daily", min: 1, grace: 0s, max_remove: "100%"}
EOC
sed 's|state_dir: ./state|state_dir: ./state2|' "$conf" >second.yaml
day() { # <n>
	export FLEETBAK_CLOCK=$((1795003200 + $1 * 86400))
}
prune() {
	"$fb" -c second.yaml prune -y "$@"
}

is_halted() {
	[ -d "/proc/$first" ] || fail "it ended before it came there"
	grep -q '^State:.T' "/proc/$first/status"
}

# halt <step> <command>...: begin it, and wait until it stands before the step.
halt() {
	halt_at=$1
	shift
	FLEETBAK_FAULT=$halt_at:stop "$fb" "$@" >"$work/first.out" \
		2>"$work/first.err" &
	first=$!
	until_true "not at $halt_at: $*" is_halted
}
goes_on() { # <what> <status>
	kill -CONT "$first"
	status=0
	wait "$first" || status=$?
	cp "$work/first.err" "$work/stderr"
	[ "$status" -eq "$2" ] || fail "$1: exit $status instead of $2"
}
step_of() { # <pattern>: the number of the first such step of the logged kind
	awk -v pattern="$1" '$0 ~ pattern { print $1; exit }' "$work/log"
}

# What only the second run has, and the fourth will have again.
bring_back() {
	seq 100000 160000 >machines/m2/data/back
}
packs_of() { # <n>: the packs that the n-th register names
	sed -n '/^packs /,$p' "$(find repo/commits -type f | sort | sed -n "$1p")" |
		grep -v '[^0-9a-f]' | sort
}

day 0
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
bring_back
FLEETBAK_CLOCK=$((FLEETBAK_CLOCK + 3600))
expect 0 "$fb" -c "$conf" download
day 1
rm machines/m2/data/back
FLEETBAK_FAULT_LOG=$work/log expect 0 "$fb" -c "$conf" download
commit=$(step_of 'store commits/')
recipe=$(step_of 'store recipes/')
[ -n "$commit" ] && [ -n "$recipe" ] || fail "no such steps"
cp -a . "$work/start"
restart() {
	cd "$work"
	left_alone "$work/f" # by the guardian of one that was killed
	rm -rf "$work/f"
	cp -a "$work/start" "$work/f"
	cd "$work/f"
}

# A download that uses again what the run before it has, at each of several
# moments: prune condemns, waits, and deletes when it has ended.
for at in "$recipe" "$commit"; do
	restart
	day 2
	bring_back
	halt "$at" -c "$conf" download
	got=$(status_of prune)
	[ "$got" -eq 11 ] || fail "prune beside a download: exit $got"
	grep -q E-SESSIONS-OPEN "$work/stderr" || fail "whom it waits for"
	nothing_lost repo "while a download is in the middle"
	got=$(status_of prune)
	[ "$got" -eq 11 ] || fail "a second prune: exit $got"
	goes_on "the download" 0
	nothing_lost repo "when the download has committed"
	expect 0 prune
	nothing_lost repo "when prune has deleted"
	expect 0 "$fb" -c "$conf" verify --full
	grep -q '"phase":"idle"' repo/gc/current || fail "not idle"
	packs_of 2 >"$work/second.packs"
	packs_of 3 | comm -23 "$work/second.packs" - >"$work/only.packs"
	packs_of 4 | comm -12 "$work/only.packs" - >"$work/again.packs"
	[ -s "$work/again.packs" ] || fail "it used nothing condemned again"
done
ok 'a download in the middle is waited for, and loses nothing'

# The same, but it is fenced off: its run is lost, and nothing else.
restart
day 2
halt "$commit" -c "$conf" download
expect 0 prune --fence-after 0s --json
[ "$(jq .data.fenced_sessions "$work/stdout")" -eq 1 ] || fail "nobody fenced"
goes_on "a fenced download" 1
grep -q E-FENCED "$work/stderr" || fail "it was not fenced"
nothing_lost repo "after a fence"
expect 0 "$fb" -c "$conf" download
expect 0 prune
nothing_lost repo "after the next download"
expect 0 "$fb" -c "$conf" verify --full
ok 'a download that is fenced off loses its own run only'

# A sleeping writer: cut off, and its state directory is gone.
restart
day 2
got=$(FLEETBAK_FAULT='' FLEETBAK_CRASH=store.3:kill status_of \
	"$fb" -c "$conf" download)
[ "$got" -eq 137 ] || fail "not cut off: exit $got"
left_alone "$PWD" # its guardian
[ -e machines/m1/up ] && [ -e machines/m2/up ] || fail "a machine stays down"
rm -rf state
expect 11 prune
day 8
expect 11 prune
day 10
expect 0 prune
nothing_lost repo "after a sleeping writer was fenced"
[ "$(find repo/sessions -type f 2>/dev/null | wc -l)" -eq 0 ] ||
	fail "sessions were left"
[ "$(find repo/runs -name manifest.json | wc -l)" -eq \
	"$("$fb" -c second.yaml list runs --json | jq '.data | length')" ] ||
	fail "records of a run that never was were left"
expect 0 "$fb" -c second.yaml verify --full
ok 'a writer that never wakes up is fenced off after a week'

# A reader: what it found stays until it has ended; a dead one is told.
restart
day 2
echo 2 >machines/m1/data/new
expect 0 "$fb" -c "$conf" download
rm "$work/log"
FLEETBAK_FAULT_LOG=$work/log expect 0 "$fb" -c "$conf" verify --full
pack=$(step_of 'read packs/')
[ -n "$pack" ] || fail "verify reads no pack"
halt "$pack" -c "$conf" verify --full
expect 11 prune
goes_on "a verification" 0
expect 0 prune
halt "$pack" -c "$conf" verify --full
kill -KILL "$first"
wait "$first" 2>/dev/null || true
day 3
echo 3 >machines/m1/data/new
expect 0 "$fb" -c "$conf" download
expect 11 prune # another state directory cannot tell
grep -q "(verify by '$(hostname)', since" "$work/stderr" || fail "who reads"
grep -q "if it was killed, a prune there ends it" "$work/stderr" ||
	fail "it does not say who can end it: $(cat "$work/stderr")"
grep -q 'by itself at 2026-11-2[5-9]T' "$work/stderr" ||
	fail "it does not say when it ends: $(cat "$work/stderr")"
cp -a . "$work/dead"
expect 0 "$fb" -c "$conf" prune -y
nothing_lost repo "after a reader died"
expect 0 "$fb" -c "$conf" verify --full
ok 'a reader is waited for, and a dead one is not'

# The host of that one is lost: it is ended by name, and nobody else with it.
rm -rf "$work/f"
cp -a "$work/dead" "$work/f"
cd "$work/f"
expect 11 prune
named=$(sed -n 's/.*prune --fence \([0-9a-f-]*\).*/\1/p' "$work/stderr")
[ -e "repo/sessions/$named" ] || fail "no command: $(cat "$work/stderr")"
halt "$pack" -c "$conf" verify --full
expect 2 prune --fence nobody
expect 11 prune --fence "$named"
! grep -q "$named" "$work/stderr" || fail "it is waited for still"
nothing_lost repo "while a reader lives"
goes_on "a verification beside a dead one" 0
expect 0 prune
expect 0 "$fb" -c "$conf" verify --full
ok 'a dead reader of a host that is lost is ended by name, and no other'

# Two prunes: one stands before each of its steps, the other does it all.
restart
day 2
rm "$work/log"
FLEETBAK_CRASH_LOG=$work/log expect 0 prune
steps=$(wc -l <"$work/log")
[ "$steps" -gt 10 ] || fail "only $steps steps"
n=1
slept=0
while [ "$n" -le "$steps" ]; do
	restart
	day 2
	kind=$(awk -v n=$n 'NR == n { print $2 }' "$work/log")
	nr=$(awk -v n=$n -v k="$kind" 'NR <= n && $2 == k { c++ }
		END { print c }' "$work/log")
	[ "$kind" = store ] || { n=$((n + 1)); continue; }
	halt "store.$nr" -c "$conf" prune -y
	expect 0 prune
	nothing_lost repo "two prunes, step $n"
	goes_on "the prune that slept at step $n" 0
	nothing_lost repo "two prunes, after step $n"
	grep -q '"phase":"idle"' repo/gc/current || fail "step $n: not idle"
	slept=$((slept + 1))
	n=$((n + 1))
done
expect 0 "$fb" -c "$conf" verify --full
ok "two prunes at once, one asleep before each of $slept store calls"
