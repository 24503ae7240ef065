/* The errors of canisters and of the icp command. */
#include "explain_rows.h"
#include "fleetbak/base/mem.h"

static const struct fb_explanation rows[] = {
	{ "E-ICP-AMBIGUOUS", "it is not clear which snapshot is ours",
	    "3 or 1",
	    "Snapshots of canisters have no names. fleetbak writes down which "
	    "ones there are before it asks for another one; afterwards there "
	    "is not exactly one more. None of them is taken, and of those that "
	    "are not known as its own none is removed.",
	    "Somebody else made or removed a snapshot of the canister at the "
	    "same moment; an answer that was lost came about twice.",
	    "Look at icp canister snapshot list, remove by hand what nobody "
	    "needs, and run it again." },
	{ "E-ICP-ANSWER", "the icp command says what nobody understands",
	    "3 or 1",
	    "What it wrote is not the JSON that was asked for, is about "
	    "another canister, or is too long.",
	    "Another program of that name; another version; it was cut off.",
	    "Run the command of the message by hand; name another one: icp of "
	    "the source." },
	{ "E-ICP-CHECKSUM", "a snapshot is not the one it was", "3 or 1",
	    "The files of a snapshot have not the checksum that they had "
	    "after the download, or that the backup says. Nothing of them is "
	    "stored or uploaded.",
	    "Somebody changed the spool; a disk that is at fault; the platform "
	    "gave other bytes for the same snapshot.",
	    "Run it again; when it stays so, see to the disk of the spool." },
	{ "E-ICP-COMMAND", "the icp command cannot be started", "15 or 1",
	    "fleetbak asks the platform by the icp command, and there is none "
	    "that can be run.",
	    "It is not installed, not in PATH, or not executable.",
	    "Install it, or name it: icp of the source." },
	{ "E-ICP-CONTROLLER", "the identity may not see to a canister",
	    "16, 3 or 1",
	    "Only controllers of a canister may stop it, snapshot it, and know "
	    "whether it runs.",
	    "The default identity of the icp command; a canister that was "
	    "given away.",
	    "Name an identity that is a controller: identity of the source; "
	    "or make it one." },
	{ "E-ICP-EMPTY", "a canister is empty, or is not", "3 or 1",
	    "One without code has nothing to snapshot. And what is no machine "
	    "of the source is filled by a restore only when it is empty.",
	    "A canister whose code was never installed; a wrong id.",
	    "Leave it out of the selection; name one that is empty." },
	{ "E-ICP-FAILED", "the icp command has failed", "3, 15 or 1",
	    "It ended with another exit status than 0; what it said stands "
	    "in the message. What came of it was looked up.",
	    "The network; a canister that lacks cycles, or room for one more "
	    "snapshot.",
	    "Do what its words say, and run it again." },
	{ "E-ICP-FIXED", "a canister is restored as itself only", "20 or 1",
	    "Its identity is fixed: others know it by its id, and as another "
	    "one it would be wrong.",
	    "--as of a root, or of one that is listed in fixed.",
	    "Restore it --in-place." },
	{ "E-ICP-LEFT", "a restore may have left a snapshot", "0",
	    "A warning: the canister is whole, and a snapshot that was "
	    "uploaded for it, or half of one, may still be there. It takes one "
	    "of the few places that the canister has for them.",
	    "An upload whose answer was lost; a removal that failed.",
	    "Remove it by hand when it is nobody's." },
	{ "E-ICP-MODULE", "a restored canister has another module", "3 or 1",
	    "After the snapshot was loaded the platform says another module "
	    "hash than the backup. The canister stays stopped.",
	    "Somebody installed other code at the same moment; the backup's "
	    "definition is of another canister.",
	    "See to it; go on with restore --resume." },
	{ "E-ICP-REGISTRY", "the root does not say what its fleet is", "15",
	    "The fleet is what the root's registry says: principals, roles, "
	    "parents. The answer is none, or the root is down and has never "
	    "said it to this spool.",
	    "A canister that is no root of canic's; a root of a version "
	    "without canic_subnet_registry; a root that is stopped.",
	    "Name the right one: root_canister of the source; start it." },
	{ "E-ICP-RUNNING", "a canister is not stopped", "3 or 1",
	    "It is snapshotted and loaded only while it is stopped, and it is "
	    "not. It was not touched.",
	    "Somebody started it at the same moment.",
	    "Run it again." },
	{ "E-ICP-TIMEOUT", "the icp command took too long", "3 or 1",
	    "It did not end within its deadline and was killed, or the "
	    "canister did not become what it was asked to be. What came of it "
	    "is looked up before anything else.",
	    "A canister with calls under way does not stop; a network that is "
	    "slow.",
	    "Raise timeout, stop_timeout or transfer_timeout of the source." },
	{ "E-ICP-VERSION", "the icp command is of another version", "15 or 1",
	    "This driver speaks with 1.2.0 and later versions of the command, "
	    "below 2. Others may mean something else by the same words.",
	    "An old or a new one; another program of that name.",
	    "Install such a one, or name it: icp of the source." },
};

size_t
fb_explain_icp(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
