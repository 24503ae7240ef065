/* The commit: one register, made once. */
#include <stdio.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/repo.h"

#define KEY_SIZE 96

/* Of a register, what is read at once. */
#define REGISTER_SMALL ((size_t)1 << 20)

static int
get_register(struct fb_repo *repo, const char *sid, struct fb_buf *text,
    struct fb_error *err)
{
	char key[KEY_SIZE];

	if (!fb_run_id_ok(sid, strlen(sid)))
		return fb_fail(err, FB_ENOTFOUND, "no session '%s'", sid);
	(void)snprintf(key, sizeof(key), "commits/%s", sid);
	if (repo->ahead != NULL &&
	    fb_repo_get(repo, key, REGISTER_SMALL, text, err) == FB_OK)
		return FB_OK;
	return fb_store_get_text(
	    repo->store, key, FB_REGISTER_MAX, text, err);
}

/* The register is taken: by ourselves before a crash, or by a fence. */
static int
judge_taken(struct fb_repo *repo, const struct fb_register *reg,
    const struct fb_buf *ours, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf theirs = { 0 };
	struct fb_register there = { 0 };
	int rc = get_register(repo, reg->session, &theirs, err);

	if (rc < 0)
		return rc;
	if (theirs.len == ours->len &&
	    memcmp(theirs.data, ours->data, ours->len) == 0)
		return FB_OK;
	rc = fb_register_decode(fb_buf_span(&theirs), &there, err);
	if (rc < 0)
		return rc;
	if (there.fence)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-FENCED",
		    "session %s was fenced off: %s", reg->session,
		    there.reason);
	else
		rc = fb_fail(err, FB_ECORRUPT,
		    "session %s was committed with another content",
		    reg->session);
	fb_register_release(&there);
	return rc;
}

/* runs/<run>/SHA256SUMS.sig, which anybody may make from the register. */
static int
put_signature(struct fb_repo *repo, const char *run,
    const uint8_t signature[FB_SIGNATURE_LEN], struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf there = { 0 };
	char key[KEY_SIZE];
	int rc;

	(void)snprintf(key, sizeof(key), "runs/%s/SHA256SUMS.sig", run);
	rc = fb_store_create(repo->store, key,
	    (struct fb_span){ signature, FB_SIGNATURE_LEN }, err);
	if (rc != FB_EEXISTS)
		return rc;
	rc = fb_store_get(
	    repo->store, key, FB_SIGNATURE_LEN, &there, NULL, err);
	if (rc < 0)
		return rc;
	if (there.len != FB_SIGNATURE_LEN ||
	    memcmp(there.data, signature, FB_SIGNATURE_LEN) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "'%s' is not the signature of the register", key);
	return FB_OK;
}

int
fb_repo_commit(
    struct fb_repo *repo, const struct fb_register *reg, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[KEY_SIZE];
	int rc;

	fb_register_encode(reg, &text);
	if (text.len > FB_REGISTER_MAX)
		return fb_fail(err, FB_EUNSUP,
		    "run %s names more objects than a register holds",
		    reg->run);
	(void)snprintf(key, sizeof(key), "commits/%s", reg->session);
	rc = fb_store_create(repo->store, key, fb_buf_span(&text), err);
	if (rc == FB_EEXISTS)
		rc = judge_taken(repo, reg, &text, err);
	if (rc < 0)
		return fb_wrap(err, "commit of run %s", reg->run);
	return put_signature(repo, reg->run, reg->signature, err);
}

int
fb_repo_fence(struct fb_repo *repo, const char *sid, const char *reason,
    bool *ret_committed, struct fb_error *err)
{
	struct fb_register fence = { .fence = true }, there = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[KEY_SIZE];
	int rc;

	*ret_committed = false;
	(void)snprintf(fence.session, sizeof(fence.session), "%s", sid);
	(void)snprintf(fence.reason, sizeof(fence.reason), "%s", reason);
	fb_register_encode(&fence, &text);
	(void)snprintf(key, sizeof(key), "commits/%s", sid);
	rc = fb_store_create(repo->store, key, fb_buf_span(&text), err);
	if (rc != FB_EEXISTS)
		return rc;
	rc = fb_repo_register(repo, sid, &there, err);
	*ret_committed = rc == FB_OK && !there.fence;
	fb_register_release(&there);
	return rc;
}

int
fb_repo_complete(
    struct fb_repo *repo, const struct fb_run_ref *run, struct fb_error *err)
{
	return put_signature(repo, run->run, run->signature, err);
}

int
fb_repo_register(struct fb_repo *repo, const char *sid,
    struct fb_register *ret_reg, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_register reg = { 0 };
	int rc = get_register(repo, sid, &text, err);

	if (rc < 0)
		return rc;
	rc = fb_register_decode(fb_buf_span(&text), &reg, err);
	if (rc < 0)
		return fb_wrap(err, "'commits/%s'", sid);
	if (strcmp(reg.session, sid) != 0) {
		fb_register_release(&reg);
		return fb_fail(err, FB_ECORRUPT,
		    "'commits/%s' is of another session", sid);
	}
	*ret_reg = reg;
	return FB_OK;
}
