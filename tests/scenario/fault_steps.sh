#!/bin/sh
# Let every step fail, one at a time: each read, write, sync, rename, open,
# child, clock, store call and driver verb, in each way that it can fail; then
# in pairs.  Whatever it is: an exit status that is documented and fits, one
# clear error, no machine left down, no committed run that is not whole, and a
# next run that finishes the work and clears everything away.
#
#	FAULTS=all     every case; else a sample of about so many per act (40,
#	               or 6 under a sanitizer)
#	ACTS="prune"   only these acts
#	ONLY=REGEX     only these faults: ":lost", "^driver.3:"
#	SLICE=K/N      of them every N-th, from the K-th on: N slices are all
#	ENCRYPT=yes    into an encrypted repository (fault_encrypted)
#
# In memory where that is possible: a run syncs a hundred times.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] &&
	[ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 1500000 ]; then
	export TMPDIR=/dev/shm
fi
. "$(dirname "$0")/lib.sh"
requires_faults
requires jq
case ${FB_VARIANT:-debug} in
debug) faults=${FAULTS:-40} ;;
*) faults=${FAULTS:-6} ;;
esac

# One machine on a file system with reflinks, where root may mount one.
fast=$work/fast
mkdir -p "$fast"
mounted=
if [ "$(id -u)" -eq 0 ] && command -v mkfs.xfs >/dev/null &&
	truncate -s 400M "$work/fs.img" &&
	mkfs.xfs -q -m reflink=1 "$work/fs.img" 2>/dev/null &&
	mount -o loop "$work/fs.img" "$fast" 2>/dev/null; then
	mounted=yes
	trap 'unmount "$fast"; clear_work' EXIT
fi

# A template is a fleet in $work/<name> and, of its fast source, what is in
# $fast/<name>; a worker's copy is $work/w<n>, with $fast/w<n>.
copy_fleet() { # <from> <to>
	cd "$work"
	left_alone "$work/$2"
	retry rm -rf "${work:?}/$2" "${fast:?}/$2"
	cp -a "$work/$1" "$work/$2"
	cp -a --reflink=auto "$fast/$1" "$fast/$2"
	ln -sfn "$fast/$2" "$work/$2/fast"
}

small_machine() { # <dir> <id>
	make_machine "$1" "$2"
	seq 1 2000 >"$1/$2/disk.img"
	truncate -s 64K "$1/$2/disk.img"
	rm -r "$1/$2/data"
	mkdir "$1/$2/data"
	echo "hello from $2" >"$1/$2/data/hello"
	seq 1 99 >"$1/$2/data/numbers"
}

