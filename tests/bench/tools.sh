# shellcheck shell=sh
# How each tool is asked to do what is measured: here is what to argue with.
#
# All compress as `zstd -3` does where a level can be chosen; restic's "auto"
# is that of its library, the same class.  $work/images, $work/tree: sources.
#
# shellcheck disable=SC2154,SC2034 # bench.sh has the other half

env_of_peers="export HOME=\$work/home RESTIC_PASSWORD=x RESTIC_CACHE_DIR=\$work/home/restic \
BORG_BASE_DIR=\$work/home/borg BORG_PASSPHRASE=x XDG_CACHE_HOME=\$work/home/cache \
BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes \
BORG_CHECK_I_KNOW_WHAT_I_AM_DOING=YES BORG_DELETE_I_KNOW_WHAT_I_AM_DOING=YES LC_ALL=C.UTF-8"

repo_of() { # TOOL
	if [ "$1" = fleetbak ]; then
		echo "$work/repos/fleetbak/repo"
	else
		echo "$work/repos/$1"
	fi
}

# Tools of a set, ours first.
tools_of() { # SET PEERS
	case $1 in
	images) echo "fleetbak $2${limit_runs:+ limit}" ;;
	tree) echo "fleetbak $2 tar" ;;
	parallel) echo fleetbak ;;
	esac
}

check_tools() {
	for tool in jq openssl cmp zstd tar; do
		command -v "$tool" >/dev/null || fail "$tool is not installed: make setup"
	done
	for tool in $peers; do
		case $tool in
		restic | borg | borg-blake2 | casync) ;;
		*) fail "BENCH_PEERS names '$tool': restic, borg, borg-blake2" \
			"and casync are known" ;;
		esac
		command -v "${tool%-blake2}" >/dev/null ||
			fail "${tool%-blake2} is not installed: sh tests/setup.sh bench," \
				"or leave it out of BENCH_PEERS"
	done
	limit_runs=yes limit_note=runs
	"$tools/limit" check 2>/dev/null || {
		limit_runs=
		limit_note='cannot run here: it needs SHA-NI and AVX-512BW'
	}
}

versions() {
	"$fleetbak" version | head -n 1
	for tool in $peers; do
		case $tool in
		restic) restic version ;;
		borg) borg --version ;;
		casync) casync --version | head -n 1 ;;
		esac
	done
	zstd --version | grep -o 'v[0-9.]*' | sed 's/^/zstd /'
	openssl version
	tar --version | head -n 1
}

commands() {
	for set in $sets; do
		for tool in $(tools_of "$set" "$peers"); do
			for op in init list first changed unchanged unchanged-read \
				unchanged-skip restore in-place verify prune; do
				command=$(command_of "$tool" "$op")
				[ -z "$command" ] || echo "$set $tool $op: $command"
			done
		done
	done
}

# Empty repositories, and what our configuration says of the machines.
prepare() { # SET
	rm -rf "$work/target" "${work:?}/$1"
	mkdir -p "$work/$1"
	prepare_repos "$1"
}

prepare_repos() { # SET
	rm -rf "$work/repos" "${work:?}/home"
	mkdir -p "$work/repos/fleetbak" "$work/home"
	fb=$work/repos/fleetbak
	last=03
	[ "$1" != parallel ] || last=15
	for machine in $(seq -f 'machine%02.0f' 0 $last); do
		volume="{name: root, kind: disk, path: $work/$1/$machine.img}"
		[ "$1" != tree ] || {
			[ "$machine" = machine00 ] || continue
			volume="{name: root, kind: tree, path: $work/tree}"
		}
		mkdir -p "$fb/machines/$machine"
		cat >"$fb/machines/$machine/machine.yaml" <<-END
			id: $machine
			volumes:
			  - $volume
		END
	done
	cat >"$fb/fleetbak.yaml" <<-END
		fleet: {name: bench}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  bench: {driver: local, root: ./machines}
		retention: {grace: 0s, max_remove: 100%}
	END
}

# command_of TOOL OPERATION: a shell command, or nothing when it has none.
command_of() {
	source=$work/$set repo=$(repo_of "$1")
	case $1 in
	fleetbak) fleetbak_command "$2" ;;
	restic) peer "$(restic_command "$2")" ;;
	borg) peer "$(borg_command "$2" none)" ;;
	borg-blake2) peer "$(borg_command "$2" repokey-blake2)" ;;
	casync) peer "$(casync_command "$2")" ;;
	limit) limit_command "$2" ;;
	tar) tar_command "$2" ;;
	esac
}

