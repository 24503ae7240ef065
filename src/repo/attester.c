/* Attesting packs: see fleetbak/repo/attest.h. */
#include "fleetbak/repo/attest.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/vault.h"

#include "attested.h"
#include "packer.h"

/* Statements wait for so many bytes of hints: these are stored first, so that
 * a statement that is there is one that is found. */
#define HINTS_MAX ((size_t)1 << 20)

/* Statements of one domain that are not stored yet. */
struct statement {
	char key[FB_ATTEST_KEY_SIZE];
	struct fb_buf text;
};

struct domain {
	struct fb_cipher_key key;
	uint8_t tag[FB_KEY_TAG_LEN];
	char session[FB_RUN_ID_SIZE]; /* under which the hints are stored */
	struct fb_buf hints;
	struct statement *statements;
	size_t count;
};

struct fb_attester {
	struct fb_repo *repo;
	const struct fb_sign_key *key;
	struct fb_trust trust; /* who may have attested */
	struct domain *domains;
	size_t domain_count;
	struct fb_attest_report report;
	pthread_mutex_t lock; /* hints, statements, report */
};

static void
clear_domain(struct domain *domain)
{
	for (size_t i = 0; i < domain->count; i++)
		fb_buf_release(&domain->statements[i].text);
	free(domain->statements);
	domain->statements = NULL;
	domain->count = 0;
	fb_buf_clear(&domain->hints);
}

void
fb_attester_close(struct fb_attester *attester)
{
	if (attester == NULL)
		return;
	for (size_t i = 0; i < attester->domain_count; i++) {
		clear_domain(&attester->domains[i]);
		fb_buf_release(&attester->domains[i].hints);
		fb_cipher_wipe(&attester->domains[i].key);
	}
	free(attester->domains);
	fb_trust_release(&attester->trust);
	(void)pthread_mutex_destroy(&attester->lock);
	free(attester);
}

static void
add_domain(struct fb_attester *attester, const struct fb_cipher_key *key)
{
	struct domain *domain;
	uint8_t tag[FB_KEY_TAG_LEN];

	fb_vault_tag(attester->repo->vault, key, tag);
	for (size_t i = 0; i < attester->domain_count; i++)
		if (memcmp(attester->domains[i].tag, tag, sizeof(tag)) == 0)
			return;
	attester->domains = fb_realloc(attester->domains,
	    attester->domain_count + 1, sizeof(*attester->domains));
	domain = &attester->domains[attester->domain_count++];
	*domain = (struct domain){ .key = *key };
	memcpy(domain->tag, tag, sizeof(tag));
}

struct seals {
	char (*sessions)[FB_RUN_ID_SIZE];
	size_t count;
};

static int
note_seal(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct seals *seals = arg;
	const char *id = key + strlen("hints/");

	(void)size;
	(void)err;
	if (strlen(id) != FB_RUN_ID_LEN + strlen(".seal") ||
	    strcmp(id + FB_RUN_ID_LEN, ".seal") != 0 ||
	    !fb_run_id_ok(id, FB_RUN_ID_LEN))
		return FB_OK;
	seals->sessions = fb_realloc(
	    seals->sessions, seals->count + 1, sizeof(*seals->sessions));
	memcpy(seals->sessions[seals->count], id, FB_RUN_ID_LEN);
	seals->sessions[seals->count++][FB_RUN_ID_LEN] = '\0';
	return FB_OK;
}

/* Whose keys cannot be read, or whose seal nobody trusted signed, has no
 * domain that we know of. */
static int
look_at_seal(
    struct fb_attester *attester, const char *session, struct fb_error *err)
{
	struct fb_repo *repo = attester->repo;
	FB_AUTO_FREE char *key = fb_format("hints/%s.seal", session);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_cipher_key domain;
	struct fb_hint_seal seal;
	struct fb_span body;
	int rc =
	    fb_store_get(repo->store, key, FB_HINT_SEAL_MAX, &text, NULL, err);

	if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT)
		return FB_OK;
	if (rc < 0)
		return rc;
	if (fb_hint_seal_decode(fb_buf_span(&text), &seal, &body, err) < 0 ||
	    !seal.keyed || strcmp(seal.session, session) != 0 ||
	    fb_trust_verify(&repo->trust, body,
	        (struct fb_span){ seal.signature, FB_SIGNATURE_LEN }, NULL,
	        err) < 0)
		return FB_OK;
	rc = fb_vault_sealed_domain(repo->vault, &seal, &domain, err);
	if (rc == FB_ECORRUPT || rc == FB_EKEY || rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_OK)
		add_domain(attester, &domain);
	fb_cipher_wipe(&domain);
	return rc;
}

