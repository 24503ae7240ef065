# shellcheck shell=sh
# A stand-in for computer-host with machines, and a fleet of it.
# shellcheck disable=SC2034,SC2154 # lib.sh's; for the scenarios

requires curl
chost_pid=
chost_end() {
	[ -z "$chost_pid" ] || kill -KILL "$chost_pid" 2>/dev/null || :
	[ -z "$chost_pid" ] || wait "$chost_pid" 2>/dev/null || :
	chost_pid=
}
trap 'chost_end; clear_work' EXIT

host=$work/host
rules=$work/rules
log=$work/host.log

# chost_machine <id> <phase> <users> <MiB>: to be there when it begins.
chost_machine() {
	mkdir -p "$host/machine-disks/$1" "$host/snapshots"
	chost_disk "$host/machine-disks/$1/system.img" "$4" "$1"
	chost_i=0
	while [ "$chost_i" -lt "$3" ]; do
		chost_disk "$host/machine-disks/$1/user-$chost_i.img" 1 "$1 $chost_i"
		chost_i=$((chost_i + 1))
	done
	printf '%s{"machine_id":"%s","phase":"%s","memory_mib":512,"storage_bytes":%s,"users":%s}' \
		"${chost_sep:-}" "$1" "$2" $(($4 * 1048576)) "$3" >>"$work/machines"
	chost_sep=,
}

# Data, a hole, and data at the end.
chost_disk() { # <path> <MiB> <words>
	seq 1 20000 | sed "s/\$/ $3/" >"$1"
	truncate -s $(($2 * 1048576 - 4096)) "$1"
	seq 1 5000 | head -c 4096 >>"$1"
}

chost_begin() { # [option...]
	echo "[$(cat "$work/machines")]" >"$host/machines.json"
	: >"$rules"
	: >>"$log"
	"$bin/servers/computer_host" --socket "$work/socket" --rules "$rules" \
		--log "$log" "$@" "$host" \
		>"$work/host.out" 2>&1 </dev/null &
	chost_pid=$!
	until_true "the stand-in does not begin" ask /health -o /dev/null
}

ask() { # <path> [option...]
	ask_path=$1
	shift
	curl -sf --unix-socket "$work/socket" "$@" "http://h$ask_path"
}

phase() { # <machine>
	ask "/machines/$1" | sed 's/.*"phase":"\([a-z]*\)".*/\1/'
}

snapshots() { # <machine>: how many
	ask "/machines/$1/snapshots" | grep -o '"id":' | wc -l
}

# What no client may do was not done.
no_complaint() {
	! grep '^!' "$log" || fail "the host complains"
}

asked() { # <count> <pattern>: so many requests in the log
	asked_n=$(grep -cE "^[0-9]+ $2" "$log" || :)
	[ "$asked_n" -eq "$1" ] || fail "asked $asked_n times, not $1: $2"
}

# chost_fleet [line...]: fleetbak.yaml, with more options of the source.
chost_fleet() {
	cat >"$work/fleetbak.yaml" <<-END
		fleet: {name: demo}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  lab:
		    driver: computer-host
		    socket: ./socket
		    spool: ./spool
	END
	for chost_line; do
		printf '    %s\n' "$chost_line" >>"$work/fleetbak.yaml"
	done
	mkdir -p "$work/spool"
}

same_disks() { # <machine> <directory>
	for same_disk in "$2"/*.img; do
		cmp "$same_disk" "$host/machine-disks/$1/${same_disk##*/}" ||
			fail "${same_disk##*/} of $1 is another"
	done
}
