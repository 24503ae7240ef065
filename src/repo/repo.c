/* Making and opening a repository. */
#include "fleetbak/repo/repo.h"

#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/repo/vault.h"

#include "smalls.h"
#include "tables.h"

#define FORMAT_KEY     "format/1.json"
#define FORMAT_SIG_KEY "format/1.json.sig"

/* Content-defined chunks: what a new repository begins with. */
#define CHUNK_MIN     (16u << 10)
#define CHUNK_AVERAGE (64u << 10)
#define CHUNK_MAX     (512u << 10)

/* Create an object that may be there already. */
static int
put_once(struct fb_store *store, const char *key, struct fb_span bytes,
    struct fb_error *err)
{
	int rc = fb_store_create(store, key, bytes, err);

	return rc == FB_EEXISTS ? FB_OK : rc;
}

/* Whatever the format object lacks after a crash. */
static int
complete(struct fb_store *store, struct fb_span format,
    const struct fb_sign_key *key, struct fb_error *err)
{
	uint8_t signature[FB_SIGNATURE_LEN];
	uint64_t size;
	int rc = fb_store_head(store, FORMAT_SIG_KEY, &size, err);

	if (rc == FB_ENOTFOUND) {
		rc = fb_sign(key, format, signature, err);
		if (rc < 0)
			return rc;
		rc = put_once(store, FORMAT_SIG_KEY,
		    (struct fb_span){ signature, sizeof(signature) }, err);
	}
	if (rc < 0 ||
	    (rc = put_once(store, "restore.sh", fb_repo_restore_sh(), err)) <
	        0)
		return rc;
	return put_once(store, "RESTORE.txt", fb_repo_restore_txt(), err);
}

static int
refuse_foreign(
    const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	(void)size;
	(void)arg;
	(void)fb_fail_id(err, FB_EREFUSED, "E-REPO-FOREIGN",
	    "it holds something else already: '%s'", key);
	return fb_hint(err, "name an empty or new place as the repository");
}

static void
random_hex(char text[33])
{
	uint8_t raw[16];

	fb_random(raw, sizeof(raw));
	fb_text_hex(raw, sizeof(raw), text);
}

/* Who wants an encrypted repository, and keeps its domain key. */
struct encryption {
	fb_repo_keep_domain *keep;
	void *arg;
};

static int
make_domain(const struct encryption *encryption, struct fb_format_doc *doc,
    struct fb_error *err)
{
	struct fb_cipher_key domain;
	struct fb_digest check;
	int rc;

	fb_random(domain.bytes, sizeof(domain.bytes));
	memcpy(doc->mode, FB_MODE_ENCRYPTED, sizeof(FB_MODE_ENCRYPTED));
	fb_domain_check(&domain, doc->repository, &check);
	fb_digest_hex(&check, doc->domain_check);
	rc = encryption->keep(encryption->arg, doc->repository, &domain, err);
	fb_cipher_wipe(&domain);
	return rc;
}

/* The first object of a repository. */
static int
make_format(struct fb_store *store, const struct encryption *encryption,
    struct fb_buf *dst, struct fb_error *err)
{
	struct fb_format_doc doc = {
		.mode = FB_MODE_CLEAR,
		.chunk_min = CHUNK_MIN,
		.chunk_average = CHUNK_AVERAGE,
		.chunk_max = CHUNK_MAX,
		.one_writer = fb_store_one_writer(store) &&
		    !fb_store_has_lease(store),
		.leased =
		    fb_store_one_writer(store) && fb_store_has_lease(store),
	};
	int rc = fb_store_list(store, "", refuse_foreign, NULL, err);

	if (rc < 0)
		return rc;
	random_hex(doc.repository);
	random_hex(doc.domain);
	if (encryption != NULL)
		rc = make_domain(encryption, &doc, err);
	if (rc < 0)
		return rc;
	fb_time_format(fb_clock_wall_ns(), doc.created);
	fb_format_doc_encode(&doc, dst);
	return fb_store_create(store, FORMAT_KEY, fb_buf_span(dst), err);
}

/* It says how many may write, and who decides, once and for all: conditions
 * that were there when the repository was made are never done without. */
static int
take_format(struct fb_store *store, struct fb_span text,
    struct fb_format_doc *ret_doc, struct fb_error *err)
{
	int rc = fb_format_doc_decode(text, ret_doc, err);

	if (rc < 0)
		return rc;
	fb_store_set_one_writer(store, ret_doc->one_writer);
	fb_store_set_lease(
	    store, ret_doc->leased ? ret_doc->repository : NULL);
	return FB_OK;
}

