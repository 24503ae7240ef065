/*
 * References to secrets: what one looks like.
 */
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"

static bool
is_variable(const char *name)
{
	static const char allowed[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

	return strspn(name, allowed) == strlen(name);
}

static bool
is_descriptor(const char *text)
{
	struct fb_span digits = { (const uint8_t *)text, strlen(text) };
	struct fb_error err;
	uint64_t fd;

	return fb_text_u64(digits, 1u << 20, &fd, &err) == FB_OK;
}

static bool
is_credential(const char *name)
{
	return fb_name_ok(name, strlen(name));
}

static bool
is_anything(const char *text)
{
	return text[0] != ' ';
}

int
fb_secret_check(const char *reference, struct fb_error *err)
{
	static const struct {
		const char *scheme;
		bool (*is_good)(const char *rest);
	} kinds[] = {
		{ "file:", is_anything },
		{ "env:", is_variable },
		{ "cmd:", is_anything },
		{ "fd:", is_descriptor },
		{ "cred:", is_credential },
	};

	for (size_t i = 0; i < FB_COUNT(kinds); i++) {
		size_t len = strlen(kinds[i].scheme);

		if (strncmp(reference, kinds[i].scheme, len) == 0 &&
		    reference[len] != '\0' &&
		    kinds[i].is_good(reference + len))
			return FB_OK;
	}
	/* It may be the secret itself: not a word of it. */
	return fb_fail(err, FB_ECONFIG,
	    "not a reference to a secret: file:PATH, env:NAME, cmd:PROGRAM "
	    "ARG..., fd:NUMBER or cred:NAME");
}
