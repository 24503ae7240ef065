#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#include "../../src/repo/tables.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"
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
	size_t len;
	struct fb_digest recipe;
	struct fb_id_list packs;
};

static void
begin_world(struct world *world, uint32_t chunk)
{
	*world = (struct world){ 0 };
	assert_ok(fb_store_open("mem:", true, NULL, &world->repo.store, &err));
	world->repo.tables =
	    fb_tables_new(world->repo.store, FB_TABLES_BYTES_MAX);
	world->repo.format.chunk_min = chunk / 4;
	world->repo.format.chunk_average = chunk;
	world->repo.format.chunk_max = chunk * 4;
}

/* Store the bytes; those volumes that come first are there already, and what
 * they share is stored once. */
static void
store_world(struct world *world, struct fb_span before, uint64_t pack_size)
{
	struct fb_session session = { .id = SESSION };
	char dir[] = "/tmp/fleetbak-volume-XXXXXX";
	struct fb_copier_spec spec = { .repo = &world->repo,
		.session = &session,
		.spool_dir = dir,
		.workers = 1,
		.level = 1,
		.pack_size = pack_size };
	struct fb_span volumes[] = { before, { world->bytes, world->len } };
	struct fb_copier *copier;
	struct fb_copy_result result;

	assert_non_null(mkdtemp(dir));
	assert_ok(fb_copier_open(&spec, NULL, &copier, &err));
	for (size_t i = before.len > 0 ? 0 : 1; i < 2; i++) {
		struct fb_copy *copy;
		uint64_t offset;

		assert_ok(fb_copy_begin(copier, i == 0 ? "b" : "m", "disk",
		    false, false, &copy, &offset, &err));
		assert_ok(fb_copy_data(
		    copy, volumes[i].ptr, volumes[i].len, &err));
		assert_ok(fb_copy_finish(copy, &result, &err));
	}
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_recipe(
	    copier, "m", &world->recipe, &world->packs, &err));
	fb_copier_close(copier);
	assert_ok(fb_io_remove_tree(dir, &err));
}

static void
make_world(struct world *world)
{
	uint64_t seed = 77;

	begin_world(world, 4096);
	world->len = LEN;
	world->bytes = fb_alloc(LEN, 1);
	for (size_t i = 0; i < LEN; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (i / 131072 != 2)
			world->bytes[i] = (uint8_t)(seed >> (i % 3 ? 60 : 50));
	}
	store_world(world, (struct fb_span){ 0 }, 60000);
	assert_true(world->packs.count >= 3);
}

static void
end_world(struct world *world)
{
	fb_tables_free(world->repo.tables);
	fb_store_close(world->repo.store);
	free(world->bytes);
	free(world->packs.ids);
}

/* Tiny volumes side by side in one pack: each is one chunk of it. */
#define TINY_CHUNKS 50000u
#define TINY_VOLUMES 20u

static atomic_size_t pack_reads;
static const struct fb_store_ops *store_ops;
static atomic_bool away; /* the store */

static int
count_pack_reads(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *error)
{
	pack_reads += strncmp(key, "packs/", 6) == 0;
	if (away)
		return fb_fail(error, FB_EUNREACH, "it is away");
	return store_ops->get_range(store, key, offset, bytes, len, error);
}

static void
make_tiny_pack(struct fb_repo *repo, struct fb_recipe_pack *ret_pack)
{
	struct fb_pack_table table = { .session = SESSION,
		.chunks = fb_alloc(TINY_CHUNKS, sizeof(*table.chunks)),
		.count = TINY_CHUNKS,
		.offset = TINY_CHUNKS };
	FB_AUTO_BUF struct fb_buf pack = { 0 }, text = { 0 };
	char key[FB_OBJECT_KEY_SIZE];

	for (uint32_t i = 0; i < TINY_CHUNKS; i++) {
		table.chunks[i] = (struct fb_pack_chunk){ .offset = i,
			.stored_length = 1,
			.length = 1 };
		memcpy(table.chunks[i].id.bytes, &i, sizeof(i));
		fb_buf_add(&pack, "x", 1);
	}
	fb_pack_table_encode(&table, &text);
	fb_buf_add_le32(&pack, FB_PACK_MAGIC);
	fb_buf_add_le32(&pack, (uint32_t)text.len);
	fb_buf_add(&pack, text.data, text.len);
	*ret_pack = (struct fb_recipe_pack){ .table_offset = TINY_CHUNKS,
		.table_length = (uint32_t)text.len };
	fb_digest_of(fb_buf_span(&pack), &ret_pack->id);
	fb_digest_of(fb_buf_span(&text), &ret_pack->table_digest);
	fb_pack_key(&ret_pack->id, key);
	assert_ok(fb_store_create(repo->store, key, fb_buf_span(&pack), &err));
	fb_pack_table_release(&table);
}

