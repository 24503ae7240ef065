/*
 * The signer against what AWS publishes: the examples of the S3 reference
 * ("Signature Calculations for the Authorization Header") and cases of the
 * aws-sig-v4-test-suite.
 */
#include "test.h"

#include <stdio.h>
#include <string.h>

#include "../../src/store/s3_sign.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/hmac.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* 2013-05-24T00:00:00Z and 2015-08-30T12:36:00Z */
#define DAY_OF_S3    INT64_C(1369353600)
#define DAY_OF_SUITE INT64_C(1440938160)

static void
signs(const struct s3_signing *signing, const struct s3_keys *keys,
    int64_t seconds, const char *names, const char *signature)
{
	FB_AUTO_BUF struct fb_buf got = { 0 };
	FB_AUTO_BUF struct fb_buf want = { 0 };
	char date[S3_DATE_SIZE];

	s3_date(seconds * 1000000000, date);
	s3_add_authorization(&got, signing, keys, date);
	fb_buf_add_fmt(&want,
	    "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request, "
	    "SignedHeaders=%s, Signature=%s",
	    keys->id, date, signing->service, names, signature);
	assert_string_equal(fb_buf_str(&got), fb_buf_str(&want));
}

static void
s3(const char *method, const char *path, const struct s3_pair *query,
    size_t query_count, const struct s3_pair *more, size_t more_count,
    const char *payload, const char *names, const char *signature)
{
	static const struct s3_keys keys = { "AKIAIOSFODNN7EXAMPLE",
		"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
	struct s3_pair headers[S3_HEADERS_MAX] = {
		{ "host", "examplebucket.s3.amazonaws.com" },
		{ "x-amz-date", "20130524T000000Z" },
		{ "x-amz-content-sha256", payload },
	};
	FB_AUTO_BUF struct fb_buf where = { 0 };
	FB_AUTO_BUF struct fb_buf asked = { 0 };
	struct s3_signing signing = { .method = method,
		.headers = headers,
		.header_count = 3 + more_count,
		.payload = payload,
		.region = "us-east-1",
		.service = "s3" };

	for (size_t i = 0; i < more_count; i++)
		headers[3 + i] = more[i];
	s3_add_encoded(&where, path, true);
	s3_add_query(&asked, query, query_count);
	signing.path = fb_buf_str(&where);
	signing.query = fb_buf_str(&asked);
	signs(&signing, &keys, DAY_OF_S3, names, signature);
}

static void
the_examples_of_the_s3_reference(void **state)
{
	static const struct s3_pair range[] = { { "range", "bytes=0-9" } };
	static const struct s3_pair put[] = {
		{ "date", "Fri, 24 May 2013 00:00:00 GMT" },
		{ "x-amz-storage-class", "REDUCED_REDUNDANCY" },
	};
	static const struct s3_pair lifecycle[] = { { "lifecycle", "" } };
	static const struct s3_pair list[] = { { "prefix", "J" },
		{ "max-keys", "2" } };

	(void)state;
	s3("GET", "/test.txt", NULL, 0, range, 1, EMPTY,
	    "host;range;x-amz-content-sha256;x-amz-date",
	    "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
	s3("PUT", "/test$file.text", NULL, 0, put, 2,
	    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
	    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
	s3("GET", "/", lifecycle, 1, NULL, 0, EMPTY,
	    "host;x-amz-content-sha256;x-amz-date",
	    "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
	s3("GET", "/", list, 2, NULL, 0, EMPTY,
	    "host;x-amz-content-sha256;x-amz-date",
	    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void
suite(const char *method, const char *path, const char *query,
    const struct s3_pair *more, size_t more_count, const char *payload,
    const char *names, const char *signature)
{
	static const struct s3_keys keys = { "AKIDEXAMPLE",
		"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
	struct s3_pair headers[S3_HEADERS_MAX] = {
		{ "x-amz-date", "20150830T123600Z" },
		{ "host", "example.amazonaws.com" },
	};
	struct s3_signing signing = { .method = method,
		.path = path,
		.query = query,
		.headers = headers,
		.header_count = 2 + more_count,
		.payload = payload,
		.region = "us-east-1",
		.service = "service" };

	for (size_t i = 0; i < more_count; i++)
		headers[2 + i] = more[i];
	signs(&signing, &keys, DAY_OF_SUITE, names, signature);
}

static void
cases_of_the_suite(void **state)
{
	static const struct s3_pair order[] = { { "Param2", "value2" },
		{ "Param1", "value1" } };
	static const struct s3_pair trim[] = { { "my-header1", "  value1  " },
		{ "my-header2", " \"a   b   c\" " } };
	static const struct s3_pair form[] = { { "content-type",
		"application/x-www-form-urlencoded" } };
	FB_AUTO_BUF struct fb_buf query = { 0 };
	FB_AUTO_BUF struct fb_buf utf8 = { 0 };

	(void)state;
	suite("GET", "/", "", NULL, 0, EMPTY, "host;x-amz-date",
	    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
	suite("POST", "/", "", NULL, 0, EMPTY, "host;x-amz-date",
	    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
	s3_add_query(&query, order, 2);
	suite("GET", "/", fb_buf_str(&query), NULL, 0, EMPTY,
	    "host;x-amz-date",
	    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
	s3_add_encoded(&utf8, "/\xe1\x88\xb4", true);
	suite("GET", fb_buf_str(&utf8), "", NULL, 0, EMPTY, "host;x-amz-date",
	    "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
	suite("GET", "/", "", trim, 2, EMPTY,
	    "host;my-header1;my-header2;x-amz-date",
	    "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
	suite("POST", "/", "", form, 1,
	    "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
	    "content-type;host;x-amz-date",
	    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

static void
what_is_encoded(void **state)
{
	static const struct s3_pair pairs[] = { { "b", "2" }, { "a", "z/ +" },
		{ "a", "=" }, { "uploads", "" }, { "A", "" } };
	FB_AUTO_BUF struct fb_buf path = { 0 };
	FB_AUTO_BUF struct fb_buf query = { 0 };

	(void)state;
	s3_add_encoded(&path, "/a b+c=d%e*(f)&?#~-._:@,;$!'\\\"<>\x7f", true);
	assert_string_equal(fb_buf_str(&path),
	    "/a%20b%2Bc%3Dd%25e%2A%28f%29%26%3F%23~-._%3A%40%2C%3B%24%21%27%5C"
	    "%22%3C%3E%7F");
	s3_add_query(&query, pairs, 5);
	assert_string_equal(
	    fb_buf_str(&query), "A=&a=%3D&a=z%2F%20%2B&b=2&uploads=");
}

/* RFC 4231, case 2; RFC 1321. */
static void
the_macs_below(void **state)
{
	struct fb_span key = { (const uint8_t *)"Jefe", 4 };
	struct fb_span text = { (const uint8_t *)"what do ya want for nothing?",
		28 };
	struct fb_span abc = { (const uint8_t *)"abc", 3 };
	char hex[FB_DIGEST_HEX_SIZE];
	uint8_t md5[FB_MD5_LEN];
	struct fb_digest mac;

	(void)state;
	fb_hmac(key, text, &mac);
	fb_digest_hex(&mac, hex);
	assert_string_equal(hex,
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	fb_hmac((struct fb_span){ NULL, 0 }, (struct fb_span){ NULL, 0 }, &mac);
	fb_digest_hex(&mac, hex);
	assert_string_equal(hex,
	    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
	fb_md5_of(abc, md5);
	fb_text_hex(md5, sizeof(md5), hex);
	assert_string_equal(hex, "900150983cd24fb0d6963f7d28e17f72");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_the_s3_reference),
		cmocka_unit_test(cases_of_the_suite),
		cmocka_unit_test(what_is_encoded),
		cmocka_unit_test(the_macs_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
