#!/bin/sh
# What computer-host cannot bear is not done to it, and what it does when it
# fails is not taken for success: fleetbak-driver(7), "computer-host".
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_chost.sh
. "$here/lib_chost.sh"

chost_machine m1 running 1 5
chost_begin --reconcile 300
cd "$work"
export FLEETBAK_CONFIG=fleetbak.yaml
chost_fleet 'serve: "127.0.0.1:0"' 'settle_time: 400ms'
cp -a "$host/machine-disks" before
expect 0 "$fb" init

# again: nothing is unchanged, so that all of it is read.
again() { # <status>
	echo "$1${2:-}" | dd of="$host/machine-disks/m1/system.img" conv=notrunc \
		status=none 2>/dev/null
	: >"$log"
	expect "$1" "$fb" download --full
}

# 1: nobody goes away while a machine is paused.
echo 'slow=1500 method=POST path=*/snapshots times=2' >"$rules"
expect 0 "$fb" --set download.max_downtime=1s download
no_complaint
"$fb" download >out 2>&1 &
pid=$!
until_true "no create" grep -q slow "$rules"
until_true "the run does not create" sh -c \
	"curl -s --unix-socket socket http://h/storage/report >/dev/null
	ls $host/snapshots | grep -q ."
kill -INT $pid
wait $pid || :
no_complaint
: >"$rules"
expect 0 "$fb" download
[ "$(snapshots m1)" -eq 0 ] || fail "a snapshot is left"
ok "a create is waited for, whatever the cap on downtime and the user say"

# 2: ids that the daemon can bear, of the machine and the run.
ids=$(sed -n 's/.*{"snapshot_id":"\([^"]*\)"}.*/\1/p' "$log")
[ -n "$ids" ] || fail "no ids"
for id in $ids; do
	echo "$id" | grep -qE '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$' ||
		fail "an id: $id"
done
[ "$(echo "$ids" | sort -u | wc -l)" -eq "$(echo "$ids" | wc -l)" ] ||
	fail "an id is used twice: $ids"
ok "ids of snapshots are safe, and of one use"

# 6: what a create leaves is waited for.
echo 'create-fails method=POST path=*/snapshots times=1' >"$rules"
again 1
grep -q 'no space left' stderr || fail "$(cat stderr)"
: >"$rules"
again 0
no_complaint
chost_end
chost_begin --reconcile 3000
echo 'create-fails method=POST path=*/snapshots times=1' >"$rules"
again 1
again 0
grep -q ' 400 .*fb-' "$log" || fail "it was not pending"
no_complaint
ok "an operation that is pending is waited for, and then it goes on"

# The answer to a create is lost: it is done once.
echo 'lost method=POST path=*/snapshots times=1' >"$rules"
again 0
asked 1 'POST /machines/m1/snapshots'
[ "$(snapshots m1)" -eq 0 ] || fail "a snapshot is left"
expect 0 "$fb" verify --full
ok "a create whose answer is lost is found by its id"

# 9: bytes of two snapshots are not mixed.
echo 'cut=1000 path=*/artifacts/* skip=1 times=3' >"$rules"
again 0
grep -qE 'artifacts/[a-z0-9-]+ 206 1000 ' "$log" || fail "nothing was cut"
expect 0 "$fb" verify --full
ok "what breaks off is gone on with"
for how in touch no-range vanish; do
	echo "$how path=*/artifacts/disk-system times=1" >"$rules"
	again 1 "$how"
	grep -qE 'E-API-CHANGED|E-API-STATUS' stderr ||
		fail "$how: $(cat stderr)"
	ok "$how: it fails, and nothing is stored of it"
done
echo 'corrupt=70000 path=*/artifacts/disk-system skip=1 times=1' >"$rules"
again 1
grep -q E-CHOST-DIGEST stderr || fail "$(cat stderr)"
: >"$rules"
again 0
cp "$host/machine-disks/m1/system.img" before/m1/
ok "what is not what the host hashed is no backup"

# 3, 12: a machine in a 201 that does not come up.
: >"$log"
echo 'failed path=*/restore times=1
starting=900 path=*/restore skip=1 times=1
starting=900 path=*/start times=1' >"$rules"
expect 0 "$fb" restore m1 --in-place --yes
same_disks m1 before/m1
[ "$(phase m1)" = running ] || fail "m1 is $(phase m1)"
asked 2 'POST /snapshots/fbr-[0-9a-f]+/restore 201'
[ "$(grep -o 'POST /snapshots/fbr-[0-9a-f]*' "$log" | sort -u | wc -l)" \
	-eq 2 ] || fail "an id is used twice"
