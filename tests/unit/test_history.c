/* The history of a fleet: forks are legal, gaps are not. */
#include "repo_tools.h"

#include "faults.h"

#define RUN1 "20261121-010000000-00000001"
#define RUN2 "20261121-020000000-00000002"
#define RUN3 "20261121-030000000-00000003"
#define RUN4 "20261121-040000000-00000004"

static const uint8_t bytes[] = "content of a small disk";
static const struct content machine = { "db", "root", bytes, sizeof(bytes) };

static char *
memory_path(const struct depot *depot)
{
	return fb_format("%s/state/newest/main.demo", depot->dir);
}

static int
check(struct depot *depot, bool remember, bool *ret_known)
{
	FB_AUTO_FREE char *path = memory_path(depot);

	return fb_history_check(
	    depot->repo, "demo", path, remember, ret_known, &err);
}

static void
expect_heads(struct depot *depot, const char *want)
{
	struct fb_predecessor *heads;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	size_t count;

	assert_ok(
	    fb_history_heads(depot->repo, "demo", &heads, &count, &err));
	for (size_t i = 0; i < count; i++)
		fb_buf_add_fmt(&text, "%s ", heads[i].run);
	assert_string_equal(fb_buf_str(&text), want);
	free(heads);
}

static void
an_empty_repository_has_no_history(void **state)
{
	bool known = true;

	expect_heads(*state, "");
	assert_ok(check(*state, true, &known));
	assert_false(known);
}

static void
the_head_is_the_run_that_nobody_names(void **state)
{
	struct depot *depot = *state;

	make_run(depot, RUN1, &machine, 1);
	expect_heads(depot, RUN1 " ");
	make_run(depot, RUN2, &machine, 1);
	expect_heads(depot, RUN2 " ");
}

static void
two_writers_at_once_make_a_fork_and_the_next_joins_it(void **state)
{
	struct depot *depot = *state;
	struct fb_predecessor *heads;
	size_t count;
	bool known;

	make_run(depot, RUN1, &machine, 1);
	assert_ok(
	    fb_history_heads(depot->repo, "demo", &heads, &count, &err));
	make_run_after(depot, RUN2, &machine, 1, heads, count);
	make_run_after(depot, RUN3, &machine, 1, heads, count);
	expect_heads(depot, RUN2 " " RUN3 " ");
	make_run(depot, RUN4, &machine, 1);
	expect_heads(depot, RUN4 " ");
	assert_ok(check(depot, false, &known));
	free(heads);
}

static void
another_fleet_has_another_history(void **state)
{
	struct depot *depot = *state;
	struct fb_predecessor *heads;
	size_t count = 9;

	make_run(depot, RUN1, &machine, 1);
	assert_ok(
	    fb_history_heads(depot->repo, "other", &heads, &count, &err));
	assert_int_equal(count, 0);
	free(heads);
}

static void
the_newest_run_is_remembered(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	bool known = true;

	make_run(depot, RUN1, &machine, 1);
	assert_ok(check(depot, false, &known));
	assert_false(known);
	assert_int_equal(access(path, F_OK), -1);
	assert_ok(check(depot, true, &known));
	assert_false(known);
	assert_ok(check(depot, true, &known));
	assert_true(known);
}

static void
a_repository_that_was_rolled_back_is_found_out(void **state)
{
	struct depot *depot = *state;
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	assert_ok(check(depot, true, &known));
	remove_object(depot, "commits/" RUN2);
	assert_fails(FB_EUNTRUSTED, check(depot, true, &known));
	assert_string_equal(err.id, "E-ROLLBACK");
	assert_non_null(strstr(err.msg, RUN2));
}

static void
a_run_that_a_later_one_names_may_not_vanish(void **state)
{
	struct depot *depot = *state;
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	remove_object(depot, "commits/" RUN1);
	assert_fails(FB_EUNTRUSTED, check(depot, false, &known));
	assert_string_equal(err.id, "E-ROLLBACK");
}

static void
a_damaged_register_is_damage_and_no_rollback(void **state)
{
	struct depot *depot = *state;
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	write_object(depot, "commits/" RUN1, SPAN("garbage\n"));
	assert_ok(check(depot, false, &known));
}

