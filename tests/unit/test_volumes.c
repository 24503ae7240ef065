/* Several volumes at once, from a store that is far away. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "../../src/repo/tables.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/copier.h"
#include "fleetbak/repo/volumes.h"

#define SESSION "20261121-013205123-3fa92c17"
#define MIB     ((size_t)1 << 20)
#define LEN     (20 * MIB)
#define COUNT   3u /* two clones and a stranger */

/* What only the second clone has. */
#define EDIT_AT  (7 * MIB + 12345)
#define EDIT_LEN (300u << 10)

static struct fb_error err;
static const struct fb_store_ops *store_ops;
static atomic_ullong pack_bytes;

struct world {
	struct fb_repo repo;
	struct fb_store_ops far;
	uint8_t *bytes[COUNT];
	struct fb_digest recipes[COUNT];
};

static int
count_bytes(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *error)
{
	if (strncmp(key, "packs/", 6) == 0)
		pack_bytes += len;
	return store_ops->get_range(store, key, offset, bytes, len, error);
}

/* A byte that no request may cover: the server breaks off before the first
 * one of its answer. */
static char bad_key[FB_OBJECT_KEY_SIZE];
static uint64_t bad_at;

static int
refuse_bad(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *error)
{
	return strcmp(key, bad_key) == 0 && offset <= bad_at &&
	        bad_at - offset < len
	    ? fb_fail(error, FB_EUNREACH, "the answer breaks off")
	    : count_bytes(store, key, offset, bytes, len, error);
}

static int
read_unless_bad(struct fb_store *store, const char *key, uint64_t offset,
    uint64_t len, fb_store_take *visit, void *arg, struct fb_error *error)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc((size_t)len, 1);
	int rc = refuse_bad(store, key, offset, bytes, (size_t)len, error);

	return rc < 0 ? rc
	              : visit(arg, (struct fb_span){ bytes, (size_t)len },
	                    error);
}

