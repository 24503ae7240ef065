/*
 * Restore's own parts: arguments, order, disks, paths.  The repository is a
 * fake one in memory; whole restores are the scenarios' matter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/catalogue.h"
#include "../../src/engine/restore_parts.h"
#include "fake_volume.h"

/* A target in memory that remembers what was done to it. */
struct fake_target {
	struct fb_target base;
	uint8_t *bytes;
	bool *written; /* one for each 4 KiB block */
	bool holes;    /* each zero byte is one */
	uint64_t write_calls, synced_at;
	atomic_uint_fast64_t read_bytes;
};

static int
target_extent(struct fb_target *t, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	const struct fake_target *f = (const struct fake_target *)t;

	(void)err;
	while (f->holes && from < t->size && f->bytes[from] == 0)
		from++;
	*ret_start = *ret_end = from;
	if (!f->holes)
		*ret_end = t->size;
	while (*ret_end < t->size && f->bytes[*ret_end] != 0)
		++*ret_end;
	return FB_OK;
}

static int
target_read(struct fb_target *t, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	(void)err;
	assert_true(offset + len <= t->size);
	memcpy(bytes, ((struct fake_target *)t)->bytes + offset, len);
	atomic_fetch_add(&((struct fake_target *)t)->read_bytes, len);
	return FB_OK;
}

static int
target_write(struct fb_target *t, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	struct fake_target *f = (struct fake_target *)t;

	(void)err;
	assert_true(len > 0 && offset + len <= t->size);
	memcpy(f->bytes + offset, bytes, len);
	for (uint64_t at = offset / 4096; at * 4096 < offset + len; at++)
		f->written[at] = true;
	f->write_calls++;
	return FB_OK;
}

static int
target_zero(struct fb_target *t, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	struct fake_target *f = (struct fake_target *)t;

	(void)err;
	assert_true(len > 0 && offset + len <= t->size);
	memset(f->bytes + offset, 0, (size_t)len);
	return FB_OK;
}

static int
target_sync(struct fb_target *t, struct fb_error *err)
{
	(void)t;
	(void)err;
	return FB_OK;
}

static const struct fb_target_ops target_ops = {
	.extent = target_extent,
	.read = target_read,
	.write = target_write,
	.zero = target_zero,
	.sync = target_sync,
};

static struct fake_target
make_target(uint64_t size, bool fresh)
{
	return (struct fake_target){
		.base = { .ops = &target_ops, .size = size, .fresh = fresh },
		.bytes = fb_alloc((size_t)size + 1, 1),
		.written = fb_alloc((size_t)size / 4096 + 1, sizeof(bool)),
	};
}

static void
free_target(struct fake_target *t)
{
	free(t->bytes);
	free(t->written);
}

/* Content in [at, at + length), every fifth block of it zero.  What one call of
 * rand() gives is enough for a block: a sanitizer makes each of them dear. */
static void
fill(uint64_t at, uint64_t length)
{
	for (uint64_t end = at + length, next; at < end; at = next) {
		next = (at / 4096 + 1) * 4096;
		if (next > end)
			next = end;
		if (at / 4096 % 5 == 0)
			continue;
		memset(volume.bytes + at, rand() % 255 + 1, (size_t)(next - at));
		volume.bytes[at] = (uint8_t)rand();
		volume.bytes[next - 1] = (uint8_t)rand();
	}
}

/* A volume of random chunks: content, zero runs, content with zero blocks. */
static void
make_volume(uint64_t size, unsigned seed)
{
	free(volume.bytes);
	free(volume.pieces);
	memset(&volume, 0, sizeof(volume));
	srand(seed);
	volume.head.size = size;
	volume.bytes = fb_alloc((size_t)size + 1, 1);
	volume.pieces = fb_alloc((size_t)size / 1000 + 2,
	    sizeof(*volume.pieces));
	for (uint64_t at = 0; at < size;) {
		uint64_t length = 1000 + (uint64_t)rand() % 200000;
		bool zero = rand() % 4 == 0;

		if (length > size - at)
			length = size - at;
		if (!zero)
			fill(at, length);
		volume.pieces[volume.count++] =
		    (struct fake_piece){ at, length, zero };
		at += length;
	}
}

static int
no_checkpoint(void *arg, uint64_t offset, struct fb_error *err)
{
	(void)arg;
	(void)offset;
	(void)err;
	return FB_OK;
}

