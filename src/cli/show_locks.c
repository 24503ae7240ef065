#include "fleetbak/cli/locks.h"

#include <string.h>

#include "fleetbak/base/clock.h"

/* "without end", or the time. */
static const char *
show_until(const struct fb_cli *cli, int64_t ns, char text[FB_CLI_TEXT])
{
	char utc[FB_TIME_SIZE];

	if (ns == INT64_MAX)
		return "it is told otherwise";
	fb_time_format(ns, utc);
	return fb_cli_time(cli, utc, text);
}

static void
put_until(json_t *object, const char *key, int64_t ns)
{
	char utc[FB_TIME_SIZE];

	fb_time_format(ns, utc);
	fb_json_put_str(object, key, ns == INT64_MAX ? NULL : utc);
}

json_t *
fb_cli_lock_cost_json(const struct fb_lock_cost *cost)
{
	json_t *item = json_object();

	fb_json_put_u64(item, "objects", cost->objects);
	fb_json_put_u64(item, "renewed", cost->renewed);
	fb_json_put_u64(item, "renewed_bytes", cost->bytes);
	fb_json_put_u64(item, "requests", cost->objects + cost->renewed);
	(void)json_object_set_new(
	    item, "estimated", json_boolean(cost->estimated));
	put_until(item, "until", cost->until_ns);
	fb_json_put_u64(item, "failed", cost->failed);
	return item;
}

void
fb_cli_add_lock_cost(const struct fb_cli *cli, struct fb_buf *dst,
    const struct fb_lock_cost *cost)
{
	char size[FB_CLI_TEXT], until[FB_CLI_TEXT];

	fb_buf_add_fmt(dst, "%s%llu of %llu objects that are used again",
	    cost->estimated ? "about " : "", (unsigned long long)cost->renewed,
	    (unsigned long long)cost->objects);
	fb_buf_add_fmt(dst,
	    " to be locked until %s: %s; %llu requests to look, %llu to lock",
	    show_until(cli, cost->until_ns, until),
	    fb_cli_size(cli, cost->bytes, size),
	    (unsigned long long)cost->objects,
	    (unsigned long long)cost->renewed);
}

void
fb_cli_lock_plan(struct fb_cli *cli, const struct fb_lock_cost *cost)
{
	if (!cost->wanted)
		return;
	if (cost->failed > 0)
		fb_cli_warn(cli, NULL, &cost->err);
	fb_buf_add_str(&cli->text, "locks: ");
	fb_cli_add_lock_cost(cli, &cli->text, cost);
	fb_buf_add_str(&cli->text, "\n");
	(void)json_object_set_new(
	    cli->data, "locks", fb_cli_lock_cost_json(cost));
}

void
fb_cli_lock_preview(struct fb_cli *cli, struct fb_repo *repo)
{
	struct fb_lock_cost cost;
	struct fb_error why = { 0 };

	if (fb_locks_preview(&cli->engine, repo, &cost, &why) < 0) {
		(void)fb_wrap(&why, "locks");
		fb_cli_warn(cli, NULL, &why);
		return;
	}
	fb_cli_lock_plan(cli, &cost);
}

void
fb_cli_lock_report(struct fb_cli *cli, const struct fb_lock_cost *cost,
    json_t *object, struct fb_tally *tally)
{
	char size[FB_CLI_TEXT], until[FB_CLI_TEXT];
	struct fb_error warning = { 0 };

	if (!cost->wanted)
		return;
	(void)json_object_set_new(object, "locks", fb_cli_lock_cost_json(cost));
	if (cost->failed == 0) {
		fb_buf_add_fmt(&cli->summary,
		    "locked until %s or later; of what is used again %llu of "
		    "%llu objects, %s, anew\n",
		    show_until(cli, cost->wanted_ns, until),
		    (unsigned long long)cost->renewed,
		    (unsigned long long)cost->objects,
		    fb_cli_size(cli, cost->bytes, size));
		return;
	}
	(void)fb_fail_id(&warning, FB_EFAILED, "E-LOCK-RENEW",
	    "%llu of %llu objects that are used again could not be locked for "
	    "as long as is wanted: %s",
	    (unsigned long long)cost->failed, (unsigned long long)cost->objects,
	    cost->err.msg);
	(void)fb_hint(&warning, "%s",
	    cost->err.hint[0] != '\0'
	        ? cost->err.hint
	        : "the backup is there; the next one tries again");
	fb_cli_warn(cli, NULL, &warning);
	fb_tally_trouble(tally);
}

static void
put_some(json_t *item, const struct fb_gc_locks *locks)
{
	json_t *list = json_array();

	for (size_t i = 0; i < locks->item_count; i++) {
		json_t *row = json_object();

		fb_json_put_str(row, "object", locks->items[i].key);
		fb_json_put_u64(row, "bytes", locks->items[i].size);
		put_until(row, "until", locks->items[i].until_ns);
		(void)json_array_append_new(list, row);
	}
	(void)json_object_set_new(item, "some", list);
}

void
fb_cli_gc_locks(struct fb_cli *cli, const struct fb_gc_locks *locks, bool done)
{
	char size[FB_CLI_TEXT], first[FB_CLI_TEXT], last[FB_CLI_TEXT];
	json_t *item = json_object();

	fb_json_put_u64(item, "objects", locks->objects);
	fb_json_put_u64(item, "bytes", locks->bytes);
	if (locks->objects > 0) {
		put_until(item, "first_until", locks->first_ns);
		put_until(item, "last_until", locks->last_ns);
	}
	put_some(item, locks);
	(void)json_object_set_new(
	    cli->data, done ? "left_locked" : "locked", item);
	if (locks->objects == 0)
		return;
	fb_buf_add_fmt(&cli->text,
	    "%llu objects, %s, %s locked: the first until %s, the last until "
	    "%s; %s\n",
	    (unsigned long long)locks->objects,
	    fb_cli_size(cli, locks->bytes, size),
	    done ? "stay, for they are" : "of that are",
	    show_until(cli, locks->first_ns, first),
	    show_until(cli, locks->last_ns, last),
	    done ? "a later prune deletes them"
	         : "a prune after that deletes them");
	for (size_t i = 0; cli->verbose > 0 && i < locks->item_count; i++)
		fb_buf_add_fmt(&cli->text, "  %s  until %s\n",
		    locks->items[i].key,
		    show_until(cli, locks->items[i].until_ns, last));
}
