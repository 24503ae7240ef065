#!/bin/sh
# Machines of computer-host: found, backed up while they run, restored from
# the repository and from the host's own snapshot.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_chost.sh
. "$here/lib_chost.sh"

chost_machine m1 running 1 6
chost_machine m2 running 0 3
chost_machine off stopped 0 1
chost_begin --reconcile 300
cd "$work"
echo '{"hostname":"m1","login_webhook":{"bearer_token":"hush-hush-token"}}' \
	>m1.json
chmod 600 m1.json
chost_fleet 'serve: "127.0.0.1:0"' 'memory: {m1: 768MiB}' \
	'storage: {m1: 8MiB}' 'guest_config: {m1: "file:./m1.json"}'
export FLEETBAK_CONFIG=fleetbak.yaml
cp -a "$host/machine-disks" before
expect 0 "$fb" init

expect 3 "$fb" discover --json
cp stdout discovered
grep -q '"pause-in-create"' discovered || fail "$(cat discovered)"
grep -q 'E-CHOST-DOWN' discovered || fail "a stopped machine passes"
expect 3 "$fb" topology
sha256sum <stdout >first
curl -s --unix-socket socket -X POST http://h/machines/m1/stop
curl -s --unix-socket socket -X POST http://h/machines/m1/start >restarted
expect 3 "$fb" topology
sha256sum <stdout | cmp - first || fail "a restart is a change"
ok "machines are found, and described by what does not pass"

expect 3 "$fb" download
grep -q 'off' stderr || fail "nobody says that one is left out"
expect 0 "$fb" verify --full
expect 0 "$fb" show m1 --json
grep -q '"consistency": *"paused"' stdout || fail "$(cat stdout)"
[ "$(snapshots m1)" -eq 0 ] && [ "$(snapshots m2)" -eq 0 ] ||
	fail "a snapshot is left"
asked 0 'POST /machines/[a-z0-9]*/(stop|start) .* .*fb-'
no_complaint
! grep -rq 'hush-hush' repo state stdout stderr || fail "a secret is kept"
ok "running machines are backed up, and nothing is left on the host"

expect 0 "$fb" restore m1 --as new1 --yes
same_disks new1 before/m1
[ "$(phase new1)" = stopped ] || fail "new1 is $(phase new1)"
grep '/restore 201' "$log" >made
for part in '"memory_mib":768' '"storage_bytes":8388608' \
	'"snapshot_id":"fbr-[0-9a-f]{40}"' '"sha256_hex":"[0-9a-f]{64}"' \
	'"hostname":"m1"' '"machine_id":"new1"'; do
	grep -qE "$part" made || fail "not in the request: $part"
done
no_complaint
[ -z "$(ls spool)" ] || fail "something is left in the spool"
ok "a new machine is made of the repository's bytes"

expect 0 "$fb" restore m2 --as new2 --start --yes
same_disks new2 before/m2
[ "$(phase new2)" = running ] || fail "new2 is $(phase new2)"
url=$(sed -n 's/.*"download_url":"\([^"]*\)".*/\1/p' made | head -1)
! curl -sf --max-time 5 "$url" >/dev/null || fail "it is still served"
ok "a machine that shall be up is up, and nothing is served any more"

echo changed | dd of="$host/machine-disks/m1/system.img" conv=notrunc \
	status=none
expect 0 "$fb" restore m1 --in-place --yes
same_disks m1 before/m1
[ "$(phase m1)" = running ] || fail "m1 is $(phase m1)"
asked 1 'DELETE /machines/m1 204'
no_complaint
ok "a machine is replaced in its place, and up as it was"

chost_fleet 'keep_snapshot: true'
expect 0 "$fb" download m2
[ "$(snapshots m2)" -eq 1 ] || fail "none is kept"
expect 0 "$fb" download m2
[ "$(snapshots m2)" -eq 1 ] || fail "$(snapshots m2) are kept"
expect 0 "$fb" restore m2 --as new3 --yes
same_disks new3 before/m2
echo changed | dd of="$host/machine-disks/m2/system.img" conv=notrunc \
	status=none
expect 0 "$fb" restore m2 --in-place --yes
same_disks m2 before/m2
grep '/restore 201' "$log" | tail -2 >made
[ "$(grep -c '"local_snapshot"' made)" -eq 2 ] || fail "$(cat made)"
no_complaint
ok "the snapshot that was kept restores without a byte sent"

sid=$(ask /machines/m2/snapshots | sed 's/.*"id":"\(fb-[^"]*\)".*/\1/')
echo other | dd of="$host/snapshots/$sid/system.img" conv=notrunc status=none
expect 1 "$fb" restore m2 --as new4 --yes
grep -q E-CHOST-DIFFERS stderr || fail "$(cat stderr)"
! ask /machines/new4 || fail "it was made all the same"
ok "a snapshot that is not what was backed up is not taken for it"

expect 0 "$fb" restore m1 --target out
cmp -s out/lab/m1/system.img before/m1/system.img ||
	cmp out/m1/system.img before/m1/system.img || fail "$(find out)"
chost_fleet "serve: \"127.0.0.1:0\""
expect 2 "$fb" --set sources.lab.serve=localhost:1 restore m1 --as x -n
expect 1 "$fb" restore m1 --in-place --volume system --yes
asked 1 "DELETE /machines/m1 "
ok "its disks are files, too; a part of a machine is none"

# Disks of another system: the machine is made anew, as it was but for them.
mkdir -p raw/r1
chost_disk raw/r1/small.img 2 r1
printf 'id: r1\nvolumes:\n  - {name: sys, kind: disk, path: small.img}\n' \
	>raw/r1/machine.yaml
chost_fleet "serve: \"127.0.0.1:0\""
printf '  raw: {driver: local, root: ./raw}\n' >>fleetbak.yaml
expect 0 "$fb" download -s r1
onto() { # <machine> [argument...]
	onto_machine=$1
	shift
	"$fb" restore r1 --in-place --map source:raw=lab \
		--map "machine:r1=$onto_machine" --map volume:sys=system "$@"
}
expect 1 onto m1 --yes
grep -q "nothing is given for its disk 'user-0'" "$work/stderr" ||
	fail "another reason"
asked 1 "DELETE /machines/m1 "
expect 0 onto m2 --yes
asked 2 "DELETE /machines/m2 "
cmp -n 2097152 raw/r1/small.img "$host/machine-disks/m2/system.img" ||
	fail "another disk"
[ "$(phase m2)" = running ] || fail "it is $(phase m2)"
expect 0 "$fb" download -s m2
ok "a disk of another system goes into a machine, which is made whole only"

chost_end
: >"$work/machines"
chost_sep=
rm -rf "$host"
chost_machine m1 running 1 2
chost_begin --reconcile 300
"$bin/scenario/conform" computer-host "$work" \
	"{\"socket\":\"$work/socket\",\"spool\":\"$work/spool\",\"serve\":\"127.0.0.1:0\"}" \
	m1 m2 >conformed || fail "$(cat conformed)"
grep -q ' 0 failed' conformed && [ "$(grep -c '^pass' conformed)" -ge 15 ] ||
	fail "$(cat conformed)"
no_complaint
ok "it passes the conformance suite: $(tail -1 conformed)"
