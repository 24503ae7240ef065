#!/bin/sh
# Several inits at once in one directory: one pair of keys comes of it, which
# the repository is signed with, and who is late says so and does no harm.
. "$(dirname "$0")/lib.sh"

make_fleet "$work/f" 1
cd "$work/f"

# What another one has begun is left alone.
mkdir -p keys
echo 'half a key of another' >keys/sign.pem.new
expect 0 "$fb" -c "$conf" init
[ "$(cat keys/sign.pem.new)" = 'half a key of another' ] ||
	fail "the key that another init was about to make is gone"
rm keys/sign.pem.new
ok "what another init writes is not touched"

init_1='' init_2='' init_3=''
for round in 1 2 3 4; do
	rm -rf keys repo state
	for i in 1 2 3; do
		# A status, whatever it is, stands in a file of its own.
		{
			rc=0
			"$fb" -c "$conf" init >"$work/out.$i" \
				2>"$work/err.$i" || rc=$?
			echo $rc >"$work/rc.$i"
		} &
		eval "init_$i=$!"
	done
	wait "$init_1" "$init_2" "$init_3"
	made=0
	for i in 1 2 3; do
		case $(cat "$work/rc.$i") in
		0) made=$((made + 1)) ;;
		11) grep -q E-INIT-RACE "$work/err.$i" ||
			fail "not told what happened: $(cat "$work/err.$i")" ;;
		*) fail "exit $(cat "$work/rc.$i"): $(cat "$work/err.$i")" ;;
		esac
	done
	[ $made -ge 1 ] || fail "nobody made it: $(cat "$work"/err.?)"
	find keys -name '*.new*' >"$work/left"
	[ ! -s "$work/left" ] || fail "left: $(cat "$work/left")"
	openssl pkey -in keys/sign.pem -pubout | cmp -s - keys/sign.pub.pem ||
		fail "the halves of the key are not of one pair"
	expect 0 "$fb" -c "$conf" init
	expect 0 "$fb" -c "$conf" verify
done
expect 0 "$fb" -c "$conf" download
ok "three at once, $round times: one pair of keys and one repository"
