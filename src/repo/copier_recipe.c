/* From the leaves of a finished copy to its recipe, and the run's hints. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "copier_impl.h"

#define WRITE_STEP (256u << 10)
#define HINTS_STEP (1u << 20)

struct recipe {
	struct fb_copier *copier;
	struct finished finished;
	uint32_t *numbers; /* by the run's number: the recipe's, or NONE */
	uint32_t *packs;   /* by the recipe's number: the run's */
	uint32_t pack_count, pack_cap, local_count;
	uint64_t offset, run_count;
	struct fb_merkle merkle;
	struct fb_recipe_run run; /* the last one, still growing */

	/* The text, on its way into a file. */
	bool writing;
	int fd;
	char *path;
	struct fb_buf text;
	uint64_t size;
	struct fb_digester *digester;
};

#define NONE UINT32_MAX

/* What is too long to be held goes to a file. */
static int
spill_text(struct recipe *recipe, struct fb_error *err)
{
	int rc = FB_OK;

	if (recipe->fd < 0) {
		rc = fb_io_unlink(recipe->path, err);
		if (rc == FB_OK)
			rc = recipe->fd = fb_io_open(recipe->path,
			    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600,
			    err);
	}
	if (rc >= 0)
		rc = fb_io_write_all(recipe->fd, recipe->path,
		    fb_buf_span(&recipe->text), err);
	if (rc < 0)
		return rc;
	fb_digester_add(recipe->digester, fb_buf_span(&recipe->text));
	recipe->size += recipe->text.len;
	fb_buf_clear(&recipe->text);
	return FB_OK;
}

static int
write_text(struct recipe *recipe, struct fb_error *err)
{
	return recipe->text.len < WRITE_STEP ? FB_OK : spill_text(recipe, err);
}

/* The last run will not grow any more. */
static int
end_run(struct recipe *recipe, struct fb_error *err)
{
	int rc = FB_OK;

	if (recipe->run.count == 0)
		return FB_OK;
	recipe->run_count++;
	if (recipe->writing) {
		fb_recipe_add_run(&recipe->text, &recipe->run);
		rc = write_text(recipe, err);
	}
	recipe->run = (struct fb_recipe_run){ 0 };
	return rc;
}

/* The recipe's number of a pack; packs are numbered as they are met. */
static uint32_t
number_pack(struct recipe *recipe, uint32_t local)
{
	if (recipe->numbers[local] != NONE)
		return recipe->numbers[local];
	if (recipe->pack_count == recipe->pack_cap) {
		recipe->pack_cap = recipe->pack_cap * 2 + 64;
		recipe->packs = fb_realloc(recipe->packs, recipe->pack_cap,
		    sizeof(*recipe->packs));
	}
	recipe->packs[recipe->pack_count] = local;
	recipe->numbers[local] = recipe->pack_count++;
	return recipe->numbers[local];
}

static bool
continues(const struct fb_recipe_run *run, uint64_t offset, uint32_t pack,
    const struct fb_leaf *leaf)
{
	return run->count > 0 && run->pack == pack &&
	    run->offset + run->length == offset &&
	    run->first + run->count == leaf->chunk &&
	    run->pack_offset + run->pack_length == leaf->pack_offset;
}

static int
take_leaf(const struct fb_leaf *leaf, void *arg, struct fb_error *err)
{
	struct recipe *recipe = arg;
	struct fb_recipe_run *run = &recipe->run;
	uint32_t pack;
	int rc = FB_OK;

	if (leaf->pack == FB_LEAF_ZERO) {
		fb_merkle_add_zero(&recipe->merkle, leaf->length);
		recipe->offset += leaf->length;
		return FB_OK;
	}
	if (leaf->pack >= recipe->local_count)
		return fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
		    "the spooled leaves name a pack that is not there");
	fb_merkle_add_data(&recipe->merkle, leaf->length, &leaf->id);
	pack = number_pack(recipe, leaf->pack);
	if (continues(run, recipe->offset, pack, leaf)) {
		run->length += leaf->length;
		run->pack_length += leaf->stored_length;
		run->count++;
	} else {
		rc = end_run(recipe, err);
		*run = (struct fb_recipe_run){ recipe->offset, leaf->length,
			pack, leaf->pack_offset, leaf->stored_length,
			leaf->chunk, 1 };
	}
	recipe->offset += leaf->length;
	return rc;
}

static int
pass(struct recipe *recipe, const char *leaves, struct fb_error *err)
{
	int rc;

	recipe->offset = recipe->run_count = 0;
	fb_merkle_init(&recipe->merkle);
	rc = fb_leaves_read(
	    leaves, recipe->finished.leaves, take_leaf, recipe, err);
	return rc == FB_OK ? end_run(recipe, err) : rc;
}

