/* Sessions: a writer or reader announces itself, then learns what is being
 * deleted.  The order is what deletion relies on. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/repo.h"

#define KEY_SIZE    64
#define ID_ATTEMPTS 8

static void
host_name(char *dst, size_t size)
{
	if (gethostname(dst, size) < 0)
		memcpy(dst, "unknown", sizeof("unknown"));
	dst[size - 1] = '\0';
	for (char *c = dst; *c != '\0'; c++)
		if (*c < 0x21 || *c > 0x7e)
			*c = '?';
}

static void
describe(const char *kind, const char *fleet, struct fb_buf *dst)
{
	struct fb_session_doc doc = { .pid = (uint64_t)getpid(),
		.tool = "fleetbak " FB_VERSION };

	(void)snprintf(doc.kind, sizeof(doc.kind), "%s", kind);
	(void)snprintf(doc.fleet, sizeof(doc.fleet), "%s", fleet);
	host_name(doc.host, sizeof(doc.host));
	fb_time_format(fb_clock_wall_ns(), doc.started);
	fb_session_doc_encode(&doc, dst);
}

static int
announce(struct fb_repo *repo, const char *id, const char *kind,
    const char *fleet, char ret_id[FB_RUN_ID_SIZE], struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf doc = { 0 };
	char key[KEY_SIZE];
	int rc = FB_EEXISTS;

	describe(kind, fleet, &doc);
	if (id[0] != '\0') {
		memcpy(ret_id, id, FB_RUN_ID_SIZE);
		(void)snprintf(key, sizeof(key), "sessions/%s", id);
		rc = fb_store_create(repo->store, key, fb_buf_span(&doc), err);
		return rc == FB_EEXISTS ? FB_OK : rc; /* announced before */
	}
	for (int i = 0; i < ID_ATTEMPTS && rc == FB_EEXISTS; i++) {
		fb_random_run_id(ret_id);
		(void)snprintf(key, sizeof(key), "sessions/%s", ret_id);
		rc = fb_store_create(repo->store, key, fb_buf_span(&doc), err);
	}
	return rc;
}

static int
load_set(struct fb_repo *repo, const struct fb_gc_doc *doc,
    struct fb_id_list *condemned, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[8 + FB_DIGEST_HEX_SIZE], hex[FB_DIGEST_HEX_SIZE];
	struct fb_gc_set set;
	struct fb_digest digest;
	int rc;

	fb_digest_hex(&doc->set, hex);
	(void)snprintf(key, sizeof(key), "gc/sets/%s", hex);
	rc = fb_store_get(
	    repo->store, key, FB_REGISTER_MAX, &text, NULL, err);
	if (rc == FB_ENOTFOUND)
		return fb_fail(err, FB_ECORRUPT, "'%s' is missing", key);
	if (rc < 0)
		return rc;
	fb_digest_of(fb_buf_span(&text), &digest);
	if (fb_digest_cmp(&digest, &doc->set) != 0)
		return fb_fail(
		    err, FB_ECORRUPT, "'%s' is not what its name says", key);
	rc = fb_gc_set_decode(fb_buf_span(&text), &set, err);
	if (rc < 0)
		return fb_wrap(err, "'%s'", key);
	*condemned = set.packs;
	set.packs = (struct fb_id_list){ 0 };
	fb_gc_set_release(&set);
	return FB_OK;
}

static int
load_condemned(struct fb_repo *repo, struct fb_id_list *condemned,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_gc_doc doc;
	int rc = fb_store_get(
	    repo->store, "gc/current", FB_FORMAT_DOC_MAX, &text, NULL, err);

	if (rc == FB_ENOTFOUND)
		return FB_OK; /* nothing was ever deleted */
	if (rc < 0 ||
	    (rc = fb_gc_doc_decode(fb_buf_span(&text), &doc, err)) < 0)
		return rc;
	return doc.phase == FB_GC_IDLE
	    ? FB_OK
	    : load_set(repo, &doc, condemned, err);
}

int
fb_session_begin(struct fb_repo *repo, const char *id, const char *kind,
    const char *fleet, struct fb_session *ret_session, struct fb_error *err)
{
	struct fb_session session = { 0 };
	struct fb_error denied;
	int announced, rc;

	if (id[0] != '\0' && !fb_run_id_ok(id, strlen(id)))
		return fb_fail(err, FB_EBUG, "session id '%s'", id);
	announced = announce(repo, id, kind, fleet, session.id, err);
	if (announced < 0 && announced != FB_EDENIED)
		return fb_wrap(err, "announcing a session");
	denied = *err;
	rc = load_condemned(repo, &session.condemned, err);
	if (rc < 0)
		return fb_wrap(err, "reading what is being deleted");
	*ret_session = session;
	if (announced < 0)
		*err = denied;
	return announced;
}

int
fb_session_end(struct fb_repo *repo, const struct fb_session *session,
    struct fb_error *err)
{
	char key[KEY_SIZE];
	int rc;

	(void)snprintf(key, sizeof(key), "sessions/%s.end", session->id);
	rc = fb_store_create(repo->store, key, (struct fb_span){ 0 }, err);
	return rc == FB_EEXISTS ? FB_OK : rc;
}

void
fb_session_release(struct fb_session *session)
{
	fb_id_list_release(&session->condemned);
}
