#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What importing says; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-CANIC-CHECKSUM", "a snapshot of canic's has another checksum",
	    "14",
	    "The files of a canister's snapshot are not those that canic's "
	    "manifest and download journal speak of. Nothing is imported. "
	    "While an import reads them it means that somebody changed them "
	    "in that moment: this canister fails.",
	    "A damaged disk; a file that was edited, added, removed or "
	    "renamed.",
	    "Import another copy of the directory." },
	{ "E-CANIC-ENTRY", "there is something in a snapshot that is no file",
	    "14",
	    "A symbolic link, a device, a fifo or a socket in the backup "
	    "directory, or a name that is not UTF-8. canic's checksum does "
	    "not cover what it is; it is neither followed nor imported.",
	    "A directory that was moved and linked back; an altered backup.",
	    "Import the directory as canic made it." },
	{ "E-CANIC-FORMAT", "a document of canic's is not as canic writes it",
	    "14",
	    "The manifest or the download journal breaks a rule that canic "
	    "has for it, or names a canister, role or path that is none. The "
	    "message says which. Nothing is imported.",
	    "A cut-off or edited file; a version of canic after those known.",
	    "Import another copy of the directory; fleetbak-import(1) says "
	    "which versions are known." },
	{ "E-CANIC-INCOMPLETE", "a backup of canic's is not complete", "14",
	    "Manifest or download journal is missing, or a canister's "
	    "snapshot is, or was not downloaded to the end. Nothing is "
	    "imported.",
	    "A backup that was cut off; another directory.",
	    "Let canic complete it, or import another one." },
	{ "E-CANIC-MISMATCH", "the documents of a backup of canic's disagree",
	    "14",
	    "Manifest and download journal are of different backups, or tell "
	    "different things of a canister. Nothing is imported.",
	    "A backup that was begun again in the same directory; an edited "
	    "file.",
	    "Import another copy of the directory." },
	{ "E-IMPORT-SOURCE", "a source has the name that imports use", "2",
	    "What is imported is of the source 'canic'. One of that name in "
	    "the configuration would be taken for it.",
	    "A source that was named after its system.",
	    "Give the source another name." },
	{ "E-IMPORT-WAITS", "a run of the fleet is to be ended first", "11",
	    "A run was cut off, or left a machine stopped. To end it takes "
	    "the sources of the fleet, which an import does not ask. Nothing "
	    "is imported.",
	    "A crash; a signal.",
	    "fleetbak download, or fleetbak recover, then import again." },
};

size_t
fb_explain_import(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
