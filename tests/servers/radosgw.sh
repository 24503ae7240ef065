# shellcheck shell=sh
# Ceph's S3 gateway for one test: a monitor, one OSD and radosgw, from Debian's
# packages, without cephx, systemd or a manager.  Sourced by servers.sh, which
# says what it offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

# The defaults of a cluster would cost a test minutes; what is changed and why
# is said at the line.
radosgw_conf() {
	cat <<-END
		[global]
		fsid = $(cat /proc/sys/kernel/random/uuid)
		mon_host = [v2:$rgw_address:$rgw_mon_port/0]
		public_addr = $rgw_address
		ms_bind_ipv4 = true
		ms_bind_ipv6 = false
		ms_bind_msgr1 = false
		auth_cluster_required = none
		auth_service_required = none
		auth_client_required = none
		auth_supported = none
		# radosgw wants "secure", which there is not without cephx.
		ms_mon_client_mode = crc
		run_dir = $rgw_dir/run
		admin_socket = $rgw_dir/run/\$name.asok
		pid_file = $rgw_dir/run/\$name.pid
		log_file = $rgw_dir/log/\$name.log
		crash_dir = $rgw_dir/log
		osd_crush_chooseleaf_type = 0
		osd_pool_default_size = 1
		osd_pool_default_min_size = 1
		osd_pool_default_pg_num = 4
		osd_pool_default_pgp_num = 4
		osd_pool_default_pg_autoscale_mode = off
		mon_allow_pool_size_one = true
		mon_max_pg_per_osd = 2000
		mon_warn_on_pool_no_redundancy = false
		debug_none = 0
		[mon]
		# Each of the pools is a change of the map, a second by default.
		paxos_propose_interval = 0.05
		paxos_min_wait = 0.01
		mon_data = $rgw_dir/mon
		mon_data_avail_crit = 1
		mon_data_avail_warn = 2
		[osd]
		osd_data = $rgw_dir/osd
		osd_objectstore = ${RGW_STORE:-memstore}
		memstore_device_bytes = ${RGW_BYTES:-4294967296}
		bluestore_block_size = ${RGW_BYTES:-4294967296}
		bluestore_block_create = true
		bluestore_fsck_on_mount = false
		osd_memory_target = 1073741824
		osd_class_update_on_start = true
		osd_max_object_name_len = 1024
		[client.rgw]
		rgw_data = $rgw_dir/rgw
		# Without tcp_nodelay a small answer takes 40 ms.
		rgw_frontends = beast tcp_nodelay=1 endpoint=$rgw_address:$rgw_port ssl_endpoint=$rgw_address:$rgw_tls_port ssl_certificate=$rgw_dir/tls.pem
		rgw_dns_name = localhost
		rgw_thread_pool_size = 64
		rgw_enable_usage_log = false
		# What is removed stays two hours, and a full OSD hangs.
		rgw_gc_obj_min_wait = 2
		rgw_gc_processor_period = 2
		rgw_gc_processor_max_time = 60
		rgw_lc_debug_interval = -1
		# With it every wrong key is told as AccessDenied.
		rgw_s3_auth_use_sts = ${RGW_SESSIONS:-false}
		rgw_sts_key = abcdefghijklmnop
		${RGW_MORE:-}
	END
}

rgw_ceph() { # <program> <argument>...
	CEPH_CONF=$rgw_dir/ceph.conf "$@"
}

osd_is_active() {
	rgw_ceph ceph --admin-daemon "$rgw_dir/run/osd.0.asok" status 2>/dev/null |
		grep -q '"state": "active"'
}

rgw_answers() {
	[ "$(s3_curl GET / -o /dev/null -w '%{http_code}' 2>/dev/null)" = 200 ]
}

# start_gateway: radosgw alone, after it was stopped or killed.
start_gateway() {
	rgw_ceph serve radosgw "$rgw_dir/log" radosgw -f -n client.rgw
	rgw_pid=$serve_pid
	await "radosgw does not answer" "$rgw_pid" rgw_answers
}

