/* Which runs there are, and their checksums. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/repo.h"

#include "smalls.h"

#define KEY_SIZE 96

/* Of a register, the lines before its lists; few have longer ones. */
#define HEAD_SIZE 2048

/* Of SHA256SUMS, what is read at once. */
#define SUMS_SMALL ((size_t)1 << 20)

struct entry {
	struct fb_run_ref ref;
	struct fb_error *damage;
};

struct listing {
	struct fb_repo *repo;
	struct entry *entries;
	size_t count, cap;
	struct fb_forget *forgets;
	size_t forget_count;
};

static void
release_listing(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++) {
		struct fb_predecessor *predecessors =
		    (struct fb_predecessor *)listing->entries[i]
		        .ref.predecessors;

		free(predecessors);
		free(listing->entries[i].damage);
	}
	free(listing->entries);
	free(listing->forgets);
}

/* Decode the lines before a register's lists, of which `head` is all or the
 * beginning. */
static int
read_head(struct fb_repo *repo, const char *key, uint64_t size,
    struct fb_span head, struct fb_register *ret_reg, struct fb_error *err)
{
	size_t len = size < FB_REGISTER_HEAD_MAX ? (size_t)size
	                                         : FB_REGISTER_HEAD_MAX;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_register_decode_head(head, ret_reg, err);

	if (rc == FB_ERETRY && head.len < len) {
		rc = fb_buf_reserve_or_fail(&text, len + 1, err);
		if (rc == FB_OK)
			rc = fb_store_get_range(
			    repo->store, key, 0, text.data, len, err);
		if (rc < 0)
			return rc;
		rc = fb_register_decode_head(
		    (struct fb_span){ text.data, len }, ret_reg, err);
	}
	return rc == FB_ERETRY
	    ? fb_fail(err, FB_ECORRUPT, "commit register: it is cut short")
	    : rc;
}

static struct entry *
add_entry(struct listing *listing)
{
	if (listing->count == listing->cap) {
		listing->cap = listing->cap ? 2 * listing->cap : 16;
		listing->entries = fb_realloc(listing->entries, listing->cap,
		    sizeof(*listing->entries));
	}
	memset(&listing->entries[listing->count], 0,
	    sizeof(*listing->entries));
	return &listing->entries[listing->count++];
}

static void
add_damage(
    struct listing *listing, const char *sid, const struct fb_error *cause)
{
	struct entry *entry = add_entry(listing);

	entry->damage = fb_alloc(1, sizeof(*entry->damage));
	*entry->damage = *cause;
	(void)fb_wrap(entry->damage, "'commits/%s'", sid);
	(void)snprintf(entry->ref.session, sizeof(entry->ref.session), "%s",
	    sid);
	(void)snprintf(entry->ref.run, sizeof(entry->ref.run), "%s", sid);
}

/* A register as a reference; takes over its predecessors. */
static void
add_run(struct listing *listing, struct fb_register *reg)
{
	struct fb_run_ref *ref = &add_entry(listing)->ref;

	memcpy(ref->run, reg->run, sizeof(ref->run));
	memcpy(ref->session, reg->session, sizeof(ref->session));
	memcpy(ref->fleet, reg->fleet, sizeof(ref->fleet));
	memcpy(ref->time, reg->time, sizeof(ref->time));
	memcpy(ref->signer, reg->signer, sizeof(ref->signer));
	memcpy(ref->signature, reg->signature, sizeof(ref->signature));
	ref->shard = reg->shard;
	ref->sums = reg->sums;
	ref->predecessor_count = reg->predecessor_count;
	ref->predecessors = FB_STEAL(reg->predecessors);
}

static int
visit_commit(const char *key, uint64_t size, struct fb_span head, int rc,
    const struct fb_error *why, void *arg, struct fb_error *err)
{
	struct listing *listing = arg;
	const char *sid = key + strlen("commits/");
	struct fb_register reg = { 0 };
	struct fb_error cause = { 0 };

	if (rc < 0)
		cause = *why;
	else
		rc = read_head(listing->repo, key, size, head, &reg, &cause);
	if (rc == FB_OK && strcmp(reg.session, sid) != 0)
		rc = fb_fail(&cause, FB_ECORRUPT,
		    "it is the register of another session");
	if (rc < 0 && rc != FB_ECORRUPT && rc != FB_ENOTFOUND &&
	    rc != FB_ETOONEW) {
		*err = cause; /* the store cannot be read at all */
		return rc;
	}
	if (rc < 0)
		add_damage(listing, sid, &cause);
	else if (!reg.fence)
		add_run(listing, &reg);
	fb_register_release(&reg);
	return FB_OK;
}

