#!/bin/sh
# systemd as it runs a host, for one test: in namespaces of its own, over this
# system's files, which it cannot change.
#
#	systemd.sh DIRECTORY SCRIPT
#
# DIRECTORY is /srv/lab in there: what is to be kept lies in it.  SCRIPT, a name
# in it, is run once the system is up, and its end is the end of the system.
# What it prints is in DIRECTORY/SCRIPT.out.
#
# Not there, because they would reach this host: /sys and /proc/sys are read
# only, nothing that would load modules, set kernel parameters or look for
# devices is started, and no controller limits what groups of processes take.
set -eu

[ "${2-}" ] || { sed -n '2,13s/^# *//p' "$0" >&2; exit 2; }
[ -n "${IN_NAMESPACE-}" ] || exec env IN_NAMESPACE=mounts unshare --mount \
	--propagation private sh "$0" "$@"

lab=$1 script=$2 root=$1/.root
mkdir -p "$root"
# Its groups of processes are below one of ours, and are taken away with it.
if [ "$IN_NAMESPACE" = mounts ]; then
	mount -t tmpfs tmpfs "$root"
	mkdir "$root/groups"
	mount -t cgroup -o none,name=systemd systemd "$root/groups"
	group=$(mktemp -d "$root/groups/fleetbak.XXXXXX")
	echo $$ >"$group/cgroup.procs"
	rc=0
	IN_NAMESPACE=all unshare --mount --pid --fork --kill-child --uts \
		--ipc --net --cgroup sh "$0" "$@" || rc=$?
	echo $$ >"$root/groups/cgroup.procs"
	find "$group" -depth -type d -exec rmdir {} +
	exit $rc
fi

mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/upper" "$root/work" "$root/root"
mount -t overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" \
	overlay "$root/root"
new=$root/root
mkdir -p "$new/srv/lab"
mount --bind "$lab" "$new/srv/lab"

mount -t proc proc "$new/proc"
mount -o bind,ro /proc/sys "$new/proc/sys"
# It would mount every controller there is, and all systems would share them.
printf '#subsys_name\thierarchy\tnum_cgroups\tenabled\n' >"$root/controllers"
mount --bind "$root/controllers" "$new/proc/cgroups"
mount -t sysfs -o ro sysfs "$new/sys"
mount -t tmpfs -o mode=755 tmpfs "$new/sys/fs/cgroup"
mkdir "$new/sys/fs/cgroup/systemd"
mount -t cgroup -o none,name=systemd systemd "$new/sys/fs/cgroup/systemd"
for dir in run tmp; do
	mount -t tmpfs tmpfs "$new/$dir"
done
mount -t tmpfs -o mode=755 tmpfs "$new/dev"
(
	cd "$new/dev"
	mkdir shm pts mqueue hugepages
	mknod -m 666 null c 1 3
	mknod -m 666 zero c 1 5
	mknod -m 666 full c 1 7
	mknod -m 666 random c 1 8
	mknod -m 666 urandom c 1 9
	mknod -m 666 tty c 5 0
	mount -t tmpfs tmpfs shm
	mount -t devpts -o newinstance,ptmxmode=666 devpts pts
	ln -s pts/ptmx ptmx
	ln -s /proc/self/fd fd
)

units=$new/etc/systemd/system
rm -rf "$units"
mkdir "$units"
for unit in systemd-sysctl systemd-modules-load systemd-udevd \
	systemd-udev-trigger systemd-random-seed systemd-hwdb-update \
	systemd-tmpfiles-clean systemd-timesyncd systemd-pstore; do
	ln -s /dev/null "$units/$unit.service"
done
cat >"$units/lab.service" <<-END
	[Unit]
	After=basic.target systemd-journald.service
	Requires=basic.target systemd-journald.service
	[Service]
	Type=oneshot
	StandardOutput=append:/srv/lab/$script.out
	StandardError=inherit
	ExecStart=/bin/sh /srv/lab/$script
	ExecStopPost=/bin/systemctl poweroff --force --force
END
: >"$lab/$script.out"

cd "$new"
mkdir old
pivot_root . old
umount -l old
# As a container's manager leaves it: what is mounted in a namespace of a
# service's, as its credentials are, is to be seen by all.
mount --make-rshared /
unset IN_NAMESPACE
export container=lab
# ... and would add groups of the other version.
export SYSTEMD_PROC_CMDLINE='systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1'
exec chroot . /lib/systemd/systemd --system --unit=lab.service \
	--log-target=journal --show-status=false
