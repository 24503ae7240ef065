/*
 * Checkpoints: numbered steps of somebody's own work, each a label and any
 * bytes, of which the newest whole one is found whatever happened in between.
 *
 * They are a directory: a lock, a journal (journal.h) that says which there
 * are, and a file of bytes for each.  A checkpoint counts when the journal has
 * it, which is after its bytes are durable.  Its number is never given again,
 * also not after everything was removed.
 *
 * The verbs are those of cloudeng.io/file/checkpoint, an Operation: init is
 * fb_checkpoints_open(), and the others are named as there.
 * Spec: fleetbak-checkpoint(1), "Files".
 */
#ifndef FB_JOURNAL_CHECKPOINT_H
#define FB_JOURNAL_CHECKPOINT_H

#include <stdatomic.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

struct fb_error;
struct fb_checkpoints;

/* Most bytes of one. */
#define FB_CHECKPOINT_MAX (64u << 20)

struct fb_checkpoint {
	uint64_t id;                 /* 1, 2, 3, ... */
	char label[FB_NAME_MAX + 1]; /* a name, or "" */
	int64_t time_ns;             /* when it was made, by the wall clock */
	uint64_t size;
	struct fb_digest sha256;
};

/* How it all ended. */
enum fb_checkpoints_end { FB_CHECKPOINTS_OPEN, FB_CHECKPOINTS_COMPLETE,
	FB_CHECKPOINTS_CLEARED };

/*
 * Take the directory to change it, waiting `wait_ms` for whoever has it;
 * what is missing of it is made (0700).  A torn tail is cut.
 *
 * Errors: FB_EBUSY (E-LOCKED) naming the holder; FB_ECANCELED; FB_ECORRUPT
 *         (E-JOURNAL, E-CHECKPOINT: there is something else); FB_ETOONEW.
 * Threads: one at a time.
 */
FB_MUST_USE int fb_checkpoints_open(const char *dir, uint64_t wait_ms,
    const atomic_bool *cancel, struct fb_checkpoints **ret,
    struct fb_error *err);

/* The same to look at, without waiting and without changing anything; it shows
 * the moment of the call.  Errors: FB_ENOTFOUND (E-CHECKPOINT-NONE) when none
 * were ever begun there. */
FB_MUST_USE int fb_checkpoints_look(
    const char *dir, struct fb_checkpoints **ret, struct fb_error *err);

void fb_checkpoints_close(struct fb_checkpoints *checkpoints);
void fb_checkpoints_closep(struct fb_checkpoints **checkpoints);
#define FB_AUTO_CHECKPOINTS FB_CLEANUP(fb_checkpoints_closep)

/* Those there are, oldest first; borrowed until the next change. */
const struct fb_checkpoint *fb_checkpoints_list(
    const struct fb_checkpoints *checkpoints, size_t *ret_count);
enum fb_checkpoints_end fb_checkpoints_ended(
    const struct fb_checkpoints *checkpoints);

/*
 * One more: durable on return.  `label` is a name, or "".
 * Errors: FB_ECONFIG (E-NAME; E-CHECKPOINT-SIZE), and nothing happened;
 *         FB_ENOSPACE, FB_ESYS ...: whether it counts is what the next open
 *         finds, and this one takes no more.
 */
FB_MUST_USE int fb_checkpoints_add(struct fb_checkpoints *checkpoints,
    const char *label, struct fb_span bytes, uint64_t *ret_id,
    struct fb_error *err);

/* Remove all but the newest, which keeps its number and, with `label` NULL,
 * its label.  Nothing goes before what stays is durable.  FB_OK when there is
 * none. */
FB_MUST_USE int fb_checkpoints_compact(struct fb_checkpoints *checkpoints,
    const char *label, struct fb_error *err);

/* The work is done (COMPLETE), or given up (CLEARED): remove all. */
FB_MUST_USE int fb_checkpoints_finish(struct fb_checkpoints *checkpoints,
    enum fb_checkpoints_end how, struct fb_error *err);

/*
 * The bytes of checkpoint `id`, or of the newest with 0, appended to `dst`;
 * needs no lock, and goes on while somebody else compacts.
 *
 * Errors: FB_ENOTFOUND (E-CHECKPOINT-NONE); FB_ECORRUPT (E-CHECKPOINT-DATA):
 *         the bytes are missing or are not those that were kept.
 */
FB_MUST_USE int fb_checkpoint_load(const char *dir, uint64_t id,
    struct fb_checkpoint *ret, struct fb_buf *dst, struct fb_error *err);

#endif
