/*
 * A large file as an object: in parts, several at once.
 *
 * After a crash the upload that is at the server is gone on with: a part that
 * has the length and the MD5 of ours is not sent again.  Each part's SHA-256
 * is signed, the file's own is checked before, and what the server has put
 * together is checked by its tag and its length.  Unlike a small object's, a
 * large one's create is only as exclusive as the server's last step is, which
 * some make without the condition; but no two sessions make the same name, and
 * what is named by its digest is the same whoever makes it.
 */
#include "s3_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/base64.h"
#include "fleetbak/crypto/etag.h"
#include "s3_xml.h"

#define LARGE     (UINT64_C(64) << 20)
#define PART_SIZE (UINT64_C(16) << 20)
#define PARTS_MAX 10000 /* S3's own limit */
#define SENDERS   4
#define ROUNDS    3 /* an upload may be gone: it is begun again */

#define READ_STEP ((size_t)1 << 20)

struct part {
	char etag[FB_STORE_TAG_SIZE]; /* "": it is not there */
};

struct sending_parts {
	struct s3_store *s3;
	const char *key, *path;
	int fd;
	uint64_t size, part_size;
	uint32_t count;
	struct part *parts;
	char upload[S3_UPLOAD_SIZE];
	char nonce[S3_NONCE_SIZE];
	int rc; /* of comparing */
	struct fb_error err;
	_Atomic uint32_t next;
	atomic_bool again; /* once more, from what is there then */
};

/* A test makes parts of what is not large: "<bytes>", of each part. */
static uint64_t
part_limit(uint64_t standard)
{
#ifdef FB_FAULTS
	const char *text = getenv("FLEETBAK_PARTS");
	struct fb_error ignored;
	uint64_t bytes;

	if (text != NULL &&
	    fb_text_u64((struct fb_span){ (const uint8_t *)text, strlen(text) },
	        LARGE, &bytes, &ignored) == FB_OK &&
	    bytes > 0)
		return bytes;
#endif
	return standard;
}

bool
s3_in_parts(uint64_t size)
{
	return size > part_limit(LARGE);
}

static uint64_t
part_begin(const struct sending_parts *sending, uint32_t index)
{
	return index * sending->part_size;
}

static uint64_t
part_length(const struct sending_parts *sending, uint32_t index)
{
	uint64_t left = sending->size - part_begin(sending, index);

	return left < sending->part_size ? left : sending->part_size;
}

static int
md5_of_part(const struct sending_parts *sending, uint32_t index,
    char hex[FB_ETAG_SIZE], struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(READ_STEP, 1);
	struct fb_etag *etag = fb_etag_new();
	uint64_t at = part_begin(sending, index);
	uint64_t end = at + part_length(sending, index);
	int rc = FB_OK;

	while (rc == FB_OK && at < end) {
		size_t len =
		    end - at < READ_STEP ? (size_t)(end - at) : READ_STEP;
		size_t got = 0;

		rc = fb_io_pread(
		    sending->fd, sending->path, bytes, len, at, &got, err);
		if (rc == FB_OK && got < len)
			rc = fb_fail(err, FB_ECORRUPT,
			    "'%s' has become shorter", sending->path);
		fb_etag_add(etag, (struct fb_span){ bytes, got });
		at += got;
	}
	fb_etag_end(etag, hex);
	return rc;
}

/* Is what the server has of a part what the file has? */
static void
compare_part(void *arg, uint64_t number, uint64_t size, const char *etag)
{
	struct sending_parts *sending = arg;
	char hex[FB_ETAG_SIZE];
	uint32_t index;

	if (sending->rc < 0 || number < 1 || number > sending->count)
		return;
	index = (uint32_t)number - 1;
	if (size != part_length(sending, index))
		return;
	sending->rc = md5_of_part(sending, index, hex, &sending->err);
	if (sending->rc == FB_OK && hex[0] != '\0' && strcmp(hex, etag) == 0)
		memcpy(sending->parts[index].etag, etag, strlen(etag) + 1);
}

