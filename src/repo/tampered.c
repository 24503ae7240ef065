/*
 * Finding what was deleted or overwritten.  First every object that has a past
 * is noted; then what is needed is told, from what is signed outwards: forget
 * records, registers, what they name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/id_set.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"

#include "tables.h"
#include "tampered_impl.h"

enum kind {
	OTHER,
	TEXT,
	COMMIT,
	FORGET,
	RUN,
	KEYS,
	PACK,
	RECIPE,
	ATTEST,
	CURRENT,
	SET,
	HINT,
	HOLD,
	PENDING,
	SESSION,
	SHARED
};

static const struct {
	const char *prefix;
	enum kind kind;
} kinds[] = {
	{ "attests/", ATTEST },
	{ "commits/", COMMIT },
	{ "forgets/", FORGET },
	{ "gc/current", CURRENT },
	{ "gc/sets/", SET },
	{ "hints/", HINT },
	{ "holds/", HOLD },
	{ "keys/", KEYS },
	{ "packs/", PACK },
	{ "pending/", PENDING },
	{ "recipes/", RECIPE },
	{ "runs/", RUN },
	{ "sessions/", SESSION },
	{ "shared/", SHARED },
	{ "RESTORE.txt", TEXT },
	{ "restore.sh", TEXT },
};

/* A run that is kept, as its register says. */
struct known {
	char run[FB_RUN_ID_SIZE], session[FB_RUN_ID_SIZE];
	struct fb_digest sums;
	uint8_t signature[FB_SIGNATURE_LEN];
};

struct finding {
	struct fb_repo *repo;
	struct fb_tampered_list *list;
	struct past group;  /* being listed */
	struct past *pasts; /* those that are suspect */
	size_t count;
	struct fb_run_ids keyed;             /* sessions whose keys are there */
	struct fb_run_ids ended;             /* that have, or had, an end */
	struct past_marks marks;             /* of shared runs */
	struct fb_run_ids forgotten, mended; /* sessions: by records that ... */
	struct known *runs;
	size_t run_count;
	struct fb_id_set packs, recipes; /* suspects; mark 1: needed */
	bool ask_packs; /* whose they are, because keys are gone: */
	struct fb_id_set asked;
	struct fb_run_ids used;        /* sessions of packs that are needed */
	bool unsure;                   /* and perhaps others */
	char sums_run[FB_RUN_ID_SIZE]; /* whose these are */
	struct fb_buf sums;
};

