#!/bin/sh
# Snapshots of MIOSA that can be looked into: files of running computers, with
# the provider's limits; restored into a guest, or as a new computer.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_miosa.sh
. "$here/lib_miosa.sh"

miosa_computer comp_a running '"name":"web","template_type":"miosa-desktop","size":"small"'
miosa_computer comp_b stopped '"name":"db"'
miosa_begin --families snapshots,account
cd "$work"
miosa_fleet 'trees: {etc: /etc, data: /data}'
cp -a "$cloud/computers" before
expect 0 "$fb" init

expect 3 "$fb" plan
grep -q 'file-tar' stdout && grep -q 'replayed into a running guest' stdout ||
	fail "$(cat stdout)"
expect 3 "$fb" discover --json
grep -q E-MIOSA-STATE stdout || fail "a stopped computer passes"
expect 0 "$fb" download web
expect 0 "$fb" verify --full
miosa_kept 0
effects 0 'stop .*'
expect 0 "$fb" show web --json
grep -q '"consistency": *"crash"' stdout || fail "$(cat stdout)"
expect 0 "$fb" restore web --target out1
diff -r --no-dereference out1/comp_a/data before/comp_a/data ||
	fail "data is another"
diff -r out1/comp_a/etc before/comp_a/etc || fail "etc is another"
[ "$(stat -c %a out1/comp_a/data/hello.txt)" = 640 ] || fail "a mode is lost"
miosa_fair
ok "files of a running computer's snapshot are backed up, with their modes"

for rule in 'tar-names=plain' 'tar-names=base' 'warming=50 times=3' \
	'cut=1000 times=1 path=*/files?*' 'chunked path=*/files?*' \
	'no-length path=*/files?*' 'sse=crlf,two-lines,comment,ids' \
	'sse=eof' 'sse=unknown' 'sse=failed' 'sse=reset' 'need-json' 'polls=4' \
	'tar-bytes=300000'; do
	miosa_rules "$rule"
	expect 0 "$fb" download web
	miosa_kept 0 "$rule"
	case $rule in
	sse* | need* | polls*) continue ;;
	esac
	rm -rf again
	expect 0 "$fb" restore web --target again
	[ "$rule" != 'tar-bytes=300000' ] || break
	diff -r --no-dereference again/comp_a/data before/comp_a/data ||
		fail "$rule: data is another"
done
cmp again/comp_a/data/sub/numbers before/comp_a/data/sub/numbers ||
	fail "what comes alone is another"
[ "$(stat -c %a again/comp_a/data/hello.txt)" = 640 ] || fail "a mode is lost"
[ -d 'again/comp_a/data/empty dir' ] || fail "a directory is lost"
[ ! -e again/comp_a/data/sub/link ] || fail "a link came"
miosa_rules 'tar-bytes=300000'
expect 0 "$fb" download web
grep -q 'does not say where this link points' stderr || fail "$(cat stderr)"
miosa_rules 'tar-bytes=300000' 'file-bytes=1000'
fails E-MIOSA-LARGE "$fb" download web
miosa_rules evil
"$fb" download web >out 2>&1 || :
[ ! -e "$work/evil" ] && [ ! -e /evil ] || fail "an evil name was obeyed"
miosa_rules not-browsable
fails E-MIOSA-BROWSE "$fb" download web
miosa_rules
miosa_fair
ok "limits, breaks and other names of archives change nothing, or are said"

miosa_fleet 'trees: {etc: /etc, data: /data}' 'keep_snapshot: true'
expect 0 "$fb" download web
miosa_kept 1
expect 0 "$fb" restore web --as web2 --start --yes
made=$(sed -n 's/^create \([^ ]*\) .*/\1/p' "$cloud/effects" | tail -1)
same_tree "$made" before/comp_a
status_is "$made" running
miosa_rules in-use
expect 0 "$fb" download web
grep -q 'because something needs it' stderr || fail "$(cat stderr)"
miosa_rules
miosa_fair
ok "the snapshot that is kept becomes a new computer; one in use stays, and it is said"

miosa_fleet 'trees: {etc: /etc, data: /data}'
expect 0 "$fb" download web
echo worse >"$cloud/computers/comp_a/data/hello.txt"
rm "$cloud/computers/comp_a/data/sub/link"
echo more >"$cloud/computers/comp_a/data/more"
expect 0 "$fb" restore web --in-place --dry-run
grep -q 'what is not in the backup stays' stdout || fail "$(cat stdout)"
expect 0 "$fb" restore web --in-place --yes
grep -qx more "$cloud/computers/comp_a/data/more" || fail "a file is gone"
rm "$cloud/computers/comp_a/data/more"
diff -r --no-dereference "$cloud/computers/comp_a/data" before/comp_a/data ||
	fail "data is another"
status_is comp_a running
effects 0 'stop comp_a'
[ -z "$(ls /tmp/fleetbak-*/data.0* 2>/dev/null)" ] || fail "pieces are left"
expect 0 "$fb" restore web --as web3 --yes
made=$(sed -n 's/^create \([^ ]*\).*/\1/p' "$cloud/effects" | tail -1)
diff -r --no-dereference "$cloud/computers/$made/data" before/comp_a/data ||
	fail "data is another in web3"
status_is "$made" stopped
miosa_fair
ok "files go back into a guest that runs, and into that of a new computer"
