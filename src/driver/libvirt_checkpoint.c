#include "libvirt_checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/format/json.h"
#include "libvirt_files.h"

#define NAME_PREFIX  "fb-"
#define OWNER_LEN    16
#define TOKEN_PREFIX "libvirt:"
#define PROOF_LEN    32

/* Behind a token: the checkpoint is that of an earlier run, and the domain was
 * off since with images whose digest begins so. */
#define SINCE_OFF     '+'
#define SINCE_OFF_LEN 16

/* One disk of a job that is to begin. */
struct disk {
	const char *target;
	bool keeps;        /* its image can have a bitmap */
	char *image;       /* its path */
	uint64_t inode;    /* 0: of no file */
	const char *since; /* what the last run has of it, and may be used; or
	                    * NULL */
	char *from;        /* the checkpoint that this names */
	char off[FB_CHANGE_TOKEN_SIZE]; /* the token of a domain that is off;
	                                 * "": it has none */
	bool same;    /* as it was captured off: nothing has changed since */
	bool unknown; /* what it wrote since it was captured off */
	char *why;
};

struct job {
	const struct fb_libvirt_begin *begin;
	struct disk *disks;
	size_t count;
	char *name; /* of its checkpoint; NULL: it has none */
	bool asks_image; /* for changes, not the job */
};

/* From what is best to what always works. */
enum kind { WITH_CHANGES, WITH_CHECKPOINT, PLAIN };

static void
release_job(struct job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		free(job->disks[i].image);
		free(job->disks[i].from);
		free(job->disks[i].why);
	}
	free(job->disks);
	free(job->name);
}
#define AUTO_JOB FB_CLEANUP(release_job)

static char *
name_prefix(const char *owner)
{
	return fb_format(NAME_PREFIX "%.*s-", OWNER_LEN, owner);
}

static void
let_go(virDomainCheckpointPtr *checkpoint)
{
	if (*checkpoint != NULL)
		(void)fb_libvirt.virDomainCheckpointFree(*checkpoint);
}
#define AUTO_CHECKPOINT FB_CLEANUP(let_go)

/*
 * Tokens.
 */

/* Of a disk at a checkpoint.  The proof is what must be the same when the
 * checkpoint is used: it itself, the domain, and the image. */
static void
make_token(const struct job *job, const struct disk *disk, const char *name,
    uint64_t created, char ret_token[FB_CHANGE_TOKEN_SIZE])
{
	FB_AUTO_FREE char *facts = fb_format(
	    "fleetbak-libvirt-checkpoint 1\n%s\n%s\n%" PRIu64 "\n%" PRIu64
	    "\n%s\n%s",
	    job->begin->machine->id, name, created, disk->inode, disk->target,
	    disk->image);
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	fb_digest_of((struct fb_span){ (const uint8_t *)facts, strlen(facts) },
	    &digest);
	fb_digest_hex(&digest, hex);
	(void)snprintf(ret_token, FB_CHANGE_TOKEN_SIZE,
	    TOKEN_PREFIX "%s:%.*s", name, PROOF_LEN, hex);
}

/* The proof is before it: neither it nor a name has the sign. */
static size_t
length_on(const char *token)
{
	return strcspn(token, (char[]){ SINCE_OFF, '\0' });
}

static bool
is_off_token(const char *token)
{
	return token[length_on(token)] != '\0';
}

/* Of a domain that is off; `since` is of an earlier run, in either way. */
static void
make_off_token(const struct job *job, const char *since,
    char ret_token[FB_CHANGE_TOKEN_SIZE])
{
	const char *stamp = job->begin->stamp;
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	fb_digest_of((struct fb_span){ (const uint8_t *)stamp, strlen(stamp) },
	    &digest);
	fb_digest_hex(&digest, hex);
	(void)snprintf(ret_token, FB_CHANGE_TOKEN_SIZE, "%.*s%c%.*s",
	    (int)length_on(since), since, SINCE_OFF, SINCE_OFF_LEN, hex);
}

/* The caller's; NULL when the token names none that is the owner's. */
static char *
checkpoint_of(const char *token, const char *owner)
{
	FB_AUTO_FREE char *prefix = name_prefix(owner);
	const char *name = token + strlen(TOKEN_PREFIX);
	const char *colon;

	if (strncmp(token, TOKEN_PREFIX, strlen(TOKEN_PREFIX)) != 0)
		return NULL;
	colon = strchr(name, ':');
	if (colon == NULL || strncmp(name, prefix, strlen(prefix)) != 0 ||
	    !fb_name_ok(name, (size_t)(colon - name)))
		return NULL;
	return fb_format("%.*s", (int)(colon - name), name);
}