static struct fb_rst_disk
make_disk(struct fake_target *t, uint64_t from)
{
	return (struct fb_rst_disk){ .reader = &volume, .target = &t->base,
		.size = volume.head.size, .from = from,
		.checkpoint = no_checkpoint };
}

static void
assert_same_bytes(const struct fake_target *t)
{
	if (memcmp(t->bytes, volume.bytes, (size_t)volume.head.size) == 0)
		return;
	for (uint64_t i = 0; i < volume.head.size; i++)
		if (t->bytes[i] != volume.bytes[i])
			fail_msg("byte %llu differs", (unsigned long long)i);
}

static void
a_fresh_disk_gets_every_byte_and_no_zero_block(void **state)
{
	struct fb_error err = { 0 };

	(void)state;
	for (unsigned seed = 1; seed <= 8; seed++) {
		uint64_t size = 3000001 + 4096 * seed;
		struct fake_target t = make_target(size, true);
		struct fb_rst_disk disk = make_disk(&t, 0);

		make_volume(size, seed);
		disk.size = size;
		assert_ok(seed % 2 ? fb_rst_disk_write(&disk, &err)
		                   : fb_rst_disk_together(&disk, &err));
		assert_same_bytes(&t);
		for (uint64_t at = 0; at + 4096 <= size; at += 4096) {
			bool zero = true;

			for (size_t i = 0; i < 4096; i++)
				zero &= volume.bytes[at + i] == 0;
			assert_int_equal(t.written[at / 4096], !zero);
		}
		free_target(&t);
	}
}

static void
a_resumed_disk_is_written_from_where_it_was(void **state)
{
	static const uint64_t froms[] = { 1, 4096, 1048576, 1500000, 3000000 };
	uint64_t size = 3000000;
	struct fb_error err = { 0 };

	(void)state;
	make_volume(size, 7);
	for (size_t i = 0; i < FB_COUNT(froms); i++) {
		struct fake_target t = make_target(size, false);
		struct fb_rst_disk disk = make_disk(&t, froms[i]);

		memcpy(t.bytes, volume.bytes, (size_t)froms[i]);
		memset(t.bytes + froms[i], 0xaa, (size_t)(size - froms[i]));
		assert_ok(fb_rst_disk_write(&disk, &err));
		assert_same_bytes(&t);
		free_target(&t);
	}
}

static void
an_update_fetches_and_writes_only_what_differs(void **state)
{
	uint64_t size = 4000000;
	struct fake_target t = make_target(size, false);
	struct fb_rst_disk disk;
	struct fb_error err = { 0 };

	(void)state;
	make_volume(size, 11);
	disk = make_disk(&t, 0);
	memcpy(t.bytes, volume.bytes, (size_t)size);
	assert_ok(fb_rst_disk_update(&disk, &err));
	assert_int_equal(t.write_calls, 0);
	assert_int_equal(volume.fetched, 0);
	assert_int_equal(disk.written_bytes, 0);

	t.bytes[1234567] ^= 1;
	disk = make_disk(&t, 0);
	assert_ok(fb_rst_disk_update(&disk, &err));
	assert_same_bytes(&t);
	assert_true(volume.fetched > 0 && volume.fetched <= 201000);
	assert_true(disk.written_bytes <= 4096);
	free_target(&t);
}

/* Several windows, with differences at their borders too. */
static void
an_update_reads_the_target_once(void **state)
{
	uint64_t size = 36000000;
	struct fake_target t = make_target(size, false);
	struct fb_rst_disk disk;
	struct fb_error err = { 0 };

	(void)state;
	make_volume(size, 12);
	disk = make_disk(&t, 0);
	memcpy(t.bytes, volume.bytes, (size_t)size);
	for (uint64_t at = 1 << 20; at < size; at += 1 << 20)
		t.bytes[at] ^= 1;
	assert_ok(fb_rst_disk_update(&disk, &err));
	assert_same_bytes(&t);
	assert_int_equal(atomic_load(&t.read_bytes), size);
	assert_true(disk.written_bytes <= (size >> 20) * 4096);

	/* Taken up in the middle of a chunk: that one is read whole. */
	atomic_store(&t.read_bytes, 0);
	t.bytes[30000000] ^= 1;
	disk = make_disk(&t, 20000000);
	assert_ok(fb_rst_disk_update(&disk, &err));
	assert_same_bytes(&t);
	assert_true(atomic_load(&t.read_bytes) >= size - 20000000);
	assert_true(atomic_load(&t.read_bytes) <= size - 20000000 + 201000);
	free_target(&t);
}

