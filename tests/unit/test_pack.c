#include <stdio.h>

#include "test.h"

#include "faults.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"

#define SESSION "20261121-013205123-3fa92c17"

static struct fb_error err;

static void
make_table(struct fb_pack_table *table, size_t count)
{
	*table = (struct fb_pack_table){ .session = SESSION };
	table->chunks = fb_alloc(count + 1, sizeof(*table->chunks));
	for (size_t i = 0; i < count; i++) {
		struct fb_pack_chunk *chunk = &table->chunks[table->count++];

		memset(chunk->id.bytes, (int)i, FB_DIGEST_LEN);
		memset(chunk->stored_digest, (int)(i * 3),
		    FB_STORED_DIGEST_LEN);
		chunk->length = (uint32_t)(65536 - i);
		chunk->stored_length = (uint32_t)(1000 + i);
		chunk->offset = (uint32_t)table->offset;
		table->offset += chunk->stored_length;
	}
}

static void
a_table_comes_back_as_it_was(void **unused)
{
	struct fb_pack_table table, again;
	FB_AUTO_BUF struct fb_buf text = { 0 }, second = { 0 };
	struct fb_span tail;
	uint64_t offset;

	(void)unused;
	for (size_t count = 0; count < 40; count += 13) {
		fb_buf_clear(&text);
		fb_buf_clear(&second);
		make_table(&table, count);
		fb_pack_table_encode(&table, &text);
		assert_ok(fb_pack_table_decode(
		    fb_buf_span(&text), &again, &err));
		assert_int_equal(again.count, count);
		assert_int_equal(again.offset, table.offset);
		assert_string_equal(again.session, SESSION);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(
			    again.chunks[i].offset, table.chunks[i].offset);
		fb_pack_table_encode(&again, &second);
		assert_int_equal(second.len, text.len);
		assert_memory_equal(second.data, text.data, text.len);
		tail = (struct fb_span){ text.data + text.len -
			    FB_PACK_TAIL_LEN,
			FB_PACK_TAIL_LEN };
		assert_ok(fb_pack_tail_decode(tail, &offset, &err));
		assert_int_equal(offset, table.offset);
		fb_pack_table_release(&table);
		fb_pack_table_release(&again);
	}
}

static void
a_shortened_or_lengthened_table_is_refused(void **unused)
{
	struct fb_pack_table table, again;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)unused;
	make_table(&table, 3);
	fb_pack_table_encode(&table, &text);
	fb_pack_table_release(&table);
	for (size_t len = 0; len < text.len; len++)
		assert_fails(FB_ECORRUPT,
		    fb_pack_table_decode(
		        (struct fb_span){ text.data, len }, &again, &err));
	fb_buf_add(&text, "\n", 1);
	assert_fails(FB_ECORRUPT,
	    fb_pack_table_decode(fb_buf_span(&text), &again, &err));
}

static void
what_a_flipped_bit_leaves_has_one_spelling(void **unused)
{
	struct fb_pack_table table, again;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)unused;
	make_table(&table, 3);
	fb_pack_table_encode(&table, &text);
	fb_pack_table_release(&table);
	for (size_t bit = 0; bit < text.len * 8; bit++) {
		FB_AUTO_BUF struct fb_buf second = { 0 };

		text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (fb_pack_table_decode(
		        fb_buf_span(&text), &again, &err) == FB_OK) {
			fb_pack_table_encode(&again, &second);
			assert_int_equal(second.len, text.len);
			assert_memory_equal(second.data, text.data, text.len);
			fb_pack_table_release(&again);
		}
		text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void
huge_numbers_in_a_table_are_refused(void **unused)
{
	static const char *const heads[] = { "chunks 262144", "chunks 262145",
		"chunks 18446744073709551616", "chunks -1", "chunks 01",
		"chunks  1", "chunks" };
	struct fb_pack_table again;

	(void)unused;
	for (size_t i = 0; i < FB_COUNT(heads); i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };

		fb_buf_add_fmt(&text,
		    "fleetbak-pack 1\nsession " SESSION "\n%s\n"
		    "table 00000000000000000000\n",
		    heads[i]);
		assert_fails(FB_ECORRUPT,
		    fb_pack_table_decode(fb_buf_span(&text), &again, &err));
	}
	for (int i = 0; i < 2; i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };

		fb_buf_add_str(
		    &text, "fleetbak-pack 1\nsession " SESSION "\nchunks 1\n");
		fb_buf_add_str(&text, i ? "0 5 " : "4294967295 5 ");
		for (int n = 0; n < 64; n++)
			fb_buf_add_str(&text, "a");
		fb_buf_add_str(&text, " 00112233445566778899aabbccddeeff\n");
		fb_buf_add_str(&text, "table 00000000004294967295\n");
		assert_fails(FB_ECORRUPT,
		    fb_pack_table_decode(fb_buf_span(&text), &again, &err));
	}
}

