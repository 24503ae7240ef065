/*
 * What packing and unpacking share: walking a tree by descriptors, patterns,
 * and metadata between a file and an archive entry.
 */
#ifndef FB_DRIVER_TREE_INTERNAL_H
#define FB_DRIVER_TREE_INTERNAL_H

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fleetbak/base/buf.h"

struct fb_error;

/* What changed less than this before it was read may change once more within
 * the same tick of its file system's clock; 2 s is the coarsest (FAT). */
#define FB_TREE_RACY_NS INT64_C(2000000000)

/* Longest path inside a tree that is kept. */
#define FB_TREE_PATH_MAX 4096

/* Most bytes of one extended attribute, and of the list of their names: the
 * kernel's own limits. */
#define FB_XATTR_MAX 65536

/* ------------------------------------------------------------- names */

/* The names in a directory, in bytewise order; all-zero is none. */
struct fb_names {
	char *bytes;
	size_t used, room;
	size_t *at; /* where each one starts in `bytes` */
	size_t count, at_room;
};
/* Does this errno tell of a want of ours, and nothing of the file?  Then the
 * file is not left out with a warning: it may well be whole. */
bool fb_tree_is_our_want(int sys);

FB_MUST_USE int fb_names_read(int dirfd, struct fb_names *names);
bool fb_names_have(const struct fb_names *names, const char *name);
void fb_names_release(struct fb_names *names);
#define FB_AUTO_NAMES FB_CLEANUP(fb_names_release)

/* Add a name that sorts after those already there. */
void fb_names_add(struct fb_names *names, const char *name);

bool fb_tree_excluded(const char *const *patterns, const char *path);

/* Bytewise order of paths, part by part: a directory is followed by what is
 * in it, before any other name. */
int fb_tree_path_cmp(const char *a, const char *b);

/*
 * Put this thread into the C locale and return the one before, for
 * uselocale(3).  There libarchive takes names that are not ASCII as bytes, in
 * both directions; in another locale it would convert them, and even in a
 * UTF-8 one normalise them.
 */
locale_t fb_tree_locale_enter(void);

/* -------------------------------------------------------------- walk */

struct fb_tree_node {
	const char *path; /* relative to the root; "." is the root itself */
	const char *name; /* its last part, relative to dirfd */
	int dirfd;
	int fd; /* of directories, -1 when it could not be entered */
	struct stat st;
};

struct fb_tree_walk {
	const char *const *exclude;
	int (*visit)(void *arg, const struct fb_tree_node *node,
	    struct fb_error *err);
	void (*warn)(void *arg, const char *path, const char *what);
	void *arg;
};

/* Visit the root and what is below it, parents first, in order of path. */
FB_MUST_USE int fb_tree_walk(
    const char *root, const struct fb_tree_walk *walk, struct fb_error *err);

/* ---------------------------------------------------------- metadata */

/* Tell the entry where the holes of the open file are. */
void fb_tree_map_holes(struct archive_entry *entry, int fd, uint64_t size);

typedef void fb_tree_note(void *arg, const char *what);

/*
 * Read extended attributes and ACLs into `entry`: of the open `fd`, or, when
 * it is -1, of `name` in `dirfd`, not following it.
 */
void fb_tree_meta_read(int fd, int dirfd, const char *name,
    struct archive_entry *entry, fb_tree_note *note, void *arg);

/*
 * Make the attributes and ACLs of a file those of `entry`, removing others.
 * `fd` may be an O_PATH descriptor, unless it is `opened`.  Unless `owners`,
 * only those that any user may set.
 */
void fb_tree_meta_write(int fd, bool opened, struct archive_entry *entry,
    bool owners, fb_tree_note *note, void *arg);

/* The path of an archive's member, "./a/b/" as "a/b", "" as "."; not checked,
 * and the caller's. */
char *fb_tree_plain_path(const char *raw);

#endif
