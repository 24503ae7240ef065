/* A computer of MIOSA: its status, its description, its power. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#include "miosa_internal.h"

#define NS_PER_MS INT64_C(1000000)

/* What its own clients wait. */
#define STOP_TIMEOUT_MS  300000
#define START_TIMEOUT_MS 300000

enum fb_miosa_power
fb_miosa_power_class(const char *status)
{
	static const struct {
		const char *word;
		enum fb_miosa_power power;
	} words[] = {
		{ "running", FB_MIOSA_UP },
		{ "active", FB_MIOSA_UP },
		{ "stopped", FB_MIOSA_DOWN },
		{ "paused", FB_MIOSA_HELD },
		{ "error", FB_MIOSA_BAD },
		{ "destroyed", FB_MIOSA_BAD },
	};

	for (size_t i = 0; i < FB_COUNT(words); i++)
		if (strcmp(status, words[i].word) == 0)
			return words[i].power;
	return FB_MIOSA_PENDING;
}

void
fb_miosa_computer_release(struct fb_miosa_computer *computer)
{
	json_decref(computer->json);
	*computer = (struct fb_miosa_computer){ 0 };
}

int
fb_miosa_computer(struct fb_miosa *miosa, const char *id,
    struct fb_miosa_computer *ret_computer, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_miosa_path("computers", id, "");
	FB_AUTO_JSON json_t *json = NULL;
	int rc;

	if (!fb_miosa_id_ok(id))
		return fb_fail(
		    err, FB_ENOTFOUND, "'%.64s' is no id of a computer", id);
	rc = fb_miosa_get(miosa, path, &json, err);
	if (rc < 0)
		return rc;
	if (strcmp(fb_miosa_text(json, "id"), id) != 0)
		return fb_fail(err, FB_EPROTO,
		    "MIOSA's answer about computer '%s' is not about it", id);
	if (strcmp(fb_miosa_text(json, "status"), "destroyed") == 0)
		return fb_fail(
		    err, FB_ENOTFOUND, "computer '%s' was destroyed", id);
	ret_computer->id = fb_miosa_text(json, "id");
	ret_computer->status = fb_miosa_text(json, "status");
	ret_computer->power = fb_miosa_power_class(ret_computer->status);
	ret_computer->json = FB_STEAL(json);
	return FB_OK;
}

struct naming {
	const char *name;
	char *id;
	bool several;
};

static int
visit_name(void *arg, const json_t *item, struct fb_error *err)
{
	struct naming *naming = arg;

	(void)err;
	if (strcmp(fb_miosa_text(item, "name"), naming->name) != 0 ||
	    strcmp(fb_miosa_text(item, "status"), "destroyed") == 0)
		return FB_OK;
	naming->several = naming->id != NULL;
	free(naming->id);
	naming->id = fb_strdup(fb_miosa_text(item, "id"));
	return FB_OK;
}

int
fb_miosa_named(struct fb_miosa *miosa, const char *name, char **ret_id,
    struct fb_error *err)
{
	struct naming naming = { .name = name };
	int rc = fb_miosa_list(miosa, "/computers", visit_name, &naming, err);

	if (rc == FB_OK && naming.id == NULL)
		rc = fb_fail(err, FB_ENOTFOUND,
		    "there is no computer '%s'", name);
	else if (rc == FB_OK && naming.several)
		rc = fb_fail(err, FB_ECONFLICT,
		    "there are several computers '%s'", name);
	if (rc < 0)
		free(naming.id);
	else
		*ret_id = naming.id;
	return rc;
}

/* One that a restore made is called by its name: its id is the provider's. */
static int
resolve(struct fb_miosa *miosa, const char *id, char **ret_id,
    struct fb_miosa_computer *ret_computer, struct fb_error *err)
{
	int rc = fb_miosa_computer(miosa, id, ret_computer, err);

	*ret_id = NULL;
	if (rc == FB_OK)
		*ret_id = fb_strdup(id);
	if (rc != FB_ENOTFOUND)
		return rc;
	*err = (struct fb_error){ 0 };
	rc = fb_miosa_named(miosa, id, ret_id, err);
	return rc < 0 ? rc
	              : fb_miosa_computer(miosa, *ret_id, ret_computer, err);
}

/* --------------------------------------------------------- description */

static void
copy_keys(json_t *to, const json_t *from, const char *const *keys)
{
	for (size_t i = 0; keys[i] != NULL; i++) {
		json_t *value = json_object_get(from, keys[i]);

		if (value != NULL && !json_is_null(value))
			(void)json_object_set(to, keys[i], value);
	}
}

