/*
 * The end of a restore: the machine that was there goes, and the new one is
 * asked for.  Each step says in the spool what it is about to do, so that it can
 * be found out afterwards what came of it.  A machine is ours when it was asked
 * for and nobody said what came of it; from then on it is known by its birth.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#include "computer_host_internal.h"

#define RESTORE_MS (UINT64_C(12) * 3600 * 1000)
#define DELETE_MS  300000
#define BOOT_MS    600000
#define STOP_MS    120000

#define STORAGE_DEFAULT (INT64_C(10) << 30)

#define READ_STEP ((size_t)1 << 20)

/* A machine that does not come up is made once more. */
#define TRIES_MAX 2

struct making {
	struct fb_chost *host;
	const struct fb_restore_request *request;
	struct fb_chost_site site;
	json_t *definition;
	struct fb_chost_served *served;
};

static bool
is_set(const struct making *m, const char *key)
{
	return json_is_true(json_object_get(m->site.facts, key));
}

static int
set(struct making *m, const char *key, json_t *value, struct fb_error *err)
{
	(void)json_object_set_new(m->site.facts, key, value);
	return fb_chost_site_save(&m->site, err);
}

static int
load_definition(struct making *m, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_format("%s/machine.json", m->request->definition_dir);
	json_t *kept = json_object_get(m->site.facts, "definition");
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc;

	if (kept != NULL) { /* of the machine that is replaced */
		m->definition = json_incref(kept);
		return FB_OK;
	}
	rc = fb_io_read_file(path, 1 << 20, &bytes, err);
	return rc < 0 ? rc
	              : fb_json_parse(fb_buf_span(&bytes), 1 << 20,
	                    "machine.json", &m->definition, err);
}

/* ------------------------------------------------------------- the body */

static int
digest_file(const char *path, char hex[FB_DIGEST_HEX_SIZE],
    uint64_t *ret_size, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(READ_STEP, 1);
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY, 0, err);
	struct fb_digest digest;
	size_t got = READ_STEP;

	if (fd < 0)
		return fd;
	for (*ret_size = 0; got == READ_STEP; *ret_size += got) {
		int rc = fb_io_pread(
		    fd, path, bytes, READ_STEP, *ret_size, &got, err);

		if (rc < 0)
			return rc;
		fb_digester_add(digester, (struct fb_span){ bytes, got });
	}
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, hex);
	return FB_OK;
}

static int
add_artifact(struct making *m, const struct fb_volume *volume, json_t *list,
    struct fb_error *err)
{
	FB_AUTO_FREE char *name = fb_format("%s.img", volume->name);
	FB_AUTO_FREE char *path = fb_format("%s/%s", m->site.dir, name);
	FB_AUTO_FREE char *id = fb_format("disk-%s", volume->name);
	FB_AUTO_FREE char *url = NULL;
	char hex[FB_DIGEST_HEX_SIZE];
	uint64_t size;
	int rc = digest_file(path, hex, &size, err);

	if (rc < 0)
		return rc;
	url = fb_chost_served_url(m->served, name);
	(void)json_array_append_new(list,
	    json_pack("{s:s,s:s,s:s,s:I,s:s,s:s}", "id", id, "kind", "disk",
	        "name", name, "size_bytes", (json_int_t)size, "sha256_hex",
	        hex, "download_url", url));
	return FB_OK;
}

/* A snapshot that is not on the host: where its disks are. */
static int
add_durable(struct making *m, const char *sid, json_t *body,
    struct fb_error *err)
{
	const struct fb_machine *machine = m->request->machine;
	json_t *list = json_array();
	int rc = fb_chost_serve(m->host->serve, m->site.dir, &m->served, err);

	for (size_t i = 0; rc == FB_OK && i < machine->volume_count; i++)
		if (machine->volumes[i].kind == FB_VOLUME_DISK &&
		    fb_volume_is_captured(&machine->volumes[i]))
			rc = add_artifact(m, &machine->volumes[i], list, err);
	(void)json_object_set_new(body, "snapshot",
	    json_pack("{s:s,s:s,s:o}", "snapshot_id", sid, "machine_id",
	        machine->id, "artifacts", list));
	return rc;
}

/* What the API hides comes from the fleet's configuration, or from what the
 * configuration said when it was backed up. */
