/* The index of chunks: in memory, in files, and what the files survive. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "faults.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/copier.h"

#include "../../src/repo/index_files.h"
#include "../../src/repo/segment_impl.h"
#include "../../src/repo/tables.h"

#define SESSION "20261121-013205123-3fa92c17"
#define LATER   "20261122-013205123-3fa92c17"
#define MIB     (1u << 20)

/* An index in memory so small that it is full soon. */
#define SLOTS 64

static struct fb_error err;

struct dir {
	char path[64];
};

static int
make_dir(void **state)
{
	struct dir *dir = fb_alloc(1, sizeof(*dir));

	(void)snprintf(
	    dir->path, sizeof(dir->path), "/tmp/fleetbak-index-XXXXXX");
	assert_non_null(mkdtemp(dir->path));
	*state = dir;
	return 0;
}

static int
remove_dir(void **state)
{
	struct dir *dir = *state;

	assert_ok(fb_io_remove_tree(dir->path, &err));
	free(dir);
	return 0;
}

static uint64_t
draw(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* In memory. */

static void
a_full_index_takes_no_more_and_gives_all_in_order(void **unused)
{
	struct fb_index index = { .slots_max = 1u << 13 };
	FB_AUTO_FREE struct fb_index_entry *all = NULL;
	uint64_t seed = 1;

	(void)unused;
	assert_null(fb_index_find(&index, 5));
	for (uint32_t i = 0; i < 10000; i++) {
		/* Many at the end of the table, and behind it. */
		uint64_t prefix = i % 2 ? draw(&seed) : UINT64_MAX - i;

		assert_int_equal(fb_index_full(&index),
		    index.count >= fb_index_room(&index));
		fb_index_add(&index,
		    &(struct fb_index_entry){ prefix, 7, i }, false);
		assert_int_equal(fb_index_find(&index, prefix) != NULL,
		    i < fb_index_room(&index));
	}
	assert_true(fb_index_full(&index));
	assert_int_equal(index.count, fb_index_room(&index));
	all = fb_index_sorted(&index);
	for (size_t i = 0; i < index.count; i++) {
		assert_true(i == 0 || all[i].prefix > all[i - 1].prefix);
		assert_int_equal(
		    fb_index_find(&index, all[i].prefix)->chunk, all[i].chunk);
	}
	fb_index_clear(&index);
	assert_int_equal(index.count, 0);
	assert_null(fb_index_find(&index, all[0].prefix));
	fb_index_release(&index);
}

/* Segments. */

static struct fb_hint_pack
pack_of(uint32_t number)
{
	struct fb_hint_pack pack = { .table_offset = number * 3 + 1,
		.table_length = number + 1 };

	memset(pack.id.bytes, (int)number, FB_DIGEST_LEN);
	memset(pack.table_digest.bytes, (int)number + 1, FB_DIGEST_LEN);
	return pack;
}

static int
compare_prefixes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* `count` prefixes of this seed, `packs` packs; entry i is chunk i. */
static void
make_segment(const char *path, uint64_t seed, size_t count, uint32_t packs)
{
	uint64_t *prefixes = fb_alloc(count + 1, sizeof(*prefixes));
	struct fb_segment_writer *writer;

	for (size_t i = 0; i < count; i++)
		prefixes[i] = draw(&seed);
	qsort(prefixes, count, sizeof(*prefixes), compare_prefixes);
	assert_ok(fb_segment_begin(path, count, &writer, &err));
	for (uint32_t i = 0; i < packs; i++) {
		struct fb_hint_pack pack = pack_of(i);

		assert_ok(fb_segment_add_pack(writer, &pack, &err));
	}
	for (uint32_t i = 0; i < count; i++)
		assert_ok(fb_segment_add(writer,
		    &(struct fb_index_entry){ prefixes[i], i % packs, i },
		    &err));
	assert_ok(fb_segment_end(writer, true, &err));
	free(prefixes);
}

/* All of that seed are there, those of another are not. */
static void
assert_has(const struct fb_segment *segment, uint64_t seed, size_t count,
    uint32_t first_pack, uint32_t packs)
{
	uint64_t other = ~seed;

	for (size_t i = 0; i < count; i++) {
		uint64_t prefix = draw(&seed);
		struct fb_index_entry entry;
		struct fb_hint_pack pack, wanted;
		bool found;

		assert_ok(fb_segment_find(
		    segment, prefix, &entry, &found, &err));
		assert_true(found);
		assert_int_equal(
		    entry.pack, first_pack + entry.chunk % packs);
		assert_ok(fb_segment_pack(segment, entry.pack, &pack, &err));
		wanted = pack_of(entry.chunk % packs);
		assert_memory_equal(&pack, &wanted, sizeof(pack));
		assert_ok(fb_segment_find(
		    segment, draw(&other), &entry, &found, &err));
		assert_false(found);
	}
}

static void
a_segment_has_what_was_put_in(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 256, 257, 5000, 70000 };
	const struct dir *dir = *state;
	FB_AUTO_FREE char *path = fb_format("%s/one", dir->path);

	for (size_t i = 0; i < FB_COUNT(counts); i++)
		for (size_t max = 0; max <= MIB; max += MIB) {
			struct fb_segment *segment;

			make_segment(path, i, counts[i], 3);
			assert_ok(fb_segment_open(path, max, &segment, &err));
			assert_int_equal(
			    fb_segment_count(segment), counts[i]);
			assert_has(segment, i, counts[i], 0, 3);
			fb_segment_close(segment);
		}
}

