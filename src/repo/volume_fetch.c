/*
 * Getting a volume's bytes from far away: few requests, several at a time.
 *
 * The caller of the stream makes jobs far ahead and lays those whose bytes are
 * neighbours in a pack into one fetch, gaps between them included.  A fetch is
 * one request; its bytes go where the jobs have room, and wait when there is
 * none.  Room is given in the order of the jobs, and every fetch that is not
 * free has a thread: so the one that the oldest job waits for always goes on.
 * When a fetch fails, the jobs that it left are got one by one by whoever opens
 * them: they have no part in what befell the others, or a gap.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/mem.h"

#include "stream_impl.h"

/* One request at most. */
#define FETCH_MAX (UINT64_C(12) << 20)

/* More bytes than this between two jobs are dearer than a request. */
#define GAP_MAX (UINT64_C(512) << 10)

/* Stored bytes that are here and not opened; any job finds room. */
#define ROOM_MAX ((size_t)8 << 20)

struct far *
fb_far_open(struct stream *stream, uint64_t data_size)
{
	struct far *far = fb_alloc(1, sizeof(*far));

	far->room_size = data_size < ROOM_MAX - FB_STORED_MAX
	    ? (size_t)data_size + FB_STORED_MAX
	    : ROOM_MAX;
	far->stored = fb_realloc(NULL, far->room_size, 1);
	far->content_count = (size_t)stream->thread_count + 2;
	far->contents = fb_alloc(far->content_count, sizeof(*far->contents));
	(void)pthread_cond_init(&far->ready, NULL);
	for (unsigned i = 0; i < FETCHES_MAX; i++) {
		(void)pthread_cond_init(&far->fetches[i].room, NULL);
		far->fetches[i].stream = stream;
		far->fetches[i].number = i;
	}
	return far;
}

void
fb_far_close(struct far *far)
{
	for (size_t i = 0; i < far->content_count; i++)
		free(far->contents[i]);
	free(far->contents);
	free(far->stored);
	for (unsigned i = 0; i < FETCHES_MAX; i++)
		(void)pthread_cond_destroy(&far->fetches[i].room);
	(void)pthread_cond_destroy(&far->ready);
	free(far);
}

void
fb_far_stop(struct stream *stream)
{
	struct far *far = stream->far;

	(void)pthread_mutex_lock(&stream->lock);
	(void)pthread_cond_broadcast(&far->ready);
	for (unsigned i = 0; i < FETCHES_MAX; i++)
		(void)pthread_cond_signal(&far->fetches[i].room);
	(void)pthread_mutex_unlock(&stream->lock);
	for (unsigned i = 0; i < far->thread_count; i++)
		(void)pthread_join(far->threads[i], NULL);
}

/* Room for stored bytes. */

/* Where `len` bytes in one piece fit; false: nowhere for now. */
static bool
find_room(const struct far *far, size_t len, size_t *ret_at)
{
	*ret_at = far->used == 0 ? 0 : far->head;
	if (far->used == 0)
		return true;
	if (far->head <= far->tail) /* what is used goes round the end */
		return len <= far->tail - far->head;
	if (len <= far->room_size - far->head)
		return true;
	*ret_at = 0; /* what is left at the end stays unused */
	return len <= far->tail;
}

/* The first one that is ready and whose first job has room. */
static struct fetch *
find_ready(struct far *far)
{
	struct fetch *found = NULL;

	for (unsigned i = 0; i < FETCHES_MAX; i++) {
		struct fetch *fetch = &far->fetches[i];

		if (fetch->state == FETCH_READY &&
		    fetch->first < far->granted &&
		    (found == NULL || fetch->first < found->first))
			found = fetch;
	}
	return found;
}

/* Nobody is woken who would only wait again: that costs more than it seems,
 * for each job. */
static void
wake(struct stream *stream)
{
	struct far *far = stream->far;

	for (unsigned i = 0; i < FETCHES_MAX; i++) {
		struct fetch *fetch = &far->fetches[i];

		if (fetch->waits && fetch->awaited < far->granted)
			(void)pthread_cond_signal(&fetch->room);
	}
	if (find_ready(far) != NULL)
		(void)pthread_cond_broadcast(&far->ready);
	fb_far_wake_opener(stream);
}

