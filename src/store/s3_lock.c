/*
 * Object lock: what is put is locked, a lock is looked at and made longer, and
 * what the bucket does by itself.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "s3.h"
#include "s3_xml.h"

#define NS_PER_S    INT64_C(1000000000)
#define CHECKSUM    "x-amz-checksum-sha256"
#define DAYS_MAX    36500
#define DAYS_A_YEAR 365

static const char *const mode_names[] = {
	[FB_LOCK_NONE] = "",
	[FB_LOCK_GOVERNANCE] = "GOVERNANCE",
	[FB_LOCK_COMPLIANCE] = "COMPLIANCE",
};

static enum fb_lock_mode
mode_of(const char *name)
{
	for (size_t i = FB_LOCK_GOVERNANCE; i < FB_COUNT(mode_names); i++)
		if (strcmp(mode_names[i], name) == 0)
			return (enum fb_lock_mode)i;
	return FB_LOCK_NONE;
}

bool
s3_time(const char *text, int64_t *ret_ns)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t seconds;

	if (end == NULL)
		return false;
	if (*end == '.') {
		size_t digits = strspn(end + 1, "0123456789");

		if (digits == 0)
			return false;
		end += 1 + digits;
	}
	if (strcmp(end, "Z") != 0 && strcmp(end, "+00:00") != 0 &&
	    strcmp(end, "+0000") != 0)
		return false;
	seconds = timegm(&tm);
	if (seconds < 0)
		return false;
	*ret_ns =
	    seconds > INT64_MAX / NS_PER_S ? INT64_MAX : seconds * NS_PER_S;
	return true;
}

/* Does the request make an object?  What begins with a dot tries the bucket
 * out, and has to go again. */
static bool
makes_object(const struct s3_ask *ask)
{
	if (ask->key == NULL || ask->key[0] == '.')
		return false;
	if (strcmp(ask->method, "PUT") == 0)
		return ask->query_count == 0;
	return strcmp(ask->method, "POST") == 0 && ask->query_count > 0 &&
	    strcmp(ask->query[0].name, "uploads") == 0;
}

/* Does it bring the bytes along that its checksum is of? */
static bool
has_bytes(const struct s3_ask *ask)
{
	for (size_t i = 0; i < ask->header_count; i++)
		if (strcmp(ask->headers[i].name, "x-amz-copy-source") == 0)
			return false;
	return strcmp(ask->method, "PUT") == 0;
}

static void
add(struct s3_guard *guard, const char *name, const char *value)
{
	guard->headers[guard->count++] = (struct s3_pair){ name, value };
}

void
s3_guard(const struct s3_store *s3, const struct s3_ask *ask,
    const char *payload, struct s3_guard *guard)
{
	bool locked = s3->lock_mode != FB_LOCK_NONE && makes_object(ask);
	bool retention = ask->query_count == 1 &&
	    strcmp(ask->query[0].name, "retention") == 0;
	struct fb_digest digest;
	struct fb_error ignored;

	guard->count = 0;
	/* S3 wants a checksum with what is locked, that of the bucket's own
	 * accord too. */
	if ((locked || retention ||
	        (atomic_load(&s3->checksums) && makes_object(ask))) &&
	    has_bytes(ask) &&
	    fb_digest_parse(
	        (struct fb_span){ (const uint8_t *)payload, strlen(payload) },
	        &digest, &ignored) == FB_OK) {
		fb_digest_base64(&digest, guard->checksum);
		add(guard, CHECKSUM, guard->checksum);
	}
	if (!locked)
		return;
	fb_time_format(fb_clock_wall_ns() + (int64_t)s3->lock_ns, guard->until);
	add(guard, "x-amz-object-lock-mode", mode_names[s3->lock_mode]);
	add(guard, "x-amz-object-lock-retain-until-date", guard->until);
}

bool
s3_wants_checksums(struct s3_store *s3, const struct s3_ask *ask,
    const struct s3_answer *answer)
{
	if (atomic_load(&s3->checksums) || !makes_object(ask) ||
	    strcmp(answer->code, "InvalidRequest") != 0 ||
	    strstr(answer->text, "x-amz-checksum") == NULL)
		return false;
	atomic_store(&s3->checksums, true);
	return true;
}

