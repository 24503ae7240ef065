/*
 * A disk that has content already.  The caller's thread goes over the recipe
 * and fills a ring of parts; threads take them in order, read the target
 * there, once, and hash its chunks, and open those that differ; the caller
 * takes the parts out in order again and writes the blocks that differ.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"
#include "restore_blocks.h"

#define WINDOW           (UINT64_C(64) << 20) /* of the recipe, at once */
#define PART_MAX         ((size_t)FB_CHUNK_MAX)
#define PART_PIECES      256
#define CHECKPOINT_EVERY (UINT64_C(2) << 30)
#define THREADS_MAX      16
#define THREADS_FAR      4 /* at least: some wait for the store */

/* A chunk and where it belongs, or a stretch of zeros. */
struct piece {
	uint64_t offset, length;
	bool zeros;
	struct fb_volume_chunk chunk;
};

/* Pieces that follow each other, or some zeros. */
struct part {
	uint64_t offset;
	size_t length;
	bool zeros, done;
	uint32_t count;
	struct fb_volume_chunk chunks[PART_PIECES];
	bool differs[PART_PIECES]; /* zeros: the first one's */
	/* When something differs: what the target holds; what it should. */
	uint8_t *old, *new;
	int rc;
	struct fb_error err;
};

struct update {
	struct fb_rst_disk *disk;
	const struct fb_cipher_key *domain; /* NULL: ids are plain digests */
	struct piece *pieces; /* of this window of the recipe */
	size_t count, cap, next_piece;
	uint64_t at; /* where the next window begins */
	bool ended;  /* nothing more to put in */

	struct part *ring;
	size_t ring_size;
	pthread_t threads[THREADS_MAX];
	unsigned thread_count;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t work, done;
	uint64_t oldest, next, newest; /* out, for threads, in */
	bool closing;
};

/* What a thread has of its own. */
struct hand {
	struct fb_rst_disk *disk;
	const struct fb_cipher_key *domain;
	struct fb_chunk_reader *opener; /* NULL: nothing was opened so far */
	uint8_t *old;
};

static size_t
part_piece_length(const struct part *part, uint32_t i)
{
	return part->chunks[i].stored.length;
}

/* Which chunks are not what the target holds?  True: any. */
static bool
compare_chunks(const struct hand *hand, struct part *part)
{
	struct fb_digest_job jobs[PART_PIECES];
	const uint8_t *old = hand->old;
	bool any = false;

	for (uint32_t i = 0; i < part->count; i++) {
		jobs[i].bytes =
		    (struct fb_span){ old, part_piece_length(part, i) };
		old += part_piece_length(part, i);
	}
	fb_cipher_ids(hand->domain, jobs, part->count);
	for (uint32_t i = 0; i < part->count; i++) {
		part->differs[i] = fb_digest_cmp(&jobs[i].digest,
		                       &part->chunks[i].stored.id) != 0;
		any = any || part->differs[i];
	}
	return any;
}

static int
open_chunks(struct hand *hand, struct part *part, struct fb_error *err)
{
	if (part->new == NULL)
		part->new = fb_alloc(PART_MAX, 1);
	if (hand->opener == NULL)
		hand->opener = fb_chunk_reader_new();
	return fb_chunk_reader_read(hand->opener, hand->disk->reader,
	    part->chunks, part->differs, part->count, part->new, err);
}

static int
look_at_part(struct hand *hand, struct part *part, struct fb_error *err)
{
	struct fb_target *target = hand->disk->target;
	uint8_t *old;
	bool any;
	int rc = target->ops->read(
	    target, part->offset, hand->old, part->length, err);

	if (rc < 0)
		return rc;
	if (part->zeros)
		any = part->differs[0] = !rst_is_zero(hand->old, part->length);
	else
		any = compare_chunks(hand, part);
	if (!any)
		return FB_OK;
	/* The bytes stay with the part; the thread takes its old room. */
	old = part->old != NULL ? part->old : fb_alloc(PART_MAX, 1);
	part->old = hand->old;
	hand->old = old;
	return part->zeros ? FB_OK : open_chunks(hand, part, err);
}

