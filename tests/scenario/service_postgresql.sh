#!/bin/sh
# A real service as a machine: PostgreSQL under write load is stopped,
# captured, started; what comes back elsewhere starts, has sound checksums and
# exactly the rows that were committed at the moment of the stop.
. "$(dirname "$0")/lib.sh"
requires_root
requires jq runuser
pgbin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)
[ -n "$pgbin" ] || { echo "skip  no postgresql"; exit 77; }

make_fleet "$work/f" 0
cd "$work/f"
chmod 755 "$work" "$work/f" machines
pg=machines/pg
mkdir -p $pg/data
chown -R postgres $pg
as_pg() { (cd / && runuser -u postgres -- "$@"); }
as_pg "$pgbin/initdb" -k -D "$work/f/$pg/data" >/dev/null
cat >>$pg/data/postgresql.conf <<EOT
listen_addresses = ''
unix_socket_directories = '$work/f/$pg'
fsync = on
EOT
cat >$pg/ctl <<EOT
#!/bin/sh
cd "\$(dirname "\$0")" || exit 9
dir=\$(pwd -P)
run() { (cd / && runuser -u postgres -- "\$@"); }
case \$1 in
start) run $pgbin/pg_ctl -w -D "\$dir/data" -l "\$dir/log" start ;;
stop) run $pgbin/pg_ctl -w -m fast -D "\$dir/data" stop ;;
status) run $pgbin/pg_ctl -D "\$dir/data" status ;;   # 0 up, 3 down
esac
EOT
chmod 755 $pg/ctl
cat >$pg/machine.yaml <<'EOT'
id: pg
role: db
start: [./ctl, start]
stop: [./ctl, stop]
status: [./ctl, status]
volumes:
  - {name: data, kind: tree, path: data}
EOT
cleanup() {
	for d in "$work"/f/machines/*/data; do
		as_pg "$pgbin/pg_ctl" -m immediate -D "$d" stop || :
	done >/dev/null 2>&1
	clear_work
}
trap cleanup EXIT
$pg/ctl start >/dev/null || fail "the server does not start"
sql() { # <dir> <statement>
	as_pg psql -qAtX -h "$work/f/$1" -d postgres -c "$2"
}
sql $pg 'create table t (n bigint primary key, filler text)'
expect 0 "$fb" -c "$conf" init

# The load: one transaction after the other; the last number that was
# committed is known to the client.
(
	i=0
	while [ ! -e "$work/enough" ]; do
		i=$((i + 1))
		sql $pg "insert into t select $i, repeat('x', 900)" \
			2>/dev/null && echo "$i" >>"$work/committed"
	done
	: # the last one may have met the server when it was down
) &
load=$!
until [ -s "$work/committed" ] && [ "$(wc -l <"$work/committed")" -ge 20 ]; do
	kill -0 $load || fail "the load died"
	sleep 0.05
done

expect 0 "$fb" -c "$conf" download --json
touch "$work/enough"
wait $load
[ "$(sql $pg 'select 1')" = 1 ] || fail "the server is not up again"
ok "PostgreSQL was captured under load and is up"

expect 0 "$fb" -c "$conf" restore pg --as pg2
cp2=machines/pg2
as_pg "$pgbin/pg_checksums" --check -D "$work/f/$cp2/data" >"$work/sums" ||
	fail "pg_checksums: $(cat "$work/sums")"
grep -q 'Bad checksums: *0' "$work/sums" || fail "$(cat "$work/sums")"
ok "pg_checksums finds no bad page"

sed -i "s|^unix_socket_directories.*|unix_socket_directories = '$work/f/$cp2'|" \
	$cp2/data/postgresql.conf
chown postgres $cp2
$cp2/ctl start >/dev/null || fail "the restored server does not start"
rows=$(sql $cp2 'select count(*) from t')
last=$(sql $cp2 'select max(n) from t')
# Every number up to the last restored one that the client saw committed is
# there, and at most the one in flight is more than it saw at the stop.
awk -v last="$last" '$1 <= last' "$work/committed" | sort -n >"$work/seen"
sql $cp2 'select n from t order by n' >"$work/there"
sort "$work/seen" >"$work/seen.sorted"
sort "$work/there" >"$work/there.sorted"
[ "$(comm -23 "$work/seen.sorted" "$work/there.sorted" | wc -l)" = 0 ] ||
	fail "committed rows are missing"
[ "$(comm -13 "$work/seen.sorted" "$work/there.sorted" | wc -l)" -le 1 ] ||
	fail "there are rows that nobody committed"
[ "$rows" -ge 20 ] || fail "only $rows rows"
ok "$rows rows, the last $last: the moment of the stop"
$cp2/ctl stop >/dev/null
$pg/ctl stop >/dev/null