static void
make_tiny_volume(struct fb_repo *repo, const struct fb_recipe_pack *pack,
    uint32_t number, struct fb_digest *ret_recipe)
{
	struct fb_recipe_head head = { .session = SESSION, .kind = "disk",
		.size = 1, .pack_count = 1 };
	struct fb_recipe_run run = { .length = 1, .pack_offset = number,
		.pack_length = 1, .first = number, .count = 1 };
	FB_AUTO_BUF struct fb_buf recipe = { 0 };
	struct fb_digest id = { 0 };
	struct fb_merkle merkle;
	char key[FB_OBJECT_KEY_SIZE];

	memcpy(id.bytes, &number, sizeof(number));
	fb_merkle_init(&merkle);
	fb_merkle_add_data(&merkle, 1, &id);
	fb_merkle_root(&merkle, &head.root);
	fb_recipe_add_head(&recipe, &head);
	fb_recipe_add_pack(&recipe, pack);
	fb_recipe_add_runs(&recipe, 1);
	fb_recipe_add_run(&recipe, &run);
	fb_recipe_add_end(&recipe);
	fb_digest_of(fb_buf_span(&recipe), ret_recipe);
	fb_recipe_key(ret_recipe, key);
	assert_ok(
	    fb_store_create(repo->store, key, fb_buf_span(&recipe), &err));
}

static void
a_packs_table_is_read_once_for_all_its_volumes(void **unused)
{
	struct fb_repo repo = { 0 };
	struct fb_store_ops counting;
	struct fb_recipe_pack pack;

	(void)unused;
	pack_reads = 0;
	assert_ok(fb_store_open("mem:", true, NULL, &repo.store, &err));
	repo.tables = fb_tables_new(repo.store, FB_TABLES_BYTES_MAX);
	store_ops = repo.store->ops;
	counting = *store_ops;
	counting.get_range = count_pack_reads;
	repo.store->ops = &counting;
	make_tiny_pack(&repo, &pack);
	for (uint32_t i = 0; i < TINY_VOLUMES; i++) {
		FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
		struct fb_digest recipe;

		make_tiny_volume(
		    &repo, &pack, i * (TINY_CHUNKS / TINY_VOLUMES), &recipe);
		assert_ok(fb_volume_open(&repo, &recipe, &reader, &err));
		assert_ok(fb_volume_check(reader, &err));
	}
	assert_int_equal(pack_reads, 1);
	fb_tables_free(repo.tables);
	fb_store_close(repo.store);
}

/* What is kept has a bound; what is in use stays, and stays right. */
static void
tables_are_dropped_when_there_is_no_room(void **unused)
{
	struct world world;
	size_t first;

	(void)unused;
	make_world(&world);
	store_ops = world.repo.store->ops;
	pack_reads = 0;
	for (int small = 0; small < 2; small++) {
		FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
		struct fb_store_ops counting = *store_ops;

		counting.get_range = count_pack_reads;
		world.repo.store->ops = &counting;
		fb_tables_free(world.repo.tables);
		world.repo.tables = fb_tables_new(
		    world.repo.store, small ? 1 : FB_TABLES_BYTES_MAX);
		pack_reads = 0;
		assert_ok(fb_volume_open(
		    &world.repo, &world.recipe, &reader, &err));
		assert_ok(fb_volume_check(reader, &err));
		first = pack_reads;
		assert_true(first >= world.packs.count);
		assert_ok(fb_volume_check(reader, &err));
		assert_int_equal(pack_reads, small ? 2 * first : first);
		world.repo.store->ops = store_ops;
	}
	end_world(&world);
}

static int
compare(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *error)
{
	const struct world *world = arg;

	(void)error;
	assert_true(length <= world->len && offset <= world->len - length);
	if (bytes != NULL) /* whatever is damaged, nothing wrong comes out */
		assert_memory_equal(
		    bytes, world->bytes + offset, (size_t)length);
	return FB_OK;
}

/* As a process begins: no table is known. */
static void
forget_tables(struct world *world)
{
	fb_tables_free(world->repo.tables);
	world->repo.tables =
	    fb_tables_new(world->repo.store, FB_TABLES_BYTES_MAX);
}

