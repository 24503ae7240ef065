/*
 * What engine.c and init.c share.
 */
#ifndef ENGINE_KEYS_H
#define ENGINE_KEYS_H

#include "fleetbak/crypto/cipher.h"
#include "fleetbak/engine/engine.h"

/* The chosen repository's configuration.  FB_ECONFIG, id E-REPO-NAME. */
FB_MUST_USE int engine_need_repo(const struct fb_engine *engine,
    const struct fb_config_repository **ret, struct fb_error *err);

/* Open the store of a repository as the configuration describes it. */
FB_MUST_USE int engine_open_store(const struct fb_engine *engine,
    const struct fb_config_repository *config, bool make,
    struct fb_store **ret_store, struct fb_error *err);
/* Hand the private key to an encrypted repository, to be read when it is
 * needed. */
void engine_set_opener(const struct fb_engine *engine, struct fb_repo *repo);

/* Keep the domain key of a repository in the state directory. */
FB_MUST_USE int engine_keep_domain(const struct fb_engine *engine,
    const char *repository, const struct fb_cipher_key *domain,
    struct fb_error *err);

/* Read every trusted signer.  FB_EKEY. */
FB_MUST_USE int engine_read_trust(const struct fb_engine *engine,
    struct fb_trust *trust, struct fb_error *err);

#endif
