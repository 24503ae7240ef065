#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/format/json.h"
#include "replay.h"

struct fb_journal {
	char *path;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t synced_more;
	int fd;
	uint64_t size;
	uint64_t sequence; /* of the last record written ... */
	uint64_t synced;   /* ... and of the last that survives power loss */
	struct fb_digest chain;
	bool syncing;      /* a thread is in fsync, without the lock */
	struct fb_error failure; /* code < 0: takes no further record */
	struct fb_journal_mirror mirror; /* note NULL: none */
};

static struct fb_journal *
new_journal(const char *path)
{
	struct fb_journal *journal = fb_alloc(1, sizeof(*journal));

	journal->path = fb_strdup(path);
	journal->fd = -1;
	(void)pthread_mutex_init(&journal->lock, NULL);
	(void)pthread_cond_init(&journal->synced_more, NULL);
	return journal;
}

/* The first record of a file: what follows, and where numbers go on. */
static int
add_header(struct fb_buf *dst, uint64_t compacted_from,
    struct fb_digest *chain, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_object();

	fb_journal_seed(chain);
	(void)json_object_set_new(body, "format", json_integer(1));
	if (compacted_from > 0)
		(void)json_object_set_new(body, "compacted_from",
		    json_integer((json_int_t)compacted_from));
	return fb_journal_line_add(
	    dst, compacted_from + 1, chain, "journal", body, err);
}

/*
 * Write a whole new file beside the journal and put it in its place, so that
 * under the journal's name there is never less than a first record.
 */
static int
publish(const char *path, struct fb_span bytes, bool fresh, int *ret_fd,
    bool *ret_renaming, struct fb_error *err)
{
	FB_AUTO_FREE char *temp = fb_format("%s.new", path);
	FB_AUTO_CLOSE int fd = fb_io_open(temp,
	    O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0600, err);
	int rc;

	*ret_renaming = false;
	if (fd < 0)
		return fd;
	rc = fb_io_write_all(fd, temp, bytes, err);
	if (rc == FB_OK)
		rc = fb_io_sync(fd, temp, err);
	if (rc == FB_OK) {
		*ret_renaming = true;
		rc = fb_io_rename(temp, path, fresh, err);
	}
	if (rc < 0) {
		(void)unlink(temp);
		return rc;
	}
	*ret_fd = fd;
	fd = -1;
	return FB_OK;
}

int
fb_journal_create(
    const char *path, struct fb_journal **ret_journal, struct fb_error *err)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = new_journal(path);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	bool renaming;
	int rc = add_header(&bytes, 0, &journal->chain, err);

	if (rc < 0)
		/* uncovered: our own first record is a legal one */
		return rc;
	rc = publish(
	    path, fb_buf_span(&bytes), true, &journal->fd, &renaming, err);
	if (rc < 0)
		return fb_wrap(err, "journal '%s'", path);
	journal->size = bytes.len;
	journal->sequence = journal->synced = 1;
	*ret_journal = FB_STEAL(journal);
	return FB_OK;
}

int
fb_journal_open(const char *path, fb_journal_visit *visit, void *arg,
    struct fb_journal **ret_journal, struct fb_error *err)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = new_journal(path);
	struct replay_end end;
	int rc;

	rc = fb_io_open(path, O_RDWR | O_APPEND | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return fb_wrap(err, "journal '%s'", path);
	journal->fd = rc;
	rc = replay_file(journal->fd, path, visit, arg, &end, err);
	if (rc < 0)
		return rc;
	if (end.torn)
		rc = fb_io_truncate(
		    journal->fd, path, (off_t)end.size, err);
	/* What was replayed will be relied on: it must not vanish later. */
	if (rc == FB_OK)
		rc = fb_io_sync(journal->fd, path, err);
	if (rc < 0)
		return fb_wrap(err, "journal '%s'", path);
	journal->size = end.size;
	journal->sequence = journal->synced = end.sequence;
	journal->chain = end.chain;
	*ret_journal = FB_STEAL(journal);
	return FB_OK;
}

int
fb_journal_read(const char *path, fb_journal_visit *visit, void *arg,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	struct replay_end end;

	if (fd < 0)
		return fb_wrap(err, "journal '%s'", path);
	return replay_file(fd, path, visit, arg, &end, err);
}

/* With the lock held: remember the failure. */
static int
give_up(struct fb_journal *journal, struct fb_error *err)
{
	(void)fb_wrap(err, "journal '%s'", journal->path);
	if (journal->failure.code == FB_OK)
		journal->failure = *err;
	(void)pthread_cond_broadcast(&journal->synced_more);
	return err->code;
}

static int
refuse_if_failed(const struct fb_journal *journal, struct fb_error *err)
{
	if (journal->failure.code == FB_OK)
		return FB_OK;
	*err = journal->failure;
	return fb_wrap(err, "nothing more is recorded");
}

/* What the next step is about, for tests: the record's type and names. */
static void
label_step(const char *type, const json_t *body)
{
#ifdef FB_FAULTS
	static const char *const members[] = { "state", "verb", "how",
		"machine", "volume" };
	FB_AUTO_BUF struct fb_buf label = { 0 };

	fb_buf_add_str(&label, type);
	for (size_t i = 0; i < FB_COUNT(members); i++) {
		const char *value =
		    json_string_value(json_object_get(body, members[i]));

		if (value == NULL)
			continue;
		fb_buf_add_str(&label, " ");
		fb_buf_add_str(&label, value);
	}
	fb_seam_label(fb_buf_str(&label));
#else
	(void)type;
	(void)body;
#endif
}

