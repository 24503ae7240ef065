/* The computer-host driver: its configuration, asking, and the fleet. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

#include "computer_host_internal.h"

#define CREATE_MS (UINT64_C(30) * 60000)
/* It looks at what is pending every 5 seconds; a stop takes up to 12. */
#define SETTLE_MS 20000

static void
chost_close(struct fb_driver *base)
{
	struct fb_chost *host = (struct fb_chost *)base;

	fb_api_free(host->api);
	free(host->name);
	free(host->dir);
	free(host->serve);
	free(host->spool);
	json_decref(host->memory);
	json_decref(host->storage);
	json_decref(host->guests);
	json_decref(host->digests);
	fb_labels_release(&host->labels);
	(void)pthread_mutex_destroy(&host->lock);
	free(host);
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

/* Sizes are checked when the source is opened, not in the night. */
static int
take_sizes(const json_t *options, const char *key, json_t **ret_map,
    struct fb_error *err)
{
	json_t *map = json_object_get(options, key), *value;
	const char *id;

	json_object_foreach(map, id, value) {
		uint64_t bytes;

		if (fb_text_size(json_string_value(value), &bytes, err) < 0)
			return fb_wrap(err, "%s of '%s'", key, id);
	}
	*ret_map = map != NULL ? json_incref(map) : NULL;
	return FB_OK;
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
fill(struct fb_chost *host, const json_t *options, struct fb_error *err)
{
	const char *socket = text_of(options, "socket");
	const char *server = text_of(options, "server");
	const char *span = text_of(options, "create_timeout");
	const char *settle = text_of(options, "settle_time");
	FB_AUTO_FREE char *url = NULL;
	struct fb_api_options api = { .name = "computer-host",
		.step_ms = 60000, .call_ms = 120000 };
	json_t *guests = json_object_get(options, "guest_config");
	int rc;

	if ((socket == NULL) == (server == NULL))
		return fb_fail(err, FB_ECONFIG,
		    "the computer-host driver needs 'socket', the path of the "
		    "daemon's, or 'server', its http://ADDRESS:PORT");
	url = socket != NULL ? fb_format("unix:%s", socket)
	                     : fb_strdup(server);
	api.url = url;
	host->api = fb_api_new(&api);
	host->serve = copy_of(options, "serve");
	host->spool = copy_of(options, "spool");
	host->keep = json_is_true(json_object_get(options, "keep_snapshot"));
	host->guests = guests != NULL ? json_incref(guests) : NULL;
	host->create_ms = CREATE_MS;
	host->settle_ms = SETTLE_MS;
	rc = span != NULL ? fb_text_span(span, &host->create_ms, err) : FB_OK;
	if (rc == FB_OK && settle != NULL)
		rc = fb_text_span(settle, &host->settle_ms, err);
	if (rc == FB_OK)
		rc = take_sizes(options, "memory", &host->memory, err);
	if (rc == FB_OK)
		rc = take_sizes(options, "storage", &host->storage, err);
	return rc;
}

static int
chost_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err)
{
	struct fb_chost *host = fb_alloc(1, sizeof(*host));
	int rc;

	host->base.ops = &fb_computer_host_ops;
	host->name = fb_strdup(source->name);
	host->base.source = host->name;
	host->dir =
	    fb_strdup(source->base_dir != NULL ? source->base_dir : "/");
	host->digests = json_object();
	fill_labels(&host->labels, &source->labels);
	(void)pthread_mutex_init(&host->lock, NULL);
	rc = fill(host, source->options, err);
	if (rc < 0) {
		chost_close(&host->base);
		return rc;
	}
	*ret_driver = &host->base;
	return FB_OK;
}

/* -------------------------------------------------------------- asking */

static char *
path_of(const char *kind, const char *id, const char *rest)
{
	FB_AUTO_BUF struct fb_buf path = { 0 };

	fb_buf_add_fmt(&path, "/%s/", kind);
	fb_api_add_encoded(&path, id);
	fb_buf_add_str(&path, rest);
	return (char *)fb_buf_steal(&path);
}

char *
fb_chost_machine_path(const char *id, const char *rest)
{
	return path_of("machines", id, rest);
}

char *
fb_chost_snapshot_path(const char *sid, const char *rest)
{
	return path_of("snapshots", sid, rest);
}

int
fb_chost_get(struct fb_chost *host, const char *path, const char *key,
    json_t **ret_object, struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET", .path = path,
		.what = key, .safe = true, .answer_max = (size_t)16 << 20 };
	json_t *value;
	int rc = fb_api_send(host->api, &call, &answer, err);

	if (rc < 0)
		return rc;
	value = json_object_get(answer.json, key);
	if (value == NULL)
		return fb_fail(err, FB_EPROTO,
		    "computer-host answers GET %s without '%s'", path, key);
	*ret_object = json_incref(value);
	return FB_OK;
}

