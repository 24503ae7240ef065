#include "s3_sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/hmac.h"
#include "fleetbak/crypto/sign.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define SCOPE_END "aws4_request"

#define DAY_LEN 8 /* of "20130524" */

static struct fb_span
span_of(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text, strlen(text) };
}

void
s3_date(int64_t wall_ns, char text[S3_DATE_SIZE])
{
	time_t seconds = (time_t)(wall_ns / 1000000000);
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL ||
	    strftime(text, S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0)
		memcpy(text, "19700101T000000Z", S3_DATE_SIZE);
}

static bool
is_plain(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	    (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	    c == '~';
}

void
s3_add_encoded(struct fb_buf *dst, const char *text, bool path)
{
	for (; *text != '\0'; text++) {
		if (is_plain(*text) || (path && *text == '/'))
			fb_buf_add(dst, text, 1);
		else
			fb_buf_add_fmt(dst, "%%%02X", (unsigned char)*text);
	}
}

static int
compare_headers(const void *a, const void *b)
{
	const struct s3_pair *const *left = a, *const *right = b;

	return strcmp((*left)->name, (*right)->name);
}

static int
compare_encoded(const void *a, const void *b)
{
	char *const *left = a, *const *right = b;
	int name = strcmp(left[0], right[0]);

	return name != 0 ? name : strcmp(left[1], right[1]);
}

static char *
encoded(const char *text)
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };

	fb_buf_add_str(&buf, "");
	s3_add_encoded(&buf, text, false);
	return fb_strdup(fb_buf_str(&buf));
}

void
s3_add_query(struct fb_buf *dst, const struct s3_pair *pairs, size_t count)
{
	FB_AUTO_FREE char **texts = fb_alloc(2 * count + 1, sizeof(*texts));

	for (size_t i = 0; i < count; i++) {
		texts[2 * i] = encoded(pairs[i].name);
		texts[2 * i + 1] = encoded(pairs[i].value);
	}
	qsort(texts, count, 2 * sizeof(*texts), compare_encoded);
	for (size_t i = 0; i < count; i++) {
		fb_buf_add_fmt(dst, "%s%s=%s", i > 0 ? "&" : "", texts[2 * i],
		    texts[2 * i + 1]);
		free(texts[2 * i]);
		free(texts[2 * i + 1]);
	}
}

/* Without the blanks around it, and one for several inside. */
static void
add_trimmed(struct fb_buf *dst, const char *value)
{
	size_t before = dst->len;

	for (const char *c = value; *c != '\0'; c++) {
		bool blank = *c == ' ' || *c == '\t';
		const char *rest = c + strspn(c, " \t");

		if (!blank)
			fb_buf_add(dst, c, 1);
		else if (*rest != '\0' && dst->len > before) {
			fb_buf_add_str(dst, " ");
			c = rest - 1;
		}
	}
}

/* The canonical request, and which headers are in it. */
static void
add_request(
    struct fb_buf *dst, struct fb_buf *names, const struct s3_signing *signing)
{
	const struct s3_pair *sorted[S3_HEADERS_MAX] = { NULL };
	size_t count = signing->header_count < S3_HEADERS_MAX
	    ? signing->header_count
	    : S3_HEADERS_MAX;

	for (size_t i = 0; i < count; i++)
		sorted[i] = &signing->headers[i];
	qsort(sorted, count, sizeof(*sorted), compare_headers);
	fb_buf_add_fmt(dst, "%s\n%s\n%s\n", signing->method, signing->path,
	    signing->query);
	for (size_t i = 0; i < count; i++) {
		fb_buf_add_fmt(dst, "%s:", sorted[i]->name);
		add_trimmed(dst, sorted[i]->value);
		fb_buf_add_str(dst, "\n");
		fb_buf_add_fmt(
		    names, "%s%s", i > 0 ? ";" : "", sorted[i]->name);
	}
	fb_buf_add_fmt(dst, "\n%s\n%s", fb_buf_str(names), signing->payload);
}

/* The key of one day, region and service. */
static void
derive(const struct s3_keys *keys, const char *date,
    const struct s3_signing *signing, struct fb_digest *key)
{
	FB_AUTO_SECRET struct fb_buf first = { 0 };
	const char *const parts[] = { signing->region, signing->service,
		SCOPE_END };

	(void)fb_buf_reserve(&first, strlen(keys->secret) + 8);
	fb_buf_add_str(&first, "AWS4");
	fb_buf_add_str(&first, keys->secret);
	fb_hmac(fb_buf_span(&first),
	    (struct fb_span){ (const uint8_t *)date, DAY_LEN }, key);
	for (size_t i = 0; i < FB_COUNT(parts); i++) {
		struct fb_digest before = *key;

		fb_hmac((struct fb_span){ before.bytes, FB_DIGEST_LEN },
		    span_of(parts[i]), key);
		explicit_bzero(&before, sizeof(before));
	}
}

void
s3_add_authorization(struct fb_buf *dst, const struct s3_signing *signing,
    const struct s3_keys *keys, const char *date)
{
	FB_AUTO_BUF struct fb_buf request = { 0 };
	FB_AUTO_BUF struct fb_buf names = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *scope = fb_format("%.*s/%s/%s/" SCOPE_END, DAY_LEN,
	    date, signing->region, signing->service);
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest, key;

	fb_buf_add_str(&names, "");
	add_request(&request, &names, signing);
	fb_digest_of(fb_buf_span(&request), &digest);
	fb_digest_hex(&digest, hex);
	fb_buf_add_fmt(&text, ALGORITHM "\n%s\n%s\n%s", date, scope, hex);
	derive(keys, date, signing, &key);
	fb_hmac((struct fb_span){ key.bytes, FB_DIGEST_LEN },
	    fb_buf_span(&text), &digest);
	explicit_bzero(&key, sizeof(key));
	fb_digest_hex(&digest, hex);
	fb_buf_add_fmt(dst,
	    ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
	    keys->id, scope, fb_buf_str(&names), hex);
}
