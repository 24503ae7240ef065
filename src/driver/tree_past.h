/* What an earlier run has of a tree: which members need not be read. */
#ifndef FB_DRIVER_TREE_PAST_H
#define FB_DRIVER_TREE_PAST_H

#include "fleetbak/driver/artifact.h"

#include "tree_internal.h"

struct fb_tree_past {
	const struct fb_sink *sink;
	const struct fb_entry *entry; /* the next one; NULL: no more */
	struct fb_buf path;           /* of it */
	bool begun;
	bool any_dev; /* the file system has no lasting device number */
	uint64_t from, length; /* what is the same, and was not said yet */
};

void fb_tree_past_begin(struct fb_tree_past *past, const char *root,
    const struct fb_sink *sink);
void fb_tree_past_release(struct fb_tree_past *past);

/*
 * The entry that the earlier run has of this very node, by all that its
 * metadata say, or NULL: then it is read.  `type` is what it would be now;
 * `target`: of a hard link, else NULL.  Nodes come in the order of a walk.
 * Borrowed until the next call.
 */
FB_MUST_USE int fb_tree_past_find(struct fb_tree_past *past,
    const struct fb_tree_node *node, enum fb_entry_type type,
    const char *target, const struct fb_entry **ret_entry,
    struct fb_error *err);

/* The member comes next as it is there; said to the sink in long ranges. */
FB_MUST_USE int fb_tree_past_take(struct fb_tree_past *past,
    const struct fb_entry *entry, struct fb_error *err);
/* Say what was not said yet. */
FB_MUST_USE int fb_tree_past_flush(
    struct fb_tree_past *past, struct fb_error *err);

#endif
