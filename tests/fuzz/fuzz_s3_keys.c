/* Access keys as files, commands and services tell them: INI lines, the JSON of
 * a credential process or a metadata service.  What is taken for keys goes
 * into headers, and is written and read again as the same. */
#include "../../src/store/s3_profile.h"
#include "fuzz.h"

static bool
is_good(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
parse(struct fb_span text, const char *profile)
{
	FB_CLEANUP(s3_access_release) struct s3_access once = { 0 };
	FB_CLEANUP(s3_access_release) struct s3_access twice = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	struct fb_error err = { 0 };
	int64_t expires = 0;

	if (s3_cred_parse(text, profile, &once, &expires, &err) < 0) {
		must(err.code == FB_EKEY && once.id == NULL);
		must(strcmp(err.id, "E-S3-KEYS") == 0);
		return;
	}
	must(is_good(once.id) && is_good(once.secret));
	must(once.token == NULL || is_good(once.token));
	fb_buf_add_fmt(&again,
	    "[a]\naws_access_key_id = %s\naws_secret_access_key=%s\n", once.id,
	    once.secret);
	if (once.token != NULL)
		fb_buf_add_fmt(&again, "aws_session_token =%s\n", once.token);
	must(s3_cred_parse(fb_buf_span(&again), "a", &twice, &expires, &err) ==
	    FB_OK);
	must(same(once.id, twice.id) && same(once.secret, twice.secret) &&
	    same(once.token, twice.token));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_PROFILE struct s3_profile profile = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_span span = { data, size };

	parse(span, NULL);
	parse(span, "default");
	fb_buf_add(&text, data, size);
	if (text.data != NULL)
		s3_profile_read((char *)text.data, "default", &profile);
	return 0;
}
