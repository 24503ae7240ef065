# shellcheck shell=sh
# A libvirtd for one test, in mount, process and network namespaces of its own,
# with all its state in the test's directory; whatever stops it stops its guests
# too.  Sourced by servers.sh, which says what it offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

libvirtd_conf() {
	cat <<-END
		unix_sock_group = "root"
		unix_sock_rw_perms = "0700"
		auth_unix_ro = "none"
		auth_unix_rw = "none"
		${LIBVIRTD_MORE:-}
		log_level = 3
		log_outputs = "3:file:$libvirt_dir/log/libvirtd.log"
	END
}

# As root, because the namespaces are what confines it; without virtlogd.
libvirtd_qemu_conf() {
	cat <<-END
		security_driver = "none"
		user = "root"
		group = "root"
		swtpm_user = "root"
		swtpm_group = "root"
		dynamic_ownership = 0
		remember_owner = 0
		cgroup_controllers = [ ]
		namespaces = [ ]
		stdio_handler = "file"
		${LIBVIRT_QEMU_MORE:-}
	END
}

# start_libvirtd [name]: another name for another one beside it; the last one
# started is the one that is spoken to.
start_libvirtd() {
	requires_root
	requires libvirtd virsh qemu-system-x86_64 unshare nsenter
	libvirt_spaces='--mount --pid --net'
	# shellcheck disable=SC2086 # words
	unshare $libvirt_spaces --fork true 2>/dev/null || {
		echo 'skip  cannot make namespaces'
		exit 77
	}
	libvirt_dir=$work/libvirt${1:+.$1}
	mkdir -p "$libvirt_dir/etc" "$libvirt_dir/run" "$libvirt_dir/lib" \
		"$libvirt_dir/cache" "$libvirt_dir/log"
	libvirtd_conf >"$libvirt_dir/etc/libvirtd.conf"
	libvirtd_qemu_conf >"$libvirt_dir/etc/qemu.conf"
	libvirt_uri="qemu+unix:///system?socket=$libvirt_dir/run/libvirt-sock"
	# shellcheck disable=SC2086 # words
	serve libvirtd "$libvirt_dir/log" unshare $libvirt_spaces --fork \
		--kill-child=KILL --mount-proc \
		sh "$servers/libvirtd_init.sh" "$libvirt_dir"
	libvirt_pid=$serve_pid
	(await "libvirtd does not start" "$libvirt_pid" libvirtd_answers) || {
		tail "$libvirt_dir/log/"*
		exit 1
	}
}

vir() { # <command of virsh>...
	LIBVIRT_AUTOSTART=0 virsh -q -c "$libvirt_uri" "$@"
}

libvirtd_answers() {
	[ -S "$libvirt_dir/run/libvirt-sock" ] && vir hostname >/dev/null 2>&1
}

# in_spaces <command>...: among libvirtd's processes, and with its places.
in_spaces() {
	nsenter --mount="/proc/$libvirt_pid/ns/mnt" \
		--pid="/proc/$libvirt_pid/ns/pid_for_children" "$@"
}

# restart_libvirtd: killed, it comes again; its guests go on.
restart_libvirtd() {
	restart_pid=$(cat "$libvirt_dir/libvirtd.pid")
	in_spaces sh -c "kill -KILL $restart_pid"
	await "libvirtd does not come again" "$libvirt_pid" libvirtd_came "$restart_pid"
}
libvirtd_came() { # <the one before>
	[ "$(cat "$libvirt_dir/libvirtd.pid" 2>/dev/null)" != "$1" ] &&
		libvirtd_answers
}

# stop_libvirtd: with its guests, however they are.
stop_libvirtd() {
	kill -KILL "$libvirt_pid" 2>/dev/null || :
	wait "$libvirt_pid" 2>/dev/null || :
}

