/*
 * Hints: which chunks the packs of a run hold.
 *
 *	fleetbak-hints 1 <session id>
 *	<pack id> <table offset> <table length> <count>
 *	count * 8 bytes: the beginnings of the ids, in the pack's order
 *	...
 *
 * They only say where to look: damage costs duplicates.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

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

void
fb_hints_add_pack(struct fb_buf *dst, const struct fb_hint_pack *pack,
    const struct fb_pack_table *table)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(&pack->id, hex);
	fb_buf_add_fmt(dst, "%s %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", hex,
	    pack->table_offset, pack->table_length, pack->count);
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

/* One line, NUL-terminated in place of its newline. */
static const char *
take_line(struct input *input)
{
	size_t len = fill(input, HINT_LINE_MAX);
	char *line = (char *)input->window + input->at;
	char *end = len > 0 ? memchr(line, '\n', len) : NULL;

	if (end == NULL)
		return NULL;
	*end = '\0';
	input->at += (size_t)(end - line) + 1;
	return line;
}

static bool
parse_pack(const char *line, struct fb_hint_pack *ret_pack)
{
	struct fb_error ignored = { 0 };
	int used = 0;

	if (strlen(line) < 2 * FB_DIGEST_LEN ||
	    fb_digest_parse(
	        (struct fb_span){ (const uint8_t *)line, 2 * FB_DIGEST_LEN },
	        &ret_pack->id, &ignored) < 0)
		return false;
	line += (size_t)2 * FB_DIGEST_LEN;
	return sscanf(line, " %9" SCNu32 " %9" SCNu32 " %9" SCNu32 "%n",
	           &ret_pack->table_offset, &ret_pack->table_length,
	           &ret_pack->count, &used) == 3 &&
	    line[used] == '\0' && ret_pack->table_length > 0 &&
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
	const char *line = take_line(&input);
	struct fb_hint_pack pack;

	if (line == NULL || strcmp(line, head) != 0)
		return;
	while ((line = take_line(&input)) != NULL && parse_pack(line, &pack))
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
	struct fb_id_list packs; /* of the newest run */
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

struct object {
	struct fb_store *store;
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;
};

static int
read_object(void *arg, uint64_t offset, void *bytes, size_t len,
    size_t *ret_len, struct fb_error *err)
{
	const struct object *object = arg;

	if (len > object->size - offset)
		len = (size_t)(object->size - offset);
	*ret_len = len;
	return len == 0 ? FB_OK
	                : fb_store_get_range(object->store, object->key,
	                      offset, bytes, len, err);
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

static void
load_session(struct loader *loader, const char *session)
{
	struct object object = { .store =
		fb_packer_repo(loader->packer)->store };
	struct fb_hint_source source = { read_object, &object };
	struct fb_hint_visitor visitor = { load_pack, load_chunk, loader };
	struct fb_error ignored = { 0 };

	(void)snprintf(object.key, sizeof(object.key), "hints/%s", session);
	if (fb_store_head(
	        object.store, object.key, &object.size, &ignored) == FB_OK)
		fb_hints_read(&source, session, &visitor);
}

static int
take_newest_run(
    const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct loader *loader = arg;
	struct fb_register reg = { 0 };

	if (run->damage != NULL)
		return FB_OK;
	if (fb_repo_register(fb_packer_repo(loader->packer), run->session,
	        &reg, err) < 0)
		return FB_OK;
	loader->packs = reg.packs;
	reg.packs = (struct fb_id_list){ 0 };
	loader->have_run = true;
	fb_register_release(&reg);
	return FB_ECANCELED; /* the newest one is enough */
}

/* Without hints: what the tables of the newest run's packs say. */
static int
load_newest_run(struct loader *loader, struct fb_error *err)
{
	struct fb_repo *repo = fb_packer_repo(loader->packer);
	int rc = fb_repo_runs(repo, take_newest_run, loader, err);

	if (!loader->have_run)
		return rc;
	for (size_t i = 0; i < loader->packs.count && !loader->full; i++) {
		struct fb_table_place place = { .pack = loader->packs.ids[i] };
		struct fb_table table = { 0 };
		struct fb_error ignored = { 0 };
		struct fb_hint_pack pack;

		if (fb_table_fetch(repo->store, &place, &table, &ignored) < 0)
			continue;
		pack = (struct fb_hint_pack){ place.pack,
			(uint32_t)table.table.offset, table.length,
			(uint32_t)table.table.count };
		if (load_pack(loader, &pack) == 0)
			for (uint32_t c = 0; c < pack.count; c++)
				if (!load_chunk(loader, c,
				        fb_load_le64(
				            table.table.chunks[c].id.bytes)))
					break;
		fb_pack_table_release(&table.table);
	}
	free(loader->packs.ids);
	return FB_OK;
}

int
fb_packer_load_hints(struct fb_packer *packer, struct fb_error *err)
{
	struct loader loader = { .packer = packer };
	size_t first;
	int rc;

	loader.sessions = fb_alloc(SESSIONS_MAX, sizeof(*loader.sessions));
	rc = fb_store_list(fb_packer_repo(packer)->store, "hints/",
	    note_session, &loader, err);
	if (rc == FB_OK && loader.session_count == 0)
		rc = load_newest_run(&loader, err);
	first = loader.session_count > SESSIONS_MAX
	    ? loader.session_count - SESSIONS_MAX
	    : 0;
	for (size_t i = loader.session_count; rc == FB_OK && i > first; i--)
		if (!loader.full)
			load_session(
			    &loader, loader.sessions[(i - 1) % SESSIONS_MAX]);
	free(loader.sessions);
	return rc;
}
