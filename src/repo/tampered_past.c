/* The versions of an object, and bringing one back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/register.h"

#include "tampered_impl.h"

#define STEP ((size_t)1 << 20)

void
past_release(struct past *past)
{
	for (size_t i = 0; i < past->count; i++)
		free(past->items[i].id);
	free(past->items);
	free(past->key);
	*past = (struct past){ 0 };
}

void
past_add(struct past *past, const struct fb_store_version *version)
{
	if (past->key == NULL)
		past->key = fb_strdup(version->key);
	past->items =
	    fb_realloc(past->items, past->count + 1, sizeof(*past->items));
	past->items[past->count++] = (struct past_version){
		.id = fb_strdup(version->id),
		.size = version->size,
		.time_ns = version->time_ns,
		.removed = version->removed,
	};
}

static size_t
count_bodies(const struct past *past)
{
	size_t bodies = 0;

	for (size_t i = 0; i < past->count; i++)
		bodies += !past->items[i].removed;
	return bodies;
}

bool
past_is_suspect(const struct past *past)
{
	size_t bodies = count_bodies(past);

	return bodies > 1 || (bodies == 1 && past->items[0].removed);
}

int
past_digest(struct fb_store *store, const char *key,
    const struct past_version *version, struct fb_digest *ret_digest,
    struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(STEP, 1);
	int rc = FB_OK;

	for (uint64_t done = 0; rc == FB_OK && done < version->size;) {
		size_t len = version->size - done < STEP
		    ? (size_t)(version->size - done)
		    : STEP;

		rc = fb_store_read_version(
		    store, key, version->id, done, bytes, len, err);
		fb_digester_add(digester, (struct fb_span){ bytes, len });
		done += len;
	}
	fb_digester_peek(digester, ret_digest);
	return rc;
}

int
past_read(struct fb_store *store, const char *key,
    const struct past_version *version, size_t max, struct fb_buf *dst,
    struct fb_error *err)
{
	int rc = FB_OK;

	if (version->size > max)
		return fb_fail(err, FB_ECORRUPT,
		    "a version of '%s' is larger than %zu bytes", key, max);
	for (uint64_t done = 0; rc == FB_OK && done < version->size;) {
		size_t len = version->size - done < STEP
		    ? (size_t)(version->size - done)
		    : STEP;
		uint8_t *bytes = fb_buf_reserve(dst, len);

		rc = fb_store_read_version(
		    store, key, version->id, done, bytes, len, err);
		if (rc == FB_OK) {
			dst->len += len;
			dst->data[dst->len] = '\0';
		}
		done += len;
	}
	return rc;
}

struct loading {
	const char *key;
	struct past *past;
};

static int
load_version(
    const struct fb_store_version *version, void *arg, struct fb_error *err)
{
	struct loading *loading = arg;

	(void)err;
	if (strcmp(version->key, loading->key) == 0)
		past_add(loading->past, version);
	return FB_OK;
}

int
past_load(struct fb_store *store, const char *key, struct past *past,
    struct fb_error *err)
{
	struct loading loading = { key, past };

	return fb_store_versions(store, key, load_version, &loading, err);
}

int
past_find(struct fb_store *store, const struct past *past,
    const struct fb_digest *want, bool trusting,
    const struct past_version **ret_good, bool *ret_now, struct fb_error *err)
{
	bool alone = count_bodies(past) == 1;

	*ret_good = NULL;
	*ret_now = false;
	for (size_t i = past->count; i-- > 0;) {
		const struct past_version *version = &past->items[i];
		struct fb_digest digest;
		int rc = FB_OK;

		/* Of those between the first good one and what a get finds
		 * nothing needs to be known. */
		if (version->removed || (*ret_good != NULL && i > 0))
			continue;
		if (!(trusting && alone))
			rc = past_digest(
			    store, past->key, version, &digest, err);
		else
			digest = *want;
		if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT)
			continue;
		if (rc < 0)
			return rc;
		if (fb_digest_cmp(&digest, want) != 0)
			continue;
		*ret_now = *ret_now || i == 0;
		if (*ret_good == NULL)
			*ret_good = version;
	}
	return FB_OK;
}

int
past_read_right(struct fb_repo *repo, const char *key, const struct fb_digest *want,
    struct fb_buf *dst, struct fb_error *err)
{
	FB_CLEANUP(past_release) struct past past = { 0 };
	const struct past_version *good = NULL;
	struct fb_digest digest;
	bool now;
	int rc = fb_store_get(repo->store, key, FB_SUMS_MAX, dst, NULL, err);

	if (rc == FB_OK) {
		fb_digest_of(fb_buf_span(dst), &digest);
		if (fb_digest_cmp(&digest, want) == 0)
			return FB_OK;
	} else if (rc != FB_ENOTFOUND && rc != FB_ECORRUPT) {
		return rc;
	}
	fb_buf_clear(dst);
	rc = past_load(repo->store, key, &past, err);
	if (rc == FB_OK)
		rc = past_find(
		    repo->store, &past, want, false, &good, &now, err);
	if (rc == FB_OK && good == NULL)
		rc = fb_fail(err, FB_ENOTFOUND, "no version is right");
	return rc < 0
	    ? rc
	    : past_read(repo->store, key, good, FB_SUMS_MAX, dst, err);
}

