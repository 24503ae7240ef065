#!/bin/sh
# Keys for a time: an identity token in a file, as a pod of Kubernetes has it,
# becomes a role at the gateway's own token service; so does a profile's role.
# The issuer of the tokens is this test; its certificate is in a bucket.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"

export RGW_SESSIONS=true
start_radosgw
s3_make bucket
s3_make issuer
start_proxy sts --plain
sts_url=$proxy_url sts_log=$proxy_log
start_proxy main
s3_at=$proxy_url s3_credentials=web-identity s3_more='retry_for: 5s'
s3_fleet "$work/f" 1 bucket
cd "$work/f"
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE

# The issuer: a key, its certificate where the gateway looks, and tokens.
issuer=$s3_url/issuer
make_issuer() { # <name>
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$1" \
		-keyout "$1.key" -out "$1.crt" 2>/dev/null
}
base64url() {
	openssl base64 -A | tr '+/' '-_' | tr -d '='
}
make_token() { # <key> <seconds that it is good for>
	make_token_now=$(date +%s)
	make_token_text=$(printf '{"alg":"RS256","typ":"JWT","kid":"1"}' | base64url).$(
		printf '{"iss":"%s","aud":"fleetbak","client_id":"fleetbak","sub":"night","iat":%d,"exp":%d}' \
			"$issuer" $((make_token_now - 60)) $((make_token_now + $2)) |
			base64url
	)
	printf '%s.%s\n' "$make_token_text" "$(printf '%s' "$make_token_text" |
		openssl dgst -sha256 -sign "$1.key" -binary | base64url)" >token.new
	mv token.new token
}
make_issuer good
make_issuer other
printf '{"keys":[{"kid":"1","kty":"RSA","alg":"RS256","use":"sig","x5c":["%s"]}]}' \
	"$(grep -v -e ----- good.crt | sed '$!s/$/\\n/' | tr -d '\n')" >certs
printf '{"issuer":"%s","jwks_uri":"%s/certs"}' "$issuer" "$issuer" >configuration
for name in certs configuration; do
	path=/issuer/$name
	[ $name = certs ] || path=/issuer/.well-known/openid-$name
	s3_curl PUT "$path" -f -T $name -H 'x-amz-acl: public-read' \
		-o "$work/put" || fail "no $path there"
done

# The role, which trusts that issuer, and may do all with buckets.
rgw_admin caps add --uid=test --caps='roles=*;oidc-provider=*' \
	>"$work/caps" 2>&1 || fail "no caps: $(cat "$work/caps")"
rgw_api iam "Action=CreateOpenIDConnectProvider&Url=$issuer&ClientIDList.member.1=fleetbak&ThumbprintList.member.1=$(
	openssl x509 -in good.crt -noout -fingerprint -sha1 | sed 's/.*=//;s/://g'
)" >"$work/provider.xml"
make_role() { # <name> <principal> <action>
	rgw_api iam "Action=CreateRole&RoleName=$1&AssumeRolePolicyDocument="'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{'"$2"'},"Action":["sts:'"$3"'"]}]}' >"$work/role.xml"
	rgw_api iam "Action=PutRolePolicy&RoleName=$1&PolicyName=all&PolicyDocument="'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}' >>"$work/role.xml"
}
make_role pod '"Federated":["arn:aws:iam:::oidc-provider/'"${issuer#http://}"'"]' \
	AssumeRoleWithWebIdentity
make_role host '"AWS":["arn:aws:iam:::user/test"]' AssumeRole

export AWS_ROLE_ARN=arn:aws:iam:::role/pod AWS_ROLE_SESSION_NAME=night
export AWS_WEB_IDENTITY_TOKEN_FILE="$work/f/token" AWS_ENDPOINT_URL_STS="$sts_url"
whole() { # <what>
	expect 0 "$fb" -c "$conf" download
	expect 0 "$fb" -c "$conf" verify --full
	expect 0 "$fb" -c "$conf" restore --run latest --all --target "$work/out" --yes
	cmp machines/m1/disk.img "$work/out/m1/root.img" || fail "$1: another disk"
	rm -r "$work/out"
	! grep -q "^! .*secret" "$proxy_log" || fail "a secret came by"
	ok "$1"
}

make_token good 3600
expect 0 "$fb" -c "$conf" init
whole "an identity token becomes keys"

# The server finds them expired in the middle: the service gives others.
head -c 3M /dev/urandom >machines/m1/disk.img
rules 'error=400,ExpiredToken method=PUT path=*/packs/* times=1'
asked=$(requests POST '/' "$sts_log")
expect 0 "$fb" -c "$conf" download
fault_began error || fail "nothing had expired"
[ "$(requests POST '/' "$sts_log")" -eq $((asked + 2)) ] ||
	fail "the service was asked $(($(requests POST '/' "$sts_log") - asked)) times"
rules
whole "keys of a role that expire in the middle"

# refused <what>: exit 16, the role is named and the token is not.
refused() {
	: >machines/m1/effects
	expect 16 "$fb" -c "$conf" download
	grep -q "E-S3-ROLE: .*role/" "$work/stderr" || fail "$1: no E-S3-ROLE"
	grep -q "  fix .*token must be new" "$work/stderr" || fail "$1: no fix"
	! grep -qF "$(cat token)" "$work/stderr" || fail "$1: the token is told"
	[ ! -s machines/m1/effects ] || fail "$1: m1 was touched"
	ok "$1: exit 16"
}
make_token good -30
refused "a token that nobody renewed"
make_token other 3600
refused "a token of another issuer"
make_token good 3600
AWS_ROLE_ARN=arn:aws:iam:::role/nobody refused "a role that is not there"
rm token
expect 12 "$fb" -c "$conf" download
grep -q "$work/f/token" "$work/stderr" || fail "the file is not named"
ok "no token: exit 12"

# A profile's role, with the lasting keys of another profile.
(umask 077 && cat >aws.config <<-END
	[profile night]
	role_arn = arn:aws:iam:::role/host
	source_profile = lasting
	[profile lasting]
	aws_access_key_id = $s3_key
	aws_secret_access_key = $s3_secret
	END
)
sed -i 's|credentials: .*|credentials: "profile:night"|' "$conf"
export AWS_CONFIG_FILE="$work/f/aws.config"
export AWS_SHARED_CREDENTIALS_FILE="$work/f/none"
unset AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN
head -c 3M /dev/urandom >machines/m1/disk.img
whole "a profile's role"
