#!/bin/sh
# Retention on a bucket: what a prune will cost is said before, and is about
# what it asks for; several prunes at once, one of them killed at this step and
# at that, with downloads beside them: nothing that a run needs goes, and what
# was given up is gone, with its keys and with what killed writers left.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../servers/servers.sh"
requires_faults
requires jq

start_radosgw
s3_make bucket
s3_env
start_proxy main
s3_at=$proxy_url
s3_more='min_storage: 30d\
    price_put: "0.005"\
    price_get: "0.0004"\
    price_storage: "0.023"\
    currency: USD'
s3_fleet "$work/f" 2 bucket
cd "$work/f"
cat >>"$conf" <<-'EOC'
	retention: {keep: "last 2", min: 1, grace: 0s, max_remove: "100%"}
EOC
sed 's|state_dir: ./state|state_dir: ./state2|' "$conf" >second.yaml
night() { # <n>: something new in each machine
	for m in m1 m2; do
		head -c 200k /dev/urandom >machines/$m/data/night
		echo "$1" >>machines/$m/data/hello.txt
	done
}
runs() {
	"$fb" -c "$conf" list runs -o tsv --no-header | cut -f 1
}
# What the runs that are left need, and nothing else, is in the bucket.
as_it_should_be() { # <what>
	runs >"$work/runs"
	[ "$(wc -l <"$work/runs")" -eq 2 ] || fail "$1: $(wc -l <"$work/runs") runs"
	: >"$work/sums"
	while read -r run; do
		s3_curl GET "/bucket/fleet/runs/$run/SHA256SUMS" -f </dev/null \
			>>"$work/sums" || fail "$1: no checksums of $run"
	done <"$work/runs"
	sed -n 's/^[0-9a-f]*  \(packs\/\|recipes\/\)/fleet\/\1/p' "$work/sums" |
		sort -u >"$work/want"
	{ s3_keys bucket fleet/packs/ && s3_keys bucket fleet/recipes/; } |
		sort >"$work/have"
	diff "$work/want" "$work/have" >"$work/stderr" || fail "$1: other objects"
	# Keys: of the runs, and of whoever made a pack that they use.
	cp "$work/runs" "$work/want"
	for pack in $(s3_keys bucket fleet/packs/); do
		s3_curl GET "/bucket/$pack" -f | grep -a '^session ' |
			cut -d ' ' -f 2 >>"$work/want"
	done
	sort -u "$work/want" >"$work/sessions"
	s3_keys bucket fleet/keys/ | sed 's|fleet/keys/||; s/\..*//' |
		sort -u >"$work/have"
	diff "$work/sessions" "$work/have" >"$work/stderr" || fail "$1: other keys"
	expect 0 "$fb" -c "$conf" verify --full --json
	[ "$(field opened)" = true ] || fail "$1: nothing was opened"
}

expect 0 "$fb" -c "$conf" init
for n in 1 2 3; do
	night $n
	expect 0 "$fb" -c "$conf" download
done
# A writer that is killed when its packs are there, and whose host is lost.
night lost
FLEETBAK_CRASH_LOG=$work/steps expect 0 "$fb" -c "$conf" download
step=$(awk '/store recipes\// { print $1; exit }' "$work/steps")
[ -n "$step" ] || fail "no such step: $(head -3 "$work/steps")"
night lost2
cp -a state "$work/state"
got=$(FLEETBAK_CRASH=$step:kill status_of "$fb" -c "$conf" download)
[ "$got" -eq 137 ] || fail "not killed: exit $got"
left_alone "$PWD"
rm -rf state
mv "$work/state" state
[ "$(runs | wc -l)" -eq 4 ] || fail "it committed"

expect 0 "$fb" -c "$conf" prune -n --fence-after 1ms
grep -q 'about .* LIST, .* GET, .* PUT and .* DELETE requests' "$work/stdout" ||
	fail "no requests: $(cat "$work/stdout")"
grep -q 'will not be 30 d.* old now' "$work/stdout" || fail "no early deletion: $(cat "$work/stdout")"
grep -q 'costs about .* USD (.* of it for early deletion), saves' \
	"$work/stdout" || fail "no sum"
