#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"

#include "bytes.h"
#include "attested.h"
#include "packer_impl.h"

/* Bytes of the filters of files that this process made. */
#define OWN_FILTERS_MAX ((size_t)16 << 20)

uint64_t
fb_id_prefix(const struct fb_digest *id)
{
	return fb_load_le64(id->bytes);
}

int
fb_spool_open(struct spool_file *file, char *path, uint64_t size,
    struct fb_error *err)
{
	int rc;

	file->path = path;
	file->size = size;
	file->fd = fb_io_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	if (file->fd < 0) {
		rc = file->fd;
		file->fd = -1;
		return rc;
	}
	if (lseek(file->fd, 0, SEEK_END) < (off_t)size) {
		(void)fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
		    "'%s' holds less than was journaled", path);
		return fb_hint(err,
		    "the run is given up, and the next one takes everything "
		    "again");
	}
	file->dirty = true;
	return lseek(file->fd, 0, SEEK_END) == (off_t)size
	    ? FB_OK
	    : fb_io_truncate(file->fd, path, (off_t)size, err);
}

int
fb_spool_append(
    struct spool_file *file, struct fb_span bytes, struct fb_error *err)
{
	int rc = fb_io_pwrite_all(
	    file->fd, file->path, bytes, file->size, err);

	file->size += bytes.len;
	file->dirty = true;
	return rc;
}

int
fb_spool_sync(struct spool_file *file, struct fb_error *err)
{
	int rc;

	if (file->fd < 0 || !file->dirty)
		return FB_OK;
	rc = fb_io_sync(file->fd, file->path, err);
	file->dirty = rc < 0;
	return rc;
}

void
fb_spool_close(struct spool_file *file)
{
	if (file->fd >= 0)
		(void)close(file->fd);
	free(file->path);
	*file = (struct spool_file){ .fd = -1 };
}

static char *
spool_path(const struct fb_packer *packer, const char *name)
{
	return fb_path_join(packer->spool_dir, name);
}

void
fb_packer_chunk_path(struct fb_packer *packer, uint32_t local,
    char **ret_pack, char **ret_chunks)
{
	*ret_pack =
	    fb_format("%s/pack.%" PRIu32, packer->spool_dir, local);
	*ret_chunks =
	    fb_format("%s/pack.%" PRIu32 ".chunks", packer->spool_dir, local);
}

int
fb_packer_open(struct fb_repo *repo, const struct fb_session *session,
    const char *spool_dir, size_t index_slots, const json_t *state,
    struct fb_packer **ret_packer, struct fb_error *err)
{
	struct fb_packer *packer = fb_alloc(1, sizeof(*packer));
	int rc;

	packer->repo = repo;
	packer->session = session;
	packer->spool_dir = fb_strdup(spool_dir);
	for (unsigned i = 0; i < FB_PACKER_LANES; i++) {
		packer->opens[i].number = LOCAL_NONE;
		packer->opens[i].pack.fd = packer->opens[i].chunks.fd = -1;
	}
	packer->at = &packer->opens[0];
	packer->new_names = true;
	packer->locals.fd = packer->hints.fd = -1;
	packer->index.slots_max = index_slots;
	packer->own.dir = fb_strdup(spool_dir);
	packer->own.filter_max = OWN_FILTERS_MAX;
	packer->past.filter_max = FB_SEGMENT_FILTER_MAX;
	(void)pthread_mutex_init(&packer->lock, NULL);
	(void)pthread_rwlock_init(&packer->files_lock, NULL);
	rc = repo->vault != NULL
	    ? fb_keyring_open(repo->vault, session->id, &packer->ring, err)
	    : FB_OK;
	if (rc == FB_OK && state != NULL) {
		rc = fb_packer_resume(packer, state, err);
	} else if (rc == FB_OK) {
		FB_AUTO_BUF struct fb_buf head = { 0 };

		fb_hints_add_head(&head, session->id);
		rc = fb_spool_open(
		    &packer->locals, spool_path(packer, "packs"), 0, err);
		if (rc == FB_OK)
			rc = fb_spool_open(&packer->hints,
			    spool_path(packer, "hints"), 0, err);
		if (rc == FB_OK)
			rc = fb_spool_append(
			    &packer->hints, fb_buf_span(&head), err);
	}
	if (rc < 0) {
		fb_packer_close(packer);
		return rc;
	}
	*ret_packer = packer;
	return FB_OK;
}