static void
an_update_makes_any_content_equal(void **state)
{
	uint64_t size = 2500001;
	struct fb_error err = { 0 };

	(void)state;
	for (unsigned seed = 20; seed < 24; seed++) {
		struct fake_target t = make_target(size, false);
		struct fb_rst_disk disk;

		make_volume(size, seed);
		for (uint64_t i = 0; i < size; i++)
			t.bytes[i] = rand() % 3 ? volume.bytes[i]
			                        : (uint8_t)(i >> 14);
		disk = make_disk(&t, 0);
		t.holes = seed % 2 != 0;
		if (t.holes) /* some of them larger than a piece */
			memset(t.bytes + 500000, 0, 1500000);
		assert_ok(fb_rst_disk_update(&disk, &err));
		assert_same_bytes(&t);
		free_target(&t);
	}
}

static void
damage_stops_a_disk_before_it_is_called_whole(void **state)
{
	uint64_t size = 2000000;
	struct fake_target t = make_target(size, true);
	struct fb_rst_disk disk;
	struct fb_error err = { 0 };

	(void)state;
	make_volume(size, 5);
	volume.damaged = 1000000;
	disk = make_disk(&t, 0);
	assert_fails(FB_ECORRUPT, fb_rst_disk_write(&disk, &err));
	disk = make_disk(&t, 0);
	memset(t.bytes, 1, (size_t)size);
	assert_fails(FB_ECORRUPT, fb_rst_disk_update(&disk, &err));
	free_target(&t);
}

static void
arguments_are_machines_and_runs(void **state)
{
	struct fb_error err = { 0 };
	char *source, *id, *run;

	(void)state;
	assert_ok(fb_rst_parse("web-01", &source, &id, &run, &err));
	assert_null(source);
	assert_string_equal(id, "web-01");
	assert_null(run);
	free(id);
	assert_ok(fb_rst_parse("lab/web-01@20261121-013205123-3fa92c17",
	    &source, &id, &run, &err));
	assert_string_equal(source, "lab");
	assert_string_equal(run, "20261121-013205123-3fa92c17");
	free(source);
	free(id);
	free(run);
	assert_ok(fb_rst_parse("db@latest", &source, &id, &run, &err));
	assert_string_equal(run, "latest");
	free(id);
	free(run);
	assert_ok(fb_rst_parse(
	    "kvm/db $1 (old)@latest", &source, &id, &run, &err));
	assert_string_equal(id, "db $1 (old)");
	free(source);
	free(id);
	free(run);
	assert_fails(FB_ECONFIG,
	    fb_rst_parse("two\nlines", &source, &id, &run, &err));
	assert_fails(FB_ECONFIG,
	    fb_rst_parse("../x", &source, &id, &run, &err));
	assert_fails(FB_ECONFIG, fb_rst_parse("", &source, &id, &run, &err));
	assert_fails(FB_ECONFIG,
	    fb_rst_parse("a/b/c", &source, &id, &run, &err));
	assert_fails(FB_ECONFIG,
	    fb_rst_parse("web@yesterday", &source, &id, &run, &err));
	assert_string_equal(err.id, "E-RST-RUN");
}

static void
add_machine(struct fb_restore *r, const char *id, const char *parent)
{
	struct fb_manifest_machine record = { .source = (char *)"lab",
		.driver = (char *)"local", .id = (char *)id,
		.name = (char *)id, .role = (char *)"",
		.parent = (char *)parent };

	(void)fb_rst_add(r, &record);
}

static void
release_machines(struct fb_restore *r)
{
	for (size_t i = 0; i < r->count; i++)
		fb_rst_machine_release(&r->machines[i]);
	free(r->machines);
}

static void
parents_come_before_children_and_families_stay_together(void **state)
{
	struct fb_restore r = { 0 };
	size_t at[5] = { 0 };

	(void)state;
	add_machine(&r, "a-leaf", "m-middle");
	add_machine(&r, "b-alone", NULL);
	add_machine(&r, "m-middle", "z-root");
	add_machine(&r, "n-orphan", "not-chosen");
	add_machine(&r, "z-root", NULL);
	fb_rst_order(&r);
	for (size_t i = 0; i < r.count; i++)
		at[strchr("abmnz", r.machines[i].record.id[0]) - "abmnz"] = i;
	assert_int_equal(at[2], at[4] + 1);
	assert_int_equal(at[0], at[2] + 1);
	assert_int_not_equal(
	    r.machines[at[1]].root, r.machines[at[3]].root);
	release_machines(&r);
}

