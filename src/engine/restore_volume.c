/*
 * One volume, from the repository into where it belongs.
 */
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"
#include "restore_parts.h"

/* A definition is small; anything larger is no definition. */
#define DEFINITION_MAX (UINT64_C(64) << 20)

/* Bytes between two words to whoever watches. */
#define PROGRESS_EVERY (UINT64_C(8) << 20)

/* What watching and noting one volume needs. */
struct copying {
	struct fb_restore *restore;
	struct fb_rst_machine *machine;
	struct fb_rst_volume *volume;
	uint64_t shown;
};

void
fb_rst_warn(struct fb_restore *restore, const struct fb_rst_machine *machine,
    const struct fb_error *err)
{
	struct fb_event event = { .kind = FB_EVENT_WARNING,
		.machine = machine ? machine->key : NULL, .error = err };

	fb_rst_tell(restore, &event);
}

void
fb_rst_state(struct fb_restore *restore, const struct fb_rst_machine *machine,
    const char *state)
{
	struct fb_event event = { .kind = FB_EVENT_STATE,
		.machine = machine->key, .text = state };

	fb_rst_tell(restore, &event);
}

static void
show_progress(struct copying *c, uint64_t done, uint64_t total)
{
	struct fb_event event = { .kind = FB_EVENT_PROGRESS,
		.machine = c->machine->key, .volume = c->volume->record->name,
		.done = done, .total = total };

	if (done < total && done - c->shown < PROGRESS_EVERY)
		return;
	c->shown = done;
	fb_rst_tell(c->restore, &event);
}

static void
disk_progress(void *arg, uint64_t done)
{
	struct copying *c = arg;

	show_progress(c, done, c->volume->record->size);
}

static int
disk_checkpoint(void *arg, uint64_t offset, struct fb_error *err)
{
	struct copying *c = arg;

	return fb_rst_note_progress(c->restore, c->machine,
	    c->volume->record->name, offset, err);
}

/* What an earlier attempt wrote belongs to the flat digest too. */
static int
digest_written(struct fb_rst_disk *disk, struct fb_error *err)
{
	size_t step = 1u << 20;
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(step, 1);

	for (uint64_t at = 0; at < disk->from; at += step) {
		int rc;

		if (disk->from - at < step)
			step = (size_t)(disk->from - at);
		rc = disk->target->ops->read(
		    disk->target, at, bytes, step, err);
		if (rc < 0)
			return rc;
		fb_digester_add(disk->flat, (struct fb_span){ bytes, step });
	}
	return FB_OK;
}

static int
check_flat(const struct fb_digester *flat, struct fb_volume_reader *reader,
    const struct fb_manifest_volume *record, struct fb_error *err)
{
	const struct fb_cipher_key *use;
	struct fb_cipher_key domain;
	struct fb_digest digest;
	int rc;

	if (flat == NULL)
		return FB_OK;
	rc = fb_volume_domain(reader, &domain, &use, err);
	if (rc < 0)
		return rc;
	fb_digester_peek(flat, &digest);
	fb_cipher_flat(use, &digest);
	if (fb_digest_cmp(&digest, &record->flat) == 0)
		return FB_OK;
	return fb_fail_id(err, FB_ECORRUPT, "E-RST-ROOT",
	    "the SHA-256 of what was written is not the manifest's");
}

void
fb_rst_await(struct fb_restore *restore, struct fb_rst_machine *machine)
{
	if (restore->together == NULL || machine->awaited)
		return;
	machine->awaited = true;
	fb_volumes_expect(restore->together);
}

void
fb_rst_forgo(struct fb_restore *restore, struct fb_rst_machine *machine)
{
	if (!machine->awaited)
		return;
	machine->awaited = false;
	fb_volumes_forgo(restore->together);
}

/* Nobody waits for what is read alone. */
static void
read_alone(struct copying *c)
{
	fb_rst_forgo(c->restore, c->machine);
	(void)pthread_mutex_lock(&c->restore->alone);
}

static void
read_alone_end(struct copying *c)
{
	(void)pthread_mutex_unlock(&c->restore->alone);
}

static int
write_disk(struct copying *c, struct fb_rst_disk *disk, bool update,
    struct fb_error *err)
{
	const struct fb_target *target = disk->target;
	int rc = FB_OK;

	if (disk->together != NULL && !update && disk->flat == NULL &&
	    target->fresh && target->parallel) {
		disk->expected = c->machine->awaited;
		c->machine->awaited = false;
		return fb_rst_disk_together(disk, err);
	}
	read_alone(c);
	if (disk->flat)
		rc = digest_written(disk, err);
	if (rc >= 0)
		rc = update ? fb_rst_disk_update(disk, err)
		            : fb_rst_disk_write(disk, err);
	read_alone_end(c);
	return rc;
}

