/*
 * The vault of an encrypted repository: who may write to it, and who may
 * open what is in it.
 *
 * A writer has a domain key, which makes the ids of chunks, and recipients,
 * to whom the keys of its packs are sealed; neither opens anything.  A reader
 * has a private key.
 *
 * A function that takes a vault takes NULL, which is a clear repository.
 * Threads: any, once it is set up.
 * Spec: fleetbak-format(5), "Encryption".
 */
#ifndef FB_REPO_VAULT_H
#define FB_REPO_VAULT_H

#include "fleetbak/crypto/cipher.h"
#include "fleetbak/crypto/envelope.h"
#include "fleetbak/format/pack_keys.h"

struct fb_repo;
struct fb_vault;
struct fb_store;

/* `repository`: its id.  Borrows the store. */
struct fb_vault *fb_vault_new(struct fb_store *store, const char *repository);
void fb_vault_free(struct fb_vault *vault);

/* Before there are threads.  The vault owns what it is given. */
void fb_vault_set_domain(
    struct fb_vault *vault, const struct fb_cipher_key *domain);
void fb_vault_set_recipients(
    struct fb_vault *vault, struct fb_recipients *recipients);
/* `load` brings the private key, once, when something is to be opened first:
 * most commands open nothing. */
typedef int fb_vault_load_opener(
    void *arg, struct fb_opener **ret_opener, struct fb_error *err);
void fb_vault_set_opener(
    struct fb_vault *vault, fb_vault_load_opener *load, void *arg);

/* FB_EKEY, id E-ENCRYPT-TO: there are no recipients or no domain key. */
FB_MUST_USE int fb_vault_may_write(
    const struct fb_vault *vault, struct fb_error *err);
/* Whether there is a private key, for all that is known before it is read. */
bool fb_vault_opens(const struct fb_vault *vault);
/* FB_EKEY, id E-DECRYPT-WITH: there is none. */
FB_MUST_USE int fb_vault_may_open(struct fb_vault *vault, struct fb_error *err);

/* The writer's domain key; NULL of a clear repository, where ids are plain
 * digests. */
const struct fb_cipher_key *fb_vault_domain(const struct fb_vault *vault);

/* What opens a pack, and what its ids are made with. */
struct fb_pack_secret {
	struct fb_cipher_key key, domain;
};

/*
 * Of the pack that has this table, whose digest was checked.
 * Errors: FB_EKEY (E-DECRYPT-WITH, E-DECRYPT-KEY); FB_ECORRUPT (E-PACK-KEY)
 * when nothing under keys/ holds its key.
 */
FB_MUST_USE int fb_vault_secret(struct fb_vault *vault,
    const struct fb_pack_table *table, struct fb_pack_secret *ret_secret,
    struct fb_error *err);
/* The domain of a session; FB_ECORRUPT (E-PACK-KEY) when its keys, which
 * anybody may have put there, name several. */
FB_MUST_USE int fb_vault_session_domain(struct fb_vault *vault,
    const char *session, struct fb_cipher_key *ret_domain,
    struct fb_error *err);

/* The domain of a session whose hints have this seal: the one that made its
 * MAC, whatever others say. */
struct fb_hint_seal;
FB_MUST_USE int fb_vault_sealed_domain(struct fb_vault *vault,
    const struct fb_hint_seal *seal, struct fb_cipher_key *ret_domain,
    struct fb_error *err);
/* The tag that the packs of a domain have in this repository. */
void fb_vault_tag(const struct fb_vault *vault,
    const struct fb_cipher_key *domain, uint8_t ret_tag[FB_KEY_TAG_LEN]);
/* ... and of the writer's own; NULL: it has none. */
const uint8_t *fb_vault_own_tag(const struct fb_vault *vault);

/* Whether the table is of the writer's own domain, by what it says. */
bool fb_vault_is_ours(
    const struct fb_vault *vault, const struct fb_pack_table *table);

/* Say in the table of a new pack of whose domain it is. */
void fb_vault_mark(const struct fb_vault *vault, struct fb_pack_table *table);

/* Whether the table is of the kind that the repository has. */
FB_MUST_USE int fb_vault_check_kind(const struct fb_vault *vault,
    const struct fb_pack_table *table, const char *key, struct fb_error *err);

/*
 * The keys that a session's packs get.  Some are made ahead and sealed to the
 * recipients in one object, which is in the store before the first of them is
 * given out; each is given out once and forgotten here.
 */
struct fb_keyring;
FB_MUST_USE int fb_keyring_open(struct fb_vault *vault, const char *session,
    struct fb_keyring **ret_ring, struct fb_error *err);
void fb_keyring_close(struct fb_keyring *ring);
FB_MUST_USE int fb_keyring_take(struct fb_keyring *ring,
    struct fb_pack_key_entry *ret_entry, struct fb_error *err);

/*
 * Seal the keys of every session again, to these recipients, into an object
 * of the next number.  With `remove` the objects before it are removed then,
 * so that nobody else finds a key in the repository any more (who kept a copy
 * of one still has it).
 * Errors: FB_EKEY when there is no private key, or it does not open them.
 */
struct fb_reseal_report {
	uint64_t sessions, sealed, removed; /* objects, but for sessions */
	uint64_t left; /* with `remove`: that this key does not open */
	uint64_t kept;     /* removed, and still there as a locked version */
};
FB_MUST_USE int fb_vault_reseal(struct fb_vault *vault,
    const struct fb_recipients *recipients, bool remove,
    struct fb_reseal_report *ret_report, struct fb_error *err);

#endif
