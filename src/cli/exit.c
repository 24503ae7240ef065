#include "fleetbak/cli/exit.h"

static const struct fb_exit_row rows[] = {
	{ FB_EXIT_OK, "ok", "everything asked for was done", "-" },
	{ FB_EXIT_ERROR, "error", "failed for a reason without its own code",
	    "maybe" },
	{ FB_EXIT_USAGE, "usage",
	    "wrong option, configuration or selector; nothing was touched",
	    "no" },
	{ FB_EXIT_PARTIAL, "partial",
	    "some machines failed, the others are done", "yes" },
	{ FB_EXIT_CHANGES, "changes",
	    "only with --exit-code or --check: there is something to do, or "
	    "a backup is too old; of doctor: there are warnings",
	    "-" },
	{ FB_EXIT_NO_REPO, "no-repo", "there is no repository there", "no" },
	{ FB_EXIT_LOCKED, "locked", "somebody else holds the lock", "yes" },
	{ FB_EXIT_WRONG_KEY, "wrong-key",
	    "a key does not fit or cannot be read", "no" },
	{ FB_EXIT_UNTRUSTED, "untrusted",
	    "signature missing, wrong or of an unknown signer, or older than "
	    "what was seen before",
	    "no: look" },
	{ FB_EXIT_DAMAGED, "damaged", "stored data is missing or altered",
	    "no: look" },
	{ FB_EXIT_UNREACHABLE, "unreachable",
	    "repository or every source cannot be reached", "yes" },
	{ FB_EXIT_DENIED, "denied", "permission or credential refused", "no" },
	{ FB_EXIT_NO_SPACE, "no-space",
	    "disk full, quota, or the free-space check failed", "no" },
	{ FB_EXIT_TOO_NEW, "too-new",
	    "the repository's format is newer than this program", "no" },
	{ FB_EXIT_STALE_PLAN, "stale-plan",
	    "the world changed since the plan was made", "plan again" },
	{ FB_EXIT_REFUSED, "refused",
	    "a safety limit or a missing confirmation stopped it", "no" },
	{ FB_EXIT_BUDGET, "budget",
	    "the time or transfer budget is used up; the rest resumes",
	    "yes" },
};

size_t
fb_exit_rows(const struct fb_exit_row **ret_rows)
{
	*ret_rows = rows;
	return FB_COUNT(rows);
}

const char *
fb_exit_name(int exit)
{
	for (size_t i = 0; i < FB_COUNT(rows); i++)
		if ((int)rows[i].exit == exit)
			return rows[i].name;
	return exit > 128 ? "signal" : "error";
}

enum fb_exit
fb_exit_of(enum fb_code code)
{
	switch (code) {
	case FB_OK:
		return FB_EXIT_OK;
	case FB_ECONFIG:
		return FB_EXIT_USAGE;
	case FB_ENOREPO:
		return FB_EXIT_NO_REPO;
	case FB_EBUSY:
		return FB_EXIT_LOCKED;
	case FB_EKEY:
		return FB_EXIT_WRONG_KEY;
	case FB_EUNTRUSTED:
		return FB_EXIT_UNTRUSTED;
	case FB_ECORRUPT:
		return FB_EXIT_DAMAGED;
	case FB_EUNREACH:
	case FB_ETIMEOUT:
	case FB_ERETRY:
		return FB_EXIT_UNREACHABLE;
	case FB_EDENIED:
		return FB_EXIT_DENIED;
	case FB_ENOSPACE:
		return FB_EXIT_NO_SPACE;
	case FB_ETOONEW:
		return FB_EXIT_TOO_NEW;
	case FB_ESTALE:
		return FB_EXIT_STALE_PLAN;
	case FB_EREFUSED:
		return FB_EXIT_REFUSED;
	case FB_EBUDGET:
		return FB_EXIT_BUDGET;
	case FB_PENDING:
	case FB_ESYS:
	case FB_ENOTFOUND:
	case FB_EEXISTS:
	case FB_ECANCELED:
	case FB_EUNSUP:
	case FB_EBUG:
	case FB_ECONFLICT:
	case FB_EPROTO:
	case FB_EUNKNOWN:
	case FB_EFAILED:
		break;
	}
	return FB_EXIT_ERROR;
}

/* How bad, among those that always win; 0: it does not. */
static int
danger(enum fb_exit exit)
{
	switch ((int)exit) {
	case FB_EXIT_DAMAGED:
		return 4;
	case FB_EXIT_UNTRUSTED:
		return 3;
	case FB_EXIT_WRONG_KEY:
		return 2;
	case FB_EXIT_TOO_NEW:
		return 1;
	default:
		return 0;
	}
}

void
fb_tally_good(struct fb_tally *tally)
{
	tally->good++;
}

void
fb_tally_bad(struct fb_tally *tally, enum fb_code code)
{
	enum fb_exit exit = fb_exit_of(code);

	if (danger(exit) > danger(tally->worst))
		tally->worst = exit;
	if (tally->bad == 0)
		tally->common = exit;
	else if (tally->common != exit)
		tally->common = FB_EXIT_ERROR;
	tally->bad++;
}

void
fb_tally_trouble(struct fb_tally *tally)
{
	tally->good++;
	tally->trouble = true;
}

enum fb_exit
fb_tally_exit(const struct fb_tally *tally)
{
	if (tally->worst != 0)
		return tally->worst;
	if (tally->bad == 0)
		return tally->trouble ? FB_EXIT_PARTIAL : FB_EXIT_OK;
	return tally->good > 0 ? FB_EXIT_PARTIAL : tally->common;
}