/* Open, check and read everything. */
static int
read_all(struct world *world)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	int rc, rc_check;

	err = (struct fb_error){ 0 };
	forget_tables(world);
	rc = fb_volume_open(&world->repo, &world->recipe, &reader, &err);
	if (rc < 0)
		return rc;
	rc_check = fb_volume_check(reader, &err);
	rc = fb_volume_read(
	    reader, 0, world->len, 2, NULL, compare, world, &err);
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
		forget_tables(&world);
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
	struct fb_volume_chunk *chunks; /* room for all */
	size_t count;
	struct { uint64_t offset, length; } places[1024];
};

static int
check_chunk(uint64_t offset, uint64_t length,
    const struct fb_volume_chunk *chunk, void *arg, struct fb_error *error)
{
	struct walk *walk = arg;
	struct fb_digest digest;

	(void)error;
	assert_int_equal(offset, walk->at);
	walk->at += length;
	if (chunk == NULL) {
		walk->zeros += length;
		return FB_OK;
	}
	fb_digest_pieces(
	    (struct fb_span){ walk->bytes + offset, (size_t)length }, &digest);
	assert_memory_equal(&digest, &chunk->stored.id, sizeof(digest));
	assert_true(walk->count < FB_COUNT(walk->places));
	walk->places[walk->count].offset = offset;
	walk->places[walk->count].length = length;
	walk->chunks[walk->count++] = *chunk;
	return FB_OK;
}

/* All of them at once, and each alone. */
static void
open_again(struct fb_volume_reader *reader, const struct walk *walk)
{
	struct fb_chunk_reader *opener = fb_chunk_reader_new();
	FB_AUTO_FREE uint8_t *content = fb_alloc(LEN, 1);
	size_t at = 0;

	assert_true(walk->count > 1);
	assert_ok(fb_chunk_reader_read(
	    opener, reader, walk->chunks, NULL, walk->count, content, &err));
	for (size_t i = 0; i < walk->count; i++) {
		size_t len = (size_t)walk->places[i].length;
		const uint8_t *expected = walk->bytes + walk->places[i].offset;

		assert_memory_equal(content + at, expected, len);
		memset(content + at, 0xa5, len);
		assert_ok(fb_chunk_reader_read(opener, reader, &walk->chunks[i],
		    NULL, 1, content + at, &err));
		assert_memory_equal(content + at, expected, len);
		at += len;
	}
	fb_chunk_reader_free(opener);
}

static void
chunks_are_visited_without_their_bytes(void **unused)
{
	struct world world;
	struct fb_volume_reader *reader;
	struct walk walk;
	FB_AUTO_FREE struct fb_volume_chunk *chunks =
	    fb_alloc(FB_COUNT(walk.places), sizeof(*chunks));

	(void)unused;
	make_world(&world);
	walk = (struct walk){ .bytes = world.bytes, .chunks = chunks };
	assert_ok(
	    fb_volume_open(&world.repo, &world.recipe, &reader, &err));
	assert_ok(fb_volume_chunks(
	    reader, 0, UINT64_MAX, check_chunk, &walk, &err));
	assert_int_equal(walk.at, LEN);
	assert_int_equal(walk.zeros, 131072);
	open_again(reader, &walk);
	fb_volume_close(reader);
	end_world(&world);
}

/* The same store as if it were far away. */
static atomic_size_t requests;
static atomic_size_t fail_at; /* this request, when it has brought some */
static bool stays_away;       /* the store, from then on */

static int
read_far(struct fb_store *store, const char *key, uint64_t offset,
    uint64_t len, fb_store_take *take, void *arg, struct fb_error *error)
{
	bool fails = ++requests == fail_at;
	uint8_t piece[5000];
	int rc = FB_OK;

	while (rc == FB_OK && len > 0) {
		size_t step =
		    len < sizeof(piece) ? (size_t)len : sizeof(piece);

		rc = store_ops->get_range(
		    store, key, offset, piece, step, error);
		if (rc == FB_OK)
			rc = take(
			    arg, (struct fb_span){ piece, step }, error);
		offset += step;
		len -= step;
		if (rc < 0 || !fails)
			continue;
		away = stays_away;
		rc = fb_fail(error, FB_EUNREACH, "cut off");
	}
	return rc;
}

