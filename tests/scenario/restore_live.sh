#!/bin/sh
# A machine without commands: nothing stops it, and it can be restored.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 1
cd "$work/f"
sed -i '/^start:/d;/^stop:/d;/^status:/d' machines/m1/machine.yaml
echo "  - {name: cd, kind: cdrom, path: some.iso}" >>machines/m1/machine.yaml
: >machines/m1/some.iso
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
cp -a machines/m1 "$work/saved"
echo changed >machines/m1/data/hello.txt
: >machines/m1/effects

expect 0 "$fb" -c "$conf" restore m1 --in-place -n --json
jq -e '.data.actions | (.[0] | .volume == "-" and .action == "leave" and
	(.problem | test("no stop command"))) and
	(map(select(.volume == "cd")) | .[0].action == "leave")' \
	"$work/stdout" >/dev/null || fail "plan: $(cat "$work/stdout")"
ok "the plan says that nothing stops it, and that media are left"
expect 0 "$fb" -c "$conf" restore m1 --in-place --yes
same_tree "$work/saved/data" machines/m1/data || fail "tree differs"
[ ! -s machines/m1/effects ] || fail "something was started or stopped"
ok "it is restored in place"
expect 2 "$fb" -c "$conf" restore m1 --target "$work/x" --volume cd
ok "media cannot be asked for"

echo 'id: [' >machines/m1/machine.yaml
expect 1 "$fb" -c "$conf" restore m1 --in-place --yes
grep -q 'machine.yaml:.*not valid YAML' "$work/stderr" ||
	fail "it does not say why it cannot tell"
mv machines/m1 "$work/away"
expect 0 "$fb" -c "$conf" restore m1 --in-place --yes
cmp "$work/saved/machine.yaml" machines/m1/machine.yaml || fail "definition"
ok "a machine whose definition is broken says so, and is made anew"

if [ -e /usr/share/zoneinfo/Asia/Tokyo ]; then
	sed 's|rpo: 26h|rpo: 26h, timezone: Asia/Tokyo|' "$conf" >tokyo.yaml
	expect 0 "$fb" -c tokyo.yaml list
	grep -q ' +09:00 ' "$work/stdout" || fail "not the time of the fleet"
	expect 0 "$fb" -c tokyo.yaml list --utc
	grep -q ' +00:00 ' "$work/stdout" || fail "not UTC"
	ok "times are shown in the time zone of the fleet"
fi

for choice in 'm*' 'env=test' 'm1+'; do
	expect 0 "$fb" -c "$conf" restore "$choice" --target "$work/x" -n --json
	jq -e '.data.actions | map(.machine) | unique == ["lab/m1"]' \
		"$work/stdout" >/dev/null || fail "$choice chose otherwise"
done
expect 2 "$fb" -c "$conf" restore 'w*' --target "$work/x"
ok "patterns choose what is restored"

sed 's|sign_with: "[^"]*"|sign_with: "fd:7"|' "$conf" >by-fd.yaml
status=0
# shellcheck disable=SC2002,SC2094 # a pipe, which can be read once
cat keys/sign.pem | "$fb" -c by-fd.yaml download 7<&0 </dev/null \
	2>"$work/stderr" || status=$?
[ "$status" -eq 0 ] || fail "exit $status"
ok "a signing key from a pipe signs the run"
