#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/vault.h"

#include "bytes.h"
#include "tables.h"

#define BUCKETS 4096u

struct fb_tables {
	struct fb_store *store;
	size_t max_bytes;
	struct fb_vault *vault; /* NULL: nothing is encrypted */

	pthread_mutex_t lock; /* all below */
	struct fb_table *newest, *oldest;
	size_t bytes;
	struct fb_table *buckets[BUCKETS];
};

struct fb_tables *
fb_tables_new(struct fb_store *store, size_t max_bytes)
{
	struct fb_tables *tables = fb_alloc(1, sizeof(*tables));

	tables->store = store;
	tables->max_bytes = max_bytes;
	(void)pthread_mutex_init(&tables->lock, NULL);
	return tables;
}

void
fb_tables_set_vault(struct fb_tables *tables, struct fb_vault *vault)
{
	tables->vault = vault;
}

static void
free_table(struct fb_table *table)
{
	fb_pack_table_release(&table->table);
	free(table->attested);
	free(table);
}

void
fb_tables_free(struct fb_tables *tables)
{
	if (tables == NULL)
		return;
	while (tables->newest != NULL) {
		struct fb_table *table = tables->newest;

		tables->newest = table->older;
		free_table(table);
	}
	(void)pthread_mutex_destroy(&tables->lock);
	free(tables);
}

static size_t
table_bytes(const struct fb_table *table)
{
	size_t attested = table->attested == NULL
	    ? 0
	    : table->table.count * sizeof(*table->attested);

	return sizeof(*table) + attested +
	    (table->table.count + 1) * sizeof(*table->table.chunks);
}

static struct fb_table **
bucket_of(struct fb_tables *tables, const struct fb_digest *pack)
{
	return &tables->buckets[fb_load_le32(pack->bytes) % BUCKETS];
}

static void
unlink_table(struct fb_tables *tables, struct fb_table *table)
{
	*(table->newer ? &table->newer->older : &tables->newest) =
	    table->older;
	*(table->older ? &table->older->newer : &tables->oldest) =
	    table->newer;
}

static void
link_newest(struct fb_tables *tables, struct fb_table *table)
{
	table->newer = NULL;
	table->older = tables->newest;
	*(tables->newest ? &tables->newest->newer : &tables->oldest) = table;
	tables->newest = table;
}

static void
drop(struct fb_tables *tables, struct fb_table *table)
{
	struct fb_table **link = bucket_of(tables, &table->pack);

	while (*link != table)
		link = &(*link)->next;
	*link = table->next;
	unlink_table(tables, table);
	tables->bytes -= table_bytes(table);
	free_table(table);
}

/* Drop the oldest ones that nobody uses, as long as there is too much. */
static void
evict(struct fb_tables *tables)
{
	struct fb_table *table = tables->oldest;

	while (table != NULL && tables->bytes > tables->max_bytes) {
		struct fb_table *newer = table->newer;

		if (table->users == 0)
			drop(tables, table);
		table = newer;
	}
}

/* The same place and digest: the same bytes, judged already. */
static struct fb_table *
find(struct fb_tables *tables, const struct fb_table_place *place)
{
	struct fb_table *table = *bucket_of(tables, &place->pack);

	if (place->digest == NULL)
		return NULL;
	while (table != NULL &&
	    (fb_digest_cmp(&table->pack, &place->pack) != 0 ||
	        fb_digest_cmp(&table->digest, place->digest) != 0 ||
	        table->table.offset != place->offset ||
	        table->length != place->length))
		table = table->next;
	return table;
}

/* With the lock held. */
static void
keep(struct fb_tables *tables, struct fb_table *table)
{
	struct fb_table **bucket = bucket_of(tables, &table->pack);

	table->next = *bucket;
	*bucket = table;
	tables->bytes += table_bytes(table);
	link_newest(tables, table);
}

/* Where the table is, from the object's size and its last bytes. */
static int
locate(struct fb_store *store, const char *key, uint64_t size,
    uint64_t *ret_offset, struct fb_error *err)
{
	uint8_t tail[FB_PACK_TAIL_LEN];
	int rc;

	if (size < FB_PACK_SKIP_LEN + FB_PACK_TAIL_LEN)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "'%s' is too short for a pack", key);
	rc = fb_store_get_range(
	    store, key, size - sizeof(tail), tail, sizeof(tail), err);
	if (rc == FB_OK)
		rc = fb_pack_tail_decode(
		    (struct fb_span){ tail, sizeof(tail) }, ret_offset, err);
	if (rc < 0)
		return rc;
	if (*ret_offset > size - FB_PACK_SKIP_LEN - FB_PACK_TAIL_LEN)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "the table of '%s' lies outside of it", key);
	return FB_OK;
}

/* The skippable frame at `offset`, `length` bytes of text in it. */
static int
fetch_text(struct fb_store *store, const char *key, uint64_t offset,
    uint64_t length, const struct fb_digest *digest,
    struct fb_table *ret_table, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf frame = { 0 };
	struct fb_span text;
	size_t len = FB_PACK_SKIP_LEN + (size_t)length;
	int rc;

	rc = fb_buf_reserve_or_fail(&frame, len, err);
	if (rc < 0)
		return fb_wrap(err, "table of '%s'", key);
	rc = fb_store_get_range(store, key, offset, frame.data, len, err);
	if (rc < 0)
		return rc;
	frame.len = len;
	text = (struct fb_span){ frame.data + FB_PACK_SKIP_LEN,
		len - FB_PACK_SKIP_LEN };
	fb_digest_of(text, &ret_table->digest);
	if (fb_load_le32(frame.data) != FB_PACK_MAGIC ||
	    fb_load_le32(frame.data + 4) != length ||
	    (digest != NULL && fb_digest_cmp(digest, &ret_table->digest) != 0))
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "the table of '%s' is not the one that was written", key);
	rc = fb_pack_table_decode(text, &ret_table->table, err);
	if (rc < 0)
		return fb_wrap(err, "'%s'", key);
	ret_table->length = (uint32_t)length;
	if (ret_table->table.offset != offset) {
		fb_pack_table_release(&ret_table->table);
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "the table of '%s' is not in its place", key);
	}
	return FB_OK;
}

