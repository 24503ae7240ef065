/* A policy in words: what is read is written in one form that reads as the
 * same; and whatever it says, the newest whole snapshot is kept, and nothing
 * that a later clock keeps is taken away by an earlier one. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/retention.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SNAPSHOTS 8

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
round_trip(const struct fb_retention *policy)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf twice = { 0 };
	struct fb_retention again;
	struct fb_error err;

	fb_retention_add_text(&text, policy);
	must(fb_retention_parse(fb_buf_str(&text), &again, &err) == FB_OK);
	must(again.rule_count == policy->rule_count &&
	    again.min == policy->min);
	for (size_t i = 0; i < again.rule_count; i++) {
		const struct fb_retention_rule *a = &policy->rules[i];
		const struct fb_retention_rule *b = &again.rules[i];

		must(a->unit == b->unit && a->count == b->count &&
		    a->within_ms == b->within_ms &&
		    strcmp(a->span, b->span) == 0);
		must(a->count == 0 || a->within_ms == 0);
	}
	fb_retention_add_text(&twice, &again);
	must(strcmp(fb_buf_str(&text), fb_buf_str(&twice)) == 0);
}

static void
keep(const struct fb_retention *policy, int64_t now_ns,
    bool kept[SNAPSHOTS])
{
	static const int64_t hour = INT64_C(3600000000000);
	static const int64_t hours[SNAPSHOTS] = { 0, 1, 20, 50, 24 * 9,
		24 * 40, 24 * 500, 24 * 20000 };
	struct fb_retention_snapshot all[SNAPSHOTS] = { 0 };
	struct fb_error err;

	for (size_t i = 0; i < SNAPSHOTS; i++) {
		all[i].run = "";
		all[i].time_ns = hours[i] * hour;
		all[i].whole = i % 3 != 1;
	}
	must(fb_retention_apply(
	         policy, "UTC", now_ns, all, SNAPSHOTS, &err) == FB_OK);
	for (size_t i = 0; i < SNAPSHOTS; i++) {
		kept[i] = all[i].keep;
		must(all[i].keep == (all[i].reasons != NULL));
		must(all[i].time_ns <= now_ns || all[i].keep);
		free(all[i].reasons);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_FREE char *text = fb_alloc(size + 1, 1);
	struct fb_retention policy;
	struct fb_error err;
	bool last[SNAPSHOTS], middle[SNAPSHOTS], first[SNAPSHOTS];

	if (size > 0)
		memcpy(text, data, size);
	if (fb_retention_parse(text, &policy, &err) < 0) {
		must(err.msg[0] != '\0');
		return 0;
	}
	round_trip(&policy);
	policy.min = 0;
	keep(&policy, INT64_MAX, last);
	keep(&policy, INT64_C(3600000000000) * 24 * 30, middle);
	keep(&policy, 0, first);
	must(last[6]);
	for (size_t i = 0; i < SNAPSHOTS; i++)
		must((middle[i] || !last[i]) && (first[i] || !middle[i]));
	return 0;
}