peer() {
	[ -z "$1" ] || echo "$(echo "$env_of_peers" | sed "s|\$work|$work|g"); $1"
}

# "unchanged" is what everybody would do, "unchanged-read" reads every byte
# again, "unchanged-skip" trusts what metadata or a change map says.
fleetbak_command() {
	run="$fleetbak -c $work/repos/fleetbak/fleetbak.yaml"
	case $1 in
	init | list) echo "$run $1" ;;
	first | changed | unchanged | unchanged-skip) echo "$run download" ;;
	download) echo "$run download ${more:-}" ;;
	unchanged-read) echo "$run download --full" ;;
	restore) echo "$run restore --run latest --all --target $work/target --yes" ;;
	in-place) echo "$run restore --run latest --all --in-place --yes" ;;
	verify) echo "$run verify --full" ;;
	prune)
		echo "$run forget -y -q \$($run list runs -o tsv --no-header | tail -n 1 | cut -f 1)
			$run prune --yes --json"
		;;
	esac
}

restic_command() {
	run="restic -q -r $repo"
	case $1 in
	init) echo "$run init --repository-version 2" ;;
	list) echo "$run snapshots" ;;
	first | changed | unchanged | unchanged-skip)
		echo "$run --compression auto backup $source"
		;;
	unchanged-read) echo "$run --compression auto backup --force $source" ;;
	restore) echo "$run restore latest --target $work/target" ;;
	in-place) echo "$run restore latest --target /" ;;
	verify) echo "$run check --read-data" ;;
	prune)
		# shellcheck disable=SC2016 # for the other shell
		printf '%s forget --prune "$(%s snapshots --json | jq -r ".[0].id")"\n' \
			"$run" "$run"
		;;
	esac
}

borg_command() { # OPERATION ENCRYPTION
	last=changed
	[ "$set" = images ] || last=unchanged
	case $1 in
	init) echo "borg init -e $2 $repo" ;;
	list) echo "borg list $repo" ;;
	first | changed | unchanged | unchanged-skip)
		echo "borg create -C zstd,3 $repo::$1 $source"
		;;
	unchanged-read)
		echo "borg create --files-cache=disabled -C zstd,3 $repo::$1 $source"
		;;
	restore) echo "cd $work/target; borg extract $repo::$last" ;;
	in-place) echo "cd /; borg extract $repo::$last" ;;
	verify) echo "borg check --verify-data $repo" ;;
	prune) echo "borg delete $repo::first; borg compact $repo" ;;
	esac
}

casync_command() {
	run="--store=$repo/store.castr"
	make="casync make $run --compression=zstd"
	if [ "$set" = tree ]; then
		case $1 in
		first | unchanged)
			echo "mkdir -p $repo; $make $repo/$1.caidx $source"
			;;
		restore) echo "casync extract $run $repo/unchanged.caidx $work/target" ;;
		esac
		return
	fi
	each_image='for i in machine00 machine01 machine02 machine03; do'
	case $1 in
	first | changed | unchanged-read)
		echo "mkdir -p $repo/$1; $each_image
			$make $repo/$1/\$i.caibx $source/\$i.img; done"
		;;
	restore)
		echo "$each_image casync extract $run $repo/changed/\$i.caibx \
			$work/target/\$i.img; done"
		;;
	in-place) # as a seed of itself the image stops it: "Stale file handle"
		echo "$each_image casync extract --seed-output=no $run \
			$repo/changed/\$i.caibx $source/\$i.img; done"
		;;
	prune) echo "rm -r $repo/first; casync gc $run $repo/*/*.caibx" ;;
	esac
}

limit_command() {
	case $1 in
	first | changed | unchanged-read)
		echo "$tools/limit backup $repo 3 $threads $source/*.img"
		;;
	restore) echo "$tools/limit restore $repo $threads $work/target" ;;
	verify) echo "$tools/limit verify $repo $threads" ;;
	esac
}

# A pipeline has no second backup: what it does is a whole one again.
tar_command() {
	case $1 in
	first | unchanged)
		echo "mkdir -p $repo; tar -c -C $source . |
			zstd -q -f -3 -T$threads -o $repo/tree.tar.zst"
		;;
	restore) echo "zstd -q -d -c $repo/tree.tar.zst | tar -x -C $work/target" ;;
	esac
}
