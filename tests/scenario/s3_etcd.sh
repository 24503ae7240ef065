#!/bin/sh
# A server without conditional writes, and etcd to decide in their stead: two
# writers at once, one of which is killed; a writer without etcd is refused; etcd
# is stopped, killed and comes back while machines are down; and over TLS with an
# authority of its own, for who has a certificate.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_shard.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq

start_swift
start_etcd
s3_make bucket
s3_env
s3_more="etcd: \"$etcd_url\"\\
    lease_ttl: 10s\\
    retry_for: 60s"
s3_fleet "$work/f" 0 bucket
cd "$work/f"
for m in m1 m2 m3; do
	make_evil machines $m
done
etcd_keys() { # <prefix>: how many
	curl -sS -f "$etcd_url/v3/kv/range" -d "{\"keys_only\":true,\"key\":\"$(
		printf 'fleetbak/%s' "$1" | base64 -w 0)\",\"range_end\":\"$(
		printf 'fleetbak0' | base64 -w 0)\"}" |
		jq --arg p "fleetbak/$1" \
			'[.kvs[]?.key | @base64d | select(startswith($p))] | length'
}
lease_says() { # <id>: of doctor
	jq -e --arg id "$1" '[.data.checks[] | select(.check == "lease service") |
		.error.id] == [$id]' "$work/stdout" >/dev/null ||
		fail "doctor: $(cat "$work/stdout")"
}

# What every store promises holds, because etcd decides.
FB_STORE_URL=s3://bucket/suite FB_STORE_ENDPOINT="$s3_url" \
	FB_STORE_REGION=us-east-1 FB_STORE_CREDENTIALS=env FB_STORE_LARGE=1 \
	FB_STORE_ETCD="$etcd_url" \
	FB_STORE_WITHOUT=a_list_of_thousands_is_whole_and_in_order \
	"$bin/unit/test_store" >"$work/suite.out" 2>&1 || {
	grep -v '^\[ *\(RUN\|OK\) ' "$work/suite.out" | tail -40
	fail "a promise is not kept"
}
grep -q '^\[==========\] [0-9]* test(s) run' "$work/suite.out" ||
	fail "nothing was tried"
ok "every promise of a store, decided by etcd"

# Two make it at once: one is first, the other finds it.  They have the keys
# already, as two hosts would.
cat >keys.yaml <<-END
	fleet: {name: keys}
	state_dir: ./state.keys
	repositories:
	  main: {url: "file:./elsewhere", sign_with: "file:./keys/sign.pem", encrypt_to: ["file:./keys/recovery.crt"], decrypt_with: "file:./keys/recovery.pem"}
	trusted_signers: ["file:./keys/sign.pub.pem"]
	sources: {lab: {driver: local, root: ./machines}}
END
expect 0 "$fb" -c keys.yaml init
FLEETBAK_STATE_DIR=$PWD/state9 "$fb" -c "$conf" init >"$work/init.2" 2>&1 &
other=$!
expect 0 "$fb" -c "$conf" init
wait $other || fail "the other init: $(cat "$work/init.2")"
cat "$work/init.2" >>"$work/stdout"
cat "$work/stderr" >>"$work/stdout"
grep -q 'etcd decides' "$work/stdout" || fail "init does not say it"
! grep -q 'one host' "$work/stdout" || fail "it says that one may write"
swift_curl GET /bucket/fleet/format/1.json -f >"$work/format" ||
	fail "no format"
jq -e '.lease == "etcd" and (has("writers") | not)' "$work/format" >/dev/null ||
	fail "$(cat "$work/format")"
space=$(jq -r .repository "$work/format")
nodes 3
expect 4 "$fb" -c "$conf" doctor --json # no download yet
jq -e '[.data.checks[] | select(.check | test("conditional|lease|writers"))] |
	length == 2 and all(.status == "ok")' "$work/stdout" >/dev/null ||
	fail "doctor: $(cat "$work/stdout")"
ok "the repository says that it needs the lease service, and doctor asks it"

# Without it nobody writes, and nothing is touched; reading goes on.
sed '/etcd:/d; /lease_ttl:/d' n3.yaml >without.yaml
expect 2 "$fb" -c without.yaml download
grep -q E-LEASE-NONE "$work/stderr" || fail "it does not say why"
[ ! -s machines/m1/effects ] || fail "a machine was touched"
expect 2 "$fb" -c without.yaml doctor --json
lease_says E-LEASE-NONE
ok "a writer without it is refused, and doctor says it"

# Two writers, each with shards of its own runs, at once.
"$fb" -c n1.yaml download -q >"$work/said.1" 2>&1 &
one=$!
"$fb" -c n2.yaml download -q --shard any/2 --run both >"$work/said.2" 2>&1 &
two=$!
"$fb" -c n3.yaml download -q --shard any/2 --run both >"$work/said.3" 2>&1 &
three=$!
for pid in $one $two $three; do
	wait "$pid" || fail "a writer failed: $(cat "$work"/said.*)"
done
expect 0 "$fb" -c n1.yaml list runs -o json
[ "$(fields run | sort -u | wc -l)" -eq 2 ] || fail "not two runs"
expect 0 "$fb" -c n1.yaml verify --full
[ "$(etcd_keys "$space/intent/")" -eq 0 ] || fail "intents are left"
ok "three workers at once"

