# shellcheck shell=sh
# Servers for a scenario, which sources this behind lib.sh:
#
#	start_radosgw       Ceph's S3 gateway; sets $s3_url, $s3_tls_url and
#	                    $s3_ca, $s3_key, $s3_secret, $s3_region, and the pids
#	                    $rgw_pid, $osd_pid, $mon_pid for who wants to kill or
#	                    to stop them; start_gateway starts the gateway again
#	start_swift         OpenStack Swift with its S3 face, which knows no
#	                    conditional writes; sets the same, and $swift_pids
#	start_front <name> <subjectAltName>   nghttpx before the gateway, which
#	                    speaks HTTP/2 over TLS; $front_url, $front_log,
#	                    $front_pid; run_front starts it again
#	start_web_proxy <name> [line...]      tinyproxy, on the way to any
#	                    server; $web_proxy_url, $web_proxy_log, _pid
#	start_etcd          sets $etcd_url and $etcd_pid; run_etcd starts it again
#	start_etcd_tls      the same over TLS, for who has a certificate: in
#	                    $etcd_dir ca.crt, client.crt and .key, stranger.crt
#	start_imds          the metadata service of a virtual machine; sets
#	                    $imds_url and $imds_dir; imds_keys <key> <secret>
#	                    <token> <seconds>: what its role is given
#	start_slurm [n]     Slurm on n nodes n1, n2, ... that are all this host;
#	                    sets $slurm_dir and SLURM_CONF for its commands
#	start_libvirtd [name]   a libvirtd in namespaces of its own; sets
#	                    $libvirt_uri, $libvirt_dir, $libvirt_pid; vir is
#	                    virsh for it; restart_libvirtd, stop_libvirtd
#	make_guest <name>   a guest there with two disks, in $guests; boot_guest,
#	                    stop_guest, in_guest and more are in libvirtd.sh
#	start_proxy <name>  the fault proxy (proxy.h) before $s3_url; sets
#	                    $proxy_url, $proxy_pid, $proxy_rules, $proxy_log
#	rules [line...]     what goes wrong there from now on
#	requests, nothing_wrong, fault_began        what its log says
#	s3_env              the keys into the environment, as "env" finds them
#	s3_fleet <dir> <n> <bucket>   make_fleet, but with its repository in a
#	                    bucket, at $s3_at (else $s3_url), with $s3_more
#	s3_session          a temporary key: $session_key, _secret, _token; wants
#	                    RGW_SESSIONS=true before start_radosgw
#	s3_curl <method> <path> [curl's options]    one request of our own
#	s3_make <bucket>    make a bucket
#	s3_keys <bucket> [prefix]                   what is in it, without paging
#
# Each test has a loopback address of its own, so no port is taken but by
# itself.  A server dies with the shell that started it, however that ends.
#
# shellcheck disable=SC2034,SC2154 # the variables are for the tests

servers=$here/../servers
server_tools=$bin/servers
server_address=127.$(($$ / 65536 % 250 + 1)).$(($$ / 256 % 256)).$(($$ % 256))
server_pids=
s3_url='' s3_tls_url='' s3_ca='' s3_key='' s3_secret='' s3_region=''
rgw_pid='' osd_pid='' mon_pid=''
etcd_dir='' etcd_url='' etcd_pid='' slurm_dir=''
session_key='' session_secret='' session_token=''
imds_url='' imds_dir=''
front_url='' front_log='' front_pid='' web_proxy_url='' web_proxy_log='' web_proxy_pid=''
swift_token= # set: s3_make and s3_keys ask Swift

# The promises of a store that one for a single writer does not make.
many_writers='of_many_creators_exactly_one_wins of_many_creators_from_files_exactly_one_wins of_many_first_replacers_exactly_one_wins no_replace_is_lost_among_threads'

stop_servers() {
	# shellcheck disable=SC2086 # words
	[ -z "$server_pids" ] || {
		kill -KILL $server_pids 2>/dev/null || :
		wait $server_pids 2>/dev/null || :
	}
	server_pids=
}
trap 'stop_servers; clear_work' EXIT

# serve <name> <directory> <command>...: in the background, what it says in
# <directory>/<name>.out; sets $serve_pid.
serve() {
	serve_name=$1 serve_dir=$2
	shift 2
	setpriv --pdeathsig KILL "$@" >>"$serve_dir/$serve_name.out" 2>&1 \
		</dev/null &
	serve_pid=$!
	server_pids="$server_pids $serve_pid"
}

# await <what fails> <pid> <command>...: until it succeeds, 60 s at most.
await() {
	await_what=$1 await_pid=$2 await_i=0
	shift 2
	until "$@"; do
		await_i=$((await_i + 1))
		[ $await_i -lt 1200 ] && kill -0 "$await_pid" 2>/dev/null ||
			fail "$await_what"
		sleep 0.05
	done
}

# free_ports <n> [address]: sets $free_ports.
free_ports() {
	free_ports=$("$server_tools/free_ports" "${2:-$server_address}" "$1") ||
		fail "no free port at ${2:-$server_address}"
}

# make_ca <directory> <name>: <name>.crt and <name>.key.
make_ca() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
		-nodes -days 30 -subj "/CN=$2 of a test" -keyout "$1/$2.key" \
		-out "$1/$2.crt" 2>/dev/null
}

