/*
 * Hints: which chunks the packs of a run hold.
 *
 *	fleetbak-hints 1 <session id>
 *	<pack id> <table offset> <table length> <table digest> <count>
 *	count * 8 bytes: the beginnings of the ids, in the pack's order
 *	...
 *
 * They say where to look, and which table a pack has: a chunk that is found
 * is not stored again, so a table that lies would make a backup of nothing.
 * Hence the seal: hints that no trusted key sealed are as good as none, and
 * damage costs duplicates.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/volume.h"

#include "bytes.h"
#include "packer.h"

#define WINDOW   65536
#define HINT_LINE_MAX 256

/* Sessions whose hints are looked at: the newest ones. */
#define SESSIONS_MAX 4096

struct input {
	const struct fb_hint_source *source;
	uint64_t offset; /* of the byte after the window */
	size_t at, len;  /* in the window */
	uint8_t *window;
};

void
fb_hints_add_head(struct fb_buf *dst, const char *session)
{
	fb_buf_add_fmt(dst, "fleetbak-hints 1 %s\n", session);
}

static void
add_pack_line(struct fb_buf *dst, const struct fb_hint_pack *pack)
{
	char id[FB_DIGEST_HEX_SIZE], table[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(&pack->id, id);
	fb_digest_hex(&pack->table_digest, table);
	fb_buf_add_fmt(dst, "%s %" PRIu32 " %" PRIu32 " %s %" PRIu32 "\n", id,
	    pack->table_offset, pack->table_length, table, pack->count);
}

void
fb_hints_add_pack(struct fb_buf *dst, const struct fb_hint_pack *pack,
    const struct fb_pack_table *table)
{
	add_pack_line(dst, pack);
	for (size_t i = 0; i < table->count; i++)
		fb_buf_add(dst, table->chunks[i].id.bytes, 8);
}

/* Have `want` bytes in the window, or as many as there are. */
static size_t
fill(struct input *input, size_t want)
{
	struct fb_error ignored = { 0 };
	size_t got = 0;

	if (input->len - input->at >= want)
		return want;
	memmove(input->window, input->window + input->at,
	    input->len - input->at);
	input->len -= input->at;
	input->at = 0;
	if (input->source->read(input->source->arg, input->offset,
	        input->window + input->len, WINDOW - input->len, &got,
	        &ignored) == FB_OK) {
		input->len += got;
		input->offset += got;
	}
	return input->len < want ? input->len : want;
}

/* One line, NUL-terminated in place of its newline, and its length. */
static const char *
take_line(struct input *input, size_t *ret_len)
{
	size_t len = fill(input, HINT_LINE_MAX);
	char *line = (char *)input->window + input->at;
	char *end = len > 0 ? memchr(line, '\n', len) : NULL;

	if (end == NULL)
		return NULL;
	*end = '\0';
	*ret_len = (size_t)(end - line);
	input->at += *ret_len + 1;
	return line;
}

static bool
parse_pack(const char *line, size_t len, struct fb_hint_pack *ret_pack)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };
	struct fb_error ignored = { 0 };
	char id[FB_DIGEST_HEX_SIZE], table[FB_DIGEST_HEX_SIZE];

	if (sscanf(line, "%64s %9" SCNu32 " %9" SCNu32 " %64s %9" SCNu32, id,
	        &ret_pack->table_offset, &ret_pack->table_length, table,
	        &ret_pack->count) != 5 ||
	    fb_digest_parse(
	        (struct fb_span){ (const uint8_t *)id, strlen(id) },
	        &ret_pack->id, &ignored) < 0 ||
	    fb_digest_parse(
	        (struct fb_span){ (const uint8_t *)table, strlen(table) },
	        &ret_pack->table_digest, &ignored) < 0)
		return false;
	/* There is one spelling. */
	add_pack_line(&again, ret_pack);
	return again.len == len + 1 && memcmp(again.data, line, len) == 0 &&
	    ret_pack->table_length > 0 &&
	    ret_pack->table_offset <= FB_PACK_SIZE_MAX &&
	    ret_pack->table_length <= FB_PACK_TABLE_MAX &&
	    ret_pack->count <= FB_PACK_CHUNKS_MAX;
}

/* The prefixes of one pack; false: no more of them, or none wanted. */
static bool
read_chunks(struct input *input, const struct fb_hint_pack *pack, bool wanted,
    const struct fb_hint_visitor *visitor)
{
	for (uint32_t i = 0; i < pack->count; i++) {
		uint64_t prefix;

		if (fill(input, 8) < 8)
			return false;
		prefix = fb_load_le64(input->window + input->at);
		input->at += 8;
		if (wanted && !visitor->chunk(visitor->arg, i, prefix))
			return false;
	}
	return true;
}

