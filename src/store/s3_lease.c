/*
 * Conditional writes on a server that knows none, decided by a lease service.
 *
 * A create first says in the service what is to be put under the key: an
 * intent, made once, by a writer whose entry still stands.  While there is an
 * intent nothing else is put under that key; it holds the bytes, or names an
 * object that does, so that whoever finds the intent of a writer that is no
 * more finishes it, and two who finish it put the same.  Then it is removed:
 * the object itself is the evidence.  A replace is decided by the service
 * alone, which keeps the bytes; the object follows, for readers without it.
 * A key is one that is created or one that is replaced, and never both at once.
 *
 * Names that are the digest of the bytes need none of this.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/base64.h"
#include "fleetbak/format/json.h"
#include "lease.h"
#include "s3.h"

#define INLINE_MAX ((size_t)64 << 10) /* of bytes in the service */
#define RECORD_MAX ((size_t)256 << 10)
#define STAGE      ".intent-"
#define TAG        "etcd:"

static const char what[] = "record of the lease service";

/* What is being put under a key, or stands under one that is replaced. */
struct record {
	char nonce[S3_NONCE_SIZE];
	char writer[LEASE_ID_SIZE];
	uint64_t size;
	bool staged; /* the bytes are in an object of their own */
	struct fb_buf bytes;
};

static void
record_release(struct record *record)
{
	fb_buf_release(&record->bytes);
}
#define AUTO_RECORD FB_CLEANUP(record_release)

static void
encode(const struct record *record, struct fb_buf *dst)
{
	FB_AUTO_JSON json_t *value =
	    json_pack("{s:s, s:I, s:s}", "nonce", record->nonce, "size",
	        (json_int_t)record->size, "writer", record->writer);
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_base64_add(&text, fb_buf_span(&record->bytes));
	if (!record->staged)
		(void)json_object_set_new(
		    value, "bytes", json_string(fb_buf_str(&text)));
	fb_json_add(dst, value);
}

static int
take_hex(const json_t *value, const char *key, char *dst, size_t size,
    struct fb_error *err)
{
	const char *text;
	int rc = fb_json_str(value, key, what, &text, err);

	if (rc < 0)
		return rc;
	if (strlen(text) != size - 1 ||
	    strspn(text, "0123456789abcdef") != size - 1)
		return fb_fail(
		    err, FB_ECORRUPT, "%s: '%s' is no id", what, key);
	memcpy(dst, text, size);
	return FB_OK;
}

static int
decode(struct fb_span text, struct record *ret_record, struct fb_error *err)
{
	static const char *const keys[] = { "bytes", "nonce", "size", "writer",
		NULL };
	FB_AUTO_JSON json_t *value = NULL;
	const char *bytes = NULL;
	int rc = fb_json_parse(text, RECORD_MAX, what, &value, err);

	fb_buf_clear(&ret_record->bytes);
	if (rc < 0 || (rc = fb_json_only(value, what, keys, err)) < 0 ||
	    (rc = take_hex(value, "nonce", ret_record->nonce,
	         sizeof(ret_record->nonce), err)) < 0 ||
	    (rc = take_hex(value, "writer", ret_record->writer,
	         sizeof(ret_record->writer), err)) < 0 ||
	    (rc = fb_json_u64(
	         value, "size", what, INT64_MAX, &ret_record->size, err)) < 0 ||
	    (rc = fb_json_str_opt(value, "bytes", what, &bytes, err)) < 0)
		return rc;
	ret_record->staged = bytes == NULL;
	if (bytes != NULL)
		rc = fb_base64_decode(bytes, &ret_record->bytes, err);
	if (rc == FB_OK && bytes != NULL &&
	    ret_record->bytes.len != ret_record->size)
		rc = fb_fail(err, FB_ECORRUPT, "%s: of another size", what);
	return rc;
}

static char *
stage_key(const struct record *record)
{
	return fb_format(STAGE "%s", record->nonce);
}

/*
 * The server, asked without conditions.
 */

