# Tables from the rows of bench.sh: what each tool took, and how far fleetbak
# is ahead of the fastest peer and behind the yardstick, paired by round.  The
# last line is "exit N".

def median:
  if length == 0 then null
  else sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;
def pad($n): tostring | . + " " * ([$n - length, 0] | max);
def left($n): tostring | " " * ([$n - length, 0] | max) + .;
# A number with that many places.
def fixed($places):
  if . == null then "-"
  else pow(10; $places) as $p | (. * $p | round) as $n
    | ($n / $p | floor | tostring)
      + (if $places == 0 then ""
         else "." + ($n % $p + $p | tostring | .[1:]) end)
  end;
def times($n): if . == null then null else . * $n end;
def mib: if . == null then null else . / 1048576 end;

def peers: ["restic", "borg", "borg-blake2", "casync"];
# A peer that restored something else has no time.
def valid: .check != "different";

# {round: value} of one tool's operation.
def by_round($rows; $tool; $op; $key):
  [$rows[] | select(.tool == $tool and .op == $op and valid)
   | select(.[$key] != null) | {key: (.round | tostring), value: .[$key]}]
  | from_entries;
def typical($rows; $tool; $op; $key):
  [by_round($rows; $tool; $op; $key)[]] | median;
# The median of theirs over ours in the same round; null: nothing to compare.
def ratio($rows; $op; $key; $other):
  by_round($rows; "fleetbak"; $op; $key) as $ours
  | [by_round($rows; $other; $op; $key) | to_entries[]
     | select($ours[.key] != null and $ours[.key] > 0)
     | .value / $ours[.key]] | median;
# The peer that is least far behind.
def fastest($rows; $op; $key; $names):
  [$names[] | {name: ., ratio: ratio($rows; $op; $key; .)}
   | select(.ratio != null)] | min_by(.ratio);

def target($set; $op; $ahead; $limit; $memory):
  {$set, $op, $ahead, $limit, $memory, peers: peers, yardstick: "limit"};
def targets: [
  target("images"; "first"; 3.3; 1.25; 64),
  target("images"; "unchanged-read"; 3; 1.25; 64),
  target("images"; "unchanged-skip"; 1; null; 64)
    + {peers: ["restic", "borg", "borg-blake2"]},
  target("images"; "changed"; 3.3; 1.3; 64),
  target("images"; "restore"; 2.6; 1.2; 48),
  target("images"; "in-place"; 5; null; 48),
  target("images"; "verify"; 4; 1.3; 48),
  target("images"; "prune"; 3.3; null; 64) + {peers: ["borg"]},
  (target("tree"; "first"; 2; 1.2; 64),
   target("tree"; "unchanged"; 2; 1.2; 64),
   target("tree"; "restore"; 2; 1.2; 48) | .yardstick = "tar")
];

def verdict: if . == null then "not measured" elif . then "met" else "missed" end;
def at_least($want): if . == null or $want == null then null else . >= $want end;
def at_most($want): if . == null or $want == null then null else . <= $want end;
# All that was measured is met; null when nothing was.
def all_met: map(select(. != null)) | if length == 0 then null else all end;

def machine($m):
  "\($m.cpu), \($m.processors) processors (\($m.features))",
  "\($m.memory_kib / 1048576 * 10 | round / 10) GiB of memory, \($m.kernel), working on \($m.file_system)",
  "4 images of \($m.image_mib) MiB, a tree of \($m.files) entries and \($m.tree_mib) MiB, \($m.runs) rounds, \($m.date)",
  ($m.versions | split("\n") | join("; ")),
  "limit \($m.limit)";

def cell($rows; $tool; $op):
  typical($rows; $tool; $op; "wall") as $wall
  | if $wall == null then "-"
    else "\($wall | fixed(2)) / \(typical($rows; $tool; $op; "cpu") | fixed(2)) / \(typical($rows; $tool; $op; "peak_kib") / 1024 | fixed(0))"
    end;
def costs($set; $rows):
  ([$rows[].tool] | unique | sort_by(. != "fleetbak")) as $tools
  | ([$rows[].op] | reduce .[] as $op ([]; if index($op) then . else . + [$op] end)) as $ops
  | "", "\($set): wall s / processor s / peak MiB of the largest process, medians",
    (("" | pad(16)) + ($tools | map(pad(23)) | add)),
    ($ops[] as $op | ($op | pad(16))
       + ([$tools[] | cell($rows; .; $op) | pad(23)] | add)),
    (select($set != "parallel")
     | "", "\($set): stored MiB after the first backup, and what each added",
    ($tools[] as $tool | ($tool | pad(16))
       + ([$ops[] as $op | typical($rows; $tool; $op; (if $op == "first" then "stored" else "added" end))
           | select(. != null) | "\($op) \(mib | fixed(1))"] | join("   "))));

