/*
 * Joining the shards of a shared run into one signed run, or giving it up.
 *
 * The seal is a writer like any other: it announces the session that has the
 * run's id, then looks at what is being deleted, then at the registers of the
 * shards, and uses again what these keep.  Its register, made once, decides
 * between the seal and whoever gives the run up.  After it the records of the
 * shards are given up: the run names all that they named.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/forget.h"
#include "shared.h"

#define SEAL_WAIT_MS 60000 /* nobody is longer at it */

struct seal {
	const struct fb_engine *engine;
	struct fb_repo *repo;
	struct shared shared;
	struct fb_run_ref *shards; /* by number, session "": missing */
	struct fb_manifest **manifests;
	uint32_t present;
	struct fb_session session;
	struct fb_id_list recipes, packs;
	struct fb_manifest_head head;
	char *dir;
};

static void
seal_release(struct seal *seal)
{
	for (uint32_t i = 0; seal->manifests != NULL && i < seal->shared.shards;
	     i++)
		fb_manifest_close(seal->manifests[i]);
	free(seal->manifests);
	free(seal->shards);
	fb_session_release(&seal->session);
	fb_id_list_release(&seal->recipes);
	fb_id_list_release(&seal->packs);
	fb_manifest_head_release(&seal->head);
	shared_release(&seal->shared);
	free(seal->dir);
}
#define AUTO_SEAL FB_CLEANUP(seal_release)

static int
open_seal(struct seal *seal, const char *name, struct fb_error *err)
{
	int rc =
	    shared_open(seal->engine, seal->repo, name, &seal->shared, err);

	if (rc < 0)
		return rc;
	seal->shards = fb_alloc(seal->shared.shards, sizeof(*seal->shards));
	seal->manifests =
	    fb_alloc(seal->shared.shards, sizeof(struct fb_manifest *));
	seal->dir = fb_state_path(seal->engine, "seals/%s", seal->shared.run);
	return FB_OK;
}

static int
note_shard(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct seal *seal = arg;
	struct fb_run_ref *slot;

	if (run->damage != NULL || strcmp(run->shard.of, seal->shared.run) != 0)
		return FB_OK;
	if (run->shard.count != seal->shared.shards)
		return fb_fail(err, FB_ECORRUPT, "'commits/%s' is of %u shards",
		    run->session, run->shard.count);
	slot = &seal->shards[run->shard.number - 1];
	if (slot->session[0] != '\0')
		return fb_fail(err, FB_ECORRUPT,
		    "shard %u was committed by two sessions, %s and %s",
		    run->shard.number, slot->session, run->session);
	*slot = *run;
	slot->predecessors = NULL;
	slot->predecessor_count = 0;
	seal->present++;
	return FB_OK;
}

static int
find_shards(struct seal *seal, struct fb_error *err)
{
	memset(seal->shards, 0, seal->shared.shards * sizeof(*seal->shards));
	seal->present = 0;
	return fb_repo_kept_runs(seal->repo, note_shard, seal, err);
}

static int
check_whole(const struct seal *seal, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf list = { 0 };
	size_t named = 0;

	if (seal->present == seal->shared.shards)
		return FB_OK;
	for (uint32_t i = 0; i < seal->shared.shards && named < 8; i++)
		if (seal->shards[i].session[0] == '\0')
			fb_buf_add_fmt(
			    &list, "%s%u", named++ > 0 ? ", " : "", i + 1);
	(void)fb_fail_id(err, FB_EREFUSED, "E-SHARDS-MISSING",
	    "shared run '%s' has %u of %u shards; missing: %s%s",
	    seal->shared.name, seal->present, seal->shared.shards,
	    fb_buf_str(&list),
	    seal->shared.shards - seal->present > named ? ", ..." : "");
	return fb_hint(err,
	    "fleetbak download --run %s --shard any/%u does what nobody does",
	    seal->shared.name, seal->shared.shards);
}

/*
 * The head of the whole.
 */

static int
check_head(const struct seal *seal, const struct fb_manifest_head *head,
    struct fb_error *err)
{
	const struct shared *shared = &seal->shared;

