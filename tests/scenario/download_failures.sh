#!/bin/sh
# What fails is one machine's affair: the others are backed up, everything
# that was up is up, the exit code and the error say what happened.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 3
cd "$work/f"
expect 0 "$fb" -c "$conf" init

touch machines/m2/fail-stop
expect 3 "$fb" -c "$conf" download --json
jq -e '(.machines[] | select(.machine == "lab/m2") | .result) == "failed" and
	([.machines[] | select(.result == "ok")] | length) == 2 and
	.exit_code == 3 and .ok == false' "$work/stdout" >/dev/null ||
	fail "$(cat "$work/stdout")"
grep -q "will not stop" "$work/stdout" || fail "the command's words are lost"
rm machines/m2/fail-stop
for m in m1 m2 m3; do [ -e machines/$m/up ] || fail "$m is down"; done
ok "a machine that cannot be stopped"

printf 'id: m2\nvolumes: [oops\n' >"$work/bad"
cp machines/m2/machine.yaml "$work/good"
cp "$work/bad" machines/m2/machine.yaml
expect 3 "$fb" -c "$conf" download --json
jq -e '([.machines[] | select(.result == "ok")] | length) == 2' \
	"$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
cp "$work/good" machines/m2/machine.yaml
ok "a malformed machine.yaml is a failed machine"

touch machines/m1/unknown machines/m2/unknown machines/m3/unknown
for m in m1 m2 m3; do : >machines/$m/effects; done
got=$(status_of "$fb" -c "$conf" download)
[ "$got" -ne 0 ] && [ "$got" -ne 3 ] || fail "exit $got"
for m in m1 m2 m3; do
	[ ! -s machines/$m/effects ] || fail "$m was touched"
	rm machines/$m/unknown
done
ok "machines whose state is unknown are not touched"

# A machine that is down is backed up and stays down.
rm machines/m3/up
: >machines/m3/effects
expect 0 "$fb" -c "$conf" download m3
[ ! -e machines/m3/up ] && [ ! -s machines/m3/effects ] || fail "m3 was started"
ok "a machine that is down stays down"

# One that comes up while it is read: no failure, but not "offline" either.
cp machines/m3/ctl "$work/ctl"
# shellcheck disable=SC2016 # for the script that is made
sed 's/^status)$/status)\n\techo >>asked; [ "$(wc -l <asked)" -lt 4 ] || : >up/' \
	"$work/ctl" >machines/m3/ctl
expect 0 "$fb" -c "$conf" download m3 --json
[ -e machines/m3/up ] || fail "the test's machine did not come up"
[ "$(field consistency)" = fuzzy ] || fail "it says $(field consistency)"
[ ! -s machines/m3/effects ] || fail "m3 was touched"
cat "$work/ctl" >machines/m3/ctl
rm machines/m3/asked
ok "a machine that comes up while it is read is said to be fuzzy"

# A start that fails is said, owed, and met by recover.
touch machines/m1/fail-start
expect 1 "$fb" -c "$conf" download m1
[ ! -e machines/m1/up ] || fail "how can it be up"
grep -q "recover" "$work/stderr" || fail "it does not say what to do"
left_alone "$PWD" # the guardian tries as well
rm machines/m1/fail-start
expect 0 "$fb" -c "$conf" recover
[ -e machines/m1/up ] || fail "recover did not start it"
ok "an obligation is met by recover"
expect 0 "$fb" -c "$conf" download m1

# max_downtime: the machine is started again.
sed -i 's/max_downtime: 20min/max_downtime: 1s/' "$conf"
touch machines/m1/slow-stop
got=$(status_of "$fb" -c "$conf" download m1)
[ "$got" -ne 0 ] || fail "a stop that never ends succeeded"
rm machines/m1/slow-stop
[ -e machines/m1/up ] || fail "m1 is down"
ok "max_downtime is kept"
