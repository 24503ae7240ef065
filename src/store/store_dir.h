/*
 * A store in a directory: what its readers (store_dir.c) and its writers
 * (store_dir_put.c) share.
 */
#ifndef FB_SRC_STORE_STORE_DIR_H
#define FB_SRC_STORE_STORE_DIR_H

#include <pthread.h>
#include <sys/types.h>

#include "fleetbak/base/attr.h"
#include "stores.h"

struct dir_store {
	struct fb_store base;
	int root_fd;
	char *root;
	mode_t umask;
	pthread_mutex_t lock; /* guards the two below */
	char **settled;       /* directories whose own entry is synced */
	size_t settled_count;
};

/* The directory of a key's last part, which is `leaf`. */
struct place {
	int dir_fd;
	const char *leaf;
	const char *root; /* `root`/`key` for messages */
	const char *key;
};
#define AUTO_PLACE FB_CLEANUP(fb_dir_place_release)

/* All-empty: .dir_fd = -1. */
void fb_dir_place_release(struct place *place);

/* Find it without following symbolic links; FB_ENOTFOUND when a directory is
 * missing, or, with `make`, make it durably. */
int fb_dir_place(struct dir_store *dir, const char *key, bool make,
    struct place *place, struct fb_error *err);

/* Open the object; FB_ENOTFOUND, or FB_ECORRUPT when it is not a file. */
int fb_dir_open_object(
    const struct place *place, uint64_t *ret_size, struct fb_error *err);

int fb_dir_create(struct fb_store *store, const char *key, struct fb_span bytes,
    struct fb_error *err);
int fb_dir_create_file(struct fb_store *store, const char *key,
    const char *path, uint64_t size, struct fb_error *err);
int fb_dir_replace(struct fb_store *store, const char *key,
    struct fb_span bytes, const char *tag, struct fb_error *err);

/* SHA-256 of an open object as its tag. */
int fb_dir_tag(
    int fd, const char *key, char tag[FB_STORE_TAG_SIZE], struct fb_error *err);

#endif
