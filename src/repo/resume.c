/* A packer as it was when its state was journaled. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"
#include "fleetbak/format/json.h"

#include "bytes.h"
#include "packer_impl.h"

#define COPY_STEP ((size_t)1 << 18)

static int
fail_spool(const char *path, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
	    "'%s' does not hold what was journaled", path);
	return fb_hint(err,
	    "the run is given up, and the next one takes everything again");
}

/* What is not there was there. */
static int
read_whole(const char *path, size_t max, struct fb_buf *dst,
    struct fb_error *err)
{
	int rc = fb_io_read_file(path, max, dst, err);

	return rc == FB_ENOTFOUND ? fail_spool(path, err) : rc;
}

/* The state of the pack that was open in the lane; NULL: none was. */
static const json_t *
open_at(const json_t *state, unsigned lane)
{
	const json_t *open = json_object_get(state, "open");

	if (json_is_object(open)) /* of a writer that had one lane */
		return lane == 0 ? open : NULL;
	open = json_array_get(open, lane);
	return json_is_null(open) ? NULL : open;
}

bool
fb_packer_state_opens(const json_t *state, uint64_t local)
{
	for (unsigned i = 0; i < FB_PACKER_LANES; i++) {
		const json_t *number =
		    json_object_get(open_at(state, i), "pack");

		if (json_is_integer(number) &&
		    json_integer_value(number) == (json_int_t)local)
			return true;
	}
	return false;
}

/* The lasting numbers; what is open has no record yet. */
static int
resume_locals(struct fb_packer *packer, const json_t *state, uint32_t count,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(packer->spool_dir, "packs");
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	size_t size = (size_t)count * PACK_RECORD_LEN;
	int rc;

	rc = read_whole(path, SIZE_MAX / 2, &bytes, err);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *at = bytes.data + (size_t)i * PACK_RECORD_LEN;
		struct known_pack pack = { .kind = PACK_OPEN };

		if (!fb_packer_state_opens(state, i)) {
			if (bytes.len < (size_t)(i + 1) * PACK_RECORD_LEN ||
			    fb_load_le32(at + 36) == 0)
				return fail_spool(path, err);
			memcpy(pack.id.bytes, at, FB_DIGEST_LEN);
			pack.table_offset = fb_load_le32(at + 32);
			pack.table_length = fb_load_le32(at + 36);
			memcpy(
			    pack.table_digest.bytes, at + 40, FB_DIGEST_LEN);
			pack.kind = PACK_OWN;
		}
		fb_packer_set_local(
		    packer, i, fb_packer_new_pack(packer, &pack));
	}
	if (bytes.len > size)
		bytes.len = size;
	rc = fb_spool_open(
	    &packer->locals, FB_STEAL(path), bytes.len, err);
	return rc;
}

static int
read_spool(void *arg, uint64_t offset, void *bytes, size_t len,
    size_t *ret_len, struct fb_error *err)
{
	const struct spool_file *file = arg;

	return fb_io_pread(
	    file->fd, file->path, bytes, len, offset, ret_len, err);
}

struct own_hints {
	struct fb_packer *packer;
	int64_t pack;
};

static int
own_pack(void *arg, const struct fb_hint_pack *pack)
{
	struct own_hints *own = arg;

	own->pack = fb_packer_past_pack(own->packer, pack);
	return own->pack < 0 ? -1 : 0;
}

static bool
own_chunk(void *arg, uint32_t chunk, uint64_t prefix)
{
	struct own_hints *own = arg;

	if (fb_packer_past_chunk(
	        own->packer, (uint32_t)own->pack, chunk, prefix))
		return true;
	if (!fb_packer_spill(own->packer, &own->packer->own, 0))
		return false;
	fb_packer_settle(own->packer, &own->packer->own, 0);
	return fb_packer_past_chunk(
	    own->packer, (uint32_t)own->pack, chunk, prefix);
}

