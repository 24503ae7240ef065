#!/bin/sh
# A job array of Slurm, 8 tasks on 3 nodes, into a bucket: each task takes its
# shard from what Slurm tells it. Two of them are killed while they hold a
# machine stopped, one with its guardian and state directory; a job that comes
# after the array starts what is down, does their shards, and seals.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_shard.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

tasks=8
start_radosgw
start_slurm 3
s3_make bucket
s3_env
s3_fleet "$work/f" 0 bucket
cd "$work/f"

# Machines until every shard has one; the first of two shards are held.
i=0 machines='' seen=' '
while [ "$(echo "$seen" | wc -w)" -lt $tasks ]; do
	i=$((i + 1))
	shard=$(shard_of m$i $tasks)
	case $seen in
	*" $shard "*) continue ;;
	esac
	seen="$seen$shard "
	machines="$machines m$i"
	make_evil machines "m$i"
done
# shellcheck disable=SC2086 # words
set -- $machines
one=$1 two=$2
for m in $one $two; do
	: >"machines/$m/on-hold"
	# shellcheck disable=SC2016 # for the script that is made
	echo '[ ! -e on-hold ] || { rm -f up; touch held
		while [ -e on-hold ]; do sleep 0.05; done; }' >"machines/$m/on-stop"
done
expect 0 "$fb" -c "$conf" init

# What each task runs: as the manual page says, with a state directory of its
# own, because several of them run on one node.
cat >task <<-END
	#!/bin/sh
	cd "$work/f" || exit 1
	echo \$\$ >"pid.\$SLURM_ARRAY_TASK_ID"
	echo "\$SLURMD_NODENAME" >"node.\$SLURM_ARRAY_TASK_ID"
	echo "\$SLURMD_NODENAME" >>nodes
	# No node has room for two tasks while others wait for theirs.
	until [ "\$(wc -l <nodes)" -ge $tasks ]; do sleep 0.05; done
	exec env FLEETBAK_STATE_DIR="$work/f/state.\$SLURM_ARRAY_TASK_ID" \\
		"$fb" -c "$conf" download -q --shard auto \\
		--run "\$SLURM_ARRAY_JOB_ID"
END
job=$(sbatch --parsable --array=1-$tasks -n 1 -o "$work/task.%a" task) ||
	fail "sbatch"
task_of() { # <machine>: the task that has it
	shard_of "$1" $tasks
}
held() {
	[ -e "machines/$one/held" ] && [ -e "machines/$two/held" ]
}
until_true "the two are not held: $(squeue 2>&1)" held
is_over() { # <job>
	[ -z "$(squeue -h -j "$1" 2>/dev/null)" ]
}
others_are_over() {
	[ "$(squeue -h -r -j "$job" -o %K | wc -l)" -le 2 ]
}
until_true "the others do not end" others_are_over
[ "$(sort -u nodes | wc -l)" -eq 3 ] || fail "not on 3 nodes: $(sort -u nodes)"
ok "$tasks tasks on 3 nodes, two with a machine in hand"

# One by Slurm: its guardian lives, and starts the machine.
scancel -s KILL "${job}_$(task_of "$one")"
# The other with all that ran there, as when a node is lost.
kill_all "$(cat "pid.$(task_of "$two")")"
retry rm -rf "state.$(task_of "$two")"
for m in $one $two; do
	rm -f "machines/$m/on-hold" "machines/$m/on-stop"
done
until_true "the array does not end" is_over "$job"
until_true "the guardian did not start $one" [ -e "machines/$one/up" ]
[ ! -e "machines/$two/up" ] || fail "$two was started by the dead"
expect 20 "$fb" -c "$conf" seal --run "$job"
grep -q "has 6 of $tasks shards" "$work/stderr" || fail "not 6 shards"
ok "two tasks were killed: the run is not sealed"

# Who comes after the array does what it left, on another node than the lost one.
lost=$(cat "node.$(task_of "$two")")
cat >after <<-END
	#!/bin/sh
	echo "\$SLURMD_NODENAME" >"$work/f/node.after"
	exec env FLEETBAK_STATE_DIR="$work/f/state.after" "$fb" -c "$conf" \\
		download --shard any/$tasks --run $job --take-over --json
END
expect 0 sbatch --wait -n 1 --exclude="$lost" -o "$work/after.out" -e "$work/after.err" after
id=$(jq -r .sealed "$work/after.out")
[ -n "$id" ] && [ "$id" != null ] || fail "$(cat "$work"/after.*)"
for m in $machines; do
	[ -e "machines/$m/up" ] || fail "$m is down"
	[ "$(grep -c start "machines/$m/effects")" -ge 1 ] || fail "$m: no start"
done
[ -z "$(find machines -path '*/.fleetbak/*')" ] || fail "a snapshot was left"
for m in $machines; do
	case $m in
	"$one" | "$two") continue ;;
	esac
	[ "$(cat "machines/$m/effects")" = "$(printf 'stop\nstart')" ] ||
		fail "$m: $(tr '\n' ' ' <"machines/$m/effects")"
done
[ -s node.after ] && [ "$(cat node.after)" != "$lost" ] ||
	fail "on the lost node: $lost"
ok "a job on another node finishes the array: run $id"

sed "s|^state_dir: .*|state_dir: ./elsewhere|" "$conf" >other.yaml
expect 0 "$fb" -c other.yaml verify --full
expect 0 "$fb" -c other.yaml restore --run "$id" --all --target "$work/out" --yes
for m in $machines; do
	cmp "machines/$m/disk.img" "$work/out/$m/root.img" || fail "$m: another disk"
	same_tree "machines/$m/data" "$work/out/$m/data" || fail "$m: another tree"
done
ok "verified, and restored elsewhere"

# Another array of the same size, all of whose tasks live.
cat >night <<-END
	#!/bin/sh
	exec env FLEETBAK_STATE_DIR="$work/f/state.\$SLURM_ARRAY_TASK_ID" \\
		"$fb" -c "$conf" download -q --full --shard auto \\
		--run "\$SLURM_ARRAY_JOB_ID"
END
job=$(sbatch --wait --parsable --array=0-14:2 -n 1 -o "$work/night.%a" night) ||
	fail "a task of the second array failed: $(cat "$work"/night.*)"
expect 0 "$fb" -c other.yaml seal --run "$job" --json
id=$(jq -r '[.. | .sealed? // empty][0]' "$work/stdout")
expect 0 "$fb" -c other.yaml show "$id"
expect 0 "$fb" -c other.yaml verify --full
ok "an array that counts in twos, and nobody dies"
