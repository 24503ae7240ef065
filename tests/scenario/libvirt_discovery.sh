#!/bin/sh
# The guests of a hypervisor as the fleet sees them: any name, any disk, with its
# state; described the same while they run, and told from what they were before.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; names with a $
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_libvirtd
guest_boots=no guest_channel=no
libvirt_fleet "$work/f"
cd "$work/f"

# discovered <name> <jq>: of the machine of that name, in what was asked last.
discovered() {
	jq -r --arg name "$1" ".data[] | select(.name == \$name) | $2" \
		"$work/stdout"
}
discover() { # <argument>...: whatever it says of single machines
	discover_rc=$(status_of "$fb" -c "$conf" discover --json "$@")
	jq -e .data "$work/stdout" >"$work/data" || fail "exit $discover_rc"
}
topology_of() { # <name>: its line, of all guests'
	topology_uuid=$(guest_uuid "$1")
	"$fb" -c "$conf" topology 2>"$work/stderr" | grep -F " 36:$topology_uuid "
}

discover
[ "$(jq '.data | length' "$work/stdout")" -eq 0 ] || fail "guests from nowhere"
ok "where there is no guest, there is none"

odd='web $HOME "two" & co'
make_guest "$odd"
make_guest up
expect 0 vir start up
discover
[ "$(jq '.data | length' "$work/stdout")" -eq 2 ] || fail "not two guests"
[ "$(discovered "$odd" .state)" = down ] || fail "$odd is not down"
[ "$(discovered up .state)" = up ] || fail "up is not up"
[ "$(discovered "$odd" .machine)" = "lab/$(guest_uuid "$odd")" ] ||
	fail "the id is not the UUID"
discover -s "$odd"
[ "$(jq -r '.data[].name' "$work/stdout")" = "$odd" ] ||
	fail "by its name: $(jq -r '.data[].name' "$work/stdout")"
ok "guests are found by any name, up or down"

size=$((64 * 1048576))
for name in "$odd" up; do
	topology_of "$name" >"$work/topology"
	grep -q " 10:definition definition 0 3:sda cdrom 0 3:vda disk $size 3:vdb disk $size\$" \
		"$work/topology" || fail "$name: $(cat "$work/topology")"
done
ok "with both disks, an empty cdrom, and their definition"

# The same bytes whatever it does, other ones when it is another machine.
topology_of up >"$work/was"
vir destroy up >/dev/null
topology_of up | cmp -s - "$work/was" || fail "it is another one when it is off"
expect 0 vir start up --paused
topology_of up | cmp -s - "$work/was" || fail "it is another one when it runs"
discover
[ "$(discovered up .state)" = unknown ] || fail "paused is $(discovered up .state)"
restart_libvirtd
topology_of up | cmp -s - "$work/was" ||
	fail "it is another one after libvirtd came again"
vir destroy up >/dev/null
expect 0 vir setvcpus up 2 --maximum --config
! topology_of up | cmp -s - "$work/was" || fail "a second processor is not seen"
ok "a definition is the same on, off and paused, and another when it changes"

# What there is of disks.
qemu-img create -q -f qcow2 "$guests/kept-base.qcow2" 32M
qemu-img create -q -f qcow2 -b "$guests/kept-base.qcow2" -F qcow2 \
	"$guests/linked-b.qcow2"
make_guest linked
mkdir "$guests/kept pool"
expect 0 vir pool-create-as 'the pool' dir --target "$guests/kept pool"
expect 0 vir vol-create-as 'the pool' 'a $volume.qcow2' 8M --format qcow2
truncate -s 4M "$guests/kept-shared" "$guests/kept-read-only"
guest_devices="
	<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/>
	<source pool='the pool' volume='a \$volume.qcow2'/>
	<target dev='vdc' bus='virtio'/></disk>
	$(guest_disk "$guests/kept-odd" vdg raw)"
head -c 1000001 /dev/zero >"$guests/kept-odd"
make_guest pooled
expect 0 vir start pooled --paused
guest_devices="
	$(guest_disk "$guests/kept-shared" vdd raw '<shareable/>')
	$(guest_disk "$guests/kept-read-only" vde raw '<readonly/>')
	<disk type='network' device='disk'><driver name='qemu' type='raw'/>
	<source protocol='nbd' name='x'><host name='127.0.0.1' port='9'/></source>
	<target dev='vdf' bus='virtio'/></disk>
	<disk type='block' device='lun'><driver name='qemu' type='raw'/>
	<source dev='/dev/null'/><target dev='sdb' bus='scsi'/></disk>
	<disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>"
make_guest many
guest_devices=
topology_of linked | grep -q " 3:vdb disk $((32 * 1048576))\$" ||
	fail "linked: $(topology_of linked)"
topology_of many >"$work/topology"
for disk in '3:fda floppy 0' '3:sda cdrom 0'; do
	grep -q " $disk" "$work/topology" || fail "$disk: $(cat "$work/topology")"
done
topology_of pooled | grep -q " 3:vdc disk $((8 * 1048576)) " ||
	fail "pooled: $(topology_of pooled)"
