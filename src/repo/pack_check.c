/*
 * Whole packs.  One thread reads a pack from its beginning to its end, for its
 * name, and opens the chunks on the way; whoever has nothing else to do opens
 * some from the end meanwhile.  From far away a pack comes by one request, and
 * nobody asks for a part of it once more.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "volume_impl.h"

/* It fits the processor's cache. */
#define FETCH_STEP (1u << 20)

struct fb_pack_check {
	struct fb_repo *repo;
	struct fb_digest id;
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size; /* of the object */
	bool far;
	const struct fb_table *table;
	struct fb_table own, *kept; /* it is one of these */
	const struct fb_pack_secret *use; /* NULL: nothing is encrypted */
	struct fb_pack_secret secret;
	struct fb_cipher_key *domains; /* others, or none */
	size_t domain_count;
	struct fb_digest *ids; /* of every chunk, domain by domain */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t helped;
	uint32_t low, high; /* chunks that nobody has taken yet */
	unsigned helpers;
	int rc; /* of the first helper that failed */
	struct fb_error err;
};

/* The reading thread's. */
struct pass {
	struct fb_store *store;
	const char *key;
	struct fb_digester *digester;
	uint64_t size, offset; /* of the object; after the window */
	size_t at, len;
	uint8_t *window; /* FETCH_STEP + FB_STORED_MAX */
};

static int
fail_short(const char *key, struct fb_error *err)
{
	return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
	    "'%s' is shorter than its table says", key);
}

/* Have at least `want` bytes in the window. */
static int
fill(struct pass *pass, size_t want, struct fb_error *err)
{
	size_t part = FETCH_STEP;
	int rc;

	if (pass->len - pass->at >= want)
		return FB_OK;
	memmove(pass->window, pass->window + pass->at, pass->len - pass->at);
	pass->len -= pass->at;
	pass->at = 0;
	if (part < want - pass->len)
		part = want - pass->len;
	if (part > pass->size - pass->offset)
		part = (size_t)(pass->size - pass->offset);
	rc = fb_store_get_range(pass->store, pass->key, pass->offset,
	    pass->window + pass->len, part, err);
	if (rc < 0)
		return rc;
	fb_digester_add(
	    pass->digester, (struct fb_span){ pass->window + pass->len, part });
	pass->offset += part;
	pass->len += part;
	if (pass->len < want)
		return fail_short(pass->key, err);
	return FB_OK;
}

/* Chunks that one step opens, and their bytes. */
struct stretch {
	uint32_t first, count;
	size_t stored, length;
};

static bool
grow(struct stretch *stretch, const struct fb_pack_chunk *chunk)
{
	if (stretch->count == OPEN_CHUNKS_MAX ||
	    stretch->stored + chunk->stored_length > FB_STORED_MAX ||
	    stretch->length + chunk->length > FB_CHUNK_MAX)
		return false;
	stretch->count++;
	stretch->stored += chunk->stored_length;
	stretch->length += chunk->length;
	return true;
}

/* The first ones that nobody has taken. */
static struct stretch
take_first(struct fb_pack_check *check)
{
	struct stretch stretch = { 0 };

	(void)pthread_mutex_lock(&check->lock);
	stretch.first = check->low;
	while (check->low < check->high &&
	    grow(&stretch, &check->table->table.chunks[check->low]))
		check->low++;
	(void)pthread_mutex_unlock(&check->lock);
	return stretch;
}

/* The last ones; whoever gets any is a helper then. */
static struct stretch
take_last(struct fb_pack_check *check)
{
	struct stretch stretch = { 0 };

	(void)pthread_mutex_lock(&check->lock);
	while (!check->far && check->low < check->high &&
	    grow(&stretch, &check->table->table.chunks[check->high - 1]))
		check->high--;
	stretch.first = check->high;
	if (stretch.count > 0)
		check->helpers++;
	(void)pthread_mutex_unlock(&check->lock);
	return stretch;
}

/* What these contents, one after the other, are called in other domains. */
static void
translate(struct fb_pack_check *check, const struct stretch *stretch,
    const uint8_t *content)
{
	const struct fb_pack_table *table = &check->table->table;
	struct fb_digest_job jobs[OPEN_CHUNKS_MAX];

	for (size_t d = 0; d < check->domain_count; d++) {
		struct fb_digest *ids =
		    check->ids + d * table->count + stretch->first;
		const uint8_t *at = content;

		for (uint32_t i = 0; i < stretch->count; i++) {
			uint32_t len =
			    table->chunks[stretch->first + i].length;

			jobs[i].bytes = (struct fb_span){ at, len };
			at += len;
		}
		fb_cipher_ids(&check->domains[d], jobs, stretch->count);
		for (uint32_t i = 0; i < stretch->count; i++)
			ids[i] = jobs[i].digest;
	}
}