static void
close_open(struct open_pack *open)
{
	fb_spool_close(&open->pack);
	fb_spool_close(&open->chunks);
	fb_digester_free(open->digester);
	fb_cipher_wipe(&open->key);
	free(open->key_path);
	free(open->old_path);
	fb_pack_table_release(&open->table);
}

void
fb_packer_close(struct fb_packer *packer)
{
	if (packer == NULL)
		return;
	for (unsigned i = 0; i < FB_PACKER_LANES; i++)
		close_open(&packer->opens[i]);
	fb_spool_close(&packer->locals);
	fb_spool_close(&packer->hints);
	fb_keyring_close(packer->ring);
	free(packer->frames);
	fb_index_release(&packer->index);
	fb_index_files_drop(&packer->own, 0);
	fb_index_files_close(&packer->own);
	fb_index_files_close(&packer->past);
	(void)pthread_mutex_destroy(&packer->lock);
	(void)pthread_rwlock_destroy(&packer->files_lock);
	free(packer->packs);
	free(packer->map);
	free(packer->local_packs);
	free(packer->spool_dir);
	free(packer);
}

void
fb_packer_judge(struct fb_packer *packer, uint32_t number, bool good)
{
	struct known_pack *pack;

	(void)pthread_mutex_lock(&packer->lock);
	pack = &packer->packs[number];
	if (pack->kind == PACK_PAST)
		pack->kind = good ? PACK_GOOD : PACK_BAD;
	(void)pthread_mutex_unlock(&packer->lock);
}

int
fb_packer_check_there(struct fb_packer *packer, const struct known_pack *pack,
    struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;
	int rc;

	fb_pack_key(&pack->id, key);
	rc = fb_store_head(packer->repo->store, key, &size, err);
	if (rc == FB_OK &&
	    size != (uint64_t)pack->table_offset + FB_PACK_SKIP_LEN +
	            pack->table_length)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "'%s' does not end with its table", key);
	return rc;
}

/* `ids`: what the table's chunks are called in our domain, or NULL: as they
 * are called there.  *id becomes what the table says. */
static bool
match(const struct fb_pack_table *table, const struct fb_digest *ids,
    const struct fb_index_entry *entry, struct fb_digest *id,
    struct fb_place *ret_place)
{
	const struct fb_pack_chunk *chunk;

	if (entry->chunk >= table->count)
		return false;
	chunk = &table->chunks[entry->chunk];
	if (fb_digest_cmp(
	        ids != NULL ? &ids[entry->chunk] : &chunk->id, id) != 0)
		return false;
	*id = chunk->id;
	*ret_place = (struct fb_place){ entry->pack, entry->chunk,
		chunk->offset, chunk->stored_length };
	return true;
}

static bool
is_useless(const struct known_pack *pack)
{
	return pack->kind == PACK_BAD || pack->kind == PACK_DROPPED;
}

/* A hit in a closed pack: its table decides.  A pack that is not there any
 * more, or is damaged, is no longer used. */
static int
confirm(struct fb_packer *packer, const struct fb_index_entry *entry,
    const struct known_pack *pack, struct fb_digest *id,
    struct fb_place *ret_place, bool *ret_found, struct fb_error *err)
{
	const struct fb_digest *ids = NULL;
	struct fb_table_place place = { pack->id, pack->table_offset,
		pack->table_length, &pack->table_digest };
	struct fb_table *table = NULL;
	int rc = pack->kind == PACK_PAST
	    ? fb_packer_check_there(packer, pack, err)
	    : FB_OK;

