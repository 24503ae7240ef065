/*
 * What a bucket can do, tried out with an object of our own that is gone
 * afterwards.  Its name begins with a dot, so that no list of a store shows
 * it, should we die before.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "s3.h"
#include "s3_xml.h"

#define NS_PER_MS 1000000
#define MS_PER_S  1000

struct probe {
	struct s3_store *s3;
	struct fb_store_traits *traits;
	char key[64];
	char tag[FB_STORE_TAG_SIZE];
	struct fb_span last; /* that was taken */
	const char *broken; /* what it does with a condition that it takes */
};

/* How far the server's clock is from ours. */
static void
note_clock(struct probe *probe, const struct s3_answer *answer)
{
	const char *date = fb_http_header(&answer->http, "date");
	int64_t now_ms = fb_clock_wall_ns() / NS_PER_MS;
	struct tm tm = { 0 };

	if (date == NULL ||
	    strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
		return;
	/* It tells whole seconds: half of one is the best guess. */
	probe->traits->clock_ms =
	    (int64_t)timegm(&tm) * MS_PER_S + MS_PER_S / 2 - now_ms;
}

/* One put under a condition; *ret_status is what became of it. */
static int
put(struct probe *probe, const char *name, const char *value,
    struct fb_span bytes, int *ret_status, struct fb_error *err)
{
	const struct s3_pair condition = { name, value };
	const struct s3_ask ask = { .method = "PUT",
		.key = probe->key,
		.headers = &condition,
		.header_count = name != NULL,
		.body = bytes };
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = s3_ask(probe->s3, &ask, &answer, err);
	const char *etag = fb_http_header(&answer.http, "etag");

	if (rc == FB_EUNSUP) {
		*ret_status = answer.http.status;
		return FB_OK;
	}
	if (rc < 0)
		return rc;
	*ret_status = answer.http.status;
	note_clock(probe, &answer);
	if (*ret_status == 200)
		probe->last = bytes;
	if (*ret_status == 200 && etag != NULL) {
		etag += etag[0] == '"';
		memset(probe->tag, 0, sizeof(probe->tag));
		memcpy(probe->tag, etag, strnlen(etag, sizeof(probe->tag) - 1));
		probe->tag[strcspn(probe->tag, "\"")] = '\0';
	}
	return FB_OK;
}

static enum fb_trait
trait(bool yes)
{
	return yes ? FB_TRAIT_YES : FB_TRAIT_NO;
}

/*
 * One that refuses conditions can be lived with.  This one takes them and does
 * something else; radosgw does in a bucket that keeps versions, where nothing
 * is lost by it: there one host may write.
 */
static int
judge_conditions(const struct probe *probe, struct fb_error *err)
{
	if (probe->broken == NULL ||
	    probe->traits->versioning == FB_TRAIT_YES)
		return FB_OK;
	(void)fb_fail_id(err, FB_EUNSUP, "E-STORE-PROBE",
	    "the server takes the condition of a write and %s",
	    probe->broken);
	return fb_hint(err, "a repository cannot be kept on this server");
}

static const struct fb_span first = { (const uint8_t *)"first", 5 };
static const struct fb_span other = { (const uint8_t *)"other", 5 };

/* Two creates and three replaces. */
static int
try_conditions(struct probe *probe, struct fb_error *err)
{
	char tag[FB_STORE_TAG_SIZE];
	int made, again = 0, wrong = 0, right = 0;
	int rc = put(probe, "if-none-match", "*", first, &made, err);

	if (rc == FB_OK && made == 200)
		rc = put(probe, "if-none-match", "*", other, &again, err);
	else if (rc == FB_OK)
		rc = put(probe, NULL, NULL, first, &again, err);
	if (rc < 0)
		return rc;
	probe->traits->create_if = trait(made == 200 && again == 412);
	memcpy(tag, probe->tag, sizeof(tag));
	rc = put(probe, "if-match", "00000000000000000000000000000000", other,
	    &wrong, err);
	if (rc == FB_OK)
		rc = put(probe, "if-match", tag, first, &right, err);
	if (rc < 0)
		return rc;
	probe->traits->replace_if = trait(wrong == 412 && right == 200);
	if (again == 200 && made == 200)
		probe->broken = "overwrites what is to be new";
	else if (wrong == 200)
		probe->broken = "replaces what has changed";
	return FB_OK;
}

static int
note_key(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct probe *probe = arg;
	size_t len = strlen(probe->key), text_len = strlen(text);

	(void)err;
	if (strcmp(root, "ListBucketResult") == 0 &&
	    strcmp(path, "Contents/Key") == 0 && text_len >= len &&
	    strcmp(text + text_len - len, probe->key) == 0)
		probe->traits->list_after_write = FB_TRAIT_YES;
	return FB_OK;
}

static int
ask_object(struct probe *probe, struct s3_answer *answer, struct fb_error *err)
{
	const struct s3_ask get = { .method = "GET", .key = probe->key };

	return s3_ask(probe->s3, &get, answer, err);
}

static int
ask_list(struct probe *probe, struct s3_answer *answer, struct fb_error *err)
{
	FB_AUTO_FREE char *prefix =
	    fb_format("%s%s", probe->s3->prefix, probe->key);
	const struct s3_pair query[] = { { "list-type", "2" },
		{ "prefix", prefix } };
	const struct s3_ask list = {
		.method = "GET", .query = query, .query_count = FB_COUNT(query)
	};

	return s3_ask(probe->s3, &list, answer, err);
}

/* Asked for before it is there: a cache on the way may remember that it was
 * not, and so may a server. */
static int
ask_too_early(struct probe *probe, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = ask_object(probe, &answer, err);

	if (rc == FB_OK)
		rc = ask_list(probe, &answer, err);
	return rc == FB_EDENIED ? FB_OK : rc; /* writing may be allowed */
}

static int
try_reading(struct probe *probe, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = ask_object(probe, &answer, err);

	if (rc < 0)
		return rc;
	probe->traits->read_after_write = trait(answer.http.status == 200 &&
	    answer.http.body.len == probe->last.len &&
	    memcmp(answer.http.body.data, probe->last.ptr,
	        probe->last.len) == 0);
	rc = ask_list(probe, &answer, err);
	if (rc < 0)
		return rc;
	probe->traits->list_after_write = FB_TRAIT_NO;
	return s3_xml_read(
	    fb_buf_span(&answer.http.body), note_key, probe, err);
}

int
s3_probe(struct fb_store *store, struct fb_store_traits *ret_traits,
    struct fb_error *err)
{
	struct probe probe = { .s3 = (struct s3_store *)store,
		.traits = ret_traits };
	struct fb_error ignored;
	uint8_t raw[8];
	int rc;

	memcpy(probe.key, ".probe-", strlen(".probe-"));
	fb_random(raw, sizeof(raw));
	fb_text_hex(raw, sizeof(raw), probe.key + strlen(".probe-"));
	*ret_traits = (struct fb_store_traits){ .versioning = FB_TRAIT_NO,
		.object_lock = FB_TRAIT_NO };
	rc = ask_too_early(&probe, err);
	if (rc == FB_OK)
		rc = try_conditions(&probe, err);
	if (rc == FB_OK) {
		s3_ask_setting(probe.s3, "versioning", ret_traits);
		s3_ask_setting(probe.s3, "object-lock", ret_traits);
		rc = judge_conditions(&probe, err);
	}
	if (rc == FB_OK)
		rc = try_reading(&probe, err);
	/* A lock may keep it: it is in nobody's way. */
	(void)!s3_remove(store, probe.key, NULL, &ignored);
	if (rc < 0)
		return rc;
	if (ret_traits->create_if != FB_TRAIT_YES ||
	    ret_traits->replace_if != FB_TRAIT_YES)
		atomic_store(&store->one_writer, true);
	return FB_OK;
}
