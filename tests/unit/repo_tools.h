/*
 * A repository with runs in it, made by the real writers, for the tests of
 * repositories, histories and verify.  Static: each test is one file.
 */
#ifndef UNIT_REPO_TOOLS_H
#define UNIT_REPO_TOOLS_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/manifest/manifest.h"
#include "fleetbak/repo/copier.h"

/* The structs own their strings; those of a test are literals. */
#define S(literal) ((char *)(uintptr_t)(literal))

struct depot {
	char dir[64];     /* a directory of our own ... */
	char repo_dir[96]; /* ... the repository in it ... */
	char spool[96];   /* ... and scratch space */
	char url[112];
	struct fb_buf private_pem, public_pem;
	struct fb_sign_key *key;
	struct fb_repo *repo;
};

static struct fb_error err;

static inline void
trust_key(struct depot *depot, struct fb_trust *trust)
{
	struct fb_verify_key *key;

	*trust = (struct fb_trust){ 0 };
	assert_ok(fb_verify_key_parse(
	    fb_buf_span(&depot->public_pem), &key, &err));
	fb_trust_add(trust, key);
}

static inline void
reopen(struct depot *depot)
{
	struct fb_store *store;
	struct fb_trust trust;

	fb_repo_close(depot->repo);
	depot->repo = NULL;
	assert_ok(fb_store_open(depot->url, false, NULL, &store, &err));
	trust_key(depot, &trust);
	assert_ok(fb_repo_open(store, &trust, &depot->repo, &err));
}

/* A directory, a key, and no repository yet. */
static inline int
make_depot(void **state)
{
	struct depot *depot = fb_alloc(1, sizeof(*depot));

	(void)snprintf(
	    depot->dir, sizeof(depot->dir), "/tmp/fb-depot-XXXXXX");
	if (mkdtemp(depot->dir) == NULL)
		return -1;
	(void)snprintf(depot->repo_dir, sizeof(depot->repo_dir), "%s/repo",
	    depot->dir);
	(void)snprintf(
	    depot->spool, sizeof(depot->spool), "%s/spool", depot->dir);
	(void)snprintf(
	    depot->url, sizeof(depot->url), "file:%s", depot->repo_dir);
	assert_int_equal(mkdir(depot->spool, 0700), 0);
	assert_ok(
	    fb_sign_generate(&depot->private_pem, &depot->public_pem, &err));
	assert_ok(fb_sign_key_parse(
	    fb_buf_span(&depot->private_pem), &depot->key, &err));
	*state = depot;
	return 0;
}

static inline int
remove_depot(void **state)
{
	struct depot *depot = *state;

	fb_repo_close(depot->repo);
	fb_sign_key_free(depot->key);
	fb_buf_release(&depot->private_pem);
	fb_buf_release(&depot->public_pem);
	assert_ok(fb_io_remove_tree(depot->dir, &err));
	free(depot);
	return 0;
}

static inline void
init_repo(struct depot *depot)
{
	FB_AUTO_STORE struct fb_store *store = NULL;
	bool made;

	assert_ok(fb_store_open(depot->url, true, NULL, &store, &err));
	assert_ok(fb_repo_init(store, depot->key, &made, &err));
	assert_true(made);
	reopen(depot);
}

/* A depot with an empty repository. */
static inline int
make_repository(void **state)
{
	int rc = make_depot(state);

	if (rc == 0)
		init_repo(*state);
	return rc;
}

/* Objects as files: read, write, remove behind the store's back. */
static inline char *
object_path(const struct depot *depot, const char *key)
{
	return fb_format("%s/%s", depot->repo_dir, key);
}

static inline void
read_object(const struct depot *depot, const char *key, struct fb_buf *dst)
{
	FB_AUTO_FREE char *path = object_path(depot, key);

	assert_ok(fb_io_read_file(path, 1u << 28, dst, &err));
}

static inline void
write_object(const struct depot *depot, const char *key, struct fb_span bytes)
{
	FB_AUTO_FREE char *path = object_path(depot, key);

	(void)unlink(path);
	assert_ok(fb_io_replace(path, bytes, 0600, &err));
}

static inline void
remove_object(const struct depot *depot, const char *key)
{
	FB_AUTO_FREE char *path = object_path(depot, key);

	assert_int_equal(unlink(path), 0);
}

/* Turn one byte round. */
static inline void
spoil_object(const struct depot *depot, const char *key, size_t at)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	read_object(depot, key, &bytes);
	assert_true(at < bytes.len);
	bytes.data[at] ^= 0x20;
	write_object(depot, key, fb_buf_span(&bytes));
}

