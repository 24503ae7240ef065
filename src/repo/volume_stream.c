/*
 * A volume's bytes in order, while threads fetch, open and check ahead.
 *
 * The calling thread goes over the recipe and fills a ring of jobs; threads
 * take them in order and complete them in any; the caller takes them out in
 * order again.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/mem.h"

#include "stream_impl.h"

#define WORKERS_MAX 32

/* Jobs that are planned ahead where the store is far away: they are small,
 * and only some of them have their bytes. */
#define FAR_JOBS 128

static int
open_job(struct stream *stream, ZSTD_DCtx *dctx, struct job *job,
    struct fb_error *err)
{
	struct fb_volume_reader *reader = stream->reader;
	const struct fb_pack_secret *use;
	struct fb_pack_secret secret;
	char key[FB_OBJECT_KEY_SIZE];
	int rc = fb_volume_secret(reader, job->pack, &secret, &use, err);

	if (rc < 0)
		return rc;
	fb_pack_key(&pack_of(job)->id, key);
	if (stream->far == NULL)
		rc = fb_store_get_range(reader->repo->store, key,
		    job->chunks[0].offset, job->stored, job->stored_length,
		    err);
	return rc < 0 ? rc
	              : fb_chunks_open(dctx, use, job->chunks, job->count,
	                    job->stored, job->content, key, job->first, err);
}

/* With the lock held. */
static bool
has_work(const struct stream *stream)
{
	return stream->far != NULL ? fb_far_can_open(stream)
	                           : stream->next < stream->newest;
}

static void *
run(void *arg)
{
	struct stream *stream = arg;
	ZSTD_DCtx *dctx = ZSTD_createDCtx();

	(void)pthread_mutex_lock(&stream->lock);
	while (!stream->closing) {
		struct job *job;

		if (!has_work(stream)) {
			(void)pthread_cond_wait(&stream->work, &stream->lock);
			continue;
		}
		job = job_at(stream, stream->next++);
		if (stream->far != NULL) {
			fb_far_take_content(stream, job);
			fb_far_wake_opener(stream);
		}
		(void)pthread_mutex_unlock(&stream->lock);
		fb_far_get_alone(stream, job);
		if (job->count > 0 && job->rc == FB_OK)
			job->rc = open_job(stream, dctx, job, &job->err);
		(void)pthread_mutex_lock(&stream->lock);
		job->done = true;
		if (stream->far != NULL)
			fb_far_opened(stream);
		(void)pthread_cond_signal(&stream->done);
	}
	(void)pthread_mutex_unlock(&stream->lock);
	ZSTD_freeDCtx(dctx);
	return NULL;
}

unsigned
fb_stream_threads(unsigned wanted)
{
	long count = wanted > 0 ? (long)wanted : sysconf(_SC_NPROCESSORS_ONLN);

	return count < 1 ? 1
	    : count > WORKERS_MAX ? WORKERS_MAX
	                          : (unsigned)count;
}

static uint64_t
bytes_between(
    const struct fb_volume_reader *reader, uint64_t offset, uint64_t end)
{
	uint64_t len;

	if (end > reader->head.size)
		end = reader->head.size;
	len = end > offset ? end - offset : 0;
	return len < reader->data_size ? len : reader->data_size;
}

struct stream *
fb_stream_open(struct fb_volume_reader *reader, uint64_t offset, uint64_t end,
    unsigned workers)
{
	struct stream *stream = fb_alloc(1, sizeof(*stream));

	stream->repo = reader->repo;
	stream->reader = reader;
	fb_cursor_open(&stream->cursor, reader, offset, end);
	stream->thread_count = fb_stream_threads(workers);
	stream->ring_size = 2 * (size_t)stream->thread_count + 2;
	if (fb_store_is_far(reader->repo->store)) {
		stream->ring_size = FAR_JOBS;
		stream->far = fb_far_open(
		    stream, bytes_between(reader, offset, end));
	}
	stream->ring = fb_alloc(stream->ring_size, sizeof(*stream->ring));
	(void)pthread_mutex_init(&stream->lock, NULL);
	(void)pthread_cond_init(&stream->work, NULL);
	(void)pthread_cond_init(&stream->done, NULL);
	stream->threads =
	    fb_alloc(stream->thread_count, sizeof(*stream->threads));
	for (unsigned i = 0; i < stream->thread_count; i++)
		if (pthread_create(
		        &stream->threads[i], NULL, run, stream) != 0)
			abort();
	return stream;
}

