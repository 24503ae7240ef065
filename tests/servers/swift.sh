# shellcheck shell=sh
# OpenStack Swift with its S3 face for one test: the server that refuses
# conditional writes. Sourced by servers.sh, which says what it offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

# All rings in one process; swift-ring-builder would be nine.  The module is
# Debian's, whatever python3 somebody has before it.
swift_rings() {
	PYTHONWARNINGS=ignore /usr/bin/python3 - "$swift_dir" "$server_address" "$@" <<-'END'
		import sys
		from swift.common.ring.builder import RingBuilder
		where, address, *ports = sys.argv[1:]
		for kind, port in zip(('account', 'container', 'object'), ports):
		    ring = RingBuilder(4, 1, 0)
		    ring.add_dev({'region': 1, 'zone': 1, 'ip': address, 'weight': 1.0,
		                  'port': int(port), 'device': 'd1',
		                  'replication_ip': address, 'meta': '',
		                  'replication_port': int(port)})
		    ring.rebalance()
		    ring.get_ring().save('%s/%s.ring.gz' % (where, kind))
	END
}

swift_part() { # <part> <port>
	cat >"$swift_dir/$1.conf" <<-END
		[DEFAULT]
		bind_ip = $server_address
		bind_port = $2
		workers = 0
		user = $(id -un)
		swift_dir = $swift_dir
		devices = $swift_dir/srv
		mount_check = false
		disable_fallocate = true
		fallocate_reserve = 0
		log_level = WARNING
		[pipeline:main]
		pipeline = $1-server
		[app:$1-server]
		use = egg:swift#$1
	END
	serve "$1" "$swift_dir/log" swift-"$1"-server "$swift_dir/$1.conf"
	swift_pids="$swift_pids $serve_pid"
}

swift_proxy() { # <port> <memcached's port>
	cat >"$swift_dir/proxy.conf" <<-END
		[DEFAULT]
		bind_ip = $server_address
		bind_port = $1
		workers = 0
		user = $(id -un)
		swift_dir = $swift_dir
		log_level = WARNING
		[pipeline:main]
		pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth copy slo dlo versioned_writes symlink proxy-server
		[app:proxy-server]
		use = egg:swift#proxy
		allow_account_management = true
		account_autocreate = true
		[filter:tempauth]
		use = egg:swift#tempauth
		user_test_tester = $s3_secret .admin
		[filter:s3api]
		use = egg:swift#s3api
		location = $s3_region
		dns_compliant_bucket_names = true
		s3_acl = false
		storage_domain = localhost
		[filter:cache]
		use = egg:swift#memcache
		memcache_servers = $server_address:$2
		[filter:versioned_writes]
		use = egg:swift#versioned_writes
		allow_object_versioning = true
	END
	for swift_filter in catch_errors gatekeeper listing_formats copy slo dlo \
		symlink; do
		printf '[filter:%s]\nuse = egg:swift#%s\n' $swift_filter $swift_filter
	done >>"$swift_dir/proxy.conf"
	serve proxy "$swift_dir/log" swift-proxy-server "$swift_dir/proxy.conf"
	swift_pids="$swift_pids $serve_pid"
}

# A token for Swift's own protocol: curl cannot sign for a key with a colon.
swift_answers() {
	swift_token=$(curl -sS -D - -o /dev/null "$s3_url/auth/v1.0" \
		-H "X-Auth-User: $s3_key" -H "X-Auth-Key: $s3_secret" \
		2>/dev/null | tr -d '\r' | sed -n 's/^[Xx]-[Aa]uth-[Tt]oken: //p')
	[ -n "$swift_token" ] && swift_curl GET '' -f -o /dev/null 2>/dev/null
}

swift_curl() { # <method> <path in the account> [option...]
	swift_curl_method=$1 swift_curl_path=$2
	shift 2
	curl -sS --max-time 60 -X "$swift_curl_method" \
		-H "X-Auth-Token: $swift_token" "$@" \
		"$s3_url/v1/AUTH_test$swift_curl_path"
}

start_swift() {
	requires swift-proxy-server swift-object-server swift-container-server \
		swift-account-server memcached curl
	swift_dir=$work/swift
	mkdir -p "$swift_dir/srv/d1" "$swift_dir/log"
	s3_key=test:tester s3_secret=testing-0123456789 s3_region=us-east-1
	free_ports 5
	# shellcheck disable=SC2086 # words
	set -- $free_ports
	s3_url=http://$server_address:$4
	swift_rings "$1" "$2" "$3" || fail "no rings"
	swift_pids=
	swift_part account "$1"
	swift_part container "$2"
	swift_part object "$3"
	serve memcached "$swift_dir/log" memcached -u "$(id -un)" \
		-l "$server_address" -p "$5" -m 32
	swift_proxy "$4" "$5"
	await "Swift does not answer" "$serve_pid" swift_answers
}
