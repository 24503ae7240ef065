/* What a capture has recorded of its disks' changes. */
#include <stdlib.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "libvirt_checkpoint.h"

#define RECORD_MAX ((size_t)1 << 20)

void
fb_libvirt_changes_release(struct fb_libvirt_changes *changes)
{
	free(changes->token);
	free(changes->since);
	free(changes->bitmap);
	free(changes->why);
	*changes = (struct fb_libvirt_changes){ 0 };
}

int
fb_libvirt_load_changes(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, json_t **ret_record,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_part(driver, uuid, token, FB_LIBVIRT_CHANGES);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_io_read_file(path, RECORD_MAX, &text, err);

	if (rc == FB_OK)
		rc = fb_json_parse(fb_buf_span(&text), RECORD_MAX,
		    "what a backup job tells", ret_record, err);
	return rc;
}

static char *
copy_of(const json_t *item, const char *key)
{
	const char *text = json_string_value(json_object_get(item, key));

	return text != NULL ? fb_strdup(text) : NULL;
}

int
fb_libvirt_read_changes(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, const char *target,
    struct fb_libvirt_changes *ret_changes, struct fb_error *err)
{
	FB_AUTO_JSON json_t *all = NULL;
	int rc = fb_libvirt_load_changes(driver, uuid, token, &all, err);
	const json_t *item;

	if (rc < 0)
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	item = json_object_get(all, target);
	ret_changes->token = copy_of(item, "token");
	ret_changes->since = copy_of(item, "since");
	ret_changes->why = copy_of(item, "why");
	ret_changes->same = json_is_true(json_object_get(item, "same"));
	ret_changes->unknown = json_is_true(json_object_get(item, "unknown"));
	if (ret_changes->since != NULL && !ret_changes->same)
		ret_changes->bitmap = copy_of(item, "bitmap");
	if (ret_changes->since != NULL && !ret_changes->same &&
	    ret_changes->bitmap == NULL)
		ret_changes->bitmap = fb_format(FB_LIBVIRT_JOB_BITMAP, target);
	if (ret_changes->token != NULL &&
	    !fb_change_token_ok(ret_changes->token))
		free(FB_STEAL(ret_changes->token));
	return FB_OK;
}