	if (fb_digest_cmp(&head->topology, &shared->topology) == 0 &&
	    fb_digest_cmp(
	        &head->topology_selection, &shared->topology_selection) == 0 &&
	    strcmp(head->fleet, shared->fleet) == 0 &&
	    fb_predecessors_same(head->predecessors, head->predecessor_count,
	        shared->predecessors, shared->predecessor_count))
		return FB_OK;
	return fb_fail_id(err, FB_ESTALE, "E-SHARD-TOPOLOGY",
	    "shard %u of '%s' is of another fleet, topology or history than "
	    "the run",
	    head->shard.number, shared->name);
}

static void
add_units(struct fb_manifest_head *dst, const struct fb_manifest_head *src)
{
	dst->units = fb_realloc(dst->units,
	    dst->unit_count + src->unit_count + 1, sizeof(*dst->units));
	for (size_t i = 0; i < src->unit_count; i++) {
		const struct fb_manifest_unit *from = &src->units[i];
		struct fb_manifest_unit *to = &dst->units[dst->unit_count++];

		*to = (struct fb_manifest_unit){ .name = fb_strdup(from->name),
			.epoch = from->epoch,
			.machines =
			    fb_alloc(from->machine_count, sizeof(char *)) };
		for (size_t k = 0; k < from->machine_count; k++)
			to->machines[to->machine_count++] =
			    fb_strdup(from->machines[k]);
	}
}

static int
compare_units(const void *a, const void *b)
{
	return strcmp(((const struct fb_manifest_unit *)a)->name,
	    ((const struct fb_manifest_unit *)b)->name);
}

/* A source that one worker could not ask has failed for its machines. */
static void
add_sources(struct fb_manifest_head *dst, const struct fb_manifest_head *src)
{
	if (dst->sources == NULL) {
		dst->sources =
		    fb_alloc(src->source_count + 1, sizeof(*dst->sources));
		for (size_t i = 0; i < src->source_count; i++)
			dst->sources[dst->source_count++] =
			    (struct fb_manifest_source){
				    .name = fb_strdup(src->sources[i].name),
				    .driver = fb_strdup(src->sources[i].driver)
			    };
	}
	for (size_t i = 0; i < dst->source_count; i++)
		for (size_t k = 0; k < src->source_count; k++)
			if (dst->sources[i].problem.code == FB_OK &&
			    strcmp(dst->sources[i].name,
			        src->sources[k].name) == 0)
				dst->sources[i].problem =
				    src->sources[k].problem;
}

static void
add_head(struct fb_manifest_head *dst, const struct fb_manifest_head *src,
    bool first)
{
	if (first) {
		dst->tool_version = fb_strdup(src->tool_version);
		dst->host = fb_strdup(src->host);
		memcpy(dst->started, src->started, sizeof(dst->started));
	}
	if (strcmp(src->started, dst->started) < 0)
		memcpy(dst->started, src->started, sizeof(dst->started));
	if (strcmp(src->finished, dst->finished) > 0) {
		memcpy(dst->finished, src->finished, sizeof(dst->finished));
		dst->topology_after = src->topology_after;
	}
	dst->partial |= src->partial;
	add_sources(dst, src);
	add_units(dst, src);
}

static int
make_head(struct seal *seal, struct fb_error *err)
{
	const struct shared *shared = &seal->shared;
	struct fb_manifest_head *head = &seal->head;

	memcpy(head->run, shared->run, sizeof(head->run));
	memcpy(head->session, shared->run, sizeof(head->session));
	head->fleet = fb_strdup(shared->fleet);
	head->topology = shared->topology;
	head->topology_selection = shared->topology_selection;
	head->predecessors = fb_alloc(
	    shared->predecessor_count + 1, sizeof(*head->predecessors));
	for (size_t i = 0; i < shared->predecessor_count; i++)
		head->predecessors[head->predecessor_count++] =
		    shared->predecessors[i];
	for (uint32_t i = 0; i < shared->shards; i++) {
		const struct fb_manifest_head *part;
		int rc = fb_manifest_open(seal->repo, &seal->shards[i], false,
		    NULL, &seal->manifests[i], err);

		if (rc < 0)
			return rc;
		part = fb_manifest_get_head(seal->manifests[i]);
		rc = check_head(seal, part, err);
		if (rc < 0)
			return rc;
		add_head(head, part, i == 0);
	}
	if (head->unit_count > 0)
		qsort(head->units, head->unit_count, sizeof(*head->units),
		    compare_units);
	head->drift =
	    fb_digest_cmp(&head->topology, &head->topology_after) != 0;
	return FB_OK;
}

