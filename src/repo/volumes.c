/*
 * Several volumes at once: one thread goes over all recipes, that which is
 * behind first, and makes jobs (stream_impl.h); a chunk that a job is going to
 * bring anyway gets one more place instead.  Threads open the jobs, in order,
 * and put what they hold into all its places; whoever reads waits.
 */
#include <stdlib.h>
#include <time.h>

#include "fleetbak/base/mem.h"

#include "volumes_impl.h"

/* A job that has more is not given another; a repetitive volume would else
 * make a list without an end. */
#define PLACES_MAX 256

/* Bytes between two words to who reads. */
#define PASSED_EVERY (UINT64_C(8) << 20)

/* Planning. */

static void
end_reading(struct fb_volumes *v, struct reading *reading, int rc,
    const struct fb_error *err)
{
	reading->ended = true;
	if (rc == FB_OK)
		return;
	(void)pthread_mutex_lock(&v->stream.lock);
	fail_reading(reading, rc, err);
	(void)pthread_mutex_unlock(&v->stream.lock);
}

/* The next piece of data of a reading; false: there is none. */
static bool
next_piece(struct fb_volumes *v, struct reading *reading, struct piece *piece)
{
	struct fb_error err = { 0 };
	int rc = FB_OK;

	if (reading->ended)
		return false;
	while ((rc = fb_cursor_peek(&reading->cursor, piece, &err)) == FB_OK &&
	    piece->length > 0 && piece->chunk == NULL)
		fb_cursor_take(&reading->cursor, piece);
	if (rc == FB_OK && piece->length > 0)
		return true;
	end_reading(v, reading, rc, &err);
	return false;
}

/* The reading that is behind, and its next piece; NULL: all are at the end. */
static struct reading *
find_behind(struct fb_volumes *v, struct piece *ret_piece)
{
	struct reading *behind = NULL;

	for (unsigned i = 0; i < READINGS_MAX; i++) {
		struct piece piece;

		if (v->active[i] == NULL ||
		    !next_piece(v, v->active[i], &piece) ||
		    (behind != NULL && piece.offset >= ret_piece->offset))
			continue;
		behind = v->active[i];
		*ret_piece = piece;
	}
	return behind;
}

/* Does the job bring this very chunk?  A pack is the same by all that recipes
 * say of it: then so are its table and what opens it. */
static bool
brings(const struct job *job, const struct reading *reading,
    const struct piece *piece)
{
	const struct fb_recipe_pack *ours = &reading->reader->packs[piece->pack];
	const struct fb_recipe_pack *its = pack_of(job);

	return piece->number >= job->first &&
	    piece->number - job->first < job->count &&
	    fb_digest_cmp(&ours->id, &its->id) == 0 &&
	    fb_digest_cmp(&ours->table_digest, &its->table_digest) == 0 &&
	    ours->table_offset == its->table_offset &&
	    ours->table_length == its->table_length;
}

/* With the lock held: a job that brings the piece and is not being opened. */
static bool
find_job(struct fb_volumes *v, const struct reading *reading,
    const struct piece *piece, uint64_t *ret_number)
{
	struct stream *stream = &v->stream;

	for (uint64_t i = stream->newest; i-- > stream->next;)
		if (brings(job_at(stream, i), reading, piece) &&
		    shares_at(v, i)->count < PLACES_MAX) {
			*ret_number = i;
			return true;
		}
	return false;
}

static void
add_place(struct shares *shares, const struct place *place)
{
	for (uint32_t i = shares->count; i-- > 0;) {
		struct place *before = &shares->places[i];

		if (before->reading == place->reading &&
		    before->first + before->count == place->first &&
		    before->offset + before->length == place->offset) {
			before->count += place->count;
			before->length += place->length;
			return;
		}
	}
	if (shares->count == shares->cap) {
		shares->cap = shares->cap > 0 ? 2 * shares->cap : 4;
		shares->places = fb_realloc(
		    shares->places, shares->cap, sizeof(*shares->places));
	}
	shares->places[shares->count++] = *place;
}