expect 0 "$fb" -c "$conf" prune -n --fence-after 1ms --json
cp "$work/stdout" "$work/cost"
cost() {
	jq -r ".cost$1 // .data.cost$1" "$work/cost"
}
: >"$proxy_log"
expect 0 "$fb" -c "$conf" prune -y --fence-after 1ms --json
nothing_wrong
lists=$(awk '/^[0-9].* GET .*list-type=/' "$proxy_log" | wc -l)
gets=$(($(requests GET '*') + $(requests HEAD '*') - lists))
about() { # <what> <estimate> <really>
	[ "$2" -le $((2 * $3 + 10)) ] && [ "$3" -le $((2 * $2 + 10)) ] ||
		fail "$1: about $2, and $3 it were"
}
about LIST "$(cost .requests.list)" "$lists"
about GET "$(cost .requests.get)" "$gets"
about PUT "$(cost .requests.put)" "$(requests PUT '*')"
many=$(requests POST '*delete=*')
deletes=$((many + $(requests DELETE '*')))
about DELETE "$(cost .requests.delete)" "$deletes"
objects=$(($(jq -r '.removed.packs // .data.removed.packs' "$work/stdout") + \
	$(jq -r '.removed.recipes // .data.removed.recipes' "$work/stdout")))
[ "$(cost .early.objects)" -ge $((objects - 4)) ] ||
	fail "$objects went, and $(cost .early.objects) were to go early"
[ "$many" -gt 0 ] || fail "each object is deleted alone"
[ "$deletes" -lt "$objects" ] || fail "$deletes requests delete $objects objects"
[ "$(requests HEAD '*/packs/*')" -lt $((objects / 2)) ] ||
	fail "each object is asked for before"
as_it_should_be "pruned"
ok "about $(cost .requests.list) LIST, $(cost .requests.get) GET, $(cost .requests.put) PUT, $(cost .requests.delete) DELETE; and it were $lists, $gets, $(requests PUT '*'), $deletes"

# The next dry run has the recipes of this one.
expect 0 "$fb" -c "$conf" prune -n --json
weighed=$(field waste_bytes)
: >"$proxy_log"
expect 0 "$fb" -c "$conf" prune -n --json
[ "$(field waste_bytes)" = "$weighed" ] || fail "other waste: $(field waste_bytes)"
[ "$(requests GET '*/recipes/*')" -eq 0 ] || fail "recipes are got again"
rm -r state/cache
expect 0 "$fb" -c "$conf" prune -n --json
[ "$(field waste_bytes)" = "$weighed" ] || fail "other waste: $(field waste_bytes)"
ok "recipes are got once for a dry run"

# Answers that get lost, and a server that cannot delete many at once.
for rule in 'lost method=POST path=*delete=* times=2' \
	'error=503,SlowDown method=POST path=*delete=* times=2' \
	'error=501,NotImplemented method=POST path=*delete=*' \
	'error=405,MethodNotAllowed method=POST path=*delete=*'; do
	night "$rule"
	expect 0 "$fb" -c "$conf" download
	rules "$rule"
	: >"$proxy_log"
	expect 0 "$fb" -c "$conf" prune -y
	grep -q '^# ' "$proxy_log" || fail "nothing went wrong: $rule"
	rules
	as_it_should_be "$rule"
done
ok "what was deleted is gone, whatever becomes of the answers"

# One is killed at a step, another works at the same time, and a host writes.
for at in 2 5 9; do
	night "beside $at"
	expect 0 "$fb" -c "$conf" download
	night "and $at"
	"$fb" -c "$conf" download >"$work/download" 2>&1 &
	download=$!
	FLEETBAK_CRASH=store.$at:kill "$fb" -c second.yaml prune -y \
		>"$work/killed" 2>&1 &
	killed=$!
	got=$(status_of "$fb" -c second.yaml prune -y)
	[ "$got" -eq 0 ] || [ "$got" -eq 11 ] || fail "beside $at: exit $got"
	status=0
	wait $killed || status=$?
	case $status in
	0 | 11 | 137) ;;
	*) cp "$work/killed" "$work/stderr" && fail "killed at $at: $status" ;;
	esac
	wait $download || {
		cp "$work/download" "$work/stderr"
		fail "the download beside $at"
	}
	expect 0 "$fb" -c "$conf" prune -y
	as_it_should_be "killed at $at"
done
ok "prunes at once, killed ones and downloads beside them: all as it should be"

newest=$(runs | head -1)
expect 0 "$fb" -c "$conf" restore --run "$newest" --all --target "$work/out" --yes
for m in m1 m2; do
	cmp machines/$m/disk.img "$work/out/$m/root.img" || fail "another disk"
	same_tree machines/$m/data "$work/out/$m/data" || fail "another tree"
done
ok "what is left comes back"
