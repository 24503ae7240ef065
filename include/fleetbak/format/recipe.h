/*
 * A recipe: what makes one body of bytes.  Text, read and written as a
 * stream, because a large volume's is large.
 *
 *	fleetbak-recipe 1
 *	session <session id>
 *	kind <disk|tree|definition|catalogue|memory|opaque>
 *	size <bytes>
 *	root <tree digest, 64 hex>
 *	packs <count>
 *	<pack id> <table offset> <table length> <SHA-256 of the table>
 *	...
 *	runs <count>
 *	<offset> <length> <pack> <pack offset> <pack length> <first> <count>
 *	...
 *	end
 *
 * A run is `count` chunks that follow each other in pack number `pack` (from
 * 0), the first being number `first` of its table; it makes `length` bytes at
 * `offset` out of `pack length` stored bytes at `pack offset`.  Runs ascend
 * and do not overlap; what they leave out is zeros.  A recipe's name is the
 * SHA-256 of its bytes.
 * Spec: fleetbak-format(5), "Recipes".
 */
#ifndef FB_FORMAT_RECIPE_H
#define FB_FORMAT_RECIPE_H

#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

struct fb_error;

#define FB_RECIPE_LINE_MAX  256
#define FB_RECIPE_PACKS_MAX (1u << 24)

struct fb_recipe_head {
	char session[FB_RUN_ID_SIZE];
	char kind[16];
	uint64_t size;
	struct fb_digest root;
	uint32_t pack_count;
};

struct fb_recipe_pack {
	struct fb_digest id;
	uint32_t table_offset; /* of the skippable frame */
	uint32_t table_length; /* of the table text */
	struct fb_digest table_digest;
};

struct fb_recipe_run {
	uint64_t offset, length;
	uint32_t pack;
	uint32_t pack_offset, pack_length;
	uint32_t first, count;
};

/* Encoders append; the caller writes them in the order above. */
void fb_recipe_add_head(struct fb_buf *dst, const struct fb_recipe_head *head);
void fb_recipe_add_pack(struct fb_buf *dst, const struct fb_recipe_pack *pack);
void fb_recipe_add_runs(struct fb_buf *dst, uint64_t run_count);
void fb_recipe_add_run(struct fb_buf *dst, const struct fb_recipe_run *run);
void fb_recipe_add_end(struct fb_buf *dst);

/*
 * A strict decoder fed line by line (each without its newline); it checks
 * order, counts, limits and canonical spelling.  `step` says what the line
 * was.  Errors: FB_ECORRUPT with the line's number.
 */
enum fb_recipe_step { FB_RECIPE_HEAD, FB_RECIPE_PACK, FB_RECIPE_RUN,
	FB_RECIPE_OTHER, FB_RECIPE_END };
struct fb_recipe_decoder {
	uint64_t line, packs_left, runs_left, next_offset;
	int state;
	struct fb_recipe_head head;
	struct fb_recipe_pack pack; /* after FB_RECIPE_PACK */
	struct fb_recipe_run run;   /* after FB_RECIPE_RUN */
};
FB_MUST_USE int fb_recipe_decode_line(struct fb_recipe_decoder *decoder,
    struct fb_span line, enum fb_recipe_step *ret_step, struct fb_error *err);

#endif