/* One more place of a job that is planned already. */
static bool
join_job(struct fb_volumes *v, struct reading *reading,
    const struct piece *piece)
{
	uint64_t number;
	bool found;

	(void)pthread_mutex_lock(&v->stream.lock);
	found = find_job(v, reading, piece, &number);
	if (found)
		add_place(shares_at(v, number),
		    &(struct place){ reading, piece->offset, piece->length,
		        piece->number - job_at(&v->stream, number)->first,
		        1 });
	(void)pthread_mutex_unlock(&v->stream.lock);
	if (found && number >= reading->last)
		reading->last = number + 1;
	return found;
}

static bool
is_planned(struct fb_volumes *v, const struct reading *reading,
    const struct piece *piece)
{
	uint64_t number;
	bool found;

	(void)pthread_mutex_lock(&v->stream.lock);
	found = find_job(v, reading, piece, &number);
	(void)pthread_mutex_unlock(&v->stream.lock);
	return found;
}

static void
fill_job(struct fb_volumes *v, struct job *job, struct reading *reading,
    struct piece *piece)
{
	struct cursor *cursor = &reading->cursor;
	struct fb_error ignored; /* it is met again */

	fb_job_begin(job, reading->reader, piece);
	fb_cursor_take(cursor, piece);
	while (fb_cursor_peek(cursor, piece, &ignored) == FB_OK &&
	    fb_job_goes_on(job, piece) && !is_planned(v, reading, piece)) {
		fb_job_add(job, piece);
		fb_cursor_take(cursor, piece);
	}
}

/* False: no reading has anything more, for now. */
static bool
plan_job(struct fb_volumes *v)
{
	struct stream *stream = &v->stream;
	uint64_t number = stream->newest;
	struct job *job = job_at(stream, number);
	struct shares *shares = shares_at(v, number);
	struct reading *reading;
	struct piece piece;

	for (;;) {
		reading = find_behind(v, &piece);
		if (reading == NULL)
			return false;
		if (!join_job(v, reading, &piece))
			break;
		fb_cursor_take(&reading->cursor, &piece);
	}
	fill_job(v, job, reading, &piece);
	reading->last = number + 1;
	shares->count = 0;
	add_place(shares, &(struct place){ reading, job->offset, job->length, 0,
	                      job->count });
	for (unsigned i = 0; i < READINGS_MAX; i++)
		shares->passed[i] =
		    v->active[i] != NULL ? v->active[i]->cursor.offset : 0;
	(void)pthread_mutex_lock(&stream->lock);
	stream->newest++;
	fb_far_plan(stream);
	(void)pthread_mutex_unlock(&stream->lock);
	return true;
}

/* With the lock held, which it lets go in between. */
static void
plan_ahead(struct fb_volumes *v)
{
	struct stream *stream = &v->stream;
	bool more = true;

	while (more && stream->newest - stream->oldest < JOBS &&
	    fb_far_has_place(stream)) {
		(void)pthread_mutex_unlock(&stream->lock);
		more = plan_job(v);
		(void)pthread_mutex_lock(&stream->lock);
	}
	stream->ended = !more;
}

/* All of these with the lock held. */

/* Who came since begins now, unless others are expected to come along. */
static void
admit(struct fb_volumes *v)
{
	struct stream *stream = &v->stream;
	bool busy = stream->oldest < stream->newest;

	for (unsigned i = 0; i < READINGS_MAX; i++)
		busy = busy || v->active[i] != NULL;
	if (!busy && v->expected > 0)
		return;
	for (unsigned i = 0; i < READINGS_MAX; i++) {
		if (v->slots[i] == NULL || v->active[i] != NULL)
			continue;
		v->active[i] = v->slots[i];
		v->active[i]->admitted = true;
		for (size_t k = 0; k < JOBS; k++)
			v->shares[k].passed[i] = 0;
	}
}

/* The oldest job is out. */
static void
give_out(struct fb_volumes *v)
{
	const struct shares *shares = shares_at(v, v->stream.oldest++);

	for (unsigned i = 0; i < READINGS_MAX; i++) {
		struct reading *reading = v->active[i];

		if (reading == NULL || shares->passed[i] <= reading->passed)
			continue;
		reading->passed = shares->passed[i];
		if (reading->passed - reading->told >= PASSED_EVERY)
			(void)pthread_cond_signal(&reading->changed);
	}
}

