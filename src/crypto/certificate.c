#include "certificate.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "bio.h"
#include "broken.h"
#include "fleetbak/base/err.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/crypto/envelope.h"

#define X509_V3 2

/* Whoever restores asks for the key, not for the date. */
#define NOT_BEFORE "20200101000000Z"
#define NOT_AFTER  "21200101000000Z"

int
fb_no_password(char *bytes, int size, int writing, void *arg)
{
	(void)bytes;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static bool
set_serial(X509 *certificate)
{
	uint8_t bytes[8];
	uint64_t serial = 0;

	fb_random(bytes, sizeof(bytes));
	memcpy(&serial, bytes, sizeof(serial));
	return ASN1_INTEGER_set_uint64(
	           X509_get_serialNumber(certificate), serial >> 1) == 1;
}

static bool
set_subject(X509 *certificate, const char *subject)
{
	X509_NAME *name = X509_get_subject_name(certificate);

	return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
	           (const unsigned char *)subject, -1, -1, 0) == 1 &&
	    X509_set_issuer_name(certificate, name) == 1;
}

/* The identifier of its key, by which a recipient can be named. */
static bool
add_key_id(X509 *certificate)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;
	bool good;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, certificate, certificate, NULL, NULL, 0);
	extension =
	    X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_key_identifier, "hash");
	good =
	    extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return good;
}

static X509 *
make(EVP_PKEY *pkey, EVP_PKEY *signer, const char *subject)
{
	X509 *certificate = X509_new();

	if (certificate == NULL ||
	    X509_set_version(certificate, X509_V3) != 1 ||
	    !set_serial(certificate) || !set_subject(certificate, subject) ||
	    ASN1_TIME_set_string(
	        X509_getm_notBefore(certificate), NOT_BEFORE) != 1 ||
	    ASN1_TIME_set_string(X509_getm_notAfter(certificate), NOT_AFTER) !=
	        1 ||
	    X509_set_pubkey(certificate, pkey) != 1 ||
	    !add_key_id(certificate) ||
	    X509_sign(certificate, signer, EVP_sha256()) == 0)
		fb_crypto_broken("cannot make a certificate");
	return certificate;
}

X509 *
fb_certificate_shell(EVP_PKEY *pkey)
{
	EVP_PKEY *signer = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *certificate;

	if (signer == NULL)
		fb_crypto_broken("cannot make a P-256 key");
	certificate = make(pkey, signer, "public key");
	EVP_PKEY_free(signer);
	return certificate;
}

int
fb_opener_generate(struct fb_buf *private_pem, struct fb_error *err)
{
	EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	BIO *bio = BIO_new(BIO_s_mem());

	if (pkey == NULL || bio == NULL ||
	    PEM_write_bio_PKCS8PrivateKey(
	        bio, pkey, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(bio);
		EVP_PKEY_free(pkey);
		ERR_clear_error();
		return fb_fail(err, FB_EKEY, "cannot make a P-256 key");
	}
	fb_crypto_take_bio(bio, private_pem);
	EVP_PKEY_free(pkey);
	return FB_OK;
}

void
fb_certificate_write(
    EVP_PKEY *pkey, const char *subject, struct fb_buf *certificate_pem)
{
	BIO *bio = BIO_new(BIO_s_mem());
	X509 *certificate = make(pkey, pkey, subject);

	if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1)
		fb_crypto_broken("no memory for a certificate");
	fb_crypto_take_bio(bio, certificate_pem);
	X509_free(certificate);
}
