/* Locks and versions: keys and answers checked, seam passed, errors wrapped. */
#include "fleetbak/store/versions.h"

#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/seam.h"
#include "stores.h"

static int
check(struct fb_store *store, const char *key, enum fb_step step,
    enum fb_fault *ret_fault, struct fb_error *err)
{
	if (store->ops->past == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "a %s: store knows no locks and no versions",
		    store->ops->scheme);
	if (!fb_store_key_ok(key))
		return fb_fail_id(err, FB_ECONFIG, "E-STORE-KEY",
		    "'%.80s' is not a key of an object", key);
	*ret_fault = fb_seam(step, key);
	return fb_seam_refuse(*ret_fault, err);
}

static int
wrap(int rc, const char *verb, const char *key, struct fb_error *err)
{
	return rc < 0 ? fb_wrap(err, "%s '%.80s'", verb, key) : rc;
}

bool
fb_store_locks(struct fb_store *store)
{
	return store->ops->past != NULL && store->ops->past->locks(store);
}

int
fb_store_locked(struct fb_store *store, const char *key, uint64_t *ret_size,
    int64_t *ret_until_ns, struct fb_error *err)
{
	enum fb_fault fault = FB_FAULT_NONE;
	int rc;

	*ret_until_ns = 0;
	if (store->ops->past == NULL)
		return fb_store_head(store, key, ret_size, err);
	rc = check(store, key, FB_STEP_ASK, &fault, err);
	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    store->ops->past->locked(
		        store, key, ret_size, ret_until_ns, err),
		    err);
	return wrap(rc, "look at the lock of", key, err);
}

int
fb_store_extend(struct fb_store *store, const char *key, int64_t until_ns,
    struct fb_error *err)
{
	enum fb_fault fault = FB_FAULT_NONE;
	int rc = check(store, key, FB_STEP_STORE, &fault, err);

	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    store->ops->past->extend(store, key, until_ns, err), err);
	return wrap(rc, "lock", key, err);
}

/* What a store lists is checked before a caller relies on it. */
struct listing {
	const char *prefix;
	fb_store_visit_version *visit;
	void *arg;
	char last[FB_STORE_KEY_MAX + 1];
	bool stopped; /* by the visitor, whose error it is */
};

static int
check_listed(
    const struct fb_store_version *version, void *arg, struct fb_error *err)
{
	struct listing *listing = arg;
	int rc;

	if (!fb_store_key_ok(version->key) ||
	    strncmp(version->key, listing->prefix, strlen(listing->prefix)) !=
	        0 ||
	    strcmp(version->key, listing->last) < 0 || version->id[0] == '\0' ||
	    strlen(version->id) >= FB_STORE_VERSION_SIZE)
		return fb_fail(err, FB_EPROTO,
		    "the store lists a version of '%.80s' after '%s'",
		    version->key, listing->last);
	memcpy(listing->last, version->key, strlen(version->key) + 1);
	rc = listing->visit(version, listing->arg, err);
	listing->stopped = rc < 0;
	return rc;
}

int
fb_store_versions(struct fb_store *store, const char *prefix,
    fb_store_visit_version *visit, void *arg, struct fb_error *err)
{
	struct listing listing = { prefix, visit, arg, "", false };
	int rc;

	if (store->ops->past == NULL)
		return FB_OK;
	rc = fb_seam_refuse(fb_seam(FB_STEP_ASK, prefix), err);
	if (rc == FB_OK)
		rc = store->ops->past->versions(
		    store, prefix, check_listed, &listing, err);
	return listing.stopped ? rc : wrap(rc, "list versions of", prefix, err);
}

int
fb_store_read_version(struct fb_store *store, const char *key, const char *id,
    uint64_t offset, void *bytes, size_t len, struct fb_error *err)
{
	enum fb_fault fault = FB_FAULT_NONE;
	int rc = check(store, key, FB_STEP_ASK, &fault, err);

	if (rc == FB_OK && len > 0)
		rc = fb_seam_answer(fault,
		    store->ops->past->read(
		        store, key, id, offset, bytes, len, err),
		    err);
	return wrap(rc, "read a version of", key, err);
}

int
fb_store_bring_back(struct fb_store *store, const char *key, const char *id,
    struct fb_error *err)
{
	enum fb_fault fault = FB_FAULT_NONE;
	int rc = check(store, key, FB_STEP_STORE, &fault, err);

	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    store->ops->past->bring_back(store, key, id, err), err);
	return wrap(rc, "bring back", key, err);
}
