/* SHA256SUMS of a run, in coreutils' format, from the repository's root. */
#include <stdio.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/manifest/manifest.h"

#define RESCUE_MAX (1u << 20)

static void
add_line(struct fb_buf *dst, const struct fb_digest *digest, const char *path)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(digest, hex);
	fb_buf_add_fmt(dst, "%s  %s\n", hex, path);
}

/* A small object that the run itself did not write. */
static int
add_object(struct fb_repo *repo, const char *key, size_t max,
    struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_digest digest;
	int rc = fb_store_get(repo->store, key, max, &bytes, NULL, err);

	if (rc < 0)
		return rc;
	fb_digest_of(fb_buf_span(&bytes), &digest);
	add_line(dst, &digest, key);
	return FB_OK;
}

int
fb_sums_write(struct fb_repo *repo, const char *run,
    const struct fb_digest *manifest, const struct fb_digest *volumes,
    const struct fb_id_list *recipes, const struct fb_id_list *packs,
    struct fb_buf *dst, struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	size_t before = dst->len;
	int rc = add_object(
	    repo, "format/1.json", FB_FORMAT_DOC_MAX, dst, err);

	if (rc < 0)
		return rc;
	/* Bytewise: format, packs, recipes, restore.sh, runs. */
	for (size_t i = 0; i < packs->count; i++) {
		fb_pack_key(&packs->ids[i], key);
		add_line(dst, &packs->ids[i], key);
	}
	for (size_t i = 0; i < recipes->count; i++) {
		fb_recipe_key(&recipes->ids[i], key);
		add_line(dst, &recipes->ids[i], key);
	}
	rc = add_object(repo, "restore.sh", RESCUE_MAX, dst, err);
	if (rc < 0)
		return rc;
	(void)snprintf(key, sizeof(key), "runs/%s/VOLUMES", run);
	add_line(dst, volumes, key);
	(void)snprintf(key, sizeof(key), "runs/%s/manifest.json", run);
	add_line(dst, manifest, key);
	if (dst->len - before > FB_SUMS_MAX)
		return fb_fail(err, FB_EUNSUP,
		    "run %s has more objects than SHA256SUMS holds", run);
	return FB_OK;
}
