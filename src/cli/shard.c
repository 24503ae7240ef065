/*
 * --shard and --run: which part of a shared run this worker does; and what
 * workers have left.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/text.h"
#include "fleetbak/cli/download.h"
#include "fleetbak/engine/shard.h"

static int
fail_number(const char *text, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-SHARD-NUMBER",
	    "option '--shard': '%s' is no shard", text);
	return fb_hint(err,
	    "write 1/8 to 8/8, any/8, or auto in a job array (auto/8 where "
	    "the number of tasks is not told)");
}

static int
parse(const char *text, size_t len, uint64_t max, uint64_t *ret,
    struct fb_error *err)
{
	return fb_text_u64(
	    (struct fb_span){ (const uint8_t *)text, len }, max, ret, err);
}

/* A number of the environment; false: it is not there, or is none. */
static bool
from_env(const char *name, uint64_t *ret)
{
	struct fb_error ignored = { 0 };
	const char *text = getenv(name);

	return text != NULL &&
	    parse(text, strlen(text), UINT32_MAX, ret, &ignored) == FB_OK;
}

/* Slurm counts from where the user said, in steps; Kubernetes from 0, and its
 * count is there when the job's template puts it there. */
static int
ask_environment(uint64_t *number, uint64_t *count, struct fb_error *err)
{
	uint64_t id, min, step = 1, tasks;

	if (from_env("SLURM_ARRAY_TASK_ID", &id) &&
	    from_env("SLURM_ARRAY_TASK_MIN", &min) && id >= min) {
		(void)from_env("SLURM_ARRAY_TASK_STEP", &step);
		*number = (id - min) / (step > 0 ? step : 1) + 1;
		if (*count == 0 && from_env("SLURM_ARRAY_TASK_COUNT", &tasks))
			*count = tasks;
		return FB_OK;
	}
	if (from_env("JOB_COMPLETION_INDEX", &id)) {
		*number = id + 1;
		if (*count == 0 && from_env("JOB_COMPLETION_COUNT", &tasks))
			*count = tasks;
		return FB_OK;
	}
	(void)fb_fail_id(err, FB_ECONFIG, "E-SHARD-NUMBER",
	    "option '--shard auto': neither SLURM_ARRAY_TASK_ID and _MIN nor "
	    "JOB_COMPLETION_INDEX are set");
	return fb_hint(err, "write --shard K/N");
}

/* "K/N", "any/N", "auto", "auto/N" */
static int
parse_shard(
    const char *text, struct fb_download_request *request, struct fb_error *err)
{
	const char *slash = strchr(text, '/');
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	struct fb_error ignored = { 0 };
	uint64_t number = 0, count = 0;
	bool any = len == 3 && memcmp(text, "any", 3) == 0;
	int rc = FB_OK;

	if (slash != NULL &&
	    parse(slash + 1, strlen(slash + 1), FB_SHARDS_MAX, &count,
	        &ignored) < 0)
		return fail_number(text, err);
	if (len == 4 && memcmp(text, "auto", 4) == 0)
		rc = ask_environment(&number, &count, err);
	else if (!any && parse(text, len, FB_SHARDS_MAX, &number, &ignored) < 0)
		return fail_number(text, err);
	if (rc < 0)
		return rc;
	if (count == 0 || count > FB_SHARDS_MAX || number > count ||
	    (number == 0) != any)
		return fail_number(text, err);
	request->shard = (uint32_t)number;
	request->shards = (uint32_t)count;
	return FB_OK;
}

int
fb_cli_shard(const struct fb_cli *cli, struct fb_download_request *request,
    struct fb_error *err)
{
	const struct fb_arguments *args = &cli->args;
	const char *shard = fb_arguments_value(args, FB_OPT_SHARD);

	request->shared = fb_arguments_value(args, FB_OPT_RUN);
	request->take_over = fb_arguments_on(args, FB_OPT_TAKE_OVER);
	request->dead_after_ms = args->options[FB_OPT_DEAD_AFTER].number;
	if ((shard == NULL) != (request->shared == NULL)) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "options '--shard' and '--run' go together");
		return fb_hint(err, "fleetbak download --shard 1/8 --run NAME");
	}
	if (shard == NULL)
		return FB_OK;
	return fb_shared_name_check(request->shared, err) < 0
	    ? err->code
	    : parse_shard(shard, request, err);
}

/* Only what goes wrong: what is looked after was reported by its workers. */
static void
hear_warnings(void *arg, const struct fb_event *event)
{
	if (event->kind == FB_EVENT_WARNING)
		fb_cli_warn(arg, event->machine, event->error);
}

int
fb_cli_look_after(struct fb_cli *cli, const char *shared, struct fb_error *err)
{
	uint32_t left = 0;
	int rc;

	cli->engine.observer = (struct fb_observer){ hear_warnings, cli };
	rc = fb_shared_look_after(&cli->engine, shared,
	    fb_arguments_on(&cli->args, FB_OPT_TAKE_OVER),
	    fb_arguments_on(&cli->args, FB_OPT_FORCE), &left, err);
	cli->engine.observer = (struct fb_observer){ 0 };
	if (rc < 0 || left == 0)
		return rc;
	(void)fb_fail_id(err, FB_EFAILED, "E-SHARD-LEFT",
	    "%u workers of shared run '%s' have left a machine that is to be "
	    "started, or a snapshot",
	    left, shared);
	return fb_hint(err, "see the warnings, then the same command again");
}