static void
add_size(json_t *body, const char *key, uint64_t configured, unsigned shift,
    const json_t *definition)
{
	const json_t *then = json_object_get(definition, key);

	if (configured > 0)
		(void)json_object_set_new(body, key,
		    json_integer((json_int_t)(configured >> shift)));
	else if (json_is_integer(then))
		(void)json_object_set_new(
		    body, key, json_integer(json_integer_value(then)));
}

static uint64_t
system_size(const struct fb_machine *machine)
{
	uint64_t size = 0;

	for (size_t i = 0; i < machine->volume_count; i++)
		if (strcmp(machine->volumes[i].name, "system") == 0)
			size = machine->volumes[i].size;
	return size;
}

/* Unless told otherwise it makes 10 GiB; and it refuses a disk that is larger
 * than what it is told, which must not come to light when the old one is gone. */
static void
add_sizes(struct making *m, json_t *body)
{
	const char *id = m->site.id, *old = m->request->machine->id;
	uint64_t memory = fb_chost_size_of(m->host->memory, id);
	uint64_t storage = fb_chost_size_of(m->host->storage, id);
	json_int_t least = (json_int_t)system_size(m->request->machine);
	json_int_t told;

	if (memory == 0)
		memory = fb_chost_size_of(m->host->memory, old);
	if (storage == 0)
		storage = fb_chost_size_of(m->host->storage, old);
	add_size(body, "memory_mib", memory, 20, m->definition);
	add_size(body, "storage_bytes", storage, 0, m->definition);
	told = json_integer_value(json_object_get(body, "storage_bytes"));
	if (least > (told > 0 ? told : STORAGE_DEFAULT))
		(void)json_object_set_new(
		    body, "storage_bytes", json_integer(least));
}

static int
make_body(struct making *m, const char *sid, json_t **ret_body,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body =
	    json_pack("{s:s}", "machine_id", m->site.id);
	json_t *artifact = json_object_get(m->definition, "artifact");
	json_t *guest = NULL;
	int rc = FB_OK;

	if (!json_is_object(artifact))
		return fb_fail(err, FB_ECORRUPT,
		    "the backup's definition names no kernel and no image");
	(void)json_object_set(body, "artifact", artifact);
	add_sizes(m, body);
	rc = fb_chost_guest(m->host, m->site.id, &guest, err);
	if (rc == FB_OK && guest == NULL)
		rc = fb_chost_guest(
		    m->host, m->request->machine->id, &guest, err);
	if (rc < 0)
		return rc;
	if (guest != NULL)
		(void)json_object_set_new(body, "guest_config", guest);
	if (is_set(m, "local"))
		(void)json_object_set_new(body, "local_snapshot",
		    json_pack("{s:s}", "snapshot_id", sid));
	else
		rc = add_durable(m, sid, body, err);
	*ret_body = FB_STEAL(body);
	return rc;
}

/* ---------------------------------------------------------- the machine */

static int
delete_machine(struct making *m, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_chost_machine_path(m->site.id, "");
	FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
	int rc = set(m, "deleting", json_true(), err);

	if (rc == FB_OK)
		rc = fb_chost_do(
		    m->host, "DELETE", path, NULL, DELETE_MS, NULL, err);
	if (rc == FB_OK)
		rc = set(m, "deleting", json_false(), err);
	if (rc < 0)
		return rc;
	rc = fb_chost_machine(m->host, m->site.id, &now, err);
	if (rc == FB_OK)
		return fb_fail(err, FB_EUNKNOWN,
		    "machine '%s' is still there", m->site.id);
	if (rc == FB_ENOTFOUND)
		*err = (struct fb_error){ 0 };
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

/* A durable restore leaves its directory on the host for good, and a create
 * of that id would never succeed: each try has one of its own. */
static void
fresh_sid(struct making *m, char sid[FB_CHOST_SID_SIZE])
{
	int tries = (int)json_integer_value(
	    json_object_get(m->site.facts, "tries"));
	FB_AUTO_FREE char *text =
	    fb_format("%s %d", m->request->token, tries);
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, &digest);
	fb_digest_hex(&digest, hex);
	(void)snprintf(sid, FB_CHOST_SID_SIZE, "fbr-%.40s", hex);
}

/* That of a snapshot on the host is noted: without its machine it may not be
 * listed any more. */
static int
restore_sid(
    struct making *m, char sid[FB_CHOST_SID_SIZE], struct fb_error *err)
{
	const char *noted =
	    json_string_value(json_object_get(m->site.facts, "sid"));
	int rc;

