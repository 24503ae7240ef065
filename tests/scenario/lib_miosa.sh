# shellcheck shell=sh
# A stand-in for MIOSA with computers; tests/servers/miosa_main.c says what it
# does, and how it is made to go wrong.
# shellcheck disable=SC2034,SC2154 # lib.sh's; for the scenarios
#
#	$cloud          its directory    $cloud_rules  $cloud_log
#	$cloud_key      the key          $base         its base URL
#	$cloud/computers/ID              what is on a computer's disk
#
#	miosa_computer comp_a running    ; to be there when it begins
#	miosa_begin [option...]          ; miosa_end; begun again it has the
#	                                 ; same state, and the same port
#	miosa_rules 'lost times=1' ...   ; in place of all rules; none: all well
#	api GET /computers [option...]   ; one request, as curl does it
#	effects 1 'restore comp_a .*'    ; so many of them were done
#	miosa_asked 2 'POST /api/v1/...' ; so many requests were answered
#	miosa_fair                       ; no request was one that nobody may send

requires curl tar
miosa_pid=
miosa_end() {
	[ -z "$miosa_pid" ] || kill -KILL "$miosa_pid" 2>/dev/null || :
	[ -z "$miosa_pid" ] || wait "$miosa_pid" 2>/dev/null || :
	miosa_pid=
}
trap 'miosa_end; clear_work' EXIT

cloud=$work/cloud
cloud_rules=$work/cloud.rules
cloud_log=$work/cloud.log
cloud_keys=$work/cloud.keys
cloud_key=msk_u_0123456789abcdef
miosa_port=

# miosa_computer <id> <status> [members...]: a computer with some files.
miosa_computer() {
	miosa_at=$cloud/computers/$1
	mkdir -p "$miosa_at/data/sub" "$miosa_at/etc" "$miosa_at/data/empty dir"
	echo "hello from $1" >"$miosa_at/data/hello.txt"
	seq 1 60000 | sed "s/\$/ $1/" >"$miosa_at/data/sub/numbers"
	: >"$miosa_at/data/empty"
	ln -s ../hello.txt "$miosa_at/data/sub/link"
	echo "$1" >"$miosa_at/etc/hostname"
	chmod 640 "$miosa_at/data/hello.txt"
	printf '%s{"id":"%s","status":"%s"%s}' "${miosa_sep:-}" "$1" "$2" \
		"${3:+,$3}" >>"$work/computers"
	miosa_sep=,
}

miosa_begin() { # [option...]
	mkdir -p "$cloud"
	echo "[$(cat "$work/computers")]" >"$cloud/machines.json"
	[ -e "$cloud/effects" ] || : >"$cloud/effects"
	[ -e "$cloud_keys" ] || echo "$cloud_key" >"$cloud_keys"
	: >"$cloud_rules"
	: >>"$cloud_log"
	rm -f "$work/cloud.port"
	"$bin/servers/miosa" --port-file "$work/cloud.port" \
		${miosa_port:+--port "$miosa_port"} --rules "$cloud_rules" \
		--log "$cloud_log" --key-file "$cloud_keys" "$@" "$cloud" \
		>"$work/cloud.out" 2>&1 </dev/null &
	miosa_pid=$!
	until_true "the stand-in does not begin" test -s "$work/cloud.port"
	miosa_port=$(cat "$work/cloud.port")
	base=http://127.0.0.1:$miosa_port/api/v1
}

# All at once, because it reads them at any time.
miosa_rules() { # [rule...]
	miosa_rules_n=$((${miosa_rules_n:-0} + 1))
	echo "# $miosa_rules_n" >"$cloud_rules.new"
	for miosa_rule; do
		echo "$miosa_rule" >>"$cloud_rules.new"
	done
	mv "$cloud_rules.new" "$cloud_rules"
}

# What it answers; its status is in $work/status.
api() { # <method> <path> [option...]
	api_method=$1 api_path=$2
	shift 2
	curl -s -m 30 -o "$work/answer" -D "$work/answer.head" \
		-w '%{http_code}' -X "$api_method" \
		-H "Authorization: Bearer $cloud_key" \
		-H 'Accept: application/json' "$@" "$base$api_path" \
		>"$work/status" || return 1
	cat "$work/answer"
}

# api_is <status> <method> <path> [option...]
api_is() {
	api_want=$1
	shift
	api "$@" >"$work/api.out" || :
	[ "$(cat "$work/status")" = "$api_want" ] || {
		head -c 500 "$work/answer"
		fail "$(cat "$work/status") instead of $api_want: $*"
	}
}

effects() { # <count> <pattern>
	effects_n=$(grep -cxE "$2" "$cloud/effects" || :)
	[ "$effects_n" -eq "$1" ] || {
		sed 's/^/      effect: /' "$cloud/effects"
		fail "done $effects_n times, not $1: $2"
	}
}

miosa_asked() { # <count> <pattern>
	asked_n=$(grep -cE "^[0-9]+ $2" "$cloud_log" || :)
	[ "$asked_n" -eq "$1" ] || fail "asked $asked_n times, not $1: $2"
}

miosa_fair() {
	! grep '^!' "$cloud_log" || fail "the stand-in complains"
	[ ! -s "$work/cloud.out" ] || fail "$(cat "$work/cloud.out")"
}

# What was complained of is forgotten, for a test that wants to see it.
miosa_complained() { # <pattern>
	grep "^! .*$1" "$cloud_log" >/dev/null ||
		fail "no complaint: $1"
	sed '/^!/d' "$cloud_log" >"$cloud_log.new"
	cat "$cloud_log.new" >"$cloud_log"
}

# miosa_fleet [line...]: fleetbak.yaml, with more options of the source.
miosa_fleet() {
	cp "$cloud_keys" "$work/key"
	chmod 600 "$work/key"
	cat >"$work/fleetbak.yaml" <<-END
		fleet: {name: demo}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  cloud:
		    driver: miosa
		    url: "$base"
		    api_key: "file:./key"
		    settle_time: 300ms
	END
	for miosa_line; do
		printf '    %s\n' "$miosa_line" >>"$work/fleetbak.yaml"
	done
	export FLEETBAK_CONFIG="$work/fleetbak.yaml"
}

status_is() { # <computer> <status>
	api GET "/computers/$1" | grep -q "\"status\": *\"$2\"" ||
		fail "$1 is not $2: $(api GET "/computers/$1")"
}

same_tree() { # <computer> <directory>
	diff -r --no-dereference "$cloud/computers/$1" "$2" ||
		fail "$1 is another"
}

# fails <pattern> <command>...: it does, and says so.
fails() {
	fails_with=$1
	shift
	! "$@" >"$work/failure" 2>&1 || fail "it passes: $*"
	grep -q "$fails_with" "$work/failure" ||
		fail "$fails_with: $(cat "$work/failure")"
}

miosa_kept() { # <count>: so many snapshots are with the provider
	miosa_n=$(find "$cloud/snapshots" -mindepth 1 -maxdepth 1 \
		2>/dev/null | wc -l)
	[ "$miosa_n" -eq "$1" ] || fail "$miosa_n snapshots, not $1${2:+: $2}"
}