static void
grant_room(struct stream *stream)
{
	struct far *far = stream->far;
	uint64_t before = far->granted;

	for (; far->granted < stream->newest; far->granted++) {
		struct job *job = job_at(stream, far->granted);
		size_t len = job->count > 0 ? job->stored_length : 0, at;

		if (len > 0) {
			if (!find_room(far, len, &at))
				break;
			if (far->used == 0)
				far->tail = at;
			job->stored = far->stored + at;
			job->room_end = far->head = at + len;
			far->used += len;
		}
	}
	if (far->granted > before)
		wake(stream);
}

void
fb_far_opened(struct stream *stream)
{
	struct far *far = stream->far;

	while (far->freed < stream->next && job_at(stream, far->freed)->done) {
		const struct job *job = job_at(stream, far->freed++);

		if (job->count == 0)
			continue;
		far->used -= job->stored_length;
		far->tail = job->room_end;
	}
	grant_room(stream);
}

/* Room for what is opened. */

bool
fb_far_can_open(const struct stream *stream)
{
	const struct far *far = stream->far;
	const struct job *job = &stream->ring[stream->next % stream->ring_size];

	if (stream->next >= far->granted)
		return false;
	return job->count == 0 ||
	    (job->here &&
	        far->contents_taken - far->contents_given < far->content_count);
}

void
fb_far_wake_opener(struct stream *stream)
{
	if (fb_far_can_open(stream))
		(void)pthread_cond_signal(&stream->work);
}

void
fb_far_take_content(struct stream *stream, struct job *job)
{
	struct far *far = stream->far;
	uint8_t **content =
	    &far->contents[far->contents_taken % far->content_count];

	if (job->count == 0)
		return;
	far->contents_taken++;
	if (*content == NULL)
		*content = fb_alloc(FB_CHUNK_MAX, 1);
	job->content = *content;
}

void
fb_far_let_go(struct stream *stream, const struct job *job)
{
	if (job->count == 0)
		return;
	stream->far->contents_given++;
	fb_far_wake_opener(stream);
}

/* Planning.  A fetch that is open may become longer. */

bool
fb_far_has_place(const struct stream *stream)
{
	for (unsigned i = 0; i < FETCHES_MAX; i++)
		if (stream->far->fetches[i].state == FETCH_FREE)
			return true;
	return false;
}

/* Whether the range goes on with the job; one that would be too long then is
 * as long as it gets. */
static bool
goes_on(struct fetch *fetch, const struct job *job, bool *ret_ready)
{
	uint64_t begin = job->chunks[0].offset;

	if (fetch->state != FETCH_OPEN ||
	    fb_digest_cmp(&fetch->pack, &pack_of(job)->id) != 0 ||
	    begin < fetch->end || begin - fetch->end > GAP_MAX)
		return false;
	if (begin + job->stored_length - fetch->begin <= FETCH_MAX)
		return true;
	fetch->state = FETCH_READY;
	*ret_ready = true;
	return false;
}

/* True: another one is ready now. */
static bool
add_to_fetch(struct stream *stream, struct job *job, uint64_t number)
{
	struct fetch *fetches = stream->far->fetches, *fetch = NULL;
	bool ready = false;

	for (unsigned i = 0; fetch == NULL && i < FETCHES_MAX; i++)
		if (goes_on(&fetches[i], job, &ready))
			fetch = &fetches[i];
	for (unsigned i = 0; fetch == NULL && i < FETCHES_MAX; i++)
		if (fetches[i].state == FETCH_FREE) {
			fetch = &fetches[i];
			fetch->state = FETCH_OPEN;
			fetch->pack = pack_of(job)->id;
			fetch->begin = fetch->at = job->chunks[0].offset;
			fetch->first = fetch->job = number;
		}
	fetch->end = (uint64_t)job->chunks[0].offset + job->stored_length;
	fetch->last = number;
	job->fetch = fetch->number;
	return ready;
}

/* Getting. */

static void
next_job(struct fetch *fetch)
{
	const struct job *job;

	do {
		fetch->job++;
		job = job_at(fetch->stream, fetch->job);
	} while (fetch->job <= fetch->last &&
	    (job->count == 0 || job->fetch != fetch->number));
}

/* Wait until the job at hand has room. */
static int
wait_for_room(struct fetch *fetch, struct fb_error *err)
{
	struct stream *stream = fetch->stream;
	bool closing;

	(void)pthread_mutex_lock(&stream->lock);
	fetch->awaited = fetch->job;
	fetch->waits = true;
	while (!stream->closing && fetch->job >= stream->far->granted)
		(void)pthread_cond_wait(&fetch->room, &stream->lock);
	fetch->waits = false;
	closing = stream->closing;
	(void)pthread_mutex_unlock(&stream->lock);
	return closing ? fb_fail(err, FB_ECANCELED, "nobody reads on") : FB_OK;
}

