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
};

size_t
fb_explain_api(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
