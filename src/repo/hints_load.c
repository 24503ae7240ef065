/* Loading what the packs of the past hold into the index. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/id_set.h"
#include "fleetbak/repo/volume.h"

#include "bytes.h"
#include "packer_impl.h"

#define WINDOW 65536

struct loader {
	struct fb_packer *packer;
	uint32_t first;      /* packs from here on are of the past */
	struct fb_hint_pack current;
	int64_t pack;        /* its number */
	bool full;
	bool may_spill;
	bool spilled;        /* in the session at hand */
	size_t mark;         /* files from here on are of the session at hand */
	uint64_t entries;    /* of the session at hand */
	struct fb_run_ids sessions; /* that have hints */
	struct fb_index_list list;  /* those whose hints are in files */
	struct fb_index_list loaded; /* those whose hints are in memory */
	bool changed;               /* the list is to be saved */
	struct fb_id_set packs; /* without hints: those that were looked at */
	bool have_run;
};

static int
load_pack(void *arg, const struct fb_hint_pack *pack)
{
	struct loader *loader = arg;

	loader->current = *pack;
	loader->pack = fb_packer_past_pack(loader->packer, pack);
	return loader->pack < 0 ? -1 : 0;
}

/* What is in memory goes into a file; the sessions that are complete in it
 * are in files then. */
static bool
spill(struct loader *loader)
{
	struct fb_packer *packer = loader->packer;

	struct fb_error ignored = { 0 };

	if (!loader->may_spill)
		return false;
	if (packer->past.count == 0 &&
	    fb_io_mkdirs(packer->past.dir, 0700, &ignored) < 0)
		packer->past.broken = true;
	if (!fb_packer_spill(packer, &packer->past, loader->first))
		return false;
	fb_packer_forget_packs(packer, loader->first);
	for (size_t i = 0; i < loader->loaded.sessions.count; i++)
		fb_index_list_add(&loader->list,
		    loader->loaded.sessions.ids[i],
		    loader->loaded.entries[i]);
	fb_index_list_release(&loader->loaded);
	loader->changed = true;
	return true;
}

static bool
load_chunk(void *arg, uint32_t chunk, uint64_t prefix)
{
	struct loader *loader = arg;
	struct fb_packer *packer = loader->packer;

	loader->entries++;
	if (loader->pack >= 0 &&
	    fb_packer_past_chunk(
	        packer, (uint32_t)loader->pack, chunk, prefix))
		return true;
	if (spill(loader)) {
		loader->spilled = true;
		fb_packer_settle(packer, &packer->past, loader->mark);
		loader->pack = fb_packer_past_pack(packer, &loader->current);
		if (loader->pack >= 0 &&
		    fb_packer_past_chunk(
		        packer, (uint32_t)loader->pack, chunk, prefix))
			return true;
	}
	loader->full = true;
	return false;
}

/* An object that is digested as it is read, once, from its beginning. */
struct object {
	struct fb_store *store;
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size, read;
	struct fb_digester *digester;
};

static int
read_object(void *arg, uint64_t offset, void *bytes, size_t len,
    size_t *ret_len, struct fb_error *err)
{
	struct object *object = arg;
	int rc;

	if (offset != object->read)
		return fb_fail(err, FB_EBUG, "hints are read once");
	if (len > object->size - offset)
		len = (size_t)(object->size - offset);
	*ret_len = len;
	if (len == 0)
		return FB_OK;
	rc = fb_store_get_range(
	    object->store, object->key, offset, bytes, len, err);
	if (rc == FB_OK) {
		fb_digester_add(
		    object->digester, (struct fb_span){ bytes, len });
		object->read += len;
	}
	return rc;
}

/* All of it was read, and has this digest. */
static bool
has_digest(struct object *object, const struct fb_digest *digest)
{
	FB_AUTO_FREE uint8_t *window = fb_alloc(WINDOW, 1);
	struct fb_error ignored = { 0 };
	struct fb_digest have;
	size_t got = 1;

	while (got > 0)
		if (read_object(object, object->read, window, WINDOW, &got,
		        &ignored) < 0)
			return false;
	fb_digester_peek(object->digester, &have);
	return fb_digest_cmp(&have, digest) == 0;
}

static int
note_session(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct loader *loader = arg;
	const char *id = key + strlen("hints/");

	(void)size;
	(void)err;
	if (strlen(id) == FB_RUN_ID_LEN && fb_run_id_ok(id, FB_RUN_ID_LEN))
		fb_run_ids_add(&loader->sessions, id);
	return FB_OK;
}

/* In an encrypted repository: was it one who has the key of our domain?
 * Another's ids would say nothing of contents. */
