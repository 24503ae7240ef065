#!/bin/sh
# Machines of a Morpheus appliance: found on all pages, stopped, snapshotted,
# started, read on the hypervisor over ssh, and back again; and whatever the
# appliance may do on the way.
if [ -z "${SSH_INSIDE:-}" ] && [ "$(id -u)" -eq 0 ]; then
	SSH_INSIDE=1 exec unshare --net --mount sh "$0"
fi
. "$(dirname "$0")/lib.sh"
requires qemu-nbd qemu-img python3
# shellcheck source=tests/scenario/lib_morpheus.sh
. "$here/lib_morpheus.sh"

server 11 web on 3 '"writes":true'
server 12 db off 2 '"style":"overlay"'
server 13 alone on 1 '"instance":null'
hypervisor_begin
api_token=by-hand
morpheus_begin --power 30 --step 20 --revert 30 --delete 30 \
	--token "$api_token"
cd "$work"
morpheus_fleet
cp "$h1/db-0" db.img
cp "$h1/alone-0" alone.img
expect 0 "$fb" init

faults 'page=1'
expect 0 "$fb" discover --json
cp stdout discovered
[ "$(jq '.data | length' <discovered)" -eq 3 ] || fail "$(cat discovered)"
grep -q '"cdrom"' discovered || fail "the drive is not listed"
expect 0 "$fb" topology
cp stdout topology
api PUT /api/servers/13/stop >answer
until_true "13 is up" has_power 13 off
expect 0 "$fb" topology
cmp stdout topology || fail "a stop is a change"
api PUT /api/servers/13/start >answer
until_true "13 is down" has_power 13 on
for rule in 'page=1,total=4' 'no-total' 'page=1,repeat'; do
	# shellcheck disable=SC2046 # each is a rule
	faults $(echo "$rule" | tr , ' ')
	expect 1 "$fb" download --dry-run
	grep -q E-API-LIST stdout stderr || fail "$rule: $(cat stdout stderr)"
done
faults
no_complaint
ok "machines are found on all pages, or the list is none"

expect 0 "$fb" plan
grep -q 'removable medium' stdout || fail "nobody says what is left out"
forget_log
expect 0 "$fb" download
for id in 11 12 13; do
	[ "$(snapshots $id)" -eq 0 ] || fail "a snapshot of $id is left"
	done_so 1 "snapshot $id off"
done
done_so 1 'stop 11'
done_so 1 'start 11'
done_so 0 'st[a-z]* 12'
[ -z "$(on_h1 'find /root/.fleetbak -type f')" ] || fail "a record is left"
has_power 11 on && has_power 12 off && has_power 13 on || fail "power"
no_complaint
expect 0 "$fb" verify --full
expect 0 "$fb" show alone --json
grep -q '"consistency": *"offline"' stdout || fail "$(cat stdout)"
expect 0 "$fb" restore db alone --target out
for name in db alone; do
	file=$(find out -name root.img -exec grep -l "$name" {} + | head -1)
	cmp "$file" $name.img || fail "$name is another"
done
! grep -rq let-me-in repo state stdout stderr || fail "a secret is kept"
ok "what is down or stopped is captured, whole, and nothing is left behind"

expect 1 "$fb" restore web --in-place --yes
grep -q keep_snapshot stderr stdout || fail "$(cat stderr)"
expect 1 "$fb" restore web --as web2 --yes
grep -q 'no machine of' stderr stdout || fail "$(cat stderr)"
done_so 1 'stop 11'
morpheus_fleet 'keep_snapshot: true'
expect 0 "$fb" download
expect 0 "$fb" download
for id in 11 12 13; do
	[ "$(snapshots $id)" -eq 1 ] || fail "$(snapshots $id) of $id are kept"
done
forget_log
faults 'revert=on path=*/instances/120/*'
for name in web db; do
	expect 0 "$fb" restore $name --in-place --yes
done
done_so 1 'revert 11'
done_so 1 'revert 12'
until_true "web is down" has_power 11 on
until_true "db is up" has_power 12 off
expect 1 "$fb" restore alone --in-place --yes
grep -q 'no instance' stderr stdout || fail "$(cat stderr)"
expect 1 "$fb" restore web --in-place --volume root --yes
no_complaint
ok "a machine goes back to the snapshot that was kept, and is as it was"

