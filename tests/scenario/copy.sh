#!/bin/sh
# A copy of a repository is that repository: byte for byte, with the same
# signatures, nothing more than is needed, and only what was checked.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 2
cd "$work/f"
sed -i 's|^  main: .*|&\n  vault: {url: "file:./vault", copy_of: main, sign_with: "file:./keys/sign.pem"}\n  other: {url: "file:./other", sign_with: "file:./keys/sign.pem"}|' "$conf"
cat >>"$conf" <<-'EOF2'
	retention: {keep: "1 daily", min: 1, grace: 0s, max_remove: "100%"}
EOF2
day() { # <n>
	export FLEETBAK_CLOCK=$((1795003200 + $1 * 86400))
}
night() { # <n>
	day "$1"
	echo "night $1" >machines/m1/data/new
	expect 0 "$fb" -c "$conf" download
}
runs_of() { # <repository>
	"$fb" -c "$conf" -r "$1" list runs --json | jq -r '.data[].run'
}
same_objects() { # but for sessions, and what prune leaves
	(cd repo && find . -type f ! -path './sessions/*' ! -path './gc/*' \
		! -path './pending/*' ! -name .lock -exec sha256sum {} + | sort) \
		>"$work/a.sums"
	(cd vault && find . -type f ! -path './sessions/*' ! -path './gc/*' \
		! -path './pending/*' ! -name .lock -exec sha256sum {} + | sort) \
		>"$work/b.sums"
	diff "$work/a.sums" "$work/b.sums" >"$work/stderr"
}

day 0
expect 0 "$fb" -c "$conf" init
night 0
night 1

# A dry run makes nothing.
expect 0 "$fb" -c "$conf" copy --to vault -n --json
[ "$(jq '[.data.runs[] | select(.outcome == "planned")] | length' "$work/stdout")" = 2 ] ||
	fail "the dry run plans something else"
[ ! -e vault ] || fail "a dry run makes a repository"
need=$(jq .data.bytes "$work/stdout")

expect 0 "$fb" -c "$conf" -q copy --to vault
[ ! -s "$work/stdout" ] && [ ! -s "$work/stderr" ] || fail "-q says something"
same_objects || fail "the copy is not the same"
objects=$(find vault/packs vault/recipes -type f -printf '%s\n' |
	awk '{ n += $1 } END { print n }')