	if (rc == FB_OK)
		rc = fb_tables_get(
		    packer->repo->tables, &place, &table, err);
	if (rc == FB_ECANCELED)
		return rc;
	if (rc == FB_OK)
		rc = fb_attested_ids(packer->repo, table, &ids, err);
	if (rc == FB_ECANCELED) {
		fb_tables_put(packer->repo->tables, table);
		return rc;
	}
	if (pack->kind == PACK_PAST)
		fb_packer_judge(packer, entry->pack, rc == FB_OK);
	if (rc == FB_OK)
		*ret_found = match(&table->table, ids, entry, id, ret_place);
	fb_tables_put(packer->repo->tables, table);
	return FB_OK;
}

/* With the lock held: of a pack that is open. */
static const struct fb_pack_table *
open_table(const struct fb_packer *packer, uint32_t number)
{
	const struct open_pack *open = packer->opens;

	while (open->number != number)
		open++;
	return &open->table;
}

/* Ask memory. */
static int
find_in_memory(struct fb_packer *packer, struct fb_digest *id,
    struct fb_place *ret_place, bool *ret_found, struct fb_error *err)
{
	const struct fb_index_entry *hit;
	struct fb_index_entry entry;
	struct known_pack pack = { .kind = PACK_BAD };

	(void)pthread_mutex_lock(&packer->lock);
	hit = fb_index_find(&packer->index, fb_id_prefix(id));
	if (hit != NULL) {
		entry = *hit;
		pack = packer->packs[entry.pack];
		if (pack.kind == PACK_OPEN)
			*ret_found = match(open_table(packer, entry.pack),
			    NULL, &entry, id, ret_place);
	}
	(void)pthread_mutex_unlock(&packer->lock);
	if (pack.kind == PACK_OPEN || is_useless(&pack))
		return FB_OK;
	return confirm(
	    packer, &entry, &pack, id, ret_place, ret_found, err);
}

/* Ask one file, whose packs get numbers as they are met. */
static int
find_in_file(struct fb_packer *packer, const struct fb_segment *segment,
    struct fb_digest *id, struct fb_place *ret_place, bool *ret_found,
    struct fb_error *err)
{
	struct known_pack pack = { .kind = PACK_BAD };
	struct fb_error ignored = { 0 };
	struct fb_index_entry entry;
	struct fb_hint_pack record;
	int64_t number;
	bool there;

	if (fb_segment_find(segment, fb_id_prefix(id), &entry, &there,
	        &ignored) < 0 ||
	    !there ||
	    fb_segment_pack(segment, entry.pack, &record, &ignored) < 0)
		return FB_OK;
	(void)pthread_mutex_lock(&packer->lock);
	number = fb_packer_past_pack(packer, &record);
	if (number >= 0)
		pack = packer->packs[number];
	(void)pthread_mutex_unlock(&packer->lock);
	if (is_useless(&pack))
		return FB_OK;
	entry.pack = (uint32_t)number;
	return confirm(
	    packer, &entry, &pack, id, ret_place, ret_found, err);
}

/* The newest file first. */
static int
find_in_files(struct fb_packer *packer, const struct fb_index_files *files,
    struct fb_digest *id, struct fb_place *ret_place, bool *ret_found,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = files->count; rc == FB_OK && !*ret_found && i > 0; i--)
		rc = find_in_file(packer, files->items[i - 1], id, ret_place,
		    ret_found, err);
	return rc;
}

int
fb_packer_find(struct fb_packer *packer, struct fb_digest *id,
    struct fb_place *ret_place, bool *ret_found, struct fb_error *err)
{
	int rc;

	*ret_found = false;
	(void)pthread_rwlock_rdlock(&packer->files_lock);
	rc = find_in_memory(packer, id, ret_place, ret_found, err);
	if (rc == FB_OK && !*ret_found)
		rc = find_in_files(
		    packer, &packer->own, id, ret_place, ret_found, err);
	if (rc == FB_OK && !*ret_found)
		rc = find_in_files(
		    packer, &packer->past, id, ret_place, ret_found, err);
	(void)pthread_rwlock_unlock(&packer->files_lock);
	return rc;
}

