#include "fleetbak/journal/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/json.h"
#include "fleetbak/journal/journal.h"
#include "own_dir.h"

#define FORMAT 1
#define DATA   ".data"

/* How often one who reads may find that what it looked for is gone. */
#define LOOKS 100

struct fb_checkpoints {
	char *dir;
	int lock; /* -1: only to look */
	struct fb_journal *journal; /* NULL: only to look */
	bool begun; /* the record that says what this is */
	struct fb_checkpoint *items; /* by number */
	size_t count, room;
	uint64_t last; /* the highest number that was given */
	enum fb_checkpoints_end ended;
};

static const char *const end_names[] = { "", "complete", "clear" };

static struct fb_checkpoints *
new_checkpoints(const char *dir)
{
	struct fb_checkpoints *all = fb_alloc(1, sizeof(*all));

	all->dir = fb_strdup(dir);
	all->lock = -1;
	return all;
}

static char *
data_path(const char *dir, uint64_t id)
{
	return fb_format("%s/%" PRIu64 DATA, dir, id);
}

static void
keep_item(struct fb_checkpoints *all, const struct fb_checkpoint *item)
{
	if (all->count == all->room) {
		all->room = all->room > 0 ? 2 * all->room : 16;
		all->items = fb_realloc(
		    all->items, all->room, sizeof(*all->items));
	}
	all->items[all->count++] = *item;
	all->last = item->id;
	all->ended = FB_CHECKPOINTS_OPEN;
}

/* Records. */

static int
see_begin(struct fb_checkpoints *all, const json_t *body, struct fb_error *err)
{
	uint64_t format;
	int rc = fb_json_u64(
	    body, "format", "checkpoints", UINT64_MAX, &format, err);

	if (rc < 0)
		return rc;
	if (format > FORMAT)
		return fb_fail(err, FB_ETOONEW,
		    "checkpoints of format %" PRIu64 " are newer than this "
		    "program",
		    format);
	all->begun = true;
	return FB_OK;
}

static int
see_checkpoint(
    struct fb_checkpoints *all, const json_t *body, struct fb_error *err)
{
	static const char what[] = "checkpoint";
	struct fb_checkpoint item = { 0 };
	const char *label, *sha256, *time;
	int rc;

	rc = fb_json_u64(body, "id", what, INT64_MAX, &item.id, err);
	if (rc == FB_OK)
		rc = fb_json_u64(body, "size", what, FB_CHECKPOINT_MAX,
		    &item.size, err);
	if (rc == FB_OK)
		rc = fb_json_str(body, "label", what, &label, err);
	if (rc == FB_OK)
		rc = fb_json_str(body, "sha256", what, &sha256, err);
	if (rc == FB_OK)
		rc = fb_json_str(body, "time", what, &time, err);
	if (rc == FB_OK)
		rc = fb_digest_parse((struct fb_span){ (const uint8_t *)sha256,
		    strlen(sha256) }, &item.sha256, err);
	if (rc == FB_OK)
		rc = fb_time_parse(time, &item.time_ns, err);
	if (rc < 0)
		return rc;
	if (item.id <= all->last ||
	    (label[0] != '\0' && !fb_name_ok(label, strlen(label))))
		return fb_fail(err, FB_ECORRUPT,
		    "no number or label for what follows %" PRIu64, all->last);
	(void)snprintf(item.label, sizeof(item.label), "%s", label);
	keep_item(all, &item);
	return FB_OK;
}

static int
see_end(struct fb_checkpoints *all, const json_t *body, struct fb_error *err)
{
	const char *how;
	uint64_t last;
	int rc = fb_json_str(body, "how", "end", &how, err);

	if (rc == FB_OK)
		rc = fb_json_u64(body, "last", "end", INT64_MAX, &last, err);
	if (rc < 0)
		return rc;
	for (size_t i = 1; i < FB_COUNT(end_names); i++)
		if (strcmp(how, end_names[i]) == 0 && last >= all->last) {
			all->ended = (enum fb_checkpoints_end)i;
			all->last = last;
			all->count = 0;
			return FB_OK;
		}
	return fb_fail(err, FB_ECORRUPT, "an end that is none");
}

static int
see(const struct fb_journal_record *record, void *arg, struct fb_error *err)
{
	struct fb_checkpoints *all = arg;
	int rc;

	if (strcmp(record->type, "checkpoints") == 0)
		rc = see_begin(all, record->body, err);
	else if (!all->begun)
		rc = fb_fail(err, FB_ECORRUPT,
		    "it is a journal, but not one of checkpoints");
	else if (strcmp(record->type, "checkpoint") == 0)
		rc = see_checkpoint(all, record->body, err);
	else if (strcmp(record->type, "end") == 0)
		rc = see_end(all, record->body, err);
	else
		rc = fb_fail(err, FB_ECORRUPT, "a record '%s'", record->type);
	if (rc != FB_ECORRUPT)
		return rc;
	{
		struct fb_error inner = *err;

		(void)fb_fail_id(err, FB_ECORRUPT, "E-CHECKPOINT",
		    "journal '%s/journal': record %" PRIu64 ": %s", all->dir,
		    record->sequence, inner.msg);
	}
	return fb_hint(err, "nothing was changed; see fleetbak-checkpoint(1)");
}