void
fb_stream_close(struct stream *stream)
{
	if (stream == NULL)
		return;
	(void)pthread_mutex_lock(&stream->lock);
	stream->closing = true;
	(void)pthread_cond_broadcast(&stream->work);
	(void)pthread_mutex_unlock(&stream->lock);
	if (stream->far != NULL)
		fb_far_stop(stream);
	for (unsigned i = 0; i < stream->thread_count; i++)
		(void)pthread_join(stream->threads[i], NULL);
	for (size_t i = 0; stream->far == NULL && i < stream->ring_size; i++) {
		free(stream->ring[i].stored);
		free(stream->ring[i].content);
	}
	if (stream->far != NULL)
		fb_far_close(stream->far);
	fb_cursor_close(&stream->cursor);
	(void)pthread_cond_destroy(&stream->done);
	(void)pthread_cond_destroy(&stream->work);
	(void)pthread_mutex_destroy(&stream->lock);
	free(stream->threads);
	free(stream->ring);
	free(stream);
}

bool
fb_job_goes_on(const struct job *job, const struct piece *piece)
{
	const struct fb_pack_chunk *last = &job->chunks[job->count - 1];

	return piece->length > 0 && piece->chunk != NULL &&
	    job->count < JOB_CHUNKS && piece->pack == job->pack &&
	    piece->number == job->first + job->count &&
	    piece->offset == job->offset + job->length &&
	    piece->chunk->offset == last->offset + last->stored_length &&
	    job->length + piece->length <= FB_CHUNK_MAX &&
	    job->stored_length + piece->chunk->stored_length <= FB_STORED_MAX;
}

void
fb_job_add(struct job *job, const struct piece *piece)
{
	job->chunks[job->count++] = *piece->chunk;
	job->stored_length += piece->chunk->stored_length;
	job->length += piece->length;
}

void
fb_job_begin(struct job *job, struct fb_volume_reader *reader,
    const struct piece *piece)
{
	job->reader = reader;
	job->offset = piece->offset;
	job->count = 0;
	job->stored_length = 0;
	job->length = 0;
	job->done = job->here = job->harmed = false;
	job->rc = FB_OK;
	if (piece->chunk == NULL)
		return;
	job->pack = piece->pack;
	job->first = piece->number;
	fb_job_add(job, piece);
}

/* The next job from the recipe; `length` 0 at the end. */
static int
make_job(struct stream *stream, struct job *job, struct fb_error *err)
{
	struct piece piece;
	int rc;

	rc = fb_cursor_peek(&stream->cursor, &piece, err);
	fb_job_begin(job, stream->reader, &piece);
	if (rc < 0 || piece.length == 0)
		return rc;
	fb_cursor_take(&stream->cursor, &piece);
	if (piece.chunk == NULL) {
		job->length = piece.length;
		return FB_OK;
	}
	if (stream->far == NULL && job->stored == NULL) {
		job->stored = fb_alloc(FB_STORED_MAX, 1);
		job->content = fb_alloc(FB_CHUNK_MAX, 1);
	}
	/* A failure here is met again by the next job. */
	while (fb_cursor_peek(&stream->cursor, &piece, err) == FB_OK &&
	    fb_job_goes_on(job, &piece)) {
		fb_job_add(job, &piece);
		fb_cursor_take(&stream->cursor, &piece);
	}
	return FB_OK;
}

static void
put_job(struct stream *stream)
{
	(void)pthread_mutex_lock(&stream->lock);
	stream->newest++;
	if (stream->far != NULL)
		fb_far_plan(stream);
	else
		(void)pthread_cond_signal(&stream->work);
	(void)pthread_mutex_unlock(&stream->lock);
}

static bool
has_place(struct stream *stream)
{
	bool has;

	if (stream->newest - stream->oldest == stream->ring_size)
		return false;
	if (stream->far == NULL)
		return true;
	(void)pthread_mutex_lock(&stream->lock);
	has = fb_far_has_place(stream);
	(void)pthread_mutex_unlock(&stream->lock);
	return has;
}

/* A failure is a job too: what comes before it is given out first. */
static void
fill_ring(struct stream *stream)
{
	while (!stream->ended && has_place(stream)) {
		struct job *job = job_at(stream, stream->newest);
		int rc = make_job(stream, job, &job->err);

		stream->ended = rc < 0 || job->length == 0;
		job->rc = rc;
		if (rc < 0 || job->length > 0)
			put_job(stream);
	}
	if (stream->far == NULL)
		return;
	(void)pthread_mutex_lock(&stream->lock);
	fb_far_begin(stream);
	(void)pthread_mutex_unlock(&stream->lock);
}

