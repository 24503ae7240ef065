#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "bio.h"
#include "broken.h"
#include "certificate.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"

#define RAW_PUBLIC_LEN 32

/* Both kinds; the type in the header keeps them apart. */
struct fb_sign_key {
	EVP_PKEY *pkey;
	char id[FB_KEY_ID_SIZE];
};

struct fb_verify_key {
	EVP_PKEY *pkey;
	char id[FB_KEY_ID_SIZE];
};

/* Our errors say what matters; the queue of OpenSSL, kept per thread, would
 * only pile up. */
static int
fail_key(struct fb_error *err, const char *what)
{
	ERR_clear_error();
	return fb_fail(err, FB_EKEY, "%s", what);
}

static BIO *
bio_of(struct fb_span pem)
{
	BIO *bio;

	if (pem.len == 0 || pem.len > FB_SECRET_MAX)
		return NULL;
	bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	if (bio == NULL)
		fb_crypto_broken("no memory for a key");
	return bio;
}

static bool
is_ed25519(const EVP_PKEY *pkey)
{
	return pkey != NULL && EVP_PKEY_get_base_id(pkey) == EVP_PKEY_ED25519;
}

static int
set_id(const EVP_PKEY *pkey, char id[FB_KEY_ID_SIZE], struct fb_error *err)
{
	uint8_t raw[RAW_PUBLIC_LEN];
	size_t len = sizeof(raw);
	struct fb_digest digest;

	if (EVP_PKEY_get_raw_public_key(pkey, raw, &len) != 1 ||
	    len != sizeof(raw))
		return fail_key(err, "the key has no public half");
	fb_digest_of((struct fb_span){ raw, len }, &digest);
	fb_text_hex(digest.bytes, (FB_KEY_ID_SIZE - 1) / 2, id);
	return FB_OK;
}

int
fb_sign_key_parse(
    struct fb_span pem, struct fb_sign_key **ret_key, struct fb_error *err)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = fb_alloc(1, sizeof(*key));
	BIO *bio = bio_of(pem);
	int rc;

	if (bio != NULL)
		key->pkey =
		    PEM_read_bio_PrivateKey(bio, NULL, fb_no_password, NULL);
	BIO_free(bio);
	if (!is_ed25519(key->pkey)) {
		(void)fail_key(
		    err, "not an unencrypted Ed25519 private key in PEM");
		return fb_hint(
		    err, "openssl genpkey -algorithm ed25519 makes one");
	}
	rc = set_id(key->pkey, key->id, err);
	if (rc < 0)
		return rc;
	*ret_key = FB_STEAL(key);
	return FB_OK;
}

int
fb_verify_key_parse(
    struct fb_span pem, struct fb_verify_key **ret_key, struct fb_error *err)
{
	FB_AUTO_VERIFY_KEY struct fb_verify_key *key =
	    fb_alloc(1, sizeof(*key));
	BIO *bio = bio_of(pem);
	int rc;

	if (bio != NULL)
		key->pkey =
		    PEM_read_bio_PUBKEY(bio, NULL, fb_no_password, NULL);
	BIO_free(bio);
	if (!is_ed25519(key->pkey))
		return fail_key(err, "not an Ed25519 public key in PEM");
	rc = set_id(key->pkey, key->id, err);
	if (rc < 0)
		return rc;
	*ret_key = FB_STEAL(key);
	return FB_OK;
}

static void
write_public(EVP_PKEY *pkey, struct fb_buf *pem)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (bio == NULL || PEM_write_bio_PUBKEY(bio, pkey) != 1)
		fb_crypto_broken("no memory for a key");
	fb_crypto_take_bio(bio, pem);
}

int
fb_sign_generate(
    struct fb_buf *private_pem, struct fb_buf *public_pem, struct fb_error *err)
{
	EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *bio = BIO_new(BIO_s_mem());

