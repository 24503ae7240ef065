/*
 * How each kind of store is opened: what follows the scheme of its URL.
 * Used by the registry in store.c alone.
 */
#ifndef FB_SRC_STORE_STORES_H
#define FB_SRC_STORE_STORES_H

#include <stdbool.h>

#include "fleetbak/store/store.h"

/* The rules of store.h; what is no key is no object. */
bool fb_store_key_ok(const char *key);

/* Open the file that is to become an object of `size` bytes.  Returns the
 * descriptor; FB_ECORRUPT when it is no file, or not as long as that. */
int fb_store_open_source(
    const char *path, uint64_t size, struct fb_error *err);

int fb_store_dir_open(const char *path, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err);
int fb_store_s3_open(const char *rest, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err);
int fb_store_mem_open(const char *rest, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err);

#endif
