/*
 * A shared run: its document, signed objects, and whose shards are whose.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/repo/shared_text.h"
#include "shared.h"

#define DEAD_AFTER_MS 300000

int
fb_shared_name_check(const char *name, struct fb_error *err)
{
	size_t len = strlen(name);

	if (len > 0 && len < FB_SHARED_NAME_SIZE && name[0] != '.' &&
	    strspn(name,
	        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	        "0123456789._-") == len)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-SHARED-NAME",
	    "a shared run cannot be called so");
	return fb_hint(err,
	    "up to 64 letters, digits, '_', '-' and '.'; not "
	    "beginning with '.'");
}

uint32_t
fb_shard_of(const char *unit, uint32_t shards)
{
	struct fb_digest digest;
	uint64_t value = 0;

	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)unit, strlen(unit) }, &digest);
	for (size_t i = 0; i < 8; i++)
		value = value << 8 | digest.bytes[i];
	return (uint32_t)(value % shards) + 1;
}

void
shared_key(const char *name, uint32_t shard, uint32_t epoch, const char *rest,
    char key[SHARED_KEY_SIZE])
{
	(void)snprintf(key, SHARED_KEY_SIZE, "shared/%s/%04u/%06u/%s", name,
	    shard, epoch, rest);
}

void
shared_release(struct shared *shared)
{
	fb_freep(&shared->predecessors);
	shared->predecessor_count = 0;
}

/*
 * Signed objects.
 */

int
shared_put(const struct fb_engine *engine, struct fb_repo *repo,
    const char *key, struct fb_span body, struct fb_error *err)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *sign = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_engine_sign_key(engine, &sign, err);

	if (rc == FB_OK)
		rc = fb_shared_text_encode(sign, key, body, &text, err);
	return rc < 0
	    ? rc
	    : fb_store_create(repo->store, key, fb_buf_span(&text), err);
}

int
shared_get(struct fb_repo *repo, const char *key, struct fb_buf *dst,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_span body = { 0 };
	int rc =
	    fb_store_get_text(repo->store, key, SHARED_OBJECT_MAX, &text, err);

	if (rc == FB_OK)
		rc = fb_shared_text_check(
		    &repo->trust, key, fb_buf_span(&text), &body, err);
	if (rc < 0)
		return rc == FB_ENOTFOUND ? rc : fb_wrap(err, "'%s'", key);
	fb_buf_add(dst, body.ptr, body.len);
	return FB_OK;
}

/*
 * The document.
 */

void
shared_encode(const struct shared *shared, struct fb_buf *dst)
{
	char topology[FB_DIGEST_HEX_SIZE], selection[FB_DIGEST_HEX_SIZE];
	FB_AUTO_JSON json_t *value = NULL;
	json_t *predecessors = json_array();

	for (size_t i = 0; i < shared->predecessor_count; i++) {
		char hex[FB_DIGEST_HEX_SIZE];

		fb_digest_hex(&shared->predecessors[i].manifest, hex);
		(void)json_array_append_new(predecessors,
		    json_pack("{s:s,s:s}", "manifest", hex, "run",
		        shared->predecessors[i].run));
	}
	fb_digest_hex(&shared->topology, topology);
	fb_digest_hex(&shared->topology_selection, selection);
	value = json_pack("{s:I,s:s,s:s,s:o,s:s,s:s,s:I,s:s,s:s,s:s,s:i}",
	    "dead_after_ms", (json_int_t)shared->dead_after_ms, "fleet",
	    shared->fleet, "repository", shared->repo->format.repository,
	    "predecessors", predecessors, "run", shared->run, "selection",
	    shared->selection, "shards", (json_int_t)shared->shards, "started",
	    shared->started, "topology", topology, "topology_selection",
	    selection, "version", 1);
	fb_json_add(dst, value);
	fb_buf_add_str(dst, "\n");
}