no_complaint
echo 'failed path=*/restore' >"$rules"
: >"$log"
expect 1 "$fb" restore m1 --as n1 --yes
grep -q 'E-CHOST-FAILED' stderr || fail "$(cat stderr)"
asked 2 'POST /snapshots/fbr-[0-9a-f]+/restore'
: >"$rules"
run=$(sed -n 's/.*--resume \([^ ]*\).*/\1/p' stderr | head -1)
expect 0 "$fb" restore --resume "$run" --yes
same_disks n1 before/m1
no_complaint
ok "a machine that failed in a 201 is made again, and told"

# The answer to a restore is lost: the machine is there, and is ours.
: >"$log"
echo 'lost path=*/restore times=1' >"$rules"
expect 0 "$fb" restore m1 --as n2 --yes
same_disks n2 before/m1
asked 1 'POST /snapshots/fbr-[0-9a-f]+/restore'
no_complaint
ok "a restore whose answer is lost is not done twice"

# Somebody makes the machine meanwhile: it is not ours to delete.
: >"$log"
expect 20 "$fb" restore m1 --as n2 --yes
asked 0 'DELETE /machines/n2'
ok "a machine that is there is not replaced by a new one"

# What fails before the old machine goes leaves it.
: >"$log"
expect 15 "$fb" --set 'sources.lab.serve=192.0.2.77:8099' \
	restore m1 --in-place --yes
grep -q E-CHOST-SERVE stderr || fail "$(cat stderr)"
asked 0 'DELETE /machines/m1'
run=$(sed -n 's/.*--resume \([^ ]*\).*/\1/p' stderr | head -1)
expect 0 "$fb" restore --resume "$run" --yes
same_disks m1 before/m1
ok "the old machine goes when all of the new one is at hand"

# The list knows nothing of a machine that has died.
echo 'die path=/machines/m1 method=GET' >"$rules"
ask /machines | grep -q '"m1".*"running"' || fail "m1 does not run"
expect 1 "$fb" discover
grep -q 'it is failed: runtime' stderr || fail "$(cat stderr)"
: >"$rules"
ask /machines/m1 | grep -q '"failed"' || fail "m1 is $(phase m1)"
: >"$log"
[ "$(status_of "$fb" download m1)" -ne 0 ] || fail "it was backed up"
asked 0 'POST'
ok "a dead machine is asked for by itself, and not touched"

# 7: what cannot be put right holds up its own machine, and no other.
: >"$rules"
chost_end
chost_machine m2 running 0 2
chost_begin --reconcile 200
: >"$log"
cat >"$rules" <<-'END'
	stuck method=RECONCILE path=/machines/m1
	create-fails method=POST path=/machines/m1/snapshots times=1
END
expect 3 "$fb" download --full
grep -q 'no space left' stderr || fail "$(cat stderr)"
expect 3 "$fb" download --full
grep -q 'lab/m1.*E-CHOST-PENDING' stderr || fail "$(cat stderr)"
asked 2 'POST /machines/m2/snapshots 201'
asked 0 'POST /machines/m1/(stop|start)'
: >"$rules"
expect 0 "$fb" download --full
[ "$(snapshots m1)" -eq 0 ] || fail "a snapshot is left"
no_complaint
ok "an operation that stays pending holds up its machine alone"

# 8: the daemon puts right what is being done: there is nothing to fetch.
echo 'race=0 path=/machines/m1/snapshots method=POST times=1' >"$rules"
expect 3 "$fb" download --full
grep -q 'no such file' stderr || fail "$(cat stderr)"
echo 'race=1 path=/machines/m1/snapshots method=POST times=1' >"$rules"
expect 3 "$fb" download --full
grep -q E-API-STATUS stderr || fail "$(cat stderr)"
: >"$rules"
expect 0 "$fb" download --full
[ "$(snapshots m1)" -eq 0 ] || fail "a snapshot is left"
expect 0 "$fb" verify --full
no_complaint
ok "a snapshot that the daemon took for a leftover is no backup"

# Answers that are none.
for rule in 'raw=3000000 path=/machines' 'raw=10 path=/machines' \
	'error=500 path=/machines' 'reset path=/health'; do
	echo "$rule" >"$rules"
	[ "$(status_of "$fb" discover)" -ne 0 ] || fail "$rule passes"
done
: >"$rules"
chost_end
chost_begin --reconcile 300 --era seed
[ "$(status_of "$fb" discover)" -ne 0 ] || fail "the first version passes"
grep -q E-CHOST-OLD stderr || fail "$(cat stderr)"
no_complaint
ok "what is no answer is an error, and so is a daemon of the first version"
