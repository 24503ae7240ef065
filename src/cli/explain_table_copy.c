#include "explain_rows.h"
#include "fleetbak/base/attr.h"

/* What copying between repositories says; as in explain_table.c. */
static const struct fb_explanation rows[] = {
	{ "E-COPY-CONDEMNED", "what a copy needs is being deleted there", "11",
	    "A prune of the copy was begun and did not come to its end; what "
	    "it is about to delete is needed by a run that is to be copied.",
	    "A prune that was cut off, or waits for a session.",
	    "fleetbak prune -r NAME of the copy, then copy again." },
	{ "E-COPY-FENCED", "a prune did not wait for the copy", "1",
	    "While runs were copied a prune of the copy went on without "
	    "waiting, so that something they need may have been deleted.",
	    "prune --fence-after with a span shorter than the copy took.",
	    "Copy again: what is missing is copied then. fleetbak verify -r "
	    "NAME shows whether the copy is whole." },
	{ "E-COPY-OF", "nothing but copies goes into a copy", "20",
	    "The configuration says that the repository is a copy of another "
	    "one (copy_of). A run of its own would part the two.",
	    "A download with -r NAME of the copy.",
	    "Download into the other one, then fleetbak copy. When the copy "
	    "is to take its place, take copy_of away." },
	{ "E-COPY-OTHER", "the place holds another repository", "20",
	    "A copy is the same repository in another place: its runs keep "
	    "their signatures, which name it. There is another one there.",
	    "A place where 'fleetbak init' was run.",
	    "Name an empty place: copy makes what it needs." },
	{ "E-COPY-SELF", "a repository is copied to itself", "20",
	    "--from and --to are the same.",
	    "A mistyped name.",
	    "Name two repositories of the configuration." },
};

size_t
fb_explain_copy(const struct fb_explanation **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}