/* FB_ETOONEW when a newer program has upgraded the repository. */
static int
check_upgrade(struct fb_store *store, struct fb_error *err)
{
	uint64_t size;
	int rc = fb_store_head(store, "format/2.json", &size, err);

	if (rc == FB_OK)
		return fb_fail(err, FB_ETOONEW,
		    "'%s' has format 2, newer than this program", store->url);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
init_repo(struct fb_store *store, const struct fb_sign_key *key,
    const struct encryption *encryption, bool *ret_made, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_format_doc doc;
	bool made = false;
	int rc = check_upgrade(store, err);

	if (rc < 0)
		return rc;
	rc = fb_store_get(
	    store, FORMAT_KEY, FB_FORMAT_DOC_MAX, &text, NULL, err);
	if (rc == FB_ENOTFOUND) {
		rc = make_format(store, encryption, &text, err);
		made = rc == FB_OK;
	}
	if (rc == FB_EEXISTS) { /* somebody was faster */
		fb_buf_clear(&text);
		rc = fb_store_get(
		    store, FORMAT_KEY, FB_FORMAT_DOC_MAX, &text, NULL, err);
	}
	if (rc < 0 ||
	    (rc = take_format(store, fb_buf_span(&text), &doc, err)) < 0 ||
	    (rc = complete(store, fb_buf_span(&text), key, err)) < 0)
		return fb_wrap(err, "repository '%s'", store->url);
	*ret_made = made;
	return FB_OK;
}

int
fb_repo_init(struct fb_store *store, const struct fb_sign_key *key,
    bool *ret_made, struct fb_error *err)
{
	return init_repo(store, key, NULL, ret_made, err);
}

int
fb_repo_init_encrypted(struct fb_store *store, const struct fb_sign_key *key,
    fb_repo_keep_domain *keep, void *arg, bool *ret_made, struct fb_error *err)
{
	struct encryption encryption = { keep, arg };

	return init_repo(store, key, &encryption, ret_made, err);
}

static int
read_format(struct fb_repo *repo, struct fb_buf *text, struct fb_error *err)
{
	int rc = check_upgrade(repo->store, err);

	if (rc < 0)
		return rc;
	rc = fb_store_get(
	    repo->store, FORMAT_KEY, FB_FORMAT_DOC_MAX, text, NULL, err);
	if (rc == FB_ENOTFOUND) {
		(void)fb_fail(err, FB_ENOREPO, "there is no repository");
		return fb_hint(err, "make one with 'fleetbak init'");
	}
	if (rc < 0)
		return rc;
	rc = take_format(repo->store, fb_buf_span(text), &repo->format, err);
	if (rc < 0)
		return rc;
	if (strcmp(repo->format.mode, FB_MODE_ENCRYPTED) != 0)
		return FB_OK;
	repo->vault = fb_vault_new(repo->store, repo->format.repository);
	fb_tables_set_vault(repo->tables, repo->vault);
	return FB_OK;
}

static int
check_signature(
    struct fb_repo *repo, struct fb_span format, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf signature = { 0 };
	int rc = fb_store_get(repo->store, FORMAT_SIG_KEY, FB_SIGNATURE_LEN,
	    &signature, NULL, err);

	if (rc == FB_ENOTFOUND) {
		(void)fb_fail_id(err, FB_EUNTRUSTED, "E-SIGNATURE",
		    "'" FORMAT_SIG_KEY "' is missing");
		return fb_hint(err, "'fleetbak init' completes it");
	}
	if (rc < 0)
		return rc;
	rc = fb_trust_verify(
	    &repo->trust, format, fb_buf_span(&signature), NULL, err);
	return rc < 0 ? fb_wrap(err, "'" FORMAT_KEY "'") : FB_OK;
}

static int
open_repo(struct fb_store *store, struct fb_trust *trust,
    struct fb_error *ret_doubt, struct fb_repo **ret_repo,
    struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = fb_alloc(1, sizeof(*repo));
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc;

	repo->store = store;
	repo->tables = fb_tables_new(store, FB_TABLES_BYTES_MAX);
	repo->smalls = fb_smalls_new();
	repo->trust = *trust;
	memset(trust, 0, sizeof(*trust));
	rc = read_format(repo, &text, err);
	if (rc < 0)
		return fb_wrap(err, "repository '%s'", store->url);
	rc = check_signature(repo, fb_buf_span(&text), err);
	if (rc < 0) {
		(void)fb_wrap(err, "repository '%s'", store->url);
		if (ret_doubt == NULL || rc != FB_EUNTRUSTED)
			return rc;
		*ret_doubt = *err;
	}
	*ret_repo = FB_STEAL(repo);
	return FB_OK;
}

int
fb_repo_open(struct fb_store *store, struct fb_trust *trust,
    struct fb_repo **ret_repo, struct fb_error *err)
{
	return open_repo(store, trust, NULL, ret_repo, err);
}

int
fb_repo_open_doubting(struct fb_store *store, struct fb_trust *trust,
    struct fb_error *ret_doubt, struct fb_repo **ret_repo,
    struct fb_error *err)
{
	memset(ret_doubt, 0, sizeof(*ret_doubt));
	return open_repo(store, trust, ret_doubt, ret_repo, err);
}

void
fb_repo_close(struct fb_repo *repo)
{
	if (repo == NULL)
		return;
	fb_tables_free(repo->tables);
	fb_smalls_free(repo->smalls);
	fb_gc_needs_free(repo->needs);
	fb_vault_free(repo->vault);
	fb_store_close(repo->store);
	fb_trust_release(&repo->trust);
	fb_trust_release(&repo->verifiers);
	fb_freep(&repo);
}

void
fb_repo_closep(struct fb_repo **repo)
{
	fb_repo_close(*repo);
	*repo = NULL;
}
