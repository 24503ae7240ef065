#!/bin/sh
# A server that knows no conditional writes, OpenStack Swift: init says that only
# one host may write, the repository remembers it, and a run, the next one, verify,
# restore and forget work there.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

start_swift
s3_make bucket
s3_env
s3_fleet "$work/f" 2 bucket
cd "$work/f"

expect 0 "$fb" -c "$conf" init --json
jq -e '.data.store | .one_writer and .conditional_create == false and
	.conditional_replace == false and .read_after_write and
	.lease_service == false' "$work/stdout" >/dev/null ||
	fail "init tried out: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" init
grep -q 'one host' "$work/stdout" "$work/stderr" ||
	fail "init does not say it: $(cat "$work/stdout" "$work/stderr")"
swift_curl GET /bucket/fleet/format/1.json -f >"$work/format" ||
	fail "no format"
jq -e '.writers == 1' "$work/format" >/dev/null || fail "$(cat "$work/format")"
expect 4 "$fb" -c "$conf" doctor --json
jq -e '[.data.checks[] | select(.check == "conditional writes")] |
	length == 1 and .[0].status == "warn" and (.[0].text | test("one host"))' \
	"$work/stdout" >/dev/null || fail "doctor: $(cat "$work/stdout")"
jq -e '[.data.checks[] | select(.status == "fail")] == []' "$work/stdout" \
	>/dev/null || fail "doctor: $(cat "$work/stdout")"
ok "one writer: the repository, init and doctor say so"

# What every store promises, but what many writers at once would need.
FB_STORE_URL=s3://bucket/suite FB_STORE_ENDPOINT="$s3_url" \
	FB_STORE_REGION=us-east-1 FB_STORE_CREDENTIALS=env FB_STORE_LARGE=1 \
	FB_STORE_ONE_WRITER=1 \
	FB_STORE_WITHOUT="a_list_of_thousands_is_whole_and_in_order $many_writers" \
	"$bin/unit/test_store" >"$work/suite.out" 2>&1 || {
	grep -v '^\[ *\(RUN\|OK\) ' "$work/suite.out" | tail -40
	fail "a promise is not kept"
}
grep -q '^\[==========\] [0-9]* test(s) run' "$work/suite.out" ||
	fail "nothing was tried"
ok "every promise of a store for one writer"

# Signed for another place than the server's.
sed 's/region: us-east-1/region: eu-west-9/' "$conf" >elsewhere.yaml
expect 2 "$fb" -c elsewhere.yaml list
grep -q 'E-S3-REGION' "$work/stderr" || fail "it does not say why"
grep -q 'region: us-east-1' "$work/stderr" || fail "it does not say which"
ok "another region is refused, and the right one is said"

expect 0 "$fb" -c "$conf" download --json
first=$(field run)
expect 0 "$fb" -c "$conf" download
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" restore --run "$first" --all --target "$work/out" --yes
for m in m1 m2; do
	cmp machines/$m/disk.img "$work/out/$m/root.img" || fail "another disk"
	same_tree machines/$m/data "$work/out/$m/data" || fail "another tree"
done
expect 0 "$fb" -c "$conf" forget --yes "$first"
expect 0 "$fb" -c "$conf" verify --full
ok "two runs, verified, restored, one of them given up"
