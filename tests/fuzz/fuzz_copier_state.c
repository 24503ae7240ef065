/*
 * A copier that goes on after a crash: whatever its journaled state and its
 * spool say, it is opened or refused; and what it journals once it was opened
 * opens it again, where it stopped.
 *
 * The first line is the state, a JSON object; the others are files of the
 * spool, "NAME HEX".
 */
#include <sys/stat.h>

#include <jansson.h>

#include "fleetbak/base/text.h"
#include "fleetbak/repo/copier.h"
#include "fuzz.h"

#define SESSION  "20261121-013205123-3fa92c17"
#define COPY     "m0000-data"
#define NAME_LEN 40

struct world {
	struct fb_repo repo;
	struct fb_session session;
	char *spool;
	json_t *state; /* the newest */
};

static int
keep_state(void *arg, const json_t *state, struct fb_error *err)
{
	struct world *world = arg;

	(void)err;
	json_decref(world->state);
	world->state = json_deep_copy(state);
	return FB_OK;
}

/* "NAME HEX" */
static void
put_spool_file(const char *spool, struct fb_span line)
{
	const uint8_t *space =
	    line.len > 0 ? memchr(line.ptr, ' ', line.len) : NULL;
	size_t len = space != NULL ? (size_t)(space - line.ptr) : 0;
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE uint8_t *bytes = NULL;
	struct fb_span hex;
	struct fb_error ignored;

	if (len == 0 || len > NAME_LEN || line.ptr[0] == '.' ||
	    memchr(line.ptr, '/', len) != NULL ||
	    memchr(line.ptr, '\0', len) != NULL)
		return;
	hex = (struct fb_span){ space + 1, (line.len - len - 1) / 2 * 2 };
	bytes = fb_alloc(hex.len / 2 + 1, 1);
	if (fb_text_unhex(hex, bytes, hex.len / 2, &ignored) < 0)
		return;
	path = fb_format("%s/%.*s", spool, (int)len, (const char *)line.ptr);
	put_file(path, (struct fb_span){ bytes, hex.len / 2 });
}

static int
open_copier(
    struct world *world, const json_t *state, struct fb_copier **ret_copier)
{
	struct fb_copier_spec spec = { .repo = &world->repo,
		.session = &world->session,
		.spool_dir = world->spool,
		.workers = 1,
		.level = 1,
		.pack_size = 65536,
		.checkpoint = keep_state,
		.arg = world };
	struct fb_error err;
	int rc = fb_copier_open(&spec, state, ret_copier, &err);

	must(rc == FB_OK || (err.code < 0 && err.msg[0] != '\0'));
	return rc;
}

static void
go_on(struct world *world, const json_t *state)
{
	struct fb_copier *copier = NULL;
	struct fb_copy *copy = NULL;
	struct fb_copy_result result;
	struct fb_error err;
	uint64_t offset = 0, again = 0;

	if (open_copier(world, state, &copier) < 0)
		return;
	if (fb_copy_begin(copier, COPY, "disk", false, true, &copy, &offset,
	        &err) == FB_OK) {
		must(fb_copy_data(copy, "more", 4, &err) == FB_OK);
		if (fb_copy_finish(copy, &result, &err) == FB_OK)
			must(result.size == offset + 4);
	}
	if (fb_copier_checkpoint(copier, &err) < 0) {
		fb_copier_close(copier);
		return;
	}
	fb_copier_close(copier);
	must(world->state != NULL);
	state = json_incref(world->state);
	must(open_copier(world, state, &copier) == FB_OK);
	if (copy != NULL &&
	    fb_copy_begin(copier, COPY, "disk", false, true, &copy, &again,
	        &err) == FB_OK) {
		must(again <= offset + 4);
		fb_copy_abandon(copy);
	}
	fb_copier_close(copier);
	json_decref((json_t *)state);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world world = { .session = { .id = SESSION } };
	struct fb_span rest = { data, size };
	struct fb_span first = take_line(&rest);
	json_t *state = json_loadb(
	    (const char *)first.ptr, first.len, JSON_REJECT_DUPLICATES, NULL);
	struct fb_error err;

	if (!json_is_object(state) || size > 65536) {
		json_decref(state);
		return 0;
	}
	world.spool = fb_format("%s/spool", scratch_dir());
	must(mkdir(world.spool, 0700) == 0);
	while (rest.len > 0)
		put_spool_file(world.spool, take_line(&rest));
	must(fb_store_open("mem:", true, NULL, &world.repo.store, &err) == FB_OK);
	go_on(&world, state);
	json_decref(state);
	json_decref(world.state);
	fb_store_close(world.repo.store);
	must(fb_io_remove_tree(world.spool, &err) == FB_OK);
	free(world.spool);
	return 0;
}
