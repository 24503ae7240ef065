/* Feeding a copy: bytes into batches, chunks and zeros found in them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

#include "copier_impl.h"

#define CUTS_MAX 65536

/* Items of a batch that is handed on although it has room for bytes. */
#define ITEMS_MAX 4096

static struct item *
add_item(struct batch *batch)
{
	if (batch->item_count == batch->item_cap) {
		batch->item_cap = batch->item_cap * 2 + 64;
		batch->items = fb_realloc(
		    batch->items, batch->item_cap, sizeof(*batch->items));
	}
	batch->items[batch->item_count] = (struct item){ 0 };
	return &batch->items[batch->item_count++];
}

static void
add_zeros(struct batch *batch, uint64_t len)
{
	struct item *last = batch->item_count > 0
	    ? &batch->items[batch->item_count - 1]
	    : NULL;

	if (last == NULL || last->zeros == 0)
		last = add_item(batch);
	last->zeros += len;
}

/* Drop the first `count` of the wanted cuts. */
static void
drop_cuts(struct fb_copy *copy, size_t count)
{
	if (count == 0)
		return;
	copy->cut_count -= count;
	if (copy->cut_count > 0)
		memmove(copy->cuts, copy->cuts + count,
		    copy->cut_count * sizeof(*copy->cuts));
}

/*
 * Cut chunks out of what lies between `start` and `end`.  The last one stays
 * open, unless data ends there for good (`ends`).
 */
static void
cut_chunks(struct fb_copy *copy, size_t end, bool ends)
{
	const struct fb_chunker *chunker = &copy->copier->chunker;
	struct batch *batch = copy->current;
	size_t used = 0;

	while (copy->start < end) {
		size_t limit = end, len;
		bool forced = ends;
		struct item *item;

		while (used < copy->cut_count &&
		    copy->cuts[used] <= copy->start)
			used++;
		if (used < copy->cut_count && copy->cuts[used] <= end) {
			limit = copy->cuts[used];
			forced = true;
		}
		len = fb_chunker_cut(chunker, batch->data + copy->start,
		    limit - copy->start);
		if (len == 0 && !forced)
			break;
		if (len == 0)
			len = limit - copy->start;
		item = add_item(batch);
		item->start = (uint32_t)copy->start;
		item->length = (uint32_t)len;
		copy->start += len;
	}
	drop_cuts(copy, used);
}

/* Judge the blocks that are complete, or with `final` all. */
static void
scan(struct fb_copy *copy, bool final)
{
	struct batch *batch = copy->current;

	while (copy->scanned < copy->fill) {
		size_t left = copy->fill - copy->scanned;
		size_t inside = (size_t)((copy->offset - left) % ZERO_BLOCK);
		size_t block = ZERO_BLOCK - inside;

		if (block > left && !final)
			break;
		if (block > left)
			block = left;
		if (inside == 0 &&
		    fb_chunker_is_zero(batch->data + copy->scanned, block)) {
			cut_chunks(copy, copy->scanned, true);
			add_zeros(batch, block);
			copy->start = copy->scanned + block;
		}
		copy->scanned += block;
	}
	cut_chunks(copy, copy->scanned, final);
}

static int
need_batch(struct fb_copy *copy, struct fb_error *err)
{
	int rc;

	if (copy->current != NULL)
		return FB_OK;
	rc = fb_copier_take_batch(copy->copier, &copy->current, err);
	if (rc == FB_OK)
		copy->current->copy = copy;
	return rc;
}

/* Hand the batch on; what is not cut yet begins the next one. */
static int
rotate(struct fb_copy *copy, struct fb_error *err)
{
	struct batch *full = copy->current, *next;
	size_t rest = copy->fill - copy->start;
	int rc;

	rc = fb_copier_take_batch(copy->copier, &next, err);
	if (rc < 0)
		return rc;
	next->copy = copy;
	memcpy(next->data, full->data + copy->start, rest);
	for (size_t i = 0; i < copy->cut_count; i++)
		copy->cuts[i] -= copy->start;
	copy->scanned -= copy->start;
	copy->fill = rest;
	copy->start = 0;
	copy->current = next;
	fb_copier_submit(copy->copier, full);
	return FB_OK;
}

int
fb_copy_room(struct fb_copy *copy, void **ret_bytes, size_t *ret_len,
    struct fb_error *err)
{
	int rc = fb_copier_check(copy->copier, err);

	if (rc == FB_OK)
		rc = need_batch(copy, err);
	if (rc == FB_OK && copy->fill == copy->copier->batch_bytes) {
		scan(copy, false);
		rc = rotate(copy, err);
	}
	if (rc < 0)
		return rc;
	*ret_bytes = copy->current->data + copy->fill;
	*ret_len = copy->copier->batch_bytes - copy->fill;
	return FB_OK;
}