void
fb_packer_set_local(
    struct fb_packer *packer, uint32_t local, uint32_t number)
{
	if (local >= packer->local_cap) {
		packer->local_cap = (size_t)local * 3 / 2 + 64;
		packer->local_packs = fb_realloc(packer->local_packs,
		    packer->local_cap, sizeof(*packer->local_packs));
	}
	packer->local_packs[local] = number;
	packer->packs[number].local = local;
	if (local >= packer->local_count)
		packer->local_count = local + 1;
}

uint32_t
fb_packer_local_count(const struct fb_packer *packer)
{
	return packer->local_count;
}

int
fb_packer_write_record(struct fb_packer *packer, const struct known_pack *pack,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf record = { 0 };

	fb_buf_add(&record, pack->id.bytes, FB_DIGEST_LEN);
	fb_buf_add_le32(&record, pack->table_offset);
	fb_buf_add_le32(&record, pack->table_length);
	fb_buf_add(&record, pack->table_digest.bytes, FB_DIGEST_LEN);
	packer->locals.dirty = true;
	return fb_io_pwrite_all(packer->locals.fd, packer->locals.path,
	    fb_buf_span(&record), (uint64_t)pack->local * PACK_RECORD_LEN,
	    err);
}

int
fb_packer_local(struct fb_packer *packer, uint32_t number,
    uint32_t *ret_local, struct fb_error *err)
{
	struct known_pack pack;
	bool fresh;

	(void)pthread_mutex_lock(&packer->lock);
	fresh = packer->packs[number].local == LOCAL_NONE;
	if (fresh)
		fb_packer_set_local(packer, packer->local_count, number);
	pack = packer->packs[number];
	(void)pthread_mutex_unlock(&packer->lock);
	*ret_local = pack.local;
	return fresh && pack.kind != PACK_OPEN
	    ? fb_packer_write_record(packer, &pack, err)
	    : FB_OK;
}

int
fb_packer_recipe_pack(struct fb_packer *packer, uint32_t local,
    struct fb_recipe_pack *ret_pack, struct fb_error *err)
{
	struct known_pack pack = { .kind = PACK_BAD };

	(void)pthread_mutex_lock(&packer->lock);
	if (local < packer->local_count)
		pack = packer->packs[packer->local_packs[local]];
	(void)pthread_mutex_unlock(&packer->lock);
	if (is_useless(&pack) || pack.kind == PACK_OPEN)
		return fb_fail(err, FB_EBUG,
		    "pack number %" PRIu32 " is not stored", local);
	*ret_pack = (struct fb_recipe_pack){ pack.id, pack.table_offset,
		pack.table_length, pack.table_digest };
	return FB_OK;
}

void
fb_packer_select(struct fb_packer *packer, unsigned lane)
{
	fb_packer_settle_frames(packer);
	packer->at = &packer->opens[lane];
}

uint64_t
fb_packer_open_bytes(const struct fb_packer *packer)
{
	return packer->at->number == LOCAL_NONE ? 0 : packer->at->table.offset;
}

int
fb_packer_take_key(struct fb_packer *packer, struct fb_error *err)
{
	struct fb_vault *vault = packer->repo->vault;
	struct fb_pack_key_entry entry;
	int rc;

	if (vault == NULL)
		return FB_OK;
	rc = fb_keyring_take(packer->ring, &entry, err);
	if (rc < 0)
		return rc;
	packer->at->key = entry.key;
	fb_cipher_wipe(&entry.key);
	packer->at->table.encrypted = true;
	memcpy(packer->at->table.key, entry.id, sizeof(packer->at->table.key));
	fb_vault_mark(vault, &packer->at->table);
	return FB_OK;
}

