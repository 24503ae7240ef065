/* Attestations of packs. */
#include "fleetbak/format/attest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

#define ID_LEN   16 /* of a repository */
#define PREFIX   "attests/"
#define TAG_HEX  ((size_t)2 * FB_KEY_TAG_LEN)
#define PACK_HEX (FB_DIGEST_HEX_SIZE - 1)

void
fb_attestation_encode_signed(
    const struct fb_attestation *attestation, struct fb_buf *dst)
{
	char tag[2 * FB_KEY_TAG_LEN + 1];

	fb_text_hex(attestation->domain, FB_KEY_TAG_LEN, tag);
	fb_buf_add_fmt(dst,
	    "fleetbak-attestation 1\nrepository %s\ndomain %s\n",
	    attestation->repository, tag);
	fb_lines_add_digest(dst, "pack", &attestation->pack);
	fb_buf_add_fmt(dst, "offset %" PRIu32 "\nlength %" PRIu32 "\n",
	    attestation->offset, attestation->length);
	fb_lines_add_digest(dst, "table", &attestation->table);
	fb_buf_add_fmt(dst, "chunks %zu\n", attestation->count);
	for (size_t i = 0; i < attestation->count; i++) {
		char hex[FB_DIGEST_HEX_SIZE];

		fb_digest_hex(&attestation->ids[i], hex);
		fb_buf_add_fmt(dst, "%s\n", hex);
	}
}

void
fb_attestation_encode_signature(
    const struct fb_attestation *attestation, struct fb_buf *dst)
{
	fb_lines_add_signature(dst, attestation->signature);
}

/* So many bytes in hexadecimal. */
static int
take_hex(struct fb_lines *lines, const char *key, uint8_t *ret_bytes,
    size_t len, struct fb_error *err)
{
	struct fb_span value;
	int rc = fb_lines_value(lines, key, &value, err);

	if (rc < 0)
		return rc;
	return fb_text_unhex(value, ret_bytes, len, err) < 0
	    ? fb_lines_fail(
	          lines, err, "%s: not %zu hexadecimal digits", key, 2 * len)
	    : FB_OK;
}

static int
take_number(struct fb_lines *lines, const char *key, uint64_t max,
    uint32_t *ret_value, struct fb_error *err)
{
	uint64_t value;
	int rc = fb_lines_u64(lines, key, max, &value, err);

	if (rc == FB_OK)
		*ret_value = (uint32_t)value;
	return rc;
}

static int
take_ids(struct fb_lines *lines, struct fb_attestation *attestation,
    struct fb_error *err)
{
	uint64_t count;
	int rc = fb_lines_u64(
	    lines, "chunks", lines->rest.len / FB_DIGEST_HEX_SIZE, &count, err);

	if (rc < 0)
		return rc;
	if (count > FB_PACK_CHUNKS_MAX)
		return fb_lines_fail(lines, err, "chunks: too many");
	attestation->ids =
	    fb_alloc((size_t)count + 1, sizeof(*attestation->ids));
	attestation->count = (size_t)count;
	for (size_t i = 0; i < attestation->count; i++) {
		struct fb_span line;

		rc = fb_lines_next(lines, &line, err);
		if (rc < 0)
			return rc;
		if (fb_digest_parse(line, &attestation->ids[i], err) < 0)
			return fb_lines_fail(lines, err, "not an id");
	}
	return FB_OK;
}

static int
decode(struct fb_lines *lines, struct fb_attestation *attestation,
    size_t *ret_left, struct fb_error *err)
{
	uint8_t repository[ID_LEN];
	struct fb_span line;
	int rc;

	if ((rc = fb_lines_next(lines, &line, err)) < 0 ||
	    (rc = fb_lines_version(
	         lines, line, "fleetbak-attestation", 1, err)) < 0 ||
	    (rc = take_hex(lines, "repository", repository, ID_LEN, err)) < 0 ||
	    (rc = take_hex(lines, "domain", attestation->domain, FB_KEY_TAG_LEN,
	         err)) < 0 ||
	    (rc = fb_lines_digest(lines, "pack", &attestation->pack, err)) <
	        0 ||
	    (rc = take_number(lines, "offset", FB_PACK_SIZE_MAX,
	         &attestation->offset, err)) < 0 ||
	    (rc = take_number(lines, "length", FB_PACK_TABLE_MAX,
	         &attestation->length, err)) < 0 ||
	    (rc = fb_lines_digest(lines, "table", &attestation->table, err)) <
	        0 ||
	    (rc = take_ids(lines, attestation, err)) < 0)
		return rc;
	fb_text_hex(repository, ID_LEN, attestation->repository);
	*ret_left = lines->rest.len;
	rc = fb_lines_signature(lines, attestation->signature, err);
	return rc < 0 ? rc : fb_lines_end(lines, err);
}

int
fb_attestation_decode(struct fb_span text,
    struct fb_attestation *ret_attestation, struct fb_span *ret_signed,
    struct fb_error *err)
{
	struct fb_lines lines = { .what = "attestation", .rest = text };
	struct fb_attestation attestation = { 0 };
	size_t left = 0;
	int rc = decode(&lines, &attestation, &left, err);

	if (rc < 0) {
		fb_attestation_release(&attestation);
		return rc;
	}
	*ret_attestation = attestation;
	*ret_signed = (struct fb_span){ text.ptr, text.len - left };
	return FB_OK;
}

void
fb_attestation_release(struct fb_attestation *attestation)
{
	free(attestation->ids);
	*attestation = (struct fb_attestation){ 0 };
}

void
fb_attest_key(const uint8_t domain[FB_KEY_TAG_LEN],
    const struct fb_digest *pack, char key[FB_ATTEST_KEY_SIZE])
{
	char tag[2 * FB_KEY_TAG_LEN + 1], hex[FB_DIGEST_HEX_SIZE];

	fb_text_hex(domain, FB_KEY_TAG_LEN, tag);
	fb_digest_hex(pack, hex);
	(void)snprintf(key, FB_ATTEST_KEY_SIZE, PREFIX "%s/%s", tag, hex);
}

bool
fb_attest_key_parse(const char *key, struct fb_digest *ret_pack)
{
	const size_t head = sizeof(PREFIX) - 1;
	uint8_t tag[FB_KEY_TAG_LEN];
	struct fb_error ignored = { 0 };

	return strlen(key) == head + TAG_HEX + 1 + PACK_HEX &&
	    memcmp(key, PREFIX, head) == 0 && key[head + TAG_HEX] == '/' &&
	    fb_text_unhex(
	        (struct fb_span){ (const uint8_t *)key + head, TAG_HEX }, tag,
	        sizeof(tag), &ignored) == FB_OK &&
	    fb_digest_parse(
	        (struct fb_span){
	            (const uint8_t *)key + head + TAG_HEX + 1, PACK_HEX },
	        ret_pack, &ignored) == FB_OK;
}