static int
copy_spool(int from, const char *path, uint64_t size, struct spool_file *to,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(COPY_STEP, 1);

	while (to->size < size) {
		uint64_t left = size - to->size;
		size_t want = left < COPY_STEP ? (size_t)left : COPY_STEP;
		size_t got;
		int rc = fb_io_pread(
		    from, path, bytes, want, to->size, &got, err);

		if (rc == FB_OK && got < want)
			rc = fail_spool(path, err);
		if (rc == FB_OK)
			rc = fb_spool_append(
			    to, (struct fb_span){ bytes, got }, err);
		if (rc < 0)
			return rc;
	}
	return fb_spool_sync(to, err);
}

/* The store may have taken the file itself, as an object that nobody writes
 * to: what was journaled goes into one of our own. */
static int
own_file(const char *path, uint64_t size, struct fb_error *err)
{
	FB_AUTO_FREE char *fresh = fb_format("%s.new", path);
	struct spool_file to = { .fd = -1 };
	FB_AUTO_CLOSE int from = -1;
	struct stat st;
	int rc;

	if (lstat(path, &st) == -1 || !S_ISREG(st.st_mode) ||
	    (st.st_nlink == 1 && (st.st_mode & S_IWUSR) != 0))
		return FB_OK; /* who opens it says what is wrong with it */
	rc = from = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	if (rc >= 0)
		rc = fb_spool_open(&to, fb_strdup(fresh), 0, err);
	if (rc == FB_OK)
		rc = copy_spool(from, path, size, &to, err);
	fb_spool_close(&to);
	return rc < 0 ? rc : fb_io_rename(fresh, path, false, err);
}

/* The run's own hints: its closed packs' chunks are known again. */
static int
resume_hints(struct fb_packer *packer, uint64_t size, struct fb_error *err)
{
	struct own_hints own = { .packer = packer };
	struct fb_hint_source source = { read_spool, &packer->hints };
	struct fb_hint_visitor visitor = { own_pack, own_chunk, &own };
	FB_AUTO_FREE char *path = fb_path_join(packer->spool_dir, "hints");
	int rc = own_file(path, size, err);

	if (rc == FB_OK)
		rc = fb_spool_open(
		    &packer->hints, FB_STEAL(path), size, err);
	if (rc == FB_OK)
		fb_hints_read(&source, packer->session->id, &visitor);
	return rc;
}

static int
resume_chunks(struct fb_packer *packer, const char *path, uint32_t count,
    uint64_t bytes, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf records = { 0 };
	int rc = read_whole(path, FB_PACK_TABLE_MAX, &records, err);

	if (rc < 0)
		return rc;
	if (records.len < (size_t)count * CHUNK_RECORD_LEN)
		return fail_spool(path, err);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *at =
		    records.data + (size_t)i * CHUNK_RECORD_LEN;
		struct fb_pack_chunk chunk;

		memcpy(chunk.id.bytes, at, FB_DIGEST_LEN);
		memcpy(chunk.stored_digest, at + 32, FB_STORED_DIGEST_LEN);
		chunk.stored_length = fb_load_le32(at + 48);
		chunk.length = fb_load_le32(at + 52);
		if (chunk.stored_length == 0 ||
		    chunk.stored_length > FB_STORED_MAX || chunk.length == 0 ||
		    chunk.length > FB_CHUNK_MAX)
			return fail_spool(path, err);
		fb_packer_add_chunk(packer, &chunk);
	}
	packer->at->saved = count;
	return packer->at->table.offset == bytes ? FB_OK : fail_spool(path, err);
}

/*
 * Copy the open pack's frames into a file of its own: the store may hold a
 * link to the old one.  Each frame must have its digest.
 */
