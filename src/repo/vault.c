#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/sign.h"
#include "fleetbak/format/register.h"

#include "vault_impl.h"

struct fb_vault *
fb_vault_new(struct fb_store *store, const char *repository)
{
	struct fb_vault *vault = fb_alloc(1, sizeof(*vault));

	vault->store = store;
	memcpy(vault->repository, repository, sizeof(vault->repository));
	(void)pthread_mutex_init(&vault->lock, NULL);
	return vault;
}

void
fb_vault_session_release(struct vault_session *session)
{
	for (size_t i = 0; i < session->count; i++)
		fb_cipher_wipe(&session->items[i].key);
	for (size_t i = 0; i < session->domain_count; i++)
		fb_cipher_wipe(&session->domains[i]);
	free(session->items);
	free(session->domains);
	free(session->opened);
	free(session->shut);
	*session = (struct vault_session){ 0 };
}

void
fb_vault_free(struct fb_vault *vault)
{
	if (vault == NULL)
		return;
	for (size_t i = 0; i < vault->session_count; i++)
		fb_vault_session_release(&vault->sessions[i]);
	free(vault->sessions);
	fb_recipients_free(vault->recipients);
	fb_opener_free(vault->opener);
	fb_cipher_wipe(&vault->domain);
	(void)pthread_mutex_destroy(&vault->lock);
	free(vault);
}

void
fb_vault_tag(const struct fb_vault *vault, const struct fb_cipher_key *domain,
    uint8_t ret_tag[FB_KEY_TAG_LEN])
{
	struct fb_digest check;

	fb_domain_check(domain, vault->repository, &check);
	memcpy(ret_tag, check.bytes, FB_KEY_TAG_LEN);
}

void
fb_vault_set_domain(struct fb_vault *vault, const struct fb_cipher_key *domain)
{
	vault->has_domain = true;
	vault->domain = *domain;
	fb_vault_tag(vault, domain, vault->tag);
}

void
fb_vault_set_recipients(
    struct fb_vault *vault, struct fb_recipients *recipients)
{
	fb_recipients_free(vault->recipients);
	vault->recipients = recipients;
}

void
fb_vault_set_opener(
    struct fb_vault *vault, fb_vault_load_opener *load, void *arg)
{
	vault->load = load;
	vault->load_arg = arg;
}

int
fb_vault_may_write(const struct fb_vault *vault, struct fb_error *err)
{
	if (vault == NULL || (vault->recipients != NULL && vault->has_domain))
		return FB_OK;
	(void)fb_fail_id(err, FB_EKEY, "E-ENCRYPT-TO",
	    "the repository is encrypted, and there is nobody to encrypt to");
	return fb_hint(err, "add encrypt_to: [\"file:./keys/recovery.crt\"]");
}

bool
fb_vault_opens(const struct fb_vault *vault)
{
	return vault == NULL || vault->load != NULL;
}

int
fb_vault_may_open(struct fb_vault *vault, struct fb_error *err)
{
	int rc = FB_OK;

	if (vault == NULL)
		return FB_OK;
	if (vault->load != NULL) {
		(void)pthread_mutex_lock(&vault->lock);
		if (vault->opener == NULL)
			rc = vault->load(vault->load_arg, &vault->opener, err);
		(void)pthread_mutex_unlock(&vault->lock);
		return rc;
	}
	(void)fb_fail_id(err, FB_EKEY, "E-DECRYPT-WITH",
	    "the repository is encrypted, and this host has no key that opens "
	    "it");
	return fb_hint(err,
	    "where the private key is, add decrypt_with: "
	    "\"file:./keys/recovery.pem\"");
}

const struct fb_cipher_key *
fb_vault_domain(const struct fb_vault *vault)
{
	return vault != NULL && vault->has_domain ? &vault->domain : NULL;
}

bool
fb_vault_is_ours(
    const struct fb_vault *vault, const struct fb_pack_table *table)
{
	if (vault == NULL)
		return !table->encrypted;
	return vault->has_domain && table->encrypted &&
	    memcmp(vault->tag, table->domain, FB_KEY_TAG_LEN) == 0;
}

void
fb_vault_mark(const struct fb_vault *vault, struct fb_pack_table *table)
{
	memcpy(table->domain, vault->tag, FB_KEY_TAG_LEN);
}

int
fb_vault_check_kind(const struct fb_vault *vault,
    const struct fb_pack_table *table, const char *key, struct fb_error *err)
{
	if (table->encrypted == (vault != NULL))
		return FB_OK;
	return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
	    "'%s' is %s, and the repository is not", key,
	    table->encrypted ? "encrypted" : "in clear");
}

