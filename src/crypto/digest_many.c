#include <stdlib.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"
#include "lanes.h"

/* Digests of the pieces of all jobs, in their order. */
struct pieces {
	struct fb_lane_message *messages; /* whole pieces, then the rests */
	struct fb_digest *digests;
	size_t count;
};

static size_t
count_pieces(size_t len)
{
	return len / FB_PIECE_LEN + (len % FB_PIECE_LEN > 0);
}

static void
hash_all(const struct fb_lane_message *messages, size_t count)
{
	struct fb_digest digest;

	if (fb_lanes_hash(messages, count))
		return;
	for (size_t i = 0; i < count; i++) {
		fb_digest_of((struct fb_span){
		                 messages[i].bytes, messages[i].len },
		    &digest);
		__builtin_memcpy(
		    messages[i].digest, digest.bytes, FB_DIGEST_LEN);
	}
}

static int
compare_lengths(const void *a, const void *b)
{
	size_t x = ((const struct fb_lane_message *)a)->len;
	size_t y = ((const struct fb_lane_message *)b)->len;

	return (x < y) - (x > y);
}

/* The pieces of all jobs, the longest first. */
static void
list_pieces(struct pieces *pieces, const struct fb_digest_job *jobs,
    size_t count)
{
	size_t at = 0, whole = 0, rest = pieces->count;

	for (size_t i = 0; i < count; i++)
		for (size_t from = 0; from < jobs[i].bytes.len;
		     from += FB_PIECE_LEN) {
			size_t len = jobs[i].bytes.len - from;
			size_t to = len < FB_PIECE_LEN ? --rest : whole++;

			pieces->messages[to] = (struct fb_lane_message){
				jobs[i].bytes.ptr + from,
				len < FB_PIECE_LEN ? len : FB_PIECE_LEN,
				pieces->digests[at++].bytes
			};
		}
	qsort(pieces->messages + rest, pieces->count - rest,
	    sizeof(*pieces->messages), compare_lengths);
}

static void
join_plainly(void *arg, struct fb_span digests, struct fb_digest *ret_digest)
{
	(void)arg;
	fb_digest_of(digests, ret_digest);
}

static void
join_pieces(const struct pieces *pieces, struct fb_digest_job *jobs,
    size_t count, fb_digest_join *join, void *arg)
{
	size_t at = 0;

	for (size_t i = 0; i < count; i++) {
		size_t n = count_pieces(jobs[i].bytes.len);

		join(arg,
		    (struct fb_span){ (const uint8_t *)(pieces->digests + at),
		        n * FB_DIGEST_LEN },
		    &jobs[i].digest);
		at += n;
	}
}

void
fb_digest_pieces_join(
    struct fb_digest_job *jobs, size_t count, fb_digest_join *join, void *arg)
{
	struct pieces pieces = { 0 };

	for (size_t i = 0; i < count; i++)
		pieces.count += count_pieces(jobs[i].bytes.len);
	/* One more: nothing is no size for an allocation. */
	pieces.messages =
	    fb_alloc(pieces.count + 1, sizeof(*pieces.messages));
	pieces.digests = fb_alloc(pieces.count + 1, sizeof(*pieces.digests));
	list_pieces(&pieces, jobs, count);
	hash_all(pieces.messages, pieces.count);
	join_pieces(&pieces, jobs, count, join, arg);
	free(pieces.messages);
	free(pieces.digests);
}

void
fb_digest_pieces_many(struct fb_digest_job *jobs, size_t count)
{
	fb_digest_pieces_join(jobs, count, join_plainly, NULL);
}

void
fb_digest_pieces(struct fb_span bytes, struct fb_digest *ret_digest)
{
	struct fb_digest_job job = { .bytes = bytes };

	fb_digest_pieces_many(&job, 1);
	*ret_digest = job.digest;
}
