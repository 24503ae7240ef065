/* Inside the volume reader. */
#ifndef REPO_VOLUME_IMPL_H
#define REPO_VOLUME_IMPL_H

#include <zstd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/repo/vault.h"
#include "fleetbak/repo/volume.h"

#include "tables.h"

struct stream;

/* A place among the runs to begin from: after a run, before the next. */
#define MARK_EVERY 256
struct mark {
	struct fb_recipe_decoder decoder;
	uint64_t offset; /* of the next line */
};

struct fb_volume_reader {
	struct fb_repo *repo;
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size; /* of the recipe */
	struct fb_buf bytes; /* the recipe, or when it is large ... */
	int fd;              /* ... an unlinked file; else -1 */
	struct fb_recipe_head head;
	struct fb_recipe_pack *packs;
	uint32_t pack_count;
	uint64_t data_size; /* of all runs */
	struct fb_recipe_decoder at_runs; /* as it was before the first run */
	uint64_t runs_offset;
	struct mark *marks; /* one for every MARK_EVERY runs */
	size_t mark_count;
	struct stream *pull;
	uint64_t pull_offset, pull_end, pull_zeros;
};

/* Lines of the recipe, from an offset on. */
#define LINES_WINDOW 65536
struct recipe_lines {
	struct fb_volume_reader *reader;
	uint64_t offset; /* of the byte after the window */
	size_t at, len;
	uint8_t window[LINES_WINDOW];
};
int fb_recipe_lines_next(
    struct recipe_lines *lines, struct fb_span *ret_line, struct fb_error *err);

/* What lies at a place of the volume: a chunk of a pack, or zeros. */
struct piece {
	uint64_t offset, length;
	const struct fb_pack_chunk *chunk; /* NULL: zeros */
	uint32_t pack, number;             /* the chunk's, in the pack */
};

/* Goes over the pieces from `offset` to `end`, in order. */
struct cursor {
	struct fb_volume_reader *reader;
	struct recipe_lines *lines;
	struct fb_recipe_decoder decoder;
	struct fb_table *table; /* of the run */
	struct fb_recipe_run run;
	bool have_run;
	uint32_t index;       /* of the run's chunks, the next one */
	uint64_t offset, end; /* where the next piece begins */
	uint64_t from;
	int rc; /* a failure stays */
	struct fb_error err;
};
void fb_cursor_open(struct cursor *cursor, struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end);
void fb_cursor_close(struct cursor *cursor);
/* The next piece; its `length` is 0 at the end.  Stays until taken. */
FB_MUST_USE int fb_cursor_peek(
    struct cursor *cursor, struct piece *ret_piece, struct fb_error *err);
void fb_cursor_take(struct cursor *cursor, const struct piece *piece);

/*
 * Check, open, check again: `frames` has the stored bytes of `count` chunks
 * that follow each other, the first being number `first`; `content` has room
 * for theirs.  With a `secret` the frames are decrypted where they lie.
 *
 * Every content is checked by its id.  A frame that has to be decompressed is
 * checked before that; one that holds its content as it is is not, unless all
 * that is stored is to be verified.
 * Errors: FB_ECORRUPT (E-CHUNK) naming `key`.
 */
#define OPEN_CHUNKS_MAX 256
FB_MUST_USE int fb_chunks_open(ZSTD_DCtx *dctx,
    const struct fb_pack_secret *secret, const struct fb_pack_chunk *chunks,
    uint32_t count, uint8_t *frames, uint8_t *content, const char *key,
    uint32_t first, struct fb_error *err);
FB_MUST_USE int fb_chunks_verify(ZSTD_DCtx *dctx,
    const struct fb_pack_secret *secret, const struct fb_pack_chunk *chunks,
    uint32_t count, uint8_t *frames, uint8_t *content, const char *key,
    uint32_t first, struct fb_error *err);

/*
 * What opens the pack number `pack` of the recipe: *ret_use is `secret`, or
 * NULL when nothing is encrypted.  Errors: those of fb_vault_secret().
 */
FB_MUST_USE int fb_volume_secret(struct fb_volume_reader *reader, uint32_t pack,
    struct fb_pack_secret *secret, const struct fb_pack_secret **ret_use,
    struct fb_error *err);

/* The bytes themselves, fetched ahead by threads: volume_stream.c. */
struct stream *fb_stream_open(struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end, unsigned workers);
void fb_stream_close(struct stream *stream);
/* Borrowed until the next call; `length` 0: the end; `bytes` NULL: zeros. */
struct extent {
	uint64_t offset, length;
	const uint8_t *bytes;
};
FB_MUST_USE int fb_stream_next(
    struct stream *stream, struct extent *ret_extent, struct fb_error *err);

#endif
