#include "libvirt_overlay.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

#define RECORD_MAX ((size_t)1 << 20)

/* In the mark of a domain that was started paused, in a token's place. */
#define TO_MERGE "to merge"

/* Those that are merged just now, with who merges them: who removes a capture and
 * who watches its guest may both want to.  Nobody waits for another guest's. */
struct merging {
	const char *uuid;
	struct merging *next;
};
static struct merging *merging;
static pthread_mutex_t merging_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t merging_ended = PTHREAD_COND_INITIALIZER;

/* Between two looks at a merge; and how long one may stand still. */
#define LOOK_NS  INT64_C(20000000)
#define STILL_NS (INT64_C(120) * 1000000000)

/* Of `record`, which outlives it. */
struct overlay {
	const char *target;
	const char *base, *format; /* the image that was the disk's */
	const char *path;          /* the overlay */
	json_t *entry;
};

struct overlays {
	char *path; /* of the record */
	json_t *record;
	const char *token;
	struct overlay *items;
	size_t count;
};

static void
release_overlays(struct overlays *overlays)
{
	json_decref(overlays->record);
	free(overlays->items);
	free(overlays->path);
}
#define AUTO_OVERLAYS FB_CLEANUP(release_overlays)

bool
fb_libvirt_overlays(const struct fb_libvirt_driver *driver, bool live,
    const struct fb_domain *domain)
{
	if (live || !domain->agent || driver->far != NULL)
		return false;
	for (size_t i = 0; i < domain->disk_count; i++) {
		const struct fb_domain_disk *disk = &domain->disks[i];

		if (disk->device == FB_DOMAIN_DISK && disk->why == NULL &&
		    (disk->hands_errors || strcmp(disk->type, "file") != 0 ||
		        disk->source == NULL || disk->source[0] != '/'))
			return false;
	}
	return true;
}

/*
 * The record.
 */

static char *
record_path(const struct fb_libvirt_driver *driver, const char *uuid)
{
	return fb_libvirt_place(driver, uuid, FB_LIBVIRT_OVERLAY_MARK);
}

bool
fb_libvirt_is_overlaid(
    const struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_FREE char *path = record_path(driver, uuid);
	struct fb_error ignored;
	struct stat st;

	return driver->local && fb_io_look(path, &st, &ignored) == FB_OK;
}

static int
take_item(json_t *entry, struct overlay *ret, struct fb_error *err)
{
	static const char what[] = "what lies above a guest's images";
	int rc = fb_json_str(entry, "target", what, &ret->target, err);

	ret->entry = entry;
	if (rc == FB_OK)
		rc = fb_json_str(entry, "base", what, &ret->base, err);
	if (rc == FB_OK)
		rc = fb_json_str(entry, "format", what, &ret->format, err);
	return rc < 0 ? rc
	              : fb_json_str(entry, "overlay", what, &ret->path, err);
}

/* Without one there are none. */
static int
load(const struct fb_libvirt_driver *driver, const char *uuid,
    struct overlays *ret, struct fb_error *err)
{
	char *path = ret->path = record_path(driver, uuid);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	json_t *list = NULL;
	int rc = fb_libvirt_is_overlaid(driver, uuid)
	    ? fb_io_read_file(path, RECORD_MAX, &text, err)
	    : FB_ENOTFOUND;

	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_OK)
		rc = fb_json_parse(
		    fb_buf_span(&text), RECORD_MAX, path, &ret->record, err);
	if (rc == FB_OK)
		rc = fb_json_str(
		    ret->record, "token", path, &ret->token, err);
	if (rc == FB_OK)
		rc = fb_json_array(ret->record, "disks", path, &list, err);
	if (rc < 0)
		return rc;
	ret->items =
	    fb_alloc(json_array_size(list) + 1, sizeof(*ret->items));
	for (size_t i = 0; rc == FB_OK && i < json_array_size(list); i++)
		rc = take_item(json_array_get(list, i),
		    &ret->items[ret->count++], err);
	return rc;
}

bool
fb_libvirt_is_overlaid_for(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token)
{
	AUTO_OVERLAYS struct overlays overlays = { 0 };
	struct fb_error ignored = { 0 };

	return load(driver, uuid, &overlays, &ignored) == FB_OK &&
	    overlays.record != NULL && strcmp(token, overlays.token) == 0;
}

