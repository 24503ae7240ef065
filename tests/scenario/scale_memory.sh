#!/bin/sh
# What fleetbak holds in memory does not grow with the fleet, nor with the
# size of a disk, nor with the files of a tree; holes cost nothing.  Memory is
# judged, time is not.
. "$(dirname "$0")/lib.sh"
case ${FB_VARIANT:-debug} in
debug | release) ;;
*)
	echo 'skip  a sanitizer has memory of its own'
	exit 77
	;;
esac

peak=$bin/scenario/peak
limit=65536 # KiB; the promise is four times as much, at any size

# measured <what> <command>...: it succeeds within the limit; $used is its peak.
measured() {
	what=$1
	shift
	expect 0 "$peak" "$work/peak" "$@"
	used=$(cat "$work/peak")
	[ "$used" -le "$limit" ] || fail "$what took $used KiB"
}

# begin_fleet <dir>: a configuration without machines.
begin_fleet() {
	make_fleet "$1" 0
	sed -i 's/jobs: 2/jobs: 8/' "$conf"
	expect 0 "$fb" -c "$conf" init
}

# add_disk <machine> <size>: a machine without commands, with an empty disk.
add_disk() {
	mkdir -p "$1"
	cat >"$1/machine.yaml" <<-END
		id: ${1##*/}
		volumes: [{name: root, kind: disk, path: disk.img}]
	END
	truncate -s "$2" "$1/disk.img"
}

# grown <what> <base> <KiB>: $used is at most so much above the base.
grown() {
	[ $((used - $2)) -le "$3" ] ||
		fail "$1 took $used KiB, $((used - $2)) more than for one machine"
}

begin_fleet "$work/one"
add_disk "$work/one/machines/m0" 64K
expect 0 "$fb" -c "$conf" download
measured "the plan of one machine" "$fb" -c "$conf" download -n
plan=$used
measured "the list of one machine" "$fb" -c "$conf" list --json
list=$used
measured "the status of one machine" "$fb" -c "$conf" status --json
status=$used

begin_fleet "$work/fleet"
i=0
while [ $i -lt 300 ]; do
	i=$((i + 1))
	add_disk "$work/fleet/machines/m$i" 64K
	echo "disk of m$i" | dd of="$work/fleet/machines/m$i/disk.img" \
		conv=notrunc status=none
done
measured "the plan of 300 machines" "$fb" -c "$conf" download -n
grown "the plan of 300 machines" "$plan" 5000
measured "a download of 300 machines" "$fb" -c "$conf" download
measured "an unchanged download" "$fb" -c "$conf" download
measured "list" "$fb" -c "$conf" list --json
grown "the list of 600 snapshots" "$list" 4000
measured "status" "$fb" -c "$conf" status --json
grown "the status of 300 machines" "$status" 4000
measured "verify" "$fb" -c "$conf" verify
measured "the plan of a restore" "$fb" -c "$conf" restore --run latest --all \
	--target "$work/none" -n
ok "a fleet of 300 machines"

begin_fleet "$work/disk"
add_disk "$work/disk/machines/big" 100G
echo begin | dd of="$work/disk/machines/big/disk.img" conv=notrunc status=none
echo end | dd of="$work/disk/machines/big/disk.img" conv=notrunc \
	bs=1M seek=99999 status=none
measured "a download of a disk of 100 GiB" "$fb" -c "$conf" download --json
[ "$(field read_bytes)" -lt 10000000 ] || fail "holes were read"
measured "verify --full" "$fb" -c "$conf" verify --full
measured "restore" "$fb" -c "$conf" restore big --target "$work/out"
image=$work/out/big/root.img
[ "$(stat -c %s "$image")" = 107374182400 ] || fail "the size is another"
[ "$(stat -c %b "$image")" -lt 20000 ] || fail "holes were written"
[ "$(dd if="$image" bs=1M skip=99999 count=1 status=none | head -1)" = end ] ||
	fail "the end differs"
ok "a sparse disk of 100 GiB"
