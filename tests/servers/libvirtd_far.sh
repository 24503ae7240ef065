# shellcheck shell=sh
# A libvirtd of libvirtd.sh as that of another host: reached by network, with an
# sshd beside it, while its guests' files are not in sight of fleetbak.  To be
# sourced by a scenario in a network and a mount namespace of its own, after
# servers.sh.
#
#	far_up: sets $far_uri
#	far <argument>...: fleetbak with $conf, where nothing of the guests is
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

far_ip=10.78.0.2

far_up() {
	far_dir=$work/far
	mkdir -p "$far_dir/tmp" /run/sshd
	ip link set lo up
	ip link add fbfar type veth peer name eth0 netns "$libvirt_pid"
	ip addr add 10.78.0.1/24 dev fbfar
	ip link set fbfar up
	far_net ip addr add $far_ip/24 dev eth0
	far_net ip link set eth0 up
	far_net ip link set lo up
	ssh-keygen -q -t ed25519 -N '' -f "$far_dir/host_key"
	ssh-keygen -q -t ed25519 -N '' -f "$far_dir/id"
	echo "$far_ip $(cat "$far_dir/host_key.pub")" >"$far_dir/known_hosts"
	cat >"$far_dir/sshd_config" <<-END
		ListenAddress $far_ip
		HostKey $far_dir/host_key
		AuthorizedKeysFile $far_dir/id.pub
		StrictModes no
		UsePAM no
		PidFile $far_dir/sshd.pid
		PasswordAuthentication no
		SetEnv TMPDIR=$far_dir/tmp
	END
	# One connection for all, as a user's configuration may say.
	cat >"$far_dir/ssh" <<-END
		#!/bin/sh
		exec ssh -o UserKnownHostsFile=$far_dir/known_hosts \
			-o ControlMaster=auto -o ControlPath=$far_dir/%C \
			-o ControlPersist=20 "\$@"
	END
	chmod +x "$far_dir/ssh"
	far_sshd
	far_uri="qemu+ssh://root@$far_ip/system?keyfile=$far_dir/id&command=$far_dir/ssh"
	await "libvirtd is not reached" "$libvirt_pid" far_answers
	# What fleetbak sees of the guests, and of what they boot.
	cat >"$far_dir/fleetbak" <<-END
		#!/bin/sh
		mount -t tmpfs tmpfs "$libvirt_dir"
		exec "$fb" "\$@"
	END
}

# far_certificates: before start_libvirtd, so that it listens for TLS; those of
# the client are where "pkipath" of $far_tls_uri says.
far_certificates() {
	far_pki=$work/pki
	mkdir "$far_pki"
	far_certificate ca fb-ca basicConstraints=critical,CA:TRUE \
		-addext keyUsage=critical,keyCertSign
	for far_side in server client; do
		far_certificate $far_side fb-$far_side \
			"subjectAltName=IP:$far_ip" \
			-addext "extendedKeyUsage=${far_side}Auth" \
			-addext basicConstraints=CA:FALSE \
			-CA "$far_pki/cacert.pem" -CAkey "$far_pki/cakey.pem"
	done
	export LIBVIRTD_OPTIONS=--listen
	LIBVIRTD_MORE="listen_tls = 1
		listen_tcp = 0
		ca_file = \"$far_pki/cacert.pem\"
		cert_file = \"$far_pki/servercert.pem\"
		key_file = \"$far_pki/serverkey.pem\""
	far_tls_uri="qemu+tls://$far_ip/system?pkipath=$far_pki"
}
far_certificate() { # <name> <common name> <extension> [option of openssl]...
	far_name=$1 far_cn=$2 far_extension=$3
	shift 3
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$far_cn" \
		-keyout "$far_pki/${far_name}key.pem" \
		-out "$far_pki/${far_name}cert.pem" \
		-addext "$far_extension" "$@" 2>"$work/openssl" ||
		fail "no certificate: $(cat "$work/openssl")"
}

far_net() {
	nsenter --net="/proc/$libvirt_pid/ns/net" "$@"
}

far_sshd() {
	nsenter --mount="/proc/$libvirt_pid/ns/mnt" \
		--pid="/proc/$libvirt_pid/ns/pid_for_children" \
		--net="/proc/$libvirt_pid/ns/net" sh -c "
		mkdir -p /run/sshd
		exec /usr/sbin/sshd -f '$far_dir/sshd_config' -E '$far_dir/sshd.log'"
}

far_answers() {
	virsh -q -c "$far_uri" hostname >"$far_dir/answer" 2>&1 </dev/null
}

far_fleet() { # as libvirt_fleet
	far_local_uri=$libvirt_uri libvirt_uri=$far_uri
	libvirt_fleet "$@"
	libvirt_uri=$far_local_uri
}

far() {
	unshare --mount sh "$far_dir/fleetbak" -c "$conf" "$@"
}