static int
write_record(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, const struct fb_domain *domain, const char *own,
    const char *const *wanted, struct fb_error *err)
{
	FB_AUTO_FREE char *path = record_path(driver, uuid);
	FB_AUTO_JSON json_t *record = json_object();
	FB_AUTO_BUF struct fb_buf text = { 0 };
	json_t *list = json_array();

	(void)json_object_set_new(record, "token", json_string(token));
	(void)json_object_set_new(record, "disks", list);
	for (; *wanted != NULL; wanted++) {
		const struct fb_domain_disk *disk =
		    fb_domain_disk(domain, *wanted);
		FB_AUTO_FREE char *overlay = fb_format("%s/%s", own, *wanted);

		if (disk == NULL)
			return fb_fail(err, FB_ESTALE,
			    "it has no disk '%s' any more", *wanted);
		(void)json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s, s:s}", "target", *wanted,
		        "base", disk->source, "format", disk->format,
		        "overlay", overlay));
	}
	fb_json_add(&text, record);
	return fb_io_replace(path, fb_buf_span(&text), 0600, err);
}

/*
 * Making them.
 */

int
fb_libvirt_overlay_begin(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token, const char *own,
    const char *const *wanted, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	virDomainSnapshotPtr snapshot;
	int rc = fb_libvirt_read(domain, true, &live, err);

	if (rc == FB_OK)
		rc = write_record(
		    driver, uuid, token, &live, own, wanted, err);
	if (rc == FB_OK)
		rc = fb_libvirt_effect(domain, "overlay", err);
	if (rc < 0)
		return rc;
	fb_domain_snapshot_xml(&live, wanted, own, &xml);
	snapshot = fb_libvirt.virDomainSnapshotCreateXML(domain,
	    fb_buf_str(&xml),
	    VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
	        VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
	        VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
	if (snapshot == NULL)
		return fb_libvirt_fail(
		    err, true, "cannot put overlays above its images");
	(void)fb_libvirt.virDomainSnapshotFree(snapshot);
	return fb_libvirt_overlay_check(driver, domain, uuid, token, err);
}

int
fb_libvirt_overlay_check(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token,
    struct fb_error *err)
{
	AUTO_OVERLAYS struct overlays overlays = { 0 };
	FB_AUTO_DOMAIN struct fb_domain now = { 0 };
	int rc = load(driver, uuid, &overlays, err);

	if (rc == FB_OK)
		rc = fb_libvirt_read(domain, true, &now, err);
	if (rc < 0)
		return rc;
	if (overlays.count == 0 || strcmp(overlays.token, token) != 0)
		return fb_fail(err, FB_EFAILED,
		    "its overlays are gone, or another capture's");
	for (size_t i = 0; i < overlays.count; i++) {
		const struct fb_domain_disk *disk =
		    fb_domain_disk(&now, overlays.items[i].target);

		if (disk == NULL || disk->source == NULL ||
		    strcmp(disk->source, overlays.items[i].path) != 0)
			return fb_fail(err, FB_EFAILED,
			    "its disk '%s' has no overlay any more",
			    overlays.items[i].target);
	}
	return FB_OK;
}

/*
 * Merging them.
 */

static int
begin_commit(
    virDomainPtr domain, const struct overlay *overlay, struct fb_error *err)
{
	int rc = fb_libvirt_effect(domain, "block-commit", err);

	/* Without a base it would go into the lowest image, which may be
	 * another guest's as well. */
	if (rc == FB_OK &&
	    fb_libvirt.virDomainBlockCommit(domain, overlay->target,
	        overlay->base, NULL, 0, VIR_DOMAIN_BLOCK_COMMIT_ACTIVE) < 0)
		rc = fb_libvirt_fail(
		    err, true, "cannot merge its disk '%s'", overlay->target);
	return rc;
}

static bool
is_there(const struct overlay *overlay)
{
	struct fb_error ignored;
	struct stat st;

	return fb_io_look(overlay->path, &st, &ignored) == FB_OK;
}

/* What the definition says proves nothing: it may have been put back as it was
 * by somebody, with all that was written since in an overlay that nothing
 * names.  So that it is about to be merged is durable first. */
static int
note_pivot(const struct overlays *overlays, const struct overlay *overlay,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)json_object_set_new(overlay->entry, "pivot", json_true());
	fb_json_add(&text, overlays->record);
	return fb_io_replace(overlays->path, fb_buf_span(&text), 0600, err);
}

static bool
is_noted(const struct overlay *overlay)
{
	return json_is_true(json_object_get(overlay->entry, "pivot"));
}