/* Prefixes that no digests are: more in one share than are read at once. */
static void
crowded_prefixes_are_found_as_well(void **state)
{
	const struct dir *dir = *state;
	FB_AUTO_FREE char *path = fb_format("%s/one", dir->path);
	struct fb_segment_writer *writer;
	struct fb_segment *segment;
	struct fb_index_entry entry;
	bool found;

	assert_ok(fb_segment_begin(path, 9000, &writer, &err));
	assert_ok(fb_segment_add_pack(
	    writer, &(struct fb_hint_pack){ .table_length = 1 }, &err));
	for (uint32_t i = 0; i < 9000; i++)
		assert_ok(fb_segment_add(writer,
		    &(struct fb_index_entry){ 2 * (uint64_t)i + 2, 0, i },
		    &err));
	assert_ok(fb_segment_end(writer, false, &err));
	assert_ok(fb_segment_open(path, 0, &segment, &err));
	for (uint32_t i = 0; i < 18003; i++) {
		assert_ok(fb_segment_find(segment, i, &entry, &found, &err));
		assert_int_equal(found, i >= 2 && i <= 18000 && i % 2 == 0);
		if (found)
			assert_int_equal(entry.chunk, i / 2 - 1);
	}
	fb_segment_close(segment);
}

static void
merging_keeps_everything_and_the_later_of_two(void **state)
{
	const struct dir *dir = *state;
	FB_AUTO_FREE char *merged = fb_format("%s/merged", dir->path);
	struct fb_segment *sources[3], *segment;
	struct fb_index_entry entry;
	uint64_t seed = 8;
	bool found;

	for (size_t i = 0; i < 3; i++) {
		FB_AUTO_FREE char *path = fb_format("%s/%zu", dir->path, i);

		/* The last one has what the first has, and more packs. */
		make_segment(path, i == 2 ? 0 : i, 6000, i == 2 ? 5 : 2);
		assert_ok(fb_segment_open(path, MIB, &sources[i], &err));
	}
	assert_ok(fb_segment_merge(sources, 3, merged, true, &err));
	assert_ok(fb_segment_open(merged, MIB, &segment, &err));
	assert_int_equal(fb_segment_count(segment), 12000);
	assert_has(segment, 1, 6000, 2, 2);
	assert_has(segment, 0, 6000, 4, 5);
	assert_ok(fb_segment_find(segment, draw(&seed), &entry, &found, &err));
	assert_false(found);
	for (size_t i = 0; i < 3; i++)
		fb_segment_close(sources[i]);
	fb_segment_close(segment);
}

static void
turn_byte(const char *path, off_t at)
{
	FILE *file = fopen(path, "r+");
	int byte;

	assert_non_null(file);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	byte = fgetc(file);
	assert_int_equal(fseek(file, at, SEEK_SET), 0);
	assert_int_equal(fputc(byte ^ 0x41, file), byte ^ 0x41);
	assert_int_equal(fclose(file), 0);
}

