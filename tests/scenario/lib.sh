# shellcheck shell=sh
# What every scenario sources.  A scenario is one file, runs anywhere, leaves
# nothing behind, prints one "ok"/"FAIL" line per check.  Exit 77 = skipped.
#
#	$bin   the build directory (from FB_BIN)     $fb    the program in it
#	$work  a directory of its own, removed at the end

# shellcheck disable=SC2034 # the variables are for the scenarios
set -eu

bin=${FB_BIN:?set FB_BIN to the build directory}
bin=$(cd "$bin" && pwd -P)
fb=$bin/fleetbak
here=$(cd "$(dirname "$0")" && pwd -P)
work=$(mktemp -d "${TMPDIR:-/tmp}/fleetbak.XXXXXX")
work=$(cd "$work" && pwd -P)
# What is left is given back, also while a guardian is at its end there: what
# fails in here would make the scenario fail.
retry() { # <command>...: for a minute at most
	retry_i=0
	until "$@" 2>/dev/null; do
		retry_i=$((retry_i + 1))
		[ $retry_i -lt 1200 ] || return 1
		sleep 0.05
	done
}
# left_alone <directory>: wait until no process but this shell works there.  A
# guardian may come late, and what is then there under the same name is not
# what it was to look after.
left_alone() {
	alone_i=0
	while (cd / && find /proc/[0-9]*/cwd -maxdepth 0 \
		\( -lname "$1" -o -lname "$1 (deleted)" \) 2>/dev/null |
		grep -qv "^/proc/$$/"); do
		alone_i=$((alone_i + 1))
		[ $alone_i -lt 1200 ] || fail "somebody still works in $1"
		sleep 0.05
	done
}
unmount() { # <directory>
	cd /
	retry umount "$1" || umount -l "$1" || :
}
clear_work() {
	chmod -R u+rwX "$work" 2>/dev/null || :
	retry rm -rf "$work" || :
}
trap clear_work EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The caller's settings are not ours.
unset FLEETBAK_CONFIG FLEETBAK_CRASH FLEETBAK_CRASH_LOG FLEETBAK_FAULT \
	FLEETBAK_FAULT_LOG FLEETBAK_CLOCK FLEETBAK_SESSION FLEETBAK_PAGER \
	FLEETBAK_ROWS FLEETBAK_PARTS
export LC_ALL=C TZ=UTC

ok() {
	printf 'ok    %s\n' "$*"
}

fail() {
	printf 'FAIL  %s\n' "$*"
	if [ -s "$work/stderr" ]; then
		sed 's/^/      stderr: /' "$work/stderr" | tail -20
	fi
	exit 1
}

# requires <command>...: skip the scenario when a tool is missing.
requires() {
	for tool; do
		command -v "$tool" >/dev/null || {
			printf 'skip  no %s\n' "$tool"
			exit 77
		}
	done
}

# requires_faults: skip the scenario in a build without fault points.
requires_faults() {
	[ "${FB_VARIANT:-debug}" != release ] || {
		echo 'skip  built without fault points'
		exit 77
	}
}

# requires_root: skip the scenario for an ordinary user.
requires_root() {
	[ "$(id -u)" -eq 0 ] || {
		echo 'skip  needs root'
		exit 77
	}
}

# status_of <command>...: run it, print its exit status, never fail.  What it
# wrote is in $work/stdout and $work/stderr.
status_of() {
	"$@" >"$work/stdout" 2>"$work/stderr" && echo 0 || echo $?
}

# expect <status> <command>...: run it; another exit status is a failure.
expect() {
	expect_want=$1
	shift
	expect_got=$(status_of "$@")
	[ "$expect_got" -eq "$expect_want" ] ||
		fail "exit $expect_got instead of $expect_want: $*"
}

# traced <trace> <calls> <command>...: its calls, in a file.  Nobody looks for
# leaks there: that takes a tracer too.
traced() {
	traced_to=$1 traced_calls=$2
	shift 2
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 \
		strace -f -y -o "$traced_to" -e "trace=$traced_calls" "$@"
}

