/* What the driver writes down before it asks for something: the platform gives
 * snapshots no names, so an answer that is lost is found by what was there
 * before. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "icp_internal.h"

#define FACTS_MAX ((size_t)1 << 20)

const char *
fb_icp_fact(const json_t *facts, const char *key)
{
	const char *text = json_string_value(json_object_get(facts, key));

	return text != NULL ? text : "";
}

json_t *
fb_icp_ids(const struct fb_icp_inventory *inventory)
{
	json_t *ids = json_array();

	for (size_t i = 0; i < inventory->count; i++)
		(void)json_array_append_new(
		    ids, json_string(inventory->items[i].id));
	return ids;
}

int
fb_icp_read_facts(const char *path, json_t **ret_facts, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = fb_io_read_file(path, FACTS_MAX, &bytes, err);

	if (rc == FB_OK)
		rc = fb_json_parse(
		    fb_buf_span(&bytes), FACTS_MAX, path, ret_facts, err);
	if (rc == FB_OK && !json_is_object(*ret_facts)) {
		json_decref(*ret_facts);
		*ret_facts = NULL;
		rc = fb_fail(err, FB_ECORRUPT, "'%s' is no object", path);
	}
	return rc;
}

int
fb_icp_write_facts(
    const char *path, const json_t *facts, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	fb_json_add(&bytes, facts);
	fb_buf_add_str(&bytes, "\n");
	return fb_io_replace(path, fb_buf_span(&bytes), 0600, err);
}

void
fb_icp_record_release(struct fb_icp_record *record)
{
	free(record->dir);
	json_decref(record->facts);
	*record = (struct fb_icp_record){ 0 };
}

int
fb_icp_record_load(const struct fb_icp *icp, const char *machine,
    const char *token, struct fb_icp_record *ret_record, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	int rc;

	ret_record->dir =
	    fb_format("%s/captures/%s/%s", icp->spool, machine, token);
	ret_record->facts = NULL;
	path = fb_format("%s/record.json", ret_record->dir);
	rc = fb_icp_read_facts(path, &ret_record->facts, err);
	return rc == FB_ENOTFOUND
	    ? fb_fail(err, FB_ENOTFOUND,
	          "nothing is known of a snapshot '%s' of canister '%s'",
	          token, machine)
	    : rc;
}

int
fb_icp_record_save(const struct fb_icp_record *record, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/record.json", record->dir);
	int rc = fb_io_mkdirs(record->dir, 0700, err);

	return rc < 0 ? rc : fb_icp_write_facts(path, record->facts, err);
}

int
fb_icp_record_set(const struct fb_icp_record *record, const char *key,
    json_t *value, struct fb_error *err)
{
	(void)json_object_set_new(record->facts, key, value);
	return fb_icp_record_save(record, err);
}
