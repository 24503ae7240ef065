#include "fleetbak/cli/why.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/prune.h"

struct place {
	const char *run, *machine;
	const struct fb_prune_snapshot *snapshot;
};

struct fb_why {
	struct fb_prune_plan *plan;
	struct place *places; /* sorted */
};

static int
compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int order = strcmp(x->run, y->run);

	return order != 0 ? order : strcmp(x->machine, y->machine);
}

int
fb_why_make(struct fb_cli *cli, struct fb_repo *repo, struct fb_why **ret_why,
    struct fb_error *err)
{
	const struct fb_prune_request request = { .only_judge = true };
	struct fb_prune_plan *plan = NULL;
	struct fb_why *why;
	int rc = fb_prune_plan_make(&cli->engine, repo, &request, &plan, err);

	if (rc < 0)
		return rc;
	why = fb_alloc(1, sizeof(*why));
	why->plan = plan;
	why->places = fb_alloc(plan->snapshot_count + 1, sizeof(*why->places));
	for (size_t i = 0; i < plan->snapshot_count; i++) {
		const struct fb_prune_snapshot *snapshot = &plan->snapshots[i];

		why->places[i] = (struct place){
			.run = plan->runs[snapshot->run].ref.run,
			.machine = plan->machines[snapshot->machine].name,
			.snapshot = snapshot,
		};
	}
	qsort(why->places, plan->snapshot_count, sizeof(*why->places),
	    compare);
	*ret_why = why;
	return FB_OK;
}

void
fb_why_free(struct fb_why *why)
{
	if (why == NULL)
		return;
	fb_prune_plan_free(why->plan);
	free(why->places);
	free(why);
}

void
fb_why_freep(struct fb_why **why)
{
	fb_why_free(*why);
	*why = NULL;
}

/* "all within 48h, daily 3" as a list. */
static json_t *
split(const char *reasons)
{
	json_t *list = json_array();

	for (const char *at = reasons; at != NULL && *at != '\0';) {
		size_t len = strcspn(at, ",");

		(void)json_array_append_new(list, json_stringn(at, len));
		at += len;
		at += strspn(at, ", ");
	}
	return list;
}

static char *
text_of_goer(struct fb_cli *cli, const struct fb_prune_run *run, json_t *item)
{
	const char *action = fb_prune_action_name(run->action);
	char utc[FB_TIME_SIZE], shown[FB_CLI_TEXT];

	fb_time_format(run->final_ns, utc);
	if (item != NULL) {
		fb_json_put_str(item, "action", action);
		fb_json_put_str(item, "final_time", utc);
	}
	switch (run->action) {
	case FB_PRUNE_PENDING:
		return fb_format("pending: can be undone until %s",
		    fb_cli_time(cli, utc, shown));
	case FB_PRUNE_FINAL:
		return fb_strdup("pending: goes with the next prune");
	case FB_PRUNE_REMOVE:
	case FB_PRUNE_KEEP:
		break;
	}
	return fb_strdup("nothing: pending with the next prune");
}

char *
fb_why_text(const struct fb_why *why, struct fb_cli *cli,
    const struct fb_snapshot *row, json_t *item)
{
	const struct fb_prune_plan *plan = why->plan;
	const struct place key = { .run = row->run, .machine = row->machine };
	const struct place *found = bsearch(&key, why->places,
	    plan->snapshot_count, sizeof(*why->places), compare);
	const struct fb_prune_run *run;
	const char *reasons;

	if (found == NULL)
		return fb_strdup("");
	run = &plan->runs[found->snapshot->run];
	reasons = found->snapshot->reasons;
	if (item != NULL)
		(void)json_object_set_new(item, "kept_by", split(reasons));
	if (run->action != FB_PRUNE_KEEP)
		return text_of_goer(cli, run, item);
	return fb_strdup(
	    reasons != NULL ? reasons : "no rule: others of its run");
}