static int
take_piece(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct fetch *fetch = arg;
	struct stream *stream = fetch->stream;

	while (piece.len > 0) {
		struct job *job = job_at(stream, fetch->job);
		uint64_t begin = job->chunks[0].offset;
		uint64_t until =
		    fetch->at < begin ? begin : begin + job->stored_length;
		size_t len = piece.len < until - fetch->at
		    ? piece.len
		    : (size_t)(until - fetch->at);
		int rc = wait_for_room(fetch, err);

		if (rc < 0)
			return rc;
		if (fetch->at >= begin)
			memcpy(
			    job->stored + (fetch->at - begin), piece.ptr, len);
		fetch->at += len;
		piece.ptr += len;
		piece.len -= len;
		if (fetch->at < begin + job->stored_length)
			continue;
		(void)pthread_mutex_lock(&stream->lock);
		job->here = true;
		fb_far_wake_opener(stream);
		(void)pthread_mutex_unlock(&stream->lock);
		next_job(fetch);
	}
	return FB_OK;
}

/* With the lock held, but not while bytes come. */
static void
get(struct stream *stream, struct fetch *fetch)
{
	struct fb_repo *repo = stream->repo;
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_error err = { 0 };
	int rc;

	fetch->state = FETCH_UNDER_WAY;
	(void)pthread_mutex_unlock(&stream->lock);
	fb_pack_key(&fetch->pack, key);
	rc = fb_store_read(repo->store, key, fetch->begin,
	    fetch->end - fetch->begin, take_piece, fetch, &err);
	(void)pthread_mutex_lock(&stream->lock);
	/* What is not here by now has the reason. */
	for (; rc < 0 && fetch->job <= fetch->last; next_job(fetch)) {
		struct job *job = job_at(stream, fetch->job);

		job->rc = rc;
		job->err = err;
		job->harmed = rc != FB_ECANCELED &&
		    fetch->end - fetch->begin > job->stored_length;
		job->here = true;
	}
	fetch->state = FETCH_FREE;
	fb_far_wake_opener(stream);
	(void)pthread_cond_broadcast(&stream->done);
}

void
fb_far_get_alone(struct stream *stream, struct job *job)
{
	char key[FB_OBJECT_KEY_SIZE];

	if (!job->harmed)
		return;
	job->harmed = false;
	fb_pack_key(&pack_of(job)->id, key);
	job->rc = fb_store_get_range(stream->repo->store, key,
	    job->chunks[0].offset, job->stored, job->stored_length, &job->err);
}

static void *
run(void *arg)
{
	struct stream *stream = arg;

	(void)pthread_mutex_lock(&stream->lock);
	while (!stream->closing) {
		struct fetch *fetch = find_ready(stream->far);

		if (fetch == NULL)
			(void)pthread_cond_wait(
			    &stream->far->ready, &stream->lock);
		else
			get(stream, fetch);
	}
	(void)pthread_mutex_unlock(&stream->lock);
	return NULL;
}

/* Each that is ready or under way has a thread. */
static void
start_ready(struct stream *stream)
{
	struct far *far = stream->far;
	unsigned ready = 0, busy = 0;

	for (unsigned i = 0; i < FETCHES_MAX; i++) {
		ready += far->fetches[i].state == FETCH_READY;
		busy += far->fetches[i].state == FETCH_UNDER_WAY;
	}
	busy += ready;
	for (; far->thread_count < busy; far->thread_count++)
		if (pthread_create(&far->threads[far->thread_count], NULL, run,
		        stream) != 0)
			abort();
	if (find_ready(far) != NULL)
		(void)pthread_cond_broadcast(&far->ready);
}

void
fb_far_plan(struct stream *stream)
{
	uint64_t number = stream->newest - 1;
	struct job *job = job_at(stream, number);

	grant_room(stream);
	if (job->count > 0 && add_to_fetch(stream, job, number))
		start_ready(stream);
}

/* What has room does not wait to become longer: all that could be planned is. */
void
fb_far_begin(struct stream *stream)
{
	for (unsigned i = 0; i < FETCHES_MAX; i++) {
		struct fetch *fetch = &stream->far->fetches[i];

		if (fetch->state == FETCH_OPEN &&
		    (stream->ended || fetch->first < stream->far->granted))
			fetch->state = FETCH_READY;
	}
	start_ready(stream);
}
