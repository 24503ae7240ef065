/*
 * doctor: is everything as it should be?  Configuration, keys, the state
 * directory, what is owed or was left behind, sources, and each repository with
 * its place, of which also what somebody has deleted or overwritten there.
 */
#ifndef FB_ENGINE_DOCTOR_H
#define FB_ENGINE_DOCTOR_H

#include "fleetbak/engine/locks.h"
#include "fleetbak/repo/tampered.h"

enum fb_health { FB_HEALTH_OK, FB_HEALTH_WARN, FB_HEALTH_FAIL };
/* "ok", "warn", "fail" */
const char *fb_health_name(enum fb_health health);

struct fb_doctor_item {
	bool part;    /* of the item before it that is none */
	char *what;   /* "repo main"; of a part: "clock" */
	enum fb_health health;
	char *text;
	char *fix;    /* what to do; NULL: nothing */
	struct fb_error err; /* code 0: none */
};

struct fb_doctor_repo {
	char *name;
	bool probed, one_writer;
	bool has_lease; /* a lease service is configured */
	uint64_t latency_ms; /* of trying the place out, all of it */
	struct fb_store_traits traits;
	struct fb_lock_cost locks;
	struct fb_tampered_list tampered;
	size_t mendable; /* of these, with a version that is good */
};

struct fb_doctor_report {
	struct fb_doctor_item *items;
	size_t count;
	struct fb_doctor_repo *repos;
	size_t repo_count;
	size_t warnings, failures;
	size_t mendable; /* in all repositories */
};

/*
 * Look at everything; with -r at that repository alone.  Changes nothing, but
 * that trying out a place puts an object there and takes it away again.
 * FB_OK however much is wrong: the report says so.
 * Owner: release the report in either case.
 */
FB_MUST_USE int fb_doctor(const struct fb_engine *engine,
    struct fb_doctor_report *report, struct fb_error *err);
void fb_doctor_report_release(struct fb_doctor_report *report);

/* Bring back what the report says can be.  *ret_mended: how many were.  Goes
 * on after the first that fails, which is the error. */
FB_MUST_USE int fb_doctor_mend(const struct fb_engine *engine,
    const struct fb_doctor_report *report, size_t *ret_mended,
    struct fb_error *err);

#endif
