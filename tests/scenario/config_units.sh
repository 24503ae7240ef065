#!/bin/sh
# What `config units`, `cron` and `alerts` print is what systemd, cron's shell
# and Prometheus take, and it is right for the configuration at hand.
. "$(dirname "$0")/lib.sh"
requires systemd-analyze promtool

# A path with everything that systemd or cron would read as something else.
make_fleet "$work/a b%c\$d'e" 1
cd "$work/a b%c\$d'e"
cat >>"$conf" <<-'EOF2'
	metrics: {textfile: /var/lib/prometheus/node-exporter/fleetbak.prom}
	notify:
	  hc: {type: exec, command: [/bin/true]}
EOF2
sed -i 's|sign_with: "file:./keys/sign.pem"|sign_with: "cred:sign"|' "$conf"

mkdir units
expect 0 "$fb" -c "$conf" config units --target units
ls units >"$work/made"
for unit in download.service download.timer verify.service verify.timer \
	prune.service prune.timer status.service status.timer recover.service \
	failure@.service; do
	grep -qx "fleetbak-$unit" "$work/made" || fail "no fleetbak-$unit"
done
expect 0 systemd-analyze verify --man=no units/*.service units/*.timer
[ ! -s "$work/stderr" ] || fail "systemd has something to say of the units"
ok "systemd takes the units"

# What systemd makes of the quoted command line.
run_as_systemd() { # <line of a unit>: print its words, one a line
	sed -n "s/^$1=//p" units/fleetbak-download.service | head -1 |
		sed 's/%%/%/g; s/\$\$/$/g' | {
		read -r line
		eval "set -- $(printf '%s' "$line" | sed 's/\$/\\$/g')"
		printf '%s\n' "$@"
	}
}
run_as_systemd ExecStart | sed -n 3p >"$work/path"
[ "$(cat "$work/path")" = "$conf" ] || fail "the path is now $(cat "$work/path")"
run_as_systemd ExecStopPost | tail -3 | tr '\n' ' ' |
	grep -q '^recover --lock-wait 5min $' || fail "no recover after the run"
grep -q '^LoadCredential=sign:/etc/fleetbak/credentials/sign$' \
	units/fleetbak-download.service || fail "the credential is not loaded"
grep -q '^ReadWritePaths=-/var/lib/prometheus/node-exporter$' \
	units/fleetbak-verify.service || fail "the metrics cannot be written"
grep -qxF "ReadWritePaths=-\"$work/a b%%c\$d'e/state\"" \
	units/fleetbak-download.service || fail "the state cannot be written"
grep -q '^WantedBy=multi-user.target$' units/fleetbak-recover.service ||
	fail "nothing recovers at boot"
grep -q '^Persistent=yes$' units/fleetbak-download.timer ||
	fail "a missed night is not made up"
grep -q '^SuccessExitStatus=21$' units/fleetbak-download.service ||
	fail "a used up budget is an incident"
ok "they are made for this configuration"

exposure() { # <unit>: 12 for 1.2
	systemd-analyze security --offline=true --no-pager "$1" |
		sed -n 's/.*Overall exposure level.*: \([0-9]*\)\.\([0-9]\).*/\1\2/p'
}
for unit in units/*.service; do
	[ "$(exposure "$unit")" -le 15 ] ||
		fail "$unit: exposure $(exposure "$unit") tenths"
done
expect 0 "$fb" -c "$conf" config units --target units --user root
[ "$(exposure units/fleetbak-download.service)" -le 35 ] ||
	fail "root's exposure $(exposure units/fleetbak-download.service) tenths"
ok "they are hardened: exposure 1.5 at most, as root 3.5"

expect 0 "$fb" -c "$conf" config units --prefix /opt/x
grep -q '^ExecStart=/opt/x/bin/fleetbak ' "$work/stdout" || fail "the prefix"
expect 2 "$fb" -c "$conf" config units --prefix opt
expect 2 "$fb" -c "$conf" config units --user 'a b'

# Cron takes the text up to the first bare '%', and a backslash away from the
# others; the shell reads what is left.
expect 0 "$fb" -c "$conf" config cron
sed -n 's/^0 2 \* \* \*  fleetbak  //p' "$work/stdout" | sed 's/\\%/%/g' \
	>"$work/line"
eval "set -- $(cat "$work/line")"
[ "$3" = "$conf" ] || fail "cron's shell reads the path as $3"
[ "$*" = "$fb -c $conf -q download --lock-wait 30min" ] ||
	fail "cron's shell reads: $*"
if sed 's/\\%//g' "$work/stdout" | grep -v '^#' | grep -q %; then
	fail "a '%' would end the command"
fi
ok "cron and its shell read the same words"

expect 0 "$fb" -c "$conf" config alerts
cp "$work/stdout" alerts.yml
expect 0 promtool check rules alerts.yml
cat >alerts_test.yml <<-'EOF2'
	rule_files: [alerts.yml]
	evaluation_interval: 1m
	tests:
	- interval: 1m
	  input_series:
	  - series: 'fleetbak_build_info{version="1",fleet="f"}'
	    values: '1x3000'
	  - series: 'fleetbak_machine_last_success_timestamp_seconds{fleet="f",source="s",machine="m"}'
	    values: '0x3000'
	  - series: 'fleetbak_machine_rpo_seconds{fleet="f",source="s",machine="m"}'
	    values: '93600x3000'
	  - series: 'fleetbak_last_run_timestamp_seconds{fleet="f",command="download"}'
	    values: '0x3000'
	  - series: 'fleetbak_last_run_exit_code{fleet="f",command="download"}'
	    values: '0x100 15x1000 21x1000 0x1000'
	  alert_rule_test:
	  - {eval_time: 25h, alertname: FleetbakMachineOverRPO, exp_alerts: []}
	  - {eval_time: 25h, alertname: FleetbakNotRunning, exp_alerts: []}
	  - eval_time: 27h
	    alertname: FleetbakMachineOverRPO
	    exp_alerts:
	    - exp_labels: {severity: critical, fleet: f, source: s, machine: m}
	      exp_annotations: {summary: "s/m: its newest good backup is 1d 3h 0m 0s old"}
	  - eval_time: 27h
	    alertname: FleetbakNotRunning
	    exp_alerts:
	    - exp_labels: {severity: critical, fleet: f, command: download}
	      exp_annotations: {summary: "f: a night was missed: no download for 1d 3h 0m 0s"}
	  - {eval_time: 50m, alertname: FleetbakRunFailed, exp_alerts: []}
	  - eval_time: 200m
	    alertname: FleetbakRunFailed
	    exp_alerts:
	    - exp_labels: {severity: warning, fleet: f, command: download}
	      exp_annotations: {summary: "f: download ended with exit status 15; fleetbak explain 15 says what it means"}
	  - {eval_time: 1500m, alertname: FleetbakRunFailed, exp_alerts: []}
	- interval: 1m
	  input_series:
	  - {series: 'up{job="node"}', values: '1x300'}
	  alert_rule_test:
	  - eval_time: 3h
	    alertname: FleetbakMetricsGone
	    exp_alerts:
	    - exp_labels: {severity: warning}
	      exp_annotations: {summary: "no metrics of fleetbak at all"}
EOF2
expect 0 promtool test rules alerts_test.yml
ok "Prometheus takes the rules, and they page when they have to"
