/*
 * A repository of many chunks without their bytes.
 *
 *	mkindex make REPO KEY CHUNKS     (REPO: the directory of an initialized
 *	                                 repository, KEY: its signing key)
 *	mkindex find REPO KEY INDEX_DIR SPOOL_DIR CHUNKS LOOKUPS
 *
 * make: commits as many runs as it takes, a million chunks each at most, of
 * fleet "scale", a day apart, with registers, manifests, recipes, sealed hints
 * and packs, all as a download makes them; but a pack is one hole as long as
 * it should be, and only a thousand of them end with a table.
 *
 * find: loads the index as a download does, then looks up chunks that are in
 * packs with tables, and chunks that are nowhere.  Prints
 *
 *	<load, CPU s> <known, us each> <unknown, us each>
 *
 * and fails when one that is there is not found.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/manifest/manifest.h"
#include "fleetbak/repo/repo.h"

#include "../../src/repo/packer.h"

#define PER_PACK    1000u
#define PER_RUN     1000000u
#define TABLES      1000u /* packs that have one */
#define STORED      50000u
#define LENGTH      100000u
#define TABLE_LEN   112000u /* of those that have none */
#define DAY_NS      (INT64_C(86400) * 1000000000)
#define FIRST_NS    (INT64_C(1767225600) * 1000000000) /* 2026-01-01 */

/* The structs own their strings; these are literals. */
#define S(literal) ((char *)(uintptr_t)(literal))

struct world {
	struct fb_sign_key *key;
	struct fb_repo *repo;
	const char *dir; /* of the repository */
	uint64_t chunks, packs, stride;
};

static void
check(int rc, const struct fb_error *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "mkindex: %s\n", err->msg);
	exit(1);
}

static void
open_world(struct world *world, const char *dir, const char *key_path,
    const char *chunks)
{
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	FB_AUTO_BUF struct fb_buf public_pem = { 0 };
	FB_AUTO_FREE char *url = fb_format("file:%s", dir);
	FB_AUTO_FREE char *public_path = NULL;
	struct fb_verify_key *public_key;
	struct fb_trust trust = { 0 };
	struct fb_error err = { 0 };
	struct fb_store *store;

	check(fb_io_read_file(key_path, 65536, &pem, &err), &err);
	check(fb_sign_key_parse(fb_buf_span(&pem), &world->key, &err), &err);
	public_path = fb_format("%.*s.pub.pem",
	    (int)(strlen(key_path) - strlen(".pem")), key_path);
	check(fb_io_read_file(public_path, 65536, &public_pem, &err), &err);
	check(fb_verify_key_parse(
	          fb_buf_span(&public_pem), &public_key, &err), &err);
	fb_trust_add(&trust, public_key);
	check(fb_store_open(url, false, NULL, &store, &err), &err);
	check(fb_repo_open(store, &trust, &world->repo, &err), &err);
	world->dir = dir;
	world->chunks = strtoull(chunks, NULL, 10);
	world->packs = (world->chunks + PER_PACK - 1) / PER_PACK;
	world->stride = world->packs / TABLES + (world->packs < TABLES);
}

/* A number that looks like a digest, of a kind of thing. */
static void
make_id(uint64_t kind, uint64_t number, struct fb_digest *ret_id)
{
	uint64_t x = number * 8 + kind + 1;

	for (size_t i = 0; i < FB_DIGEST_LEN; i += 8) {
		uint64_t z = x += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		z ^= z >> 31;
		memcpy(ret_id->bytes + i, &z, 8);
		x ^= z << 1;
	}
}
enum { CHUNK, PACK, TABLE, NOWHERE };

static void
run_id(uint64_t number, char id[FB_RUN_ID_SIZE], char time[32])
{
	char text[FB_TIME_SIZE];

	fb_time_format(FIRST_NS + (int64_t)number * DAY_NS, text);
	(void)snprintf(id, FB_RUN_ID_SIZE,
	    "%.4s%.2s%.2s-000000000-%08x", text, text + 5, text + 8,
	    (unsigned)number);
	(void)snprintf(time, 32, "%s", text);
}

static void
fill_table(const struct world *world, const char *session, uint64_t pack,
    struct fb_pack_table *table)
{
	uint64_t first = pack * PER_PACK;
	uint64_t count = world->chunks - first < PER_PACK
	    ? world->chunks - first
	    : PER_PACK;

