#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What Morpheus brings with it; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-MORPHEUS-DIFFERS", "the appliance's own snapshot is another", "1",
	    "The snapshot that a backup was read from is still there, but its "
	    "bytes are not those of the backup. The machine was not reverted.",
	    "Somebody wrote to the snapshot's files on the hypervisor.",
	    "Restore with --target DIR, which gives the disks." },
	{ "E-MORPHEUS-EXPORT", "a snapshot cannot be read", "3 or 1",
	    "The snapshot was made, and names no path on the hypervisor that "
	    "could be read for one of the disks. It is removed again, and the "
	    "machine is up as it was.",
	    "A plugin of the datastore that exports nothing; a disk in Ceph "
	    "(rbd); a removable medium that is not known as one; a user of "
	    "ssh who is not root.",
	    "See to the datastore; name removable media in removable of the "
	    "source; be root on the hypervisor." },
	{ "E-MORPHEUS-FORMAT", "an image is of another format", "3 or 1",
	    "What an image holds is said by image_format of the source and "
	    "never guessed, because a guest can make a raw disk begin as any "
	    "other image. An image with a backing file, or with its data in "
	    "another file, is refused without being opened: the guest may "
	    "have named any file of the hypervisor.",
	    "A datastore of another kind than the source says, or one that "
	    "exports overlays.",
	    "Correct image_format of the source; have the datastore export "
	    "whole images." },
	{ "E-MORPHEUS-HOST", "a machine's hypervisor is not known",
	    "3 or 1",
	    "The bytes of a machine are read on its hypervisor by ssh, under "
	    "the name that the appliance gives it.",
	    "A server without a parent server; a name with characters that "
	    "are not letters, digits, '.', '_' or '-'.",
	    "Name the hypervisor so; say in ssh_config how it is reached." },
	{ "E-MORPHEUS-LIVE", "what is exported is not frozen", "3 or 1",
	    "The path that is to be the snapshot's is that of the live disk, "
	    "or somebody has it open to write to it, or it changed since the "
	    "snapshot was made. What was read of it is not used.",
	    "A plugin of the datastore that names the live disk; somebody who "
	    "wrote to the snapshot's files.",
	    "See to the datastore. There is no way to back it up all the "
	    "same." },
	{ "E-MORPHEUS-PROCESS", "the appliance made no snapshot", "3 or 1",
	    "The process that was to make it, or the snapshot itself, says "
	    "that it has failed. What there is of it is removed.",
	    "The message says.",
	    "See to the process on the appliance; run the command again." },
	{ "E-MORPHEUS-REVERT", "a machine was not reverted", "1",
	    "The appliance was told to go back to a snapshot, and says since "
	    "that the server has failed. The machine stays down.",
	    "The message, or the appliance's log, says.",
	    "See to the server on the appliance; go on with restore "
	    "--resume." },
};

size_t
fb_explain_morpheus(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