static void
a_signed_forget_makes_a_gap_legal(void **state)
{
	struct depot *depot = *state;
	struct fb_register reg;
	struct fb_forget forget = { .session = RUN1, .run = RUN1,
		.fleet = "demo", .time = "2026-11-22T00:00:00Z" };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	bool known;

	make_run(depot, RUN1, &machine, 1);
	assert_ok(check(depot, true, &known));
	make_run(depot, RUN2, &machine, 1);
	assert_ok(fb_repo_register(depot->repo, RUN1, &reg, &err));
	forget.sums = reg.sums;
	fb_register_release(&reg);
	memcpy(forget.signer, fb_sign_key_id(depot->key), FB_KEY_ID_SIZE);
	fb_forget_encode_signed(&forget, &text);
	assert_ok(fb_sign(
	    depot->key, fb_buf_span(&text), forget.signature, &err));
	fb_forget_encode_signature(&forget, &text);
	assert_ok(fb_store_create(depot->repo->store, "forgets/" RUN1,
	    fb_buf_span(&text), &err));
	assert_ok(check(depot, true, &known));
	remove_object(depot, "commits/" RUN1);
	assert_ok(check(depot, true, &known));
	remove_object(depot, "forgets/" RUN1);
	assert_fails(FB_EUNTRUSTED, check(depot, true, &known));
}

/* Rewrite a register as if it had no predecessors. */
static void
a_register_cannot_hide_what_its_manifest_names(void **state)
{
	struct depot *depot = *state;
	struct fb_register reg;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	assert_ok(fb_repo_register(depot->repo, RUN2, &reg, &err));
	reg.predecessor_count = 0;
	fb_register_encode(&reg, &text);
	fb_register_release(&reg);
	write_object(depot, "commits/" RUN2, fb_buf_span(&text));
	remove_object(depot, "commits/" RUN1);
	assert_fails(FB_EUNTRUSTED, check(depot, false, &known));
	assert_string_equal(err.id, "E-ROLLBACK");
}

static void
a_run_whose_checksums_do_not_hold_is_not_named(void **state)
{
	struct depot *depot = *state;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	spoil_object(depot, "runs/" RUN2 "/SHA256SUMS", 4);
	expect_heads(depot, RUN1 " ");
}

static void
the_memory_of_another_repository_says_nothing(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	bool known = true;
	char *id;

	make_run(depot, RUN1, &machine, 1);
	assert_ok(check(depot, true, &known));
	assert_ok(fb_io_read_file(path, 4096, &text, &err));
	id = strstr((char *)text.data, depot->repo->format.repository);
	assert_non_null(id);
	memset(id, '0', 32);
	assert_ok(fb_io_replace(path, fb_buf_span(&text), 0600, &err));
	assert_ok(check(depot, false, &known));
	assert_false(known);
}

static void
a_writer_completes_the_newest_run(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf before = { 0 }, after = { 0 };
	bool known;

	make_run(depot, RUN1, &machine, 1);
	read_object(depot, "runs/" RUN1 "/SHA256SUMS.sig", &before);
	remove_object(depot, "runs/" RUN1 "/SHA256SUMS.sig");
	assert_ok(check(depot, true, &known));
	read_object(depot, "runs/" RUN1 "/SHA256SUMS.sig", &after);
	assert_memory_equal(before.data, after.data, FB_SIGNATURE_LEN);
}

static int
count_machine(const struct fb_manifest_machine *one, void *arg,
    struct fb_error *error)
{
	(void)error;
	assert_string_equal(one->id, "db");
	++*(size_t *)arg;
	return FB_OK;
}

static int
take_ref(const struct fb_run_ref *run, void *arg, struct fb_error *error)
{
	(void)error;
	*(struct fb_run_ref *)arg = *run;
	return FB_OK;
}

