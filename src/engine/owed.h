/*
 * What the journals of a state directory still owe.
 */
#ifndef ENGINE_OWED_H
#define ENGINE_OWED_H

#include "fleetbak/base/clock.h"
#include "fleetbak/engine/recover.h"

struct owed {
	char *machine; /* "source/id", checked */
	char *journal; /* path */
	char run[FB_RUN_ID_SIZE];
	int64_t at;    /* wall clock, ns */
	char boot[FB_BOOT_ID_SIZE]; /* it began in, "" if not known */
	uint64_t boot_ms;           /* since that boot */
	bool suspended;
	bool adopted; /* another node has begun it, see shared_adopt() */
};

struct owed_list {
	struct owed *items;
	size_t count;
};

/* Read every journal.  One that cannot be read is an item of `report`. */
FB_MUST_USE int owed_scan(const struct fb_engine *engine,
    struct owed_list *list, struct fb_recover_report *report,
    struct fb_error *err);
void owed_release(struct owed_list *list);
#define AUTO_OWED FB_CLEANUP(owed_release)

/* Older than the configuration allows.  Within one boot its age is measured
 * without the wall clock, which may have been set meanwhile. */
bool owed_too_old(const struct fb_engine *engine, const struct owed *owed);

struct fb_recover_item *owed_report(struct fb_recover_report *report,
    const char *machine, const char *run, enum fb_recovery outcome);

#endif