/* Every fetch has brought its last byte and none has come back from it: there
 * is more, and nobody to bring it yet. */
static void
await_place(struct stream *stream)
{
	(void)pthread_mutex_lock(&stream->lock);
	while (!fb_far_has_place(stream))
		(void)pthread_cond_wait(&stream->done, &stream->lock);
	(void)pthread_mutex_unlock(&stream->lock);
}

int
fb_stream_next(
    struct stream *stream, struct extent *ret_extent, struct fb_error *err)
{
	struct job *job;

	*ret_extent = (struct extent){ 0 };
	if (stream->holding) {
		(void)pthread_mutex_lock(&stream->lock);
		if (stream->far != NULL)
			fb_far_let_go(
			    stream, job_at(stream, stream->oldest));
		stream->oldest++;
		(void)pthread_mutex_unlock(&stream->lock);
		stream->holding = false;
	}
	fill_ring(stream);
	while (stream->oldest == stream->newest && !stream->ended) {
		await_place(stream);
		fill_ring(stream);
	}
	if (stream->oldest == stream->newest)
		return FB_OK;
	job = job_at(stream, stream->oldest);
	(void)pthread_mutex_lock(&stream->lock);
	while (!job->done)
		(void)pthread_cond_wait(&stream->done, &stream->lock);
	(void)pthread_mutex_unlock(&stream->lock);
	if (job->rc < 0) {
		*err = job->err;
		return job->rc;
	}
	stream->holding = true;
	*ret_extent = (struct extent){ job->offset, job->length,
		job->count > 0 ? job->content : NULL };
	return FB_OK;
}

int
fb_volume_read(struct fb_volume_reader *reader, uint64_t offset, uint64_t end,
    unsigned workers, const atomic_bool *cancel, fb_volume_visit *visit,
    void *arg, struct fb_error *err)
{
	struct stream *stream = fb_stream_open(reader, offset, end, workers);
	struct extent extent;
	int rc;

	for (;;) {
		rc = fb_stream_next(stream, &extent, err);
		if (rc < 0 || extent.length == 0)
			break;
		if (cancel != NULL && atomic_load(cancel))
			rc = fb_fail(err, FB_ECANCELED, "stopped on request");
		else
			rc = visit(extent.offset, extent.bytes, extent.length,
			    arg, err);
		if (rc < 0)
			break;
	}
	fb_stream_close(stream);
	return rc;
}

/* The volume as a stream of bytes. */

#define ZERO_PART 65536u

/* What of an extent lies inside the range that was asked for. */
static struct fb_span
clip(const struct fb_volume_reader *reader, const struct extent *extent)
{
	uint64_t start = extent->offset, end = start + extent->length;

	if (start < reader->pull_offset)
		start = reader->pull_offset;
	if (end > reader->pull_end)
		end = reader->pull_end;
	return (struct fb_span){
		extent->bytes ? extent->bytes + (start - extent->offset) : NULL,
		(size_t)(end - start)
	};
}

static int
pull_next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	static const uint8_t zeros[ZERO_PART];
	struct fb_volume_reader *reader = arg;

	*ret_bytes = (struct fb_span){ 0 };
	if (reader->pull_zeros == 0) {
		struct extent extent;
		int rc = fb_stream_next(reader->pull, &extent, err);

		if (rc < 0 || extent.length == 0)
			return rc;
		if (extent.bytes != NULL) {
			*ret_bytes = clip(reader, &extent);
			return FB_OK;
		}
		reader->pull_zeros = clip(reader, &extent).len;
	}
	*ret_bytes = (struct fb_span){ zeros,
		reader->pull_zeros < ZERO_PART ? (size_t)reader->pull_zeros
		                               : ZERO_PART };
	reader->pull_zeros -= ret_bytes->len;
	return FB_OK;
}

int
fb_volume_pull(struct fb_volume_reader *reader, uint64_t offset, uint64_t end,
    struct fb_pull *ret_pull, struct fb_error *err)
{
	(void)err;
	fb_stream_close(reader->pull);
	reader->pull = fb_stream_open(reader, offset, end, 0);
	reader->pull_offset = offset;
	reader->pull_end = end < reader->head.size ? end : reader->head.size;
	reader->pull_zeros = 0;
	*ret_pull = (struct fb_pull){ reader, pull_next };
	return FB_OK;
}
