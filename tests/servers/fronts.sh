# shellcheck shell=sh
# What stands before a gateway: a front that speaks HTTP/2, and a proxy on the
# way to it.  Sourced by servers.sh, which says what it offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

front_answers() {
	curl -s -k -o /dev/null --max-time 5 "$front_url/"
}

# start_front <name> <subjectAltName>: nghttpx before $s3_url, with a
# certificate of the gateway's authority ($s3_ca).
start_front() {
	requires nghttpx openssl
	front_dir=$work/front.$1
	mkdir -p "$front_dir"
	make_certificate "$rgw_dir" ca "$1" "$2"
	free_ports 1
	front_port=$free_ports
	front_url=https://$server_address:$front_port front_log=$front_dir/log
	: >"$front_log"
	# shellcheck disable=SC2016 # for nghttpx
	serve nghttpx "$front_dir" nghttpx --conf=/dev/null --single-process \
		--frontend="$server_address,$front_port" \
		--backend="$rgw_address,$rgw_port" \
		--accesslog-file="$front_log" \
		--accesslog-format='$request $status' \
		"$rgw_dir/$1.key" "$rgw_dir/$1.crt"
	await "nghttpx does not answer" "$serve_pid" front_answers
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