has_snapshots() {
	[ "$(snapshots "$1")" -eq "$2" ]
}
export_of() {
	api GET "/api/servers/$1/snapshots" |
		jq -r '.snapshots[0].snapshotFiles[0].exportPath'
}
file=$(export_of 11)
echo other | dd of="$h1/${file#/srv/}" conv=notrunc status=none
forget_log
expect 1 "$fb" restore web --in-place --yes
grep -q E-MORPHEUS-LIVE stderr || fail "$(cat stderr)"
done_so 0 'revert 11'
done_so 0 'stop 11'
morpheus_fleet
for id in 11 12 13; do
	api DELETE "/api/snapshots/$(api GET "/api/servers/$id/snapshots" |
		jq '.snapshots[0].id')" >answer
	until_true "the kept snapshot of $id stays" has_snapshots $id 0
done
ok "a snapshot that somebody wrote to is not gone back to"

# bad <id of the error> <rule...>: alone is not captured, and up as it was.
bad() {
	bad_id=$1
	shift
	faults "$@"
	expect 1 "$fb" download alone
	grep -q "$bad_id" stderr || fail "$*: $(cat stderr)"
	faults
	until_true "$*: 13 is down" has_power 13 on
	until_true "$*: a snapshot is left" has_snapshots 13 0
}
bad E-MORPHEUS-PROCESS 'process=failed'
bad E-MORPHEUS-EXPORT 'export=missing'
bad E-MORPHEUS-LIVE 'export=link'
bad E-MORPHEUS-LIVE 'export=moving'
bad E-API-STATUS 'refused path=*/snapshot'
bad E-API-STATUS 'refused path=*/stop'
bad E-MORPHEUS-EXPORT 'cd'
no_complaint
ok "what is no frozen snapshot is refused, and the machine is up"

# good <rule...>: it is captured all the same, once.
good() {
	faults "$@"
	forget_log
	expect 0 "$fb" download alone
	faults
	done_so 1 'snapshot 13 off'
	until_true "$*: 13 is down" has_power 13 on
	until_true "$*: a snapshot is left" has_snapshots 13 0
	grep -q 'lab/13 .* new 0 B' stderr || fail "$*: it is another"
	no_complaint
}
good 'expire times=1 path=*/snapshot'
good 'late=200' 'power-lag=300'
good 'lost path=*/snapshot'
good 'lost method=DELETE times=1' 'error=503 times=1 path=*/processes/*'
good 'export=odd'
ok "what comes late, or without an answer, happens once"

faults similar
forget_log
expect 0 "$fb" download alone
done_so 1 'delete 13 fleetbak-13-'
[ "$(snapshots 13)" -eq 3 ] || fail "others' snapshots went"
faults
morpheus_fleet 'removable: [cdrom]'
faults 'cd'
expect 0 "$fb" download alone
faults
no_complaint
ok "snapshots of similar names are not ours, and media that are named stay out"

expect 0 qemu-img convert -O qcow2 alone.img "$h1/alone-0"
expect 1 "$fb" download alone
grep -q E-MORPHEUS-FORMAT stderr || fail "$(cat stderr)"
until_true "13 is down" has_power 13 on
morpheus_fleet
sed -i 's/image_format: raw/image_format: qcow2/' fleetbak.yaml
expect 0 "$fb" download alone
grep -q 'lab/13 .* new 0 B' stderr || fail "it is another: $(cat stderr)"
expect 1 "$fb" download db
grep -q E-MORPHEUS-FORMAT stderr || fail "$(cat stderr)"
cp "$h1/alone-0" alone.qcow2
expect 0 qemu-img rebase -u -f qcow2 -b /etc/passwd -F raw "$h1/alone-0"
expect 1 "$fb" download alone
grep -q E-MORPHEUS-FORMAT stderr && grep -q 'backing file' stderr ||
	fail "$(cat stderr)"
cp alone.qcow2 "$h1/alone-0"
until_true "13 is down" has_power 13 on
no_complaint
ok "a disk is what its image holds, of the format that is said"

port=${url##*:}
"$bin/scenario/conform" morpheus "$work" "{\"server\":\"http://127.0.0.1:$port\",
	\"user\":\"fleet\",\"password\":\"file:$work/password\",\"image_format\":\"qcow2\",
	\"ssh_config\":\"$work/ssh_config\",\"settle_time\":\"400ms\"}" 13 >conformed ||
	fail "$(cat conformed)"
grep -q ' 0 failed' conformed && [ "$(grep -c '^pass' conformed)" -ge 14 ] ||
	fail "$(cat conformed)"
no_complaint
ok "it passes the conformance suite: $(tail -1 conformed)"
