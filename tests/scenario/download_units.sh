#!/bin/sh
# Machines of one unit share one window: one that fails leaves the others in
# it, and when a window has to be opened again, it is opened for all of them.
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

make_fleet "$work/f" 3
cd "$work/f"
sed -i 's/jobs: 2/jobs: 1/' "$conf"
sed -i 's/^role: web/role: web\nparent: m1/' machines/m2/machine.yaml \
	machines/m3/machine.yaml
cat >>"$conf" <<-'EOF'
	units:
	  shop: {subtree: lab/m1}
EOF
expect 0 "$fb" -c "$conf" init

manifest() {
	find repo/runs -name manifest.json | sort | tail -1
}

one_epoch() { # <what> <machines>
	[ "$(jq '[.machines[] | select(.failure == null) |
		.capture.epoch // .epoch] | unique | length' "$(manifest)")" = 1 ] ||
		fail "$1: more than one epoch"
	expect 0 "$fb" -c "$conf" verify
	for m in m1 m2 m3; do [ -e machines/$m/up ] || fail "$1: $m is down"; done
}

touch machines/m2/fail-stop
expect 3 "$fb" -c "$conf" download --json
jq -e '[.machines[] | select(.result == "ok") | .machine] ==
	["lab/m1", "lab/m3"]' "$work/stdout" >/dev/null ||
	fail "$(cat "$work/stdout")"
rm machines/m2/fail-stop
one_epoch "one that fails"
ok "one that fails leaves the others in their window"

# The first is copied, the snapshot of another is lost: all begin again.
for m in m1 m2 m3; do : >machines/$m/effects; done
found=
for step in $(seq 60 3 400); do
	got=$(FLEETBAK_CRASH=$step:kill \
		status_of "$fb" -c "$conf" download --lock-wait 30s)
	[ "$got" -eq 137 ] || break
	left_alone "$PWD" # its guardian
	expect 0 "$fb" -c "$conf" recover --lock-wait 30s
	grep -q '"state":"copied"' state/runs/*/journal || {
		rm -rf state/runs machines/*/.fleetbak
		continue
	}
	grep -q '"finished"' state/runs/*/journal && break
	[ "$(grep -c '"state":"copied"' state/runs/*/journal)" -lt 3 ] || break
	found=yes
	break
done
[ -n "$found" ] || fail "no moment at which one is copied and another is not"
rm -rf machines/*/.fleetbak machines/*/*/.fleetbak
expect 0 "$fb" -c "$conf" download --json
jq -e '.resumed and ([.machines[] | select(.result == "ok")] | length == 3)' \
	"$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
one_epoch "a snapshot is lost"
ok "a window that is opened again is opened for the whole unit"
