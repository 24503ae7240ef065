/*
 * What was deleted or overwritten in a place that keeps versions, which is a
 * store in memory with a past of its own here.
 */
#include "gc_world.h"

#include "fleetbak/format/attest.h"
#include "fleetbak/repo/shared_text.h"
#include "fleetbak/repo/tampered.h"

#define PAST_MAX 96

#define SPAN_OF(text) \
	((struct fb_span){ (const uint8_t *)(text), strlen(text) })

/* All versions, of each key the newest first, the keys sorted. */
static struct past {
	char key[FB_STORE_KEY_MAX + 1];
	char id[16];
	char *bytes; /* NULL: a mark */
	size_t len;
} pasts[PAST_MAX];
static size_t past_count;
static unsigned next_id, reads;

/* What begins so the server does not give out, as if it were encrypted with
 * somebody's own key. */
#define SEALED '\1'

static struct past *
find_version(const char *key, const char *id)
{
	for (size_t i = 0; i < past_count; i++)
		if (strcmp(pasts[i].key, key) == 0 &&
		    strcmp(pasts[i].id, id) == 0)
			return &pasts[i];
	return NULL;
}

static int
fake_versions(struct fb_store *store, const char *prefix,
    fb_store_visit_version *visit, void *arg, struct fb_error *error)
{
	int rc = FB_OK;

	(void)store;
	for (size_t i = 0; rc == FB_OK && i < past_count; i++) {
		struct fb_store_version version = { .key = pasts[i].key,
			.id = pasts[i].id,
			.size = pasts[i].len,
			.time_ns = INT64_C(1000000000),
			.latest = i == 0 ||
			    strcmp(pasts[i - 1].key, pasts[i].key) != 0,
			.removed = pasts[i].bytes == NULL };

		if (strncmp(pasts[i].key, prefix, strlen(prefix)) == 0)
			rc = visit(&version, arg, error);
	}
	return rc;
}

static int
fake_read(struct fb_store *store, const char *key, const char *id,
    uint64_t offset, void *bytes, size_t len, struct fb_error *error)
{
	const struct past *past = find_version(key, id);

	(void)store;
	if (past == NULL || past->bytes == NULL)
		return fb_fail(error, FB_ENOTFOUND, "no such version");
	assert_true(offset + len <= past->len);
	reads++;
	if (past->bytes[0] == SEALED)
		return fb_fail(error, FB_ECORRUPT, "it is not given out");
	memcpy(bytes, past->bytes + offset, len);
	return FB_OK;
}

/* A new version, in its place. */
static void
add_past(const char *key, const char *bytes, size_t len)
{
	size_t at = 0;

	assert_true(past_count < PAST_MAX);
	while (at < past_count && strcmp(pasts[at].key, key) < 0)
		at++;
	memmove(&pasts[at + 1], &pasts[at],
	    (past_count++ - at) * sizeof(pasts[0]));
	pasts[at] = (struct past){ .len = len };
	(void)snprintf(pasts[at].key, sizeof(pasts[at].key), "%s", key);
	(void)snprintf(pasts[at].id, sizeof(pasts[at].id), "v%u", ++next_id);
	if (bytes != NULL) {
		pasts[at].bytes = fb_alloc(len + 1, 1);
		memcpy(pasts[at].bytes, bytes, len);
	}
}

static void
put_now(struct fb_store *store, const char *key, const char *bytes, size_t len)
{
	assert_ok(fb_store_remove(store, key, &err));
	if (bytes != NULL)
		assert_ok(fb_store_create(store, key,
		    (struct fb_span){ (const uint8_t *)bytes, len }, &err));
}

static int
fake_bring_back(struct fb_store *store, const char *key, const char *id,
    struct fb_error *error)
{
	struct past *past = find_version(key, id);
	FB_AUTO_FREE char *bytes = NULL;
	size_t len;

	(void)error;
	assert_non_null(past);
	len = past->len;
	bytes = fb_alloc(len + 1, 1);
	memcpy(bytes, past->bytes, len);
	put_now(store, key, bytes, len);
	add_past(key, bytes, len);
	return FB_OK;
}

static bool
fake_locks(struct fb_store *store)
{
	(void)store;
	return false;
}

