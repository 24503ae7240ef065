/* Single chunks of a volume: fetched, opened and hashed on demand. */
#include <stdlib.h>

#include "fleetbak/base/mem.h"

#include "volume_impl.h"

struct fb_chunk_reader {
	ZSTD_DCtx *dctx;
	uint8_t *stored; /* FB_STORED_MAX */
	struct fb_pack_chunk chunks[OPEN_CHUNKS_MAX];
};

struct fb_chunk_reader *
fb_chunk_reader_new(void)
{
	struct fb_chunk_reader *opener = fb_alloc(1, sizeof(*opener));

	opener->dctx = ZSTD_createDCtx();
	opener->stored = fb_alloc(FB_STORED_MAX, 1);
	return opener;
}

void
fb_chunk_reader_free(struct fb_chunk_reader *opener)
{
	if (opener == NULL)
		return;
	ZSTD_freeDCtx(opener->dctx);
	free(opener->stored);
	free(opener);
}

/* How many of them lie side by side in a pack, and fit into one fetch. */
static uint32_t
take_stretch(struct fb_chunk_reader *opener, const struct fb_volume_chunk *chunks,
    size_t count, uint32_t *ret_stored, uint32_t *ret_length)
{
	uint32_t stored = 0, length = 0, taken = 0;

	while (taken < count && taken < OPEN_CHUNKS_MAX) {
		const struct fb_volume_chunk *chunk = &chunks[taken];

		if (taken > 0 &&
		    (chunk->pack != chunks[0].pack ||
		        chunk->number != chunks[0].number + taken ||
		        chunk->stored.offset !=
		            chunks[0].stored.offset + stored ||
		        length + chunk->stored.length > FB_CHUNK_MAX ||
		        stored + chunk->stored.stored_length > FB_STORED_MAX))
			break;
		opener->chunks[taken++] = chunk->stored;
		stored += chunk->stored.stored_length;
		length += chunk->stored.length;
	}
	*ret_stored = stored;
	*ret_length = length;
	return taken;
}

int
fb_chunk_reader_read(struct fb_chunk_reader *opener, struct fb_volume_reader *reader,
    const struct fb_volume_chunk *chunks, size_t count, uint8_t *content,
    struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];

	while (count > 0) {
		const struct fb_pack_secret *use;
		struct fb_pack_secret secret;
		uint32_t stored, length;
		uint32_t taken =
		    take_stretch(opener, chunks, count, &stored, &length);
		int rc = fb_volume_secret(
		    reader, chunks->pack, &secret, &use, err);

		if (rc < 0)
			return rc;
		fb_pack_key(&reader->packs[chunks->pack].id, key);
		rc = fb_store_get_range(reader->repo->store, key,
		    chunks->stored.offset, opener->stored, stored, err);
		if (rc == FB_OK)
			rc = fb_chunks_open(opener->dctx, use, opener->chunks,
			    taken, opener->stored, content, key,
			    chunks->number, err);
		if (rc < 0)
			return rc;
		content += length;
		chunks += taken;
		count -= taken;
	}
	return FB_OK;
}