/*
 * What it names.
 */

static void
add_ids(struct fb_id_list *dst, const struct fb_id_list *src)
{
	dst->ids = fb_realloc(
	    dst->ids, dst->count + src->count + 1, sizeof(*dst->ids));
	for (size_t i = 0; i < src->count; i++)
		dst->ids[dst->count++] = src->ids[i];
}

/* A register that is not given up keeps what it names, unless that was on its
 * way out before: such a shard has been given up, and is back. */
static int
collect_ids(struct seal *seal, struct fb_error *err)
{
	for (uint32_t i = 0; i < seal->shared.shards; i++) {
		struct fb_register reg = { 0 };
		int rc = fb_repo_register(
		    seal->repo, seal->shards[i].session, &reg, err);

		if (rc < 0)
			return rc;
		add_ids(&seal->recipes, &reg.recipes);
		add_ids(&seal->packs, &reg.packs);
		fb_register_release(&reg);
	}
	fb_id_list_settle(&seal->recipes);
	fb_id_list_settle(&seal->packs);
	for (size_t i = 0; i < seal->packs.count; i++)
		if (fb_id_list_has(
		        &seal->session.condemned, &seal->packs.ids[i]))
			return fb_fail_id(err, FB_EBUSY, "E-SESSIONS-OPEN",
			    "a pack that a shard names is being deleted");
	if (seal->recipes.count > 0)
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-SHARD-NOTHING",
	    "no machine of shared run '%s' was stored: there is nothing to "
	    "seal",
	    seal->shared.name);
	return fb_hint(err, "fleetbak forget --run %s", seal->shared.name);
}

static int
add_machine(
    const struct fb_manifest_machine *machine, void *arg, struct fb_error *err)
{
	return fb_manifest_add(arg, machine, err);
}

static int
write_manifest(
    struct seal *seal, struct fb_publication *what, struct fb_error *err)
{
	struct fb_manifest_writer *writer = NULL;
	int rc = fb_io_remove_tree(seal->dir, err);

	if (rc == FB_OK)
		rc = fb_io_mkdirs(seal->dir, 0700, err);
	if (rc == FB_OK)
		rc = fb_manifest_begin(what->manifest_path, what->volumes_path,
		    &seal->head, &writer, err);
	if (rc < 0)
		return rc;
	rc = fb_manifests_merge(
	    seal->manifests, seal->shared.shards, add_machine, writer, err);
	if (rc < 0)
		fb_manifest_abandon(writer);
	else
		rc = fb_manifest_finish(
		    writer, &what->manifest, &what->volumes, err);
	return rc;
}

/* Where it is written is this state directory's, and so is who writes there:
 * the command, and a worker whose shard was the last. */
static int
lock_dir(const struct seal *seal, struct fb_error *err)
{
	FB_AUTO_FREE char *parent = fb_state_path(seal->engine, "seals");
	FB_AUTO_FREE char *path = fb_state_path(seal->engine, "seals/lock");
	uint64_t wait_ms = seal->engine->lock_wait_ms;
	int rc = fb_io_mkdirs(parent, 0700, err);

	return rc < 0 ? rc
	              : fb_lock_take(path,
	                    wait_ms > SEAL_WAIT_MS ? wait_ms : SEAL_WAIT_MS,
	                    seal->engine->cancel, "seal", err);
}