static void
a_cycle_of_parents_does_not_hang(void **state)
{
	struct fb_restore r = { 0 };

	(void)state;
	add_machine(&r, "a", "b");
	add_machine(&r, "b", "a");
	fb_rst_order(&r);
	assert_int_equal(r.count, 2);
	release_machines(&r);
}

/* Paths. */
static const struct fb_manifest_volume tree = { .name = (char *)"data",
	.kind = FB_VOLUME_TREE, .size = 100 * 512, .captured = true,
	.has_catalogue = true };

static void
add_entry(struct fb_buf *text, enum fb_entry_type type, const char *path,
    const char *target, uint64_t offset, uint64_t length)
{
	struct fb_entry entry = { .type = type, .size = length,
		.offset = offset, .length = length,
		.path = { (const uint8_t *)path, strlen(path) },
		.target = { (const uint8_t *)target, strlen(target) } };

	fb_catalogue_add(text, &entry);
}

static void
make_catalogue(struct fb_manifest_volume *record)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add_str(&text, FB_CATALOGUE_HEAD);
	add_entry(&text, FB_ENTRY_DIR, ".", "", 0, 512);
	add_entry(&text, FB_ENTRY_FILE, "aaa", "", 512, 1024);
	add_entry(&text, FB_ENTRY_DIR, "etc", "", 1536, 512);
	add_entry(&text, FB_ENTRY_FILE, "etc/passwd", "", 2048, 1024);
	add_entry(&text, FB_ENTRY_DIR, "etc/ssh", "", 3072, 512);
	add_entry(&text, FB_ENTRY_FILE, "etc/ssh/key", "", 3584, 1024);
	add_entry(&text, FB_ENTRY_HARDLINK, "etc/ssh/link", "aaa", 4608, 512);
	add_entry(&text, FB_ENTRY_FILE, "etc/ssh2", "", 5120, 1024);
	make_volume(0, 1);
	free(volume.bytes);
	volume.head.size = text.len;
	volume.bytes = fb_buf_steal(&text);
	record->catalogue_size = volume.head.size;
}

static int
find_paths(enum fb_restore_kind kind, const char *path,
    struct fb_rst_volume *v, struct fb_error *err)
{
	static const struct fb_config config;
	static const struct fb_engine engine = { .config = &config };
	char *paths[] = { (char *)path };
	struct fb_restore r = { .engine = &engine, .kind = kind,
		.paths = paths, .path_count = 1 };
	struct fb_manifest_volume record = tree;
	int rc;

	make_catalogue(&record);
	memset(v, 0, sizeof(*v));
	v->record = &record;
	rc = fb_rst_paths_find(&r, v, err);
	v->record = NULL;
	return rc;
}

static void
a_path_takes_what_is_below_it_and_what_its_links_point_at(void **state)
{
	struct fb_error err = { 0 };
	struct fb_rst_volume v;

	(void)state;
	assert_ok(find_paths(FB_RESTORE_TO_MACHINE, "etc/ssh", &v, &err));
	assert_int_equal(v.paths.count, 2);
	assert_int_equal(v.paths.ranges[0].offset, 512);
	assert_int_equal(v.paths.ranges[0].end, 1536);
	assert_int_equal(v.paths.ranges[1].offset, 3072);
	assert_int_equal(v.paths.ranges[1].end, 5120);
	assert_int_equal(v.paths.bytes, 1024 + 2048);
	free(v.paths.ranges);

	/* Into a directory the directories above come along. */
	assert_ok(find_paths(FB_RESTORE_TO_DIR, "etc/ssh2", &v, &err));
	assert_int_equal(v.paths.count, 2);
	assert_int_equal(v.paths.ranges[0].offset, 1536);
	assert_int_equal(v.paths.ranges[0].end, 2048);
	assert_int_equal(v.paths.ranges[1].offset, 5120);
	free(v.paths.ranges);
}

static void
a_path_that_is_not_there_names_the_nearest(void **state)
{
	struct fb_error err = { 0 };
	struct fb_rst_volume v;

	(void)state;
	assert_fails(FB_ECONFIG,
	    find_paths(FB_RESTORE_TO_DIR, "etc/paswd", &v, &err));
	assert_string_equal(err.id, "E-RST-PATH");
	assert_non_null(strstr(err.hint, "etc/passwd"));
	free(v.paths.ranges);
}