/* Only a record that a trusted key signed counts. */
static void
add_forget(struct listing *listing, const char *key, struct fb_span text)
{
	struct fb_error cause = { 0 };
	struct fb_forget forget;
	struct fb_span body;

	if (fb_forget_decode(text, &forget, &body, &cause) < 0 ||
	    strcmp(forget.session, key + strlen("forgets/")) != 0 ||
	    fb_trust_verify(&listing->repo->trust, body,
	        (struct fb_span){ forget.signature, FB_SIGNATURE_LEN }, NULL,
	        &cause) < 0)
		return;
	listing->forgets = fb_realloc(listing->forgets,
	    listing->forget_count + 1, sizeof(*listing->forgets));
	listing->forgets[listing->forget_count++] = forget;
}

static int
take_forget(const char *key, uint64_t size, struct fb_span text, int rc,
    const struct fb_error *why, void *arg, struct fb_error *err)
{
	if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT || size > FB_FORGET_MAX)
		return FB_OK;
	if (rc < 0)
		*err = *why;
	else
		add_forget(arg, key, text);
	return rc;
}

static int
list_forgets(struct listing *listing, struct fb_error *err)
{
	struct fb_repo *repo = listing->repo;

	return fb_smalls_list(repo->smalls, repo->store, "forgets/",
	    FB_FORGET_MAX, take_forget, listing, err);
}

static int
compare_session(const void *session, const void *forget)
{
	return strcmp(session, ((const struct fb_forget *)forget)->session);
}

/* They are listed in the order of their sessions. */
static bool
is_forgotten(const struct listing *listing, const struct fb_run_ref *ref)
{
	const struct fb_forget *forget = listing->forget_count == 0
	    ? NULL
	    : bsearch(ref->session, listing->forgets, listing->forget_count,
	          sizeof(*listing->forgets), compare_session);

	return forget != NULL && strcmp(forget->run, ref->run) == 0 &&
	    fb_digest_cmp(&forget->sums, &ref->sums) == 0;
}

/* Newest first. */
static int
compare_entries(const void *a, const void *b)
{
	const struct fb_run_ref *left = &((const struct entry *)a)->ref;
	const struct fb_run_ref *right = &((const struct entry *)b)->ref;
	int order = strcmp(right->run, left->run);

	return order != 0 ? order : strcmp(right->session, left->session);
}

enum scope { RUNS, KEPT, ALL };

static int
list_runs(struct fb_repo *repo, enum scope scope, fb_repo_visit_run *visit,
    fb_repo_visit_forget *visit_forget, void *arg, struct fb_error *err)
{
	struct listing listing = { .repo = repo };
	int rc = FB_OK;

	if (scope != ALL)
		rc = list_forgets(&listing, err);
	if (rc == FB_OK)
		rc = fb_smalls_list(repo->smalls, repo->store, "commits/",
		    HEAD_SIZE, visit_commit, &listing, err);
	if (rc == FB_OK && listing.count > 0)
		qsort(listing.entries, listing.count,
		    sizeof(*listing.entries), compare_entries);
	for (size_t i = 0; rc >= 0 && i < listing.count; i++) {
		struct entry *entry = &listing.entries[i];

		entry->ref.damage = entry->damage;
		if (entry->damage == NULL &&
		    (is_forgotten(&listing, &entry->ref) ||
		        (scope == RUNS && entry->ref.shard.of[0] != '\0')))
			continue;
		rc = visit(&entry->ref, arg, err);
	}
	for (size_t i = 0;
	     visit_forget != NULL && rc >= 0 && i < listing.forget_count; i++)
		rc = visit_forget(&listing.forgets[i], arg, err);
	release_listing(&listing);
	return rc < 0 ? rc : FB_OK;
}

int
fb_repo_runs_and_forgets(struct fb_repo *repo, fb_repo_visit_run *visit_run,
    fb_repo_visit_forget *visit_forget, void *arg, struct fb_error *err)
{
	return list_runs(repo, RUNS, visit_run, visit_forget, arg, err);
}

int
fb_repo_runs(struct fb_repo *repo, fb_repo_visit_run *visit, void *arg,
    struct fb_error *err)
{
	return list_runs(repo, RUNS, visit, NULL, arg, err);
}

int
fb_repo_kept_runs(struct fb_repo *repo, fb_repo_visit_run *visit, void *arg,
    struct fb_error *err)
{
	return list_runs(repo, KEPT, visit, NULL, arg, err);
}

int
fb_repo_all_runs(struct fb_repo *repo, fb_repo_visit_run *visit, void *arg,
    struct fb_error *err)
{
	return list_runs(repo, ALL, visit, NULL, arg, err);
}

int
fb_repo_forgets(struct fb_repo *repo, fb_repo_visit_forget *visit, void *arg,
    struct fb_error *err)
{
	struct listing listing = { .repo = repo };
	int rc = list_forgets(&listing, err);

	for (size_t i = 0; rc >= 0 && i < listing.forget_count; i++)
		rc = visit(&listing.forgets[i], arg, err);
	release_listing(&listing);
	return rc < 0 ? rc : FB_OK;
}

