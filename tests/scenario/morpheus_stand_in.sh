#!/bin/sh
# The stand-in for a Morpheus appliance does what it is asked, checks what it
# receives, and fails as it is told to.
if [ -z "${SSH_INSIDE:-}" ] && [ "$(id -u)" -eq 0 ]; then
	SSH_INSIDE=1 exec unshare --net --mount sh "$0"
fi
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_morpheus.sh
. "$here/lib_morpheus.sh"

server 11 web on 3 '"writes":true'
server 12 db off 2 '"style":"overlay"'
server 13 alone on 1 '"instance":null'
hypervisor_begin
morpheus_begin --power 30 --step 20 --revert 30 --delete 30
json='Content-Type: application/json'

# says <expression> <method> <path> [option...]: jq agrees with the answer.
says() {
	says_what=$1
	shift
	api "$@" >"$work/said"
	jq -e "$says_what" <"$work/said" >/dev/null ||
		fail "$2 is not $says_what: $(cat "$work/said")"
}
complains() { # <pattern>: once, and that is forgotten
	[ "$(grep -cE '^! ' "$log")" -eq 1 ] && grep -qE "^! [0-9]+ $1" "$log" ||
		fail "no complaint of $1: $(grep '^!' "$log")"
	forget_log
}
process_ends() { # <as>: the last one of $work/said
	until_true "no $1" process_is "$(jq '.processIds[0]' <"$work/said")" "$1"
}
process_is() {
	api GET "/api/processes/$1" | jq -e ".process.status == \"$2\"" >/dev/null
}
snap() { # <server> <name>
	says '.success and (.processIds | length == 1)' PUT \
		"/api/servers/$1/snapshot" -H "$json" \
		-d "{\"snapshot\":{\"name\":\"$2\",\"forExport\":true}}"
}
export_of() { # <server> <name>
	api GET "/api/servers/$1/snapshots" | jq -r ".snapshots[] |
		select(.name == \"$2\") | .snapshotFiles[0].exportPath // \"none\""
}
id_of() { # <server> <name>
	api GET "/api/servers/$1/snapshots" |
		jq ".snapshots[] | select(.name == \"$2\").id"
}
lists() { # <server> <name>
	[ -n "$(id_of "$1" "$2")" ]
}
none_of() { # <server>
	[ "$(snapshots "$1")" -eq 0 ]
}

says '.servers | length == 3' GET '/api/servers?vm=true'
says '.servers | length == 4' GET '/api/servers'
says '(.servers | map(.id)) == [12] and .meta.total == 3' GET \
	'/api/servers?vm=true&max=1&offset=1'
says '.server.instance.id == 110 and .server.parentServer.id == 1' GET \
	/api/servers/11
says '.server.instance == null' GET /api/servers/13
says '.instance.status == "running"' GET /api/instances/110
no_complaint
api_token=nobodys
says '.error == "invalid_token"' GET /api/servers/11
complains 'a token that nobody gave'
api_token=
curl -s "$url/api/servers" | jq -e '.success == false' >/dev/null ||
	fail "served without a token"
complains 'no token'
curl -s "$url/oauth/token" -H "$json" -d '{"grant_type":"password"}' >/dev/null
complains 'no form'
says '.success == false' PUT /api/servers/11/snapshot -d '{"snapshot":{}}'
complains 'a body that is no JSON'
says '.success == false' DELETE /api/instances/110/delete-all-snapshots
complains delete-all
says '.success == false' GET /api/servers/99
asked 1 'GET /api/servers/99 404 [0-9]+ Bearer - e3b0c44298fc1c14'
ok "servers are listed by pages, and what no client may send is said"

faults 'expire path=/api/servers/11 times=1'
says '.error == "invalid_token"' GET /api/servers/11
curl -s "$url/oauth/token" -d grant_type=password -d scope=write \
	-d client_id=morph-api -d username=fleet -d password=let-me-in >"$work/t"
curl -s "$url/oauth/token" -d grant_type=refresh_token -d client_id=morph-api \
	-d "refresh_token=$(jq -r .refresh_token <"$work/t")" >"$work/t2"
api_token=$(jq -r .access_token <"$work/t2")
says '.server.id == 11' GET /api/servers/11
faults 'expire-all path=/api/servers/11 times=1'
says '.error == "invalid_token"' GET /api/servers/11
curl -s "$url/oauth/token" -d grant_type=refresh_token -d client_id=morph-api \
	-d "refresh_token=$(jq -r .refresh_token <"$work/t2")" |
	jq -e '.error == "invalid_grant"' >/dev/null || fail "refreshed"
! grep -q let-me-in "$log" || fail "a password is in the log"
no_complaint
api_token=
ok "tokens expire, are refreshed, and no longer are"

snap 11 while-on
process_ends complete
[ "$(export_of 11 while-on)" != none ] || fail "nothing is exported"
on_h1 "cmp /srv/web-0 '$(export_of 11 while-on)'" >/dev/null &&
	fail "the guest does not write"
says .success PUT /api/servers/11/stop
until_true "it does not stop" has_power 11 off
snap 11 once
process_ends complete
says '.snapshots[1] | .status == "complete" and
	(.snapshotFiles | length == 1) and .snapshotFiles[0].volume.id == 1101 and
	.snapshotFiles[0].path == "/srv/web-0"' GET /api/servers/11/snapshots
on_h1 "cmp /srv/web-0 '$(export_of 11 once)'" || fail "another disk"
[ ! -e "$(export_of 11 once)" ] || fail "the path is in sight of everybody"
no_complaint
snap 11 once
complains 'another snapshot once'
process_ends complete
cp "$h1/web-0" "$work/web-0"
says .success PUT /api/servers/11/start
until_true "it does not start" has_power 11 on
until_true "the guest does not write" sh -c "! cmp -s '$h1/web-0' '$work/web-0'"
says .success PUT "/api/instances/110/revert-snapshot/$(id_of 11 while-on)"
until_true "nothing is reverted" grep -q '^= revert 11 while-on' "$log"
until_true "it does not come back" has_power 11 on
for id in $(api GET /api/servers/11/snapshots | jq '.snapshots[].id'); do
	says .success DELETE "/api/snapshots/$id"
done
until_true "snapshots stay" none_of 11
[ -z "$(find "$h1" -name "*snap*")" ] || fail "files stay"
done_so 1 'start 11'
done_so 0 'stop 11'
done_so 1 'revert 11 while-on'
done_so 3 'delete 11'
no_complaint
ok "power, snapshots, revert and removal are carried out, and counted"

sha256sum <"$h1/db-0" >"$work/sum"
snap 12 base
process_ends complete
[ "$(export_of 12 base)" = /srv/db-0 ] || fail "the base is not exported"
live=$(api GET /api/servers/12/snapshots |
	jq -r '.snapshots[0].snapshotFiles[0].path')
on_h1 "echo changed | dd of='$live' conv=notrunc status=none"
says .success PUT "/api/instances/120/revert-snapshot/$(id_of 12 base)"
until_true "nothing is reverted" grep -q '^= revert 12' "$log"
on_h1 "sha256sum <'$live'" | cmp - "$work/sum" || fail "not reverted"
[ "$(power_of 12)" = off ] || fail "it was off"
ok "a machine goes on in an overlay, and comes back from its base"

faults 'process=failed path=*/13/snapshot times=1' \
	'process=expired path=*/13/snapshot skip=1 times=1' \
	'late=600000 path=*/13/snapshot skip=1 times=1' \
	'export=live path=*/13/snapshot skip=2 times=1' \
	'export=missing path=*/13/snapshot skip=3 times=1' \
	'export=moving path=*/13/snapshot skip=4 times=1' \
	'export=odd path=*/13/snapshot skip=5 times=1' \
	'similar path=*/13/snapshot skip=5 times=1' \
	'export=link path=*/13/snapshot skip=6 times=1' \
	'late=60 path=*/13/snapshot skip=6 times=1'
snap 13 s1
process_ends failed
says '.snapshots[0].status == "failed"' GET /api/servers/13/snapshots
snap 13 s2
process_ends expired
[ -z "$(id_of 13 s2)" ] || fail "not late"
done_so 1 'snapshot 13 on s2'
for n in 3 4 5 6 7; do
	snap 13 s$n
	process_ends complete
done
[ "$(export_of 13 s3)" = /srv/alone-0 ] || fail "not the live path"
[ "$(export_of 13 s4)" = none ] || fail "there is a path"
moving=$(export_of 13 s5)
on_h1 "sha256sum <'$moving'" >"$work/sum"
until_true "it does not move" sh -c \
	"! sha256sum <'$h1/${moving#/srv/}' | cmp -s - '$work/sum'"
odd=$(export_of 13 s6)
case $odd in *\$*\'*\"*\;*) ;; *) fail "not odd: $odd" ;; esac
[ -f "$h1/${odd#/srv/}" ] || fail "$odd is not there"
says '[.snapshots[].name] | contains(["copy of s6", "s6-old", "s"])' GET \
	/api/servers/13/snapshots
until_true "s7 is not listed" lists 13 s7
[ "$(on_h1 "readlink '$(export_of 13 s7)'")" = /srv/alone-0 ] || fail "no link"
ok "processes fail and expire, snapshots come late, and what is exported is wrong"

faults 'revert=off' 'power-lag=600000 path=*/11/stop' 'refused path=*/12/start times=1' \
	'errors path=*/12/start skip=1 times=1' 'lost path=*/12/start skip=2 times=1' \
	'error-late=503 path=*/13/stop' 'html=502 path=*/servers/1' \
	'page=2 path=/api/servers*' 'total=9 path=/api/servers*' \
	'status=odd path=/api/servers/12' 'stuck path=*/13/start'
forget_log
snap 11 last
process_ends complete
says .success PUT "/api/instances/110/revert-snapshot/$(id_of 11 last)"
until_true "nothing is reverted" grep -q '^= revert 11 last' "$log"
has_power 11 off || fail "it is on again"
says .success PUT /api/servers/11/start
until_true "it does not start" has_power 11 on
says .success PUT /api/servers/11/stop
until_true "it does not stop" grep -q '^= stop 11' "$log"
[ "$(power_of 11)" = on ] || fail "no lag"
says '.success == false' PUT /api/servers/12/start
says '.success and (.errors | length > 0)' PUT /api/servers/12/start
done_so 0 'start 12'
! api PUT /api/servers/12/start >/dev/null || fail "not lost"
until_true "it does not start" grep -q '^= start 12' "$log"
says .msg PUT /api/servers/13/stop
until_true "it does not stop" grep -q '^= stop 13' "$log"
api GET /api/servers/1 | grep -q '<html>' || fail "no page"
says '(.servers | length == 2) and .meta.total == 9' GET '/api/servers?max=50'
says '.server.status == "odd"' GET /api/servers/12
says .success PUT /api/servers/13/start
has_power 13 off || fail "not stuck"
asked 4 'PUT /api/servers/12/start|PUT /api/servers/13/start'
no_complaint
ok "answers are lost, late, wrong, and power lags"

faults
disk_of alone-1 1 rbd
morpheus_end
server 14 blocks off 1 '"volumes":[
	{"id":141,"name":"root","file":"blocks-0","type":"block"},
	{"id":142,"name":"data","file":"alone-1","type":"rbd"}]'
morpheus_begin --step 10 --delete 10
api_token=
snap 14 devices
process_ends complete
api GET /api/servers/14/snapshots | jq -r '.snapshots[0].snapshotFiles[] |
	.type + " " + .exportPath' >"$work/exported"
device=$(sed -n 's/^block //p' "$work/exported")
image=$(sed -n 's/^rbd //p' "$work/exported")
on_h1 "cat $device" | cmp - "$h1/blocks-0" || fail "another device"
on_h1 "rbd export $image -" | cmp - "$h1/alone-1" || fail "another image"
says .success DELETE "/api/snapshots/$(id_of 14 devices)"
until_true "it stays" none_of 14
! losetup -a | grep -q "$work" || fail "a device stays"
ok "devices and images are exported"
