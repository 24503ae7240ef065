# Rows of guests.sh, as a table.  Who reads all reads what the first full run did.
def mib: . / 1048576 * 10 | round / 10;
def median: sort | .[length / 2 | floor];
. as $all | (map(.night) | max) as $last |
(first(.[] | select(.tool == "fleetbak" and .op == "full")).read) as $full |
def line($rows; $what):
	if $rows == [] then empty else
	"| \($what) | \($rows | map(.wall) | median) | \($rows | map(.cpu) | median)" +
	" | \($rows | map(.peak_kib) | max / 1024 | round)" +
	" | \(if $rows[0].read then $rows | map(.read) | median | mib else "" end)" +
	" | \(if $rows[0].op == "full" or $rows[0].op == "live" then
		$full / ($rows | map(.wall) | median) | mib else "" end)" +
	" | \(if $rows[0].stored then $rows | map(.stored) | median | mib else "" end)" +
	" | \(if $rows[0].down_ms_max then
		"\($rows | map(.down_ms_min) | min) to \($rows | map(.down_ms_max) | max)"
		else "" end) |"
	end;
def of($tool; $op; $from; $to):
	[$all[] | select(.tool == $tool and .op == $op and
		.night >= $from and .night <= $to)];
"three guests of 64 MiB and \($mib) MiB, \($last) nights of 1 % changed; \($repo | mib) MiB in packs at the end",
"", "| | s | cpu s | peak MiB | MiB read | MiB/s | MiB stored | down, ms |",
"|---|---|---|---|---|---|---|---|",
line(of("nbdcopy"; "full"; 0; 0); "nbdcopy to nowhere, full"),
line(of("fleetbak"; "live"; 0; 0); "fleetbak, full, live"),
line(of("fleetbak"; "full"; 0; 0); "fleetbak, full, stopped and started"),
line(of("virtnbdbackup"; "full"; 0; 0); "virtnbdbackup, full"),
line(of("fleetbak"; "changed"; 1; 1); "fleetbak, the first night after"),
line(of("virtnbdbackup"; "changed"; 1; 1); "virtnbdbackup, the first night after"),
line(of("fleetbak"; "changed"; 1; $last); "fleetbak, median of all nights"),
line(of("virtnbdbackup"; "changed"; 1; $last); "virtnbdbackup, median of all nights"),
line(of("fleetbak"; "changed"; $last; $last); "fleetbak, night \($last)"),
line(of("virtnbdbackup"; "changed"; $last; $last); "virtnbdbackup, night \($last)"),
line(of("nbdcopy"; "full"; $last; $last); "nbdcopy to nowhere, after night \($last)"),
line(of("fleetbak"; "restore"; 0; $last); "fleetbak, restore")