static int
take_predecessors(
    const json_t *value, struct shared *shared, struct fb_error *err)
{
	json_t *list;
	int rc = fb_json_array(value, "predecessors", "shared run", &list, err);

	if (rc < 0)
		return rc;
	if (json_array_size(list) > FB_PREDECESSORS_MAX)
		return fb_fail(err, FB_ECORRUPT, "too many predecessors");
	shared->predecessors =
	    fb_alloc(json_array_size(list), sizeof(*shared->predecessors));
	for (size_t i = 0; rc == FB_OK && i < json_array_size(list); i++) {
		struct fb_predecessor *one =
		    &shared->predecessors[shared->predecessor_count++];
		const json_t *item = json_array_get(list, i);

		rc = fb_fact_text(item, "run", one->run, sizeof(one->run), err);
		if (rc == FB_OK)
			rc = fb_fact_digest(
			    item, "manifest", &one->manifest, err);
	}
	return rc;
}

static int
take_facts(const json_t *value, struct shared *shared, struct fb_error *err)
{
	uint64_t shards = 0;
	int64_t ignored;
	int rc;

	if ((rc = fb_fact_text(
	         value, "run", shared->run, sizeof(shared->run), err)) < 0 ||
	    (rc = fb_fact_text(value, "fleet", shared->fleet,
	         sizeof(shared->fleet), err)) < 0 ||
	    (rc = fb_fact_text(value, "started", shared->started,
	         sizeof(shared->started), err)) < 0 ||
	    (rc = fb_time_parse(shared->started, &ignored, err)) < 0 ||
	    (rc = fb_fact_text(value, "selection", shared->selection,
	         sizeof(shared->selection), err)) < 0 ||
	    (rc = fb_fact_digest(value, "topology", &shared->topology, err)) <
	        0 ||
	    (rc = fb_fact_digest(value, "topology_selection",
	         &shared->topology_selection, err)) < 0 ||
	    (rc = fb_json_u64(value, "dead_after_ms", "shared run", INT32_MAX,
	         &shared->dead_after_ms, err)) < 0 ||
	    (rc = fb_json_u64(value, "shards", "shared run", FB_SHARDS_MAX,
	         &shards, err)) < 0)
		return rc;
	shared->shards = (uint32_t)shards;
	if (shards == 0 || shared->dead_after_ms == 0 ||
	    !fb_run_id_ok(shared->run, strlen(shared->run)))
		return fb_fail(err, FB_ECORRUPT, "numbers that make no sense");
	return take_predecessors(value, shared, err);
}

int
shared_decode(
    struct fb_span text, struct shared *shared, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };
	FB_AUTO_JSON json_t *value = NULL;
	uint64_t version;
	int rc =
	    fb_json_parse(text, SHARED_OBJECT_MAX, "shared run", &value, err);

	if (rc == FB_OK)
		rc = fb_json_u64(
		    value, "version", "shared run", UINT32_MAX, &version, err);
	if (rc == FB_OK && version != 1)
		return fb_fail(
		    err, FB_ETOONEW, "it is of version %u", (unsigned)version);
	if (rc == FB_OK)
		rc = take_facts(value, shared, err);
	if (rc < 0)
		return rc;
	shared_encode(shared, &again);
	if (again.len != text.len ||
	    memcmp(again.data, text.ptr, text.len) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "it is of another repository, or not in canonical form");
	return FB_OK;
}

int
shared_open(const struct fb_engine *engine, struct fb_repo *repo,
    const char *name, struct shared *ret_shared, struct fb_error *err)
{
	struct shared shared = { .engine = engine, .repo = repo };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[SHARED_KEY_SIZE];
	int rc = fb_shared_name_check(name, err);

	if (rc < 0)
		return rc;
	(void)snprintf(shared.name, sizeof(shared.name), "%s", name);
	(void)snprintf(key, sizeof(key), "shared/%s/run", name);
	rc = shared_get(repo, key, &text, err);
	if (rc == FB_ENOTFOUND) {
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-SHARED-UNKNOWN",
		    "nobody has begun a shared run '%s'", name);
		return fb_hint(err,
		    "'fleetbak list runs' names those that "
		    "are not sealed");
	}
	if (rc == FB_OK)
		rc = shared_decode(fb_buf_span(&text), &shared, err);
	if (rc == FB_OK &&
	    strcmp(shared.fleet, engine->config->fleet_name) != 0)
		rc = fb_fail(
		    err, FB_ECONFLICT, "it is of fleet '%s'", shared.fleet);
	if (rc < 0) {
		shared_release(&shared);
		return fb_wrap(err, "shared run '%s'", name);
	}
	*ret_shared = shared;
	return FB_OK;
}

