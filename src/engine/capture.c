/*
 * One volume from its driver into the copier.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "capture.h"

/* Most read from a disk at once; progress is told at this grain. */
#define READ_MAX ((size_t)4 << 20)

/* The catalogue of a tree is kept aside until the tree is copied: one copy
 * at a time, so that what is stored follows from content and order alone. */
#define CATALOGUE_STEP ((size_t)64 << 10)

void
fb_run_copy_key(const struct fb_job *job, size_t part, bool catalogue,
    char *key, size_t size)
{
	(void)snprintf(key, size, "m%05zu-e%llu-v%zu%s", job->index,
	    (unsigned long long)job->epoch, part, catalogue ? "-cat" : "");
}

int
fb_capture_copier_rc(struct capture *capture, int rc)
{
	if (rc < 0)
		capture->store_failed = true;
	return rc;
}

int
fb_capture_check(struct capture *capture, struct fb_error *err)
{
	if (fb_run_stopping(capture->run))
		return fb_fail(err, FB_ECANCELED, "canceled");
	if (capture->deadline_ns != 0 &&
	    fb_clock_mono_ns() > capture->deadline_ns) {
		(void)fb_fail_id(err, FB_ETIMEOUT, "E-DOWNTIME",
		    "max_downtime passed while volume '%s' was read",
		    capture->part->volume->name);
		return fb_hint(err, "raise download.max_downtime, or move the "
				    "machine to a file system with reflinks");
	}
	return FB_OK;
}

int
fb_capture_wait(struct capture *capture, uint64_t len, struct fb_error *err)
{
	struct fb_rate *all = capture->run->read_rate;
	struct fb_rate *own = capture->source_rate;
	int64_t now = fb_clock_mono_ns();
	uint64_t in_all = fb_rate_queue(all, len, now);
	uint64_t in_own = fb_rate_queue(own, len, now);
	int rc = FB_OK;

	while (rc == FB_OK) {
		int64_t due = fb_rate_due(all, in_all, now);
		int64_t due_own = fb_rate_due(own, in_own, now);

		if (due < due_own)
			due = due_own;
		if (due <= now)
			break;
		fb_clock_wait(due);
		rc = fb_capture_check(capture, err);
		now = fb_clock_mono_ns();
	}
	return rc;
}

static struct fb_rate *
rate_of(const struct fb_run *run, const struct fb_job *job)
{
	const struct fb_config *config = run->engine->config;

	for (size_t s = 0; s < config->source_count; s++)
		if (strcmp(job->machine->source, config->sources[s].name) == 0)
			return run->source_rates[s];
	return NULL;
}

void
fb_capture_progress(struct capture *capture)
{
	struct fb_run *run = capture->run;

	(void)pthread_mutex_lock(&run->lock);
	fb_observe(&run->engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_PROGRESS,
	        .machine = capture->job->name,
	        .volume = capture->part->volume->name,
	        .done = capture->offset,
	        .total = capture->part->volume->size });
	(void)pthread_mutex_unlock(&run->lock);
}

/* [capture->offset, end) of the disk holds data. */
static int
read_data(struct capture *capture, uint64_t end, struct fb_error *err)
{
	struct fb_artifact *artifact = capture->artifact;

	while (capture->offset < end) {
		void *room;
		size_t len;
		int rc = fb_capture_check(capture, err);

		if (rc == FB_OK)
			rc = fb_capture_copier_rc(capture,
			    fb_copy_room(capture->copy, &room, &len, err));
		if (rc < 0)
			return rc;
		if (len > READ_MAX)
			len = READ_MAX;
		if (len > end - capture->offset)
			len = (size_t)(end - capture->offset);
		len = (size_t)fb_rate_step(capture->run->read_rate, len);
		len = (size_t)fb_rate_step(capture->source_rate, len);
		rc = fb_capture_wait(capture, len, err);
		if (rc < 0)
			return rc;
		rc = artifact->ops->read(
		    artifact, capture->offset, room, len, err);
		if (rc < 0)
			return rc;
		rc = fb_capture_copier_rc(
		    capture, fb_copy_filled(capture->copy, len, err));
		if (rc < 0)
			return rc;
		capture->offset += len;
		capture->part->read_bytes += len;
		fb_capture_progress(capture);
	}
	return FB_OK;
}