def judged($all):
  targets[] as $t
  | [$all[] | select(.set == $t.set)] as $rows
  | select($rows | length > 0)
  | fastest($rows; $t.op; "wall"; $t.peers) as $peer
  | fastest($rows; $t.op; "cpu"; $t.peers) as $peer_cpu
  | (ratio($rows; $t.op; "wall"; $t.yardstick) | if . == null then null else 1 / . end) as $behind
  | (ratio($rows; $t.op; "cpu"; $t.yardstick) | if . == null then null else 1 / . end) as $behind_cpu
  | typical($rows; "fleetbak"; $t.op; "peak_kib") as $peak
  | $t + {$peer, $peer_cpu, $behind, $behind_cpu,
      peak: (if $peak == null then null else $peak / 1024 end)}
  | .fast = ([(.peer.ratio | at_least($t.ahead)), (.behind | at_most($t.limit))] | all_met)
  | .small = (.peak | at_most($t.memory));

def simple($all; $name; $value; $want):
  {$name, $value, $want, met: ($value | at_most($want))};
def quotient($a; $b): if $a == null or $b == null or $b == 0 then null else $a / $b end;
def singles($all):
  [$all[] | select(.set == "images")] as $rows
  | select($rows | length > 0)
  | typical($rows; "fleetbak"; "first"; "stored") as $stored
  | typical($rows; "fleetbak"; "changed"; "added") as $grown
  | simple($all; "stored, of restic's"; quotient($stored; typical($rows; "restic"; "first"; "stored")); 0.9),
    simple($all; "stored, of limit's"; quotient($stored; typical($rows; "limit"; "first"; "stored")); 1.03),
    simple($all; "growth, of restic's"; quotient($grown; typical($rows; "restic"; "changed"; "added")); 0.4),
    simple($all; "growth, of limit's"; quotient($grown; typical($rows; "limit"; "changed"; "added")); 1.1),
    simple($all; "waste held after prune, %"; quotient(typical($rows; "fleetbak"; "prune"; "waste") | times(100);
      typical($rows; "fleetbak"; "prune"; "stored")); 10),
    simple($all; "init, ms"; (typical($rows; "fleetbak"; "init"; "wall") | times(1000)); 15),
    simple($all; "list of an empty repository, ms"; (typical($rows; "fleetbak"; "list"; "wall") | times(1000)); 15);

# Sixteen machines: what a processor second does with so many jobs, of what it
# does with one; and what went through a limit, of what it allows.
def parallel($all):
  [$all[] | select(.set == "parallel")] as $rows
  | ((2, 4, 8, 16) as $n
     | quotient(typical($rows; "fleetbak"; "jobs-\($n)"; "cpu");
         typical($rows; "fleetbak"; "jobs-1"; "cpu"))
     | select(. != null)
     | simple($all; "processor time, \($n) at once"; .; 1.05)),
    (("read", "upload") as $which
     | quotient(typical($rows; "fleetbak"; "limit-\($which)"; "added");
         typical($rows; "fleetbak"; "limit-\($which)"; "stored")) as $kept
     | select($kept != null)
     | simple($all; "limit_\($which), off by %"; ($kept - 1) * 100 | fabs; 5));

def wish($n; $sign): if $n == null then "" else "\($sign)\($n)" end;
def judgement($all):
  "", "targets: how many times as fast as the fastest peer, how many times as slow as limit (or tar)",
  (["set" | pad(8)] + (["operation"] | map(pad(16))) + (["ahead", "cpu", "target"] | map(left(8)))
     + ["  " + ("peer" | pad(12))] + (["behind", "cpu", "target"] | map(left(8)))
     + ["  " + ("speed" | pad(14))] + ["peak MiB" | left(9)] | add),
  (judged($all)
   | [(.set | pad(8)), (.op | pad(16)), (.peer.ratio | fixed(2) | left(8)),
      (.peer_cpu.ratio | fixed(2) | left(8)), (wish(.ahead; ">") | left(8)),
      "  " + (.peer.name // "-" | pad(12)), (.behind | fixed(2) | left(8)),
      (.behind_cpu | fixed(2) | left(8)), (wish(.limit; "<") | left(8)),
      "  " + (.fast | verdict | pad(14)), (.peak | fixed(0) | left(9)),
      " of \(.memory): \(.small | verdict)"] | add),
  ((singles($all), parallel($all)) | "\(.name | pad(34)) \(.value | fixed(2) | left(8))  at most \(.want | pad(5)) \(.met | verdict)");

.[0] as $machine | .[1:] as $all
| [$all[] | select(.tool == "fleetbak" and .peak_kib > 262144)] as $huge
| [$all[] | select(.check == "different")] as $wrong
| [judged($all) | .fast, .small] + [singles($all), parallel($all) | .met]
| map(select(. == false)) | length as $missed
| machine($machine),
  (["images", "tree", "parallel"][] as $set | [$all[] | select(.set == $set)]
   | select(length > 0) | costs($set; .)),
  judgement($all),
  "",
  "others' load: \([$all[].others] | median | fixed(2)) processors in the median, \([$all[].others] | max | fixed(2)) at the most",
  ($wrong[] | "\(.tool), round \(.round): \(.set): \(.op) did not give back what was there"),
  ($huge[] | "round \(.round): \(.set): \(.op) needed \(.peak_kib / 1024 | round) MiB: 256 are the bound"),
  "\($missed) targets missed",
  "exit \(if ($huge | length) > 0 or ($assert != "" and $missed > 0) then 1 else 0 end)"