static void
a_catalogue_that_points_outside_the_archive_is_refused(void **state)
{
	struct fb_manifest_volume record = tree;
	char *paths[] = { (char *)"far" };
	static const struct fb_config config;
	static const struct fb_engine engine = { .config = &config };
	struct fb_restore r = { .engine = &engine, .paths = paths,
		.path_count = 1 };
	struct fb_rst_volume v = { .record = &record };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	fb_buf_add_str(&text, FB_CATALOGUE_HEAD);
	add_entry(&text, FB_ENTRY_FILE, "far", "", 200 * 512, 512);
	make_volume(0, 1);
	free(volume.bytes);
	volume.head.size = record.catalogue_size = text.len;
	volume.bytes = fb_buf_steal(&text);
	assert_fails(FB_ECORRUPT, fb_rst_paths_find(&r, &v, &err));
	free(v.paths.ranges);

	/* Nor is one taken that is cut off, or another volume's. */
	record.catalogue_size = --volume.head.size;
	memset(&v.paths, 0, sizeof(v.paths));
	assert_fails(FB_ECORRUPT, fb_rst_paths_find(&r, &v, &err));
	record.catalogue_size = volume.head.size + 1;
	assert_fails(FB_ECORRUPT, fb_rst_paths_find(&r, &v, &err));
	assert_string_equal(err.id, "E-RST-ROOT");
}

/* What was asked for. */
static int
read_spec(struct fb_restore *r, const struct fb_restore_options *o,
    struct fb_error *err)
{
	memset(r, 0, sizeof(*r));
	return fb_rst_spec_from(r, o, err);
}

static void
release_spec(struct fb_restore *r)
{
	for (size_t i = 0; i < r->volume_count; i++)
		free(r->volumes[i]);
	for (size_t i = 0; i < r->path_count; i++)
		free(r->paths[i]);
	free(r->volumes);
	free(r->paths);
	free(r->directory);
	fb_rst_maps_free(r);
	json_decref(r->spec);
}

static void
what_was_asked_for_survives_as_json(void **state)
{
	const char *machines[] = { "web" }, *volumes[] = { "data" };
	const char *paths[] = { "/etc/\xff/x/", "./a b" };
	struct fb_restore_options o = { .machines = machines,
		.machine_count = 1, .kind = FB_RESTORE_TO_DIR,
		.directory = "out \xfe", .volumes = volumes,
		.volume_count = 1, .paths = paths, .path_count = 2 };
	struct fb_restore r, again = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	assert_ok(read_spec(&r, &o, &err));
	again.spec = json_deep_copy(r.spec);
	assert_ok(fb_rst_spec_read(&again, &err));
	assert_int_equal(again.kind, FB_RESTORE_TO_DIR);
	assert_string_equal(again.directory, r.directory);
	assert_int_equal(again.directory[0], '/');
	assert_string_equal(again.paths[0], "etc/\xff/x");
	assert_string_equal(again.paths[1], "a b");
	assert_string_equal(again.volumes[0], "data");
	release_spec(&r);
	release_spec(&again);
}

#define FLEET   9000u /* more than one record of a journal has room for */
#define RESTORE "20261121-013205123-3fa92c17"

/* A restore of a large fleet, journaled and cut off. */
static void
journal_a_fleet(struct fb_engine *engine, const char *dir)
{
	FB_AUTO_FREE char *path =
	    fb_format("%s/restores/" RESTORE, engine->config->state_dir);
	const char *run = "20261121-013205123-3fa92c17";
	struct fb_restore_options o = { .all = true, .run = run,
		.kind = FB_RESTORE_TO_DIR, .directory = dir };
	struct fb_error err = { 0 };
	struct fb_restore r;

	assert_ok(read_spec(&r, &o, &err));
	r.engine = engine;
	r.own_fd = -1;
	memcpy(r.id, RESTORE, sizeof(r.id));
	for (unsigned i = 0; i < FLEET; i++) {
		FB_AUTO_FREE char *id = fb_format("machine-%u", i);

		add_machine(&r, id, NULL);
		memcpy(r.machines[i].run, run, sizeof(r.machines[i].run));
	}
	fb_rst_spec_pin(&r);
	assert_ok(fb_io_mkdirs(path, 0700, &err));
	assert_ok(fb_rst_journal_open(&r, &err));
	assert_ok(fb_rst_note(
	    &r, "closed", &r.machines[FLEET / 2], "how", "ok", &err));
	fb_journal_close(r.journal);
	release_machines(&r);
	release_spec(&r);
}