void
past_tell(const struct past *past, const struct past_version *good,
    const struct fb_digest *want, const char *run,
    struct fb_tampered_list *list)
{
	struct fb_tampered *tampered;

	list->items =
	    fb_realloc(list->items, list->count + 1, sizeof(*list->items));
	tampered = &list->items[list->count++];
	*tampered = (struct fb_tampered){
		.how = past->items[0].removed ? FB_TAMPER_DELETED
		                              : FB_TAMPER_REPLACED,
		.when_ns = past->items[0].time_ns,
		.want = *want,
	};
	(void)snprintf(tampered->key, sizeof(tampered->key), "%s", past->key);
	(void)snprintf(tampered->run, sizeof(tampered->run), "%s", run);
	if (good == NULL)
		return;
	tampered->good = fb_strdup(good->id);
	tampered->good_ns = good->time_ns;
	tampered->good_size = good->size;
}

int
past_report(struct fb_store *store, const struct past *past,
    const struct fb_digest *want, bool trusting, const char *run,
    struct fb_tampered_list *list, struct fb_error *err)
{
	const struct past_version *good = NULL;
	bool now = false;
	int rc = past_find(store, past, want, trusting, &good, &now, err);

	if (rc == FB_OK && !now)
		past_tell(past, good, want, run, list);
	return rc;
}

int
past_judge_first(struct fb_repo *repo, const struct past *past,
    const char *run, struct fb_tampered_list *list, struct fb_error *err)
{
	size_t first = past->count;
	struct fb_digest want = { 0 };
	int rc;

	while (first-- > 0 && past->items[first].removed)
		;
	rc = past_digest(
	    repo->store, past->key, &past->items[first], &want, err);
	/* Its bytes are not given out: none of the others is known to be
	 * right. */
	if (rc == FB_ECORRUPT || rc == FB_ENOTFOUND) {
		want = (struct fb_digest){ 0 };
		rc = FB_OK;
	}
	return rc < 0 ? rc
	              : past_report(repo->store, past, &want, false, run, list,
	                    err);
}

void
fb_tampered_release(struct fb_tampered_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].good);
	free(list->items);
	*list = (struct fb_tampered_list){ 0 };
}

static int
fail_none(const char *key, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECORRUPT, "E-VERSION-NONE",
	    "no version of '%s' that is kept is the right one", key);
	return fb_hint(
	    err, "fleetbak verify tells whom that harms; a copy may have it");
}

/* What is replaced may have been replaced since it was looked at. */
static int
mend_current(
    struct fb_store *store, const struct past *past, struct fb_error *err)
{
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	int rc = past_judge_current(store, past, &list, err);

	return rc < 0 || list.count == 0
	    ? rc
	    : fb_store_bring_back(store, past->key, list.items[0].good, err);
}

int
fb_tampered_mend(struct fb_store *store, const struct fb_tampered *tampered,
    struct fb_error *err)
{
	FB_CLEANUP(past_release) struct past past = { 0 };
	const struct past_version *good = NULL;
	bool now = false;
	int rc = past_load(store, tampered->key, &past, err);

	if (rc == FB_OK && strcmp(tampered->key, "gc/current") == 0)
		return mend_current(store, &past, err);
	if (rc == FB_OK)
		rc = past_find(
		    store, &past, &tampered->want, false, &good, &now, err);
	if (rc < 0 || now)
		return rc;
	return good == NULL
	    ? fail_none(tampered->key, err)
	    : fb_store_bring_back(store, tampered->key, good->id, err);
}

int
fb_tampered_fail(const struct fb_tampered *tampered, struct fb_error *err)
{
	char when[FB_TIME_SIZE], then[FB_TIME_SIZE];
	bool deleted = tampered->how == FB_TAMPER_DELETED;

	fb_time_format(tampered->when_ns, when);
	fb_time_format(tampered->good_ns, then);
	if (tampered->good == NULL) {
		(void)fb_fail_id(err, FB_ECORRUPT,
		    deleted ? "E-VERSION-DELETED" : "E-VERSION-REPLACED",
		    "it was %s at %s, and no version that is kept is right",
		    deleted ? "deleted" : "overwritten", when);
		return fb_hint(err, "a copy of the repository may have it");
	}
	(void)fb_fail_id(err, FB_ECORRUPT,
	    deleted ? "E-VERSION-DELETED" : "E-VERSION-REPLACED",
	    "it was %s at %s; the version of %s (%.40s) is good",
	    deleted ? "deleted" : "overwritten", when, then, tampered->good);
	return fb_hint(err,
	    "find out who did it and change that key; then: fleetbak doctor "
	    "--fix");
}
