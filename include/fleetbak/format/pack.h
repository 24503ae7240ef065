/*
 * The table at the end of a pack, and the digest that binds it.
 *
 *	pack       frame*  skippable-frame
 *	frame      one zstd frame per chunk, content size in its header
 *	skippable  0x184D2A5E (LE32), length of the table (LE32), the table:
 *
 *	fleetbak-pack 1
 *	session <session id>
 *	domain <tag, 32 hex>          of encrypted packs only
 *	key <id, 32 hex>              of encrypted packs only
 *	chunks <count>
 *	<stored length> <length> <chunk id, 64 hex> <stored digest, 32 hex>
 *	...
 *	table <offset of the skippable frame, 20 digits>
 *
 * A chunk's offset is the sum of the stored lengths before it.  The chunk id
 * is SHA-256 of the content (keyed, in encrypted packs); the stored digest is
 * the first 16 bytes of SHA-256 over the stored bytes.  The last line is
 *FB_PACK_TAIL_LEN bytes, so that the table can be found from the end. Spec:
 *fleetbak-format(5), "Packs".
 */
#ifndef FB_FORMAT_PACK_H
#define FB_FORMAT_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

struct fb_error;

#define FB_PACK_MAGIC        0x184D2A5Eu
#define FB_PACK_TAIL_LEN     27
#define FB_PACK_SKIP_LEN     8 /* magic and length before the table */
#define FB_STORED_DIGEST_LEN 16
#define FB_KEY_TAG_LEN       16 /* what stands for a key, and binds it */

/* Limits that a reader enforces. */
#define FB_CHUNK_MAX       (1u << 20)           /* content bytes */
#define FB_STORED_MAX      (FB_CHUNK_MAX + 8192) /* bytes of a frame */
#define FB_PACK_SIZE_MAX   (UINT64_C(256) << 20)
#define FB_PACK_CHUNKS_MAX 262144
#define FB_PACK_TABLE_MAX  (32u << 20)

struct fb_pack_chunk {
	struct fb_digest id;
	uint8_t stored_digest[FB_STORED_DIGEST_LEN];
	uint32_t offset; /* in the pack */
	uint32_t stored_length;
	uint32_t length;
};

struct fb_pack_table {
	char session[FB_RUN_ID_SIZE];
	bool encrypted;
	uint8_t domain[FB_KEY_TAG_LEN]; /* of encrypted packs: whose ids */
	uint8_t key[FB_KEY_TAG_LEN];    /* ... and which key opens it */
	uint64_t offset; /* of the skippable frame: sum of stored lengths */
	struct fb_pack_chunk *chunks;
	size_t count;
};

/* Append the table text (without the skippable frame's 8 bytes). */
void fb_pack_table_encode(
    const struct fb_pack_table *table, struct fb_buf *dst);

/* Owner: *ret_table is the caller's to release.  Errors: FB_ECORRUPT. */
FB_MUST_USE int fb_pack_table_decode(struct fb_span text,
    struct fb_pack_table *ret_table, struct fb_error *err);
void fb_pack_table_release(struct fb_pack_table *table);

/* Offset of the skippable frame from the last FB_PACK_TAIL_LEN bytes. */
FB_MUST_USE int fb_pack_tail_decode(
    struct fb_span tail, uint64_t *ret_offset, struct fb_error *err);

/* "packs/ab/ab....pack", "recipes/ab/ab...". */
#define FB_OBJECT_KEY_SIZE 96
void fb_pack_key(const struct fb_digest *id, char key[FB_OBJECT_KEY_SIZE]);
void fb_recipe_key(const struct fb_digest *id, char key[FB_OBJECT_KEY_SIZE]);

#endif
