/* The end of a pack, and what lasts of the packer over a crash. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "packer_impl.h"

/* The pack is complete: its number now stands for what it became. */
static int
settle_pack(struct fb_packer *packer, const struct fb_digest *id,
    struct fb_span text, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf hints = { 0 };
	struct fb_hint_pack hint = { .id = *id,
		.table_offset = (uint32_t)packer->at->table.offset,
		.table_length = (uint32_t)text.len,
		.count = (uint32_t)packer->at->table.count };
	uint32_t number = packer->at->number;
	struct known_pack *pack, copy;
	int rc;

	fb_digest_of(text, &hint.table_digest);
	fb_hints_add_pack(&hints, &hint, &packer->at->table);
	(void)pthread_mutex_lock(&packer->lock);
	pack = &packer->packs[number];
	pack->id = *id;
	pack->table_offset = hint.table_offset;
	pack->table_length = hint.table_length;
	pack->table_digest = hint.table_digest;
	pack->kind = PACK_OWN;
	fb_packer_map_pack(packer, number);
	copy = *pack;
	packer->at->number = LOCAL_NONE;
	packer->at->cap = 0;
	fb_tables_add(packer->repo->tables, id, &packer->at->table,
	    &hint.table_digest, hint.table_length);
	(void)pthread_mutex_unlock(&packer->lock);
	rc = fb_packer_write_record(packer, &copy, err);
	return rc < 0
	    ? rc
	    : fb_spool_append(&packer->hints, fb_buf_span(&hints), err);
}

int
fb_packer_seal(struct fb_packer *packer, struct fb_sealed_pack *ret_sealed,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf frame = { 0 };
	struct fb_digest id;
	int rc;

	fb_packer_settle_frames(packer);
	rc = packer->at->key_path != NULL ? fb_packer_change_key(packer, err)
	                              : FB_OK;
	if (rc < 0)
		return rc;
	fb_pack_table_encode(&packer->at->table, &text);
	fb_buf_add_le32(&frame, FB_PACK_MAGIC);
	fb_buf_add_le32(&frame, (uint32_t)text.len);
	fb_buf_add(&frame, text.data, text.len);
	rc = fb_spool_append(&packer->at->pack, fb_buf_span(&frame), err);
	if (rc < 0)
		return rc;
	fb_digester_add(packer->at->digester, fb_buf_span(&frame));
	fb_digester_peek(packer->at->digester, &id);
	rc = settle_pack(packer, &id, fb_buf_span(&text), err);
	if (rc < 0)
		return rc;
	*ret_sealed = (struct fb_sealed_pack){ .fd = packer->at->pack.fd,
		.path = FB_STEAL(packer->at->pack.path),
		.chunks_path = FB_STEAL(packer->at->chunks.path),
		.key_path = FB_STEAL(packer->at->key_path),
		.old_path = FB_STEAL(packer->at->old_path),
		.id = id,
		.size = packer->at->pack.size };
	packer->at->pack.fd = -1;
	fb_cipher_wipe(&packer->at->key);
	fb_spool_close(&packer->at->chunks);
	return FB_OK;
}

void
fb_sealed_pack_release(struct fb_sealed_pack *sealed)
{
	if (sealed->path != NULL)
		(void)close(sealed->fd);
	free(sealed->path);
	free(sealed->chunks_path);
	free(sealed->key_path);
	free(sealed->old_path);
	*sealed = (struct fb_sealed_pack){ .fd = -1 };
}

int
fb_sealed_pack_remove(const struct fb_sealed_pack *sealed, struct fb_error *err)
{
	int rc = FB_OK;

	if (sealed->key_path != NULL)
		rc = fb_spool_key_remove(sealed->key_path, err);
	if (rc == FB_OK && sealed->old_path != NULL)
		rc = fb_io_unlink(sealed->old_path, err);
	if (rc == FB_OK)
		rc = fb_io_unlink(sealed->path, err);
	return rc < 0 ? rc : fb_io_unlink(sealed->chunks_path, err);
}

/* And its key, the first time. */
static int
save_key(
    struct fb_packer *packer, struct open_pack *open, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	int rc;

	if (!open->table.encrypted || open->key_path != NULL)
		return FB_OK;
	path = fb_format("%s.key", open->pack.path);
	rc = fb_spool_key_write(path, &open->key, err);
	if (rc < 0)
		return rc;
	open->key_path = FB_STEAL(path);
	packer->new_names = true;
	return FB_OK;
}

/* Note an open pack's newest chunks beside it. */
static int
save_chunks(
    struct fb_packer *packer, struct open_pack *open, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf records = { 0 };
	int rc = save_key(packer, open, err);

	if (rc < 0)
		return rc;
	for (; open->saved < open->table.count; open->saved++) {
		const struct fb_pack_chunk *chunk =
		    &open->table.chunks[open->saved];

		fb_buf_add(&records, chunk->id.bytes, FB_DIGEST_LEN);
		fb_buf_add(&records, chunk->stored_digest,
		    FB_STORED_DIGEST_LEN);
		fb_buf_add_le32(&records, chunk->stored_length);
		fb_buf_add_le32(&records, chunk->length);
	}
	rc = fb_spool_append(&open->chunks, fb_buf_span(&records), err);
	if (rc == FB_OK)
		rc = fb_spool_sync(&open->pack, err);
	if (rc == FB_OK)
		rc = fb_spool_sync(&open->chunks, err);
	return rc;
}

void
fb_packer_new_name(struct fb_packer *packer)
{
	packer->new_names = true;
}

/* The directory, once for all names that are new in it. */
static int
sync_names(struct fb_packer *packer, struct fb_error *err)
{
	int rc;

	if (!packer->new_names)
		return FB_OK;
	rc = fb_io_sync_parent(packer->locals.path, err);
	packer->new_names = rc < 0;
	return rc;
}

/* The open packs, by lane; null: there is none. */
static json_t *
describe_open(const struct fb_packer *packer)
{
	json_t *lanes = json_array();

	for (unsigned i = 0; i < FB_PACKER_LANES; i++) {
		const struct open_pack *open = &packer->opens[i];
		uint32_t number = open->number;

		(void)json_array_append_new(lanes,
		    number == LOCAL_NONE
		        ? json_null()
		        : json_pack("{s:I, s:I, s:I}", "pack",
		              (json_int_t)packer->packs[number].local, "bytes",
		              (json_int_t)open->table.offset, "chunks",
		              (json_int_t)open->table.count));
	}
	return lanes;
}

int
fb_packer_state(
    struct fb_packer *packer, json_t **ret_state, struct fb_error *err)
{
	int rc = FB_OK;

	fb_packer_settle_frames(packer);
	for (unsigned i = 0; rc == FB_OK && i < FB_PACKER_LANES; i++)
		if (packer->opens[i].number != LOCAL_NONE)
			rc = save_chunks(packer, &packer->opens[i], err);
	if (rc == FB_OK)
		rc = fb_spool_sync(&packer->locals, err);
	if (rc == FB_OK)
		rc = fb_spool_sync(&packer->hints, err);
	if (rc == FB_OK)
		rc = sync_names(packer, err);
	if (rc < 0)
		return rc;
	*ret_state = json_pack("{s:I, s:I, s:o}", "packs",
	    (json_int_t)packer->local_count, "hints",
	    (json_int_t)packer->hints.size, "open", describe_open(packer));
	return FB_OK;
}

int
fb_packer_hints(struct fb_packer *packer, const char **ret_path,
    uint64_t *ret_size, struct fb_error *err)
{
	(void)err;
	*ret_path = packer->hints.path;
	*ret_size = packer->hints.size;
	return FB_OK;
}
