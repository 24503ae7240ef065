/*
 * The records of a run into the repository: manifest, VOLUMES, SHA256SUMS and
 * then the register, which makes it a run.
 */
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/manifest/manifest.h"
#include "run.h"

/* A manifest is compared with the one that is there in steps of this. */
#define COMPARE_STEP ((size_t)1 << 20)

/* The object is there already: is it the same? */
static int
check_same(struct fb_store *store, const char *key, uint64_t size,
    const struct fb_digest *want, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(COMPARE_STEP, 1);
	struct fb_digest have;
	uint64_t there, done = 0;
	int rc = fb_store_head(store, key, &there, err);

	while (rc == FB_OK && done < there) {
		size_t len = there - done < COMPARE_STEP
		    ? (size_t)(there - done)
		    : COMPARE_STEP;

		rc = fb_store_get_range(store, key, done, bytes, len, err);
		if (rc == FB_OK)
			fb_digester_add(
			    digester, (struct fb_span){ bytes, len });
		done += len;
	}
	if (rc < 0)
		return rc;
	fb_digester_peek(digester, &have);
	if (there != size || fb_digest_cmp(&have, want) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "object '%s' is there already and is another", key);
	return FB_OK;
}

static int
put_file(struct fb_repo *repo, const struct fb_publication *what,
    const char *name, const char *path, const struct fb_digest *digest,
    struct fb_error *err)
{
	FB_AUTO_FREE char *key = fb_format("runs/%s/%s", what->run, name);
	struct stat st;
	int rc;

	if (stat(path, &st) == -1)
		return fb_fail_sys(err, "cannot read '%s'", path);
	rc = fb_store_create_file(
	    repo->store, key, path, (uint64_t)st.st_size, err);
	if (rc == FB_EEXISTS)
		rc = check_same(
		    repo->store, key, (uint64_t)st.st_size, digest, err);
	return rc;
}

static int
put_sums(struct fb_repo *repo, const struct fb_publication *what,
    struct fb_buf *sums, struct fb_error *err)
{
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS", what->run);
	struct fb_digest digest;
	int rc = fb_sums_write(repo, what->run, &what->manifest, &what->volumes,
	    what->recipes, what->packs, sums, err);

	if (rc == FB_OK)
		rc = fb_store_create(repo->store, key, fb_buf_span(sums), err);
	if (rc == FB_EEXISTS) {
		fb_digest_of(fb_buf_span(sums), &digest);
		rc = check_same(repo->store, key, sums->len, &digest, err);
	}
	return rc;
}

static int
put_register(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_publication *what, struct fb_span sums,
    struct fb_error *err)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	struct fb_register reg = {
		.recipes = *what->recipes,
		.packs = *what->packs,
		.predecessors = (struct fb_predecessor *)what->predecessors,
		.predecessor_count = what->predecessor_count,
	};
	int rc = fb_engine_sign_key(engine, &key, err);

	if (rc == FB_OK)
		rc = fb_sign(key, sums, reg.signature, err);
	if (rc < 0)
		return rc;
	if (what->shard != NULL)
		reg.shard = *what->shard;
	memcpy(reg.session, what->session, sizeof(reg.session));
	memcpy(reg.run, what->run, sizeof(reg.run));
	memcpy(reg.fleet, what->fleet, strlen(what->fleet) + 1);
	memcpy(reg.time, what->time, strlen(what->time) + 1);
	memcpy(reg.signer, fb_sign_key_id(key), FB_KEY_ID_SIZE);
	fb_digest_of(sums, &reg.sums);
	return fb_repo_commit(repo, &reg, err);
}

int
fb_publish(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_publication *what, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	int rc = put_file(repo, what, "manifest.json", what->manifest_path,
	    &what->manifest, err);

	if (rc == FB_OK)
		rc = put_file(repo, what, "VOLUMES", what->volumes_path,
		    &what->volumes, err);
	if (rc == FB_OK)
		rc = put_sums(repo, what, &sums, err);
	if (rc == FB_OK)
		rc = put_register(engine, repo, what, fb_buf_span(&sums), err);
	return rc;
}
