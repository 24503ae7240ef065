/* Sessions: a writer or reader announces itself, then learns what is being
 * deleted.  The order is what deletion relies on. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "gc_impl.h"

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
load_condemned(struct fb_repo *repo, struct fb_id_list *condemned,
    struct fb_error *err)
{
	char tag[FB_STORE_TAG_SIZE], before[FB_STORE_TAG_SIZE] = "none";
	struct fb_gc_set set = { 0 };
	struct fb_gc_doc doc;
	int rc;

	/* A set is removed when its generation is over: then gc/current says
	 * something else. */
	for (;;) {
		rc = fb_gc_read_current(repo, &doc, tag, err);
		if (rc < 0 || doc.phase == FB_GC_IDLE)
			return rc;
		rc = fb_gc_read_set(repo, &doc.set, &set, err);
		if (rc != FB_ENOTFOUND)
			break;
		if (strcmp(tag, before) == 0)
			return fb_fail(err, FB_ECORRUPT,
			    "the set that 'gc/current' names is missing");
		memcpy(before, tag, sizeof(before));
	}
	if (rc < 0)
		return rc;
	*condemned = set.packs;
	set.packs = (struct fb_id_list){ 0 };
	fb_gc_set_release(&set);
	return FB_OK;
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
	/* W1 is behind us, W2 is next: never the other way round. */
	denied = *err;
	rc = load_condemned(repo, &session.condemned, err);
	if (rc < 0) {
		if (announced == FB_OK)
			memcpy(ret_session->id, session.id,
			    sizeof(ret_session->id));
		return fb_wrap(err, "reading what is being deleted");
	}
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
