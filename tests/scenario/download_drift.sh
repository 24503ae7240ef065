#!/bin/sh
# The fleet changes between discovery and the first stop: nothing is touched.
. "$(dirname "$0")/lib.sh"
requires jq

make_fleet "$work/f" 2
cd "$work/f"
expect 0 "$fb" -c "$conf" init
# The status command of m1 adds a machine when it is asked first: that
# is between the two discoveries of the run.
make_machine "$work/spare" m9
cat >machines/m1/ctl <<EOT
#!/bin/sh
cd "\$(dirname "\$0")" || exit 9
case \$1 in
start) echo start >>effects; : >up ;;
stop) echo stop >>effects; rm -f up ;;
status)
	echo x >>asked
	if [ "\$(wc -l <asked)" -eq 1 ] && [ -d "$work/spare/m9" ]; then
		mv "$work/spare/m9" ../m9
	fi
	[ -e up ] || exit 3 ;;
esac
EOT
expect 19 "$fb" -c "$conf" download --json
grep -q 'm9' "$work/stdout" || fail "the difference does not name m9"
[ ! -s machines/m1/effects ] && [ ! -s machines/m2/effects ] ||
	fail "a machine was touched"
ok "drift before the first effect stops the run"
expect 0 "$fb" -c "$conf" download
ok "and the next run goes on"
