#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "../../src/repo/tables.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/copier.h"
#include "fleetbak/repo/volume.h"

#define SESSION "20261121-013205123-3fa92c17"
#define MIB     (1u << 20)

static struct fb_error err;

struct world {
	struct fb_repo repo;
	struct fb_session session;
	char dir[64];
	struct fb_sign_key *key; /* trusted */
	json_t *state; /* the last one that was journaled */
	unsigned states;
	unsigned stop_after; /* fail the n-th checkpoint */
};

/* A new key, and its public half. */
static struct fb_sign_key *
make_key(struct fb_verify_key **ret_public)
{
	FB_AUTO_BUF struct fb_buf private_pem = { 0 };
	FB_AUTO_BUF struct fb_buf public_pem = { 0 };
	struct fb_sign_key *key;

	assert_ok(fb_sign_generate(&private_pem, &public_pem, &err));
	assert_ok(fb_sign_key_parse(fb_buf_span(&private_pem), &key, &err));
	assert_ok(fb_verify_key_parse(
	    fb_buf_span(&public_pem), ret_public, &err));
	return key;
}

static void
make_world(struct world *world)
{
	struct fb_verify_key *public;

	*world = (struct world){ .dir = "/tmp/fleetbak-copier-XXXXXX" };
	assert_non_null(mkdtemp(world->dir));
	assert_ok(fb_store_open("mem:", true, NULL, &world->repo.store, &err));
	world->repo.tables =
	    fb_tables_new(world->repo.store, FB_TABLES_BYTES_MAX);
	world->repo.format.chunk_min = 16384;
	world->repo.format.chunk_average = 65536;
	world->repo.format.chunk_max = 262144;
	memcpy(world->session.id, SESSION, sizeof(SESSION));
	world->key = make_key(&public);
	fb_trust_add(&world->repo.trust, public);
}

static void
end_world(struct world *world)
{
	json_decref(world->state);
	fb_tables_free(world->repo.tables);
	fb_store_close(world->repo.store);
	fb_trust_release(&world->repo.trust);
	fb_sign_key_free(world->key);
	assert_ok(fb_io_remove_tree(world->dir, &err));
}

static int
note_state(void *arg, const json_t *state, struct fb_error *error)
{
	struct world *world = arg;

	if (world->stop_after > 0 && world->states + 1 >= world->stop_after)
		return fb_fail(error, FB_ENOSPACE, "no room for the journal");
	json_decref(world->state);
	world->state = json_deep_copy(state);
	world->states++;
	return FB_OK;
}

static struct fb_copier *
open_copier(struct world *world, unsigned workers, uint64_t pack_size,
    const json_t *state)
{
	struct fb_copier_spec spec = { .repo = &world->repo,
		.session = &world->session,
		.spool_dir = world->dir,
		.workers = workers,
		.level = 1,
		.pack_size = pack_size,
		.checkpoint = note_state,
		.arg = world };
	struct fb_copier *copier;

	/* As a process begins: no table is known. */
	fb_tables_free(world->repo.tables);
	world->repo.tables =
	    fb_tables_new(world->repo.store, FB_TABLES_BYTES_MAX);
	assert_ok(fb_copier_open(&spec, state, &copier, &err));
	return copier;
}

/* Bytes with everything in them: noise, text, repeats and zeros. */
static uint8_t *
make_bytes(size_t len, uint64_t seed)
{
	uint8_t *bytes = fb_alloc(len, 1);

	for (size_t i = 0; i < len; i++) {
		size_t part = i / 300000 % 5;

		if (i % 8 == 0) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
		}
		if (part < 2)
			bytes[i] = (uint8_t)(seed >> (i % 8 * 8));
		else if (part == 2)
			bytes[i] = (uint8_t)('a' + (seed >> (i % 8)) % 4);
		else if (part == 3)
			bytes[i] = 0xFF;
	}
	return bytes;
}

static void
feed(struct fb_copier *copier, const char *key, const uint8_t *bytes,
    size_t len, size_t step, struct fb_copy_result *result)
{
	struct fb_copy *copy;
	uint64_t offset;

	assert_ok(fb_copy_begin(
	    copier, key, "disk", false, false, &copy, &offset, &err));
	assert_int_equal(offset, 0);
	for (size_t at = 0; at < len; at += step)
		assert_ok(fb_copy_data(copy, bytes + at,
		    len - at < step ? len - at : step, &err));
	assert_ok(fb_copy_finish(copy, result, &err));
}

