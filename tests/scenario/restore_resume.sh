#!/bin/sh
# Killed before any durable step, a restore goes on and ends whole.
. "$(dirname "$0")/lib.sh"
requires_faults

# FB_STRIDE=1 tries every step; a sanitizer is slow, and looks for something
# else.
case ${FB_VARIANT:-debug} in
debug) stride=${FB_STRIDE:-4} ;;
*) stride=${FB_STRIDE:-12} ;;
esac

make_fleet "$work/a" 1
m1=$work/a/machines/m1
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
cp -a "$m1" "$work/saved"

unfinished() {
	find "$work/a/state/restores" -mindepth 1 -maxdepth 1 \
		-printf '%f\n' 2>/dev/null | tail -n 1
}

# Into a directory.
step=$((1 - stride))
while :; do
	step=$((step + stride))
	rm -rf "$work/out"
	got=$(FLEETBAK_CRASH=$step:lost status_of "$fb" -c "$conf" restore \
		m1 --target "$work/out")
	[ "$got" -ne 0 ] || break
	[ "$got" -eq 137 ] || fail "step $step: exit $got"
	if [ -e "$work/out/m1" ]; then
		cmp -s "$work/saved/disk.img" "$work/out/m1/root.img" ||
			fail "step $step: a half machine has its name"
	fi
	if [ ! -e "$work/out/m1" ] || [ -n "$(unfinished)" ]; then
		id=$(unfinished)
		if [ -e "$work/a/state/restores/$id/journal" ] &&
			[ -n "$id" ]; then
			status_of "$fb" -c "$conf" restore --resume "$id" \
				>"$work/got"
			[ "$(cat "$work/got")" -eq 0 ] ||
				grep -q E-RST-RESUME "$work/stderr" ||
				fail "step $step: resume failed"
		fi
		rm -rf "$work/a/state/restores"
		[ -e "$work/out/m1" ] || expect 0 "$fb" -c "$conf" restore \
			m1 --target "$work/out"
	fi
	cmp -s "$work/saved/disk.img" "$work/out/m1/root.img" ||
		fail "step $step: disk differs"
	same_tree "$work/saved/data" "$work/out/m1/data" ||
		fail "step $step: tree differs"
	find "$work/out" -name '.m1.part*' | grep -q . &&
		rm -rf "$work"/out/.m1.part*
done
[ "$step" -gt 10 ] || fail "only $step steps"
ok "into a directory, cut off at steps up to $((step - 1))"

# In place.
step=$((1 - stride))
while :; do
	step=$((step + stride))
	printf 'scribble %s' "$step" | dd of="$m1/disk.img" bs=1 \
		seek=1500000 conv=notrunc status=none
	echo "changed $step" >"$m1/data/hello.txt"
	echo more >"$m1/data/extra"
	: >"$m1/up"
	: >"$m1/effects"
	got=$(FLEETBAK_CRASH=$step:kill status_of "$fb" -c "$conf" restore \
		m1 --in-place --yes)
	[ "$got" -ne 0 ] || break
	[ "$got" -eq 137 ] || fail "step $step: exit $got"
	# The guardian may be at work; its lock tells.
	status_of "$fb" -c "$conf" --lock-wait 20s recover >/dev/null
	same=no
	cmp -s "$work/saved/disk.img" "$m1/disk.img" &&
		same_tree "$work/saved/data" "$m1/data" && same=yes
	if [ "$same" = no ] && [ -e "$m1/up" ]; then
		[ "$(cat "$m1/data/hello.txt")" = "changed $step" ] ||
			fail "step $step: half-restored and up"
	fi
	id=$(unfinished)
	if [ -n "$id" ]; then
		status_of "$fb" -c "$conf" --lock-wait 20s restore \
			--resume "$id" --yes >"$work/got"
		[ "$(cat "$work/got")" -eq 0 ] ||
			grep -q E-RST-RESUME "$work/stderr" ||
			fail "step $step: resume failed"
	fi
	if [ "$(cat "$m1/data/hello.txt")" = "changed $step" ]; then
		expect 0 "$fb" -c "$conf" --lock-wait 20s restore m1 \
			--in-place --yes
	fi
	cmp -s "$work/saved/disk.img" "$m1/disk.img" ||
		fail "step $step: disk differs"
	same_tree "$work/saved/data" "$m1/data" ||
		fail "step $step: tree differs"
	[ -e "$m1/up" ] || fail "step $step: it is down"
	rm -rf "$work/a/state/restores"
done
[ "$step" -gt 10 ] || fail "only $step steps"
ok "in place, cut off at steps up to $((step - 1))"

# As a new machine.
copy=$work/a/machines/copy
step=$((1 - stride))
while :; do
	step=$((step + stride))
	got=$(FLEETBAK_CRASH=$step:lost status_of "$fb" -c "$conf" restore \
		m1 --as copy --start)
	[ "$got" -ne 0 ] || break
	[ "$got" -eq 137 ] || fail "step $step: exit $got"
	id=$(unfinished)
	if [ -n "$id" ]; then
		status_of "$fb" -c "$conf" --lock-wait 20s restore \
			--resume "$id" >"$work/got"
		[ "$(cat "$work/got")" -eq 0 ] ||
			grep -q E-RST-RESUME "$work/stderr" ||
			fail "step $step: resume failed"
	fi
	[ -e "$copy" ] || expect 0 "$fb" -c "$conf" --lock-wait 20s restore \
		m1 --as copy --start
	cmp -s "$work/saved/disk.img" "$copy/disk.img" ||
		fail "step $step: disk differs"
	same_tree "$work/saved/data" "$copy/data" ||
		fail "step $step: tree differs"
	[ -e "$copy/up" ] || fail "step $step: it is down"
	rm -rf "$copy" "$work/a/machines/.fleetbak-new" \
		"$work/a/state/restores"
done
[ "$step" -gt 10 ] || fail "only $step steps"
ok "as a new machine, cut off at steps up to $((step - 1))"
