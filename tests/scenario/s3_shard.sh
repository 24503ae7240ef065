#!/bin/sh
# Workers that share nothing but a bucket: answers are lost meanwhile, one of
# them is killed while it holds a machine stopped, another node starts that and
# does its shard; the last one seals. Workers that take whatever nobody does
# stop each machine once; one that was frozen is fenced.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_shard.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

machines="m1 m2 m3 m4 m5 m6"
start_radosgw
s3_make bucket
s3_env
start_proxy main --seed "${S3_SEED:-3}"
s3_at=$proxy_url
s3_fleet "$work/f" 0 bucket
cd "$work/f"
for m in $machines; do
	make_evil machines "$m"
done
expect 0 "$fb" -c "$conf" init
nodes 5
# whole <name> <run>: sealed, up, verified, and as it was; for node 5, which
# has seen nothing of it.
whole() {
	rules
	for m in $machines; do
		[ -e "machines/$m/up" ] || fail "$1: $m is down"
		[ "$(count_of stop "$m")" -eq "$(count_of start "$m")" ] ||
			fail "$1: $m: $(tr '\n' ' ' <"machines/$m/effects")"
		: >"machines/$m/effects"
	done
	[ -z "$(find machines -path '*/.fleetbak/*')" ] ||
		fail "$1: a snapshot was left"
	[ "$(s3_keys bucket "fleet/shared/$1/" | wc -l)" -eq 2 ] ||
		fail "$1: leases are left: $(s3_keys bucket "fleet/shared/$1/")"
	expect 0 worker 5 verify --full
	expect 0 worker 5 restore --run "$2" --all --target "$work/out" --yes
	for m in $machines; do
		cmp "machines/$m/disk.img" "$work/out/$m/root.img" ||
			fail "$1: $m: another disk"
		same_tree "machines/$m/data" "$work/out/$m/data" ||
			fail "$1: $m: another tree"
	done
	rm -rf "$work/out"
	nothing_wrong
}
count_of() { # <word> <machine>
	grep -cx "$1" "machines/$2/effects" || :
}

# 1. Three shards on three nodes; node 1 dies with m1 in its hands.
one=$(shard_of m1 3)
begin 1 download --shard "$one/3" --run night
rules 'lost method=PUT path=*/shared/* prob=0.2' \
	'lost method=PUT path=*/commits/* times=2' \
	'error=503,SlowDown prob=0.03' 'reset prob=0.03' 'close prob=0.05'
for k in 2 3; do
	shard=$(((one + k - 2) % 3 + 1))
	worker $k download -q --shard $shard/3 --run night \
		>"$work/said.$k" 2>&1 &
	eval "pid$k=$!"
done
for k in 2 3; do
	eval "wait \$pid$k" || {
		cat "$work/said.$k"
		fail "worker $k"
	}
done
lose 1
expect 20 worker 5 seal --run night
grep -q "missing: $one" "$work/stderr" || fail "it does not name shard $one"
expect 0 worker 4 download --shard "$one/3" --run night --take-over --json
id=$(jq -r .sealed "$work/stdout")
[ "$(s3_keys bucket "fleet/runs/$id/" | wc -l)" -eq 4 ] || fail "no run $id"
fault_began lost || fail "no answer was lost"
# The dead one had stopped m1 without a word in `effects`.
[ "$(count_of start m1)" -eq 2 ] || fail "m1: $(cat machines/m1/effects)"
echo stop >>machines/m1/effects
[ -z "$(find state*/runs -mindepth 1 2>/dev/null)" ] || fail "a run was left"
whole night "$id"
ok "a node that died with a machine in its hands: $(grep -c '^#' "$proxy_log") faults"

# 2. All of them take what nobody does.
rules 'lost method=PUT path=*/shared/* prob=0.2' 'close prob=0.05'
for k in 1 2 3; do
	worker $k download -q --full --shard any/4 --run any \
		>"$work/said.$k" 2>&1 &
	eval "pid$k=$!"
