# shellcheck shell=sh
# etcd for one test. Sourced by servers.sh, which says what it offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

etcd_answers() {
	curl -sS -f -o /dev/null "$etcd_url/health" 2>/dev/null
}

# run_etcd: with the data that it had, after it was stopped or killed.
run_etcd() {
	serve etcd "$etcd_dir" etcd --name test --data-dir "$etcd_dir/data" \
		--listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" \
		--listen-peer-urls "$etcd_peer" \
		--initial-advertise-peer-urls "$etcd_peer" \
		--initial-cluster "test=$etcd_peer"
	etcd_pid=$serve_pid
	await "etcd does not answer" "$etcd_pid" etcd_answers
}

start_etcd() {
	requires etcd curl
	etcd_dir=$work/etcd
	mkdir -p "$etcd_dir"
	free_ports 2
	# shellcheck disable=SC2086 # words
	set -- $free_ports
	etcd_url=http://$server_address:$1
	etcd_peer=http://$server_address:$2
	run_etcd
}
