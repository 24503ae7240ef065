# shellcheck shell=sh
# The metadata service of a virtual machine, for one test.  Sourced by
# servers.sh, which says what it offers.
#
# shellcheck disable=SC2034,SC2154 # servers.sh has the other half

imds_answers() {
	[ "$(curl -s -o /dev/null -w '%{http_code}' "$imds_url/")" = 401 ]
}

start_imds() {
	requires curl
	[ -x /usr/bin/python3 ] || {
		echo 'skip  no python3'
		exit 77
	}
	imds_dir=$work/imds
	mkdir -p "$imds_dir"
	free_ports 1
	imds_url=http://$server_address:$free_ports
	serve imds "$imds_dir" /usr/bin/python3 "$servers/imds.py" "$imds_dir" \
		"$server_address" "$free_ports"
	await "the metadata service does not answer" "$serve_pid" imds_answers
}

# imds_keys <key> <secret> <token> <seconds that they are good for>: of a role.
imds_keys() {
	echo night >"$imds_dir/role"
	printf '{"Code": "Success", "LastUpdated": "%s", "Type": "AWS-HMAC",
		"AccessKeyId": "%s", "SecretAccessKey": "%s", "Token": "%s",
		"Expiration": "%s"}\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
		"$1" "$2" "$3" "$(date -u -d "+$4 seconds" +%Y-%m-%dT%H:%M:%SZ)" \
		>"$imds_dir/keys.new"
	mv "$imds_dir/keys.new" "$imds_dir/keys"
}