/* Let those go of which nothing is under way any more. */
static void
dismiss(struct fb_volumes *v)
{
	for (unsigned i = 0; i < READINGS_MAX; i++) {
		struct reading *reading = v->active[i];

		if (reading == NULL)
			continue;
		if (reading->rc < 0)
			reading->ended = true;
		if (!reading->ended || v->stream.oldest < reading->last)
			continue;
		reading->over = true;
		v->active[i] = v->slots[i] = NULL;
		(void)pthread_cond_signal(&reading->changed);
		(void)pthread_cond_broadcast(&v->slot_free);
	}
}

static bool
has_more(const struct fb_volumes *v)
{
	for (unsigned i = 0; i < READINGS_MAX; i++)
		if (v->active[i] != NULL && !v->active[i]->ended)
			return true;
	return false;
}

static bool
can_plan(struct fb_volumes *v)
{
	const struct stream *stream = &v->stream;

	return has_more(v) && stream->newest - stream->oldest < JOBS &&
	    fb_far_has_place(stream);
}

static void *
plan(void *arg)
{
	struct fb_volumes *v = arg;
	struct stream *stream = &v->stream;

	(void)pthread_mutex_lock(&stream->lock);
	while (!stream->closing) {
		admit(v);
		while (stream->oldest < stream->newest &&
		    job_at(stream, stream->oldest)->done)
			give_out(v);
		dismiss(v);
		if (can_plan(v)) {
			plan_ahead(v);
			continue;
		}
		fb_far_begin(stream);
		(void)pthread_cond_wait(&stream->done, &stream->lock);
	}
	(void)pthread_mutex_unlock(&stream->lock);
	return NULL;
}

/* Who is not admitted yet is looked after by nobody else: it looks itself
 * whether it is stopped. */
#define LOOK_EVERY_NS 100000000L

