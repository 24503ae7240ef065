/* Small, large, and just beside where a store may do it in pieces. */
#include "store_suite.h"

#include <stdlib.h>

#include "fleetbak/base/io.h"

#define MIB ((size_t)1 << 20)

static struct fb_error err;

/* Its bytes, its size, and its edges one by one. */
static void
assert_whole(struct fb_store *store, const char *key, struct fb_span bytes)
{
	FB_AUTO_BUF struct fb_buf back = { 0 };
	uint64_t size = 0;
	uint8_t byte = 0;

	assert_ok(fb_store_head(store, key, &size, &err));
	assert_int_equal(size, bytes.len);
	assert_ok(fb_store_get(store, key, bytes.len, &back, NULL, &err));
	assert_int_equal(back.len, bytes.len);
	if (bytes.len == 0)
		return;
	assert_int_equal(memcmp(back.data, bytes.ptr, bytes.len), 0);
	assert_ok(
	    fb_store_get_range(store, key, bytes.len - 1, &byte, 1, &err));
	assert_int_equal(byte, bytes.ptr[bytes.len - 1]);
	assert_fails(FB_ECORRUPT,
	    fb_store_get_range(store, key, bytes.len, &byte, 1, &err));
	back.len = 0;
	assert_fails(FB_ECORRUPT,
	    fb_store_get(store, key, bytes.len - 1, &back, NULL, &err));
}

static void
an_object_has_any_size(void **state)
{
	static const size_t sizes[] = { 0, 1, 2, 4095, 4096, 65535, 65536,
		65537, MIB - 1, MIB, MIB + 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1,
		8 * MIB, 8 * MIB + 1 };
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(8 * MIB + 1, 1);

	suite_fill(bytes, 8 * MIB + 1, 1);
	for (size_t i = 0; i < FB_COUNT(sizes); i++) {
		struct fb_span part = { bytes, sizes[i] };
		FB_AUTO_FREE char *path = suite_file(state, "spool", part);
		FB_AUTO_FREE char *key = fb_format("size/%zu", sizes[i]);
		FB_AUTO_FREE char *file_key = fb_format("file/%zu", sizes[i]);

		assert_ok(fb_store_create(store, key, part, &err));
		assert_whole(store, key, part);
		assert_ok(fb_store_create_file(
		    store, file_key, path, sizes[i], &err));
		assert_ok(fb_io_unlink(path, &err));
		assert_whole(store, file_key, part);
		assert_fails(
		    FB_EEXISTS, fb_store_create(store, key, part, &err));
	}
}

/* FB_STORE_LARGE, in MiB, makes it as large as a pack can become. */
static void
a_large_file_becomes_an_object(void **state)
{
	const char *given = getenv("FB_STORE_LARGE");
	size_t len = (given != NULL ? strtoul(given, NULL, 10) : 20) * MIB + 13;
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(len, 1);
	FB_AUTO_FREE uint8_t *range = fb_alloc(MIB, 1);
	FB_AUTO_FREE char *path = NULL;
	struct fb_span all = { bytes, len };

	suite_fill(bytes, len, 2);
	path = suite_file(state, "spool", all);
	assert_ok(fb_store_create_file(store, "packs/00/p", path, len, &err));
	assert_whole(store, "packs/00/p", all);
	for (size_t at = 0; at + MIB <= len; at += 9 * MIB - 77) {
		assert_ok(fb_store_get_range(
		    store, "packs/00/p", at, range, MIB, &err));
		assert_int_equal(memcmp(range, bytes + at, MIB), 0);
	}
	assert_fails(FB_ECORRUPT,
	    fb_store_get_range(
	        store, "packs/00/p", len - MIB + 1, range, MIB, &err));
	assert_fails(FB_EEXISTS,
	    fb_store_create_file(store, "packs/00/p", path, len, &err));
	assert_ok(fb_io_unlink(path, &err));
	assert_ok(fb_store_remove(store, "packs/00/p", &err));
	suite_assert_list(store, "", "");
}

static int
take_piece(void *arg, struct fb_span piece, struct fb_error *error)
{
	struct fb_buf *back = arg;

	if (back == NULL)
		return fb_fail(error, FB_ENOSPACE, "there is no more room");
	fb_buf_add(back, piece.ptr, piece.len);
	return FB_OK;
}

static void
much_of_an_object_comes_in_pieces(void **state)
{
	static const struct {
		size_t from, len;
	} parts[] = { { 0, 3 * MIB + 7 }, { 0, 1 }, { 5, 2 * MIB },
		{ 3 * MIB + 6, 1 }, { 7, 0 } };
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(3 * MIB + 7, 1);
	FB_AUTO_BUF struct fb_buf back = { 0 };

	suite_fill(bytes, 3 * MIB + 7, 3);
	assert_ok(fb_store_create(
	    store, "r", (struct fb_span){ bytes, 3 * MIB + 7 }, &err));
	for (size_t i = 0; i < FB_COUNT(parts); i++) {
		fb_buf_clear(&back);
		assert_ok(fb_store_read(store, "r", parts[i].from,
		    parts[i].len, take_piece, &back, &err));
		assert_int_equal(back.len, parts[i].len);
		assert_int_equal(
		    memcmp(fb_buf_str(&back), bytes + parts[i].from, back.len),
		    0);
	}
	assert_fails(FB_ECORRUPT,
	    fb_store_read(
	        store, "r", MIB, 2 * MIB + 8, take_piece, &back, &err));
	assert_fails(FB_ECORRUPT,
	    fb_store_read(store, "r", 4 * MIB, 1, take_piece, &back, &err));
	assert_fails(FB_ENOTFOUND,
	    fb_store_read(store, "s", 0, 1, take_piece, &back, &err));
	/* Who takes no more says why. */
	assert_fails(FB_ENOSPACE,
	    fb_store_read(store, "r", 0, 2 * MIB, take_piece, NULL, &err));
	assert_string_equal(err.msg, "there is no more room");
}

const struct promise store_size_promises[] = {
	PROMISE(an_object_has_any_size),
	PROMISE(a_large_file_becomes_an_object),
	PROMISE(much_of_an_object_comes_in_pieces),
	{ 0 },
};
