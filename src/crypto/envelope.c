#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "broken.h"
#include "certificate.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/crypto/sign.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 16384

#define NAME_SIZE 128

struct recipient {
	X509 *certificate;
	bool shell; /* ours, around a bare public key */
	char id[FB_RECIPIENT_ID_SIZE];
	char name[NAME_SIZE];
};

struct fb_recipients {
	struct recipient items[FB_RECIPIENTS_MAX];
	size_t count;
};

struct fb_opener {
	EVP_PKEY *pkey;
	char id[FB_RECIPIENT_ID_SIZE];
};

static int
fail_envelope(
    struct fb_error *err, enum fb_code code, const char *id, const char *what)
{
	ERR_clear_error();
	return fb_fail_id(err, code, id, "%s", what);
}

struct fb_recipients *
fb_recipients_new(void)
{
	return fb_alloc(1, sizeof(struct fb_recipients));
}

void
fb_recipients_free(struct fb_recipients *recipients)
{
	for (size_t i = 0; recipients != NULL && i < recipients->count; i++)
		X509_free(recipients->items[i].certificate);
	free(recipients);
}

void
fb_recipients_freep(struct fb_recipients **recipients)
{
	fb_recipients_free(*recipients);
}

size_t
fb_recipients_count(const struct fb_recipients *recipients)
{
	return recipients->count;
}

const char *
fb_recipients_id(const struct fb_recipients *recipients, size_t at)
{
	return recipients->items[at].id;
}

const char *
fb_recipients_name(const struct fb_recipients *recipients, size_t at)
{
	return recipients->items[at].name;
}

/* Keys that an envelope can be sealed to, by everybody who can open it. */
static bool
is_usable(EVP_PKEY *pkey)
{
	char group[32];
	size_t len;

	if (EVP_PKEY_is_a(pkey, "RSA"))
		return EVP_PKEY_get_bits(pkey) >= RSA_BITS_MIN &&
		    EVP_PKEY_get_bits(pkey) <= RSA_BITS_MAX;
	return EVP_PKEY_is_a(pkey, "EC") &&
	    EVP_PKEY_get_group_name(pkey, group, sizeof(group), &len) == 1 &&
	    (strcmp(group, "prime256v1") == 0 ||
	        strcmp(group, "secp384r1") == 0 ||
	        strcmp(group, "secp521r1") == 0);
}

static void
set_id(EVP_PKEY *pkey, char id[FB_RECIPIENT_ID_SIZE])
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(pkey, &der);
	struct fb_digest digest;

	if (len <= 0)
		fb_crypto_broken("a public key has no encoding");
	fb_digest_of((struct fb_span){ der, (size_t)len }, &digest);
	OPENSSL_free(der);
	fb_text_hex(digest.bytes, (FB_RECIPIENT_ID_SIZE - 1) / 2, id);
}

static void
set_name(X509 *certificate, char name[NAME_SIZE])
{
	X509_NAME_oneline(X509_get_subject_name(certificate), name, NAME_SIZE);
	for (char *c = name; *c != '\0'; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
}

static BIO *
bio_of(struct fb_span bytes)
{
	BIO *bio = BIO_new_mem_buf(bytes.ptr, (int)bytes.len);

	if (bio == NULL)
		fb_crypto_broken("no memory for an envelope");
	return bio;
}

/* The certificate in it, or the public key; one of them or neither. */
static void
read_recipient(struct fb_span pem, X509 **certificate, EVP_PKEY **pkey)
{
	BIO *bio;

	*certificate = NULL;
	*pkey = NULL;
	if (pem.len == 0 || pem.len > FB_SECRET_MAX)
		return;
	bio = bio_of(pem);
	*certificate = PEM_read_bio_X509(bio, NULL, fb_no_password, NULL);
	BIO_free(bio);
	if (*certificate != NULL)
		return;
	bio = bio_of(pem);
	*pkey = PEM_read_bio_PUBKEY(bio, NULL, fb_no_password, NULL);
	BIO_free(bio);
}

int
fb_recipients_add(
    struct fb_recipients *recipients, struct fb_span pem, struct fb_error *err)
{
	struct recipient fresh = { 0 };
	EVP_PKEY *pkey;

	read_recipient(pem, &fresh.certificate, &pkey);
	if (fresh.certificate == NULL && pkey == NULL) {
		(void)fail_envelope(err, FB_EKEY, "E-RECIPIENT",
		    "neither a certificate nor a public key in PEM");
		return fb_hint(err, "a private key does not belong here");
	}
	if (fresh.certificate != NULL)
		pkey = X509_get_pubkey(fresh.certificate);
	if (pkey == NULL || !is_usable(pkey)) {
		X509_free(fresh.certificate);
		EVP_PKEY_free(pkey);
		(void)fail_envelope(err, FB_EKEY, "E-RECIPIENT",
		    "nothing can be sealed to a key of this kind");
		return fb_hint(
		    err, "RSA of 2048 bits or more, P-256, P-384 or P-521");
	}
	set_id(pkey, fresh.id);
	if (fresh.certificate != NULL) {
		set_name(fresh.certificate, fresh.name);
	} else {
		fresh.certificate = fb_certificate_shell(pkey);
		fresh.shell = true;
	}
	EVP_PKEY_free(pkey);
	for (size_t i = 0; i < recipients->count; i++)
		if (strcmp(recipients->items[i].id, fresh.id) == 0) {
			X509_free(fresh.certificate);
			return FB_OK;
		}
	if (recipients->count == FB_RECIPIENTS_MAX) {
		X509_free(fresh.certificate);
		return fail_envelope(err, FB_EKEY, "E-RECIPIENT",
		    "more recipients than an envelope can have");
	}
	recipients->items[recipients->count++] = fresh;
	return FB_OK;
}

static bool
set_oaep(CMS_RecipientInfo *info)
{
	EVP_PKEY_CTX *ctx = CMS_RecipientInfo_get0_pkey_ctx(info);

	return ctx != NULL &&
	    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
	    EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) > 0;
}

