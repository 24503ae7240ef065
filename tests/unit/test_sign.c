#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/sign.h"

static struct fb_error err;

/* RFC 8032, 7.1, test 2. */
#define RFC_PRIVATE                                                          \
	"-----BEGIN PRIVATE KEY-----\n"                                      \
	"MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n" \
	"-----END PRIVATE KEY-----\n"
#define RFC_PUBLIC_HEX \
	"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
#define RFC_SIGNATURE_HEX                                                  \
	"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" \
	"085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"

#define RSA_PUBLIC                                                           \
	"-----BEGIN PUBLIC KEY-----\n"                                       \
	"MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMYp2xZ1Q0n0b9m2m8e1qj0bq1b8o7yY\n" \
	"-----END PUBLIC KEY-----\n"

struct pair {
	struct fb_sign_key *key;
	struct fb_trust trust;
};

static void
make_pair(struct pair *pair)
{
	struct fb_buf private_pem = { 0 }, public_pem = { 0 };
	struct fb_verify_key *verify;

	*pair = (struct pair){ 0 };
	assert_ok(fb_sign_generate(&private_pem, &public_pem, &err));
	assert_ok(
	    fb_sign_key_parse(fb_buf_span(&private_pem), &pair->key, &err));
	assert_ok(fb_verify_key_parse(fb_buf_span(&public_pem), &verify, &err));
	assert_string_equal(
	    fb_sign_key_id(pair->key), fb_verify_key_id(verify));
	fb_trust_add(&pair->trust, verify);
	fb_secret_release(&private_pem);
	fb_buf_release(&public_pem);
}

static void
release_pair(struct pair *pair)
{
	fb_sign_key_free(pair->key);
	fb_trust_release(&pair->trust);
}

static void
the_standard_vector_holds(void **state)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	uint8_t signature[FB_SIGNATURE_LEN];
	char hex[2 * FB_SIGNATURE_LEN + 1];

	(void)state;
	assert_ok(fb_sign_key_parse(SPAN(RFC_PRIVATE), &key, &err));
	assert_ok(fb_sign(key, SPAN("\x72"), signature, &err));
	for (size_t i = 0; i < sizeof(signature); i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", signature[i]);
	assert_string_equal(hex, RFC_SIGNATURE_HEX);
}

static void
a_key_id_is_the_start_of_the_digest_of_the_public_key(void **state)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	FB_AUTO_BUF struct fb_buf raw = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	(void)state;
	assert_ok(fb_digest_parse(SPAN(RFC_PUBLIC_HEX), &digest, &err));
	fb_digest_of((struct fb_span){ digest.bytes, 32 }, &digest);
	fb_digest_hex(&digest, hex);
	assert_ok(fb_sign_key_parse(SPAN(RFC_PRIVATE), &key, &err));
	assert_memory_equal(fb_sign_key_id(key), hex, 16);
	assert_int_equal(strlen(fb_sign_key_id(key)), 16);
}

static void
a_signature_verifies_and_names_its_key(void **state)
{
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_span span = { signature, sizeof(signature) };
	struct pair pair;
	const char *id = NULL;

	(void)state;
	make_pair(&pair);
	assert_ok(fb_sign(pair.key, SPAN("message"), signature, &err));
	assert_ok(
	    fb_trust_verify(&pair.trust, SPAN("message"), span, &id, &err));
	assert_string_equal(id, fb_sign_key_id(pair.key));
	assert_ok(
	    fb_trust_verify(&pair.trust, SPAN("message"), span, NULL, &err));
	release_pair(&pair);
}