static const struct fb_store_past_ops keeping = { .locks = fake_locks,
	.versions = fake_versions,
	.read = fake_read,
	.bring_back = fake_bring_back };
static struct fb_store_ops ops;

static int
note_object(const char *key, uint64_t size, void *arg, struct fb_error *error)
{
	struct world *world = arg;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	(void)size;
	assert_ok(fb_store_get(
	    world->repo->store, key, 1u << 20, &bytes, NULL, error));
	add_past(key, fb_buf_str(&bytes), bytes.len);
	return FB_OK;
}

static void
damage(struct world *world, const char *key, const char *bytes)
{
	size_t len = bytes != NULL ? strlen(bytes) : 0;

	put_now(world->repo->store, key, bytes, len);
	add_past(key, bytes, len);
}

static char session[FB_RUN_ID_SIZE], pack_key[FB_OBJECT_KEY_SIZE],
    garbage_key[FB_OBJECT_KEY_SIZE], commit_key[96], sums_key[96];

static struct fb_digest
put_named(struct world *world, const char *bytes, bool pack,
    char key[FB_OBJECT_KEY_SIZE])
{
	struct fb_digest id;

	fb_digest_of(SPAN_OF(bytes), &id);
	if (pack)
		fb_pack_key(&id, key);
	else
		fb_recipe_key(&id, key);
	assert_ok(fb_store_create(
	    world->repo->store, key, SPAN_OF(bytes), &err));
	return id;
}

/* One run with a pack and a recipe, and a pack that no run needs. */
static int
make_past(void **state)
{
	struct fb_digest pack, recipe;
	char recipe_key[FB_OBJECT_KEY_SIZE];
	struct world *world;

	if (make_world(state) != 0)
		return -1;
	world = *state;
	pack = put_named(world, "a pack", true, pack_key);
	recipe = put_named(world, "a recipe", false, recipe_key);
	(void)put_named(world, "garbage", true, garbage_key);
	new_id(world, session);
	assert_ok(commit(world, session, &pack, &recipe));
	(void)snprintf(commit_key, sizeof(commit_key), "commits/%s", session);
	(void)snprintf(
	    sums_key, sizeof(sums_key), "runs/%s/SHA256SUMS", session);
	past_count = 0;
	next_id = 0;
	assert_ok(fb_store_list(
	    world->repo->store, "", note_object, world, &err));
	ops = *world->repo->store->ops;
	ops.past = &keeping;
	world->repo->store->ops = &ops;
	return 0;
}

static int
end_past(void **state)
{
	for (size_t i = 0; i < past_count; i++)
		free(pasts[i].bytes);
	return end_world(state);
}

static const struct fb_tampered *
find(const struct fb_tampered_list *list, const char *key)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].key, key) == 0)
			return &list->items[i];
	return NULL;
}

static void
mend_all(struct world *world, size_t want)
{
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	FB_AUTO_TAMPERED struct fb_tampered_list after = { 0 };

	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.count, want);
	for (size_t i = 0; i < list.count; i++)
		assert_ok(fb_tampered_mend(
		    world->repo->store, &list.items[i], &err));
	assert_ok(fb_tampered_find(world->repo, &after, &err));
	assert_int_equal(after.count, 0);
}

static void
an_untouched_repository_has_nothing(void **state)
{
	mend_all(*state, 0);
}

static void
a_deleted_pack_is_brought_back(void **state)
{
	struct world *world = *state;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };

	damage(world, pack_key, NULL);
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].how, FB_TAMPER_DELETED);
	assert_int_equal(fb_tampered_fail(&list.items[0], &err), FB_ECORRUPT);
	assert_string_equal(err.id, "E-VERSION-DELETED");
	mend_all(world, 1);
	assert_ok(fb_store_get(
	    world->repo->store, pack_key, 100, &bytes, NULL, &err));
	assert_string_equal(fb_buf_str(&bytes), "a pack");
}

static void
what_no_run_needs_may_be_deleted(void **state)
{
	damage(*state, garbage_key, NULL);
	mend_all(*state, 0);
}

static void
an_overwritten_pack_is_brought_back(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };

	damage(world, pack_key, "ransom");
	damage(world, pack_key, "ransom more");
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.items[0].how, FB_TAMPER_REPLACED);
	mend_all(world, 1);
}

