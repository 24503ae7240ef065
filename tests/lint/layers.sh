#!/bin/sh
# A file in layer L includes headers of L itself or of layers above it in the
# list; two layers on one line do not see each other.
set -eu
cd "$(dirname "$0")/../.."

grep -n '^#include "[a-z]*/' src/*/*.[ch] include/fleetbak/*/*.h |
	sed 's|^include/fleetbak/|include/|; s|"fleetbak/|"|' |
	awk -F'[:"/]' '
BEGIN {
	n = split("base|crypto|format|fleet|store driver|" \
	    "repo journal manifest|engine|cli", rows, "|")
	for (i = 1; i <= n; i++) {
		m = split(rows[i], names, " ")
		for (j = 1; j <= m; j++)
			rank[names[j]] = i
	}
	# Row 6: a manifest is kept in a repository; nothing points back.
	beside["manifest", "repo"] = 1
}
{
	user = $2; used = $6
	if (!(user in rank) || !(used in rank) ||
	    (user != used && !((user, used) in beside) &&
	    rank[used] >= rank[user])) {
		print "layering: " $0
		bad = 1
	}
}
END { exit bad }'

# The third-party headers each have one place.
for rule in 'openssl/:src/crypto' 'archive:src/driver' 'yaml.h:src/format' \
	'zstd.h:src/repo' 'curl/:src/base' \
	'libvirt/:src/driver' 'libnbd.h:src/driver' 'libxml/:src/driver' \
	'intel-ipsec-mb.h:src/crypto'; do
	what=${rule%%:*} where=${rule#*:}
	if grep -n "#include <$what" src/*/*.[ch] include/fleetbak/*/*.h |
		grep -v "^$where/"; then
		echo "only $where includes <$what>"
		exit 1
	fi
done