static int
note_setting(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct fb_store_traits *traits = arg;
	uint64_t number = 0;

	if (strcmp(root, "VersioningConfiguration") == 0 &&
	    strcmp(path, "Status") == 0)
		traits->versioning =
		    strcmp(text, "Enabled") == 0 ? FB_TRAIT_YES : FB_TRAIT_NO;
	if (strcmp(root, "ObjectLockConfiguration") != 0)
		return FB_OK;
	if (strcmp(path, "ObjectLockEnabled") == 0)
		traits->object_lock =
		    strcmp(text, "Enabled") == 0 ? FB_TRAIT_YES : FB_TRAIT_NO;
	if (strcmp(path, "Rule/DefaultRetention/Mode") == 0)
		traits->lock_mode = mode_of(text);
	if (strcmp(path, "Rule/DefaultRetention/Days") != 0 &&
	    strcmp(path, "Rule/DefaultRetention/Years") != 0)
		return FB_OK;
	if (fb_text_u64((struct fb_span){ (const uint8_t *)text, strlen(text) },
	        DAYS_MAX, &number, err) < 0)
		return err->code;
	/* radosgw names both, one of them 0. */
	if (number > 0)
		traits->lock_days = strstr(path, "Years") != NULL
		    ? DAYS_A_YEAR * number
		    : number;
	return FB_OK;
}

/* Who may not see it, or has a server that does not know it, is none the wiser:
 * then versions are none of ours, and each object is asked for its lock. */
static void
note_refusal(struct s3_store *s3, const char *name, int rc)
{
	if (rc == FB_EUNREACH || rc == FB_ETIMEOUT)
		return; /* next time */
	if (strcmp(name, "versioning") == 0)
		atomic_store(&s3->versions, FB_TRAIT_NO);
	else
		atomic_store(
		    &s3->locks, rc == FB_EDENIED ? FB_TRAIT_YES : FB_TRAIT_NO);
}

static void
note_found(struct s3_store *s3, const char *name,
    const struct fb_store_traits *found, struct fb_store_traits *traits)
{
	if (strcmp(name, "versioning") == 0) {
		/* One that has stopped keeping them has old ones. */
		atomic_store(&s3->versions,
		    found->versioning == FB_TRAIT_UNKNOWN ? FB_TRAIT_NO
		                                          : FB_TRAIT_YES);
		if (found->versioning == FB_TRAIT_YES)
			traits->versioning = FB_TRAIT_YES;
		return;
	}
	/* A bucket without has no such setting. */
	atomic_store(&s3->locks,
	    found->object_lock == FB_TRAIT_YES ? FB_TRAIT_YES : FB_TRAIT_NO);
	if (found->object_lock != FB_TRAIT_YES)
		return;
	traits->object_lock = FB_TRAIT_YES;
	traits->lock_mode = found->lock_mode;
	traits->lock_days = found->lock_days;
}

void
s3_ask_setting(
    struct s3_store *s3, const char *name, struct fb_store_traits *traits)
{
	const struct s3_pair query = { name, "" };
	const struct s3_ask ask = {
		.method = "GET", .query = &query, .query_count = 1
	};
	AUTO_ANSWER struct s3_answer answer = { 0 };
	struct fb_store_traits found = { 0 };
	struct fb_error why;
	int rc = s3_ask(s3, &ask, &answer, &why);

	if (rc == FB_OK && answer.http.status == 200 &&
	    answer.http.body.len > 0)
		rc = s3_xml_read(
		    fb_buf_span(&answer.http.body), note_setting, &found, &why);
	if (rc < 0)
		note_refusal(s3, name, rc);
	else
		note_found(s3, name, &found, traits);
}

bool
s3_keeps_versions(struct s3_store *s3)
{
	struct fb_store_traits ignored = { 0 };

	if (atomic_load(&s3->versions) == FB_TRAIT_UNKNOWN)
		s3_ask_setting(s3, "versioning", &ignored);
	return atomic_load(&s3->versions) == FB_TRAIT_YES;
}

