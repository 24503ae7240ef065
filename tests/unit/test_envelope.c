#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/crypto/sign.h"

static struct fb_error err;

/* NIST SP 800-38A, F.5.5: CTR-AES256.Encrypt.  Its counter begins elsewhere,
 * so the key's stream is checked by its blocks: E(0), E(1), E(2^64 - 1). */
static const struct fb_cipher_key key = { { 0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca,
    0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81, 0x1f, 0x35,
    0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14,
    0xdf, 0xf4 } };

static void
stream_at(uint64_t offset, void *bytes, size_t len)
{
	memset(bytes, 0, len);
	fb_cipher_apply(&key, offset, bytes, len);
}

static void
any_range_is_the_same_stream(void **state)
{
	static uint8_t whole[100000], part[100000];

	(void)state;
	stream_at(0, whole, sizeof(whole));
	for (size_t from = 0; from < 100; from++)
		for (size_t len = 0; len < 70; len += 7) {
			stream_at(from, part, len);
			assert_memory_equal(part, whole + from, len);
		}
	stream_at(65535, part, 30000);
	assert_memory_equal(part, whole + 65535, 30000);
	fb_cipher_apply(&key, 0, whole, sizeof(whole));
	for (size_t i = 0; i < sizeof(whole); i++)
		assert_int_equal(whole[i], 0);
}

