#!/bin/sh
# The main job on an embedded fleet: demo.sh <fleetbak>
#
# Three machines that are directories with a script each: they are found,
# stopped, backed up, started, changed, backed up again, verified, and brought
# back, with and without fleetbak.  Everything lies in build/demo.
set -eu
cd "$(dirname "$0")/.."

fb=$PWD/$1
demo=$PWD/build/demo
conf=$demo/fleetbak.yaml

say() {
	printf '\n== %s\n' "$*"
}
run() {
	printf '$ fleetbak %s\n' "$*"
	"$fb" -c "$conf" "$@"
}
same() {
	cmp -s "$1" "$2" || {
		echo "demo: $1 and $2 differ" >&2
		exit 1
	}
	echo "identical: ${2#"$demo"/}"
}

machine() { # <id> <parent or ""> <MiB of data>
	dir=$demo/machines/$1
	mkdir -p "$dir/data/etc"
	{
		echo "id: $1"
		echo "role: ${1%-*}"
		[ -z "$2" ] || echo "parent: $2"
		cat <<-'YAML'
			start: [./ctl, start]
			stop: [./ctl, stop]
			status: [./ctl, status]
			volumes:
			  - {name: root, kind: disk, path: disk.img}
			  - {name: data, kind: tree, path: data, exclude: ["*.tmp"]}
		YAML
	} >"$dir/machine.yaml"
	cat >"$dir/ctl" <<-'SH'
		#!/bin/sh
		cd "$(dirname "$0")" || exit 9
		case $1 in
		start) : >up ;;
		stop) rm -f up ;;
		status) [ -e up ] || exit 3 ;;
		esac
	SH
	chmod 755 "$dir/ctl"
	: >"$dir/up"
	# The same operating system on each, some data of its own, the rest holes.
	{
		seq 1 400000
		dd if=/dev/urandom bs=1M count="$3" status=none
	} >"$dir/disk.img"
	truncate -s 64M "$dir/disk.img"
	echo "name=$1" >"$dir/data/etc/host"
	seq 1 20000 >"$dir/data/numbers"
	ln -s ../numbers "$dir/data/etc/link"
}

say "An embedded fleet of three machines in ${demo#"$PWD"/}"
rm -rf "$demo"
mkdir -p "$demo/machines"
machine db-01 "" 8
machine web-01 db-01 3
machine web-02 db-01 3
cat >"$conf" <<'YAML'
fleet: {name: demo, rpo: 26h}
state_dir: ./state
repositories:
  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
trusted_signers: ["file:./keys/sign.pub.pem"]
sources:
  lab: {driver: local, root: ./machines, labels: {site: a}}
download: {jobs: 2, max_downtime: 60s}
YAML
run init
run discover

say "What would happen"
run download --dry-run

say "Day 1"
run download

say "Day 2: one machine changes a little"
echo "changed on day 2" >>"$demo/machines/web-01/data/etc/host"
echo "changed on day 2" | dd of="$demo/machines/web-01/disk.img" bs=1 \
	seek=1000000 conv=notrunc status=none
run download
run list
for up in "$demo"/machines/*/up; do
	[ -e "$up" ] || {
		echo "demo: a machine was left stopped" >&2
		exit 1
	}
done
echo "every machine is up"

say "Is all of it there, and ours?"
run verify --full
id=$("$fb" -c "$conf" list --json | tr -d '\n ' |
	sed 's/.*"run":"\([^"]*\)".*/\1/')
[ -n "$id" ]
(
	cd "$demo/repo"
	newest=$(find runs -name SHA256SUMS | LC_ALL=C sort | tail -1)
	sha256sum -c --quiet "$newest"
	openssl pkeyutl -verify -pubin -inkey "$demo/keys/sign.pub.pem" \
		-rawin -in "$newest" -sigfile "$newest.sig"
)

say "Bring it back"
run restore web-01@latest --target "$demo/restored"
same "$demo/machines/web-01/disk.img" "$demo/restored/web-01/root.img"
same "$demo/machines/web-01/data/etc/host" \
	"$demo/restored/web-01/data/etc/host"

say "Bring it back in place, after an accident"
cp "$demo/machines/db-01/disk.img" "$demo/before.img"
dd if=/dev/zero of="$demo/machines/db-01/disk.img" bs=1M seek=2 count=3 \
	conv=notrunc status=none
run restore db-01 --in-place --yes
same "$demo/before.img" "$demo/machines/db-01/disk.img"

say "Bring it back without fleetbak"
sh "$demo/repo/restore.sh" web-02 root "$demo/by-hand.img"
same "$demo/machines/web-02/disk.img" "$demo/by-hand.img"

say "Done"
cat <<TXT
Look around:  $1 -c build/demo/fleetbak.yaml status     (list, show web-01, verify, restore -n ...)
Next:         README.md, "A real fleet in ten minutes"
TXT
