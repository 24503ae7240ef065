#!/bin/sh
# A download into an encrypted repository, by a host that opens nothing, is cut
# off before its durable steps; the next one finishes it.  Whoever has the
# private key reads all of it, and the host keeps no key of a pack.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
rm -rf repo
sed -i 's|CRASH_SIGN_KEY"|&, encrypt_to: ["file:./keys/recovery.crt"]|' \
	fleetbak.yaml
sed 's|recovery.crt"\]|&, decrypt_with: "file:'"$work"'/recovery.pem"|' \
	fleetbak.yaml >reader.yaml
expect 0 "$fb" -c reader.yaml init
[ -s "$work/recovery.pem" ] || fail "no private key"
cp -a --reflink=auto "$dir" "$pristine"

act() {
	run fleetbak download
}

mend() {
	got=$(run FLEETBAK_SESSION="$(next_session)" fleetbak download)
	[ "$got" -eq 0 ] || fail "$what: the next run: exit $got"
}

judge() {
	judge_power
	outcome=opened
	[ -z "$(ls state/runs)" ] || fail "$what: the run was not cleared away"
	[ -z "$(find . -name '*.key' ! -path './state/domain/*')" ] ||
		fail "$what: a key of a pack was kept"
	expect 0 "$fb" -c reader.yaml verify --full --json
	[ "$(field opened)" = true ] || fail "$what: nothing was opened"
	judge_repository
}

survey
crash_loop kill 45
crash_loop torn 120 write
crash_loop lost 160
