/* The miosa driver: its configuration, asking, and the fleet. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"

#include "miosa_internal.h"

#define DEFAULT_URL "https://api.miosa.ai/api/v1"
#define KEY_PREFIX  "msk_"

static void
miosa_close(struct fb_driver *base)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;

	fb_api_free(miosa->api);
	free(miosa->name);
	free(miosa->dir);
	free(miosa->spool);
	json_decref(miosa->trees);
	fb_labels_release(&miosa->labels);
	(void)pthread_mutex_destroy(&miosa->lock);
	free(miosa);
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

const char *
fb_miosa_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

/* A word of the configuration, which knows which there are. */
static int
choose(const json_t *options, const char *key, const char *const *words)
{
	const char *text = fb_miosa_text(options, key);

	for (int i = 0; words[i] != NULL; i++)
		if (strcmp(text, words[i]) == 0)
			return i;
	return 0;
}

static int
take_trees(struct fb_miosa *miosa, const json_t *options,
    struct fb_error *err)
{
	json_t *trees = json_object_get(options, "trees"), *value;
	const char *name;

	miosa->trees = json_object_size(trees) > 0
	    ? json_incref(trees)
	    : json_pack("{s:s}", "root", "/");
	json_object_foreach(miosa->trees, name, value) {
		if (!fb_name_ok(name, strlen(name)) ||
		    strcmp(name, "definition") == 0)
			return fb_fail(err, FB_ECONFIG,
			    "trees: '%s' is no name of a volume", name);
		if (!json_is_string(value) ||
		    !fb_miosa_root_ok(json_string_value(value)))
			return fb_fail(err, FB_ECONFIG,
			    "trees: that of '%s' is no absolute path, or has "
			    "'..' or a control character in it", name);
	}
	return FB_OK;
}

/* Headers that scope what is asked; a line end in them would be another. */
static int
take_scope(const json_t *options, const char *key, const char *header,
    const char **lines, size_t *count, char **ret_line, struct fb_error *err)
{
	const char *text = fb_miosa_text(options, key);

	if (text[0] == '\0')
		return FB_OK;
	if (!fb_name_ok(text, strlen(text)))
		return fb_fail(
		    err, FB_ECONFIG, "%s: '%.64s' is no id", key, text);
	*ret_line = fb_format("%s: %s", header, text);
	lines[(*count)++] = *ret_line;
	return FB_OK;
}

static int
check_url(const char *url, struct fb_error *err)
{
	bool tls = strncmp(url, "https://", 8) == 0;
	bool plain = strncmp(url, "http://", 7) == 0;

	if ((tls || plain) && url[tls ? 8 : 7] != '\0' &&
	    url[strcspn(url, "?#@ \r\n\t")] == '\0')
		return FB_OK;
	(void)fb_fail(err, FB_ECONFIG,
	    "url: '%.128s' is no https://HOST[:PORT][/PATH]", url);
	return fb_hint(err, "a key stands in api_key, never in it");
}

static int
read_key(const struct fb_miosa *miosa, const json_t *options,
    struct fb_buf *key, struct fb_error *err)
{
	const char *reference = fb_miosa_text(options, "api_key");
	int rc;

	if (reference[0] == '\0')
		return fb_fail(err, FB_ECONFIG,
		    "the miosa driver needs 'api_key', a reference to one");
	rc = fb_secret_read(reference, miosa->dir, true, key, err);
	if (rc < 0)
		return fb_wrap(err, "api_key");
	while (key->len > 0 &&
	    (key->data[key->len - 1] == '\n' ||
	        key->data[key->len - 1] == '\r'))
		key->len--;
	if (key->len == 0 || memchr(key->data, '\n', key->len) != NULL ||
	    memchr(key->data, '\r', key->len) != NULL ||
	    memchr(key->data, '\0', key->len) != NULL)
		return fb_fail(err, FB_ECONFIG, "api_key is no one line");
	if (key->len < 4 || memcmp(key->data, KEY_PREFIX, 4) != 0)
		fb_log(FB_LOG_WARNING, "miosa: the api_key does not begin "
				       "with " KEY_PREFIX);
	return FB_OK;
}

