/*
 * A disk whose machine.yaml has a command that knows what changed in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "local_internal.h"

/* A map that takes longer does not pay. */
#define MAP_TIMEOUT_MS 60000

#define MAP_PREFIX "map:"

struct mapped {
	struct fb_artifact base;
	struct fb_artifact *disk;
	char *dir, *machine, *volume;
	char **argv;
};

static int
mapped_extent(struct fb_artifact *artifact, uint64_t from,
    uint64_t *ret_start, uint64_t *ret_end, struct fb_error *err)
{
	struct fb_artifact *disk = ((struct mapped *)artifact)->disk;

	return disk->ops->extent(disk, from, ret_start, ret_end, err);
}

static int
mapped_read(struct fb_artifact *artifact, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	struct fb_artifact *disk = ((struct mapped *)artifact)->disk;

	return disk->ops->read(disk, offset, bytes, len, err);
}

static bool
mapped_changed(struct fb_artifact *artifact)
{
	struct fb_artifact *disk = ((struct mapped *)artifact)->disk;

	return disk->ops->changed(disk);
}

static void
mapped_close(struct fb_artifact *artifact)
{
	struct mapped *mapped = (struct mapped *)artifact;

	fb_artifact_closep(&mapped->disk);
	free(mapped->dir);
	free(mapped->machine);
	free(mapped->volume);
	fb_local_strings_free(&mapped->argv);
	free(mapped);
}

static int
ask(const struct mapped *mapped, const char *since,
    struct fb_child_result *result, struct fb_error *err)
{
	FB_AUTO_FREE char *machine =
	    fb_format("FLEETBAK_MACHINE=%s", mapped->machine);
	FB_AUTO_FREE char *volume =
	    fb_format("FLEETBAK_VOLUME=%s", mapped->volume);
	FB_AUTO_FREE char *text = fb_format("FLEETBAK_SINCE=%s", since);
	const char *const env[] = { machine, volume, text, NULL };
	int rc = fb_child_run(
	    &(struct fb_child_spec){ .argv =
	            (const char *const *)mapped->argv,
	        .dir = mapped->dir,
	        .env = env,
	        .timeout_ms = MAP_TIMEOUT_MS,
	        .lock_fd = -1,
	        .stdout_max = FB_RANGES_TEXT_MAX },
	    result, err);

	if (rc == FB_OK && (result->exit_code != 0 || result->timed_out))
		rc = fb_fail_id(err, FB_EFAILED, "E-CHANGE-MAP",
		    result->timed_out ? "it did not end in time"
		                      : "it ended with exit code %d",
		    result->exit_code);
	return rc;
}

static int
mapped_blocks(struct fb_artifact *artifact, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	const struct mapped *mapped = (struct mapped *)artifact;
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	size_t prefix = strlen(MAP_PREFIX);
	bool ours = strncmp(since, MAP_PREFIX, prefix) == 0;
	char token[FB_RANGES_TOKEN_MAX + 1] = "";
	int rc = ask(mapped, ours ? since + prefix : "", &result, err);

	if (rc == FB_OK)
		rc = fb_ranges_parse(fb_buf_span(&result.out), artifact->size,
		    token, ret_changed, err);
	if (rc < 0)
		return fb_wrap(err, "'changed' of machine '%s', volume '%s'",
		    mapped->machine, mapped->volume);
	if (!ours)
		ret_changed->all = true;
	(void)snprintf(artifact->token, sizeof(artifact->token),
	    MAP_PREFIX "%s", token);
	return FB_OK;
}

static const struct fb_artifact_ops mapped_ops = {
	.extent = mapped_extent,
	.read = mapped_read,
	.changed_blocks = mapped_blocks,
	.changed = mapped_changed,
	.close = mapped_close,
};

struct fb_artifact *
fb_local_mapped_artifact(struct fb_artifact *disk,
    const struct fb_local_found *found, const struct fb_local_volume *volume)
{
	struct mapped *mapped = fb_alloc(1, sizeof(*mapped));
	size_t count = 0;

	while (volume->changed[count] != NULL)
		count++;
	mapped->argv = fb_alloc(count + 1, sizeof(*mapped->argv));
	for (size_t i = 0; i < count; i++)
		mapped->argv[i] = fb_strdup(volume->changed[i]);
	mapped->base.ops = &mapped_ops;
	mapped->base.size = disk->size;
	mapped->disk = disk;
	mapped->dir = fb_strdup(found->dir);
	mapped->machine = fb_strdup(found->spec->id);
	mapped->volume = fb_strdup(volume->name);
	return &mapped->base;
}
