#!/bin/sh
# The nightly life of a repository in a bucket: init, download, nothing changed,
# kill -9 and resume, verify, restore, list, forget, prune. Nothing but requests
# as they must be, no more of them than needed, and nothing left behind.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

start_radosgw
s3_make bucket
s3_env
start_proxy main
s3_at=$proxy_url
s3_fleet "$work/f" 3 bucket
cd "$work/f"

expect 0 "$fb" -c "$conf" init --json
jq -e '.data.store | .conditional_create and .conditional_replace and
	.read_after_write and .list_after_write and .versioning == false and
	.object_lock == false and .lock_days == 0 and .one_writer == false and
	(.clock_ms | . > -60000 and . < 60000)' "$work/stdout" >/dev/null ||
	fail "init tried out: $(cat "$work/stdout")"
s3_keys bucket fleet/ | grep -q '^fleet/format/1.json$' || fail "no format"
: >"$proxy_log"
expect 0 "$fb" -c "$conf" download --json
jq -e '[.machines[] | select(.result == "ok")] | length == 3' \
	"$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
first=$(field run)
puts=$(requests PUT '*')
objects=$(s3_keys bucket fleet/ | wc -l)
[ "$puts" -le $((objects + 3)) ] || fail "$puts uploads for $objects objects"
nothing_wrong
ok "the first night: $puts uploads, $(requests GET '*') reads, $(requests HEAD '*') looks"

# What init found out, doctor finds again, and a clock that is off.
health() { # <check>: how it is
	jq -r --arg check "$1" '.data.checks[] | select(.check == $check) | .status' \
		"$work/stdout"
}
status_of "$fb" -c "$conf" doctor --json >"$work/code"
for check in 'conditional writes' 'read after write' 'list after write' \
	versioning 'object lock' clock; do
	[ "$(health "$check")" = ok ] ||
		fail "doctor, $check: $(cat "$work/stdout")"
done
jq -e '.data.repositories[0].store | .conditional_create and
	.conditional_replace and .read_after_write and .list_after_write' \
	"$work/stdout" >/dev/null || fail "doctor: $(cat "$work/stdout")"
if [ "${FB_VARIANT:-debug}" != release ]; then
	FLEETBAK_CLOCK=$(($(date +%s) - 180)) status_of "$fb" -c "$conf" doctor --json >"$work/code"
	[ "$(health clock)" = warn ] || fail "three minutes: $(cat "$work/stdout")"
fi
ok "what the server can do is tried out, and told by init and doctor"

: >"$proxy_log"
expect 0 "$fb" -c "$conf" download
[ "$(requests PUT '*/packs/*')" -eq 0 ] || fail "unchanged, and packs are put"
nothing_wrong
ok "nothing changed: $(grep -c '^[0-9]' "$proxy_log") requests"

expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" list runs -o json
[ "$(fields run | sort -u | wc -l)" -ge 2 ] || fail "not two runs: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" restore --run "$first" --all --target "$work/out" --yes
for m in m1 m2 m3; do
	cmp machines/$m/disk.img "$work/out/$m/root.img" || fail "another disk"
	same_tree machines/$m/data "$work/out/$m/data" || fail "another tree"
done
rm -r "$work/out"
nothing_wrong
ok "verified, listed and restored"

# Killed in the middle of a large disk: the next one goes on.
head -c 150M /dev/urandom >machines/m1/disk.img
: >machines/m1/effects
before=$(s3_keys bucket fleet/packs/ | wc -l)
: >"$proxy_log"
# Two packs are put, and no other one, however late it is killed.
rules 'hang method=PUT path=*/packs/* skip=2'
"$fb" -c "$conf" download >"$work/stdout" 2>"$work/stderr" &
run=$!
two_packs_more() { # there, and noted down
	[ "$(cat state/runs/*/journal 2>/dev/null | grep -c ' checkpoint ')" -ge 2 ]
}
until_true "no packs" two_packs_more
kill -KILL $run
wait $run 2>/dev/null && fail "it was over too soon" || true
rules
: >"$proxy_log"
expect 0 "$fb" -c "$conf" download --lock-wait 30s --json
jq -e '.resumed' "$work/stdout" >/dev/null || fail "it did not go on"
[ -e machines/m1/up ] || fail "m1 is down"
put=$(awk '/^[0-9].* PUT .*\/packs\// { n += $6 } END { print n + 0 }' "$proxy_log")
[ "$put" -lt 110000000 ] || fail "$put bytes of packs are put again"
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
rm -r "$work/out"
left=$(s3_curl GET '/bucket?uploads=' | grep -c '<Upload>' || :)
[ "$left" -eq 0 ] || fail "$left uploads are left in pieces"
nothing_wrong
ok "killed and continued: $put bytes more, $before packs before"

# The state is lost with its host: the bucket is all that is needed.
left_alone "$PWD"
rm -rf state
expect 0 "$fb" -c "$conf" list runs
expect 0 "$fb" -c "$conf" verify
expect 0 "$fb" -c "$conf" restore m2 --target "$work/out" --yes
cmp machines/m2/disk.img "$work/out/m2/root.img" || fail "another disk"
rm -r "$work/out"
expect 0 "$fb" -c "$conf" download
ok "on a host that knows nothing"

# What only the killed run's disk needs goes with it.
sed -i 's/^download:/retention: {grace: 0s, max_remove: 100%}\n&/' "$conf"
cp machines/m2/disk.img machines/m1/disk.img
expect 0 "$fb" -c "$conf" download
newest=$("$fb" -c "$conf" list runs -o tsv --no-header | head -n 1 | cut -f 1)
for old in $("$fb" -c "$conf" list runs -o tsv --no-header | cut -f 1); do
	[ "$old" = "$newest" ] || expect 0 "$fb" -c "$conf" forget -y -q "$old"
done
packs=$(s3_keys bucket fleet/packs/ | wc -l)
: >"$proxy_log"
expect 0 "$fb" -c "$conf" prune --yes
left=$(s3_keys bucket fleet/packs/ | wc -l)
[ "$left" -lt "$packs" ] || fail "$packs packs before, $left after"
nothing_wrong
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" restore --run latest --all --target "$work/out" --yes
for m in m1 m2 m3; do
	cmp machines/$m/disk.img "$work/out/$m/root.img" || fail "another disk"
done
ok "forgotten and pruned: $packs packs became $left, with $(requests DELETE '*') removals"

# Nothing of fleetbak's is outside its prefix.
s3_keys bucket >"$work/keys"
! grep -v '^fleet/' "$work/keys" || fail "objects outside the prefix"
ok "only under its prefix"