	*table = (struct fb_pack_table){ .count = (size_t)count,
		.offset = count * STORED };
	memcpy(table->session, session, FB_RUN_ID_SIZE);
	table->chunks = fb_alloc((size_t)count, sizeof(*table->chunks));
	for (uint32_t i = 0; i < count; i++) {
		struct fb_pack_chunk *chunk = &table->chunks[i];

		make_id(CHUNK, first + i, &chunk->id);
		chunk->offset = i * STORED;
		chunk->stored_length = STORED;
		chunk->length = LENGTH;
	}
}

/* The object: a hole, and behind it the table, if it has one. */
static void
make_object(const struct world *world, const struct fb_hint_pack *pack,
    struct fb_span text)
{
	char key[FB_OBJECT_KEY_SIZE];
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_BUF struct fb_buf frame = { 0 };
	struct fb_error err = { 0 };
	FB_AUTO_CLOSE int fd = -1;

	fb_pack_key(&pack->id, key);
	path = fb_format("%s/%s", world->dir, key);
	*strrchr(path, '/') = '\0';
	(void)mkdir(path, 0700);
	path[strlen(path)] = '/';
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 ||
	    ftruncate(fd, (off_t)pack->table_offset + FB_PACK_SKIP_LEN +
	            pack->table_length) != 0) {
		perror(path);
		exit(1);
	}
	if (text.len == 0)
		return;
	fb_buf_add_le32(&frame, FB_PACK_MAGIC);
	fb_buf_add_le32(&frame, (uint32_t)text.len);
	fb_buf_add(&frame, text.ptr, text.len);
	check(fb_io_pwrite_all(
	          fd, path, fb_buf_span(&frame), pack->table_offset, &err),
	    &err);
}

struct making {
	char run[FB_RUN_ID_SIZE], time[32];
	struct fb_buf hints, recipe;
	struct fb_id_list packs, recipes;
	struct fb_digest recipe_id;
	uint64_t size;
};

static void
make_pack(const struct world *world, uint64_t number, struct making *making,
    struct fb_recipe_pack *ret_place)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_pack_table table;
	struct fb_hint_pack pack = { .table_length = TABLE_LEN };

	fill_table(world, making->run, number, &table);
	make_id(PACK, number, &pack.id);
	make_id(TABLE, number, &pack.table_digest);
	pack.table_offset = (uint32_t)table.offset;
	pack.count = (uint32_t)table.count;
	if (number % world->stride == 0) {
		fb_pack_table_encode(&table, &text);
		pack.table_length = (uint32_t)text.len;
		fb_digest_of(fb_buf_span(&text), &pack.table_digest);
	}
	make_object(world, &pack, fb_buf_span(&text));
	fb_hints_add_pack(&making->hints, &pack, &table);
	fb_id_list_add(&making->packs, &pack.id);
	making->size += (uint64_t)pack.count * LENGTH;
	*ret_place = (struct fb_recipe_pack){ pack.id, pack.table_offset,
		pack.table_length, pack.table_digest };
	fb_pack_table_release(&table);
}

static void
put(const struct world *world, const char *key, struct fb_span bytes)
{
	struct fb_error err = { 0 };

	check(fb_store_create(world->repo->store, key, bytes, &err), &err);
}

/* One run of each pack, one behind the other. */
static void
make_recipe(const struct world *world, struct making *making,
    const struct fb_recipe_pack *places, uint32_t count)
{
	struct fb_recipe_head head = { .kind = "disk",
		.size = making->size,
		.pack_count = count };
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t offset = 0;

	memcpy(head.session, making->run, sizeof(head.session));
	make_id(NOWHERE, 0, &head.root);
	fb_recipe_add_head(&making->recipe, &head);
	for (uint32_t i = 0; i < count; i++)
		fb_recipe_add_pack(&making->recipe, &places[i]);
	fb_recipe_add_runs(&making->recipe, count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t chunks = places[i].table_offset / STORED;

		fb_recipe_add_run(&making->recipe,
		    &(struct fb_recipe_run){ offset,
		        (uint64_t)chunks * LENGTH, i, 0,
		        places[i].table_offset, 0, chunks });
		offset += (uint64_t)chunks * LENGTH;
	}
	fb_recipe_add_end(&making->recipe);
	fb_digest_of(fb_buf_span(&making->recipe), &making->recipe_id);
	fb_id_list_add(&making->recipes, &making->recipe_id);
	fb_recipe_key(&making->recipe_id, key);
	put(world, key, fb_buf_span(&making->recipe));
}

