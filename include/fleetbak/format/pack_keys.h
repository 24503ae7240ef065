/*
 * Keys of encrypted packs, as they stand in an envelope under keys/.
 *
 *	fleetbak-keys 1
 *	session <session id>
 *	domain <key, 64 hex>
 *	keys <count>
 *	<id, 32 hex> <key, 64 hex>      sorted by id, unique
 *	...
 *	end
 *
 * An id is the first 16 bytes of HMAC-SHA-256(key, "fleetbak-pack-key 1"): it
 * stands in the clear table of the pack and binds the key.
 * Spec: fleetbak-format(5), "Encryption".
 */
#ifndef FB_FORMAT_PACK_KEYS_H
#define FB_FORMAT_PACK_KEYS_H

#include "fleetbak/crypto/cipher.h"
#include "fleetbak/format/pack.h"

/* Of one envelope; its text has less than FB_ENVELOPE_PLAIN_MAX bytes. */
#define FB_PACK_KEYS_MAX 8192

struct fb_pack_key_entry {
	uint8_t id[FB_KEY_TAG_LEN];
	struct fb_cipher_key key;
};

struct fb_pack_keys {
	char session[FB_RUN_ID_SIZE];
	struct fb_cipher_key domain;
	struct fb_pack_key_entry *items; /* sorted by id */
	size_t count;
};

/* The id of a key. */
void fb_pack_key_id(
    const struct fb_cipher_key *key, uint8_t ret_id[FB_KEY_TAG_LEN]);

/* The tag of a domain in a repository (its 32 digits): the first half of what
 * `domain_check` of the format object is. */
void fb_domain_check(const struct fb_cipher_key *domain, const char *repository,
    struct fb_digest *ret_check);

void fb_pack_keys_sort(struct fb_pack_keys *keys);

/* Append the text; what `dst` held is wiped when it moves. */
void fb_pack_keys_encode(const struct fb_pack_keys *keys, struct fb_buf *dst);

/* Each key must have its id.  Errors: FB_ECORRUPT, FB_ETOONEW. */
FB_MUST_USE int fb_pack_keys_decode(
    struct fb_span text, struct fb_pack_keys *ret_keys, struct fb_error *err);

/* Wipes the keys. */
void fb_pack_keys_release(struct fb_pack_keys *keys);
#define FB_AUTO_PACK_KEYS FB_CLEANUP(fb_pack_keys_release)

/* "keys/<session>.<number>.cms". */
#define FB_KEYS_KEY_SIZE   64
#define FB_KEYS_NUMBER_MAX 999999999
void fb_keys_key(
    const char *session, uint64_t number, char key[FB_KEYS_KEY_SIZE]);

/* Whether `key` is one of those, in that spelling; the outputs may be NULL. */
bool fb_keys_key_parse(
    const char *key, char ret_session[FB_RUN_ID_SIZE], uint64_t *ret_number);

#endif