static void *
run(void *arg)
{
	struct update *u = arg;
	struct hand hand = { .disk = u->disk, .domain = u->domain };

	hand.old = fb_alloc(PART_MAX, 1);
	(void)pthread_mutex_lock(&u->lock);
	while (!u->closing) {
		struct part *part;

		if (u->next == u->newest) {
			(void)pthread_cond_wait(&u->work, &u->lock);
			continue;
		}
		part = &u->ring[u->next++ % u->ring_size];
		(void)pthread_mutex_unlock(&u->lock);
		part->rc = look_at_part(&hand, part, &part->err);
		(void)pthread_mutex_lock(&u->lock);
		part->done = true;
		(void)pthread_cond_signal(&u->done);
	}
	(void)pthread_mutex_unlock(&u->lock);
	fb_chunk_reader_free(hand.opener);
	free(hand.old);
	return NULL;
}

/* Going over the recipe. */
static int
visit_chunk(uint64_t offset, uint64_t length,
    const struct fb_volume_chunk *chunk, void *arg, struct fb_error *err)
{
	struct update *u = arg;
	uint64_t end = offset + length;
	struct piece *piece;

	if (end > u->disk->size)
		end = u->disk->size;
	if (end <= u->at)
		return FB_OK;
	if (chunk != NULL &&
	    (length > PART_MAX || end != offset + length ||
	        length != chunk->stored.length))
		return fb_fail(err, FB_EBUG, "a chunk is too long");
	if (chunk == NULL && offset < u->at)
		offset = u->at;
	if (u->count == u->cap) {
		u->cap = u->cap ? 2 * u->cap : 1024;
		u->pieces = fb_realloc(u->pieces, u->cap, sizeof(*u->pieces));
	}
	piece = &u->pieces[u->count++];
	*piece = (struct piece){
		.offset = offset, .length = end - offset, .zeros = chunk == NULL
	};
	if (chunk != NULL)
		piece->chunk = *chunk;
	u->at = end;
	return FB_OK;
}

/* The next piece, NULL at the end of the volume. */
static int
peek_piece(struct update *u, struct piece **ret_piece, struct fb_error *err)
{
	uint64_t before = u->at, size = u->disk->size, stop;
	int rc;

	*ret_piece = NULL;
	if (u->next_piece == u->count && u->at < size) {
		u->next_piece = u->count = 0;
		stop = size - u->at < WINDOW ? size : u->at + WINDOW;
		rc = fb_volume_chunks(
		    u->disk->reader, u->at, stop, visit_chunk, u, err);
		if (rc >= 0 && u->at == before)
			rc = fb_fail(err, FB_EBUG, "the volume ends early");
		if (rc < 0)
			return rc;
	}
	if (u->next_piece < u->count)
		*ret_piece = &u->pieces[u->next_piece];
	return FB_OK;
}

/* Of zeros, the next that lie where the target has data; `length` 0: no more
 * of them. */
static int
take_zeros(struct update *u, struct piece *piece, struct part *part,
    struct fb_error *err)
{
	struct fb_target *target = u->disk->target;
	uint64_t from, to, end = piece->offset + piece->length;
	int rc = target->ops->extent(target, piece->offset, &from, &to, err);

	if (rc < 0)
		return rc;
	from = from < end ? from : end;
	to = to < end ? to : end;
	if (to - from > PART_MAX)
		to = from + PART_MAX;
	part->zeros = true;
	part->offset = from;
	part->length = (size_t)(to - from);
	if (to < end)
		*piece = (struct piece){
			.offset = to, .length = end - to, .zeros = true
		};
	else
		u->next_piece++;
	return FB_OK;
}

