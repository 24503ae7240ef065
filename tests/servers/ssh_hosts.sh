# shellcheck shell=sh
# Hosts that are reached by ssh, each in a network namespace of its own with an
# sshd of its own.  To be sourced by a scenario that runs in a network and a
# mount namespace of its own (unshare --net --mount).
#
#	ssh_hosts_up DIR N: hosts 10.77.0.11, 10.77.0.12, ...; DIR/hK is /srv
#	there; DIR/disk-K, if there is such a file, is mounted as /srv instead.
#	Programs in DIR/bin, if there is such a directory, are found there first.
#	DIR/ssh_config is for ssh -F.
#	ssh_hosts_down DIR

# The program of one host.
ssh_host() { # DIR K
	# shellcheck disable=SC2016 # for that shell
	ip netns exec "fbh$2" unshare --uts --mount sh -ec '
		hostname "h$2"
		mkdir -p /srv
		if [ -f "$1/disk-$2" ]; then
			mount -o loop "$1/disk-$2" /srv
		else
			mount --bind "$1/h$2" /srv
		fi
		mount -t tmpfs tmpfs /var/lib
		mount -t tmpfs tmpfs /root
		exec /usr/sbin/sshd -f "$1/sshd_config-$2" -E "$1/sshd-$2.log"
	' sh "$1" "$2"
}

ssh_hosts_up() { # DIR N
	mount -t tmpfs tmpfs /run
	mkdir -p "$1" /run/sshd /run/netns
	ssh-keygen -q -t ed25519 -N '' -f "$1/host_key"
	ssh-keygen -q -t ed25519 -N '' -f "$1/id"
	ip link set lo up
	ip link add fb0 type bridge
	ip addr add 10.77.0.1/24 dev fb0
	ip link set fb0 up
	: >"$1/known_hosts"
	for ssh_k in $(seq "$2"); do
		ssh_ip=10.77.0.$((10 + ssh_k))
		mkdir -p "$1/h$ssh_k"
		ip netns add "fbh$ssh_k"
		ip link add "fbv$ssh_k" type veth peer name eth0 netns "fbh$ssh_k"
		ip link set "fbv$ssh_k" master fb0 up
		ip -n "fbh$ssh_k" addr add $ssh_ip/24 dev eth0
		ip -n "fbh$ssh_k" link set eth0 up
		ip -n "fbh$ssh_k" link set lo up
		cat >"$1/sshd_config-$ssh_k" <<-END
			ListenAddress $ssh_ip
			HostKey $1/host_key
			AuthorizedKeysFile $1/id.pub
			StrictModes no
			UsePAM no
			PidFile $1/sshd-$ssh_k.pid
			PasswordAuthentication no
			MaxStartups 100
		END
		[ ! -d "$1/bin" ] || echo "SetEnv PATH=$1/bin:$PATH" \
			>>"$1/sshd_config-$ssh_k"
		echo "$ssh_ip $(cat "$1/host_key.pub")" >>"$1/known_hosts"
		ssh_host "$1" "$ssh_k"
	done
	cat >"$1/ssh_config" <<-END
		Host 10.77.0.*
		  User root
		  IdentityFile $1/id
		  IdentitiesOnly yes
		  UserKnownHostsFile $1/known_hosts
	END
}

# Until it is so, and no longer than a minute.
ssh_until() { # COMMAND...
	ssh_tries=0
	until "$@" 2>/dev/null; do
		ssh_tries=$((ssh_tries + 1))
		[ $ssh_tries -lt 600 ] || {
			echo "ssh_hosts: it never came to '$*'" >&2
			return 1
		}
		sleep 0.1
	done
}

ssh_is_gone() { # PID
	! kill -0 "$1"
}

ssh_host_stop() { # DIR K
	ssh_until test -s "$1/sshd-$2.pid"
	ssh_pid=$(cat "$1/sshd-$2.pid")
	kill "$ssh_pid"
	ssh_until ssh_is_gone "$ssh_pid"
	rm -f "$1/sshd-$2.pid"
}

ssh_hosts_down() { # DIR
	for ssh_file in "$1"/sshd-*.pid; do
		[ ! -s "$ssh_file" ] || kill "$(cat "$ssh_file")" 2>/dev/null || :
	done
}