static int
publish(struct seal *seal, struct fb_error *err)
{
	FB_AUTO_CLOSE int lock = lock_dir(seal, err);
	FB_AUTO_FREE char *manifest = fb_format("%s/manifest.json", seal->dir);
	FB_AUTO_FREE char *volumes = fb_format("%s/VOLUMES", seal->dir);
	struct fb_publication what = {
		.run = seal->shared.run,
		.session = seal->shared.run,
		.fleet = seal->shared.fleet,
		.time = seal->head.finished,
		.predecessors = seal->shared.predecessors,
		.predecessor_count = seal->shared.predecessor_count,
		.manifest_path = manifest,
		.volumes_path = volumes,
		.recipes = &seal->recipes,
		.packs = &seal->packs,
	};
	struct fb_error ignored = { 0 };
	int rc = lock < 0 ? lock : write_manifest(seal, &what, err);

	if (rc == FB_OK)
		rc = fb_publish(seal->engine, seal->repo, &what, err);
	if (lock >= 0)
		(void)!fb_io_remove_tree(seal->dir, &ignored);
	return rc;
}

/*
 * Afterwards.
 */

static int
forget_shards(struct seal *seal, const char *reason, struct fb_error *err)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	int rc = fb_engine_sign_key(seal->engine, &key, err);

	if (rc == FB_OK)
		rc = find_shards(seal, err);
	for (uint32_t i = 0; rc == FB_OK && i < seal->shared.shards; i++) {
		bool done;

		if (seal->shards[i].session[0] == '\0')
			continue;
		rc = fb_forget_begin(
		    seal->repo, &seal->shards[i], key, reason, err);
		if (rc == FB_OK)
			rc = fb_forget_finish(
			    seal->repo, &seal->shards[i], key, &done, err);
	}
	return rc;
}

/* Does the run exist?  FB_ECONFLICT: it was given up. */
static int
is_sealed(const struct seal *seal, bool *ret_sealed, struct fb_error *err)
{
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(seal->repo, seal->shared.run, &reg, err);

	*ret_sealed = rc == FB_OK && !reg.fence;
	if (rc == FB_OK && reg.fence)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-FENCED",
		    "shared run '%s' can be sealed no more: %s",
		    seal->shared.name, reg.reason);
	fb_register_release(&reg);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
join(struct seal *seal, struct fb_error *err)
{
	bool sealed = false;
	int rc = find_shards(seal, err);

	if (rc == FB_OK)
		rc = check_whole(seal, err);
	if (rc == FB_OK)
		rc = fb_session_begin(seal->repo, seal->shared.run, "seal",
		    seal->shared.fleet, &seal->session, err);
	if (rc == FB_OK) /* only what is kept now was never on its way out */
		rc = find_shards(seal, err);
	if (rc == FB_OK)
		rc = is_sealed(seal, &sealed, err);
	if (rc < 0 || sealed)
		return rc;
	rc = check_whole(seal, err);
	if (rc == FB_OK)
		rc = make_head(seal, err);
	if (rc == FB_OK)
		rc = collect_ids(seal, err);
	return rc < 0 ? rc : publish(seal, err);
}

static void
fill_status(const struct seal *seal, struct fb_shared_status *status)
{
	memcpy(status->name, seal->shared.name, sizeof(status->name));
	memcpy(status->run, seal->shared.run, sizeof(status->run));
	memcpy(status->started, seal->shared.started, sizeof(status->started));
	status->shards = seal->shared.shards;
	status->committed = seal->present;
}

int
fb_seal(const struct fb_engine *engine, struct fb_repo *repo, const char *name,
    struct fb_shared_status *ret_status, struct fb_error *err)
{
	AUTO_SEAL struct seal seal = { .engine = engine, .repo = repo };
	bool sealed = false;
	int rc = open_seal(&seal, name, err);

	*ret_status = (struct fb_shared_status){ .shards = 0 };
	if (rc == FB_OK)
		rc = is_sealed(&seal, &sealed, err);
	if (rc == FB_OK && !sealed) {
		struct fb_error ignored = { 0 };

		rc = join(&seal, err);
		/* Somebody else, with another key, may have been faster. */
		if (rc < 0 && is_sealed(&seal, &sealed, &ignored) == FB_OK &&
		    sealed)
			rc = FB_OK;
	}
	if (seal.shards != NULL)
		fill_status(&seal, ret_status);
	if (rc < 0)
		return rc;
	ret_status->sealed = true;
	rc = forget_shards(&seal, "sealed", err);
	if (rc == FB_OK)
		rc = shared_close(&seal.shared, err);
	if (rc == FB_OK)
		rc = shared_tidy(&seal.shared, &ret_status->left, err);
	return rc;
}

