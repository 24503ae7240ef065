#!/bin/sh
# A gateway whose disks are full for real: its writes and its deletions hang,
# while what is there can be read.  No run leaves a machine down; each says what
# to do, a restore works, and once there is room everything goes on.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

export RGW_BYTES=$((256 << 20))
start_radosgw
s3_make bucket
s3_env
start_proxy main
s3_at=$proxy_url
s3_fleet "$work/f" 2 bucket
cd "$work/f"
sed -i 's/^    region: us-east-1/&\n    retry_for: 4s/' "$conf"
echo 'retention: {keep: "last 1", min: 1, grace: 0s, max_remove: "100%"}' >>"$conf"
expect 0 "$fb" -c "$conf" init

# full_from <part>: the disks are full from there on.
full_from() {
	for full_from_what in nearfull backfillfull full; do
		rgw_ceph ceph osd "set-$full_from_what-ratio" "$1" \
			>"$work/ratio" 2>&1 || fail "$(cat "$work/ratio")"
	done
}
is_full() {
	rgw_ceph ceph health detail 2>/dev/null | grep -q OSD_FULL
}
has_room() {
	! is_full
}
change() {
	head -c 12M /dev/urandom >machines/m1/disk.img
}
up() { # <what>
	for up_m in m1 m2; do
		[ -e machines/$up_m/up ] || fail "$1: $up_m is down"
	done
}
# refused <what> <argument>...: it does not go, and says why.
refused() {
	refused_what=$1
	shift
	expect 15 "$fb" -c "$conf" "$@"
	grep -q 'is full or overloaded' "$work/stderr" ||
		fail "$refused_what: it does not say what to do: $(cat "$work/stderr")"
	up "$refused_what"
}
# Who reads without having announced itself says so, and why.
unprotected() { # <what>
	grep -q 'warning:.*could not be announced.*prune.*no answer' \
		"$work/stderr" || fail "$1 is silent: $(cat "$work/stderr")"
}

for n in 1 2; do
	change
	cp machines/m1/disk.img "$work/disk$n"
	expect 0 "$fb" -c "$conf" download
done

# A reader whose announcement nobody answers is not silent until its patience is
# over, an hour here, but says at once what it waits for; answered, it goes on.
sed 's/retry_for: 4s/retry_for: 1h/' "$conf" >patient.yaml
rules 'hang method=PUT path=*/sessions/*'
"$fb" -c patient.yaml verify --full >"$work/run.out" 2>&1 &
run=$!
until_true "it waits in silence" grep -q \
	"warning:.*does not answer yet.*announcement of this verify" "$work/run.out"
[ -d "/proc/$run" ] || fail "it did not wait: $(cat "$work/run.out")"
rules
wait $run || fail "answered, it fails: $(cat "$work/run.out")"
! grep -q 'could not be announced' "$work/run.out" ||
	fail "it was announced: $(cat "$work/run.out")"
[ "$(grep -c warning: "$work/run.out")" -eq 1 ] || fail "$(cat "$work/run.out")"
ok "a reader that waits for an answer says so at once"

# Full before anything is begun.
full_from 0.05
until_true "it does not get full" is_full
change
: >machines/m1/effects
refused "a new run" download
[ ! -s machines/m1/effects ] || fail "a machine was stopped for nothing"
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
cmp "$work/disk2" "$work/out/m1/root.img" || fail "another disk"
unprotected "a restore"
expect 0 "$fb" -c "$conf" list
expect 0 "$fb" -c "$conf" verify --full
unprotected "a verification"
refused "a prune" prune -y
expect 15 "$fb" -c "$conf" doctor
grep -q 'FAIL.*is full or overloaded' "$work/stdout" ||
	fail "doctor: $(cat "$work/stdout")"
ok "full from the start: nothing is begun, and what is there comes back"

# The operator gives it a little room.  What hung is done now, and what was
# given up as well: nobody waits for a session of a command that has ended.
full_from 0.9
until_true "it stays full" has_room
expect 0 "$fb" -c "$conf" download
expect 0 "$fb" -c "$conf" prune -y
expect 0 "$fb" -c "$conf" verify --full
[ "$(s3_keys bucket fleet/commits/ | wc -l)" -eq 3 ] ||
	fail "one run was committed twice"
expect 0 "$fb" -c "$conf" list runs -o tsv --no-header
[ "$(wc -l <"$work/stdout")" -eq 1 ] || fail "prune kept $(cat "$work/stdout")"
ok "with room it goes on, and prune makes more"

# Full in the middle, with machines that were stopped for it.
change
rules 'slow-upload=300000 method=PUT path=*/packs/*'
: >"$proxy_log"
: >machines/m1/effects
"$fb" -c "$conf" download >"$work/run.out" 2>&1 &
run=$!
until_true "no pack" grep -q '^# [0-9]* slow-upload' "$proxy_log"
full_from 0.05
until_true "it does not get full" is_full
rules
rc=0
wait $run || rc=$?
[ $rc -eq 15 ] || fail "full in the middle: exit $rc: $(cat "$work/run.out")"
grep -q 'is full or overloaded' "$work/run.out" || fail "$(cat "$work/run.out")"
grep -q stop machines/m1/effects || fail "nothing was stopped for it"
up "full in the middle"
: >machines/m1/effects
refused "to go on" download
[ ! -s machines/m1/effects ] || fail "it was stopped once more: $(cat machines/m1/effects)"
full_from 0.9
until_true "it stays full" has_room
expect 0 "$fb" -c "$conf" download --json
[ "$(field resumed)" = true ] || fail "it was not gone on with"
[ ! -s machines/m1/effects ] || fail "it was stopped once more: $(cat machines/m1/effects)"
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out2" --yes
cmp machines/m1/disk.img "$work/out2/m1/root.img" || fail "another disk"
expect 0 "$fb" -c "$conf" prune -y
ok "full in the middle: the machines are up, and the next run goes on"