static int
check_root(const struct recipe *recipe, struct fb_error *err)
{
	struct fb_digest root;

	fb_merkle_root(&recipe->merkle, &root);
	if (recipe->offset != recipe->finished.result.size ||
	    fb_digest_cmp(&root, &recipe->finished.result.root) != 0)
		return fb_fail_id(err, FB_EBUG, "E-ROOT",
		    "the recipe would not make what was copied");
	return FB_OK;
}

static int
write_head(struct recipe *recipe, struct fb_error *err)
{
	struct fb_recipe_head head = { .size = recipe->finished.result.size,
		.root = recipe->finished.result.root,
		.pack_count = recipe->pack_count };
	int rc = FB_OK;

	memcpy(head.session, recipe->copier->session.id, FB_RUN_ID_SIZE);
	memcpy(head.kind, recipe->finished.kind, sizeof(head.kind));
	fb_recipe_add_head(&recipe->text, &head);
	for (uint32_t i = 0; rc == FB_OK && i < recipe->pack_count; i++) {
		struct fb_recipe_pack pack;

		rc = fb_packer_recipe_pack(
		    recipe->copier->packer, recipe->packs[i], &pack, err);
		if (rc < 0)
			return rc;
		fb_recipe_add_pack(&recipe->text, &pack);
		rc = write_text(recipe, err);
	}
	fb_recipe_add_runs(&recipe->text, recipe->run_count);
	return rc;
}

static int
store_text(struct recipe *recipe, struct fb_digest *ret_id,
    struct fb_error *err)
{
	struct fb_store *store = recipe->copier->spec.repo->store;
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t there;
	int rc;

	fb_recipe_add_end(&recipe->text);
	if (recipe->fd >= 0) {
		rc = spill_text(recipe, err);
		if (rc < 0)
			return rc;
		fb_digester_peek(recipe->digester, ret_id);
		fb_recipe_key(ret_id, key);
		rc = fb_store_create_file( /* which syncs it */
		    store, key, recipe->path, recipe->size, err);
	} else {
		recipe->size = recipe->text.len;
		fb_digest_of(fb_buf_span(&recipe->text), ret_id);
		fb_recipe_key(ret_id, key);
		rc = fb_store_create(
		    store, key, fb_buf_span(&recipe->text), err);
	}
	if (rc != FB_EEXISTS)
		return rc;
	rc = fb_store_head(store, key, &there, err);
	if (rc == FB_OK && there != recipe->size)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "'%s' is in the store with another length", key);
	return rc;
}

static int
write_recipe(struct recipe *recipe, const char *leaves,
    struct fb_digest *ret_id, struct fb_error *err)
{
	int rc;

	recipe->digester = fb_digester_new();
	rc = write_head(recipe, err);
	recipe->writing = true;
	if (rc == FB_OK)
		rc = pass(recipe, leaves, err);
	if (rc == FB_OK)
		rc = check_root(recipe, err);
	if (rc == FB_OK)
		rc = store_text(recipe, ret_id, err);
	return rc;
}

static int
compare_digests(const void *a, const void *b)
{
	return fb_digest_cmp(a, b);
}

/* Sort, and drop what is there twice. */
static void
make_set(struct fb_id_list *list)
{
	size_t kept = 0;

	if (list->count > 1)
		qsort(list->ids, list->count, sizeof(*list->ids),
		    compare_digests);
	for (size_t i = 0; i < list->count; i++)
		if (kept == 0 ||
		    fb_digest_cmp(&list->ids[i], &list->ids[kept - 1]) != 0)
			list->ids[kept++] = list->ids[i];
	list->count = kept;
}

static bool
is_listed(const struct fb_id_list *list, size_t count,
    const struct fb_digest *id)
{
	return count > 0 &&
	    bsearch(id, list->ids, count, sizeof(*id), compare_digests) !=
	    NULL;
}

static int
list_packs(const struct recipe *recipe, struct fb_id_list *packs,
    struct fb_error *err)
{
	size_t before = packs->count;

	for (uint32_t i = 0; i < recipe->pack_count; i++) {
		struct fb_recipe_pack pack;
		int rc = fb_packer_recipe_pack(
		    recipe->copier->packer, recipe->packs[i], &pack, err);

		if (rc < 0)
			return rc;
		if (is_listed(packs, before, &pack.id))
			continue;
		packs->ids = fb_realloc(
		    packs->ids, packs->count + 1, sizeof(*packs->ids));
		packs->ids[packs->count++] = pack.id;
	}
	if (packs->count > before)
		make_set(packs);
	return FB_OK;
}