static json_t *
begin_record(void)
{
	return json_pack("{s:i}", "format", FORMAT);
}

static json_t *
checkpoint_record(const struct fb_checkpoint *item)
{
	char hex[FB_DIGEST_HEX_SIZE], time[FB_TIME_SIZE];

	fb_digest_hex(&item->sha256, hex);
	fb_time_format_ms(item->time_ns, time);
	return json_pack("{s:I,s:I,s:s,s:s,s:s}", "id", (json_int_t)item->id,
	    "size", (json_int_t)item->size, "label", item->label, "sha256",
	    hex, "time", time);
}

/* Opening. */

static int
open_journal(struct fb_checkpoints *all, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(all->dir, "journal");
	FB_AUTO_JSON json_t *begin = begin_record();
	int rc = fb_journal_open(path, see, all, &all->journal, err);

	if (rc == FB_ENOTFOUND)
		rc = fb_journal_create(path, &all->journal, err);
	/* Whoever made it may have died before its second record. */
	if (rc == FB_OK && !all->begun)
		rc = fb_journal_append(
		    all->journal, "checkpoints", begin, true, err);
	if (rc == FB_OK)
		all->begun = true;
	return rc;
}

int
fb_checkpoints_open(const char *dir, uint64_t wait_ms,
    const atomic_bool *cancel, struct fb_checkpoints **ret,
    struct fb_error *err)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = new_checkpoints(dir);
	FB_AUTO_FREE char *lock = fb_path_join(dir, "lock");
	int rc = own_dir_take(dir, err);

	if (rc < 0)
		return rc;
	all->lock = fb_lock_take(lock, wait_ms, cancel, "checkpoints", err);
	if (all->lock < 0)
		return all->lock;
	rc = open_journal(all, err);
	if (rc < 0)
		return rc;
	*ret = FB_STEAL(all);
	return FB_OK;
}

int
fb_checkpoints_look(
    const char *dir, struct fb_checkpoints **ret, struct fb_error *err)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = new_checkpoints(dir);
	FB_AUTO_FREE char *path = fb_path_join(dir, "journal");
	int rc = own_dir_read(path, see, all, err);

	if (rc == FB_ENOTFOUND) {
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-CHECKPOINT-NONE",
		    "there are no checkpoints in '%s'", dir);
		return fb_hint(err, "fleetbak checkpoint init %s", dir);
	}
	if (rc < 0)
		return rc;
	*ret = FB_STEAL(all);
	return FB_OK;
}

void
fb_checkpoints_close(struct fb_checkpoints *all)
{
	if (all == NULL)
		return;
	fb_journal_close(all->journal);
	if (all->lock >= 0)
		(void)close(all->lock);
	free(all->items);
	free(all->dir);
	free(all);
}

void
fb_checkpoints_closep(struct fb_checkpoints **checkpoints)
{
	fb_checkpoints_close(*checkpoints);
}

const struct fb_checkpoint *
fb_checkpoints_list(const struct fb_checkpoints *all, size_t *ret_count)
{
	*ret_count = all->count;
	return all->items;
}

enum fb_checkpoints_end
fb_checkpoints_ended(const struct fb_checkpoints *all)
{
	return all->ended;
}

/* Changes. */

static int
check_label(const char *label, struct fb_error *err)
{
	return label[0] == '\0' ? FB_OK
	                        : fb_name_check("checkpoint label", label,
	                              strlen(label), err);
}

int
fb_checkpoints_add(struct fb_checkpoints *all, const char *label,
    struct fb_span bytes, uint64_t *ret_id, struct fb_error *err)
{
	struct fb_checkpoint item = { .id = all->last + 1,
		.time_ns = fb_clock_wall_ns(),
		.size = bytes.len };
	FB_AUTO_FREE char *path = data_path(all->dir, item.id);
	FB_AUTO_JSON json_t *record = NULL;
	int rc = check_label(label, err);

	if (rc < 0)
		return rc;
	if (bytes.len > FB_CHECKPOINT_MAX)
		return fb_fail_id(err, FB_ECONFIG, "E-CHECKPOINT-SIZE",
		    "a checkpoint holds at most %u bytes", FB_CHECKPOINT_MAX);
	(void)snprintf(item.label, sizeof(item.label), "%s", label);
	fb_digest_of(bytes, &item.sha256);
	record = checkpoint_record(&item);
	rc = fb_io_replace(path, bytes, 0600, err);
	if (rc == FB_OK)
		rc = fb_journal_append(
		    all->journal, "checkpoint", record, true, err);
	if (rc < 0)
		return rc;
	keep_item(all, &item);
	*ret_id = item.id;
	return FB_OK;
}

/* A file of ours, whole or half written, but not that of `keep`?  Anything else
 * in the directory is somebody's, also what has a number that was never given
 * nor tried. */