static inline int
note_nothing(void *arg, const json_t *state, struct fb_error *error)
{
	(void)arg;
	(void)state;
	(void)error;
	return FB_OK;
}

/* One machine of a run to make: "lab/<id>" with disks. */
struct content {
	const char *id;
	const char *volume;
	const uint8_t *bytes;
	size_t len;
};

static inline struct fb_copier *
open_copier(struct depot *depot, const struct fb_session *session)
{
	struct fb_copier_spec spec = { .repo = depot->repo,
		.session = session,
		.spool_dir = depot->spool,
		.workers = 1,
		.level = 1,
		.pack_size = 1u << 20,
		.checkpoint = note_nothing };
	struct fb_copier *copier;

	assert_ok(fb_io_remove_tree(depot->spool, &err));
	assert_int_equal(mkdir(depot->spool, 0700), 0);
	assert_ok(fb_copier_open(&spec, NULL, &copier, &err));
	return copier;
}

static inline void
copy_content(struct fb_copier *copier, const struct content *content,
    struct fb_copy_result *result)
{
	static const uint8_t zeros[4096];
	struct fb_copy *copy;
	uint64_t offset;

	assert_ok(fb_copy_begin(copier, content->id, "disk", false, false,
	    &copy, &offset, &err));
	for (size_t at = 0; at < content->len; at += sizeof(zeros)) {
		size_t len = content->len - at < sizeof(zeros)
		    ? content->len - at
		    : sizeof(zeros);

		if (memcmp(content->bytes + at, zeros, len) == 0)
			assert_ok(fb_copy_zero(copy, len, &err));
		else
			assert_ok(fb_copy_data(
			    copy, content->bytes + at, len, &err));
	}
	assert_ok(fb_copy_finish(copy, result, &err));
}

/* Of each machine of a run. */
static struct fb_labels machine_labels;

/* What a run in the making has. */
struct making {
	struct fb_session session;
	struct fb_manifest_volume *volumes;
	struct fb_manifest_unit *units;
	struct fb_manifest_machine *machines;
	struct fb_id_list recipes, packs;
	struct fb_digest manifest, volumes_digest;
	char *paths[2];
};

static inline void
store_contents(struct depot *depot, struct making *making,
    const struct content *contents, size_t count)
{
	struct fb_copier *copier = open_copier(depot, &making->session);
	struct fb_copy_result *results = fb_alloc(count, sizeof(*results));

	for (size_t i = 0; i < count; i++)
		copy_content(copier, &contents[i], &results[i]);
	assert_ok(fb_copier_flush(copier, &err));
	for (size_t i = 0; i < count; i++) {
		struct fb_manifest_volume *volume = &making->volumes[i];

		*volume = (struct fb_manifest_volume){
			.name = S(contents[i].volume),
			.kind = FB_VOLUME_DISK,
			.size = results[i].size,
			.captured = true,
			.method = S("reflink"),
			.root = results[i].root,
			.new_bytes = results[i].new_bytes,
			.stored_bytes = results[i].stored_bytes,
		};
		assert_ok(fb_copier_recipe(copier, contents[i].id,
		    &volume->recipe, &making->packs, &err));
		fb_id_list_add(&making->recipes, &volume->recipe);
	}
	assert_ok(fb_copier_hints(copier, depot->key, &err));
	fb_copier_close(copier);
	free(results);
}

static inline void
describe_machines(struct making *making, const struct content *contents,
    size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char **member = fb_alloc(1, sizeof(*member));

		*member = fb_format("lab/%s", contents[i].id);
		making->units[i] =
		    (struct fb_manifest_unit){ *member, i, member, 1 };
		making->machines[i] = (struct fb_manifest_machine){
			.source = S("lab"),
			.driver = S("local"),
			.id = S(contents[i].id),
			.name = S(contents[i].id),
			.labels = machine_labels,
			.role = S(""),
			.power = FB_POWER_UP,
			.epoch = i,
			.snapshot_time = "2026-11-21T01:32:10Z",
			.volumes = &making->volumes[i],
			.volume_count = 1,
		};
	}
}

