#include "fleetbak/fleet/retention.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/selector.h"

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define S_PER_DAY 86400

/* A snapshot that the rules look at, and the bucket one rule puts it in. */
struct entry {
	int64_t bucket; /* grows with time */
	struct fb_retention_snapshot *snapshot;
};

struct entries {
	struct entry *items;
	size_t count;
	int64_t newest_ns; /* where windows end */
};

static void
keep(struct fb_retention_snapshot *snapshot, const char *reason)
{
	char *before = snapshot->reasons;

	snapshot->keep = true;
	snapshot->reasons = before == NULL
	    ? fb_strdup(reason)
	    : fb_format("%s, %s", before, reason);
	free(before);
}

static int
newest_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->bucket != y->bucket)
		return x->bucket < y->bucket ? 1 : -1;
	if (x->snapshot->time_ns != y->snapshot->time_ns)
		return x->snapshot->time_ns < y->snapshot->time_ns ? 1 : -1;
	return strcmp(y->snapshot->run, x->snapshot->run);
}

static void
sort(struct entries *entries)
{
	if (entries->count > 0)
		qsort(entries->items, entries->count, sizeof(struct entry),
		    newest_first);
}

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Weeks begin on Monday; 1970-01-01 was a Thursday. */
static int64_t
bucket_of(enum fb_retention_unit unit, int64_t time_ns)
{
	time_t seconds = (time_t)floor_div(time_ns, NS_PER_S);
	struct tm local = { 0 };
	int64_t wall, day;

	if (localtime_r(&seconds, &local) == NULL)
		(void)gmtime_r(&seconds, &local);
	wall = (int64_t)seconds + local.tm_gmtoff;
	day = floor_div(wall, S_PER_DAY);
	switch (unit) {
	case FB_RETENTION_HOURLY:
		/* The later of two equal hours is the one further west. */
		return floor_div(wall, 3600) * 2 * S_PER_DAY + S_PER_DAY -
		    local.tm_gmtoff;
	case FB_RETENTION_DAILY:
		return day;
	case FB_RETENTION_WEEKLY:
		return floor_div(day + 3, 7);
	case FB_RETENTION_MONTHLY:
		return (int64_t)local.tm_year * 12 + local.tm_mon;
	case FB_RETENTION_YEARLY:
		return local.tm_year;
	case FB_RETENTION_ALL:
	case FB_RETENTION_LAST:
		break;
	}
	return 0;
}

/* Put everything into its bucket; with `all` and `last` each is alone. */
static void
fill_buckets(struct entries *entries, enum fb_retention_unit unit)
{
	bool alone = unit == FB_RETENTION_ALL || unit == FB_RETENTION_LAST;

	for (size_t i = 0; i < entries->count; i++) {
		struct entry *entry = &entries->items[i];

		entry->bucket = bucket_of(unit, entry->snapshot->time_ns);
	}
	sort(entries);
	for (size_t i = 0; alone && i < entries->count; i++)
		entries->items[i].bucket = -(int64_t)i;
}

/* The place of a bucket's newest whole snapshot, else of its newest; `*end`
 * is where the bucket ends. */
static size_t
best_of_bucket(const struct entries *entries, size_t from, size_t *end)
{
	size_t best = from;

	for (*end = from; *end < entries->count &&
	     entries->items[*end].bucket == entries->items[from].bucket;
	     ++*end)
		if (!entries->items[best].snapshot->whole &&
		    entries->items[*end].snapshot->whole)
			best = *end;
	return best;
}

/* Is it older than the rule's window?  One without a window has no end. */
static bool
is_outside(const struct entries *entries,
    const struct fb_retention_rule *rule, const struct entry *entry)
{
	int64_t time_ns = entry->snapshot->time_ns;
	int64_t age;

	if (rule->within_ms == 0 || time_ns >= entries->newest_ns)
		return false;
	return __builtin_sub_overflow(entries->newest_ns, time_ns, &age) ||
	    age > (int64_t)rule->within_ms * NS_PER_MS;
}

static char *
reason_of(const struct fb_retention_rule *rule, size_t number, bool whole)
{
	const char *unit = fb_retention_unit_name(rule->unit);
	const char *note = whole ? "" : " (not whole)";

	if (rule->within_ms > 0)
		return fb_format("%s within %s%s", unit, rule->span, note);
	if (rule->count == 0)
		return fb_format("%s%s", unit, note);
	if (!whole)
		return fb_format("%s%s", unit, note);
	return fb_format("%s %zu", unit, number);
}

static void
apply_rule(struct entries *entries, const struct fb_retention_rule *rule)
{
	size_t used = 0, end;

	fill_buckets(entries, rule->unit);
	for (size_t i = 0; i < entries->count; i = end) {
		size_t best = best_of_bucket(entries, i, &end);
		struct fb_retention_snapshot *snapshot =
		    entries->items[best].snapshot;
		FB_AUTO_FREE char *reason = NULL;

		if ((rule->count > 0 && used == rule->count) ||
		    is_outside(entries, rule, &entries->items[best]))
			continue;
		used += snapshot->whole;
		reason = reason_of(rule, used, snapshot->whole);
		keep(snapshot, reason);
	}
}