static int
time_of(virDomainCheckpointPtr checkpoint, uint64_t *ret_seconds,
    struct fb_error *err)
{
	char *xml = fb_libvirt.virDomainCheckpointGetXMLDesc(
	    checkpoint, VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN);

	if (xml == NULL)
		return fb_libvirt_fail(
		    err, false, "cannot read the checkpoint");
	*ret_seconds = fb_checkpoint_time(
	    (struct fb_span){ (const uint8_t *)xml, strlen(xml) });
	free(xml);
	return *ret_seconds != 0
	    ? FB_OK
	    : fb_fail(err, FB_EPROTO,
	          "the checkpoint does not say when it was made");
}

/* Is what the last run had of the disk here still what it was? */
static int
check_since(const struct job *job, const struct disk *disk, const char *token,
    const char *name, struct fb_error *err)
{
	AUTO_CHECKPOINT virDomainCheckpointPtr checkpoint =
	    fb_libvirt.virDomainCheckpointLookupByName(
	        job->begin->domain, name, 0);
	char now[FB_CHANGE_TOKEN_SIZE];
	uint64_t created;
	int rc;

	if (checkpoint == NULL)
		return fb_libvirt_fail(err, false,
		    "the checkpoint of its last run cannot be had");
	rc = time_of(checkpoint, &created, err);
	if (rc < 0)
		return rc;
	make_token(job, disk, name, created, now);
	return strncmp(now, token, strlen(now)) == 0 &&
	        strlen(now) == length_on(token)
	    ? FB_OK
	    : fb_fail(err, FB_ESTALE,
	          "it has another image than at its last run, or somebody made "
	          "the checkpoint '%s' anew",
	          name);
}

/* What the archive has of it. */
static const char *
token_in_archive(const struct job *job, const char *target)
{
	const struct fb_machine *machine = job->begin->machine;

	for (size_t i = 0;
	     job->begin->verb->since != NULL && i < machine->volume_count; i++)
		if (machine->volumes[i].kind == FB_VOLUME_DISK &&
		    strcmp(machine->volumes[i].name, target) == 0)
			return job->begin->verb->since[i];
	return NULL;
}

/*
 * A bitmap is in the image, and tells what this has that the checkpoint's moment
 * had not, whichever copy of the image it is.  What was captured off is of a
 * later moment, which a copy from before that has not seen: then the bitmap
 * counts no more.  What counts is that nobody wrote since.
 */
static void
take_since(const struct job *job, struct disk *disk, const char *token)
{
	if (job->begin->stamp != NULL)
		make_off_token(job, token, disk->off);
	disk->same = is_off_token(token) && strcmp(disk->off, token) == 0;
	disk->unknown = is_off_token(token) && !disk->same;
	if (!disk->unknown)
		disk->since = token;
}

static void
look_back(const struct job *job, struct disk *disk)
{
	const char *token = token_in_archive(job, disk->target);
	struct fb_error why = { 0 };

	if (token == NULL)
		return;
	disk->unknown = is_off_token(token) && job->begin->stamp == NULL;
	if (disk->unknown)
		return;
	disk->from = checkpoint_of(token, job->begin->verb->owner);
	if (disk->from == NULL)
		return;
	if (check_since(job, disk, token, disk->from, &why) == FB_OK) {
		take_since(job, disk, token);
		return;
	}
	free(FB_STEAL(disk->from));
	disk->why = fb_strdup(why.msg);
}

static int
look_at(const struct job *job, struct disk *disk, struct fb_error *err)
{
	const struct fb_domain_disk *live =
	    fb_domain_disk(job->begin->live, disk->target);
	struct fb_error why = { 0 };
	struct fb_libvirt_file file;

	if (live == NULL)
		return fb_fail(err, FB_ESTALE,
		    "it has no disk '%s' any more", disk->target);
	if (job->name == NULL || strcmp(live->format, "qcow2") != 0)
		return FB_OK;
	disk->keeps = job->begin->stamp == NULL;
	if (fb_libvirt_image(
	        fb_libvirt.virDomainGetConnect(job->begin->domain), live,
	        &disk->image, &why) < 0) {
		disk->why = fb_strdup(why.msg);
		disk->keeps = false;
		return FB_OK;
	}
	if (fb_libvirt_file_look(job->begin->driver, disk->image, &file,
	        &why) == FB_OK &&
	    file.regular)
		disk->inode = file.inode;
	look_back(job, disk);
	return FB_OK;
}

