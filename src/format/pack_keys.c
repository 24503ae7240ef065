/* The keys of packs, as they stand in an envelope. */
#include "fleetbak/format/pack_keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

#include "fields.h"
#include "lines.h"

#define HEAD_MAX 256
#define LINE_LEN (2 * FB_KEY_TAG_LEN + 1 + 2 * FB_CIPHER_KEY_LEN + 1)

void
fb_pack_key_id(const struct fb_cipher_key *key, uint8_t ret_id[FB_KEY_TAG_LEN])
{
	static const char message[] = "fleetbak-pack-key 1";
	struct fb_digest mac;

	fb_cipher_mac(key,
	    (struct fb_span){ (const uint8_t *)message, sizeof(message) - 1 },
	    &mac);
	memcpy(ret_id, mac.bytes, FB_KEY_TAG_LEN);
}

void
fb_domain_check(const struct fb_cipher_key *domain, const char *repository,
    struct fb_digest *ret_check)
{
	FB_AUTO_BUF struct fb_buf message = { 0 };

	fb_buf_add_fmt(&message, "fleetbak-domain 1%s", repository);
	fb_cipher_mac(domain, fb_buf_span(&message), ret_check);
}

static int
compare_entries(const void *a, const void *b)
{
	return memcmp(((const struct fb_pack_key_entry *)a)->id,
	    ((const struct fb_pack_key_entry *)b)->id, FB_KEY_TAG_LEN);
}

void
fb_pack_keys_sort(struct fb_pack_keys *keys)
{
	if (keys->count > 0)
		qsort(keys->items, keys->count, sizeof(*keys->items),
		    compare_entries);
}

void
fb_pack_keys_encode(const struct fb_pack_keys *keys, struct fb_buf *dst)
{
	/* It does not move: nothing is left where it was. */
	(void)fb_buf_reserve(dst, HEAD_MAX + keys->count * LINE_LEN);
	fb_buf_add_fmt(
	    dst, "fleetbak-keys 1\nsession %s\ndomain ", keys->session);
	put_hex(dst, keys->domain.bytes, FB_CIPHER_KEY_LEN);
	fb_buf_add_fmt(dst, "\nkeys %zu\n", keys->count);
	for (size_t i = 0; i < keys->count; i++) {
		put_hex(dst, keys->items[i].id, FB_KEY_TAG_LEN);
		fb_buf_add(dst, " ", 1);
		put_hex(dst, keys->items[i].key.bytes, FB_CIPHER_KEY_LEN);
		fb_buf_add(dst, "\n", 1);
	}
	fb_buf_add_str(dst, "end\n");
}

static int
decode_entry(struct fb_lines *lines, const struct fb_pack_key_entry *before,
    struct fb_pack_key_entry *entry, struct fb_error *err)
{
	uint8_t id[FB_KEY_TAG_LEN];
	struct fb_span line;
	int rc = fb_lines_next(lines, &line, err);

	if (rc < 0)
		return rc;
	if (!take_hex(&line, entry->id, FB_KEY_TAG_LEN) ||
	    !take_literal(&line, " ") ||
	    !take_hex(&line, entry->key.bytes, FB_CIPHER_KEY_LEN) ||
	    line.len > 0)
		return fb_lines_fail(lines, err, "not an id and a key");
	if (before != NULL && compare_entries(before, entry) >= 0)
		return fb_lines_fail(lines, err, "out of order");
	fb_pack_key_id(&entry->key, id);
	if (memcmp(id, entry->id, sizeof(id)) != 0)
		return fb_lines_fail(lines, err, "the key has another id");
	return FB_OK;
}

static int
decode_entries(
    struct fb_lines *lines, struct fb_pack_keys *keys, struct fb_error *err)
{
	uint64_t count;
	int rc = fb_lines_u64(lines, "keys", FB_PACK_KEYS_MAX, &count, err);

	if (rc < 0)
		return rc;
	if (count > lines->rest.len / LINE_LEN)
		return fb_lines_fail(lines, err, "fewer keys than it counts");
	keys->items = fb_alloc((size_t)count + 1, sizeof(*keys->items));
	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		rc = decode_entry(lines, i > 0 ? &keys->items[i - 1] : NULL,
		    &keys->items[i], err);
		keys->count++;
	}
	return rc;
}

int
fb_pack_keys_decode(
    struct fb_span text, struct fb_pack_keys *ret_keys, struct fb_error *err)
{
	struct fb_lines lines = { .what = "keys of packs", .rest = text };
	struct fb_pack_keys keys = { 0 };
	struct fb_digest domain;
	struct fb_span line;
	int rc;

	if ((rc = fb_lines_next(&lines, &line, err)) < 0 ||
	    (rc = fb_lines_version(&lines, line, "fleetbak-keys", 1, err)) <
	        0 ||
	    (rc = fb_lines_run_id(&lines, "session", keys.session, err)) < 0 ||
	    (rc = fb_lines_digest(&lines, "domain", &domain, err)) < 0)
		return rc;
	memcpy(keys.domain.bytes, domain.bytes, FB_CIPHER_KEY_LEN);
	if ((rc = decode_entries(&lines, &keys, err)) < 0 ||
	    (rc = fb_lines_exactly(&lines, "end", err)) < 0 ||
	    (rc = fb_lines_end(&lines, err)) < 0) {
		fb_pack_keys_release(&keys);
		return rc;
	}
	*ret_keys = keys;
	return FB_OK;
}

void
fb_pack_keys_release(struct fb_pack_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		fb_cipher_wipe(&keys->items[i].key);
	fb_cipher_wipe(&keys->domain);
	free(keys->items);
	*keys = (struct fb_pack_keys){ 0 };
}

void
fb_keys_key(const char *session, uint64_t number, char key[FB_KEYS_KEY_SIZE])
{
	(void)snprintf(
	    key, FB_KEYS_KEY_SIZE, "keys/%s.%" PRIu64 ".cms", session, number);
}

bool
fb_keys_key_parse(
    const char *key, char ret_session[FB_RUN_ID_SIZE], uint64_t *ret_number)
{
	struct fb_span rest = { (const uint8_t *)key, strlen(key) };
	char session[FB_RUN_ID_SIZE] = "";
	uint64_t number;

	if (!take_literal(&rest, "keys/") || rest.len < FB_RUN_ID_LEN ||
	    !fb_run_id_ok((const char *)rest.ptr, FB_RUN_ID_LEN))
		return false;
	memcpy(session, rest.ptr, FB_RUN_ID_LEN);
	rest.ptr += FB_RUN_ID_LEN;
	rest.len -= FB_RUN_ID_LEN;
	if (!take_literal(&rest, ".") ||
	    !take_number(&rest, FB_KEYS_NUMBER_MAX, &number) ||
	    !take_literal(&rest, ".cms") || rest.len > 0)
		return false;
	if (ret_session != NULL)
		memcpy(ret_session, session, sizeof(session));
	if (ret_number != NULL)
		*ret_number = number;
	return true;
}
