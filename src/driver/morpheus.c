/* The morpheus driver: its configuration, asking, and the fleet. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"

#include "morpheus_internal.h"

#define NS_PER_MS INT64_C(1000000)

/* Waiting begins with short pauses: a machine may be down meanwhile. */
#define PAUSE_MS     100
#define PAUSE_MAX_MS 5000

#define PAGE_SIZE 100

static void
morpheus_close(struct fb_driver *base)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;

	fb_api_free(m->api);
	free(m->name);
	free(m->ssh_config);
	free(m->mark);
	for (size_t i = 0; m->removable != NULL && m->removable[i] != NULL;
	     i++)
		free(m->removable[i]);
	free(m->removable);
	fb_labels_release(&m->labels);
	free(m);
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
text_of(const json_t *options, const char *key, const char *fallback)
{
	const char *text = json_string_value(json_object_get(options, key));

	return text != NULL ? text : fallback;
}

static int
span_of(const json_t *options, const char *key, const char *fallback,
    uint64_t *ret_ms, struct fb_error *err)
{
	int rc = fb_text_span(text_of(options, key, fallback), ret_ms, err);

	return rc < 0 ? fb_wrap(err, "%s", key) : rc;
}

static void
fill_removable(struct fb_morpheus *m, const json_t *list)
{
	m->removable =
	    fb_alloc(json_array_size(list) + 1, sizeof(*m->removable));
	for (size_t i = 0; i < json_array_size(list); i++)
		m->removable[i] =
		    fb_strdup(json_string_value(json_array_get(list, i)));
}

/* The password is read when the source is opened, and no line of it is more
 * than its first one. */
static int
connect(struct fb_morpheus *m, const struct fb_config_source *source,
    struct fb_error *err)
{
	const json_t *options = source->options;
	const char *reference = text_of(options, "password", NULL);
	FB_AUTO_SECRET struct fb_buf secret = { 0 };
	struct fb_api_options api = { .name = "morpheus",
		.url = text_of(options, "server", NULL),
		.ca = text_of(options, "ca", NULL),
		.auth = FB_API_FORM,
		.user = text_of(options, "user", NULL),
		.token_path = "/oauth/token",
		.token_form = "scope=write&client_id=morph-api",
		.step_ms = 60000,
		.call_ms = 180000 };
	int rc;

	if (api.url == NULL || api.user == NULL || reference == NULL)
		return fb_fail(err, FB_ECONFIG,
		    "the morpheus driver needs 'server', 'user' and "
		    "'password'");
	rc = fb_secret_read(reference,
	    source->base_dir != NULL ? source->base_dir : "/", true, &secret,
	    err);
	if (rc < 0)
		return fb_wrap(err, "password");
	api.secret = fb_buf_span(&secret);
	while (api.secret.len > 0 &&
	    (api.secret.ptr[api.secret.len - 1] == '\n' ||
	        api.secret.ptr[api.secret.len - 1] == '\r'))
		api.secret.len--;
	if (api.secret.len == 0)
		return fb_fail(err, FB_ECONFIG, "the password is empty");
	m->api = fb_api_new(&api);
	return FB_OK;
}

static int
fill(struct fb_morpheus *m, const json_t *options, struct fb_error *err)
{
	const char *ssh_config = text_of(options, "ssh_config", NULL);
	int rc = span_of(
	    options, "create_timeout", "30min", &m->create_ms, err);

	m->ssh_config = ssh_config != NULL ? fb_strdup(ssh_config) : NULL;
	m->qcow2 =
	    strcmp(text_of(options, "image_format", "qcow2"), "qcow2") == 0;
	m->keep = json_is_true(json_object_get(options, "keep_snapshot"));
	fill_removable(m, json_object_get(options, "removable"));
	if (rc == FB_OK)
		rc = span_of(
		    options, "settle_time", "1min", &m->settle_ms, err);
	if (rc == FB_OK)
		rc = span_of(
		    options, "stop_timeout", "5min", &m->stop_ms, err);
	if (rc == FB_OK)
		rc = span_of(
		    options, "start_timeout", "5min", &m->start_ms, err);
	return rc;
}

static int
morpheus_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err)
{
	struct fb_morpheus *m = fb_alloc(1, sizeof(*m));
	int rc;

	m->base.ops = &fb_morpheus_ops;
	m->name = fb_strdup(source->name);
	m->base.source = m->name;
	m->mark = fb_libvirt_far_mark();
	fill_labels(&m->labels, &source->labels);
	rc = fill(m, source->options, err);
	if (rc == FB_OK)
		rc = connect(m, source, err);
	if (rc < 0) {
		morpheus_close(&m->base);
		return rc;
	}
	*ret_driver = &m->base;
	return FB_OK;
}

/* -------------------------------------------------------------- asking */

char *
fb_morpheus_server_path(const char *id, const char *rest)
{
	FB_AUTO_BUF struct fb_buf path = { 0 };

	fb_buf_add_str(&path, "/api/servers/");
	fb_api_add_encoded(&path, id);
	fb_buf_add_str(&path, rest);
	return (char *)fb_buf_steal(&path);
}

int
fb_morpheus_get(struct fb_morpheus *m, const char *path, const char *key,
    json_t **ret_object, struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET", .path = path,
		.what = key, .safe = true, .answer_max = (size_t)16 << 20 };
	json_t *value;
	int rc = fb_api_send(m->api, &call, &answer, err);

	if (rc < 0)
		return rc;
	value = json_object_get(answer.json, key);
	if (!json_is_object(value))
		return fb_fail(err, FB_EPROTO,
		    "morpheus answers GET %s without '%s'", path, key);
	*ret_object = json_incref(value);
	return FB_OK;
}

