/* Inside the vault. */
#ifndef REPO_VAULT_IMPL_H
#define REPO_VAULT_IMPL_H

#include <pthread.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/pack_keys.h"
#include "fleetbak/repo/vault.h"
#include "fleetbak/store/store.h"

/* What the objects of one session hold that could be opened. */
struct vault_session {
	char id[FB_RUN_ID_SIZE];
	struct fb_pack_key_entry *items; /* sorted by id, unique */
	size_t count;
	struct fb_cipher_key *domains; /* more than one: somebody lies */
	size_t domain_count;
	size_t objects;
	uint64_t *shut; /* numbers of those that did not open */
	size_t shut_count;
	uint64_t *opened; /* numbers of the objects that opened */
	size_t opened_count;
	uint64_t next; /* number for another object */
};

struct fb_vault {
	struct fb_store *store;
	char repository[33];
	struct fb_recipients *recipients;
	fb_vault_load_opener *load; /* NULL: nothing is to be opened */
	void *load_arg;
	bool has_domain;
	struct fb_cipher_key domain;
	uint8_t tag[FB_KEY_TAG_LEN];

	pthread_mutex_t lock;           /* all below */
	struct fb_opener *opener;       /* NULL: not loaded yet */
	struct vault_session *sessions; /* sorted by id */
	size_t session_count, session_cap;
};

/* Open all objects of a session. */
int fb_vault_load(struct fb_vault *vault, const char *session,
    struct vault_session *ret_session, struct fb_error *err);
void fb_vault_session_release(struct vault_session *session);

/* Seal `keys` and create the object of the first free number from *number on;
 * *number is the next one then. */
int fb_vault_put(struct fb_vault *vault, const struct fb_recipients *recipients,
    const struct fb_pack_keys *keys, uint64_t *number, struct fb_error *err);

#endif
