/*
 * Tables of packs, fetched, judged and kept: the latest used ones, up to a
 * number of bytes.  A repository has one set of them for all its readers and
 * its writer: small volumes lie side by side in one pack, and its table is
 * read and judged once, not once for each of them.
 *
 * Threads: any.
 */
#ifndef REPO_DATA_TABLES_H
#define REPO_DATA_TABLES_H

#include "fleetbak/format/pack.h"
#include "fleetbak/store/store.h"

struct fb_table {
	struct fb_pack_table table;
	struct fb_digest pack;
	struct fb_digest digest; /* SHA-256 of the text */
	uint32_t length;         /* of the text */
	struct fb_digest *attested; /* the chunks' ids in the writer's own
	                             * domain, by a verifier; NULL: not known */
	unsigned users;
	struct fb_table *newer, *older;
	struct fb_table *next; /* in its bucket */
};

/* What is known about a pack's table before it is fetched. */
struct fb_table_place {
	struct fb_digest pack;
	uint32_t offset, length;        /* length 0: not known */
	const struct fb_digest *digest; /* NULL: not known */
};

/* 420,000 chunks: 26 GiB of large volumes, or 100,000 tiny ones. */
#define FB_TABLES_BYTES_MAX (24u << 20)

struct fb_tables;
/* Those in use are kept whatever `max_bytes` is. */
struct fb_tables *fb_tables_new(struct fb_store *store, size_t max_bytes);
void fb_tables_free(struct fb_tables *tables); /* no table is in use */

/* Of an encrypted repository: a table that is not is refused.  Borrows. */
struct fb_vault;
void fb_tables_set_vault(struct fb_tables *tables, struct fb_vault *vault);

/*
 * Take the table at `place`, whose digest is known, into use;
 * fb_tables_put() gives it back.
 * Errors: FB_ECORRUPT (E-PACK-TABLE), FB_ENOTFOUND.
 */
FB_MUST_USE int fb_tables_get(struct fb_tables *tables,
    const struct fb_table_place *place, struct fb_table **ret_table,
    struct fb_error *err);
void fb_tables_put(struct fb_tables *tables, struct fb_table *table);

/* What a verifier says of a table in use: as many ids as it has chunks; takes
 * them over. */
void fb_tables_attest(struct fb_tables *tables, struct fb_table *table,
    struct fb_digest *ids);

/* NULL: nothing yet.  They stay as long as the table is in use. */
const struct fb_digest *fb_tables_attested(
    struct fb_tables *tables, const struct fb_table *table);

/* The table of a pack that is kept, whatever recipe named it: in use, until
 * fb_tables_put(); or NULL. */
struct fb_table *fb_tables_find(
    struct fb_tables *tables, const struct fb_digest *pack);

/* Keep a table that was made here; takes its chunks over. */
void fb_tables_add(struct fb_tables *tables, const struct fb_digest *pack,
    struct fb_pack_table *table, const struct fb_digest *digest,
    uint32_t length);

/*
 * Fetch and judge without keeping.  Unless the digest is known, the object is
 * checked to be there and to end with the table.
 */
FB_MUST_USE int fb_table_fetch(struct fb_store *store,
    const struct fb_table_place *place, struct fb_table *ret_table,
    struct fb_error *err);

#endif