make_templates() {
	make_fleet "$work/bare" 0
	mkdir -p "$fast/bare"
	ln -s "$fast/bare" "$work/bare/fast"
	cd "$work/bare"
	sed -i 's/jobs: 2/jobs: 1/
		s/^\( *\)lab: .*/&\n\1quick: {driver: local, root: .\/fast}/' "$conf"
	[ -z "${ENCRYPT:-}" ] ||
		sed -i 's|sign.pem"}|sign.pem", encrypt_to: ["file:./keys/recovery.crt"], decrypt_with: "file:./keys/recovery.pem"}|' "$conf"
	small_machine machines copy
	small_machine fast snap
	sed -i '/kind: tree/d' fast/snap/machine.yaml
	rm -r fast/snap/data
	copy_fleet bare new
	cd "$work/new"
	expect 0 "$fb" -c fleetbak.yaml init
	secret=$(sed -n 2p keys/sign.pem)

	# A run that is done; what it is to look like; which steps it takes.
	copy_fleet new made
	cd "$work/made"
	FLEETBAK_FAULT_LOG=$work/steps.download FLEETBAK_CRASH_LOG=$work/durable \
		expect 0 "$fb" -c fleetbak.yaml download
	projection >"$work/want"
	[ "$(jq length "$work/want")" = 2 ] || fail "not two machines"
	rm machines/copy/effects fast/snap/effects
	: >machines/copy/effects
	: >fast/snap/effects

	# A run that was cut off while it copied what it had captured.
	copy_fleet new cut
	cd "$work/cut"
	cut=$(awk '$2 == "driver" && /remove_snapshot/ { n = $1 }
		END { print n - 1 }' "$work/durable")
	FLEETBAK_CRASH=$cut:kill FLEETBAK_CRASH_LOG=before \
		expect 137 "$fb" -c fleetbak.yaml download
	expect 0 "$fb" -c fleetbak.yaml recover --lock-wait 30s
	left_alone "$PWD" # its guardian

	# A run that was cut off with a machine down, and nobody to start it.
	copy_fleet new owed
	cd "$work/owed"
	: >machines/copy/fail-start
	owed=$(awk '$2 == "driver" && /create_snapshot lab/ { print $1 }' \
		"$work/durable")
	FLEETBAK_CRASH=$owed:kill expect 137 "$fb" -c fleetbak.yaml download
	[ "$(status_of "$fb" -c fleetbak.yaml recover --lock-wait 30s)" -ne 0 ] ||
		fail "it was started"
	left_alone "$PWD"
	[ ! -e machines/copy/up ] || fail "it is up"
	rm machines/copy/fail-start
	echo stop >machines/copy/effects

	# A machine that has to be restored.
	copy_fleet made spoilt
	cd "$work/spoilt"
	printf scribble | dd of=machines/copy/disk.img bs=1 seek=5000 \
		conv=notrunc status=none
	echo changed >machines/copy/data/hello
	echo more >machines/copy/data/more

	# Two runs, of which the first is given up, and its grace is over.
	copy_fleet made two
	cd "$work/two"
	echo 'retention: {grace: 0s}' >>fleetbak.yaml
	for file in machines/copy/disk.img machines/copy/data/* \
		machines/copy/ctl fast/snap/disk.img fast/snap/ctl; do
		echo "# new" >>"$file"
	done
	expect 0 "$fb" -c fleetbak.yaml download
	: >machines/copy/effects
	: >fast/snap/effects
	copy_fleet two old
	cd "$work/old"
	first=$(find repo/runs -mindepth 1 -maxdepth 1 | sort | head -1)
	first=${first##*/}
	expect 0 "$fb" -c fleetbak.yaml forget --yes "$first"

	# The same, and it can still be undone.
	copy_fleet two pending
	cd "$work/pending"
	sed -i 's/grace: 0s/grace: 7d/' fleetbak.yaml
	expect 0 "$fb" -c fleetbak.yaml forget --yes "$first"
}

# What must come out of a download, whatever happened before.  The record of a
# shard is no run.
projection() {
	find repo/runs -name manifest.json | sort | xargs -r cat |
		jq -S -s '[.[] | select(has("shard") | not)] |
		last // {machines: []} |
		[.machines[] | {id, failure, parent, role, volumes:
		[.volumes[] | {name, kind, size, root}]}]'
}

# ------------------------------------------------------------------ the acts

# Each act has a template, a command, and what must hold when it has been done
# (once more, if need be).
act_template() { # <act>
	case $1 in
	init) echo bare ;;
	download | shard) echo new ;;
	resume) echo cut ;;
	recover) echo owed ;;
	verify | restore_new | restore_dir) echo made ;;
	restore_place) echo spoilt ;;
	forget) echo two ;;
	undo) echo pending ;;
	prune) echo old ;;
	esac
}

