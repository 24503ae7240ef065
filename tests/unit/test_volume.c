#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/copier.h"
#include "fleetbak/repo/volume.h"

#define SESSION "20261121-013205123-3fa92c17"
#define LEN     700000u

static struct fb_error err;

/* A repository with one volume of several small packs. */
struct world {
	struct fb_repo repo;
	uint8_t *bytes;
	struct fb_digest recipe;
	struct fb_id_list packs;
};

static void
make_world(struct world *world)
{
	struct fb_session session = { .id = SESSION };
	char dir[] = "/tmp/fleetbak-volume-XXXXXX";
	struct fb_copier_spec spec = { .repo = &world->repo,
		.session = &session,
		.spool_dir = dir,
		.workers = 1,
		.level = 1,
		.pack_size = 60000 };
	struct fb_copier *copier;
	struct fb_copy *copy;
	struct fb_copy_result result;
	uint64_t offset, seed = 77;

	*world = (struct world){ 0 };
	assert_non_null(mkdtemp(dir));
	assert_ok(fb_store_open("mem:", true, &world->repo.store, &err));
	world->repo.format.chunk_min = 1024;
	world->repo.format.chunk_average = 4096;
	world->repo.format.chunk_max = 16384;
	world->bytes = fb_alloc(LEN, 1);
	for (size_t i = 0; i < LEN; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (i / 131072 != 2)
			world->bytes[i] = (uint8_t)(seed >> (i % 3 ? 60 : 50));
	}
	assert_ok(fb_copier_open(&spec, NULL, &copier, &err));
	assert_ok(fb_copy_begin(
	    copier, "m", "disk", false, false, &copy, &offset, &err));
	assert_ok(fb_copy_data(copy, world->bytes, LEN, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(
	    copier, "m", &world->recipe, &world->packs, &err));
	fb_copier_close(copier);
	assert_ok(fb_io_remove_tree(dir, &err));
	assert_true(world->packs.count >= 3);
}

static void
end_world(struct world *world)
{
	fb_store_close(world->repo.store);
	free(world->bytes);
	free(world->packs.ids);
}

static int
compare(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *error)
{
	const struct world *world = arg;

	(void)error;
	assert_true(length <= LEN && offset <= LEN - length);
	if (bytes != NULL) /* whatever is damaged, nothing wrong comes out */
		assert_memory_equal(
		    bytes, world->bytes + offset, (size_t)length);
	return FB_OK;
}

/* Open, check and read everything. */
static int
read_all(struct world *world)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	int rc, rc_check;

	err = (struct fb_error){ 0 };
	rc = fb_volume_open(&world->repo, &world->recipe, &reader, &err);
	if (rc < 0)
		return rc;
	rc_check = fb_volume_check(reader, &err);
	rc = fb_volume_read(reader, 0, LEN, 2, NULL, compare, world, &err);
	return rc < 0 ? rc : rc_check;
}

static void
get_object(struct world *world, const char *key, struct fb_buf *bytes)
{
	assert_ok(fb_store_get(
	    world->repo.store, key, 1u << 24, bytes, NULL, &err));
}

static void
put_object(struct world *world, const char *key, struct fb_span bytes)
{
	assert_ok(fb_store_remove(world->repo.store, key, &err));
	assert_ok(fb_store_create(world->repo.store, key, bytes, &err));
}

static void
a_flipped_bit_in_a_pack_is_found(void **unused)
{
	struct world world;
	FB_AUTO_BUF struct fb_buf pack = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;

	(void)unused;
	make_world(&world);
	assert_ok(read_all(&world));
	fb_pack_key(&world.packs.ids[1], key);
	get_object(&world, key, &pack);
	for (size_t at = 0; at < pack.len; 
	     at += at + 120 < pack.len ? 797 : 5) {
		pack.data[at] ^= 4;
		put_object(&world, key, fb_buf_span(&pack));
		assert_fails(FB_ECORRUPT, read_all(&world));
		assert_non_null(strstr(err.msg, key));
		assert_fails(FB_ECORRUPT,
		    fb_pack_verify(&world.repo, &world.packs.ids[1], true,
		        &size, &err));
		assert_fails(FB_ECORRUPT,
		    fb_pack_verify(&world.repo, &world.packs.ids[1], false,
		        &size, &err));
		pack.data[at] ^= 4;
	}
	end_world(&world);
}

static void
a_short_missing_or_wrong_pack_is_found(void **unused)
{
	struct world world;
	FB_AUTO_BUF struct fb_buf pack = { 0 }, other = { 0 };
	char key[FB_OBJECT_KEY_SIZE], other_key[FB_OBJECT_KEY_SIZE];
	uint64_t size;

	(void)unused;
	make_world(&world);
	fb_pack_key(&world.packs.ids[0], key);
	fb_pack_key(&world.packs.ids[1], other_key);
	get_object(&world, key, &pack);
	get_object(&world, other_key, &other);
	for (size_t len = 0; len < pack.len; len += pack.len / 41 + 1) {
		put_object(
		    &world, key, (struct fb_span){ pack.data, len });
		assert_fails(FB_ECORRUPT, read_all(&world));
		assert_fails(FB_ECORRUPT,
		    fb_pack_verify(&world.repo, &world.packs.ids[0], true,
		        &size, &err));
	}
	put_object(&world, key, fb_buf_span(&other));
	put_object(&world, other_key, fb_buf_span(&pack));
	assert_fails(FB_ECORRUPT, read_all(&world));
	assert_fails(FB_ECORRUPT,
	    fb_pack_verify(
	        &world.repo, &world.packs.ids[0], true, &size, &err));
	assert_ok(fb_store_remove(world.repo.store, key, &err));
	assert_fails(FB_ENOTFOUND, read_all(&world));
	assert_fails(FB_ENOTFOUND,
	    fb_pack_verify(
	        &world.repo, &world.packs.ids[0], false, &size, &err));
	end_world(&world);
}