json_t *
fb_miosa_definition(const struct fb_miosa *miosa, const json_t *computer)
{
	static const char *const keys[] = { "id", "name", "slug",
		"template_type", "size", "vcpus", "memory_mb", "visibility",
		"tenant_id", "workspace_id", "project_id", "owner_user_id",
		NULL };
	json_t *document = json_object();

	copy_keys(document, computer, keys);
	(void)json_object_set(document, "trees", miosa->trees);
	return document;
}

/* Of the metadata, which may hold secrets, a digest. */
static void
digest_document(const struct fb_miosa *miosa, const json_t *computer,
    struct fb_digest *ret_digest)
{
	FB_AUTO_JSON json_t *document = fb_miosa_definition(miosa, computer);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	const json_t *metadata = json_object_get(computer, "metadata");
	char hex[FB_DIGEST_HEX_SIZE];

	if (json_object_size(metadata) > 0) {
		fb_json_add(&bytes, metadata);
		fb_digest_of(fb_buf_span(&bytes), ret_digest);
		fb_digest_hex(ret_digest, hex);
		(void)json_object_set_new(
		    document, "metadata_sha256", json_string(hex));
		explicit_bzero(bytes.data, bytes.len);
		fb_buf_clear(&bytes);
	}
	fb_json_add(&bytes, document);
	fb_digest_of(fb_buf_span(&bytes), ret_digest);
}

int
fb_miosa_content_of(const struct fb_miosa *miosa, enum fb_miosa_family family,
    enum fb_miosa_content *ret_content, struct fb_error *err)
{
	enum fb_miosa_content natural = family == FB_MIOSA_CHECKPOINTS
	    ? FB_MIOSA_EXPORT
	    : family == FB_MIOSA_ACCOUNT ? FB_MIOSA_FILES
	                                 : FB_MIOSA_SNAPSHOT;
	const char *why = NULL;

	*ret_content =
	    miosa->content != FB_MIOSA_BY_FAMILY ? miosa->content : natural;
	if (*ret_content == FB_MIOSA_EXPORT &&
	    family != FB_MIOSA_CHECKPOINTS)
		why = "only checkpoints are exported";
	if (*ret_content == FB_MIOSA_FILES && family != FB_MIOSA_ACCOUNT)
		why = "only the family 'account' lets anybody look into its "
		      "snapshots";
	if (*ret_content == FB_MIOSA_SNAPSHOT && !miosa->keep)
		why = "of its snapshots nothing but their ids can be had, and "
		      "without keep_snapshot they are removed: nothing would "
		      "be left";
	if (why == NULL)
		return FB_OK;
	(void)fb_fail_id(err, FB_EUNSUP, "E-MIOSA-CONTENT", "%s", why);
	return fb_hint(err, "see content, family and keep_snapshot of the "
			    "source in fleetbak.conf(5)");
}

static void
add_volume(struct fb_machine *machine, const char *name,
    enum fb_volume_kind kind, const char *method, const char *note)
{
	struct fb_volume *volume = fb_machine_add_volume(machine);

	volume->name = fb_strdup(name);
	volume->kind = kind;
	volume->method = method;
	volume->note = note != NULL ? fb_strdup(note) : NULL;
}

static void
add_volumes(const struct fb_miosa *miosa, enum fb_miosa_content content,
    struct fb_machine *machine)
{
	const char *name;
	json_t *value;

	/* Read with the snapshot, of what the provider says then. */
	add_volume(machine, "definition", FB_VOLUME_DEFINITION, "api", NULL);
	if (content == FB_MIOSA_EXPORT)
		add_volume(machine, "export", FB_VOLUME_OPAQUE,
		    "opaque-export",
		    miosa->keep
		        ? "nobody takes an export back: a restore in place is "
		          "from the provider's own snapshot, which is kept"
		        : "nobody takes an export back, and without "
		          "keep_snapshot no snapshot is left: it can be "
		          "restored as a file only");
	if (content == FB_MIOSA_SNAPSHOT)
		add_volume(machine, "snapshot", FB_VOLUME_OPAQUE,
		    "provider-snapshot-ref",
		    "no byte of it leaves the provider: with the provider's "
		    "snapshot the backup is gone");
	if (content == FB_MIOSA_FILES)
		json_object_foreach(miosa->trees, name, value)
			add_volume(machine, name, FB_VOLUME_TREE, "file-tar",
			    "files only: they are replayed into a running "
			    "guest, not as its disk");
}

