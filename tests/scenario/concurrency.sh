#!/bin/sh
# Several at once.  One process is stopped before a chosen step, others do
# their work meanwhile, then it goes on: nobody waits for luck.  Commits of two
# operators are both kept, one state directory has one run, readers are not
# disturbed, and of two that want the same target one is refused.
. "$(dirname "$0")/lib.sh"
requires jq
requires_faults

make_fleet "$work/f" 2
cd "$work/f"
sed 's|state_dir: ./state|state_dir: ./state2|' "$conf" >second.yaml
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download

stopped() {
	grep -q '^State:.T' "/proc/$first/status"
}

# hold <step> <command>...: begin it, and wait until it stands before the step.
# $first is its pid; false when it ended without coming there.
hold() {
	hold_step=$1
	shift
	FLEETBAK_FAULT=$hold_step:stop "$fb" "$@" >"$work/first.out" \
		2>"$work/first.err" &
	first=$!
	hold_i=0
	until stopped; do
		hold_i=$((hold_i + 1))
		grep -q '^State:.[^Z]' "/proc/$first/status" || return 1
		[ $hold_i -lt 1200 ] || fail "not at $hold_step: $*"
		sleep 0.05
	done
}

let_go() { # its exit status is in $status
	kill -CONT "$first"
	status=0
	wait "$first" || status=$?
}

goes_on() { # <what> <status>
	let_go
	cp "$work/first.err" "$work/stderr"
	[ "$status" -eq "$2" ] || fail "$1: exit $status instead of $2"
}

all_up() { # <what>
	for m in m1 m2; do
		[ -e machines/$m/up ] || fail "$1: $m is down"
	done
}

runs() {
	"$fb" -c "$conf" list runs --json | jq '.data | length'
}

# Where a download stands before its commit, and behind it.
FLEETBAK_FAULT_LOG=$work/log "$fb" -c "$conf" download >/dev/null 2>&1
commit=$(grep ' store ' "$work/log" | grep -n ' store .*commits/' | head -1 |
	cut -d: -f1)
[ -n "$commit" ] || fail "no commit in the log"

# 1. Two operators, two state directories, one repository.
before=$(runs)
hold "store.$commit" -c "$conf" download
expect 0 "$fb" -c "$conf" status
grep -q "^under way: .* held by pid $first, download on " "$work/stdout" ||
	fail "what is under way?"
if grep -q 'cut off\|not started again' "$work/stdout"; then
	fail "what is under way is called cut off"
fi
expect 0 "$fb" -c "$conf" status --json
jq -e '.data.running and (.data.unfinished_runs | length == 1)' \
	"$work/stdout" >/dev/null || fail "status --json while a run is under way"
expect 0 "$fb" -c second.yaml status
! grep -q "under way" "$work/stdout" || fail "another state directory's run"
expect 0 "$fb" -c second.yaml download
[ "$(runs)" -eq $((before + 1)) ] || fail "the second is not committed"
goes_on "the first of two operators" 0
[ "$(runs)" -eq $((before + 2)) ] || fail "the first is not committed"
all_up "two operators"
expect 0 "$fb" -c "$conf" verify
expect 0 "$fb" -c second.yaml verify --structure
expect 0 "$fb" -c "$conf" download --json
run=$(field run)
expect 0 "$fb" -c "$conf" show "$run" --json
jq -e '.predecessors | length == 2' "repo/runs/$run/manifest.json" \
	>/dev/null || fail "the next run does not join the two"
expect 0 "$fb" -c second.yaml verify --structure
expect 0 "$fb" -c second.yaml status --check
ok "two operators commit side by side, the next run follows both"

# One of them while the other has a machine down: it comes up once, by whom it
# was stopped.
mkfifo machines/m1/gate
for m in m1 m2; do : >machines/$m/effects; done
touch machines/m1/slow-stop
sed -i 's|exec sleep 300|{ rm slow-stop up; : >held; read -r _ <gate; }|' \
	machines/m1/ctl
"$fb" -c "$conf" download m1 >"$work/first.out" 2>"$work/first.err" &
first=$!
until_true "m1 is not stopped" [ -e machines/m1/held ]
expect 0 "$fb" -c second.yaml download --json
jq -e '[.machines[] | select(.result == "ok")] | length == 2' \
	"$work/stdout" >/dev/null || fail "$(cat "$work/stdout")"
[ ! -e machines/m1/up ] || fail "the other operator started m1"

# 2. Meanwhile nobody else with this state directory gets in the way.
expect 11 "$fb" -c "$conf" download
grep -q "pid $first, download on .* since 20" "$work/stderr" ||
	fail "the holder is not named: $(cat "$work/stderr")"