static void
move_away(struct world *world, struct fb_store_ops *far)
{
	store_ops = world->repo.store->ops;
	*far = *store_ops;
	far->parallel = 16;
	far->read = read_far;
	far->get_range = count_pack_reads;
	world->repo.store->ops = far;
	forget_tables(world);
	requests = pack_reads = fail_at = 0;
}

static int
note_end(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *error)
{
	struct walk *walk = arg;

	(void)error;
	assert_int_equal(offset, walk->at);
	if (bytes != NULL)
		assert_int_equal(
		    memcmp(bytes, walk->bytes + offset, (size_t)length), 0);
	walk->at += length;
	return FB_OK;
}

/* Read from far away; returns at how many bytes it ended. */
static uint64_t
read_from_far(struct world *world, int *ret_rc)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct walk walk = { .bytes = world->bytes };

	forget_tables(world);
	assert_ok(
	    fb_volume_open(&world->repo, &world->recipe, &reader, &err));
	requests = 0;
	*ret_rc = fb_volume_read(
	    reader, 0, world->len, 0, NULL, note_end, &walk, &err);
	return walk.at;
}

/* The first request waits until there is a second one, for a minute at most. */
static pthread_mutex_t begun_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t begun_changed = PTHREAD_COND_INITIALIZER;
static unsigned begun;

static int
read_beside_another(struct fb_store *store, const char *key, uint64_t offset,
    uint64_t len, fb_store_take *take, void *arg, struct fb_error *error)
{
	struct timespec end;
	int rc = 0;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 60;
	(void)pthread_mutex_lock(&begun_lock);
	begun++;
	(void)pthread_cond_broadcast(&begun_changed);
	while (rc == 0 && begun < 2)
		rc = pthread_cond_timedwait(
		    &begun_changed, &begun_lock, &end);
	(void)pthread_mutex_unlock(&begun_lock);
	if (rc != 0)
		return fb_fail(error, FB_ETIMEOUT, "it is alone");
	return read_far(store, key, offset, len, take, arg, error);
}

static void
from_far_away_several_requests_are_under_way_at_once(void **unused)
{
	struct world world;
	struct fb_store_ops far;
	int rc;

	(void)unused;
	make_world(&world);
	move_away(&world, &far);
	far.read = read_beside_another;
	begun = 0;
	assert_int_equal(read_from_far(&world, &rc), LEN);
	assert_ok(rc);
	world.repo.store->ops = store_ops;
	end_world(&world);
}

static void
from_far_away_a_pack_comes_by_one_request(void **unused)
{
	struct world world;
	struct fb_store_ops far;
	uint64_t size;
	int rc;

	(void)unused;
	make_world(&world);
	move_away(&world, &far);
	assert_int_equal(read_from_far(&world, &rc), LEN);
	assert_ok(rc);
	assert_int_equal(requests, world.packs.count);
	assert_int_equal(pack_reads, world.packs.count); /* the tables */
	requests = 0;
	for (size_t i = 0; i < world.packs.count; i++)
		assert_ok(fb_pack_verify(
		    &world.repo, &world.packs.ids[i], true, &size, &err));
	assert_int_equal(requests, world.packs.count);
	assert_int_equal(pack_reads, world.packs.count);
	world.repo.store->ops = store_ops;
	end_world(&world);
}

/* What came before is given out, and nothing hangs. */
static void
from_far_away_a_failure_comes_in_its_place(void **unused)
{
	struct world world;
	struct fb_store_ops far;
	uint64_t at;
	int rc;

	(void)unused;
	make_world(&world);
	move_away(&world, &far);
	for (size_t i = 1; i <= world.packs.count; i++) {
		fail_at = i;
		stays_away = true;
		at = read_from_far(&world, &rc);
		assert_fails(FB_EUNREACH, rc);
		assert_true(at < LEN);
		away = stays_away = false;
	}
	world.repo.store->ops = store_ops;
	end_world(&world);
}