int
fb_copy_filled(struct fb_copy *copy, size_t len, struct fb_error *err)
{
	if (copy->current == NULL ||
	    len > copy->copier->batch_bytes - copy->fill)
		return fb_fail(
		    err, FB_EBUG, "more bytes came than there was room");
	if (copy->flat != NULL)
		fb_digester_add(copy->flat,
		    (struct fb_span){ copy->current->data + copy->fill, len });
	copy->fill += len;
	copy->offset += len;
	return fb_copier_check(copy->copier, err);
}

int
fb_copy_data(struct fb_copy *copy, const void *bytes, size_t len,
    struct fb_error *err)
{
	const uint8_t *from = bytes;

	while (len > 0) {
		void *room;
		size_t part;
		int rc = fb_copy_room(copy, &room, &part, err);

		if (rc < 0)
			return rc;
		if (part > len)
			part = len;
		memcpy(room, from, part);
		from += part;
		len -= part;
		rc = fb_copy_filled(copy, part, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/* Zeros that do not fill a block are bytes like others. */
static int
feed_zero_bytes(struct fb_copy *copy, size_t len, struct fb_error *err)
{
	static const uint8_t zeros[ZERO_BLOCK];

	return fb_copy_data(copy, zeros, len, err);
}

static void
hash_zeros(struct fb_digester *flat, uint64_t len)
{
	static const uint8_t zeros[ZERO_BLOCK];

	for (; len > 0; len -= len < ZERO_BLOCK ? len : ZERO_BLOCK)
		fb_digester_add(flat,
		    (struct fb_span){
		        zeros, len < ZERO_BLOCK ? (size_t)len : ZERO_BLOCK });
}

int
fb_copy_zero(struct fb_copy *copy, uint64_t len, struct fb_error *err)
{
	uint64_t inside = copy->offset % ZERO_BLOCK, blocks;
	size_t head = inside > 0 ? (size_t)(ZERO_BLOCK - inside) : 0;
	int rc = fb_copier_check(copy->copier, err);

	if (rc < 0)
		return rc;

	if (head > len)
		head = (size_t)len;
	rc = feed_zero_bytes(copy, head, err);
	len -= head;
	blocks = len - len % ZERO_BLOCK;
	if (rc == FB_OK && blocks > 0) {
		rc = need_batch(copy, err);
		if (rc < 0)
			return rc;
		/* At a block's border nothing is left that is not judged. */
		scan(copy, false);
		cut_chunks(copy, copy->fill, true);
		add_zeros(copy->current, blocks);
		if (copy->flat != NULL)
			hash_zeros(copy->flat, blocks);
		copy->offset += blocks;
	}
	if (rc == FB_OK)
		rc = feed_zero_bytes(copy, (size_t)(len - blocks), err);
	return rc == FB_OK ? fb_copier_check(copy->copier, err) : rc;
}

int
fb_copy_take_over(struct fb_copy *copy, const struct fb_pack_chunk *chunk,
    uint32_t pack, uint32_t number, struct fb_error *err)
{
	struct item *item;
	int rc = need_batch(copy, err);

	if (rc < 0)
		return rc;
	scan(copy, false);
	cut_chunks(copy, copy->fill, true);
	copy->scanned = copy->fill; /* what is no whole block was data */
	item = add_item(copy->current);
	item->taken_over = item->known = true;
	item->length = chunk->length;
	item->id = chunk->id;
	item->place = (struct fb_place){ pack, number, chunk->offset,
		chunk->stored_length };
	copy->offset += chunk->length;
	if (copy->current->item_count < ITEMS_MAX)
		return FB_OK;
	rc = rotate(copy, err);
	return rc == FB_OK ? fb_copier_check(copy->copier, err) : rc;
}

int
fb_copy_cut(struct fb_copy *copy, struct fb_error *err)
{
	(void)err;
	if (copy->current == NULL || copy->fill == copy->start ||
	    copy->cut_count == CUTS_MAX ||
	    (copy->cut_count > 0 &&
	        copy->cuts[copy->cut_count - 1] == copy->fill))
		return FB_OK;
	if (copy->cut_count == copy->cut_cap) {
		copy->cut_cap = copy->cut_cap * 2 + 16;
		copy->cuts = fb_realloc(
		    copy->cuts, copy->cut_cap, sizeof(*copy->cuts));
	}
	copy->cuts[copy->cut_count++] = copy->fill;
	return FB_OK;
}

static void
free_copy(struct fb_copy *copy)
{
	struct fb_copier *copier = copy->copier;

	(void)pthread_mutex_lock(&copier->lock);
	if (copy->next != NULL)
		copy->next->previous = copy->previous;
	*(copy->previous ? &copy->previous->next : &copier->copies) =
	    copy->next;
	copier->batch_limit--;
	copier->users[copy->lane] -= copy->has_lane;
	if (copy->current != NULL) {
		copy->current->item_count = 0;
		copy->current->copy = NULL;
		copy->current->next = copier->free_batches;
		copier->free_batches = copy->current;
		(void)pthread_cond_signal(&copier->room);
	}
	(void)pthread_cond_broadcast(&copier->changed);
	(void)pthread_mutex_unlock(&copier->lock);
	fb_leaves_close(&copy->leaves);
	fb_digester_free(copy->flat);
	free(copy->cuts);
	free(copy->key);
	free(copy);
}

int
fb_copy_begin(struct fb_copier *copier, const char *key, const char *kind,
    bool flat, bool resume, struct fb_copy **ret_copy, uint64_t *ret_offset,
    struct fb_error *err)
{
	struct fb_copy *copy;
	int rc = fb_name_check("copy", key, strlen(key), err);

	if (rc < 0)
		return rc;
	if (strlen(kind) >= sizeof(copy->kind))
		return fb_fail(err, FB_EBUG, "no kind of volume: '%s'", kind);
	rc = fb_copier_own(copier, err);
	if (rc < 0) {
		fb_copier_disown(copier);
		return rc;
	}
	copy = fb_alloc(1, sizeof(*copy));
	copy->copier = copier;
	copy->key = fb_strdup(key);
	memcpy(copy->kind, kind, strlen(kind) + 1);
	copy->tail = &copy->head;
	copy->leaves.fd = -1;
	copy->flat = flat ? fb_digester_new() : NULL;
	fb_merkle_init(&copy->merkle);
	(void)pthread_mutex_lock(&copier->lock);
	copy->next = copier->copies;
	if (copy->next != NULL)
		copy->next->previous = copy;
	copier->copies = copy;
	copier->batch_limit++;
	(void)pthread_mutex_unlock(&copier->lock);
	rc = fb_copy_open_leaves(copy, resume && !flat, err);
	copy->offset = copy->merkle.size + copy->pending_zeros;
	if (rc < 0)
		free_copy(copy);
	fb_copier_disown(copier);
	if (rc < 0)
		return fb_wrap(err, "copy '%s'", key);
	*ret_copy = copy;
	*ret_offset = copy->offset;
	return FB_OK;
}

/* Wait until nothing of the copy is under way. */
static int
settle(struct fb_copy *copy, struct fb_error *err)
{
	struct fb_copier *copier = copy->copier;
	int rc;

	(void)pthread_mutex_lock(&copier->lock);
	while (copy->inflight > 0)
		(void)pthread_cond_wait(&copier->changed, &copier->lock);
	rc = copier->rc;
	if (rc < 0)
		*err = copier->err;
	(void)pthread_mutex_unlock(&copier->lock);
	return rc;
}

/* As the appender: all leaves are there; make the record of it. */
static int
record_result(struct fb_copy *copy, struct fb_copy_result *ret_result,
    struct fb_error *err)
{
	struct finished finished = { 0 };
	struct fb_copy_result *result = &finished.result;
	int rc = fb_copy_flush_zeros(copy, err);

	if (rc < 0)
		return rc;
	memcpy(finished.kind, copy->kind, sizeof(finished.kind));
	finished.leaves = copy->leaves.count;
	result->size = copy->merkle.size;
	result->serial = copy->copier->serial;
	result->zero_bytes = copy->zero_bytes;
	result->new_bytes = copy->new_bytes;
	result->stored_bytes = copy->stored_bytes;
	fb_merkle_root(&copy->merkle, &result->root);
	result->has_flat = copy->flat != NULL;
	if (copy->flat != NULL)
		fb_digester_peek(copy->flat, &result->flat);
	if (copy->flat != NULL)
		fb_cipher_flat(fb_vault_domain(copy->copier->spec.repo->vault),
		    &result->flat);
	if (result->size != copy->offset)
		return fb_fail(err, FB_EBUG,
		    "%" PRIu64 " bytes came and %" PRIu64 " were kept",
		    copy->offset, result->size);
	rc = fb_finished_write(copy, &finished, err);
	*ret_result = *result;
	return rc;
}

int
fb_copy_finish(struct fb_copy *copy, struct fb_copy_result *ret_result,
    struct fb_error *err)
{
	struct fb_copier *copier = copy->copier;
	int rc = FB_OK;

	if (copy->current != NULL) {
		scan(copy, true);
		if (copy->current->item_count > 0)
			fb_copier_submit(copier, FB_STEAL(copy->current));
	}
	rc = settle(copy, err);
	if (rc == FB_OK)
		rc = fb_copier_own(copier, err);
	else
		(void)!fb_copier_own(copier, err);
	if (rc == FB_OK)
		rc = record_result(copy, ret_result, err);
	free_copy(copy);
	fb_copier_disown(copier);
	return rc;
}

void
fb_copy_abandon(struct fb_copy *copy)
{
	struct fb_copier *copier = copy->copier;
	struct fb_error ignored = { 0 };

	(void)pthread_mutex_lock(&copier->lock);
	copy->dead = true;
	(void)pthread_mutex_unlock(&copier->lock);
	(void)settle(copy, &ignored);
	/* Nobody must be taking the state of all copies meanwhile. */
	(void)!fb_copier_own(copier, &ignored);
	free_copy(copy);
	fb_copier_disown(copier);
}
