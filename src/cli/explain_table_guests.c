#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What the guests of a hypervisor bring with them; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-DISK-LEFT-OUT", "a disk of a guest cannot be captured", "3, or 1 alone",
	    "The message says which, and why: it is passed through, shared, "
	    "read-only, on the network while it is off, or cannot be looked at. "
	    "Its source has uncaptured: refuse, so that the whole guest is not "
	    "backed up.",
	    "A disk that was attached lately.",
	    "Back that disk up from inside the guest, and set uncaptured: note." },
	{ "E-DISK-LIVE-ONLY", "a stop would take a disk from a guest",
	    "3, or 1 alone",
	    "The guest runs with a disk, or with an image of a disk, that its "
	    "definition does not name: stopped and started, it would be "
	    "without it. It is neither stopped nor captured.",
	    "virsh attach-disk without --config; an image that was moved while "
	    "the guest ran.",
	    "Put it into the definition (virsh attach-disk --config), or set "
	    "capture: live for its source." },
	{ "E-DOMAIN-BUSY", "something else is under way on a guest", "11, 3 or 1",
	    "A migration, a backup or another job of somebody else's runs on "
	    "the guest or on one of its disks, or another run of fleetbak is "
	    "at work on it. It is left alone, and the guest is not captured: "
	    "it was started again if it was stopped.",
	    "Another backup program; a migration; virsh blockcopy.",
	    "virsh domjobinfo and virsh blockjob show the job. Run it again "
	    "when it has ended." },
	{ "E-DOMAIN-SAVED", "a guest's memory was saved to disk", "3, or 1 alone",
	    "The guest is off, but will go on where it was: its disks are in "
	    "the middle of something, and without its memory they are not "
	    "worth a backup. Nor may others be put under that memory by a "
	    "restore.",
	    "virsh managedsave; a host that saves its guests when it shuts "
	    "down.",
	    "Start the guest, or give its memory up with virsh "
	    "managedsave-remove." },
	{ "E-DRIVER-ABSENT", "a driver's libraries are not there", "1 or 3",
	    "Guests of libvirt are read through libvirt and libnbd, which were "
	    "missing when fleetbak was built, or are now.",
	    "A build without libvirt-dev, libnbd-dev or libxml2-dev.",
	    "Install libvirt0 and libnbd0; build fleetbak again where the "
	    "message says so." },
	{ "E-EXPORT", "a snapshot of a guest does not stand still",
	    "3, or 1 alone",
	    "A guest is read from a place where its disks are as they were at "
	    "one moment. Something wrote there meanwhile, samples of it are "
	    "not what they were, or it is not as long as the disk: what was "
	    "read is given up.",
	    "Somebody who writes to an image below an overlay, or deletes a "
	    "checkpoint or a bitmap in it.",
	    "See who does that; then download again." },
	{ "E-FREEZE", "a guest's file systems were not frozen",
	    "0 (a warning); 3, or 1 alone with freeze: require",
	    "A guest that is captured without being stopped has its file "
	    "systems frozen by its agent for that moment. This one's were not: "
	    "its backup counts as one of a machine that ran (level crash), or, "
	    "with freeze: require, there is none. What was frozen meanwhile is "
	    "thawed.",
	    "No qemu-guest-agent, or one that hangs; a freeze hook of the "
	    "guest's that takes longer than freeze_timeout; somebody else's "
	    "freeze.",
	    "Try virsh domfsfreeze and domfsthaw; raise freeze_timeout; "
	    "freeze: never asks for none." },
	{ "E-OVERLAY", "what a guest wrote is not merged back",
	    "0 (a warning), 3, or 1 alone",
	    "While a guest with an agent is read, what it writes goes to "
	    "overlays in scratch, and then back into its images. That did not "
	    "work, or its disk runs with an image that is neither. Nothing is "
	    "lost: the guest goes on with its overlays, and the next run tries "
	    "it again.",
	    "Somebody else's snapshot, or copy, of the disk meanwhile; a host "
	    "that is too slow for what the guest writes.",
	    "virsh domblklist and virsh blockjob show how it is; then download "
	    "again. Do not remove what is in scratch. By hand: virsh "
	    "blockcommit --active --pivot --shallow (without the last one it "
	    "goes into the lowest image, which other guests may have, too), "
	    "or qemu-img commit -b while it is off." },
	{ "E-RST-ACROSS", "it does not fit into another machine", "1",
	    "What one machine held is to go into another one, and a volume is "
	    "of another kind there, or the driver takes none of that kind, or "
	    "a new machine would have to be made of another driver's "
	    "definition.",
	    "A tree for a system of disks.",
	    "--volume NAME for those that fit, --map volume:OLD=NEW; --target "
	    "DIR takes all." },
	{ "E-RST-MAP", "what --map or --keep says cannot be done", "2, 20 or 1",
	    "It is not of the form KIND:OLD=NEW, names what the backup or the "
	    "target does not have, makes one of two, or is not for machines "
	    "of this driver.",
	    "A misspelling; images of a machine that is there stay where they "
	    "are.",
	    "See the message; 'fleetbak help restore'." },
	{ "E-SCRATCH-FULL", "what a guest overwrites has no room",
	    "3, or 1 alone",
	    "While a guest is read, what it overwrites is kept in scratch. "
	    "That was full, and the hypervisor held the guest: its capture "
	    "was given up, and the guest goes on.",
	    "A guest that writes much; a small file system for scratch.",
	    "Give scratch of the source more room: as much as the guest "
	    "writes while it is read, its disks' size at most." },
	{ "E-STOP-UNCLEAN", "a guest was cut off, not shut down",
	    "0 (a warning)",
	    "The guest was off because it was switched off or had crashed. "
	    "Its disks are as a power cut leaves them: its backup counts as "
	    "one of a machine that ran (level crash). So does one whose "
	    "driver made the snapshot, and did not say how its machine went "
	    "down.",
	    "A guest that did not shut down within stop_timeout, and "
	    "after_stop_timeout: force; virsh destroy; a plugin that died "
	    "or hung after it had made a snapshot.",
	    "Look why it does not shut down; its file systems check "
	    "themselves at the next boot." },
	{ "E-THAW", "a guest's file systems may be frozen", "3, or 1 alone",
	    "The guest's agent was asked to freeze its file systems, and does "
	    "not answer any more: whoever writes in the guest may wait. It "
	    "was asked for a minute to thaw them, and is asked again at the "
	    "run's end, by recover, and by whatever fleetbak does next to the "
	    "guest.",
	    "A guest agent that was killed or hangs; a guest that stands "
	    "still.",
	    "virsh domfsthaw; fleetbak recover; when neither helps, reset the "
	    "guest." },
};

size_t
fb_explain_guests(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
