/*
 * Directory trees as pax archives, by libarchive.
 *
 * Kept: type, mode, uid/gid and their names, mtime to the nanosecond, xattrs,
 * POSIX ACLs, hard links, holes, devices, fifos, any file name.  Sockets are
 * listed in the catalogue only.  Other file systems mounted inside are not
 * entered.  Everything is done relative to directory descriptors; symbolic
 * links are never followed.
 */
#ifndef FB_DRIVER_TREE_H
#define FB_DRIVER_TREE_H

#include "fleetbak/driver/artifact.h"

struct fb_error;

/*
 * Write the tree at `root` into `sink`, members in order of path: parents
 * first, the names of each directory bytewise, what is in a directory right
 * after it.  The root itself is the first member, ".".
 *
 * `exclude` (ends with NULL, may be NULL) are fnmatch(3) patterns: with a
 * slash against the whole relative path, without against the last part; an
 * excluded directory is not entered.  A file that changes or vanishes while
 * it is read is padded or left out and reported by sink->warn.
 * Errors: FB_ENOTFOUND, FB_EDENIED, FB_ESYS; what the sink returned.
 */
FB_MUST_USE int fb_tree_pack(const char *root, const char *const *exclude,
    const struct fb_sink *sink, struct fb_error *err);

/* The same for a chosen list of paths relative to `root` (a definition). */
FB_MUST_USE int fb_tree_pack_files(const char *root,
    const char *const *paths, const struct fb_sink *sink,
    struct fb_error *err);

/*
 * Visit every path below `root` that fb_tree_pack() would archive, without
 * reading contents: what a mirroring restore compares with the archive.
 * In no order.
 */
typedef int fb_tree_visit(void *arg, const char *path, struct fb_error *err);
FB_MUST_USE int fb_tree_list(const char *root, const char *const *exclude,
    fb_tree_visit *visit, void *arg, struct fb_error *err);

struct fb_tree_options {
	bool mirror; /* make it equal: remove what the archive lacks (but not
	              * what `exclude` matches), rewrite only what differs;
	              * the members must come in fb_tree_pack's order */
	bool keep_extra; /* with mirror: remove nothing */
	const char *const *exclude;
	const char *const *only; /* paths to extract (with what lies below),
	                          * ends with NULL; NULL: all */
	bool owners; /* set owners, devices, trusted xattrs: as root */
	/* Called for each path that mirror removes, before it does; and for
	 * whatever could not be set exactly. */
	void (*report)(void *arg, const char *path, const char *what);
	void *report_arg;
};

struct fb_tree_stats {
	uint64_t entries, written_bytes, unchanged_bytes, removed;
};

/*
 * Extract an archive below the existing directory `root`.  Names that would
 * leave it (absolute, "..", through a symbolic link) are refused:
 * FB_ECORRUPT, id E-TREE-ESCAPE, and nothing of that member is written.
 * The archive is read to its end.
 */
FB_MUST_USE int fb_tree_unpack(const char *root, const struct fb_pull *pull,
    const struct fb_tree_options *options, struct fb_tree_stats *ret_stats,
    struct fb_error *err);

#endif