# One dies with a machine down; another takes over what it was doing.
begin 1 download --full --shard 1/1 --run dead
lose 1
expect 0 "$fb" -c n2.yaml download --full --shard 1/1 --run dead --take-over
for m in m1 m2 m3; do
	[ -e machines/$m/up ] || fail "$m is down"
done
expect 0 "$fb" -c n3.yaml verify --full
gone() {
	[ "$(etcd_keys "$space/writer/")" -eq 0 ]
}
until_true "the lease of a dead writer does not end" gone
ok "a dead writer's shard is done by another, and its lease ends"

# etcd away: nothing begins, what is down comes up, reading goes on.
kill -STOP "$etcd_pid"
sed 's/retry_for: .*/retry_for: 2s/' n2.yaml >short.yaml
for m in m1 m2 m3; do
	: >machines/$m/effects
done
expect 15 "$fb" -c short.yaml download --full
grep -q E-LEASE-AWAY "$work/stderr" || fail "it does not say why"
for m in m1 m2 m3; do
	[ ! -s machines/$m/effects ] || fail "$m was touched"
done
expect 0 "$fb" -c short.yaml restore m1 --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
expect 15 "$fb" -c short.yaml doctor --json
lease_says E-LEASE-AWAY
kill -CONT "$etcd_pid"
ok "while etcd is away nothing is touched, and restoring goes on"

begin 2 download --full --json
kill -KILL "$etcd_pid"
wait "$etcd_pid" 2>/dev/null || :
let_go
until_true "m1 stays down without etcd" [ -e machines/m1/up ]
run_etcd
wait $run || [ $? -eq 3 ] || fail "the run: $(cat "$work/said")"
for m in m1 m2 m3; do
	[ -e machines/$m/up ] || fail "$m is down"
done
expect 0 "$fb" -c n2.yaml download
expect 0 "$fb" -c n2.yaml verify --full
ok "etcd is killed while a machine is down: it comes up, and so does the run"

# What is replaced, and given up, by two at once.
expect 0 "$fb" -c n1.yaml list runs -o json
# shellcheck disable=SC2046 # words
set -- $(fields run | sort -u)
expect 0 "$fb" -c n1.yaml forget --yes "$1" "$2"
"$fb" -c n2.yaml prune --yes --fence-after 0s >"$work/said.2" 2>&1 &
other=$!
expect 0 "$fb" -c n3.yaml prune --yes --fence-after 0s
wait $other || fail "the other prune: $(cat "$work/said.2")"
expect 0 "$fb" -c n1.yaml download --full
expect 0 "$fb" -c n1.yaml verify --full
expect 0 "$fb" -c n1.yaml restore --run latest --all --target "$work/all" --yes
for m in m1 m2 m3; do
	cmp machines/$m/disk.img "$work/all/$m/root.img" || fail "another disk"
	same_tree machines/$m/data "$work/all/$m/data" || fail "another tree"
done
ok "two collectors at once, and what is left is whole"

# Over TLS, with certificates: who has none, or another's, writes nothing.
start_etcd_tls
s3_make closed
tls() { # <file> <key: value>...: a configuration
	tls_to=$1
	shift
	for tls_more in "etcd: \"$etcd_url\"" 'lease_ttl: 3s' 'retry_for: 2s' "$@"; do
		printf '    %s\n' "$tls_more"
	done >"$work/tls.more"
	sed -e '/^    etcd: /d' -e '/^    lease_ttl: /d' -e '/^    retry_for: /d' \
		-e 's|s3://bucket/|s3://closed/|' -e 's|^state_dir: .*|state_dir: ./state.tls|' \
		-e "/^    url: /r $work/tls.more" "$conf" >"$tls_to"
}
tls tls.yaml "etcd_ca: $etcd_dir/ca.crt" "etcd_cert: $etcd_dir/client.crt" \
	"etcd_key: $etcd_dir/client.key"
tls none.yaml "etcd_ca: $etcd_dir/ca.crt"
tls stranger.yaml "etcd_ca: $etcd_dir/ca.crt" \
	"etcd_cert: $etcd_dir/stranger.crt" "etcd_key: $etcd_dir/stranger.key"
tls other.yaml "etcd_ca: $etcd_dir/other.crt" \
	"etcd_cert: $etcd_dir/client.crt" "etcd_key: $etcd_dir/client.key"
for bad in none stranger other; do
	got=$(status_of "$fb" -c $bad.yaml init)
	[ "$got" -ne 0 ] || fail "$bad: it was made"
	grep -q "lease service\|certificate" "$work/stderr" ||
		fail "$bad: it does not say why: $(cat "$work/stderr")"
	[ -z "$(s3_keys closed fleet/)" ] || fail "$bad: something was written"
done
expect 0 "$fb" -c tls.yaml init
expect 0 "$fb" -c tls.yaml download
expect 0 "$fb" -c tls.yaml verify --full
expect 15 "$fb" -c other.yaml download --full
for m in m1 m2 m3; do
	[ -e machines/$m/up ] || fail "$m is down"
done
ok "etcd over TLS, with a private authority and a client's certificate"