static void
a_damaged_segment_is_refused(void **state)
{
	const struct dir *dir = *state;
	FB_AUTO_FREE char *path = fb_format("%s/one", dir->path);
	struct fb_segment *segment;
	struct stat st;
	off_t entries;

	make_segment(path, 1, 1000, 2);
	assert_int_equal(stat(path, &st), 0);
	entries = st.st_size - 1000 * SEGMENT_ENTRY_LEN;
	for (off_t at = 0; at < entries; at++) {
		turn_byte(path, at);
		assert_fails(FB_ECORRUPT,
		    fb_segment_open(path, at % 2 ? MIB : 0, &segment, &err));
		turn_byte(path, at);
	}
	for (off_t cut = 1; cut <= st.st_size; cut += 97) {
		assert_int_equal(truncate(path, st.st_size - cut), 0);
		assert_fails(FB_ECORRUPT,
		    fb_segment_open(path, MIB, &segment, &err));
	}
	assert_int_equal(unlink(path), 0);
	assert_fails(
	    FB_ENOTFOUND, fb_segment_open(path, MIB, &segment, &err));
}

/* Each pack's table decides; but a pack that is not there is none. */
static void
damaged_entries_name_no_other_packs(void **state)
{
	const struct dir *dir = *state;
	FB_AUTO_FREE char *path = fb_format("%s/one", dir->path);
	FB_AUTO_FREE char *merged = fb_format("%s/merged", dir->path);
	struct fb_segment *segment;
	struct stat st;
	size_t lost = 0;
	uint64_t seed = 1;

	make_segment(path, 1, 1000, 2);
	assert_int_equal(stat(path, &st), 0);
	assert_ok(fb_segment_open(path, MIB, &segment, &err));
	for (off_t i = 0; i < 1000; i++)
		turn_byte(path, st.st_size - 16 * i - (i % 2 ? 5 : 9));
	for (size_t i = 0; i < 1000; i++) {
		struct fb_index_entry entry;
		bool found;

		assert_ok(fb_segment_find(
		    segment, draw(&seed), &entry, &found, &err));
		assert_true(!found || entry.pack < 2);
		lost += !found;
	}
	assert_true(lost > 500);
	assert_fails(FB_ECORRUPT,
	    fb_segment_merge(&segment, 1, merged, true, &err));
	assert_int_equal(access(merged, F_OK), -1);
	for (off_t i = 0; i < 1000; i += 2)
		turn_byte(path, st.st_size - 16 * i - 9);
	assert_ok(fb_segment_merge(&segment, 1, merged, true, &err));
	fb_segment_close(segment);
	assert_ok(fb_segment_open(merged, MIB, &segment, &err));
	assert_int_equal(fb_segment_count(segment), 500);
	fb_segment_close(segment);
}

static void
entries_out_of_order_are_refused(void **state)
{
	const struct dir *dir = *state;
	FB_AUTO_FREE char *path = fb_format("%s/one", dir->path);
	struct fb_segment_writer *writer;

	assert_ok(fb_segment_begin(path, 2, &writer, &err));
	assert_ok(fb_segment_add(
	    writer, &(struct fb_index_entry){ 5, 0, 0 }, &err));
	assert_ok(fb_segment_add( /* the same: left out */
	    writer, &(struct fb_index_entry){ 5, 0, 1 }, &err));
	assert_fails(FB_ECORRUPT,
	    fb_segment_add(
	        writer, &(struct fb_index_entry){ 4, 0, 2 }, &err));
	assert_ok(fb_segment_add(
	    writer, &(struct fb_index_entry){ 6, 0, 3 }, &err));
	assert_fails(FB_ECORRUPT, /* more than were announced */
	    fb_segment_add(
	        writer, &(struct fb_index_entry){ 7, 0, 4 }, &err));
	fb_segment_abandon(writer);
	assert_int_equal(access(path, F_OK), -1);
	fb_segment_abandon(NULL);
}

/* Files. */