static int
pivot(virDomainPtr domain, const struct overlays *overlays,
    const struct overlay *overlay, struct fb_error *err)
{
	int rc = note_pivot(overlays, overlay, err);

	if (rc == FB_OK)
		rc = fb_libvirt_effect(domain, "pivot", err);
	if (rc == FB_OK &&
	    fb_libvirt.virDomainBlockJobAbort(domain, overlay->target,
	        VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) < 0)
		rc = fb_libvirt_fail(err, true,
		    "cannot give its disk '%s' its image back",
		    overlay->target);
	return rc;
}

enum step { MERGED, COMMIT, WAIT, PIVOT };

/* Of what the domain has: the overlay, or its image without anything left in
 * one; anything else is for a person. */
static int
judge_source(const struct fb_domain *domain, const struct overlay *overlay,
    bool *ret_merged, struct fb_error *err)
{
	const struct fb_domain_disk *disk =
	    fb_domain_disk(domain, overlay->target);
	const char *source =
	    disk != NULL && disk->source != NULL ? disk->source : "nothing";

	*ret_merged = strcmp(source, overlay->base) == 0;
	if (strcmp(source, overlay->path) == 0 ||
	    (*ret_merged && (is_noted(overlay) || !is_there(overlay))))
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFLICT, "E-OVERLAY",
	    "its disk '%s' has '%s', and what was written to '%s' is not "
	    "merged into '%s'",
	    overlay->target, source, overlay->path, overlay->base);
	return fb_hint(err,
	    "'qemu-img commit -b IMAGE OVERLAY' while the machine is off, and "
	    "remove the overlay; or only that, when it is not needed");
}

/* What is to be done next; *ret_at: how far a merge is. */
static int
look(virDomainPtr domain, const struct overlay *overlay, enum step *ret_step,
    uint64_t *ret_at, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	virDomainBlockJobInfo info;
	bool merged = false;
	int found, rc = fb_libvirt_read(domain, true, &live, err);

	if (rc == FB_OK)
		rc = judge_source(&live, overlay, &merged, err);
	if (rc < 0)
		return rc;
	*ret_step = merged ? MERGED : COMMIT;
	if (merged)
		return FB_OK;
	found = fb_libvirt.virDomainGetBlockJobInfo(
	    domain, overlay->target, &info, 0);
	if (found < 0)
		return fb_libvirt_fail(err, false, "cannot tell its merge");
	if (found == 0)
		return FB_OK;
	*ret_at = info.cur;
	*ret_step = info.end > 0 && info.cur == info.end ? PIVOT : WAIT;
	return FB_OK;
}

static int
merge_one(virDomainPtr domain, const struct overlays *overlays,
    const struct overlay *overlay, struct fb_error *err)
{
	int64_t moved = fb_clock_mono_ns();
	struct fb_error why = { 0 };
	uint64_t at = 0, before = UINT64_MAX;
	enum step step = WAIT, last = WAIT;

	for (;;) {
		int rc = look(domain, overlay, &step, &at, err);

		if (rc < 0 || step == MERGED)
			return rc;
		if (step == COMMIT)
			(void)!begin_commit(domain, overlay, &why);
		if (step == PIVOT)
			(void)!pivot(domain, overlays, overlay, &why);
		if (at != before || step != last)
			moved = fb_clock_mono_ns();
		before = at;
		last = step;
		if (fb_clock_mono_ns() - moved >= STILL_NS) {
			(void)fb_fail_id(err, FB_ETIMEOUT, "E-OVERLAY",
			    "its disk '%s' is not merged: %s", overlay->target,
			    why.msg[0] != '\0' ? why.msg : "it stands still");
			return fb_hint(err, "the next run tries it again");
		}
		fb_clock_wait(fb_clock_mono_ns() + LOOK_NS);
	}
}

/* Is there anything in its definition that names an overlay?  Live: in what it
 * has now. */
static int
is_merged(virDomainPtr domain, bool live, const struct overlays *overlays,
    bool *ret_merged, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	int rc = fb_libvirt_read(domain, live, &defined, err);

	*ret_merged = true;
	for (size_t i = 0; rc == FB_OK && i < overlays->count; i++) {
		bool merged;

		rc = judge_source(
		    &defined, &overlays->items[i], &merged, err);
		*ret_merged = *ret_merged && merged;
	}
	return rc;
}

