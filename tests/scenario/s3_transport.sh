#!/bin/sh
# The ways to a bucket: its name in the path or before the server's, TLS with an
# authority of one's own, certificates that are not believed, HTTP/2, and
# proxies, by the configuration and by the environment.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

start_radosgw
s3_make bucket
s3_env
unset http_proxy https_proxy HTTPS_PROXY ALL_PROXY all_proxy NO_PROXY no_proxy
s3_fleet "$work/f" 1 bucket
cd "$work/f"
expect 0 "$fb" -c "$conf" init

# by <file> <endpoint> [line of the repository...]: a configuration that goes
# there.
by() {
	by_file=$1
	sed "s|endpoint: .*|endpoint: \"$2\"|" "$conf" >"$by_file"
	shift 2
	for line; do
		case $line in
		path_style:*) sed -i "s|path_style: .*|$line|" "$by_file" ;;
		*) sed -i "s|region: .*|&\n    $line|" "$by_file" ;;
		esac
	done
}
# whole <file> <what>: a night, and all of it back.
whole() {
	head -c 3M /dev/urandom >machines/m1/disk.img
	expect 0 "$fb" -c "$1" download
	expect 0 "$fb" -c "$1" verify --full
	expect 0 "$fb" -c "$1" restore --run latest --all --target "$work/out" --yes
	cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "$2: another disk"
	rm -r "$work/out"
	ok "$2"
}
# refused <exit> <id> <what it says> <file> <what>
refused() {
	: >machines/m1/effects
	expect "$1" "$fb" -c "$4" download --set repositories.main.retry_for=2s
	grep -q "$2" "$work/stderr" || fail "$5: no $2"
	grep -q "$3" "$work/stderr" || fail "$5: it does not say: $3"
	grep -q '  fix ' "$work/stderr" || fail "$5: it does not say what to do"
	[ ! -s machines/m1/effects ] || fail "$5: m1 was touched"
	ok "$5: $2, exit $1"
}

# The bucket before the server's name: *.localhost is this host for libcurl.
start_proxy hosts
at=localhost:${proxy_url##*:}
by hosts.yaml "http://$at" 'path_style: false'
whole hosts.yaml "the bucket's name before the server's"
[ "$(requests PUT '/fleet/packs/*')" -ge 1 ] || fail "nothing went there"
[ "$(requests GET '/bucket*')" -eq 0 ] || fail "the bucket is in the path"
nothing_wrong
: >"$proxy_log"
by auto.yaml "http://$at" 'path_style: auto'
expect 0 "$fb" -c auto.yaml list runs
[ "$(requests GET '/bucket*')" -ge 1 ] || fail "auto is not in the path"
expect 0 "$fb" -c hosts.yaml list runs

# The same over TLS.  A certificate that is for the server and not for the
# bucket's name is another one's.
make_certificate "$work" rgw/ca bucket 'DNS:bucket.localhost'
make_certificate "$work" rgw/ca server 'DNS:localhost'
start_proxy tls --cert "$work/bucket.crt" --key "$work/bucket.key"
by tls.yaml "https://localhost:${proxy_url##*:}" 'path_style: false' \
	"ca: \"$s3_ca\""
whole tls.yaml "before the server's name, over TLS, with an own authority"
[ "$(requests PUT '/fleet/packs/*')" -ge 1 ] || fail "nothing went there"
nothing_wrong
sed -i '/ca: /d' tls.yaml
refused 15 E-TLS 'certificate' tls.yaml "an authority that nobody named"
SSL_CERT_FILE=$s3_ca expect 0 "$fb" -c tls.yaml list runs
by noca.yaml "https://localhost:${proxy_url##*:}" 'path_style: false' \
	"ca: \"$conf\""
refused 2 E-TLS-CA 'file of authorities' noca.yaml "a file that is none"
start_proxy server --cert "$work/server.crt" --key "$work/server.key"
by server.yaml "https://localhost:${proxy_url##*:}" 'path_style: false' \
	"ca: \"$s3_ca\""
refused 15 E-TLS 'bucket.localhost' server.yaml "a certificate for another name"
[ ! -s "$proxy_log" ] || fail "a request was sent to it"
make_certificate "$work" rgw/ca past 'DNS:bucket.localhost' -days 0
start_proxy past --cert "$work/past.crt" --key "$work/past.key"
by past.yaml "https://localhost:${proxy_url##*:}" 'path_style: false' \
	"ca: \"$s3_ca\""
refused 15 E-TLS 'expired' past.yaml "a certificate of the past"
[ ! -s "$proxy_log" ] || fail "a request was sent to it"

# HTTP/2 where the server speaks it.
start_front h2 "IP:$server_address"
by h2.yaml "$front_url" "ca: \"$s3_ca\""
whole h2.yaml "over HTTP/2"
[ "$(grep -c '^PUT .*/packs/.* HTTP/2' "$front_log")" -ge 1 ] ||
	fail "not HTTP/2: $(head -3 "$front_log")"
! grep -v ' HTTP/2' "$front_log" | grep -q '/bucket/' || fail "not all of it"

# Proxies: named in the configuration, or by the environment, for TLS too.
start_web_proxy open
through() { # <what>: it goes through the proxy
	[ "$(grep -c "$1" "$web_proxy_log")" -gt "$seen" ] ||
		fail "not through the proxy: $1"
	seen=$(grep -c "$1" "$web_proxy_log")
}
seen=0
by proxy.yaml "$s3_url" "proxy: \"$web_proxy_url\""
whole proxy.yaml "through a proxy that is configured"
through 'PUT http'
export http_proxy="$web_proxy_url"
expect 0 "$fb" -c "$conf" list runs
through 'GET http'
before=$(wc -c <"$web_proxy_log")
NO_PROXY=$server_address expect 0 "$fb" -c "$conf" list runs
no_proxy='*' expect 0 "$fb" -c "$conf" list runs
[ "$(wc -c <"$web_proxy_log")" -eq "$before" ] || fail "no_proxy is not read"
unset http_proxy
by secure.yaml "$s3_tls_url" "ca: \"$s3_ca\""
seen=0
export HTTPS_PROXY="$web_proxy_url"
whole secure.yaml "through a proxy of the environment, TLS to the server"
through CONNECT
unset HTTPS_PROXY

# Proxies that do not let us, and one that is not there.
start_web_proxy closed 'BasicAuth nobody a-pass-word'
by closed.yaml "$s3_tls_url" "ca: \"$s3_ca\"" "proxy: \"$web_proxy_url\""
refused 16 E-PROXY '407' closed.yaml "a proxy that wants a password, TLS"
by closed.yaml "$s3_url" "proxy: \"$web_proxy_url\""
refused 16 E-PROXY 'ProxyAuth' closed.yaml "a proxy that wants a password"
https_proxy="http://nobody:a-pass-word@${web_proxy_url#http://}" \
	expect 0 "$fb" -c secure.yaml -vv list runs
! grep -q 'a-pass-word' "$work/stdout" "$work/stderr" || fail "it is printed"
by gone.yaml "$s3_url" "proxy: \"http://$server_address:1\""
refused 15 E-UNREACHABLE "$server_address port 1" gone.yaml "a proxy that is not there"