static void
a_changed_message_or_signature_is_untrusted(void **state)
{
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_span span = { signature, sizeof(signature) };
	struct pair pair;

	(void)state;
	make_pair(&pair);
	assert_ok(fb_sign(pair.key, SPAN("message"), signature, &err));
	assert_fails(FB_EUNTRUSTED,
	    fb_trust_verify(&pair.trust, SPAN("massage"), span, NULL, &err));
	assert_string_equal(err.id, "E-SIGNATURE");
	assert_fails(FB_EUNTRUSTED,
	    fb_trust_verify(&pair.trust, SPAN(""), span, NULL, &err));
	for (size_t i = 0; i < sizeof(signature); i++) {
		signature[i] ^= 1;
		assert_fails(FB_EUNTRUSTED,
		    fb_trust_verify(
		        &pair.trust, SPAN("message"), span, NULL, &err));
		signature[i] ^= 1;
	}
	span.len--;
	assert_fails(FB_EUNTRUSTED,
	    fb_trust_verify(&pair.trust, SPAN("message"), span, NULL, &err));
	release_pair(&pair);
}

static void
only_trusted_keys_count_but_any_of_them(void **state)
{
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_span span = { signature, sizeof(signature) };
	struct fb_trust nobody = { 0 };
	struct pair a, b;
	const char *id;

	(void)state;
	make_pair(&a);
	make_pair(&b);
	assert_ok(fb_sign(b.key, SPAN("m"), signature, &err));
	assert_fails(FB_EUNTRUSTED,
	    fb_trust_verify(&a.trust, SPAN("m"), span, NULL, &err));
	assert_fails(FB_EUNTRUSTED,
	    fb_trust_verify(&nobody, SPAN("m"), span, NULL, &err));

	fb_trust_add(&a.trust, b.trust.keys[0]);
	b.trust.count = 0;
	assert_ok(fb_trust_verify(&a.trust, SPAN("m"), span, &id, &err));
	assert_string_equal(id, fb_sign_key_id(b.key));
	release_pair(&a);
	release_pair(&b);
}

static void
the_public_half_is_in_the_private_key(void **state)
{
	struct fb_buf private_pem = { 0 }, public_pem = { 0 }, again = { 0 };
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;

	(void)state;
	assert_ok(fb_sign_generate(&private_pem, &public_pem, &err));
	assert_ok(fb_sign_key_parse(fb_buf_span(&private_pem), &key, &err));
	assert_ok(fb_sign_key_public(key, &again, &err));
	assert_string_equal(fb_buf_str(&again), fb_buf_str(&public_pem));
	assert_memory_equal(public_pem.data, "-----BEGIN PUBLIC KEY-----", 26);
	fb_secret_release(&private_pem);
	fb_buf_release(&public_pem);
	fb_buf_release(&again);
}

static void
what_is_not_such_a_key_is_refused(void **state)
{
	static const char *const bad[] = { "", "secret",
		"-----BEGIN PRIVATE KEY-----\n", RSA_PUBLIC,
		"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n"
		"-----END PRIVATE KEY-----\n" };
	struct fb_buf private_pem = { 0 }, public_pem = { 0 };
	struct fb_verify_key *verify = NULL;
	struct fb_sign_key *sign = NULL;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_span pem = { (const uint8_t *)bad[i],
			strlen(bad[i]) };

		assert_fails(FB_EKEY, fb_sign_key_parse(pem, &sign, &err));
		assert_fails(FB_EKEY, fb_verify_key_parse(pem, &verify, &err));
	}
	assert_ok(fb_sign_generate(&private_pem, &public_pem, &err));
	assert_fails(
	    FB_EKEY, fb_sign_key_parse(fb_buf_span(&public_pem), &sign, &err));
	assert_fails(FB_EKEY,
	    fb_verify_key_parse(fb_buf_span(&private_pem), &verify, &err));
	assert_null(sign);
	assert_null(verify);
	fb_secret_release(&private_pem);
	fb_buf_release(&public_pem);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_standard_vector_holds),
		cmocka_unit_test(
		    a_key_id_is_the_start_of_the_digest_of_the_public_key),
		cmocka_unit_test(a_signature_verifies_and_names_its_key),
		cmocka_unit_test(a_changed_message_or_signature_is_untrusted),
		cmocka_unit_test(only_trusted_keys_count_but_any_of_them),
		cmocka_unit_test(the_public_half_is_in_the_private_key),
		cmocka_unit_test(what_is_not_such_a_key_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