int
fb_table_fetch(struct fb_store *store, const struct fb_table_place *place,
    struct fb_table *ret_table, struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t offset = place->offset, length = place->length, size;
	int rc;

	fb_pack_key(&place->pack, key);
	ret_table->pack = place->pack;
	if (place->digest == NULL) {
		rc = fb_store_head(store, key, &size, err);
		if (rc == FB_OK && length == 0)
			rc = locate(store, key, size, &offset, err);
		if (rc < 0)
			return rc;
		if (length == 0)
			length = size - offset - FB_PACK_SKIP_LEN;
		if (offset + FB_PACK_SKIP_LEN + length != size)
			return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
			    "'%s' does not end with its table", key);
	}
	if (length > FB_PACK_TABLE_MAX)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "the table of '%s' would be %" PRIu64 " bytes long", key,
		    length);
	return fetch_text(
	    store, key, offset, length, place->digest, ret_table, err);
}

/* Make it the newest, and used once more. */
static struct fb_table *
take(struct fb_tables *tables, struct fb_table *table)
{
	table->users++;
	unlink_table(tables, table);
	link_newest(tables, table);
	return table;
}

/* Of two threads that fetched the same one, the first one's is kept. */
static struct fb_table *
keep_or_take(struct fb_tables *tables, const struct fb_table_place *place,
    struct fb_table *table)
{
	struct fb_table *kept;

	(void)pthread_mutex_lock(&tables->lock);
	kept = find(tables, place);
	if (kept == NULL) {
		keep(tables, table);
		kept = table;
	} else {
		free_table(table);
	}
	(void)take(tables, kept);
	evict(tables);
	(void)pthread_mutex_unlock(&tables->lock);
	return kept;
}

/* Fetch one that is of the repository's kind. */
static int
fetch_ours(struct fb_tables *tables, const struct fb_table_place *place,
    struct fb_table *table, struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	int rc = fb_table_fetch(tables->store, place, table, err);

	if (rc < 0)
		return rc;
	fb_pack_key(&place->pack, key);
	rc = fb_vault_check_kind(tables->vault, &table->table, key, err);
	if (rc < 0)
		fb_pack_table_release(&table->table);
	return rc;
}

int
fb_tables_get(struct fb_tables *tables, const struct fb_table_place *place,
    struct fb_table **ret_table, struct fb_error *err)
{
	struct fb_table *table;
	int rc;

	(void)pthread_mutex_lock(&tables->lock);
	table = find(tables, place);
	if (table != NULL)
		(void)take(tables, table);
	(void)pthread_mutex_unlock(&tables->lock);
	if (table == NULL) {
		table = fb_alloc(1, sizeof(*table));
		rc = fetch_ours(tables, place, table, err);
		if (rc < 0) {
			free(table);
			return rc;
		}
		table = keep_or_take(tables, place, table);
	}
	*ret_table = table;
	return FB_OK;
}

struct fb_table *
fb_tables_find(struct fb_tables *tables, const struct fb_digest *pack)
{
	struct fb_table *table;

	(void)pthread_mutex_lock(&tables->lock);
	table = *bucket_of(tables, pack);
	while (table != NULL && fb_digest_cmp(&table->pack, pack) != 0)
		table = table->next;
	if (table != NULL)
		(void)take(tables, table);
	(void)pthread_mutex_unlock(&tables->lock);
	return table;
}

void
fb_tables_put(struct fb_tables *tables, struct fb_table *table)
{
	if (table == NULL)
		return;
	(void)pthread_mutex_lock(&tables->lock);
	table->users--;
	(void)pthread_mutex_unlock(&tables->lock);
}

void
fb_tables_attest(
    struct fb_tables *tables, struct fb_table *table, struct fb_digest *ids)
{
	(void)pthread_mutex_lock(&tables->lock);
	if (table->attested == NULL) {
		tables->bytes -= table_bytes(table);
		table->attested = FB_STEAL(ids);
		tables->bytes += table_bytes(table);
		evict(tables);
	}
	(void)pthread_mutex_unlock(&tables->lock);
	free(ids);
}

const struct fb_digest *
fb_tables_attested(struct fb_tables *tables, const struct fb_table *table)
{
	const struct fb_digest *ids;

	(void)pthread_mutex_lock(&tables->lock);
	ids = table->attested;
	(void)pthread_mutex_unlock(&tables->lock);
	return ids;
}

void
fb_tables_add(struct fb_tables *tables, const struct fb_digest *pack,
    struct fb_pack_table *source, const struct fb_digest *digest,
    uint32_t length)
{
	struct fb_table *table = fb_alloc(1, sizeof(*table));

	table->table = *source;
	*source = (struct fb_pack_table){ 0 };
	table->pack = *pack;
	table->digest = *digest;
	table->length = length;
	(void)pthread_mutex_lock(&tables->lock);
	keep(tables, table);
	evict(tables);
	(void)pthread_mutex_unlock(&tables->lock);
}
