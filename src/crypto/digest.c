#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "broken.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"

/*
 * Fetching an algorithm and making a context cost more than hashing a small
 * chunk.  The algorithm is fetched once per process; each thread keeps a
 * context for fb_digest_of(), freed when the thread ends.
 */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;
static pthread_key_t context_key;

static void
free_context(void *context)
{
	EVP_MD_CTX_free(context);
}

static void
fetch_sha256(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	if (sha256 == NULL || pthread_key_create(&context_key, free_context))
		fb_crypto_broken("SHA-256 is not to be had");
}

static EVP_MD_CTX *
thread_context(void)
{
	EVP_MD_CTX *context;

	(void)pthread_once(&once, fetch_sha256);
	context = pthread_getspecific(context_key);
	if (context != NULL)
		return context;
	context = EVP_MD_CTX_new();
	if (context == NULL || pthread_setspecific(context_key, context))
		fb_crypto_broken("no memory for a hash");
	return context;
}

static void
must(int one)
{
	if (one != 1)
		fb_crypto_broken("SHA-256 failed");
}

void
fb_digest_of2(struct fb_span a, struct fb_span b, struct fb_digest *ret_digest)
{
	EVP_MD_CTX *context = thread_context();

	must(EVP_DigestInit_ex2(context, sha256, NULL));
	must(EVP_DigestUpdate(context, a.ptr, a.len));
	if (b.len > 0)
		must(EVP_DigestUpdate(context, b.ptr, b.len));
	must(EVP_DigestFinal_ex(context, ret_digest->bytes, NULL));
}

void
fb_digest_of(struct fb_span bytes, struct fb_digest *ret_digest)
{
	fb_digest_of2(bytes, (struct fb_span){ NULL, 0 }, ret_digest);
}

struct fb_digester {
	EVP_MD_CTX *context;
};

struct fb_digester *
fb_digester_new(void)
{
	struct fb_digester *digester = fb_alloc(1, sizeof(*digester));

	(void)pthread_once(&once, fetch_sha256);
	digester->context = EVP_MD_CTX_new();
	if (digester->context == NULL)
		fb_crypto_broken("no memory for a hash");
	must(EVP_DigestInit_ex2(digester->context, sha256, NULL));
	return digester;
}

void
fb_digester_add(struct fb_digester *digester, struct fb_span bytes)
{
	must(EVP_DigestUpdate(digester->context, bytes.ptr, bytes.len));
}

void
fb_digester_peek(
    const struct fb_digester *digester, struct fb_digest *ret_digest)
{
	EVP_MD_CTX *context = thread_context();

	must(EVP_MD_CTX_copy_ex(context, digester->context));
	must(EVP_DigestFinal_ex(context, ret_digest->bytes, NULL));
}

void
fb_digester_free(struct fb_digester *digester)
{
	if (digester == NULL)
		return;
	EVP_MD_CTX_free(digester->context);
	free(digester);
}

void
fb_digester_freep(struct fb_digester **digester)
{
	fb_digester_free(*digester);
}

void
fb_digest_base64(
    const struct fb_digest *digest, char text[FB_DIGEST_BASE64_SIZE])
{
	(void)EVP_EncodeBlock(
	    (unsigned char *)text, digest->bytes, FB_DIGEST_LEN);
}

void
fb_digest_hex(const struct fb_digest *digest, char text[FB_DIGEST_HEX_SIZE])
{
	fb_text_hex(digest->bytes, FB_DIGEST_LEN, text);
}

int
fb_digest_parse(
    struct fb_span text, struct fb_digest *ret_digest, struct fb_error *err)
{
	struct fb_digest digest;
	int rc = fb_text_unhex(text, digest.bytes, FB_DIGEST_LEN, err);

	if (rc < 0)
		return fb_wrap(err, "SHA-256");
	*ret_digest = digest;
	return FB_OK;
}
