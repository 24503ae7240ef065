/* What workers do to a batch, and what the appender does with it then. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "copier_impl.h"

/* More would make a table that takes long to read. */
#define CHUNKS_PER_PACK 65536

/* Stored bytes of a copy that may lie between those of others. */
#define SHARED_MAX (UINT64_C(1) << 20)

ZSTD_CCtx *
fb_copier_new_cctx(const struct fb_copier *copier)
{
	ZSTD_CCtx *cctx = ZSTD_createCCtx();

	if (cctx == NULL)
		abort();
	(void)ZSTD_CCtx_setParameter(
	    cctx, ZSTD_c_compressionLevel, copier->spec.level);
	return cctx;
}

static int
compress(ZSTD_CCtx *cctx, struct batch *batch, struct item *item,
    struct fb_error *err)
{
	size_t bound = ZSTD_compressBound(item->length);
	uint8_t *room = fb_buf_reserve(&batch->out, bound);
	size_t len = ZSTD_compress2(
	    cctx, room, bound, batch->data + item->start, item->length);

	if (ZSTD_isError(len))
		return fb_fail(err, FB_EBUG, "zstd cannot compress: %s",
		    ZSTD_getErrorName(len));
	item->out_start = (uint32_t)batch->out.len;
	item->out_length = (uint32_t)len;
	batch->out.len += len;
	return FB_OK;
}

/* Whether an earlier item of the batch has the same content. */
static bool
repeats(const struct batch *batch, size_t index)
{
	const struct item *item = &batch->items[index];

	for (size_t i = 0; i < index; i++)
		if (batch->items[i].zeros == 0 &&
		    fb_digest_cmp(&batch->items[i].id, &item->id) == 0)
			return true;
	return false;
}

static bool
has_bytes(const struct item *item)
{
	return item->zeros == 0 && !item->taken_over;
}

static void
reserve_jobs(struct batch *batch)
{
	if (batch->item_count <= batch->job_cap)
		return;
	batch->job_cap = batch->item_cap;
	batch->jobs = fb_realloc(
	    batch->jobs, batch->job_cap, sizeof(*batch->jobs));
}

static void
hash_contents(const struct fb_copier *copier, struct batch *batch)
{
	size_t count = 0;

	reserve_jobs(batch);
	for (size_t i = 0; i < batch->item_count; i++)
		if (has_bytes(&batch->items[i]))
			batch->jobs[count++].bytes = (struct fb_span){
				batch->data + batch->items[i].start,
				batch->items[i].length
			};
	fb_cipher_ids(
	    fb_vault_domain(copier->spec.repo->vault), batch->jobs, count);
	count = 0;
	for (size_t i = 0; i < batch->item_count; i++)
		if (has_bytes(&batch->items[i]))
			batch->items[i].id = batch->jobs[count++].digest;
}

static void
hash_frames(struct batch *batch)
{
	size_t count = 0;

	for (size_t i = 0; i < batch->item_count; i++)
		if (batch->items[i].out_length > 0)
			batch->jobs[count++].bytes = (struct fb_span){
				batch->out.data + batch->items[i].out_start,
				batch->items[i].out_length
			};
	fb_digest_pieces_many(batch->jobs, count);
	count = 0;
	for (size_t i = 0; i < batch->item_count; i++)
		if (batch->items[i].out_length > 0)
			memcpy(batch->items[i].stored_digest,
			    batch->jobs[count++].digest.bytes,
			    FB_STORED_DIGEST_LEN);
}

int
fb_batch_process(struct fb_copier *copier, ZSTD_CCtx *cctx,
    struct batch *batch, struct fb_error *err)
{
	int rc = FB_OK;

	/* Cancelling stops those who feed; what came is kept, so that a last
	 * checkpoint can be made. */
	hash_contents(copier, batch);
	for (size_t i = 0; rc == FB_OK && i < batch->item_count; i++) {
		struct item *item = &batch->items[i];

		if (!has_bytes(item))
			continue;
		rc = fb_packer_find(copier->packer, &item->id, &item->place,
		    &item->known, err);
		if (rc == FB_OK && !item->known && !repeats(batch, i))
			rc = compress(cctx, batch, item, err);
	}
	/* What is to be encrypted has its stored bytes later. */
	if (rc == FB_OK && copier->spec.repo->vault == NULL)
		hash_frames(batch);
	return rc;
}

/* A chunk that was to be found by now, and is not. */
static int
compress_late(struct fb_copier *copier, struct batch *batch,
    struct item *item, struct fb_error *err)
{
	struct fb_digest digest;
	int rc;

