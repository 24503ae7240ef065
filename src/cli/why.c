#include "fleetbak/cli/why.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/prune.h"

struct place {
	const char *machine; /* borrowed from the plan */
	char *reasons;       /* NULL: none */
};

struct fb_why {
	struct fb_prune_plan *plan;
	struct fb_rows *rows;  /* by run, newest first */
	const struct fb_prune_run *run; /* at hand; NULL: it is not there */
	struct place *places; /* of that run, sorted by machine */
	size_t count, room;
	struct fb_span next; /* the first row that is not of it */
	bool more;
};

/* A row begins with these; its reasons follow. */
struct head {
	uint32_t run, machine;
};

static struct head
head_of(struct fb_span row)
{
	struct head head;

	memcpy(&head, row.ptr, sizeof(head));
	return head;
}

/* The plan has its runs newest first. */
static int
by_run(struct fb_span a, struct fb_span b, void *arg)
{
	struct head x = head_of(a), y = head_of(b);

	(void)arg;
	return x.run < y.run ? -1 : x.run > y.run;
}

static int
compare(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return strcmp(x->machine, y->machine);
}

static int
fill(struct fb_why *why, struct fb_error *err)
{
	struct fb_prune_snapshot snapshot;
	FB_AUTO_BUF struct fb_buf row = { 0 };
	bool more = true;
	int rc = fb_prune_rewind(why->plan, err);

	while (rc == FB_OK &&
	    (rc = fb_prune_next(why->plan, &snapshot, &more, err)) == FB_OK &&
	    more) {
		struct head head = { snapshot.run, snapshot.machine };

		fb_buf_clear(&row);
		fb_buf_add(&row, &head, sizeof(head));
		if (snapshot.reasons != NULL)
			fb_buf_add(&row, snapshot.reasons,
			    strlen(snapshot.reasons) + 1);
		rc = fb_rows_add(why->rows, fb_buf_span(&row), err);
	}
	if (rc == FB_OK)
		rc = fb_rows_rewind(why->rows, err);
	return rc < 0 ? rc
	              : fb_rows_next(why->rows, &why->next, &why->more, err);
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
	why->rows = fb_rows_new(cli->config->state_dir, 0, by_run, NULL);
	rc = fill(why, err);
	if (rc < 0) {
		fb_why_free(why);
		return rc;
	}
	*ret_why = why;
	return FB_OK;
}

static void
clear_places(struct fb_why *why)
{
	for (size_t i = 0; i < why->count; i++)
		free(why->places[i].reasons);
	why->count = 0;
}

static void
add_place(struct fb_why *why, struct fb_span row)
{
	if (why->count == why->room) {
		why->room = 2 * why->room + 64;
		why->places = fb_realloc(
		    why->places, why->room, sizeof(*why->places));
	}
	why->places[why->count++] = (struct place){
		.machine = why->plan->machines[head_of(row).machine].name,
		.reasons = row.len > sizeof(struct head)
		    ? fb_strdup((const char *)row.ptr + sizeof(struct head))
		    : NULL,
	};
}

/* What the plan has of runs before this one was not asked for: they may have
 * been given up since. */
int
fb_why_run(struct fb_why *why, const char *run, struct fb_error *err)
{
	int rc = FB_OK;

	clear_places(why);
	why->run = NULL;
	while (rc == FB_OK && why->more) {
		const struct fb_prune_run *of =
		    &why->plan->runs[head_of(why->next).run];
		int order = strcmp(of->ref.run, run);

		if (order < 0)
			break; /* an older one */
		if (order == 0) {
			why->run = of;
			add_place(why, why->next);
		}
		rc = fb_rows_next(why->rows, &why->next, &why->more, err);
	}
	if (why->count > 0)
		qsort(why->places, why->count, sizeof(*why->places), compare);
	return rc;
}

void
fb_why_free(struct fb_why *why)
{
	if (why == NULL)
		return;
	clear_places(why);
	free(why->places);
	fb_rows_free(why->rows);
	fb_prune_plan_free(why->plan);
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
	const struct place key = { .machine = row->machine };
	const struct place *found = why->count == 0
	    ? NULL
	    : bsearch(&key, why->places, why->count, sizeof(*why->places),
	          compare);

	if (found == NULL)
		return fb_strdup("");
	if (item != NULL)
		(void)json_object_set_new(
		    item, "kept_by", split(found->reasons));
	if (why->run->action != FB_PRUNE_KEEP)
		return text_of_goer(cli, why->run, item);
	return fb_strdup(found->reasons != NULL
	        ? found->reasons
	        : "no rule: others of its run");
}
