# Tables from the rows of s3.sh: medians of the rounds, and how far fleetbak is
# ahead of the peers and from the ceiling.

def median:
  if length == 0 then null
  else sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 end;
def pad($n): tostring | . + " " * ([$n - length, 0] | max);
def left($n): tostring | " " * ([$n - length, 0] | max) + .;
def fixed($places):
  if . == null then "-"
  else pow(10; $places) as $p | (. * $p | round) as $n
    | ($n / $p | floor | tostring)
      + (if $places == 0 then ""
         else "." + ($n % $p + $p | tostring | .[1:]) end)
  end;

. as $rows
| def typical($set; $tool; $op; f):
    [$rows[] | select(.set == $set and .tool == $tool and .op == $op) | f
     | select(. != null)] | median;
  def line($set; $op; $tool):
    typical($set; $tool; $op; .wall) as $wall
    | typical($set; $tool; $op; .bytes) as $bytes
    | typical($set; $tool; $op; .stored) as $stored
    | "  " + ($op | pad(8)) + ($tool | pad(10)) + ($wall | fixed(2) | left(9))
      + (if $bytes then $bytes / 1048576 / $wall else null end
         | fixed(0) | left(11))
      + (if $stored then $stored / 1048576 / $wall
         else typical($set; $tool; $op; .rate) end | fixed(0) | left(11))
      + (typical($set; $tool; $op; .cpu) | fixed(2) | left(9))
      + (typical($set; $tool; $op; .peak_kib / 1024?) | fixed(0) | left(6))
      + (if $bytes then
           typical($set; $tool; $op; .requests) / ($bytes / 1073741824)
         else null end | fixed(0) | left(11));
  def ratio($set; $op; $peer):
    typical($set; $peer; $op; .wall) as $theirs
    | typical($set; "fleetbak"; $op; .wall) as $ours
    | if $theirs and $ours then $theirs / $ours else null end;
  def share($set; $op):
    typical($set; "ceiling"; $op; .rate) as $most
    | typical($set; "fleetbak"; $op; .stored / 1048576 / .wall) as $ours
    | if $most and $ours then $ours / $most * 100 else null end;

($rows[0] | "\(.cpu), \(.processors) processors, load \(.load), \(.date)",
  "\(.versions)",
  "four images of \(.image_mib) MiB, \(.connections) connections each"),
(("images", "random") as $set
 | select(any($rows[]; .set == $set and .op != null))
 | "", "\($set): wall s, MiB/s of the source, MiB/s over the wire, cpu s, peak MiB, requests a GiB",
   (("up", "down") as $op
    | ("ceiling", "fleetbak", "restic", "rclone") as $tool
    | line($set; $op; $tool)),
   line($set; "verify"; "fleetbak"),
   (("up", "down") as $op
    | "  \($op): \(ratio($set; $op; "restic") | fixed(2)) times restic (target 2), "
      + "\(ratio($set; $op; "rclone") | fixed(2)) times rclone, "
      + "\(share($set; $op) | fixed(0)) % of the ceiling (target 90)")),
(if any($rows[]; .set == "history") then
   "", "history of \($rows[0].runs) runs of \($rows[0].machines) machines: wall s, cpu s, peak MiB, requests",
   ($rows[] | select(.set == "history")
    | "  " + (.op | pad(12)) + (.wall | fixed(2) | left(9))
      + (.cpu | fixed(2) | left(9)) + (.peak_kib / 1024 | fixed(0) | left(6))
      + (.requests | left(9)))
 else empty end)
