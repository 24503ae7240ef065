#!/bin/sh
# The store in a bucket keeps what every store promises: on the real gateway,
# over TLS, and while requests fail at random.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_radosgw
s3_make bucket
s3_env
export FB_STORE_URL=s3://bucket/suite FB_STORE_REGION=us-east-1 \
	FB_STORE_CREDENTIALS=env FB_STORE_LARGE=68

keeps() { # <what> [promises left out]
	FB_STORE_WITHOUT=${2:-} "$bin/unit/test_store" >"$work/suite.out" 2>&1 || {
		grep -v '^\[ *\(RUN\|OK\) ' "$work/suite.out" | tail -40
		fail "$1: a promise is not kept"
	}
	grep -q '^\[==========\] [0-9]* test(s) run' "$work/suite.out" ||
		fail "$1: nothing was tried"
}

start_proxy watch
export FB_STORE_ENDPOINT="$proxy_url"
keeps "the gateway"
nothing_wrong
ok "every promise, and every request as it must be"

left=$(s3_curl GET '/bucket?uploads=' | grep -c '<Upload>' || :)
[ "$left" -eq 0 ] || fail "$left uploads are left in pieces"
ok "no upload is left in pieces"

export FB_STORE_ENDPOINT="$s3_tls_url" FB_STORE_CA="$s3_ca" FB_STORE_LARGE=20
keeps "TLS" "a_list_of_thousands_is_whole_and_in_order"
unset FB_STORE_CA
ok "over TLS, with an authority of our own"

# Each of them, often: what was lost is looked up, what failed is tried again;
# and what goes in parts is no exception.
start_proxy faults --seed "${S3_SEED:-5}"
export FLEETBAK_PARTS=5242880 FB_STORE_FAULTS=1
export FB_STORE_ENDPOINT="$proxy_url"
rules 'lost prob=0.03' 'reset prob=0.02' 'error=500,InternalError prob=0.02' \
	'error=503,SlowDown prob=0.02' 'early=503,SlowDown prob=0.01' \
	'reset-upload=100 method=PUT prob=0.02' 'close prob=0.05' \
	'cut=100 method=GET prob=0.02' 'reset-answer=70000 method=GET prob=0.02' \
	'corrupt-upload=3 method=PUT prob=0.01' 'delay=50 prob=0.01'
keeps "faults" "a_list_of_thousands_is_whole_and_in_order"
nothing_wrong
for fault in lost reset error reset-upload cut; do
	fault_began $fault || fail "there was no $fault"
done
ok "every promise while requests fail: $(grep -c '^#' "$proxy_log") faults"