static void
put_hints(const struct world *world, const struct making *making)
{
	struct fb_hint_seal seal = { .size = making->hints.len };
	FB_AUTO_FREE char *key = fb_format("hints/%s", making->run);
	FB_AUTO_FREE char *seal_key = fb_format("hints/%s.seal", making->run);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error err = { 0 };

	memcpy(seal.session, making->run, sizeof(seal.session));
	fb_digest_of(fb_buf_span(&making->hints), &seal.digest);
	fb_hint_seal_encode_signed(&seal, &text);
	check(fb_sign(world->key, fb_buf_span(&text), seal.signature, &err),
	    &err);
	fb_hint_seal_encode_signature(&seal, &text);
	put(world, key, fb_buf_span(&making->hints));
	put(world, seal_key, fb_buf_span(&text));
}

static void
write_manifest(const struct world *world, const struct making *making,
    const struct fb_manifest_head *head, struct fb_digest digests[2])
{
	static const char *const names[] = { "manifest.json", "VOLUMES" };
	struct fb_manifest_volume volume = { .name = S("root"),
		.kind = FB_VOLUME_DISK,
		.size = making->size,
		.captured = true,
		.method = S("reflink"),
		.recipe = making->recipe_id,
		.new_bytes = making->size,
		.stored_bytes = making->size / 2 };
	struct fb_manifest_machine machine = { .source = S("lab"),
		.driver = S("local"),
		.id = S("m0"),
		.name = S("m0"),
		.role = S(""),
		.power = FB_POWER_UP,
		.volumes = &volume,
		.volume_count = 1 };
	FB_AUTO_FREE char *paths[2] = { NULL, NULL };
	struct fb_manifest_writer *writer;
	struct fb_error err = { 0 };

	make_id(NOWHERE, 0, &volume.root);
	(void)snprintf(machine.snapshot_time, sizeof(machine.snapshot_time),
	    "%s", making->time);
	for (size_t i = 0; i < 2; i++)
		paths[i] = fb_format("%s/../%s", world->dir, names[i]);
	check(fb_manifest_begin(paths[0], paths[1], head, &writer, &err),
	    &err);
	check(fb_manifest_add(writer, &machine, &err), &err);
	check(fb_manifest_finish(writer, &digests[0], &digests[1], &err),
	    &err);
	for (size_t i = 0; i < 2; i++) {
		FB_AUTO_FREE char *key =
		    fb_format("runs/%s/%s", making->run, names[i]);
		FB_AUTO_BUF struct fb_buf bytes = { 0 };

		check(fb_io_read_file(paths[i], 1u << 24, &bytes, &err), &err);
		put(world, key, fb_buf_span(&bytes));
		(void)unlink(paths[i]);
		free(paths[i]);
		paths[i] = NULL;
	}
}

/* The manifest, the checksums, the register. */
static void
commit(const struct world *world, struct making *making,
    struct fb_predecessor *predecessor)
{
	static struct fb_manifest_source source = { .name = S("lab"),
		.driver = S("local") };
	char *member = S("lab/m0");
	struct fb_manifest_unit unit = { S("lab/m0"), 0, &member, 1 };
	struct fb_manifest_head head = { .fleet = S("scale"),
		.tool_version = S("0.1.0"),
		.host = S("bench"),
		.sources = &source,
		.source_count = 1,
		.units = &unit,
		.unit_count = 1,
		.predecessors = predecessor,
		.predecessor_count = predecessor->run[0] != '\0' };
	struct fb_register reg = { .recipes = making->recipes,
		.packs = making->packs };
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS", making->run);
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	struct fb_digest digests[2];
	struct fb_error err = { 0 };

	memcpy(head.run, making->run, sizeof(head.run));
	memcpy(head.session, making->run, sizeof(head.session));
	memcpy(head.started, making->time, sizeof(making->time));
	memcpy(head.finished, making->time, sizeof(making->time));
	write_manifest(world, making, &head, digests);
	check(fb_sums_write(world->repo, making->run, &digests[0], &digests[1],
	          &making->recipes, &making->packs, &sums, &err), &err);
	put(world, key, fb_buf_span(&sums));
	fb_manifest_register(&head, &reg);
	fb_digest_of(fb_buf_span(&sums), &reg.sums);
	check(fb_sign(world->key, fb_buf_span(&sums), reg.signature, &err),
	    &err);
	memcpy(reg.signer, fb_sign_key_id(world->key), FB_KEY_ID_SIZE);
	check(fb_repo_commit(world->repo, &reg, &err), &err);
	free(reg.predecessors);
	memcpy(predecessor->run, making->run, sizeof(predecessor->run));
	predecessor->manifest = digests[0];
}