static int
find_domains(struct fb_attester *attester, struct fb_error *err)
{
	struct seals seals = { 0 };
	int rc = fb_store_list(
	    attester->repo->store, "hints/", note_seal, &seals, err);

	for (size_t i = 0; rc == FB_OK && i < seals.count; i++)
		rc = look_at_seal(attester, seals.sessions[i], err);
	free(seals.sessions);
	return rc;
}

static int
trust_ourselves(struct fb_attester *attester, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf pem = { 0 };
	struct fb_verify_key *ours;
	int rc = fb_sign_key_public(attester->key, &pem, err);

	if (rc == FB_OK)
		rc = fb_verify_key_parse(fb_buf_span(&pem), &ours, err);
	if (rc == FB_OK)
		fb_trust_add(&attester->trust, ours);
	return rc;
}

int
fb_attester_open(struct fb_repo *repo, const struct fb_sign_key *key,
    struct fb_attester **ret_attester, struct fb_error *err)
{
	struct fb_attester *attester = fb_alloc(1, sizeof(*attester));
	int rc = fb_vault_may_open(repo->vault, err);

	attester->repo = repo;
	attester->key = key;
	(void)pthread_mutex_init(&attester->lock, NULL);
	if (rc == FB_OK)
		rc = trust_ourselves(attester, err);
	if (rc == FB_OK && repo->vault != NULL)
		rc = find_domains(attester, err);
	attester->report.domains = attester->domain_count;
	if (rc < 0)
		fb_attester_close(attester);
	else
		*ret_attester = attester;
	return rc;
}

/* Is there a statement already?  What others put there instead is taken
 * away. */
static int
is_attested(struct fb_attester *attester, const struct domain *domain,
    const struct fb_table *table, bool *ret_is, struct fb_error *err)
{
	struct fb_store *store = attester->repo->store;
	FB_AUTO_ATTESTATION struct fb_attestation found = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[FB_ATTEST_KEY_SIZE];
	int rc;

	*ret_is = false;
	fb_attest_key(domain->tag, &table->pack, key);
	rc = fb_store_get(store, key, FB_ATTEST_MAX, &text, NULL, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_OK)
		rc = fb_attestation_check(attester->repo, &attester->trust,
		    table, domain->tag, fb_buf_span(&text), &found, err);
	*ret_is = rc == FB_OK;
	if (rc == FB_ECORRUPT || rc == FB_EUNTRUSTED || rc == FB_ETOONEW)
		rc = fb_store_remove(store, key, err);
	return rc;
}

/* Which domains are missing: their numbers, in the order in which the check
 * makes ids. */
static int
find_missing(struct fb_attester *attester, const struct fb_table *table,
    size_t *ret_numbers, size_t *ret_count, struct fb_error *err)
{
	uint64_t known = 0;
	int rc = FB_OK;

	*ret_count = 0;
	for (size_t i = 0; rc == FB_OK && i < attester->domain_count; i++) {
		const struct domain *domain = &attester->domains[i];
		bool is;

		if (memcmp(domain->tag, table->table.domain, FB_KEY_TAG_LEN) ==
		    0)
			continue;
		rc = is_attested(attester, domain, table, &is, err);
		known += rc == FB_OK && is;
		if (rc == FB_OK && !is)
			ret_numbers[(*ret_count)++] = i;
	}
	(void)pthread_mutex_lock(&attester->lock);
	attester->report.known += known;
	(void)pthread_mutex_unlock(&attester->lock);
	return rc;
}

int
fb_attester_prepare(struct fb_attester *attester, struct fb_pack_check *check,
    struct fb_error *err)
{
	size_t room = attester->domain_count + 1, count;
	FB_AUTO_FREE size_t *numbers = fb_alloc(room, sizeof(*numbers));
	struct fb_cipher_key *keys;
	int rc;

	rc = find_missing(
	    attester, fb_pack_check_table(check), numbers, &count, err);
	if (rc < 0 || count == 0)
		return rc;
	keys = fb_alloc(count, sizeof(*keys));
	for (size_t i = 0; i < count; i++)
		keys[i] = attester->domains[numbers[i]].key;
	fb_pack_check_translate(check, keys, count);
	for (size_t i = 0; i < count; i++)
		fb_cipher_wipe(&keys[i]);
	free(keys);
	return FB_OK;
}

/* The domain that has this key. */
static struct domain *
domain_of(struct fb_attester *attester, const struct fb_cipher_key *key)
{
	for (size_t i = 0; i < attester->domain_count; i++)
		if (memcmp(attester->domains[i].key.bytes, key->bytes,
		        FB_CIPHER_KEY_LEN) == 0)
			return &attester->domains[i];
	return NULL;
}

static int
make_statement(struct fb_attester *attester, const struct domain *domain,
    const struct fb_table *table, const struct fb_digest *ids,
    struct statement *statement, struct fb_error *err)
{
	struct fb_attestation attestation = {
		.pack = table->pack,
		.table = table->digest,
		.offset = (uint32_t)table->table.offset,
		.length = table->length,
		.ids = (struct fb_digest *)(uintptr_t)ids,
		.count = table->table.count,
	};
	int rc;