# field <name> [file]: the first value of a member of a JSON document that our
# program wrote; strings without their quotes.
field() {
	tr -d "\n" <"${2:-$work/stdout}" |
		grep -o "\"$1\": *\\(\"[^\"]*\"\\|[^,}\"]*\\)" |
		sed -n '1{s/^"[^"]*": *//;s/^"\(.*\)"$/\1/;p;}'
}

# fields <name> [file]: all of them, one a line.
fields() {
	tr -d '\n' <"${2:-$work/stdout}" |
		grep -o "\"$1\": *\\(\"[^\"]*\"\\|[^,}\"]*\\)" |
		sed 's/^"[^"]*": *//;s/^"\(.*\)"$/\1/'
}

# damage <file> <offset>: another byte there, whatever it was.
damage() {
	damage_was=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	[ -n "$damage_was" ] || fail "$1 has no byte $2"
	chmod u+w "$1"
	# shellcheck disable=SC2059 # an octal escape
	printf "\\$(printf %03o $((damage_was ^ 4)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# make_machine <dir> <id>: a machine of the local driver in <dir>/<id>.
#
#	machine.yaml  ctl       its definition; ctl start|stop|status|...
#	up                      there while it is up
#	effects                 one line per effect: "start", "stop"
#	disk.img      data/     its volumes: a disk of 4 MiB with holes, a tree
#
# No time limit is near: a test may hold it for as long as a slow computer takes
# for all else.  `ctl` obeys files beside it: fail-stop, fail-start, slow-stop, unknown.
make_machine() {
	mkdir -p "$1/$2/data/sub"
	cat >"$1/$2/machine.yaml" <<-EOF
		id: $2
		role: web
		labels: {env: test}
		start: [./ctl, start]
		stop: [./ctl, stop]
		status: [./ctl, status]
		stop_timeout: 10min
		start_timeout: 10min
		volumes:
		  - {name: root, kind: disk, path: disk.img}
		  - {name: data, kind: tree, path: data, exclude: ["*.tmp"]}
	EOF
	cat >"$1/$2/ctl" <<-'EOF'
		#!/bin/sh
		cd "${0%/*}" || exit 9
		case $1 in
		start)
			echo start >>effects
			[ ! -e fail-start ] || { echo "will not start" >&2; exit 1; }
			: >up ;;
		stop)
			echo stop >>effects
			[ ! -e fail-stop ] || { echo "will not stop" >&2; exit 1; }
			[ ! -e slow-stop ] || exec sleep 300
			rm -f up ;;
		status)
			[ ! -e unknown ] || exit 9
			[ -e up ] && exit 0
			exit 3 ;;
		esac
	EOF
	chmod 755 "$1/$2/ctl"
	: >"$1/$2/up"
	: >"$1/$2/effects"

	{
		echo "boot of $2"
		seq 1 40000
	} >"$1/$2/disk.img"
	truncate -s 4M "$1/$2/disk.img"
	echo "end of $2" | dd of="$1/$2/disk.img" bs=1 seek=3000000 \
		conv=notrunc status=none

	echo "hello from $2" >"$1/$2/data/hello.txt"
	seq 1 9000 >"$1/$2/data/sub/numbers"
	ln "$1/$2/data/hello.txt" "$1/$2/data/hard"
	ln -s ../hello.txt "$1/$2/data/sub/link"
	: >"$1/$2/data/empty"
	mkdir "$1/$2/data/empty-dir"
	echo "left out" >"$1/$2/data/scratch.tmp"
}

# make_fleet <dir> <n>: <dir>/fleetbak.yaml with <n> machines m1, m2, ... that
# are up, in <dir>/machines.  Sets $conf; does not run init.
make_fleet() {
	mkdir -p "$1/machines" "$1/keys"
	conf=$1/fleetbak.yaml
	cat >"$conf" <<-'EOF'
		fleet: {name: demo, rpo: 26h}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  lab: {driver: local, root: ./machines, labels: {site: a}}
		download: {jobs: 2, max_downtime: 20min}
	EOF
	make_fleet_i=0
	while [ "$make_fleet_i" -lt "$2" ]; do
		make_fleet_i=$((make_fleet_i + 1))
		make_machine "$1/machines" "m$make_fleet_i"
	done
}