/* *ret_there: there is an object; *ret_ours: it is what the record says. */
static int
look(struct s3_store *s3, const char *key, const struct record *record,
    bool *ret_there, bool *ret_ours, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	const struct s3_ask ask = { .method = "HEAD", .key = key };
	const char *nonce;
	int rc = s3_ask(s3, &ask, &answer, err);

	*ret_there = *ret_ours = false;
	if (rc < 0 || answer.http.status == 404)
		return rc;
	if (answer.http.status != 200)
		return s3_fail(s3, &answer, err);
	nonce = fb_http_header(&answer.http, S3_NONCE_HEADER);
	*ret_there = true;
	*ret_ours = nonce != NULL && strcmp(nonce, record->nonce) == 0;
	return FB_OK;
}

static int
send_put(struct s3_store *s3, struct s3_ask *ask, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc;

	ask->method = "PUT";
	rc = s3_ask(s3, ask, &answer, err);
	if (rc == FB_OK && answer.http.status == 404)
		rc = fb_fail(err, FB_ENOTFOUND, "no such object");
	else if (rc == FB_OK && answer.http.status >= 300)
		rc = s3_fail(s3, &answer, err);
	return rc;
}

/* What has a name of its own already is copied by the server. */
static int
put_record(struct s3_store *s3, const char *key, const struct record *record,
    struct fb_error *err)
{
	FB_AUTO_FREE char *stage = stage_key(record);
	FB_AUTO_FREE char *plain =
	    fb_format("/%s/%s%s", s3->bucket, s3->prefix, stage);
	FB_AUTO_BUF struct fb_buf source = { 0 };
	struct s3_pair headers[3] = { { S3_NONCE_HEADER, record->nonce } };
	struct s3_ask ask = { .key = key,
		.headers = headers,
		.header_count = 1,
		.body = fb_buf_span(&record->bytes) };

	s3_add_encoded(&source, plain, true);
	if (record->staged) {
		headers[1] = (struct s3_pair){ "x-amz-copy-source",
			fb_buf_str(&source) };
		headers[2] =
		    (struct s3_pair){ "x-amz-metadata-directive", "REPLACE" };
		ask.header_count = 3;
		ask.body = (struct fb_span){ NULL, 0 };
	}
	return send_put(s3, &ask, err);
}

static void
drop_stage(struct s3_store *s3, const struct record *record)
{
	FB_AUTO_FREE char *stage = stage_key(record);
	const struct s3_ask drop = { .method = "DELETE", .key = stage };
	AUTO_ANSWER struct s3_answer answer = { 0 };
	struct fb_error ignored;

	/* No list shows it: what stays is in nobody's way. */
	if (record->staged && s3_ask(s3, &drop, &answer, &ignored) < 0)
		return;
}

/*
 * Creates.
 */

/* Remove the intent; with `stand`, only while we are that writer.  That it is
 * not there any more is as good. */
static int
drop_intent(struct s3_store *s3, const char *key, uint64_t modified,
    const struct lease_stand *stand, struct fb_error *err)
{
	FB_AUTO_FREE char *intent = lease_key(s3->lease, "intent", key);
	AUTO_ETCD_OUTCOME struct etcd_outcome outcome = { .done = false };
	struct etcd_if ifs[2] = { { intent, ETCD_MODIFIED, modified } };
	const struct etcd_write remove = { .key = intent, .remove = true };
	const struct etcd_txn txn = { .ifs = ifs,
		.if_count = stand != NULL ? 2 : 1,
		.writes = &remove,
		.write_count = 1 };

	if (stand != NULL)
		ifs[1] = (struct etcd_if){ stand->entry, ETCD_CREATED,
			stand->revision };
	return etcd_txn(lease_etcd(s3->lease), &txn, &outcome, err);
}

/* The object as the intent says, unless there is one; then the intent is over.
 * *ret_ours: what is there is of that intent. */