/* With the lock held: where it is or belongs. */
static size_t
find_session(const struct fb_vault *vault, const char *id)
{
	size_t low = 0, high = vault->session_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(vault->sessions[middle].id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* With the lock held, also while it is fetched: it is needed now. */
static int
get_session(struct fb_vault *vault, const char *id,
    const struct vault_session **ret_session, struct fb_error *err)
{
	size_t at = find_session(vault, id);
	struct vault_session fresh;
	int rc;

	if (at < vault->session_count &&
	    strcmp(vault->sessions[at].id, id) == 0) {
		*ret_session = &vault->sessions[at];
		return FB_OK;
	}
	rc = fb_vault_load(vault, id, &fresh, err);
	if (rc < 0)
		return rc;
	if (vault->session_count == vault->session_cap) {
		vault->session_cap = vault->session_cap * 2 + 16;
		vault->sessions = fb_realloc(vault->sessions,
		    vault->session_cap, sizeof(*vault->sessions));
	}
	memmove(vault->sessions + at + 1, vault->sessions + at,
	    (vault->session_count - at) * sizeof(*vault->sessions));
	vault->sessions[at] = fresh;
	vault->session_count++;
	*ret_session = &vault->sessions[at];
	return FB_OK;
}

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(((const struct fb_pack_key_entry *)a)->id,
	    ((const struct fb_pack_key_entry *)b)->id, FB_KEY_TAG_LEN);
}

static int
pick(const struct fb_vault *vault, const struct vault_session *session,
    const struct fb_pack_table *table, struct fb_pack_secret *ret_secret,
    struct fb_error *err)
{
	struct fb_pack_key_entry wanted = { 0 };
	const struct fb_pack_key_entry *entry = NULL;

	memcpy(wanted.id, table->key, FB_KEY_TAG_LEN);
	if (session->count > 0)
		entry = bsearch(&wanted, session->items, session->count,
		    sizeof(*session->items), compare_ids);
	for (size_t i = 0; entry != NULL && i < session->domain_count; i++) {
		uint8_t tag[FB_KEY_TAG_LEN];

		fb_vault_tag(vault, &session->domains[i], tag);
		if (memcmp(tag, table->domain, sizeof(tag)) != 0)
			continue;
		ret_secret->key = entry->key;
		ret_secret->domain = session->domains[i];
		return FB_OK;
	}
	return fb_fail_id(err, FB_ECORRUPT, "E-PACK-KEY",
	    "no object 'keys/%s.*.cms' that opens holds the key of this pack",
	    session->id);
}

int
fb_vault_secret(struct fb_vault *vault, const struct fb_pack_table *table,
    struct fb_pack_secret *ret_secret, struct fb_error *err)
{
	const struct vault_session *session;
	int rc = fb_vault_may_open(vault, err);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&vault->lock);
	rc = get_session(vault, table->session, &session, err);
	if (rc == FB_OK)
		rc = pick(vault, session, table, ret_secret, err);
	(void)pthread_mutex_unlock(&vault->lock);
	return rc;
}

int
fb_vault_session_domain(struct fb_vault *vault, const char *id,
    struct fb_cipher_key *ret_domain, struct fb_error *err)
{
	const struct vault_session *session;
	int rc = fb_vault_may_open(vault, err);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&vault->lock);
	rc = get_session(vault, id, &session, err);
	if (rc == FB_OK && session->domain_count != 1)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-KEY",
		    "'keys/%s.*.cms' name more than one domain", id);
	if (rc == FB_OK)
		*ret_domain = session->domains[0];
	(void)pthread_mutex_unlock(&vault->lock);
	return rc;
}

int
fb_vault_sealed_domain(struct fb_vault *vault, const struct fb_hint_seal *seal,
    struct fb_cipher_key *ret_domain, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf body = { 0 };
	const struct vault_session *session;
	bool found = false;
	int rc = fb_vault_may_open(vault, err);

	if (rc < 0)
		return rc;
	fb_hint_seal_encode_body(seal, &body);
	(void)pthread_mutex_lock(&vault->lock);
	rc = get_session(vault, seal->session, &session, err);
	for (size_t i = 0; rc == FB_OK && !found && i < session->domain_count;
	     i++) {
		struct fb_digest mac;

		fb_cipher_mac(
		    &session->domains[i], fb_buf_span(&body), &mac);
		found = fb_digest_cmp(&mac, &seal->domain) == 0;
		if (found)
			*ret_domain = session->domains[i];
	}
	(void)pthread_mutex_unlock(&vault->lock);
	if (rc == FB_OK && !found)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-KEY",
		    "'keys/%s.*.cms' do not name the domain of its hints",
		    seal->session);
	return rc;
}

const uint8_t *
fb_vault_own_tag(const struct fb_vault *vault)
{
	return vault != NULL && vault->has_domain ? vault->tag : NULL;
}
