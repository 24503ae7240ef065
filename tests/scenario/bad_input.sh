#!/bin/sh
# Bad configuration, bad machine.yaml, hostile names and trees: one clear error
# with place and remedy, the right exit code, nothing written outside.
. "$(dirname "$0")/lib.sh"
requires jq tar

make_fleet "$work/f" 2
cd "$work/f"
conf=fleetbak.yaml
cp $conf good.yaml
bad() { # <what> <sed expression> <words of the error>...
	bad_what=$1
	sed "$2" good.yaml >$conf
	shift 2
	expect 2 "$fb" -c $conf config check
	for word; do
		grep -q -- "$word" "$work/stderr" ||
			fail "$bad_what: the error lacks '$word': $(cat "$work/stderr")"
	done
	[ "$(grep -c 'E-' "$work/stderr")" -eq 1 ] ||
		fail "$bad_what: not one error: $(cat "$work/stderr")"
	expect 2 "$fb" -c $conf download
	ok "$bad_what"
}
bad "an unknown key" 's/state_dir/state_dri/' fleetbak.yaml:2 state_dri "state_dir"
bad "a doubled key" '2a state_dir: ./other' fleetbak.yaml:3 state_dir
bad "a wrong type" 's/jobs: 2/jobs: many/' jobs many
bad "a bad unit" 's/max_downtime: 20min/max_downtime: 60m/' 60m
bad "no unit" 's/max_downtime: 20min/max_downtime: 60/' 60
bad "an unknown driver" 's/driver: local/driver: locla/' locla local
bad "a literal secret" 's|sign_with: "file:./keys/sign.pem"|sign_with: "MC4CAQAwBQYDK2Vw"|' sign_with
if grep -q MC4CAQAwBQYDK2Vw "$work/stderr"; then fail "the secret is shown"; fi
bad "broken YAML" 's/^sources:/sources: [/' fleetbak.yaml
bad "an anchor" 's/^state_dir: .*/state_dir: \&a .\/state/' fleetbak.yaml
cp good.yaml $conf
expect 2 "$fb" -c nosuch.yaml list
expect 2 "$fb" -c $conf no-such-command
expect 2 "$fb" -c $conf list --no-such-option
expect 2 "$fb" -c $conf list --json --no-such-option
jq -e '.ok == false and .exit_code == 2' "$work/stdout" >/dev/null || fail "json of a usage error"
ok "usage errors"

expect 0 "$fb" -c $conf init
# Each of these is one failed machine beside a good one.
try_machine() { # <what> ; machines/m2/machine.yaml is as it is
	expect 3 "$fb" -c $conf download --json
	jq -e '[.machines[] | select(.result == "ok") | .machine] == ["lab/m1"]' \
		"$work/stdout" >/dev/null || fail "$1: $(cat "$work/stdout")"
	[ "$(jq '.errors | length' "$work/stdout")" -ge 1 ] || fail "$1: no error"
	ok "$1"
}
cp machines/m2/machine.yaml good-machine.yaml
yaml() { sed "$1" good-machine.yaml >machines/m2/machine.yaml; }
yaml 's|^id: .*|id: ../m1|'; try_machine "an id that climbs"
yaml 's|^id: .*|id: "a/b"|'; try_machine "an id with a slash"
yaml 's|^id: .*|id: "new\\nline"|'; try_machine "an id with a newline"
yaml 's|^id: .*|id: m1|'
expect 2 "$fb" -c $conf download
grep -q E-TOPO-DUPLICATE "$work/stderr" || fail "two machines with one id"
ok "two machines with one id: neither"
yaml 's|path: data|path: ../../keys|'; try_machine "a volume outside"
yaml 's|name: data|name: root|'; try_machine "two volumes of one name"
yaml 's|name: data|name: definition|'; try_machine "a reserved volume name"
yaml 's|path: disk.img|path: nosuch.img|'; try_machine "a disk that is not there"
yaml 's|^stop: .*||'; try_machine "a start without a stop"
yaml 's|^role: web|parent: nosuch|'; try_machine "a parent that is not there"
printf 'id: m2\n\000\n' >machines/m2/machine.yaml; try_machine "a NUL"
head -c 2000000 /dev/zero | tr '\0' 'a' >machines/m2/machine.yaml
try_machine "two megabytes of nothing"
cp good-machine.yaml machines/m2/machine.yaml

# Hostile trees come back as they were, and nothing outside is written.
tree=machines/m2/data
ln -s /etc/passwd $tree/abs
ln -s ../../../keys $tree/climb
mkdir "$tree/$(printf 'new\nline')"
echo x >"$tree/$(printf 'caf\351')"
mkfifo $tree/fifo
deep=$tree
for i in 1 2 3 4 5 6; do
	deep=$deep/$(printf "%080d" $i)
	mkdir "$deep"
done
echo deep >"$deep/file"
touch -d '2001-02-03 04:05:06.789012345' "$deep/file"
setfattr -n user.note -v hello "$deep/file" 2>/dev/null || true
truncate -s 100M $tree/sparse
find keys machines/m1 -type f -exec sha256sum {} + | sort >"$work/before"
expect 0 "$fb" -c $conf download m2
expect 0 "$fb" -c $conf restore m2 --target "$work/out"
same_tree $tree "$work/out/m2/data" || {
	diff "$work/tree.a" "$work/tree.b" | head
	fail "the tree differs"
}
[ -L "$work/out/m2/data/climb" ] || fail "a link was followed"
[ "$(stat -c %Y.%y "$deep/file")" = \
	"$(stat -c %Y.%y "$work/out/m2/data/${deep#"$tree"/}/file")" ] || fail "the time differs"
[ "$(stat -c %b "$work/out/m2/data/sparse")" -lt 1000 ] || fail "a sparse file was filled"
rm -r machines/m2/data/sub
expect 0 "$fb" -c $conf restore m2 --in-place --yes
same_tree $tree "$work/out/m2/data" || fail "in place, the tree differs"
find keys machines/m1 -type f -exec sha256sum {} + | sort >"$work/after"
diff "$work/before" "$work/after" >"$work/diff" || grep -q up "$work/diff" || fail "something outside was written"
ok "hostile names and links, there and back"

# Journals: altered ones are refused, nothing is started or stopped.
expect 0 "$fb" -c $conf download m1
mkdir -p state/runs/20260101-000000000-00000000
printf 'garbage\n\000\377more\n' >state/runs/20260101-000000000-00000000/journal
: >machines/m1/effects
expect 14 "$fb" -c $conf download m1
[ ! -s machines/m1/effects ] || fail "a machine was touched"
rm -r state/runs/20260101-000000000-00000000
expect 0 "$fb" -c $conf download m1
ok "a journal that is not one: 14"

expect 2 "$fb" -c $conf restore m1
expect 2 "$fb" -c $conf restore nosuch --target "$work/x"
expect 2 "$fb" -c $conf restore m1@nosuch --target "$work/x"
expect 20 "$fb" -c $conf restore m2 --target "$work/out"
expect 20 "$fb" -c $conf restore m1 --as m2
expect 20 "$fb" -c $conf restore m1 --in-place </dev/null
grep -q -- --yes "$work/stderr" || fail "it does not say which option would allow it"
ok "restores that cannot be meant"