static int
begin_pack(struct fb_packer *packer, struct fb_error *err)
{
	struct known_pack pack = { .kind = PACK_OPEN, .local = LOCAL_NONE };
	char *pack_path, *chunks_path;
	int rc = fb_packer_take_key(packer, err);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&packer->lock);
	packer->at->number = fb_packer_new_pack(packer, &pack);
	fb_packer_set_local(packer, packer->local_count, packer->at->number);
	fb_packer_chunk_path(
	    packer, packer->local_count - 1, &pack_path, &chunks_path);
	memcpy(packer->at->table.session, packer->session->id,
	    sizeof(packer->at->table.session));
	(void)pthread_mutex_unlock(&packer->lock);
	packer->at->saved = 0;
	packer->new_names = true;
	fb_digester_free(packer->at->digester);
	packer->at->digester = fb_digester_new();
	rc = fb_spool_open(&packer->at->pack, pack_path, 0, err);
	if (rc < 0) {
		free(chunks_path);
		return rc;
	}
	return fb_spool_open(&packer->at->chunks, chunks_path, 0, err);
}

/* With the lock held. */
void
fb_packer_add_chunk(
    struct fb_packer *packer, const struct fb_pack_chunk *chunk)
{
	struct fb_pack_table *open = &packer->at->table;

	if (open->count == packer->at->cap) {
		packer->at->cap = packer->at->cap * 2 + 256;
		open->chunks = fb_realloc(
		    open->chunks, packer->at->cap, sizeof(*open->chunks));
	}
	open->chunks[open->count] = *chunk;
	open->chunks[open->count].offset = (uint32_t)open->offset;
	open->offset += chunk->stored_length;
	fb_index_add(&packer->index,
	    &(struct fb_index_entry){ fb_id_prefix(&chunk->id),
	        packer->at->number, (uint32_t)open->count },
	    true);
	open->count++;
}

/* Its digest is made together with others'. */
static void
note_frame(struct fb_packer *packer, struct fb_span frame)
{
	if (packer->frame_count == packer->frame_cap) {
		packer->frame_cap = packer->frame_cap * 2 + 64;
		packer->frames = fb_realloc(packer->frames, packer->frame_cap,
		    sizeof(*packer->frames));
	}
	packer->frames[packer->frame_count++].bytes = frame;
}

void
fb_packer_settle_frames(struct fb_packer *packer)
{
	size_t count = packer->frame_count;
	struct fb_pack_chunk *chunks;

	if (count == 0)
		return;
	fb_digest_pieces_many(packer->frames, count);
	(void)pthread_mutex_lock(&packer->lock);
	chunks = packer->at->table.chunks + (packer->at->table.count - count);
	for (size_t i = 0; i < count; i++)
		memcpy(chunks[i].stored_digest,
		    packer->frames[i].digest.bytes, FB_STORED_DIGEST_LEN);
	(void)pthread_mutex_unlock(&packer->lock);
	packer->frame_count = 0;
}

int
fb_packer_append(struct fb_packer *packer, struct fb_pack_chunk *chunk,
    uint8_t *frame, struct fb_place *ret_place, struct fb_error *err)
{
	struct fb_span bytes = { frame, chunk->stored_length };
	int rc = FB_OK;

	if (packer->at->number == LOCAL_NONE)
		rc = begin_pack(packer, err);
	if (rc < 0)
		return rc;
	/* Where it lies in the pack is known only now. */
	if (packer->at->table.encrypted)
		fb_cipher_apply(&packer->at->key, packer->at->table.offset, frame,
		    chunk->stored_length);
	rc = fb_spool_append(&packer->at->pack, bytes, err);
	if (rc < 0)
		return rc;
	fb_digester_add(packer->at->digester, bytes);
	*ret_place = (struct fb_place){ packer->at->number,
		(uint32_t)packer->at->table.count, (uint32_t)packer->at->table.offset,
		chunk->stored_length };
	fb_packer_make_room(packer);
	(void)pthread_mutex_lock(&packer->lock);
	fb_packer_add_chunk(packer, chunk);
	(void)pthread_mutex_unlock(&packer->lock);
	if (packer->at->table.encrypted)
		note_frame(packer, bytes);
	return FB_OK;
}
