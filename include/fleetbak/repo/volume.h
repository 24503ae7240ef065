/*
 * Reading what a recipe makes: every chunk checked before it is given out.
 *
 * Memory is bounded whatever the size: a large recipe is spooled to an
 * unlinked temporary file; tables are cached (LRU).
 */
#ifndef FB_REPO_VOLUME_H
#define FB_REPO_VOLUME_H

#include <stdatomic.h>

#include "fleetbak/driver/artifact.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"
#include "fleetbak/repo/repo.h"

struct fb_volume_reader;

/*
 * Open the recipe `id`: its bytes must have this digest, and be a sound
 * recipe.  Errors: FB_ECORRUPT, FB_ENOTFOUND (damage: an object is missing).
 */
FB_MUST_USE int fb_volume_open(struct fb_repo *repo,
    const struct fb_digest *id, struct fb_volume_reader **ret_reader,
    struct fb_error *err);
void fb_volume_close(struct fb_volume_reader *reader);
void fb_volume_closep(struct fb_volume_reader **reader);
#define FB_AUTO_VOLUME FB_CLEANUP(fb_volume_closep)

const struct fb_recipe_head *fb_volume_head(
    const struct fb_volume_reader *reader);

/* Does it come from a store that is far away? */
bool fb_volume_is_far(const struct fb_volume_reader *reader);

/* Bytes of it that are not zeros, by the recipe's runs alone. */
uint64_t fb_volume_data_size(const struct fb_volume_reader *reader);

/*
 * Visit the volume from `offset` to `end` in order: data with its bytes
 * (NULL `bytes`: zeros, any length).  Pieces are whole chunks; the first and
 * last may begin before `offset` and end after `end`.  The chunks are
 * fetched, opened and hashed by `workers` threads (0: all processors); visit
 * is called from one thread.  Errors: FB_ECORRUPT naming the object.
 */
typedef int fb_volume_visit(uint64_t offset, const void *bytes,
    uint64_t length, void *arg, struct fb_error *err);
FB_MUST_USE int fb_volume_read(struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end, unsigned workers,
    const atomic_bool *cancel, fb_volume_visit *visit, void *arg,
    struct fb_error *err);

/*
 * Visit the chunks themselves, without opening them: for in-place restore,
 * which hashes what is at the target first.  `chunk` NULL: zeros; else it is
 * borrowed, and a copy of it serves fb_chunk_reader_read() as long as the reader.
 */
struct fb_volume_chunk {
	struct fb_pack_chunk stored;
	uint32_t pack, number; /* of the recipe; in that */
};
typedef int fb_volume_visit_chunk(uint64_t offset, uint64_t length,
    const struct fb_volume_chunk *chunk, void *arg, struct fb_error *err);
FB_MUST_USE int fb_volume_chunks(struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end, fb_volume_visit_chunk *visit, void *arg,
    struct fb_error *err);

/*
 * Opens single chunks.  Threads: each has an opener of its own; they may
 * share a reader.
 */
struct fb_chunk_reader;
struct fb_chunk_reader *fb_chunk_reader_new(void);
void fb_chunk_reader_free(struct fb_chunk_reader *opener);
/* Fetch, open and hash those of `count` chunks that are `wanted` (NULL: all of
 * them); `content` has room for all, one after the other.  What is near each
 * other in a pack is fetched at once.  Errors: FB_ECORRUPT naming the object. */
FB_MUST_USE int fb_chunk_reader_read(struct fb_chunk_reader *opener,
    struct fb_volume_reader *reader, const struct fb_volume_chunk *chunks,
    const bool *wanted, size_t count, uint8_t *content, struct fb_error *err);

/* The volume as a stream (a pax archive for driver/tree.h), from `offset` to
 * `end`.  The pull lives as long as the reader; at most one at a time. */
FB_MUST_USE int fb_volume_pull(struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end, struct fb_pull *ret_pull,
    struct fb_error *err);

/*
 * Check the structure: every table there and bound, every run inside its
 * pack, the root reproduced from the chunk ids.  Reads tables only.
 */
FB_MUST_USE int fb_volume_check(
    struct fb_volume_reader *reader, struct fb_error *err);

/*
 * What the ids of its chunks, and its flat digest, are made with: *ret_use is
 * `domain`, or NULL in a clear repository.  Errors: FB_EKEY, FB_ECORRUPT.
 */
struct fb_cipher_key;
FB_MUST_USE int fb_volume_domain(struct fb_volume_reader *reader,
    struct fb_cipher_key *domain, const struct fb_cipher_key **ret_use,
    struct fb_error *err);

/* Visit the packs of the recipe. */
typedef int fb_volume_visit_pack(
    const struct fb_recipe_pack *pack, void *arg, struct fb_error *err);
FB_MUST_USE int fb_volume_packs(struct fb_volume_reader *reader,
    fb_volume_visit_pack *visit, void *arg, struct fb_error *err);

/*
 * Read a whole pack: its name is the digest of its bytes; with `open`, every
 * chunk is opened and hashed too.  Errors: FB_ECORRUPT, FB_ENOTFOUND.
 */
FB_MUST_USE int fb_pack_verify(struct fb_repo *repo,
    const struct fb_digest *id, bool open, uint64_t *ret_bytes,
    struct fb_error *err);

/*
 * The same by several threads: one runs the check, once, while others help
 * any number of times, each time with some chunks; false: there are none left
 * to take.  What a helper finds is the run's result.  Nobody helps any more
 * when it is closed.
 */
struct fb_pack_check;
FB_MUST_USE int fb_pack_check_open(struct fb_repo *repo,
    const struct fb_digest *id, bool open, struct fb_pack_check **ret_check,
    struct fb_error *err);
FB_MUST_USE int fb_pack_check_run(
    struct fb_pack_check *check, uint64_t *ret_bytes, struct fb_error *err);
/* Before it is run: make the ids that the chunks have in other domains too, in
 * the table's order, as long as the check is open; the keys are copied. */
struct fb_cipher_key;
void fb_pack_check_translate(struct fb_pack_check *check,
    const struct fb_cipher_key *domains, size_t count);
/* Those of the domain number `domain`. */
const struct fb_digest *fb_pack_check_ids(
    const struct fb_pack_check *check, size_t domain);
/* How many, and their keys (`ret_domains` may be NULL). */
size_t fb_pack_check_domains(const struct fb_pack_check *check,
    const struct fb_cipher_key **ret_domains);
/* Its table; only of one that opens chunks. */
struct fb_table;
const struct fb_table *fb_pack_check_table(const struct fb_pack_check *check);
bool fb_pack_check_help(struct fb_pack_check *check);
void fb_pack_check_close(struct fb_pack_check *check);

#endif
