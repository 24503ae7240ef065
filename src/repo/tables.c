#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "bytes.h"
#include "tables.h"

/* So many, and none with more chunks than this: 10 MiB together. */
#define RECENT_COUNT  4
#define RECENT_CHUNKS 40000u

struct fb_shared_table {
	struct fb_recent_tables *recent;
	unsigned users; /* its slot is one; under the lock */
	struct fb_pack_table table;
	struct fb_digest pack, digest;
	uint32_t offset, length;
};

struct fb_recent_tables {
	pthread_mutex_t lock;
	struct fb_shared_table *slots[RECENT_COUNT];
	size_t next;
};

struct fb_tables {
	struct fb_store *store;
	struct fb_recent_tables *recent;
	size_t max_bytes;

	pthread_mutex_t lock; /* all below */
	struct fb_table **slots;
	size_t slot_count;
	struct fb_table *newest, *oldest;
	size_t bytes;
};

struct fb_recent_tables *
fb_recent_tables_new(void)
{
	struct fb_recent_tables *recent = fb_alloc(1, sizeof(*recent));

	(void)pthread_mutex_init(&recent->lock, NULL);
	return recent;
}

/* With the lock held. */
static void
drop_shared(struct fb_shared_table *shared)
{
	if (shared == NULL || --shared->users > 0)
		return;
	fb_pack_table_release(&shared->table);
	free(shared);
}

void
fb_recent_tables_free(struct fb_recent_tables *recent)
{
	if (recent == NULL)
		return;
	for (size_t i = 0; i < RECENT_COUNT; i++)
		drop_shared(recent->slots[i]);
	(void)pthread_mutex_destroy(&recent->lock);
	free(recent);
}

static void
adopt_shared(struct fb_table *table, struct fb_shared_table *shared)
{
	shared->users++;
	table->shared = shared;
	table->table = shared->table;
	table->digest = shared->digest;
	table->length = shared->length;
}

/* The same place and digest: the same bytes, judged already. */
static bool
recent_take(struct fb_recent_tables *recent,
    const struct fb_table_place *place, struct fb_table *table)
{
	bool found = false;

	if (recent == NULL || place->digest == NULL)
		return false;
	(void)pthread_mutex_lock(&recent->lock);
	for (size_t i = 0; !found && i < RECENT_COUNT; i++) {
		struct fb_shared_table *shared = recent->slots[i];

		found = shared != NULL && shared->offset == place->offset &&
		    shared->length == place->length &&
		    fb_digest_cmp(&shared->digest, place->digest) == 0 &&
		    fb_digest_cmp(&shared->pack, &place->pack) == 0;
		if (found)
			adopt_shared(table, shared);
	}
	(void)pthread_mutex_unlock(&recent->lock);
	return found;
}

static void
recent_offer(struct fb_recent_tables *recent,
    const struct fb_table_place *place, struct fb_table *table)
{
	struct fb_shared_table *shared;

	if (recent == NULL || place->digest == NULL ||
	    table->table.count > RECENT_CHUNKS)
		return;
	shared = fb_alloc(1, sizeof(*shared));
	*shared = (struct fb_shared_table){ recent, 1, table->table,
		place->pack, table->digest, place->offset, table->length };
	(void)pthread_mutex_lock(&recent->lock);
	adopt_shared(table, shared);
	drop_shared(recent->slots[recent->next]);
	recent->slots[recent->next] = shared;
	recent->next = (recent->next + 1) % RECENT_COUNT;
	(void)pthread_mutex_unlock(&recent->lock);
}

struct fb_tables *
fb_tables_new(struct fb_store *store, struct fb_recent_tables *recent,
    size_t max_bytes)
{
	struct fb_tables *tables = fb_alloc(1, sizeof(*tables));

	tables->store = store;
	tables->recent = recent;
	tables->max_bytes = max_bytes;
	(void)pthread_mutex_init(&tables->lock, NULL);
	return tables;
}

