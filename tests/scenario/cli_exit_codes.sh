#!/bin/sh
# Each cause has its exit status and its error id, the same in text and JSON.
. "$(dirname "$0")/lib.sh"
requires jq flock openssl

make_fleet "$work/f" 2
cd "$work/f"

# gives <status> <id> <command>...
gives() {
	gives_id=$2
	gives_want=$1
	shift 2
	expect "$gives_want" "$fb" -c "$conf" "$@" --json
	jq -e --arg id "$gives_id" --argjson code "$gives_want" \
		'.exit_code == $code and ([.errors[].id] | index($id) != null)' \
		"$work/stdout" >/dev/null ||
		fail "no $gives_id: $(head -c 800 "$work/stdout")"
	"$fb" explain "$gives_id" >/dev/null || fail "$gives_id unexplained"
}

gives 10 E-NO-REPO download
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
ok "no repository: 10"

cp "$conf" good.yaml
sed 's/download:/dwonload:/' good.yaml >"$conf"
gives 2 E-CFG-KEY list
grep -q "$conf:" "$work/stderr" || fail "no place"
cp good.yaml "$conf"
gives 2 E-SEL-NONE download nosuch
ok "usage: 2"

flock --no-fork state/lock sleep 600 &
holder=$!
is_locked() {
	! flock -n state/lock true
}
until_true "it is not locked" is_locked
gives 11 E-LOCKED download
gives 11 E-LOCKED recover
kill $holder
wait $holder 2>/dev/null || :
flock -w 30 state/lock true || fail "the lock is still held"
ok "locked: 11"

mv keys/sign.pem keys/away.pem
expect 12 "$fb" -c "$conf" download --json
expect 12 "$fb" -c "$conf" keys check
[ -e machines/m1/up ] && [ -e machines/m2/up ] || fail "a machine is down"
mv keys/away.pem keys/sign.pem
chmod 644 keys/sign.pem
gives 12 E-KEY-MODE download
chmod 600 keys/sign.pem
ok "a missing or open key: 12"

openssl genpkey -algorithm ed25519 -out keys/other.pem 2>/dev/null
openssl pkey -in keys/other.pem -pubout -out keys/other.pub.pem
sed 's/sign.pub.pem/other.pub.pem/' good.yaml >"$conf"
expect 13 "$fb" -c "$conf" list
expect 13 "$fb" -c "$conf" restore m1 --target "$work/out"
expect 13 "$fb" -c "$conf" keys check
[ ! -e "$work/out/m1" ] || fail "something was restored"
cp good.yaml "$conf"
ok "another signer: 13"

pack=$(find repo/packs -name '*.pack' | head -1)
cp -p "$pack" saved.pack
damage "$pack" 40
expect 14 "$fb" -c "$conf" verify --json
expect 14 "$fb" -c "$conf" verify --full
grep -q "harms" "$work/stdout" || fail "what does it harm?"
expect 14 "$fb" -c "$conf" restore --run latest --all --target "$work/out2"
cp -p saved.pack "$pack"
expect 0 "$fb" -c "$conf" verify --full
ok "damaged: 14"

mv machines away
gives 15 E-SRC-UNREACHABLE discover
expect 15 "$fb" -c "$conf" download --json
mv away machines
ok "every source unreachable: 15"

sed 's|^download:|  gone: {driver: local, root: ./nosuch}\n&|' good.yaml >"$conf"
gives 3 E-SRC-UNREACHABLE discover
gives 3 E-SRC-UNREACHABLE download
jq -e '[.machines[] | select(.result == "ok")] | length == 2' \
	"$work/stdout" >/dev/null || fail "the others were not stored"
cp good.yaml "$conf"
: >machines/m1/fail-stop
gives 3 E-COMMAND download
rm machines/m1/fail-stop
echo 'id: [' >machines/m1/machine.yaml
gives 3 E-CFG-SYNTAX download
gives 3 E-CFG-SYNTAX discover
ok "one of several: 3"

gives 20 E-CONFIRM restore m2 --in-place
mkdir -p "$work/there/m2"
gives 20 E-RST-EXISTS restore m2 --target "$work/there"
ok "refused: 20"

for code in 0 1 2 3 4 10 11 12 13 14 15 16 17 18 19 20 21; do
	expect 0 "$fb" explain $code
done
ok "each one is explained"