/* Chunks that follow each other in this window. */
static void
take_chunks(struct update *u, struct part *part)
{
	const struct piece *piece = &u->pieces[u->next_piece];

	part->zeros = false;
	part->offset = piece->offset;
	do {
		part->chunks[part->count++] = piece->chunk;
		part->length += (size_t)piece->length;
		piece = ++u->next_piece < u->count ? piece + 1 : NULL;
	} while (piece != NULL && !piece->zeros && part->count < PART_PIECES &&
	    piece->offset == part->offset + part->length &&
	    part->length + piece->length <= PART_MAX);
}

/* The next part; `length` 0: there is none. */
static int
make_part(struct update *u, struct part *part, struct fb_error *err)
{
	struct piece *piece;
	int rc;

	part->length = 0;
	part->count = 0;
	part->zeros = part->done = false;
	part->rc = FB_OK;
	do {
		rc = peek_piece(u, &piece, err);
		if (rc >= 0 && piece != NULL && piece->zeros)
			rc = take_zeros(u, piece, part, err);
		else if (rc >= 0 && piece != NULL)
			take_chunks(u, part);
	} while (rc >= 0 && piece != NULL && part->length == 0 &&
	    !rst_canceled(u->disk));
	return rc;
}

static void
put_part(struct update *u)
{
	(void)pthread_mutex_lock(&u->lock);
	u->newest++;
	(void)pthread_cond_signal(&u->work);
	(void)pthread_mutex_unlock(&u->lock);
}

static int
fill_ring(struct update *u, struct fb_error *err)
{
	while (!u->ended && u->newest - u->oldest < u->ring_size) {
		struct part *part = &u->ring[u->newest % u->ring_size];
		int rc = make_part(u, part, err);

		if (rc < 0)
			return rc;
		u->ended = part->length == 0;
		if (!u->ended)
			put_part(u);
	}
	return FB_OK;
}

/* Writing. */
enum block_is { BLOCK_SAME, BLOCK_ZERO, BLOCK_NEW };

static enum block_is
judge_block(const uint8_t *now, const uint8_t *wanted, size_t len)
{
	if (memcmp(now, wanted, len) == 0)
		return BLOCK_SAME;
	return rst_is_zero(wanted, len) ? BLOCK_ZERO : BLOCK_NEW;
}

static int
put_blocks(struct fb_rst_disk *d, uint64_t from, uint64_t to,
    const uint8_t *bytes, enum block_is what, struct fb_error *err)
{
	switch (what) {
	case BLOCK_SAME:
		d->same_bytes += to - from;
		return FB_OK;
	case BLOCK_ZERO:
		d->written_bytes += to - from;
		return d->target->ops->zero(d->target, from, to - from, err);
	case BLOCK_NEW:
		return rst_write(d, from, bytes, (size_t)(to - from), err);
	}
	return FB_OK;
}

/* Of a chunk that differs, the blocks that do. */
static int
patch_chunk(struct fb_rst_disk *d, uint64_t offset, const uint8_t *old,
    const uint8_t *new, size_t length, struct fb_error *err)
{
	uint64_t from = offset, end = offset + length;
	int rc = FB_OK;

	d->read_bytes += length;
	while (rc >= 0 && from < end) {
		uint64_t to = rst_block_end(from, end);
		enum block_is what = judge_block(old + (from - offset),
		    new + (from - offset), (size_t)(to - from));

		while (to < end) {
			uint64_t next = rst_block_end(to, end);

			if (judge_block(old + (to - offset),
			        new + (to - offset),
			        (size_t)(next - to)) != what)
				break;
			to = next;
		}
		rc = put_blocks(d, from, to, new + (from - offset), what, err);
		from = to;
	}
	return rc;
}

static int
patch_part(struct fb_rst_disk *d, const struct part *part, struct fb_error *err)
{
	size_t at = 0;
	int rc = FB_OK;

	if (part->zeros)
		return part->differs[0] ? rst_clear_blocks(d, part->offset,
		                              part->old, part->length, err)
		                        : FB_OK;
	for (uint32_t i = 0; rc >= 0 && i < part->count; i++) {
		size_t length = part_piece_length(part, i);

		if (part->differs[i])
			rc = patch_chunk(d, part->offset + at, part->old + at,
			    part->new + at, length, err);
		else
			d->same_bytes += length;
		at += length;
	}
	return rc;
}