/* With the lock held: write one record. */
static int
write_record(struct fb_journal *journal, const char *type, const json_t *body,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };
	struct fb_digest chain = journal->chain;
	int rc = fb_journal_line_add(
	    &line, journal->sequence + 1, &chain, type, body, err);

	if (rc < 0) /* nothing was written: the journal is as it was */
		return rc;
	label_step(type, body);
	rc = fb_io_write_all(
	    journal->fd, journal->path, fb_buf_span(&line), err);
	if (rc < 0)
		return give_up(journal, err);
	journal->chain = chain;
	journal->sequence++;
	journal->size += line.len;
	if (journal->mirror.note != NULL)
		journal->mirror.note(
		    journal->mirror.arg, journal->sequence, type, body);
	return FB_OK;
}

void
fb_journal_set_mirror(
    struct fb_journal *journal, const struct fb_journal_mirror *mirror)
{
	(void)pthread_mutex_lock(&journal->lock);
	journal->mirror = *mirror;
	(void)pthread_mutex_unlock(&journal->lock);
}

/* With the lock held: return when `sequence` is durable.  One thread syncs
 * for all that wrote before it began. */
static int
sync_up_to(struct fb_journal *journal, uint64_t sequence, struct fb_error *err)
{
	while (journal->synced < sequence) {
		uint64_t covered = journal->sequence;
		int rc = refuse_if_failed(journal, err);

		if (rc < 0)
			/* uncovered: another thread's fsync failed meanwhile */
			return rc;
		if (journal->syncing) {
			(void)pthread_cond_wait(
			    &journal->synced_more, &journal->lock);
			continue;
		}
		journal->syncing = true;
		(void)pthread_mutex_unlock(&journal->lock);
		rc = fb_io_sync(journal->fd, journal->path, err);
		(void)pthread_mutex_lock(&journal->lock);
		journal->syncing = false;
		if (rc < 0)
			return give_up(journal, err);
		if (journal->synced < covered)
			journal->synced = covered;
		(void)pthread_cond_broadcast(&journal->synced_more);
	}
	return FB_OK;
}

int
fb_journal_append(struct fb_journal *journal, const char *type,
    const json_t *body, bool durable, struct fb_error *err)
{
	int rc;

	(void)pthread_mutex_lock(&journal->lock);
	rc = refuse_if_failed(journal, err);
	if (rc == FB_OK)
		rc = write_record(journal, type, body, err);
	if (rc == FB_OK && durable) {
		label_step(type, body);
		rc = sync_up_to(journal, journal->sequence, err);
		fb_seam_label("");
	}
	(void)pthread_mutex_unlock(&journal->lock);
	if (rc == FB_OK && durable && journal->mirror.flush != NULL)
		rc = journal->mirror.flush(journal->mirror.arg, err);
	return rc;
}

/* With the lock held. */
static int
compact(struct fb_journal *journal, const struct fb_journal_record *records,
    size_t count, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint64_t sequence = journal->sequence + 1;
	struct fb_digest chain;
	bool renaming;
	int fd, rc;

	rc = add_header(&bytes, journal->sequence, &chain, err);
	for (size_t i = 0; rc == FB_OK && i < count; i++)
		rc = fb_journal_line_add(&bytes, ++sequence, &chain,
		    records[i].type, records[i].body, err);
	if (rc < 0)
		return rc;
	rc = publish(journal->path, fb_buf_span(&bytes), false, &fd,
	    &renaming, err);
	if (rc < 0) /* once renaming began, which file is ours is unknown */
		return renaming ? give_up(journal, err) : rc;
	(void)close(journal->fd);
	journal->fd = fd;
	journal->chain = chain;
	journal->sequence = journal->synced = sequence;
	journal->size = bytes.len;
	return FB_OK;
}

int
fb_journal_compact(struct fb_journal *journal,
    const struct fb_journal_record *records, size_t count,
    struct fb_error *err)
{
	int rc;

	(void)pthread_mutex_lock(&journal->lock);
	while (journal->syncing)
		/* uncovered: only while another thread is in fsync */
		(void)pthread_cond_wait(&journal->synced_more, &journal->lock);
	rc = refuse_if_failed(journal, err);
	if (rc == FB_OK)
		rc = compact(journal, records, count, err);
	(void)pthread_mutex_unlock(&journal->lock);
	return rc;
}

uint64_t
fb_journal_size(const struct fb_journal *journal)
{
	struct fb_journal *own = (struct fb_journal *)journal;
	uint64_t size;

	(void)pthread_mutex_lock(&own->lock);
	size = own->size;
	(void)pthread_mutex_unlock(&own->lock);
	return size;
}

void
fb_journal_close(struct fb_journal *journal)
{
	if (journal == NULL)
		return;
	if (journal->fd >= 0)
		(void)close(journal->fd);
	(void)pthread_cond_destroy(&journal->synced_more);
	(void)pthread_mutex_destroy(&journal->lock);
	free(journal->path);
	free(journal);
}

void
fb_journal_closep(struct fb_journal **journal)
{
	fb_journal_close(*journal);
}