static void
damage_is_found_far_away_too(void **unused)
{
	struct world world;
	struct fb_store_ops far;
	FB_AUTO_BUF struct fb_buf pack = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;

	(void)unused;
	make_world(&world);
	fb_pack_key(&world.packs.ids[1], key);
	get_object(&world, key, &pack);
	move_away(&world, &far);
	for (size_t at = 0; at < pack.len;
	     at += at + 120 < pack.len ? 2797 : 37) {
		pack.data[at] ^= 4;
		put_object(&world, key, fb_buf_span(&pack));
		assert_fails(FB_ECORRUPT, read_all(&world));
		assert_non_null(strstr(err.msg, key));
		assert_fails(FB_ECORRUPT,
		    fb_pack_verify(&world.repo, &world.packs.ids[1], true,
		        &size, &err));
		pack.data[at] ^= 4;
	}
	for (size_t len = 0; len < pack.len; len += pack.len / 5 + 1) {
		put_object(
		    &world, key, (struct fb_span){ pack.data, len });
		assert_fails(FB_ECORRUPT, read_all(&world));
		assert_fails(FB_ECORRUPT,
		    fb_pack_verify(&world.repo, &world.packs.ids[1], true,
		        &size, &err));
	}
	world.repo.store->ops = store_ops;
	end_world(&world);
}

#define LARGE ((size_t)44 << 20)
#define SHARD ((size_t)1 << 19) /* of the volume that came before */

/*
 * More than there is room for, half of it in pieces that lie anywhere: bytes
 * of several packs by turns, forwards and backwards.
 */
static void
from_far_away_bytes_come_whole_whatever_their_order(void **unused)
{
	struct world world;
	struct fb_store_ops far;
	FB_AUTO_FREE uint8_t *before = fb_alloc(LARGE / 2, 1);
	uint64_t seed = 5;
	int rc;

	(void)unused;
	begin_world(&world, 65536);
	world.len = LARGE;
	world.bytes = fb_alloc(LARGE, 1);
	fb_random(before, LARGE / 2);
	fb_random(world.bytes, LARGE / 2);
	for (size_t at = LARGE / 2; at < LARGE; at += SHARD) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		memcpy(world.bytes + at,
		    before + (seed >> 40) % (LARGE / 2 / SHARD) * SHARD,
		    SHARD);
	}
	store_world(
	    &world, (struct fb_span){ before, LARGE / 2 }, 3u << 20);
	move_away(&world, &far);
	assert_true(read_from_far(&world, &rc) == LARGE);
	assert_ok(rc);
	/* 8 packs for the first half; of the second at most one for each piece,
	 * and one for what lies where two of them meet. */
	assert_in_range(requests, 8, 8 + 2 * (LARGE / 2 / SHARD));
	world.repo.store->ops = store_ops;
	end_world(&world);
}

static void
chunks_that_are_near_each_other_come_at_once(void **unused)
{
	struct world world;
	struct fb_store_ops far;
	struct fb_volume_reader *reader;
	struct walk walk;
	FB_AUTO_FREE struct fb_volume_chunk *chunks =
	    fb_alloc(FB_COUNT(walk.places), sizeof(*chunks));
	FB_AUTO_FREE uint8_t *content = fb_alloc(LEN, 1);
	struct fb_chunk_reader *opener = fb_chunk_reader_new();
	bool wanted[1024] = { 0 };
	size_t at = 0;

	(void)unused;
	make_world(&world);
	move_away(&world, &far);
	walk = (struct walk){ .bytes = world.bytes, .chunks = chunks };
	assert_ok(
	    fb_volume_open(&world.repo, &world.recipe, &reader, &err));
	assert_ok(fb_volume_chunks(
	    reader, 0, UINT64_MAX, check_chunk, &walk, &err));
	for (size_t i = 0; i < walk.count; i++)
		wanted[i] = i % 3 != 1;
	pack_reads = 0;
	assert_ok(fb_chunk_reader_read(opener, reader, walk.chunks, wanted,
	    walk.count, content, &err));
	assert_int_equal(pack_reads, world.packs.count);
	for (size_t i = 0; i < walk.count; i++) {
		size_t len = (size_t)walk.places[i].length;

		if (wanted[i])
			assert_memory_equal(content + at,
			    walk.bytes + walk.places[i].offset, len);
		at += len;
	}
	fb_chunk_reader_free(opener);
	fb_volume_close(reader);
	world.repo.store->ops = store_ops;
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
		cmocka_unit_test(
		    a_packs_table_is_read_once_for_all_its_volumes),
		cmocka_unit_test(tables_are_dropped_when_there_is_no_room),
		cmocka_unit_test(from_far_away_a_pack_comes_by_one_request),
		cmocka_unit_test(
		    from_far_away_several_requests_are_under_way_at_once),
		cmocka_unit_test(from_far_away_a_failure_comes_in_its_place),
		cmocka_unit_test(damage_is_found_far_away_too),
		cmocka_unit_test(
		    from_far_away_bytes_come_whole_whatever_their_order),
		cmocka_unit_test(chunks_that_are_near_each_other_come_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