/* Whoever else uses this scratch may have made others meanwhile. */
static int
check_same(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err)
{
	AUTO_OVERLAYS struct overlays now = { 0 };
	int rc = load(driver, uuid, &now, err);

	return rc < 0 || (now.record != NULL && strcmp(now.token, token) == 0)
	    ? rc
	    : fb_fail_id(err, FB_ECONFLICT, "E-OVERLAY",
	          "somebody else has merged its overlays, or made others");
}

static int
drop_overlays(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const struct overlays *overlays, struct fb_error *err)
{
	bool merged = true;
	int rc = check_same(driver, uuid, overlays->token, err);

	if (rc == FB_OK)
		rc = is_merged(domain, true, overlays, &merged, err);
	if (rc == FB_OK && !merged)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-OVERLAY",
		    "it writes to an overlay that is merged");
	if (rc == FB_OK)
		rc = is_merged(domain, false, overlays, &merged, err);
	/* It would not start again. */
	if (rc == FB_OK && !merged)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-OVERLAY",
		    "its definition names an overlay that is merged");
	for (size_t i = 0; rc == FB_OK && i < overlays->count; i++)
		if (is_there(&overlays->items[i]))
			rc = fb_io_unlink(overlays->items[i].path, err);
	return rc < 0 ? rc
	              : fb_libvirt_forget(
	                    driver, uuid, FB_LIBVIRT_OVERLAY_MARK, err);
}

static int
switch_off(virDomainPtr domain, struct fb_error *err)
{
	int rc = fb_libvirt_effect(domain, "destroy", err);

	if (rc == FB_OK &&
	    fb_libvirt.virDomainDestroyFlags(
	        domain, VIR_DOMAIN_DESTROY_GRACEFUL) < 0)
		rc = fb_libvirt_fail(err, true, "cannot switch it off");
	return rc;
}

/* What the capture has is not frozen any more from here on. */
static int
spoil(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, token);
	struct fb_error ignored;
	struct stat st;

	return fb_io_look(place, &st, &ignored) < 0
	    ? FB_OK
	    : fb_libvirt_write_kind(driver, uuid, token, FB_LIBVIRT_PART,
	          (struct fb_span){ 0 }, err);
}

/* Was it started paused only to be merged? */
static bool
is_started_to_merge(const struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored;

	return fb_io_read_file(path, RECORD_MAX, &text, &ignored) == FB_OK &&
	    strcmp(fb_buf_str(&text), TO_MERGE) == 0;
}

static int
merge_all(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const struct overlays *overlays, struct fb_error *err)
{
	bool merged = false;
	int state, rc = fb_libvirt_state(domain, &state, err);

	if (rc == FB_OK && fb_libvirt_is_off(state)) {
		rc = is_merged(domain, false, overlays, &merged, err);
		if (rc == FB_OK && !merged)
			rc = fb_libvirt_start_paused(
			    driver, domain, uuid, TO_MERGE, err);
	}
	for (size_t i = 0; rc == FB_OK && !merged && i < overlays->count; i++)
		rc = merge_one(domain, overlays, &overlays->items[i], err);
	if (rc == FB_OK)
		rc = fb_libvirt_let_go_on(domain, err);
	if (rc == FB_OK)
		rc = fb_libvirt_state(domain, &state, err);
	if (rc == FB_OK && state == VIR_DOMAIN_PAUSED &&
	    is_started_to_merge(driver, uuid)) {
		rc = switch_off(domain, err);
		if (rc == FB_OK)
			rc = fb_libvirt_forget(
			    driver, uuid, FB_LIBVIRT_PAUSED, err);
	}
	return rc < 0 ? rc : drop_overlays(driver, domain, uuid, overlays, err);
}

static bool
is_merging(const char *uuid)
{
	const struct merging *at = merging;

	while (at != NULL && strcmp(at->uuid, uuid) != 0)
		at = at->next;
	return at != NULL;
}

static void
begin_merging(struct merging *own)
{
	(void)pthread_mutex_lock(&merging_lock);
	while (is_merging(own->uuid))
		(void)pthread_cond_wait(&merging_ended, &merging_lock);
	own->next = merging;
	merging = own;
	(void)pthread_mutex_unlock(&merging_lock);
}

static void
end_merging(struct merging *own)
{
	struct merging **at = &merging;

	(void)pthread_mutex_lock(&merging_lock);
	while (*at != own)
		at = &(*at)->next;
	*at = own->next;
	(void)pthread_cond_broadcast(&merging_ended);
	(void)pthread_mutex_unlock(&merging_lock);
}
#define AUTO_MERGING FB_CLEANUP(end_merging)

