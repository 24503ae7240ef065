#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What the miosa driver brings with it; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-MIOSA-BROWSE", "a snapshot cannot be looked into", "3 or 1",
	    "Files are read of snapshots that MIOSA says are browsable, and "
	    "this one is not. The machine was not backed up.",
	    "A computer of a kind whose snapshots MIOSA does not unpack.",
	    "Choose another content of the source." },
	{ "E-MIOSA-CONTENT", "a computer has nothing that can be captured",
	    "3 or 1",
	    "What content says cannot be had of the family of paths that the "
	    "deployment serves, or nothing would be left of the backup.",
	    "content: files without the account's family; family: snapshots "
	    "without keep_snapshot.",
	    "See content, family and keep_snapshot in fleetbak.conf(5)." },
	{ "E-MIOSA-EXPORT", "an export is not the same a second time", "3 or 1",
	    "An export broke off, or did not say where it ends, and what came "
	    "the next time has another beginning or another end. Nothing of it "
	    "is used.",
	    "A deployment that makes each export anew.",
	    "Run the command again; use family: account with content: files "
	    "when it happens again." },
	{ "E-MIOSA-FAILED", "MIOSA could not make a snapshot", "3 or 1",
	    "The provider says that a snapshot failed, or has put it under "
	    "quarantine. It is removed, and the machine was not backed up.",
	    "The message says what the provider does.",
	    "Run the command again; see to the computer with the provider." },
	{ "E-MIOSA-FAMILY", "a deployment serves no snapshots", "15, 3 or 1",
	    "Neither the paths of checkpoints nor those of snapshots are "
	    "there.",
	    "A wrong url; a key that may not see them.",
	    "Correct url, or name the family of the source." },
	{ "E-MIOSA-GUEST", "files could not be unpacked in a guest", "1",
	    "The files of a restore were sent into the guest, and tar there "
	    "did not take all of them.",
	    "No tar; a user that is not root; no room.",
	    "Mend that in the guest; go on with restore --resume." },
	{ "E-MIOSA-IN-USE", "MIOSA does not remove a snapshot", "1",
	    "Something with the provider needs the snapshot, and it says what. "
	    "Nothing was removed.",
	    "A computer that was made of it; a name that somebody gave it.",
	    "See to that with the provider; then prune or recover again." },
	{ "E-MIOSA-LARGE", "a file is too large to be given", "3 or 1",
	    "MIOSA gives files of a snapshot up to 2 GiB each, and this one is "
	    "larger. A tree with a gap is not backed up in silence.",
	    "A data base, an image, a log in the tree.",
	    "Name other trees; move what is so large to a volume of its own." },
	{ "E-MIOSA-STATE", "a computer is not fit for it", "3 or 1",
	    "MIOSA says that it is in error, or it is not running and the "
	    "family of paths makes snapshots of running computers only.",
	    "A computer that failed, or was stopped.",
	    "See to it, or leave it out of the selection." },
	{ "E-MIOSA-TAR", "an archive of a snapshot cannot be used", "3 or 1",
	    "What came as the archive of a directory is damaged, ends too soon "
	    "or holds what is not of that directory. Nothing of it is used.",
	    "A connection that broke off; a deployment of another version.",
	    "Run the command again." },
	{ "E-MIOSA-TOKEN", "MIOSA does not keep a snapshot's name", "3 or 1",
	    "A snapshot was given a name and a comment, and has neither "
	    "afterwards: it would not be known as ours. It was removed.",
	    "A deployment of another version.",
	    "Name the family of the source." },
	{ "E-MIOSA-UNSEEN", "nothing shows that a restore was done", "1",
	    "MIOSA accepted it, and then neither the snapshot nor the computer "
	    "showed that anything happened. The machine stays down.",
	    "A provider that is slow or stuck.",
	    "See to the computer; restore --resume asks for it again." },
	{ "E-MIOSA-WARMING", "a snapshot is not unpacked yet", "3 or 1",
	    "MIOSA was still making the files of a snapshot readable after two "
	    "minutes. The snapshot is not the worse for it.",
	    "A large snapshot, a busy provider.",
	    "Run the command again: it goes on with the same snapshot." },
};

size_t
fb_explain_miosa(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
