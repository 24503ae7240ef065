/* What changed: bitmaps of QEMU's, over NBD, and what those in an image are
 * worth. */
#include <inttypes.h>
#include <string.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "libvirt_checkpoint.h"

/* How NBD calls one, and the flag of what changed. */
#define CONTEXT "qemu:dirty-bitmap:%s"
#define CHANGED UINT32_C(1)

/* More changes than these are told of too coarsely, never too few. */
#define CHANGES_MAX ((size_t)1 << 20)

/* A look at an image. */
#define LOOK_MS    60000
#define ANSWER_MAX ((size_t)4 << 20)

static int
ask_far(const struct fb_libvirt_far *far, const char *path, json_t **ret_info,
    struct fb_error *err)
{
	FB_AUTO_FREE char *what = fb_format("look at '%s'", path);
	const char *const args[] = { path, NULL };
	FB_AUTO_BUF struct fb_buf answer = { 0 };
	int rc = fb_libvirt_far_run(far, what,
	    "exec qemu-img info --output=json -U -f qcow2 \"$1\"", args,
	    (struct fb_span){ 0 }, ANSWER_MAX, &answer, err);

	return rc < 0 ? rc
	              : fb_json_parse(fb_buf_span(&answer), ANSWER_MAX,
	                    "what qemu-img tells", ret_info, err);
}

static int
ask_here(const char *path, json_t **ret_info, struct fb_error *err)
{
	const char *const words[] = { "qemu-img", "info", "--output=json", "-U",
		"-f", "qcow2", path, NULL };
	struct fb_child_spec spec = { .argv = words,
		.timeout_ms = LOOK_MS,
		.lock_fd = -1,
		.stdout_max = ANSWER_MAX };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	int rc = fb_child_run(&spec, &result, err);

	if (rc == FB_OK && result.exit_code != 0)
		rc = fb_fail(err, FB_EFAILED, "qemu-img cannot look at '%s'",
		    path);
	return rc < 0 ? rc
	              : fb_json_parse(fb_buf_span(&result.out), ANSWER_MAX,
	                    "what qemu-img tells", ret_info, err);
}

static const json_t *
find_bitmap(const json_t *info, const char *bitmap)
{
	const json_t *list = json_object_get(
	    json_object_get(json_object_get(info, "format-specific"), "data"),
	    "bitmaps");
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		const char *name =
		    json_string_value(json_object_get(item, "name"));

		if (name != NULL && strcmp(name, bitmap) == 0)
			return item;
	}
	return NULL;
}

static bool
has_flag(const json_t *item, const char *flag)
{
	const json_t *list = json_object_get(item, "flags"), *is;
	size_t i;

	json_array_foreach(list, i, is)
		if (json_is_string(is) &&
		    strcmp(json_string_value(is), flag) == 0)
			return true;
	return false;
}

/* "in-use" stays when QEMU could not write it out; without "auto" nobody keeps
 * account. */
int
fb_libvirt_check_bitmap(const struct fb_libvirt_far *far, const char *path,
    const char *bitmap, struct fb_error *err)
{
	FB_AUTO_JSON json_t *info = NULL;
	const json_t *found;
	int rc = far == NULL ? ask_here(path, &info, err)
	                     : ask_far(far, path, &info, err);

	if (rc < 0)
		return rc;
	found = find_bitmap(info, bitmap);
	if (found == NULL)
		return fb_fail(err, FB_EFAILED,
		    "the bitmap '%s' of its last run is not in '%s'", bitmap,
		    path);
	if (has_flag(found, "in-use") || !has_flag(found, "auto"))
		return fb_fail(err, FB_EFAILED,
		    "the bitmap '%s' in '%s' lacks something: QEMU was killed, "
		    "or somebody stopped it",
		    bitmap, path);
	return FB_OK;
}

char *
fb_libvirt_context(const char *bitmap)
{
	return fb_format(CONTEXT, bitmap);
}

struct walk {
	const char *context;
	struct fb_ranges *changed;
	uint64_t size, told;
};

/* Called with pairs of length and flags from `offset` on. */
static int
take_changes(void *arg, const char *context, uint64_t offset,
    uint32_t *entries, size_t count, int *error)
{
	struct walk *walk = arg;

	(void)error;
	if (strcmp(context, walk->context) != 0 || offset != walk->told)
		return 0;
	for (size_t i = 0; i + 1 < count; i += 2) {
		uint64_t left = walk->size - walk->told;
		uint64_t len = entries[i] < left ? entries[i] : left;

		if ((entries[i + 1] & CHANGED) != 0 && len > 0)
			fb_ranges_add(walk->changed, walk->told,
			    walk->told + len, CHANGES_MAX);
		walk->told += len;
	}
	return 0;
}

static int
read_bitmap(struct fb_artifact *disk, const char *bitmap,
    struct fb_ranges *changed, struct fb_error *err)
{
	FB_AUTO_FREE char *context = fb_libvirt_context(bitmap);
	struct walk walk = {
		.context = context, .changed = changed, .size = disk->size
	};

	while (walk.told < walk.size) {
		uint64_t from = walk.told;
		int rc = fb_libvirt_ask_context(disk, context, from,
		    (nbd_extent_callback){
		        .callback = take_changes, .user_data = &walk },
		    err);

		if (rc == FB_OK && walk.told == from)
			rc = fb_fail(err, FB_EPROTO,
			    "it does not say what changed at %" PRIu64, from);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

int
fb_libvirt_tell_changes(struct fb_artifact *disk,
    const struct fb_libvirt_changes *changes, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	if (changes->why != NULL)
		return fb_fail_id(
		    err, FB_EFAILED, "E-CHANGE-MAP", "%s", changes->why);
	if (since[0] == '\0' || changes->unknown) {
		ret_changed->all = true;
		return FB_OK;
	}
	if (changes->since == NULL || strcmp(changes->since, since) != 0)
		return fb_fail_id(err, FB_EFAILED, "E-CHANGE-MAP",
		    "nothing tells what changed since the last run");
	if (changes->same)
		return FB_OK;
	if (read_bitmap(disk, changes->bitmap, ret_changed, err) == FB_OK)
		return FB_OK;
	fb_ranges_release(ret_changed);
	return err->code;
}