int
fb_libvirt_merge(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token, struct fb_error *err)
{
	AUTO_OVERLAYS struct overlays overlays = { 0 };
	AUTO_MERGING struct merging own = { .uuid = uuid };
	int rc;

	begin_merging(&own);
	rc = load(driver, uuid, &overlays, err);
	if (rc == FB_OK && overlays.record != NULL &&
	    (token == NULL || strcmp(token, overlays.token) == 0)) {
		rc = spoil(driver, uuid, overlays.token, err);
		/* Before anything is written to what they read. */
		fb_libvirt_end_readers(driver, uuid);
		if (rc == FB_OK)
			rc = merge_all(driver, domain, uuid, &overlays, err);
	}
	return rc;
}

int
fb_libvirt_overlay_lost(const struct fb_libvirt_driver *driver,
    const char *uuid, struct fb_error *err)
{
	AUTO_OVERLAYS struct overlays overlays = { 0 };
	int rc = load(driver, uuid, &overlays, err);

	if (rc < 0)
		return rc;
	(void)fb_fail_id(err, FB_ECONFLICT, "E-OVERLAY",
	    "the domain is gone, and what it wrote to '%s' is not merged into "
	    "'%s'",
	    overlays.count > 0 ? overlays.items[0].path : overlays.path,
	    overlays.count > 0 ? overlays.items[0].base : "its images");
	return fb_hint(err,
	    "'qemu-img commit -b IMAGE OVERLAY' of each, and remove '%s'; or "
	    "only that, when they are not needed", overlays.path);
}

/*
 * The domain without them.
 */

int
fb_libvirt_read_without(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, bool live,
    struct fb_domain *ret_domain, struct fb_error *err)
{
	AUTO_OVERLAYS struct overlays overlays = { 0 };
	FB_AUTO_DOMAIN struct fb_domain now = { 0 };
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	FB_AUTO_BUF struct fb_buf before = { 0 };
	FB_AUTO_FREE struct fb_domain_place *places = NULL;
	struct fb_domain_change change = { 0 };
	int rc = load(driver, uuid, &overlays, err);

	if (rc < 0 || overlays.count == 0)
		return rc < 0
		    ? rc
		    : fb_libvirt_read(domain, live, ret_domain, err);
	rc = fb_libvirt_xml(domain, live, &xml, err);
	if (rc == FB_OK)
		rc = fb_domain_read(fb_buf_span(&xml), &now, err);
	if (rc < 0)
		return rc;
	places = fb_alloc(overlays.count, sizeof(*places));
	change.places = places;
	for (size_t i = 0; i < overlays.count; i++) {
		const struct overlay *overlay = &overlays.items[i];
		const struct fb_domain_disk *disk =
		    fb_domain_disk(&now, overlay->target);

		if (disk != NULL && disk->source != NULL &&
		    strcmp(disk->source, overlay->path) == 0)
			places[change.place_count++] =
			    (struct fb_domain_place){
				    .target = overlay->target,
				    .kind = FB_PLACE_FILE,
				    .path = overlay->base,
				    .format = strcmp(overlay->format,
				                  "qcow2") != 0
				        ? overlay->format
				        : NULL };
	}
	rc = fb_domain_change(fb_buf_span(&xml), &change, &before, err);
	return rc < 0
	    ? rc
	    : fb_domain_read(fb_buf_span(&before), ret_domain, err);
}

/* A merge says so first of all: then its capture is not whole any more. */
static int
check_whole(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf stamp = { 0 };
	enum fb_libvirt_kind kind;
	int rc =
	    fb_libvirt_read_kind(driver, uuid, token, &kind, &stamp, err);

	return rc < 0 || kind == FB_LIBVIRT_OVERLAY
	    ? rc
	    : fb_fail(err, FB_EFAILED, "its overlays are merged");
}

int
fb_libvirt_overlay_base(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *target, char **ret_base, char **ret_format,
    struct fb_error *err)
{
	AUTO_OVERLAYS struct overlays overlays = { 0 };
	int rc = load(driver, uuid, &overlays, err);

	if (rc == FB_OK && overlays.count > 0)
		rc = check_whole(driver, uuid, overlays.token, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < overlays.count; i++) {
		const struct overlay *overlay = &overlays.items[i];

		if (strcmp(overlay->target, target) != 0)
			continue;
		*ret_base = fb_strdup(overlay->base);
		*ret_format = fb_strdup(overlay->format);
		return FB_OK;
	}
	return fb_fail(
	    err, FB_ENOTFOUND, "its disk '%s' has no overlay", target);
}
