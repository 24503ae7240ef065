/*
 * A long history in a bucket, without its content.
 *
 *	mkruns URL ENDPOINT KEY RUNS MACHINES
 *
 * URL: s3://BUCKET/PREFIX of an initialized, clear repository; KEY: its signing
 * key; credentials as "env" finds them.  Commits RUNS runs of fleet "scale", a
 * day apart, each of MACHINES machines "m000", ... of the source "lab" with one
 * disk each: registers, manifests, checksums and recipes as a download makes
 * them, and one pack for each run, which is no more than long enough.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"
#include "fleetbak/manifest/manifest.h"
#include "fleetbak/repo/repo.h"

#define WRITERS  8
#define STORED   1000u /* of each machine in the pack of a run */
#define LENGTH   65536u
#define TABLE    128u
#define DAY_NS   (INT64_C(86400) * 1000000000)
#define FIRST_NS (INT64_C(1704067200) * 1000000000) /* 2024-01-01 */

/* The structs own their strings; these are literals. */
#define S(literal) ((char *)(uintptr_t)(literal))

struct world {
	struct fb_sign_key *key;
	struct fb_repo *repo;
	char dir[64];
	uint32_t machines;
	struct fb_predecessor before;
};

/* A run in the making. */
struct making {
	const struct world *world;
	char run[FB_RUN_ID_SIZE], time[32];
	struct fb_recipe_pack pack;
	struct fb_digest *recipes; /* of each machine */
	_Atomic uint32_t next;
};

static void
check(int rc, const struct fb_error *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "mkruns: %s\n", err->msg);
	exit(1);
}

static void
open_world(struct world *world, char **argv)
{
	const struct fb_store_options options = { .endpoint = argv[1],
		.path_style = FB_PATH_STYLE_ON,
		.credentials = "env" };
	FB_AUTO_BUF struct fb_buf pem = { 0 }, public_pem = { 0 };
	FB_AUTO_FREE char *public_path = fb_format(
	    "%.*s.pub.pem", (int)(strlen(argv[2]) - strlen(".pem")), argv[2]);
	struct fb_verify_key *public_key;
	struct fb_trust trust = { 0 };
	struct fb_error err = { 0 };
	struct fb_store *store;

	check(fb_io_read_file(argv[2], 65536, &pem, &err), &err);
	check(fb_sign_key_parse(fb_buf_span(&pem), &world->key, &err), &err);
	check(fb_io_read_file(public_path, 65536, &public_pem, &err), &err);
	check(fb_verify_key_parse(fb_buf_span(&public_pem), &public_key, &err),
	    &err);
	fb_trust_add(&trust, public_key);
	check(fb_store_open(argv[0], false, &options, &store, &err), &err);
	check(fb_repo_open(store, &trust, &world->repo, &err), &err);
	world->machines = (uint32_t)strtoul(argv[4], NULL, 10);
	(void)snprintf(
	    world->dir, sizeof(world->dir), "/tmp/fleetbak-mkruns-XXXXXX");
	if (world->machines == 0 || mkdtemp(world->dir) == NULL)
		check(fb_fail(&err, FB_ECONFIG, "no machines, or no directory"),
		    &err);
}

static void
put(const struct world *world, const char *key, struct fb_span bytes)
{
	struct fb_error err = { 0 };

	check(fb_store_create(world->repo->store, key, bytes, &err), &err);
}

static void
make_pack(struct making *making)
{
	size_t len = (size_t)making->world->machines * STORED;
	FB_AUTO_FREE uint8_t *bytes =
	    fb_alloc(len + FB_PACK_SKIP_LEN + TABLE, 1);
	struct fb_span all = { bytes, len + FB_PACK_SKIP_LEN + TABLE };
	char key[FB_OBJECT_KEY_SIZE];

	(void)snprintf((char *)bytes, len, "pack of %s", making->run);
	fb_digest_of(all, &making->pack.id);
	making->pack.table_offset = (uint32_t)len;
	making->pack.table_length = TABLE;
	fb_digest_of((struct fb_span){ bytes + all.len - TABLE, TABLE },
	    &making->pack.table_digest);
	fb_pack_key(&making->pack.id, key);
	put(making->world, key, all);
}