static void
set_power(struct fb_machine *machine, const char *status, bool live)
{
	enum fb_miosa_power power = fb_miosa_power_class(status);
	struct fb_error why = { 0 };

	machine->power = FB_POWER_UNKNOWN;
	if (power == FB_MIOSA_UP)
		machine->power = FB_POWER_UP;
	if (power == FB_MIOSA_DOWN || power == FB_MIOSA_HELD)
		machine->power = FB_POWER_DOWN;
	if (power == FB_MIOSA_BAD)
		(void)fb_fail_id(&why, FB_ECONFLICT, "E-MIOSA-STATE",
		    "MIOSA says of it: %s", status);
	else if (live && power != FB_MIOSA_UP)
		(void)fb_fail_id(&why, FB_ECONFLICT, "E-MIOSA-STATE",
		    "it is %.64s, and this family makes snapshots of running "
		    "computers only", status);
	if (why.code < 0) {
		(void)fb_hint(&why, "see to it, or leave it out of the "
				    "selection");
		fb_machine_refuse(machine, &why);
	}
}

int
fb_miosa_describe(struct fb_miosa *miosa, const json_t *computer,
    struct fb_machine *machine, struct fb_error *err)
{
	enum fb_miosa_family family = FB_MIOSA_AUTO;
	enum fb_miosa_content content = FB_MIOSA_BY_FAMILY;
	int rc;

	machine->stop_timeout_ms = STOP_TIMEOUT_MS;
	machine->start_timeout_ms = START_TIMEOUT_MS;
	digest_document(miosa, computer, &machine->description);
	rc = fb_miosa_family(miosa, machine->id, &family, err);
	if (rc == FB_OK)
		rc = fb_miosa_content_of(miosa, family, &content, err);
	machine->lifecycle = family == FB_MIOSA_CHECKPOINTS
	    ? FB_LIFECYCLE_STOP_SNAPSHOT_START
	    : FB_LIFECYCLE_SNAPSHOT_LIVE;
	set_power(machine, fb_miosa_text(computer, "status"),
	    family == FB_MIOSA_SNAPSHOTS || family == FB_MIOSA_ACCOUNT);
	if (rc == FB_OK)
		add_volumes(miosa, content, machine);
	return rc;
}

/* --------------------------------------------------------------- power */

static bool
is_down(enum fb_miosa_power power)
{
	return power == FB_MIOSA_DOWN || power == FB_MIOSA_HELD;
}

/*
 * Once no stop that was given up can come late: a stop is accepted first and
 * done later, and nobody says that one is under way.
 */
static int
look_settled(struct fb_miosa *miosa, const char *id,
    const struct fb_verb *verb, enum fb_miosa_power *ret_power,
    struct fb_error *err)
{
	struct fb_miosa_wait wait = fb_miosa_wait_until(
	    verb->timeout_ms > 0 ? verb->timeout_ms : INT32_MAX, 0,
	    verb->cancel);
	int64_t since = fb_clock_mono_ns();
	int64_t steady = (int64_t)miosa->settle_ms * NS_PER_MS;
	enum fb_miosa_power last = FB_MIOSA_PENDING;

	for (;;) {
		FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
		FB_AUTO_FREE char *own = NULL;
		int rc = resolve(miosa, id, &own, &now, err);
		int64_t at = fb_clock_mono_ns();

		if (rc < 0)
			return rc;
		if (now.power != last)
			since = at;
		last = *ret_power = now.power;
		if (is_down(last) || last == FB_MIOSA_BAD ||
		    (last == FB_MIOSA_UP && at - since >= steady))
			return FB_OK;
		rc = fb_miosa_pause(&wait, id, err);
		if (rc < 0)
			return rc;
	}
}

static int
look_now(struct fb_miosa *miosa, const char *id,
    enum fb_miosa_power *ret_power, struct fb_error *err)
{
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	FB_AUTO_FREE char *own = NULL;
	int rc = resolve(miosa, id, &own, &now, err);

	*ret_power = now.power;
	return rc;
}

int
fb_miosa_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power,
    struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	enum fb_miosa_power power = FB_MIOSA_PENDING;
	int rc = verb->settle
	    ? look_settled(miosa, machine->id, verb, &power, err)
	    : look_now(miosa, machine->id, &power, err);

	*ret_power = FB_POWER_UNKNOWN;
	if (rc < 0 && (rc != FB_ETIMEOUT || !verb->settle))
		return rc;
	if (rc == FB_OK && power == FB_MIOSA_UP)
		*ret_power = FB_POWER_UP;
	if (rc == FB_OK && is_down(power))
		*ret_power = FB_POWER_DOWN;
	*err = (struct fb_error){ 0 };
	return FB_OK;
}

