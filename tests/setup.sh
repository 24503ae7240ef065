#!/bin/sh
# Install what building (setup.sh build), testing (setup.sh all) and measuring
# (setup.sh bench) need, from Debian's packages.  Asks for nothing when all of it
# is there already.
set -eu

build='gcc libc6-dev make pkg-config libarchive-dev libzstd-dev libssl-dev
	libjansson-dev libyaml-dev libcurl4-openssl-dev libexpat1-dev libxml2-dev
	libvirt-dev libnbd-dev libmicrohttpd-dev zstd openssl'
test='libcmocka-dev shellcheck cppcheck clang clang-tidy mandoc man-db acl
	prometheus systemd
	attr strace jq bash zsh fish procps util-linux e2fsprogs xfsprogs
	btrfs-progs postgresql xz-utils bzip2 file git bsdutils psmisc
	radosgw ceph-mon ceph-osd ceph-common curl swift-proxy swift-account
	swift-container swift-object memcached etcd-server nghttp2-proxy
	tinyproxy rclone slurmctld slurmd slurm-client munge
	qemu-system-x86 qemu-utils libvirt-daemon libvirt-clients libnbd-bin lz4
	swtpm swtpm-tools python3 openssh-client openssh-server iproute2
	iptables lxd busybox-static'
bench='jq restic borgbackup casync rclone radosgw ceph-mon ceph-osd ceph-common
	curl util-linux'

# Hashing in many lanes; the library is one of x86's, and fleetbak does without.
[ "$(dpkg --print-architecture)" != amd64 ] || build="$build libipsec-mb-dev"

case ${1:-all} in
build) wanted=$build ;;
bench) wanted="$build $bench" ;;
all) wanted="$build $test" ;;
*)
	echo "usage: setup.sh [build|bench|all]" >&2
	exit 2
	;;
esac

missing=
for package in $wanted; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
		grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
	as_root="env"
elif command -v sudo >/dev/null; then
	as_root='sudo env'
else
	echo "fleetbak: these packages are missing, and this is neither root" \
		"nor is there sudo:" >&2
	echo "  apt-get install -y$missing" >&2
	exit 1
fi

install() {
	# shellcheck disable=SC2086 # words
	$as_root DEBIAN_FRONTEND=noninteractive apt-get install -y \
		-o Acquire::Retries=5 --no-install-recommends $missing
}

echo "installing:$missing"
# A policy of 101 keeps a server's package from starting it: tests start their
# own, in directories of their own.
policy=/usr/sbin/policy-rc.d
ours=
[ -e "$policy" ] || {
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
	ours=yes
}
rc=0
# A mirror may be away for a while, or have other versions than its list.
tries=1
until install >/dev/null; do
	tries=$((tries + 1))
	[ $tries -le 4 ] || {
		rc=1
		break
	}
	[ $tries -eq 2 ] || sleep 20
	$as_root apt-get update -o Acquire::Retries=5 >/dev/null || :
done
[ -z "$ours" ] || $as_root rm -f "$policy"
exit $rc