/* The same bytes once more are no damage. */
static void
what_is_as_it_was_is_not_reported(void **state)
{
	damage(*state, pack_key, "ransom");
	damage(*state, pack_key, "a pack");
	mend_all(*state, 0);
}

static void
a_pack_of_which_no_version_is_right_is_said_to_be_lost(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };

	for (size_t i = 0; i < past_count; i++)
		if (strcmp(pasts[i].key, pack_key) == 0)
			pasts[i].bytes[0] = 'X';
	damage(world, pack_key, "ransom");
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.count, 1);
	assert_null(list.items[0].good);
	assert_fails(FB_ECORRUPT,
	    fb_tampered_mend(world->repo->store, &list.items[0], &err));
	assert_string_equal(err.id, "E-VERSION-NONE");
}

/* What it names is needed although no list shows the run. */
static void
a_deleted_run_is_found_with_all_that_it_names(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };

	damage(world, commit_key, NULL);
	damage(world, pack_key, NULL);
	damage(world, sums_key, "0  x\n");
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.count, 3);
	assert_non_null(find(&list, pack_key));
	assert_string_equal(find(&list, commit_key)->run, session);
	mend_all(world, 3);
}

/* An attacker's register is not the first, and nobody trusted signed it. */
static void
another_register_does_not_count(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	FB_AUTO_FREE char *fence = fb_format(
	    "fleetbak-fence 1\nsession %s\nreason late\nend\n", session);

	damage(world, commit_key, fence);
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.count, 1);
	assert_true(
	    strncmp(find_version(commit_key, list.items[0].good)->bytes,
	        "fleetbak-commit", 15) == 0);
	mend_all(world, 1);
}

static void
a_forgotten_run_needs_nothing(void **state)
{
	struct world *world = *state;
	FB_AUTO_FREE char *record = fb_format("forgets/%s", session);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	forget(world, session);
	assert_ok(fb_store_get(
	    world->repo->store, record, 4096, &bytes, NULL, &err));
	add_past(record, fb_buf_str(&bytes), bytes.len);
	damage(world, pack_key, NULL);
	mend_all(world, 0);
	/* Nor when the record of that was deleted, which comes back. */
	damage(world, record, NULL);
	mend_all(world, 1);
}

static void
the_format_is_told_by_its_signature(void **state)
{
	struct world *world = *state;
	struct fb_store *store = world->repo->store;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	FB_AUTO_TAMPERED struct fb_tampered_list after = { 0 };

	assert_ok(fb_tampered_format(
	    store, &world->repo->trust, &list, &err));
	assert_int_equal(list.count, 0);
	damage(world, "format/1.json", "{}");
	damage(world, "format/1.json.sig", NULL);
	assert_ok(fb_tampered_format(
	    store, &world->repo->trust, &list, &err));
	assert_int_equal(list.count, 2);
	for (size_t i = 0; i < list.count; i++)
		assert_ok(fb_tampered_mend(store, &list.items[i], &err));
	assert_ok(fb_tampered_format(
	    store, &world->repo->trust, &after, &err));
	assert_int_equal(after.count, 0);
}

/* Nor does it keep the others from being found. */
static void
what_is_not_given_out_is_brought_back(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };

	damage(world, pack_key, "\1pay");
	damage(world, commit_key, "\1pay");
	damage(world, sums_key, "\1pay");
	damage(world, "restore.sh", "\1pay");
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	for (size_t i = 0; i < list.count; i++)
		assert_int_equal(list.items[i].how, FB_TAMPER_REPLACED);
	mend_all(world, 4);
}

/* The oldest cannot be looked at: none of the others is known to be right. */
static void
an_archived_first_version_is_told(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	FB_AUTO_FREE char *keys = fb_format("keys/%s.1.cms", session);

	add_past(keys, "\1first", 6);
	damage(world, keys, "second");
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.count, 1);
	assert_null(list.items[0].good);
}

