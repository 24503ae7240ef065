#!/bin/sh
# What MIOSA loses, delays, cuts off, refuses, or says in words nobody knows.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/scenario/lib_miosa.sh
. "$here/lib_miosa.sh"

miosa_computer comp_a running '"name":"web"'
miosa_begin --off-status 404
cd "$work"
miosa_fleet
expect 0 "$fb" init

miosa_fleet 'keep_snapshot: true' 'create_timeout: 2s'
miosa_rules 'says=levitating path=*/checkpoints*'
fails levitating "$fb" download web
miosa_rules
miosa_fleet 'keep_snapshot: true'
status_is comp_a running
expect 0 "$fb" download web
miosa_kept 1
miosa_rules 'becomes=failed method=POST path=*/checkpoints'
fails E-MIOSA-FAILED "$fb" download web
miosa_rules
expect 0 "$fb" download web
miosa_kept 1
ok "a word that nobody knows is not 'ready', and a failure is said"

for rule in 'lost times=1 method=POST path=*/checkpoints' \
	'error=503,INTERNAL_ERROR,1 times=1 method=POST path=*/checkpoints' \
	'error=409,COMPUTER_STARTING times=1 method=POST path=*/checkpoints' \
	'error=429,rate_limit_exceeded,1 times=1 path=*/checkpoints*' \
	'cut=70000 times=1 path=*/export' 'reset times=1 path=*/export' \
	'no-length times=2 path=*/export' 'chunked path=*/export' \
	'no-content' 'cli-fields' 'polls=3' 'lost times=1 method=DELETE'; do
	miosa_rules "$rule"
	expect 0 "$fb" download web
	miosa_kept 1 "$rule"
	case $rule in
	*/export)
		expect 0 "$fb" restore web --target again
		rm -rf unpacked
		mkdir unpacked
		tar -xpf again/comp_a/export.bin -C unpacked ||
			fail "$rule: no archive came"
		same_tree comp_a unpacked
		rm -rf again
		;;
	esac
done
miosa_rules 'cut=70000 times=1 path=*/export' \
	'corrupt=5000 times=1 skip=1 path=*/export'
fails E-MIOSA-EXPORT "$fb" download web
miosa_rules 'error=402,INSUFFICIENT_CREDITS method=POST path=*/checkpoints'
fails 'with 402' "$fb" download
miosa_rules
status_is comp_a running
miosa_fair
ok "what is lost, late, cut or refused costs nothing, or the one machine"
