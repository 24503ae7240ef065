/*
 * verify: is what we have whole, ours, and complete?
 */
#ifndef FB_ENGINE_VERIFY_H
#define FB_ENGINE_VERIFY_H

#include "fleetbak/engine/engine.h"
#include "fleetbak/manifest/manifest.h"
#include "fleetbak/repo/attest.h"

enum fb_verify_depth {
	FB_VERIFY_SIGNATURES, /* format, registers, sums, manifests, history */
	FB_VERIFY_STRUCTURE,  /* + every recipe, table, run and root; sizes */
	FB_VERIFY_PACKS,      /* + every pack's bytes against its name */
	FB_VERIFY_FULL,       /* + every chunk opened and hashed */
};

struct fb_verify_request {
	enum fb_verify_depth depth;
	const char *run;      /* one run id, "latest", or NULL: all */
	const char *const *machines; /* "source/id" or globs; none: all */
	size_t machine_count;
	bool attest; /* with FB_VERIFY_FULL: say so of each pack that is whole,
	              * to the writers of other domains */
};

struct fb_verify_damage {
	char *object;        /* key of the damaged, missing, unreadable one */
	struct fb_error err; /* FB_ECORRUPT, FB_EUNTRUSTED, FB_ETOONEW; FB_ESYS:
	                      * it could not be read, so nothing is known */
	char **harms;        /* "source/id volume @run", each once; or
	                      * "everything @run" when none can be named */
	size_t harm_count;
};

struct fb_verify_report {
	uint64_t runs, volumes, recipes, packs, bytes; /* looked at */
	struct fb_verify_damage *damages;
	size_t damage_count;
	char newest_whole[FB_RUN_ID_SIZE]; /* "" when none */
	bool history_known;
	bool opened; /* chunks were: asked for, and there is a key for it */
	struct fb_attest_report attest;
	/* Per machine that is harmed: the newest run in which it is whole. */
	struct { char *machine; char run[FB_RUN_ID_SIZE]; } *whole;
	size_t whole_count;
};

/* Goes on after the first damage.  FB_OK when all was looked at, damaged or
 * not; an error is what made that impossible. */
FB_MUST_USE int fb_verify(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_verify_request *request,
    struct fb_verify_report *report, struct fb_error *err);

/* The repository cannot be opened, as *err says: where its format was deleted
 * or overwritten in a place that keeps versions, *err says that instead.
 * Returns the code of *err. */
int fb_verify_unopened(const struct fb_engine *engine, struct fb_error *err);
void fb_verify_report_release(struct fb_verify_report *report);

#endif
