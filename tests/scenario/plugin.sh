#!/bin/sh
# Machines of a plugin: backed up, restored, and cut off in the middle of it.
. "$(dirname "$0")/lib.sh"
requires /usr/bin/python3 tar

mkdir "$work/p"
cd "$work/p"
make_fleet "$work/p" 1
rm machines/m1/machine.yaml machines/m1/ctl machines/m1/effects
rm machines/m1/data/scratch.tmp
seq 1 30000 >machines/m1/data/big
mkdir m2
cp -a machines/m1 machines/m2
rmdir m2
cp "$here/../servers/plugin_dir.py" plugin
cat >fleetbak.yaml <<'END'
fleet: {name: demo}
state_dir: ./state
repositories:
  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
trusted_signers: ["file:./keys/sign.pub.pem"]
sources:
  lab:
    driver: plugin
    command: [./plugin]
    options: {root: ./machines}
download: {jobs: 2}
END
conf=fleetbak.yaml
effects() { # what was done, in order; of one machine
	grep " $1\$" machines/.effects | sed 's/ .*//' | tr '\n' ' '
}

expect 0 "$fb" driver test --option root=machines --machine m1 --as m3 \
	--json ./plugin
[ "$(field failed)" = 0 ] && [ "$(field passed)" = 31 ] &&
	[ "$(field skipped)" = 0 ] || fail "$(cat "$work/stdout")"
same_tree machines/m1/data machines/m3/data || fail "m3 is another"
rm -r machines/m3 machines/.effects machines/.snap machines/.new
expect 0 "$fb" driver test --option root=machines ./plugin
[ ! -e machines/.effects ] || fail "it did something"
expect 1 "$fb" driver test --option root=machines --machine m1 \
	--option fault=remove_snapshot:FAILED -q ./plugin
grep -q '^FAIL  remove-twice: .*as the test wants it' "$work/stdout" ||
	fail "another check"
[ -e machines/m1/up ] || fail "it is down"
rm -r machines/.snap machines/.effects
expect 1 "$fb" driver test --option root=machines --option fault=probe:die \
	./plugin
grep -q '^FAIL  probe' "$work/stdout" || fail "another check"
expect 1 "$fb" driver test -q true
grep -q '^FAIL  hello: E-PLUGIN-ANSWER' "$work/stdout" || fail "another check"
expect 2 "$fb" driver test
expect 2 "$fb" driver test --as m3 ./plugin
ok "the conformance suite tells good from bad"

expect 0 "$fb" -c $conf init
expect 0 "$fb" -c $conf config check
expect 0 "$fb" -c $conf download
[ "$(effects m1)" = 'stop create_snapshot start remove_snapshot ' ] ||
	fail "m1: $(effects m1)"
[ -e machines/m1/up ] && [ -e machines/m2/up ] || fail "one is down"
[ -z "$(find machines/.snap -mindepth 2)" ] || fail "a snapshot is left"
expect 0 "$fb" -c $conf verify --full
nothing_lost repo
ok "a machine is stopped, frozen, started and read"

cp -a machines/m1 before
expect 0 "$fb" -c $conf restore m1 --target out
cmp out/m1/root.img machines/m1/disk.img 2>/dev/null ||
	cmp "$(find out -name '*root*' -type f)" machines/m1/disk.img ||
	fail "another disk"
same_tree "$(find out -type d -name data)" machines/m1/data ||
	fail "another tree"
expect 0 "$fb" -c $conf restore m1 --target one --volume data \
	--path sub/numbers
cmp "$(find one -name numbers)" machines/m1/data/sub/numbers ||
	fail "another file"
ok "disk, tree and single files come back from its archive"

damage machines/m1/disk.img 2000
echo more >machines/m1/data/extra
expect 0 "$fb" -c $conf restore m1 --in-place -n
grep -q extra "$work/stdout" || fail "extra is not told"
expect 0 "$fb" -c $conf restore m1 --in-place --yes
cmp machines/m1/disk.img before/disk.img || fail "another disk"
same_tree machines/m1/data before/data || fail "another tree"
[ -e machines/m1/up ] || fail "it is down"
expect 0 "$fb" -c $conf restore m1 --as copy --yes
cmp machines/copy/disk.img before/disk.img || fail "another disk"
same_tree machines/copy/data before/data || fail "another tree"
[ ! -e machines/copy/up ] || fail "it was started"
rm -r machines/copy
ok "in place and as a new one"