# make_certificate <directory> <ca> <name> <subjectAltName> [option...]
make_certificate() {
	make_certificate_at=$1/$3
	printf 'subjectAltName=%s\n' "$4" >"$make_certificate_at.ext"
	make_certificate_ca=$1/$2
	shift 4
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
		-subj "/CN=a server of a test" -keyout "$make_certificate_at.key" \
		-out "$make_certificate_at.csr" 2>/dev/null
	openssl x509 -req -in "$make_certificate_at.csr" -days 30 \
		-CA "$make_certificate_ca.crt" -CAkey "$make_certificate_ca.key" \
		-extfile "$make_certificate_at.ext" "$@" \
		-out "$make_certificate_at.crt" 2>/dev/null
}

# s3_curl <method> <path> [option...]: signed; a query has to be sorted.
s3_curl() {
	s3_curl_method=$1 s3_curl_path=$2
	shift 2
	printf 'user = "%s:%s"\n' "$s3_key" "$s3_secret" |
		curl -sS -K - --max-time 60 --path-as-is -X "$s3_curl_method" \
			--aws-sigv4 "aws:amz:$s3_region:s3" \
			-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
			"$@" "$s3_url$s3_curl_path"
}

s3_env() {
	export AWS_ACCESS_KEY_ID="$s3_key" AWS_SECRET_ACCESS_KEY="$s3_secret"
}

s3_fleet() { # <dir> <n> <bucket>
	make_fleet "$1" "$2"
	sed -i '/^repositories:/,/^  main:/c\
repositories:\
  main:\
    url: "s3://'"$3"'/fleet"\
    endpoint: "'"${s3_at:-$s3_url}"'"\
    region: us-east-1\
    path_style: true\
    credentials: '"${s3_credentials:-env}"'\
'"${s3_more:+    $s3_more\\
}"'    sign_with: "file:./keys/sign.pem"' "$conf"
}

s3_make() { # <bucket>
	if [ -n "$swift_token" ]; then
		# Its servers do not all answer at once.
		until_true "cannot make the container $1" \
			swift_curl PUT "/$1" -f -o /dev/null
		return
	fi
	s3_curl PUT "/$1" -f -o "$work/s3_make.out" ||
		fail "cannot make the bucket $1: $(cat "$work/s3_make.out")"
}

# s3_keys <bucket> [prefix]: sorted, one a line.
s3_keys() {
	[ -z "$swift_token" ] || {
		swift_curl GET "/$1?prefix=$(s3_escape "${2:-}")" -f
		return
	}
	s3_keys_after=
	while :; do
		s3_curl GET "/$1?list-type=2&max-keys=1000&prefix=$(s3_escape "${2:-}")${s3_keys_after:+&start-after=$(s3_escape "$s3_keys_after")}" \
			-f >"$work/s3_keys.xml" || fail "cannot list the bucket $1"
		grep -o '<Key>[^<]*' "$work/s3_keys.xml" | sed 's/<Key>//' \
			>"$work/s3_keys.page" || :
		cat "$work/s3_keys.page"
		grep -q '<IsTruncated>true' "$work/s3_keys.xml" || break
		s3_keys_after=$(tail -n 1 "$work/s3_keys.page")
	done
}

# start_proxy <name> [option...]: before $proxy_before (host:port), which is the
# gateway when it is empty; the options are faultproxy's.
start_proxy() {
	proxy_name=$1
	shift
	proxy_dir=$work/proxy.$proxy_name
	proxy_rules=$proxy_dir/rules proxy_log=$proxy_dir/log
	mkdir -p "$proxy_dir"
	: >"$proxy_rules"
	: >"$proxy_log"
	printf '%s\n' "$s3_secret" >"$proxy_dir/secrets"
	serve faultproxy "$proxy_dir" "$server_tools/faultproxy" \
		--rules "$proxy_rules" --log "$proxy_log" \
		--port-file "$proxy_dir/port" --secrets "$proxy_dir/secrets" \
		"$@" "${proxy_before:-${s3_url#http://}}"
	proxy_pid=$serve_pid
	await "the proxy does not start" "$proxy_pid" [ -s "$proxy_dir/port" ]
	proxy_url=http://127.0.0.1:$(cat "$proxy_dir/port")
	case " $* " in *' --cert '*) proxy_url=https://${proxy_url#http://} ;; esac
}

# rules [line...]: what goes wrong from now on, at the proxy started last.
rules() {
	# Each is another file, which the proxy sees even within one tick.
	printf '%s\n' "$@" >"$proxy_rules.new"
	mv "$proxy_rules.new" "$proxy_rules"
}

# requests <method> <glob> [log]: how many came by, whatever became of them.
requests() {
	requests_n=0
	while read -r _ _ requests_method requests_target _; do
		# shellcheck disable=SC2254 # a pattern
		case "$requests_method $requests_target" in
		"$1 "$2) requests_n=$((requests_n + 1)) ;;
		esac
	done <<-END
		$(grep '^[0-9]' "${3:-$proxy_log}")
	END
	echo $requests_n
}

# nothing_wrong: every request that came by was as it must be.
nothing_wrong() {
	! grep '^!' "$proxy_log" >"$work/wrong" || {
		sort -k 3 "$work/wrong" | uniq -c -f 2 | head -10
		fail "a request was not as it must be"
	}
	kill -0 "$proxy_pid" 2>/dev/null || fail "the proxy died: $(cat "$proxy_dir"/*.out)"
}

# fault_began <kind> [log]: has such a fault begun?
fault_began() {
	grep -q "^# [0-9]* $1 " "${2:-$proxy_log}"
}

s3_escape() {
	printf '%s' "$1" | sed 's|/|%2F|g'
}

. "$servers/radosgw.sh"
. "$servers/swift.sh"
. "$servers/etcd.sh"
. "$servers/imds.sh"
. "$servers/fronts.sh"
. "$servers/slurm.sh"
. "$servers/libvirtd.sh"