struct target {
	const uint8_t *want;
	uint64_t at, len;
};

static int
compare(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *error)
{
	struct target *target = arg;

	(void)error;
	assert_int_equal(offset, target->at);
	assert_true(length <= target->len - offset);
	for (uint64_t i = 0; bytes == NULL && i < length; i++)
		assert_int_equal(target->want[offset + i], 0);
	if (bytes != NULL)
		assert_memory_equal(
		    bytes, target->want + offset, (size_t)length);
	target->at += length;
	return FB_OK;
}

static void
read_back(struct world *world, const struct fb_digest *recipe,
    const uint8_t *bytes, size_t len)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct target target = { bytes, 0, len };

	assert_ok(fb_volume_open(&world->repo, recipe, &reader, &err));
	assert_int_equal(fb_volume_head(reader)->size, len);
	assert_ok(fb_volume_check(reader, &err));
	assert_ok(fb_volume_read(
	    reader, 0, len, 2, NULL, compare, &target, &err));
	assert_int_equal(target.at, len);
}

static void
what_is_copied_comes_back(void **unused)
{
	struct world world;
	size_t len = 9 * MIB + 12345;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 1);
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe, again;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 2, 2 * MIB, NULL);
	feed(copier, "m1-root", bytes, len, 100000, &result);
	assert_int_equal(result.size, len);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "m1-root", &recipe, &packs, &err));
	assert_true(packs.count > 1);
	assert_ok(fb_copier_recipe(copier, "m1-root", &again, &packs, &err));
	assert_memory_equal(&recipe, &again, sizeof(recipe));
	for (size_t i = 0; i < packs.count; i++) {
		uint64_t size;

		assert_ok(fb_pack_verify(
		    &world.repo, &packs.ids[i], true, &size, &err));
		if (i > 0)
			assert_true(fb_digest_cmp(&packs.ids[i - 1],
			                &packs.ids[i]) < 0);
	}
	read_back(&world, &recipe, bytes, len);
	fb_copier_close(copier);
	free(packs.ids);
	end_world(&world);
}

static void
any_part_can_be_read_or_pulled(void **unused)
{
	struct world world;
	size_t len = 4 * MIB + 777;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 5);
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;
	struct fb_volume_reader *reader;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 1, MIB, NULL);
	feed(copier, "m1-root", bytes, len, len, &result);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "m1-root", &recipe, &packs, &err));
	assert_ok(fb_volume_open(&world.repo, &recipe, &reader, &err));
	for (size_t from = 0; from < len; from += 999331)
		for (size_t size = 1; size < 3 * MIB; size = size * 50 + 1) {
			size_t end = from + size < len ? from + size : len;
			struct fb_pull pull;
			struct fb_span got;
			size_t at = from;

			assert_ok(fb_volume_pull(
			    reader, from, end, &pull, &err));
			do {
				assert_ok(pull.next(pull.arg, &got, &err));
				assert_true(got.len <= end - at);
				assert_memory_equal(
				    got.ptr, bytes + at, got.len);
				at += got.len;
			} while (got.len > 0);
			assert_int_equal(at, end);
		}
	fb_volume_close(reader);
	fb_copier_close(copier);
	free(packs.ids);
	end_world(&world);
}

/* All objects of a store, as one digest. */
static int
hash_object(
    const char *key, uint64_t size, void *arg, struct fb_error *error)
{
	void **args = arg;

	(void)size;
	(void)error;
	fb_digester_add(args[1],
	    (struct fb_span){ (const uint8_t *)key, strlen(key) + 1 });
	return FB_OK;
}

static void
hash_store(struct world *world, struct fb_digest *digest)
{
	struct fb_digester *digester = fb_digester_new();
	void *args[] = { world, digester };

	assert_ok(fb_store_list(
	    world->repo.store, "", hash_object, args, &err));
	fb_digester_peek(digester, digest);
	fb_digester_free(digester);
}

