/* Keys of encrypted repositories: who can open them, and this host's domain. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/repo/vault.h"
#include "keys.h"

static int
load_opener(void *arg, struct fb_opener **ret_opener, struct fb_error *err)
{
	const struct fb_engine *engine = arg;
	const struct fb_config_repository *config =
	    fb_engine_repo_config(engine);
	FB_AUTO_SECRET struct fb_buf pem = { 0 };
	int rc = fb_secret_read(
	    config->decrypt_with, engine->config->base_dir, true, &pem, err);

	if (rc == FB_OK)
		rc = fb_opener_parse(fb_buf_span(&pem), ret_opener, err);
	return rc < 0 ? fb_wrap(err, "decrypt_with '%s'", config->decrypt_with)
	              : FB_OK;
}

/* Nobody said that it is: where it was taken away, as it should be, there is
 * none. */
static bool
default_is_there(const struct fb_engine *engine,
    const struct fb_config_repository *config)
{
	FB_AUTO_FREE char *path = fb_path_join(engine->config->base_dir,
	    config->decrypt_with + strlen("file:"));

	return access(path, F_OK) == 0;
}

void
engine_set_opener(const struct fb_engine *engine, struct fb_repo *repo)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(engine);

	if (repo->vault != NULL && config->decrypt_with != NULL &&
	    (config->encrypt_given || default_is_there(engine, config)))
		fb_vault_set_opener(
		    repo->vault, load_opener, (void *)(uintptr_t)engine);
}

int
fb_engine_recipients(const struct fb_engine *engine,
    struct fb_recipients **ret_recipients, struct fb_error *err)
{
	const struct fb_config_repository *config;
	FB_AUTO_RECIPIENTS struct fb_recipients *recipients =
	    fb_recipients_new();
	int rc = engine_need_repo(engine, &config, err);

	for (size_t i = 0; rc == FB_OK && i < config->encrypt_to_count; i++) {
		FB_AUTO_BUF struct fb_buf pem = { 0 };

		rc = fb_secret_read(config->encrypt_to[i],
		    engine->config->base_dir, false, &pem, err);
		if (rc == FB_OK)
			rc = fb_recipients_add(
			    recipients, fb_buf_span(&pem), err);
		if (rc < 0)
			(void)fb_wrap(
			    err, "encrypt_to '%s'", config->encrypt_to[i]);
	}
	if (rc == FB_OK)
		*ret_recipients = FB_STEAL(recipients);
	return rc;
}

static char *
domain_path(const struct fb_engine *engine, const char *repository)
{
	return fb_state_path(engine, "domain/%s.key", repository);
}

int
engine_keep_domain(const struct fb_engine *engine, const char *repository,
    const struct fb_cipher_key *domain, struct fb_error *err)
{
	FB_AUTO_FREE char *path = domain_path(engine, repository);
	FB_AUTO_FREE char *dir = fb_state_path(engine, "domain");
	FB_AUTO_SECRET struct fb_buf text = { 0 };
	struct fb_digest bytes;
	char hex[FB_DIGEST_HEX_SIZE];
	int rc = fb_io_mkdirs(dir, 0700, err);

	memcpy(bytes.bytes, domain->bytes, sizeof(bytes.bytes));
	fb_digest_hex(&bytes, hex);
	fb_buf_add_fmt(&text, "%s\n", hex);
	if (rc == FB_OK)
		rc = fb_io_replace(path, fb_buf_span(&text), 0600, err);
	return rc < 0 ? fb_wrap(err, "domain key") : FB_OK;
}

/* FB_ENOTFOUND: there is none yet. */
static int
read_domain(
    const char *path, struct fb_cipher_key *ret_domain, struct fb_error *err)
{
	FB_AUTO_FREE char *reference = fb_format("file:%s", path);
	FB_AUTO_SECRET struct fb_buf text = { 0 };
	struct fb_digest bytes;
	int rc;

	if (access(path, F_OK) == -1 && errno == ENOENT)
		return FB_ENOTFOUND;
	rc = fb_secret_read(reference, "/", true, &text, err);
	if (rc < 0)
		return rc;
	if (text.len > 0 && text.data[text.len - 1] == '\n')
		text.len--;
	if (fb_digest_parse(fb_buf_span(&text), &bytes, err) < 0) {
		(void)fb_fail_id(err, FB_EKEY, "E-DOMAIN-KEY",
		    "'%s' does not hold a domain key", path);
		return fb_hint(err,
		    "bring it back, or move it away: a new one "
		    "is made then, and everything is stored "
		    "once more");
	}
	memcpy(ret_domain->bytes, bytes.bytes, sizeof(bytes.bytes));
	return FB_OK;
}

/* One host is one domain, unless somebody gives it the key of another. */
static int
set_domain(
    const struct fb_engine *engine, struct fb_repo *repo, struct fb_error *err)
{
	FB_AUTO_FREE char *path = domain_path(engine, repo->format.repository);
	struct fb_cipher_key domain;
	int rc = read_domain(path, &domain, err);

	if (rc == FB_ENOTFOUND) {
		fb_random(domain.bytes, sizeof(domain.bytes));
		rc = engine_keep_domain(
		    engine, repo->format.repository, &domain, err);
	}
	if (rc == FB_OK)
		fb_vault_set_domain(repo->vault, &domain);
	fb_cipher_wipe(&domain);
	return rc;
}

/* Whose word is enough for what packs of other domains hold. */
static int
set_verifiers(
    const struct fb_engine *engine, struct fb_repo *repo, struct fb_error *err)
{
	const struct fb_config *config = engine->config;

	for (size_t i = 0; i < config->trusted_verifier_count; i++) {
		const char *reference = config->trusted_verifiers[i];
		FB_AUTO_BUF struct fb_buf pem = { 0 };
		struct fb_verify_key *key;
		int rc = fb_secret_read(
		    reference, config->base_dir, false, &pem, err);

		if (rc == FB_OK)
			rc = fb_verify_key_parse(
			    fb_buf_span(&pem), &key, err);
		if (rc < 0)
			return fb_wrap(
			    err, "trusted verifier '%s'", reference);
		fb_trust_add(&repo->verifiers, key);
	}
	return FB_OK;
}

int
fb_engine_encrypt(
    const struct fb_engine *engine, struct fb_repo *repo, struct fb_error *err)
{
	const struct fb_config_repository *config;
	struct fb_recipients *recipients;
	int rc = engine_need_repo(engine, &config, err);

	if (rc < 0)
		return rc;
	if (repo->vault == NULL && config->encrypt_to_count > 0 &&
	    config->encrypt_given) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-NOT-ENCRYPTED",
		    "repository '%s' is not encrypted, and its configuration "
		    "has encrypt_to",
		    config->name);
		return fb_hint(err,
		    "make an encrypted one in a new place with "
		    "'fleetbak init', or take encrypt_to away");
	}
	if (repo->vault == NULL)
		return FB_OK;
	rc = fb_engine_recipients(engine, &recipients, err);
	if (rc < 0)
		return rc;
	if (fb_recipients_count(recipients) > 0)
		fb_vault_set_recipients(repo->vault, recipients);
	else
		fb_recipients_free(recipients);
	rc = set_domain(engine, repo, err);
	if (rc == FB_OK)
		rc = set_verifiers(engine, repo, err);
	return rc < 0 ? rc : fb_vault_may_write(repo->vault, err);
}
