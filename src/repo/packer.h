/*
 * The packs of a run: the open ones, spooled; the closed ones; those of other
 * runs whose chunks are used again; and the index over all of them.
 *
 * Several packs may be open, one a lane, so that volumes which are written at
 * once do not take turns within one pack: who reads one of them would have to
 * ask for every turn of it.
 *
 * Threads: fb_packer_find() from any; everything else from one at a time
 * (the copier sees to that).
 */
#ifndef REPO_DATA_PACKER_H
#define REPO_DATA_PACKER_H

#include <jansson.h>

#include "fleetbak/format/recipe.h"
#include "fleetbak/repo/repo.h"

#include "tables.h"

struct fb_packer;

#define FB_PACKER_LANES 4

/* A stored chunk. */
struct fb_place {
	uint32_t pack; /* the packer's number */
	uint32_t chunk;
	uint32_t offset, stored_length;
};

/* A closed pack on its way to the store. */
struct fb_sealed_pack {
	int fd; /* -1: none */
	char *path, *chunks_path;
	char *key_path, *old_path; /* to go with them, or NULL */
	struct fb_digest id;
	uint64_t size;
};

/* `state`: what fb_packer_state() gave, or NULL; hints are not loaded.
 * `index_slots`: of the index in memory; 0: FB_INDEX_SLOTS_MAX. */
FB_MUST_USE int fb_packer_open(struct fb_repo *repo,
    const struct fb_session *session, const char *spool_dir,
    size_t index_slots, const json_t *state, struct fb_packer **ret_packer,
    struct fb_error *err);
void fb_packer_close(struct fb_packer *packer);

/* Fill the index from the hints that somebody trusted sealed, or without any
 * from the tables that the newest run's signed recipes name.  What is damaged
 * or of somebody else is left out.
 *
 * What memory does not hold goes into files in `index_dir`, which is made; the
 * next one goes on from there, and reads only hints that are new.  With NULL,
 * or where no file can be made, the newest hints have to do. */
FB_MUST_USE int fb_packer_load_hints(
    struct fb_packer *packer, const char *index_dir, struct fb_error *err);
/* Read hints from a source of bytes: hints.c. */
struct fb_hint_source {
	/* Up to `len` bytes at `offset`; fewer only at the end. */
	int (*read)(void *arg, uint64_t offset, void *bytes, size_t len,
	    size_t *ret_len, struct fb_error *err);
	void *arg;
};
struct fb_hint_pack {
	struct fb_digest id;
	struct fb_digest table_digest;
	uint32_t table_offset, table_length;
	uint32_t count; /* of prefixes that follow */
};
struct fb_hint_visitor {
	/* Negative: leave the pack's prefixes out. */
	int (*pack)(void *arg, const struct fb_hint_pack *pack);
	/* false: that was enough. */
	bool (*chunk)(void *arg, uint32_t chunk, uint64_t prefix);
	void *arg;
};
/* Visit as far as the bytes make sense. */
void fb_hints_read(const struct fb_hint_source *source, const char *session,
    const struct fb_hint_visitor *visitor);
void fb_hints_add_head(struct fb_buf *dst, const char *session);
void fb_hints_add_pack(struct fb_buf *dst, const struct fb_hint_pack *pack,
    const struct fb_pack_table *table);

/* The same of ids that the pack's chunks have in another domain. */
void fb_hints_add_ids(struct fb_buf *dst, const struct fb_hint_pack *pack,
    const struct fb_digest *ids);

/* For the loaders: give a pack of the past a number (negative: not to be
 * used), add a chunk (false: there is no more room). */
int64_t fb_packer_past_pack(
    struct fb_packer *packer, const struct fb_hint_pack *pack);
bool fb_packer_past_chunk(struct fb_packer *packer, uint32_t pack,
    uint32_t chunk, uint64_t prefix);
struct fb_repo *fb_packer_repo(struct fb_packer *packer);
/* How many have numbers; those from `first` on are not to be used. */
uint32_t fb_packer_pack_count(const struct fb_packer *packer);
void fb_packer_drop_packs(struct fb_packer *packer, uint32_t first);

/* Where the chunk is stored; *ret_found says whether it is.  In a pack of
 * another domain it has another id, which *id becomes then. */
FB_MUST_USE int fb_packer_find(struct fb_packer *packer,
    struct fb_digest *id, struct fb_place *ret_place, bool *ret_found,
    struct fb_error *err);

/*
 * The number of a pack that an earlier run's recipe names, to be used again:
 * it is not being deleted, and it is there as the recipe has it.  From any
 * thread.  Errors: FB_ENOTFOUND, FB_ECORRUPT (E-PACK-TABLE); FB_EUNSUP when
 * there are too many.
 */
FB_MUST_USE int fb_packer_adopt(struct fb_packer *packer,
    const struct fb_recipe_pack *pack, uint32_t *ret_number,
    struct fb_error *err);

/* The lane whose open pack is meant from now on by the next three; at first
 * it is 0. */
void fb_packer_select(struct fb_packer *packer, unsigned lane);

/* Append a frame of chunk->stored_length bytes to the open pack; in an
 * encrypted repository it is encrypted where it lies, and stays there until
 * its digest is made, which is fb_packer_settle_frames(). */
FB_MUST_USE int fb_packer_append(struct fb_packer *packer,
    struct fb_pack_chunk *chunk, uint8_t *frame, struct fb_place *ret_place,
    struct fb_error *err);
void fb_packer_settle_frames(struct fb_packer *packer);
/* Of what comes from the spool: take it away. */
FB_MUST_USE int fb_sealed_pack_remove(
    const struct fb_sealed_pack *sealed, struct fb_error *err);
/* Stored bytes of the open pack; 0: there is none. */
uint64_t fb_packer_open_bytes(const struct fb_packer *packer);

/* The run's own, lasting number of a pack. */
FB_MUST_USE int fb_packer_local(struct fb_packer *packer, uint32_t pack,
    uint32_t *ret_local, struct fb_error *err);
uint32_t fb_packer_local_count(const struct fb_packer *packer);
/* What a recipe says about it; FB_EBUG while it is open. */
FB_MUST_USE int fb_packer_recipe_pack(struct fb_packer *packer,
    uint32_t local, struct fb_recipe_pack *ret_pack, struct fb_error *err);

/* Write the open pack's table and close it; nothing is synced. */
FB_MUST_USE int fb_packer_seal(struct fb_packer *packer,
    struct fb_sealed_pack *ret_sealed, struct fb_error *err);
void fb_sealed_pack_release(struct fb_sealed_pack *sealed);

/* Make everything durable but sealed packs, and describe it; the value is
 * the caller's. */
FB_MUST_USE int fb_packer_state(
    struct fb_packer *packer, json_t **ret_state, struct fb_error *err);

/* Whether in that state the pack of that lasting number was open. */
bool fb_packer_state_opens(const json_t *state, uint64_t local);

/* A file was made in the spool directory: the next state makes its name
 * durable too. */
void fb_packer_new_name(struct fb_packer *packer);

/* The spooled hints of this run; nothing is synced. */
FB_MUST_USE int fb_packer_hints(struct fb_packer *packer,
    const char **ret_path, uint64_t *ret_size, struct fb_error *err);

#endif