expect 11 "$fb" -c "$conf" recover
expect 11 "$fb" -c "$conf" restore m2 --in-place --yes
"$fb" -c "$conf" download --lock-wait 1h >/dev/null 2>"$work/waits.err" &
waits=$!
holds_lock_open() {
	find "/proc/$waits/fd" -lname "*/state/lock" 2>/dev/null | grep -q .
}
until_true "it does not wait" holds_lock_open
kill -TERM $waits
status=0
wait $waits || status=$?
[ "$status" -eq 143 ] || fail "who waits for the lock ends with $status"
"$fb" -c "$conf" download --lock-wait 1h >/dev/null 2>"$work/waits.err" &
waits=$!
# Readers are not disturbed.
expect 0 "$fb" -c "$conf" list
expect 0 "$fb" -c "$conf" status
expect 0 "$fb" -c "$conf" verify --structure
expect 0 "$fb" -c "$conf" restore m2 --target "$work/out"
same_tree machines/m2/data "$work/out/m2/data" || fail "what was restored differs"
rm -rf "$work/out"
echo go >machines/m1/gate
status=0
wait $first || status=$?
[ "$status" -eq 0 ] || fail "the first ended with $status"
status=0
wait $waits || status=$?
[ "$status" -eq 0 ] || fail "who waited ended with $status"
all_up "one state directory"
[ "$(grep -c start machines/m1/effects)" -eq 2 ] ||
	fail "m1: $(cat machines/m1/effects)"
ok "one state directory has one run; who waits gets it, readers go on"

# 3. Half a commit is none, and a whole one needs no signature file.
before=$(runs)
hold "store.$commit" -c "$conf" download
[ "$(runs)" -eq "$before" ] || fail "it is listed before its commit"
goes_on "before the commit" 0
hold "store.$((commit + 1))" -c "$conf" download
[ "$(runs)" -eq $((before + 2)) ] || fail "it is not listed after its commit"
expect 0 "$fb" -c second.yaml verify --structure
expect 0 "$fb" -c second.yaml restore m1 --target "$work/out"
same_tree machines/m1/data "$work/out/m1/data" || fail "what was restored differs"
rm -rf "$work/out"
goes_on "behind the commit" 0
ok "a run is there from its commit on, and not before"

# 4. Readers that are overtaken by a run.
for at in 20 90; do
	hold ask.$at -c "$conf" verify || fail "verify ends before $at"
	expect 0 "$fb" -c second.yaml download
	goes_on "verify at $at" 0
	hold $((3 * at)) -c "$conf" restore m1 --target "$work/out" ||
		fail "restore ends before $((3 * at))"
	expect 0 "$fb" -c second.yaml download
	goes_on "restore at $at" 0
	same_tree machines/m1/data "$work/out/m1/data" || fail "restore at $at"
	rm -rf "$work/out"
done
ok "verify and restore are overtaken by runs"

# 5. Two restores into one directory: one is refused, the other is whole.
FLEETBAK_FAULT_LOG=$work/log2 "$fb" -c "$conf" restore m1 \
	--target "$work/out" >/dev/null 2>&1
total=$(wc -l <"$work/log2")
for part in 1 2 3 4 5 6 7 8; do
	rm -rf "$work/out"
	hold $((total * part / 9)) -c "$conf" restore m1 --target "$work/out" ||
		break
	other=$(status_of "$fb" -c second.yaml restore m1 --target "$work/out")
	let_go
	case $status:$other in
	0:0) fail "both restored into it at $part" ;;
	0:* | *:0) ;;
	*) fail "both were refused at $part: $status, $other" ;;
	esac
	same_tree machines/m1/data "$work/out/m1/data" ||
		fail "restore at $part is not whole ($status:$other)"
done
ok "of two restores into one directory one is refused"

# 6. Two make the same repository: one does, and it works.
mkdir two
for part in 1 2 3 4 5 6 7 8; do
	rm -rf two
	mkdir -p two
	make_fleet "$work/f/two" 1
	[ $part -gt 1 ] || {
		FLEETBAK_FAULT_LOG=$work/log3 "$fb" -c "$conf" init \
			>/dev/null 2>&1
		total=$(wc -l <"$work/log3")
		rm -rf two/repo two/keys/* two/state
	}
	hold $((total * part / 9)) -c "$conf" init || break
	other=$(status_of "$fb" -c "$conf" init)
	let_go
	case $status:$other in
	0:0 | 0:* | *:0) ;;
	*) fail "nobody made it at $part: $status, $other" ;;
	esac
	expect 0 "$fb" -c "$conf" download
	expect 0 "$fb" -c "$conf" verify --structure
done
conf=$work/f/fleetbak.yaml
ok "two make one repository at once, and it works"

# 7. What a dead holder wrote into the lock is no lock.
printf 'pid 1\ndownload on elsewhere since 2001-01-01T00:00:00Z\n' >state/lock
expect 0 "$fb" -c "$conf" download
ok "a stale lock holds nobody up"