topology_of pooled | grep -q " 3:vdg disk 1000448\$" ||
	fail "pooled, in whole sectors: $(topology_of pooled)"
topology_of pooled >"$work/was"
vir destroy pooled >/dev/null
topology_of pooled | cmp -s - "$work/was" || fail "pooled: another one when off"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download -n
cp "$work/stdout" "$work/plan"
for why in "vdd: raw '$guests/kept-shared'; not captured: it is shared" \
	"vde: raw '$guests/kept-read-only'; not captured: the guest cannot write" \
	"vdf: raw 'nbd:x@127.0.0.1:9'; not captured: a network disk .*that is off" \
	"sdb: raw '/dev/null'; not captured: it is passed through" \
	'fda: removable: listed, never captured' \
	"vdc: qcow2 '.*a \$volume.qcow2', in pool 'the pool'; read while"; do
	grep -q "^ *$why" "$work/plan" || fail "no $why: $(cat "$work/plan")"
done
ok "disks on other images, in pools, removable, left out: each is what it is"

# Not defined, it is gone when it stops.
sed 's|<name>up</name>|<name>brief</name>|' "$guests/up.xml" >"$work/brief.xml"
expect 0 vir create "$work/brief.xml"
discover
[ "$(discovered brief .state)" = up ] || fail "a transient guest is not there"
vir destroy brief >/dev/null
discover
[ -z "$(discovered brief .state)" ] || fail "a guest that is gone is there"
ok "a guest that is not defined comes and goes"

expect 0 vir start up
expect 0 vir managedsave up
discover
[ "$(discovered up .error.id)" = E-DOMAIN-SAVED ] ||
	fail "saved: $(discovered up .error)"
expect 0 vir managedsave-remove up
discover
[ "$(discovered up .error.id)" != E-DOMAIN-SAVED ] || fail "it is saved still"
ok "a guest that was saved with its memory is refused"

libvirt_fleet "$work/refuse" 'uncaptured: refuse'
discover
for name in "$odd" linked many; do
	echo "$name: $(discovered "$name" '.error.id // "none"')"
done >"$work/refused"
grep -qx 'many: E-DISK-LEFT-OUT' "$work/refused" &&
	[ "$(grep -c E-DISK-LEFT-OUT "$work/refused")" -eq 1 ] ||
	fail "refused: $(cat "$work/refused")"
libvirt_fleet "$work/some" 'machines: ["web*", "l[a-i]nked"]'
discover
[ "$(jq -r '.data[].name' "$work/stdout" | sort | tr '\n' ,)" = "linked,$odd," ] ||
	fail "the patterns: $(jq -r '.data[].name' "$work/stdout")"
ok "a source says which machines, and what a disk left out means"

# Of another host, as ssh reaches it.
mkdir -p /run/sshd
for key in host user; do
	ssh-keygen -q -t ed25519 -N '' -f "$work/$key"
done
free_ports 1
port=$free_ports
cat >"$work/sshd_config" <<-END
	Port $port
	ListenAddress 127.0.0.1
	HostKey $work/host
	AuthorizedKeysFile $work/user.pub
	StrictModes no
	UsePAM no
	PidFile none
END
echo "[127.0.0.1]:$port $(cat "$work/host.pub")" >"$work/known_hosts"
printf '#!/bin/sh\nexec ssh -o UserKnownHostsFile=%s "$@"\n' \
	"$work/known_hosts" >"$work/ssh"
chmod +x "$work/ssh"
in_spaces sh -c 'exec setpriv --pdeathsig KILL "$@"' - \
	"$(command -v sshd)" -D -f "$work/sshd_config" -E "$work/sshd.log" &
sshd_pid=$!
server_pids="$server_pids $sshd_pid"
here_uri=$libvirt_uri
libvirt_uri="qemu+ssh://root@127.0.0.1:$port/system?keyfile=$work/user&command=$work/ssh&no_tty=1"
ssh_answers() {
	vir list --all --name >"$work/list" 2>"$work/stderr"
}
(await "no libvirt by ssh" $sshd_pid ssh_answers) || {
	cat "$work/stderr" "$work/sshd.log"
	exit 1
}
libvirt_fleet "$work/far"
discover
[ "$(jq -r '.data[].name' "$work/stdout" | sort)" = "$(sed '/^$/d' "$work/list" | sort)" ] ||
	fail "by ssh: $(jq -r '.data[].name' "$work/stdout")"
[ "$(discovered up .error)" = null ] || fail "by ssh: $(discovered up .error)"
libvirt_uri=$here_uri
kill $sshd_pid
ok "guests of another host are described as those of this one"

stop_libvirtd
conf=$work/f/fleetbak.yaml
rc=$(status_of "$fb" -c "$conf" discover --json)
[ "$rc" -ne 0 ] && [ "$rc" -lt 128 ] || fail "exit $rc without a libvirtd"
[ "$(jq -r '.errors[0].id' "$work/stdout")" = E-SRC-UNREACHABLE ] ||
	fail "without a libvirtd: $(jq -c .errors "$work/stdout")"
ok "a hypervisor that is not there is said to be unreachable"
