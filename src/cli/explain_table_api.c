#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What systems with a JSON API bring with them; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-API-AUTH", "a system's API gives no token", "3 or 16",
	    "The user and the password, or the token, that a source names were "
	    "refused. Nothing was done.",
	    "A password that was changed; a user without the rights.",
	    "See to the credentials of the source." },
	{ "E-API-CHANGED", "what was being read is not the same any more",
	    "3 or 1",
	    "A body that broke off cannot be gone on with: it has another size, "
	    "date or tag now, or the server gives no ranges. What was read of "
	    "it is not used.",
	    "Somebody removed or replaced a snapshot while it was read.",
	    "Run the command again." },
	{ "E-API-LIST", "a system's list is not whole", "15 or 3",
	    "The list ends before its own count, never ends, or holds items "
	    "without an id. A fleet is not cut short in silence.",
	    "Machines that came or went while the list was read; an API of "
	    "another version.",
	    "Run the command again." },
	{ "E-API-STATUS", "a system's API refuses a request", "3, 1, 15 or 16",
	    "The status and the words are the server's own.",
	    "The message says.",
	    "See to what it names; run the command again." },
	{ "E-CHOST-DIFFERS", "the host's own snapshot is another",
	    "1", "The host still has the snapshot that a backup was read from, "
	    "but its bytes are not those of the backup. Nothing was made of "
	    "it.",
	    "Somebody wrote to the snapshot's directory on the host.",
	    "Remove the snapshot on the host; then the bytes come from the "
	    "repository." },
	{ "E-CHOST-DIGEST", "a disk did not come as the host hashed it",
	    "3 or 1",
	    "What was read of a snapshot has another SHA-256 than the host "
	    "told when it made it. The machine was not backed up.",
	    "A bad disk or bad memory of the host; somebody wrote to the "
	    "snapshot.",
	    "Run the command again; see to the host when it happens again." },
	{ "E-CHOST-DOWN", "a machine does not run", "3 or 1",
	    "computer-host makes snapshots of running machines only, and this "
	    "one is stopped, failed or starting. A machine that is down is "
	    "never started for a backup.",
	    "It was stopped; it crashed.",
	    "Start it, or leave it out of the selection." },
	{ "E-CHOST-FAILED", "a machine of computer-host has failed",
	    "1 or 3",
	    "The daemon made it and it did not come up, or it is dead and "
	    "cannot be started. A restore makes it twice before it gives up.",
	    "A guest that does not boot, too little memory, a wrong "
	    "guest_config.",
	    "See to the daemon's log; stop the machine, which makes it "
	    "startable again; go on with restore --resume." },
	{ "E-CHOST-OLD", "the daemon cannot give bytes", "1 or 3",
	    "This computer-host is of the first version, whose API neither "
	    "takes ids for snapshots nor gives their disks.",
	    "A host that was not updated.",
	    "Update the daemon." },
	{ "E-CHOST-PENDING", "the daemon is not done with a machine",
	    "3 or 1",
	    "An operation of the machine is still pending on the host, or has "
	    "left something there. fleetbak waited half a minute for it.",
	    "Another client at work; a daemon that cannot put right what was "
	    "cut off.",
	    "Run the command again; see to the daemon's log and restart it "
	    "when it stays so." },
	{ "E-CHOST-SERVE", "the disks of a restore cannot be served",
	    "2, 15 or 1",
	    "The host is to fetch them from the address that serve names, and "
	    "there nothing can listen. The machine that is there was not "
	    "touched.",
	    "An address of another machine; a port that is taken; "
	    "libmicrohttpd is missing.",
	    "Correct serve of the source; install libmicrohttpd12." },
};

size_t
fb_explain_api(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