/*
 * The job.
 */

static bool
any_keeps(const struct job *job)
{
	for (size_t i = 0; i < job->count; i++)
		if (job->disks[i].keeps)
			return true;
	return false;
}

static bool
any_since(const struct job *job)
{
	for (size_t i = 0; i < job->count; i++)
		if (job->disks[i].since != NULL)
			return true;
	return false;
}

/* Give up what the job could not be begun with. */
static void
give_up(struct job *job, enum kind kind, const struct fb_error *why)
{
	for (size_t i = 0; i < job->count; i++) {
		struct disk *disk = &job->disks[i];

		if (kind == WITH_CHANGES ? disk->since == NULL : !disk->keeps)
			continue;
		free(disk->why);
		disk->why = fb_strdup(why->msg);
		disk->since = NULL;
		disk->keeps = kind == WITH_CHANGES;
	}
}

static int
begin_now(const struct job *job, enum kind kind, struct fb_error *err)
{
	const struct fb_libvirt_begin *begin = job->begin;
	FB_AUTO_FREE const char **since =
	    fb_alloc(job->count + 1, sizeof(*since));
	FB_AUTO_FREE const char **kept =
	    fb_alloc(job->count + 1, sizeof(*kept));
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	FB_AUTO_BUF struct fb_buf checkpoint = { 0 };
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < job->count; i++) {
		if (job->disks[i].since != NULL)
			since[i] = job->disks[i].from;
		if (job->disks[i].keeps)
			kept[count++] = job->disks[i].target;
	}
	fb_domain_backup_xml(begin->live, begin->wanted, since, begin->socket,
	    begin->scratch, &xml);
	if (kind != PLAIN)
		fb_domain_checkpoint_xml(
		    begin->live, kept, job->name, &checkpoint);
	rc = fb_libvirt_effect(begin->domain, "backup-begin", err);
	if (rc == FB_OK &&
	    fb_libvirt.virDomainBackupBegin(begin->domain, fb_buf_str(&xml),
	        kind != PLAIN ? fb_buf_str(&checkpoint) : NULL, 0) < 0)
		rc = fb_libvirt_fail(
		    err, true, "cannot begin a backup job");
	return rc;
}

/* libvirt said no: then something that the job came with may be why. */
static bool
is_refusal(int rc)
{
	return rc == FB_EFAILED || rc == FB_EUNSUP || rc == FB_ECONFLICT;
}

static int
begin_best(struct job *job, struct fb_error *err)
{
	enum kind kind = any_since(job) ? WITH_CHANGES
	    : any_keeps(job)            ? WITH_CHECKPOINT
	                                : PLAIN;

	for (;;) {
		int rc = begin_now(job, kind, err);

		if (!is_refusal(rc) || kind == PLAIN)
			return rc;
		give_up(job, kind, err);
		kind = kind == WITH_CHANGES ? WITH_CHECKPOINT : PLAIN;
	}
}

/* The bitmap of a checkpoint that is not there, or is broken: what libvirt
 * knows of it goes alone. */
static int
delete_checkpoint(virDomainPtr domain, virDomainCheckpointPtr checkpoint,
    struct fb_error *err)
{
	int state, rc = fb_libvirt_effect(domain, "checkpoint-delete", err);

	if (rc < 0)
		return rc;
	if (fb_libvirt.virDomainCheckpointDelete(checkpoint, 0) == 0)
		return FB_OK;
	rc = fb_libvirt_fail(err, false, "cannot delete a checkpoint");
	if (!is_refusal(rc) || fb_libvirt_state(domain, &state, err) < 0 ||
	    fb_libvirt_is_off(state))
		return rc;
	return fb_libvirt.virDomainCheckpointDelete(checkpoint,
	           VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) == 0
	    ? FB_OK
	    : fb_libvirt_fail(err, false, "cannot delete a checkpoint");
}

