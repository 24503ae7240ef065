/* Copies that are under way at once: each fills a pack of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

#include "../../src/repo/packer.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "fleetbak/repo/copier.h"
#include "fleetbak/repo/volume.h"

#define SESSION "20261121-013205123-3fa92c17"
#define MIB     ((size_t)1 << 20)

/* More copies than there are lanes. */
#define COPIES 5

static struct fb_error err;

struct world {
	struct fb_repo repo;
	struct fb_session session;
	char dir[64];
	json_t *state; /* the last one that was journaled */
	unsigned states;
	struct fb_copier *copier;
	uint8_t *bytes[COPIES];
	struct fb_copy *copies[COPIES];
	size_t at[COPIES]; /* so many were fed */
};

static int
note_state(void *arg, const json_t *state, struct fb_error *error)
{
	struct world *world = arg;

	(void)error;
	json_decref(world->state);
	world->state = json_deep_copy(state);
	world->states++;
	return FB_OK;
}

/* As a process begins. */
static void
open_copier(struct world *world, uint64_t pack_size)
{
	struct fb_copier_spec spec = { .repo = &world->repo,
		.session = &world->session,
		.spool_dir = world->dir,
		.workers = 2,
		.level = 1,
		.pack_size = pack_size,
		.checkpoint = note_state,
		.arg = world };
	FB_AUTO_JSON json_t *state = json_deep_copy(world->state);

	fb_tables_free(world->repo.tables);
	world->repo.tables =
	    fb_tables_new(world->repo.store, FB_TABLES_BYTES_MAX);
	assert_ok(fb_copier_open(&spec, state, &world->copier, &err));
}

static uint8_t *
make_noise(size_t len, uint64_t seed)
{
	uint8_t *bytes = fb_alloc(len, 1);

	for (size_t i = 0; i < len; i += sizeof(seed)) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(bytes + i, &seed,
		    len - i < sizeof(seed) ? len - i : sizeof(seed));
	}
	return bytes;
}

static void
make_world(struct world *world, size_t len)
{
	*world = (struct world){ .dir = "/tmp/fleetbak-lanes-XXXXXX" };
	assert_non_null(mkdtemp(world->dir));
	assert_ok(fb_store_open("mem:", true, NULL, &world->repo.store, &err));
	world->repo.format.chunk_min = 16384;
	world->repo.format.chunk_average = 65536;
	world->repo.format.chunk_max = 262144;
	memcpy(world->session.id, SESSION, sizeof(SESSION));
	for (unsigned i = 0; i < COPIES; i++)
		world->bytes[i] = make_noise(len, i + 1);
}

static void
end_world(struct world *world)
{
	fb_copier_close(world->copier);
	json_decref(world->state);
	fb_tables_free(world->repo.tables);
	fb_store_close(world->repo.store);
	for (unsigned i = 0; i < COPIES; i++)
		free(world->bytes[i]);
	assert_ok(fb_io_remove_tree(world->dir, &err));
}

static const char *
name_of(unsigned i)
{
	static char name[16];

	(void)snprintf(name, sizeof(name), "m%u", i);
	return name;
}

static void
begin(struct world *world, unsigned count, bool resume)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t offset;

		assert_ok(fb_copy_begin(world->copier, name_of(i), "disk",
		    false, resume, &world->copies[i], &offset, &err));
		world->at[i] = (size_t)offset;
	}
}

/* Up to `end`, in turns. */
static void
feed(struct world *world, unsigned count, size_t end)
{
	bool more = true;

	while (more) {
		more = false;
		for (unsigned i = 0; i < count; i++) {
			size_t left = end - world->at[i];
			size_t len = left < MIB ? left : MIB;

			assert_ok(fb_copy_data(world->copies[i],
			    world->bytes[i] + world->at[i], len, &err));
			world->at[i] += len;
			more |= left > len;
		}
	}
}

static uint64_t
finish(struct world *world, unsigned count)
{
	uint64_t stored = 0;

	for (unsigned i = 0; i < count; i++) {
		struct fb_copy_result result;

		assert_ok(fb_copy_finish(world->copies[i], &result, &err));
		stored += result.new_bytes;
	}
	return stored;
}

/* What one reader of a volume meets. */
struct seen {
	const uint8_t *want;
	uint32_t pack, next; /* the chunk that would go on */
	unsigned stretches;
};

static int
see_chunk(uint64_t offset, uint64_t length,
    const struct fb_volume_chunk *chunk, void *arg, struct fb_error *error)
{
	struct seen *seen = arg;

	(void)offset;
	(void)length;
	(void)error;
	if (chunk == NULL)
		return FB_OK;
	if (seen->stretches == 0 || chunk->pack != seen->pack ||
	    chunk->number != seen->next)
		seen->stretches++;
	seen->pack = chunk->pack;
	seen->next = chunk->number + 1;
	return FB_OK;
}

static int
compare(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *error)
{
	const struct seen *seen = arg;

	(void)error;
	assert_memory_equal(bytes, seen->want + offset, (size_t)length);
	return FB_OK;
}

/* Read it; of how many stretches of packs is it? */
static unsigned
stretches_of(struct world *world, unsigned i, size_t len,
    struct fb_id_list *packs)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct seen seen = { .want = world->bytes[i] };
	struct fb_digest recipe;

	assert_ok(fb_copier_recipe(
	    world->copier, name_of(i), &recipe, packs, &err));
	assert_ok(fb_volume_open(&world->repo, &recipe, &reader, &err));
	assert_int_equal(fb_volume_head(reader)->size, len);
	assert_ok(fb_volume_chunks(reader, 0, len, see_chunk, &seen, &err));
	assert_ok(fb_volume_read(
	    reader, 0, len, 2, NULL, compare, &seen, &err));
	return seen.stretches;
}

