/*
 * Each step may find its work done by an earlier `init`, whole or cut off,
 * and goes on from there: private key, public key, repository.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/envelope.h"
#include "keys.h"

/* The path of a "file:" reference, or NULL for another kind. */
static char *
file_of(const struct fb_engine *engine, const char *reference)
{
	if (reference == NULL || strncmp(reference, "file:", 5) != 0)
		return NULL;
	return fb_path_join(engine->config->base_dir, reference + 5);
}

static bool
is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

static int
make_parent(const char *path, struct fb_error *err)
{
	const char *slash = strrchr(path, '/');
	FB_AUTO_FREE char *dir = NULL;

	if (slash == NULL || slash == path)
		return FB_OK;
	dir = fb_format("%.*s", (int)(slash - path), path);
	return fb_io_mkdirs(dir, 0700, err);
}

static int
fail_race(const char *path, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EBUSY, "E-INIT-RACE",
	    "'%s' was made by another init just now", path);
	return fb_hint(
	    err, "nothing is lost: run it again when that one is over");
}

/* Publish a key file that is not there yet, from a file that nobody else has;
 * one that appears meanwhile is never overwritten. */
static int
write_key(const char *path, struct fb_span pem, mode_t mode,
    struct fb_error *err)
{
	FB_AUTO_FREE char *temp = NULL;
	char id[FB_RUN_ID_SIZE];
	int rc = make_parent(path, err);

	if (rc < 0)
		return rc;
	fb_random_run_id(id);
	temp = fb_format("%s.new.%s", path, id);
	rc = fb_io_replace(temp, pem, mode, err);
	if (rc < 0)
		return rc;
	rc = fb_io_rename(temp, path, true, err);
	if (rc < 0)
		(void)unlink(temp);
	return rc == FB_EEXISTS ? fail_race(path, err) : rc;
}

static int
make_private(const char *private_path, const char *public_path,
    struct fb_init_report *report, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf private_pem = { 0 };
	FB_AUTO_BUF struct fb_buf public_pem = { 0 };
	/* The public one first: another init writes it last. */
	bool has_public = public_path != NULL && is_there(public_path);
	int rc;

	if (private_path == NULL || is_there(private_path))
		return FB_OK;
	if (has_public) {
		(void)fb_fail_id(err, FB_EKEY, "E-KEY-MISMATCH",
		    "there is a public key '%s' but no private key '%s'",
		    public_path, private_path);
		return fb_hint(err, "bring the private key back, or move the "
		                    "public one away for a new pair");
	}
	rc = fb_sign_generate(&private_pem, &public_pem, err);
	if (rc == FB_OK)
		rc = write_key(
		    private_path, fb_buf_span(&private_pem), 0600, err);
	if (rc < 0)
		return fb_wrap(err, "new signing key");
	report->made_key = true;
	return FB_OK;
}

static int
make_public(const struct fb_sign_key *key, const char *public_path,
    struct fb_init_report *report, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	int rc;

	if (public_path == NULL || is_there(public_path))
		return FB_OK;
	rc = fb_sign_key_public(key, &pem, err);
	if (rc == FB_OK)
		rc = write_key(public_path, fb_buf_span(&pem), 0644, err);
	if (rc < 0)
		return fb_wrap(err, "public half of the signing key");
	report->made_public = true;
	return FB_OK;
}

/* What we sign must be believed by ourselves. */
static int
check_trusted(const struct fb_sign_key *key, const struct fb_trust *trust,
    struct fb_error *err)
{
	const char *id = fb_sign_key_id(key);

	for (size_t i = 0; i < trust->count; i++)
		if (strcmp(fb_verify_key_id(trust->keys[i]), id) == 0)
			return FB_OK;
	(void)fb_fail_id(err, FB_EKEY, "E-KEY-MISMATCH",
	    "the signing key %s is none of the trusted signers", id);
	return fb_hint(
	    err, "its public half belongs into trusted_signers");
}

static int
keep_domain(void *arg, const char *repository,
    const struct fb_cipher_key *domain, struct fb_error *err)
{
	return engine_keep_domain(arg, repository, domain, err);
}

/* Better now than in the first night. */
static int
check_lock(const struct fb_config_repository *config,
    const struct fb_store_traits *traits, struct fb_error *err)
{
	if (config->object_lock == NULL ||
	    traits->object_lock == FB_TRAIT_YES)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-S3-LOCK",
	    "nothing would be locked: the bucket of '%s' has no object lock",
	    config->url);
	return fb_hint(err,
	    "object lock is switched on when a bucket is made, as 'fleetbak "
	    "init' does; or take object_lock away");
}