static void
init_changing(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

static void
wait_a_little(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_EVERY_NS;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	(void)pthread_cond_timedwait(cond, lock, &until);
}

struct fb_volumes *
fb_volumes_new(struct fb_repo *repo, unsigned workers)
{
	struct fb_volumes *v = fb_alloc(1, sizeof(*v));
	struct stream *stream = &v->stream;

	stream->repo = repo;
	stream->ring_size = JOBS;
	stream->ring = fb_alloc(JOBS, sizeof(*stream->ring));
	v->shares = fb_alloc(JOBS, sizeof(*v->shares));
	stream->thread_count = fb_stream_threads(workers);
	stream->far = fb_far_open(stream, UINT64_MAX);
	(void)pthread_mutex_init(&stream->lock, NULL);
	(void)pthread_cond_init(&stream->work, NULL);
	(void)pthread_cond_init(&stream->done, NULL);
	init_changing(&v->slot_free);
	stream->threads =
	    fb_alloc(stream->thread_count, sizeof(*stream->threads));
	for (unsigned i = 0; i < stream->thread_count; i++)
		if (pthread_create(&stream->threads[i], NULL, fb_volumes_work, v) != 0)
			abort();
	if (pthread_create(&v->planner, NULL, plan, v) != 0)
		abort();
	return v;
}

void
fb_volumes_free(struct fb_volumes *v)
{
	struct stream *stream;

	if (v == NULL)
		return;
	stream = &v->stream;
	(void)pthread_mutex_lock(&stream->lock);
	stream->closing = true;
	(void)pthread_cond_broadcast(&stream->work);
	(void)pthread_cond_broadcast(&stream->done);
	(void)pthread_mutex_unlock(&stream->lock);
	fb_far_stop(stream);
	for (unsigned i = 0; i < stream->thread_count; i++)
		(void)pthread_join(stream->threads[i], NULL);
	(void)pthread_join(v->planner, NULL);
	fb_far_close(stream->far);
	(void)pthread_cond_destroy(&v->slot_free);
	(void)pthread_cond_destroy(&stream->done);
	(void)pthread_cond_destroy(&stream->work);
	(void)pthread_mutex_destroy(&stream->lock);
	for (size_t i = 0; i < JOBS; i++)
		free(v->shares[i].places);
	free(v->shares);
	free(stream->threads);
	free(stream->ring);
	free(v);
}

void
fb_volumes_expect(struct fb_volumes *v)
{
	(void)pthread_mutex_lock(&v->stream.lock);
	v->expected++;
	(void)pthread_mutex_unlock(&v->stream.lock);
}

void
fb_volumes_forgo(struct fb_volumes *v)
{
	(void)pthread_mutex_lock(&v->stream.lock);
	v->expected--;
	(void)pthread_cond_signal(&v->stream.done);
	(void)pthread_mutex_unlock(&v->stream.lock);
}

/* Both with the lock held. */
static bool
is_stopped(const struct reading *reading)
{
	return reading->cancel != NULL && atomic_load(reading->cancel);
}

static void
withdraw(struct fb_volumes *v, struct reading *reading)
{
	struct fb_error err = { 0 };
	int rc = fb_fail(&err, FB_ECANCELED, "stopped on request");

	for (unsigned i = 0; i < READINGS_MAX; i++)
		if (v->slots[i] == reading)
			v->slots[i] = NULL;
	(void)pthread_cond_broadcast(&v->slot_free);
	fail_reading(reading, rc, &err);
	reading->over = true;
}

/* With the lock held. */
static void
join(struct fb_volumes *v, struct reading *reading)
{
	unsigned slot = 0;

	/* Also who has to wait for a slot has come. */
	(void)pthread_cond_signal(&v->stream.done);
	while (v->slots[slot] != NULL && !is_stopped(reading))
		if (++slot == READINGS_MAX) {
			wait_a_little(&v->slot_free, &v->stream.lock);
			slot = 0;
		}
	if (v->slots[slot] != NULL)
		return; /* it is stopped, as is seen soon */
	v->slots[slot] = reading;
	(void)pthread_cond_signal(&v->stream.done);
}

/* With the lock held, but not while `sink` is told. */
static void
watch(struct fb_volumes *v, struct reading *reading)
{
	const struct fb_volume_sink *sink = reading->sink;
	pthread_mutex_t *lock = &v->stream.lock;

	while (!reading->over) {
		struct fb_error err = { 0 };
		uint64_t passed = reading->passed;
		int rc;

		if (!reading->admitted) {
			if (is_stopped(reading))
				withdraw(v, reading);
			else
				wait_a_little(&reading->changed, lock);
			continue;
		}
		if (reading->rc < 0 || passed - reading->told < PASSED_EVERY) {
			(void)pthread_cond_wait(&reading->changed, lock);
			continue;
		}
		(void)pthread_mutex_unlock(lock);
		rc = sink->passed(sink->arg,
		    passed < reading->end ? passed : reading->end, &err);
		(void)pthread_mutex_lock(lock);
		reading->told = passed;
		if (rc < 0) {
			fail_reading(reading, rc, &err);
			(void)pthread_cond_signal(&v->stream.done);
		}
	}
}

int
fb_volumes_read(struct fb_volumes *v, struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end, bool expected, const atomic_bool *cancel,
    const struct fb_volume_sink *sink, struct fb_error *err)
{
	struct reading reading = { .reader = reader, .sink = sink,
		.cancel = cancel, .from = offset, .end = end,
		.passed = offset, .told = offset };

	if (end > reader->head.size)
		reading.end = end = reader->head.size;
	fb_cursor_open(&reading.cursor, reader, offset, end);
	init_changing(&reading.changed);
	(void)pthread_mutex_lock(&v->stream.lock);
	v->expected -= expected;
	join(v, &reading);
	watch(v, &reading);
	(void)pthread_mutex_unlock(&v->stream.lock);
	(void)pthread_cond_destroy(&reading.changed);
	fb_cursor_close(&reading.cursor);
	if (reading.rc < 0) {
		*err = reading.err;
		return reading.rc;
	}
	return sink->passed(sink->arg, end, err);
}