static int
copy_disk(struct copying *c, struct fb_volume_reader *reader,
    struct fb_target *target, struct fb_rst_totals *totals,
    struct fb_error *err)
{
	const struct fb_manifest_volume *record = c->volume->record;
	bool update = c->machine->existed &&
	    c->restore->kind == FB_RESTORE_TO_MACHINE;
	FB_AUTO_DIGESTER struct fb_digester *flat =
	    record->has_flat && !update ? fb_digester_new() : NULL;
	struct fb_rst_disk disk = { .reader = reader, .target = target,
		.together = c->restore->together, .size = record->size,
		.end = c->volume->there->size, .from = c->volume->offset,
		.cancel = c->restore->engine->cancel, .flat = flat,
		.checkpoint = disk_checkpoint, .progress = disk_progress,
		.arg = c };
	int rc;

	if (disk.from > disk.size)
		return fb_fail(err, FB_ECORRUPT,
		    "the restore's journal is ahead of the volume");
	if (c->volume->begun)
		target->fresh = false;
	rc = write_disk(c, &disk, update, err);
	if (rc >= 0)
		rc = fb_rst_disk_clear_rest(&disk, err);
	totals->read_bytes += disk.read_bytes;
	totals->written_bytes += disk.written_bytes;
	totals->same_bytes += disk.same_bytes;
	return rc < 0 ? rc : check_flat(flat, reader, record, err);
}

/* The archive, or the stretches of it that paths choose, as one stream. */
struct feed {
	struct copying *copying;
	struct fb_volume_reader *reader;
	const struct fb_rst_range *ranges;
	size_t count, at;
	bool open, ended;
	bool tail; /* end the archive ourselves */
	struct fb_pull inner;
	struct fb_digester *flat;
	uint64_t done, total;
};

static int
next_piece(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	static const uint8_t end_of_archive[1024];
	struct feed *f = arg;
	const atomic_bool *cancel = f->copying->restore->engine->cancel;

	if (cancel && atomic_load(cancel))
		return fb_fail(err, FB_ECANCELED, "canceled");
	while (f->at < f->count) {
		int rc = FB_OK;

		if (!f->open)
			rc = fb_volume_pull(f->reader,
			    f->ranges[f->at].offset, f->ranges[f->at].end,
			    &f->inner, err);
		if (rc >= 0)
			rc = f->inner.next(f->inner.arg, ret_bytes, err);
		if (rc < 0)
			return rc;
		f->open = ret_bytes->len > 0;
		if (!f->open) {
			f->at++;
			continue;
		}
		if (f->flat)
			fb_digester_add(f->flat, *ret_bytes);
		f->done += ret_bytes->len;
		show_progress(f->copying, f->done, f->total);
		return FB_OK;
	}
	*ret_bytes = (struct fb_span){ end_of_archive,
		f->tail && !f->ended ? sizeof(end_of_archive) : 0 };
	f->ended = true;
	return FB_OK;
}

static void
feed_begin(struct feed *f, struct copying *c, struct fb_volume_reader *reader,
    struct fb_rst_range *whole)
{
	const struct fb_rst_paths *paths = &c->volume->paths;
	bool some = c->restore->path_count > 0;

	*whole = (struct fb_rst_range){ 0, c->volume->record->size };
	*f = (struct feed){ .copying = c, .reader = reader,
		.ranges = some ? paths->ranges : whole,
		.count = some ? paths->count : 1, .tail = some,
		.total = some ? paths->bytes : whole->end };
	if (!some && c->volume->record->has_flat)
		f->flat = fb_digester_new();
}

/* Was all of it taken, and was it what the manifest says? */
static int
feed_end(struct feed *f, struct fb_error *err)
{
	int rc = FB_OK;

	if (f->done != f->total)
		rc = fb_fail(err, FB_ECORRUPT,
		    "the archive ends before its last byte");
	if (rc >= 0)
		rc = check_flat(
		    f->flat, f->reader, f->copying->volume->record, err);
	return rc;
}

struct reporter {
	struct fb_restore *restore;
	const struct fb_rst_machine *machine;
	const char *volume;
};

static void
report_path(void *arg, const char *path, const char *what)
{
	struct reporter *to = arg;
	FB_AUTO_FREE char *text =
	    fb_format("%s: %s: %s", to->volume, path, what);
	struct fb_event event = { .kind = FB_EVENT_NOTE,
		.machine = to->machine->key, .text = text };

	fb_rst_tell(to->restore, &event);
}

static int
absorb_tree(struct copying *c, struct fb_volume_reader *reader,
    struct fb_target *target, struct fb_rst_totals *totals,
    struct fb_error *err)
{
	struct reporter reporter = { c->restore, c->machine,
		c->volume->record->name };
	struct fb_rst_range whole;
	struct feed feed;
	struct fb_pull pull = { &feed, next_piece };
	int rc;

