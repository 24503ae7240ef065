/* A machine of computer-host: its phase, its description, its power. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/crypto/sign.h"

#include "computer_host_internal.h"

#define NS_PER_MS INT64_C(1000000)

#define POLL_MS 250

/* Its own way down takes 10 seconds before it cuts it off. */
#define STOP_TIMEOUT_MS  60000
#define START_TIMEOUT_MS 120000

#define USERS_MAX 64

static const char *const phases[] = {
	[FB_CHOST_STARTING] = "starting",
	[FB_CHOST_RUNNING] = "running",
	[FB_CHOST_STOPPED] = "stopped",
	[FB_CHOST_FAILED] = "failed",
};

void
fb_chost_machine_release(struct fb_chost_machine *machine)
{
	json_decref(machine->json);
	*machine = (struct fb_chost_machine){ 0 };
}

static const char *
text_or_empty(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text != NULL ? text : "";
}

int
fb_chost_machine(struct fb_chost *host, const char *id,
    struct fb_chost_machine *ret_machine, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_chost_machine_path(id, "");
	struct fb_chost_machine machine = { .phase = FB_CHOST_OTHER };
	int rc = fb_chost_get(host, path, "machine", &machine.json, err);

	if (rc < 0)
		return rc;
	machine.text = text_or_empty(machine.json, "phase");
	machine.error = text_or_empty(machine.json, "error");
	machine.created = text_or_empty(machine.json, "created_at");
	machine.users = json_array_size(
	    json_object_get(machine.json, "user_volume_ids"));
	for (size_t i = 0; i < FB_COUNT(phases); i++)
		if (strcmp(machine.text, phases[i]) == 0)
			machine.phase = (enum fb_chost_phase)i;
	if (strcmp(text_or_empty(machine.json, "id"), id) != 0 ||
	    machine.created[0] == '\0' || machine.users > USERS_MAX) {
		json_decref(machine.json);
		return fb_fail(err, FB_EPROTO,
		    "computer-host's answer about '%s' is not about it", id);
	}
	*ret_machine = machine;
	return FB_OK;
}

uint64_t
fb_chost_size_of(const json_t *map, const char *id)
{
	const char *text = json_string_value(json_object_get(map, id));
	struct fb_error ignored = { 0 };
	uint64_t bytes;

	return text != NULL && fb_text_size(text, &bytes, &ignored) == FB_OK
	    ? bytes
	    : 0;
}

int
fb_chost_guest(struct fb_chost *host, const char *id, json_t **ret_guest,
    struct fb_error *err)
{
	const char *reference =
	    json_string_value(json_object_get(host->guests, id));
	FB_AUTO_SECRET struct fb_buf text = { 0 };
	struct fb_error why = { 0 };
	int rc;

	*ret_guest = NULL;
	if (reference == NULL)
		return FB_OK;
	rc = fb_secret_read(reference, host->dir, true, &text, err);
	if (rc < 0)
		return fb_wrap(err, "guest_config of '%s'", id);
	rc = fb_json_parse(
	    fb_buf_span(&text), FB_SECRET_MAX, "it", ret_guest, &why);
	/* The reader's words could hold some of it. */
	if (rc < 0 || !json_is_object(*ret_guest))
		return fb_fail(err, FB_ECONFIG,
		    "guest_config of '%s' is no JSON object", id);
	return FB_OK;
}

/* --------------------------------------------------------- description */

/* Ports without where they lie on the host today. */
static json_t *
ports_of(const json_t *list)
{
	static const char *const keys[] = { "name", "port", "protocol" };
	json_t *ports = json_array(), *item;
	size_t index;

	json_array_foreach(list, index, item) {
		json_t *port = json_object();

		for (size_t i = 0; i < FB_COUNT(keys); i++) {
			json_t *value = json_object_get(item, keys[i]);

			if (value != NULL)
				(void)json_object_set(port, keys[i], value);
		}
		(void)json_array_append_new(ports, port);
	}
	return ports;
}

static void
copy_key(json_t *to, const json_t *from, const char *key)
{
	json_t *value = json_object_get(from, key);

	if (value != NULL)
		(void)json_object_set(to, key, value);
}

static int
add_published(struct fb_chost *host, const char *id, json_t *document,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_chost_machine_path(id, "/published-ports");
	FB_AUTO_JSON json_t *ports = NULL;
	int rc = fb_chost_get(host, path, "ports", &ports, err);

	if (rc == FB_OK && json_array_size(ports) > 0)
		(void)json_object_set_new(
		    document, "published_ports", ports_of(ports));
	return rc;
}