/* All that is older than what an attacker wrote has expired. */
static void
the_first_text_may_be_an_attackers(void **state)
{
	struct world *world = *state;
	FB_AUTO_BUF struct fb_buf ours = { 0 }, now = { 0 };
	static const char *const keys[] = { "restore.sh", "RESTORE.txt" };

	for (size_t i = 0; i < FB_COUNT(keys); i++) {
		struct past *first = NULL;

		for (size_t k = 0; first == NULL && k < past_count; k++)
			if (strcmp(pasts[k].key, keys[i]) == 0)
				first = &pasts[k];
		assert_non_null(first);
		fb_buf_clear(&ours);
		fb_buf_add(&ours, first->bytes, first->len);
		memset(first->bytes, 'X', first->len);
		damage(world, keys[i], fb_buf_str(&ours));
		mend_all(world, 0);
		damage(world, keys[i], "rm -rf /");
		mend_all(world, 1);
		fb_buf_clear(&now);
		assert_ok(fb_store_get(world->repo->store, keys[i], 1u << 20,
		    &now, NULL, &err));
		assert_string_equal(fb_buf_str(&now), fb_buf_str(&ours));
	}
}

/* Of another version of this program: what the oldest run has signed. */
static void
a_text_that_a_run_has_signed_is_right(void **state)
{
	struct world *world = *state;
	FB_AUTO_BUF struct fb_buf now = { 0 };
	struct fb_digest pack, recipe;
	char id[FB_RUN_ID_SIZE];

	/* As if there were only runs of the other version. */
	damage(world, "restore.sh", "echo another version");
	forget(world, session);
	new_id(world, id);
	pack = put_object(world, true);
	recipe = put_object(world, false);
	assert_ok(commit(world, id, &pack, &recipe));
	for (size_t i = 0; i < past_count; i++)
		if (strcmp(pasts[i].key, "restore.sh") == 0 &&
		    pasts[i].len > 100)
			memset(pasts[i].bytes, 'X', pasts[i].len);
	mend_all(world, 0);
	damage(world, "restore.sh", "rm -rf /");
	mend_all(world, 1);
	assert_ok(fb_store_get(
	    world->repo->store, "restore.sh", 4096, &now, NULL, &err));
	assert_string_equal(fb_buf_str(&now), "echo another version");
}

static void
say_current(struct world *world, uint64_t generation)
{
	struct fb_gc_doc doc = { .generation = generation };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_gc_doc_encode(&doc, &text);
	damage(world, "gc/current", fb_buf_str(&text));
}

static uint64_t
current_generation(struct world *world)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_gc_doc doc;

	assert_ok(fb_store_get(
	    world->repo->store, "gc/current", 4096, &text, NULL, &err));
	assert_ok(fb_gc_doc_decode(fb_buf_span(&text), &doc, &err));
	return doc.generation;
}

/* It has as many versions as prunes have made steps. */
static void
of_what_is_replaced_the_newest_version_is_read_alone(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };

	for (uint64_t i = 1; i <= 40; i++)
		say_current(world, i);
	reads = 0;
	mend_all(world, 0);
	assert_true(reads <= 4);
	damage(world, "gc/current", NULL);
	reads = 0;
	mend_all(world, 1);
	assert_true(reads <= 8);
	assert_int_equal(current_generation(world), 40);

	/* It was replaced between the look and the mending. */
	damage(world, "gc/current", "pay");
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_int_equal(list.count, 1);
	say_current(world, 41);
	assert_ok(fb_tampered_mend(
	    world->repo->store, &list.items[0], &err));
	assert_int_equal(current_generation(world), 41);
}

/* Deleted after something else was put over it. */
static void
of_attestations_one_that_says_something_is_brought_back(void **state)
{
	struct world *world = *state;
	struct fb_digest id = { { 7 } };
	struct fb_attestation said = { .table = { { 3 } },
		.offset = 100,
		.length = 10,
		.ids = &id,
		.count = 1 };
	FB_AUTO_BUF struct fb_buf text = { 0 }, now = { 0 };
	char key[FB_ATTEST_KEY_SIZE];

	fb_digest_of(SPAN_OF("a pack"), &said.pack);
	memcpy(said.repository, world->repo->format.repository,
	    sizeof(said.repository));
	fb_attestation_encode_signed(&said, &text);
	assert_ok(fb_sign(
	    world->key, fb_buf_span(&text), said.signature, &err));
	fb_attestation_encode_signature(&said, &text);
	fb_attest_key(said.domain, &said.pack, key);
	damage(world, key, fb_buf_str(&text));
	damage(world, key, "not any more");
	damage(world, key, NULL);
	mend_all(world, 1);
	assert_ok(
	    fb_store_get(world->repo->store, key, 4096, &now, NULL, &err));
	assert_string_equal(fb_buf_str(&now), fb_buf_str(&text));
}