# kvm_or_tcg: "kvm" where a guest boots under it, otherwise "qemu".  That there
# is /dev/kvm says nothing; the answer is kept for as long as the host is up.
kvm_or_tcg() {
	kvm_now=$(cat /proc/sys/kernel/random/boot_id)
	exec 8>"$guest/kvm.lock"
	flock 8
	if [ "$(sed 1q "$guest/kvm" 2>/dev/null)" != "$kvm_now" ]; then
		kvm_is=qemu
		! kvm_boots || kvm_is=kvm
		printf '%s\n%s\n' "$kvm_now" "$kvm_is" >"$guest/kvm"
	fi
	sed -n 2p "$guest/kvm"
	exec 8>&-
}
kvm_boots() {
	grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ] || return 1
	rm -f "$work/kvm.out"
	timeout -k 1 10 qemu-system-x86_64 -accel kvm -M q35 -m 128 -nodefaults \
		-display none -no-reboot -serial "file:$work/kvm.out" \
		-kernel "$guest/vmlinux" -initrd "$guest/initrd.img" \
		-append "$guest_kernel fb.probe" >/dev/null 2>&1 </dev/null &&
		grep -q 'READY 0' "$work/kvm.out"
}

# The guests.  What make.sh made serves all tests, whatever the build.
guest=$bin/../guest
guest_kernel='console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests no_timer_check tsc=reliable 8250.nr_uarts=1 apparmor=0'
guest_type= # what the tests' domains are: kvm or qemu

guest_disk() { # <file> <target> [format [more]]
	cat <<-END
		<disk type='file' device='disk'>
		<driver name='qemu' type='${3:-qcow2}' cache='unsafe' discard='unmap'/>
		<source file='$(xml_text "$1")'/><target dev='$2' bus='virtio'/>${4:-}
		</disk>
	END
}

xml_text() {
	printf %s "$1" | sed "s/&/\&amp;/g;s/</\&lt;/g;s/'/\&apos;/g"
}

# make_guest <name> [words of the kernel's command line]: define a guest with
# two disks, <guests>/<name>-a.qcow2 and -b.qcow2, and an empty cdrom.
# $guest_devices is XML of further ones; with $guest_channel=no there is no way
# to an agent; with $guest_boots=no there is nothing it would boot.
make_guest() {
	requires jq debugfs e2fsck qemu-img
	guest_ready_made
	guests=$libvirt_dir/guests
	mkdir -p "$guests"
	for make_guest_disk in a b; do
		[ -e "$guests/$1-$make_guest_disk.qcow2" ] ||
			cp "$guest/disk.qcow2" "$guests/$1-$make_guest_disk.qcow2"
	done
	guest_xml "$@" >"$guests/$1.xml"
	vir define "$guests/$1.xml" >"$work/define.out" 2>&1 ||
		fail "cannot define $1: $(cat "$work/define.out")"
	guest_sources "$1" >"$guests/$1.sources"
}
guest_ready_made() {
	[ "$(uname -m)" = x86_64 ] || {
		echo 'skip  the guest is for x86_64'
		exit 77
	}
	[ -s "$guest/made" ] || fail "there is no guest: make guest"
	guest=$(cd "$guest" && pwd -P)
	[ -n "$guest_type" ] || guest_type=$(kvm_or_tcg)
}
guest_xml() { # as make_guest
	cat <<-END
		<domain type='$guest_type'><name>$(xml_text "$1")</name>
		<memory unit='MiB'>${guest_memory:-128}</memory><vcpu>1</vcpu>
		<os><type arch='x86_64' machine='q35'>hvm</type>
	END
	[ "${guest_boots:-yes}" = no ] || cat <<-END
		<kernel>$guest/vmlinux</kernel><initrd>$guest/initrd.img</initrd>
		<cmdline>$guest_kernel fb.disks=2 ${2:-}</cmdline>
	END
	cat <<-END
		</os><features><acpi/></features>
		<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot>
		<on_crash>destroy</on_crash>
		<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
		$(guest_disk "$guests/$1-a.qcow2" vda)
		$(guest_disk "$guests/$1-b.qcow2" vdb)
		<disk type='file' device='cdrom'><target dev='sda' bus='scsi'/><readonly/></disk>
		<controller type='scsi' model='virtio-scsi'/>
		<controller type='usb' model='none'/><memballoon model='none'/>
		<serial type='file'><source path='$(xml_text "$guests/$1.console")'/></serial>
	END
	[ "${guest_channel:-yes}" = no ] || cat <<-END
		<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
	END
	printf '%s\n' "${guest_devices:-}" '</devices></domain>'
}