int
fb_shared_forget(const struct fb_engine *engine, struct fb_repo *repo,
    const char *name, uint32_t *ret_left, struct fb_error *err)
{
	AUTO_SEAL struct seal seal = { .engine = engine, .repo = repo };
	bool committed = false;
	int rc = open_seal(&seal, name, err);

	if (rc == FB_OK)
		rc = fb_repo_fence(repo, seal.shared.run,
		    "it was given up before it was sealed", &committed, err);
	if (rc < 0)
		return rc;
	if (committed) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-SHARED-SEALED",
		    "shared run '%s' is sealed", name);
		return fb_hint(err, "fleetbak forget %s", seal.shared.run);
	}
	for (uint32_t k = 1; rc == FB_OK && k <= seal.shared.shards; k++) {
		struct shared_lease lease;

		rc = shared_look(&seal.shared, k, &lease, err);
		if (rc == FB_OK && lease.epoch > 0)
			rc = fb_repo_fence(repo, lease.session,
			    "its shared run was given up", &committed, err);
	}
	if (rc == FB_OK)
		rc = forget_shards(&seal, "given up", err);
	if (rc == FB_OK)
		rc = shared_close(&seal.shared, err);
	return rc < 0 ? rc : shared_tidy(&seal.shared, ret_left, err);
}

/*
 * Those that are open.
 */

struct names {
	char (*items)[FB_SHARED_NAME_SIZE];
	size_t count;
	char closed[FB_SHARED_NAME_SIZE];
};

static int
visit_name(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct names *names = arg;
	const char *name = key + strlen("shared/");
	const char *slash = strchr(name, '/');
	char text[FB_SHARED_NAME_SIZE];

	(void)size;
	(void)err;
	if (slash == NULL || (size_t)(slash - name) >= sizeof(text))
		return FB_OK;
	memcpy(text, name, (size_t)(slash - name));
	text[slash - name] = '\0';
	if (strcmp(slash, "/closed") == 0) /* it comes before "run" */
		memcpy(names->closed, text, sizeof(text));
	if (strcmp(slash, "/run") != 0 || strcmp(names->closed, text) == 0)
		return FB_OK;
	names->items =
	    fb_realloc(names->items, names->count + 1, sizeof(*names->items));
	memcpy(names->items[names->count++], text, sizeof(text));
	return FB_OK;
}

static int
look_at(const struct fb_engine *engine, struct fb_repo *repo, const char *name,
    fb_shared_visit *visit, void *arg, struct fb_error *err)
{
	AUTO_SEAL struct seal seal = { .engine = engine, .repo = repo };
	struct fb_shared_status status = { .shards = 0 };
	int rc = open_seal(&seal, name, err);

	if (rc == FB_OK)
		rc = find_shards(&seal, err);
	if (rc < 0)
		return rc;
	fill_status(&seal, &status);
	for (uint32_t k = 1; rc == FB_OK && k <= seal.shared.shards; k++) {
		struct shared_lease lease;

		if (seal.shards[k - 1].session[0] != '\0')
			continue;
		rc = shared_look(&seal.shared, k, &lease, err);
		status.claimed += rc == FB_OK && lease.epoch > 0;
	}
	if (rc == FB_OK)
		rc = is_sealed(&seal, &status.sealed, err);
	if (rc == FB_ECONFLICT)
		return FB_OK; /* it is being given up */
	return rc < 0 ? rc : visit(&status, arg, err);
}

int
fb_shared_list(const struct fb_engine *engine, struct fb_repo *repo,
    fb_shared_visit *visit, void *arg, struct fb_error *err)
{
	struct names names = { 0 };
	int rc = fb_store_list(repo->store, "shared/", visit_name, &names, err);

	for (size_t i = 0; rc >= 0 && i < names.count; i++) {
		rc = look_at(engine, repo, names.items[i], visit, arg, err);
		if (rc == FB_ECONFLICT) /* of another fleet */
			rc = FB_OK;
	}
	free(names.items);
	return rc < 0 ? rc : FB_OK;
}