	feed_begin(&feed, c, reader, &whole);
	target->partial = c->restore->path_count > 0;
	target->report = report_path;
	target->report_arg = &reporter;
	read_alone(c);
	rc = target->ops->absorb(target, &pull, err);
	if (rc >= 0)
		rc = feed_end(&feed, err);
	read_alone_end(c);
	if (rc >= 0)
		rc = target->ops->sync(target, err);
	totals->read_bytes += feed.done;
	totals->written_bytes += target->written_bytes;
	totals->same_bytes += target->unchanged_bytes;
	totals->removed += target->removed;
	fb_digester_free(feed.flat);
	return rc;
}

static int
open_record(struct fb_restore *restore, struct fb_rst_volume *volume,
    struct fb_volume_reader **ret_reader, struct fb_error *err)
{
	return fb_rst_open(restore, &volume->record->recipe,
	    &volume->record->root, volume->record->size, ret_reader, err);
}

int
fb_rst_volume_to_target(struct fb_restore *restore,
    struct fb_rst_machine *machine, size_t index, struct fb_target *target,
    struct fb_rst_totals *totals, struct fb_error *err)
{
	struct fb_rst_volume *volume = &machine->volumes[index];
	struct copying copying = { restore, machine, volume, 0 };
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	int rc;

	if (target->kept) {
		fb_rst_forgo(restore, machine);
		totals->same_bytes += volume->record->size;
		return FB_OK;
	}
	rc = open_record(restore, volume, &reader, err);
	if (rc >= 0)
		rc = fb_rst_is_stream(volume->record->kind)
		    ? absorb_tree(&copying, reader, target, totals, err)
		    : copy_disk(&copying, reader, target, totals, err);
	return rc < 0 ? fb_wrap(err, "volume '%s'", volume->record->name)
	              : FB_OK;
}

int
fb_rst_volume_to_tree(struct fb_restore *restore,
    struct fb_rst_machine *machine, size_t index, const char *path,
    struct fb_rst_totals *totals, struct fb_error *err)
{
	struct fb_rst_volume *volume = &machine->volumes[index];
	struct copying copying = { restore, machine, volume, 0 };
	struct reporter reporter = { restore, machine, volume->record->name };
	struct fb_tree_options options = { .owners = geteuid() == 0,
		.report = report_path, .report_arg = &reporter };
	struct fb_tree_stats stats = { 0 };
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct fb_rst_range whole;
	struct feed feed;
	struct fb_pull pull = { &feed, next_piece };
	int rc = open_record(restore, volume, &reader, err);

	feed_begin(&feed, &copying, reader, &whole);
	read_alone(&copying);
	if (rc >= 0)
		rc = fb_tree_unpack(path, &pull, &options, &stats, err);
	if (rc >= 0)
		rc = feed_end(&feed, err);
	read_alone_end(&copying);
	totals->read_bytes += feed.done;
	totals->written_bytes += stats.written_bytes;
	fb_digester_free(feed.flat);
	return rc < 0 ? fb_wrap(err, "volume '%s'", volume->record->name)
	              : FB_OK;
}

static int
unpack_definition(struct fb_restore *restore, struct fb_rst_volume *volume,
    const char *dir, struct fb_error *err)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct fb_tree_options options = { 0 };
	struct fb_tree_stats stats = { 0 };
	struct fb_pull pull;
	int rc;

	if (volume->record->size > DEFINITION_MAX)
		return fb_fail(err, FB_ECORRUPT,
		    "the definition is larger than any definition");
	rc = open_record(restore, volume, &reader, err);
	if (rc >= 0)
		rc = fb_volume_pull(
		    reader, 0, volume->record->size, &pull, err);
	if (rc >= 0)
		rc = fb_rst_claim(restore, err);
	/* What an attempt before this one left is not to be trusted. */
	if (rc >= 0)
		rc = fb_io_remove_tree(dir, err);
	if (rc >= 0)
		rc = fb_io_mkdirs(dir, 0700, err);
	if (rc >= 0)
		rc = fb_tree_unpack(dir, &pull, &options, &stats, err);
	return rc;
}

int
fb_rst_definition(struct fb_restore *restore, struct fb_rst_machine *machine,
    size_t number, struct fb_error *err)
{
	for (size_t i = 0; i < machine->record.volume_count; i++) {
		struct fb_rst_volume *volume = &machine->volumes[i];
		FB_AUTO_FREE char *dir = NULL;
		int rc;

		if (volume->record->kind != FB_VOLUME_DEFINITION ||
		    !volume->record->captured)
			continue;
		dir = fb_format("%s/definition-%zu", restore->dir, number);
		rc = unpack_definition(restore, volume, dir, err);
		if (rc < 0)
			return fb_wrap(
			    err, "volume '%s'", volume->record->name);
		machine->definition_dir = FB_STEAL(dir);
		return FB_OK;
	}
	return FB_OK;
}
