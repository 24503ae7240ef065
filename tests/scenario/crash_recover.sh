#!/bin/sh
# Kill `recover` before each of its durable steps in turn: the next one starts
# what is still owed, starts nothing twice, and the next download goes on.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

crash_base
crash_fleet
# One window for both, so that both are owed when the run dies in it.
echo 'units: {both: {label: env=test}}' >>fleetbak.yaml
sed -i 's/^labels:.*/labels: {env: other}/' machines/live/machine.yaml \
	machines/down/machine.yaml
cp -a "$dir" "$pristine"

act() { run fleetbak download; }
survey
number=$(step_names <"$work/calm.steps" |
	grep -m 1 'write .* machine snapshotting lab/copy$' | cut -d' ' -f1)
fresh
# The guardian cannot start them: they stay owed.
: >machines/copy/fail-start
: >machines/snap/fail-start
cut_at=$number:kill
[ "$(act)" -eq 137 ] || fail "the run was not cut off"
cut_at=
[ "$(run fleetbak recover)" -ne 0 ] || fail "they were started"
left_alone "$dir"
for m in copy snap; do
	[ ! -e machines/$m/up ] || fail "$m is up"
	rm machines/$m/fail-start
	: >machines/$m/effects
done
cd "$base"
left_alone "$dir"
rm -rf "$pristine"
mv "$dir" "$pristine"

act() { run fleetbak recover; }

mend() {
	got=$(run fleetbak recover)
	[ "$got" -eq 0 ] || fail "$what: the next recover: exit $got"
	for m in copy snap; do
		[ -e machines/$m/up ] || fail "$what: $m is still down"
	done
	outcome=copy:$(effects_of copy),snap:$(effects_of snap)
	[ "$outcome" = copy:0.1.0,snap:0.1.0 ] || fail "$what: $outcome"
	[ "$(run fleetbak recover)" -eq 0 ] || fail "$what: once more"
	grep -q 'nothing is owed' "$work/stdout" ||
		fail "$what: something is owed"
	got=$(run fleetbak download)
	[ "$got" -eq 0 ] || fail "$what: the next download: exit $got"
}

judge() {
	judge_power
	[ "$(find repo/commits -type f | wc -l)" -eq 1 ] || fail "$what: commits"
	[ -z "$(ls state/runs)" ] || fail "$what: the run was not cleared away"
	judge_repository
}

survey
crash_loop kill 1
crash_loop torn 1 write
crash_loop lost 2

# How long a machine was down is known also when recovery has started it: the
# journal has both times.
[ -n "$mounted" ] || exit 0 # it takes a snapshot that outlives the run
cd "$base"
left_alone "$dir"
rm -rf "$pristine" "$dir"
crash_fleet
cp -a "$dir" "$pristine"
act() { run fleetbak download; }
survey
number=$(step_names <"$work/calm.steps" |
	grep -m 1 'write .* machine starting lab/snap$' | cut -d' ' -f1)
fresh
: >machines/snap/fail-start
cut_at=$number:kill
[ "$(act)" -eq 137 ] || fail "the run was not cut off"
cut_at=
[ "$(run fleetbak recover)" -ne 0 ] || fail "snap was started"
left_alone "$dir"
rm machines/snap/fail-start
[ "$(run FLEETBAK_CLOCK=$((clock + 5)) fleetbak recover)" -eq 0 ] ||
	fail "recover"
[ "$(run FLEETBAK_CLOCK=$((clock + 9)) fleetbak download)" -eq 0 ] ||
	fail "the next download"
down=$(jq '.machines[] | select(.id == "snap").downtime_ms' \
	repo/runs/*/manifest.json)
[ "$down" -eq 5000 ] || fail "snap was down for $down ms, not 5000"
ok "the downtime is known when recovery has started a machine"