static void
a_restore_of_a_large_fleet_can_be_resumed(void **state)
{
	char dir[] = "/tmp/fleetbak-restore-XXXXXX";
	struct fb_config config = { .state_dir = dir };
	struct fb_engine engine = { .config = &config };
	struct fb_restore r = { .engine = &engine, .own_fd = -1,
		.resumed = true };
	struct fb_error err = { 0 };
	json_t *list;
	char **ids;
	size_t count;

	(void)state;
	assert_non_null(mkdtemp(dir));
	journal_a_fleet(&engine, dir);
	assert_ok(fb_restore_unfinished(&engine, &ids, &count, &err));
	assert_int_equal(count, 1);
	assert_string_equal(ids[0], RESTORE);
	free(ids[0]);
	free(ids);
	assert_ok(fb_rst_journal_spec(&engine, RESTORE, &r.spec, &err));
	assert_ok(fb_rst_spec_read(&r, &err));
	list = json_object_get(r.spec, "machines");
	assert_int_equal(json_array_size(list), FLEET);
	for (unsigned i = 0; i < FLEET; i++) {
		FB_AUTO_FREE char *id = fb_format("machine-%u", i);
		FB_AUTO_FREE char *key = fb_format("lab/%s", id);

		assert_string_equal(key, json_string_value(json_object_get(
		    json_array_get(list, i), "machine")));
		add_machine(&r, id, NULL);
	}
	memcpy(r.id, RESTORE, sizeof(r.id));
	assert_ok(fb_rst_journal_peek(&r, &err));
	for (unsigned i = 0; i < FLEET; i++)
		assert_int_equal(r.machines[i].closed, i == FLEET / 2);
	release_machines(&r);
	release_spec(&r);
	assert_ok(fb_io_remove_tree(dir, &err));
}

static void
options_that_contradict_each_other_are_refused(void **state)
{
	const char *one[] = { "web" }, *out[] = { "../x" };
	const struct fb_restore_options bad[] = {
		{ .kind = FB_RESTORE_TO_MACHINE },
		{ .kind = FB_RESTORE_TO_MACHINE, .all = true },
		{ .kind = FB_RESTORE_TO_MACHINE, .all = true, .run = "latest",
		    .machines = one, .machine_count = 1 },
		{ .kind = FB_RESTORE_TO_DIR, .machines = one,
		    .machine_count = 1 },
		{ .kind = FB_RESTORE_TO_NEW, .machines = one,
		    .machine_count = 1, .new_id = "../up" },
		{ .kind = FB_RESTORE_TO_NEW, .machines = one,
		    .machine_count = 1, .new_id = "n", .volumes = one,
		    .volume_count = 1 },
		{ .kind = FB_RESTORE_TO_DIR, .machines = one,
		    .machine_count = 1, .directory = "d", .paths = out,
		    .path_count = 1 },
		{ .kind = FB_RESTORE_TO_MACHINE, .machines = one,
		    .machine_count = 1, .start = true, .no_start = true },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_error err = { 0 };
		struct fb_restore r;

		assert_fails(FB_ECONFIG, read_spec(&r, &bad[i], &err));
		release_spec(&r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damage_stops_a_disk_before_it_is_called_whole),
		cmocka_unit_test(a_fresh_disk_gets_every_byte_and_no_zero_block),
		cmocka_unit_test(a_resumed_disk_is_written_from_where_it_was),
		cmocka_unit_test(an_update_fetches_and_writes_only_what_differs),
		cmocka_unit_test(an_update_reads_the_target_once),
		cmocka_unit_test(an_update_makes_any_content_equal),
		cmocka_unit_test(
		    a_catalogue_that_points_outside_the_archive_is_refused),
		cmocka_unit_test(
		    a_path_takes_what_is_below_it_and_what_its_links_point_at),
		cmocka_unit_test(a_path_that_is_not_there_names_the_nearest),
		cmocka_unit_test(arguments_are_machines_and_runs),
		cmocka_unit_test(
		    parents_come_before_children_and_families_stay_together),
		cmocka_unit_test(a_cycle_of_parents_does_not_hang),
		cmocka_unit_test(what_was_asked_for_survives_as_json),
		cmocka_unit_test(a_restore_of_a_large_fleet_can_be_resumed),
		cmocka_unit_test(options_that_contradict_each_other_are_refused),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(volume.bytes);
	free(volume.pieces);
	return failed;
}
