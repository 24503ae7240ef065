/* SHA256SUMS: a digest that is found stands in a line of its own, before its
 * path, and nothing else is found. */
#include "fleetbak/repo/repo.h"
#include "fuzz.h"

static const char *const paths[] = { "format/1.json", "restore.sh",
	"runs/20261121-013205123-3fa92c17/manifest.json", "a" };

/* By another way: line after line. */
static bool
is_named(struct fb_span sums, const char *path, const struct fb_digest *digest)
{
	char hex[FB_DIGEST_HEX_SIZE];
	FB_AUTO_FREE char *line = NULL;

	fb_digest_hex(digest, hex);
	line = fb_format("%s  %s", hex, path);
	while (sums.len > 0)
		if (span_is(take_line(&sums), line))
			return true;
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span sums = { data, size };

	for (size_t i = 0; i < FB_COUNT(paths); i++) {
		struct fb_digest digest;
		struct fb_error err;

		if (fb_sums_find(sums, paths[i], &digest, &err) == FB_OK)
			must(is_named(sums, paths[i], &digest));
		else
			must(err.code == FB_ECORRUPT);
	}
	return 0;
}