static void
a_damaged_recipe_is_found(void **unused)
{
	struct world world;
	FB_AUTO_BUF struct fb_buf recipe = { 0 };
	char key[FB_OBJECT_KEY_SIZE];

	(void)unused;
	make_world(&world);
	fb_recipe_key(&world.recipe, key);
	get_object(&world, key, &recipe);
	for (size_t at = 0; at < recipe.len; at += 11) {
		recipe.data[at] ^= 1;
		put_object(&world, key, fb_buf_span(&recipe));
		assert_fails(FB_ECORRUPT, read_all(&world));
		assert_non_null(strstr(err.msg, key));
		recipe.data[at] ^= 1;
		put_object(
		    &world, key, (struct fb_span){ recipe.data, at });
		assert_fails(FB_ECORRUPT, read_all(&world));
	}
	assert_ok(fb_store_remove(world.repo.store, key, &err));
	assert_fails(FB_ENOTFOUND, read_all(&world));
	end_world(&world);
}

/* A recipe that is named after its bytes, but lies. */
static void
a_lying_recipe_is_found(void **unused)
{
	struct world world;
	FB_AUTO_BUF struct fb_buf recipe = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	unsigned fine = 0;

	(void)unused;
	make_world(&world);
	fb_recipe_key(&world.recipe, key);
	get_object(&world, key, &recipe);
	for (size_t at = 0; at < recipe.len; at++) {
		FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
		char lie_key[FB_OBJECT_KEY_SIZE];
		int rc;

		recipe.data[at] ^= 1;
		fb_digest_of(fb_buf_span(&recipe), &world.recipe);
		fb_recipe_key(&world.recipe, lie_key);
		put_object(&world, lie_key, fb_buf_span(&recipe));
		rc = fb_volume_open(
		    &world.repo, &world.recipe, &reader, &err);
		if (rc == FB_OK)
			rc = fb_volume_check(reader, &err);
		/* Session and kind say nothing about the bytes. */
		if (rc == FB_OK)
			fine++;
		else
			assert_true(rc == FB_ECORRUPT || rc == FB_ENOTFOUND);
		recipe.data[at] ^= 1;
	}
	assert_in_range(fine, 1, FB_RUN_ID_LEN + 5);
	end_world(&world);
}

static int
stop_at_once(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *error)
{
	(void)offset;
	(void)bytes;
	(void)length;
	++*(unsigned *)arg;
	return fb_fail(error, FB_ENOSPACE, "the target is full");
}

static void
the_visitor_can_stop_it(void **unused)
{
	struct world world;
	struct fb_volume_reader *reader;
	unsigned visits = 0;

	(void)unused;
	make_world(&world);
	assert_ok(
	    fb_volume_open(&world.repo, &world.recipe, &reader, &err));
	assert_fails(FB_ENOSPACE,
	    fb_volume_read(reader, 0, LEN, 4, NULL, stop_at_once, &visits,
	        &err));
	assert_int_equal(visits, 1);
	fb_volume_close(reader);
	end_world(&world);
}

struct walk {
	uint64_t at, zeros;
	const uint8_t *bytes;
};

static int
check_chunk(uint64_t offset, uint64_t length, const struct fb_digest *id,
    void *arg, struct fb_error *error)
{
	struct walk *walk = arg;
	struct fb_digest digest;

	(void)error;
	assert_int_equal(offset, walk->at);
	walk->at += length;
	if (id == NULL) {
		walk->zeros += length;
		return FB_OK;
	}
	fb_digest_of(
	    (struct fb_span){ walk->bytes + offset, (size_t)length }, &digest);
	assert_memory_equal(&digest, id, sizeof(digest));
	return FB_OK;
}

static void
chunks_are_visited_without_their_bytes(void **unused)
{
	struct world world;
	struct fb_volume_reader *reader;
	struct walk walk;

	(void)unused;
	make_world(&world);
	walk = (struct walk){ .bytes = world.bytes };
	assert_ok(
	    fb_volume_open(&world.repo, &world.recipe, &reader, &err));
	assert_ok(fb_volume_chunks(
	    reader, 0, UINT64_MAX, check_chunk, &walk, &err));
	assert_int_equal(walk.at, LEN);
	assert_int_equal(walk.zeros, 131072);
	fb_volume_close(reader);
	end_world(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flipped_bit_in_a_pack_is_found),
		cmocka_unit_test(a_short_missing_or_wrong_pack_is_found),
		cmocka_unit_test(a_damaged_recipe_is_found),
		cmocka_unit_test(a_lying_recipe_is_found),
		cmocka_unit_test(the_visitor_can_stop_it),
		cmocka_unit_test(chunks_are_visited_without_their_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