static void
a_manifest_is_opened_only_when_it_is_ours(void **state)
{
	struct depot *depot = *state;
	struct fb_manifest *manifest;
	struct fb_run_ref ref;
	struct fb_error doubt;
	size_t count = 0;

	make_run(depot, RUN1, &machine, 1);
	assert_ok(fb_repo_runs(depot->repo, take_ref, &ref, &err));
	assert_ok(fb_manifest_open(
	    depot->repo, &ref, false, NULL, &manifest, &err));
	assert_ok(fb_manifest_machines(manifest, count_machine, &count, &err));
	assert_int_equal(count, 1);
	fb_manifest_close(manifest);
	/* Signed by somebody else: only for who was told to go on. */
	ref.signature[0] ^= 1;
	assert_fails(FB_EUNTRUSTED,
	    fb_manifest_open(
	        depot->repo, &ref, false, NULL, &manifest, &err));
	assert_ok(fb_manifest_open(
	    depot->repo, &ref, true, &doubt, &manifest, &err));
	assert_int_equal(doubt.code, FB_EUNTRUSTED);
	fb_manifest_close(manifest);
	ref.signature[0] ^= 1;
	/* Of another session than its register says. */
	ref.session[26] ^= 1;
	assert_fails(FB_ECORRUPT,
	    fb_manifest_open(
	        depot->repo, &ref, false, NULL, &manifest, &err));
	assert_non_null(strstr(err.msg, "M20"));
	ref.session[26] ^= 1;
	spoil_object(depot, "runs/" RUN1 "/manifest.json", 40);
	assert_fails(FB_ECORRUPT,
	    fb_manifest_open(
	        depot->repo, &ref, true, &doubt, &manifest, &err));
}

/* Labels of a machine; the text of two of them is too much for the memory. */
#define LABELS 2500

static int
count_labelled(const struct fb_manifest_machine *one, void *arg,
    struct fb_error *error)
{
	(void)error;
	assert_int_equal(one->labels.count, LABELS);
	++*(size_t *)arg;
	return FB_OK;
}

static void
add_labels(void)
{
	machine_labels.items =
	    fb_alloc(LABELS, sizeof(*machine_labels.items));
	for (size_t i = 0; i < LABELS; i++)
		machine_labels.items[i] =
		    (struct fb_label){ fb_format("k%05zu", i),
			    fb_format("%0900zu", i) };
	machine_labels.count = LABELS;
}

/* More than is kept in memory: it is read a machine at a time. */
static void
a_large_manifest_is_read_from_a_file(void **state)
{
	static const struct content two[] = { { "db", "root", bytes,
		                              sizeof(bytes) },
		{ "web", "root", bytes, sizeof(bytes) } };
	const char *const places[] = { "relative", ((struct depot *)*state)->dir };
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_digest digest;
	struct fb_manifest *manifest;
	struct fb_run_ref ref;
	size_t count = 0;

	add_labels();
	make_run(depot, RUN1, two, 2);
	fb_labels_release(&machine_labels);
	read_object(depot, "runs/" RUN1 "/manifest.json", &text);
	assert_ok(fb_repo_runs(depot->repo, take_ref, &ref, &err));
	fb_digest_of(fb_buf_span(&text), &digest);
	/* A place of temporary files that is no path is none. */
	for (size_t i = 0; i < FB_COUNT(places); i++) {
		(void)setenv("TMPDIR", places[i], 1);
		assert_ok(fb_manifest_open(
		    depot->repo, &ref, false, NULL, &manifest, &err));
		count = 0;
		assert_ok(fb_manifest_machines(
		    manifest, count_labelled, &count, &err));
		assert_int_equal(count, 2);
		assert_int_equal(
		    fb_digest_cmp(fb_manifest_digest(manifest), &digest), 0);
		fb_manifest_close(manifest);
	}
	(void)unsetenv("TMPDIR");
	spoil_object(depot, "runs/" RUN1 "/manifest.json", 4u << 20);
	assert_fails(FB_ECORRUPT,
	    fb_manifest_open(
	        depot->repo, &ref, false, NULL, &manifest, &err));
}

/* Everything that is asked of a history, with one step of it failing: it is
 * answered rightly, or not at all. */
