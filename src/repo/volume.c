#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "volume_impl.h"

#define IN_MEMORY_MAX (4u << 20)
#define SMALL_MAX     (1u << 20)

/* A file without a name, for a recipe that is too large for memory. */
static int
open_spool(struct fb_error *err)
{
	const char *dir = getenv("TMPDIR");
	FB_AUTO_FREE char *path = fb_format("%s/fleetbak-recipe-XXXXXX",
	    dir != NULL && dir[0] == '/' ? dir : "/var/tmp");
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd == -1)
		return fb_fail_sys(err, "cannot make '%s'", path);
	(void)unlink(path);
	return fd;
}

/* A recipe on its way here. */
struct fetching {
	struct fb_volume_reader *reader;
	struct fb_digester *digester;
};

static int
take_part(void *arg, struct fb_span part, struct fb_error *err)
{
	struct fetching *fetching = arg;
	struct fb_volume_reader *reader = fetching->reader;

	/* Text has none; a file of holes must not be filled. */
	if (memchr(part.ptr, '\0', part.len) != NULL)
		return fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "damaged recipe: it holds NUL bytes");
	fb_digester_add(fetching->digester, part);
	if (reader->fd >= 0)
		return fb_io_write_all(
		    reader->fd, "temporary recipe", part, err);
	fb_buf_add(&reader->bytes, part.ptr, part.len);
	return FB_OK;
}

/* Most are small: one request, where requests count.  FB_ERETRY: it is not. */
static int
fetch_small(struct fetching *fetching, struct fb_error *err)
{
	struct fb_volume_reader *reader = fetching->reader;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = fb_store_is_far(reader->repo->store)
	    ? fb_store_get(reader->repo->store, reader->key, SMALL_MAX, &bytes,
	          NULL, err)
	    : FB_ERETRY;

	if (rc == FB_ECORRUPT)
		return FB_ERETRY;
	reader->size = bytes.len;
	return rc < 0 || bytes.len == 0
	    ? rc
	    : take_part(fetching, fb_buf_span(&bytes), err);
}

static int
fetch_large(struct fetching *fetching, struct fb_error *err)
{
	struct fb_volume_reader *reader = fetching->reader;
	int rc = fb_store_head(
	    reader->repo->store, reader->key, &reader->size, err);

	if (rc == FB_OK && reader->size > IN_MEMORY_MAX)
		rc = reader->fd = open_spool(err);
	return rc < 0 ? rc
	              : fb_store_read(reader->repo->store, reader->key, 0,
	                    reader->size, take_part, fetching, err);
}

/* Bring the recipe here and check that it is the one that was asked for. */
static int
fetch(struct fb_volume_reader *reader, const struct fb_digest *id,
    struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	struct fetching fetching = { reader, digester };
	struct fb_digest digest;
	int rc = fetch_small(&fetching, err);

	if (rc == FB_ERETRY)
		rc = fetch_large(&fetching, err);
	if (rc < 0)
		return rc;
	fb_digester_peek(digester, &digest);
	if (fb_digest_cmp(&digest, id) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "its bytes do not have the digest it is named after");
	return FB_OK;
}

static int
fill_lines(struct recipe_lines *lines, struct fb_error *err)
{
	struct fb_volume_reader *reader = lines->reader;
	size_t room, got = 0;
	uint64_t left = reader->size - lines->offset;
	int rc = FB_OK;

	memmove(lines->window, lines->window + lines->at,
	    lines->len - lines->at);
	lines->len -= lines->at;
	lines->at = 0;
	room = sizeof(lines->window) - lines->len;
	if (room > left)
		room = (size_t)left;
	if (reader->fd >= 0) {
		rc = fb_io_pread(reader->fd, "temporary recipe",
		    lines->window + lines->len, room, lines->offset, &got, err);
	} else if (room > 0) {
		memcpy(lines->window + lines->len,
		    reader->bytes.data + lines->offset, room);
		got = room;
	}
	lines->len += got;
	lines->offset += got;
	return rc;
}

int
fb_recipe_lines_next(
    struct recipe_lines *lines, struct fb_span *ret_line, struct fb_error *err)
{
	for (int filled = 0; filled < 2; filled++) {
		uint8_t *line = lines->window + lines->at;
		size_t len = lines->len - lines->at;
		uint8_t *end = len > 0 ? memchr(line, '\n', len) : NULL;
		int rc;

		if (end != NULL) {
			*ret_line =
			    (struct fb_span){ line, (size_t)(end - line) };
			lines->at += ret_line->len + 1;
			return FB_OK;
		}
		rc = fill_lines(lines, err);
		if (rc < 0)
			return rc;
	}
	return fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
	    "damaged recipe: it ends in the middle");
}

static void
add_pack(struct fb_volume_reader *reader, const struct fb_recipe_pack *pack)
{
	uint32_t count = reader->pack_count;

	/* Powers of two from 16 on: room for twice as many. */
	if (count == 0 || (count >= 16 && (count & (count - 1)) == 0))
		reader->packs = fb_realloc(reader->packs,
		    count == 0 ? 16 : (size_t)count * 2,
		    sizeof(*reader->packs));
	reader->packs[reader->pack_count++] = *pack;
}

/* One line, judged; what it says is noted. */
static int
take_line(struct fb_volume_reader *reader, struct fb_recipe_decoder *decoder,
    struct recipe_lines *lines, enum fb_recipe_step *step, struct fb_error *err)
{
	const struct fb_recipe_run *run = &decoder->run;
	struct fb_span line;
	int rc = fb_recipe_lines_next(lines, &line, err);