# start_radosgw: up in two to three seconds.
start_radosgw() {
	requires radosgw ceph-mon ceph-osd ceph radosgw-admin monmaptool \
		openssl curl
	rgw_dir=$work/rgw
	rgw_address=$server_address
	mkdir -p "$rgw_dir/mon" "$rgw_dir/osd" "$rgw_dir/rgw" "$rgw_dir/run" \
		"$rgw_dir/log"
	free_ports 3
	# shellcheck disable=SC2086 # words
	set -- $free_ports
	rgw_mon_port=$1 rgw_port=$2 rgw_tls_port=$3

	make_ca "$rgw_dir" ca
	make_certificate "$rgw_dir" ca tls "IP:$rgw_address,DNS:localhost,DNS:*.localhost"
	cat "$rgw_dir/tls.crt" "$rgw_dir/tls.key" >"$rgw_dir/tls.pem"
	radosgw_conf >"$rgw_dir/ceph.conf"
	s3_key=TESTACCESSKEY0000001
	s3_secret=testsecretkey0000000000000000000000000001
	s3_region=us-east-1
	s3_url=http://$rgw_address:$rgw_port
	s3_tls_url=https://$rgw_address:$rgw_tls_port
	s3_ca=$rgw_dir/ca.crt

	start_cluster >"$rgw_dir/log/cluster.out" 2>&1 || {
		tail -20 "$rgw_dir"/log/*.out
		fail "Ceph does not start"
	}
	start_gateway
}

start_cluster() {
	rgw_ceph monmaptool --create --clobber \
		--fsid "$(sed -n 's/^fsid = //p' "$rgw_dir/ceph.conf")" \
		--addv a "[v2:$rgw_address:$rgw_mon_port]" "$rgw_dir/monmap" &&
		rgw_ceph ceph-mon --mkfs -i a --monmap "$rgw_dir/monmap" || return 1
	rgw_ceph serve mon "$rgw_dir/log" ceph-mon -f -i a \
		--public-addr "v2:$rgw_address:$rgw_mon_port"
	mon_pid=$serve_pid
	start_cluster_osd=$(cat /proc/sys/kernel/random/uuid)
	rgw_ceph ceph --connect-timeout 60 osd new "$start_cluster_osd" 0 &&
		rgw_ceph ceph-osd --mkfs -i 0 --osd-uuid "$start_cluster_osd" ||
		return 1
	rgw_ceph serve osd "$rgw_dir/log" ceph-osd -f -i 0
	osd_pid=$serve_pid
	# Who comes before it is active waits five seconds more.
	await "the OSD does not start" "$osd_pid" osd_is_active
	rgw_ceph radosgw-admin -n client.rgw user create --uid=test \
		--display-name=test --access-key="$s3_key" \
		--secret-key="$s3_secret" --max-buckets=0
}

rgw_admin() {
	rgw_ceph radosgw-admin -n client.rgw "$@"
}

rgw_api() { # <service> <form>
	printf 'user = "%s:%s"\n' "$s3_key" "$s3_secret" |
		curl -sS -f -K - --max-time 60 --aws-sigv4 "aws:amz:us-east-1:$1" \
			-d "$2" "$s3_url/" || fail "radosgw's API refuses: $2"
}

# s3_session: a temporary key with a token; sets $session_key, $session_secret
# and $session_token, where RGW_SESSIONS is "true". It is good for 15 minutes, radosgw has none that are
# shorter.
s3_session() {
	[ -e "$rgw_dir/may-have-sessions" ] || {
		rgw_admin caps add --uid=test --caps='user-policy=*' \
			>"$rgw_dir/may-have-sessions" 2>&1 || fail "no caps"
		rgw_api iam 'Action=PutUserPolicy&PolicyName=P&UserName=test&PolicyDocument={"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["*"],"Resource":"*"}]}' >"$work/policy.out"
	}
	rgw_api sts 'Action=GetSessionToken&DurationSeconds=900' >"$work/session.xml"
	session_key=$(session_value AccessKeyId)
	session_secret=$(session_value SecretAccessKey)
	session_token=$(session_value SessionToken)
}

session_value() {
	sed -n "s/.*<$1>\([^<]*\).*/\1/p" "$work/session.xml"
}