static void
tell(struct world *world, const char *key, const char *body)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	assert_ok(fb_shared_text_encode(
	    world->key, key, SPAN_OF(body), &text, &err));
	damage(world, key, fb_buf_str(&text));
}

#define EPOCH "shared/night/0001/000001/"

/* A run under way: nothing of it goes, and nothing is replaced. */
static void
what_workers_told_each_other_is_brought_back(void **state)
{
	struct world *world = *state;
	FB_AUTO_TAMPERED struct fb_tampered_list list = { 0 };
	const char *other = NULL;

	tell(world, "shared/night/run", "{}\n");
	tell(world, EPOCH "lease", "session x\n");
	tell(world, EPOCH "000001", "1 obligation {}\n");
	damage(world, EPOCH "alive-1", "");
	damage(world, EPOCH "kept", "");
	mend_all(world, 0);
	damage(world, "shared/night/run", "mine");
	/* Signed, and of another place. */
	tell(world, "shared/night/0001/000002/lease", "session y\n");
	for (size_t i = 0; i < past_count; i++)
		if (strcmp(pasts[i].key, "shared/night/0001/000002/lease") == 0)
			other = pasts[i].bytes;
	assert_non_null(other);
	damage(world, EPOCH "lease", other);
	damage(world, EPOCH "000001", NULL);
	damage(world, EPOCH "alive-1", NULL);
	damage(world, EPOCH "kept", NULL);
	assert_ok(fb_tampered_find(world->repo, &list, &err));
	assert_null(find(&list, EPOCH "alive-1"));
	mend_all(world, 4);
}

/* One that is closed: what has an end is taken away by fleetbak itself. */
static void
what_is_tidied_away_stays_away(void **state)
{
	struct world *world = *state;

	tell(world, "shared/night/run", "{}\n");
	tell(world, EPOCH "lease", "session x\n");
	tell(world, EPOCH "000001", "1 obligation {}\n");
	tell(world, "shared/night/0002/000001/000001", "1 obligation {}\n");
	tell(world, "shared/night/0002/000001/lease", "session z\n");
	tell(world, "shared/night/0003/000001/lease", "session y\n");
	damage(world, EPOCH "end", "");
	damage(world, "shared/night/closed", "");
	damage(world, EPOCH "lease", NULL);
	damage(world, EPOCH "000001", NULL);
	damage(world, EPOCH "end", NULL);
	damage(world, "shared/night/0003/000001/lease", NULL);
	mend_all(world, 0);
	/* But for that it is closed, what was agreed on, and what is left. */
	damage(world, "shared/night/closed", NULL);
	damage(world, "shared/night/run", NULL);
	damage(world, "shared/night/0002/000001/000001", NULL);
	damage(world, "shared/night/0002/000001/lease", NULL);
	mend_all(world, 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#undef T
#define T(f) cmocka_unit_test_setup_teardown(f, make_past, end_past)
		T(an_untouched_repository_has_nothing),
		T(a_deleted_pack_is_brought_back),
		T(what_no_run_needs_may_be_deleted),
		T(an_overwritten_pack_is_brought_back),
		T(what_is_as_it_was_is_not_reported),
		T(a_pack_of_which_no_version_is_right_is_said_to_be_lost),
		T(a_deleted_run_is_found_with_all_that_it_names),
		T(another_register_does_not_count),
		T(a_forgotten_run_needs_nothing),
		T(the_format_is_told_by_its_signature),
		T(what_is_not_given_out_is_brought_back),
		T(an_archived_first_version_is_told),
		T(the_first_text_may_be_an_attackers),
		T(a_text_that_a_run_has_signed_is_right),
		T(of_what_is_replaced_the_newest_version_is_read_alone),
		T(of_attestations_one_that_says_something_is_brought_back),
		T(what_workers_told_each_other_is_brought_back),
		T(what_is_tidied_away_stays_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