/* Go on with the upload that is there, or begin one. */
static int
find_or_begin(struct sending_parts *sending, struct fb_error *err)
{
	struct s3_store *s3 = sending->s3;
	int rc = s3_upload_find(s3, sending->key, sending->upload, err);

	for (uint32_t i = 0; i < sending->count; i++)
		sending->parts[i].etag[0] = '\0';
	sending->rc = FB_OK;
	if (rc == FB_OK && sending->upload[0] != '\0') {
		rc = s3_upload_parts(s3, sending->key, sending->upload,
		    compare_part, sending, err);
		if (rc == FB_OK && sending->rc < 0) {
			*err = sending->err;
			return sending->rc;
		}
		if (rc == FB_ENOTFOUND) {
			sending->upload[0] = '\0';
			rc = FB_OK;
		}
	}
	if (rc == FB_OK && sending->upload[0] == '\0')
		rc = s3_upload_begin(
		    s3, sending->key, sending->nonce, sending->upload, err);
	return rc;
}

/* Where something is locked S3 wants an MD5 with each part. */
static int
add_md5(const struct sending_parts *sending, uint32_t index,
    struct fb_buf *base64, struct s3_ask *ask, struct s3_pair *header,
    struct fb_error *err)
{
	struct s3_store *s3 = sending->s3;
	char hex[FB_ETAG_SIZE];
	uint8_t raw[FB_ETAG_LEN];
	int rc;

	if (s3->lock_mode == FB_LOCK_NONE && !atomic_load(&s3->checksums))
		return FB_OK;
	rc = md5_of_part(sending, index, hex, err);
	if (rc < 0 || hex[0] == '\0')
		return rc;
	rc = fb_text_unhex(
	    (struct fb_span){ (const uint8_t *)hex, strlen(hex) }, raw,
	    sizeof(raw), err);
	fb_base64_add(base64, (struct fb_span){ raw, sizeof(raw) });
	*header = (struct s3_pair){ "content-md5", fb_buf_str(base64) };
	ask->headers = header;
	ask->header_count = 1;
	return rc;
}

static int
send_part(struct sending_parts *sending, uint32_t index, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf md5 = { 0 };
	struct s3_pair header;
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_FREE char *number = fb_format("%u", index + 1);
	const struct s3_pair query[] = { { "partNumber", number },
		{ "uploadId", sending->upload } };
	char hex[FB_DIGEST_HEX_SIZE];
	struct s3_ask ask = { .method = "PUT",
		.key = sending->key,
		.query = query,
		.query_count = FB_COUNT(query),
		.body_path = sending->path,
		.body_fd = sending->fd,
		.body_offset = part_begin(sending, index),
		.body_size = part_length(sending, index),
		.payload = hex };
	int rc = s3_payload_file(sending->fd, sending->path, ask.body_offset,
	    ask.body_size, hex, err);

	if (rc == FB_OK)
		rc = add_md5(sending, index, &md5, &ask, &header, err);
	if (rc == FB_OK)
		rc = s3_ask(sending->s3, &ask, &answer, err);
	if (rc < 0)
		return rc;
	if (answer.http.status == 404) {
		atomic_store(&sending->again, true);
		return fb_fail(err, FB_ENOTFOUND, "the upload is gone");
	}
	if (answer.http.status != 200)
		return s3_fail(sending->s3, &answer, err);
	if (!s3_take_tag(fb_http_header(&answer.http, "etag"),
	        sending->parts[index].etag))
		return fb_fail(err, FB_EPROTO, "the answer has no ETag");
	return FB_OK;
}

static int
send_some(void *arg, struct fb_error *err)
{
	struct sending_parts *sending = arg;
	uint32_t index;
	int rc = FB_OK;

	while (rc == FB_OK && (index = sending->next++) < sending->count)
		if (sending->parts[index].etag[0] == '\0')
			rc = send_part(sending, index, err);
	if (rc < 0) /* nobody goes on */
		sending->next = sending->count;
	return rc;
}

static int
send_all(struct sending_parts *sending, struct fb_error *err)
{
	struct fb_group *group = fb_group_new();

	sending->next = 0;
	for (uint32_t i = 0; i < SENDERS && i < sending->count; i++)
		fb_group_start(group, send_some, sending);
	return fb_group_wait(group, err);
}