static void
threads_do_not_change_a_byte(void **unused)
{
	static const unsigned workers[] = { 1, 4 };
	struct fb_digest stores[2];
	size_t len = 11 * MIB + 1;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 9);

	(void)unused;
	for (size_t i = 0; i < 2; i++) {
		struct world world;
		struct fb_copier *copier;
		struct fb_copy_result result;
		struct fb_id_list packs = { 0 };
		struct fb_digest recipe;

		make_world(&world);
		copier = open_copier(&world, workers[i], MIB, NULL);
		feed(copier, "a", bytes, len, i ? 4096 : MIB, &result);
		feed(copier, "b", bytes + 99999, len - 99999, 65536, &result);
		assert_ok(fb_copier_flush(copier, &err));
		assert_ok(fb_copier_recipe(
		    copier, "a", &recipe, &packs, &err));
		assert_ok(fb_copier_recipe(
		    copier, "b", &recipe, &packs, &err));
		fb_copier_close(copier);
		hash_store(&world, &stores[i]);
		free(packs.ids);
		end_world(&world);
	}
	assert_memory_equal(&stores[0], &stores[1], sizeof(stores[0]));
}

static void
the_same_content_is_stored_once(void **unused)
{
	struct world world;
	size_t len = 5 * MIB;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 3);
	struct fb_copier *copier;
	struct fb_copy_result result;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 2, MIB, NULL);
	feed(copier, "a", bytes, len, len, &result);
	assert_true(result.new_bytes > 0);
	feed(copier, "b", bytes, len, 999, &result);
	assert_int_equal(result.new_bytes, 0);
	assert_int_equal(result.stored_bytes, 0);
	fb_copier_close(copier);
	end_world(&world);
}

/* The root of `bytes`, where zeros are given as holes by `mode`. */
static struct fb_digest
root_with_holes(
    struct fb_copier *copier, const uint8_t *bytes, size_t len, int mode)
{
	struct fb_copy_result result;
	struct fb_copy *copy;
	uint64_t offset;

	assert_ok(fb_copy_begin(copier, "holes", "disk", mode == 2, false,
	    &copy, &offset, &err));
	for (size_t at = 0; at < len;) {
		size_t end = at;

		while (end < len && (bytes[end] == 0) == (bytes[at] == 0))
			end++;
		if (bytes[at] == 0 && (mode == 1 || end - at > 5000))
			assert_ok(fb_copy_zero(copy, end - at, &err));
		else
			assert_ok(
			    fb_copy_data(copy, bytes + at, end - at, &err));
		at = end;
	}
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_int_equal(result.size, len);
	assert_int_equal(result.has_flat, mode == 2);
	if (mode == 2) {
		struct fb_digest flat;

		fb_digest_of((struct fb_span){ bytes, len }, &flat);
		assert_memory_equal(&flat, &result.flat, sizeof(flat));
	}
	return result.root;
}

static void
holes_and_written_zeros_are_the_same(void **unused)
{
	struct world world;
	size_t len = 3 * MIB + 70000;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 17);
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_digest root;

	(void)unused;
	make_world(&world);
	memset(bytes + 100, 0, 200000);
	memset(bytes + 65536 * 7, 0, 65536 * 3);
	memset(bytes + 65536 * 20 + 1, 0, 65536 * 2);
	memset(bytes + len - 70000, 0, 70000);
	copier = open_copier(&world, 2, 0, NULL);
	feed(copier, "plain", bytes, len, 12345, &result);
	assert_true(result.zero_bytes >= 65536 * 6);
	for (int mode = 0; mode < 3; mode++) {
		root = root_with_holes(copier, bytes, len, mode);
		assert_memory_equal(&root, &result.root, sizeof(root));
	}
	fb_copier_close(copier);
	end_world(&world);
}