/* What `openssl enc -aes-256-ctr -K ... -iv 00` gives for zeros. */
static void
the_stream_is_that_of_openssl_enc(void **state)
{
	uint8_t bytes[16];
	char hex[33];

	(void)state;
	stream_at(0, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(hex, "e568f68194cf76d6174d4cc04310a854");
}

/* RFC 4231, test case 1 has a short key; zeros pad it to ours. */
static void
keyed_digests_follow_the_standard(void **state)
{
	struct fb_cipher_key short_key = { { 0 } };
	struct fb_digest mac;
	char hex[FB_DIGEST_HEX_SIZE];

	(void)state;
	memset(short_key.bytes, 0x0b, 20);
	fb_cipher_mac(&short_key, SPAN("Hi There"), &mac);
	fb_digest_hex(&mac, hex);
	assert_string_equal(hex,
	    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

static void
ids_are_keyed_and_plain_ones_stay(void **state)
{
	static uint8_t content[20000];
	struct fb_digest_job job = { .bytes = { content, sizeof(content) } };
	struct fb_digest plain, pieces[3], want;

	(void)state;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 7);
	fb_digest_pieces(job.bytes, &plain);
	fb_cipher_ids(NULL, &job, 1);
	assert_int_equal(fb_digest_cmp(&plain, &job.digest), 0);
	for (size_t i = 0; i < 3; i++)
		fb_digest_of(
		    (struct fb_span){ content + i * FB_PIECE_LEN,
		        i < 2 ? FB_PIECE_LEN
		              : sizeof(content) - 2 * (size_t)FB_PIECE_LEN },
		    &pieces[i]);
	fb_cipher_mac(&key,
	    (struct fb_span){ (const uint8_t *)pieces, sizeof(pieces) }, &want);
	fb_cipher_ids(&key, &job, 1);
	assert_int_equal(fb_digest_cmp(&want, &job.digest), 0);
	assert_int_not_equal(fb_digest_cmp(&plain, &job.digest), 0);
}

struct pair {
	struct fb_buf private_pem, certificate;
	struct fb_opener *opener;
};

static void
make_pair(struct pair *pair)
{
	*pair = (struct pair){ 0 };
	assert_ok(fb_opener_generate(&pair->private_pem, &err));
	assert_ok(fb_opener_parse(
	    fb_buf_span(&pair->private_pem), &pair->opener, &err));
	fb_opener_certificate(pair->opener, "recovery", &pair->certificate);
}

static void
release_pair(struct pair *pair)
{
	fb_secret_release(&pair->private_pem);
	fb_buf_release(&pair->certificate);
	fb_opener_free(pair->opener);
}

static void
opens(const struct fb_opener *opener, const struct fb_buf *envelope)
{
	FB_AUTO_SECRET struct fb_buf plain = { 0 };

	assert_ok(
	    fb_envelope_open(opener, fb_buf_span(envelope), &plain, &err));
	assert_string_equal(fb_buf_str(&plain), "a secret\r\n of ours\n");
}

static void
each_recipient_opens_and_nobody_else(void **state)
{
	FB_AUTO_RECIPIENTS struct fb_recipients *to = fb_recipients_new();
	FB_AUTO_BUF struct fb_buf envelope = { 0 };
	FB_AUTO_BUF struct fb_buf plain = { 0 };
	struct pair one, two, other;

	(void)state;
	make_pair(&one);
	make_pair(&two);
	make_pair(&other);
	assert_fails(FB_EKEY, fb_envelope_seal(to, SPAN("x"), &envelope, &err));
	assert_ok(fb_recipients_add(to, fb_buf_span(&one.certificate), &err));
	assert_ok(fb_recipients_add(to, fb_buf_span(&two.certificate), &err));
	assert_ok(fb_recipients_add(to, fb_buf_span(&one.certificate), &err));
	assert_int_equal(fb_recipients_count(to), 2);
	assert_string_equal(fb_recipients_id(to, 0), fb_opener_id(one.opener));
	assert_string_equal(fb_recipients_name(to, 1), "/CN=recovery");
	assert_ok(fb_envelope_seal(
	    to, SPAN("a secret\r\n of ours\n"), &envelope, &err));
	opens(one.opener, &envelope);
	opens(two.opener, &envelope);
	assert_fails(FB_EKEY,
	    fb_envelope_open(
	        other.opener, fb_buf_span(&envelope), &plain, &err));
	assert_int_equal(plain.len, 0);
	release_pair(&one);
	release_pair(&two);
	release_pair(&other);
}

static void
an_altered_envelope_does_not_open(void **state)
{
	FB_AUTO_RECIPIENTS struct fb_recipients *to = fb_recipients_new();
	FB_AUTO_BUF struct fb_buf envelope = { 0 };
	FB_AUTO_BUF struct fb_buf plain = { 0 };
	struct pair pair;
	size_t opened = 0;

	(void)state;
	make_pair(&pair);
	assert_ok(fb_recipients_add(to, fb_buf_span(&pair.certificate), &err));
	assert_ok(fb_envelope_seal(to, SPAN("a secret"), &envelope, &err));
	for (size_t i = 0; i < envelope.len; i++) {
		envelope.data[i] ^= 1;
		fb_buf_clear(&plain);
		if (fb_envelope_open(pair.opener, fb_buf_span(&envelope),
		        &plain, &err) == FB_OK) {
			opened++; /* who it is for may be named otherwise */
			assert_string_equal(fb_buf_str(&plain), "a secret");
		}
		envelope.data[i] ^= 1;
	}
	assert_true(opened < envelope.len / 2);
	fb_buf_add(&envelope, "x", 1);
	assert_fails(FB_ECORRUPT,
	    fb_envelope_open(
	        pair.opener, fb_buf_span(&envelope), &plain, &err));
	assert_fails(FB_ECORRUPT,
	    fb_envelope_open(pair.opener, SPAN("text"), &plain, &err));
	release_pair(&pair);
}

static void
public_keys_and_rsa_are_recipients_too(void **state)
{
	static const char *const kinds[] = {
		"rsa -pkeyopt rsa_keygen_bits:2048",
		"ec -pkeyopt ec_paramgen_curve:P-384"
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(kinds); i++) {
		FB_AUTO_RECIPIENTS struct fb_recipients *to =
		    fb_recipients_new();
		FB_AUTO_OPENER struct fb_opener *opener = NULL;
		FB_AUTO_BUF struct fb_buf secret = { 0 };
		FB_AUTO_BUF struct fb_buf shown = { 0 };
		FB_AUTO_BUF struct fb_buf envelope = { 0 };
		FB_AUTO_FREE char *make = fb_format(
		    "cmd:openssl genpkey -quiet -algorithm %s", kinds[i]);
		char path[] = "/tmp/fb-envelope-XXXXXX";
		FB_AUTO_FREE char *show = NULL;
		int fd = mkstemp(path);

		assert_ok(fb_secret_read(make, "/", true, &secret, &err));
		assert_true(fd >= 0);
		assert_int_equal(
		    write(fd, secret.data, secret.len), secret.len);
		assert_int_equal(close(fd), 0);
		show = fb_format("cmd:openssl pkey -pubout -in %s", path);
		assert_ok(fb_secret_read(show, "/", false, &shown, &err));
		assert_int_equal(unlink(path), 0);
		assert_ok(fb_recipients_add(to, fb_buf_span(&shown), &err));
		assert_string_equal(fb_recipients_name(to, 0), "");
		assert_ok(fb_opener_parse(fb_buf_span(&secret), &opener, &err));
		assert_string_equal(
		    fb_recipients_id(to, 0), fb_opener_id(opener));
		assert_ok(fb_envelope_seal(
		    to, SPAN("a secret\r\n of ours\n"), &envelope, &err));
		opens(opener, &envelope);
	}
}

static void
what_cannot_be_sealed_to_is_refused(void **state)
{
	FB_AUTO_RECIPIENTS struct fb_recipients *to = fb_recipients_new();
	struct fb_buf private_pem = { 0 }, public_pem = { 0 };
	struct fb_opener *opener;

	(void)state;
	assert_ok(fb_sign_generate(&private_pem, &public_pem, &err));
	assert_fails(
	    FB_EKEY, fb_recipients_add(to, fb_buf_span(&public_pem), &err));
	assert_string_equal(err.id, "E-RECIPIENT");
	assert_fails(
	    FB_EKEY, fb_recipients_add(to, fb_buf_span(&private_pem), &err));
	assert_fails(FB_EKEY, fb_recipients_add(to, SPAN(""), &err));
	assert_fails(
	    FB_EKEY, fb_opener_parse(fb_buf_span(&private_pem), &opener, &err));
	assert_int_equal(fb_recipients_count(to), 0);
	fb_secret_release(&private_pem);
	fb_buf_release(&public_pem);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_range_is_the_same_stream),
		cmocka_unit_test(the_stream_is_that_of_openssl_enc),
		cmocka_unit_test(keyed_digests_follow_the_standard),
		cmocka_unit_test(ids_are_keyed_and_plain_ones_stay),
		cmocka_unit_test(each_recipient_opens_and_nobody_else),
		cmocka_unit_test(an_altered_envelope_does_not_open),
		cmocka_unit_test(public_keys_and_rsa_are_recipients_too),
		cmocka_unit_test(what_cannot_be_sealed_to_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
