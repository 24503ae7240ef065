# shellcheck shell=sh
# What stands before a gateway: a front that speaks HTTP/2, and a proxy on the
# way to it.  Sourced by servers.sh, which says what it offers.
#
# shellcheck disable=SC2034,SC2119,SC2120,SC2154 # servers.sh has the other half

# Without a request, which whoever is behind it would see.
front_answers() {
	timeout 5 openssl s_client -connect "$server_address:$front_port" \
		</dev/null >/dev/null 2>&1
}

# start_front <name> <subjectAltName>: nghttpx before $front_before (host:port),
# which is the gateway when it is empty, with a certificate of the gateway's
# authority ($s3_ca).
start_front() {
	requires nghttpx openssl
	front_name=$1
	front_dir=$work/front.$1
	mkdir -p "$front_dir"
	make_certificate "$rgw_dir" ca "$1" "$2"
	free_ports 1
	front_port=$free_ports
	front_url=https://$server_address:$front_port front_log=$front_dir/log
	: >"$front_log"
	run_front
}

# run_front [option...]: again, after it was stopped or killed.
run_front() {
	front_to=${front_before:-$rgw_address:$rgw_port}
	# shellcheck disable=SC2016 # for nghttpx
	serve nghttpx "$front_dir" nghttpx --conf=/dev/null --single-process \
		--frontend="$server_address,$front_port" \
		--backend="${front_to%:*},${front_to##*:}" \
		--accesslog-file="$front_log" \
		--accesslog-format='$request $status $remote_port' "$@" \
		"$rgw_dir/$front_name.key" "$rgw_dir/$front_name.crt"
	front_pid=$serve_pid
	await "nghttpx does not answer" "$front_pid" front_answers
}

web_proxy_answers() {
	curl -s -o /dev/null --max-time 5 --noproxy '*' "$web_proxy_url/"
}

# start_web_proxy <name> [line of its configuration...]: tinyproxy; sets
# $web_proxy_url and $web_proxy_log.
start_web_proxy() {
	requires tinyproxy
	web_proxy_dir=$work/web_proxy.$1
	shift
	mkdir -p "$web_proxy_dir"
	free_ports 1
	{
		printf 'Listen %s\nPort %d\n' "$server_address" "$free_ports"
		printf 'Allow 127.0.0.0/8\nLogLevel Info\nTimeout 60\n'
		printf 'MaxClients 64\nDisableViaHeader Yes\n'
		printf '%s\n' "$@"
	} >"$web_proxy_dir/conf"
	web_proxy_url=http://$server_address:$free_ports
	web_proxy_log=$web_proxy_dir/tinyproxy.out
	serve tinyproxy "$web_proxy_dir" tinyproxy -d -c "$web_proxy_dir/conf"
	web_proxy_pid=$serve_pid
	await "tinyproxy does not answer" "$serve_pid" web_proxy_answers
}
