#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/sign.h"
#include "fleetbak/engine/engine.h"
#include "keys.h"

const struct fb_config_repository *
fb_engine_repo_config(const struct fb_engine *engine)
{
	const struct fb_config *config = engine->config;

	for (size_t i = 0; i < config->repository_count; i++)
		if (engine->repository == NULL ||
		    strcmp(config->repositories[i].name,
		        engine->repository) == 0)
			return &config->repositories[i];
	return NULL;
}

int
engine_need_repo(const struct fb_engine *engine,
    const struct fb_config_repository **ret, struct fb_error *err)
{
	const struct fb_config *config = engine->config;
	FB_AUTO_FREE const char **names = NULL;
	const char *nearest;

	*ret = fb_engine_repo_config(engine);
	if (*ret != NULL)
		return FB_OK;
	if (engine->repository == NULL)
		return fb_fail(
		    err, FB_ECONFIG, "no repository is configured");

	names = fb_alloc(config->repository_count, sizeof(*names));
	for (size_t i = 0; i < config->repository_count; i++)
		names[i] = config->repositories[i].name;
	nearest = fb_name_nearest(
	    engine->repository, names, config->repository_count);
	(void)fb_fail_id(err, FB_ECONFIG, "E-REPO-NAME",
	    "no repository '%s' is configured", engine->repository);
	if (nearest[0] != '\0')
		(void)fb_hint(err, "did you mean '%s'?", nearest);
	return FB_ECONFIG;
}

static int
read_signer(const struct fb_engine *engine, const char *reference,
    struct fb_verify_key **ret_key, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	int rc = fb_secret_read(
	    reference, engine->config->base_dir, false, &pem, err);

	if (rc == FB_OK)
		rc = fb_verify_key_parse(fb_buf_span(&pem), ret_key, err);
	if (rc < 0) {
		(void)fb_wrap(err, "trusted signer '%s'", reference);
		return fb_hint(err, "'fleetbak init' makes the keys of a new "
		                    "repository");
	}
	return FB_OK;
}

int
engine_read_trust(const struct fb_engine *engine, struct fb_trust *trust,
    struct fb_error *err)
{
	const struct fb_config *config = engine->config;

	if (config->trusted_signers == NULL ||
	    config->trusted_signer_count == 0) {
		(void)fb_fail_id(err, FB_EKEY, "E-KEY-TRUST",
		    "no trusted signer is configured: nothing in a "
		    "repository could be believed");
		return fb_hint(err,
		    "add trusted_signers: [\"file:./keys/sign.pub.pem\"]");
	}
	for (size_t i = 0; i < config->trusted_signer_count; i++) {
		struct fb_verify_key *key;
		int rc = read_signer(
		    engine, config->trusted_signers[i], &key, err);

		if (rc < 0) {
			fb_trust_release(trust);
			return rc;
		}
		fb_trust_add(trust, key);
	}
	return FB_OK;
}

static enum fb_path_style
path_style_of(const char *text)
{
	if (text == NULL || strcmp(text, "auto") == 0)
		return FB_PATH_STYLE_AUTO;
	return strcmp(text, "true") == 0 ? FB_PATH_STYLE_ON
	                                 : FB_PATH_STYLE_OFF;
}

static enum fb_lock_mode
lock_mode_of(const char *text)
{
	if (text == NULL)
		return FB_LOCK_NONE;
	return strcmp(text, "compliance") == 0 ? FB_LOCK_COMPLIANCE
	                                       : FB_LOCK_GOVERNANCE;
}

int
engine_open_store(const struct fb_engine *engine,
    const struct fb_config_repository *config, bool make,
    struct fb_store **ret_store, struct fb_error *err)
{
	const struct fb_store_options options = {
		.endpoint = config->endpoint,
		.region = config->region,
		.path_style = path_style_of(config->path_style),
		.credentials = config->credentials,
		.ca = config->ca,
		.proxy = config->proxy,
		.base_dir = engine->config->base_dir,
		.retry_ms = config->retry_ms,
		.lock_mode = lock_mode_of(config->object_lock),
		.lock_ms = config->lock_ms,
		.etcd = config->etcd,
		.etcd_ca = config->etcd_ca,
		.etcd_cert = config->etcd_cert,
		.etcd_key = config->etcd_key,
		.lease_ttl_ms = config->lease_ttl_ms,
		.hurry = engine->cancel,
	};

	return fb_store_open(config->url, make, &options, ret_store, err);
}

static int
open_repo(const struct fb_engine *engine, struct fb_error *ret_doubt,
    struct fb_repo **ret_repo, struct fb_error *err)
{
	const struct fb_config_repository *config;
	struct fb_trust trust = { 0 };
	struct fb_store *store;
	int rc = engine_need_repo(engine, &config, err);

	if (rc < 0)
		return rc;
	rc = engine_open_store(engine, config, false, &store, err);
	if (rc == FB_OK) {
		rc = engine_read_trust(engine, &trust, err);
		if (rc < 0)
			fb_store_close(store);
		else if (ret_doubt != NULL)
			rc = fb_repo_open_doubting(
			    store, &trust, ret_doubt, ret_repo, err);
		else
			rc = fb_repo_open(store, &trust, ret_repo, err);
	}
	if (rc == FB_OK) {
		engine_set_opener(engine, *ret_repo);
		return FB_OK;
	}
	(void)fb_wrap(err, "repository '%s'", config->name);
	/* A finer id has a better hint of its own. */
	if (rc == FB_ENOREPO && strcmp(err->id, fb_code_id(rc)) == 0) {
		err->hint[0] = '\0'; /* the store does not know of init */
		(void)fb_hint(err,
		    "'fleetbak init' makes a new one; or is its file system "
		    "not mounted, or is it elsewhere?");
	}
	return rc;
}

int
fb_engine_repo(const struct fb_engine *engine, struct fb_repo **ret_repo,
    struct fb_error *err)
{
	return open_repo(engine, NULL, ret_repo, err);
}

int
fb_engine_repo_doubting(const struct fb_engine *engine,
    struct fb_error *ret_doubt, struct fb_repo **ret_repo,
    struct fb_error *err)
{
	*ret_doubt = (struct fb_error){ 0 };
	return open_repo(engine, ret_doubt, ret_repo, err);
}

int
fb_engine_sign_key(const struct fb_engine *engine,
    struct fb_sign_key **ret_key, struct fb_error *err)
{
	const struct fb_config_repository *config;
	FB_AUTO_SECRET struct fb_buf pem = { 0 };
	int rc = engine_need_repo(engine, &config, err);

	if (rc < 0)
		return rc;
	if (config->sign_with == NULL) {
		(void)fb_fail_id(err, FB_EKEY, "E-KEY-NONE",
		    "repository '%s' has no sign_with: this host cannot sign "
		    "backups",
		    config->name);
		return fb_hint(
		    err, "add sign_with: \"file:./keys/sign.pem\"");
	}
	rc = fb_secret_read(config->sign_with, engine->config->base_dir, true,
	    &pem, err);
	if (rc == FB_OK)
		rc = fb_sign_key_parse(fb_buf_span(&pem), ret_key, err);
	if (rc < 0) {
		(void)fb_wrap(err, "signing key '%s'", config->sign_with);
		return fb_hint(err, "'fleetbak init' makes the keys of a new "
		                    "repository");
	}
	return FB_OK;
}
