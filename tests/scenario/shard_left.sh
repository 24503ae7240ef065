#!/bin/sh
# A worker dies whose shard was committed, before it has removed its snapshots,
# and its node is lost: whoever comes next removes them, a worker, who seals,
# who gives the run up, and the heir of an heir that died at it.  Nobody else's
# snapshot goes, and no machine is stopped again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_shard.sh"
requires_faults
requires jq

make_fleet "$work/f" 0
cd "$work/f"
for m in m1 m2; do
	make_evil "$work/f/machines" $m
done
expect 0 "$fb" -c "$conf" init
nodes 3

# Cut off after its shard was committed, before its snapshots are removed; the
# node does not come back.  Who looks for work finds none but that.
FLEETBAK_CRASH_LOG=$work/steps expect 0 worker 2 download --full \
	--shard 1/1 --run calm
removal=$(awk '$2 == "driver" { n++ }
	/ remove_snapshot / { print n; exit }' "$work/steps")
[ -n "$removal" ] || fail "no snapshot was removed"
die_full() { # <name> [<option>...]: node 1, with its shard committed
	for m in m1 m2; do
		: >machines/$m/effects
	done
	die_full_name=$1
	shift
	expect 137 env "FLEETBAK_CRASH=driver.$removal:kill" "$fb" -c n1.yaml \
		download --full --shard 1/1 --run "$die_full_name" "$@"
	left_alone "$work/f"
	[ "$(find machines -path '*/.fleetbak/*' -prune | wc -l)" -eq 2 ] ||
		fail "$die_full_name: not two snapshots: $(find machines)"
}
die_full seven
retry rm -rf state1
other=machines/m1/.fleetbak/20200101-000000000-00000000.1
mkdir $other
expect 0 worker 2 download --full --shard any/1 --run seven --take-over
[ -e $other ] || fail "a snapshot of somebody else was removed"
rmdir $other
finished seven
ok "what a worker left whose shard was committed is removed by the next one"

# Who seals does it too, where the sources are configured.
die_full eight
retry rm -rf state1
sed 's/^\( *\)lab:/\1other:/' n3.yaml >n4.yaml
expect 2 worker 4 seal --run eight --take-over
grep -q E-SHARD-SOURCE "$work/stderr" || fail "it does not say why"
[ -z "$(find state3/runs -mindepth 1 2>/dev/null)" ] || fail "it keeps it"
expect 0 worker 3 seal --run eight --take-over
finished eight
# Where one of its machines is not seen, that machine is not gone.
die_full less
retry rm -rf state1
mkdir "$work/elsewhere"
mv machines/m1 "$work/elsewhere"
expect 2 worker 2 seal --run less --take-over
grep -q 'E-SHARD-SOURCE.*lab/m1' "$work/stderr" || fail "it does not say why"
[ -z "$(find state2/runs -mindepth 1 2>/dev/null)" ] || fail "it keeps it"
[ -n "$(find machines/m2/.fleetbak -mindepth 1)" ] || fail "it has begun with m2"
for command in status doctor; do
	# shellcheck disable=SC2034 # warnings of doctor do not matter here
	any=$(status_of "$fb" -c n2.yaml $command)
	grep -q 'less is closed' "$work/stdout" "$work/stderr" ||
		fail "$command does not say that something is left"
done
mv "$work/elsewhere/m1" machines
expect 0 worker 2 seal --run less --take-over
finished less
expect 0 worker 2 status --json
[ "$(jq -c .data.left_runs "$work/stdout")" = '[]' ] || fail "something is left"

# Until somebody says that it is.
die_full gone
retry rm -rf state1
mv machines/m1 "$work/elsewhere"
expect 2 worker 2 seal --run gone --take-over
expect 0 worker 2 seal --run gone --take-over --force
[ -z "$(find machines/m2 -path '*/.fleetbak/*')" ] || fail "m2 has a snapshot"
tidied gone
mv "$work/elsewhere/m1" machines
retry rm -rf machines/m1/.fleetbak/*
ok "a machine that is not seen is gone when somebody says so"

die_full nine --dead-after 1s
retry rm -rf state1
expect 0 worker 3 seal --run nine
finished nine
ok "what a worker left is removed by who seals"

# An heir that dies: before the first removal, between the two, after both.
FLEETBAK_CRASH_LOG=$work/steps
export FLEETBAK_CRASH_LOG
die_full calm-heir
retry rm -rf state1
: >"$work/steps"
expect 0 worker 3 seal --run calm-heir --take-over
unset FLEETBAK_CRASH_LOG
finished calm-heir
for step in driver.1 driver.2 store.$(awk '$2 == "store" { n++ }
	/shared.*\/end$/ { print n; exit }' "$work/steps"); do
	die_full "heir-$step"
	retry rm -rf state1
	expect 137 env "FLEETBAK_CRASH=$step:kill" "$fb" -c n2.yaml seal \
		--run "heir-$step" --take-over
	left_alone "$work/f"
	retry rm -rf state2
	expect 0 worker 3 seal --run "heir-$step" --take-over
	finished "heir-$step"
done
ok "an heir that dies has an heir"

# Who is back on its node finishes what is its own, whichever command it is.
die_full back-1
expect 0 worker 1 --lock-wait 30s download --full --shard 1/1 --run back-1
finished back-1
die_full back-2
expect 0 worker 1 --lock-wait 30s seal --run back-2
finished back-2
die_full back-3
expect 0 worker 1 --lock-wait 30s download --full m2
settled back-3
sealed back-3
tidied back-3
ok "who is back on its node finishes what is its own"

# A snapshot that cannot be removed: who cannot says that it remembers, and
# nobody waits for it; when the node is lost another one does it.
for node in 1 3; do
	for m in m1 m2; do
		: >machines/$m/effects
	done
	expect 0 env "FLEETBAK_FAULT=driver.$removal+:EIO" "$fb" -c n1.yaml \
		download --full --shard 1/1 --run kept-$node
	[ -n "$(find repo/shared/kept-$node -name kept)" ] ||
		fail "it does not say that it remembers"
	expect 1 worker 2 seal --run kept-$node
	grep -q 'its node remembers' "$work/stderr" || fail "it does not say who remembers"
	if [ $node -eq 3 ]; then
		retry rm -rf state1
		expect 0 worker 3 seal --run kept-$node --take-over
	else
		expect 0 worker 1 seal --run kept-$node
	fi
	finished kept-$node
done
ok "what could not be done is remembered, and done"

# A machine that could not be started, and is by recovery, which knows nothing
# of repositories: the next command that does says that nothing is owed.
touch machines/m1/fail-start
expect 3 worker 1 download --full --shard 1/1 --run late
[ -n "$(find repo/shared/late -name kept)" ] || fail "it says nothing is owed"
rm machines/m1/fail-start
expect 0 worker 1 recover --lock-wait 30s
[ -e machines/m1/up ] || fail "m1 is down"
expect 0 worker 1 seal --run late
tidied late
ok "what recovery has done is done for who seals as well"

# Given up with a machine down: it is started all the same.
for m in m1 m2; do
	: >machines/$m/effects
done
begin 1 download --full --shard 1/1 --run given-up
lose 1
expect 0 worker 2 forget --run given-up --take-over
settled given-up
tidied given-up
[ "$(cat machines/m1/effects)" = start ] || fail "m1: $(cat machines/m1/effects)"
ok "a machine that a dead worker of a run that is given up had stopped is started"

# Two seal at once, on one node and on two; on the other one nobody knows that
# the worker is dead, and who seals there waits for the heir.
for other in 2 3; do
	knows=
	[ $other -eq 3 ] || knows=--take-over
	die_full "twice-$other"
	retry rm -rf state1
	"$fb" -c n2.yaml --lock-wait 30s seal --run twice-$other --take-over \
		>"$work/said.2" 2>&1 &
	one=$!
	# shellcheck disable=SC2086 # an option, or none
	"$fb" -c n$other.yaml --lock-wait 30s seal --run twice-$other $knows \
		>"$work/said.3" 2>&1 &
	two=$!
	for pid in $one $two; do
		wait "$pid" || fail "one failed: $(cat "$work/said.2" "$work/said.3")"
	done
	finished twice-$other
done
ok "two seal at once"

# hold <name>: node 1 has its lease, and has not planned its shard yet.
hold() {
	FLEETBAK_FAULT=store.2:stop "$fb" -c n1.yaml download --full \
		--shard 1/1 --run "$1" >"$work/said" 2>&1 &
	run=$!
	until_true "it does not stop" \
		grep -qs "^State:.*stopped" "/proc/$run/status"
	[ "$(find "repo/shared/$1" -type f)" = "repo/shared/$1/run" ] ||
		fail "not at its lease: $(find "repo/shared/$1")"
}
go_on() { # <status>
	kill -CONT $run
	rc=0
	wait $run || rc=$?
	[ $rc -eq "$1" ] || fail "exit $rc instead of $1: $(cat "$work/said")"
}

# A machine that cannot be looked at when a worker plans its shard, and could
# when the run was begun, fails; the shard is of the same run all the same.
hold unseen
mv machines/m1/disk.img machines/m1/away
go_on 3
mv machines/m1/away machines/m1/disk.img
id=$(sealed_of 3 unseen)
[ "$(jq -r '[.machines[] | select(.failure != null).id] | join(" ")' \
	"repo/runs/$id/manifest.json")" = m1 ] || fail "m1 did not fail"
settled unseen
tidied unseen
ok "a machine that cannot be looked at for a moment does not spoil the run"

# Where there are others then the worker stops, and nobody has to wait for it.
hold moved
make_machine machines m3
go_on 19
rm -r machines/m3
expect 0 worker 2 download --full --shard 1/1 --run moved
! grep -q 'is done by session' "$work/stderr" || fail "it waited for nobody"
settled moved
sealed moved
tidied moved
ok "a worker that could not begin is not waited for"

# Who is asked for a shard again in which a machine failed does not say that all
# is well.
: >machines/m1/fail-stop
expect 1 worker 1 download --full --shard "$(shard_of m1 2)/2" --run failed
rm machines/m1/fail-stop
for k in 1 2; do
	expect 3 worker $k download --full --shard "$(shard_of m1 2)/2" \
		--run failed
	grep -q 'machines failed in them' "$work/stderr" "$work/stdout" ||
		fail "it does not say why"
done
expect 0 worker 2 forget --run failed
settled failed
tidied failed
ok "a shard in which a machine failed is no success when it is asked for again"