static void
free_table(struct fb_table *table)
{
	struct fb_shared_table *shared = table->shared;

	if (shared != NULL) {
		struct fb_recent_tables *recent = shared->recent;

		(void)pthread_mutex_lock(&recent->lock);
		drop_shared(shared);
		(void)pthread_mutex_unlock(&recent->lock);
	} else {
		fb_pack_table_release(&table->table);
	}
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
	free(tables->slots);
	free(tables);
}

static size_t
table_bytes(const struct fb_table *table)
{
	return sizeof(*table) +
	    (table->table.count + 1) * sizeof(*table->table.chunks);
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

/* Drop the oldest ones that nobody uses, as long as there is too much. */
static void
evict(struct fb_tables *tables)
{
	struct fb_table *table = tables->oldest;

	while (table != NULL && tables->bytes > tables->max_bytes) {
		struct fb_table *newer = table->newer;

		if (table->users == 0) {
			unlink_table(tables, table);
			tables->bytes -= table_bytes(table);
			tables->slots[table->number] = NULL;
			free_table(table);
		}
		table = newer;
	}
}

/* With the lock held.  The table in the end is the one that came first. */
static struct fb_table *
keep(struct fb_tables *tables, struct fb_table *table)
{
	uint32_t number = table->number;

	if (number >= tables->slot_count) {
		size_t count = (size_t)number + 1 + number / 2;

		tables->slots = fb_realloc(
		    tables->slots, count, sizeof(struct fb_table *));
		memset(tables->slots + tables->slot_count, 0,
		    (count - tables->slot_count) * sizeof(struct fb_table *));
		tables->slot_count = count;
	}
	if (tables->slots[number] != NULL) {
		free_table(table);
		return tables->slots[number];
	}
	tables->slots[number] = table;
	tables->bytes += table_bytes(table);
	link_newest(tables, table);
	return table;
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

static struct fb_table *
take(struct fb_tables *tables, struct fb_table *table)
{
	table->users++;
	unlink_table(tables, table);
	link_newest(tables, table);
	return table;
}

static int
fetch_shared(struct fb_tables *tables, const struct fb_table_place *place,
    struct fb_table *table, struct fb_error *err)
{
	int rc;

	if (recent_take(tables->recent, place, table))
		return FB_OK;
	rc = fb_table_fetch(tables->store, place, table, err);
	if (rc == FB_OK)
		recent_offer(tables->recent, place, table);
	return rc;
}

int
fb_tables_get(struct fb_tables *tables, uint32_t number,
    const struct fb_table_place *place, struct fb_table **ret_table,
    struct fb_error *err)
{
	struct fb_table *table = NULL;
	int rc;

	(void)pthread_mutex_lock(&tables->lock);
	if (number < tables->slot_count && tables->slots[number] != NULL)
		table = take(tables, tables->slots[number]);
	(void)pthread_mutex_unlock(&tables->lock);
	if (table == NULL) {
		table = fb_alloc(1, sizeof(*table));
		table->number = number;
		rc = fetch_shared(tables, place, table, err);
		if (rc < 0) {
			free(table);
			return rc;
		}
		(void)pthread_mutex_lock(&tables->lock);
		table = take(tables, keep(tables, table));
		evict(tables);
		(void)pthread_mutex_unlock(&tables->lock);
	}
	*ret_table = table;
	return FB_OK;
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
fb_tables_add(struct fb_tables *tables, uint32_t number,
    struct fb_pack_table *source, struct fb_span text)
{
	struct fb_table *table = fb_alloc(1, sizeof(*table));

	table->table = *source;
	*source = (struct fb_pack_table){ 0 };
	table->number = number;
	table->length = (uint32_t)text.len;
	fb_digest_of(text, &table->digest);
	(void)pthread_mutex_lock(&tables->lock);
	(void)keep(tables, table);
	evict(tables);
	(void)pthread_mutex_unlock(&tables->lock);
}