/* A try at the same capture, before a crash, may have made it already. */
static int
clear_name(const struct job *job, struct fb_error *err)
{
	AUTO_CHECKPOINT virDomainCheckpointPtr checkpoint = job->name != NULL
	    ? fb_libvirt.virDomainCheckpointLookupByName(
	          job->begin->domain, job->name, 0)
	    : NULL;

	return checkpoint == NULL
	    ? FB_OK
	    : delete_checkpoint(job->begin->domain, checkpoint, err);
}

/*
 * The record.
 */

static void
set(json_t *object, const char *key, const char *text)
{
	if (text != NULL)
		(void)json_object_set_new(object, key, json_string(text));
}

static void
set_true(json_t *object, const char *key, bool is)
{
	if (is)
		(void)json_object_set_new(object, key, json_true());
}

static int
write_record(const struct job *job, uint64_t created, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_part(job->begin->driver,
	    job->begin->machine->id, job->begin->verb->token, FB_LIBVIRT_CHANGES);
	FB_AUTO_JSON json_t *record = json_object();
	FB_AUTO_BUF struct fb_buf text = { 0 };

	for (size_t i = 0; i < job->count; i++) {
		const struct disk *disk = &job->disks[i];
		char token[FB_CHANGE_TOKEN_SIZE];
		json_t *item = json_object();

		if (disk->keeps) {
			make_token(job, disk, job->name, created, token);
			set(item, "token", token);
		}
		if (disk->off[0] != '\0')
			set(item, "token", disk->off);
		set(item, "since", disk->since);
		if (disk->since != NULL && !disk->same) {
			FB_AUTO_FREE char *bitmap = job->asks_image
			    ? fb_strdup(disk->from)
			    : fb_format(FB_LIBVIRT_JOB_BITMAP, disk->target);

			set(item, "bitmap", bitmap);
		}
		set_true(item, "same", disk->same);
		set_true(item, "unknown", disk->unknown);
		set(item, "why", disk->why);
		(void)json_object_set_new(record, disk->target, item);
	}
	fb_json_add(&text, record);
	return fb_io_replace(path, fb_buf_span(&text), 0600, err);
}

static int
note_job(const struct job *job, struct fb_error *err)
{
	AUTO_CHECKPOINT virDomainCheckpointPtr checkpoint = NULL;
	uint64_t created = 0;
	int rc = FB_OK;

	if (any_keeps(job)) {
		checkpoint = fb_libvirt.virDomainCheckpointLookupByName(
		    job->begin->domain, job->name, 0);
		rc = checkpoint != NULL
		    ? time_of(checkpoint, &created, err)
		    : fb_libvirt_fail(err, false,
		          "cannot find the checkpoint '%s'", job->name);
	}
	return rc < 0 ? rc : write_record(job, created, err);
}

/* NULL where none can be made. */
static char *
choose_name(const struct fb_libvirt_begin *begin)
{
	FB_AUTO_FREE char *prefix = NULL;
	FB_AUTO_FREE char *name = NULL;

	if (!begin->driver->checkpoints || begin->verb->owner == NULL)
		return NULL;
	prefix = name_prefix(begin->verb->owner);
	name = fb_format("%s%s", prefix, begin->verb->token);
	return fb_name_ok(name, strlen(name)) ? FB_STEAL(name) : NULL;
}

static int
prepare(struct job *job, const struct fb_libvirt_begin *begin,
    struct fb_error *err)
{
	size_t count = 0;
	int rc = FB_OK;

	while (begin->wanted[count] != NULL)
		count++;
	job->begin = begin;
	job->disks = fb_alloc(count + 1, sizeof(*job->disks));
	job->name = choose_name(begin);
	for (; rc == FB_OK && job->count < count; job->count++) {
		job->disks[job->count].target = begin->wanted[job->count];
		rc = look_at(job, &job->disks[job->count], err);
	}
	return rc < 0 || begin->stamp != NULL ? rc : clear_name(job, err);
}

int
fb_libvirt_begin_backup(
    const struct fb_libvirt_begin *begin, struct fb_error *err)
{
	AUTO_JOB struct job job = { 0 };
	int rc = prepare(&job, begin, err);

	if (rc == FB_OK)
		rc = begin_best(&job, err);
	return rc < 0 ? rc : note_job(&job, err);
}