/* The text is the only thing that tells one refusal from another. */
static int
in_words(const struct fb_api_answer *answer, int rc, struct fb_error *err)
{
	const char *text = answer->error.message;

	if (answer->status != 400)
		return rc;
	if (strstr(text, "has a pending") != NULL) {
		(void)fb_fail_id(
		    err, FB_ECONFLICT, "E-CHOST-PENDING", "%s", text);
		return fb_hint(err, "the daemon puts it right by itself "
				    "within seconds, or needs a restart");
	}
	if (strstr(text, "is not running") != NULL)
		return fb_fail_id(
		    err, FB_ECONFLICT, "E-CHOST-DOWN", "%s", text);
	return rc;
}

int
fb_chost_do(struct fb_chost *host, const char *method, const char *path,
    const json_t *body, uint64_t step_ms, struct fb_api_answer *ret_answer,
    struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer own = { 0 };
	struct fb_api_answer *answer = ret_answer ? ret_answer : &own;
	/* Who goes away while it works leaves a machine paused. */
	struct fb_api_call call = { .method = method, .path = path,
		.what = method, .body = body, .patient = true,
		.step_ms = step_ms, .call_ms = step_ms };
	int rc = fb_api_send(host->api, &call, answer, err);

	return rc < 0 ? in_words(answer, rc, err) : rc;
}

static int
chost_probe(struct fb_driver *base, struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	FB_AUTO_JSON json_t *ok = NULL;
	FB_AUTO_JSON json_t *report = NULL;
	int rc = fb_chost_get(host, "/health", "ok", &ok, err);

	if (rc < 0)
		return rc;
	rc = fb_chost_get(host, "/storage/report", "report", &report, err);
	if (rc != FB_ENOTFOUND)
		return rc;
	*err = (struct fb_error){ 0 };
	(void)fb_fail_id(err, FB_EUNSUP, "E-CHOST-OLD",
	    "this daemon gives no bytes of snapshots over its API");
	return fb_hint(err, "it is of the first version; update it");
}

/* ---------------------------------------------------------------- fleet */

struct listing {
	struct fb_chost *host;
	struct fb_fleet *fleet;
};

static int
add_machine(void *arg, const json_t *item, struct fb_error *err)
{
	const struct listing *listing = arg;
	const char *id = json_string_value(json_object_get(item, "id"));
	FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
	struct fb_machine *machine;
	struct fb_error why = { 0 };
	int rc;

	if (id == NULL)
		return fb_fail(err, FB_EPROTO,
		    "computer-host lists a machine without an id");
	/* What the list says of its phase may be of yesterday. */
	rc = fb_chost_machine(listing->host, id, &now, &why);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_EUNREACH || rc == FB_EDENIED) {
		*err = why;
		return rc;
	}
	machine = fb_fleet_add(listing->fleet);
	machine->source = fb_strdup(listing->host->name);
	machine->driver = fb_strdup("computer-host");
	machine->id = fb_strdup(id);
	machine->name = fb_strdup(id);
	machine->role = fb_strdup("");
	fill_labels(&machine->labels, &listing->host->labels);
	if (rc == FB_OK)
		rc = fb_chost_describe(listing->host, &now, machine, &why);
	if (rc < 0)
		fb_machine_refuse(machine, &why);
	return FB_OK;
}

static int
chost_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	static const char *const keys[] = { "machines", NULL };
	struct listing listing = { (struct fb_chost *)base, fleet };
	FB_AUTO_PAGE struct fb_page page = { .style = FB_PAGE_NONE,
		.keys = keys, .id = "id" };
	int rc = chost_probe(base, err);

	return rc < 0 ? rc
	              : fb_api_list(listing.host->api, "/machines", &page,
	                    NULL, add_machine, &listing, err);
}

const struct fb_driver_ops fb_computer_host_ops = {
	.name = "computer-host",
	.takes = FB_TAKES(FB_VOLUME_DISK),
	.open = chost_open,
	.probe = chost_probe,
	.discover = chost_discover,
	.power_get = fb_chost_power_get,
	.stop = fb_chost_stop,
	.start = fb_chost_start,
	.create_snapshot = fb_chost_create_snapshot,
	.find_by_token = fb_chost_find_by_token,
	.list_snapshots = fb_chost_list_snapshots,
	.remove_snapshot = fb_chost_remove_snapshot,
	.open_volume = fb_chost_open_volume,
	.restore_check = fb_chost_restore_check,
	.restore_begin = fb_chost_restore_begin,
	.restore_open = fb_chost_restore_open,
	.restore_finish = fb_chost_restore_finish,
	.close = chost_close,
};