	if (copier->cctx == NULL)
		copier->cctx = fb_copier_new_cctx(copier);
	fb_packer_settle_frames(copier->packer); /* this may move them */
	rc = compress(copier->cctx, batch, item, err);
	if (rc < 0)
		return rc;
	fb_digest_pieces(
	    (struct fb_span){
	        batch->out.data + item->out_start, item->out_length },
	    &digest);
	memcpy(item->stored_digest, digest.bytes, FB_STORED_DIGEST_LEN);
	return FB_OK;
}

/* Store a chunk that no worker found; another may have been faster. */
static int
store_chunk(struct fb_copier *copier, struct batch *batch, struct item *item,
    struct fb_error *err)
{
	struct fb_pack_chunk chunk = { .id = item->id };
	int rc;

	rc = fb_packer_find(
	    copier->packer, &item->id, &item->place, &item->known, err);
	if (rc < 0 || item->known)
		return rc;
	if (item->out_length == 0)
		rc = compress_late(copier, batch, item, err);
	if (rc < 0)
		return rc;
	chunk.length = item->length;
	chunk.stored_length = item->out_length;
	memcpy(chunk.stored_digest, item->stored_digest, FB_STORED_DIGEST_LEN);
	batch->copy->new_bytes += item->length;
	batch->copy->stored_bytes += item->out_length;
	return fb_packer_append(copier->packer, &chunk,
	    batch->out.data + item->out_start, &item->place, err);
}

int
fb_copy_flush_zeros(struct fb_copy *copy, struct fb_error *err)
{
	struct fb_leaf leaf = { .length = copy->pending_zeros,
		.pack = FB_LEAF_ZERO };

	if (copy->pending_zeros == 0)
		return FB_OK;
	fb_merkle_add_zero(&copy->merkle, leaf.length);
	copy->zero_bytes += leaf.length;
	copy->pending_zeros = 0;
	return fb_leaves_add(&copy->leaves, &leaf, err);
}

static int
append_chunk(struct fb_copier *copier, struct batch *batch, struct item *item,
    struct fb_error *err)
{
	struct fb_copy *copy = batch->copy;
	struct fb_leaf leaf = { .length = item->length };
	int rc = FB_OK;

	if (!item->known)
		rc = store_chunk(copier, batch, item, err);
	if (rc == FB_OK)
		rc = fb_packer_local(
		    copier->packer, item->place.pack, &leaf.pack, err);
	if (rc == FB_OK)
		rc = fb_copy_flush_zeros(copy, err);
	if (rc < 0)
		return rc;
	leaf.id = item->id;
	leaf.chunk = item->place.chunk;
	leaf.pack_offset = item->place.offset;
	leaf.stored_length = item->place.stored_length;
	fb_merkle_add_data(&copy->merkle, leaf.length, &leaf.id);
	rc = fb_leaves_add(&copy->leaves, &leaf, err);
	if (rc == FB_OK && !item->known &&
	    (fb_packer_open_bytes(copier->packer) >= copier->spec.pack_size ||
	        item->place.chunk >= CHUNKS_PER_PACK))
		rc = fb_copier_cut_packs(
		    copier, copier->spec.pack_size / 4, err);
	return rc;
}

/*
 * What a copy stores first goes into the first pack, so that many small ones
 * share it; then it gets a lane to itself, or as good as that, where it writes
 * long stretches whatever others do.
 */
static unsigned
lane_of(struct fb_copier *copier, struct fb_copy *copy)
{
	unsigned lane = 0;

	if (copy->has_lane)
		return copy->lane;
	if (copy->stored_bytes < SHARED_MAX)
		return 0;
	for (unsigned i = 1; i < FB_PACKER_LANES; i++)
		if (copier->users[i] < copier->users[lane])
			lane = i;
	copier->users[lane]++;
	copy->has_lane = true;
	copy->lane = lane;
	return lane;
}

int
fb_batch_append(
    struct fb_copier *copier, struct batch *batch, struct fb_error *err)
{
	int rc = FB_OK;

	copier->lane = lane_of(copier, batch->copy);
	fb_packer_select(copier->packer, copier->lane);
	for (size_t i = 0; rc == FB_OK && i < batch->item_count; i++) {
		struct item *item = &batch->items[i];

		if (item->zeros > 0)
			batch->copy->pending_zeros += item->zeros;
		else
			rc = append_chunk(copier, batch, item, err);
	}
	fb_packer_settle_frames(copier->packer); /* the frames are the batch's */
	return rc;
}