static void
make_run(const struct world *world, uint64_t number,
    struct fb_predecessor *predecessor)
{
	uint64_t first = number * (PER_RUN / PER_PACK);
	uint64_t end = first + PER_RUN / PER_PACK;
	struct fb_recipe_pack places[PER_RUN / PER_PACK];
	struct making making = { 0 };

	if (end > world->packs)
		end = world->packs;
	run_id(number, making.run, making.time);
	fb_hints_add_head(&making.hints, making.run);
	for (uint64_t pack = first; pack < end; pack++)
		make_pack(world, pack, &making, &places[pack - first]);
	make_recipe(world, &making, places, (uint32_t)(end - first));
	put_hints(world, &making);
	commit(world, &making, predecessor);
	fb_buf_release(&making.hints);
	fb_buf_release(&making.recipe);
	fb_id_list_release(&making.packs);
	fb_id_list_release(&making.recipes);
}

static void
make_all(const struct world *world)
{
	struct fb_predecessor predecessor = { 0 };
	FB_AUTO_FREE char *packs = fb_format("%s/packs", world->dir);

	(void)mkdir(packs, 0700);
	for (uint64_t run = 0; run * PER_RUN < world->chunks; run++)
		make_run(world, run, &predecessor);
}

static double
cpu_seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Chunks as a volume has them: a stretch of a pack, then of another. */
static void
look_up(const struct world *world, struct fb_packer *packer, int kind,
    uint64_t lookups)
{
	struct fb_error err = { 0 };
	uint64_t tables = (world->packs + world->stride - 1) / world->stride;

	for (uint64_t i = 0; i < lookups; i++) {
		uint64_t pack = i / PER_PACK * UINT64_C(7919) % tables *
		    world->stride;
		uint64_t number = pack * PER_PACK + i % PER_PACK;
		struct fb_digest id;
		struct fb_place place;
		bool found;

		if (number >= world->chunks)
			continue;
		make_id((uint64_t)kind, kind == CHUNK ? number : i, &id);
		check(fb_packer_find(packer, &id, &place, &found, &err), &err);
		if (found != (kind == CHUNK)) {
			fprintf(stderr, "mkindex: chunk %llu was %sfound\n",
			    (unsigned long long)number, found ? "" : "not ");
			exit(1);
		}
	}
}

static void
find_all(const struct world *world, const char *index_dir,
    const char *spool_dir, uint64_t lookups)
{
	struct fb_session session = { .id = "20361121-013205123-3fa92c17" };
	struct fb_packer *packer;
	struct fb_error err = { 0 };
	double times[4];

	times[0] = cpu_seconds();
	check(fb_packer_open(world->repo, &session, spool_dir, 0, NULL,
	          &packer, &err), &err);
	check(fb_packer_load_hints(packer, index_dir, &err), &err);
	times[1] = cpu_seconds();
	look_up(world, packer, CHUNK, lookups);
	times[2] = cpu_seconds();
	look_up(world, packer, NOWHERE, lookups);
	times[3] = cpu_seconds();
	printf("%.2f %.2f %.2f\n", times[1] - times[0],
	    (times[2] - times[1]) / (double)lookups * 1e6,
	    (times[3] - times[2]) / (double)lookups * 1e6);
	fb_packer_close(packer);
}

int
main(int argc, char **argv)
{
	struct world world = { 0 };

	if (argc == 5 && strcmp(argv[1], "make") == 0) {
		open_world(&world, argv[2], argv[3], argv[4]);
		make_all(&world);
	} else if (argc == 8 && strcmp(argv[1], "find") == 0) {
		open_world(&world, argv[2], argv[3], argv[6]);
		find_all(
		    &world, argv[4], argv[5], strtoull(argv[7], NULL, 10));
	} else {
		fputs("usage: see tests/bench/mkindex.c\n", stderr);
		return 2;
	}
	fb_repo_close(world.repo);
	fb_sign_key_free(world.key);
	return 0;
}
