/*
 * A retention policy applied to the snapshots of one machine.
 *
 * - A bucket is an hour, day, ISO week, month or year of the fleet's zone; of
 *   each the newest whole snapshot is kept.  `N daily` keeps those of the
 *   newest N days that have one.  An hour that the clock strikes twice is two.
 * - A window ends at the newest whole snapshot, not at the clock; one that
 *   lies exactly its span before that is inside.
 * - A snapshot that is not whole takes no number: of a bucket without a whole
 *   one the newest is kept, while the rule's number is not used up.
 * - The newest `min` whole ones are kept whatever the rules say.
 * - What is held is kept.  What is in the future is kept, and the rules do not
 *   see it.
 *
 * So for one set of snapshots the clock can only add: what is kept with the
 * clock at the end of time is kept whatever it says, and the earlier it is the
 * more is kept.  Whether another snapshot stays does not depend on one that is
 * held or in the future; whether a whole one stays, not on one that is not
 * whole.
 *
 * Spec: fleetbak.conf(5), "Retention".
 */
#ifndef FB_FLEET_RETENTION_H
#define FB_FLEET_RETENTION_H

#include "fleetbak/fleet/fleet.h"
#include "fleetbak/format/retention.h"

struct fb_retention_snapshot {
	const char *machine; /* borrowed */
	const char *run;     /* borrowed; decides between equal times */
	int64_t time_ns;     /* since 1970, UTC */
	bool held;
	bool whole;    /* not partial, not known to be damaged */
	bool keep;     /* set */
	char *reasons; /* set: "all within 48h, daily 3", the caller frees;
	                * NULL when it is not kept */
};

/*
 * Set `keep` and `reasons` of all snapshots of ONE machine, in any order.  A
 * policy without rules keeps everything, with the reason "no policy".
 * `zone` is an IANA name, or NULL for the zone the process is in; it
 * becomes the process's, as fb_clock_set_zone() says.
 *
 * Errors: FB_ECONFIG, id E-CFG-REFERENCE: the host does not know the zone;
 *         nothing is set then.
 * Threads: as fb_clock_set_zone().  Time: n log n per rule.
 */
FB_MUST_USE int fb_retention_apply(const struct fb_retention *policy,
    const char *zone, int64_t now_ns,
    struct fb_retention_snapshot *snapshots, size_t count,
    struct fb_error *err);

/*
 * Which policy each machine of a settled fleet has: ret_groups[i] is the index
 * of the group of config->groups that machine i is in, SIZE_MAX for
 * config->retention; as many as there are machines, the caller frees.
 * `selected` of the machines stays what it is.
 *
 * Errors: those of fb_select(), for the group that is wrong.
 */
FB_MUST_USE int fb_retention_assign(const struct fb_config *config,
    struct fb_fleet *fleet, size_t **ret_groups, struct fb_error *err);

/* The policy for what fb_retention_assign() says; borrowed. */
const struct fb_retention *fb_retention_of(
    const struct fb_config *config, size_t group);

/*
 * Is the time over for a machine that left the fleet?  Its newest snapshot
 * must be older than the newest run of the fleet, and than the clock, by more
 * than `keep_ms`; with 0 it is never over.  Then all its snapshots that are
 * not held may go.
 */
bool fb_retention_expired(uint64_t keep_ms, int64_t newest_snapshot_ns,
    int64_t newest_run_ns, int64_t now_ns);

#endif
