/* The icp driver: its configuration, and its table. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/canic.h"

#include "icp_internal.h"

static void
icp_close(struct fb_driver *base)
{
	struct fb_icp *icp = (struct fb_icp *)base;

	free(icp->name);
	free(icp->command);
	free(icp->dir);
	free(icp->root);
	free(icp->environment);
	free(icp->network);
	free(icp->root_key);
	free(icp->identity);
	free(icp->password_file);
	free(icp->project);
	free(icp->spool);
	json_decref(icp->fixed);
	fb_labels_release(&icp->labels);
	(void)pthread_mutex_destroy(&icp->lock);
	free(icp);
}

static void
fill_labels(struct fb_labels *labels, const struct fb_labels *from)
{
	labels->items = fb_alloc(from->count + 1, sizeof(*labels->items));
	for (size_t i = 0; i < from->count; i++)
		labels->items[labels->count++] =
		    (struct fb_label){ fb_strdup(from->items[i].key),
			    fb_strdup(from->items[i].value) };
}

static const char *
text_of(const json_t *options, const char *key)
{
	return json_string_value(json_object_get(options, key));
}

static char *
copy_of(const json_t *options, const char *key)
{
	const char *text = text_of(options, key);

	return text != NULL ? fb_strdup(text) : NULL;
}

static int
take_span(const json_t *options, const char *key, uint64_t fallback,
    uint64_t *ret_ms, struct fb_error *err)
{
	const char *text = text_of(options, key);

	*ret_ms = fallback;
	return text != NULL ? fb_text_span(text, ret_ms, err) : FB_OK;
}

static int
take_spans(struct fb_icp *icp, const json_t *options, struct fb_error *err)
{
	int rc = take_span(
	    options, "timeout", 300000, &icp->command_ms, err);

	if (rc == FB_OK)
		rc = take_span(
		    options, "stop_timeout", 300000, &icp->stop_ms, err);
	if (rc == FB_OK)
		rc = take_span(
		    options, "start_timeout", 120000, &icp->start_ms, err);
	if (rc == FB_OK)
		rc = take_span(
		    options, "settle_time", 60000, &icp->settle_ms, err);
	if (rc == FB_OK)
		rc = take_span(options, "transfer_timeout",
		    UINT64_C(12) * 3600000, &icp->transfer_ms, err);
	return rc;
}

/* What begins with a dash would be an option of the command. */
static int
check_words(const json_t *options, struct fb_error *err)
{
	static const char *const keys[] = { "icp_environment",
		"icp_network", "root_key", "identity" };

	for (size_t i = 0; i < FB_COUNT(keys); i++) {
		const char *text = text_of(options, keys[i]);

		if (text != NULL && (text[0] == '-' || text[0] == '\0'))
			return fb_fail(err, FB_ECONFIG,
			    "%s: '%s' is none", keys[i], text);
	}
	if (text_of(options, "icp_environment") != NULL &&
	    text_of(options, "icp_network") != NULL)
		return fb_fail(err, FB_ECONFIG,
		    "the icp driver takes 'icp_environment' or 'icp_network', not "
		    "both");
	if (text_of(options, "root_key") != NULL &&
	    text_of(options, "icp_network") == NULL)
		return fb_fail(err, FB_ECONFIG,
		    "'root_key' is that of an 'icp_network', and there is none");
	return FB_OK;
}

static int
check_ids(const json_t *options, struct fb_error *err)
{
	const char *root = text_of(options, "root_canister");
	const json_t *item;
	size_t index;

	if (root == NULL || !fb_canic_principal_ok(root))
		return fb_fail(err, FB_ECONFIG,
		    "root_canister: '%s' is no principal of a canister",
		    root != NULL ? root : "");
	json_array_foreach(json_object_get(options, "fixed"), index, item)
		if (!fb_canic_principal_ok(json_string_value(item)))
			return fb_fail(err, FB_ECONFIG,
			    "fixed: '%s' is no principal of a canister",
			    json_string_value(item));
	return text_of(options, "spool") != NULL
	    ? FB_OK
	    : fb_fail(err, FB_ECONFIG,
	          "the icp driver needs 'spool', a directory");
}

static int
fill(struct fb_icp *icp, const json_t *options, struct fb_error *err)
{
	json_t *fixed = json_object_get(options, "fixed");
	int rc = check_ids(options, err);

	if (rc == FB_OK)
		rc = check_words(options, err);
	if (rc == FB_OK)
		rc = take_spans(icp, options, err);
	if (rc < 0)
		return rc;
	icp->command = copy_of(options, "icp");
	if (icp->command == NULL)
		icp->command = fb_strdup("icp");
	icp->root = copy_of(options, "root_canister");
	icp->environment = copy_of(options, "icp_environment");
	icp->network = copy_of(options, "icp_network");
	icp->root_key = copy_of(options, "root_key");
	icp->identity = copy_of(options, "identity");
	icp->password_file = copy_of(options, "identity_password_file");
	icp->project = copy_of(options, "project");
	icp->spool =
	    fb_format("%s/%s", text_of(options, "spool"), icp->name);
	icp->fixed = fixed != NULL ? json_incref(fixed) : NULL;
	return FB_OK;
}

static int
icp_open(const struct fb_config_source *source, struct fb_driver **ret_driver,
    struct fb_error *err)
{
	struct fb_icp *icp = fb_alloc(1, sizeof(*icp));
	int rc;

	icp->base.ops = &fb_icp_ops;
	icp->name = fb_strdup(source->name);
	icp->base.source = icp->name;
	icp->dir =
	    fb_strdup(source->base_dir != NULL ? source->base_dir : "/");
	fill_labels(&icp->labels, &source->labels);
	(void)pthread_mutex_init(&icp->lock, NULL);
	rc = fill(icp, source->options, err);
	if (rc < 0) {
		icp_close(&icp->base);
		return rc;
	}
	*ret_driver = &icp->base;
	return FB_OK;
}

/* The version, and whether the root is there and ours to control. */
static int
icp_probe(struct fb_driver *base, struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	struct fb_icp_how how = fb_icp_plain(0);
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	int rc = fb_icp_status(icp, icp->root, &how, &status, err);

	return rc == FB_EDENIED ? fb_wrap(err, "root '%s'", icp->root) : rc;
}

bool
fb_icp_is_fixed(const struct fb_icp *icp, const char *id)
{
	const json_t *item;
	size_t index;

	json_array_foreach(icp->fixed, index, item)
		if (strcmp(json_string_value(item), id) == 0)
			return true;
	return strcmp(icp->root, id) == 0;
}

const struct fb_driver_ops fb_icp_ops = {
	.name = "icp",
	.parents_first = true,
	.open = icp_open,
	.probe = icp_probe,
	.discover = fb_icp_discover,
	.power_get = fb_icp_power_get,
	.stop = fb_icp_stop,
	.start = fb_icp_start,
	.create_snapshot = fb_icp_create_snapshot,
	.find_by_token = fb_icp_find_by_token,
	.list_snapshots = fb_icp_list_snapshots,
	.remove_snapshot = fb_icp_remove_snapshot,
	.open_volume = fb_icp_open_volume,
	.restore_check = fb_icp_restore_check,
	.restore_begin = fb_icp_restore_begin,
	.restore_open = fb_icp_restore_open,
	.restore_finish = fb_icp_restore_finish,
	.close = icp_close,
};