static int
open_api(struct fb_miosa *miosa, const json_t *options, struct fb_error *err)
{
	const char *url = fb_miosa_text(options, "url");
	FB_AUTO_FREE char *tenant = NULL;
	FB_AUTO_FREE char *workspace = NULL;
	FB_AUTO_SECRET struct fb_buf key = { 0 };
	const char *lines[3] = { NULL };
	struct fb_api_options api = { .name = "MIOSA",
		.url = url[0] != '\0' ? url : DEFAULT_URL,
		.auth = FB_API_BEARER,
		.headers = lines,
		.call_ms = 300000 };
	size_t count = 0;
	int rc = check_url(api.url, err);

	if (rc == FB_OK)
		rc = take_scope(options, "tenant", "X-MIOSA-Tenant", lines,
		    &count, &tenant, err);
	if (rc == FB_OK)
		rc = take_scope(options, "workspace", "X-MIOSA-Workspace",
		    lines, &count, &workspace, err);
	if (rc == FB_OK)
		rc = read_key(miosa, options, &key, err);
	if (rc < 0)
		return rc;
	api.secret = fb_buf_span(&key);
	miosa->api = fb_api_new(&api);
	return FB_OK;
}

static int
take_span(const json_t *options, const char *key, uint64_t *ret_ms,
    struct fb_error *err)
{
	const char *text = fb_miosa_text(options, key);

	return text[0] != '\0' ? fb_text_span(text, ret_ms, err) : FB_OK;
}

static int
fill(struct fb_miosa *miosa, const json_t *options, struct fb_error *err)
{
	static const char *const families[] = { "auto", "checkpoints",
		"snapshots", "account", NULL };
	static const char *const contents[] = { "auto", "export", "files",
		"snapshot", NULL };
	const char *spool = fb_miosa_text(options, "spool");
	int rc;

	miosa->family =
	    (enum fb_miosa_family)choose(options, "family", families);
	miosa->content =
	    (enum fb_miosa_content)choose(options, "content", contents);
	miosa->keep = json_is_true(json_object_get(options, "keep_snapshot"));
	miosa->spool = spool[0] != '\0' ? fb_strdup(spool) : NULL;
	miosa->create_ms = UINT64_C(30) * 60000;
	miosa->settle_ms = 20000;
	rc = take_span(options, "create_timeout", &miosa->create_ms, err);
	if (rc == FB_OK)
		rc = take_span(
		    options, "settle_time", &miosa->settle_ms, err);
	if (rc == FB_OK)
		rc = take_trees(miosa, options, err);
	return rc < 0 ? rc : open_api(miosa, options, err);
}

static int
miosa_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err)
{
	struct fb_miosa *miosa = fb_alloc(1, sizeof(*miosa));
	int rc;

	miosa->base.ops = &fb_miosa_ops;
	miosa->name = fb_strdup(source->name);
	miosa->base.source = miosa->name;
	miosa->dir =
	    fb_strdup(source->base_dir != NULL ? source->base_dir : "/");
	fill_labels(&miosa->labels, &source->labels);
	(void)pthread_mutex_init(&miosa->lock, NULL);
	rc = fill(miosa, source->options, err);
	if (rc < 0) {
		miosa_close(&miosa->base);
		return rc;
	}
	*ret_driver = &miosa->base;
	return FB_OK;
}

/* -------------------------------------------------------------- family */

/* Is there a list?  What the deployment does not serve is 404 or 405; a
 * computer that is not there would be so, too, and was asked for before. */
static int
serves(struct fb_miosa *miosa, const char *path, bool *ret_served,
    struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET", .path = path,
		.what = "family", .safe = true,
		.answer_max = (size_t)16 << 20 };
	int rc = fb_api_send(miosa->api, &call, &answer, err);

	*ret_served = rc == FB_OK;
	if (rc != FB_ENOTFOUND && rc != FB_EUNSUP)
		return rc;
	*err = (struct fb_error){ 0 };
	return FB_OK;
}

static int
probe_family(struct fb_miosa *miosa, const char *computer,
    enum fb_miosa_family *ret_family, struct fb_error *err)
{
	FB_AUTO_FREE char *first =
	    fb_miosa_path("computers", computer, "/checkpoints");
	FB_AUTO_FREE char *second =
	    fb_miosa_path("computers", computer, "/snapshots");
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	bool served = false;
	int rc = fb_miosa_computer(miosa, computer, &now, err);