/* Its default is SHA-1. */
static bool
set_kdf(CMS_RecipientInfo *info)
{
	EVP_PKEY_CTX *ctx = CMS_RecipientInfo_get0_pkey_ctx(info);

	return ctx != NULL &&
	    EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, EVP_sha256()) > 0;
}

static bool
add_recipient(CMS_ContentInfo *cms, const struct recipient *recipient)
{
	EVP_PKEY *pkey = X509_get0_pubkey(recipient->certificate);
	CMS_RecipientInfo *info =
	    CMS_add1_recipient_cert(cms, recipient->certificate,
	        CMS_KEY_PARAM | (recipient->shell ? CMS_USE_KEYID : 0u));

	if (info == NULL)
		return false;
	return EVP_PKEY_is_a(pkey, "RSA") ? set_oaep(info) : set_kdf(info);
}

int
fb_envelope_seal(const struct fb_recipients *recipients, struct fb_span secret,
    struct fb_buf *dst, struct fb_error *err)
{
	unsigned flags = CMS_BINARY | CMS_PARTIAL;
	CMS_ContentInfo *cms;
	BIO *plain, *sealed = BIO_new(BIO_s_mem());
	char *bytes = NULL;
	bool good;

	if (recipients == NULL || recipients->count == 0) {
		BIO_free(sealed);
		return fail_envelope(
		    err, FB_EKEY, "E-RECIPIENT", "there is nobody to seal to");
	}
	plain = bio_of(secret);
	cms = CMS_encrypt(NULL, NULL, EVP_aes_256_gcm(), flags);
	good = sealed != NULL && cms != NULL &&
	    secret.len <= FB_ENVELOPE_PLAIN_MAX;
	for (size_t i = 0; good && i < recipients->count; i++)
		good = add_recipient(cms, &recipients->items[i]);
	good = good && CMS_final(cms, plain, NULL, flags) == 1 &&
	    i2d_CMS_bio(sealed, cms) == 1;
	if (good) {
		long len = BIO_get_mem_data(sealed, &bytes);

		fb_buf_add(dst, bytes, (size_t)len);
	}
	CMS_ContentInfo_free(cms);
	BIO_free(plain);
	BIO_free(sealed);
	return good ? FB_OK
	            : fail_envelope(err, FB_EKEY, "E-RECIPIENT",
	                  "OpenSSL does not seal to these recipients");
}

int
fb_opener_parse(
    struct fb_span pem, struct fb_opener **ret_opener, struct fb_error *err)
{
	EVP_PKEY *pkey = NULL;
	struct fb_opener *opener;

	if (pem.len > 0 && pem.len <= FB_SECRET_MAX) {
		BIO *bio = bio_of(pem);

		pkey = PEM_read_bio_PrivateKey(bio, NULL, fb_no_password, NULL);
		BIO_free(bio);
	}
	if (pkey == NULL || !is_usable(pkey)) {
		EVP_PKEY_free(pkey);
		return fail_envelope(err, FB_EKEY, "E-KEY",
		    "not an unencrypted RSA or EC private key in PEM");
	}
	opener = fb_alloc(1, sizeof(*opener));
	opener->pkey = pkey;
	set_id(pkey, opener->id);
	*ret_opener = opener;
	return FB_OK;
}