patient= # set: whoever holds the lock, a late guardian, is waited for
act() { # <act>: run its command
	case $1 in
	download | resume) set -- download ;;
	shard) set -- download --shard 1/1 --run night --take-over ;;
	recover) set -- recover ;;
	verify) set -- verify --full ;;
	init) set -- init ;;
	forget) set -- forget --yes "$first" ;;
	undo) set -- forget --undo "$first" ;;
	prune) set -- prune --yes ;;
	restore_new) set -- restore copy --as fresh --start --yes ;;
	restore_dir) set -- restore copy --target out ;;
	restore_place) set -- restore copy --in-place --yes ;;
	esac
	# shellcheck disable=SC2086 # words
	"$fb" -c fleetbak.yaml $patient "$@"
}

# What is done after a failure: a restore that left something half done goes
# on with it, everything else is done once more.
go_on() { # <act>
	for half in state/restores/*; do
		[ -e "$half/journal" ] || continue
		# shellcheck disable=SC2086 # words
		"$fb" -c fleetbak.yaml $patient restore \
			--resume "${half##*/}" --yes ||
			grep -q E-RST-RESUME err || return
		[ -e "$half" ] || return 0
	done
	act "$1" && return 0 || again_rc=$?
	[ "$1" = shard ] || return "$again_rc"
	# It is sealed, or of a fleet that was seen otherwise, or a machine
	# failed in it: that is in the next one.
	"$fb" -c fleetbak.yaml seal --run night ||
		"$fb" -c fleetbak.yaml forget --run night || return
	"$fb" -c fleetbak.yaml download --shard 1/1 --run again
}

complain() { # <what>
	echo "$case: $*"
	head -30 err | sed 's/^/      | /'
	return 1
}

effects() { # <machine dir> <effect>
	grep -c "^$2\$" "$1/effects" || :
}

# What happened to a machine in all of the case, as itself and the seam saw it:
# stops.starts.snapshots.
happened() { # <machine dir> <machine>
	echo "$(effects "$1" stop).$(effects "$1" start).$(
		grep -c " driver create_snapshot $2\$" durable || :)"
}

# The same, when each run that has the machine took one snapshot of it.
windows() { # <machine>
	find repo/runs -name manifest.json -exec cat {} + |
		jq -s --arg id "$1" '[.[] | select(has("shard") | not) |
			.machines[] | select(.id == $id and .failure == null)] |
			length | "\(.).\(.).\(.)"' -r
}

# A lost answer is looked up: every effect is there once.
exactly_once() { # <act> <fault>
	case $2 in
	*,* | *+:*) return 0 ;;
	*:lost | *:late) ;;
	*) return 0 ;;
	esac
	copy=0.0.0
	snap=0.0.0
	case $1 in
	download | resume | shard)
		copy=$(windows copy)
		snap=$(windows snap)
		;;
	recover | restore_place) copy=1.1.0 ;;
	esac
	got=$(happened machines/copy lab/copy),$(happened fast/snap quick/snap)
	[ "$got" = "$copy,$snap" ] || {
		complain "stops.starts.snapshots: $got instead of $copy,$snap"
		return
	}
	[ "$1" != restore_new ] || [ "$(effects machines/fresh start)" -eq 1 ] ||
		complain "the new one: $(effects machines/fresh start) starts"
}

same_copy() { # <dir> <disk>
	cmp -s "$work/made/machines/copy/disk.img" "$1/$2" &&
		diff -r "$work/made/machines/copy/data" "$1/data" >/dev/null
}

