/* Sealing what is under keys/ to other recipients. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/repo/repo.h"
#include "fleetbak/store/versions.h"

#include "vault_impl.h"

struct resealing {
	struct fb_vault *vault;
	const struct fb_recipients *recipients;
	bool remove;
	struct fb_reseal_report *report;
	char (*sessions)[FB_RUN_ID_SIZE];
	size_t count;
};

static int
note_session(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct resealing *resealing = arg;
	char id[FB_RUN_ID_SIZE];

	(void)size;
	(void)err;
	/* They are sorted: those of one session stand together. */
	if (!fb_keys_key_parse(key, id, NULL) ||
	    (resealing->count > 0 &&
	        strcmp(resealing->sessions[resealing->count - 1], id) == 0))
		return FB_OK;
	if ((resealing->count & (resealing->count - 1)) == 0)
		resealing->sessions = fb_realloc(resealing->sessions,
		    resealing->count == 0 ? 1 : resealing->count * 2,
		    sizeof(*resealing->sessions));
	memcpy(resealing->sessions[resealing->count++], id, sizeof(id));
	return FB_OK;
}

/* All its keys, with one of the domains that it may have: which one is meant
 * is for the tables of the packs to say. */
static int
seal_again(struct resealing *resealing, struct vault_session *session,
    const struct fb_cipher_key *domain, struct fb_error *err)
{
	size_t at = 0;
	int rc;

	do {
		struct fb_pack_keys part = { .domain = *domain,
			.items = session->items + at,
			.count = session->count - at };

		if (part.count > FB_PACK_KEYS_MAX)
			part.count = FB_PACK_KEYS_MAX;
		memcpy(part.session, session->id, sizeof(part.session));
		rc = fb_vault_put(resealing->vault, resealing->recipients,
		    &part, &session->next, err);
		at += part.count;
		resealing->report->sealed += rc == FB_OK;
		fb_cipher_wipe(&part.domain);
	} while (rc == FB_OK && at < session->count);
	return rc;
}

static int
note_version(
    const struct fb_store_version *version, void *arg, struct fb_error *err)
{
	bool *any = arg;

	(void)err;
	*any = *any || !version->removed;
	return FB_OK;
}

/* What is locked cannot be deleted, only hidden: who may read versions has it
 * as before. */
static int
remove_one(
    struct resealing *resealing, const char *key, struct fb_error *err)
{
	struct fb_store *store = resealing->vault->store;
	bool any = false;
	int rc = fb_store_remove(store, key, err);

	if (rc < 0)
		return rc;
	resealing->report->removed++;
	rc = fb_store_versions(store, key, note_version, &any, err);
	resealing->report->kept += any;
	/* Who may not look at versions has not been able to delete them. */
	return rc == FB_EDENIED || rc == FB_EUNSUP ? FB_OK : rc;
}

/* Only what was sealed again goes: what does not open may hold other keys. */
static int
remove_old(struct resealing *resealing, const struct vault_session *session,
    struct fb_error *err)
{
	struct fb_vault *vault = resealing->vault;
	char key[FB_KEYS_KEY_SIZE];
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < session->opened_count; i++) {
		fb_keys_key(session->id, session->opened[i], key);
		rc = remove_one(resealing, key, err);
	}
	for (size_t i = 0; rc == FB_OK && i < session->shut_count; i++) {
		FB_AUTO_BUF struct fb_buf envelope = { 0 };
		struct fb_error ignored = { 0 };

		fb_keys_key(session->id, session->shut[i], key);
		if (fb_store_get(vault->store, key, FB_ENVELOPE_MAX, &envelope,
		        NULL, &ignored) < 0 ||
		    !fb_envelope_is_for(
		        resealing->recipients, fb_buf_span(&envelope)))
			resealing->report->left++;
	}
	return rc;
}

static int
reseal_session(
    struct resealing *resealing, const char *id, struct fb_error *err)
{
	struct fb_vault *vault = resealing->vault;
	struct vault_session session;
	int rc = fb_vault_load(vault, id, &session, err);

	if (rc < 0)
		return rc;
	resealing->report->sessions++;
	for (size_t i = 0; rc == FB_OK && i < session.domain_count; i++)
		rc = seal_again(resealing, &session, &session.domains[i], err);
	if (rc == FB_OK && resealing->remove)
		rc = remove_old(resealing, &session, err);
	fb_vault_session_release(&session);
	return rc < 0 ? fb_wrap(err, "keys of session %s", id) : FB_OK;
}

int
fb_vault_reseal(struct fb_vault *vault, const struct fb_recipients *recipients,
    bool remove, struct fb_reseal_report *ret_report, struct fb_error *err)
{
	struct resealing resealing = { .vault = vault,
		.recipients = recipients,
		.remove = remove,
		.report = ret_report };
	int rc = fb_vault_may_open(vault, err);

	*ret_report = (struct fb_reseal_report){ 0 };
	if (rc == FB_OK)
		rc = fb_store_list(
		    vault->store, "keys/", note_session, &resealing, err);
	for (size_t i = 0; rc == FB_OK && i < resealing.count; i++)
		rc = reseal_session(&resealing, resealing.sessions[i], err);
	free(resealing.sessions);
	return rc;
}