# fault VERB:HOW [once [unclean]]
fault() {
	sed -i "s/options: .*/options: {root: .\/machines, fault: \"$1\"${2:+, once: \"$2\"}${3:+, unclean: \"1\"}}/" $conf
	: >machines/.fault
	: >machines/.effects
}
for verb in stop create_snapshot start remove_snapshot; do
	fault $verb:done-then-die once
	expect 0 "$fb" -c $conf download -s m1
	[ "$(effects m1)" = 'stop create_snapshot start remove_snapshot ' ] ||
		fail "$verb: $(effects m1)"
	[ -e machines/m1/up ] || fail "$verb: it is down"
done
ok "an effect whose answer was lost happens once"

# What it would have said of the machine is asked for; where nobody says it,
# the machine does not count as shut down.
fault create_snapshot:done-then-die once unclean
expect 0 "$fb" -c $conf download -s m1
grep -q 'cut off instead of shut down' "$work/stderr" || fail "it counts as shut down, or nobody asked"
[ "$(effects m1)" = 'stop create_snapshot start remove_snapshot ' ] ||
	fail "asked for twice: $(effects m1)"
fault create_snapshot:done-then-die
expect 0 "$fb" -c $conf download -s m1
grep -q 'not known whether it was shut down' "$work/stderr" ||
	fail "an unknown machine counts as shut down"
ok "whether a machine was shut down is asked for once more, or unknown"

fault create_snapshot:FAILED
expect 1 "$fb" -c $conf download -s m1
grep -q 'as the test wants it' "$work/stderr" || fail "no reason"
[ -e machines/m1/up ] || fail "it is down"
fault discover:die
expect 15 "$fb" -c $conf download
grep -q E-PLUGIN-DIED "$work/stderr" || fail "no id"
fault read_blocks:die
expect 15 "$fb" -c $conf download -s m1
[ -e machines/m1/up ] || fail "it is down"
# All of the disk was read, and nobody says that it is what it was to be.
fault read_blocks:done-then-die
expect 15 "$fb" -c $conf download -s m1
grep -q "ended by signal 9 during read_blocks" "$work/stderr" ||
	fail "another reason"
fault :
expect 0 "$fb" -c $conf download
ok "a plugin that fails fails its machine, which is up afterwards"

for verb in read_blocks read_stream; do
	fault $verb:wait
	rm -f machines/.waits
	"$fb" -c $conf download -s m1 >"$work/stdout" 2>"$work/stderr" &
	run=$!
	until_true "$verb is not called" [ -e machines/.waits ]
	began=$(date +%s)
	kill -TERM $run
	status=0
	wait $run || status=$?
	[ $status -eq 143 ] || fail "$verb: exit $status"
	# Of itself it would be given up after five minutes.
	[ $(($(date +%s) - began)) -lt 60 ] || fail "$verb: it is waited for"
	[ -e machines/m1/up ] || fail "$verb: it is down"
	left_alone "$work/p"
done
fault :
expect 0 "$fb" -c $conf download -s m1
ok "a stop in order does not wait for a plugin that reads"

requires_faults
rm -r machines/m2
n=0
for step in driver.1 driver.2 driver.3 driver.4 child.5 child.9 child.12; do
	n=$((n + 1))
	: >machines/.effects
	expect 137 env FLEETBAK_CRASH=$step:kill "$fb" -c $conf download -s m1
	left_alone "$work/p"
	expect 0 "$fb" -c $conf download -s m1
	[ -e machines/m1/up ] || fail "$step: it is down"
	[ -z "$(find machines/.snap -mindepth 2)" ] ||
		fail "$step: a snapshot is left"
done
expect 0 "$fb" -c $conf verify --full
nothing_lost repo
ok "$n crashes: the next run leaves it up and nothing behind"
