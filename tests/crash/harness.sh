# shellcheck shell=sh
# What the crash_* scenarios source after lib.sh: cut a command off before its
# n-th durable step, run what an operator would run next, judge the outcome.
#
# A scenario makes a fleet in $pristine and defines three functions, all run
# in $dir, a fresh copy of it:
#
#	act    the command to be cut off: "run fleetbak ARG..."
#	mend   what is run next; ends with everything done, or fails
#	judge  what must hold then; sets $outcome, one word
#
# then calls `survey` and `crash_loop`.  What was cut off where, and what came
# of it, is written to build/crash/<variant>/<scenario>: tests/crash/check.sh
# holds it against tests/crash/cases.
#
#	CRASH=all     every step in every way, not a sample
#	SLICE=K/N     of those every N-th, from the K-th on: N slices are all
# shellcheck disable=SC2034,SC2154 # the variables are for the scenarios

requires_faults
requires jq

scenario=${0##*/}
scenario=${scenario%.sh}
variant=${FB_VARIANT:-debug}
cases=$here/../crash/cases
ledger=$here/../../build/crash/$variant/$scenario
mkdir -p "${ledger%/*}"
: >"$work/before" # steps of what ran before all of it
: >"$ledger"

keep_machines=
mounted=
steps=$work/steps

# All that is fixed, so that what two runs write can be compared byte by byte.
clock=1800000000
session=20270115-080000000-0000000a

crash_end() {
	cd /
	[ -z "$mounted" ] || unmount "$base"
	clear_work
}

# crash_base: $base, in memory where that is possible (a run syncs hundreds of
# times), with reflinks where root may mount such a file system: there a
# machine is started again before it is read.
crash_base() {
	base=$work/fs
	mkdir -p "$base"
	if [ "$(id -u)" -eq 0 ] && command -v mkfs.xfs >/dev/null &&
		truncate -s 400M "$work/fs.img" &&
		mkfs.xfs -q -m reflink=1 "$work/fs.img" 2>/dev/null &&
		mount -o loop "$work/fs.img" "$base" 2>/dev/null; then
		mounted=yes
		trap crash_end EXIT
	fi
	dir=$base/dir
	pristine=$base/pristine
}

# crash_fleet: in $dir a machine of each lifecycle, small and one at a time;
# its signing key is in the environment only, and must never be seen again.
crash_fleet() {
	make_fleet "$dir" 0
	cd "$dir" || exit 1
	sed -i 's/jobs: 2/jobs: 1/' fleetbak.yaml
	for m in copy snap live down; do make_machine machines $m; done
	# snap: disks only, so that a snapshot holds all of it (with reflinks)
	sed -i '/kind: tree/d' machines/snap/machine.yaml
	rm -r machines/snap/data
	# live: no commands
	sed -i '/^start:/d; /^stop/d; /^status:/d; /_timeout:/d' \
		machines/live/machine.yaml
	rm machines/down/up
	for m in copy snap live down; do
		truncate -s 1M machines/$m/disk.img
	done
	expect 0 "$fb" -c fleetbak.yaml init
	CRASH_SIGN_KEY=$(cat keys/sign.pem)
	export CRASH_SIGN_KEY
	secret=$(sed -n 2p keys/sign.pem)
	rm keys/sign.pem
	sed -i 's|file:./keys/sign.pem"|env:CRASH_SIGN_KEY"|' fleetbak.yaml
	[ "$(grep -c env:CRASH fleetbak.yaml)" -eq 1 ] || fail "no secret"
}

# run [VAR=VALUE...] fleetbak ARG...: as a run of the loop; prints its status.
# All it says is kept in $work/said, all steps it takes in $steps.
run() {
	run_env=
	while [ "$1" != fleetbak ]; do
		run_env="$run_env $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # several variables
	env FLEETBAK_CLOCK=$clock FLEETBAK_SESSION="$session" \
		FLEETBAK_CRASH_LOG="$steps" ${cut_at:+FLEETBAK_CRASH=$cut_at} \
		$run_env "$fb" -c fleetbak.yaml --lock-wait 60s "$@" \
		>"$work/stdout" 2>"$work/stderr" && run_rc=0 || run_rc=$?
	cat "$work/stdout" "$work/stderr" >>"$work/said"
	echo "$run_rc"
}

# Whoever dies after his last record has finished: the next run is another one,
# and must not get the same id.  His guardian may clear away just now.
ended() {
	grep -qs '^[0-9]* [0-9a-f]* end ' state/runs/*/journal ||
		[ -z "$(find state/runs -name journal 2>/dev/null)" ]
}
next_session() {
	if [ -n "$(ls repo/commits 2>/dev/null)" ] && ended; then
		echo 20270115-080000000-0000000b
	else
		echo $session
	fi
}

# Lines "<n> <name>" of a log of steps: without what differs from run to run;
# a child by the last step before it that is none, and which one it is then.
step_names() {
	sed -E "s|$dir/||g; s|[0-9]{8}-[0-9]{9}-[0-9a-f]{8}|RUN|g; \
		s|[0-9a-f]{64}|HASH|g; s|[0-9a-f]{32}|ID|g; \
		s#(packs|recipes)/[0-9a-f]{2}#\\1/HH#" |
		awk '
		$2 == "child" { print $0 " " ++k " after" before; next }
		{ print; k = 0; before = $0; sub(/^[0-9]+/, "", before) }'
}

# The machines are as up or down as they were, and have the snapshots that they
# had.  Where the machines lie elsewhere, all but `down` and `live` were up.
as_pristine() { # <machine>...
	if [ -L "$pristine/machines" ]; then
		for m; do
			rm -f "$dir/machines/$m/up" "$dir/machines/$m/effects"
			case $m in copy | snap) : >"$dir/machines/$m/up" ;; esac
		done
		return
	fi
	for m; do
		set -- "$@" "$dir/machines/$m/up" "$dir/machines/$m/effects"
		shift
	done
	rm -f "$@"
	cd "$pristine" || exit 1
	set --
	for file in machines/*/up machines/*/effects machines/*/.fleetbak; do
		[ ! -e "$file" ] || set -- "$@" "$file"
	done
	[ $# -eq 0 ] || cp -a --reflink=auto --parents "$@" "$dir"
	cd "$base" || exit 1
}

# With $keep_machines they stay the same files, with the same inodes and change
# times, which are part of what is backed up; they are not written to.
fresh() {
	cd "$base" || exit 1
	left_alone "$dir"
	if [ -n "$keep_machines" ]; then
		rm -rf "$dir/repo" "$dir/state" "$dir"/machines/*/.fleetbak
		cp -a "$pristine/repo" "$dir/repo"
		[ ! -d "$pristine/state" ] ||
			cp -a "$pristine/state" "$dir/state"
		as_pristine copy snap live down
	else
		rm -rf "$dir"
		cp -a --reflink=auto "$pristine" "$dir"
	fi
	cd "$dir" || exit 1
	: >"$work/said"
	: >"$steps"
}

# survey: run `act` undisturbed; its steps are in $work/calm.steps.
survey() {
	fresh
	cut_at=
	survey_rc=$(act)
	[ "$survey_rc" -eq 0 ] || fail "undisturbed: exit $survey_rc"
	cp "$steps" "$work/calm.steps"
}

# The steps to try: those of declared cases, and every n-th of a kind.
chosen_steps() { # <how> <every> [kind]
	step_names <"$work/calm.steps" |
		awk -F'|' -v how="$1" -v every="$2" -v kind="$3" -v me="$scenario" '
		FILENAME != "-" {
			if ($0 !~ /^#/ && $2 == me && $3 == how)
				wanted[$4] = 1
			next
		}
		{
			n = $0; sub(/ .*/, "", n)
			name = substr($0, length(n) + 2)
			k = name; sub(/ .*/, "", k)
			if (name in wanted && !(name in seen)) print n
			else if ((kind == "" || k == kind) && ++count % every == 0)
				print n
			seen[name] = 1
		}' "$cases" - | sort -nu
}

