#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What plugins bring with them; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-PLUGIN-ANSWER", "a plugin breaks its contract", "3, 1 or 15",
	    "What the plugin of a source said is no answer of the protocol; "
	    "the message says where. After a verb with an effect fleetbak looks "
	    "what came of it before it does anything else.",
	    "An error in the plugin; a plugin of another version; a command "
	    "that prints to standard output.",
	    "fleetbak driver test names what a plugin does wrong; "
	    "fleetbak-driver(7) describes the protocol." },
	{ "E-PLUGIN-DIED", "a plugin ended before its time", "3, 1 or 15",
	    "The process of a verb ended with another exit status than 0, or "
	    "by a signal. What it said before does not count; its last words "
	    "stand in the message.",
	    "An error in the plugin; a tool that it lacks.",
	    "Run the plugin by hand; run the command again." },
	{ "E-PLUGIN-START", "a plugin cannot be started", "3, 1 or 15",
	    "The executable that the source names is not there or cannot be "
	    "run. Nothing was done.",
	    "A wrong path, a file without its execute bit.",
	    "Correct command of the source." },
	{ "E-PLUGIN-TIMEOUT", "a plugin took too long", "3, 1 or 15",
	    "A verb did not end by its deadline, or a volume moved no byte for "
	    "stall_timeout. Its processes were ended; what may have come of it "
	    "is looked at before anything else.",
	    "A host that does not answer; a deadline that is too short.",
	    "Look at the machine; raise timeout or stall_timeout of the "
	    "source." },
};

size_t
fb_explain_plugin(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
