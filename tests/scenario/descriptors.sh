#!/bin/sh
# The commands of a machine are handed no descriptor of ours: not the run's
# lock, no journal, no pipe of another machine's command.  One is meant: the
# lock that says a child still lives, and it never goes to what a start leaves
# behind.
. "$(dirname "$0")/lib.sh"

make_fleet "$work/f" 6
cd "$work/f"
# Every command says what it was handed.
for m in machines/*; do
	sed -i "1a (ls -l /proc/\$\$/fd | sed \"s/^/\$1 /\" >>'$work/handed')" \
		"$m/ctl"
done

# Beyond the standard streams, 10 is where the shell reads the script.
strange() {
	grep ' -> ' "$work/handed" | grep -v ' \([012]\|10\) -> ' |
		grep -v '^\(stop\|status\) .* -> .*/state/children\.lock$'
}

handed() { # <what> <command>...: after it
	what=$1
	shift
	for command; do
		grep -q "^$command .* 2 -> " "$work/handed" ||
			fail "$what: no $command looked"
	done
	[ -z "$(strange)" ] || fail "$what hands over $(strange | head -3)"
	rm "$work/handed"
	ok "$what hands no descriptor to a command"
}

expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
handed download status stop start
expect 0 "$fb" -c "$conf" restore m1 --in-place --yes
handed restore status stop start
expect 0 "$fb" -c "$conf" discover
handed discover status