int
fb_morpheus_do(struct fb_morpheus *m, const char *method, const char *path,
    const json_t *body, bool safe, struct fb_api_answer *ret_answer,
    struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer own = { 0 };
	struct fb_api_call call = { .method = method, .path = path,
		.what = method, .body = body, .safe = safe };

	return fb_api_send(
	    m->api, &call, ret_answer != NULL ? ret_answer : &own, err);
}

int64_t
fb_morpheus_id(const json_t *object, const char *key)
{
	const json_t *id = json_object_get(object, key);

	return json_is_integer(id) && json_integer_value(id) > 0
	    ? json_integer_value(id)
	    : -1;
}

const char *
fb_morpheus_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

struct fb_morpheus_wait
fb_morpheus_wait_for(uint64_t ms, const atomic_bool *cancel)
{
	return (struct fb_morpheus_wait){
		.deadline_ns = fb_clock_mono_ns() + (int64_t)ms * NS_PER_MS,
		.pause_ms = PAUSE_MS,
		.cancel = cancel
	};
}

int
fb_morpheus_wait(
    struct fb_morpheus_wait *wait, const char *what, struct fb_error *err)
{
	int64_t now = fb_clock_mono_ns();
	int64_t until = now + (int64_t)wait->pause_ms * NS_PER_MS;

	if (now >= wait->deadline_ns)
		return fb_fail(err, FB_ETIMEOUT, "%s for too long", what);
	if (until > wait->deadline_ns)
		until = wait->deadline_ns;
	wait->pause_ms += wait->pause_ms / 2;
	if (wait->pause_ms > PAUSE_MAX_MS)
		wait->pause_ms = PAUSE_MAX_MS;
	while (fb_clock_mono_ns() < until) {
		if (wait->cancel != NULL && atomic_load(wait->cancel))
			return fb_fail(err, FB_ECANCELED, "canceled");
		fb_clock_wait(until);
	}
	return FB_OK;
}

/* ---------------------------------------------------------------- fleet */

int
fb_morpheus_servers(struct fb_morpheus *m, bool machines,
    fb_page_visit *visit, void *arg, struct fb_error *err)
{
	static const char *const keys[] = { "servers", NULL };
	FB_AUTO_PAGE struct fb_page page = { .style = FB_PAGE_MAX,
		.size = PAGE_SIZE, .keys = keys, .id = "id" };
	int rc = fb_api_list(m->api,
	    machines ? "/api/servers?vm=true&" : "/api/servers?", &page, NULL,
	    visit, arg, err);

	if (rc == FB_OK && !page.has_total)
		return fb_fail_id(err, FB_EPROTO, "E-API-LIST",
		    "morpheus does not say how many servers there are, so "
		    "that nobody knows whether these are all");
	return rc;
}

static int
morpheus_probe(struct fb_driver *base, struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET",
		.path = "/api/servers?max=1", .what = "probe", .safe = true };

	return fb_api_send(m->api, &call, &answer, err);
}

struct listing {
	struct fb_morpheus *m;
	struct fb_fleet *fleet;
};

/* A list that leaves the volumes out is asked for each by itself. */
static int
whole_server(struct fb_morpheus *m, const char *id, const json_t *item,
    struct fb_morpheus_server *ret_server, struct fb_error *err)
{
	return json_is_array(json_object_get(item, "volumes"))
	    ? fb_morpheus_server_read(
	          (json_t *)(uintptr_t)item, ret_server, err)
	    : fb_morpheus_server(m, id, ret_server, err);
}

static int
add_machine(void *arg, const json_t *item, struct fb_error *err)
{
	const struct listing *listing = arg;
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	int64_t number = fb_morpheus_id(item, "id");
	const char *name = fb_morpheus_text(item, "name");
	FB_AUTO_FREE char *id = NULL;
	struct fb_machine *machine;
	struct fb_error why = { 0 };
	int rc;

	if (number < 0)
		return fb_fail(err, FB_EPROTO,
		    "morpheus lists a server without an id");
	id = fb_format("%lld", (long long)number);
	rc = whole_server(listing->m, id, item, &server, &why);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_EUNREACH || rc == FB_EDENIED) {
		*err = why;
		return rc;
	}
	machine = fb_fleet_add(listing->fleet);
	machine->source = fb_strdup(listing->m->name);
	machine->driver = fb_strdup("morpheus");
	machine->name = fb_strdup(fb_name_ok(name, strlen(name)) ? name : id);
	machine->id = FB_STEAL(id);
	machine->role = fb_strdup("");
	fill_labels(&machine->labels, &listing->m->labels);
	if (rc == FB_OK)
		rc = fb_morpheus_describe(
		    listing->m, &server, machine, &why);
	if (rc < 0)
		fb_machine_refuse(machine, &why);
	return FB_OK;
}

static int
morpheus_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	struct listing listing = { (struct fb_morpheus *)base, fleet };

	return fb_morpheus_servers(
	    listing.m, true, add_machine, &listing, err);
}

const struct fb_driver_ops fb_morpheus_ops = {
	.name = "morpheus",
	.open = morpheus_open,
	.probe = morpheus_probe,
	.discover = morpheus_discover,
	.power_get = fb_morpheus_power_get,
	.stop = fb_morpheus_stop,
	.start = fb_morpheus_start,
	.create_snapshot = fb_morpheus_create_snapshot,
	.find_by_token = fb_morpheus_find_by_token,
	.list_snapshots = fb_morpheus_list_snapshots,
	.remove_snapshot = fb_morpheus_remove_snapshot,
	.open_volume = fb_morpheus_open_volume,
	.restore_check = fb_morpheus_restore_check,
	.restore_begin = fb_morpheus_restore_begin,
	.restore_open = fb_morpheus_restore_open,
	.restore_finish = fb_morpheus_restore_finish,
	.close = morpheus_close,
};
