#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>

#include "broken.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"

#define BLOCK_LEN 16
#define STEP_MAX  ((size_t)1 << 30)

#define TAG_FLAT 0x04

/* Looked up once: that takes longer than to encrypt a small frame. */
static const EVP_CIPHER *aes_ctr;
static EVP_MAC *hmac;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void
fetch(void)
{
	aes_ctr = EVP_CIPHER_fetch(NULL, "AES-256-CTR", NULL);
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

struct fb_cipher_stream {
	EVP_CIPHER_CTX *ctx;
};

struct fb_cipher_stream *
fb_cipher_stream_new(const struct fb_cipher_key *key)
{
	struct fb_cipher_stream *stream = fb_alloc(1, sizeof(*stream));

	(void)pthread_once(&fetched, fetch);
	stream->ctx = EVP_CIPHER_CTX_new();
	if (stream->ctx == NULL || aes_ctr == NULL ||
	    EVP_EncryptInit_ex2(
	        stream->ctx, aes_ctr, key->bytes, NULL, NULL) != 1)
		fb_crypto_broken("there is no AES-256-CTR");
	return stream;
}

static void
apply(EVP_CIPHER_CTX *ctx, const uint8_t *from, uint8_t *to, size_t len)
{
	int done = (int)len;

	if (EVP_EncryptUpdate(ctx, to, &done, from, (int)len) != 1 ||
	    (size_t)done != len)
		fb_crypto_broken("AES-256-CTR fails");
}

void
fb_cipher_stream_seek(struct fb_cipher_stream *stream, uint64_t offset)
{
	uint8_t counter[BLOCK_LEN] = { 0 }, skipped[BLOCK_LEN] = { 0 };
	uint64_t block = offset / BLOCK_LEN;

	for (int i = 0; i < 8; i++)
		counter[BLOCK_LEN - 1 - i] = (uint8_t)(block >> (8 * i));
	if (EVP_EncryptInit_ex2(stream->ctx, NULL, NULL, counter, NULL) != 1)
		fb_crypto_broken("AES-256-CTR fails");
	apply(stream->ctx, skipped, skipped, offset % BLOCK_LEN);
	OPENSSL_cleanse(skipped, sizeof(skipped));
}

void
fb_cipher_stream_apply(struct fb_cipher_stream *stream, const void *from,
    void *to, size_t len)
{
	const uint8_t *source = from;
	uint8_t *at = to;

	while (len > 0) {
		size_t step = len < STEP_MAX ? len : STEP_MAX;

		apply(stream->ctx, source, at, step);
		source += step;
		at += step;
		len -= step;
	}
}

void
fb_cipher_stream_free(struct fb_cipher_stream *stream)
{
	if (stream == NULL)
		return;
	EVP_CIPHER_CTX_free(stream->ctx);
	free(stream);
}

void
fb_cipher_apply(
    const struct fb_cipher_key *key, uint64_t offset, void *bytes, size_t len)
{
	struct fb_cipher_stream *stream = fb_cipher_stream_new(key);

	fb_cipher_stream_seek(stream, offset);
	fb_cipher_stream_apply(stream, bytes, bytes, len);
	fb_cipher_stream_free(stream);
}

void
fb_cipher_mac(const struct fb_cipher_key *key, struct fb_span message,
    struct fb_digest *ret_mac)
{
	static const uint8_t nothing[1];
	unsigned len = 0;

	if (HMAC(EVP_sha256(), key->bytes, FB_CIPHER_KEY_LEN,
	        message.len > 0 ? message.ptr : nothing, message.len,
	        ret_mac->bytes, &len) == NULL ||
	    len != FB_DIGEST_LEN)
		fb_crypto_broken("there is no HMAC-SHA-256");
}

/* Setting a key up takes longer than the digest of a few pieces does. */
static EVP_MAC_CTX *
open_mac(const struct fb_cipher_key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(
		                    OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end() };
	EVP_MAC_CTX *ctx;

	(void)pthread_once(&fetched, fetch);
	ctx = hmac != NULL ? EVP_MAC_CTX_new(hmac) : NULL;
	if (ctx == NULL ||
	    EVP_MAC_init(ctx, key->bytes, FB_CIPHER_KEY_LEN, params) != 1)
		fb_crypto_broken("there is no HMAC-SHA-256");
	return ctx;
}

static void
key_id(void *arg, struct fb_span digests, struct fb_digest *ret_digest)
{
	size_t len = 0;

	if (EVP_MAC_init(arg, NULL, 0, NULL) != 1 ||
	    EVP_MAC_update(arg, digests.ptr, digests.len) != 1 ||
	    EVP_MAC_final(arg, ret_digest->bytes, &len, FB_DIGEST_LEN) != 1 ||
	    len != FB_DIGEST_LEN)
		fb_crypto_broken("HMAC-SHA-256 fails");
}

void
fb_cipher_ids(const struct fb_cipher_key *domain, struct fb_digest_job *jobs,
    size_t count)
{
	EVP_MAC_CTX *ctx;

	if (domain == NULL) {
		fb_digest_pieces_many(jobs, count);
		return;
	}
	ctx = open_mac(domain);
	fb_digest_pieces_join(jobs, count, key_id, ctx);
	EVP_MAC_CTX_free(ctx);
}

void
fb_cipher_flat(const struct fb_cipher_key *domain, struct fb_digest *digest)
{
	uint8_t message[1 + FB_DIGEST_LEN] = { TAG_FLAT };

	if (domain == NULL)
		return;
	memcpy(message + 1, digest->bytes, FB_DIGEST_LEN);
	fb_cipher_mac(
	    domain, (struct fb_span){ message, sizeof(message) }, digest);
}

void
fb_cipher_wipe(struct fb_cipher_key *key)
{
	OPENSSL_cleanse(key->bytes, sizeof(key->bytes));
}