static enum kind
kind_of(const char *key)
{
	for (size_t i = 0; i < FB_COUNT(kinds); i++)
		if (strncmp(key, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return kinds[i].kind;
	return OTHER;
}

/* The run or session id that stands behind the first slash. */
static bool
id_of(const char *key, char id[FB_RUN_ID_SIZE])
{
	const char *text = strchr(key, '/');

	if (text == NULL || strlen(text + 1) < FB_RUN_ID_LEN ||
	    !fb_run_id_ok(text + 1, FB_RUN_ID_LEN))
		return false;
	memcpy(id, text + 1, FB_RUN_ID_LEN);
	id[FB_RUN_ID_LEN] = '\0';
	return true;
}

/* The digest that a name is. */
static bool
digest_of(const char *key, struct fb_digest *ret)
{
	const char *leaf = strrchr(key, '/');
	struct fb_error ignored;

	return leaf != NULL && strlen(leaf + 1) >= FB_DIGEST_HEX_SIZE - 1 &&
	    fb_digest_parse((struct fb_span){ (const uint8_t *)leaf + 1,
	                        FB_DIGEST_HEX_SIZE - 1 },
	        ret, &ignored) == FB_OK;
}

static void
end_group(struct finding *finding)
{
	struct past *group = &finding->group;
	enum kind kind = group->key != NULL ? kind_of(group->key) : OTHER;
	char id[FB_RUN_ID_SIZE];

	if (kind == KEYS && !group->items[0].removed && id_of(group->key, id))
		fb_run_ids_add(&finding->keyed, id);
	if (kind == SESSION && strchr(group->key, '.') != NULL &&
	    id_of(group->key, id))
		fb_run_ids_add(&finding->ended, id);
	if (kind == SHARED)
		past_marks_note(&finding->marks, group);
	if (kind == OTHER || !past_is_suspect(group)) {
		past_release(group);
		return;
	}
	finding->pasts = fb_realloc(
	    finding->pasts, finding->count + 1, sizeof(*finding->pasts));
	finding->pasts[finding->count++] = *group;
	*group = (struct past){ 0 };
}

static int
visit_version(
    const struct fb_store_version *version, void *arg, struct fb_error *err)
{
	struct finding *finding = arg;

	(void)err;
	if (finding->group.key != NULL &&
	    strcmp(finding->group.key, version->key) != 0)
		end_group(finding);
	if (!version->latest && !version->removed) {
		finding->list->old_versions++;
		finding->list->old_bytes += version->size;
	}
	past_add(&finding->group, version);
	return FB_OK;
}

/* Is this register the one that was made, signed by a trusted key?  A fence
 * has no signature: the first one counts. */
static bool
register_ok(
    struct fb_repo *repo, const struct fb_register *reg, const char *session)
{
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS", reg->run);
	struct fb_error ignored;

	if (strcmp(reg->session, session) != 0)
		return false;
	if (reg->fence)
		return true;
	return past_read_right(repo, key, &reg->sums, &sums, &ignored) == FB_OK &&
	    fb_trust_verify(&repo->trust, fb_buf_span(&sums),
	        (struct fb_span){ reg->signature, FB_SIGNATURE_LEN }, NULL,
	        &ignored) == FB_OK;
}

static void
mark(struct fb_id_set *suspects, const struct fb_id_list *needed)
{
	for (size_t i = 0; i < needed->count; i++) {
		struct fb_id_slot *slot =
		    fb_id_set_find(suspects, &needed->ids[i]);

		if (slot != NULL)
			slot->mark = 1;
	}
}

/* Prune removes the keys of packs that are gone, so those are needed whose
 * packs are. */
static void
ask_packs(struct finding *finding, const struct fb_id_list *packs)
{
	for (size_t i = 0; i < packs->count; i++) {
		struct fb_table_place place = { .pack = packs->ids[i] };
		struct fb_table table = { 0 };
		struct fb_error why;
		bool is_new;

		(void)fb_id_set_add(&finding->asked, &place.pack, &is_new);
		if (!is_new)
			continue;
		if (fb_table_fetch(finding->repo->store, &place, &table, &why) <
		    0) {
			finding->unsure = true; /* it may be deleted, too */
			continue;
		}
		fb_run_ids_add(&finding->used, table.table.session);
		fb_pack_table_release(&table.table);
	}
}

static void
add_run(struct finding *finding, const struct fb_register *reg)
{
	struct known *known;

	if (finding->ask_packs)
		ask_packs(finding, &reg->packs);
	mark(&finding->packs, &reg->packs);
	mark(&finding->recipes, &reg->recipes);
	finding->runs = fb_realloc(
	    finding->runs, finding->run_count + 1, sizeof(*finding->runs));
	known = &finding->runs[finding->run_count++];
	*known = (struct known){ .sums = reg->sums };
	memcpy(known->run, reg->run, sizeof(known->run));
	memcpy(known->session, reg->session, sizeof(known->session));
	memcpy(known->signature, reg->signature, sizeof(known->signature));
}

/* The oldest version that is a register of its session is the one that was
 * made: nothing replaces it. */
static int
judge_commit(
    struct finding *finding, const struct past *past, struct fb_error *err)
{
	struct fb_repo *repo = finding->repo;
	char session[FB_RUN_ID_SIZE];
	size_t before = finding->list->count;
	bool unread = false;

	if (!id_of(past->key, session) ||
	    strlen(past->key) != strlen("commits/") + FB_RUN_ID_LEN)
		return FB_OK;
	for (size_t i = past->count; i-- > 0;) {
		FB_AUTO_BUF struct fb_buf text = { 0 };
		struct fb_register reg = { 0 };
		struct fb_error why;
		struct fb_digest want;
		int rc;

		if (past->items[i].removed)
			continue;
		rc = past_read(repo->store, past->key, &past->items[i],
		    FB_REGISTER_MAX, &text, err);
		if (rc < 0 && rc != FB_ECORRUPT && rc != FB_ENOTFOUND)
			return rc;
		unread |= rc == FB_ECORRUPT;
		if (rc < 0 ||
		    fb_register_decode(fb_buf_span(&text), &reg, &why) < 0)
			continue;
		/* A fence that is not known to be the first is no fence. */
		if ((reg.fence && unread) ||
		    !register_ok(repo, &reg, session)) {
			fb_register_release(&reg);
			continue;
		}
		fb_digest_of(fb_buf_span(&text), &want);
		rc = past_report(repo->store, past, &want, false,
		    reg.fence ? "" : reg.run, finding->list, err);
		if (rc == FB_OK && finding->list->count > before) {
			fb_run_ids_add(&finding->mended, session);
			if (!reg.fence &&
			    !fb_run_ids_have(&finding->forgotten, session))
				add_run(finding, &reg);
		}
		fb_register_release(&reg);
		return rc;
	}
	/* None of them is: say so, with what cannot be found. */
	return past_report(repo->store, past, &(struct fb_digest){ 0 }, false,
	    "", finding->list, err);
}

static int
judge_forget(
    struct finding *finding, const struct past *past, struct fb_error *err)
{
	struct fb_repo *repo = finding->repo;
	char session[FB_RUN_ID_SIZE];

	if (!id_of(past->key, session))
		return FB_OK;
	for (size_t i = past->count; i-- > 0;) {
		FB_AUTO_BUF struct fb_buf text = { 0 };
		struct fb_forget forget;
		struct fb_span body;
		struct fb_error why;
		struct fb_digest want;

		if (past->items[i].removed ||
		    past_read(repo->store, past->key, &past->items[i],
		        FB_FORGET_MAX, &text, &why) < 0 ||
		    fb_forget_decode(fb_buf_span(&text), &forget, &body, &why) <
		        0 ||
		    strcmp(forget.session, session) != 0 ||
		    fb_trust_verify(&repo->trust, body,
		        (struct fb_span){ forget.signature, FB_SIGNATURE_LEN },
		        NULL, &why) < 0)
			continue;
		fb_run_ids_add(&finding->forgotten, session);
		fb_digest_of(fb_buf_span(&text), &want);
		return past_report(
		    repo->store, past, &want, false, "", finding->list, err);
	}
	return FB_OK; /* nobody trusted has ever said so */
}

static int
note_kept(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct finding *finding = arg;
	struct fb_register reg = { 0 };
	int rc;

	if (run->damage != NULL ||
	    fb_run_ids_have(&finding->mended, run->session) ||
	    fb_run_ids_have(&finding->forgotten, run->session))
		return FB_OK;
	rc = fb_repo_register(finding->repo, run->session, &reg, err);
	if (rc == FB_OK && !reg.fence)
		add_run(finding, &reg);
	fb_register_release(&reg);
	return rc == FB_ENOTFOUND || rc == FB_ECORRUPT ? FB_OK : rc;
}

static const struct known *
find_run(const struct finding *finding, const char *run)
{
	for (size_t i = 0; i < finding->run_count; i++)
		if (strcmp(finding->runs[i].run, run) == 0)
			return &finding->runs[i];
	return NULL;
}

/* What its checksums say of an object of a run. */
static int
find_sum(struct finding *finding, const struct known *run, const char *key,
    struct fb_digest *ret, struct fb_error *err)
{
	FB_AUTO_FREE char *sums = fb_format("runs/%s/SHA256SUMS", run->run);
	int rc = FB_OK;

	if (strcmp(finding->sums_run, run->run) != 0) {
		fb_buf_clear(&finding->sums);
		rc = past_read_right(
		    finding->repo, sums, &run->sums, &finding->sums, err);
		memcpy(finding->sums_run, rc == FB_OK ? run->run : "",
		    rc == FB_OK ? sizeof(finding->sums_run) : 1);
	}
	return rc < 0
	    ? rc
	    : fb_sums_find(fb_buf_span(&finding->sums), key, ret, err);
}

static int
judge_run(
    struct finding *finding, const struct past *past, struct fb_error *err)
{
	char id[FB_RUN_ID_SIZE];
	const struct known *run =
	    id_of(past->key, id) ? find_run(finding, id) : NULL;
	const char *name = past->key + strlen("runs/") + FB_RUN_ID_LEN;
	struct fb_digest want;
	int rc = FB_OK;

	if (run == NULL)
		return FB_OK;
	if (strcmp(name, "/SHA256SUMS") == 0)
		want = run->sums;
	else if (strcmp(name, "/SHA256SUMS.sig") == 0)
		fb_digest_of(
		    (struct fb_span){ run->signature, FB_SIGNATURE_LEN },
		    &want);
	else
		rc = find_sum(finding, run, past->key, &want, err);
	if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT)
		return FB_OK; /* nothing signed tells of it */
	return rc < 0 ? rc
	              : past_report(finding->repo->store, past, &want, false,
	                    run->run, finding->list, err);
}

static const struct known *
find_session(const struct finding *finding, const char *session)
{
	for (size_t i = 0; i < finding->run_count; i++)
		if (strcmp(finding->runs[i].session, session) == 0)
			return &finding->runs[i];
	return NULL;
}

/* Whatever stands for a run that is kept is made once, and stays as long as
 * the run; but a hold. */
static int
judge_of_run(
    struct finding *finding, const struct past *past, struct fb_error *err)
{
	char session[FB_RUN_ID_SIZE];
	const struct known *run = id_of(past->key, session)
	    ? find_session(finding, session)
	    : NULL;

	if (run == NULL)
		return FB_OK;
	return kind_of(past->key) == HOLD
	    ? past_judge_hold(finding->repo, past, session, run->run,
	          finding->list, err)
	    : past_judge_first(
	          finding->repo, past, run->run, finding->list, err);
}

/* What the oldest run that is kept has signed of it: it saw it before an
 * attacker did, if any run has. */
static int
find_signed(struct finding *finding, const char *key, struct fb_digest *ret,
    struct fb_error *err)
{
	const struct known *oldest = NULL;
	int rc;

	for (size_t i = 0; i < finding->run_count; i++)
		if (oldest == NULL ||
		    strcmp(finding->runs[i].run, oldest->run) < 0)
			oldest = &finding->runs[i];
	if (oldest == NULL)
		return fb_fail(err, FB_ENOTFOUND, "there is no run");
	rc = find_sum(finding, oldest, key, ret, err);
	return rc < 0
	    ? rc
	    : fb_trust_verify(&finding->repo->trust,
	          fb_buf_span(&finding->sums),
	          (struct fb_span){ oldest->signature, FB_SIGNATURE_LEN },
	          NULL, err);
}

/* How to restore without us: the text of this program, when it is among them;
 * else one that is signed; else the first. */
static int
judge_text(
    struct finding *finding, const struct past *past, struct fb_error *err)
{
	struct fb_repo *repo = finding->repo;
	const struct past_version *good = NULL;
	struct fb_error why = { 0 };
	struct fb_digest want;
	bool now = false;
	int rc;

	fb_digest_of(strcmp(past->key, "restore.sh") == 0
	        ? fb_repo_restore_sh()
	        : fb_repo_restore_txt(),
	    &want);
	rc = past_find(repo->store, past, &want, false, &good, &now, err);
	if (rc == FB_OK && good == NULL) {
		rc = find_signed(finding, past->key, &want, &why);
		if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT ||
		    rc == FB_EUNTRUSTED)
			return past_judge_first(
			    repo, past, "", finding->list, err);
		if (rc < 0)
			*err = why;
	}
	return rc < 0 ? rc
	              : past_report(repo->store, past, &want, false, "",
	                    finding->list, err);
}