/* The oldest part, once it is done; NULL at the end. */
static struct part *
wait_oldest(struct update *u)
{
	struct part *part = &u->ring[u->oldest % u->ring_size];

	if (u->oldest == u->newest)
		return NULL;
	(void)pthread_mutex_lock(&u->lock);
	while (!part->done)
		(void)pthread_cond_wait(&u->done, &u->lock);
	(void)pthread_mutex_unlock(&u->lock);
	return part;
}

static int
update_parts(struct update *u, struct fb_error *err)
{
	struct fb_rst_disk *d = u->disk;
	uint64_t noted = d->from, end;
	struct part *part;
	int rc;

	while (
	    (rc = fill_ring(u, err)) >= 0 && (part = wait_oldest(u)) != NULL) {
		if (rst_canceled(d))
			return fb_fail(err, FB_ECANCELED, "canceled");
		if (part->rc < 0)
			*err = part->err;
		rc = part->rc < 0 ? part->rc : patch_part(d, part, err);
		if (rc < 0)
			return rc;
		end = part->offset + part->length;
		if (d->progress)
			d->progress(d->arg, end);
		if (end - noted >= CHECKPOINT_EVERY) {
			noted = end;
			rc = rst_checkpoint(d, end, err);
		}
		if (rc < 0)
			return rc;
		(void)pthread_mutex_lock(&u->lock);
		u->oldest++;
		(void)pthread_mutex_unlock(&u->lock);
	}
	if (rc >= 0 && rst_canceled(d))
		return fb_fail(err, FB_ECANCELED, "canceled");
	if (rc >= 0 && d->progress)
		d->progress(d->arg, d->size);
	return rc;
}

static void
begin(struct update *u)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (fb_volume_is_far(u->disk->reader) && cpus < THREADS_FAR)
		cpus = THREADS_FAR;
	u->thread_count = cpus < 1 ? 1
	    : cpus > THREADS_MAX   ? THREADS_MAX
	                           : (unsigned)cpus;
	u->ring_size = 2 * (size_t)u->thread_count + 2;
	u->ring = fb_alloc(u->ring_size, sizeof(*u->ring));
	(void)pthread_mutex_init(&u->lock, NULL);
	(void)pthread_cond_init(&u->work, NULL);
	(void)pthread_cond_init(&u->done, NULL);
	for (unsigned i = 0; i < u->thread_count; i++)
		if (pthread_create(&u->threads[i], NULL, run, u) != 0)
			abort();
}

static void
end(struct update *u)
{
	(void)pthread_mutex_lock(&u->lock);
	u->closing = true;
	(void)pthread_cond_broadcast(&u->work);
	(void)pthread_mutex_unlock(&u->lock);
	for (unsigned i = 0; i < u->thread_count; i++)
		(void)pthread_join(u->threads[i], NULL);
	for (size_t i = 0; i < u->ring_size; i++) {
		free(u->ring[i].old);
		free(u->ring[i].new);
	}
	(void)pthread_cond_destroy(&u->done);
	(void)pthread_cond_destroy(&u->work);
	(void)pthread_mutex_destroy(&u->lock);
	free(u->ring);
	free(u->pieces);
}

int
fb_rst_disk_update(struct fb_rst_disk *d, struct fb_error *err)
{
	struct update u = { .disk = d, .at = d->from };
	struct fb_cipher_key domain;
	int rc = fb_volume_domain(d->reader, &domain, &u.domain, err);

	if (rc < 0)
		return rc;
	begin(&u);
	rc = update_parts(&u, err);
	end(&u);
	if (u.domain != NULL)
		fb_cipher_wipe(&domain);
	return rc < 0 ? rc : d->target->ops->sync(d->target, err);
}