int
fb_repo_fail_unlisted(const char *session, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EBUSY, "E-LIST-BEHIND",
	    "'commits/%s' is there, and the store's list of 'commits/' does "
	    "not show it",
	    session);
	return fb_hint(err,
	    "nothing more was deleted: wait until the list shows it, then run "
	    "it again");
}

void
fb_repo_hold_lists(struct fb_repo *repo, bool hold)
{
	fb_smalls_hold(repo->smalls, hold);
}

int
fb_repo_is_forgotten(struct fb_repo *repo, const char *session,
    bool *ret_forgotten, struct fb_error *err)
{
	struct listing listing = { .repo = repo };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[KEY_SIZE];
	int rc;

	(void)snprintf(key, sizeof(key), "forgets/%s", session);
	rc = fb_store_get(repo->store, key, FB_FORGET_MAX, &text, NULL, err);
	if (rc == FB_OK)
		add_forget(&listing, key, fb_buf_span(&text));
	if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT)
		rc = FB_OK;
	*ret_forgotten = listing.forget_count > 0;
	release_listing(&listing);
	return rc;
}

/* The same key may sign for several repositories: a run that was made in one
 * of them is not believed in another. */
static int
check_repository(
    const struct fb_repo *repo, struct fb_span sums, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf format = { 0 };
	struct fb_digest ours, theirs;
	int rc = fb_sums_find(sums, "format/1.json", &theirs, err);

	if (rc < 0)
		return rc;
	fb_format_doc_encode(&repo->format, &format);
	fb_digest_of(fb_buf_span(&format), &ours);
	return fb_digest_cmp(&ours, &theirs) == 0
	    ? FB_OK
	    : fb_fail(err, FB_EUNTRUSTED,
	          "it was not made in this repository");
}

/* Most are small; a large one is read in steps, and no hole of it is filled. */
static int
get_sums(struct fb_repo *repo, const char *key, struct fb_buf *dst,
    struct fb_error *err)
{
	if (repo->ahead != NULL &&
	    fb_repo_get(repo, key, SUMS_SMALL, dst, err) == FB_OK)
		return FB_OK;
	return fb_store_get_text(repo->store, key, FB_SUMS_MAX, dst, err);
}

int
fb_repo_run_sums(struct fb_repo *repo, const struct fb_run_ref *run,
    struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	const char *signer = NULL;
	struct fb_digest digest;
	char key[KEY_SIZE];
	int rc;

	(void)snprintf(key, sizeof(key), "runs/%s/SHA256SUMS", run->run);
	rc = get_sums(repo, key, &sums, err);
	if (rc == FB_ENOTFOUND)
		return fb_fail(err, FB_ECORRUPT, "'%s' is missing", key);
	if (rc < 0)
		return rc;
	fb_digest_of(fb_buf_span(&sums), &digest);
	if (fb_digest_cmp(&digest, &run->sums) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "'%s' is not what its register says", key);
	/* The bytes are given out even when nobody vouches for them: who was
	 * told to go on without a signature needs them. */
	rc = fb_trust_verify(&repo->trust, fb_buf_span(&sums),
	    (struct fb_span){ run->signature, FB_SIGNATURE_LEN }, &signer,
	    err);
	if (rc == FB_OK)
		rc = check_repository(repo, fb_buf_span(&sums), err);
	if (dst->len == 0) { /* they are large: not twice */
		fb_buf_release(dst);
		*dst = sums;
		sums = (struct fb_buf){ 0 };
	} else {
		fb_buf_add(dst, sums.data, sums.len);
	}
	if (rc < 0)
		return fb_wrap(err, "run %s", run->run);
	if (strcmp(signer, run->signer) != 0)
		return fb_fail_id(err, FB_EUNTRUSTED, "E-SIGNATURE",
		    "run %s names key %s as its signer but key %s signed it",
		    run->run, run->signer, signer);
	return FB_OK;
}

int
fb_sums_find(struct fb_span sums, const char *path,
    struct fb_digest *ret_digest, struct fb_error *err)
{
	size_t path_len = strlen(path);
	size_t line_len = FB_DIGEST_HEX_SIZE - 1 + 2 + path_len;

	while (sums.len > 0) {
		const uint8_t *end = memchr(sums.ptr, '\n', sums.len);
		size_t len = end != NULL ? (size_t)(end - sums.ptr) : sums.len;

		if (len == line_len &&
		    memcmp(sums.ptr + len - path_len - 2, "  ", 2) == 0 &&
		    memcmp(sums.ptr + len - path_len, path, path_len) == 0)
			return fb_digest_parse(
			    (struct fb_span){ sums.ptr,
			        FB_DIGEST_HEX_SIZE - 1 },
			    ret_digest, err);
		if (end == NULL)
			break;
		sums.ptr += len + 1;
		sums.len -= len + 1;
	}
	return fb_fail(
	    err, FB_ECORRUPT, "SHA256SUMS does not name '%s'", path);
}