static int
open_first(struct fb_pack_check *check, struct pass *pass, struct fb_error *err)
{
	ZSTD_DCtx *dctx = ZSTD_createDCtx();
	FB_AUTO_FREE uint8_t *content = fb_alloc(FB_CHUNK_MAX, 1);
	struct stretch stretch;
	int rc = FB_OK;

	while (rc == FB_OK && (stretch = take_first(check)).count > 0) {
		rc = fill(pass, stretch.stored, err);
		if (rc < 0)
			break;
		rc = fb_chunks_verify(dctx, check->use,
		    check->table->table.chunks + stretch.first, stretch.count,
		    pass->window + pass->at, content, check->key, stretch.first,
		    err);
		if (rc == FB_OK)
			translate(check, &stretch, content);
		pass->at += stretch.stored;
	}
	ZSTD_freeDCtx(dctx);
	return rc;
}

bool
fb_pack_check_help(struct fb_pack_check *check)
{
	struct stretch stretch = take_last(check);
	const struct fb_pack_chunk *chunks =
	    check->table->table.chunks + stretch.first;
	FB_AUTO_FREE uint8_t *stored = NULL, *content = NULL;
	struct fb_error err = { 0 };
	ZSTD_DCtx *dctx;
	int rc;

	if (stretch.count == 0)
		return false;
	dctx = ZSTD_createDCtx();
	stored = fb_alloc(stretch.stored + 1, 1);
	content = fb_alloc(stretch.length + 1, 1);
	rc = fb_store_get_range(check->repo->store, check->key, chunks->offset,
	    stored, stretch.stored, &err);
	if (rc == FB_OK)
		rc = fb_chunks_verify(dctx, check->use, chunks, stretch.count, stored,
		    content, check->key, stretch.first, &err);
	if (rc == FB_OK)
		translate(check, &stretch, content);
	ZSTD_freeDCtx(dctx);
	(void)pthread_mutex_lock(&check->lock);
	if (rc < 0 && check->rc == FB_OK) {
		check->rc = rc;
		check->err = err;
	}
	check->helpers--;
	(void)pthread_cond_signal(&check->helped);
	(void)pthread_mutex_unlock(&check->lock);
	return true;
}

/* Nothing is left to take; wait for those who took some. */
static int
end_helping(struct fb_pack_check *check, int rc, struct fb_error *err)
{
	(void)pthread_mutex_lock(&check->lock);
	check->high = check->low;
	while (check->helpers > 0)
		(void)pthread_cond_wait(&check->helped, &check->lock);
	(void)pthread_mutex_unlock(&check->lock);
	if (rc == FB_OK && check->rc < 0) {
		*err = check->err;
		rc = check->rc;
	}
	return rc;
}

static int
check_name(const char *key, const struct fb_digest *id,
    struct fb_digester *digester, struct fb_error *err)
{
	struct fb_digest digest;

	fb_digester_peek(digester, &digest);
	if (fb_digest_cmp(&digest, id) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-NAME",
		    "'%s': its bytes do not have the digest it is named after",
		    key);
	return FB_OK;
}

/* Read the rest and judge the whole. */
static int
end_pass(struct pass *pass, const struct fb_digest *id, struct fb_error *err)
{
	int rc = FB_OK;

	while (rc == FB_OK && pass->offset < pass->size) {
		pass->at = pass->len;
		rc = fill(pass, 1, err);
	}
	return rc < 0 ? rc : check_name(pass->key, id, pass->digester, err);
}

/* The pack as it comes by one request. */
struct flow {
	struct fb_pack_check *check;
	struct fb_digester *digester;
	ZSTD_DCtx *dctx;
	struct stretch stretch;    /* to be opened next; no chunk: none is */
	size_t len;                /* of its stored bytes, here */
	uint8_t *stored, *content; /* FB_STORED_MAX, FB_CHUNK_MAX */
};

static int
take_piece(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct flow *flow = arg;
	struct fb_pack_check *check = flow->check;
	int rc = FB_OK;

	fb_digester_add(flow->digester, piece);
	while (rc == FB_OK && piece.len > 0 && flow->stretch.count > 0) {
		size_t room = flow->stretch.stored - flow->len;
		size_t len = piece.len < room ? piece.len : room;

		memcpy(flow->stored + flow->len, piece.ptr, len);
		flow->len += len;
		piece.ptr += len;
		piece.len -= len;
		if (len < room)
			break;
		rc = fb_chunks_verify(flow->dctx, check->use,
		    check->table->table.chunks + flow->stretch.first,
		    flow->stretch.count, flow->stored, flow->content,
		    check->key, flow->stretch.first, err);
		if (rc == FB_OK)
			translate(check, &flow->stretch, flow->content);
		flow->stretch = take_first(check);
		flow->len = 0;
	}
	return rc;
}

