# shellcheck shell=sh
# Slurm for one test: munged, slurmctld and a slurmd for each of some nodes that
# are all this host, from Debian's packages, as whoever runs the test, without
# systemd, cgroups or a database.  Sourced by servers.sh, which says what it
# offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

slurm_conf() { # <nodes> <port of slurmctld> <ports of slurmd>
	cat <<-END
		ClusterName=test
		SlurmctldHost=$(hostname -s)($server_address)
		SlurmUser=$(id -un)
		SlurmdUser=$(id -un)
		AuthType=auth/munge
		AuthInfo=socket=$slurm_dir/munge/socket
		CredType=cred/munge
		SlurmctldPort=$2
		StateSaveLocation=$slurm_dir/ctld
		SlurmdSpoolDir=$slurm_dir/%n.spool
		SlurmctldPidFile=$slurm_dir/ctld.pid
		SlurmdPidFile=$slurm_dir/%n.pid
		SlurmctldLogFile=$slurm_dir/log/ctld
		SlurmdLogFile=$slurm_dir/log/%n
		ProctrackType=proctrack/pgid
		TaskPlugin=task/none
		# As many tasks as it says, on however few processors.
		SlurmdParameters=config_overrides
		MpiDefault=none
		SwitchType=switch/none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_CPU
		ReturnToService=2
		AccountingStorageType=accounting_storage/none
		JobAcctGatherType=jobacct_gather/none
		# A job waits for its turn no longer than needed.
		SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=1,bf_interval=1
		SlurmdTimeout=60
		KillWait=1
		NodeName=n[1-$1] NodeHostname=$(hostname -s) NodeAddr=$server_address Port=[$3] CPUs=3 RealMemory=1000 State=UNKNOWN
		PartitionName=main Nodes=n[1-$1] Default=YES MaxTime=INFINITE State=UP
	END
}

slurm_is_idle() {
	[ "$(sinfo -h -N -o %t 2>/dev/null | grep -c '^idle')" = "$slurm_nodes" ]
}

# start_slurm [nodes]: n1, n2, ...
start_slurm() {
	requires munged slurmctld slurmd sbatch scancel squeue sinfo
	slurm_nodes=${1:-3}
	slurm_dir=$work/slurm
	mkdir -p "$slurm_dir/munge" "$slurm_dir/ctld" "$slurm_dir/log"
	chmod 700 "$slurm_dir/munge"
	head -c 1024 /dev/urandom >"$slurm_dir/munge/key"
	chmod 400 "$slurm_dir/munge/key"
	# Its servers listen at every address.
	free_ports $((slurm_nodes + 1)) 0.0.0.0
	# shellcheck disable=SC2086 # words
	set -- $free_ports
	slurm_port=$1
	shift
	slurm_conf "$slurm_nodes" "$slurm_port" "$(echo "$*" | tr ' ' ,)" \
		>"$slurm_dir/slurm.conf"
	export SLURM_CONF="$slurm_dir/slurm.conf"
	# It wants directories that nobody else could have made, up to the root,
	# which a test's are not: that is what --force is for.
	serve munged "$slurm_dir/log" munged --foreground --force \
		--key-file="$slurm_dir/munge/key" \
		--socket="$slurm_dir/munge/socket" \
		--pid-file="$slurm_dir/munge/pid" \
		--log-file="$slurm_dir/munge/log" \
		--seed-file="$slurm_dir/munge/seed"
	await "munged does not start" "$serve_pid" [ -S "$slurm_dir/munge/socket" ]
	serve slurmctld "$slurm_dir/log" slurmctld -D -c
	slurm_pids=$serve_pid
	slurm_i=0
	while [ $slurm_i -lt "$slurm_nodes" ]; do
		slurm_i=$((slurm_i + 1))
		serve slurmd.$slurm_i "$slurm_dir/log" slurmd -D -N n$slurm_i
		slurm_pids="$slurm_pids $serve_pid"
	done
	await "Slurm's nodes do not come up" "$serve_pid" slurm_is_idle
}