static int
make_checkpoint(const struct job *job, struct fb_error *err)
{
	FB_AUTO_FREE const char **kept =
	    fb_alloc(job->count + 1, sizeof(*kept));
	AUTO_CHECKPOINT virDomainCheckpointPtr made = NULL;
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < job->count; i++)
		if (job->disks[i].keeps)
			kept[count++] = job->disks[i].target;
	fb_domain_checkpoint_xml(job->begin->live, kept, job->name, &xml);
	rc = fb_libvirt_effect(job->begin->domain, "checkpoint-create", err);
	if (rc < 0)
		return rc;
	made = fb_libvirt.virDomainCheckpointCreateXML(
	    job->begin->domain, fb_buf_str(&xml), 0);
	return made != NULL
	    ? FB_OK
	    : fb_libvirt_fail(err, true, "cannot make a checkpoint");
}

int
fb_libvirt_begin_account(
    const struct fb_libvirt_begin *begin, struct fb_error *err)
{
	AUTO_JOB struct job job = { .asks_image = true };
	struct fb_error why = { 0 };
	int rc = prepare(&job, begin, err);

	if (rc < 0)
		return rc;
	if (any_keeps(&job))
		rc = make_checkpoint(&job, &why);
	if (is_refusal(rc))
		give_up(&job, WITH_CHECKPOINT, &why);
	else if (rc < 0)
		*err = why;
	return rc < 0 && !is_refusal(rc) ? rc : note_job(&job, err);
}

int
fb_libvirt_go_on_account(
    const struct fb_libvirt_begin *begin, struct fb_error *err)
{
	AUTO_JOB struct job job = { .asks_image = true };
	int rc = prepare(&job, begin, err);

	return rc < 0 ? rc : note_job(&job, err);
}

bool
fb_libvirt_has_account(virDomainPtr domain)
{
	virDomainCheckpointPtr *list = NULL;
	bool has = false;
	int count = fb_libvirt.virDomainListAllCheckpoints(domain, &list, 0);

	for (int i = 0; i < count; i++) {
		const char *name =
		    fb_libvirt.virDomainCheckpointGetName(list[i]);

		has = has ||
		    (name != NULL &&
		        strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0);
		(void)fb_libvirt.virDomainCheckpointFree(list[i]);
	}
	free(list);
	return has;
}

/*
 * Those of runs before.
 */

/* Does the record name it, as the job's own or as what that begins from? */
static bool
is_in_use(const json_t *record, const char *owner, const char *name)
{
	static const char *const keys[] = { "token", "since" };
	const char *target;
	json_t *item;

	json_object_foreach((json_t *)(uintptr_t)record, target, item)
		for (size_t i = 0; i < FB_COUNT(keys); i++) {
			const char *token =
			    json_string_value(json_object_get(item, keys[i]));
			FB_AUTO_FREE char *of =
			    token != NULL ? checkpoint_of(token, owner) : NULL;

			if (of != NULL && strcmp(of, name) == 0)
				return true;
		}
	return false;
}

static int
drop_unused(virDomainPtr domain, virDomainCheckpointPtr checkpoint,
    const char *owner, const json_t *record, struct fb_error *err)
{
	const char *name =
	    fb_libvirt.virDomainCheckpointGetName(checkpoint);
	FB_AUTO_FREE char *prefix = name_prefix(owner);

	if (name == NULL || strncmp(name, prefix, strlen(prefix)) != 0 ||
	    is_in_use(record, owner, name))
		return FB_OK;
	return delete_checkpoint(domain, checkpoint, err);
}

int
fb_libvirt_drop_checkpoints(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const struct fb_verb *verb,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *kept = NULL;
	virDomainCheckpointPtr *list = NULL;
	struct fb_error ignored = { 0 };
	int state, count, rc;

	if (verb->owner == NULL ||
	    fb_libvirt_load_changes(driver, uuid, verb->token, &kept, &ignored) < 0)
		return FB_OK;
	rc = fb_libvirt_state(domain, &state, err);
	if (rc < 0 || fb_libvirt_is_off(state))
		return rc;
	count = fb_libvirt.virDomainListAllCheckpoints(domain, &list, 0);
	for (int i = 0; i < count; i++) {
		if (rc == FB_OK)
			rc = drop_unused(
			    domain, list[i], verb->owner, kept, err);
		if (is_refusal(rc))
			rc = FB_OK;
		(void)fb_libvirt.virDomainCheckpointFree(list[i]);
	}
	free(list);
	return rc;
}
