#!/bin/sh
# A guest that writes on is captured without a stop: its agent freezes its file
# systems for the moment of it.  What comes back is of one instant and clean, what
# was written before is in it and what was written after is not.  An agent that
# hangs while it freezes, and a fleetbak that is killed, leave nothing frozen.
#
# shellcheck disable=SC2016,SC2034,SC2154 # the lab's variables; words for a guest
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires_faults

start_libvirtd
make_guest one 'fb.writer=16 fb.hook'
boot_guest one
uuid=$(guest_uuid one)
live_fleet() { # <directory> <more>
	libvirt_fleet "$work/$1" "scratch: $work/s, capture: live, $2"
	cd "$work/$1"
	[ -d repo ] || expect 0 "$fb" -c "$conf" init
}
thawed() {
	agent_answers one && ! guest_frozen one
}
left_nothing() {
	guest_is one running || fail "one is $(guest_state one)"
	await_guest "one is frozen" thawed
	nothing_left one
	[ -z "$(find "$work/s" -type s -o -type f)" ] ||
		fail "left in scratch: $(find "$work/s")"
}
live_fleet f 'freeze: require'

# A number on one disk, the same on the other, the next one: each is durable
# before the next is written, and is never none.
in_guest one '(n=0; while :; do n=$((n + 1)); for d in vda vdb; do
	printf %6d $n | dd of=/mnt/$d/number conv=notrunc,fsync; done; usleep 20000; done) >/dev/null 2>&1 &'
expect 0 "$fb" -c "$conf" plan
grep -q 'not stopped: file systems frozen' "$work/stdout" ||
	fail "the plan: $(cat "$work/stdout")"
# Not synced: that is what the freeze does.
for disk in vda vdb; do
	in_guest one "echo before >/mnt/$disk/before" || fail "cannot write"
done
expect 0 env FLEETBAK_CRASH_LOG="$work/log" "$bin/scenario/peak" "$work/peak" \
	"$fb" -c "$conf" download --json
[ "$(jq -r '.machines[0] | .result + " " + .consistency' "$work/stdout")" = 'ok frozen' ] ||
	fail "frozen: $(jq -c .machines "$work/stdout")"
for disk in vda vdb; do
	write_in_guest one /mnt/$disk/after after
done
left_nothing
[ "$(in_guest one 'wc -l </mnt/vda/boot.log')" -eq 1 ] || fail "it was stopped"
[ "$(jq -r '.machines[0] | .lifecycle + " " + .level' repo/runs/*/manifest.json)" = \
	'pause-in-create frozen' ] || fail "the manifest does not say it"
ok "a guest is captured while it runs, and its file systems were frozen"
# What it boots is 63 MiB.
[ "${FB_VARIANT:-debug}" != debug ] || [ "$(cat "$work/peak")" -le 81920 ] ||
	fail "a capture takes $(cat "$work/peak") KiB"

expect 0 "$fb" -c "$conf" restore "$uuid" --target "$work/out"
for disk in vda vdb; do
	image=$work/out/$uuid/$disk.img
	image_clean "$image"
	eval "$disk=$(image_cat "$image" number | tr -d ' ')"
done
[ "$vda" -eq "$vdb" ] || [ "$vda" -eq $((vdb + 1)) ] ||
	fail "not of one instant: $vda on vda, $vdb on vdb"
ok "both disks are of one instant, and clean"

# Killed while it is frozen.
step=$(awk '$2 == "driver" { n++ }
	$2 == "driver" && /libvirt backup-begin/ { print "driver." n; exit }' "$work/log")
[ -n "$step" ] || fail "no job was begun"
rc=$(status_of env FLEETBAK_CRASH="$step:kill" "$fb" -c "$conf" download)
[ "$rc" -eq 137 ] || fail "it was not killed: $rc"
expect 0 "$fb" -c "$conf" --lock-wait 60s recover
await_guest "a guest whose fleetbak was killed is frozen" thawed
expect 0 "$fb" -c "$conf" download --json
[ "$(jq -r '.machines[0].consistency' "$work/stdout")" = frozen ] ||
	fail "the next run: $(jq -c .machines "$work/stdout")"
left_nothing
ok "a fleetbak that is killed leaves nothing frozen"

# It thaws by itself, as Windows does after a while, before its job begins.
env FLEETBAK_FAULT="$step:stop" "$fb" -c "$conf" download --json \
	>"$work/stdout" 2>"$work/stderr" &
pid=$!
is_stopped() {
	kill -0 $pid 2>/dev/null || fail "it ended: $(cat "$work/stdout")"
	grep -q '^State:.*T' /proc/$pid/status
}
until_true "it does not come to its job" is_stopped
guest_frozen one || fail "it was not frozen"
vir domfsthaw one >/dev/null
kill -CONT $pid
rc=0
wait $pid || rc=$?
[ "$rc" -ne 0 ] || fail "it is said to be frozen: $(cat "$work/stdout")"
[ "$(jq -r '.errors[0].id' "$work/stdout")" = E-FREEZE ] ||
	fail "thawed by itself: $(jq -c .errors "$work/stdout")"
left_nothing
ok "a guest that thaws by itself was not frozen"

# Its agent hangs in a hook of the guest's before it freezes, and freezes late.
in_guest one ': >/run/hang'
for policy in try require; do
	live_fleet $policy "freeze: $policy, freeze_timeout: 1s"
	rc=$(status_of "$fb" -c "$conf" download --json)
	if [ $policy = try ]; then
		[ "$rc" -eq 0 ] || fail "it failed: $(cat "$work/stdout")"
		[ "$(jq -r '.machines[0].consistency' "$work/stdout")" = crash ] ||
			fail "hanging: $(jq -c .machines "$work/stdout")"
		grep -q 'were not frozen' "$work/stderr" || fail "said: $(cat "$work/stderr")"
	else
		[ "$rc" -ne 0 ] || fail "it is said to be captured"
		[ "$(jq -r '.errors[0].id' "$work/stdout")" = E-FREEZE ] ||
			fail "hanging: $(jq -c .errors "$work/stdout")"
	fi
	left_nothing
done
ok "an agent that hangs in freeze is thawed, and told of"

# Lost, and made anew from what was restored alone.
vir destroy one >/dev/null
for disk in a b; do
	rm "$guests/one-$disk.qcow2"
	expect 0 qemu-img convert -f raw -O qcow2 "$work/out/$uuid/vd$disk.img" \
		"$guests/one-$disk.qcow2"
done
expect 0 vir undefine one --checkpoints-metadata
expect 0 vir define "$work/out/$uuid/definition/domain.xml"
boot_guest one
for disk in vda vdb; do
	in_guest one "cd /mnt/$disk && sha256sum -cs SHA256SUMS && [ ! -e after ] &&
		cat before" >"$work/said" || fail "$disk: not what was frozen"
	[ "$(cat "$work/said")" = before ] || fail "$disk: $(cat "$work/said")"
done
ok "booted again, it has what was written before the freeze, and nothing after"