/* The tag that an object of these parts has, where tags are MD5; or "". */
static void
tag_of_all(const struct sending_parts *sending, char tag[FB_STORE_TAG_SIZE])
{
	struct fb_etag *etag = fb_etag_new();
	char hex[FB_ETAG_SIZE];
	struct fb_error ignored;
	bool md5 = true;

	for (uint32_t i = 0; md5 && i < sending->count; i++) {
		const char *one = sending->parts[i].etag;
		uint8_t raw[FB_ETAG_LEN];

		md5 = fb_text_unhex(
		          (struct fb_span){ (const uint8_t *)one, strlen(one) },
		          raw, sizeof(raw), &ignored) == FB_OK;
		if (md5)
			fb_etag_add(etag, (struct fb_span){ raw, sizeof(raw) });
	}
	fb_etag_end(etag, hex);
	tag[0] = '\0';
	if (md5 && hex[0] != '\0')
		(void)snprintf(
		    tag, FB_STORE_TAG_SIZE, "%s-%u", hex, sending->count);
}

/*
 * The lock is said when an upload is begun, so that one which is gone on with
 * later ends too soon; and radosgw does not listen to it.  What was looked at
 * anyway tells.
 */
static int
lock_object(const struct sending_parts *sending,
    const struct s3_answer *answer, struct fb_error *err)
{
	struct s3_store *s3 = sending->s3;
	int64_t now = fb_clock_wall_ns(), until = 0;
	int rc;

	if (s3->lock_mode == FB_LOCK_NONE)
		return FB_OK;
	rc = s3_read_lock(answer, &until, err);
	/* What is less than an eighth of it too short was said just now. */
	if (rc < 0 || until >= now + (int64_t)(s3->lock_ns / 9 * 8))
		return rc;
	return s3_extend(
	    &s3->base, sending->key, now + (int64_t)s3->lock_ns, err);
}

/* The object is as long as the file, and made of these parts. */
static int
check_object(const struct sending_parts *sending, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	const struct s3_ask ask = { .method = "HEAD", .key = sending->key };
	FB_AUTO_FREE char *wanted =
	    fb_format("%llu", (unsigned long long)sending->size);
	char tag[FB_STORE_TAG_SIZE], ours[FB_STORE_TAG_SIZE];
	const char *length;
	int rc = s3_ask(sending->s3, &ask, &answer, err);

	if (rc < 0)
		return rc;
	length = fb_http_header(&answer.http, "content-length");
	tag_of_all(sending, ours);
	if (answer.http.status != 200 || length == NULL ||
	    strcmp(length, wanted) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "what the server has put together is not as long as '%s'",
		    sending->path);
	/* Another form of tag says nothing that is known here. */
	if (ours[0] != '\0' &&
	    s3_take_tag(fb_http_header(&answer.http, "etag"), tag) &&
	    strlen(tag) == strlen(ours) && strchr(tag, '-') != NULL &&
	    strcmp(tag, ours) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "what the server has put together is not '%s'",
		    sending->path);
	return lock_object(sending, &answer, err);
}

static void
list_parts(const struct sending_parts *sending, struct fb_buf *dst)
{
	fb_buf_add_str(dst, "<CompleteMultipartUpload>");
	for (uint32_t i = 0; i < sending->count; i++)
		fb_buf_add_fmt(dst,
		    "<Part><PartNumber>%u</PartNumber><ETag>\"%s\"</ETag>"
		    "</Part>",
		    i + 1, sending->parts[i].etag);
	fb_buf_add_str(dst, "</CompleteMultipartUpload>");
}

/* One of ours may be there that was put together and not locked then. */
static int
is_there(
    const struct sending_parts *sending, bool *ret_there, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	const struct s3_ask ask = { .method = "HEAD", .key = sending->key };
	int rc = s3_ask(sending->s3, &ask, &answer, err);
	const char *nonce = fb_http_header(&answer.http, S3_NONCE_HEADER);

	*ret_there = answer.http.status == 200;
	if (rc == FB_OK && !*ret_there && answer.http.status != 404)
		rc = s3_fail(sending->s3, &answer, err);
	if (rc == FB_OK && *ret_there && nonce != NULL &&
	    strcmp(nonce, sending->nonce) == 0)
		rc = lock_object(sending, &answer, err);
	return rc;
}

