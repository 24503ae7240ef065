#!/bin/sh
# systemd gives the keys: the units of `config units` with `cred:NAME` run nights
# into a bucket, as root and as a user of their own, who cannot read the files
# themselves; and a key that is missing is told.  The gateway is outside of
# systemd's network: a socket in a file leads to it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires jq unshare chroot systemd-socket-activate
requires_root
[ -x /lib/systemd/systemd ] || fail "no systemd"

start_radosgw
s3_make bucket
start_proxy main
lab=$work/lab
mkdir "$lab" "$lab/told"
s3_at=http://127.0.0.1:7480 s3_credentials=cred:s3
s3_fleet "$lab/fleet" 1 bucket
sed -i 's|sign_with: .*|sign_with: "cred:sign"|' "$conf"
cat >>"$conf" <<-'END'
	metrics: {textfile: /srv/lab/told/fleetbak.prom}
	notify:
	  us: {type: exec, command: [/bin/sh, -c, "cat >>/srv/lab/told/notes"]}
END
install -m 755 "$fb" "$lab/fleetbak"
openssl genpkey -algorithm ed25519 -out "$lab/sign" 2>/dev/null
openssl pkey -in "$lab/sign" -pubout -out "$lab/fleet/keys/sign.pub.pem"
for keys in "good $s3_secret" "bad not-the-secret"; do
	printf 'aws_access_key_id = %s\naws_secret_access_key = %s\n' \
		"$s3_key" "${keys#* }" >"$lab/${keys%% *}"
done
chmod 600 "$lab/good" "$lab/bad" "$lab/sign"
serve socket "$work" systemd-socket-activate -l "$lab/s3.sock" \
	/lib/systemd/systemd-socket-proxyd "${proxy_url#http://}"

cat >"$lab/nights" <<'EOF'
set -u
cd /srv/lab/fleet || exit 1
bad() { echo "BAD: $*"; journalctl --no-pager | tail -50; exit 1; }
units=/etc/systemd/system
printf '[Socket]\nListenStream=127.0.0.1:7480\n' >$units/s3.socket
printf '[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd /srv/lab/s3.sock\n' \
	>$units/s3.service
mkdir -p /etc/systemd/system.conf.d /etc/fleetbak/credentials
# A leak is looked for with ptrace(2), which the units do not allow.
printf '[Manager]\nDefaultEnvironment=ASAN_OPTIONS=detect_leaks=0\n' \
	>/etc/systemd/system.conf.d/lab.conf
chmod 700 /etc/fleetbak/credentials
keys() { # <file>
	install -m 600 "/srv/lab/$1" /etc/fleetbak/credentials/s3
}
install -m 600 /srv/lab/sign /etc/fleetbak/credentials/sign
keys good
useradd --system fleetbak || bad useradd
chmod 755 /srv /srv/lab
units_for() { # <user>
	chown -R "$1" .
	/srv/lab/fleetbak -c fleetbak.yaml config units --user "$1" \
		--target $units || bad "no units"
	[ "$(grep -c '^LoadCredential=' $units/fleetbak-download.service)" -eq 2 ] ||
		bad "not both credentials"
	systemctl daemon-reload
}
night() { # <exit>
	rc=0
	systemctl reset-failed fleetbak-download.service
	systemctl start --wait fleetbak-download.service || rc=$?
	got=$(systemctl show -p ExecMainStatus --value fleetbak-download.service)
	[ "$got" = "$1" ] || bad "exit $got, not $1"
}
systemctl daemon-reload
systemctl start s3.socket || bad "no way to the bucket"
/srv/lab/fleetbak -c fleetbak.yaml init || bad init
for user in root fleetbak; do
	units_for $user
	keys good
	night 0
	systemctl start fleetbak-verify.service || bad "$user: verify"
	keys bad
	night 16
	journalctl --sync
	journalctl --no-pager -o cat _SYSTEMD_UNIT=fleetbak-download.service |
		grep -q E-S3-DENIED || bad "$user: it does not say why"
	echo "$user: done"
done
runuser -u fleetbak -- cat /etc/fleetbak/credentials/s3 && bad "anybody reads it"
# Without the file nothing is tried, and somebody is told.
rm /etc/fleetbak/credentials/s3
: >machines/m1/effects
: >/srv/lab/told/notes
chown -R fleetbak /srv/lab/told
night 12
[ ! -s machines/m1/effects ] || bad "m1 was touched"
journalctl --sync
journalctl --no-pager -o cat _SYSTEMD_UNIT=fleetbak-download.service |
	grep -q 'fix .*was /etc/fleetbak/credentials/s3 there' ||
	bad "it does not say what to do"
grep -q E-KEY /srv/lab/told/notes ||
	bad "nobody was told"
journalctl --no-pager >/srv/lab/journal
systemctl show 'fleetbak-*' >>/srv/lab/journal
echo reached
EOF
timeout -k 5 300 sh "$here/../servers/systemd.sh" "$lab" nights \
	>"$work/stdout" 2>"$work/stderr" </dev/null || :
grep -qx reached "$lab/nights.out" || {
	cat "$lab/nights.out" "$work/stdout"
	fail "the nights did not come to their end"
}
for user in root fleetbak; do
	grep -qx "$user: done" "$lab/nights.out" || fail "no nights of $user"
done
[ "$(s3_keys bucket fleet/commits/ | wc -l)" -eq 2 ] || fail "not two runs"
! grep -q "$s3_secret\|not-the-secret" "$lab/journal" || fail "a secret is told"
nothing_wrong
ok "keys that systemd gives, as root and as a user of their own"

# The one who may restore has them otherwise.
s3_env
sed -i "s|endpoint: .*|endpoint: \"$s3_url\"|; s|credentials: .*|credentials: env|
	s|sign_with: .*|sign_with: \"file:$lab/sign\"|" "$conf"
cd "$lab/fleet"
expect 0 "$fb" -c "$conf" restore --run latest --all --target "$work/out" --yes
cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "another disk"
ok "what was stored comes back"
