/*
 * What some places do besides keeping objects: they lock them against
 * deletion for a time, and they keep what was overwritten or deleted, as
 * versions.  A place that does neither, as a directory or memory, answers that
 * nothing is locked and that there are no versions.
 *
 * Threads: any, as for the rest of a store.
 */
#ifndef FB_STORE_VERSIONS_H
#define FB_STORE_VERSIONS_H

#include "fleetbak/store/store.h"

#define FB_STORE_VERSION_SIZE 1025

/* A version of an object, or the mark of its removal.  Borrowed for the
 * visit. */
struct fb_store_version {
	const char *key;
	const char *id;  /* by which the place knows it */
	uint64_t size;
	int64_t time_ns; /* by the place's clock; 0: it does not say */
	bool latest;     /* what a get finds */
	bool removed;    /* a mark: from then on there is no object */
};
typedef int fb_store_visit_version(const struct fb_store_version *version,
    void *arg, struct fb_error *err);

/* What a store implements whose place locks, or keeps versions.  Only
 * versions.c calls through this table. */
struct fb_store_past_ops {
	bool (*locks)(struct fb_store *);
	int (*locked)(struct fb_store *, const char *key, uint64_t *ret_size,
	    int64_t *ret_until_ns, struct fb_error *);
	int (*extend)(struct fb_store *, const char *key, int64_t until_ns,
	    struct fb_error *);
	int (*versions)(struct fb_store *, const char *prefix,
	    fb_store_visit_version *, void *arg, struct fb_error *);
	int (*read)(struct fb_store *, const char *key, const char *id,
	    uint64_t offset, void *bytes, size_t len, struct fb_error *);
	int (*bring_back)(struct fb_store *, const char *key, const char *id,
	    struct fb_error *);
};

/* May an object be locked there?  False: no need to ask for each. */
bool fb_store_locks(struct fb_store *store);

/* Size of an object, and until when it cannot be deleted: by the place's own
 * clock, 0 when it can be now, INT64_MAX when there is no end to it.
 * FB_ENOTFOUND. */
FB_MUST_USE int fb_store_locked(struct fb_store *store, const char *key,
    uint64_t *ret_size, int64_t *ret_until_ns, struct fb_error *err);

/* Lock an object for longer, in the mode of the store's options, or that of
 * its place.  FB_EUNSUP: nothing is locked there. */
FB_MUST_USE int fb_store_extend(struct fb_store *store, const char *key,
    int64_t until_ns, struct fb_error *err);

/* Visit the versions of all keys with the prefix: the keys sorted, of each the
 * newest first. */
FB_MUST_USE int fb_store_versions(struct fb_store *store, const char *prefix,
    fb_store_visit_version *visit, void *arg, struct fb_error *err);

/* Read exactly `len` bytes of a version; FB_ENOTFOUND, FB_ECORRUPT. */
FB_MUST_USE int fb_store_read_version(struct fb_store *store, const char *key,
    const char *id, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err);

/* Make a version what a get finds: what was put over it stays as a version,
 * marks of removal go.  FB_ENOTFOUND. */
FB_MUST_USE int fb_store_bring_back(struct fb_store *store, const char *key,
    const char *id, struct fb_error *err);

#endif