	*ret_family = FB_MIOSA_CHECKPOINTS;
	if (rc == FB_OK)
		rc = serves(miosa, first, &served, err);
	if (rc < 0 || served)
		return rc;
	*ret_family = FB_MIOSA_SNAPSHOTS;
	rc = serves(miosa, second, &served, err);
	if (rc < 0)
		return rc;
	if (!served) {
		(void)fb_fail_id(err, FB_EUNSUP, "E-MIOSA-FAMILY",
		    "this deployment serves neither checkpoints nor "
		    "snapshots of a computer");
		return fb_hint(err, "see to the source's url, or name the "
				    "family it has");
	}
	rc = serves(miosa, "/snapshots?limit=1", &served, err);
	if (rc == FB_OK && served)
		*ret_family = FB_MIOSA_ACCOUNT;
	return rc;
}

int
fb_miosa_family(struct fb_miosa *miosa, const char *computer,
    enum fb_miosa_family *ret_family, struct fb_error *err)
{
	int rc = FB_OK;

	(void)pthread_mutex_lock(&miosa->lock);
	*ret_family = miosa->family;
	if (*ret_family == FB_MIOSA_AUTO)
		rc = probe_family(miosa, computer, ret_family, err);
	if (rc == FB_OK)
		miosa->family = *ret_family;
	(void)pthread_mutex_unlock(&miosa->lock);
	return rc;
}

/* --------------------------------------------------------------- fleet */

static int
miosa_probe(struct fb_driver *base, struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET",
		.path = "/computers?page=1&per_page=1&page_size=1&limit=1",
		.what = "computers", .safe = true,
		.answer_max = (size_t)16 << 20 };

	return fb_api_send(miosa->api, &call, &answer, err);
}

struct listing {
	struct fb_miosa *miosa;
	struct fb_fleet *fleet;
};

static int
add_machine(void *arg, const json_t *item, struct fb_error *err)
{
	const struct listing *listing = arg;
	struct fb_miosa *miosa = listing->miosa;
	const char *id = fb_miosa_text(item, "id");
	const char *name = fb_miosa_text(item, "name");
	struct fb_machine *machine;
	struct fb_error why = { 0 };
	int rc;

	if (strcmp(fb_miosa_text(item, "status"), "destroyed") == 0)
		return FB_OK;
	machine = fb_fleet_add(listing->fleet);
	machine->source = fb_strdup(miosa->name);
	machine->driver = fb_strdup("miosa");
	machine->id = fb_strdup(id);
	machine->name = fb_strdup(
	    fb_name_ok(name, strlen(name)) ? name : id);
	machine->role = fb_strdup("");
	fill_labels(&machine->labels, &miosa->labels);
	rc = fb_miosa_describe(miosa, item, machine, &why);
	if (rc == FB_EUNREACH || rc == FB_EDENIED || rc == FB_ERETRY) {
		*err = why;
		return rc;
	}
	if (rc < 0)
		fb_machine_refuse(machine, &why);
	return FB_OK;
}

static int
miosa_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	struct listing listing = { (struct fb_miosa *)base, fleet };

	return fb_miosa_list(
	    listing.miosa, "/computers", add_machine, &listing, err);
}

const struct fb_driver_ops fb_miosa_ops = {
	.name = "miosa",
	.open = miosa_open,
	.probe = miosa_probe,
	.discover = miosa_discover,
	.power_get = fb_miosa_power_get,
	.stop = fb_miosa_stop,
	.start = fb_miosa_start,
	.create_snapshot = fb_miosa_create_snapshot,
	.find_by_token = fb_miosa_find_by_token,
	.list_snapshots = fb_miosa_list_snapshots,
	.remove_snapshot = fb_miosa_remove_snapshot,
	.open_volume = fb_miosa_open_volume,
	.restore_check = fb_miosa_restore_check,
	.restore_begin = fb_miosa_restore_begin,
	.restore_open = fb_miosa_restore_open,
	.restore_finish = fb_miosa_restore_finish,
	.close = miosa_close,
};