static void
many_files_become_few_and_each_is_written_seldom(void **state)
{
	const struct dir *dir = *state;
	struct fb_index_files files = { .dir = fb_strdup(dir->path),
		.filter_max = 4096 };
	uint64_t written = 0;
	size_t most = 0;

	for (uint64_t i = 0; i < 300; i++) {
		FB_AUTO_FREE char *path =
		    fb_index_files_path(&files, files.next);
		size_t before = files.count + 1;

		make_segment(path, i, 20, 2);
		assert_ok(fb_index_files_add(&files, files.next, &err));
		assert_ok(fb_index_files_settle(&files, 0, &err));
		if (files.count < before)
			written += fb_segment_count(
			    files.items[files.count - 1]);
		if (files.count > most)
			most = files.count;
	}
	assert_in_range(most, 2, 10);
	assert_in_range(written, 1, 300 * 20 * 4);
	for (uint64_t i = 0; i < 300; i++) {
		uint64_t seed = i, prefix = draw(&seed);
		struct fb_index_entry entry;
		bool found = false;

		for (size_t k = 0; !found && k < files.count; k++)
			assert_ok(fb_segment_find(files.items[k], prefix,
			    &entry, &found, &err));
		assert_true(found);
	}
	fb_index_files_drop(&files, 0);
	fb_index_files_close(&files);
}

static void
the_list_is_read_as_it_was_written(void **unused)
{
	static const char *const wrong[] = {
		"",
		"{}",
		"[]",
		"{\"files\":[],\"repository\":\"x\",\"sessions\":{},"
		"\"trust\":\"00\",\"version\":1}",
		"{\"files\":[],\"repository\":\"0123456789abcdef0123456789abcdef"
		"\",\"sessions\":{\"x\":1},\"trust\":"
		"\"000000000000000000000000000000000000000000000000000000000000"
		"0000\",\"version\":1}",
		"{\"files\":[{\"number\":1}],\"repository\":"
		"\"0123456789abcdef0123456789abcdef\",\"sessions\":{},\"trust\":"
		"\"000000000000000000000000000000000000000000000000000000000000"
		"0000\",\"version\":1}",
	};
	struct fb_index_listed files[2] = { { .number = 3 },
		{ .number = 99 } };
	struct fb_index_list list = {
		.repository = "0123456789abcdef0123456789abcdef",
		.files = files,
		.file_count = 2
	}, again;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf text_again = { 0 };

	(void)unused;
	fb_index_list_add(&list, LATER, 5);
	fb_index_list_add(&list, SESSION, 7);
	fb_index_list_add(&list, LATER, 9);
	assert_int_equal(list.sessions.count, 2);
	assert_int_equal(list.entries[0], 7);
	assert_int_equal(list.entries[1], 5);
	fb_index_list_encode(&list, &text);
	assert_ok(fb_index_list_decode(fb_buf_span(&text), &again, &err));
	fb_index_list_encode(&again, &text_again);
	assert_int_equal(text.len, text_again.len);
	assert_memory_equal(text.data, text_again.data, text.len);
	fb_index_list_release(&again);
	for (size_t i = 0; i < FB_COUNT(wrong); i++)
		assert_fails(FB_ECORRUPT,
		    fb_index_list_decode(
		        (struct fb_span){ (const uint8_t *)wrong[i],
		            strlen(wrong[i]) },
		        &again, &err));
	list.files = NULL;
	fb_index_list_release(&list);
}

/* Runs, with an index whose part in memory is tiny. */

struct world {
	struct fb_repo repo;
	struct fb_session session;
	char dir[64], spool[80], index[80];
	struct fb_sign_key *key;
	json_t *state;
	uint8_t *bytes;
};
#define LEN ((size_t)6 * MIB)

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