# After the act was done at last.
check_done() { # <act>
	[ -e machines/copy/up ] && [ -e fast/snap/up ] || {
		complain "a machine was left down"
		return
	}
	left= # what could not be cleared away was said; the next one does it
	unfinished='./state/runs/*'
	[ "$1" != recover ] || unfinished=none # the next download goes on
	# Of a restore that had not begun its plan may stay: it has no journal.
	[ "${warned:-}" = once ] ||
		left=$(find . fast/ \( -name '*.tmp' -o -name '.new-*' -o \
			-name '.replacing' -o -path '*/.fleetbak/*' -o \
			-path "$unfinished" -o \
			-path './state/restores/*/journal' \) | head -3)
	[ -z "$left" ] || {
		complain "left behind: $left"
		return
	}
	for machine in machines/copy fast/snap; do
		[ "$(effects $machine stop)" -le "$(effects $machine start)" ] || {
			complain "$machine: $(sort $machine/effects | uniq -c | xargs)"
			return
		}
	done
	exactly_once "$1" "${case#* }" || return
	case $1 in
	init)
		[ -n "$(find repo/format -name 1.json.sig)" ] ||
			complain "no signed format"
		;;
	undo)
		! "$fb" -c fleetbak.yaml prune -n 2>&1 | grep -q "^$first.*asked" ||
			complain "the run is given up"
		;;
	download | resume | shard)
		projection | cmp -s - "$work/want" || {
			complain "another manifest: $(projection |
				diff - "$work/want" | head -5)"
			return
		}
		commits=$(find repo/commits -type f | wc -l)
		for machine in machines/copy fast/snap; do
			[ "$(effects $machine stop)" -le $((commits + 1)) ] || {
				complain "$commits runs, $machine: $(effects $machine stop) stops"
				return
			}
		done
		;;
	recover)
		[ "$(effects machines/copy start)" -le 2 ] ||
			complain "started $(effects machines/copy start) times"
		;;
	restore_place)
		same_copy machines/copy disk.img || complain "not as it was"
		;;
	restore_new)
		same_copy machines/fresh disk.img || complain "not the same"
		[ -e machines/fresh/up ] || complain "the new one is not up"
		;;
	forget)
		"$fb" -c fleetbak.yaml prune -n 2>&1 | grep -q "^$first.*asked" ||
			complain "the run is not given up"
		;;
	prune)
		[ "$(find repo/runs -name manifest.json | wc -l)" -eq 1 ] &&
			[ "$(find repo/packs -type f | wc -l)" -eq 1 ] &&
			[ "$(find repo/recipes -type f | wc -l)" -eq 7 ] ||
			complain "not pruned: $(find repo/runs repo/packs -type f)"
		;;
	restore_dir)
		same_copy out/copy root.img || complain "not the same"
		;;
	esac
}

# Is the exit status one that is documented, is there an error that names an
# id, and does it fit the fault?
check_status() { # <act> <status> <fault> <of>
	case $2 in
	0) ;;
	1 | 2 | 3 | 1[0-9] | 20 | 21)
		said=' E-[A-Z-]*: '
		[ "$2" -ne 3 ] || said="$said\|^fleetbak: warning: "
		grep -q "$said" err || {
			complain "exit $2 and no error with an id"
			return
		}
		;;
	*)
		complain "exit $2"
		return
		;;
	esac
	case $3 in
	*,* | *+:*) ;;
	driver.*:lost | driver.*:late)
		[ "$2" -eq 0 ] && ! grep -q '^fleetbak: warning: ' err || {
			complain "what can be looked up is not"
			return
		}
		;;
	esac
	case $4:$3 in
	question:*+:* | question:*,*) ;;
	question:*:timeout)
		[ "$2" -eq 0 ] && ! grep -q '^fleetbak: warning: ' err || {
			complain "it did not ask again"
			return
		}
		;;
	esac
	case $3 in
	*,*) return 0 ;; # of a pair, either may have decided
	*:EINTR | *:short) allowed='0' ;;
	*:ENOSPC | *:EDQUOT) allowed='0 3 17' ;;
	*:EROFS | *:EACCES) allowed='0 3 16' ;;
	*:[+-]*) allowed='0 1 3 20' ;;
	*) allowed='0 1 3 15' ;;
	esac
	case $4 in
	fleet | question) allowed="$allowed 1" ;; # the state of a machine is not known
	esac
	# Threads take turns, so a step is not always the same.
	! grep -q ' E-KEY: ' err || allowed="$allowed 12"
	! grep -q ' E-CFG-FILE: ' err || allowed="$allowed 2"
	case $3 in
	*+:*) allowed="$allowed 2 12" ;; # and all that comes after it
	esac
	case " $allowed " in
	*" $2 "*) ;;
	*) complain "exit $2, expected of it: $allowed" ;;
	esac
}

