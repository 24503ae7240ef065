#!/bin/sh
# Run tests and count them: run.sh <variant> unit|replay|scenario [name...]
#
# Every test is a program; each gets a time limit, because a test that hangs is
# a test that fails.  What a failed one printed is shown; the rest goes on.
# Results are lines "pass|fail|skip <kind> <variant> <name>" appended to
# build/results.  The exit status is 1 when any of them failed.
set -eu
cd "$(dirname "$0")/.."

variant=$1
kind=$2
shift 2
build=build/$variant
results=build/results
log=build/log/$variant/$kind
mkdir -p "$log"
failed=0

# Sanitizers find; these make them say where, and fail.  What they say goes into
# files beside the log, one per process, because a child's or a guardian's
# standard error may be anybody's and its exit status too.
watch() { # <name>
	rm -f "$log/$1".found.*
	where=log_path=$PWD/$log/$1.found
	export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:exitcode=66:$where"
	export UBSAN_OPTIONS="print_stacktrace=1:$where"
	export TSAN_OPTIONS="halt_on_error=0:exitcode=66:$where"
}

one() { # <name> <seconds> <command>...
	name=$1 seconds=$2
	shift 2
	rc=0
	watch "$name"
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
	if [ "$kind" = unit ] && [ $outcome = pass ]; then
		# cmocka says how many tests a program holds
		count=$(sed -n 's/.*\[==========\] \([0-9]*\) test(s) run.*/\1/p' \
			"$log/$name" | awk '{ n += $1 } END { print n + 0 }')
	else
		count=1
	fi
	i=0
	while [ "$i" -lt "$count" ]; do
		echo "$outcome $kind $variant $name" >>"$results"
		i=$((i + 1))
	done
	printf '%s  %s %s' "$outcome" "$kind" "$name"
	[ "$variant" = debug ] || printf ' (%s)' "$variant"
	[ "$kind" != unit ] || printf ' %s tests' "$count"
	echo
	[ $outcome != skip ] || tail -1 "$log/$name"
	[ $outcome = fail ] || return 0
	failed=1
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

case $kind in
unit)
	for test in "$build"/unit/test_*; do
		name=${test##*/}
		case $name in *.d | *.o) continue ;; esac
		[ -f "tests/unit/$name.c" ] || continue
		wanted "$name" "$@" && one "$name" 120 "$test"
	done
	;;
replay)
	for source in tests/fuzz/fuzz_*.c; do
		name=$(basename "$source" .c)
		# shellcheck disable=SC2046 # fixture names hold no spaces
		wanted "$name" "$@" && one "$name" 120 "$build/replay/$name" \
			$(find "fixtures/$name" -type f | LC_ALL=C sort)
	done
	;;
scenario)
	for script in tests/scenario/[a-z]*.sh; do
		name=$(basename "$script" .sh)
		[ "$name" != lib ] || continue
		wanted "$name" "$@" && one "$name" "${SCENARIO_SECONDS:-600}" \
			env FB_BIN="$PWD/$build" FB_VARIANT="$variant" \
			sh "$script"
	done
	;;
*)
	echo "run.sh: unknown kind '$kind'" >&2
	exit 2
	;;
esac
exit $failed
