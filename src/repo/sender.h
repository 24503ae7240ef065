/*
 * Threads that put sealed packs into the store, one or, where the store takes
 * more at once, some of them, while the next ones are being filled; then the
 * state that goes with them is journaled, in the order the packs came.  After
 * a failure nothing more is taken or journaled.
 */
#ifndef REPO_DATA_SENDER_H
#define REPO_DATA_SENDER_H

#include "fleetbak/repo/copier.h"

#include "packer.h"

struct fb_sender;

/* What is journaled once the pack is stored. */
typedef int fb_checkpoint(void *arg, const json_t *state, struct fb_error *err);

struct fb_sender_spec {
	struct fb_store *store;
	struct fb_rate *upload;   /* NULL: no limit */
	const atomic_bool *hurry; /* set: no limit any more; may be NULL */
	fb_checkpoint *checkpoint;
	void *arg;
};

struct fb_sender *fb_sender_new(const struct fb_sender_spec *spec);
void fb_sender_free(struct fb_sender *sender); /* waits */

/* Wait until fewer packs are under way than there are threads, then take this
 * one over, with the state, or NULL: it comes with a later pack, before as
 * many more as there are lanes.  Errors: those of earlier packs too. */
FB_MUST_USE int fb_sender_put(struct fb_sender *sender,
    struct fb_sealed_pack *pack, json_t *state, struct fb_error *err);

/* Wait until everything is stored and journaled. */
FB_MUST_USE int fb_sender_wait(struct fb_sender *sender, struct fb_error *err);

/* Journal a state that needs no pack; fb_sender_wait() came before. */
FB_MUST_USE int fb_sender_journal(
    struct fb_sender *sender, const json_t *state, struct fb_error *err);

#endif
