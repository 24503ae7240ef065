/* Several volumes at once: opening jobs, and putting bytes into all places. */
#include <stdlib.h>

#include "fleetbak/base/mem.h"

#include "volumes_impl.h"

/* What a thread that opens has of its own. */
struct hand {
	struct fb_volumes *volumes;
	ZSTD_DCtx *dctx;
	uint8_t *content;
};

static bool
is_alive(struct fb_volumes *v, struct reading *reading)
{
	bool alive;

	(void)pthread_mutex_lock(&v->stream.lock);
	if (reading->cancel != NULL && atomic_load(reading->cancel)) {
		struct fb_error err = { 0 };
		int rc = fb_fail(&err, FB_ECANCELED, "stopped on request");

		fail_reading(reading, rc, &err);
	}
	alive = reading->rc == FB_OK;
	(void)pthread_mutex_unlock(&v->stream.lock);
	return alive;
}

/* Of content that begins at `offset` what is wanted. */
static int
put(const struct reading *reading, uint64_t offset, const uint8_t *content,
    uint64_t length, struct fb_error *err)
{
	const struct fb_volume_sink *sink = reading->sink;
	uint64_t start = offset, end = offset + length;

	if (start < reading->from)
		start = reading->from;
	if (end > reading->end)
		end = reading->end;
	return start < end ? sink->put(sink->arg, start,
	                         content + (start - offset),
	                         (size_t)(end - start), err)
	                   : FB_OK;
}

static uint64_t
length_of(const struct job *job, uint32_t first, uint32_t count)
{
	uint64_t length = 0;

	for (uint32_t i = first; i < first + count; i++)
		length += job->chunks[i].length;
	return length;
}

static int
open_part(struct hand *hand, const struct job *job, uint32_t first,
    uint32_t count, uint8_t *stored, struct fb_error *err)
{
	const struct fb_pack_secret *use;
	struct fb_pack_secret secret;
	char key[FB_OBJECT_KEY_SIZE];
	int rc = fb_volume_secret(job->reader, job->pack, &secret, &use, err);

	if (rc < 0)
		return rc;
	fb_pack_key(&pack_of(job)->id, key);
	return fb_chunks_open(hand->dctx, use, job->chunks + first, count,
	    stored, hand->content, key, job->first + first, err);
}

/* What failed with others is tried by itself: a chunk that it does not need is
 * not its damage. */
static int
fetch_alone(struct hand *hand, const struct job *job,
    const struct place *place, struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *stored = fb_alloc(FB_STORED_MAX, 1);
	uint32_t first = place->first, last = first + place->count - 1;
	uint32_t from = job->chunks[first].offset;
	char key[FB_OBJECT_KEY_SIZE];
	int rc;

	fb_pack_key(&pack_of(job)->id, key);
	rc = fb_store_get_range(hand->volumes->stream.repo->store, key, from,
	    stored,
	    job->chunks[last].offset + job->chunks[last].stored_length - from,
	    err);
	return rc < 0
	    ? rc
	    : open_part(hand, job, first, place->count, stored, err);
}

static bool
is_shared(const struct shares *shares)
{
	for (uint32_t i = 1; i < shares->count; i++)
		if (shares->places[i].reading != shares->places[0].reading)
			return true;
	return false;
}

static bool
is_wanted(struct fb_volumes *v, const struct shares *shares)
{
	for (uint32_t i = 0; i < shares->count; i++)
		if (is_alive(v, shares->places[i].reading))
			return true;
	return false;
}

static void
bring(struct hand *hand, struct job *job, const struct shares *shares)
{
	struct fb_volumes *v = hand->volumes;
	bool apart;

	if (!is_wanted(v, shares))
		return;
	fb_far_get_alone(&v->stream, job);
	if (job->rc == FB_OK)
		job->rc = open_part(
		    hand, job, 0, job->count, job->stored, &job->err);
	apart = job->rc < 0 && is_shared(shares);
	for (uint32_t i = 0; i < shares->count; i++) {
		const struct place *place = &shares->places[i];
		const uint8_t *content = hand->content;
		struct fb_error err = job->err;
		int rc = job->rc;

		if (!is_alive(v, place->reading))
			continue;
		if (apart)
			rc = fetch_alone(hand, job, place, &err);
		else
			content += length_of(job, 0, place->first);
		if (rc == FB_OK)
			rc = put(place->reading, place->offset, content,
			    place->length, &err);
		if (rc < 0) {
			(void)pthread_mutex_lock(&v->stream.lock);
			fail_reading(place->reading, rc, &err);
			(void)pthread_mutex_unlock(&v->stream.lock);
		}
	}
}

void *
fb_volumes_work(void *arg)
{
	struct fb_volumes *v = arg;
	struct stream *stream = &v->stream;
	struct hand hand = { v, ZSTD_createDCtx(), fb_alloc(FB_CHUNK_MAX, 1) };

	(void)pthread_mutex_lock(&stream->lock);
	while (!stream->closing) {
		struct job *job;
		uint64_t number;

		if (!fb_far_can_open(stream)) {
			(void)pthread_cond_wait(&stream->work, &stream->lock);
			continue;
		}
		number = stream->next++;
		job = job_at(stream, number);
		fb_far_wake_opener(stream);
		(void)pthread_mutex_unlock(&stream->lock);
		bring(&hand, job, shares_at(v, number));
		(void)pthread_mutex_lock(&stream->lock);
		job->done = true;
		fb_far_opened(stream);
		(void)pthread_cond_signal(&stream->done);
	}
	(void)pthread_mutex_unlock(&stream->lock);
	ZSTD_freeDCtx(hand.dctx);
	free(hand.content);
	return NULL;
}
