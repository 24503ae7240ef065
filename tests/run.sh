#!/bin/sh
# Run tests and count them:
# run.sh <variant> unit|replay|scenario|fuzz|model [name...]
#
# Every test is a program with a directory of its own, so as many run at a time
# as there are processors (or TEST_JOBS).  Each gets a time limit, because a
# test that hangs is a test that fails.  What one printed is in build/log, and
# shown when it failed; the rest goes on.  Results are lines
# "pass|fail|skip <kind> <variant> <name>" appended to build/results.
# The exit status is 1 when any of them failed.
set -eu
cd "$(dirname "$0")/.."

alone= # set: this is one test, started by the run of all of them
if [ "$1" = --one ]; then
	alone=yes
	shift
fi
variant=$1
kind=$2
shift 2
build=build/$variant
results=build/results
log=build/log/$variant/$kind
mkdir -p "$log"

# Sanitizers find; these make them say where, and fail.  What they say goes into
# files beside the log, one per process, because a child's or a guardian's
# standard error may be anybody's and its exit status too.
watch() { # <name>
	rm -f "$log/$1".found.*
	where=log_path=$PWD/$log/$1.found
	export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:exitcode=66:$where"
	export UBSAN_OPTIONS="print_stacktrace=1:$where"
	# It would sleep a second at the end of each process that has threads.
	TSAN_OPTIONS="halt_on_error=0:exitcode=66:atexit_sleep_ms=20:$where"
	export TSAN_OPTIONS
}

# Lines of several tests must not mix: each is written at once, at its end.
one() { # <name> <seconds> <command>...
	name=$1 seconds=$2
	shift 2
	rc=0
	watch "$name"
	began=$(date +%s)
	timeout -k 10 "$seconds" "$@" >"$log/$name" 2>&1 </dev/null || rc=$?
	for found in "$log/$name".found.*; do
		[ -f "$found" ] || continue
		cat "$found" >>"$log/$name"
		rc=66
	done
	case $rc in
	0) outcome=pass ;;
	77) outcome=skip ;;
	*) outcome=fail ;;
	esac
	count=1
	if [ "$kind" = unit ] && [ $outcome = pass ]; then
		# cmocka says how many tests a program holds
		count=$(sed -n 's/.*\[==========\] \([0-9]*\) test(s) run.*/\1/p' \
			"$log/$name" | awk '{ n += $1 } END { print n + 0 }')
	fi
	lines=$(awk -v n="$count" -v line="$outcome $kind $variant $name" \
		'BEGIN { while (n-- > 0) print line }')
	[ "$count" -eq 0 ] || printf '%s\n' "$lines" >>"$results"
	said=$(report)
	printf '%s\n' "$said"
	[ $outcome != fail ]
}

report() {
	printf '%s  %s %s' "$outcome" "$kind" "$name"
	[ "$variant" = debug ] || printf ' (%s)' "$variant"
	[ "$kind" != unit ] || printf ' %s tests' "$count"
	[ "$kind" != model ] || printf ': %s' "$(tail -1 "$log/$name")"
	printf ', %s s\n' "$(($(date +%s) - began))"
	[ $outcome != skip ] || tail -1 "$log/$name"
	[ $outcome = fail ] || return 0
	echo "  exit status $rc; the end of $log/$name:"
	tail -40 "$log/$name" | sed 's/^/  | /'
}

wanted() { # <name> [chosen...]: is it among the chosen, or are there none?
	chosen_name=$1
	shift
	[ $# -gt 0 ] || return 0
	for chosen; do
		[ "$chosen" != "$chosen_name" ] || return 0
	done
	return 1
}

# What is found goes on in build/corpus; what crashed stands beside the log.
# An input may take memory in proportion to its size, and a moment.
# FUZZ_SEED makes the walk the same each time, as far as it gets.
fuzz() { # <name> <seconds>
	mkdir -p "build/corpus/$1"
	words=tests/fuzz/$1.dict
	[ -f "$words" ] || words=
	one "$1" "$(($2 + 300))" "$build/fuzz/$1" -max_total_time="$2" \
		-seed="${FUZZ_SEED:-0}" ${words:+-dict="$words"} -timeout=60 -rss_limit_mb=1024 \
		-malloc_limit_mb=256 -artifact_prefix="$log/$1.input-" \
		-print_final_stats=1 "build/corpus/$1" "fixtures/$1"
}

# What watches threads makes a test ten times slower.
case $variant in
asan | tsan) unit_seconds=400 ;;
*) unit_seconds=120 ;;
esac

run_one() { # <name>
	case $kind in
	unit) one "$1" "$unit_seconds" "$build/unit/$1" ;;
	model) one "$1" 600 "$build/model/$1" ;;
	replay)
		# shellcheck disable=SC2046 # fixture names hold no spaces
		one "$1" 120 "$build/replay/$1" \
			$(find "fixtures/$1" -type f | LC_ALL=C sort)
		;;
	fuzz) fuzz "$1" "${FUZZ_SECONDS:-60}" ;;
	scenario)
		one "$1" "${SCENARIO_SECONDS:-900}" env FB_BIN="$PWD/$build" \
			FB_VARIANT="$variant" sh "tests/scenario/$1.sh"
		;;
	esac
}

# The names of all tests of the kind; who takes longest begins first.
all_tests() {
	case $kind in
	unit) set -- tests/unit/test_*.c ;;
	model) set -- tests/model/*_model.c ;;
	replay | fuzz) set -- tests/fuzz/fuzz_*.c ;;
	scenario)
		set -- tests/scenario/crash_*.sh tests/scenario/libvirt_*_*.sh \
			tests/scenario/libvirt_[opr]*.sh tests/scenario/[a-z]*.sh
		;;
	esac
	for source; do
		name=${source##*/}
		echo "${name%.*}"
	done | awk '!/^lib(_|$)/ && !seen[$0]++'
}

case $kind in
unit | replay | scenario | fuzz | model) ;;
*)
	echo "run.sh: unknown kind '$kind'" >&2
	exit 2
	;;
esac
if [ -n "$alone" ]; then
	run_one "$1"
	exit
fi
names=$(all_tests)
for chosen; do
	printf '%s\n' "$names" | grep -qxF -e "$chosen" || {
		echo "run.sh: there is no $kind test '$chosen'" >&2
		exit 2
	}
done
printf '%s\n' "$names" | while read -r name; do
	! wanted "$name" "$@" || echo "$name"
done | xargs -r -n 1 -P "${TEST_JOBS:-$(getconf _NPROCESSORS_ONLN)}" \
	sh tests/run.sh --one "$variant" "$kind" || exit 1