	if (!is_set(m, "local")) {
		fresh_sid(m, sid);
		return FB_OK;
	}
	if (noted != NULL) {
		(void)snprintf(sid, FB_CHOST_SID_SIZE, "%s", noted);
		return FB_OK;
	}
	rc = fb_chost_find_sid(m->host, m->request->machine->id,
	    m->request->snapshot, sid, err);
	return rc < 0 ? rc : set(m, "sid", json_string(sid), err);
}

/* All that may fail here fails before the old machine goes. */
static int
prepare(struct making *m, char **ret_path, json_t **ret_body,
    struct fb_error *err)
{
	int tries = (int)json_integer_value(
	    json_object_get(m->site.facts, "tries"));
	char sid[FB_CHOST_SID_SIZE];
	int rc = set(m, "tries", json_integer(tries + 1), err);

	if (rc == FB_OK)
		rc = restore_sid(m, sid, err);
	if (rc < 0)
		return rc;
	*ret_path = fb_chost_snapshot_path(sid, "/restore");
	return make_body(m, sid, ret_body, err);
}

/* Is it up?  A 201 may bring one that failed. */
static int
await_up(struct making *m, const struct fb_verb *verb, struct fb_error *err)
{
	int rc;

	if (is_set(m, "up"))
		return FB_OK; /* it was, and may be stopped since */
	rc = fb_chost_await(m->host, m->site.id, FB_CHOST_RUNNING, BOOT_MS,
	    verb->cancel, err);
	return rc < 0 ? rc : set(m, "up", json_true(), err);
}

/* What is there now: nothing, the one from before, or ours. */
enum found { FOUND_NONE, FOUND_OLD, FOUND_OURS };

static const char *
fact(const struct making *m, const char *key)
{
	const char *text =
	    json_string_value(json_object_get(m->site.facts, key));

	return text != NULL ? text : "";
}

/* One that is neither the old one nor known as ours is so only when it was
 * asked for and nobody said what came of it. */
static int
judge(struct making *m, const struct fb_chost_machine *now,
    enum found *ret_found, struct fb_error *err)
{
	*ret_found = FOUND_OURS;
	if (strcmp(fact(m, "was"), now->created) == 0) {
		*ret_found = FOUND_OLD;
		return now->phase == FB_CHOST_STOPPED ||
		        now->phase == FB_CHOST_FAILED
		    ? FB_OK
		    : fb_fail(err, FB_ECONFLICT,
		          "machine '%s' is %s: it is not replaced",
		          m->site.id, now->text);
	}
	if (strcmp(fact(m, "made"), now->created) == 0)
		return FB_OK;
	if (!is_set(m, "asked"))
		return fb_fail(err, FB_ECONFLICT,
		    "somebody else made a machine '%s' meanwhile",
		    m->site.id);
	(void)json_object_set_new(m->site.facts, "asked", json_false());
	return set(m, "made", json_string(now->created), err);
}

static int
look(struct making *m, enum found *ret_found, struct fb_error *err)
{
	FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
	int rc = fb_chost_machine(m->host, m->site.id, &now, err);

	*ret_found = FOUND_NONE;
	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	return rc < 0 ? rc : judge(m, &now, ret_found, err);
}

/* As it is before the machine is asked for.  What was asked for before, and of
 * which nobody said what came of it, may come about yet, and a machine may be
 * deleted once more, as long as the daemon has not put that right. */
static int
look_first(struct making *m, const struct fb_verb *verb,
    enum found *ret_found, struct fb_error *err)
{
	int rc = look(m, ret_found, err);

	if (rc < 0 || *ret_found != FOUND_NONE ||
	    !(is_set(m, "asked") || is_set(m, "deleting")))
		return rc;
	fb_chost_wait(m->host->settle_ms, verb->cancel);
	if (verb->cancel != NULL && atomic_load(verb->cancel))
		return fb_fail(err, FB_ECANCELED, "canceled");
	rc = look(m, ret_found, err);
	if (rc < 0 || *ret_found != FOUND_NONE)
		return rc;
	(void)json_object_set_new(m->site.facts, "deleting", json_false());
	return set(m, "asked", json_false(), err);
}

/* The snapshot on the host, of which it is made, has all of its disks. */
static int
check_local(struct making *m, struct fb_error *err)
{
	const struct fb_machine *machine = m->request->machine;
	char sid[FB_CHOST_SID_SIZE];
	int rc;

	if (!is_set(m, "local"))
		return FB_OK;
	rc = restore_sid(m, sid, err);
	for (size_t i = 0; rc == FB_OK && i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];
		struct fb_artifact *disk = NULL;

		if (volume->kind != FB_VOLUME_DISK ||
		    !fb_volume_is_captured(volume))
			continue;
		rc = fb_chost_open_disk(
		    m->host, sid, volume->name, &disk, err);
		if (rc == FB_OK)
			disk->ops->close(disk);
	}
	return rc < 0 ? fb_wrap(err, "snapshot '%s' on the host", sid) : rc;
}