# The register holds the signature; its copy for openssl may be still to come.
only_unsigned_copy() {
	! grep '^DAMAGED' err | grep -qv '/SHA256SUMS\.sig$'
}

try() { # <act> <fault> <of> <worker>
	case="$1 $2"
	warned=
	copy_fleet "$(act_template "$1")" "w$4"
	cd "$work/w$4"
	status=0
	export FLEETBAK_CRASH_LOG="$PWD/durable"
	: >durable
	[ ! -e before ] || cat before >durable
	FLEETBAK_FAULT=$2 act "$1" >out.txt 2>err </dev/null || status=$?
	cat out.txt >>err
	check_status "$1" "$status" "$2" "$3" || return 0
	! grep -qF "$secret" err || complain "the secret key is shown" || return 0
	if [ "$status" -eq 0 ]; then
		case "$1 $2" in
		restore_*) warned=once ;; # it cannot be done twice
		*) warned=again ;;
		esac
		grep -q '^fleetbak: warning: ' err || warned=
		case "$1 $2" in
		prune*clock*-*) warned=again ;; # its grace is not over
		esac
		if [ "$warned" != again ]; then
			check_done "$1"
			return 0
		fi
	fi
	# The guardian, or this, or the next run: a machine comes up.
	"$fb" -c fleetbak.yaml recover --lock-wait 60s >err 2>&1 ||
		[ "$1" = restore_place ] || complain "recover: exit $?" || return 0
	[ "$1" = restore_place ] || [ -e machines/copy/up ] ||
		complain "not up after recover" || return 0
	if [ -n "$(find repo/commits -type f 2>/dev/null)" ]; then
		"$fb" -c fleetbak.yaml verify --full >err 2>&1 ||
			only_unsigned_copy ||
			complain "what is committed is not whole: exit $?" || return 0
	fi
	again=0
	warned=
	patient='--lock-wait 60s'
	go_on "$1" >err 2>&1 </dev/null || again=$?
	# A machine that failed is settled in its run; the next run has it.
	if [ "$again" -eq 3 ] && grep -q '(continued)' err; then
		again=0
		act "$1" >err 2>&1 </dev/null || again=$?
	fi
	patient=
	[ "$again" -eq 0 ] || complain "once more: exit $again" || return 0
	check_done "$1" || return 0
}

# ----------------------------------------------------------------- the cases

# What can happen to a step: as many lines as it can fail in ways; then what
# does not go away again, from every step on; then pairs, of all kinds with
# all kinds, of which the positions and ways change from pair to pair.
cases_of() { # <act>: from its steps
	awk -v act="$1" '
	function way(kind, number) {
		return ways_of[kind, number % n_ways[kind] + 1]
	}
	function add(fault, of) {
		print act, fault, of
	}
	BEGIN {
		can["write"] = "EIO ENOSPC EDQUOT EROFS EINTR short"
		can["sync"] = "EIO ENOSPC EDQUOT EINTR"
		can["rename"] = "EIO ENOSPC EDQUOT EROFS EACCES"
		can["store"] = "EIO ENOSPC EDQUOT EROFS timeout lost late"
		can["driver"] = "EIO ENOSPC EACCES timeout lost late"
		can["child"] = "EAGAIN ENOMEM lost late"
		can["ask"] = "EIO EACCES timeout"
		can["look"] = "EIO ESTALE"
		can["read"] = "EIO ESTALE EINTR short"
		can["open"] = "EIO EMFILE ENOMEM EACCES EINTR"
		can["alloc"] = "ENOMEM"
		can["clock"] = "+31536000 -31536000"
	}
	{
		n = split(can[$2], ways, " ")
		if (of_kind[$2]++ == 0)
			kinds[++n_kinds] = $2
		n_ways[$2] = n
		for (i = 1; i <= n; i++)
			ways_of[$2, i] = ways[i]
		of = "-"
		if ($3 ~ /(machines|fast)($|\/)|^names$|^discover$|^pipe$/)
			of = "fleet"
		if ($2 == "ask" && $3 ~ /^(power_get|find_by_token|probe)$/)
			of = "question"
		for (i = 1; i <= n; i++)
			add($2 "." of_kind[$2] ":" ways[i], of)
		if ($2 ~ /^(write|sync|rename|store)$/)
				add($2 "." of_kind[$2] "+:ENOSPC", of)
		if ($2 == "open")
				add($2 "." of_kind[$2] "+:EMFILE", of)
	}
	END {
		for (round = 1; round <= 8; round++)
			for (i = 1; i <= n_kinds; i++)
				for (j = 1; j <= n_kinds; j++) {
					a = kinds[i]
					b = kinds[j]
					turn += 7
					n = turn * round % of_kind[a] + 1
					m = i == j ? n + 1 : int(turn / 3) % of_kind[b] + 1
					add(a "." n ":" way(a, turn + round) "," \
						b "." m ":" way(b, turn + i), "-")
				}
	}' "$work/steps.$1"
}