static int
judge_state(
    struct finding *finding, const struct past *past, struct fb_error *err)
{
	struct fb_repo *repo = finding->repo;
	char session[FB_RUN_ID_SIZE];
	struct fb_digest id;

	switch (kind_of(past->key)) {
	case CURRENT:
		return past_judge_current(
		    repo->store, past, finding->list, err);
	case SET:
		return digest_of(past->key, &id)
		    ? past_judge_set(repo, past, &id, finding->list, err)
		    : FB_OK;
	case SESSION:
		return id_of(past->key, session) &&
		        !fb_run_ids_have(&finding->ended, session)
		    ? past_judge_session(
		          repo, past, session, finding->list, err)
		    : FB_OK;
	default:
		return past_judge_attest(
		    repo, past, &finding->packs, finding->list, err);
	}
}

static int
judge(struct finding *finding, const struct past *past, struct fb_error *err)
{
	enum kind kind = kind_of(past->key);
	const struct fb_id_slot *slot;
	char session[FB_RUN_ID_SIZE];
	struct fb_digest id;

	switch (kind) {
	case TEXT:
		return judge_text(finding, past, err);
	case KEYS:
		/* Sealed again, they have another number. */
		if (past->items[0].removed && id_of(past->key, session) &&
		    (fb_run_ids_have(&finding->keyed, session) ||
		        (!finding->unsure &&
		            !fb_run_ids_have(&finding->used, session))))
			return FB_OK;
		return past_judge_first(
		    finding->repo, past, "", finding->list, err);
	case RUN:
		return judge_run(finding, past, err);
	case PACK:
	case RECIPE:
		if (!digest_of(past->key, &id))
			return FB_OK;
		slot = fb_id_set_find(
		    kind == PACK ? &finding->packs : &finding->recipes, &id);
		if (slot == NULL || slot->mark == 0)
			return FB_OK;
		return past_report(finding->repo->store, past, &id, true, "",
		    finding->list, err);
	case HINT:
	case HOLD:
	case PENDING:
		return judge_of_run(finding, past, err);
	case ATTEST:
	case CURRENT:
	case SET:
	case SESSION:
		return judge_state(finding, past, err);
	case SHARED:
		return past_judge_shared(finding->repo, past, &finding->marks,
		    finding->list, err);
	case COMMIT:
	case FORGET:
	case OTHER:
		break;
	}
	return FB_OK;
}

