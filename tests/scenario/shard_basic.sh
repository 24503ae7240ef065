#!/bin/sh
# Several workers, each with a state directory of its own and nothing between
# them but the repository, share a run.  The last one seals it; what it is then
# cannot be told from a run of one worker.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_shard.sh"
requires jq

make_fleet "$work/f" 6
cd "$work/f"
expect 0 "$fb" -c "$conf" init
nodes 4

# Who is refused has touched nothing.
expect 2 worker 1 download --shard 1/3
expect 2 worker 1 download --run night
for shard in 0/3 4/3 x/3 1 any auto 1/1001 1/0; do
	expect 2 worker 1 download --shard $shard --run night
done
expect 2 worker 1 download --shard 1/3 --run a/b
expect 2 worker 1 download --shard 1/3 --run .night
expect 1 worker 1 seal --run night
[ ! -e repo/shared ] || fail "a shared run was begun"
ok "what is no shard is refused"

# One by one: none before the last one makes a run.
expect 0 worker 1 download --shard 1/3 --run night
grep -q '2 shards are missing' "$work/stderr" ||
	fail "it does not say that shards are missing"
expect 0 env SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=5 \
	SLURM_ARRAY_TASK_STEP=2 SLURM_ARRAY_TASK_COUNT=3 \
	"$fb" -c n2.yaml download --shard auto --run night
expect 20 worker 4 seal --run night
grep -q 'missing: 3' "$work/stderr" || fail "it does not name the missing one"
expect 0 worker 4 list runs --output tsv --no-header
[ ! -s "$work/stdout" ] || fail "a shard is listed as a run"
expect 0 worker 4 list runs
grep -q 'night .* is not sealed: 2 of 3 shards' "$work/stderr" "$work/stdout" ||
	fail "list does not name it"
expect 0 worker 4 status
grep -q 'shared run night .*2 of 3 shards' "$work/stdout" ||
	fail "status does not name it"
expect 0 worker 4 verify --full
ok "what is not sealed is named, and is no run"

# What the shards keep is not collected, and another fleet is not joined.
packs=$(find repo/packs -type f | wc -l)
[ "$packs" -gt 0 ] || fail "no packs"
expect 0 worker 4 prune --yes --fence-after 0s
[ "$(find repo/packs -type f | wc -l)" -eq "$packs" ] ||
	fail "packs of an unsealed run were collected"
make_machine machines m9
expect 19 worker 3 download --shard 3/3 --run night
rm -r machines/m9
expect 2 worker 3 download --shard 3/4 --run night
ok "prune keeps what is not sealed; another fleet is refused"

expect 2 env JOB_COMPLETION_INDEX=2 "$fb" -c n3.yaml download --shard auto \
	--run night
expect 2 env JOB_COMPLETION_INDEX=3 JOB_COMPLETION_COUNT=3 \
	"$fb" -c n3.yaml download --shard auto --run night
expect 0 env JOB_COMPLETION_INDEX=2 JOB_COMPLETION_COUNT=3 \
	"$fb" -c n3.yaml download --shard auto --run night --json
run=$(jq -r .sealed "$work/stdout")
[ -d "repo/runs/$run" ] || fail "the last one does not seal"
expect 0 worker 4 seal --run night
[ "$(jq '.machines | length' "repo/runs/$run/manifest.json")" -eq 6 ] ||
	fail "machines are missing"
[ "$(jq -r '[.machines[].id] | join(" ")' "repo/runs/$run/manifest.json")" = \
	"m1 m2 m3 m4 m5 m6" ] || fail "they are out of order"
(cd repo && sha256sum --quiet -c "runs/$run/SHA256SUMS") ||
	fail "sha256sum does not agree"
openssl pkeyutl -verify -pubin -inkey keys/sign.pub.pem -rawin \
	-in "repo/runs/$run/SHA256SUMS" \
	-sigfile "repo/runs/$run/SHA256SUMS.sig" >/dev/null ||
	fail "openssl does not agree"
for m in m1 m2 m3 m4 m5 m6; do
	[ "$(cat machines/$m/effects)" = "$(printf 'stop\nstart')" ] ||
		fail "$m: stopped more than once"
	rm -rf "$work/out"
	expect 0 worker 4 restore $m --target "$work/out" --yes
	cmp -s machines/$m/disk.img "$work/out/$m/root.img" ||
		fail "$m: another disk"
	same_tree machines/$m/data "$work/out/$m/data" || fail "$m: another tree"
done
expect 20 worker 1 download --shard 1/3 --run night
ok "the last worker seals one signed run"

# It follows others, and others follow it; nothing of the shards is left.
expect 0 worker 4 prune --yes
expect 0 worker 4 verify --full
expect 0 "$fb" -c "$conf" download --full --json
[ "$(jq -r .new_bytes "$work/stdout")" -eq 0 ] ||
	fail "what the shards stored is not known: $(jq .new_bytes "$work/stdout")"
[ "$(find repo/shared -type f | wc -l)" -eq 2 ] || fail "leases are left"
expect 0 "$fb" -c "$conf" forget --yes "$run"
expect 0 "$fb" -c "$conf" list runs
ok "it is a run as any other"

# Given up before it was sealed: nothing of it stays, and nobody seals it.
expect 0 worker 1 download --full --shard 1/2 --run gone
expect 20 worker 4 forget --run night
expect 0 worker 4 forget --run gone
expect 20 worker 2 download --shard 2/2 --run gone
expect 1 worker 4 seal --run gone
expect 0 worker 4 prune --yes
expect 0 worker 4 verify --full
expect 0 worker 4 list runs
! grep -q 'not sealed' "$work/stdout" "$work/stderr" || fail "it is listed yet"
nothing_lost repo
ok "one that is not sealed is given up"

# More workers than machines, all at once.
i=0
while [ $i -lt 4 ]; do
	i=$((i + 1))
	JOB_COMPLETION_INDEX=$((i - 1)) "$fb" -c n$i.yaml download -q --shard auto/4 \
		--run many >"$work/said.$i" 2>&1 &
	eval "pid$i=$!"
done
i=0
while [ $i -lt 4 ]; do
	i=$((i + 1))
	eval "wait \$pid$i" || {
		cat "$work/said.$i"
		fail "worker $i"
	}
done
run=$(sealed_of 1 many)
[ "$(jq '.machines | length' "repo/runs/$run/manifest.json")" -eq 6 ] ||
	fail "machines are missing"
expect 0 worker 1 verify --full
ok "workers at the same time"
