# shellcheck shell=sh
# etcd for one test. Sourced by servers.sh, which says what it offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

etcd_tls='' # set: it speaks TLS alone, to who has a certificate

etcd_curl() { # <path> [curl's option...]
	etcd_curl_path=$1
	shift
	# shellcheck disable=SC2086 # words
	curl -sS -f $etcd_tls "$@" "$etcd_url$etcd_curl_path"
}

etcd_answers() {
	etcd_curl /health -o /dev/null 2>/dev/null
}

# run_etcd: with the data that it had, after it was stopped or killed.
run_etcd() {
	set --
	[ -z "$etcd_tls" ] || set -- --cert-file "$etcd_dir/etcd.crt" \
		--key-file "$etcd_dir/etcd.key" --client-cert-auth \
		--trusted-ca-file "$etcd_dir/ca.crt"
	serve etcd "$etcd_dir" etcd --name test --data-dir "$etcd_dir/data" \
		--listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" \
		--listen-peer-urls "$etcd_peer" \
		--initial-advertise-peer-urls "$etcd_peer" \
		--initial-cluster "test=$etcd_peer" "$@"
	etcd_pid=$serve_pid
	await "etcd does not answer" "$etcd_pid" etcd_answers
}

begin_etcd() { # <directory> <scheme>
	requires etcd curl
	etcd_dir=$work/$1 etcd_scheme=$2
	mkdir -p "$etcd_dir"
	free_ports 2
	# shellcheck disable=SC2086 # words
	set -- $free_ports
	etcd_url=$etcd_scheme://$server_address:$1
	etcd_peer=http://$server_address:$2
}

start_etcd() {
	begin_etcd etcd http
	run_etcd
}

# Another one, with an authority of its own: client.crt is of it, stranger.crt
# of another.
start_etcd_tls() {
	requires openssl
	begin_etcd etcd.tls https
	make_ca "$etcd_dir" ca
	make_ca "$etcd_dir" other
	make_certificate "$etcd_dir" ca etcd "IP:$server_address"
	make_certificate "$etcd_dir" ca client DNS:client
	make_certificate "$etcd_dir" other stranger DNS:client
	etcd_tls="--cacert $etcd_dir/ca.crt --cert $etcd_dir/client.crt --key $etcd_dir/client.key"
	run_etcd
}