static void
a_table_that_memory_cannot_hold_is_an_error(void **unused)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE uint8_t *much = fb_alloc(FB_PACK_TABLE_MAX + 1, 1);
	struct fb_pack_table table, again;
	int rc;

	(void)unused;
	assert_fails(FB_ECORRUPT,
	    fb_pack_table_decode(
	        (struct fb_span){ much, FB_PACK_TABLE_MAX + 1 }, &again,
	        &err));
	assert_non_null(strstr(err.msg, "larger than the format allows"));
	make_table(&table, 3);
	fb_pack_table_encode(&table, &text);
	fb_pack_table_release(&table);
	assert_true(faults_arm(faults_begin(), "ENOMEM"));
	rc = fb_pack_table_decode(fb_buf_span(&text), &again, &err);
	faults_disarm();
	assert_true(rc < 0 && rc != FB_ECORRUPT);
	assert_non_null(strstr(err.msg, "pack table"));
}

static void
keys_show_the_digest(void **unused)
{
	struct fb_digest id;
	char key[FB_OBJECT_KEY_SIZE];

	(void)unused;
	memset(id.bytes, 0xab, sizeof(id.bytes));
	fb_pack_key(&id, key);
	assert_string_equal(key,
	    "packs/ab/abababababababababababababababab"
	    "abababababababababababababababab.pack");
	fb_recipe_key(&id, key);
	assert_string_equal(key,
	    "recipes/ab/abababababababababababababababab"
	    "abababababababababababababababab");
}

/* Recipes. */

static void
make_recipe(struct fb_buf *text)
{
	struct fb_recipe_head head = { .session = SESSION,
		.kind = "disk",
		.size = 1000000,
		.pack_count = 2 };
	struct fb_recipe_pack pack = { .table_offset = 5000,
		.table_length = 400 };
	struct fb_recipe_run runs[] = {
		{ 0, 200000, 0, 0, 5000, 0, 4 },
		{ 300000, 100, 1, 70, 90, 2, 1 },
		{ 300100, 699900, 0, 10, 4000, 1, 3 },
	};

	fb_recipe_add_head(text, &head);
	fb_recipe_add_pack(text, &pack);
	pack.id.bytes[0] = 1;
	fb_recipe_add_pack(text, &pack);
	fb_recipe_add_runs(text, FB_COUNT(runs));
	for (size_t i = 0; i < FB_COUNT(runs); i++)
		fb_recipe_add_run(text, &runs[i]);
	fb_recipe_add_end(text);
}

/* Decode all the lines; writes what it understood into `again`. */
static int
decode_recipe(struct fb_span text, struct fb_buf *again)
{
	struct fb_recipe_decoder decoder = { 0 };
	enum fb_recipe_step step = FB_RECIPE_OTHER;
	bool runs_written = false;

	while (text.len > 0) {
		const uint8_t *end = memchr(text.ptr, '\n', text.len);
		size_t len = end ? (size_t)(end - text.ptr) : text.len;
		int rc = fb_recipe_decode_line(&decoder,
		    (struct fb_span){ text.ptr, len }, &step, &err);

		if (rc < 0)
			return rc;
		text.ptr += end ? len + 1 : len;
		text.len -= end ? len + 1 : len;
		if (step == FB_RECIPE_HEAD)
			fb_recipe_add_head(again, &decoder.head);
		if (step == FB_RECIPE_PACK)
			fb_recipe_add_pack(again, &decoder.pack);
		if (step == FB_RECIPE_OTHER &&
		    again->len > 0 && !runs_written) {
			fb_recipe_add_runs(again, decoder.runs_left);
			runs_written = true;
		}
		if (step == FB_RECIPE_RUN)
			fb_recipe_add_run(again, &decoder.run);
		if (step == FB_RECIPE_END)
			fb_recipe_add_end(again);
	}
	return step == FB_RECIPE_END ? FB_OK : FB_ECORRUPT;
}