static void
a_history_that_cannot_be_read_is_no_history(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	assert_ok(check(depot, true, &known));
	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		struct fb_predecessor *heads = NULL;
		size_t count = 0;
		int rc = fb_history_heads(
		    depot->repo, "demo", &heads, &count, &err);

		faults_disarm();
		if (rc == FB_OK) {
			assert_int_equal(count, 1);
			assert_string_equal(heads[0].run, RUN2);
			free(heads);
		}
	}
	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		int rc = check(depot, true, &known);

		faults_disarm();
		assert_true(rc != FB_OK || known);
		assert_true(rc != FB_EUNTRUSTED);
	}
	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		(void)!fb_history_accept(depot->repo, "demo", path, &err);
		faults_disarm();
	}
	assert_ok(check(depot, true, &known));
	assert_true(known);
}

static void
who_is_told_to_go_on_remembers_what_is_there(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	assert_ok(check(depot, true, &known));
	remove_object(depot, "commits/" RUN2);
	assert_fails(FB_EUNTRUSTED, check(depot, true, &known));
	assert_ok(fb_history_accept(depot->repo, "demo", path, &err));
	assert_ok(check(depot, true, &known));
	assert_true(known);
	/* Nothing is left: nothing is remembered. */
	remove_object(depot, "commits/" RUN1);
	assert_ok(fb_history_accept(depot->repo, "demo", path, &err));
	assert_int_equal(access(path, F_OK), -1);
}

/* Large ones are read into a file, a machine at a time. */
static void
a_manifest_that_cannot_be_read_is_not_believed(void **state)
{
	static const struct content two[] = { { "db", "root", bytes,
		                              sizeof(bytes) },
		{ "web", "root", bytes, sizeof(bytes) } };
	struct depot *depot = *state;
	struct fb_digest written, told;
	FB_AUTO_BUF struct fb_buf volumes = { 0 };
	struct fb_run_ref ref;

	add_labels();
	make_run(depot, RUN1, two, 2);
	fb_labels_release(&machine_labels);
	read_object(depot, "runs/" RUN1 "/VOLUMES", &volumes);
	fb_digest_of(fb_buf_span(&volumes), &written);
	assert_ok(fb_repo_runs(depot->repo, take_ref, &ref, &err));
	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		struct fb_manifest *manifest = NULL;
		int rc = fb_manifest_open(
		    depot->repo, &ref, false, NULL, &manifest, &err);

		if (rc == FB_OK)
			rc = fb_manifest_volumes_digest(
			    manifest, &told, &err);
		faults_disarm();
		if (rc == FB_OK)
			assert_int_equal(fb_digest_cmp(&told, &written), 0);
		fb_manifest_close(manifest);
	}
}

/* Sizes are the repository's word, not ours. */
static void
a_manifest_of_holes_is_refused_before_it_fills_anything(void **state)
{
	static const struct {
		off_t size;
		const char *why;
	} cases[] = {
		{ 5 << 20, "holds NUL bytes" },
		{ (INT64_C(4) << 30) + 1, "has 4294967297 bytes" },
	};
	struct depot *depot = *state;
	FB_AUTO_FREE char *path =
	    object_path(depot, "runs/" RUN1 "/manifest.json");
	struct fb_run_ref ref;

	make_run(depot, RUN1, &machine, 1);
	assert_ok(fb_repo_runs(depot->repo, take_ref, &ref, &err));
	write_object(depot, "runs/" RUN1 "/manifest.json", SPAN(""));
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		struct fb_manifest *manifest = NULL;

		assert_int_equal(truncate(path, cases[i].size), 0);
		assert_fails(FB_ECORRUPT,
		    fb_manifest_open(
		        depot->repo, &ref, false, NULL, &manifest, &err));
		assert_non_null(strstr(err.msg, cases[i].why));
	}
}

static void
what_cannot_be_remembered_is_said_and_tried_again(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	FB_AUTO_FREE char *dir = fb_format("%s/state", depot->dir);
	bool known;

	make_run(depot, RUN1, &machine, 1);
	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		int rc = check(depot, true, &known);

		faults_disarm();
		assert_false(rc == FB_OK && known);
		assert_true(rc != FB_EUNTRUSTED);
		assert_ok(check(depot, true, &known));
		assert_int_equal(access(path, F_OK), 0);
		assert_ok(fb_io_remove_tree(dir, &err));
	}
}

