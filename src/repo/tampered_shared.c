/*
 * What the workers of a shared run have told each other: leases, heirs and
 * records are made once and signed with their keys; an end, and that a run is
 * closed, are marks without content.  Of a run that is closed fleetbak takes
 * away what has an end, and leases that were taken too late; nothing else.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/shared_text.h"

#include "tampered_impl.h"

#define TEXT_MAX ((size_t)16 << 20)

static const char *
leaf_of(const char *key)
{
	return strrchr(key, '/') + 1;
}

static bool
is_mark(const char *leaf)
{
	return strcmp(leaf, "closed") == 0 || strcmp(leaf, "end") == 0 ||
	    strcmp(leaf, "kept") == 0;
}

static bool
is_sign_of_life(const char *leaf)
{
	return strncmp(leaf, "alive-", strlen("alive-")) == 0;
}

/* What stands for all records of an epoch. */
#define RECORD "record"

void
past_marks_note(struct past_marks *marks, const struct past *past)
{
	const char *leaf = leaf_of(past->key);
	FB_AUTO_FREE char *key = NULL;
	bool made = false;

	for (size_t i = 0; i < past->count; i++)
		made |= !past->items[i].removed;
	if (!made || strcmp(leaf, "lease") == 0 || strcmp(leaf, "run") == 0 ||
	    is_sign_of_life(leaf))
		return;
	key = is_mark(leaf)
	    ? fb_strdup(past->key)
	    : fb_format("%.*s" RECORD, (int)(leaf - past->key), past->key);
	/* They come sorted. */
	if (marks->count > 0 && strcmp(marks->keys[marks->count - 1], key) == 0)
		return;
	marks->keys =
	    fb_realloc(marks->keys, marks->count + 1, sizeof(*marks->keys));
	marks->keys[marks->count++] = FB_STEAL(key);
}

void
past_marks_release(struct past_marks *marks)
{
	for (size_t i = 0; i < marks->count; i++)
		free(marks->keys[i]);
	free(marks->keys);
	*marks = (struct past_marks){ 0 };
}

/* Is there the first `len` bytes of the key, and then that? */
static bool
have(const struct past_marks *marks, const char *key, size_t len,
    const char *leaf)
{
	for (size_t i = 0; i < marks->count; i++)
		if (strncmp(marks->keys[i], key, len) == 0 &&
		    strcmp(marks->keys[i] + len, leaf) == 0)
			return true;
	return false;
}

/* Did fleetbak take it away, or may have? */
static bool
may_go(const struct past_marks *marks, const char *key)
{
	const char *leaf = leaf_of(key);
	const char *slash = strchr(key + strlen("shared/"), '/');
	size_t run = slash != NULL ? (size_t)(slash + 1 - key) : 0;
	size_t epoch = (size_t)(leaf - key);

	return run > 0 && epoch > run && have(marks, key, run, "closed") &&
	    (have(marks, key, epoch, "end") ||
	        (strcmp(leaf, "lease") == 0 &&
	            !have(marks, key, epoch, RECORD) &&
	            !have(marks, key, epoch, "kept")));
}

/* The oldest that is signed for this place; none: zeros. */
static int
find_signed(struct fb_repo *repo, const struct past *past,
    struct fb_digest *ret_want, struct fb_error *err)
{
	*ret_want = (struct fb_digest){ 0 };
	for (size_t i = past->count; i-- > 0;) {
		FB_AUTO_BUF struct fb_buf text = { 0 };
		struct fb_span body;
		struct fb_error why;
		int rc;

		if (past->items[i].removed)
			continue;
		rc = past_read(repo->store, past->key, &past->items[i],
		    TEXT_MAX, &text, err);
		if (rc < 0 && rc != FB_ECORRUPT && rc != FB_ENOTFOUND)
			return rc;
		if (rc < 0 ||
		    fb_shared_text_check(&repo->trust, past->key,
		        fb_buf_span(&text), &body, &why) < 0)
			continue;
		fb_digest_of(fb_buf_span(&text), ret_want);
		return FB_OK;
	}
	return FB_OK;
}

int
past_judge_shared(struct fb_repo *repo, const struct past *past,
    const struct past_marks *marks, struct fb_tampered_list *list,
    struct fb_error *err)
{
	const char *leaf = leaf_of(past->key);
	struct fb_digest want;
	int rc = FB_OK;

	/* A sign of life is of no use later. */
	if (is_sign_of_life(leaf) ||
	    (past->items[0].removed && may_go(marks, past->key)))
		return FB_OK;
	if (is_mark(leaf))
		fb_digest_of((struct fb_span){ 0 }, &want);
	else
		rc = find_signed(repo, past, &want, err);
	return rc < 0
	    ? rc
	    : past_report(repo->store, past, &want, false, "", list, err);
}
