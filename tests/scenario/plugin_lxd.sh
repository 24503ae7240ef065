#!/bin/sh
# Containers of a real LXD, by the plugin that ships as an example.
if [ -z "${LXD_INSIDE:-}" ] && [ "$(id -u)" -eq 0 ]; then
	LXD_INSIDE=1 exec unshare --net --mount sh "$0"
fi
. "$(dirname "$0")/lib.sh"
. "$here/../servers/lxd.sh"
requires_root
requires lxd lxc busybox ip openssl jq tar /usr/bin/python3

dir=$work/d
plugin=$here/../../fixtures/plugins/lxd
relay=
trap '[ -z "$relay" ] || kill "$relay"; lxd_down "$dir"; clear_work' EXIT
mkdir "$dir"
chmod 711 "$work" # root of a container is nobody here
lxd_up "$dir" 8449 || fail "LXD does not start: $(tail -5 "$dir/lxd.log")"
for c in fbt1 fbt2; do
	lxc -q launch bb $c >/dev/null 2>&1 || fail "$c does not run"
done
on() { # CONTAINER COMMAND
	lxc -q exec "$1" -- sh -c "$2" </dev/null
}
booted() { # CONTAINER
	on "$1" 'test -s /data/boots'
}
for c in fbt1 fbt2; do
	until_true "$c does not come up" booted $c
	on $c "seq 1 200000 >/data/numbers; echo before >/data/file
		ln -s file /data/soft; ln /data/file /data/hard
		chown 7:8 /data/numbers; chmod 640 /data/numbers"
done
cd "$work"
: >relay.log
"$here/../servers/lxd_relay.py" "$work/sock" "$dir/lxd/unix.socket" \
	"$work/relay.log" "$work/faults" &
relay=$!
until_true "the relay does not listen" [ -S sock ]
configure() { # OPTIONS [SETTINGS]
	cat >fleetbak.yaml <<-EOF
		fleet: {name: demo}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  lxd:
		    driver: plugin
		    command: [$plugin]
		    options: {$1}
		    ${2:-}
	EOF
}
is() { # CONTAINER STATUS
	[ "$(lxc list -f csv -c s "^$1\$")" = "$2" ]
}
nothing_left() { # WHAT
	lxc list -f csv -c nS >left
	! grep -q fleetbak left || fail "$1: $(cat left)"
	[ "$(cut -d, -f2 left | sort -u)" = 0 ] ||
		fail "$1: a snapshot is left: $(cat left)"
}

expect 0 "$fb" driver test --option "socket=$dir/lxd/unix.socket" \
	--machine fbt1 --as fbt3 --json "$plugin"
[ "$(field failed)" = 0 ] && [ "$(field skipped)" = 0 ] ||
	fail "$(cat "$work/stdout")"
nothing_left "the suite"
lxc -q start fbt3 2>/dev/null
until_true "fbt3 does not come up" booted fbt3
[ "$(on fbt3 'stat -c %u:%g:%a /data/numbers')" = 7:8:640 ] ||
	fail "its files are another's"
lxc -q delete -f fbt3
ok "the plugin keeps its contract, and what it makes runs"

tls="url=https://127.0.0.1:8449"
expect 0 "$fb" driver test --option "$tls" \
	--option "client_cert=$dir/client.crt" \
	--option "client_key=$dir/client.key" \
	--option "server_cert=$dir/lxd/server.crt" "$plugin"
expect 1 "$fb" driver test --option "$tls" \
	--option "server_cert=$dir/lxd/server.crt" "$plugin"
grep -q 'FAIL  *probe.*AUTH' "$work/stdout" || fail "it is let in"
expect 1 "$fb" driver test --option "$tls" \
	--option "server_cert=$dir/client.crt" "$plugin"
grep -q 'FAIL  *probe.*UNREACHABLE' "$work/stdout" || fail "any server will do"
ok "over the network with a certificate of each side, and with none other"

configure "socket: $work/sock"
expect 0 "$fb" -c fleetbak.yaml init
expect 0 "$fb" -c fleetbak.yaml download
is fbt1 RUNNING && is fbt2 RUNNING || fail "one is down"
[ "$(on fbt1 'cat /data/boots' | tail -2 | tr '\n' ' ')" = 'down up ' ] ||
	fail "it was not shut down"
nothing_left "a night"
expect 0 "$fb" -c fleetbak.yaml verify --full
nothing_lost repo

# Another night; the archive breaks off, and goes on from there.
for c in fbt1 fbt2; do
	on $c 'echo second >/data/file; seq 7 400000 >/data/more'
