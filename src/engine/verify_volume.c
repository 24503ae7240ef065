/* The structure: recipes, the tables of their packs, runs and roots. */
#include <stdio.h>
#include <string.h>

#include "verify_impl.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/vault.h"
#include "fleetbak/repo/volume.h"

/* What is looked at: a volume's recipe, or its catalogue's. */
struct look {
	struct verify *verify;
	struct verify_run *run;
	const struct fb_manifest_machine *machine;
	const char *volume;
	const char *kind;
	const struct fb_digest *recipe, *root;
	uint64_t size;
	bool attribute; /* second time: only say who is harmed */
	bool pack_damaged; /* found by the visit of its packs */
	bool body_damaged; /* of one of them, and perhaps not what is ours */
	bool unreadable;   /* it is ours: those packs are to blame */
};

static void
harm(struct look *look, const char *object, const struct fb_error *cause)
{
	size_t number = add_damage(look->verify, object, cause);

	add_harm(look->verify, number, look->run->ref.run, look->machine,
	    look->volume);
}

/* Is the pack there, large enough, and its table the one that is bound? */
static int
check_table(struct verify *verify, const struct fb_recipe_pack *pack,
    const char *key, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf table = { 0 };
	struct fb_digest digest;
	uint64_t size;
	uint64_t end = (uint64_t)pack->table_offset + FB_PACK_SKIP_LEN +
	    pack->table_length;
	int rc = fb_store_head(verify->repo->store, key, &size, err);

	if (rc == FB_ENOTFOUND)
		return fb_fail(err, FB_ECORRUPT, "it is missing");
	if (rc < 0)
		return rc;
	if (size != end)
		return fb_fail(err, FB_ECORRUPT,
		    "it has %llu bytes, its recipes say %llu",
		    (unsigned long long)size, (unsigned long long)end);
	if (pack->table_length > FB_PACK_TABLE_MAX)
		return fb_fail(err, FB_ECORRUPT, "its table is too large");
	rc = fb_buf_reserve_or_fail(&table, pack->table_length, err);
	if (rc < 0)
		return fb_wrap(err, "table of '%s'", key);
	table.len = pack->table_length;
	rc = fb_store_get_range(verify->repo->store, key,
	    pack->table_offset + FB_PACK_SKIP_LEN, table.data, table.len, err);
	if (rc < 0)
		return rc;
	fb_digest_of(fb_buf_span(&table), &digest);
	if (fb_digest_cmp(&digest, &pack->table_digest) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "its table is not the one that its recipes bind");
	return FB_OK;
}

/* The register keeps what it names from deletion. */
static void
check_named(struct look *look, const struct fb_id_list *list,
    const struct fb_digest *id, const char *key)
{
	FB_AUTO_FREE char *commit =
	    fb_format("commits/%s", look->run->ref.session);
	struct fb_error err = { 0 };

	if (look->run->damaged || fb_id_list_has(list, id))
		return;
	(void)fb_fail(&err, FB_ECORRUPT, "it does not name '%s'", key);
	harm(look, commit, &err);
}

static int
visit_pack(const struct fb_recipe_pack *pack, void *arg, struct fb_error *err)
{
	struct look *look = arg;
	struct verify *verify = look->verify;
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_id_slot *slot;
	bool fresh = false;
	int rc = check_cancel(verify, err);

	if (rc < 0)
		return rc;
	fb_pack_key(&pack->id, key);
	if (look->attribute) {
		slot = fb_id_set_find(&verify->packs, &pack->id);
		if (slot == NULL || slot->mark == 0)
			return FB_OK;
		look->run->unsound = true;
		look->body_damaged =
		    look->body_damaged || slot->mark == VERIFY_BODY;
		if (slot->mark != VERIFY_BODY || look->unreadable)
			harm(look, key, err);
		return FB_OK;
	}
	check_named(look, &look->run->reg.packs, &pack->id, key);
	slot = fb_id_set_add(&verify->packs, &pack->id, &fresh);
	if (fresh) {
		rc = check_table(verify, pack, key, err);
		if (rc < 0 && !is_damage(err))
			return rc;
		if (rc < 0) {
			slot->mark = 1;
			verify->damaged_packs++;
			(void)add_damage(verify, key, err);
		}
	}
	if (slot->mark != 0) {
		look->pack_damaged = true;
		harm(look, key, err);
	}
	return FB_OK;
}

/* The recipe is the one that the manifest tells of. */
static int
check_head(const struct look *look, const struct fb_recipe_head *head,
    struct fb_error *err)
{
	if (head->size != look->size ||
	    fb_digest_cmp(&head->root, look->root) != 0 ||
	    strcmp(head->kind, look->kind) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "its kind, size or root is not the manifest's");
	return FB_OK;
}

static int
ignore_bytes(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *err)
{
	(void)offset;
	(void)bytes;
	(void)length;
	(void)arg;
	(void)err;
	return FB_OK;
}

