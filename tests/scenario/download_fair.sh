#!/bin/sh
# A slow source never starves the others.  The machines of one source stop only
# when all machines of another have been through; a token in a pipe says so.
. "$(dirname "$0")/lib.sh"

make_fleet "$work/f" 0
cd "$work/f"
mkfifo go
exec 5<>go # what is in the pipe stays there

# Three machines wait for a token each, which the last of the others brings.
for m in a1 a2 a3; do
	make_machine slow $m
	sed -i 's/stop)/stop) read -r token <..\/..\/go/' slow/$m/ctl
done
for m in b1 b2 b3; do
	make_machine machines $m
done
sed -i 's/start)/start) printf "1\\n2\\n3\\n" >..\/..\/go/' machines/b3/ctl

configure() { # <jobs> <the slow source's own>
	cat >"$conf" <<-EOF
		fleet: {name: demo}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  a: {driver: local, root: ./slow$2}
		  b: {driver: local, root: ./machines}
		download: {jobs: $1}
	EOF
}

all_through() {
	for m in slow/a? machines/b?; do
		[ -e "$m/up" ] || fail "$m is down"
		[ "$(cat "$m/effects")" = "stop
start" ] || fail "$m: $(cat "$m/effects")"
		: >"$m/effects"
	done
}

configure 2 ", jobs: 1"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
all_through
ok "units of a source that is busy keep none of another source waiting"

configure 2 ""
expect 0 "$fb" -c "$conf" download
all_through
ok "a source that could take every job leaves each other one its share"

configure 5 ", jobs: 2"
cat >>"$conf" <<-'EOF'
	units:
	  both: {label: pair}
EOF
for m in slow/a1 machines/b1; do
	sed -i 's/labels: {/labels: {pair: x, /' $m/machine.yaml
done
# a1 shares b1's window now: it is the others that wait for b3.
sed -i 's/stop) read.*/stop)/' slow/a1/ctl
expect 0 "$fb" -c "$conf" download
all_through
ok "a unit over two sources takes a place in both"
