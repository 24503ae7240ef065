#!/bin/sh
# What a dead run left and somebody altered is not believed: a contradiction
# stops with an error and is left as it is; what can be done again is.
. "$(dirname "$0")/lib.sh"
. "$here/../crash/harness.sh"

dir=$work/dir
pristine=$work/pristine
base=$work
crash_fleet
cp -a "$dir" "$pristine"
act() { run fleetbak download; }
survey

# died <step>: a run that was killed before it, its guardian's work done.
died() {
	number=$(step_names <"$work/calm.steps" | grep -m 1 " $1\$" |
		cut -d' ' -f1)
	[ -n "$number" ] || fail "no step '$1'"
	fresh
	name=$1
	cut_at=$number:${2:-kill}
	[ "$(act)" -eq 137 ] || fail "$what: not cut off"
	cut_at=
	[ "$(run fleetbak recover)" -eq 0 ] || fail "$what: recover"
	journal=$(echo state/runs/*/journal)
	effects_before=$(effects_of copy):$(effects_of snap)
}

everything() { # all but who holds the lock
	find repo state machines -type f ! -name lock -exec sha256sum {} + |
		sort
}

# refused <id>: the next download fails so, and touches nothing of a machine.
refused() {
	got=$(act)
	[ "$got" -ne 0 ] || fail "$what: the next run is content"
	grep -q "$1" "$work/stderr" || fail "$what: not $1"
	[ "$(effects_of copy):$(effects_of snap)" = "$effects_before" ] ||
		fail "$what: a machine was touched"
	! grep -q "\"run\":" "$work/stdout" || fail "$what: it says a run"
	[ -z "$(find repo -path "*/commits/*")" ] || fail "$what: a commit"
}

# rewrite <sed script>: the journal with other records, all of them in order.
rewrite() {
	sed 1d "$journal" | cut -d' ' -f3- | sed "$1" >"$work/records"
	rm "$journal"
	"$bin/scenario/rejournal" "$journal" <"$work/records"
}

held() { # <outcome>: what it came to
	for m in copy snap; do
		[ -e machines/$m/up ] || fail "$what: $m was left stopped"
	done
	[ ! -e machines/down/up ] || fail "$what: down was started"
	! grep -qF -e "$secret" "$work/said" || fail "$what: says a secret"
	echo "$scenario|reject|$what|$1" >>"$ledger"
	ok "$what: $1"
}

copied='write state/runs/RUN/journal finish'

what='journal-not-json'
died "$copied"
sed -i '12s/{/[/' "$journal"
cp "$journal" "$work/altered"
everything >"$work/before.it"
refused E-JOURNAL
everything >"$work/after.it"
cmp -s "$work/before.it" "$work/after.it" || fail "$what: something was done"
cmp -s "$journal" "$work/altered" || fail "$what: it was repaired"
held refused

what='journal-of-another-plan'
died "$copied"
rewrite 's|^machine \(.*\)lab/snap|machine \1lab/other|'
cp "$journal" "$work/altered"
refused 'not planned'
cmp -s "$journal" "$work/altered" || fail "$what: it was repaired"
held refused

what=topology-stale
died 'write state/runs/RUN/journal machine copied lab/snap'
make_machine machines more
got=$(run FLEETBAK_SESSION=20270115-080000000-0000000b fleetbak download)
[ "$got" -eq 0 ] || fail "$what: exit $got"
[ "$(find repo/commits -type f | wc -l)" -eq 2 ] || fail "$what: commits"
[ "$(jq .partial repo/runs/$session/manifest.json)" = true ] ||
	fail "$what: what was cut off is not partial"
[ "$(jq '.machines | length' repo/runs/*b/manifest.json)" -eq 5 ] ||
	fail "$what: not all are in the new run"
judge_power
judge_repository
held closed

what=artifact-replaced
died "$copied"
pack=$(echo state/runs/*/spool/pack.0)
[ -s "$pack" ] || fail "$what: no pack"
printf 'replaced' | dd of="$pack" bs=1 seek=30000 conv=notrunc status=none
got=$(run FLEETBAK_SESSION=20270115-080000000-0000000b fleetbak download)
[ "$got" -eq 0 ] || fail "$what: exit $got"
grep -q E-SPOOL "$work/stderr" || fail "$what: the run before says nothing"
[ "$(ls repo/commits)" = 20270115-080000000-0000000b ] ||
	fail "$what: what was replaced is committed"
judge_repository
held closed

what=private-stage-partial
died 'write state/runs/RUN/spool/m00003-e1-v1.leaves' torn
echo garbage >>"$(echo state/runs/*/spool/pack.0)"
got=$(act)
[ "$got" -eq 0 ] || fail "$what: exit $got"
judge_power
judge_repository
held resumed

what=manifest-conflicts
died 'store runs/RUN/manifest.json'
mkdir -p repo/runs/$session
echo '{"premature":true}' >repo/runs/$session/manifest.json
refused 'is another'
grep -q premature repo/runs/$session/manifest.json ||
	fail "$what: it was overwritten"
held refused

what=state-without-receipt
died "$copied"
rewrite '/^volume .*lab\/snap/d'
refused ''
held refused

# The answer to the making of a snapshot is lost: it is found, not made again.
what=answer-without-id
fresh
name=
number=$(grep ' driver ' "$work/calm.steps" | grep -n 'create_snapshot lab/snap' |
	cut -d: -f1)
[ "$(run "FLEETBAK_FAULT=driver.$number:lost" fleetbak download)" -eq 0 ] ||
	fail "$what: download"
[ "$(effects_of snap)" = 1.1.1 ] || fail "$what: $(effects_of snap)"
judge_power
judge_repository
held adopted

# A document that cannot be put into place leaves the former one, and no
# other name.
what=rename-fails
keep_machines=yes # the same names of objects, and so the same steps
second() { # [variable]: a second run, after a first
	fresh
	[ "$(act)" -eq 0 ] || fail "$what: the first run"
	cp state/newest/* "$work/newest"
	: >"$steps"
	got=$(run FLEETBAK_SESSION=20270115-080000000-0000000b "$@" \
		fleetbak download)
}
second
number=$(grep ' rename ' "$steps" |
	grep -n 'rename .*/newest/[0-9a-f]*\.demo$' | head -n 1 | cut -d: -f1)
[ -n "$number" ] || fail "$what: no such step"
! cmp -s "$work/newest" state/newest/*.demo || fail "$what: nothing is new"
# It is tried twice.
second "FLEETBAK_FAULT=rename.$number:EIO,rename.$((number + 1)):EIO"
grep -q 'rename .*/newest/' "$steps" || fail "$what: not reached"
cmp -s "$work/newest" state/newest/*.demo || fail "$what: it has changed"
[ -z "$(find state/newest -name '*.tmp')" ] || fail "$what: a rest"
judge_power
held kept