/* A pack of it is damaged somewhere: does that harm this volume? */
static int
blame_bodies(struct look *look, struct fb_volume_reader *reader,
    struct fb_error *err)
{
	struct fb_error cause = { 0 };
	int rc;

	/* Without a key the benefit of doubt is not given. */
	if (!fb_vault_opens(look->verify->repo->vault)) {
		look->unreadable = true;
		return fb_volume_packs(reader, visit_pack, look, err);
	}
	rc = fb_volume_read(reader, 0, fb_volume_head(reader)->size, 0,
	    look->verify->engine != NULL ? look->verify->engine->cancel : NULL,
	    ignore_bytes, NULL, &cause);

	if (rc == FB_OK)
		return FB_OK;
	if (!is_damage(err)) {
		*err = cause;
		return rc;
	}
	look->unreadable = true;
	return fb_volume_packs(reader, visit_pack, look, err);
}

static int
look_inside(struct look *look, struct fb_error *err)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	int rc = fb_volume_open(look->verify->repo, look->recipe, &reader, err);

	if (rc < 0)
		return rc;
	if (!look->attribute) {
		rc = check_head(look, fb_volume_head(reader), err);
		if (rc < 0)
			return rc;
	}
	rc = fb_volume_packs(reader, visit_pack, look, err);
	if (rc == FB_OK && look->body_damaged)
		return blame_bodies(look, reader, err);
	/* With its tables gone there is nothing to compare the runs with. */
	if (rc < 0 || look->attribute || look->pack_damaged)
		return rc;
	return fb_volume_check(reader, err);
}

static int
look_at(struct look *look, struct fb_error *err)
{
	struct verify *verify = look->verify;
	char key[FB_OBJECT_KEY_SIZE];
	bool fresh = false;
	int rc;

	fb_recipe_key(look->recipe, key);
	if (!look->attribute) {
		(void)fb_id_set_add(&verify->recipes, look->recipe, &fresh);
		check_named(
		    look, &look->run->reg.recipes, look->recipe, key);
		verify->report->recipes += fresh;
	}
	if (fb_id_set_find(&verify->damaged_recipes, look->recipe) != NULL) {
		harm(look, key, err);
		return FB_OK;
	}
	rc = look_inside(look, err);
	if (rc < 0 && !is_damage(err))
		return rc;
	if (rc < 0) {
		(void)fb_id_set_add(
		    &verify->damaged_recipes, look->recipe, &fresh);
		harm(look, key, err);
	}
	return FB_OK;
}

struct walk {
	struct verify *verify;
	struct verify_run *run;
	bool attribute;
};

static int
look_at_volume(const struct walk *walk,
    const struct fb_manifest_machine *machine,
    const struct fb_manifest_volume *volume, struct fb_error *err)
{
	struct look look = { .verify = walk->verify,
		.run = walk->run,
		.machine = machine,
		.volume = volume->name,
		.kind = fb_volume_kind_name(volume->kind),
		.recipe = &volume->recipe,
		.root = &volume->root,
		.size = volume->size,
		.attribute = walk->attribute };
	int rc;

	if (!walk->attribute)
		walk->verify->report->volumes++;
	rc = look_at(&look, err);
	if (rc < 0 || !volume->has_catalogue)
		return rc;
	look.kind = "catalogue";
	look.recipe = &volume->catalogue_recipe;
	look.root = &volume->catalogue_root;
	look.size = volume->catalogue_size;
	look.pack_damaged = look.body_damaged = look.unreadable = false;
	return look_at(&look, err);
}

static int
look_at_machine(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	const struct walk *walk = arg;

	if (machine->failed || !wants_machine(walk->verify, machine))
		return FB_OK;
	for (size_t i = 0; i < machine->volume_count; i++) {
		int rc = check_cancel(walk->verify, err);

		if (rc == FB_OK && machine->volumes[i].captured)
			rc = look_at_volume(
			    walk, machine, &machine->volumes[i], err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

static int
walk_run(struct walk *walk, struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	int rc = open_manifest(walk->verify, walk->run, &manifest, err);

	if (rc < 0) /* was reported with the run's head */
		return is_damage(err) ? FB_OK : rc;
	return fb_manifest_machines(manifest, look_at_machine, walk, err);
}

int
verify_run_volumes(
    struct verify *verify, struct verify_run *run, struct fb_error *err)
{
	struct walk walk = { verify, run, false };

	fb_id_set_clear(&verify->recipes);
	return run->unreadable != NULL ? FB_OK : walk_run(&walk, err);
}

int
verify_attribute(struct verify *verify, struct fb_error *err)
{
	if (verify->damaged_packs == 0)
		return FB_OK;
	for (size_t i = 0; i < verify->run_count; i++) {
		struct walk walk = { verify, &verify->runs[i], true };
		int rc;

		if (walk.run->unreadable != NULL)
			continue;
		rc = walk_run(&walk, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}