# One crash and what follows.  A step that is not reached is no crash.
crash_at() { # <step> <how>
	fresh
	what="step $1 $2"
	cut_at=$1:$2
	got=$(act)
	[ "$got" -ne 0 ] || return 1
	[ "$got" -eq 137 ] || fail "$what: exit $got"
	name=$(step_names <"$steps" | sed -n "/^$1 /{s/^[0-9]* //p;q}")
	what="$what ($name)"
	cut_at=
	mend
	judge
	! grep -qF -e "$secret" "$work/said" || fail "$what: says a secret"
	! grep -rqF -e "$secret" "$dir" || fail "$what: writes a secret"
	echo "$scenario|$2|$name|$outcome" >>"$ledger"
	crashes=$((crashes + 1))
}

# Steps of declared cases that have not been hit, some steps off.
missed_cases() { # <how> <off>
	step_names <"$work/calm.steps" |
		awk -F'|' -v how="$1" -v off="$2" -v me="$scenario" '
		FILENAME == ledger_file { hit[$2 "|" $3] = 1; next }
		FILENAME != "-" {
			if ($0 !~ /^#/ && $2 == me && $3 == how)
				wanted[$4] = 1
			next
		}
		{
			n = $0; sub(/ .*/, "", n)
			name = substr($0, length(n) + 2)
			if (name in wanted && !((how "|" name) in hit) &&
				!(name in seen))
				print n + off
			seen[name] = 1
		}' ledger_file="$ledger" "$ledger" "$cases" -
}

# crash_loop <how> <every> [kind]: at every n-th step (of a kind).
crash_loop() {
	every=$2
	[ "${CRASH:-}" != all ] || every=1
	case $variant in
	debug) ;;
	*) every=$((every * 7)) ;; # slow, and looks for something else
	esac
	chosen_steps "$1" "$every" "${3:-}" |
		awk -v slice="${SLICE:-1/1}" 'BEGIN { split(slice, s, "/") }
		NR % s[2] == s[1] % s[2]' >"$work/chosen"
	crashes=0
	while read -r step; do
		crash_at "$step" "$1" || break
	done <"$work/chosen"
	# Threads take turns: a step that is declared may have had another's
	# number for once.
	for off in 0 1 -1 0 1 -1 0; do
		[ -z "${SLICE:-}" ] || break
		missed_cases "$1" $off >"$work/missed"
		while read -r step; do
			crash_at "$step" "$1" || break
		done <"$work/missed"
	done
	[ "$crashes" -ge $(($(wc -l <"$work/chosen") * 9 / 10)) ] ||
		fail "only $crashes crashes ($1)"
	[ "$crashes" -gt 0 ] || [ "$variant" != debug ] ||
		fail "no crash ($1)"
	ok "$scenario: $crashes crashes ($1${mounted:+, with reflinks})"
}

# What happened to a machine: stops.starts.snapshots, as the machine saw them.
# A snapshot is one that was made: the step before which a run was cut off is
# in its list too.
effects_of() { # <machine>
	made=$(cat "$work/before" "$steps" |
		grep -c " driver create_snapshot lab/$1\$" || true)
	case $name in
	"driver create_snapshot lab/$1") made=$((made - 1)) ;;
	esac
	stops=0 starts=0
	[ ! -e "machines/$1/effects" ] || while read -r effect; do
		case $effect in
		stop) stops=$((stops + 1)) ;;
		start) starts=$((starts + 1)) ;;
		esac
	done <"machines/$1/effects"
	echo "$stops.$starts.$made"
}

# Up is up, down is down, and nothing of ours is left in a machine.
judge_power() {
	for m in copy snap; do
		[ -e machines/$m/up ] || fail "$what: $m was left stopped"
	done
	[ ! -e machines/down/up ] || fail "$what: down was started"
	left=$(find machines/ -path '*/.fleetbak/*')
	[ -z "$left" ] || fail "$what: a snapshot was left: $left"
}

# All that a committed run names is there and right.
judge_repository() {
	[ "$(run fleetbak verify --full)" -eq 0 ] || fail "$what: verify"
}