static inline void
write_manifest(struct depot *depot, struct making *making,
    const struct fb_manifest_head *head, size_t count)
{
	struct fb_manifest_writer *writer;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	static const char *const names[] = { "manifest.json", "VOLUMES" };

	for (size_t i = 0; i < 2; i++)
		making->paths[i] =
		    fb_format("%s/%s", depot->spool, names[i]);
	assert_ok(fb_manifest_begin(
	    making->paths[0], making->paths[1], head, &writer, &err));
	for (size_t i = 0; i < count; i++)
		assert_ok(
		    fb_manifest_add(writer, &making->machines[i], &err));
	assert_ok(fb_manifest_finish(
	    writer, &making->manifest, &making->volumes_digest, &err));
	for (size_t i = 0; i < 2; i++) {
		FB_AUTO_FREE char *key =
		    fb_format("runs/%s/%s", head->run, names[i]);

		fb_buf_clear(&bytes);
		assert_ok(fb_io_read_file(
		    making->paths[i], 1u << 24, &bytes, &err));
		assert_ok(fb_store_create(
		    depot->repo->store, key, fb_buf_span(&bytes), &err));
	}
}

static inline void
commit_run(struct depot *depot, struct making *making,
    const struct fb_manifest_head *head)
{
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS", head->run);
	struct fb_register reg = { .recipes = making->recipes,
		.packs = making->packs };

	assert_ok(fb_sums_write(depot->repo, head->run, &making->manifest,
	    &making->volumes_digest, &making->recipes, &making->packs, &sums,
	    &err));
	assert_ok(fb_store_create(
	    depot->repo->store, key, fb_buf_span(&sums), &err));
	fb_manifest_register(head, &reg);
	fb_digest_of(fb_buf_span(&sums), &reg.sums);
	assert_ok(fb_sign(
	    depot->key, fb_buf_span(&sums), reg.signature, &err));
	memcpy(reg.signer, fb_sign_key_id(depot->key), FB_KEY_ID_SIZE);
	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	free(reg.predecessors);
}

static inline void
end_making(struct making *making, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(making->units[i].name);
		free(making->units[i].machines);
	}
	free(making->units);
	free(making->machines);
	free(making->volumes);
	free(making->paths[0]);
	free(making->paths[1]);
	fb_id_list_release(&making->recipes);
	fb_id_list_release(&making->packs);
	fb_session_release(&making->session);
}

/*
 * Make and commit a run of fleet "demo" that names `predecessors`; with NULL
 * those that the history asks for.  `run` gets its id.
 */
static inline void
make_run_after(struct depot *depot, const char *run,
    const struct content *contents, size_t count,
    struct fb_predecessor *predecessors, size_t predecessor_count)
{
	static struct fb_manifest_source source = { .name = S("lab"),
		.driver = S("local") };
	struct making making = {
		.volumes = fb_alloc(count, sizeof(*making.volumes)),
		.units = fb_alloc(count, sizeof(*making.units)),
		.machines = fb_alloc(count, sizeof(*making.machines)),
	};
	struct fb_manifest_head head = { .fleet = S("demo"),
		.tool_version = S("0.1.0"),
		.host = S("backup-1"),
		.started = "2026-11-21T01:32:06Z",
		.finished = "2026-11-21T01:33:00Z",
		.sources = &source,
		.source_count = 1 };

	(void)snprintf(head.run, sizeof(head.run), "%s", run);
	(void)snprintf(head.session, sizeof(head.session), "%s", run);
	assert_ok(fb_session_begin(depot->repo, head.session, "download",
	    "demo", &making.session, &err));
	store_contents(depot, &making, contents, count);
	describe_machines(&making, contents, count);
	head.units = making.units;
	head.unit_count = count;
	head.predecessors = predecessors;
	head.predecessor_count = predecessor_count;
	write_manifest(depot, &making, &head, count);
	commit_run(depot, &making, &head);
	assert_ok(fb_session_end(depot->repo, &making.session, &err));
	end_making(&making, count);
}

static inline void
make_run(struct depot *depot, const char *run, const struct content *contents,
    size_t count)
{
	struct fb_predecessor *heads;
	size_t head_count;

	assert_ok(fb_history_heads(
	    depot->repo, "demo", &heads, &head_count, &err));
	make_run_after(depot, run, contents, count, heads, head_count);
	free(heads);
}

/* Noise that does not compress, the same for the same seed. */
static inline uint8_t *
make_noise(size_t len, uint64_t seed)
{
	uint8_t *bytes = fb_alloc(len, 1);

	for (size_t i = 0; i < len; i++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		bytes[i] = (uint8_t)(seed >> 24);
	}
	return bytes;
}

#endif
