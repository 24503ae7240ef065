#!/bin/sh
# libcurl is loaded when it is needed: a machine that lacks it backs up to a
# disk and restores from it, and is told what to install for a bucket.
. "$(dirname "$0")/lib.sh"

requires_root
library=$(ldconfig -p | awk '$1 == "libcurl.so.4" { print $NF; exit }')
[ -n "$library" ] || fail "ldconfig knows no libcurl.so.4"

# bare <command>...: where the library is an empty file.
bare() {
	# shellcheck disable=SC2016 # for the shell that is started
	unshare -m sh -c 'mount --bind /dev/null "$1" && shift && "$@"' sh \
		"$(readlink -f "$library")" "$@"
}

make_fleet "$work/fleet" 1
cd "$work/fleet"
expect 0 bare "$fb" -c fleetbak.yaml init
expect 0 bare "$fb" -c fleetbak.yaml download
expect 0 bare "$fb" -c fleetbak.yaml restore --run latest --all \
	--target "$work/out"
cmp machines/m1/disk.img "$(find "$work/out" -type f -size +3M)" ||
	fail "another disk was restored"
ok "without libcurl a directory is as good as ever"

sed -i '/^  main:/a\  bucket: {url: "s3://bucket/p", endpoint: "http://127.0.0.1:9", \
    region: us-east-1, path_style: true, credentials: env}' fleetbak.yaml
export AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b
got=$(status_of bare "$fb" -c fleetbak.yaml -r bucket list)
[ "$got" -ne 0 ] || fail "a bucket is read without libcurl"
grep -q 'E-LIBCURL' "$work/stderr" || fail "it is not named"
grep -q 'libcurl4' "$work/stderr" || fail "it does not say what to install"
ok "for a bucket it says what to install"
