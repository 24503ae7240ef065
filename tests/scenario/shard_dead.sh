#!/bin/sh
# A worker dies with its node, guardian and state directory, while it holds a
# machine stopped.  Another node sees it silent, starts the machine, removes
# what was left, does the shard, and the run is sealed; a worker that was only
# frozen finds itself fenced, and commits nothing.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_shard.sh"
requires jq

make_fleet "$work/f" 0
cd "$work/f"
for m in m1 m2; do
	make_evil "$work/f/machines" $m
done
expect 0 "$fb" -c "$conf" init
nodes 3
# 1. Known to be dead: no waiting.
begin 1 download --shard 1/1 --run one
lose 1
expect 0 worker 2 download --shard 1/1 --run one --take-over
settled "taken over"
sealed one
got=$(tr '\n' ' ' <machines/m1/effects)
[ "$got" = "start stop start " ] || fail "m1: $got"
ok "another node starts what the dead one had stopped, and does its shard"

# 2. Not known: by its silence, and by whoever looks for work.
begin 1 download --shard 1/1 --run two --dead-after 1s
lose 1
expect 0 worker 2 download --shard any/1 --run two
grep -q 'is done by session' "$work/stderr" || fail "it did not wait"
settled "silent"
sealed two
ok "a silent worker is taken over by one that looks for work"

# 3. Frozen, not dead: it wakes up when its shard is done, and is fenced.
# (So long it waits, at most, that what another has started goes down.)
sed -i 's/^stop_timeout: .*/stop_timeout: 20s/' machines/*/machine.yaml
begin 1 download --shard 1/1 --run three
kill -STOP $run
expect 0 worker 2 download --shard 1/1 --run three --take-over
kill -CONT $run
let_go
wait $run && fail "the frozen worker went on" || :
grep -q 'E-FENCED\|taken over' "$work/said" || {
	cat "$work/said"
	fail "it does not say why"
}
expect 0 worker 1 recover
expect 0 worker 1 download --full m2
settled "frozen"
sealed three
ok "a frozen worker that wakes up is fenced"

# 4. Alive: it is waited for, and not disturbed.
sed -i 's/^stop_timeout: .*/stop_timeout: 10min/' machines/*/machine.yaml
begin 1 download --shard 1/1 --run four --dead-after 3s
worker 2 download --shard 1/1 --run four >"$work/said.2" 2>&1 &
other=$!
sleep 4
let_go
wait $run || {
	cat "$work/said"
	fail "it was disturbed"
}
wait $other || {
	cat "$work/said.2"
	fail "who waited failed"
}
settled "alive"
sealed four
ok "a worker that lives is waited for"

# 5. Cut off, and back on its node: it goes on with its own lease.
begin 1 download --shard 1/1 --run five
kill -KILL $run
wait $run 2>/dev/null || :
let_go
expect 0 worker 1 --lock-wait 30s download --shard 1/1 --run five
left_alone "$PWD" # its guardian
[ ! -e repo/shared/five/0001/000002 ] || fail "it took its own shard over"
settled "back"
sealed five
ok "a worker that comes back goes on"

# 6. Who waited while it was sealed finds no lease, and does nothing all the same.
: >machines/m1/effects
rm -f "$work/said.2"
begin 1 download --full --shard 1/1 --run six
"$fb" -c n2.yaml download --full --shard any/1 --run six >"$work/said.2" 2>&1 &
other=$!
until_true "it does not wait" grep -qs 'is done by session' "$work/said.2"
kill -STOP $other
let_go
wait $run || {
	cat "$work/said"
	fail "the one that was waited for failed"
}
[ -z "$(find repo/shared/six/0001 -type f)" ] || fail "the lease is there yet"
kill -CONT $other
wait $other || {
	cat "$work/said.2"
	fail "who waited failed"
}
[ "$(cat machines/m1/effects)" = "$(printf 'stop\nstart')" ] ||
	fail "m1: $(tr '\n' ' ' <machines/m1/effects)"
[ "$(find repo/shared/six -type f | wc -l)" -eq 2 ] || fail "a lease was left"
settled "sealed meanwhile"
sealed six
ok "a shard is not done again when the run was sealed meanwhile"

# 7. The same, and the lease goes when it is listed and not yet read.
if [ "${FB_VARIANT:-debug}" != release ]; then
	reads_lease=' shared/seven/0001/000001/lease'
	late() { # <fault>
		rm -f "$work/steps"
		FLEETBAK_FAULT=$1 FLEETBAK_FAULT_LOG=$work/steps "$fb" -c n2.yaml \
			download --full --shard any/1 --run seven \
			>"$work/said.2" 2>&1 &
		other=$!
	}
	stops() {
		grep -q '^State:.T' "/proc/$other/status"
	}
	begin 1 download --full --shard 1/1 --run seven
	for _ in 1 2; do # the first one notes down what it has seen
		late ''
		until_true "it reads no lease" \
			grep -qs "$reads_lease" "$work/steps"
		kill -KILL $other
		wait $other 2>/dev/null || :
	done
	step=$(awk -v what="$reads_lease" '{ n[$2]++ }
		index($0, what) { print $2 "." n[$2]; exit }' "$work/steps")
	late "$step:stop"
	until_true "it does not come to $step" stops
	tail -n 1 "$work/steps" | grep -q "$reads_lease" || fail "another step"
	let_go
	wait $run || {
		cat "$work/said"
		fail "the one that was waited for failed"
	}
	kill -CONT $other
	wait $other || {
		cat "$work/said.2"
		fail "who found the lease gone failed"
	}
	[ "$(find repo/shared/seven -type f | wc -l)" -eq 2 ] ||
		fail "a lease was left"
	settled "gone"
	sealed seven
	ok "a lease that goes before it is read was that of a sealed run"
fi
