/* What is remembered of a tree that is walked: links and account names. */
#ifndef FB_DRIVER_TREE_SEEN_H
#define FB_DRIVER_TREE_SEEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define FB_TREE_OWNER_SLOTS 64
#define FB_TREE_LINK_SLOTS  1024u

/* A file with several names. */
struct fb_tree_link {
	struct fb_tree_link *next;
	dev_t dev;
	ino_t ino;
	nlink_t left; /* names not met yet */
	char *path;   /* the first one */
};

/* All-zero is empty. */
struct fb_tree_links {
	struct fb_tree_link *slots[FB_TREE_LINK_SLOTS];
};

/* The first name of this inode, or NULL: then `path` is the first. */
struct fb_tree_link *fb_tree_link_find(struct fb_tree_links *links,
    const struct stat *st, const char *path);

/* The same without making one. */
struct fb_tree_link *fb_tree_link_get(
    const struct fb_tree_links *links, const struct stat *st);

/* One more name of it was met; when all have been, it is forgotten. */
void fb_tree_link_count(
    struct fb_tree_links *links, struct fb_tree_link *link);

/* Its first name was left out: the next one is the file. */
void fb_tree_link_forget(struct fb_tree_links *links, const struct stat *st);
void fb_tree_links_release(struct fb_tree_links *links);

struct fb_tree_owner {
	bool used;
	uint32_t id;
	char name[64];
};

/* All-zero is empty. */
struct fb_tree_owners {
	struct fb_tree_owner users[FB_TREE_OWNER_SLOTS];
	struct fb_tree_owner groups[FB_TREE_OWNER_SLOTS];
};

/* The name of an account, "" when it has none; good until the next call. */
const char *fb_tree_owner(
    struct fb_tree_owners *owners, uint32_t id, bool group);

#endif