static bool
is_of_domain(const struct fb_repo *repo, const struct fb_hint_seal *seal)
{
	const struct fb_cipher_key *domain = fb_vault_domain(repo->vault);
	FB_AUTO_BUF struct fb_buf body = { 0 };
	struct fb_digest mac;

	if (repo->vault == NULL)
		return !seal->keyed;
	if (domain == NULL || !seal->keyed)
		return false;
	fb_hint_seal_encode_body(seal, &body);
	fb_cipher_mac(domain, fb_buf_span(&body), &mac);
	return fb_digest_cmp(&mac, &seal->domain) == 0;
}

/* By a signer, or by a verifier who tells what packs of other domains hold. */
static bool
is_signed(const struct fb_repo *repo, const struct fb_hint_seal *seal,
    struct fb_span body)
{
	const struct fb_span signature = { seal->signature, FB_SIGNATURE_LEN };
	struct fb_error ignored = { 0 };

	return fb_trust_verify(&repo->trust, body, signature, NULL, &ignored) ==
	    FB_OK ||
	    (repo->vault != NULL &&
	        fb_trust_verify(&repo->verifiers, body, signature, NULL,
	            &ignored) == FB_OK);
}

/* Did somebody whom we trust seal the hints of this session? */
static bool
read_seal(struct fb_repo *repo, const char *session, struct fb_hint_seal *seal)
{
	FB_AUTO_FREE char *key = fb_format("hints/%s.seal", session);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored = { 0 };
	struct fb_span body;

	return fb_store_get(repo->store, key, FB_HINT_SEAL_MAX, &text, NULL,
	           &ignored) == FB_OK &&
	    fb_hint_seal_decode(fb_buf_span(&text), seal, &body, &ignored) ==
	    FB_OK &&
	    strcmp(seal->session, session) == 0 && is_of_domain(repo, seal) &&
	    is_signed(repo, seal, body);
}

/* A session that may not fit beside what is in memory begins with that in a
 * file: so its own files hold nothing else, and can be thrown away. */
static void
begin_session(struct loader *loader, uint64_t size)
{
	struct fb_packer *packer = loader->packer;

	if (packer->index.count + size / 8 > fb_packer_past_room(packer) &&
	    loader->loaded.sessions.count > 0 && spill(loader))
		fb_packer_settle(packer, &packer->past, 0);
	loader->spilled = false;
	loader->mark = packer->past.count;
	loader->entries = 0;
}

/* What was read of hints that turn out to be others is not used. */
static void
end_session(struct loader *loader, const char *session, bool good)
{
	struct fb_packer *packer = loader->packer;

	if (!good) {
		fb_index_files_drop(&packer->past, loader->mark);
		return;
	}
	fb_index_list_add(&loader->loaded, session, loader->entries);
	/* Its rest joins it. */
	if (loader->spilled && !loader->full && spill(loader))
		fb_packer_settle(packer, &packer->past, 0);
}

static void
load_session(struct loader *loader, const char *session)
{
	struct fb_repo *repo = fb_packer_repo(loader->packer);
	FB_AUTO_DIGESTER struct fb_digester *digester = NULL;
	struct object object = { .store = repo->store };
	struct fb_hint_source source = { read_object, &object };
	struct fb_hint_visitor visitor = { load_pack, load_chunk, loader };
	struct fb_error ignored = { 0 };
	struct fb_hint_seal seal;
	uint32_t first;
	bool good;

	if (!read_seal(repo, session, &seal))
		return;
	(void)snprintf(object.key, sizeof(object.key), "hints/%s", session);
	if (fb_store_head(
	        object.store, object.key, &object.size, &ignored) < 0 ||
	    object.size != seal.size)
		return;
	begin_session(loader, seal.size);
	first = fb_packer_pack_count(loader->packer);
	object.digester = digester = fb_digester_new();
	fb_hints_read(&source, session, &visitor);
	good = has_digest(&object, &seal.digest);
	if (!good)
		fb_packer_drop_packs(
		    loader->packer, loader->spilled ? loader->first : first);
	end_session(loader, session, good);
}

static int
visit_recipe_pack(
    const struct fb_recipe_pack *place, void *arg, struct fb_error *err)
{
	struct loader *loader = arg;
	struct fb_table_place where = { place->id, place->table_offset,
		place->table_length, &place->table_digest };
	struct fb_hint_pack pack = { .id = place->id,
		.table_offset = place->table_offset,
		.table_length = place->table_length,
		.table_digest = place->table_digest };
	struct fb_error ignored = { 0 };
	struct fb_table table = { 0 };
	bool fresh;

	(void)err;
	if (loader->full)
		return FB_OK;
	(void)fb_id_set_add(&loader->packs, &place->id, &fresh);
	if (!fresh)
		return FB_OK;
	if (fb_table_fetch(fb_packer_repo(loader->packer)->store, &where,
	        &table, &ignored) < 0)
		return FB_OK;
	if (load_pack(loader, &pack) == 0)
		for (uint32_t c = 0; c < table.table.count; c++)
			if (!load_chunk(loader, c,
			        fb_load_le64(table.table.chunks[c].id.bytes)))
				break;
	fb_pack_table_release(&table.table);
	return FB_OK;
}