bool
s3_locks(struct fb_store *store)
{
	struct s3_store *s3 = (struct s3_store *)store;
	struct fb_store_traits ignored = { 0 };

	if (atomic_load(&s3->locks) == FB_TRAIT_UNKNOWN)
		s3_ask_setting(s3, "object-lock", &ignored);
	/* Who may not ask may be told by the objects. */
	return atomic_load(&s3->locks) != FB_TRAIT_NO;
}

/* What the server says of the time. */
static int64_t
now_of(const struct s3_answer *answer)
{
	const char *date = fb_http_header(&answer->http, "date");
	struct tm tm = { 0 };

	if (date == NULL ||
	    strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
		return fb_clock_wall_ns();
	return (int64_t)timegm(&tm) * NS_PER_S;
}

int
s3_read_lock(
    const struct s3_answer *answer, int64_t *ret_until_ns, struct fb_error *err)
{
	const char *until = fb_http_header(
	    &answer->http, "x-amz-object-lock-retain-until-date");
	const char *hold =
	    fb_http_header(&answer->http, "x-amz-object-lock-legal-hold");

	*ret_until_ns = 0;
	if (until != NULL && !s3_time(until, ret_until_ns))
		return fb_fail(err, FB_EPROTO,
		    "the server tells no time of a lock: '%.80s'", until);
	if (*ret_until_ns <= now_of(answer))
		*ret_until_ns = 0;
	if (hold != NULL && strcmp(hold, "ON") == 0)
		*ret_until_ns = INT64_MAX;
	return FB_OK;
}

int
s3_locked(struct fb_store *store, const char *key, uint64_t *ret_size,
    int64_t *ret_until_ns, struct fb_error *err)
{
	struct s3_store *s3 = (struct s3_store *)store;
	const struct s3_ask ask = { .method = "HEAD", .key = key };
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = s3_ask(s3, &ask, &answer, err);
	const char *length = fb_http_header(&answer.http, "content-length");
	struct fb_error why;

	if (rc < 0)
		return rc;
	if (answer.http.status == 404)
		return fb_fail(err, FB_ENOTFOUND, "no such object");
	if (answer.http.status != 200 || length == NULL ||
	    fb_text_u64(
	        (struct fb_span){ (const uint8_t *)length, strlen(length) },
	        INT64_MAX, ret_size, &why) < 0)
		return fb_fail(err, FB_EPROTO, "the answer tells no length");
	return s3_read_lock(&answer, ret_until_ns, err);
}

/* That of the bucket, for who has not chosen one. */
static enum fb_lock_mode
mode_to_extend(struct s3_store *s3)
{
	struct fb_store_traits traits = { 0 };

	if (s3->lock_mode != FB_LOCK_NONE)
		return s3->lock_mode;
	s3_ask_setting(s3, "object-lock", &traits);
	return traits.lock_mode;
}

int
s3_extend(struct fb_store *store, const char *key, int64_t until_ns,
    struct fb_error *err)
{
	struct s3_store *s3 = (struct s3_store *)store;
	enum fb_lock_mode mode = mode_to_extend(s3);
	char until[FB_TIME_SIZE];
	FB_AUTO_FREE char *body = NULL;
	const struct s3_pair query = { "retention", "" };
	struct s3_ask ask = {
		.method = "PUT",
		.key = key,
		.query = &query,
		.query_count = 1,
		.straight = true, /* radosgw would not answer */
	};
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc;

	if (mode == FB_LOCK_NONE)
		return fb_fail(err, FB_EUNSUP, "nothing is locked there");
	fb_time_format(until_ns, until);
	body = fb_format(
	    "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
	    "<Mode>%s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>",
	    mode_names[mode], until);
	ask.body = (struct fb_span){ (const uint8_t *)body, strlen(body) };
	rc = s3_ask(s3, &ask, &answer, err);
	if (rc == FB_OK && answer.http.status == 404)
		return fb_fail(err, FB_ENOTFOUND, "no such object");
	if (rc == FB_OK && answer.http.status >= 300)
		return s3_fail(s3, &answer, err);
	return rc;
}