static void
a_huge_hole_costs_nothing(void **unused)
{
	struct world world;
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_copy *copy;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;
	struct fb_volume_reader *reader;
	uint64_t offset, size = (UINT64_C(64) << 40) + 4096;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 1, 0, NULL);
	assert_ok(fb_copy_begin(
	    copier, "z", "disk", false, false, &copy, &offset, &err));
	assert_ok(fb_copy_zero(copy, size, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_int_equal(result.size, size);
	assert_int_equal(result.zero_bytes, size);
	assert_ok(fb_copy_begin(
	    copier, "empty", "tree", true, false, &copy, &offset, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_int_equal(result.size, 0);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "empty", &recipe, &packs, &err));
	assert_ok(fb_copier_recipe(copier, "z", &recipe, &packs, &err));
	assert_int_equal(packs.count, 0);
	assert_ok(fb_volume_open(&world.repo, &recipe, &reader, &err));
	assert_ok(fb_volume_check(reader, &err));
	fb_volume_close(reader);
	fb_copier_close(copier);
	end_world(&world);
}

static void
wanted_cuts_make_equal_files_equal_chunks(void **unused)
{
	struct world world;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(200000, 33);
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_copy *copy;
	uint64_t offset;
	char header[512] = "head";

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 1, 0, NULL);
	for (int i = 0; i < 20; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "t%d", i);
		assert_ok(fb_copy_begin(copier, key, "tree", false, false,
		    &copy, &offset, &err));
		header[10] = (char)('a' + i);
		for (int n = 0; n <= i; n++)
			assert_ok(fb_copy_data(
			    copy, header, sizeof(header), &err));
		assert_ok(fb_copy_cut(copy, &err));
		assert_ok(fb_copy_data(copy, bytes, 200000, &err));
		assert_ok(fb_copy_cut(copy, &err));
		assert_ok(fb_copy_data(copy, header, sizeof(header), &err));
		assert_ok(fb_copy_finish(copy, &result, &err));
		if (i > 0)
			assert_true(result.new_bytes < 20000);
	}
	fb_copier_close(copier);
	end_world(&world);
}

/* Feed until the journal fails, then continue in a new process's place. */
static void
resume_after(unsigned stop_after)
{
	struct world world;
	size_t len = 9 * MIB + 4321;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 21);
	struct fb_copier *copier;
	struct fb_copy_result whole, result;
	struct fb_copy *copy;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;
	uint64_t offset;
	int rc = FB_OK;

	make_world(&world);
	copier = open_copier(&world, 2, 0, NULL);
	feed(copier, "whole", bytes, len, len, &whole);
	fb_copier_close(copier);
	end_world(&world);

	make_world(&world);
	world.stop_after = stop_after;
	copier = open_copier(&world, 2, MIB, NULL);
	assert_ok(fb_copy_begin(
	    copier, "m", "disk", false, false, &copy, &offset, &err));
	for (size_t at = 0; rc == FB_OK && at < len; at += 50000) {
		rc = fb_copy_data(copy, bytes + at,
		    len - at < 50000 ? len - at : 50000, &err);
		if (rc == FB_OK && at == 2000000)
			rc = fb_copier_checkpoint(copier, &err);
	}
	if (rc == FB_OK)
		rc = fb_copy_finish(copy, &result, &err);
	else
		fb_copy_abandon(copy);
	fb_copier_close(copier);

	world.stop_after = 0;
	copier = open_copier(&world, 2, MIB, world.state);
	assert_ok(fb_copy_begin(
	    copier, "m", "disk", false, true, &copy, &offset, &err));
	if (stop_after > 2)
		assert_true(offset > 0);
	assert_ok(fb_copy_data(
	    copy, bytes + offset, len - (size_t)offset, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_memory_equal(&result.root, &whole.root, sizeof(whole.root));
	assert_int_equal(result.zero_bytes, whole.zero_bytes);
	assert_int_equal(result.new_bytes, whole.new_bytes);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "m", &recipe, &packs, &err));
	read_back(&world, &recipe, bytes, len);
	for (size_t i = 0; i < packs.count; i++)
		assert_ok(fb_pack_verify(
		    &world.repo, &packs.ids[i], true, &offset, &err));
	fb_copier_close(copier);
	free(packs.ids);
	end_world(&world);
}

static void
a_cut_off_copy_continues_where_it_was_journaled(void **unused)
{
	(void)unused;
	for (unsigned n = 1; n < 9; n++)
		resume_after(n);
}