/* What the daemon shows and what the fleet's configuration adds. */
static int
make_document(struct fb_chost *host, const char *id,
    const struct fb_chost_machine *now, json_t **ret_document,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *document = json_object();
	uint64_t memory = fb_chost_size_of(host->memory, id);
	uint64_t storage = fb_chost_size_of(host->storage, id);
	int rc = add_published(host, id, document, err);

	if (rc < 0)
		return rc;
	copy_key(document, now->json, "id");
	copy_key(document, now->json, "artifact");
	copy_key(document, now->json, "system_volume_id");
	copy_key(document, now->json, "user_volume_ids");
	(void)json_object_set_new(document, "ports",
	    ports_of(json_object_get(now->json, "ports")));
	if (memory > 0)
		(void)json_object_set_new(document, "memory_mib",
		    json_integer((json_int_t)(memory >> 20)));
	if (storage > 0)
		(void)json_object_set_new(document, "storage_bytes",
		    json_integer((json_int_t)storage));
	*ret_document = FB_STEAL(document);
	return FB_OK;
}

int
fb_chost_definition(struct fb_chost *host, const char *id,
    json_t **ret_definition, struct fb_error *err)
{
	FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
	int rc = fb_chost_machine(host, id, &now, err);

	return rc < 0 ? rc
	              : make_document(host, id, &now, ret_definition, err);
}

/* Of the guest's configuration, which holds secrets, a digest. */
static int
digest_document(struct fb_chost *host, const char *id, json_t *document,
    struct fb_digest *ret_digest, struct fb_error *err)
{
	FB_AUTO_JSON json_t *guest = NULL;
	FB_AUTO_SECRET struct fb_buf secret = { 0 };
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];
	int rc = fb_chost_guest(host, id, &guest, err);

	if (rc < 0)
		return rc;
	if (guest != NULL) {
		fb_json_add(&secret, guest);
		fb_digest_of(fb_buf_span(&secret), ret_digest);
		fb_digest_hex(ret_digest, hex);
		(void)json_object_set_new(
		    document, "guest_config_sha256", json_string(hex));
	}
	fb_json_add(&bytes, document);
	fb_digest_of(fb_buf_span(&bytes), ret_digest);
	return FB_OK;
}

static void
add_volume(struct fb_machine *machine, char *name, enum fb_volume_kind kind,
    uint64_t size)
{
	struct fb_volume *volume = fb_machine_add_volume(machine);

	volume->name = name;
	volume->kind = kind;
	volume->size = size;
	volume->allocated = size;
	volume->method = "pause";
}

static void
set_power(struct fb_machine *machine, const struct fb_chost_machine *now)
{
	struct fb_error why = { 0 };

	machine->power = FB_POWER_UNKNOWN;
	if (now->phase == FB_CHOST_RUNNING)
		machine->power = FB_POWER_UP;
	if (now->phase == FB_CHOST_STOPPED || now->phase == FB_CHOST_FAILED)
		machine->power = FB_POWER_DOWN;
	if (now->phase == FB_CHOST_RUNNING)
		return;
	(void)fb_fail_id(&why, FB_ECONFLICT, "E-CHOST-DOWN",
	    "it is %s%s%s, and computer-host snapshots running machines only",
	    now->text, now->error[0] != '\0' ? ": " : "", now->error);
	(void)fb_hint(&why, "start it, or leave it out of the selection");
	fb_machine_refuse(machine, &why);
}

int
fb_chost_describe(struct fb_chost *host, const struct fb_chost_machine *now,
    struct fb_machine *machine, struct fb_error *err)
{
	FB_AUTO_JSON json_t *document = NULL;
	int rc;

	machine->lifecycle = FB_LIFECYCLE_PAUSE_IN_CREATE;
	machine->stop_timeout_ms = STOP_TIMEOUT_MS;
	machine->start_timeout_ms = START_TIMEOUT_MS;
	add_volume(machine, fb_strdup("definition"), FB_VOLUME_DEFINITION, 0);
	add_volume(machine, fb_strdup("system"), FB_VOLUME_DISK,
	    fb_chost_size_of(host->storage, machine->id));
	for (size_t i = 0; i < now->users; i++)
		add_volume(
		    machine, fb_format("user-%zu", i), FB_VOLUME_DISK, 0);
	rc = make_document(host, machine->id, now, &document, err);
	if (rc == FB_OK)
		rc = digest_document(host, machine->id, document,
		    &machine->description, err);
	if (rc == FB_OK)
		set_power(machine, now);
	return rc;
}

/* --------------------------------------------------------------- power */

void
fb_chost_wait(uint64_t ms, const atomic_bool *cancel)
{
	int64_t until = fb_clock_mono_ns() + (int64_t)ms * NS_PER_MS;

	while (fb_clock_mono_ns() < until &&
	    !(cancel != NULL && atomic_load(cancel)))
		fb_clock_wait(until);
}

/*
 * Its phase, once no stop that was given up can come late: the daemon keeps
 * what was under way, does it again when it looks at it next, and until it is
 * done the machine is "running".  A stop of what is stopped changes nothing.
 */
static int
look_settled(struct fb_chost *host, const char *id,
    const struct fb_verb *verb, enum fb_chost_phase *ret_phase,
    struct fb_error *err)
{
	int64_t since = fb_clock_mono_ns();
	int64_t deadline = since + (int64_t)verb->timeout_ms * NS_PER_MS;
	int64_t steady = (int64_t)host->settle_ms * NS_PER_MS;
	enum fb_chost_phase last = FB_CHOST_OTHER;