	if (pkey == NULL || bio == NULL ||
	    PEM_write_bio_PKCS8PrivateKey(
	        bio, pkey, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(bio);
		EVP_PKEY_free(pkey);
		return fail_key(err, "cannot make an Ed25519 key");
	}
	fb_crypto_take_bio(bio, private_pem);
	write_public(pkey, public_pem);
	EVP_PKEY_free(pkey);
	return FB_OK;
}

int
fb_sign_key_public(const struct fb_sign_key *key, struct fb_buf *public_pem,
    struct fb_error *err)
{
	(void)err;
	write_public(key->pkey, public_pem);
	return FB_OK;
}

void
fb_sign_key_free(struct fb_sign_key *key)
{
	if (key == NULL)
		return;
	EVP_PKEY_free(key->pkey);
	free(key);
}

void
fb_sign_key_freep(struct fb_sign_key **key)
{
	fb_sign_key_free(*key);
}

void
fb_verify_key_free(struct fb_verify_key *key)
{
	if (key == NULL)
		return;
	EVP_PKEY_free(key->pkey);
	free(key);
}

void
fb_verify_key_freep(struct fb_verify_key **key)
{
	fb_verify_key_free(*key);
}

const char *
fb_sign_key_id(const struct fb_sign_key *key)
{
	return key->id;
}

const char *
fb_verify_key_id(const struct fb_verify_key *key)
{
	return key->id;
}

static EVP_MD_CTX *
new_context(void)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	if (context == NULL)
		fb_crypto_broken("no memory for a signature");
	return context;
}

int
fb_sign(const struct fb_sign_key *key, struct fb_span message,
    uint8_t ret_signature[FB_SIGNATURE_LEN], struct fb_error *err)
{
	EVP_MD_CTX *context = new_context();
	size_t len = FB_SIGNATURE_LEN;
	bool made =
	    EVP_DigestSignInit(context, NULL, NULL, NULL, key->pkey) == 1 &&
	    EVP_DigestSign(
	        context, ret_signature, &len, message.ptr, message.len) == 1 &&
	    len == FB_SIGNATURE_LEN;

	EVP_MD_CTX_free(context);
	return made ? FB_OK : fail_key(err, "cannot sign");
}

static bool
verifies(const struct fb_verify_key *key, struct fb_span message,
    struct fb_span signature)
{
	EVP_MD_CTX *context = new_context();
	bool good =
	    EVP_DigestVerifyInit(context, NULL, NULL, NULL, key->pkey) == 1 &&
	    EVP_DigestVerify(context, signature.ptr, signature.len, message.ptr,
	        message.len) == 1;

	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return good;
}

void
fb_trust_add(struct fb_trust *trust, struct fb_verify_key *key)
{
	trust->keys =
	    fb_realloc(trust->keys, trust->count + 1, sizeof(*trust->keys));
	trust->keys[trust->count++] = key;
}

void
fb_trust_release(struct fb_trust *trust)
{
	for (size_t i = 0; i < trust->count; i++)
		fb_verify_key_free(trust->keys[i]);
	free(trust->keys);
	*trust = (struct fb_trust){ 0 };
}

int
fb_trust_verify(const struct fb_trust *trust, struct fb_span message,
    struct fb_span signature, const char **ret_key_id, struct fb_error *err)
{
	if (signature.len != FB_SIGNATURE_LEN)
		return fb_fail_id(err, FB_EUNTRUSTED, "E-SIGNATURE",
		    "a signature is %d bytes long, not %zu", FB_SIGNATURE_LEN,
		    signature.len);
	for (size_t i = 0; i < trust->count; i++) {
		if (!verifies(trust->keys[i], message, signature))
			continue;
		if (ret_key_id != NULL)
			*ret_key_id = trust->keys[i]->id;
		return FB_OK;
	}
	return fb_fail_id(err, FB_EUNTRUSTED, "E-SIGNATURE",
	    "none of the %zu trusted keys made this signature", trust->count);
}