static void
a_finished_copy_needs_a_checkpoint_to_last(void **unused)
{
	struct world world;
	size_t len = 2 * MIB;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 4);
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;
	struct fb_copy *copy;
	uint64_t offset;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 2, 0, NULL);
	feed(copier, "kept", bytes, len, len, &result);
	assert_ok(fb_copier_checkpoint(copier, &err));
	feed(copier, "lost", bytes, len / 2, len, &result);
	fb_copier_close(copier);

	copier = open_copier(&world, 2, 0, world.state);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "kept", &recipe, &packs, &err));
	read_back(&world, &recipe, bytes, len);
	assert_fails(FB_ENOTFOUND,
	    fb_copier_recipe(copier, "lost", &recipe, &packs, &err));
	assert_ok(fb_copy_begin(
	    copier, "lost", "disk", false, true, &copy, &offset, &err));
	assert_int_equal(offset, 0);
	fb_copy_abandon(copy);
	assert_ok(fb_copy_begin(
	    copier, "kept", "disk", false, true, &copy, &offset, &err));
	assert_int_equal(offset, len);
	fb_copy_abandon(copy);
	fb_copier_close(copier);
	free(packs.ids);
	end_world(&world);
}

/* Power loss may leave any part of what was not synced. */
static void
a_copy_whose_record_is_torn_is_not_finished(void **unused)
{
	struct world world;
	size_t len = MIB;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 4);
	FB_AUTO_FREE char *path = NULL;
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;
	struct fb_copy *copy;
	struct stat st;
	uint64_t offset;

	(void)unused;
	make_world(&world);
	path = fb_format("%s/m.leaves", world.dir);
	copier = open_copier(&world, 2, 0, NULL);
	feed(copier, "m", bytes, len, len, &result);
	assert_ok(fb_copier_checkpoint(copier, &err));
	assert_return_code(stat(path, &st), errno);
	for (off_t cut = 0; cut < 250; cut += 7) {
		assert_return_code(truncate(path, st.st_size - 1 - cut), errno);
		assert_fails(FB_ENOTFOUND,
		    fb_copier_recipe(copier, "m", &recipe, &packs, &err));
	}
	fb_copier_close(copier);

	copier = open_copier(&world, 2, 0, world.state);
	assert_ok(fb_copy_begin(
	    copier, "m", "disk", false, true, &copy, &offset, &err));
	assert_int_equal(offset, 0);
	fb_copy_abandon(copy);
	fb_copier_close(copier);
	free(packs.ids);
	end_world(&world);
}

static void
hints_spare_the_next_run_everything(void **unused)
{
	struct world world;
	size_t len = 5 * MIB;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 8);
	struct fb_copier *copier;
	struct fb_copy_result first, result;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 2, MIB, NULL);
	feed(copier, "a", bytes, len, len, &first);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_hints(copier, world.key, &err));
	fb_copier_close(copier);

	memcpy(world.session.id, "20261122-013205123-3fa92c17",
	    sizeof(SESSION));
	copier = open_copier(&world, 2, MIB, NULL);
	feed(copier, "a", bytes, len, len, &result);
	assert_int_equal(result.new_bytes, 0);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "a", &recipe, &packs, &err));
	read_back(&world, &recipe, bytes, len);
	fb_copier_close(copier);

	/* What is condemned is not used again. */
	world.session.condemned = packs;
	memcpy(world.session.id, "20261123-013205123-3fa92c17",
	    sizeof(SESSION));
	copier = open_copier(&world, 2, MIB, NULL);
	feed(copier, "a", bytes, len, len, &result);
	assert_int_equal(result.new_bytes, first.new_bytes);
	fb_copier_close(copier);
	free(packs.ids);
	end_world(&world);
}

/* What is in a directory belongs to whoever writes there, root or not. */
static void
use_directory(struct world *world)
{
	FB_AUTO_FREE char *url = fb_format("file:%s/repo", world->dir);

	fb_store_close(world->repo.store);
	assert_ok(fb_store_open(url, true, NULL, &world->repo.store, &err));
}

/* A store may take the file of the hints itself; cut off then, the run goes on
 * without a hand on the object, and without being root. */
