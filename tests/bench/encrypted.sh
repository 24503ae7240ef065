#!/bin/sh
# What encryption costs: fleetbak against itself, encrypted and in clear, by
# turns over the same images.
#
#	encrypted.sh FLEETBAK TOOLS      (make BUILD=release bench-tools first)
#
# BENCH_RUNS=3      rounds; the table shows medians of processor seconds
# BENCH_SIZE=256M   size of each of the four images
# BENCH_DIR=DIR     where to work; else /dev/shm, else $TMPDIR, else /tmp
set -eu

fleetbak=$(realpath "$1") tools=$(realpath "$2")
. "$(dirname "$0")/common.sh"
choose_dir
work=$(mktemp -d "$dir/fleetbak-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
rounds=$(number BENCH_RUNS "${BENCH_RUNS:-3}")
"$tools/mkfleet" images --out "$work/images" --machines 4 \
	--size "${BENCH_SIZE:-256M}" >/dev/null

fleet() { # clear|encrypted
	rm -rf "${work:?}/$1"
	mkdir -p "$work/$1"
	for machine in machine00 machine01 machine02 machine03; do
		mkdir -p "$work/$1/machines/$machine"
		cat >"$work/$1/machines/$machine/machine.yaml" <<-END
			id: $machine
			volumes:
			  - {name: root, kind: disk, path: $work/images/$machine.img}
		END
	done
	keys=
	[ "$1" = clear ] || keys=', encrypt_to: ["file:./keys/recovery.crt"], decrypt_with: "file:./keys/recovery.pem"'
	cat >"$work/$1/fleetbak.yaml" <<-END
		fleet: {name: bench}
		state_dir: ./state
		repositories:
		  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"$keys}
		trusted_signers: ["file:./keys/sign.pub.pem"]
		sources:
		  bench: {driver: local, root: ./machines}
	END
	"$fleetbak" -c "$work/$1/fleetbak.yaml" init >/dev/null 2>&1
}

each() { # <operation> clear|encrypted <argument>...
	each_of=$1.$2
	shift
	each_mode=$1
	shift
	"$tools/measure" "$work/$each_of" "$fleetbak" \
		-c "$work/$each_mode/fleetbak.yaml" "$@" >/dev/null 2>&1 ||
		fail "$each_of: $*"
}

for round in $(seq "$rounds"); do
	modes="clear encrypted"
	[ $((round % 2)) -eq 1 ] || modes="encrypted clear"
	for mode in $modes; do fleet "$mode"; done
	for mode in $modes; do each first "$mode" download; done
	for mode in $modes; do each unchanged "$mode" download --full; done
	for mode in $modes; do each verify "$mode" verify --full; done
	for mode in $modes; do
		each restore "$mode" restore --run latest --all \
			--target "$work/target" --yes
		rm -rf "$work/target"
	done
done

# "<wall> <cpu> <peak KiB> <others>" a line
median() { # <file> <column>
	sort -n -k "$2" "$1" | awk -v column="$2" \
		'{ v[NR] = $column } END { print v[int((NR + 1) / 2)] }'
}
echo 'operation  clear cpu/wall s  encrypted cpu/wall s  more cpu'
for operation in first unchanged verify restore; do
	clear=$(median "$work/$operation.clear" 2)
	encrypted=$(median "$work/$operation.encrypted" 2)
	printf '%-10s %6.2f %6.2f      %6.2f %6.2f          %+.1f %%\n' \
		$operation "$clear" "$(median "$work/$operation.clear" 1)" \
		"$encrypted" "$(median "$work/$operation.encrypted" 1)" \
		"$(echo "$clear $encrypted" | awk '{ print ($2 / $1 - 1) * 100 }')"
done