/* The newest whole ones, whatever the rules say. */
static void
apply_min(struct entries *entries, uint32_t min)
{
	FB_AUTO_FREE char *reason = fb_format("min %u", min);
	uint32_t used = 0;

	fill_buckets(entries, FB_RETENTION_LAST);
	for (size_t i = 0; i < entries->count && used < min; i++) {
		struct fb_retention_snapshot *snapshot =
		    entries->items[i].snapshot;

		used += snapshot->whole;
		if (snapshot->whole && !snapshot->keep)
			keep(snapshot, reason);
	}
}

/* Windows end at the newest whole one; without any, at the newest. */
static void
find_newest(struct entries *entries)
{
	bool whole = false;

	for (size_t i = 0; i < entries->count; i++) {
		const struct fb_retention_snapshot *snapshot =
		    entries->items[i].snapshot;

		if (i == 0 || (snapshot->whole && !whole) ||
		    (snapshot->whole == whole &&
		        snapshot->time_ns > entries->newest_ns))
			entries->newest_ns = snapshot->time_ns;
		whole |= snapshot->whole;
	}
}

/* Before what the rules say. */
static void
keep_first(struct fb_retention_snapshot *snapshot, const char *reason)
{
	FB_AUTO_FREE char *rules = snapshot->reasons;

	snapshot->reasons = NULL;
	keep(snapshot, reason);
	if (rules != NULL)
		keep(snapshot, rules);
}

static void
keep_all(struct fb_retention_snapshot *snapshots, size_t count)
{
	for (size_t i = 0; i < count; i++)
		keep(&snapshots[i], "no policy");
}

static void
apply_rules(const struct fb_retention *policy, struct entries *entries)
{
	find_newest(entries);
	for (size_t i = 0; i < policy->rule_count; i++)
		apply_rule(entries, &policy->rules[i]);
	apply_min(entries, policy->min);
}

int
fb_retention_apply(const struct fb_retention *policy, const char *zone,
    int64_t now_ns, struct fb_retention_snapshot *snapshots, size_t count,
    struct fb_error *err)
{
	struct entries entries = { 0 };
	int rc = FB_OK;

	if (zone != NULL)
		rc = fb_clock_set_zone(zone, err);
	if (rc < 0)
		return rc;
	entries.items = fb_alloc(count, sizeof(*entries.items));
	for (size_t i = 0; i < count; i++) {
		snapshots[i].keep = false;
		snapshots[i].reasons = NULL;
		if (snapshots[i].time_ns <= now_ns)
			entries.items[entries.count++].snapshot = &snapshots[i];
	}
	if (policy->rule_count == 0)
		keep_all(snapshots, count);
	else
		apply_rules(policy, &entries);
	for (size_t i = 0; i < count; i++) {
		if (snapshots[i].time_ns > now_ns)
			keep_first(&snapshots[i], "in the future");
		if (snapshots[i].held)
			keep_first(&snapshots[i], "held");
	}
	free(entries.items);
	return FB_OK;
}

static int
assign_groups(const struct fb_config *config, struct fb_fleet *fleet,
    size_t *groups, struct fb_error *err)
{
	/* Of no machine nothing can be chosen. */
	for (size_t g = 0; g < config->group_count && fleet->count > 0; g++) {
		const struct fb_config_group *group = &config->groups[g];
		const char *select = group->select;
		int rc = fb_select(fleet, &select, 1, NULL, 0, err);

		if (rc < 0)
			return fb_wrap(
			    err, "%s: groups.%s", config->path, group->name);
		for (size_t i = 0; i < fleet->count; i++)
			if (fleet->machines[i].selected)
				groups[i] = g;
	}
	return FB_OK;
}

int
fb_retention_assign(const struct fb_config *config, struct fb_fleet *fleet,
    size_t **ret_groups, struct fb_error *err)
{
	FB_AUTO_FREE size_t *groups =
	    fb_alloc(fleet->count + 1, sizeof(*groups));
	FB_AUTO_FREE bool *selected =
	    fb_alloc(fleet->count + 1, sizeof(*selected));
	int rc;

	for (size_t i = 0; i < fleet->count; i++) {
		groups[i] = SIZE_MAX;
		selected[i] = fleet->machines[i].selected;
	}
	rc = assign_groups(config, fleet, groups, err);
	for (size_t i = 0; i < fleet->count; i++)
		fleet->machines[i].selected = selected[i];
	if (rc < 0)
		return rc;
	*ret_groups = FB_STEAL(groups);
	return FB_OK;
}

const struct fb_retention *
fb_retention_of(const struct fb_config *config, size_t group)
{
	return group < config->group_count ? &config->groups[group].keep
	                                   : &config->retention.keep;
}

bool
fb_retention_expired(uint64_t keep_ms, int64_t newest_snapshot_ns,
    int64_t newest_run_ns, int64_t now_ns)
{
	int64_t until = newest_run_ns < now_ns ? newest_run_ns : now_ns;
	int64_t age;

	if (keep_ms == 0 || until <= newest_snapshot_ns)
		return false;
	return __builtin_sub_overflow(until, newest_snapshot_ns, &age) ||
	    (uint64_t)age / (uint64_t)NS_PER_MS > keep_ms;
}
