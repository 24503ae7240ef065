/*
 * Tables of packs, fetched, judged and kept: the latest used ones, up to a
 * number of bytes.  Packs have the numbers that the owner gave them.
 *
 * Threads: any.
 */
#ifndef REPO_DATA_TABLES_H
#define REPO_DATA_TABLES_H

#include "fleetbak/format/pack.h"
#include "fleetbak/store/store.h"

struct fb_table {
	struct fb_pack_table table;
	struct fb_digest digest; /* SHA-256 of the text */
	uint32_t length;         /* of the text */
	uint32_t number;
	unsigned users;
	struct fb_table *newer, *older;
	struct fb_shared_table *shared; /* who owns the chunks, or NULL */
};

/* What is known about a pack's table before it is fetched. */
struct fb_table_place {
	struct fb_digest pack;
	uint32_t offset, length;        /* length 0: not known */
	const struct fb_digest *digest; /* NULL: not known */
};

#define FB_TABLES_BYTES_MAX (24u << 20)

/*
 * The few tables that were judged last, shared by the readers of all volumes
 * of a repository: small volumes lie in one pack, and its table would be read
 * and judged anew for each of them.
 */
struct fb_recent_tables;
struct fb_recent_tables *fb_recent_tables_new(void);
void fb_recent_tables_free(struct fb_recent_tables *recent); /* the last */

struct fb_tables;
/* `recent`: NULL, or what to look at first; it is borrowed. */
struct fb_tables *fb_tables_new(struct fb_store *store,
    struct fb_recent_tables *recent, size_t max_bytes);
void fb_tables_free(struct fb_tables *tables); /* no table is in use */

/*
 * Take the table of pack `number` into use; fb_tables_put() gives it back.
 * Unless its digest is known, the object is checked to be there and to end
 * with the table.
 * Errors: FB_ECORRUPT (E-PACK-TABLE), FB_ENOTFOUND.
 */
FB_MUST_USE int fb_tables_get(struct fb_tables *tables, uint32_t number,
    const struct fb_table_place *place, struct fb_table **ret_table,
    struct fb_error *err);
void fb_tables_put(struct fb_tables *tables, struct fb_table *table);

/* Keep a table that was made here; takes its chunks over. */
void fb_tables_add(struct fb_tables *tables, uint32_t number,
    struct fb_pack_table *table, struct fb_span text);

/* Fetch and judge without keeping. */
FB_MUST_USE int fb_table_fetch(struct fb_store *store,
    const struct fb_table_place *place, struct fb_table *ret_table,
    struct fb_error *err);

#endif