static bool
is_litter(const char *name, uint64_t last, uint64_t keep)
{
	size_t digits = strspn(name, "0123456789");
	const char *rest = name + digits;
	struct fb_error ignored;
	uint64_t id;

	if (fb_text_u64((struct fb_span){ (const uint8_t *)name, digits },
	        last + 1, &id, &ignored) < 0 ||
	    id == 0)
		return false;
	return (strcmp(rest, DATA) == 0 && id != keep) ||
	    strcmp(rest, DATA ".tmp") == 0;
}

/* With the lock held: what the journal has no more. */
static int
sweep(struct fb_checkpoints *all, uint64_t keep, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(all->dir, &names, err);

	for (char **name = names; rc == FB_OK && *name != NULL; name++) {
		FB_AUTO_FREE char *path = fb_path_join(all->dir, *name);

		if (is_litter(*name, all->last, keep))
			rc = fb_io_unlink(path, err);
	}
	return rc;
}

int
fb_checkpoints_compact(
    struct fb_checkpoints *all, const char *label, struct fb_error *err)
{
	FB_AUTO_JSON json_t *begin = begin_record(), *newest = NULL;
	struct fb_checkpoint item;
	int rc = label != NULL ? check_label(label, err) : FB_OK;

	if (rc < 0 || all->count == 0)
		return rc;
	item = all->items[all->count - 1];
	if (label != NULL)
		(void)snprintf(item.label, sizeof(item.label), "%s", label);
	newest = checkpoint_record(&item);
	rc = fb_journal_compact(all->journal,
	    (struct fb_journal_record[]){ { 0, "checkpoints", begin },
	        { 0, "checkpoint", newest } },
	    2, err);
	if (rc < 0)
		return rc;
	all->items[0] = item;
	all->count = 1;
	return sweep(all, item.id, err);
}

int
fb_checkpoints_finish(struct fb_checkpoints *all, enum fb_checkpoints_end how,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *begin = begin_record(),
	                    *end = json_pack("{s:s,s:I}", "how", end_names[how],
	                        "last", (json_int_t)all->last);
	int rc = fb_journal_compact(all->journal,
	    (struct fb_journal_record[]){ { 0, "checkpoints", begin },
	        { 0, "end", end } },
	    2, err);

	if (rc < 0)
		return rc;
	all->count = 0;
	all->ended = how;
	return sweep(all, 0, err);
}

/* Reading. */

/* FB_PENDING: somebody removed it since the journal was read. */
static int
load_data(const char *dir, const struct fb_checkpoint *item,
    struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_FREE char *path = data_path(dir, item->id);
	size_t before = dst->len;
	struct fb_digest digest;
	int rc = fb_io_read_file(path, (size_t)item->size, dst, err);

	if (rc == FB_ENOTFOUND)
		return FB_PENDING;
	if (rc < 0 && rc != FB_ECORRUPT)
		return rc;
	if (rc == FB_OK) {
		fb_digest_of((struct fb_span){ dst->data + before,
		    dst->len - before }, &digest);
		if (dst->len - before == item->size &&
		    fb_digest_cmp(&digest, &item->sha256) == 0)
			return FB_OK;
	}
	dst->len = before;
	(void)fb_fail_id(err, FB_ECORRUPT, "E-CHECKPOINT-DATA",
	    "'%s' does not hold the bytes of checkpoint %" PRIu64, path,
	    item->id);
	return fb_hint(err, "fleetbak checkpoint list %s", dir);
}

static const struct fb_checkpoint *
find(const struct fb_checkpoints *all, uint64_t id)
{
	for (size_t i = all->count; i-- > 0;)
		if (id == 0 || all->items[i].id == id)
			return &all->items[i];
	return NULL;
}

static int
fail_none(const struct fb_checkpoints *all, uint64_t id, struct fb_error *err)
{
	static const char *const why[] = { "", ": the work is complete",
		": they were cleared" };

	if (id == 0)
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-CHECKPOINT-NONE",
		    "there is no checkpoint in '%s'%s", all->dir,
		    why[all->ended]);
	else
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-CHECKPOINT-NONE",
		    "there is no checkpoint %" PRIu64 " in '%s'%s", id,
		    all->dir, why[all->ended]);
	return fb_hint(err, "fleetbak checkpoint list %s", all->dir);
}

int
fb_checkpoint_load(const char *dir, uint64_t id, struct fb_checkpoint *ret,
    struct fb_buf *dst, struct fb_error *err)
{
	uint64_t missed = 0; /* listed, and its bytes were not there */

	for (int look = 0; look < LOOKS; look++) {
		FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;
		const struct fb_checkpoint *item;
		int rc = fb_checkpoints_look(dir, &all, err);

		if (rc < 0)
			return rc;
		item = find(all, id);
		if (item == NULL)
			return fail_none(all, id, err);
		*ret = *item;
		rc = load_data(dir, item, dst, err);
		if (rc != FB_PENDING)
			return rc;
		/* Bytes go after their record: so they were lost. */
		if (item->id == missed)
			break;
		missed = item->id;
	}
	(void)fb_fail_id(err, FB_ECORRUPT, "E-CHECKPOINT-DATA",
	    "the bytes of checkpoint %" PRIu64 " are missing in '%s'", missed,
	    dir);
	return fb_hint(err, "fleetbak checkpoint list %s", dir);
}