static int
make_repository(const struct fb_engine *engine,
    const struct fb_config_repository *config, const struct fb_sign_key *key,
    struct fb_trust *trust, struct fb_init_report *report, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_store *store;
	int rc = engine_open_store(engine, config, true, &store, err);

	if (rc < 0)
		return rc;
	rc = fb_store_probe(store, &report->traits, err);
	if (rc == FB_OK)
		rc = check_lock(config, &report->traits, err);
	if (rc == FB_OK)
		rc = config->encrypt_to_count > 0
		    ? fb_repo_init_encrypted(store, key, keep_domain,
		          (void *)(uintptr_t)engine,
		          &report->made_repository, err)
		    : fb_repo_init(
		          store, key, &report->made_repository, err);
	if (rc < 0) {
		fb_store_close(store);
		return rc;
	}
	rc = fb_repo_open(store, trust, &repo, err);
	*trust = (struct fb_trust){ 0 }; /* taken over */
	if (rc < 0)
		return rc;
	(void)snprintf(report->repository, sizeof(report->repository), "%s",
	    repo->format.repository);
	report->encrypted = repo->vault != NULL;
	report->one_writer = repo->format.one_writer;
	report->leased = repo->format.leased;
	return fb_engine_encrypt(engine, repo, err);
}

static int
make_opener(const struct fb_engine *engine, const char *reference,
    const char *path, struct fb_opener **ret_opener, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf pem = { 0 };
	int rc = FB_OK;

	if (!is_there(path)) {
		rc = fb_opener_generate(&pem, err);
		if (rc == FB_OK)
			rc = write_key(path, fb_buf_span(&pem), 0600, err);
		fb_secret_release(&pem);
	}
	if (rc == FB_OK)
		rc = fb_secret_read(
		    reference, engine->config->base_dir, true, &pem, err);
	return rc < 0 ? rc
	              : fb_opener_parse(fb_buf_span(&pem), ret_opener, err);
}

/* The pair that opens it, where there is no certificate yet: the private half
 * first, for without it the other is a trap. */
static int
make_recovery(const struct fb_engine *engine,
    const struct fb_config_repository *config, struct fb_init_report *report,
    struct fb_error *err)
{
	FB_AUTO_FREE char *certificate = NULL;
	FB_AUTO_FREE char *secret = NULL;
	FB_AUTO_OPENER struct fb_opener *opener = NULL;
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	int rc;

	if (config->encrypt_to_count == 0)
		return FB_OK;
	certificate = file_of(engine, config->encrypt_to[0]);
	secret = file_of(engine, config->decrypt_with);
	if (certificate == NULL || is_there(certificate))
		return FB_OK;
	if (secret == NULL) {
		(void)fb_fail_id(err, FB_EKEY, "E-RECIPIENT",
		    "there is no certificate '%s' to encrypt to", certificate);
		return fb_hint(err,
		    "bring it here, or name a file for a new "
		    "private key with decrypt_with");
	}
	rc = make_opener(engine, config->decrypt_with, secret, &opener, err);
	if (rc == FB_OK) {
		fb_opener_certificate(opener, "fleetbak recovery", &pem);
		rc = write_key(certificate, fb_buf_span(&pem), 0644, err);
	}
	if (rc < 0)
		return fb_wrap(err, "recovery key");
	report->made_recovery = true;
	return FB_OK;
}

static int
make_keys(const struct fb_engine *engine,
    const struct fb_config_repository *config, struct fb_sign_key **ret_key,
    struct fb_init_report *report, struct fb_error *err)
{
	FB_AUTO_FREE char *private_path = file_of(engine, config->sign_with);
	FB_AUTO_FREE char *public_path = file_of(engine,
	    engine->config->trusted_signer_count > 0
	        ? engine->config->trusted_signers[0]
	        : NULL);
	int rc = make_private(private_path, public_path, report, err);

	if (rc == FB_OK)
		rc = fb_engine_sign_key(engine, ret_key, err);
	if (rc == FB_OK)
		rc = make_public(*ret_key, public_path, report, err);
	return rc;
}

int
fb_engine_init(const struct fb_engine *engine,
    struct fb_init_report *ret_report, struct fb_error *err)
{
	const struct fb_config_repository *config;
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	struct fb_init_report report = { 0 };
	struct fb_trust trust = { 0 };
	int rc = engine_need_repo(engine, &config, err);

	if (rc == FB_OK && engine->config->trusted_signer_count == 0)
		rc = engine_read_trust(engine, &trust, err); /* says so */
	if (rc == FB_OK)
		rc = make_keys(engine, config, &key, &report, err);
	if (rc == FB_OK)
		rc = engine_read_trust(engine, &trust, err);
	if (rc == FB_OK)
		rc = check_trusted(key, &trust, err);
	if (rc == FB_OK)
		rc = make_recovery(engine, config, &report, err);
	if (rc == FB_OK) {
		rc = make_repository(engine, config, key, &trust, &report, err);
		if (rc < 0)
			(void)fb_wrap(err, "repository '%s'", config->name);
	}
	fb_trust_release(&trust);
	if (rc < 0)
		return rc;
	(void)snprintf(report.key_id, sizeof(report.key_id), "%s",
	    fb_sign_key_id(key));
	*ret_report = report;
	return FB_OK;
}