	if (rc == FB_OK)
		rc = fb_recipe_decode_line(decoder, line, step, err);
	if (rc < 0)
		return rc;
	if (*step == FB_RECIPE_PACK)
		add_pack(reader, &decoder->pack);
	if (*step == FB_RECIPE_RUN &&
	    (uint64_t)run->pack_offset + run->pack_length >
	        reader->packs[run->pack].table_offset)
		return fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "damaged recipe: line %" PRIu64 " leaves its pack",
		    decoder->line);
	if (*step == FB_RECIPE_RUN)
		reader->data_size += run->length;
	return FB_OK;
}

static uint64_t
lines_offset(const struct recipe_lines *lines)
{
	return lines->offset - (lines->len - lines->at);
}

/* So that a read in the middle need not go over all that is before it. */
static void
add_mark(struct fb_volume_reader *reader,
    const struct fb_recipe_decoder *decoder, uint64_t offset)
{
	size_t count = reader->mark_count;

	if ((count & (count - 1)) == 0)
		reader->marks = fb_realloc(reader->marks,
		    count == 0 ? 1 : 2 * count, sizeof(*reader->marks));
	reader->marks[reader->mark_count++] = (struct mark){ *decoder, offset };
}

static int
parse(struct fb_volume_reader *reader, struct fb_error *err)
{
	FB_AUTO_FREE struct recipe_lines *lines = fb_alloc(1, sizeof(*lines));
	struct fb_recipe_decoder decoder = { 0 };
	enum fb_recipe_step step = FB_RECIPE_OTHER;
	uint64_t runs = 0;
	int rc = FB_OK;

	lines->reader = reader;
	while (rc == FB_OK && step != FB_RECIPE_END) {
		if (step != FB_RECIPE_RUN) {
			reader->at_runs = decoder;
			reader->runs_offset = lines_offset(lines);
		} else if (++runs % MARK_EVERY == 0) {
			add_mark(reader, &decoder, lines_offset(lines));
		}
		rc = take_line(reader, &decoder, lines, &step, err);
	}
	if (rc == FB_OK && lines_offset(lines) != reader->size)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "damaged recipe: something follows its end");
	reader->head = decoder.head;
	return rc;
}

int
fb_volume_open(struct fb_repo *repo, const struct fb_digest *id,
    struct fb_volume_reader **ret_reader, struct fb_error *err)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader =
	    fb_alloc(1, sizeof(*reader));
	int rc;

	reader->repo = repo;
	reader->fd = -1;
	fb_recipe_key(id, reader->key);
	rc = fetch(reader, id, err);
	if (rc == FB_OK)
		rc = parse(reader, err);
	if (rc < 0)
		return fb_wrap(err, "'%s'", reader->key);
	*ret_reader = FB_STEAL(reader);
	return FB_OK;
}

void
fb_volume_close(struct fb_volume_reader *reader)
{
	if (reader == NULL)
		return;
	fb_stream_close(reader->pull);
	if (reader->fd >= 0)
		(void)close(reader->fd);
	fb_buf_release(&reader->bytes);
	free(reader->packs);
	free(reader->marks);
	free(reader);
}

void
fb_volume_closep(struct fb_volume_reader **reader)
{
	fb_volume_close(*reader);
}

const struct fb_recipe_head *
fb_volume_head(const struct fb_volume_reader *reader)
{
	return &reader->head;
}

bool
fb_volume_is_far(const struct fb_volume_reader *reader)
{
	return fb_store_is_far(reader->repo->store);
}

uint64_t
fb_volume_data_size(const struct fb_volume_reader *reader)
{
	return reader->data_size;
}

int
fb_volume_secret(struct fb_volume_reader *reader, uint32_t number,
    struct fb_pack_secret *secret, const struct fb_pack_secret **ret_use,
    struct fb_error *err)
{
	const struct fb_recipe_pack *pack = &reader->packs[number];
	struct fb_table_place place = { pack->id, pack->table_offset,
		pack->table_length, &pack->table_digest };
	struct fb_repo *repo = reader->repo;
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_table *table;
	int rc;

	*ret_use = NULL;
	if (repo->vault == NULL)
		return FB_OK;
	rc = fb_tables_get(repo->tables, &place, &table, err);
	if (rc < 0)
		return rc;
	rc = fb_vault_secret(repo->vault, &table->table, secret, err);
	fb_tables_put(repo->tables, table);
	if (rc < 0) {
		fb_pack_key(&pack->id, key);
		return fb_wrap(err, "'%s'", key);
	}
	*ret_use = secret;
	return FB_OK;
}

int
fb_volume_domain(struct fb_volume_reader *reader, struct fb_cipher_key *domain,
    const struct fb_cipher_key **ret_use, struct fb_error *err)
{
	const struct fb_pack_secret *use;
	struct fb_pack_secret secret;
	int rc;

	*ret_use = NULL;
	if (reader->repo->vault == NULL)
		return FB_OK;
	/* Packs may be of other domains, which a verifier vouched for. */
	rc = fb_vault_session_domain(
	    reader->repo->vault, reader->head.session, domain, err);
	if (rc == FB_ECORRUPT && reader->pack_count > 0) {
		rc = fb_volume_secret(reader, 0, &secret, &use, err);
		if (rc == FB_OK)
			*domain = secret.domain;
	}
	if (rc == FB_OK)
		*ret_use = domain;
	return rc;
}

int
fb_volume_packs(struct fb_volume_reader *reader, fb_volume_visit_pack *visit,
    void *arg, struct fb_error *err)
{
	int rc = FB_OK;

	for (uint32_t i = 0; rc == FB_OK && i < reader->pack_count; i++)
		rc = visit(&reader->packs[i], arg, err);
	return rc;
}
