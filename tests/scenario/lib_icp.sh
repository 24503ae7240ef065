# shellcheck shell=sh
# A stand-in for the `icp` command; tests/servers/icp_main.c says what it does,
# and how it is made to go wrong.
# shellcheck disable=SC2034,SC2154 # lib.sh's; for the scenarios
#
#	$icp           the command       $icp_dir      what it knows
#	$icp_root $icp_app $icp_worker   ids that a fleet may have
#	$icp_dir/canisters/ID/           what is in a canister
#
#	icp_canister "$icp_root" root Running        ; before its first run
#	icp_canister "$icp_app" app Running "$icp_root"
#	icp_rules 'die-after command=canister_stop_* times=1' ...   ; none: well
#	icp_effects 1 "stop $icp_app"    ; so many of them were done
#	icp_ran 2 "canister stop .*"     ; so many times it was run
#	icp_fair                         ; nothing that nobody may do
#	icp_is "$icp_app" Running        ; what it is
#	icp_change "$icp_app" words      ; another content, and then
#	icp_same "$icp_app" DIRECTORY    ; the same as a copy of it

icp=$work/icp
icp_dir=$work/icp.dir
icp_root=aaaaa-aa
icp_app=renrk-eyaaa-aaaaa-aaada-cai
icp_worker=rno2w-sqaaa-aaaaa-aaacq-cai
mkdir -p "$icp_dir/canisters"
ln -sf "$bin/servers/icp" "$icp"
: >"$icp_dir/effects"
: >"$icp_dir/log"

icp_canister() { # <id> <role> <status> [parent] [more members]
	icp_at=$icp_dir/canisters/$1
	mkdir -p "$icp_at"
	seq 1 30000 | sed "s/\$/ module $2/" >"$icp_at/wasm_module.bin"
	seq 1 40000 | sed "s/\$/ memory $1/" >"$icp_at/wasm_memory.bin"
	truncate -s 1M "$icp_at/wasm_memory.bin"
	echo "stable $1" >"$icp_at/stable_memory.bin"
	printf '%s{"id":"%s","role":"%s","status":"%s","parent":"%s"%s}' \
		"${icp_sep:-}" "$1" "$2" "$3" "${4:-}" "${5:+,$5}" \
		>>"$work/canisters"
	icp_sep=,
	echo "[$(cat "$work/canisters")]" >"$icp_dir/canisters.json"
}

icp_rules() { # [rule...]
	icp_rules_n=$((${icp_rules_n:-0} + 1))
	echo "# $icp_rules_n" >"$icp_dir/rules.new"
	for icp_rule; do
		echo "$icp_rule" >>"$icp_dir/rules.new"
	done
	mv "$icp_dir/rules.new" "$icp_dir/rules"
}

icp_effects() { # <count> <pattern>
	icp_n=$(grep -cxE "$2" "$icp_dir/effects" || :)
	[ "$icp_n" -eq "$1" ] || {
		sed 's/^/      effect: /' "$icp_dir/effects"
		fail "done $icp_n times, not $1: $2"
	}
}

icp_ran() { # <count> <pattern>
	icp_n=$(grep -cxE "[0-9]+ begin $2" "$icp_dir/log" || :)
	[ "$icp_n" -eq "$1" ] || fail "run $icp_n times, not $1: icp $2"
}

icp_fair() {
	! grep '^!' "$icp_dir/log" || fail "the stand-in complains"
}

# What was complained of is forgotten, for a test that wants to see it.
icp_complained() { # <pattern>
	grep "^! .*$1" "$icp_dir/log" >/dev/null || fail "no complaint: $1"
	sed '/^!/d' "$icp_dir/log" >"$icp_dir/log.new"
	cat "$icp_dir/log.new" >"$icp_dir/log"
}

# Without looking: a look may change it.
icp_is() { # <id> <status>
	tr -d '\n ' <"$icp_dir/state.json" |
		grep -q "\"id\":\"$1\",[^{]*\"status\":\"$2\"" ||
		fail "$1 is not $2"
}

icp_change() { # <id> <words>
	echo "$2 of $1" >>"$icp_dir/canisters/$1/stable_memory.bin"
}

icp_same() { # <id> <directory>
	diff -r "$2" "$icp_dir/canisters/$1" >/dev/null || fail "$1 is another"
}

icp_snapshots() { # <id>: how many there are
	find "$icp_dir/snapshots" -mindepth 1 -maxdepth 1 -name "$1-*" \
		2>/dev/null | wc -l
}

# icp_fleet [line...]: fleetbak.yaml, with more options of the source, and who
# may be asked by whom.
icp_fleet() {
	cat >"$work/fleetbak.yaml" <<-END
		fleet: {name: demo}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		units:
		  fleet: {subtree: ic/$icp_root}
		sources:
		  ic:
		    driver: icp
		    icp: ./icp
		    icp_environment: here
		    identity: operator
		    identity_password_file: ./secret
		    root_canister: $icp_root
		    spool: ./spool
		    settle_time: 100ms
	END
	for icp_line; do
		echo "    $icp_line" >>"$work/fleetbak.yaml"
	done
	echo here >"$icp_dir/environment"
	echo operator >"$icp_dir/identity"
	echo hush >"$work/secret"
	echo hush >"$icp_dir/password"
}

icp_begin() { # [rule...]: what is done is counted from here
	: >"$icp_dir/effects"
	: >"$icp_dir/log"
	icp_rules "$@"
}
