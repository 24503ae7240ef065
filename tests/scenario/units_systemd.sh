#!/bin/sh
# systemd itself runs the units of `config units`: a night under its
# confinement, one that is killed while a machine is down, one that is told to
# stop, and a host that dies and boots; below a path with all that systemd reads
# as something else.
. "$(dirname "$0")/lib.sh"
requires jq unshare chroot
requires_root
requires_faults
[ -x /lib/systemd/systemd ] || fail "no systemd"

lab=$work/lab
fleet=$lab/"a b%c\$d'e"
mkdir "$lab" "$lab/told"
make_fleet "$fleet" 2
install -m 755 "$fb" "$lab/fleetbak"
cat >>"$conf" <<-'EOF'
	metrics: {textfile: /srv/lab/told/fleetbak.prom}
	notify:
	  us: {type: exec, command: [/srv/lab/told/notify]}
EOF
cat >"$lab/told/notify" <<-'EOF'
	#!/bin/sh
	cat >>/srv/lab/told/notes
	echo >>/srv/lab/told/notes
EOF
chmod 755 "$lab/told/notify"
# A start that waits, for as long as there is a file: it must be able to wait
# when nobody else holds it back.
sed -i 's|^start)$|start) while [ -e wait ]; do : >waiting; sleep 0.05; done|' \
	"$fleet"/machines/*/ctl

# What each boot begins with: everything under /etc is new every time.
cat >"$lab/install" <<'EOF'
set -u
cd "/srv/lab/a b%c\$d'e" || exit 1
bad() { echo "BAD: $*"; systemctl --no-pager status 'fleetbak-*'; journalctl --no-pager | tail -50; exit 1; }
state() { systemctl show -p "$1" --value "fleetbak-$2.service"; }
until_is() { # <value> <property> <unit>
	i=0
	until [ "$(state "$2" "$3")" = "$1" ]; do
		i=$((i + 1))
		[ $i -lt 1200 ] || bad "$3: $2 is $(state "$2" "$3"), not $1"
		sleep 0.05
	done
}
until_there() { # <file>
	i=0
	until [ -e "$1" ]; do
		i=$((i + 1))
		[ $i -lt 1200 ] || bad "no $1"
		sleep 0.05
	done
}
# As often as this no night begins.
start() {
	systemctl reset-failed fleetbak-download.service
	systemctl start fleetbak-download.service || bad "it cannot be started"
}
# A new run that has m1 down, until let_go.
hold_down() {
	rm -f machines/m1/waiting
	: >machines/m1/wait
	start
	until_there machines/m1/waiting
	[ ! -e machines/m1/up ] || bad "m1 is not down"
}
let_go() {
	rm machines/m1/wait
}
ends_well() { # <unit>
	until_is inactive ActiveState "$1"
	[ "$(state Result "$1")" = success ] || bad "$1 failed"
}
whole_night() {
	start
	ends_well download
}
all_up() { # <when>
	[ -e machines/m1/up ] && [ -e machines/m2/up ] || bad "down after $1"
}
useradd --system fleetbak || bad useradd
chown -R fleetbak . /srv/lab/told
chmod 755 /srv /srv/lab
/srv/lab/fleetbak -c fleetbak.yaml config units --target /etc/systemd/system ||
	bad "no units"
# A leak is looked for with ptrace(2), which the units do not allow.
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultEnvironment=ASAN_OPTIONS=detect_leaks=0\n' \
	>/etc/systemd/system.conf.d/lab.conf
systemctl daemon-reload
systemctl enable fleetbak-recover.service fleetbak-download.timer || bad enable
systemctl start fleetbak-download.timer || bad timer
EOF

cat >"$lab/night" <<'EOF'
. /srv/lab/install
runuser -u fleetbak -- /srv/lab/fleetbak -c fleetbak.yaml init || bad init
[ ! -e state ] || bad "a state directory before the first run"
next=$(systemctl show -p NextElapseUSecRealtime --value fleetbak-download.timer)
[ -n "$next" ] || bad "the timer has no next time"

hold_down
until_is active ActiveState download
state StatusText download >/srv/lab/status
let_go
ends_well download
for unit in verify prune status recover; do
	systemctl start fleetbak-$unit.service
	ends_well $unit
done

# Killed while m1 is down: what systemd starts afterwards brings it up.
hold_down
systemctl kill -s KILL --kill-who=all fleetbak-download.service
let_go
until_is failed ActiveState download
all_up "a kill"
until_is inactive ActiveState failure@fleetbak-download.service
grep -q fleetbak-download.service /srv/lab/told/notes || bad "nobody was told"
whole_night

# Told to stop while m1 is down: it comes up first.
hold_down
systemctl stop --no-block fleetbak-download.service
until_is deactivating ActiveState download
let_go
until_is inactive ActiveState download
all_up "a stop"
whole_night

# What goes wrong is an error in the journal, and the rest is not.
: >machines/m2/fail-stop
start
until_is failed ActiveState download
rm machines/m2/fail-stop
journalctl --sync
said() { # <unit> <priority>
	journalctl --no-pager -o cat "_SYSTEMD_UNIT=$1.service" "PRIORITY=$2"
}
said fleetbak-download 3 | grep 'lab/m2' || bad "no error in the journal"
systemd-run --quiet --wait --unit=loud -p User=fleetbak \
	/srv/lab/fleetbak -c "$PWD/fleetbak.yaml" download --full || bad loud
journalctl --sync
said loud 6 | grep ' ok ' || bad "no information in the journal"
! said loud 3 | grep . || bad "errors of a good night"
! journalctl --no-pager -o cat _SYSTEMD_UNIT=loud.service | grep '^<' ||
	bad "bare priorities"

# And the power fails while m1 is down.
hold_down
echo reached
EOF
# Nothing of the first boot is left but what is on disk.
cat >"$lab/boot" <<'EOF'
. /srv/lab/install
[ ! -e machines/m1/up ] || bad "m1 came up by itself"
let_go
systemctl start --no-block multi-user.target
until_there machines/m1/up
ends_well recover
whole_night
echo reached
EOF
boot() { # <script>
	timeout -k 5 300 sh "$here/../servers/systemd.sh" "$lab" "$1" \
		>"$work/stdout" 2>"$work/stderr" </dev/null || :
	grep -qx reached "$lab/$1.out" || {
		cat "$lab/$1.out" "$work/stdout"
		fail "$1 did not come to its end"
	}
}
boot night
[ -s "$lab/status" ] || fail "it tells systemd nothing"
ok "a night, a kill and a stop under systemd: machines are up"
ok "below an odd path, with errors as errors in the journal"
[ ! -e "$fleet/machines/m1/up" ] || fail "m1 was not down at the end"
boot boot
for m in m1 m2; do
	[ -e "$fleet/machines/$m/up" ] || fail "$m is down"
done
cd "$fleet"
expect 0 "$fb" -c "$conf" verify --full
expect 0 "$fb" -c "$conf" status
ok "a host that died boots, and brings up what was down"