static int
make_world(void **state)
{
	struct world *world = fb_alloc(1, sizeof(*world));
	struct fb_verify_key *public;
	uint64_t seed = 3;

	(void)snprintf(
	    world->dir, sizeof(world->dir), "/tmp/fleetbak-index-XXXXXX");
	assert_non_null(mkdtemp(world->dir));
	(void)snprintf(
	    world->spool, sizeof(world->spool), "%s/spool", world->dir);
	(void)snprintf(
	    world->index, sizeof(world->index), "%s/index", world->dir);
	assert_int_equal(mkdir(world->spool, 0700), 0);
	assert_ok(fb_store_open("mem:", true, NULL, &world->repo.store, &err));
	world->repo.tables =
	    fb_tables_new(world->repo.store, FB_TABLES_BYTES_MAX);
	world->repo.format.chunk_min = 16384;
	world->repo.format.chunk_average = 65536;
	world->repo.format.chunk_max = 262144;
	memset(world->repo.format.repository, 'a', 32);
	memcpy(world->session.id, SESSION, sizeof(SESSION));
	world->key = make_key(&public);
	fb_trust_add(&world->repo.trust, public);
	world->bytes = fb_alloc(LEN, 1);
	for (size_t i = 0; i < LEN; i += 8) {
		uint64_t value = draw(&seed);

		memcpy(world->bytes + i, &value, 8);
	}
	*state = world;
	return 0;
}

static int
end_world(void **state)
{
	struct world *world = *state;

	json_decref(world->state);
	fb_tables_free(world->repo.tables);
	fb_store_close(world->repo.store);
	fb_trust_release(&world->repo.trust);
	fb_sign_key_free(world->key);
	assert_ok(fb_io_remove_tree(world->dir, &err));
	free(world->bytes);
	free(world);
	return 0;
}

static int
note_state(void *arg, const json_t *state, struct fb_error *error)
{
	struct world *world = arg;

	(void)error;
	json_decref(world->state);
	world->state = json_deep_copy(state);
	return FB_OK;
}

static int
try_copier(struct world *world, const json_t *state,
    struct fb_copier **ret_copier)
{
	struct fb_copier_spec spec = { .repo = &world->repo,
		.session = &world->session,
		.spool_dir = world->spool,
		.index_dir = world->index,
		.index_slots = SLOTS,
		.workers = 2,
		.level = 1,
		.pack_size = MIB,
		.checkpoint = note_state,
		.arg = world };

	return fb_copier_open(&spec, state, ret_copier, &err);
}

static struct fb_copier *
open_copier(struct world *world)
{
	struct fb_copier *copier;

	assert_ok(try_copier(world, NULL, &copier));
	return copier;
}

/* New bytes of a copy of so many of the world's bytes. */
static uint64_t
copy_bytes(struct fb_copier *copier, const struct world *world,
    const char *key, size_t len)
{
	struct fb_copy_result result;
	struct fb_copy *copy;
	uint64_t offset;

	assert_ok(fb_copy_begin(
	    copier, key, "disk", false, false, &copy, &offset, &err));
	assert_ok(fb_copy_data(copy, world->bytes, len, &err));
	assert_ok(fb_copy_finish(copy, &result, &err));
	return result.new_bytes;
}

static void
first_run(struct world *world)
{
	struct fb_copier *copier = open_copier(world);

	assert_true(copy_bytes(copier, world, "a", LEN) > LEN / 2);
	assert_ok(fb_copier_flush(copier, &err));
	assert_ok(fb_copier_hints(copier, world->key, &err));
	fb_copier_close(copier);
	memcpy(world->session.id, LATER, sizeof(LATER));
}

/* What a later run would store again of what is there. */
static uint64_t
stored_again(struct world *world)
{
	struct fb_copier *copier = open_copier(world);
	uint64_t fresh = copy_bytes(copier, world, "b", LEN);

	fb_copier_close(copier);
	return fresh;
}

static void
a_run_knows_its_own_chunks_however_many(void **state)
{
	struct world *world = *state;
	struct fb_copier *copier = open_copier(world);

	assert_true(copy_bytes(copier, world, "a", LEN) > LEN / 2);
	assert_int_equal(copy_bytes(copier, world, "b", LEN), 0);
	assert_ok(fb_copier_flush(copier, &err));
	assert_int_equal(copy_bytes(copier, world, "c", LEN), 0);
	fb_copier_close(copier);
	/* Its files went with it. */
	copier = NULL;
	{
		FB_AUTO_LISTING char **names = NULL;

		assert_ok(fb_io_list(world->spool, &names, &err));
		for (char **name = names; *name != NULL; name++)
			assert_true(strncmp(*name, "index.", 6) != 0);
	}
}