/* The first worker says what the run is. */
static int
propose(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_plan *plan, const struct fb_download_request *request,
    struct fb_error *err)
{
	struct shared shared = { .engine = engine,
		.repo = repo,
		.topology = plan->topology,
		.topology_selection = plan->topology_selection,
		.shards = request->shards,
		.dead_after_ms = request->dead_after_ms != 0
		    ? request->dead_after_ms
		    : DEAD_AFTER_MS,
		.predecessors = plan->predecessors, /* borrowed */
		.predecessor_count = plan->predecessor_count };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[SHARED_KEY_SIZE];
	int rc;

	(void)snprintf(
	    shared.fleet, sizeof(shared.fleet), "%s", plan->fleet.name);
	fb_run_number(engine, plan, shared.run);
	fb_time_format_ms(fb_clock_wall_ns(), shared.started);
	fb_run_selection_digest(plan, shared.selection);
	shared_encode(&shared, &text);
	(void)snprintf(key, sizeof(key), "shared/%s/run", request->shared);
	rc = shared_put(engine, repo, key, fb_buf_span(&text), err);
	return rc == FB_EEXISTS ? FB_OK : rc; /* somebody else came first */
}

static int
check_agreement(const struct shared *shared, const struct fb_plan *plan,
    const struct fb_download_request *request, struct fb_error *err)
{
	char selection[FB_DIGEST_HEX_SIZE];
	bool closed;
	int rc = shared_is_closed(shared, &closed, err);

	if (rc < 0)
		return rc;
	if (closed) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-SHARED-SEALED",
		    "shared run '%s' (%s) is sealed or given up", shared->name,
		    shared->run);
		return fb_hint(err, "a new run needs a new name");
	}
	if (shared->shards != request->shards)
		return fb_fail_id(err, FB_ECONFIG, "E-SHARD-COUNT",
		    "shared run '%s' has %u shards, not %u", shared->name,
		    shared->shards, request->shards);
	fb_run_selection_digest(plan, selection);
	if (fb_digest_cmp(&shared->topology, &plan->topology) == 0 &&
	    fb_digest_cmp(
	        &shared->topology_selection, &plan->topology_selection) == 0 &&
	    strcmp(shared->selection, selection) == 0)
		return FB_OK;
	(void)fb_fail_id(err, FB_ESTALE, "E-SHARD-TOPOLOGY",
	    "this worker sees another fleet, or selects other machines, than "
	    "whoever began shared run '%s'",
	    shared->name);
	return fb_hint(err,
	    "compare 'fleetbak topology' on both; nothing was "
	    "touched");
}

int
shared_agree(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_plan *plan, const struct fb_download_request *request,
    struct shared *ret_shared, struct fb_error *err)
{
	int rc = shared_open(engine, repo, request->shared, ret_shared, err);

	if (rc == FB_ENOTFOUND) {
		rc = propose(engine, repo, plan, request, err);
		if (rc == FB_OK)
			rc = shared_open(
			    engine, repo, request->shared, ret_shared, err);
	}
	if (rc < 0)
		return rc;
	rc = check_agreement(ret_shared, plan, request, err);
	if (rc < 0)
		shared_release(ret_shared);
	return rc;
}

int
shared_is_closed(
    const struct shared *shared, bool *ret_closed, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE];
	uint64_t size;
	int rc;

	(void)snprintf(key, sizeof(key), "shared/%s/closed", shared->name);
	rc = fb_store_head(shared->repo->store, key, &size, err);
	*ret_closed = rc == FB_OK;
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

int
shared_close(const struct shared *shared, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE];
	int rc;

	(void)snprintf(key, sizeof(key), "shared/%s/closed", shared->name);
	rc = fb_store_create(
	    shared->repo->store, key, (struct fb_span){ 0 }, err);
	return rc == FB_EEXISTS ? FB_OK : rc;
}
