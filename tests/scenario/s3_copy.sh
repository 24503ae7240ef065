#!/bin/sh
# A repository in a bucket is encrypted where nothing else is said; its host
# writes without the private key; and it is copied, still closed, to another
# bucket and to a disk, from which a machine comes back.  A copy that was killed
# goes on, and one of a single run can be opened too.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_page.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq rclone

start_radosgw
s3_make bucket
s3_make other
s3_make third
s3_env
s3_fleet "$work/f" 2 bucket
cd "$work/f"
sed -i '/^    sign_with: /a\
  second:\
    {url: "s3://other/fleet", endpoint: "'"$s3_url"'", path_style: true,\
     copy_of: main, sign_with: "file:./keys/sign.pem"}\
  third:\
    {url: "s3://third/fleet", endpoint: "'"$s3_url"'", path_style: true,\
     copy_of: main, sign_with: "file:./keys/sign.pem"}\
  disk: {url: "file:./disk", copy_of: main, sign_with: "file:./keys/sign.pem"}\
  one: {url: "file:./one", copy_of: main, sign_with: "file:./keys/sign.pem"}
' "$conf"

expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download --json
first=$(field run)
s3_keys bucket fleet/keys/ | grep -q '\.cms$' || fail "no wrapped keys"
s3_curl GET "/bucket/$(s3_keys bucket fleet/packs/ | head -n 1)" -f \
	>"$work/pack" || fail "no pack"
! zstd -qt "$work/pack" 2>/dev/null || fail "a pack is not encrypted"
ok "a bucket's repository is encrypted when nothing is said"

# A stranger has the printed page, the recovery key and a key that may read; the
# server has an authority of its own.
sed "0,/endpoint:/s|endpoint: .*|endpoint: \"$s3_tls_url\"\\n    ca: $s3_ca|" \
	"$conf" >tls.yaml
expect 0 "$fb" -c tls.yaml keys sheet
cp "$work/stdout" "$work/page"
mkdir "$work/stranger"
cp keys/recovery.pem "$work/stranger"
recovery=$work/stranger/recovery.pem
cd "$work/stranger"
stranger "$work/page" m1 root disk.img
cmp "$work/f/machines/m1/disk.img" disk.img || fail "the page: another disk"
cd REPO
by_hand "$work/page" 1 m1 root ../hand.img
cmp "$work/f/machines/m1/disk.img" ../hand.img || fail "by hand: another disk"
by_hand RESTORE.txt 2 m2 root ../hand2.img
cmp "$work/f/machines/m2/disk.img" ../hand2.img ||
	fail "RESTORE.txt: another disk"
cd "$work/f"
rm -r "$work/stranger"
ok "a stranger follows the printed page, and does it by hand"

mkdir "$work/offline"
mv keys/recovery.pem "$work/offline/"
# Its key is another user's, out of systemd's directory of credentials, who may
# list, read and write, and delete nothing.
rgw_admin user create --uid=host --display-name=host \
	--access-key=HOSTACCESSKEY0000001 --secret-key=hostsecret000000000001 \
	--max-buckets=-1 >"$work/user" 2>&1 || fail "no user: $(cat "$work/user")"
# What it puts is its own with radosgw: who restores is allowed to read it too.
policy() { # [statement]: beside what it may do
	s3_curl PUT '/bucket?policy=' -f -o "$work/policy" --data-binary '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam:::user/host"]},"Action":["s3:PutObject","s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]},{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam:::user/test"]},"Action":["s3:*"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}'"${1:+,$1}"']}' ||
		fail "no policy: $(cat "$work/policy")"
}
mkdir "$work/credentials"
(umask 077 && printf 'aws_access_key_id=%s\naws_secret_access_key=%s\n' \
	HOSTACCESSKEY0000001 hostsecret000000000001 >"$work/credentials/s3")