static void
a_run_that_goes_on_knows_them_too(void **state)
{
	struct world *world = *state;
	struct fb_copier *copier = open_copier(world);

	assert_true(copy_bytes(copier, world, "a", LEN) > LEN / 2);
	assert_ok(fb_copier_checkpoint(copier, &err));
	fb_copier_close(copier);
	assert_ok(try_copier(world, world->state, &copier));
	assert_int_equal(copy_bytes(copier, world, "b", LEN), 0);
	assert_ok(fb_copier_flush(copier, &err));
	fb_copier_close(copier);
}

static void
the_next_run_knows_all_and_reads_no_hints_twice(void **state)
{
	struct world *world = *state;
	FB_AUTO_FREE char *list = fb_format("%s/list", world->index);

	first_run(world);
	assert_int_equal(stored_again(world), 0);
	assert_int_equal(access(list, F_OK), 0);
	/* The seal is gone: who reads them again believes nothing. */
	assert_ok(fb_store_remove(
	    world->repo.store, "hints/" SESSION ".seal", &err));
	assert_int_equal(stored_again(world), 0);
	/* So are the hints: all of the files is of no use any more. */
	assert_ok(
	    fb_store_remove(world->repo.store, "hints/" SESSION, &err));
	assert_true(stored_again(world) > LEN / 2);
}

/* As many runs as it takes, each with more than memory has room for. */
static void
hints_of_many_runs_end_up_in_few_files(void **state)
{
	struct world *world = *state;
	FB_AUTO_LISTING char **names = NULL;
	size_t files = 0;

	for (unsigned run = 0; run < 30; run++) {
		struct fb_copier *copier = NULL;

		(void)snprintf(world->session.id, sizeof(world->session.id),
		    "202611%02u-013205123-3fa92c17", run + 1);
		for (size_t i = 0; i < LEN; i += 256)
			world->bytes[i] ^= (uint8_t)(run + 1);
		assert_ok(fb_io_remove_tree(world->index, &err));
		copier = open_copier(world);
		(void)copy_bytes(copier, world, "a", 2 * MIB);
		assert_ok(fb_copier_flush(copier, &err));
		assert_ok(fb_copier_hints(copier, world->key, &err));
		fb_copier_close(copier);
	}
	memcpy(world->session.id, "20261201-013205123-3fa92c17",
	    sizeof(LATER));
	{
		struct fb_copier *copier = open_copier(world);

		assert_int_equal(
		    copy_bytes(copier, world, "b", 2 * MIB), 0);
		fb_copier_close(copier);
	}
	assert_ok(fb_io_list(world->index, &names, &err));
	for (char **name = names; *name != NULL; name++)
		files += strncmp(*name, "index.", 6) == 0;
	assert_in_range(files, 1, 9);
}

static void
other_keys_make_the_files_void(void **state)
{
	struct world *world = *state;
	struct fb_verify_key *public;

	first_run(world);
	assert_int_equal(stored_again(world), 0);
	fb_trust_release(&world->repo.trust);
	world->repo.trust = (struct fb_trust){ 0 };
	fb_sign_key_free(make_key(&public));
	fb_trust_add(&world->repo.trust, public);
	assert_true(stored_again(world) > LEN / 2);
}

static void
damaged_files_are_made_again(void **state)
{
	struct world *world = *state;
	FB_AUTO_LISTING char **names = NULL;

	first_run(world);
	assert_int_equal(stored_again(world), 0);
	assert_ok(fb_io_list(world->index, &names, &err));
	for (char **name = names; *name != NULL; name++) {
		FB_AUTO_FREE char *path =
		    fb_format("%s/%s", world->index, *name);

		if (access(path, F_OK) == 0)
			turn_byte(path, 20);
		assert_int_equal(stored_again(world), 0);
	}
}

/* More chunks than memory holds, and the digest of them is another's: none is
 * used, and none of the files stays. */
