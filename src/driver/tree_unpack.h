/* An archive being unpacked: shared by tree_unpack.c and tree_place.c. */
#ifndef FB_DRIVER_TREE_UNPACK_H
#define FB_DRIVER_TREE_UNPACK_H

#include "fleetbak/base/err.h"
#include "fleetbak/driver/tree.h"
#include "tree_internal.h"
#include "tree_seen.h"

/* Of a directory, until its members are there. */
#define FB_UNPACK_DIR_MODE 0700

/* A directory whose members are coming: its own metadata is set after them,
 * for they change its times. */
struct fb_unpack_frame {
	char *path;
	struct archive_entry *entry;
	struct fb_names seen; /* with mirror: what the archive has here */
};

struct fb_unpacker {
	const struct fb_tree_options *options;
	struct fb_tree_stats stats;
	const struct fb_pull *pull;
	struct archive *archive;
	int root;
	dev_t dev;               /* of the root: others are not ours */
	bool ended;              /* `pull` has no more */
	int rc;                  /* what `pull` said ... */
	struct fb_error failure; /* ... and why */
	size_t zeros;            /* at the end of what was pulled so far */
	struct fb_tree_links kept; /* files with more names to come */
	char *path;              /* of the member at hand */
	char *last;              /* of the one before, with mirror */
	int parent;              /* where it goes, -1: not open */
	char *parent_path;
	struct fb_unpack_frame *frames;
	size_t depth, room;
};

void fb_unpack_report(
    struct fb_unpacker *u, const char *path, const char *what);
void fb_unpack_report_sys(
    struct fb_unpacker *u, const char *path, const char *what);

/* The member at hand leads outside: FB_ECORRUPT, E-TREE-ESCAPE. */
int fb_unpack_refuse(
    struct fb_unpacker *u, const char *why, struct fb_error *err);

size_t fb_unpack_parent_len(const char *path);
const char *fb_unpack_base(const char *path);

/* Open the directory `path` of `len` bytes, part by part; -1 with errno. */
int fb_unpack_walk(
    struct fb_unpacker *u, const char *path, size_t len, bool make);

/* Open (and remember) the directory that holds the member at hand. */
FB_MUST_USE int fb_unpack_parent(struct fb_unpacker *u, struct fb_error *err);
void fb_unpack_forget_parent(struct fb_unpacker *u);

/*
 * Remove what is at `path` (`name` in `dirfd`), a directory with what is in
 * it, telling each.  What is excluded or mounted stays, and so do the
 * directories that hold it.
 */
FB_MUST_USE int fb_unpack_remove(struct fb_unpacker *u, int dirfd,
    const char *name, const char *path, unsigned depth, struct fb_error *err);

/* Make room for the member at hand, which replaces what is there. */
FB_MUST_USE int fb_unpack_clear(
    struct fb_unpacker *u, const char *name, struct fb_error *err);

#endif
