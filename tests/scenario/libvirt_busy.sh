#!/bin/sh
# A guest that somebody else has a backup job on, or has paused, is left alone: it
# is neither stopped nor captured, and the job goes on.
#
# shellcheck disable=SC2034,SC2154 # the lab's variables
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_libvirtd
guest_boots=no guest_channel=no
for name in busy free; do
	make_guest $name
	expect 0 vir start $name
done
cat >"$work/backup.xml" <<-END
	<domainbackup mode='pull'>
	<server transport='unix' socket='$guests/kept.sock'/>
	<disks><disk name='vda' backup='yes' type='file' exportname='vda'>
	<scratch file='$guests/kept.scratch'/></disk>
	<disk name='vdb' backup='no'/><disk name='sda' backup='no'/></disks>
	</domainbackup>
END
cat >"$work/checkpoint.xml" <<-END
	<domaincheckpoint><name>theirs</name><disks>
	<disk name='vda' checkpoint='bitmap'/><disk name='vdb' checkpoint='no'/>
	<disk name='sda' checkpoint='no'/></disks></domaincheckpoint>
END
expect 0 vir backup-begin busy "$work/backup.xml" "$work/checkpoint.xml"

for capture in live stop; do
	libvirt_fleet "$work/$capture" \
		"scratch: $work/s, stop_timeout: 5s, capture: $capture"
	cd "$work/$capture"
	expect 0 "$fb" -c "$conf" init
	rc=$(status_of "$fb" -c "$conf" download --json -s busy)
	[ "$rc" -ne 0 ] || fail "$capture: a busy guest was backed up"
	[ "$(jq -r '.errors[0].id' "$work/stdout")" = E-DOMAIN-BUSY ] ||
		fail "$capture: $(jq -c .errors "$work/stdout")"
	guest_is busy running || fail "$capture: busy is $(guest_state busy)"
	vir backup-dumpxml busy | grep -qF kept.sock || fail "their job is gone"
	[ "$(guest_checkpoints busy)" = theirs ] ||
		fail "$capture: checkpoints: $(guest_checkpoints busy)"
done
ok "a guest with somebody else's job is refused, and the job goes on"

# A copy of one disk is no job of the guest, but would end with it.
expect 0 vir blockcopy free vdb "$guests/kept-copy" --transient-job --bandwidth 1
for capture in live stop; do
	conf=$work/$capture/fleetbak.yaml
	cd "$work/$capture"
	rc=$(status_of "$fb" -c "$conf" download --json -s free)
	[ "$rc" -ne 0 ] || fail "$capture: a guest whose disk is copied was backed up"
	[ "$(jq -r '.errors[0].id' "$work/stdout")" = E-DOMAIN-BUSY ] ||
		fail "$capture: $(jq -c .errors "$work/stdout")"
	guest_is free running || fail "$capture: free is $(guest_state free)"
	vir blockjob free vdb --raw | grep -q . || fail "$capture: the copy is gone"
done
expect 0 vir blockjob free vdb --abort
ok "so is a guest of which somebody copies a disk"

cd "$work/live"
conf=$work/live/fleetbak.yaml
poke free 0 8M 1M 0x11
expect 0 "$fb" -c "$conf" download -s free
nothing_left free
ok "another guest beside it is backed up"

expect 0 vir suspend free
rc=$(status_of "$fb" -c "$conf" download -s free)
[ "$rc" -ne 0 ] || fail "a paused guest was backed up"
guest_is free paused || fail "free is $(guest_state free)"
nothing_left free
ok "a guest that somebody paused stays paused"