static void
what_is_not_sound_is_not_remembered(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	bool known;

	make_run(depot, RUN1, &machine, 1);
	spoil_object(depot, "runs/" RUN1 "/SHA256SUMS", 0);
	assert_ok(check(depot, true, &known));
	assert_int_equal(access(path, F_OK), -1);
}

static void
checksums_of_what_cannot_be_read_are_none(void **state)
{
	struct depot *depot = *state;
	struct fb_id_list none = { 0 };
	struct fb_digest digest = { { 1 } };
	size_t whole = 0;

	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		FB_AUTO_BUF struct fb_buf sums = { 0 };
		int rc = fb_sums_write(depot->repo, RUN1, &digest, &digest,
		    &none, &none, &sums, &err);

		faults_disarm();
		assert_true(rc == FB_OK || rc == FB_ESYS);
		if (rc == FB_OK)
			whole = sums.len;
	}
	assert_true(whole > 0);
}

static void
checksums_that_no_reader_takes_are_not_written(void **state)
{
	struct depot *depot = *state;
	size_t count = FB_SUMS_MAX / 128; /* a line has more */
	FB_AUTO_FREE struct fb_digest *ids = fb_alloc(count, sizeof(*ids));
	struct fb_id_list packs = { .ids = ids, .count = count }, none = { 0 };
	struct fb_digest digest = { { 1 } };
	FB_AUTO_BUF struct fb_buf sums = { 0 };

	assert_fails(FB_EUNSUP,
	    fb_sums_write(depot->repo, RUN1, &digest, &digest, &none, &packs,
	        &sums, &err));
	assert_non_null(strstr(err.msg, "more objects than SHA256SUMS"));
}

/* The memory says another manifest of the same run: that run was replaced. */
static void
a_run_that_was_replaced_is_found_out(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	bool known;
	char *digest;

	make_run(depot, RUN1, &machine, 1);
	/* Without a place to remember it nothing is known, nor wrong. */
	assert_ok(fb_history_check(
	    depot->repo, "demo", NULL, true, &known, &err));
	assert_false(known);
	assert_ok(check(depot, true, &known));
	assert_ok(fb_io_read_file(path, 65536, &text, &err));
	digest = strstr(fb_buf_str(&text), "\"manifest\":\"");
	assert_non_null(digest);
	digest[12] = digest[12] == '0' ? '1' : '0';
	assert_ok(fb_io_replace(path, fb_buf_span(&text), 0600, &err));
	assert_fails(FB_EUNTRUSTED, check(depot, true, &known));
	assert_non_null(strstr(err.msg, "not the one that was seen"));
	digest[12] = 'x';
	assert_ok(fb_io_replace(path, fb_buf_span(&text), 0600, &err));
	assert_fails(FB_ECORRUPT, check(depot, true, &known));
}

static void
predecessors_are_the_same_when_all_of_them_are(void **state)
{
	struct fb_predecessor a[] = { { .run = RUN1 }, { .run = RUN2 } };
	struct fb_predecessor b[] = { { .run = RUN1 }, { .run = RUN2 } };

	(void)state;
	assert_true(fb_predecessors_same(a, 2, b, 2));
	assert_false(fb_predecessors_same(a, 2, b, 1));
	b[1].manifest.bytes[0] = 1;
	assert_false(fb_predecessors_same(a, 2, b, 2));
}

/* Lists that do not show RUN2, as many as that. */
static const struct fb_store_ops *plain_ops;
static unsigned lists_without;

struct hiding {
	fb_store_visit *visit;
	void *arg;
	bool hides;
};

static int
pass_on(const char *key, uint64_t size, void *arg, struct fb_error *error)
{
	const struct hiding *hiding = arg;

	return hiding->hides && strcmp(key, "commits/" RUN2) == 0
	    ? FB_OK
	    : hiding->visit(key, size, hiding->arg, error);
}

static int
list_without(struct fb_store *store, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *error)
{
	struct hiding hiding = { visit, arg,
		strcmp(prefix, "commits/") == 0 && lists_without > 0 };

	lists_without -= hiding.hides;
	return plain_ops->list(store, prefix, pass_on, &hiding, error);
}