static void
a_recipe_comes_back_as_it_was(void **unused)
{
	FB_AUTO_BUF struct fb_buf text = { 0 }, again = { 0 };

	(void)unused;
	make_recipe(&text);
	assert_ok(decode_recipe(fb_buf_span(&text), &again));
	assert_int_equal(again.len, text.len);
	assert_memory_equal(again.data, text.data, text.len);
}

static void
a_damaged_recipe_is_refused_or_has_one_spelling(void **unused)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)unused;
	make_recipe(&text);
	for (size_t len = 0; len + 1 < text.len; len++) {
		FB_AUTO_BUF struct fb_buf again = { 0 };

		assert_fails(FB_ECORRUPT,
		    decode_recipe(
		        (struct fb_span){ text.data, len }, &again));
	}
	for (size_t bit = 0; bit < text.len * 8; bit++) {
		FB_AUTO_BUF struct fb_buf again = { 0 };

		text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (decode_recipe(fb_buf_span(&text), &again) == FB_OK &&
		    bit / 8 < text.len - 1) {
			assert_int_equal(again.len, text.len);
			assert_memory_equal(again.data, text.data, text.len);
		}
		text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	fb_buf_add_str(&text, "end\n");
	{
		FB_AUTO_BUF struct fb_buf again = { 0 };

		assert_fails(FB_ECORRUPT,
		    decode_recipe(fb_buf_span(&text), &again));
	}
}

static void
runs_stay_in_order_and_inside(void **unused)
{
	static const char *const runs[] = {
		"0 1 0 0 1 0 1",          /* fine */
		"0 1001 0 0 1 0 1001",    /* past the size */
		"9223372036854775807 1 0 0 1 0 1",
		"0 1 1 0 1 0 1",          /* no such pack */
		"0 1 0 0 1 0 0",          /* no chunk */
		"0 1 0 0 1 262144 1",     /* no such chunk */
		"0 1 0 268435457 1 0 1",  /* past any pack */
		"0 2 0 0 1 0 1 ",
		"00 2 0 0 1 0 1",
		"0 1 0 0 1 0",
	};

	(void)unused;
	for (size_t i = 0; i < FB_COUNT(runs); i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 }, again = { 0 };
		struct fb_recipe_head head = { .session = SESSION,
			.kind = "tree",
			.size = 1000,
			.pack_count = 1 };
		struct fb_recipe_pack pack = { .table_length = 1 };

		fb_recipe_add_head(&text, &head);
		fb_recipe_add_pack(&text, &pack);
		fb_recipe_add_runs(&text, 1);
		fb_buf_add_fmt(&text, "%s\nend\n", runs[i]);
		assert_int_equal(decode_recipe(fb_buf_span(&text), &again),
		    i == 0 ? FB_OK : FB_ECORRUPT);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_comes_back_as_it_was),
		cmocka_unit_test(a_shortened_or_lengthened_table_is_refused),
		cmocka_unit_test(what_a_flipped_bit_leaves_has_one_spelling),
		cmocka_unit_test(huge_numbers_in_a_table_are_refused),
		cmocka_unit_test(a_table_that_memory_cannot_hold_is_an_error),
		cmocka_unit_test(keys_show_the_digest),
		cmocka_unit_test(a_recipe_comes_back_as_it_was),
		cmocka_unit_test(
		    a_damaged_recipe_is_refused_or_has_one_spelling),
		cmocka_unit_test(runs_stay_in_order_and_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
