#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What the commands for scripts bring with them; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-CHECKPOINT", "a journal there is not one of checkpoints", "14",
	    "The directory holds a journal that says something else than which "
	    "checkpoints there are. Nothing was changed.",
	    "The directory of something else; an altered file.",
	    "Choose another directory; fleetbak-checkpoint(1) describes the "
	    "files." },
	{ "E-CHECKPOINT-DATA", "the bytes of a checkpoint are not those kept",
	    "14",
	    "The file with the bytes is missing, or its size or SHA-256 is not "
	    "what the journal says. They are not given out.",
	    "A damaged disk; somebody who edited or removed the file.",
	    "fleetbak checkpoint list shows which others there are; load an "
	    "earlier one." },
	{ "E-CHECKPOINT-NONE", "there is no such checkpoint", "1",
	    "There is none yet, none of that number, or the work was completed "
	    "or cleared; the message says which.",
	    "A first run of a script.", "fleetbak checkpoint list DIR." },
	{ "E-CHECKPOINT-SIZE", "too many bytes for a checkpoint", "2",
	    "A checkpoint holds at most 64 MiB. Nothing was kept.",
	    "Data in place of where the work has got to.",
	    "Keep the data elsewhere, and its name in the checkpoint." },
	{ "E-SCRIPT-DIR", "a directory holds something else", "20",
	    "Checkpoints or a state were to be begun in a directory that has "
	    "no journal of theirs, and other files. Nothing was written there.",
	    "A wrong path.", "Choose a directory that is empty or new." },
	{ "E-STATE", "a journal there is not one of a state", "14",
	    "The directory holds a journal that says something else than "
	    "fleetbak state keeps. Nothing was changed.",
	    "The directory of something else; an altered file.",
	    "Choose another directory; fleetbak-state(1) describes the files." },
	{ "E-STATE-CHANGE", "what is to be kept is no change", "2",
	    "A change lacks a member, has one that is not known, or one of the "
	    "wrong kind; an entry is no JSON object or too long. Nothing of "
	    "this change was made.",
	    "A misspelling; an entry that is not JSON.",
	    "fleetbak-state(1) describes changes." },
	{ "E-STATE-EXISTS", "there is an entry of that id already", "1",
	    "Ids are unique among entries of one kind, and so are the ports "
	    "of the host. Nothing was changed.",
	    "A script that ran twice.",
	    "update it, or choose another id." },
	{ "E-STATE-NONE", "there is no entry of that id", "1",
	    "What is to be changed or shown is not there; or there is no state "
	    "at all in the directory.",
	    "A wrong kind or id.", "fleetbak state list DIR KIND." },
	{ "E-STATE-PENDING", "another operation is pending on the machine", "1",
	    "A machine has one pending operation; one of the same type would "
	    "replace it, another type is refused. Nothing was changed.",
	    "A script that died before it said done.",
	    "See what came of the pending one, then fleetbak state done DIR "
	    "MACHINE." },
};

size_t
fb_explain_script(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
