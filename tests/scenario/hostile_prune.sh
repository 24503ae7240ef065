#!/bin/sh
# Somebody who may write to the repository and has no key alters what says
# what is deleted, held or given up: prune believes none of it.  It refuses,
# or does what was decided before, and what a kept run needs stays.
. "$(dirname "$0")/lib.sh"
requires_faults # for a clock that is ours

make_fleet "$work/f" 1
cd "$work/f"
cat >>"$conf" <<-'EOC'
	retention: {keep: "3 daily", min: 1, grace: 7d, max_remove: "90%"}
EOC
day() { # <n>: it is noon of that day
	export FLEETBAK_CLOCK=$((1795003200 + $1 * 86400))
}
day 0
expect 0 "$fb" -c "$conf" init
for n in 1 2 3 4 5; do
	day "$n"
	echo "state $n" >machines/m1/data/new
	seq "$n" 9000 >machines/m1/data/sub/numbers
	expect 0 "$fb" -c "$conf" download
	cp -a repo "$work/day$n" # to be played back
done
run() { # <n>: its id
	find "$work/day5/commits" -type f | LC_ALL=C sort | sed -n "$1s,.*/,,p"
}
one=$(run 1) two=$(run 2) three=$(run 3) four=$(run 4) five=$(run 5)
# The first is given up for good, the second is pending, the third is held.
expect 0 "$fb" -c "$conf" forget "$one" -y
cp -a repo "$work/pending"
day 14
expect 0 "$fb" -c "$conf" hold "$three" --reason audit
expect 0 "$fb" -c "$conf" prune -y
[ ! -e "repo/runs/$one/manifest.json" ] || fail "the first run is still there"
day 15
mv repo whole
cp -a state state.whole
kept="$three $four $five"

fresh() {
	rm -rf repo state
	cp -a whole repo
	cp -a state.whole state
}

# The kept runs' checksums, but of what was altered on purpose.
still_there() { # <what> <object>
	for id in $kept; do
		grep -v "  $2\$" "whole/runs/$id/SHA256SUMS" >"$work/sums"
		(cd repo && sha256sum -c --quiet --strict "$work/sums") \
			>"$work/lost" 2>&1 || fail "$1: lost: $(head -5 "$work/lost")"
		[ "$2" = "commits/$id" ] || cmp -s "whole/commits/$id" \
			"repo/commits/$id" || fail "$1: commits/$id is lost"
	done
}

tried=0
refused=0
# look <what> <object>: the repository is as somebody left it
look() {
	for command in "list runs" status verify "prune -y" \
		"prune -y --fence-after 0s"; do
		# shellcheck disable=SC2086 # words
		status=$(status_of timeout 120 "$bin/scenario/peak" \
			"$work/peak" "$fb" -c "$conf" $command </dev/null)
		[ "$status" -lt 124 ] || fail "$1: $command: exit $status"
		[ "${FB_VARIANT:-debug}" != debug ] ||
			[ "$(cat "$work/peak")" -le 262144 ] ||
			fail "$1: $command: $(cat "$work/peak") KiB"
		still_there "$1: $command" "$2"
	done
	[ "$status" -eq 0 ] || refused=$((refused + 1))
	tried=$((tried + 1))
}

alter() { # <object>: in all ways
	[ -f "whole/$1" ] || fail "there is no $1"
	size=$(stat -c %s "whole/$1")
	for at in 0 $((size / 4)) $((size / 2)) $((size - 2)) $((size - 1)); do
		fresh
		damage "repo/$1" $at
		look "$1, bit of byte $at" "$1"
	done
	for to in 0 1 $((size / 2)) $((size - 1)) 127M 1T; do
		fresh
		chmod u+w "repo/$1"
		truncate -s $to "repo/$1"
		look "$1, cut or grown to $to" "$1"
	done
	fresh
	rm -f "repo/$1"
	look "$1, gone" "$1"
	for other in "commits/$five" "forgets/$one" gc/current format/1.json; do
		fresh
		rm -f "repo/$1"
		cp "whole/$other" "repo/$1"
		look "$1, as $other" "$1"
	done
	fresh
	rm -f "repo/$1"
	printf '%100000s' '' | tr ' ' '[' >"repo/$1"
	look "$1, nested deeply" "$1"
}

alter gc/current
alter "forgets/$one"
alter "holds/$three"
alter "$(cd whole && find pending -type f | LC_ALL=C sort | head -1)"
alter "commits/$five"
alter "commits/$three"
ok "$tried alterations of registers, forgets, holds and gc/current," \
	"$refused refused"

# Old states of gc/ and of all that says what is given up.
for old in day1 day5 pending; do
	for dir in gc forgets pending holds sessions; do
		fresh
		rm -rf "repo/$dir"
		[ ! -d "$work/$old/$dir" ] || cp -a "$work/$old/$dir" repo/
		look "$dir of $old" none
	done
done

# A forget of one run in the place of another's.
fresh
sed "s/$one/$four/g" "whole/forgets/$one" >"repo/forgets/$four"
look "a forget that nobody signed" none
fresh
cp "whole/forgets/$one" "repo/forgets/$four"
look "another run's forget" none

# What is to be deleted, as somebody without a key would have it: everything.
condemn() { # <phase> <forgotten sessions>...
	fresh
	phase=$1
	shift
	generation=$(($(sed 's/.*"generation":\([0-9]*\).*/\1/' whole/gc/current) + 1))
	packs=$(cd whole && find packs -name '*.pack' | sed 's,.*/,,; s,\.pack,,' |
		LC_ALL=C sort)
	recipes=$(cd whole && find recipes -type f | sed 's,.*/,,' | LC_ALL=C sort)
	{
		echo "fleetbak-gc-set 1"
		echo "generation $generation"
		echo "forgotten $#"
		[ $# -eq 0 ] || printf '%s\n' "$@"
		echo "packs $(echo "$packs" | wc -l)"
		echo "$packs"
		echo "recipes $(echo "$recipes" | wc -l)"
		echo "$recipes"
		echo end
	} >"$work/set"
	set=$(sha256sum <"$work/set")
	set=${set%% *}
	mkdir -p repo/gc/sets
	cp "$work/set" "repo/gc/sets/$set"
	chmod u+w repo/gc/current
	printf '{"generation":%s,"phase":"%s","set":"%s","version":1}\n' \
		"$generation" "$phase" "$set" >repo/gc/current
	rm -rf "$work/planted"
	mkdir "$work/planted"
	cp -a repo/gc "$work/planted/"
	look "everything is $phase with $# forgotten" none
}
for phase in condemned delete; do
	condemn "$phase"
	condemn "$phase" "$one"
	condemn "$phase" "$one" "$two" "$three" "$four" "$five"
done

# A fixed set that holds what is needed is made smaller, which is said once, and
# stops no later prune.
condemn delete "$one"
[ "$status" -eq 0 ] || fail "a prune is stopped for good: exit $status"
fresh
cp -a "$work/planted/gc" repo/
expect 0 "$fb" -c "$conf" prune -y
grep -q 'objects that runs need were in what was to be deleted' "$work/stderr" ||
	fail "it does not say so: $(cat "$work/stderr")"
expect 0 "$fb" -c "$conf" prune -y
! grep -q 'objects that runs need' "$work/stderr" || fail "it is said again"
still_there "a planted set" none
ok "$tried with old states and sets that nobody decided"