static int
copy_frames(struct fb_packer *packer, int from, const char *path,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *frame = fb_alloc(FB_STORED_MAX, 1);
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < packer->at->table.count; i++) {
		const struct fb_pack_chunk *chunk = &packer->at->table.chunks[i];
		struct fb_span bytes = { frame, chunk->stored_length };
		struct fb_digest digest;
		size_t got;

		rc = fb_io_pread(from, path, frame, bytes.len, chunk->offset,
		    &got, err);
		if (rc < 0)
			return rc;
		if (got < bytes.len)
			return fail_spool(path, err);
		fb_digest_pieces(bytes, &digest);
		if (memcmp(digest.bytes, chunk->stored_digest,
		        FB_STORED_DIGEST_LEN) != 0)
			return fail_spool(path, err);
		fb_digester_add(packer->at->digester, bytes);
		rc = fb_spool_append(&packer->at->pack, bytes, err);
	}
	return rc;
}

/* What is encrypted goes on with the key that lies beside it. */
static int
resume_key(struct fb_packer *packer, const char *path, struct fb_error *err)
{
	if (packer->ring == NULL)
		return FB_OK;
	packer->at->table.encrypted = true;
	packer->at->key_path = fb_format("%s.key", path);
	return fb_spool_key_read(packer->at->key_path, &packer->at->key, err);
}

static int
resume_open(struct fb_packer *packer, const json_t *open, struct fb_error *err)
{
	static const char what[] = "journaled state of the open pack";
	FB_AUTO_FREE char *path = NULL, *chunks = NULL, *fresh = NULL;
	FB_AUTO_CLOSE int from = -1;
	uint64_t local, bytes, count;
	int rc;

	if (packer->local_count == 0)
		return fail_spool(packer->spool_dir, err);
	rc = fb_json_u64(
	    open, "pack", what, packer->local_count - 1, &local, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    open, "bytes", what, FB_PACK_SIZE_MAX, &bytes, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    open, "chunks", what, FB_PACK_CHUNKS_MAX, &count, err);
	if (rc < 0)
		return rc;
	fb_packer_chunk_path(packer, (uint32_t)local, &path, &chunks);
	fresh = fb_format("%s.new", path);
	packer->at->number = packer->local_packs[local];
	memcpy(packer->at->table.session, packer->session->id,
	    sizeof(packer->at->table.session));
	packer->at->digester = fb_digester_new();
	rc = resume_key(packer, path, err);
	if (rc == FB_OK)
		rc = resume_chunks(packer, chunks, (uint32_t)count, bytes, err);
	if (rc == FB_OK)
		rc = fb_spool_open(&packer->at->chunks, FB_STEAL(chunks),
		    count * CHUNK_RECORD_LEN, err);
	if (rc == FB_OK)
		rc = from = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	if (rc == FB_ENOTFOUND)
		rc = fail_spool(path, err);
	if (rc >= 0)
		rc = fb_spool_open(&packer->at->pack, fb_strdup(fresh), 0, err);
	if (rc == FB_OK)
		rc = copy_frames(packer, from, path, err);
	if (rc == FB_OK)
		rc = fb_spool_sync(&packer->at->pack, err);
	if (rc == FB_OK)
		rc = fb_io_rename(fresh, path, false, err);
	if (rc < 0)
		return rc;
	free(packer->at->pack.path);
	packer->at->pack.path = FB_STEAL(path);
	return FB_OK;
}

int
fb_packer_resume(
    struct fb_packer *packer, const json_t *state, struct fb_error *err)
{
	static const char what[] = "journaled state of the copier";
	uint64_t count, hints;
	int rc;

	rc = fb_json_u64(state, "packs", what, UINT32_MAX - 1, &count, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    state, "hints", what, INT64_MAX, &hints, err);
	if (rc == FB_OK)
		rc = resume_locals(packer, state, (uint32_t)count, err);
	if (rc < 0)
		return rc;
	rc = resume_hints(packer, hints, err);
	for (unsigned i = 0; rc == FB_OK && i < FB_PACKER_LANES; i++) {
		const json_t *open = open_at(state, i);

		packer->at = &packer->opens[i];
		if (open != NULL)
			rc = resume_open(packer, open, err);
	}
	packer->at = &packer->opens[0];
	return rc;
}