static int
finish(struct s3_store *s3, const char *key, const struct record *record,
    uint64_t modified, bool *ret_ours, struct fb_error *err)
{
	struct fb_error ignored;
	bool there;
	int rc = look(s3, key, record, &there, ret_ours, err);

	if (rc == FB_OK && !there) {
		rc = put_record(s3, key, record, err);
		*ret_ours = there = rc == FB_OK;
		/* A copy may fail behind a good answer; and that its source
		 * is gone means that it was finished meanwhile. */
		if (record->staged && (rc == FB_OK || rc == FB_ENOTFOUND))
			rc = look(s3, key, record, &there, ret_ours, err);
		if (rc == FB_OK && !there)
			rc = fb_fail(
			    err, FB_EPROTO, "what was written is not there");
	}
	if (rc < 0)
		return rc;
	/* The object decides: an intent that stays is finished once more. */
	if (drop_intent(s3, key, modified, NULL, &ignored) == FB_OK)
		drop_stage(s3, record);
	return FB_OK;
}

/* Somebody else's intent is in the way: wait for him, or finish it. */
static int
help(struct s3_store *s3, const char *key, const struct etcd_value *intent,
    const char *me, int64_t began_ns, struct fb_error *err)
{
	AUTO_RECORD struct record record = { .size = 0 };
	AUTO_ETCD_VALUE struct etcd_value owner = { .created = 0 };
	FB_AUTO_FREE char *entry = NULL;
	bool ours;
	int rc = decode(fb_buf_span(&intent->bytes), &record, err);

	if (rc < 0)
		return fb_wrap(err, "intent");
	entry = lease_key(s3->lease, "writer", record.writer);
	rc = etcd_get(lease_etcd(s3->lease), entry, &owner, err);
	if (rc < 0)
		return rc;
	if (owner.created != 0 && strcmp(record.writer, me) != 0)
		return lease_wait(
		    s3->lease, fb_buf_str(&owner.bytes), began_ns, err);
	return finish(s3, key, &record, intent->modified, &ours, err);
}

/* One try to say what is to be put.  *ret_modified: our intent stands; 0: look
 * again. */
static int
announce(struct s3_store *s3, const char *key, struct record *record,
    int64_t began_ns, struct lease_stand *stand, uint64_t *ret_modified,
    struct fb_error *err)
{
	AUTO_ETCD_OUTCOME struct etcd_outcome outcome = { .done = false };
	AUTO_RECORD struct record there = { .size = 0 };
	FB_AUTO_FREE char *intent = lease_key(s3->lease, "intent", key);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct etcd_if ifs[2] = { { .key = intent } };
	struct etcd_write write = { .key = intent };
	const char *looks[2] = { intent };
	struct etcd_txn txn = { ifs, 2, &write, 1, looks, 2 };
	int rc = lease_enter(s3->lease, stand, err);

	*ret_modified = 0;
	if (rc < 0)
		return rc;
	memcpy(record->writer, stand->id, sizeof(record->writer));
	encode(record, &text);
	write.value = fb_buf_span(&text);
	ifs[1] =
	    (struct etcd_if){ stand->entry, ETCD_CREATED, stand->revision };
	looks[1] = stand->entry;
	rc = etcd_txn(lease_etcd(s3->lease), &txn, &outcome, err);
	if (rc < 0)
		return rc;
	if (outcome.done) {
		*ret_modified = outcome.revision;
		return FB_OK;
	}
	if (outcome.looks[1].created != stand->revision)
		lease_lost(s3->lease, stand->revision);
	if (outcome.looks[0].created == 0)
		return FB_OK;
	/* A try whose answer was lost may have made it. */
	if (decode(fb_buf_span(&outcome.looks[0].bytes), &there, err) ==
	        FB_OK &&
	    strcmp(there.nonce, record->nonce) == 0) {
		*ret_modified = outcome.looks[0].modified;
		return FB_OK;
	}
	return help(s3, key, &outcome.looks[0], stand->id, began_ns, err);
}

/* A failure that leaves no doubt takes the intent back, while nobody else can
 * have taken it up. */
static void
withdraw(struct s3_store *s3, const char *key, const struct record *record,
    uint64_t modified, const struct lease_stand *stand, int why)
{
	struct fb_error ignored;

	if (why == FB_ETIMEOUT || why == FB_EUNKNOWN || why == FB_EPROTO)
		return;
	if (drop_intent(s3, key, modified, stand, &ignored) == FB_OK)
		drop_stage(s3, record);
}