static void
many_hints_that_are_not_the_sealed_ones_are_dropped(void **state)
{
	struct world *world = *state;
	FB_AUTO_BUF struct fb_buf hints = { 0 };
	FB_AUTO_LISTING char **names = NULL;

	first_run(world);
	assert_ok(fb_store_get(world->repo.store, "hints/" SESSION, MIB,
	    &hints, NULL, &err));
	hints.data[hints.len - 1] ^= 1;
	assert_ok(
	    fb_store_remove(world->repo.store, "hints/" SESSION, &err));
	assert_ok(fb_store_create(world->repo.store, "hints/" SESSION,
	    fb_buf_span(&hints), &err));
	assert_true(stored_again(world) > LEN / 2);
	if (fb_io_list(world->index, &names, &err) == FB_OK)
		for (char **name = names; *name != NULL; name++)
			assert_string_equal(*name, "list");
}

static void
nowhere_to_put_files_costs_duplicates_only(void **state)
{
	struct world *world = *state;
	FILE *file;

	first_run(world);
	file = fopen(world->index, "w"); /* a file where they would go */
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	assert_in_range(stored_again(world), 1, LEN);
}

/* At whatever step the files cannot be written or read: what is stored again
 * is all it costs, and the next run has them. */
static void
a_fault_costs_duplicates_only(void **state)
{
	struct world *world = *state;
	unsigned long at;

	first_run(world);
	for (at = faults_begin(); faults_arm(at, "EIO"); at++) {
		struct fb_copier *copier = NULL;
		int rc = try_copier(world, NULL, &copier);

		faults_disarm();
		if (rc == FB_OK)
			assert_true(
			    copy_bytes(copier, world, "b", LEN) <= LEN);
		fb_copier_close(copier);
		if (at % 5 == 0)
			assert_ok(fb_io_remove_tree(world->index, &err));
		if (at % 5 == 3)
			assert_int_equal(stored_again(world), 0);
	}
	assert_true(at > 20);
	assert_int_equal(stored_again(world), 0);
}

/* The same for the end of the process, and of the power. */
static void
crash_at(struct world *world, unsigned long at, const char *how)
{
	pid_t pid;
	int status;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char plan[64];
		struct fb_copier *copier = NULL;

		(void)snprintf(plan, sizeof(plan), "%lu:%s", at, how);
		fb_seam_forget();
		(void)setenv("FLEETBAK_CRASH", plan, 1);
		_exit(try_copier(world, NULL, &copier) == FB_OK ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 ||
	    WEXITSTATUS(status) == FB_EXIT_CRASH);
}

static void
a_crash_costs_nothing(void **state)
{
	static const char *const hows[] = { "kill", "torn", "lost" };
	struct world *world = *state;

	first_run(world);
	for (size_t i = 0; i < FB_COUNT(hows); i++)
		for (unsigned long at = 1; at < 60; at++) {
			crash_at(world, at, hows[i]);
			if (at % 8 == 0)
				assert_int_equal(stored_again(world), 0);
			if (at % 3 == 0)
				assert_ok(
				    fb_io_remove_tree(world->index, &err));
		}
	assert_int_equal(stored_again(world), 0);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
#define WITH_WORLD(test) \
	cmocka_unit_test_setup_teardown(test, make_world, end_world)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_full_index_takes_no_more_and_gives_all_in_order),
		WITH_DIR(a_segment_has_what_was_put_in),
		WITH_DIR(crowded_prefixes_are_found_as_well),
		WITH_DIR(merging_keeps_everything_and_the_later_of_two),
		WITH_DIR(a_damaged_segment_is_refused),
		WITH_DIR(damaged_entries_name_no_other_packs),
		WITH_DIR(entries_out_of_order_are_refused),
		WITH_DIR(many_files_become_few_and_each_is_written_seldom),
		cmocka_unit_test(the_list_is_read_as_it_was_written),
		WITH_WORLD(a_run_knows_its_own_chunks_however_many),
		WITH_WORLD(a_run_that_goes_on_knows_them_too),
		WITH_WORLD(the_next_run_knows_all_and_reads_no_hints_twice),
		WITH_WORLD(hints_of_many_runs_end_up_in_few_files),
		WITH_WORLD(other_keys_make_the_files_void),
		WITH_WORLD(damaged_files_are_made_again),
		WITH_WORLD(
		    many_hints_that_are_not_the_sealed_ones_are_dropped),
		WITH_WORLD(nowhere_to_put_files_costs_duplicates_only),
		WITH_WORLD(a_fault_costs_duplicates_only),
		WITH_WORLD(a_crash_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