static void
fill(uint8_t *bytes, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

static void
copy_volume(struct world *world, struct fb_copier *copier, unsigned number)
{
	const char *name = (const char *[]){ "a", "b", "c" }[number];
	struct fb_id_list packs = { 0 };
	struct fb_copy_result result;
	struct fb_copy *copy;
	uint64_t offset;

	assert_ok(fb_copy_begin(
	    copier, name, "disk", false, false, &copy, &offset, &err));
	assert_ok(fb_copy_data(copy, world->bytes[number], LEN, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(
	    copier, name, &world->recipes[number], &packs, &err));
	free(packs.ids);
}

static int
make_world(void **state)
{
	struct world *world = fb_alloc(1, sizeof(*world));
	struct fb_session session = { .id = SESSION };
	char dir[] = "/tmp/fleetbak-volumes-XXXXXX";
	struct fb_copier_spec spec = { .repo = &world->repo,
		.session = &session,
		.spool_dir = dir,
		.workers = 1,
		.level = 1,
		.pack_size = 4 * MIB };
	struct fb_copier *copier;

	assert_ok(
	    fb_store_open("mem:", true, NULL, &world->repo.store, &err));
	world->repo.tables =
	    fb_tables_new(world->repo.store, FB_TABLES_BYTES_MAX);
	world->repo.format.chunk_min = 16384;
	world->repo.format.chunk_average = 65536;
	world->repo.format.chunk_max = 262144;
	for (unsigned i = 0; i < COUNT; i++)
		world->bytes[i] = fb_alloc(LEN, 1);
	fill(world->bytes[0], LEN, 77);
	memset(world->bytes[0] + 3 * MIB, 0, 2 * MIB);
	memcpy(world->bytes[1], world->bytes[0], LEN);
	fill(world->bytes[1] + EDIT_AT, EDIT_LEN, 5);
	fill(world->bytes[2], LEN, 78);
	assert_non_null(mkdtemp(dir));
	assert_ok(fb_copier_open(&spec, NULL, &copier, &err));
	for (unsigned i = 0; i < COUNT; i++)
		copy_volume(world, copier, i);
	fb_copier_close(copier);
	assert_ok(fb_io_remove_tree(dir, &err));
	store_ops = world->repo.store->ops;
	world->far = *store_ops;
	world->far.parallel = 16;
	world->far.get_range = count_bytes;
	world->repo.store->ops = &world->far;
	pack_bytes = 0;
	*state = world;
	return 0;
}

static int
end_world(void **state)
{
	struct world *world = *state;

	world->repo.store->ops = store_ops;
	fb_tables_free(world->repo.tables);
	fb_store_close(world->repo.store);
	for (unsigned i = 0; i < COUNT; i++)
		free(world->bytes[i]);
	free(world);
	return 0;
}

/* A volume that is read, and all that was put. */
struct reader {
	struct world *world;
	struct fb_volumes *volumes;
	unsigned number;
	uint64_t from, end;
	bool expected;
	uint64_t fail_at; /* what is put there, or passed, fails; 0: nothing */
	atomic_bool cancel, cancel_soon;
	pthread_t thread;

	uint8_t *got;
	pthread_mutex_t lock;
	uint64_t put, passed;
	int rc;
	struct fb_error err;
};

static int
take(void *arg, uint64_t offset, const void *bytes, size_t len,
    struct fb_error *error)
{
	struct reader *reader = arg;

	if (reader->fail_at > 0 && offset + len > reader->fail_at)
		return fb_fail(error, FB_ENOSPACE, "full");
	if (atomic_load(&reader->cancel_soon))
		atomic_store(&reader->cancel, true);
	/* Inside of what was asked for, and no byte twice. */
	assert_true(offset >= reader->from && offset + len <= reader->end);
	(void)pthread_mutex_lock(&reader->lock);
	assert_null(memchr(reader->got + offset, 1, len));
	memset(reader->got + offset, 1, len);
	reader->put += len;
	(void)pthread_mutex_unlock(&reader->lock);
	assert_memory_equal(
	    bytes, reader->world->bytes[reader->number] + offset, len);
	return FB_OK;
}

static int
see_passed(void *arg, uint64_t offset, struct fb_error *error)
{
	struct reader *reader = arg;
	const uint8_t *bytes = reader->world->bytes[reader->number];

	uint64_t missing = 0;

	assert_true(offset >= reader->passed && offset <= reader->end);
	(void)pthread_mutex_lock(&reader->lock);
	for (uint64_t i = reader->passed; i < offset; i++)
		missing += reader->got[i] == 0 && bytes[i] != 0;
	(void)pthread_mutex_unlock(&reader->lock);
	assert_int_equal(missing, 0);
	reader->passed = offset;
	return error == NULL ? FB_EBUG : FB_OK;
}

static void *
read_one(void *arg)
{
	struct reader *reader = arg;
	const struct fb_volume_sink sink = { take, see_passed, reader };
	struct fb_volume_reader *volume;

	assert_ok(fb_volume_open(&reader->world->repo,
	    &reader->world->recipes[reader->number], &volume, &reader->err));
	reader->rc = fb_volumes_read(reader->volumes, volume, reader->from,
	    reader->end, reader->expected, &reader->cancel, &sink,
	    &reader->err);
	fb_volume_close(volume);
	return NULL;
}

static void
make_reader(struct reader *reader, struct world *world,
    struct fb_volumes *volumes, unsigned number)
{
	*reader = (struct reader){ .world = world, .volumes = volumes,
		.number = number, .end = LEN, .got = fb_alloc(LEN, 1) };
	(void)pthread_mutex_init(&reader->lock, NULL);
}

/* All of them at once, together from the first byte on. */
static void
read_together(struct reader *readers, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		readers[i].expected = true;
		fb_volumes_expect(readers[i].volumes);
	}
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(pthread_create(&readers[i].thread, NULL,
		                     read_one, &readers[i]),
		    0);
	for (unsigned i = 0; i < count; i++)
		(void)pthread_join(readers[i].thread, NULL);
}

static void
end_reader(struct reader *reader)
{
	(void)pthread_mutex_destroy(&reader->lock);
	free(reader->got);
}

static void
assert_whole(struct reader *reader)
{
	assert_ok(reader->rc);
	assert_int_equal(reader->passed, reader->end);
}

static void
what_volumes_share_comes_once(void **state)
{
	struct fb_volumes *volumes =
	    fb_volumes_new(&((struct world *)*state)->repo, 2);
	struct reader readers[2];
	uint64_t alone, both;

	make_reader(&readers[0], *state, volumes, 0);
	read_together(readers, 1);
	assert_whole(&readers[0]);
	assert_int_equal(readers[0].put, LEN - 2 * MIB);
	end_reader(&readers[0]);
	alone = atomic_exchange(&pack_bytes, 0);

	for (unsigned i = 0; i < 2; i++)
		make_reader(&readers[i], *state, volumes, i);
	read_together(readers, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_whole(&readers[i]);
		end_reader(&readers[i]);
	}
	/* The edit, two chunks that it cut, and what lies between. */
	both = atomic_load(&pack_bytes);
	assert_true(both > alone);
	assert_true(both < alone + EDIT_LEN + 2 * MIB);
	fb_volumes_free(volumes);
}

static void
a_part_of_a_volume_is_no_more_than_that(void **state)
{
	struct fb_volumes *volumes =
	    fb_volumes_new(&((struct world *)*state)->repo, 2);
	struct reader readers[3];

	for (unsigned i = 0; i < 3; i++) {
		make_reader(&readers[i], *state, volumes, i);
		readers[i].from = readers[i].passed = i * MIB + 4711;
		readers[i].end = LEN - i * (9 * MIB - 17);
	}
	/* Nothing at all is a part, too. */
	readers[2].from = readers[2].passed = readers[2].end;
	read_together(readers, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_whole(&readers[i]);
	assert_int_equal(readers[2].put, 0);
	assert_int_equal(
	    readers[0].put, LEN - readers[0].from - 2 * MIB);
	for (unsigned i = 0; i < 3; i++)
		end_reader(&readers[i]);
	fb_volumes_free(volumes);
}

static void
more_than_fit_at_once_come_all(void **state)
{
	struct fb_volumes *volumes =
	    fb_volumes_new(&((struct world *)*state)->repo, 0);
	struct reader readers[12];

	for (unsigned i = 0; i < 12; i++) {
		make_reader(&readers[i], *state, volumes, i % COUNT);
		readers[i].from = readers[i].passed = i * MIB;
	}
	/* One that was expected does not come after all. */
	fb_volumes_expect(volumes);
	fb_volumes_forgo(volumes);
	read_together(readers, 12);
	for (unsigned i = 0; i < 12; i++) {
		assert_whole(&readers[i]);
		end_reader(&readers[i]);
	}
	fb_volumes_free(volumes);
}

static void
who_fails_or_stops_does_so_alone(void **state)
{
	struct fb_volumes *volumes =
	    fb_volumes_new(&((struct world *)*state)->repo, 2);
	struct reader readers[4];

	for (unsigned i = 0; i < 4; i++)
		make_reader(&readers[i], *state, volumes, i % 2);
	readers[0].fail_at = 10 * MIB;
	readers[3].cancel_soon = true;
	read_together(readers, 4);
	assert_fails(FB_ENOSPACE, readers[0].rc);
	assert_string_equal(readers[0].err.msg, "full");
	assert_whole(&readers[1]);
	assert_whole(&readers[2]);
	assert_fails(FB_ECANCELED, readers[3].rc);
	for (unsigned i = 0; i < 4; i++)
		end_reader(&readers[i]);
	fb_volumes_free(volumes);
}

/* The first chunk of the volume that begins at or after `offset`. */
struct search {
	uint64_t offset;
	struct fb_volume_chunk chunk;
	bool found;
};

static int
find_chunk(uint64_t offset, uint64_t length,
    const struct fb_volume_chunk *chunk, void *arg, struct fb_error *error)
{
	struct search *search = arg;

	(void)length;
	(void)error;
	if (search->found || chunk == NULL || offset < search->offset)
		return FB_OK;
	search->chunk = *chunk;
	search->found = true;
	return FB_OK;
}

static int
find_pack(const struct fb_recipe_pack *pack, void *arg, struct fb_error *error)
{
	struct search *search = arg;

	(void)error;
	if (search->chunk.pack-- == 0)
		search->chunk.stored.id = pack->id;
	return FB_OK;
}

/* A stored byte of the chunk that is at `offset` of volume `number`. */
static uint32_t
find_byte(struct world *world, unsigned number, uint64_t offset,
    char key[FB_OBJECT_KEY_SIZE])
{
	FB_AUTO_VOLUME struct fb_volume_reader *volume = NULL;
	struct search search = { .offset = offset };
	uint32_t at;

	assert_ok(fb_volume_open(
	    &world->repo, &world->recipes[number], &volume, &err));
	assert_ok(fb_volume_chunks(volume, 0, LEN, find_chunk, &search, &err));
	assert_true(search.found);
	at = search.chunk.stored.offset + search.chunk.stored.stored_length / 2;
	assert_ok(fb_volume_packs(volume, find_pack, &search, &err));
	fb_pack_key(&search.chunk.stored.id, key);
	return at;
}

static void
damage(struct world *world, unsigned number, uint64_t offset)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	uint32_t at = find_byte(world, number, offset, key);

	assert_ok(fb_store_get(
	    world->repo.store, key, 16 * MIB, &bytes, NULL, &err));
	bytes.data[at] ^= 1;
	assert_ok(fb_store_remove(world->repo.store, key, &err));
	assert_ok(fb_store_create(
	    world->repo.store, key, fb_buf_span(&bytes), &err));
}

static void
damage_is_met_by_those_that_need_it(void **state)
{
	struct world *world = *state;
	struct fb_volumes *volumes = fb_volumes_new(&world->repo, 2);
	struct reader readers[3];

	/* It lies among what the clones share, and only the first has it. */
	damage(world, 0, EDIT_AT + EDIT_LEN / 2);
	for (unsigned i = 0; i < 3; i++)
		make_reader(&readers[i], world, volumes, i);
	read_together(readers, 3);
	assert_fails(FB_ECORRUPT, readers[0].rc);
	assert_string_equal(readers[0].err.id, "E-CHUNK");
	assert_whole(&readers[1]);
	assert_whole(&readers[2]);
	for (unsigned i = 0; i < 3; i++)
		end_reader(&readers[i]);

	/* And now what both have: the stranger does not mind. */
	damage(world, 1, MIB);
	for (unsigned i = 1; i < 3; i++)
		make_reader(&readers[i], world, volumes, i);
	read_together(readers + 1, 2);
	assert_fails(FB_ECORRUPT, readers[1].rc);
	assert_whole(&readers[2]);
	for (unsigned i = 1; i < 3; i++)
		end_reader(&readers[i]);
	fb_volumes_free(volumes);
}

/* Others are expected, and do not come. */
static void
who_waits_to_begin_can_be_stopped(void **state)
{
	struct fb_volumes *volumes =
	    fb_volumes_new(&((struct world *)*state)->repo, 2);
	struct reader readers[10];

	fb_volumes_expect(volumes);
	for (unsigned i = 0; i < 10; i++)
		make_reader(&readers[i], *state, volumes, i % COUNT);
	/* More than there are slots, so that some wait for one. */
	for (unsigned i = 1; i < 10; i++)
		assert_int_equal(pthread_create(&readers[i].thread, NULL,
		                     read_one, &readers[i]),
		    0);
	for (unsigned i = 1; i < 10; i++)
		atomic_store(&readers[i].cancel, true);
	for (unsigned i = 1; i < 10; i++) {
		(void)pthread_join(readers[i].thread, NULL);
		assert_fails(FB_ECANCELED, readers[i].rc);
	}
	fb_volumes_forgo(volumes);
	read_together(&readers[0], 1);
	assert_whole(&readers[0]);
	for (unsigned i = 0; i < 10; i++)
		end_reader(&readers[i]);
	fb_volumes_free(volumes);
}

static int
compare(uint64_t offset, const void *bytes, uint64_t len, void *arg,
    struct fb_error *error)
{
	const struct world *world = arg;

	(void)error;
	if (bytes != NULL)
		assert_memory_equal(
		    bytes, world->bytes[1] + offset, (size_t)len);
	return FB_OK;
}

/* What is got with others, or a gap, and fails is got by itself. */
static void
a_fetch_that_fails_harms_no_neighbours(void **state)
{
	struct world *world = *state;
	struct fb_volumes *volumes = fb_volumes_new(&world->repo, 2);
	FB_AUTO_VOLUME struct fb_volume_reader *volume = NULL;
	struct reader readers[3];

	bad_at = find_byte(world, 0, EDIT_AT + EDIT_LEN / 2, bad_key);
	world->far.get_range = refuse_bad;
	world->far.read = read_unless_bad;
	/* Two neighbours, and who needs all but what lies between. */
	for (unsigned i = 0; i < 3; i++)
		make_reader(&readers[i], world, volumes, i / 2);
	readers[0].from = readers[0].passed = 6 * MIB;
	readers[0].end = readers[1].from = readers[1].passed = 8 * MIB;
	readers[1].end = 9 * MIB;
	read_together(readers, 2);
	assert_fails(FB_EUNREACH, readers[0].rc);
	assert_whole(&readers[1]);
	read_together(readers + 2, 1);
	assert_whole(&readers[2]);
	for (unsigned i = 0; i < 3; i++)
		end_reader(&readers[i]);
	fb_volumes_free(volumes);

	assert_ok(fb_volume_open(
	    &world->repo, &world->recipes[1], &volume, &err));
	assert_ok(fb_volume_read(
	    volume, 0, LEN, 2, NULL, compare, world, &err));
	bad_key[0] = '\0';
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, end_world)
	const struct CMUnitTest tests[] = {
		TEST(what_volumes_share_comes_once),
		TEST(a_part_of_a_volume_is_no_more_than_that),
		TEST(more_than_fit_at_once_come_all),
		TEST(who_fails_or_stops_does_so_alone),
		TEST(damage_is_met_by_those_that_need_it),
		TEST(a_fetch_that_fails_harms_no_neighbours),
		TEST(who_waits_to_begin_can_be_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
