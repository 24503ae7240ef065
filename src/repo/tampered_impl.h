/* What finding and mending share.  Private to src/repo. */
#ifndef FB_REPO_TAMPERED_IMPL_H
#define FB_REPO_TAMPERED_IMPL_H

#include "fleetbak/format/id_set.h"
#include "fleetbak/repo/tampered.h"

struct past_version {
	char *id;
	uint64_t size;
	int64_t time_ns;
	bool removed;
};

/* An object with a past: its versions, newest first. */
struct past {
	char *key;
	struct past_version *items;
	size_t count;
};
void past_release(struct past *past);
void past_add(struct past *past, const struct fb_store_version *version);

/* Is the newest a mark, or is there more than one that is none? */
bool past_is_suspect(const struct past *past);

/* Digest of a version's bytes; append them, if they are no more than `max`. */
int past_digest(struct fb_store *store, const char *key,
    const struct past_version *version, struct fb_digest *ret_digest,
    struct fb_error *err);
int past_read(struct fb_store *store, const char *key,
    const struct past_version *version, size_t max, struct fb_buf *dst,
    struct fb_error *err);

/* All versions of one object. */
int past_load(struct fb_store *store, const char *key, struct past *past,
    struct fb_error *err);

/* What a get finds, if it has the digest, else the version that has. */
int past_read_right(struct fb_repo *repo, const char *key,
    const struct fb_digest *want, struct fb_buf *dst, struct fb_error *err);

/* The oldest version with this digest; NULL: none.  *ret_now: it is what a
 * get finds.  With `trusting` the one version there is is not read. */
int past_find(struct fb_store *store, const struct past *past,
    const struct fb_digest *want, bool trusting,
    const struct past_version **ret_good, bool *ret_now,
    struct fb_error *err);

/* Report it; good NULL: no version is right. */
void past_tell(const struct past *past, const struct past_version *good,
    const struct fb_digest *want, const char *run,
    struct fb_tampered_list *list);

/* The same, unless what a get finds has the digest. */
int past_report(struct fb_store *store, const struct past *past,
    const struct fb_digest *want, bool trusting, const char *run,
    struct fb_tampered_list *list, struct fb_error *err);

/* Made once: the first version is the one. */
int past_judge_first(struct fb_repo *repo, const struct past *past,
    const char *run, struct fb_tampered_list *list, struct fb_error *err);

/* tampered_state.c: a hold of a run that is kept; gc/current; a set of it; a
 * session that was not ended; an attestation, with what is known of packs that
 * were deleted (mark 1: needed). */
int past_judge_hold(struct fb_repo *repo, const struct past *past,
    const char *session, const char *run, struct fb_tampered_list *list,
    struct fb_error *err);
int past_judge_current(struct fb_store *store, const struct past *past,
    struct fb_tampered_list *list, struct fb_error *err);
int past_judge_set(struct fb_repo *repo, const struct past *past,
    const struct fb_digest *id, struct fb_tampered_list *list,
    struct fb_error *err);
int past_judge_session(struct fb_repo *repo, const struct past *past,
    const char *session, struct fb_tampered_list *list, struct fb_error *err);
int past_judge_attest(struct fb_repo *repo, const struct past *past,
    const struct fb_id_set *packs, struct fb_tampered_list *list,
    struct fb_error *err);

/* tampered_shared.c: which shared runs are closed, and which of their leases
 * have an end, or had. */
struct past_marks {
	char **keys;
	size_t count;
};
void past_marks_note(struct past_marks *marks, const struct past *past);
void past_marks_release(struct past_marks *marks);
/* Of a shared run: what workers tell each other. */
int past_judge_shared(struct fb_repo *repo, const struct past *past,
    const struct past_marks *marks, struct fb_tampered_list *list,
    struct fb_error *err);

#endif