/* Until it is as wanted.  It may be seen as it was before for a moment. */
static int
await(struct fb_miosa *miosa, const char *id, bool up,
    struct fb_miosa_wait *wait, struct fb_error *err)
{
	for (;;) {
		FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
		int rc = fb_miosa_computer(miosa, id, &now, err);

		if (rc < 0)
			return rc;
		if (up ? now.power == FB_MIOSA_UP : is_down(now.power))
			return FB_OK;
		if (now.power == FB_MIOSA_BAD)
			return fb_fail_id(err, FB_EFAILED, "E-MIOSA-STATE",
			    "computer '%s' has failed: MIOSA says %s", id,
			    now.status);
		rc = fb_miosa_pause(wait, id, err);
		if (rc == FB_ETIMEOUT)
			return fb_fail(err, FB_ETIMEOUT,
			    "computer '%s' is still '%.64s'", id, now.status);
		if (rc < 0)
			return rc;
	}
}

/* Accepted is not done; and one that was lost, or came too early, may have
 * been accepted all the same: the computer tells. */
static int
change_power(struct fb_miosa *miosa, const char *id, bool up,
    uint64_t timeout_ms, const atomic_bool *cancel, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_path("computers", id, up ? "/start" : "/stop");
	struct fb_miosa_wait wait =
	    fb_miosa_wait_until(timeout_ms, 0, cancel);
	int rc = fb_miosa_do(
	    miosa, "POST", path, NULL, NULL, cancel, NULL, err);

	if (rc < 0 && rc != FB_EUNKNOWN && rc != FB_ETIMEOUT &&
	    rc != FB_ECONFLICT)
		return rc;
	*err = (struct fb_error){ 0 };
	return await(miosa, id, up, &wait, err);
}

int
fb_miosa_bring_down(struct fb_miosa *miosa, const char *id,
    uint64_t timeout_ms, const atomic_bool *cancel, struct fb_error *err)
{
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	FB_AUTO_FREE char *own = NULL;
	int rc = resolve(miosa, id, &own, &now, err);

	if (rc < 0 || is_down(now.power))
		return rc;
	return change_power(miosa, own, false, timeout_ms, cancel, err);
}

int
fb_miosa_bring_up(struct fb_miosa *miosa, const char *id,
    uint64_t timeout_ms, const atomic_bool *cancel, struct fb_error *err)
{
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	FB_AUTO_FREE char *own = NULL;
	struct fb_miosa_wait wait =
	    fb_miosa_wait_until(timeout_ms, 0, cancel);
	int rc = resolve(miosa, id, &own, &now, err);

	if (rc < 0 || now.power == FB_MIOSA_UP)
		return rc;
	/* One that is on its way is not asked for a second time. */
	if (strcmp(now.status, "starting") == 0 ||
	    strcmp(now.status, "provisioning") == 0 ||
	    strcmp(now.status, "creating") == 0)
		return await(miosa, own, true, &wait, err);
	return change_power(miosa, own, true, timeout_ms, cancel, err);
}

static uint64_t
time_of(uint64_t own_ms, const struct fb_verb *verb)
{
	return verb->timeout_ms > 0 && verb->timeout_ms < own_ms
	    ? verb->timeout_ms
	    : own_ms;
}

int
fb_miosa_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	return fb_miosa_bring_down((struct fb_miosa *)base, machine->id,
	    time_of(machine->stop_timeout_ms, verb), verb->cancel, err);
}

/* Up, and to stay so: what goes down late is started again. */
int
fb_miosa_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	uint64_t timeout = time_of(machine->start_timeout_ms, verb);
	int64_t deadline =
	    fb_clock_mono_ns() + (int64_t)timeout * NS_PER_MS;
	enum fb_miosa_power power = FB_MIOSA_PENDING;
	int rc = FB_OK;

	while (verb->settle && rc == FB_OK) {
		rc = look_settled(miosa, machine->id, verb, &power, err);
		if (rc < 0 || !is_down(power))
			break;
		if (fb_clock_mono_ns() >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "computer '%s' does not stay up", machine->id);
		rc = fb_miosa_bring_up(
		    miosa, machine->id, timeout, verb->cancel, err);
	}
	return rc < 0 || power == FB_MIOSA_UP
	    ? rc
	    : fb_miosa_bring_up(
	          miosa, machine->id, timeout, verb->cancel, err);
}