sed '0,/credentials: env/s//credentials: "cred:s3"/' "$conf" >host.yaml
host() { # <exit> <argument>...
	host_exit=$1
	shift
	expect "$host_exit" env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY \
		CREDENTIALS_DIRECTORY="$work/credentials" "$fb" -c host.yaml "$@"
}
host 16 list
grep -q E-S3-DENIED "$work/stderr" || fail "a stranger reads the bucket"
policy '{"Effect":"Deny","Principal":{"AWS":["arn:aws:iam:::user/host"]},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::bucket/fleet/packs/*"]}'
echo 'much' >machines/m1/data/much.txt
host 0 download
policy
echo 'more' >machines/m1/data/more.txt
host 0 download
[ -e machines/m1/up ] && [ -e machines/m2/up ] || fail "a machine is down"
commit=$(s3_keys bucket fleet/commits/ | head -n 1)
[ "$(s3_key=HOSTACCESSKEY0000001 s3_secret=hostsecret000000000001 \
	s3_curl DELETE "/bucket/$commit" -o "$work/denied" -w '%{http_code}')" = 403 ] ||
	fail "the host's key deletes"
ok "a host that may not delete backs up, also where it may not read packs"

expect 12 "$fb" -c "$conf" restore m1 --target "$work/out" --yes
expect 0 "$fb" -c "$conf" verify
ok "the host writes without the private key, and opens nothing"

for to in second disk; do
	expect 0 "$fb" -c "$conf" copy --from main --to $to
	expect 0 "$fb" -c "$conf" -r $to verify
done
s3_keys bucket fleet/ | grep -Ev '^fleet/(sessions|gc)/' >"$work/a"
s3_keys other fleet/ | grep -Ev '^fleet/(sessions|gc)/' >"$work/b"
diff "$work/a" "$work/b" || fail "other objects in the copy"
while read -r key; do
	s3_curl GET "/bucket/$key" -f </dev/null | sha256sum >"$work/a.sum"
	sha256sum <"disk/${key#fleet/}" | cmp -s - "$work/a.sum" ||
		fail "$key differs on the disk"
done <"$work/a"
expect 0 "$fb" -c "$conf" copy --from main --to second --json
[ "$(field bytes)" = 0 ] || fail "copied again: $(cat "$work/stdout")"
ok "copied to a bucket and to a disk, byte for byte, once"

mv "$work/offline/recovery.pem" keys/
for from in second disk; do
	expect 0 "$fb" -c "$conf" -r $from verify --full
	expect 0 "$fb" -c "$conf" -r $from restore --run "$first" --all \
		--target "$work/out" --yes
	for m in m1 m2; do
		cmp machines/$m/disk.img "$work/out/$m/root.img" ||
			fail "$from: another disk"
	done
	[ ! -e "$work/out/m1/data/more.txt" ] || fail "$from: of a later run"
	rm -r "$work/out"
done
ok "restored from both copies with the key"

# The newest run uses packs of the first one, whose session's keys it needs.
mv keys/recovery.pem "$work/offline/"
expect 0 "$fb" -c "$conf" copy --from main --to one --run latest
mv "$work/offline/recovery.pem" keys/
expect 13 "$fb" -c "$conf" -r one verify --full --json
[ "$(field opened)" = true ] || fail "nothing was opened"
[ "$(jq '[(.data.damages // .damages)[] | select(.object | test("history") | not)] | length' \
	"$work/stdout")" = 0 ] || fail "more than the history: $(cat "$work/stdout")"
expect 0 "$fb" -c "$conf" -r one restore m2 --target "$work/out" --yes \
	--allow-rollback
cmp machines/m2/disk.img "$work/out/m2/root.img" || fail "one run: another disk"
ok "a single run is copied with the keys of every pack that it uses"

# From bucket to bucket, killed at one step after the other.
if [ "${FB_VARIANT:-debug}" != release ]; then
	killed=0
	for at in 3 6 9 12 15 18; do
		got=$(FLEETBAK_CRASH=store.$at:kill status_of "$fb" -c "$conf" \
			copy --from main --to third)
		[ "$got" -eq 0 ] || [ "$got" -eq 137 ] || fail "step $at: exit $got"
		[ "$got" -eq 0 ] || killed=$((killed + 1))
	done
	[ $killed -ge 2 ] || fail "killed $killed times only"
	expect 0 "$fb" -c "$conf" copy --from main --to third
	expect 0 "$fb" -c "$conf" -r third prune -y
	expect 0 "$fb" -c "$conf" -r third verify --full --json
	[ "$(field opened)" = true ] || fail "nothing was opened"
	s3_keys third fleet/ | grep -Ev '^fleet/(sessions|gc)/' >"$work/b"
	diff "$work/a" "$work/b" || fail "other objects after $killed kills"
	ok "killed $killed times on its way, and whole in the end"
fi