# Every k-th case, where k has no factor in common with the number of ways, so
# that all of them get their turn.
sample() { # <file>
	every=$(($(wc -l <"$1") / faults))
	while [ $((every % 2 * (every % 3) * (every % 5))) -eq 0 ] &&
		[ "$every" -gt 1 ]; do
		every=$((every - 1))
	done
	awk -v every="$every" 'NR % every == 0 || every < 2' "$1" >"$1.sample"
	mv "$1.sample" "$1"
}

slice() { # <file>
	awk -v slice="$SLICE" 'BEGIN { split(slice, of, "/") }
		NR % of[2] == of[1] % of[2]' "$1" >"$1.slice"
	mv "$1.slice" "$1"
}

# What one worker does.  What it finds is counted, and shown at the end.
worker() { # <worker> <file with cases>
	work_of=$1
	turn=0
	while read -r what fault of; do
		turn=$((turn + 1))
		[ $((turn % 2)) -eq "$work_of" ] || continue
		try "$what" "$fault" "$of" "$work_of"
	done <"$2" >"$work/found.$work_of" 2>&1
}

run_cases() { # <file> <name>
	worker 0 "$1" &
	one=$!
	worker 1 "$1" &
	two=$!
	rc=0
	wait $one || rc=1
	wait $two || rc=1
	cat "$work/found.0" "$work/found.1" >"$work/found"
	if [ $rc -ne 0 ] || [ -s "$work/found" ]; then
		cat "$work/found"
		echo "FAIL  $2: $(grep -c '^[a-z]' "$work/found") of $(wc -l <"$1") cases"
		bad=yes
		return
	fi
	ok "$2: $(wc -l <"$1") cases${mounted:+, with snapshots}"
}

make_templates
bad=
acts="init download resume shard recover verify restore_place restore_new
	restore_dir forget undo prune"
for name in ${ACTS:-$acts}; do
	copy_fleet "$(act_template "$name")" w0
	cd "$work/w0"
	FLEETBAK_FAULT_LOG=$work/log act "$name" >out.txt 2>err </dev/null ||
		fail "$name undisturbed: $(cat err)"
	mv "$work/log" "$work/steps.$name"
	case=$name
	check_done "$name" || fail "$name undisturbed: $(check_done "$name")"
	cases_of "$name" | grep -e "^$name [^ ]*${ONLY:-}" >"$work/cases.$name"
	[ "$faults" = all ] || sample "$work/cases.$name"
	[ -z "${SLICE:-}" ] || slice "$work/cases.$name"
	run_cases "$work/cases.$name" "$name"
done
[ -z "$bad" ] || fail "some cases do not hold"
