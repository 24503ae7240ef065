# shellcheck shell=sh
# What the scenarios of shared runs source after lib.sh: workers on nodes that
# have nothing but the repository between them, and nodes that go away.
# shellcheck disable=SC2034,SC2154 # the variables are for the scenarios

# nodes <n>: n1.yaml, n2.yaml ... are $conf with a state directory each.
nodes() {
	nodes_i=0
	while [ $nodes_i -lt "$1" ]; do
		nodes_i=$((nodes_i + 1))
		sed "s|^state_dir: .*|state_dir: ./state$nodes_i|" "$conf" \
			>"n$nodes_i.yaml"
	done
}

worker() { # <node> <argument>...
	worker_node=$1
	shift
	"$fb" -c "n$worker_node.yaml" "$@"
}

# shard_of <machine> <n>: as fleetbak-format(5) says.
shard_of() {
	shard_of_hex=$(printf 'lab/%s' "$1" | sha256sum | cut -c 1-16)
	shard_of_high=$(printf %s "$shard_of_hex" | cut -c 1-8)
	shard_of_low=$(printf %s "$shard_of_hex" | cut -c 9-16)
	echo $(((0x$shard_of_high % $2 * (4294967296 % $2) + 0x$shard_of_low % $2) % $2 + 1))
}

# The guardian of a run: the children of a process that are ours.
children() { # <pid>
	cat /proc/"$1"/task/*/children 2>/dev/null | tr ' ' '\n' | sort -u
}

# begin <node> <argument>...: until m1, an evil machine, is stopped, and held
# there.  Its process is $run, what it says $work/said.
begin() {
	begin_node=$1
	shift
	: >machines/m1/on-hold
	# shellcheck disable=SC2016 # for the script that is made
	echo 'rm -f on-stop up; touch held; while [ -e on-hold ]; do sleep 0.05; done' \
		>machines/m1/on-stop
	rm -f machines/m1/held
	"$fb" -c "n$begin_node.yaml" "$@" >"$work/said" 2>&1 &
	run=$!
	until_true "m1 is not stopped" [ -e machines/m1/held ]
}

# What is held goes on.
let_go() {
	rm -f machines/m1/on-hold machines/m1/on-stop
}

# kill_all <pid>: with all that it started, as when a node is lost.
kill_all() {
	kill -STOP "$1" # it must not see that its command died
	for kill_all_pid in $(children "$1") "$1"; do
		kill -KILL "$kill_all_pid" 2>/dev/null || :
	done
}

# lose <node>: with all that ran there, and what it remembered.
lose() {
	kill_all "$run"
	wait "$run" 2>/dev/null || :
	let_go
	retry rm -rf "state$1"
	[ ! -e machines/m1/up ] || fail "m1 was started by the dead node"
}

# The run that a shared one was sealed to, as node <node> is told.
sealed_of() { # <node> <name>
	expect 0 worker "$1" seal --run "$2" --json
	jq -r '[.. | .sealed? // empty][0]' "$work/stdout"
}

# settled <what>: m1 and m2 are up, and nothing of ours is left anywhere.
settled() {
	for m in m1 m2; do
		[ -e machines/$m/up ] || fail "$1: $m is down"
	done
	[ -z "$(find machines -path '*/.fleetbak/*')" ] ||
		fail "$1: a snapshot was left"
	[ -z "$(find state*/runs -mindepth 1 2>/dev/null)" ] ||
		fail "$1: a run was left"
}

# sealed <name>: with both of them in it, as node 3 sees it.
sealed() {
	id=$(sealed_of 3 "$1")
	[ "$(jq '[.machines[] | select(.failure == null)] | length' \
		"repo/runs/$id/manifest.json")" -eq 2 ] ||
		fail "$1: not all machines are in it"
	expect 0 worker 3 verify --full
	nothing_lost repo "$1"
}

# finished <name>: sealed, each machine stopped and started once, and what
# served the workers is taken away.
finished() {
	settled "$1"
	sealed "$1"
	for m in m1 m2; do
		[ "$(cat machines/$m/effects)" = "$(printf 'stop\nstart')" ] ||
			fail "$1: $m: $(tr '\n' ' ' <machines/$m/effects)"
	done
	tidied "$1"
}

# tidied <name>: what all agree on is left, and that it is closed.
tidied() {
	[ "$(find "repo/shared/$1" -type f | wc -l)" -eq 2 ] ||
		fail "$1: left: $(find "repo/shared/$1" -type f)"
}
