# shellcheck shell=sh
# What scenarios of a bucket behind a proxy share; sourced after lib.sh and
# servers.sh.
#
# shellcheck disable=SC2154 # fb, conf and work are the scenario's

# whole <what>: the newest run is verified, and its machines, which are up, come
# back as they are.
whole() {
	rules
	expect 0 "$fb" -c "$conf" verify --full
	expect 0 "$fb" -c "$conf" restore --run latest --all --target "$work/out" --yes
	for whole_m in machines/*; do
		cmp "$whole_m/disk.img" "$work/out/${whole_m#*/}/root.img" ||
			fail "$1: another disk"
		[ -e "$whole_m/up" ] || fail "$1: ${whole_m#*/} is down"
	done
	rm -r "$work/out"
	nothing_wrong
	ok "$1"
}