int
fb_capture_read(struct capture *capture, uint64_t limit, struct fb_error *err)
{
	struct fb_artifact *artifact = capture->artifact;

	while (capture->offset < limit) {
		uint64_t start, end;
		int rc = artifact->ops->extent(
		    artifact, capture->offset, &start, &end, err);

		if (rc < 0)
			return rc;
		if (start > limit)
			start = limit;
		if (end > limit)
			end = limit;
		if (start > capture->offset)
			rc = fb_capture_copier_rc(capture,
			    fb_copy_zero(capture->copy,
			        start - capture->offset, err));
		if (rc < 0)
			return rc;
		capture->offset = start;
		rc = read_data(capture, end, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/* A token is of what it was taken before, and of nothing that changed then:
 * a copy that goes on after a crash has bytes that are older, unless they
 * came from a snapshot. */
static void
note_token(struct capture *capture, bool changed)
{
	const char *token = capture->artifact->token;

	/* A change map tells next time of what changed behind it. */
	if (capture->artifact->ops->changed_blocks != NULL)
		changed = false;
	if (token[0] != '\0' && !changed &&
	    !(capture->continued && capture->live))
		capture->part->token = fb_strdup(token);
}

static int
read_disk(struct capture *capture, struct fb_error *err)
{
	struct fb_artifact *artifact = capture->artifact;
	bool changed;
	int rc = fb_capture_disk(capture, err);

	if (rc == FB_OK && artifact->ops->prove != NULL)
		rc = artifact->ops->prove(artifact, err);
	if (rc < 0)
		return rc;
	changed = artifact->ops->changed != NULL &&
	    artifact->ops->changed(artifact);
	note_token(capture, changed);
	if (changed && fb_job_is_live(capture->job))
		capture->part->fuzzy = true;
	else if (changed)
		capture->part->changed_files++;
	return FB_OK;
}

/* The sink of a stream. */
static int
take_data(void *arg, const void *bytes, size_t len, struct fb_error *err)
{
	struct capture *capture = arg;
	int rc = fb_capture_check(capture, err);

	if (rc == FB_OK)
		rc = fb_capture_wait(capture, len, err);
	if (rc == FB_OK)
		rc = fb_capture_copier_rc(
		    capture, fb_copy_data(capture->copy, bytes, len, err));
	if (rc < 0)
		return rc;
	if ((capture->offset ^ (capture->offset + len)) & ~(READ_MAX - 1))
		fb_capture_progress(capture);
	capture->offset += len;
	capture->part->read_bytes += len;
	return FB_OK;
}

static int
take_cut(void *arg, struct fb_error *err)
{
	struct capture *capture = arg;

	return fb_capture_copier_rc(capture, fb_copy_cut(capture->copy, err));
}

static int
spill_catalogue(struct capture *capture, struct fb_error *err)
{
	int rc = fb_io_write_all(capture->catalogue_fd, "catalogue",
	    fb_buf_span(&capture->catalogue), err);

	if (rc < 0)
		return fb_capture_copier_rc(capture, rc);
	capture->catalogue_size += capture->catalogue.len;
	fb_buf_clear(&capture->catalogue);
	return FB_OK;
}

static int
take_entry(void *arg, const struct fb_entry *entry, struct fb_error *err)
{
	struct capture *capture = arg;

	fb_catalogue_add(&capture->catalogue, entry);
	if (capture->catalogue.len < CATALOGUE_STEP)
		return FB_OK;
	return spill_catalogue(capture, err);
}

static void
take_warning(void *arg, const char *path, const char *what)
{
	struct capture *capture = arg;
	struct fb_error warning = { 0 };

	if (fb_job_is_live(capture->job))
		capture->part->fuzzy = true;
	capture->part->changed_files++;
	(void)fb_fail_id(&warning, FB_ECONFLICT, "E-FILE-CHANGED",
	    "volume '%s': '%s': %s", capture->part->volume->name, path, what);
	fb_run_notify(capture->run,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING,
	        .machine = capture->job->name,
	        .error = &warning });
}

static int
open_catalogue(struct capture *capture, struct fb_error *err)
{
	int fd = open(capture->run->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	FB_AUTO_FREE char *path = NULL;

	if (fd == -1) { /* not every file system has unnamed files */
		path = fb_format("%s/catalogue-%zu.tmp", capture->run->dir,
		    capture->job->index);
		fd = fb_io_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600, err);
		if (fd < 0)
			return fb_capture_copier_rc(capture, fd);
		(void)unlink(path);
	}
	capture->catalogue_fd = fd;
	fb_buf_add_str(&capture->catalogue, FB_CATALOGUE_HEAD);
	return FB_OK;
}

static int
read_stream(struct capture *capture, struct fb_error *err)
{
	struct fb_artifact *artifact = capture->artifact;
	bool catalogued = capture->part->volume->kind == FB_VOLUME_TREE ||
	    capture->part->volume->kind == FB_VOLUME_DEFINITION;
	struct fb_sink sink = { .arg = capture,
		.data = take_data,
		.cut = take_cut,
		.entry = catalogued ? take_entry : NULL,
		.warn = take_warning };
	int rc = FB_OK;

	if (capture->entries != NULL) {
		sink.past = fb_capture_entry;
		sink.same = fb_capture_same;
		sink.past_ns = capture->known->time_ns;
	}
	if (catalogued)
		rc = open_catalogue(capture, err);
	if (rc == FB_OK)
		rc = artifact->ops->produce(artifact, &sink, err);
	if (rc == FB_OK && catalogued)
		rc = spill_catalogue(capture, err);
	return rc;
}

static int
feed_catalogue(struct capture *capture, struct fb_copy *copy,
    struct fb_error *err)
{
	uint64_t done = 0;

	while (done < capture->catalogue_size) {
		void *room;
		size_t len;
		int rc = fb_copy_room(copy, &room, &len, err);

		if (rc == FB_OK)
			rc = fb_io_pread(capture->catalogue_fd, "catalogue",
			    room, len, done, &len, err);
		if (rc == FB_OK)
			rc = fb_copy_filled(copy, len, err);
		if (rc < 0)
			return rc;
		done += len;
	}
	return FB_OK;
}

static int
copy_catalogue(struct capture *capture, struct fb_error *err)
{
	struct fb_copy *copy = NULL;
	uint64_t offset;
	char key[64];
	int rc;

	fb_run_copy_key(capture->job, capture->index, true, key, sizeof(key));
	rc = fb_copy_begin(capture->run->copier, key, "catalogue", false, false,
	    &copy, &offset, err);
	if (rc < 0)
		return rc;
	rc = feed_catalogue(capture, copy, err);
	if (rc < 0) {
		fb_copy_abandon(copy);
		return rc;
	}
	rc = fb_copy_finish(copy, &capture->part->catalogue, err);
	capture->part->has_catalogue = rc == FB_OK;
	return rc;
}

static int
begin_copy(struct capture *capture, bool resume, struct fb_error *err)
{
	bool flat = capture->run->engine->config->download.digest ==
	    FB_DIGEST_FLAT;
	char key[64];

	fb_run_copy_key(capture->job, capture->index, false, key, sizeof(key));
	/* Of a volume that is taken over as a whole it is known. */
	flat = flat && capture->past == NULL;
	return fb_capture_copier_rc(capture,
	    fb_copy_begin(capture->run->copier, key,
	        fb_volume_kind_name(capture->part->volume->kind), flat, resume,
	        &capture->copy, &capture->offset, err));
}

/* Read it into a copy, which is kept when it can be gone on with. */
static int
read_volume(struct capture *capture, bool resume, struct fb_error *err)
{
	bool stream = capture->artifact->ops->produce != NULL;
	int rc;

	fb_capture_open_past(capture);
	rc = begin_copy(capture, resume, err);
	if (rc < 0)
		return rc;
	capture->continued = capture->offset > 0;
	rc = stream ? read_stream(capture, err) : read_disk(capture, err);
	if (rc == FB_ECANCELED && !stream) {
		fb_run_keep(capture->run, capture->copy);
		return rc;
	}
	if (rc < 0)
		fb_copy_abandon(capture->copy);
	return rc;
}

/* Begin anew, without what an earlier run has. */
static void
start_over(struct capture *capture)
{
	fb_capture_close_past(capture);
	fb_part_reset(capture->part);
	fb_closep(&capture->catalogue_fd);
	capture->catalogue_fd = -1;
	fb_buf_clear(&capture->catalogue);
	capture->catalogue_size = 0;
	capture->offset = 0;
	capture->store_failed = false;
}

static int
copy_volume(struct capture *capture, struct fb_error *err)
{
	bool stream = capture->artifact->ops->produce != NULL;
	int rc = read_volume(
	    capture, capture->run->resumed && !stream, err);

	if (rc < 0 && fb_capture_past_failed(capture, err)) {
		start_over(capture);
		/* No state that a crash goes back to names what is written
		 * over now. */
		rc = fb_copier_checkpoint(capture->run->copier, err);
		if (rc < 0)
			return fb_capture_copier_rc(capture, rc);
		rc = read_volume(capture, false, err);
	}
	if (rc < 0)
		return rc;
	rc = fb_copy_finish(capture->copy, &capture->part->result, err);
	if (rc == FB_OK)
		rc = fb_capture_settle(capture, err);
	if (rc == FB_OK && capture->catalogue_fd >= 0)
		rc = copy_catalogue(capture, err);
	return fb_capture_copier_rc(capture, rc);
}

static int
journal_part(struct capture *capture, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body =
	    fb_run_part_json(capture->job, capture->index);
	int rc = fb_journal_append(
	    capture->run->journal, "volume", body, false, err);

	capture->part->done = rc == FB_OK;
	return fb_capture_copier_rc(capture, rc);
}

int
fb_run_copy(struct fb_run *run, struct fb_job *job, size_t part,
    int64_t deadline_ns, struct fb_error *err)
{
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct capture capture = { .run = run,
		.job = job,
		.part = &job->parts[part],
		.index = part,
		.live = fb_job_captures(job, part, true),
		.source_rate = rate_of(run, job),
		.deadline_ns = deadline_ns,
		.catalogue_fd = -1 };
	int rc;

	fb_part_reset(capture.part);
	if (!run->full)
		capture.known = fb_job_past(job, capture.part->volume);
	rc = fb_driver_open_volume(job->driver, job->now,
	    capture.part->volume, capture.live ? NULL : job->token, &artifact,
	    err);
	capture.artifact = artifact;
	if (rc == FB_OK)
		fb_capture_ask(&capture);
	if (rc == FB_OK)
		rc = copy_volume(&capture, err);
	if (rc == FB_OK)
		rc = journal_part(&capture, err);
	fb_capture_close_past(&capture);
	fb_ranges_release(&capture.changed);
	fb_buf_release(&capture.catalogue);
	fb_closep(&capture.catalogue_fd);
	if (rc < 0)
		(void)fb_wrap(err, "volume '%s'", capture.part->volume->name);
	if (rc < 0 && capture.store_failed && rc != FB_ECANCELED) {
		fb_run_fatal(run, err);
		return fb_fail(err, FB_ECANCELED, "canceled");
	}
	return rc;
}
