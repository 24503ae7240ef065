#include "fleetbak/base/attr.h"
#include "explain_rows.h"

/* id, title, exit status, what it means, most often, try.  Sorted by id; a
 * new error id needs a row, here or in explain_table_*.c; then: tests/lint/errors.sh --write */
static const struct fb_explanation rows[] = {
	{ "E-BUDGET", "the time or transfer budget is used up", "21",
	    "A limit of time or of bytes was reached. What is done is kept; "
	    "the rest resumes.",
	    "The limit is smaller than a night's changes.",
	    "Run it again: it goes on where it stopped." },
	{ "E-BUG", "fleetbak contradicts itself", "1",
	    "An invariant of the program does not hold. It stopped rather than "
	    "write something wrong.",
	    "A mistake in fleetbak.",
	    "Keep the message (with -vv it says where it was raised) and the "
	    "state directory, and report it. fleetbak verify tells whether the "
	    "repository is whole." },
	{ "E-CANCELED", "stopped on request", "130 or 1",
	    "The work was stopped by a signal, or because something it "
	    "belonged to failed.",
	    "^C, a stopped service, a shutdown.",
	    "Run it again; a download goes on where it was." },
	{ "E-CATALOGUE", "the list of a tree's files is damaged", "14",
	    "The catalogue of a tree volume does not have the form of one, "
	    "though its bytes are those that were signed.",
	    "A mistake in the version that wrote it.",
	    "The volume itself is not affected: restore it whole. fleetbak "
	    "verify --full checks it." },
	{ "E-CFG-DUPLICATE", "a name or setting is given twice", "2",
	    "The same key or name stands twice in one place; the message names "
	    "both.",
	    "A copied block that was not renamed.",
	    "Remove or rename one of them, then fleetbak config check." },
	{ "E-CFG-FILE", "the configuration cannot be read", "2",
	    "There is no configuration at the place that was named, or at the "
	    "usual ones, or it cannot be read.",
	    "The option --config is missing; a wrong working directory; "
	    "permissions.",
	    "fleetbak config path; fleetbak help config shows a first "
	    "configuration." },
	{ "E-CFG-KEY", "unknown setting", "2",
	    "The configuration has a key that means nothing there. Nothing is "
	    "ever ignored in silence.",
	    "A misspelling: the nearest right name is in the message. A "
	    "setting of a newer version.",
	    "fleetbak.conf(5) lists every setting." },
	{ "E-CFG-MISSING", "a required setting is missing", "2",
	    "A setting without which the configuration makes no sense is not "
	    "there.",
	    "A section that was begun and not finished.",
	    "The message says what belongs there; see fleetbak.conf(5)." },
	{ "E-CFG-RANGE", "a value is too small, too large or too long", "2",
	    "The value has the right type and lies outside of what is allowed.",
	    "A number of jobs or a level beyond the limit; an empty list.",
	    "The message gives the limits." },
	{ "E-CFG-REFERENCE", 
	    "a setting names something that is not there", "2",
	    "A driver, repository, name or time zone that is named does not "
	    "exist, or is not allowed there.",
	    "A misspelling; a section that was renamed.",
	    "Compare the names, then fleetbak config check." },
	{ "E-CFG-SECRET", "a secret stands where its reference belongs", "2",
	    "Keys are never written into the configuration, only where they "
	    "are: file:PATH, env:NAME, cmd:WORDS, fd:N or cred:NAME. The value "
	    "is not shown.",
	    "A key or password that was pasted.",
	    "Put it into a file with mode 0600 and write file:PATH. If the "
	    "configuration was shared, change the secret." },
	{ "E-CFG-SYNTAX", "the file is not valid YAML", "2",
	    "The text cannot be read as YAML; the message gives line and "
	    "column.",
	    "A tab instead of spaces, a missing bracket or quote.",
	    "Look at the line, and at the one before it." },
	{ "E-CFG-TYPE", "a value has the wrong type", "2",
	    "A list stands where one value belongs, or a word where a number "
	    "belongs. Values are read by the type of the setting and never "
	    "guessed.",
	    "A forgotten dash, a unit after a plain number.",
	    "The message says what belongs there." },
	{ "E-CFG-UNIT", "a span or size has no unit, or an unclear one", "2",
	    "Spans need a unit: 30s, 5min, 26h, 7d, 2w, 1mo, 1y. A bare m "
	    "could be minutes or months, a bare K could be 1000 or 1024.",
	    "30 instead of 30s; 5m instead of 5min.",
	    "Write the unit in full." },
	{ "E-CHANGE-MAP", "a change map is wrong or cannot be had", "-",
	    "The command 'changed' of a volume or the checkpoint of a guest "
	    "failed, or did not name bytes that have changed. The volume was "
	    "read as a whole: the backup is right.",
	    "A map that was lost at a restart, or belongs to another disk; a "
	    "QEMU that was killed; a checkpoint that somebody deleted; a write "
	    "that went past it; a mistake in the script.",
	    "Once it costs a full read. When it comes again: run the command by "
	    "hand in the machine's directory; for a guest, look at what writes "
	    "to its image behind QEMU, or set 'changes: none'." },
	{ "E-CHILD-ALIVE", "a command of an earlier run still lives", "11",
	    "A command that an earlier run started (a machine's start or stop) "
	    "has not ended. Going on could act on a machine twice.",
	    "A hanging start or stop command.",
	    "ps shows it; wait with --lock-wait 5min, or end it, and run "
	    "again." },
	{ "E-CHUNK", "a piece of stored data is damaged", "14",
	    "A chunk inside a pack does not open, or does not have the content "
	    "that its id promises.",
	    "A failing disk, a truncated or altered file.",
	    "fleetbak verify --full names what it harms and the newest whole "
	    "backup. Bring the pack back from a copy of the repository." },
	{ "E-CLOCK", "a run is later than the clock", "0",
	    "The newest run says that it was made later than it is now here. "
	    "One of the two clocks was wrong. Runs are still in order, because "
	    "a run is numbered after those it follows; how old a backup from "
	    "the future is cannot be told, so status counts it as too old.",
	    "A clock that was set wrong when the run was made, or is now; a "
	    "machine that came up before it knew the time.",
	    "date -u shows the clock of this host. When it is right, make a "
	    "new backup: fleetbak download." },
	{ "E-CMD-ARGS", "wrong arguments for this command", "2",
	    "The command was given an argument it does not take, or too few.",
	    "A misspelled word; a forgotten option before a value.",
	    "fleetbak help COMMAND shows how it is used." },
	{ "E-CMD-UNKNOWN", "there is no such command", "2",
	    "The first argument is not the name of a command or topic.",
	    "A misspelling; commands are never abbreviated.",
	    "fleetbak -h lists the commands." },
	{ "E-COMMAND", "a machine's command failed", "3, or 1 or 15 alone",
	    "The start or stop command of a machine ended with another status "
	    "than 0, was ended by a signal, or took too long. The end of its "
	    "output is in the message.",
	    "A service that does not stop; a mistake in the script.",
	    "Run the command by hand in the machine's directory; raise "
	    "stop_timeout or start_timeout." },
	{ "E-CONFIRM", "a confirmation is missing", "20",
	    "What was asked for replaces data, and nobody confirmed it. "
	    "Without a terminal fleetbak never waits for an answer.",
	    "A restore in place from a script.",
	    "Look at it with -n first, then give --yes." },
	{ "E-CONFLICT", "something is in another state than it must be", "1",
	    "The object is not in the state that the step needs, so the step "
	    "was not taken.",
	    "Somebody else works on the same machine or repository.",
	    "Look at the message, settle who works on it, and run again." },
	{ "E-CUT-OFF", 
	    "the run ended before this machine was copied", "3, or 1 alone",
	    "An earlier run was cut off, and was too old or too different to "
	    "be continued. What it had captured was committed as a partial "
	    "run; this machine was not in it.",
	    "The host was down for hours after a crash.",
	    "Nothing: the new run has taken every machine again." },
	{ "E-DAMAGED", "stored bytes are not what they should be", "14",
	    "Something that was read contradicts its format, its length or its "
	    "digest.",
	    "A failing disk, a truncated copy, an altered file.",
	    "fleetbak verify names what is harmed and the newest whole backup." },
	{ "E-DENIED", "permission or credential refused", "16",
	    "The operating system or a service refused access.",
	    "Not run as the user that owns the files; a missing group.",
	    "Run it as the right user, or change the permissions of the object "
	    "in the message." },
	{ "E-DOWNTIME", 
	    "a machine would be, or was, down too long", "20 or 15",
	    "download.max_downtime was reached, or the plan says that it would "
	    "be. The machine was started again and its capture failed; the "
	    "others went on.",
	    "A volume that has to be read while the machine is stopped; a slow "
	    "stop command.",
	    "fleetbak download -n shows the time each machine needs. Move the "
	    "volume to a file system with reflinks or btrfs, or raise "
	    "max_downtime." },
	{ "E-DRIFT", "the fleet changed while it was being backed up", "19",
	    "The machines are not those that were planned. Before the first "
	    "effect the run stops with nothing touched; later only the "
	    "machines that changed fail.",
	    "Somebody works on the fleet meanwhile.",
	    "Run it again." },
	{ "E-ENV-UNKNOWN", "a FLEETBAK_ variable means nothing", "0",
	    "A variable that begins with FLEETBAK_ belongs to no setting. It "
	    "was ignored, and a setting you wanted may be missing.",
	    "A misspelling.",
	    "fleetbak.conf(5) has the variable of each setting." },
	{ "E-EXISTS", "it exists already", "1",
	    "Something that should be made is there.",
	    "A leftover, or two programs at once.",
	    "Look at the object in the message." },
	{ "E-EXPLAIN-UNKNOWN", "there is no such error id", "2",
	    "explain was asked about something that is no error id and no exit "
	    "status.",
	    "A misspelling.",
	    "fleetbak explain lists all of them." },
	{ "E-FAILED", "a step was tried and did not succeed", "3, or 1 alone",
	    "A command or effect ended with a failure; the end of its output "
	    "is in the message.",
	    "A start or stop command that exits with another status than 0.",
	    "Run the command by hand in the machine's directory." },
	{ "E-FENCED", "somebody else closed this run", "1",
	    "The run's place in the repository was taken by a fence: another "
	    "worker took it for dead and closed it. Nothing of it became "
	    "visible.",
	    "Two hosts with the same state directory.",
	    "Run it again." },
	{ "E-FILE-CHANGED", "files changed, or could not be read", "3",
	    "A file changed, grew or vanished while its volume was read, or it "
	    "could not be read: a warning says which. The content of the first "
	    "may be of two moments, the second is not in the backup.",
	    "Something that is not stopped with the machine writes there; a "
	    "damaged file system, or no right to read.",
	    "make it readable, exclude the path, stop the writer too, or put "
	    "the volume on a file system that can snapshot." },
	{ "E-FLEET-SIZE", "the fleet has too many machines", "2",
	    "One fleet holds at most 25000 machines with 75000 volumes, so "
	    "that a run stays within 256 MiB of memory. Nothing was touched.",
	    "A fleet that has grown; a source that lists what is not meant.",
	    "Divide the sources among several fleets, each with a "
	    "configuration and a state_dir of its own; they may share a "
	    "repository." },
	{ "E-FORGET-PART", "a run is given up as a whole", "2",
	    "MACHINE@RUN was to be forgotten, and the run has other machines "
	    "as well.",
	    "Only one machine's backup is wanted no more.",
	    "fleetbak forget RUN gives up all of them; the retention policy of "
	    "a group keeps less of a machine." },
	{ "E-FORGOTTEN", "the run is given up for good", "20",
	    "After its grace a prune gave the run up for good; what only it "
	    "needed is deleted, or will be.",
	    "The undo or the hold came too late.",
	    "Raise retention.grace, and hold what must not go." },
	{ "E-FORMAT-CHUNKS", "the repository's format makes no sense", "14",
	    "The chunk sizes in format/1.json are outside of what the format "
	    "allows.",
	    "A damaged or forged repository.",
	    "Bring format/1.json back from a copy." },
	{ "E-GC-DAMAGE", "nothing is deleted while a run cannot be read", "14",
	    "What a run needs stands in its register and its checksums. One of "
	    "them is missing or damaged, so it is not known what may go.",
	    "A damaged disk; somebody removed objects by hand.",
	    "fleetbak verify --structure names it. Put the object back from a "
	    "copy, or fleetbak forget the run." },
	{ "E-GC-SET", "what is to be deleted is not what a prune decided",
	    "0, 14",
	    "gc/current names a set that counts a run as given up which nobody "
	    "signed away: nothing of it was deleted. Or one that held what a "
	    "run needs: that was taken out of it, and prune went on.",
	    "Somebody who can write to the repository made it; a signer whose "
	    "forgets counted is not trusted any more; a list of the store that "
	    "lagged until the set was fixed; a copy that was given up and "
	    "committed all the same.",
	    "fleetbak verify, and find out who, or which server lags. Trust "
	    "that signer again, or remove gc/current when no command runs, and "
	    "prune again." },
	{ "E-HALF-RESTORED", "a machine is half restored and kept down",
	    "0, 3, 20",
	    "A restore in place was cut off. What the machine holds is neither "
	    "the old nor the new state, so it is neither started nor backed "
	    "up.",
	    "A restore that was interrupted, or failed in the middle.",
	    "fleetbak restore --resume ID finishes it." },
	{ "E-HELD", "the run is held", "20",
	    "Somebody asked for this run to be kept whatever happens.",
	    "fleetbak hold was used on it.",
	    "fleetbak hold shows by when and why; fleetbak hold --remove RUN." },
	{ "E-INIT-RACE", "another init was faster", "11",
	    "Two were started in one place; a key file that this one was about "
	    "to make is there now.  Nothing was overwritten.",
	    "A script that runs init on several hosts, or twice.",
	    "Run it again when the other is over: it goes on with what is "
	    "there." },
	{ "E-INTERRUPTED", "the run was interrupted", "130, 143",
	    "A signal ended the run. Machines it had stopped are up again; "
	    "what was copied is kept.",
	    "^C, a stopped service, a shutdown.",
	    "fleetbak download goes on with it, or fleetbak download --resume "
	    "RUN." },
	{ "E-JOURNAL", "a journal is damaged", "14",
	    "The journal of a run or restore has a record that does not fit, "
	    "not at its end. A torn last record is normal after a crash and is "
	    "cut; this is not that.",
	    "A failing disk, a file that was edited.",
	    "Nothing was changed. Look at the machines it names (fleetbak- "
	    "journal(5)), set the directory aside, and run again." },
	{ "E-KEY", "a key does not fit or cannot be read", "12",
	    "A signing or verifying key is not readable, or not an Ed25519 key "
	    "in PEM.",
	    "A wrong path, a key of another kind.",
	    "fleetbak keys check names it." },
	{ "E-KEY-MISMATCH", 
	    "the signing key is not among the trusted signers", "12 or 13",
	    "What would be signed here would not be trusted here; or there is "
	    "a public key whose private half is missing.",
	    "A key that was replaced in one place only.",
	    "Bring the right key back, or name its public half in "
	    "trusted_signers." },
	{ "E-KEY-MODE", "others can read the secret key", "12",
	    "A file with a secret may be read by its group or by everybody, so "
	    "it is refused.",
	    "A key copied without its permissions.",
	    "chmod 600 FILE" },
	{ "E-KEY-NONE", "this host cannot sign", "12",
	    "The repository has no sign_with, and a backup must be signed.",
	    "A configuration made for restoring only.",
	    "Add sign_with, and the public half to trusted_signers." },
	{ "E-KEY-TRUST", "no signer is trusted", "12",
	    "Without trusted_signers nothing in a repository could be "
	    "believed.",
	    "A configuration that is not finished.",
	    "Add the public key of the host that makes the backups." },
	{ "E-LIBCURL", "what speaks HTTP is not there", "1",
	    "libcurl is loaded when something has to be fetched or sent; a "
	    "repository in a directory needs none of it.",
	    "A small machine on which it was never installed.",
	    "Install it (Debian: libcurl4)." },
	{ "E-LOCKED", "somebody else holds the lock", "11",
	    "Another fleetbak works with this state directory; the message "
	    "says which, and since when.",
	    "Last night's run still works.",
	    "Wait for it: --lock-wait 30min." },
	{ "E-MACHINE-GONE", 
	    "a machine vanished during the run", "3, or 1 alone",
	    "It was there when the run began and is not any more.",
	    "It was deleted or renamed.",
	    "If it was renamed, nothing: the next run has the new name." },
	{ "E-MANIFEST-RULE", "a manifest breaks a rule", "14",
	    "The record of a run does not obey the rule that the message "
	    "names, though it may be signed.",
	    "Damage, or a mistake in the version that wrote it.",
	    "fleetbak verify names the newest whole run." },
	{ "E-NAME", "a name has letters that are not allowed", "2",
	    "Ids and names have 1 to 128 letters A-Z a-z 0-9 . _ - and begin "
	    "with a letter, a digit or _.",
	    "A blank, a slash or an umlaut in an id.",
	    "Rename it." },
	{ "E-NO-REPO", "there is no repository there", "10",
	    "The store is there and holds no repository.",
	    "A wrong path; a disk that is not mounted.",
	    "Check the url; fleetbak init makes a new one." },
	{ "E-NO-SPACE", "no space left", "17",
	    "A disk or quota is full.",
	    "The repository, or the state directory's spool, has outgrown its "
	    "disk.",
	    "Make room and run again: it goes on where it stopped." },
	{ "E-NOT-FOUND", "it is not there", "1",
	    "Something that is needed does not exist.",
	    "A wrong path; something that was removed.",
	    "Look at the object in the message." },
	{ "E-NOT-HELD", "the run is not held", "1",
	    "There is no hold to remove.",
	    "It was removed already; another run was meant.",
	    "fleetbak hold shows what is held." },
	{ "E-NOT-PENDING", "the run is not to be given up", "1",
	    "There is nothing to undo: the run is there and stays.",
	    "It was undone already; another run was meant.",
	    "fleetbak list runs shows which runs are pending." },
	{ "E-NOTIFY", "somebody could not be told", "1",
	    "fleetbak notify tried three times; the warning says whom it "
	    "could not reach, and why. Other commands say so in a warning and "
	    "end as they would have.",
	    "A program that fails, a server that is down.",
	    "Look at the entry under notify in the configuration." },
	{ "E-NOTIFY-URL", "what is to be a URL is none", "2",
	    "The reference under notify names something that does not begin "
	    "with https:// or http://.",
	    "A file that holds something else.",
	    "Put the URL on the first line of what the reference names." },
	{ "E-OK", "no error", "0",
	    "Everything is as it should be.",
	    "See the message.",
	    "Nothing." },
	{ "E-OPT-HERE", "an option does not belong there", "2",
	    "The option exists, but not for this command, or not together with "
	    "the others.",
	    "An option of another command.",
	    "fleetbak help COMMAND lists its options." },
	{ "E-OPT-TWICE", "options contradict each other", "2",
	    "An option that has one value was given twice, or two options say "
	    "different things.",
	    "A wrapper script that adds one.",
	    "Give it once." },
	{ "E-OPT-UNKNOWN", "there is no such option", "2",
	    "The option does not exist. Options are never abbreviated.",
	    "A misspelling: the nearest one is in the message.",
	    "fleetbak help COMMAND lists its options." },
	{ "E-OPT-VALUE", "the value of an option is wrong", "2",
	    "It is missing, empty, or not of the kind the option takes.",
	    "A forgotten unit or value.",
	    "The message says what is allowed." },
	{ "E-OWED", "a machine that we stopped is still down", "3, 20",
	    "An earlier run stopped the machine and could not start it again. "
	    "It is not backed up as one that is meant to be down: it fails, so "
	    "that nobody takes the night for a good one.",
	    "Its start command fails, or it was owed for longer than "
	    "max_obligation_age.",
	    "Look at the machine, then: fleetbak recover (--force for an old "
	    "obligation)." },
	{ "E-PACK-NAME", "a pack is damaged", "14",
	    "The bytes of a pack do not have the digest it is named after.",
	    "A failing disk, a truncated copy.",
	    "fleetbak verify names what it harms. Bring the file back from a "
	    "copy of the repository." },
	{ "E-PACK-TABLE", "the table of a pack is damaged", "14",
	    "The list of chunks at the end of a pack is not in its place, or "
	    "not the one that was written.",
	    "A truncated or altered file.",
	    "Bring the pack back from a copy of the repository." },
	{ "E-PATH", "a path leads outside", "2",
	    "A path that must stay inside is absolute, empty, or has a part "
	    "that is . or ..",
	    "A path copied from somewhere else.",
	    "Write it without these parts." },
	{ "E-PENDING", "it goes on", "1",
	    "A verb has not ended yet. A user should never see this.",
	    "A mistake in fleetbak.",
	    "Report it." },
	{ "E-PLAN-STALE", "the plan is not valid any more", "19",
	    "What would be done now is not what the plan with this id said.",
	    "Machines were started, stopped or changed; another run came "
	    "between.",
	    "fleetbak download -n makes a new plan." },
	{ "E-POWER-CHANGED", "a machine came up meanwhile", "3, or 1 alone",
	    "It was down when the run was planned and is up now, so its "
	    "content would not be of one moment.",
	    "Somebody started it.",
	    "Run it again." },
	{ "E-POWER-UNKNOWN", 
	    "a machine does not say whether it is up", "3, or 1 alone",
	    "Its status command ended with neither 0 (up) nor 3 (down). What "
	    "is not known is not touched.",
	    "A mistake in the status command, a service in a failed state.",
	    "Run the status command by hand in the machine's directory; echo "
	    "$?" },
	{ "E-PROTOCOL", "the other side broke its own contract", "1",
	    "A command or service answered in a form that it should not.",
	    "Output that is too long; another version.",
	    "Look at the message; run the command by hand." },
	{ "E-PRUNE-LIMIT", "too much would go at a time", "20",
	    "The policy would give up more of all snapshots than "
	    "retention.max_remove allows. Nothing was changed.",
	    "The policy was made shorter; prune did not run for long; a clock "
	    "that is wrong.",
	    "fleetbak prune -n --explain; then --max-remove P% or --force." },
	{ "E-RECIPE", "a recipe is damaged", "14",
	    "The list of chunks that makes a volume is not what was signed, or "
	    "does not fit its packs.",
	    "A failing disk, a truncated copy.",
	    "fleetbak verify names what it harms and the newest whole backup." },
	{ "E-REFUSED", "a safety limit stopped it", "20",
	    "What was asked for is possible and was not done, because it might "
	    "destroy something.",
	    "See the message.",
	    "The message names the option that allows it." },
	{ "E-REPO-FOREIGN", "the store holds something else", "20",
	    "A repository is only made in an empty place.",
	    "A wrong url.",
	    "Choose an empty directory." },
	{ "E-REPO-NAME", "there is no repository of that name", "2",
	    "--repo names a repository that the configuration does not have.",
	    "A misspelling.",
	    "fleetbak config show lists them." },
	{ "E-RETRY", "it may work later", "15",
	    "A passing trouble; it was tried several times.",
	    "A busy or restarting service.",
	    "Run it again." },
	{ "E-ROLLBACK", 
	    "runs are missing: the repository was rolled back", "13",
	    "A run that was seen before, or that a newer one names as its "
	    "predecessor, is gone without a signed record.",
	    "Somebody removed runs, or put an older copy of the repository "
	    "back.",
	    "Find out who did. If it was meant, restore --allow-rollback and "
	    "download --allow-rollback go on with what is there." },
	{ "E-ROOT", "chunks do not make the volume", "14",
	    "All the pieces are there and do not make the content that was "
	    "recorded.",
	    "Damage, or a mistake in fleetbak.",
	    "fleetbak verify --full; report it." },
	{ "E-RST-AMBIGUOUS", 
	    "several sources have a machine of that name", "2",
	    "The run has machines with this id from more than one source.",
	    "See the message.",
	    "Write SOURCE/MACHINE." },
	{ "E-RST-DEFINITION", 
	    "the machine cannot be made from this backup", "1",
	    "The machine is not there, and the backup holds no definition it "
	    "could be made from.",
	    "Only some of its volumes were captured.",
	    "Restore its volumes with --target DIR." },
	{ "E-RST-EXISTS", "the target exists already", "20",
	    "Nothing is ever restored over an existing directory or machine, "
	    "except in place.",
	    "An earlier attempt.",
	    "Choose another name, or remove it yourself." },
	{ "E-RST-FAILED", 
	    "there is no backup of the machine in that run", "2",
	    "The machine failed in the run that was named.",
	    "A partial run.",
	    "fleetbak list MACHINE shows its backups; MACHINE@latest is the "
	    "newest good one." },
	{ "E-RST-MACHINE", "no run has that machine", "2",
	    "The name is not in the manifests.",
	    "A misspelling; another fleet's configuration.",
	    "fleetbak list machines shows them." },
	{ "E-RST-PATH", "the backup has no such path", "2",
	    "The catalogue of the tree does not have it.",
	    "A leading slash; a path as seen inside the machine rather than "
	    "inside the volume.",
	    "fleetbak show MACHINE --files 'GLOB' lists them." },
	{ "E-RST-POWER", "a machine does not say whether it is up", "1",
	    "What is not surely down is not overwritten. (A machine without "
	    "commands is: the plan of the restore says so.)",
	    "A mistake in its status command.",
	    "Run the status command by hand; echo $?" },
	{ "E-RST-RESUME", "there is no such unfinished restore", "2",
	    "The id is not that of a restore that was cut off here.",
	    "It was finished; another state directory.",
	    "fleetbak status lists them." },
	{ "E-RST-ROOT", "what was restored is not what was signed", "14",
	    "The content does not have the digest that the manifest records.",
	    "Damage, or a target that changed meanwhile.",
	    "fleetbak verify --full MACHINE@RUN; restore from another run." },
	{ "E-RST-RUN", "there is no such run", "2",
	    "The repository has no run with this id of this fleet.",
	    "A misspelling.",
	    "fleetbak list runs shows them." },
	{ "E-RST-SMALL", "the target is too small", "17",
	    "The device or file has less room than the disk needs.",
	    "Another, smaller device.",
	    "Choose a larger one." },
	{ "E-RST-SOURCE", "the machine's source is not there", "2",
	    "The configuration has no source of that name.",
	    "A new configuration after a loss.",
	    "Add the source, or restore into a directory with --target DIR." },
	{ "E-RST-SPACE", "not enough space for the restore", "17",
	    "It was looked at before anything was written.",
	    "See the message.",
	    "Make room, or choose another --target." },
	{ "E-RST-VOLUME", "there is no such volume", "2",
	    "The backup of the machine has no volume of that name, or it must "
	    "be said which one; or two of its volumes would be one file.",
	    "A misspelling; removable media, which are never captured.",
	    "fleetbak show MACHINE lists its volumes." },
	{ "E-RUN-NONE", "there is no such run", "1",
	    "The repository has no committed run with this id.",
	    "A misspelling; a run that was cut off before its end.",
	    "fleetbak list runs shows them." },
	{ "E-RUN-UNKNOWN", "there is no such run", "2 or 1",
	    "The id is not that of a run, or no run of this fleet has it.",
	    "A misspelling.",
	    "fleetbak list runs shows them." },
	{ "E-SECRET-REF", "a reference to a secret is wrong", "2",
	    "It must be file:PATH, env:NAME, cmd:WORDS, fd:N or cred:NAME.",
	    "A path without file: before it.",
	    "See fleetbak.conf(5)." },
	{ "E-SEL-AMBIGUOUS", "a name means several machines", "2",
	    "Machines of several sources have this name.",
	    "See the message.",
	    "Write SOURCE/MACHINE." },
	{ "E-SEL-NONE", "no machine matches", "2",
	    "A term of the selection matches no machine. Nothing is left out "
	    "in silence.",
	    "A misspelling: the nearest names are in the message.",
	    "fleetbak discover lists the machines; fleetbak help selectors." },
	{ "E-SEL-SYNTAX", "a selection cannot be read", "2",
	    "The expression is not well formed.",
	    "An empty term, a comma too many.",
	    "fleetbak help selectors" },
	{ "E-SESSIONS-OPEN", "a session may still need what is to go", "11",
	    "A backup, restore or verification began before and has not ended. "
	    "What is to be deleted waits for it; new ones do not use it any "
	    "more.",
	    "A backup that is going on, or was cut off and not continued; a "
	    "command that was killed.",
	    "Run fleetbak prune again when it has ended. A restore, "
	    "verification or copy that was killed is ended by a prune on its "
	    "own host. If that host is lost, fleetbak prune --fence and the "
	    "session's id; by itself it is fenced off after 7 days, or after "
	    "--fence-after." },
	{ "E-SIGNATURE", "a signature is missing or wrong", "13",
	    "No trusted key made the signature over these bytes.",
	    "Another host's key that is not in trusted_signers; an altered "
	    "file.",
	    "fleetbak keys list. If the signer is yours, add its public key. "
	    "If not, somebody changed the repository." },
	{ "E-SNAPSHOT", "a volume could not be snapshotted", "3, or 1 alone",
	    "The file system refused a clone of the volume, although it can "
	    "make clones.",
	    "A swap file, an immutable file, or one with copy-on-write "
	    "switched off.",
	    "lsattr FILE; see the message." },
	{ "E-SNAPSHOT-UNKNOWN", 
	    "there is no good backup of that machine", "1",
	    "The machine is known and no run, or not that one, holds a good "
	    "backup of it.",
	    "It failed every time so far.",
	    "fleetbak list MACHINE; fleetbak status says why it failed." },
	{ "E-SPACE", "the repository has too little space", "17",
	    "The free space was looked at before the first machine was "
	    "stopped, and is less than may be needed.",
	    "A disk that filled up.",
	    "Make room, or choose fewer machines." },
	{ "E-SPOOL", "the spool of a run is damaged", "14",
	    "What a cut-off run had prepared in the state directory is not "
	    "what its journal says.",
	    "The directory was cleaned or edited.",
	    "Nothing: the run is given up, and the next one, which begins at "
	    "once, takes everything again." },
	{ "E-SRC-DENIED", "a source refuses access", "16 or 3",
	    "The place where the machines are may not be read.",
	    "Not run as the right user.",
	    "Run it as the user who may, or change the permissions." },
	{ "E-SRC-UNREACHABLE", "a source cannot be asked", "15 or 3",
	    "The source did not answer, or its directory is not there. Its "
	    "machines fail, the others go on.",
	    "A disk that is not mounted, a host that is down.",
	    "fleetbak discover shows whether it is back." },
	{ "E-STALE", "the world changed since the plan was made", "19",
	    "What was planned does not hold any more.",
	    "Another run came between.",
	    "Plan again." },
	{ "E-STDOUT", "the answer could not be written", "1",
	    "Standard output is closed or its disk is full. The work itself "
	    "may be done.",
	    "A full disk, a reader that went away.",
	    "Run it again with its output elsewhere." },
	{ "E-STORE-KEY", "an object's name is not allowed", "14 or 1",
	    "The store holds, or was asked for, a name that is not one of the "
	    "repository's.",
	    "A file somebody put there.",
	    "Look at the object in the message." },
	{ "E-STORE-URL", "the address of a repository is wrong", "2",
	    "It is not a form that any store understands.",
	    "A missing file: before a path.",
	    "url: \"file:/path\"; see fleetbak.conf(5)." },
	{ "E-SYSTEM", "the operating system refused something", "1",
	    "A system call failed; the reason is at the end of the message.",
	    "An I/O error, a limit.",
	    "Look at dmesg and at the object in the message." },
	{ "E-TOO-NEW", "the format is newer than this program", "18",
	    "Something was written by a newer version of fleetbak. Nothing was "
	    "changed.",
	    "An old program on one of several hosts.",
	    "Update fleetbak here." },
	{ "E-TOPO-CYCLE", 
	    "machines are each other's parents", "3, or 2 alone",
	    "Following the parents of the machine leads back to it.",
	    "A mistake in machine.yaml.",
	    "Correct parent." },
	{ "E-TOPO-DUPLICATE", "two machines have one id", "3, or 2 alone",
	    "Within a source an id belongs to one machine. Neither is touched, "
	    "because it cannot be told which is meant.",
	    "A copied machine directory.",
	    "Change the id of the copy." },
	{ "E-TOPO-PARENT", "a machine's parent is not there", "3, or 2 alone",
	    "parent names a machine that its source does not have.",
	    "A misspelling; the parent was removed.",
	    "Correct parent." },
	{ "E-TREE-ESCAPE", "an archive member leads outside", "14",
	    "A member of a tree's archive, or a volume whose path leads through "
	    "a link in one, would be written outside of the target. It was "
	    "refused, and nothing was written there.",
	    "A forged archive; a target that contains symbolic links made "
	    "meanwhile.",
	    "Find out who made the backup." },
	{ "E-UNIT-OVERLAP", "a machine is in two units", "2",
	    "Each machine shares its quiescence window with one unit only.",
	    "A label and a subtree that overlap.",
	    "Change units in the configuration." },
	{ "E-UNKNOWN-OUTCOME", 
	    "it is not known whether it happened", "1 or 3",
	    "An effect was begun and its end was not seen. It is looked for "
	    "before anything is done again.",
	    "A crash or timeout in the middle of an effect.",
	    "Run it again." },
	{ "E-UNREACHABLE", "it cannot be reached", "15",
	    "A source or repository does not answer.",
	    "Network, or a disk that is not mounted.",
	    "Run it again when it is back." },
	{ "E-UNSUPPORTED", "that cannot be done here", "1",
	    "The driver or store cannot do this.",
	    "A file system without the needed feature.",
	    "The message says what is missing." },
	{ "E-UNTRUSTED", "it is not authentic", "13",
	    "A signature is missing, wrong, of an unknown signer, or older "
	    "than what was seen before.",
	    "See E-SIGNATURE and E-ROLLBACK.",
	    "fleetbak verify --signatures" },
	{ "E-USAGE", "wrong option, configuration or selector", "2",
	    "Something that you gave is wrong; nothing was touched.",
	    "See the message.",
	    "fleetbak help COMMAND" },
	{ "E-VERIFY-RUNS", "two runs at once", "2",
	    "verify looks at one run, or at all of them.",
	    "See the message.",
	    "Verify them one after the other, or all." },
};

size_t
fb_explain_general(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
