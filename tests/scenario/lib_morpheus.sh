# shellcheck shell=sh
# A stand-in for a Morpheus appliance, and a hypervisor h1 that is reached by
# ssh: what the API names is there, in /srv, and not in sight of fleetbak.  A
# scenario sources this in a network and a mount namespace of its own, after
#
#	if [ -z "${SSH_INSIDE:-}" ] && [ "$(id -u)" -eq 0 ]; then
#		SSH_INSIDE=1 exec unshare --net --mount sh "$0"
#	fi
#
#	$hosts  $hosts/h1 is /srv of h1; $hosts/ssh_config is for ssh -F
#	$url    of the appliance     $log  what it was asked, and what it did
#	user "fleet", password "let-me-in"
#
# shellcheck disable=SC2034,SC2154 # lib.sh's; for the scenarios
# shellcheck source=tests/servers/ssh_hosts.sh
. "$here/../servers/ssh_hosts.sh"

requires_root
requires curl ssh /usr/sbin/sshd ip jq
morpheus_pid=
morpheus_end() {
	[ -z "$morpheus_pid" ] || kill -KILL "$morpheus_pid" 2>/dev/null || :
	[ -z "$morpheus_pid" ] || wait "$morpheus_pid" 2>/dev/null || :
	morpheus_pid=
}
trap 'morpheus_end; ssh_hosts_down "$hosts"; clear_work' EXIT

hosts=$work/hosts
rules=$work/rules
log=$work/morpheus.log
h1=$hosts/h1
mkdir -p "$h1" "$hosts/bin"
# Images of rados, as far as they are read.
cat >"$hosts/bin/rbd" <<'END'
#!/bin/sh
case $1:$2 in
export:pool/*@snap) name=${2#pool/} && exec cat "/srv/${name%@snap}" ;;
esac
echo "rbd: what is $*" >&2
exit 2
END
chmod +x "$hosts/bin/rbd"
echo '[{"id":1,"name":"h1","hypervisor":true,"dir":"h1","ip":"10.77.0.11"}]' \
	>"$hosts/servers.json"

# server <id> <name> <on|off> <MiB> [member...]: to be there when it begins; of
# instance <id>0, with a disk <name>-0 and a drive with a disc.  Members are
# JSON ('"style":"overlay"'), and take the place of what it would have.
server() {
	server_id=$1 server_name=$2
	disk_of "$server_name-0" "$4" "$server_name"
	seq 1 999 >"$h1/disc.iso"
	server_doc="{\"id\":$1,\"name\":\"$2\",\"host\":1,\"power\":\"$3\",
		\"instance\":{\"id\":${1}0,\"name\":\"$2\"},\"volumes\":[
		{\"id\":${1}01,\"name\":\"root\",\"file\":\"$2-0\",\"root\":true,\"typeId\":1},
		{\"id\":${1}02,\"name\":\"cdrom\",\"file\":\"disc.iso\",\"cd\":true,\"typeId\":9}]}"
	shift 4
	for server_member; do
		server_doc=$(echo "$server_doc" | jq -c ". + {$server_member}")
	done
	jq -c ". + [$server_doc]" "$hosts/servers.json" >"$work/servers.new"
	mv "$work/servers.new" "$hosts/servers.json"
}

# disk_of <file> <MiB> <words>: data, a hole, and data at the end.
disk_of() {
	seq 1 20000 | sed "s/\$/ $3/" >"$h1/$1"
	truncate -s $(($2 * 1048576 - 4096)) "$h1/$1"
	seq 1 5000 | head -c 4096 >>"$h1/$1"
}

hypervisor_begin() {
	ssh_hosts_up "$hosts" 1
	ssh_until on_h1 true || fail "h1 does not come up"
}
on_h1() { # <command>
	ssh -F "$hosts/ssh_config" -o BatchMode=yes -n 10.77.0.11 "$1"
}

morpheus_has_begun() {
	kill -0 "$morpheus_pid" 2>/dev/null || fail "$(cat "$work/morpheus.out")"
	[ -s "$work/port" ]
}
morpheus_begin() { # [option...]
	: >"$rules"
	: >>"$log"
	rm -f "$work/port"
	"$bin/servers/morpheus" --port-file "$work/port" --rules "$rules" \
		--log "$log" --seen-as /srv "$@" "$hosts" \
		>"$work/morpheus.out" 2>&1 </dev/null &
	morpheus_pid=$!
	until_true "the stand-in does not begin" morpheus_has_begun
	url=http://127.0.0.1:$(cat "$work/port")
}

# faults [rule...]: what goes wrong from now on, and nothing else.
faults() {
	printf '%s\n' "$@" >"$work/rules.new"
	mv "$work/rules.new" "$rules"
}

token() { # a new one
	curl -sf "$url/oauth/token" -d grant_type=password -d scope=write \
		-d client_id=morph-api -d username=fleet -d password=let-me-in |
		jq -r .access_token
}

# api <method> <path> [option...]: by hand, with a token; prints the answer.
api() {
	[ -n "${api_token:-}" ] || api_token=$(token)
	api_method=$1 api_path=$2
	shift 2
	curl -s -X "$api_method" -H "Authorization: Bearer $api_token" "$@" \
		"$url$api_path"
}

power_of() { # <server>: what the API says
	api GET "/api/servers/$1" | jq -r .server.powerState
}
has_power() { # <server> <on|off>
	[ "$(power_of "$1")" = "$2" ]
}

snapshots() { # <server>: how many are listed
	api GET "/api/servers/$1/snapshots" | jq '.snapshots | length'
}

# What no client may do was not done.
no_complaint() {
	! grep '^!' "$log" || fail "the appliance complains"
}

asked() { # <count> <pattern>: so many requests
	asked_n=$(grep -cE "^[0-9]+ $2" "$log" || :)
	[ "$asked_n" -eq "$1" ] || fail "asked $asked_n times, not $1: $2"
}

done_so() { # <count> <pattern>: so often did it happen, "stop 11" for instance
	done_n=$(grep -cE "^= $2" "$log" || :)
	[ "$done_n" -eq "$1" ] || fail "done $done_n times, not $1: $2"
}
forget_log() {
	: >"$log"
}

# morpheus_fleet [line...]: fleetbak.yaml, with more options of the source; it
# is the configuration from then on.
morpheus_fleet() {
	echo let-me-in >"$work/password"
	chmod 600 "$work/password"
	{
		echo "Host h1"
		echo "  HostName 10.77.0.11"
		# One connection for many: each takes a third of a second.
		echo "  ControlMaster auto"
		echo "  ControlPath $work/%n.ssh"
		echo "  ControlPersist 5"
		sed 1d "$hosts/ssh_config"
	} >"$work/ssh_config"
	cat >"$work/fleetbak.yaml" <<-END
		fleet: {name: demo}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  lab:
		    driver: morpheus
		    server: "$url"
		    user: fleet
		    password: "file:./password"
		    ssh_config: ./ssh_config
		    image_format: raw
		    settle_time: 400ms
	END
	for morpheus_line; do
		printf '    %s\n' "$morpheus_line" >>"$work/fleetbak.yaml"
	done
	export FLEETBAK_CONFIG="$work/fleetbak.yaml"
}