/* The bytes into the record or, when they are many, an object of their own. */
static int
gather(struct s3_store *s3, const struct s3_ask *ask, struct record *record,
    struct fb_error *err)
{
	FB_AUTO_FREE char *stage = stage_key(record);
	struct s3_ask put = *ask;
	size_t got = 0, len = (size_t)record->size;
	int rc;

	record->staged = record->size > INLINE_MAX;
	put.key = stage;
	put.headers = NULL;
	put.header_count = 0;
	if (record->staged)
		return send_put(s3, &put, err);
	if (ask->body_path == NULL) {
		fb_buf_add(&record->bytes, ask->body.ptr, ask->body.len);
		return FB_OK;
	}
	rc = fb_io_pread(ask->body_fd, ask->body_path,
	    fb_buf_reserve(&record->bytes, len), len, ask->body_offset, &got,
	    err);
	if (rc == FB_OK && got < len)
		rc = fb_fail(err, FB_ECORRUPT, "'%s' has become shorter",
		    ask->body_path);
	record->bytes.len = rc == FB_OK ? len : 0;
	return rc;
}

int
s3_lease_create(struct s3_store *s3, struct s3_ask *ask, struct fb_error *err)
{
	AUTO_RECORD struct record record = {
		.size = ask->body_path != NULL ? ask->body_size : ask->body.len
	};
	AUTO_STAND struct lease_stand stand = { .revision = 0 };
	int64_t began = fb_clock_mono_ns();
	uint64_t modified = 0;
	bool ours = false;
	int rc;

	s3_make_nonce(record.nonce);
	rc = gather(s3, ask, &record, err);
	while (rc == FB_OK && modified == 0)
		rc = announce(
		    s3, ask->key, &record, began, &stand, &modified, err);
	if (rc < 0) {
		if (rc != FB_EUNREACH)
			drop_stage(s3, &record);
		return rc;
	}
	rc = finish(s3, ask->key, &record, modified, &ours, err);
	if (rc < 0) {
		withdraw(s3, ask->key, &record, modified, &stand, rc);
		return rc;
	}
	return ours ? FB_OK
	            : fb_fail(err, FB_EEXISTS, "there is such an object");
}

/*
 * Replaces.
 */

int
s3_lease_remove(struct s3_store *s3, const char *key, struct fb_error *err)
{
	FB_AUTO_FREE char *name = lease_key(s3->lease, "value", key);
	AUTO_ETCD_OUTCOME struct etcd_outcome outcome = { .done = false };
	const struct etcd_write remove = { .key = name, .remove = true };
	const struct etcd_txn txn = { .writes = &remove, .write_count = 1 };

	return etcd_txn(lease_etcd(s3->lease), &txn, &outcome, err);
}

/* What the tag stands for: a revision of the service or, where that has
 * nothing yet, the object as it was seen. */
static int
take_condition(struct s3_store *s3, const char *key, const char *tag,
    struct etcd_if *condition, struct fb_error *err)
{
	const char *digits = tag + strlen(TAG);
	char now[FB_STORE_TAG_SIZE] = "";
	int rc;

	if (strncmp(tag, TAG, strlen(TAG)) == 0) {
		condition->field = ETCD_MODIFIED;
		return fb_text_u64(
		    (struct fb_span){ (const uint8_t *)digits, strlen(digits) },
		    INT64_MAX, &condition->revision, err);
	}
	condition->field = ETCD_CREATED;
	condition->revision = 0;
	rc = s3_tag_of(s3, key, now, err);
	if (rc == FB_OK && strcmp(now, tag) != 0)
		rc = fb_fail(err, FB_ECONFLICT, "the object has changed");
	return rc;
}

/* The object as the service says; again when that has changed meanwhile. */
static int
follow(struct s3_store *s3, const char *key, struct fb_error *err)
{
	FB_AUTO_FREE char *name = lease_key(s3->lease, "value", key);
	AUTO_ETCD_VALUE struct etcd_value value = { .created = 0 };
	AUTO_RECORD struct record record = { .size = 0 };
	uint64_t put = 0;
	int rc;

	for (;;) {
		rc = etcd_get(lease_etcd(s3->lease), name, &value, err);
		if (rc < 0 || value.modified == put)
			return rc;
		rc = decode(fb_buf_span(&value.bytes), &record, err);
		if (rc == FB_OK)
			rc = put_record(s3, key, &record, err);
		if (rc < 0)
			return rc;
		put = value.modified;
	}
}