/* A run that others committed while the list was made is not one that the
 * list fails to show: neither who remembers it says so, nor who follows it. */
static void
a_list_that_began_before_a_commit_does_not_lag(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *path = memory_path(depot);
	struct fb_store_ops ops;
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	assert_ok(check(depot, true, &known));
	plain_ops = depot->repo->store->ops;
	ops = *plain_ops;
	ops.list = list_without;
	depot->repo->store->ops = &ops;
	lists_without = 1;
	assert_ok(fb_history_check_lists(depot->repo, "demo", path, &err));
	make_run(depot, RUN3, &machine, 1);
	lists_without = 1;
	assert_ok(fb_history_check_lists(depot->repo, "demo", NULL, &err));
	lists_without = 2;
	assert_fails(FB_EBUSY,
	    fb_history_check_lists(depot->repo, "demo", path, &err));
	assert_string_equal(err.id, "E-LIST-BEHIND");
	lists_without = 0;
	depot->repo->store->ops = plain_ops;
}

/* Who looked before somebody else remembered a newer run. */
static int
list_and_remember(struct fb_store *store, const char *prefix,
    fb_store_visit *visit, void *arg, struct fb_error *error)
{
	int rc = list_without(store, prefix, visit, arg, error);

	(void)store;
	if (strcmp(prefix, "commits/") == 0 && rename("newer", "memory") < 0)
		rc = FB_ESYS;
	return rc;
}

static void
the_memory_goes_forward_only(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_store_ops ops;
	bool known;

	make_run(depot, RUN1, &machine, 1);
	make_run(depot, RUN2, &machine, 1);
	assert_int_equal(chdir(depot->dir), 0);
	assert_ok(fb_history_check(
	    depot->repo, "demo", "newer", true, &known, &err));
	plain_ops = depot->repo->store->ops;
	ops = *plain_ops;
	ops.list = list_and_remember;
	depot->repo->store->ops = &ops;
	lists_without = 1;
	assert_ok(fb_history_check(
	    depot->repo, "demo", "memory", true, &known, &err));
	depot->repo->store->ops = plain_ops;
	assert_ok(fb_io_read_file("memory", 4096, &text, &err));
	assert_non_null(strstr(fb_buf_str(&text), RUN2));
}

int
main(void)
{
#define IN(test) \
	cmocka_unit_test_setup_teardown(test, make_repository, remove_depot)
	const struct CMUnitTest tests[] = {
		IN(an_empty_repository_has_no_history),
		IN(the_head_is_the_run_that_nobody_names),
		IN(two_writers_at_once_make_a_fork_and_the_next_joins_it),
		IN(another_fleet_has_another_history),
		IN(the_newest_run_is_remembered),
		IN(a_repository_that_was_rolled_back_is_found_out),
		IN(a_run_that_a_later_one_names_may_not_vanish),
		IN(a_damaged_register_is_damage_and_no_rollback),
		IN(a_signed_forget_makes_a_gap_legal),
		IN(a_register_cannot_hide_what_its_manifest_names),
		IN(a_run_whose_checksums_do_not_hold_is_not_named),
		IN(the_memory_of_another_repository_says_nothing),
		IN(a_writer_completes_the_newest_run),
		IN(a_manifest_is_opened_only_when_it_is_ours),
		IN(a_large_manifest_is_read_from_a_file),
		IN(a_history_that_cannot_be_read_is_no_history),
		IN(who_is_told_to_go_on_remembers_what_is_there),
		IN(a_manifest_that_cannot_be_read_is_not_believed),
		IN(a_manifest_of_holes_is_refused_before_it_fills_anything),
		IN(what_cannot_be_remembered_is_said_and_tried_again),
		IN(what_is_not_sound_is_not_remembered),
		IN(checksums_of_what_cannot_be_read_are_none),
		IN(checksums_that_no_reader_takes_are_not_written),
		IN(a_run_that_was_replaced_is_found_out),
		IN(a_list_that_began_before_a_commit_does_not_lag),
		IN(the_memory_goes_forward_only),
		IN(predecessors_are_the_same_when_all_of_them_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