static int
judge_kind(struct finding *finding, enum kind kind,
    int (*judge_one)(struct finding *, const struct past *, struct fb_error *),
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < finding->count; i++)
		if (kind == OTHER || kind_of(finding->pasts[i].key) == kind)
			rc = judge_one(finding, &finding->pasts[i], err);
	return rc;
}

static void
note_suspects(struct finding *finding)
{
	for (size_t i = 0; i < finding->count; i++) {
		const char *key = finding->pasts[i].key;
		enum kind kind = kind_of(key);
		char session[FB_RUN_ID_SIZE];
		struct fb_digest id;
		bool is_new;

		if (kind == KEYS && id_of(key, session) &&
		    !fb_run_ids_have(&finding->keyed, session))
			finding->ask_packs = true;
		if ((kind == PACK || kind == RECIPE) && digest_of(key, &id))
			(void)fb_id_set_add(
			    kind == PACK ? &finding->packs : &finding->recipes,
			    &id, &is_new);
	}
}

static int
compare_keys(const void *a, const void *b)
{
	const struct fb_tampered *left = a, *right = b;

	return strcmp(left->key, right->key);
}

static int
note_forgotten(
    const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	struct finding *finding = arg;

	(void)err;
	fb_run_ids_add(&finding->forgotten, forget->session);
	return FB_OK;
}