static int
fail_exists(struct fb_error *err)
{
	return fb_fail(err, FB_EEXISTS, "there is such an object");
}

/* Make the object, unless there is one: the server looks, where it can. */
static int
complete(struct sending_parts *sending, struct fb_error *err)
{
	static const struct s3_pair if_none = { "if-none-match", "*" };
	struct s3_store *s3 = sending->s3;
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_BUF struct fb_buf body = { 0 };
	const struct s3_pair query[] = { { "uploadId", sending->upload } };
	struct s3_ask ask = { .method = "POST",
		.key = sending->key,
		.query = query,
		.query_count = 1,
		.headers = &if_none,
		.header_count =
		    !s3->leased && !fb_store_one_writer(&s3->base) };
	bool there, done = false, ours = false;
	int rc = is_there(sending, &there, err);

	if (rc == FB_OK && there)
		rc = fail_exists(err);
	if (rc < 0)
		return rc;
	list_parts(sending, &body);
	ask.body = fb_buf_span(&body);
	rc = s3_ask(s3, &ask, &answer, err);
	if (rc < 0)
		return rc;
	if (answer.http.status == 200) {
		rc = s3_completed_read(
		    fb_buf_span(&answer.http.body), &done, err);
		atomic_store(&sending->again, !done);
		if (rc == FB_OK && !done)
			rc = fb_fail(err, FB_EUNREACH,
			    "the server could not put the parts together");
		return rc;
	}
	if (answer.http.status != 404 && answer.http.status != 412)
		return s3_fail(s3, &answer, err);
	/* A try before this one, of whatever process, may have done it. */
	rc = s3_is_ours(
	    s3, sending->key, sending->nonce, sending->size, &ours, err);
	if (rc < 0 || ours)
		return rc;
	if (answer.http.status == 412)
		return fail_exists(err);
	atomic_store(&sending->again, true);
	return fb_fail(err, FB_ENOTFOUND, "the upload is gone");
}

static int
make_object(struct sending_parts *sending, struct fb_error *err)
{
	struct fb_error ignored = { 0 };
	bool there = false;
	int rc = is_there(sending, &there, err);

	if (rc == FB_OK && there)
		return fail_exists(err);
	for (int round = 0; rc == FB_OK; round++) {
		atomic_store(&sending->again, false);
		rc = find_or_begin(sending, err);
		if (rc == FB_OK)
			rc = send_all(sending, err);
		if (rc == FB_OK)
			rc = complete(sending, err);
		if (rc == FB_OK)
			return check_object(sending, err);
		if (rc == FB_EEXISTS)
			(void)!s3_upload_abort(sending->s3, sending->key,
			    sending->upload, &ignored);
		if (rc != FB_EEXISTS && atomic_load(&sending->again) &&
		    round + 1 < ROUNDS)
			rc = FB_OK;
	}
	return rc;
}

int
s3_create_in_parts(struct s3_store *s3, const char *key, const char *path,
    int fd, uint64_t size, const char *hex, struct fb_error *err)
{
	struct sending_parts sending = { .s3 = s3,
		.key = key,
		.path = path,
		.fd = fd,
		.size = size,
		.part_size = part_limit(PART_SIZE) };
	int rc;

	while (sending.part_size < (size + PARTS_MAX - 1) / PARTS_MAX)
		sending.part_size *= 2;
	sending.count =
	    (uint32_t)((size + sending.part_size - 1) / sending.part_size);
	sending.parts = fb_alloc(sending.count, sizeof(*sending.parts));
	/* What is there is ours when it is the same: whoever resumes it makes
	 * the same name for it. */
	memcpy(sending.nonce, hex, S3_NONCE_SIZE - 1);
	rc = make_object(&sending, err);
	free(sending.parts);
	return rc;
}