void
fb_opener_certificate(const struct fb_opener *opener, const char *subject,
    struct fb_buf *certificate_pem)
{
	fb_certificate_write(opener->pkey, subject, certificate_pem);
}

void
fb_opener_free(struct fb_opener *opener)
{
	if (opener == NULL)
		return;
	EVP_PKEY_free(opener->pkey);
	free(opener);
}

void
fb_opener_freep(struct fb_opener **opener)
{
	fb_opener_free(*opener);
}

const char *
fb_opener_id(const struct fb_opener *opener)
{
	return opener->id;
}

/* Nothing but what we seal: no other cipher, nothing without a tag. */
static CMS_ContentInfo *
parse_envelope(struct fb_span envelope)
{
	CMS_ContentInfo *cms;
	BIO *bio;

	if (envelope.len == 0 || envelope.len > FB_ENVELOPE_MAX)
		return NULL;
	bio = bio_of(envelope);
	cms = d2i_CMS_bio(bio, NULL);
	if (cms != NULL &&
	    (BIO_pending(bio) > 0 ||
	        OBJ_obj2nid(CMS_get0_type(cms)) !=
	            NID_id_smime_ct_authEnvelopedData)) {
		CMS_ContentInfo_free(cms);
		cms = NULL;
	}
	BIO_free(bio);
	return cms;
}

static bool
has_rek(const struct fb_recipients *recipients, CMS_RecipientEncryptedKey *rek)
{
	for (size_t i = 0; i < recipients->count; i++)
		if (CMS_RecipientEncryptedKey_cert_cmp(
		        rek, recipients->items[i].certificate) == 0)
			return true;
	return false;
}

static bool
has_info(const struct fb_recipients *recipients, CMS_RecipientInfo *info)
{
	STACK_OF(CMS_RecipientEncryptedKey) * reks;
	bool all = true;

	if (CMS_RecipientInfo_type(info) == CMS_RECIPINFO_AGREE) {
		reks = CMS_RecipientInfo_kari_get0_reks(info);
		for (int i = 0;
		     i < sk_CMS_RecipientEncryptedKey_num(reks) && all; i++)
			all = has_rek(recipients,
			    sk_CMS_RecipientEncryptedKey_value(reks, i));
		return all;
	}
	if (CMS_RecipientInfo_type(info) != CMS_RECIPINFO_TRANS)
		return false;
	for (size_t i = 0; i < recipients->count; i++)
		if (CMS_RecipientInfo_ktri_cert_cmp(
		        info, recipients->items[i].certificate) == 0)
			return true;
	return false;
}

bool
fb_envelope_is_for(
    const struct fb_recipients *recipients, struct fb_span envelope)
{
	CMS_ContentInfo *cms = parse_envelope(envelope);
	STACK_OF(CMS_RecipientInfo) *infos =
	    cms != NULL ? CMS_get0_RecipientInfos(cms) : NULL;
	bool all = infos != NULL;

	for (int i = 0; all && i < sk_CMS_RecipientInfo_num(infos); i++)
		all = has_info(
		    recipients, sk_CMS_RecipientInfo_value(infos, i));
	CMS_ContentInfo_free(cms);
	ERR_clear_error();
	return all;
}

int
fb_envelope_open(const struct fb_opener *opener, struct fb_span envelope,
    struct fb_buf *dst, struct fb_error *err)
{
	CMS_ContentInfo *cms = parse_envelope(envelope);
	BIO *plain;
	char *bytes = NULL;
	long len = 0;
	bool good;

	if (cms == NULL)
		return fail_envelope(
		    err, FB_ECORRUPT, "E-ENVELOPE", "not an envelope of CMS");
	plain = BIO_new(BIO_s_mem());
	good = plain != NULL &&
	    CMS_decrypt(cms, opener->pkey, NULL, NULL, plain, CMS_BINARY) == 1;
	if (plain != NULL)
		len = BIO_get_mem_data(plain, &bytes);
	if (good && len > 0)
		fb_buf_add(dst, bytes, (size_t)len);
	if (len > 0)
		OPENSSL_cleanse(bytes, (size_t)len);
	BIO_free(plain);
	CMS_ContentInfo_free(cms);
	return good ? FB_OK
	            : fail_envelope(err, FB_EKEY, "E-DECRYPT-KEY",
	                  "this key does not open it");
}