static void
hints_that_the_store_has_taken_are_not_written_to(void **unused)
{
	struct world world;
	size_t len = 3 * MIB;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 8);
	FB_AUTO_FREE char *spooled = NULL, *object = NULL;
	FB_AUTO_BUF struct fb_buf before = { 0 }, after = { 0 };
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct stat st;
	uid_t user = geteuid();

	(void)unused;
	if (user == 0)
		assert_int_equal(seteuid(65534), 0);
	make_world(&world);
	use_directory(&world);
	spooled = fb_format("%s/hints", world.dir);
	object = fb_format("%s/repo/hints/" SESSION, world.dir);
	copier = open_copier(&world, 2, MIB, NULL);
	feed(copier, "a", bytes, len, len, &result);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_hints(copier, world.key, &err));
	fb_copier_close(copier);
	assert_ok(fb_io_read_file(object, MIB, &before, &err));
	assert_int_equal(stat(spooled, &st), 0);
	assert_int_equal(st.st_nlink, 2);

	copier = open_copier(&world, 2, MIB, world.state);
	assert_int_equal(stat(spooled, &st), 0);
	assert_int_equal(st.st_nlink, 1);
	feed(copier, "b", bytes + MIB / 2, len - MIB / 2, len, &result);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_hints(copier, world.key, &err));
	fb_copier_close(copier);
	assert_ok(fb_io_read_file(object, MIB, &after, &err));
	assert_int_equal(after.len, before.len);
	assert_memory_equal(after.data, before.data, before.len);
	assert_int_equal(stat(object, &st), 0);
	assert_int_equal(st.st_mode & 0222, 0);

	/* Cut off between the new mode and the link. */
	assert_int_equal(chmod(spooled, 0444), 0);
	copier = open_copier(&world, 2, MIB, world.state);
	fb_copier_close(copier);
	end_world(&world);
	assert_int_equal(seteuid(user), 0);
}

static int
remove_pack(
    const char *key, uint64_t size, void *arg, struct fb_error *error)
{
	char *first = arg;

	(void)size;
	(void)error;
	if (first[0] == '\0')
		(void)snprintf(first, FB_OBJECT_KEY_SIZE, "%s", key);
	return FB_OK;
}

static void
wrong_hints_cost_duplicates_only(void **unused)
{
	struct world world;
	size_t len = 5 * MIB;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 8);
	FB_AUTO_BUF struct fb_buf hints = { 0 };
	char pack[FB_OBJECT_KEY_SIZE] = "";
	struct fb_copier *copier;
	struct fb_copy_result first, result;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 2, MIB, NULL);
	feed(copier, "a", bytes, len, len, &first);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_hints(copier, world.key, &err));
	fb_copier_close(copier);
	assert_ok(fb_store_get(world.repo.store, "hints/" SESSION, MIB, &hints,
	    NULL, &err));
	for (size_t cut = 0; cut <= hints.len; cut += hints.len / 11 + 1) {
		FB_AUTO_BUF struct fb_buf bad = { 0 };

		fb_buf_add(&bad, hints.data, hints.len);
		bad.data[cut % hints.len] ^= 0x55;
		bad.len -= cut % 2 ? cut : 0;
		assert_ok(fb_store_remove(
		    world.repo.store, "hints/" SESSION, &err));
		assert_ok(fb_store_create(world.repo.store, "hints/" SESSION,
		    fb_buf_span(&bad), &err));
		copier = open_copier(&world, 1, MIB, NULL);
		feed(copier, "a", bytes, len, len, &result);
		fb_copier_close(copier);
	}
	assert_ok(
	    fb_store_remove(world.repo.store, "hints/" SESSION, &err));
	assert_ok(fb_store_create(world.repo.store, "hints/" SESSION,
	    fb_buf_span(&hints), &err));
	assert_ok(fb_store_list(
	    world.repo.store, "packs/", remove_pack, pack, &err));
	assert_ok(fb_store_remove(world.repo.store, pack, &err));
	memcpy(world.session.id, "20261122-013205123-3fa92c17",
	    sizeof(SESSION));
	copier = open_copier(&world, 2, MIB, NULL);
	feed(copier, "a", bytes, len, len, &result);
	assert_in_range(result.new_bytes, 1, first.new_bytes - 1);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "a", &recipe, &packs, &err));
	read_back(&world, &recipe, bytes, len);
	fb_copier_close(copier);
	free(packs.ids);
	end_world(&world);
}

static void
put_object(struct world *world, const char *key, struct fb_span bytes)
{
	assert_ok(fb_store_remove(world->repo.store, key, &err));
	assert_ok(fb_store_create(world->repo.store, key, bytes, &err));
}