[ "$objects" -eq "$need" ] || fail "$objects bytes, planned were $need"
for s in vault/sessions/*; do
	[ "${s%.end}" != "$s" ] || [ -e "$s.end" ] ||
		fail "a session is left open"
done
expect 0 "$fb" -c "$conf" -r vault verify --full
expect 0 "$fb" -c "$conf" -r vault restore m1 --target out
cmp -s out/m1/disk.img machines/m1/disk.img ||
	cmp -s "$(find out -name 'root*' -type f | head -1)" machines/m1/disk.img ||
	fail "what is restored from the copy differs"
(cd vault && for run in runs/*; do
	sha256sum -c --quiet "$run/SHA256SUMS" || exit 1
	openssl pkeyutl -verify -pubin -inkey ../keys/sign.pub.pem -rawin \
		-in "$run/SHA256SUMS" -sigfile "$run/SHA256SUMS.sig" || exit 1
done) >"$work/stderr" 2>&1 || fail "the copy does not stand by itself"
ok "the copy is the repository in another place"

# Only what is missing; again does nothing; a copy that is behind is no rollback.
night 2
expect 0 "$fb" -c "$conf" -r vault status
expect 0 "$fb" -c "$conf" -r vault verify --structure
expect 0 "$fb" -c "$conf" copy --to vault --json
[ "$(jq '[.data.runs[] | select(.outcome == "copied")] | length' "$work/stdout")" = 1 ] ||
	fail "more than the new run is copied"
[ "$(jq '.data.bytes' "$work/stdout")" -lt "$need" ] || fail "all of it is copied"
expect 0 "$fb" -c "$conf" copy --to vault --json
[ "$(jq .data.bytes "$work/stdout")" = 0 ] || fail "something is copied again"
same_objects || fail "the copy is not the same after night 2"
ok "only what is missing is copied"

# Rollback of the copy shows by its own memory.
cp -a vault older
night 3
expect 0 "$fb" -c "$conf" copy --to vault
mv vault newer
mv older vault
expect 13 "$fb" -c "$conf" -r vault status
rm -r vault
mv newer vault
expect 0 "$fb" -c "$conf" -r vault status
ok "an older copy that was put back shows"

# It is not for anything else, nor is anything else for it.
expect 20 "$fb" -c "$conf" -r vault download
grep -q '^fleetbak: E-COPY-OF' "$work/stderr" || fail "why not is not said"
expect 0 "$fb" -c "$conf" -r other init
expect 20 "$fb" -c "$conf" copy --to other
grep -q '^fleetbak: E-COPY-OTHER' "$work/stderr" || fail "another repository"
rm -r other
mkdir other
echo mine >other/file
expect 20 "$fb" -c "$conf" copy --to other
grep -q '^fleetbak: E-REPO-FOREIGN' "$work/stderr" || fail "a foreign place"
[ "$(ls other)" = file ] || fail "something was put there"
rm -r other
expect 20 "$fb" -c "$conf" copy --to main
expect 2 "$fb" -c "$conf" copy --to nowhere
expect 2 "$fb" -c "$conf" copy
ok "what is no copy is refused"

# One run, or those of a machine.
newest=$(runs_of main | head -1)
mkdir other
expect 0 "$fb" -c "$conf" copy --to other --run latest
grep -q 'warning: .*E-ROLLBACK\|warning: .*gone\|warning: .*missing' "$work/stderr" ||
	fail "that runs are missing before it is not said"
[ "$(ls other/runs)" = "$newest" ] || fail "not the newest"
expect 0 "$fb" -c "$conf" copy --to other lab/m2
expect 0 "$fb" -c "$conf" -r other verify --structure
rm -r other
ok "runs are chosen"

# What is lost in the copy comes back; what is damaged in the source stays out.
pack=$(find vault/packs -type f | sort | head -1)
rm -f "$pack"
expect 14 "$fb" -c "$conf" -r vault verify --structure
expect 0 "$fb" -c "$conf" copy --to vault --json
[ "$(jq '[.data.runs[] | select(.outcome == "repaired")] | length' "$work/stdout")" -ge 1 ] ||
	fail "nothing was repaired"
expect 0 "$fb" -c "$conf" -r vault verify
rm -rf vault
cp -a repo "$work/whole"
bad=$(find repo/packs -type f -size +1k | sort | tail -1)
damage "$bad" 100
got=$(status_of "$fb" -c "$conf" copy --to vault)
[ "$got" -eq 14 ] || [ "$got" -eq 3 ] || fail "a damaged pack: exit $got"
grep -q "is not what its name says" "$work/stderr" || fail "the pack is not named"
[ ! -e "vault/${bad#repo/}" ] || fail "a damaged pack was copied"
nothing_lost vault "a run without its pack was committed there"
rm -rf repo
cp -a "$work/whole" repo
expect 0 "$fb" -c "$conf" copy --to vault
same_objects || fail "the copy is not the same after all"
ok "damage does not travel, and lost objects come back"

# Retention here and there: what is given up there stays so; what was given up
# here before it was copied is missed by nobody.
day 10
expect 0 "$fb" -c "$conf" -r vault prune -y
expect 0 "$fb" -c "$conf" -r vault prune -y
[ "$(runs_of vault | wc -l)" -lt "$(runs_of main | wc -l)" ] ||
	fail "the copy was not pruned"
nothing_lost vault "pruned"
expect 0 "$fb" -c "$conf" -r vault verify
night 11
expect 0 "$fb" -c "$conf" copy --to vault --json
[ "$(jq '[.data.runs[] | select(.outcome == "forgotten")] | length' "$work/stdout")" -ge 1 ] ||
	fail "what was given up is copied again"
expect 0 "$fb" -c "$conf" -r vault verify
for n in 12 13; do night $n; done
day 30
expect 0 "$fb" -c "$conf" prune -y
expect 0 "$fb" -c "$conf" prune -y
expect 0 "$fb" -c "$conf" copy --to vault
expect 0 "$fb" -c "$conf" -r vault verify
nothing_lost vault "copied after a prune"
ok "each has its own retention"

# A copier that was killed: prune there waits for none that is dead, and the
# next copy goes on.
if [ "${FB_VARIANT:-debug}" != release ]; then
	rm -rf vault
	got=$(FLEETBAK_CRASH=store.9:kill status_of "$fb" -c "$conf" copy --to vault)
	[ "$got" -eq 137 ] || fail "not killed: exit $got"
	expect 0 "$fb" -c "$conf" -r vault prune -y
	expect 0 "$fb" -c "$conf" copy --to vault
	expect 0 "$fb" -c "$conf" -r vault verify
	nothing_lost vault "killed, pruned, copied"
	ok "a dead copier holds nothing up"
fi

# Limits of rate and time.
rm -rf vault
expect 21 "$fb" -c "$conf" copy --to vault --limit-upload 1KiB/s --max-duration 300ms
expect 0 "$fb" -c "$conf" copy --to vault
expect 0 "$fb" -c "$conf" -r vault verify --full
ok "a copy that was out of time goes on"