/* The packs of a recipe that signed checksums name. */
static void
load_recipe(struct loader *loader, const struct fb_digest *id)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct fb_error ignored = { 0 };

	if (fb_volume_open(
	        fb_packer_repo(loader->packer), id, &reader, &ignored) == FB_OK)
		(void)!fb_volume_packs(
		    reader, visit_recipe_pack, loader, &ignored);
}

static int
take_newest_run(
    const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	static const char path[] = "  recipes/";
	struct loader *loader = arg;
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	struct fb_error ignored = { 0 };
	const char *line;

	(void)err;
	if (run->damage != NULL ||
	    fb_repo_run_sums(
	        fb_packer_repo(loader->packer), run, &sums, &ignored) < 0)
		return FB_OK;
	for (line = fb_buf_str(&sums); line != NULL && !loader->full;
	     line = strchr(line, '\n')) {
		struct fb_digest id;

		line += *line == '\n';
		if (strlen(line) > 2 * FB_DIGEST_LEN + sizeof(path) &&
		    memcmp(line + (size_t)2 * FB_DIGEST_LEN, path,
		        sizeof(path) - 1) == 0 &&
		    fb_digest_parse((struct fb_span){ (const uint8_t *)line,
		                        2 * FB_DIGEST_LEN },
		        &id, &ignored) == FB_OK)
			load_recipe(loader, &id);
	}
	loader->have_run = true;
	return FB_ECANCELED; /* the newest one is enough */
}

/* Without hints: what the recipes of the newest run say, which somebody whom
 * we trust signed, and the tables that they name; as many as memory holds. */
static int
load_newest_run(struct loader *loader, struct fb_error *err)
{
	int rc;

	loader->may_spill = false;
	rc = fb_repo_runs(
	    fb_packer_repo(loader->packer), take_newest_run, loader, err);
	fb_id_set_release(&loader->packs);
	return loader->have_run ? FB_OK : rc;
}

/* Where most of what the files hold is of hints that are gone. */
static bool
is_stale(const struct loader *loader)
{
	const struct fb_index_list *list = &loader->list;
	uint64_t all = 0, gone = 0;

	for (size_t i = 0; i < list->sessions.count; i++) {
		all += list->entries[i];
		if (!fb_run_ids_have(&loader->sessions, list->sessions.ids[i]))
			gone += list->entries[i];
	}
	return gone > all / 2;
}

/* The files of earlier runs, if there is a place where they are kept. */
static void
open_files(struct loader *loader, const char *index_dir)
{
	struct fb_packer *packer = loader->packer;
	struct fb_index_files *files = &packer->past;

	if (index_dir == NULL)
		return;
	files->dir = fb_strdup(index_dir);
	files->sync = true;
	loader->may_spill = true;
	fb_index_files_load(files, packer->repo, &loader->list);
	if (is_stale(loader)) {
		files->listed = 0; /* none of them is needed any more */
		fb_index_files_drop(files, 0);
		loader->list.sessions.count = 0;
		loader->changed = true;
	}
}

/* A list that cannot be saved is made again by the next run. */
static void
save_files(struct loader *loader)
{
	struct fb_error ignored = { 0 };

	if (loader->changed)
		(void)!fb_index_files_save(
		    &loader->packer->past, &loader->list, &ignored);
}

int
fb_packer_load_hints(
    struct fb_packer *packer, const char *index_dir, struct fb_error *err)
{
	struct loader loader = { .packer = packer };
	struct fb_run_ids *sessions = &loader.sessions;
	uint32_t before;
	int rc = fb_store_list(fb_packer_repo(packer)->store, "hints/",
	    note_session, &loader, err);

	if (packer->index.count > fb_packer_past_room(packer) / 4)
		(void)fb_packer_spill(packer, &packer->own, 0);
	before = loader.first = fb_packer_pack_count(packer);
	if (rc == FB_OK)
		open_files(&loader, index_dir);
	for (size_t i = sessions->count; rc == FB_OK && i > 0; i--)
		if (!loader.full &&
		    !fb_run_ids_have(
		        &loader.list.sessions, sessions->ids[i - 1]))
			load_session(&loader, sessions->ids[i - 1]);
	if (rc == FB_OK)
		save_files(&loader);
	/* Who signed a run is not who is of our domain. */
	if (rc == FB_OK && fb_packer_repo(packer)->vault == NULL &&
	    loader.list.sessions.count == 0 &&
	    fb_packer_pack_count(packer) == before)
		rc = load_newest_run(&loader, err);
	fb_run_ids_release(sessions);
	fb_index_list_release(&loader.list);
	fb_index_list_release(&loader.loaded);
	return rc;
}