static int
find_all(struct finding *finding, struct fb_error *err)
{
	int rc = fb_store_versions(
	    finding->repo->store, "", visit_version, finding, err);

	if (rc < 0)
		return rc;
	end_group(finding);
	if (finding->count == 0)
		return FB_OK;
	note_suspects(finding);
	rc = judge_kind(finding, FORGET, judge_forget, err);
	/* Nor is a run needed whose record is as it should be. */
	if (rc == FB_OK)
		rc = fb_repo_forgets(
		    finding->repo, note_forgotten, finding, err);
	if (rc == FB_OK)
		rc = judge_kind(finding, COMMIT, judge_commit, err);
	if (rc == FB_OK)
		rc = fb_repo_kept_runs(finding->repo, note_kept, finding, err);
	if (rc == FB_OK)
		rc = judge_kind(finding, OTHER, judge, err);
	return rc;
}

int
fb_tampered_find(struct fb_repo *repo, struct fb_tampered_list *ret_list,
    struct fb_error *err)
{
	struct finding finding = { .repo = repo, .list = ret_list };
	int rc;

	*ret_list = (struct fb_tampered_list){ 0 };
	rc = find_all(&finding, err);
	if (rc == FB_OK && ret_list->count > 1)
		qsort(ret_list->items, ret_list->count,
		    sizeof(*ret_list->items), compare_keys);
	for (size_t i = 0; i < finding.count; i++)
		past_release(&finding.pasts[i]);
	free(finding.pasts);
	past_release(&finding.group);
	fb_run_ids_release(&finding.keyed);
	fb_run_ids_release(&finding.ended);
	past_marks_release(&finding.marks);
	fb_run_ids_release(&finding.forgotten);
	fb_run_ids_release(&finding.mended);
	fb_id_set_release(&finding.packs);
	fb_id_set_release(&finding.asked);
	fb_run_ids_release(&finding.used);
	fb_id_set_release(&finding.recipes);
	fb_buf_release(&finding.sums);
	free(finding.runs);
	if (rc < 0)
		fb_tampered_release(ret_list);
	return rc < 0 ? fb_wrap(err, "looking at versions") : FB_OK;
}