void
fb_hints_read(const struct fb_hint_source *source, const char *session,
    const struct fb_hint_visitor *visitor)
{
	FB_AUTO_FREE uint8_t *window = fb_alloc(WINDOW, 1);
	struct input input = { .source = source, .window = window };
	FB_AUTO_FREE char *head = fb_format("fleetbak-hints 1 %s", session);
	size_t len;
	const char *line = take_line(&input, &len);
	struct fb_hint_pack pack;

	if (line == NULL || len != strlen(head) ||
	    memcmp(line, head, len) != 0)
		return;
	while ((line = take_line(&input, &len)) != NULL &&
	    parse_pack(line, len, &pack))
		if (!read_chunks(&input, &pack,
		        visitor->pack(visitor->arg, &pack) >= 0, visitor))
			return;
}

/* Loading the past into the index. */

struct loader {
	struct fb_packer *packer;
	int64_t pack;
	bool full;
	char (*sessions)[FB_RUN_ID_SIZE]; /* a ring of the newest */
	size_t session_count;
	struct fb_id_list packs; /* without hints: those that were looked at */
	bool have_run;
};

static int
load_pack(void *arg, const struct fb_hint_pack *pack)
{
	struct loader *loader = arg;

	loader->pack = fb_packer_past_pack(loader->packer, pack);
	return loader->pack < 0 ? -1 : 0;
}

static bool
load_chunk(void *arg, uint32_t chunk, uint64_t prefix)
{
	struct loader *loader = arg;

	loader->full = !fb_packer_past_chunk(
	    loader->packer, (uint32_t)loader->pack, chunk, prefix);
	return !loader->full;
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
		memcpy(loader->sessions[loader->session_count++ %
		           SESSIONS_MAX],
		    id, FB_RUN_ID_SIZE);
	return FB_OK;
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
	    fb_hint_seal_decode(
	        fb_buf_span(&text), seal, &body, &ignored) == FB_OK &&
	    strcmp(seal->session, session) == 0 &&
	    fb_trust_verify(&repo->trust, body,
	        (struct fb_span){ seal->signature, FB_SIGNATURE_LEN }, NULL,
	        &ignored) == FB_OK;
}

/* What was read of hints that turn out to be others is not used. */
static void
load_session(struct loader *loader, const char *session)
{
	struct fb_repo *repo = fb_packer_repo(loader->packer);
	FB_AUTO_DIGESTER struct fb_digester *digester = NULL;
	struct object object = { .store = repo->store };
	struct fb_hint_source source = { read_object, &object };
	struct fb_hint_visitor visitor = { load_pack, load_chunk, loader };
	uint32_t first = fb_packer_pack_count(loader->packer);
	struct fb_error ignored = { 0 };
	struct fb_hint_seal seal;

	if (!read_seal(repo, session, &seal))
		return;
	(void)snprintf(object.key, sizeof(object.key), "hints/%s", session);
	if (fb_store_head(
	        object.store, object.key, &object.size, &ignored) < 0 ||
	    object.size != seal.size)
		return;
	object.digester = digester = fb_digester_new();
	fb_hints_read(&source, session, &visitor);
	if (!has_digest(&object, &seal.digest))
		fb_packer_drop_packs(loader->packer, first);
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

	(void)err;
	if (loader->full || fb_id_list_has(&loader->packs, &place->id))
		return FB_OK;
	fb_id_list_add(&loader->packs, &place->id);
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
 * we trust signed, and the tables that they name. */
static int
load_newest_run(struct loader *loader, struct fb_error *err)
{
	int rc = fb_repo_runs(
	    fb_packer_repo(loader->packer), take_newest_run, loader, err);

	fb_id_list_release(&loader->packs);
	return loader->have_run ? FB_OK : rc;
}

int
fb_packer_load_hints(struct fb_packer *packer, struct fb_error *err)
{
	struct loader loader = { .packer = packer };
	uint32_t before = fb_packer_pack_count(packer);
	size_t first;
	int rc;

	loader.sessions = fb_alloc(SESSIONS_MAX, sizeof(*loader.sessions));
	rc = fb_store_list(fb_packer_repo(packer)->store, "hints/",
	    note_session, &loader, err);
	first = loader.session_count > SESSIONS_MAX
	    ? loader.session_count - SESSIONS_MAX
	    : 0;
	for (size_t i = loader.session_count; rc == FB_OK && i > first; i--)
		if (!loader.full)
			load_session(
			    &loader, loader.sessions[(i - 1) % SESSIONS_MAX]);
	if (rc == FB_OK && fb_packer_pack_count(packer) == before)
		rc = load_newest_run(&loader, err);
	free(loader.sessions);
	return rc;
}