# same_tree <dir> <other>: the two directories hold the same names, modes,
# contents and links; what is excluded (*.tmp) is not looked at.
same_tree() {
	(cd "$1" && find . ! -name '*.tmp' -printf '%y %m %s %p %l\n' |
		sed 's/^d \([0-7]*\) [0-9]* /d \1 - /' | LC_ALL=C sort) \
		>"$work/tree.a"
	(cd "$2" && find . ! -name '*.tmp' -printf '%y %m %s %p %l\n' |
		sed 's/^d \([0-7]*\) [0-9]* /d \1 - /' | LC_ALL=C sort) \
		>"$work/tree.b"
	cmp -s "$work/tree.a" "$work/tree.b" || return 1
	(cd "$1" && find . -type f ! -name '*.tmp' -exec sha256sum {} + |
		LC_ALL=C sort) >"$work/tree.a"
	(cd "$2" && find . -type f ! -name '*.tmp' -exec sha256sum {} + |
		LC_ALL=C sort) >"$work/tree.b"
	cmp -s "$work/tree.a" "$work/tree.b"
}

# make_evil <dir> <id> [<verb> <script>]...: a machine whose `ctl` carries out
# the file on-<verb> beside it, if there is one, before what it would do.
make_evil() {
	make_machine "$1" "$2"
	make_evil_at=$1/$2
	# shellcheck disable=SC2016 # for the script that is made
	sed 's/^case/[ ! -e "on-$1" ] || . ".\/on-$1"\ncase/' \
		"$make_evil_at/ctl" >"$work/ctl.new"
	cat "$work/ctl.new" >"$make_evil_at/ctl"
	rm "$make_evil_at/data/sub/numbers"
	shift 2
	while [ $# -gt 0 ]; do
		echo "$2" >"$make_evil_at/on-$1"
		shift 2
	done
}

# until_true <what> <command>...: wait for it, 60 s at most.
until_true() {
	until_true_what=$1
	until_true_i=0
	shift
	until "$@"; do
		until_true_i=$((until_true_i + 1))
		[ $until_true_i -lt 1200 ] || fail "$until_true_what"
		sleep 0.05
	done
}

# nothing_lost <repository> [what]: every object that a committed run needs
# that is not forgotten is there, and is what SHA256SUMS says; so is what its
# register names, whether SHA256SUMS does or not.
nothing_lost() {
	(
		cd "$1" || exit 1
		for nothing_lost_reg in commits/*; do
			[ -f "$nothing_lost_reg" ] || continue
			nothing_lost_sid=${nothing_lost_reg#commits/}
			[ ! -e "forgets/$nothing_lost_sid" ] || continue
			sed -n 's/^run //p' "$nothing_lost_reg"
			sed -n '/^recipes /,$p' "$nothing_lost_reg" >&3
		done >"$work/lost.runs" 3>"$work/lost.lists"
		while read -r nothing_lost_run; do
			cat "runs/$nothing_lost_run/SHA256SUMS" || exit 1
		done <"$work/lost.runs" | sort -u >"$work/lost.sums"
		awk '/^(recipes|packs) / { kind = $1 }
			/^[0-9a-f]+$/ { print $1 "  " kind "/" substr($1, 1, 2) \
			"/" $1 (kind == "packs" ? ".pack" : "") }' \
			"$work/lost.lists" | sort -u >"$work/lost.named"
		sort -u "$work/lost.sums" "$work/lost.named" >"$work/lost.all"
		[ ! -s "$work/lost.all" ] ||
			sha256sum -c --quiet --strict "$work/lost.all"
	) >"$work/lost.out" 2>&1 || {
		sed 's/^/      lost: /' "$work/lost.out" | tail -20
		fail "${2:-an object that a run needs is lost}"
	}
}