/* *ret_again: we were no writer any more. */
static int
try_replace(struct s3_store *s3, struct record *record,
    const struct etcd_if *condition, bool *ret_again, bool *doubt,
    struct fb_error *err)
{
	AUTO_ETCD_OUTCOME struct etcd_outcome outcome = { .done = false };
	AUTO_STAND struct lease_stand stand = { .revision = 0 };
	AUTO_RECORD struct record there = { .size = 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct etcd_if ifs[2] = { *condition };
	struct etcd_write write = { .key = condition->key };
	const char *looks[2] = { condition->key };
	struct etcd_txn txn = { ifs, 2, &write, 1, looks, 2 };
	int rc = lease_enter(s3->lease, &stand, err);

	*ret_again = false;
	if (rc < 0)
		return rc;
	memcpy(record->writer, stand.id, sizeof(record->writer));
	encode(record, &text);
	write.value = fb_buf_span(&text);
	ifs[1] = (struct etcd_if){ stand.entry, ETCD_CREATED, stand.revision };
	looks[1] = stand.entry;
	rc = etcd_txn(lease_etcd(s3->lease), &txn, &outcome, err);
	*doubt |= outcome.doubt;
	if (rc < 0 || outcome.done)
		return rc;
	if (decode(fb_buf_span(&outcome.looks[0].bytes), &there, err) ==
	        FB_OK &&
	    strcmp(there.nonce, record->nonce) == 0)
		return FB_OK; /* an answer was lost */
	if (outcome.looks[1].created != stand.revision) {
		lease_lost(s3->lease, stand.revision);
		*ret_again = true;
		return FB_OK;
	}
	return *doubt ? fb_fail(err, FB_EUNKNOWN,
	                    "the object has changed, perhaps by a request of "
	                    "ours whose answer was lost")
	              : fb_fail(err, FB_ECONFLICT, "the object has changed");
}

int
s3_lease_replace(struct s3_store *s3, const char *key, struct fb_span bytes,
    const char *tag, struct fb_error *err)
{
	FB_AUTO_FREE char *name = lease_key(s3->lease, "value", key);
	AUTO_RECORD struct record record = { .size = bytes.len };
	struct etcd_if condition = { .key = name };
	bool again = true, doubt = false;
	int rc;

	if (bytes.len > INLINE_MAX)
		return fb_fail(err, FB_EUNSUP,
		    "an object of more than %zu bytes is not replaced here",
		    INLINE_MAX);
	s3_make_nonce(record.nonce);
	fb_buf_add(&record.bytes, bytes.ptr, bytes.len);
	rc = take_condition(s3, key, tag, &condition, err);
	while (rc == FB_OK && again)
		rc = try_replace(s3, &record, &condition, &again, &doubt, err);
	return rc < 0 ? rc : follow(s3, key, err);
}

int
s3_lease_get(struct s3_store *s3, const char *key, size_t max,
    struct fb_buf *dst, char tag[FB_STORE_TAG_SIZE], bool *ret_there,
    struct fb_error *err)
{
	FB_AUTO_FREE char *name = lease_key(s3->lease, "value", key);
	AUTO_ETCD_VALUE struct etcd_value value = { .created = 0 };
	AUTO_RECORD struct record record = { .size = 0 };
	FB_AUTO_FREE char *text = NULL;
	int rc = etcd_get(lease_etcd(s3->lease), name, &value, err);

	*ret_there = rc == FB_OK && value.created != 0;
	if (rc < 0 || !*ret_there)
		return rc;
	rc = decode(fb_buf_span(&value.bytes), &record, err);
	if (rc == FB_OK && record.bytes.len > max)
		rc = fb_fail(err, FB_ECORRUPT,
		    "the object is larger than %zu bytes", max);
	if (rc < 0)
		return rc;
	text = fb_format(TAG "%llu", (unsigned long long)value.modified);
	memcpy(tag, text, strlen(text) + 1);
	fb_buf_add(dst, record.bytes.data, record.bytes.len);
	return FB_OK;
}
