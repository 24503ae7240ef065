# shellcheck shell=sh
# A daemon of LXD with everything of its own.  To be sourced by a scenario that
# runs in a network and a mount namespace of its own (unshare --net --mount).
#
#	lxd_up DIR [PORT]: LXD in DIR/lxd, which lxc then talks to; with a pool
#	"default" of directories and an image "bb" (busybox, made here).  With a
#	port it listens there with TLS too, and trusts DIR/client.crt, .key.
#	Fails where the kernel lets no container run.
#	lxd_down DIR
#
# Outside of DIR stay, until lxd_down, the groups of running containers.

lxd_image() { # DIR
	lxd_root=$1/image/rootfs
	mkdir -p "$lxd_root/bin" "$lxd_root/sbin" "$lxd_root/etc" \
		"$lxd_root/dev" "$lxd_root/proc" "$lxd_root/sys" \
		"$lxd_root/tmp" "$lxd_root/run" "$lxd_root/root" \
		"$lxd_root/data"
	cp "$(command -v busybox)" "$lxd_root/bin/busybox"
	for lxd_applet in $(busybox --list); do
		case $lxd_applet in
		busybox | init) ;;
		*) ln -sf busybox "$lxd_root/bin/$lxd_applet" ;;
		esac
	done
	cat >"$lxd_root/sbin/init" <<-'END'
		#!/bin/sh
		trap 'echo down >>/data/boots; exit 0' PWR TERM INT
		echo up >>/data/boots
		while :; do
			sleep 3600 &
			wait $!
		done
	END
	chmod 755 "$lxd_root/sbin/init"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$lxd_root/etc/passwd"
	echo 'root:x:0:' >"$lxd_root/etc/group"
	cat >"$1/image/metadata.yaml" <<-END
		architecture: $(uname -m)
		creation_date: 1700000000
		properties: {description: busybox, os: busybox, release: "1"}
	END
	tar -C "$1/image" -cf "$1/bb.tar" metadata.yaml rootfs
	lxc -q image import "$1/bb.tar" --alias bb >/dev/null
}

lxd_listen() { # DIR PORT
	lxc -q config set core.https_address "127.0.0.1:$2"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-days 30 -subj /CN=fleetbak -keyout "$1/client.key" \
		-out "$1/client.crt" 2>/dev/null
	lxc -q config trust add "$1/client.crt"
}

lxd_up() { # DIR [PORT]
	mkdir -p "$1/lxd" "$1/home"
	# Locks and logs of lxc, and what lxc remembers, are nobody else's.
	mount -t tmpfs tmpfs /run
	HOME=$1/home LXD_DIR=$1/lxd
	export HOME LXD_DIR
	ip link set lo up
	find /sys/fs/cgroup -maxdepth 2 -name lxc.pivot >"$1/pivots"
	lxd --group root --logfile "$1/lxd.log" >"$1/lxd.out" 2>&1 &
	echo $! >"$1/lxd.pid"
	lxd waitready --timeout=60 >/dev/null 2>&1 || return 1
	lxd init --preseed >/dev/null 2>&1 <<-END || return 1
		storage_pools:
		- {name: default, driver: dir}
		profiles:
		- name: default
		  devices:
		    root: {path: /, pool: default, type: disk}
	END
	lxd_image "$1" || return 1
	[ -z "${2:-}" ] || lxd_listen "$1" "$2"
}

# Groups that lxc leaves behind, where nobody is in them.
lxd_groups() { # NAME...
	for lxd_name; do
		find /sys/fs/cgroup -depth -type d \
			\( -path "*/lxc.payload.$lxd_name" -o \
			-path "*/lxc.payload.$lxd_name/*" -o \
			-path "*/lxc.monitor.$lxd_name" -o \
			-path "*/lxc.monitor.$lxd_name/*" \) \
			-exec rmdir {} + 2>/dev/null || :
	done
}

lxd_down() { # DIR
	[ -s "$1/lxd.pid" ] || return 0
	lxd_names=$(timeout 60 lxc list -f csv -c n) || lxd_names=
	for lxd_name in $lxd_names; do
		timeout 60 lxc -q delete -f "$lxd_name" || :
	done
	lxd_pid=$(cat "$1/lxd.pid")
	timeout 60 lxd shutdown -t 20 >/dev/null 2>&1 ||
		kill "$lxd_pid" 2>/dev/null || :
	wait "$lxd_pid" 2>/dev/null || :
	# shellcheck disable=SC2086 # names
	lxd_groups $lxd_names
	# One that stood there before is another daemon's.
	[ -s "$1/pivots" ] || find /sys/fs/cgroup -maxdepth 2 \
		-name lxc.pivot -exec rmdir {} + 2>/dev/null || :
	for lxd_mount in shmounts devlxd guestapi; do
		umount -l "$1/lxd/$lxd_mount" 2>/dev/null || :
	done
}