/* A seal of these hints by that key. */
static void
seal_hints(
    struct world *world, struct fb_span hints, const struct fb_sign_key *key)
{
	struct fb_hint_seal seal = { .session = SESSION, .size = hints.len };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_digest_of(hints, &seal.digest);
	fb_hint_seal_encode_signed(&seal, &text);
	assert_ok(fb_sign(key, fb_buf_span(&text), seal.signature, &err));
	fb_hint_seal_encode_signature(&seal, &text);
	put_object(world, "hints/" SESSION ".seal", fb_buf_span(&text));
}

/* Copy in a later session; how much was stored, and did it come back? */
static uint64_t
copy_later(struct world *world, const uint8_t *bytes, size_t len)
{
	static unsigned day = 1;
	struct fb_copier *copier;
	struct fb_copy_result result;
	struct fb_id_list packs = { 0 };
	struct fb_digest recipe;

	(void)snprintf(world->session.id, sizeof(world->session.id),
	    "202612%02u-013205123-3fa92c17", day++ % 28 + 1);
	copier = open_copier(world, 1, MIB, NULL);
	feed(copier, "a", bytes, len, len, &result);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(copier, "a", &recipe, &packs, &err));
	read_back(world, &recipe, bytes, len);
	fb_copier_close(copier);
	free(packs.ids);
	return result.new_bytes;
}

/*
 * A pack like the one there is, with the same table but other bytes in its
 * frames; `hints` are made to name it.
 */
static void
make_lie(struct world *world, struct fb_buf *hints)
{
	FB_AUTO_BUF struct fb_buf pack = { 0 };
	char key[FB_OBJECT_KEY_SIZE] = "", hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest id;

	assert_ok(fb_store_list(
	    world->repo.store, "packs/", remove_pack, key, &err));
	assert_ok(fb_store_get(
	    world->repo.store, key, 8 * MIB, &pack, NULL, &err));
	for (size_t at = 100; at < 1000; at++)
		pack.data[at] ^= 0x11;
	fb_digest_of(fb_buf_span(&pack), &id);
	fb_digest_hex(&id, hex);
	memcpy(memmem(hints->data, hints->len,
	           key + strlen("packs/ab/"), 2 * FB_DIGEST_LEN),
	    hex, 2 * FB_DIGEST_LEN);
	fb_pack_key(&id, key);
	put_object(world, key, fb_buf_span(&pack));
}

/* What is believed to be stored is not stored again: a hint that lies would
 * make a backup of nothing. */
static void
hints_are_believed_by_their_seal_alone(void **unused)
{
	struct world world;
	size_t len = MIB / 2; /* one pack */
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 8);
	FB_AUTO_BUF struct fb_buf hints = { 0 };
	FB_AUTO_BUF struct fb_buf lies = { 0 };
	struct fb_verify_key *stranger_public;
	struct fb_sign_key *stranger = make_key(&stranger_public);
	struct fb_copier *copier;
	struct fb_copy_result first;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 1, MIB, NULL);
	feed(copier, "a", bytes, len, len, &first);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_hints(copier, world.key, &err));
	fb_copier_close(copier);
	assert_int_equal(copy_later(&world, bytes, len), 0);
	assert_ok(fb_store_get(
	    world.repo.store, "hints/" SESSION, MIB, &hints, NULL, &err));
	fb_buf_add(&lies, hints.data, hints.len);
	make_lie(&world, &lies);

	/* Other hints under the seal; the same length, or not. */
	put_object(&world, "hints/" SESSION, fb_buf_span(&lies));
	assert_int_equal(copy_later(&world, bytes, len), first.new_bytes);
	fb_buf_add(&lies, "x", 1);
	put_object(&world, "hints/" SESSION, fb_buf_span(&lies));
	assert_int_equal(copy_later(&world, bytes, len), first.new_bytes);
	lies.len--;

	/* A seal by a stranger, of another session, or none. */
	put_object(&world, "hints/" SESSION, fb_buf_span(&lies));
	seal_hints(&world, fb_buf_span(&lies), stranger);
	assert_int_equal(copy_later(&world, bytes, len), first.new_bytes);
	assert_ok(fb_store_remove(
	    world.repo.store, "hints/" SESSION ".seal", &err));
	assert_int_equal(copy_later(&world, bytes, len), first.new_bytes);
	put_object(&world, "hints/" SESSION, fb_buf_span(&hints));
	seal_hints(&world, fb_buf_span(&hints), stranger);
	assert_int_equal(copy_later(&world, bytes, len), first.new_bytes);
	seal_hints(&world, fb_buf_span(&hints), world.key);
	assert_int_equal(copy_later(&world, bytes, len), 0);
	fb_sign_key_free(stranger);
	fb_verify_key_free(stranger_public);
	end_world(&world);
}