static void
release(struct recipe *recipe)
{
	struct fb_error ignored = { 0 };

	if (recipe->fd >= 0) {
		(void)close(recipe->fd);
		(void)!fb_io_unlink(recipe->path, &ignored);
	}
	free(recipe->path);
	free(recipe->numbers);
	free(recipe->packs);
	fb_buf_release(&recipe->text);
	fb_digester_free(recipe->digester);
}

int
fb_copier_recipe(struct fb_copier *copier, const char *key,
    struct fb_digest *ret_recipe, struct fb_id_list *packs,
    struct fb_error *err)
{
	struct recipe recipe = { .copier = copier, .fd = -1 };
	FB_AUTO_FREE char *leaves = fb_copier_path(copier, key, ".leaves");
	int rc = fb_finished_read(copier, key, &recipe.finished, err);

	if (rc < 0)
		return fb_wrap(err, "copy '%s' is not finished", key);
	recipe.local_count = fb_packer_local_count(copier->packer);
	recipe.numbers =
	    fb_alloc(recipe.local_count + 1, sizeof(*recipe.numbers));
	for (uint32_t i = 0; i < recipe.local_count; i++)
		recipe.numbers[i] = NONE;
	recipe.path = fb_copier_path(copier, key, ".recipe");
	rc = pass(&recipe, leaves, err);
	if (rc == FB_OK)
		rc = check_root(&recipe, err);
	if (rc == FB_OK)
		rc = write_recipe(&recipe, leaves, ret_recipe, err);
	if (rc == FB_OK)
		rc = list_packs(&recipe, packs, err);
	release(&recipe);
	return rc < 0 ? fb_wrap(err, "recipe of '%s'", key) : FB_OK;
}

static int
digest_file(const char *path, uint64_t size, struct fb_digest *ret_digest,
    struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(HINTS_STEP, 1);
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	int rc = fd < 0 ? fd : FB_OK;

	for (uint64_t at = 0; rc == FB_OK && at < size;) {
		size_t len =
		    size - at < HINTS_STEP ? (size_t)(size - at) : HINTS_STEP;
		size_t got = 0;

		rc = fb_io_pread(fd, path, bytes, len, at, &got, err);
		if (rc == FB_OK && got < len)
			rc = fb_fail(
			    err, FB_ECORRUPT, "'%s' is cut short", path);
		fb_digester_add(digester, (struct fb_span){ bytes, got });
		at += got;
	}
	fb_digester_peek(digester, ret_digest);
	return rc;
}

/* The hints first: a seal without them is no use, nor they without it. */
static int
store_hints(struct fb_copier *copier, const struct fb_sign_key *key,
    const char *path, struct fb_hint_seal *seal, struct fb_error *err)
{
	struct fb_store *store = copier->spec.repo->store;
	FB_AUTO_FREE char *hints = fb_format("hints/%s", copier->session.id);
	FB_AUTO_FREE char *sealed = fb_format("%s.seal", hints);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_store_create_file(store, hints, path, seal->size, err);

	if (rc < 0 && rc != FB_EEXISTS)
		return rc;
	if (fb_vault_domain(copier->spec.repo->vault) != NULL) {
		FB_AUTO_BUF struct fb_buf body = { 0 };

		seal->keyed = true;
		fb_hint_seal_encode_body(seal, &body);
		fb_cipher_mac(fb_vault_domain(copier->spec.repo->vault),
		    fb_buf_span(&body), &seal->domain);
	}
	fb_hint_seal_encode_signed(seal, &text);
	rc = fb_sign(key, fb_buf_span(&text), seal->signature, err);
	if (rc < 0)
		return rc;
	fb_hint_seal_encode_signature(seal, &text);
	rc = fb_store_create(store, sealed, fb_buf_span(&text), err);
	return rc == FB_EEXISTS ? FB_OK : rc;
}

int
fb_copier_hints(struct fb_copier *copier, const struct fb_sign_key *key,
    struct fb_error *err)
{
	struct fb_hint_seal seal = { 0 };
	const char *path;
	int rc = fb_copier_own(copier, err);

	memcpy(seal.session, copier->session.id, sizeof(seal.session));
	if (rc == FB_OK)
		rc = fb_packer_hints(copier->packer, &path, &seal.size, err);
	if (rc == FB_OK)
		rc = digest_file(path, seal.size, &seal.digest, err);
	if (rc == FB_OK)
		rc = store_hints(copier, key, path, &seal, err);
	fb_copier_disown(copier);
	return rc;
}