/* Each thread makes the recipes of some machines. */
static int
make_recipes(void *arg, struct fb_error *err)
{
	struct making *making = arg;
	uint32_t machine;

	(void)err;
	while ((machine = making->next++) < making->world->machines) {
		struct fb_recipe_head head = { .kind = "disk",
			.size = LENGTH,
			.root = making->pack.id,
			.pack_count = 1 };
		struct fb_recipe_run run = { .length = LENGTH,
			.pack_offset = machine * STORED,
			.pack_length = STORED,
			.first = machine,
			.count = 1 };
		FB_AUTO_BUF struct fb_buf text = { 0 };
		char key[FB_OBJECT_KEY_SIZE];

		memcpy(head.session, making->run, sizeof(head.session));
		fb_recipe_add_head(&text, &head);
		fb_recipe_add_pack(&text, &making->pack);
		fb_recipe_add_runs(&text, 1);
		fb_recipe_add_run(&text, &run);
		fb_recipe_add_end(&text);
		fb_digest_of(fb_buf_span(&text), &making->recipes[machine]);
		fb_recipe_key(&making->recipes[machine], key);
		put(making->world, key, fb_buf_span(&text));
	}
	return FB_OK;
}

static void
add_machines(const struct making *making, struct fb_manifest_writer *writer)
{
	struct fb_error err = { 0 };

	for (uint32_t i = 0; i < making->world->machines; i++) {
		struct fb_manifest_volume volume = { .name = S("root"),
			.kind = FB_VOLUME_DISK,
			.size = LENGTH,
			.captured = true,
			.method = S("reflink"),
			.root = making->pack.id,
			.recipe = making->recipes[i],
			.new_bytes = LENGTH,
			.stored_bytes = STORED };
		FB_AUTO_FREE char *id = fb_format("m%03u", i);
		struct fb_manifest_machine machine = { .source = S("lab"),
			.driver = S("local"),
			.id = id,
			.name = id,
			.role = S(""),
			.power = FB_POWER_UP,
			.volumes = &volume,
			.volume_count = 1 };

		(void)snprintf(machine.snapshot_time,
		    sizeof(machine.snapshot_time), "%s", making->time);
		check(fb_manifest_add(writer, &machine, &err), &err);
	}
}

static void
write_manifest(const struct making *making, const struct fb_manifest_head *head,
    struct fb_digest digests[2])
{
	static const char *const names[] = { "manifest.json", "VOLUMES" };
	FB_AUTO_FREE char *manifest =
	    fb_format("%s/%s", making->world->dir, names[0]);
	FB_AUTO_FREE char *volumes =
	    fb_format("%s/%s", making->world->dir, names[1]);
	const char *const paths[] = { manifest, volumes };
	struct fb_manifest_writer *writer;
	struct fb_error err = { 0 };

	check(fb_manifest_begin(manifest, volumes, head, &writer, &err), &err);
	add_machines(making, writer);
	check(fb_manifest_finish(writer, &digests[0], &digests[1], &err), &err);
	for (size_t i = 0; i < 2; i++) {
		FB_AUTO_FREE char *key =
		    fb_format("runs/%s/%s", making->run, names[i]);
		FB_AUTO_BUF struct fb_buf bytes = { 0 };

		check(fb_io_read_file(paths[i], 1u << 26, &bytes, &err), &err);
		put(making->world, key, fb_buf_span(&bytes));
		(void)unlink(paths[i]);
	}
}

static int
compare_ids(const void *a, const void *b)
{
	return fb_digest_cmp(a, b);
}