static int
check_flow(struct fb_pack_check *check, struct fb_digester *digester,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *stored = fb_alloc(FB_STORED_MAX, 1);
	FB_AUTO_FREE uint8_t *content = fb_alloc(FB_CHUNK_MAX, 1);
	struct flow flow = { .check = check,
		.digester = digester,
		.dctx = ZSTD_createDCtx(),
		.stretch = take_first(check),
		.stored = stored,
		.content = content };
	int rc = fb_store_read(check->repo->store, check->key, 0, check->size,
	    take_piece, &flow, err);

	ZSTD_freeDCtx(flow.dctx);
	if (rc == FB_OK && flow.stretch.count > 0)
		rc = fail_short(check->key, err);
	return rc < 0 ? rc : check_name(check->key, &check->id, digester, err);
}

/* The table is known when a recipe was looked at; it stands at the end. */
static int
find_table(struct fb_pack_check *check, struct fb_error *err)
{
	struct fb_repo *repo = check->repo;
	struct fb_table_place place = { .pack = check->id };
	int rc;

	check->kept = fb_tables_find(repo->tables, &check->id);
	if (check->kept != NULL &&
	    check->kept->table.offset + FB_PACK_SKIP_LEN +
	            check->kept->length ==
	        check->size) {
		check->table = check->kept;
		return FB_OK;
	}
	rc = fb_table_fetch(repo->store, &place, &check->own, err);
	return rc < 0 ? rc
	              : fb_vault_check_kind(repo->vault, &check->own.table,
	                    check->key, err);
}

int
fb_pack_check_open(struct fb_repo *repo, const struct fb_digest *id, bool open,
    struct fb_pack_check **ret_check, struct fb_error *err)
{
	struct fb_pack_check *check = fb_alloc(1, sizeof(*check));
	int rc;

	check->repo = repo;
	check->far = fb_store_is_far(repo->store);
	check->table = &check->own;
	check->id = *id;
	fb_pack_key(id, check->key);
	(void)pthread_mutex_init(&check->lock, NULL);
	(void)pthread_cond_init(&check->helped, NULL);
	rc = fb_store_head(repo->store, check->key, &check->size, err);
	if (rc == FB_OK &&
	    check->size >
	        FB_PACK_SIZE_MAX + FB_PACK_SKIP_LEN + FB_PACK_TABLE_MAX)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "'%s' is larger than a pack can be", check->key);
	if (rc == FB_OK && open)
		rc = find_table(check, err);
	if (rc == FB_OK && open && repo->vault != NULL) {
		rc = fb_vault_secret(
		    repo->vault, &check->table->table, &check->secret, err);
		check->use = &check->secret;
	}
	check->high = (uint32_t)check->table->table.count;
	if (rc < 0)
		fb_pack_check_close(check);
	else
		*ret_check = check;
	return rc;
}

void
fb_pack_check_close(struct fb_pack_check *check)
{
	for (size_t i = 0; i < check->domain_count; i++)
		fb_cipher_wipe(&check->domains[i]);
	free(check->domains);
	free(check->ids);
	fb_tables_put(check->repo->tables, check->kept);
	fb_pack_table_release(&check->own.table);
	(void)pthread_cond_destroy(&check->helped);
	(void)pthread_mutex_destroy(&check->lock);
	free(check);
}

void
fb_pack_check_translate(struct fb_pack_check *check,
    const struct fb_cipher_key *domains, size_t count)
{
	if (count == 0)
		return;
	check->domains = fb_alloc(count, sizeof(*domains));
	memcpy(check->domains, domains, count * sizeof(*domains));
	check->domain_count = count;
	check->ids = fb_alloc(
	    count * check->table->table.count + 1, sizeof(*check->ids));
}

const struct fb_digest *
fb_pack_check_ids(const struct fb_pack_check *check, size_t domain)
{
	return check->ids + domain * check->table->table.count;
}

size_t
fb_pack_check_domains(const struct fb_pack_check *check,
    const struct fb_cipher_key **ret_domains)
{
	if (ret_domains != NULL)
		*ret_domains = check->domains;
	return check->domain_count;
}

const struct fb_table *
fb_pack_check_table(const struct fb_pack_check *check)
{
	return check->table;
}

static int
check_steps(struct fb_pack_check *check, struct fb_digester *digester,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *window = fb_alloc(FETCH_STEP + FB_STORED_MAX, 1);
	struct pass pass = { .store = check->repo->store,
		.key = check->key,
		.digester = digester,
		.size = check->size,
		.window = window };
	int rc = open_first(check, &pass, err);

	if (rc == FB_OK)
		rc = end_pass(&pass, &check->id, err);
	return end_helping(check, rc, err);
}

int
fb_pack_check_run(
    struct fb_pack_check *check, uint64_t *ret_bytes, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	int rc = (check->far ? check_flow : check_steps)(check, digester, err);

	if (rc == FB_OK)
		*ret_bytes = check->size;
	return rc;
}

int
fb_pack_verify(struct fb_repo *repo, const struct fb_digest *id, bool open,
    uint64_t *ret_bytes, struct fb_error *err)
{
	struct fb_pack_check *check;
	int rc = fb_pack_check_open(repo, id, open, &check, err);

	if (rc < 0)
		return rc;
	rc = fb_pack_check_run(check, ret_bytes, err);
	fb_pack_check_close(check);
	return rc;
}