/* The seal is good; the pack that it speaks of was exchanged. */
static void
a_pack_with_another_table_is_not_used_again(void **unused)
{
	struct world world;
	size_t len = MIB / 2;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 8);
	FB_AUTO_BUF struct fb_buf pack = { 0 };
	char key[FB_OBJECT_KEY_SIZE] = "";
	struct fb_copier *copier;
	struct fb_copy_result first;
	uint8_t *digest;

	(void)unused;
	make_world(&world);
	copier = open_copier(&world, 1, MIB, NULL);
	feed(copier, "a", bytes, len, len, &first);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_hints(copier, world.key, &err));
	fb_copier_close(copier);
	assert_ok(fb_store_list(
	    world.repo.store, "packs/", remove_pack, key, &err));
	assert_ok(fb_store_get(
	    world.repo.store, key, 8 * MIB, &pack, NULL, &err));
	/* The last digit of the last chunk's stored digest. */
	digest = pack.data + pack.len - FB_PACK_TAIL_LEN - 2;
	*digest = *digest == '0' ? '1' : '0';
	put_object(&world, key, fb_buf_span(&pack));
	assert_int_equal(copy_later(&world, bytes, len), first.new_bytes);
	end_world(&world);
}

static void
cancelling_stops_the_feeder_and_keeps_what_came(void **unused)
{
	struct world world;
	atomic_bool cancel = false;
	size_t len = 9 * MIB;
	FB_AUTO_FREE uint8_t *bytes = make_bytes(len, 8);
	struct fb_copier_spec spec = { .repo = &world.repo,
		.session = &world.session,
		.spool_dir = world.dir,
		.workers = 2,
		.pack_size = MIB,
		.cancel = &cancel,
		.checkpoint = note_state,
		.arg = &world };
	struct fb_copier *copier;
	struct fb_copy *copy;
	uint64_t offset;

	(void)unused;
	make_world(&world);
	assert_ok(fb_copier_open(&spec, NULL, &copier, &err));
	assert_ok(fb_copy_begin(
	    copier, "a", "disk", false, false, &copy, &offset, &err));
	assert_ok(fb_copy_data(copy, bytes, len, &err));
	cancel = true;
	assert_fails(FB_ECANCELED, fb_copy_data(copy, bytes, MIB, &err));
	assert_fails(FB_ECANCELED, fb_copy_zero(copy, MIB, &err));
	assert_ok(fb_copier_checkpoint(copier, &err));
	fb_copy_abandon(copy);
	fb_copier_close(copier);
	cancel = false;
	assert_ok(fb_copier_open(&spec, world.state, &copier, &err));
	assert_ok(fb_copy_begin(
	    copier, "a", "disk", false, true, &copy, &offset, &err));
	assert_true(offset <= len);
	fb_copy_abandon(copy);
	fb_copier_close(copier);
	end_world(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_copied_comes_back),
		cmocka_unit_test(any_part_can_be_read_or_pulled),
		cmocka_unit_test(threads_do_not_change_a_byte),
		cmocka_unit_test(the_same_content_is_stored_once),
		cmocka_unit_test(holes_and_written_zeros_are_the_same),
		cmocka_unit_test(a_huge_hole_costs_nothing),
		cmocka_unit_test(wanted_cuts_make_equal_files_equal_chunks),
		cmocka_unit_test(
		    a_cut_off_copy_continues_where_it_was_journaled),
		cmocka_unit_test(a_finished_copy_needs_a_checkpoint_to_last),
		cmocka_unit_test(a_copy_whose_record_is_torn_is_not_finished),
		cmocka_unit_test(hints_spare_the_next_run_everything),
		cmocka_unit_test(
		    hints_that_the_store_has_taken_are_not_written_to),
		cmocka_unit_test(wrong_hints_cost_duplicates_only),
		cmocka_unit_test(hints_are_believed_by_their_seal_alone),
		cmocka_unit_test(a_pack_with_another_table_is_not_used_again),
		cmocka_unit_test(
		    cancelling_stops_the_feeder_and_keeps_what_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