# boot_file <file>: make one that QEMU takes for a kernel.
boot_file() {
	truncate -s 16K "$1"
	printf 'HdrS\017\002' | dd of="$1" bs=1 seek=514 conv=notrunc status=none
	printf '\377\377\377\067' | dd of="$1" bs=1 seek=556 conv=notrunc status=none
}

# boot_guest <name>...: all at once, and wait for their agents.
boot_guest() {
	for boot_name; do
		vir start "$boot_name" >"$work/start.out" 2>&1 ||
			fail "cannot start $boot_name: $(cat "$work/start.out")"
	done
	for boot_name; do
		await_agent "$boot_name"
	done
}

# guest_io <name> <disk, 0 is the first> <command of qemu-io>: done to the disk
# behind the guest's back, as if it had done so.
guest_io() {
	vir qemu-monitor-command "$1" --hmp \
		"qemu-io -d /machine/peripheral/virtio-disk$2/virtio-backend \"$3\"" \
		>"$work/poke" 2>&1 && ! grep -qi 'error\|fail' "$work/poke" ||
		fail "cannot write to $1: $(cat "$work/poke")"
}
# poke <name> <disk> <offset> <length> <byte>: so many of them.
poke() {
	guest_io "$1" "$2" "write -P $5 $3 $4"
}

# await_guest <what fails> <command>...: until it succeeds, 4 minutes at most:
# an emulated guest beside other tests is a slow one.
await_guest() {
	await_guest_what=$1
	await_guest_end=$(($(date +%s) + 240))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt $await_guest_end ] || {
			tail -n 5 "$guests"/*.console "$libvirt_dir/log/libvirtd.log"
			fail "$await_guest_what"
		}
		sleep 0.1
	done
}

await_agent() { # <name>
	await_guest "the agent of $1 does not answer" agent_answers "$1"
}
agent_answers() {
	agent_ask "$1" guest-ping >/dev/null 2>&1
}

await_boot() { # <name>: as far as the serial line says, without an agent
	await_guest "$1 does not boot" grep -q '^READY ' "$guests/$1.console"
}

# libvirt_fleet <directory> [more of the source, as in a flow map]: as make_fleet,
# of the guests there are; sets $conf.
libvirt_fleet() {
	make_fleet "$1" 0
	sed -i "s|^  lab: .*|  lab: {driver: libvirt, uri: \"$(printf %s "$libvirt_uri" |
		sed 's/&/\\&/g')\"${2:+, $2}}|" "$conf"
}

guest_uuid() { # <name>
	vir domuuid "$1" | sed '/^$/d'
}

guest_state() { # <name>: "running", "shut off", "paused", ...
	vir domstate "$1"
}
guest_is() { # <name> <state>
	[ "$(guest_state "$1")" = "$2" ]
}
await_state() { # <name> <state>
	await_guest "$1 is not $2 but $(guest_state "$1")" guest_is "$1" "$2"
}

stop_guest() { # <name>...: by the power button
	for stop_name; do
		vir shutdown "$stop_name" --mode acpi >/dev/null
	done
	for stop_name; do
		await_state "$stop_name" 'shut off'
	done
}

# agent_ask <name> <command> [arguments as JSON]: the answer's document.
agent_ask() {
	vir qemu-agent-command "$1" --timeout 60 "$(jq -nc --arg command "$2" \
		--argjson arguments "${3:-{\}}" \
		'{execute: $command, arguments: $arguments}')"
}

# in_guest <name> <script>: run it there; its output and its status.
in_guest() {
	in_guest_pid=$(agent_ask "$1" guest-exec "$(jq -nc --arg script "$2" \
		'{path: "/bin/sh", arg: ["-c", $script], "capture-output": true}')" |
		jq -e .return.pid) || fail "the agent of $1 starts nothing"
	await_guest "in $1: $2" in_guest_ended "$1" "$in_guest_pid"
	jq -r '.return["out-data"] // empty' <"$work/in_guest" | base64 -d
	jq -r '.return["err-data"] // empty' <"$work/in_guest" | base64 -d >&2
	return "$(jq '.return.exitcode // 255' <"$work/in_guest")"
}
in_guest_ended() {
	agent_ask "$1" guest-exec-status "{\"pid\": $2}" >"$work/in_guest" &&
		jq -e .return.exited <"$work/in_guest" >/dev/null
}

# write_in_guest <name> <file> <text>: and make it durable.
write_in_guest() {
	in_guest "$1" "echo '$3' >'$2' && sync" || fail "cannot write $2 in $1"
}

guest_frozen() { # <name>
	[ "$(agent_ask "$1" guest-fsfreeze-status | jq -r .return)" = frozen ]
}

guest_sources() { # <name>: targets and files, of the definition
	vir domblklist --inactive "$1" | sed 's/ *$//'
}

guest_checkpoints() { # <name>: one a line
	vir checkpoint-list --name "$1" | sed '/^$/d'
}

guest_job() { # <name>: "None", or the kind of the job that runs
	vir domjobinfo "$1" | sed -n 's/^Job type: *\([^ ]*\).*/\1/p'
}
guest_idle() { # <name>: no job runs
	case $(guest_job "$1") in
	None | Completed) ;;
	*) return 1 ;;
	esac
}