static void
copies_under_way_at_once_lie_in_long_stretches(void **unused)
{
	struct world world;
	struct fb_id_list packs = { 0 };
	size_t len = 16 * MIB;

	(void)unused;
	make_world(&world, len);
	open_copier(&world, 0);
	begin(&world, FB_PACKER_LANES, false);
	feed(&world, FB_PACKER_LANES, len);
	(void)finish(&world, FB_PACKER_LANES);
	assert_ok(fb_copier_flush(world.copier, &err));
	/* The first megabytes of all are in one pack, in turns of whole
	 * batches; after that a copy may meet those of another there. */
	for (unsigned i = 0; i < FB_PACKER_LANES; i++)
		assert_true(stretches_of(&world, i, len, &packs) <= 8);
	assert_int_equal(packs.count, FB_PACKER_LANES);
	free(packs.ids);
	end_world(&world);
}

static void
small_copies_share_a_pack(void **unused)
{
	struct world world;
	struct fb_id_list packs = { 0 };
	size_t len = 300000;

	(void)unused;
	make_world(&world, len);
	open_copier(&world, 0);
	begin(&world, COPIES, false);
	feed(&world, COPIES, len);
	(void)finish(&world, COPIES);
	assert_ok(fb_copier_flush(world.copier, &err));
	for (unsigned i = 0; i < COPIES; i++)
		(void)stretches_of(&world, i, len, &packs);
	assert_int_equal(packs.count, 1);
	free(packs.ids);
	end_world(&world);
}

/* Wherever it is cut off, every open pack goes on, and nothing that a state
 * had is stored again. */
static void
cut_off_at(size_t cut, uint64_t pack_size, bool checkpoint)
{
	struct world world;
	struct fb_id_list packs = { 0 };
	size_t len = 9 * MIB;
	uint64_t fresh;

	make_world(&world, len);
	open_copier(&world, pack_size);
	begin(&world, COPIES, false);
	feed(&world, COPIES, cut);
	if (checkpoint)
		assert_ok(fb_copier_checkpoint(world.copier, &err));
	for (unsigned i = 0; i < COPIES; i++)
		fb_copy_abandon(world.copies[i]);
	fb_copier_close(world.copier);
	assert_true(world.states > 0);

	open_copier(&world, pack_size);
	begin(&world, COPIES, true);
	for (unsigned i = 0; i < COPIES; i++)
		assert_true(world.at[i] <= cut);
	feed(&world, COPIES, len);
	fresh = finish(&world, COPIES);
	/* Nothing is stored twice; less is new where a pack came further than
	 * the state of its copies, which is for threads to decide. */
	assert_true(fresh > 0 && fresh <= COPIES * len);
	assert_ok(fb_copier_flush(world.copier, &err));
	for (unsigned i = 0; i < COPIES; i++)
		(void)stretches_of(&world, i, len, &packs);
	for (size_t i = 0; i < packs.count; i++) {
		uint64_t size;

		assert_ok(fb_pack_verify(
		    &world.repo, &packs.ids[i], true, &size, &err));
	}
	free(packs.ids);
	end_world(&world);
}

static void
open_packs_go_on_after_a_crash(void **unused)
{
	(void)unused;
	cut_off_at(4 * MIB, 0, true);
	cut_off_at(7 * MIB, 2 * MIB, true);
	cut_off_at(7 * MIB, 2 * MIB, false);
}

/* A writer that knew one open pack journaled that alone:
 * "open": {"pack": ..., "bytes": ..., "chunks": ...}; none, when none was. */
static void
as_of_one_lane(struct world *world)
{
	json_t *packer = json_object_get(world->state, "packer");
	json_t *open = json_object_get(packer, "open");

	assert_int_equal(json_array_size(open), FB_PACKER_LANES);
	for (size_t i = 1; i < FB_PACKER_LANES; i++)
		assert_true(json_is_null(json_array_get(open, i)));
	open = json_deep_copy(json_array_get(open, 0));
	if (json_is_null(open)) {
		json_decref(open);
		assert_int_equal(json_object_del(packer, "open"), 0);
		return;
	}
	assert_int_equal(json_object_set_new(packer, "open", open), 0);
}

static void
of_one_lane(bool is_open)
{
	struct world world;
	struct fb_id_list packs = { 0 };
	size_t len = 3 * MIB;
	uint64_t size;

	make_world(&world, len);
	open_copier(&world, 0);
	begin(&world, 1, false);
	feed(&world, 1, len);
	(void)finish(&world, 1);
	assert_ok(is_open ? fb_copier_checkpoint(world.copier, &err)
	                  : fb_copier_flush(world.copier, &err));
	fb_copier_close(world.copier);
	as_of_one_lane(&world);
	assert_int_equal(json_is_object(json_object_get(
	                     json_object_get(world.state, "packer"), "open")),
	    is_open);

	open_copier(&world, 0);
	assert_ok(fb_copier_flush(world.copier, &err));
	(void)stretches_of(&world, 0, len, &packs);
	assert_int_equal(packs.count, 1);
	assert_ok(
	    fb_pack_verify(&world.repo, &packs.ids[0], true, &size, &err));
	free(packs.ids);
	end_world(&world);
}

static void
a_journal_of_one_open_pack_is_gone_on_with(void **unused)
{
	(void)unused;
	of_one_lane(true);
	of_one_lane(false);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    copies_under_way_at_once_lie_in_long_stretches),
		cmocka_unit_test(small_copies_share_a_pack),
		cmocka_unit_test(open_packs_go_on_after_a_crash),
		cmocka_unit_test(a_journal_of_one_open_pack_is_gone_on_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