	for (;;) {
		FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
		int rc = fb_chost_machine(host, id, &now, err);
		int64_t at = fb_clock_mono_ns();

		if (rc < 0)
			return rc;
		if (now.phase != last)
			since = at;
		last = *ret_phase = now.phase;
		if (last == FB_CHOST_STOPPED || at - since >= steady)
			return FB_OK;
		if (verb->timeout_ms > 0 && at >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "machine '%s' is %s, and may be stopped yet", id,
			    now.text);
		if (verb->cancel != NULL && atomic_load(verb->cancel))
			return fb_fail(err, FB_ECANCELED, "canceled");
		fb_chost_wait(POLL_MS, verb->cancel);
	}
}

static int
look_now(struct fb_chost *host, const char *id, enum fb_chost_phase *ret_phase,
    struct fb_error *err)
{
	FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
	int rc = fb_chost_machine(host, id, &now, err);

	*ret_phase = now.phase;
	return rc;
}

int
fb_chost_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power,
    struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	enum fb_chost_phase phase = FB_CHOST_OTHER;
	int rc = verb->settle
	    ? look_settled(host, machine->id, verb, &phase, err)
	    : look_now(host, machine->id, &phase, err);

	*ret_power = FB_POWER_UNKNOWN;
	if (rc < 0 && (rc != FB_ETIMEOUT || !verb->settle))
		return rc;
	if (rc == FB_OK && phase == FB_CHOST_RUNNING)
		*ret_power = FB_POWER_UP;
	if (rc == FB_OK &&
	    (phase == FB_CHOST_STOPPED || phase == FB_CHOST_FAILED))
		*ret_power = FB_POWER_DOWN;
	*err = (struct fb_error){ 0 };
	return FB_OK;
}

int
fb_chost_await(struct fb_chost *host, const char *id,
    enum fb_chost_phase wanted, uint64_t timeout_ms,
    const atomic_bool *cancel, struct fb_error *err)
{
	int64_t deadline =
	    fb_clock_mono_ns() + (int64_t)timeout_ms * NS_PER_MS;

	for (;;) {
		FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
		int rc = fb_chost_machine(host, id, &now, err);

		if (rc < 0 || now.phase == wanted)
			return rc;
		if (now.phase == FB_CHOST_FAILED)
			return fb_fail_id(err, FB_EFAILED, "E-CHOST-FAILED",
			    "machine '%s' has failed: %s", id, now.error);
		if (fb_clock_mono_ns() > deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "machine '%s' is still %s", id, now.text);
		if (cancel != NULL && atomic_load(cancel))
			return fb_fail(err, FB_ECANCELED, "canceled");
		fb_chost_wait(POLL_MS, cancel);
	}
}

int
fb_chost_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	FB_AUTO_FREE char *path = fb_chost_machine_path(machine->id, "/stop");
	int rc = fb_chost_do(
	    host, "POST", path, NULL, machine->stop_timeout_ms, NULL, err);

	return rc < 0 ? rc
	              : fb_chost_await(host, machine->id, FB_CHOST_STOPPED,
	                    machine->stop_timeout_ms, verb->cancel, err);
}

/* From "stopped" and nothing else: a start of what is starting would end the
 * daemon. */
static int
bring_up(struct fb_chost *host, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_chost_machine_path(machine->id, "/start");
	FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
	uint64_t timeout = machine->start_timeout_ms;
	int rc = fb_chost_machine(host, machine->id, &now, err);

	if (rc < 0 || now.phase == FB_CHOST_RUNNING)
		return rc;
	if (now.phase == FB_CHOST_FAILED || now.phase == FB_CHOST_OTHER) {
		(void)fb_fail_id(err, FB_ECONFLICT, "E-CHOST-FAILED",
		    "machine '%s' is %s and cannot be started: %s",
		    machine->id, now.text, now.error);
		return fb_hint(err, "stop it first; then it can be started");
	}
	if (now.phase == FB_CHOST_STOPPED)
		rc = fb_chost_do(
		    host, "POST", path, NULL, timeout, NULL, err);
	return rc < 0 ? rc
	              : fb_chost_await(host, machine->id, FB_CHOST_RUNNING,
	                    timeout, verb->cancel, err);
}

/* Up, and to stay so: what goes down late is started again. */
int
fb_chost_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	int64_t deadline =
	    fb_clock_mono_ns() + (int64_t)verb->timeout_ms * NS_PER_MS;
	enum fb_chost_phase phase = FB_CHOST_OTHER;
	int rc = FB_OK;

	while (verb->settle && rc == FB_OK) {
		rc = look_settled(host, machine->id, verb, &phase, err);
		if (rc < 0 || phase != FB_CHOST_STOPPED)
			break;
		if (verb->timeout_ms > 0 && fb_clock_mono_ns() >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "machine '%s' does not stay up", machine->id);
		rc = bring_up(host, machine, verb, err);
	}
	return rc < 0 || phase == FB_CHOST_RUNNING
	    ? rc
	    : bring_up(host, machine, verb, err);
}