done
: >relay.log
echo 'cut-1500000 GET /export' >faults
expect 0 "$fb" -c fleetbak.yaml download
cut=$(sed -n 's/.*bytes=0- -> 206 1500000$/cut/p' relay.log)
[ "$cut" = cut ] || fail "it was not cut: $(grep export relay.log)"
[ "$(grep -c 'export bytes=1500000- -> 206' relay.log)" = 1 ] &&
	[ "$(grep -c 'export bytes=' relay.log)" = 3 ] ||
	fail "not from there: $(grep export relay.log)"
expect 0 "$fb" -c fleetbak.yaml verify --full
nothing_left "a cut"
ok "two running containers are backed up, one of them by ranges"

: >relay.log
configure "socket: $work/sock" "stall_timeout: 2s"
echo 'hang-700000 GET /export' >faults
expect 0 "$fb" -c fleetbak.yaml download -s fbt1
grep -q 'export bytes=700000- -> 206' relay.log ||
	fail "not from there: $(grep export relay.log)"
configure "socket: $work/sock" "timeout: 2s"
echo 'hang GET /instances' >faults
expect 15 "$fb" -c fleetbak.yaml download
grep -q E-PLUGIN-TIMEOUT "$work/stderr" || fail "another reason"
configure "socket: $work/sock"
[ ! -s faults ] || fail "no fault: $(cat faults)"
ok "a server that says nothing hangs nobody"

for fault in 'PUT /instances/fbt1/state' 'POST /instances/fbt1/snapshots' \
	'DELETE /snapshots/'; do
	: >relay.log
	echo "kill $fault" >faults
	expect 0 "$fb" -c fleetbak.yaml download -s fbt1
	[ ! -s faults ] || fail "$fault: it did not happen"
	is fbt1 RUNNING || fail "$fault: it is down"
	nothing_left "$fault"
	[ "$(grep -c '^POST [^ ]*/fbt1/snapshots -' relay.log)" = 1 ] ||
		fail "$fault: $(cat relay.log)"
done
# While the archive is made, which no byte of has come yet.
echo 'kill POST /backups' >faults
expect 15 "$fb" -c fleetbak.yaml download -s fbt1
is fbt1 RUNNING || fail "it is down"
expect 0 "$fb" -c fleetbak.yaml download -s fbt1
nothing_left "the making of an archive"
ok "a plugin that is killed in the middle of an effect has it done once"

on fbt1 'echo after >/data/file; rm /data/numbers; echo x >/data/extra'
[ "$(lxc query /1.0/instances/fbt1 | jq -r '.config | has("user.x")')" = false ]
lxc -q config set fbt1 user.x=y
echo 'kill POST /instances/fleetbak-n-' >faults
expect 0 "$fb" -c fleetbak.yaml restore fbt1 --in-place --yes
[ ! -s faults ] || fail "it did not happen"
until_true "fbt1 does not come up" booted fbt1
[ "$(on fbt1 'cat /data/file /data/soft /data/hard' | tr '\n' ' ')" = \
	'second second second ' ] || fail "another file"
[ "$(on fbt1 'ls /data | tr "\n" " "')" = \
	'boots file hard more numbers soft ' ] || fail "another directory"
[ "$(on fbt1 'seq 1 200000 | cmp - /data/numbers && echo same')" = same ] ||
	fail "other numbers"
[ -z "$(lxc config get fbt1 user.x)" ] || fail "another configuration"
nothing_left "in place"
ok "in place, by a plugin that is killed while names change"

lxc -q delete -f fbt2
expect 0 "$fb" -c fleetbak.yaml restore fbt2 --in-place --yes --start
until_true "fbt2 does not come up" booted fbt2
[ "$(on fbt2 'cat /data/file')" = second ] || fail "another file"
expect 0 "$fb" -c fleetbak.yaml restore fbt2 --as fbt4 --yes
is fbt4 STOPPED || fail "it is not there, or runs"
lxc -q start fbt4 2>/dev/null
until_true "fbt4 does not come up" booted fbt4
lxc -q snapshot fbt4 mine
expect 20 "$fb" -c fleetbak.yaml restore fbt2 --as fbt4 --yes
lxc -q snapshot fbt2 mine
expect 1 "$fb" -c fleetbak.yaml restore fbt2 --in-place --yes
grep -q 'snapshot mine would be deleted' "$work/stderr" || fail "another reason"
is fbt2 RUNNING || fail "it is down"
expect 0 "$fb" -c fleetbak.yaml restore fbt1 --target out --volume root \
	--path backup/container/rootfs/data/numbers
seq 1 200000 | cmp - "$(find out -name numbers)" || fail "another file"
ok "one that is gone, another one, and a single file"
