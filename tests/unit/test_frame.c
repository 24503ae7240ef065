/* Chunks whose frames hold them as they are. */
#include <stdlib.h>
#include <zstd.h>

#include "test.h"

#include "../../src/repo/frame.h"
#include "../../src/repo/volume_impl.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"

#define KEY   "packs/aa/some.pack"
#define PLACE 4711u /* of the first frame in its pack */
#define COUNT 3u
#define LEN   70000u

static struct fb_error err;

static void
fill(uint8_t *bytes, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

static size_t
make_frame(const uint8_t *bytes, size_t len, uint8_t **ret_frame)
{
	size_t room = ZSTD_compressBound(len), stored;
	uint8_t *frame = fb_alloc(room, 1);

	stored = ZSTD_compress(frame, room, bytes, len, 3);
	assert_false(ZSTD_isError(stored));
	*ret_frame = fb_realloc(frame, stored, 1);
	return stored;
}

static void
a_frame_of_what_does_not_shrink_is_taken(void **unused)
{
	static const size_t lengths[] = { 1024, 65535, 65536, 131071, 131072,
		131073, 262144, FB_CHUNK_MAX - 1, FB_CHUNK_MAX };
	struct fb_cipher_key key = { "0123456789abcdef" };
	struct fb_cipher_stream *cipher = fb_cipher_stream_new(&key);

	(void)unused;
	for (size_t i = 0; i < FB_COUNT(lengths); i++) {
		size_t len = lengths[i], stored;
		FB_AUTO_FREE uint8_t *bytes = fb_alloc(len, 1);
		FB_AUTO_FREE uint8_t *content = fb_alloc(len, 1);
		FB_AUTO_FREE uint8_t *frame = NULL;

		fill(bytes, len, 7 + i);
		stored = make_frame(bytes, len, &frame);
		assert_true(fb_frame_may_be_plain(stored, len));
		assert_true(
		    fb_frame_take_plain(NULL, frame, stored, content, len));
		assert_memory_equal(content, bytes, len);
		memset(content, 0, len);
		fb_cipher_apply(&key, PLACE + i, frame, stored);
		fb_cipher_stream_seek(cipher, PLACE + i);
		assert_true(
		    fb_frame_take_plain(cipher, frame, stored, content, len));
		assert_memory_equal(content, bytes, len);
	}
	fb_cipher_stream_free(cipher);
}

static void
any_other_is_left(void **unused)
{
	size_t len = 5000, stored;
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(len, 1);
	FB_AUTO_FREE uint8_t *content = fb_alloc(len + 1, 1);
	FB_AUTO_FREE uint8_t *frame = NULL, *longer = NULL;

	(void)unused;
	stored = make_frame(bytes, len, &frame); /* zeros */
	assert_false(fb_frame_may_be_plain(stored, len));
	assert_false(fb_frame_take_plain(NULL, frame, stored, content, len));
	free(frame);
	fill(bytes, len, 1);
	stored = make_frame(bytes, len, &frame);
	assert_false(
	    fb_frame_take_plain(NULL, frame, stored, content, len - 1));
	assert_false(
	    fb_frame_take_plain(NULL, frame, stored, content, len + 1));
	longer = fb_alloc(stored + 1, 1);
	memcpy(longer, frame, stored);
	assert_false(
	    fb_frame_take_plain(NULL, longer, stored + 1, content, len));
	for (size_t cut = 0; cut < stored; cut++) {
		FB_AUTO_FREE uint8_t *part = fb_alloc(cut + 1, 1);

		memcpy(part + 1, frame, cut);
		assert_false(
		    fb_frame_take_plain(NULL, part + 1, cut, content, len));
	}
}

/* Chunks of a pack, the one in the middle is smaller there. */
struct chunks {
	struct fb_pack_secret secret;
	const struct fb_pack_secret *use;
	struct fb_pack_chunk chunks[COUNT];
	uint8_t bytes[COUNT * LEN], content[COUNT * LEN];
	uint8_t *stored, *copy;
	size_t stored_len;
	ZSTD_DCtx *dctx;
};

static void
add_chunk(struct chunks *c, uint32_t number)
{
	struct fb_pack_chunk *chunk = &c->chunks[number];
	uint8_t *bytes = c->bytes + number * LEN;
	FB_AUTO_FREE uint8_t *frame = NULL;
	struct fb_digest_job job;
	struct fb_digest digest;

	fill(bytes, LEN, number);
	if (number == 1)
		memset(bytes, 'x', LEN / 2);
	chunk->offset = PLACE + (uint32_t)c->stored_len;
	chunk->length = LEN;
	chunk->stored_length = (uint32_t)make_frame(bytes, LEN, &frame);
	job.bytes = (struct fb_span){ bytes, LEN };
	fb_cipher_ids(c->use != NULL ? &c->secret.domain : NULL, &job, 1);
	chunk->id = job.digest;
	if (c->use != NULL)
		fb_cipher_apply(&c->secret.key, chunk->offset, frame,
		    chunk->stored_length);
	fb_digest_pieces(
	    (struct fb_span){ frame, chunk->stored_length }, &digest);
	memcpy(chunk->stored_digest, digest.bytes, FB_STORED_DIGEST_LEN);
	memcpy(c->stored + c->stored_len, frame, chunk->stored_length);
	c->stored_len += chunk->stored_length;
}

static struct chunks *
make_chunks(bool encrypted)
{
	struct chunks *c = fb_alloc(1, sizeof(*c));

	fill((uint8_t *)&c->secret, sizeof(c->secret), 99);
	c->use = encrypted ? &c->secret : NULL;
	c->stored = fb_alloc(COUNT * (LEN + 64), 1);
	for (uint32_t i = 0; i < COUNT; i++)
		add_chunk(c, i);
	c->copy = fb_alloc(c->stored_len, 1);
	c->dctx = ZSTD_createDCtx();
	return c;
}

static void
free_chunks(struct chunks *c)
{
	ZSTD_freeDCtx(c->dctx);
	free(c->stored);
	free(c->copy);
	free(c);
}

typedef int open_chunks(ZSTD_DCtx *dctx, const struct fb_pack_secret *secret,
    const struct fb_pack_chunk *chunks, uint32_t count, uint8_t *frames,
    uint8_t *content, const char *key, uint32_t first, struct fb_error *err);

static int
open_all(struct chunks *c, open_chunks *open)
{
	memcpy(c->copy, c->stored, c->stored_len);
	memset(c->content, 0, sizeof(c->content));
	return open(c->dctx, c->use, c->chunks, COUNT, c->copy, c->content,
	    KEY, 40, &err);
}

static void
chunks_of_both_kinds_are_opened(void **unused)
{
	(void)unused;
	for (int encrypted = 0; encrypted < 2; encrypted++) {
		struct chunks *c = make_chunks(encrypted);

		assert_true(c->chunks[0].stored_length > LEN);
		assert_true(c->chunks[1].stored_length < LEN);
		assert_ok(open_all(c, fb_chunks_open));
		assert_memory_equal(c->content, c->bytes, COUNT * LEN);
		assert_ok(open_all(c, fb_chunks_verify));
		assert_memory_equal(c->content, c->bytes, COUNT * LEN);
		free_chunks(c);
	}
}

/* Whatever is flipped: what is given out is what was stored, or nothing is. */
static void
flip_at(struct chunks *c, size_t at)
{
	int rc;

	c->stored[at] ^= 4;
	assert_fails(FB_ECORRUPT, open_all(c, fb_chunks_verify));
	assert_non_null(strstr(err.msg, "they do not have their digest"));
	rc = open_all(c, fb_chunks_open);
	if (rc == FB_OK) {
		assert_memory_equal(c->content, c->bytes, COUNT * LEN);
	} else {
		assert_fails(FB_ECORRUPT, rc);
		assert_string_equal(err.id, "E-CHUNK");
		assert_non_null(
		    strstr(err.msg, "they do not have their digest"));
		assert_non_null(strstr(err.msg, KEY));
	}
	c->stored[at] ^= 4;
}

static void
no_flipped_bit_comes_through(void **unused)
{
	(void)unused;
	for (int encrypted = 0; encrypted < 2; encrypted++) {
		struct chunks *c = make_chunks(encrypted);
		size_t at = 0;

		for (uint32_t i = 0; i < COUNT; i++) {
			size_t stored = c->chunks[i].stored_length;

			for (size_t k = 0; k < stored; k += k < 20 ? 1 : 6997)
				flip_at(c, at + k);
			flip_at(c, at + stored - 1);
			at += stored;
		}
		free_chunks(c);
	}
}

/* The table is as hostile as what it tells of. */
static void
a_content_that_is_not_its_id_is_told(void **unused)
{
	(void)unused;
	for (uint32_t i = 0; i < COUNT; i++) {
		struct chunks *c = make_chunks(true);

		c->chunks[i].id.bytes[3] ^= 1;
		assert_fails(FB_ECORRUPT, open_all(c, fb_chunks_open));
		assert_non_null(
		    strstr(err.msg, "its content is not its id"));
		assert_non_null(strstr(err.msg,
		    (const char *[]){ "chunk 40:", "chunk 41:",
		        "chunk 42:" }[i]));
		assert_fails(FB_ECORRUPT, open_all(c, fb_chunks_verify));
		free_chunks(c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_of_what_does_not_shrink_is_taken),
		cmocka_unit_test(any_other_is_left),
		cmocka_unit_test(chunks_of_both_kinds_are_opened),
		cmocka_unit_test(no_flipped_bit_comes_through),
		cmocka_unit_test(a_content_that_is_not_its_id_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