# nothing_left <name>...: no job, block job, overlay, snapshot, freeze, socket
# or file is there that was not when it was made.  Checkpoints are another
# matter: guest_checkpoints says which there are.
nothing_left() {
	for left_name; do
		: >"$work/left"
		[ -z "$(vir snapshot-list --name "$left_name" | sed '/^$/d')" ] ||
			echo "a snapshot" >>"$work/left"
		guest_sources "$left_name" | cmp -s - "$guests/$left_name.sources" ||
			guest_sources "$left_name" >>"$work/left"
		guest_is "$left_name" 'shut off' || {
			guest_idle "$left_name" ||
				echo "a job: $(guest_job "$left_name")" >>"$work/left"
			vir domblklist "$left_name" | sed 's/ *$//' |
				cmp -s - "$guests/$left_name.sources" ||
				vir domblklist "$left_name" >>"$work/left"
			sed -n 's/^ *\(vd[a-z]\) .*/\1/p' \
				"$guests/$left_name.sources" | while read -r left_disk; do
				vir blockjob "$left_name" "$left_disk" --raw
			done 2>/dev/null | sed '/^$/d' >>"$work/left"
			! agent_answers "$left_name" || ! guest_frozen "$left_name" ||
				echo frozen >>"$work/left"
		}
		[ ! -s "$work/left" ] || fail "left at $left_name: $(cat "$work/left")"
	done
	find "$guests" -mindepth 1 ! -name '*-[ab].qcow2' ! -name '*.xml' \
		! -name '*.sources' ! -name '*.console' ! -path '*/kept*' >"$work/left"
	[ ! -s "$work/left" ] || fail "files are left: $(cat "$work/left")"
}

# raw_image <image>: as <image>.raw, whatever its format; sets $raw_image.
raw_image() {
	raw_image=$1.raw
	qemu-img convert -U -O raw "$1" "$raw_image"
}

# image_clean <raw image>: the file system in it has no error.
image_clean() {
	e2fsck -fn "$1" >"$work/e2fsck" 2>&1 ||
		fail "$1 is not clean: $(cat "$work/e2fsck")"
}

# image_cat <raw image> <file>: fails when it is not there.
image_cat() {
	debugfs -R "cat $2" "$1" 2>"$work/debugfs" || return 1
	! grep -q 'File not found' "$work/debugfs"
}
image_has() { # <raw image> <file>
	image_cat "$1" "$2" >/dev/null
}
