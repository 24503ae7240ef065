/* Single chunks of a volume: fetched, opened and hashed on demand. */
#include <stdlib.h>

#include "fleetbak/base/mem.h"

#include "volume_impl.h"

/* More bytes than this between two chunks are dearer than a request. */
#define GAP_MAX (UINT64_C(256) << 10)

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

/* Chunks that one fetch brings. */
struct stretch {
	size_t end;         /* the first that is not of it */
	uint64_t from, len; /* in the pack */
};

static bool
is_wanted(const bool *wanted, size_t i)
{
	return wanted == NULL || wanted[i];
}

/* From the first one, which is wanted, on: as far as it is in the same pack,
 * further on, with no gap that is dearer than a request. */
static struct stretch
find_stretch(const struct fb_volume_chunk *chunks, const bool *wanted,
    size_t count, uint64_t gap_max)
{
	uint64_t from = chunks[0].stored.offset;
	struct stretch stretch = { 1, from, chunks[0].stored.stored_length };

	for (size_t i = 1; i < count; i++) {
		uint64_t begin = chunks[i].stored.offset;
		uint64_t end = begin + chunks[i].stored.stored_length;

		if (!is_wanted(wanted, i))
			continue;
		if (chunks[i].pack != chunks[0].pack ||
		    begin < from + stretch.len ||
		    begin - (from + stretch.len) > gap_max ||
		    end - from > FB_STORED_MAX)
			break;
		stretch.len = end - from;
		stretch.end = i + 1;
	}
	return stretch;
}

/* How many from here on follow each other in the pack. */
static uint32_t
take_neighbours(struct fb_chunk_reader *opener,
    const struct fb_volume_chunk *chunks, const bool *wanted, size_t count,
    size_t *ret_length)
{
	uint64_t end = chunks[0].stored.offset;
	uint32_t taken = 0;

	*ret_length = 0;
	while (taken < count && taken < OPEN_CHUNKS_MAX &&
	    is_wanted(wanted, taken) &&
	    chunks[taken].number == chunks[0].number + taken &&
	    chunks[taken].stored.offset == end &&
	    *ret_length + chunks[taken].stored.length <= FB_CHUNK_MAX) {
		opener->chunks[taken] = chunks[taken].stored;
		end += chunks[taken].stored.stored_length;
		*ret_length += chunks[taken++].stored.length;
	}
	return taken;
}

/* Fetch a stretch and open what is wanted of it. */
static int
read_stretch(struct fb_chunk_reader *opener, struct fb_volume_reader *reader,
    const struct fb_volume_chunk *chunks, const bool *wanted,
    const struct stretch *stretch, uint8_t *content, struct fb_error *err)
{
	const struct fb_pack_secret *use;
	struct fb_pack_secret secret;
	char key[FB_OBJECT_KEY_SIZE];
	int rc = fb_volume_secret(reader, chunks->pack, &secret, &use, err);

	if (rc < 0)
		return rc;
	fb_pack_key(&reader->packs[chunks->pack].id, key);
	rc = fb_store_get_range(reader->repo->store, key, stretch->from,
	    opener->stored, (size_t)stretch->len, err);
	for (size_t i = 0; rc == FB_OK && i < stretch->end;) {
		const struct fb_volume_chunk *chunk = &chunks[i];
		size_t length;
		uint32_t taken = take_neighbours(opener, chunk,
		    wanted != NULL ? wanted + i : NULL, stretch->end - i,
		    &length);

		if (taken == 0) {
			content += chunk->stored.length;
			i++;
			continue;
		}
		rc = fb_chunks_open(opener->dctx, use, opener->chunks, taken,
		    opener->stored + (chunk->stored.offset - stretch->from),
		    content, key, chunk->number, err);
		content += length;
		i += taken;
	}
	return rc;
}

int
fb_chunk_reader_read(struct fb_chunk_reader *opener,
    struct fb_volume_reader *reader, const struct fb_volume_chunk *chunks,
    const bool *wanted, size_t count, uint8_t *content, struct fb_error *err)
{
	uint64_t gap_max = fb_store_is_far(reader->repo->store) ? GAP_MAX : 0;

	for (size_t i = 0; i < count;) {
		struct stretch stretch = { 1, 0, 0 };
		int rc = FB_OK;

		if (is_wanted(wanted, i)) {
			const bool *from = wanted != NULL ? wanted + i : NULL;

			stretch =
			    find_stretch(chunks + i, from, count - i, gap_max);
			rc = read_stretch(opener, reader, chunks + i, from,
			    &stretch, content, err);
		}
		if (rc < 0)
			return rc;
		for (; stretch.end > 0; stretch.end--)
			content += chunks[i++].stored.length;
	}
	return FB_OK;
}