/* The manifest, the checksums, the register. */
static void
commit(struct world *world, const struct making *making)
{
	static struct fb_manifest_source source = { .name = S("lab"),
		.driver = S("local") };
	struct fb_manifest_unit *units =
	    fb_alloc(world->machines, sizeof(*units));
	char **members = fb_alloc(world->machines, sizeof(*members));
	struct fb_manifest_head head = { .fleet = S("scale"),
		.tool_version = S("0.1.0"),
		.host = S("bench"),
		.sources = &source,
		.source_count = 1,
		.units = units,
		.unit_count = world->machines,
		.predecessors = &world->before,
		.predecessor_count = world->before.run[0] != '\0' };
	struct fb_register reg = { 0 };
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS", making->run);
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	struct fb_digest digests[2];
	struct fb_error err = { 0 };

	for (uint32_t i = 0; i < world->machines; i++) {
		members[i] = fb_format("lab/m%03u", i);
		units[i] = (struct fb_manifest_unit){ members[i], 0,
			&members[i], 1 };
	}
	memcpy(head.run, making->run, sizeof(head.run));
	memcpy(head.session, making->run, sizeof(head.session));
	memcpy(head.started, making->time, sizeof(making->time));
	memcpy(head.finished, making->time, sizeof(making->time));
	write_manifest(making, &head, digests);
	qsort(making->recipes, world->machines, sizeof(*making->recipes),
	    compare_ids);
	for (uint32_t i = 0; i < world->machines; i++)
		fb_id_list_add(&reg.recipes, &making->recipes[i]);
	fb_id_list_add(&reg.packs, &making->pack.id);
	check(fb_sums_write(world->repo, making->run, &digests[0], &digests[1],
	          &reg.recipes, &reg.packs, &sums, &err),
	    &err);
	put(world, key, fb_buf_span(&sums));
	fb_manifest_register(&head, &reg);
	fb_digest_of(fb_buf_span(&sums), &reg.sums);
	check(
	    fb_sign(world->key, fb_buf_span(&sums), reg.signature, &err), &err);
	memcpy(reg.signer, fb_sign_key_id(world->key), FB_KEY_ID_SIZE);
	check(fb_repo_commit(world->repo, &reg, &err), &err);
	memcpy(world->before.run, making->run, sizeof(world->before.run));
	world->before.manifest = digests[0];
	fb_id_list_release(&reg.recipes);
	fb_id_list_release(&reg.packs);
	free(reg.predecessors);
	for (uint32_t i = 0; i < world->machines; i++)
		free(members[i]);
	free(members);
	free(units);
}

static void
make_run(struct world *world, uint64_t number)
{
	struct making making = { .world = world,
		.recipes = fb_alloc(world->machines, FB_DIGEST_LEN) };
	struct fb_group *group = fb_group_new();
	struct fb_error err = { 0 };
	char text[FB_TIME_SIZE];

	fb_time_format(FIRST_NS + (int64_t)number * DAY_NS, text);
	(void)snprintf(making.time, sizeof(making.time), "%s", text);
	(void)snprintf(making.run, sizeof(making.run),
	    "%.4s%.2s%.2s-000000000-%08x", text, text + 5, text + 8,
	    (unsigned)number);
	make_pack(&making);
	for (int i = 0; i < WRITERS; i++)
		fb_group_start(group, make_recipes, &making);
	check(fb_group_wait(group, &err), &err);
	commit(world, &making);
	free(making.recipes);
}

int
main(int argc, char **argv)
{
	struct world world = { 0 };
	uint64_t runs;

	if (argc != 6) {
		fputs("usage: mkruns URL ENDPOINT KEY RUNS MACHINES\n", stderr);
		return 2;
	}
	runs = strtoull(argv[4], NULL, 10);
	open_world(&world, argv + 1);
	for (uint64_t i = 0; i < runs; i++)
		make_run(&world, i);
	(void)rmdir(world.dir);
	fb_repo_close(world.repo);
	fb_sign_key_free(world.key);
	return 0;
}