/* The machine is asked for.  Whoever is refused has made none. */
static int
post(struct making *m, const char *path, const json_t *body,
    struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_error why = { 0 };
	enum found found;
	int rc = set(m, "asked", json_true(), err);

	if (rc < 0)
		return rc;
	rc = fb_chost_do(
	    m->host, "POST", path, body, RESTORE_MS, &answer, err);
	if (rc == FB_OK)
		rc = look(m, &found, err);
	else if ((answer.status >= 300 && answer.status <= 499) ||
	    (answer.status == 0 && rc == FB_EUNREACH))
		(void)!set(m, "asked", json_false(), &why);
	return rc;
}

/* Gathering and hashing takes its time: right before the old machine goes it
 * is looked at again. */
static int
ask_restore(struct making *m, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	FB_AUTO_FREE char *path = NULL;
	enum found found = FOUND_NONE;
	int rc = prepare(m, &path, &body, err);

	if (rc == FB_OK)
		rc = check_local(m, err);
	if (rc == FB_OK)
		rc = look(m, &found, err);
	if (rc == FB_OK && found == FOUND_OLD)
		rc = delete_machine(m, err);
	if (rc == FB_OK && found != FOUND_OURS)
		rc = post(m, path, body, err);
	fb_chost_served_stop(FB_STEAL(m->served));
	return rc;
}

/* One that failed, and is ours. */
static int
delete_ours(struct making *m, struct fb_error *err)
{
	enum found found;
	int rc = look(m, &found, err);

	return rc == FB_OK && found == FOUND_OURS ? delete_machine(m, err)
	                                          : rc;
}

static int
make(struct making *m, const struct fb_verb *verb, struct fb_error *err)
{
	for (int i = 0;; i++) {
		enum found found;
		int rc = look_first(m, verb, &found, err);

		if (rc == FB_OK && found != FOUND_OURS)
			rc = ask_restore(m, err);
		if (rc == FB_OK)
			rc = await_up(m, verb, err);
		if (rc != FB_EFAILED || i + 1 == TRIES_MAX ||
		    strcmp(err->id, "E-CHOST-FAILED") != 0)
			return rc;
		*err = (struct fb_error){ 0 };
		rc = delete_ours(m, err);
		if (rc < 0)
			return rc;
	}
}

/* It is made running; the engine starts it where it shall be up. */
static int
settle_power(struct making *m, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_chost_machine_path(m->site.id, "/stop");
	enum found found;
	int rc;

	if (m->request->mode == FB_RESTORE_AS_NEW && m->request->start)
		return FB_OK;
	rc = look(m, &found, err);
	if (rc == FB_OK && found != FOUND_OURS)
		return fb_fail(err, FB_ECONFLICT,
		    "machine '%s' has gone, or is the old one", m->site.id);
	return rc < 0 ? rc
	              : fb_chost_do(m->host, "POST", path, NULL, STOP_MS,
	                    NULL, err);
}

/* It was finished before, and nobody noted it: is it still there? */
static int
check_finished(struct making *m, struct fb_error *err)
{
	enum found found;
	int rc = look(m, &found, err);

	return rc < 0 || found == FOUND_OURS
	    ? rc
	    : fb_fail(err, FB_ECONFLICT,
	          "machine '%s', which was restored, has gone since",
	          m->site.id);
}

int
fb_chost_restore_finish(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct making m = { .host = (struct fb_chost *)base,
		.request = request };
	int rc = fb_chost_site_load(m.host, request, &m.site, err);

	if (rc == FB_OK && is_set(&m, "done")) {
		rc = check_finished(&m, err);
	} else {
		if (rc == FB_OK)
			rc = load_definition(&m, err);
		if (rc == FB_OK)
			rc = make(&m, verb, err);
		if (rc == FB_OK)
			rc = settle_power(&m, err);
		if (rc == FB_OK)
			rc = set(&m, "done", json_true(), err);
	}
	if (rc == FB_OK)
		rc = fb_chost_site_close(&m.site, err);
	fb_chost_site_release(&m.site);
	json_decref(m.definition);
	return rc;
}