done
for k in 1 2 3; do
	eval "wait \$pid$k" || {
		cat "$work/said.$k"
		fail "worker $k"
	}
done
for m in $machines; do
	[ "$(count_of stop "$m")" -eq 1 ] || fail "$m was stopped twice"
done
id=$(sealed_of 5 any)
whole any "$id"
ok "workers that take what nobody does stop each machine once"

# 3. Frozen: fenced when it wakes up.  Node 2 finds it silent by itself.
# (So long it waits, at most, that what another has started goes down.)
sed -i 's/^stop_timeout: .*/stop_timeout: 20s/' machines/*/machine.yaml
begin 1 download --full --shard 1/1 --run frozen --dead-after 1s
kill -STOP $run
expect 0 worker 2 download --full --shard any/1 --run frozen --json
id=$(jq -r .sealed "$work/stdout")
kill -CONT $run
let_go
! wait $run || fail "the frozen worker went on"
grep -q 'E-FENCED\|taken over' "$work/said" || {
	cat "$work/said"
	fail "it does not say why"
}
expect 0 worker 1 recover
expect 0 worker 1 download m2 -q
for m in $machines; do
	: >"machines/$m/effects"
done
whole frozen "$id"
ok "a frozen worker is fenced"

# 4. A worker dies before it has removed its snapshots, and its node is lost.
# The first answer to everything that says whose what is is lost behind the
# effect, for the dead one, for its heir, and for who seals at the same time.
[ "${FB_VARIANT:-debug}" != release ] || exit 0 # no fault points
FLEETBAK_CRASH_LOG=$work/steps expect 0 worker 4 download --full -q m2
: >machines/m2/effects
steps=$(awk '$2 == "driver" { n++ }
	/ remove_snapshot / { print n - 1; exit }' "$work/steps")
[ "$steps" -gt 0 ] || fail "no snapshot was removed"
: >"$proxy_log"
rules 'lost method=PUT path=*/shared/heirs/run* times=1' \
	'lost method=PUT path=*/lease* times=1' \
	'lost method=PUT path=*/commits/* times=1'
expect 137 env "FLEETBAK_CRASH=driver.$((steps * 6 + 1)):kill" "$fb" \
	-c n1.yaml download -q --full --shard 1/1 --run heirs
left_alone "$work/f"
retry rm -rf state1
[ "$(grep -c '^# [0-9]* lost ' "$proxy_log")" -eq 3 ] ||
	fail "not 3 lost: $(grep '^#' "$proxy_log")"
[ "$(find machines -path '*/.fleetbak/*' -prune | wc -l)" -eq 6 ] ||
	fail "there are not 6 snapshots"
rules 'lost method=PUT path=*/heir-* times=1' \
	'lost method=PUT path=*-all* times=1' \
	'lost method=PUT path=*/end* times=2' \
	'lost method=PUT path=*/closed* times=1' \
	'lost method=PUT path=*/commits/* times=1' \
	'lost method=PUT path=*/forgets/* times=1' \
	'lost method=POST path=*delete=* times=2' \
	'lost method=DELETE path=*/shared/* times=2'
for k in 2 3; do
	knows=
	[ $k -eq 3 ] || knows=--take-over # the other one waits for the heir
	# shellcheck disable=SC2086 # an option, or none
	"$fb" -c n$k.yaml seal --run heirs $knows >"$work/said.$k" 2>&1 &
	eval "pid$k=$!"
done
for k in 2 3; do
	eval "wait \$pid$k" || {
		cat "$work/said.$k"
		fail "who seals on node $k"
	}
done
for kind in heir- end closed commits delete=; do
	grep '^# [0-9]* lost ' "$proxy_log" | grep -q "$kind" ||
		fail "no answer to $kind was lost"
done
[ -z "$(find state*/runs -mindepth 1 2>/dev/null)" ] || fail "a run was left"
for m in $machines; do
	[ "$(count_of stop "$m")" -eq 1 ] || fail "$m was stopped again"
done
whole heirs "$(sealed_of 5 heirs)"
ok "what a dead worker left is done once, whatever answer is lost"