	memcpy(attestation.repository, attester->repo->format.repository,
	    sizeof(attestation.repository));
	memcpy(attestation.domain, domain->tag, FB_KEY_TAG_LEN);
	fb_attestation_encode_signed(&attestation, &statement->text);
	rc = fb_sign(attester->key, fb_buf_span(&statement->text),
	    attestation.signature, err);
	if (rc == FB_OK)
		fb_attestation_encode_signature(&attestation, &statement->text);
	fb_attest_key(domain->tag, &table->pack, statement->key);
	return rc;
}

/* The hints and their seal, so that the domain's writers look here. */
static int
store_hints(struct fb_attester *attester, const struct domain *domain,
    struct fb_error *err)
{
	struct fb_store *store = attester->repo->store;
	FB_AUTO_FREE char *key = fb_format("hints/%s", domain->session);
	FB_AUTO_FREE char *sealed = fb_format("%s.seal", key);
	FB_AUTO_BUF struct fb_buf text = { 0 }, body = { 0 };
	struct fb_hint_seal seal = { .size = domain->hints.len, .keyed = true };
	int rc = fb_store_create(store, key, fb_buf_span(&domain->hints), err);

	if (rc < 0)
		return rc;
	memcpy(seal.session, domain->session, sizeof(seal.session));
	fb_digest_of(fb_buf_span(&domain->hints), &seal.digest);
	fb_hint_seal_encode_body(&seal, &body);
	fb_cipher_mac(&domain->key, fb_buf_span(&body), &seal.domain);
	fb_hint_seal_encode_signed(&seal, &text);
	rc = fb_sign(attester->key, fb_buf_span(&text), seal.signature, err);
	if (rc < 0)
		return rc;
	fb_hint_seal_encode_signature(&seal, &text);
	return fb_store_create(store, sealed, fb_buf_span(&text), err);
}

/* With the lock held. */
static int
flush(struct fb_attester *attester, struct domain *domain, struct fb_error *err)
{
	int rc = domain->count > 0 ? store_hints(attester, domain, err) : FB_OK;

	for (size_t i = 0; rc == FB_OK && i < domain->count; i++) {
		rc = fb_store_create(attester->repo->store,
		    domain->statements[i].key,
		    fb_buf_span(&domain->statements[i].text), err);
		attester->report.attested += rc == FB_OK;
		if (rc == FB_EEXISTS) /* another verifier was faster */
			rc = FB_OK;
	}
	if (rc == FB_OK)
		clear_domain(domain);
	return rc < 0 ? fb_wrap(err, "attesting packs") : FB_OK;
}

/* With the lock held. */
static int
add_statement(struct fb_attester *attester, struct domain *domain,
    const struct fb_table *table, const struct fb_digest *ids,
    struct fb_error *err)
{
	struct fb_hint_pack pack = { table->pack, table->digest,
		(uint32_t)table->table.offset, table->length,
		(uint32_t)table->table.count };
	struct statement *statement;
	int rc;

	if (domain->count == 0) {
		fb_random_run_id(domain->session);
		fb_hints_add_head(&domain->hints, domain->session);
	}
	domain->statements = fb_realloc(
	    domain->statements, domain->count + 1, sizeof(*domain->statements));
	statement = &domain->statements[domain->count++];
	*statement = (struct statement){ 0 };
	rc = make_statement(attester, domain, table, ids, statement, err);
	if (rc < 0)
		return rc;
	fb_hints_add_ids(&domain->hints, &pack, ids);
	return domain->hints.len < HINTS_MAX ? FB_OK
	                                     : flush(attester, domain, err);
}

int
fb_attester_add(struct fb_attester *attester, const struct fb_pack_check *check,
    struct fb_error *err)
{
	const struct fb_table *table = fb_pack_check_table(check);
	size_t count = fb_pack_check_domains(check, NULL);
	int rc = FB_OK;

	(void)pthread_mutex_lock(&attester->lock);
	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		const struct fb_cipher_key *keys;
		struct domain *domain;

		(void)fb_pack_check_domains(check, &keys);
		domain = domain_of(attester, &keys[i]);
		if (domain != NULL)
			rc = add_statement(attester, domain, table,
			    fb_pack_check_ids(check, i), err);
	}
	(void)pthread_mutex_unlock(&attester->lock);
	return rc;
}

int
fb_attester_finish(struct fb_attester *attester,
    struct fb_attest_report *ret_report, struct fb_error *err)
{
	int rc = FB_OK;

	(void)pthread_mutex_lock(&attester->lock);
	for (size_t i = 0; rc == FB_OK && i < attester->domain_count; i++)
		rc = flush(attester, &attester->domains[i], err);
	*ret_report = attester->report;
	(void)pthread_mutex_unlock(&attester->lock);
	return rc;
}
