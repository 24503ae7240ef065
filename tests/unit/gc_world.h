/*
 * A repository in memory with runs of a pack and a recipe each, whose bytes do
 * not matter, for the tests of deletion.  Static: each test is one file.
 */
#ifndef UNIT_GC_WORLD_H
#define UNIT_GC_WORLD_H

#include <stdio.h>
#include <stdlib.h>

#include "test.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/manifest/manifest.h"
#include "fleetbak/repo/gc.h"

static struct fb_error err;

struct world {
	struct fb_buf private_pem, public_pem;
	struct fb_sign_key *key;
	struct fb_repo *repo;
	unsigned made; /* ids given out */
	uint64_t random;
};

static inline int
make_world(void **state)
{
	struct world *world = fb_alloc(1, sizeof(*world));
	struct fb_trust trust = { 0 };
	struct fb_verify_key *public_key;
	struct fb_store *store;
	bool made;

	assert_ok(
	    fb_sign_generate(&world->private_pem, &world->public_pem, &err));
	assert_ok(fb_sign_key_parse(
	    fb_buf_span(&world->private_pem), &world->key, &err));
	assert_ok(fb_verify_key_parse(
	    fb_buf_span(&world->public_pem), &public_key, &err));
	fb_trust_add(&trust, public_key);
	assert_ok(fb_store_open("mem:", true, NULL, &store, &err));
	assert_ok(fb_repo_init(store, world->key, &made, &err));
	assert_ok(fb_repo_open(store, &trust, &world->repo, &err));
	*state = world;
	return 0;
}

static inline int
end_world(void **state)
{
	struct world *world = *state;

	fb_repo_close(world->repo);
	fb_sign_key_free(world->key);
	fb_buf_release(&world->private_pem);
	fb_buf_release(&world->public_pem);
	free(world);
	return 0;
}

static inline void
new_id(struct world *world, char id[FB_RUN_ID_SIZE])
{
	(void)snprintf(id, FB_RUN_ID_SIZE, "20261121-010000000-%08x",
	    ++world->made & 0xffffffffu);
}

/* An object of its own: its id says whose it is. */
static inline struct fb_digest
put_object(struct world *world, bool pack)
{
	struct fb_digest id = { { 0 } };
	char key[FB_OBJECT_KEY_SIZE];

	world->made++;
	for (size_t i = 0; i < 4; i++)
		id.bytes[i] = (uint8_t)(world->made >> 8 * i);
	id.bytes[31] = pack;
	if (pack)
		fb_pack_key(&id, key);
	else
		fb_recipe_key(&id, key);
	assert_ok(fb_store_create(world->repo->store, key, SPAN("x"), &err));
	return id;
}

static inline int
commit(struct world *world, const char *id, const struct fb_digest *pack,
    const struct fb_digest *recipe)
{
	struct fb_digest nothing = { { 0 } };
	struct fb_register reg = { .time = "2026-11-21T01:00:00Z",
		.fleet = "demo" };
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS", id);
	int rc;

	memcpy(reg.session, id, sizeof(reg.session));
	memcpy(reg.run, id, sizeof(reg.run));
	memcpy(reg.signer, fb_sign_key_id(world->key), FB_KEY_ID_SIZE);
	fb_id_list_add(&reg.packs, pack);
	fb_id_list_add(&reg.recipes, recipe);
	assert_ok(fb_sums_write(world->repo, id, &nothing, &nothing,
	    &reg.recipes, &reg.packs, &sums, &err));
	fb_digest_of(fb_buf_span(&sums), &reg.sums);
	assert_ok(fb_sign(
	    world->key, fb_buf_span(&sums), reg.signature, &err));
	assert_ok(fb_store_create(
	    world->repo->store, key, fb_buf_span(&sums), &err));
	rc = fb_repo_commit(world->repo, &reg, &err);
	fb_register_release(&reg);
	return rc;
}

/* A whole run at once. */
static inline void
make_run(struct world *world, char id[FB_RUN_ID_SIZE],
    struct fb_digest *ret_pack)
{
	struct fb_session session = { 0 };
	struct fb_digest recipe;

	new_id(world, id);
	assert_ok(fb_session_begin(
	    world->repo, id, "download", "demo", &session, &err));
	*ret_pack = put_object(world, true);
	recipe = put_object(world, false);
	assert_ok(commit(world, id, ret_pack, &recipe));
	fb_session_release(&session);
}

static inline bool
is_there(struct world *world, const struct fb_digest *pack)
{
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;

	fb_pack_key(pack, key);
	return fb_store_head(world->repo->store, key, &size, &err) == FB_OK;
}

static inline int
find_run(const struct fb_run_ref *run, void *arg, struct fb_error *error)
{
	struct fb_run_ref *found = arg;

	(void)error;
	if (strcmp(found->session, run->session) == 0)
		*found = *run;
	return FB_OK;
}

static inline struct fb_run_ref
ref_of(struct world *world, const char *session)
{
	struct fb_run_ref run = { 0 };

	memcpy(run.session, session, FB_RUN_ID_SIZE);
	assert_ok(fb_repo_all_runs(world->repo, find_run, &run, &err));
	return run;
}

static inline void
forget(struct world *world, const char *session)
{
	struct fb_run_ref run = ref_of(world, session);
	bool done;

	assert_ok(fb_forget_begin(
	    world->repo, &run, world->key, "a test", &err));
	assert_ok(fb_forget_finish(
	    world->repo, &run, world->key, &done, &err));
	assert_true(done);
}

static inline void
collect(struct world *world, int want, struct fb_gc_report *report)
{
	struct fb_gc_request request = { .fence_after_ms = UINT64_MAX };

	*report = (struct fb_gc_report){ 0 };
	assert_int_equal(
	    fb_gc_collect(world->repo, &request, report, &err), want);
}

#endif
