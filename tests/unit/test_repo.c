/* Repositories, sessions, registers, and the script that needs none of us. */
#include "repo_tools.h"

#include "fleetbak/base/child.h"
#include "fleetbak/format/pack.h"

#define RUN1 "20261121-010000000-00000001"
#define RUN2 "20261121-020000000-00000002"

static void
a_new_repository_says_how_to_restore(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	init_repo(depot);
	read_object(depot, "restore.sh", &text);
	assert_memory_equal(fb_buf_str(&text), "#!/bin/sh\n", 10);
	assert_int_equal(text.len, fb_repo_restore_sh().len);
	fb_buf_clear(&text);
	read_object(depot, "RESTORE.txt", &text);
	assert_non_null(strstr(fb_buf_str(&text), "restore.sh"));
}

static void
making_it_again_changes_nothing(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_STORE struct fb_store *store = NULL;
	FB_AUTO_BUF struct fb_buf before = { 0 }, after = { 0 };
	bool made = true;

	init_repo(depot);
	read_object(depot, "format/1.json", &before);
	assert_ok(fb_store_open(depot->url, true, NULL, &store, &err));
	assert_ok(fb_repo_init(store, depot->key, &made, &err));
	assert_false(made);
	read_object(depot, "format/1.json", &after);
	assert_string_equal(fb_buf_str(&before), fb_buf_str(&after));
}

static void
what_a_crash_left_out_is_completed(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_STORE struct fb_store *store = NULL;
	bool made = true;

	init_repo(depot);
	remove_object(depot, "format/1.json.sig");
	remove_object(depot, "restore.sh");
	assert_ok(fb_store_open(depot->url, true, NULL, &store, &err));
	assert_ok(fb_repo_init(store, depot->key, &made, &err));
	assert_false(made);
	reopen(depot);
}

static void
a_store_that_holds_other_things_is_left_alone(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_STORE struct fb_store *store = NULL;
	uint64_t size;
	bool made;

	assert_ok(fb_store_open(depot->url, true, NULL, &store, &err));
	assert_ok(fb_store_create(store, "diary.txt", SPAN("dear"), &err));
	assert_fails(FB_EREFUSED,
	    fb_repo_init(store, depot->key, &made, &err));
	assert_string_equal(err.id, "E-REPO-FOREIGN");
	assert_fails(FB_ENOTFOUND,
	    fb_store_head(store, "format/1.json", &size, &err));
}

static int
open_again(struct depot *depot, struct fb_error *error)
{
	struct fb_store *store;
	struct fb_trust trust;
	struct fb_repo *repo;
	int rc;

	assert_ok(fb_store_open(depot->url, true, NULL, &store, &err));
	trust_key(depot, &trust);
	rc = fb_repo_open(store, &trust, &repo, error);
	if (rc == FB_OK)
		fb_repo_close(repo);
	return rc;
}

static void
an_empty_store_is_no_repository(void **state)
{
	assert_fails(FB_ENOREPO, open_again(*state, &err));
}

static void
a_repository_that_is_not_signed_by_us_is_not_opened(void **state)
{
	struct depot *depot = *state;
	struct fb_store *store;
	struct fb_trust trust = { 0 };
	struct fb_error doubt;

	init_repo(depot);
	spoil_object(depot, "format/1.json.sig", 10);
	assert_fails(FB_EUNTRUSTED, open_again(depot, &err));
	remove_object(depot, "format/1.json.sig");
	assert_fails(FB_EUNTRUSTED, open_again(depot, &err));
	/* Who was told to go on may. */
	fb_repo_close(depot->repo);
	depot->repo = NULL;
	assert_ok(fb_store_open(depot->url, false, NULL, &store, &err));
	assert_ok(fb_repo_open_doubting(
	    store, &trust, &doubt, &depot->repo, &err));
	assert_int_equal(doubt.code, FB_EUNTRUSTED);
}

static void
an_altered_format_is_not_opened(void **state)
{
	struct depot *depot = *state;

	init_repo(depot);
	spoil_object(depot, "format/1.json", 3);
	assert_fails(FB_ECORRUPT, open_again(depot, &err));
}

static void
a_newer_format_is_refused(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_STORE struct fb_store *store = NULL;
	bool made;

	init_repo(depot);
	write_object(depot, "format/2.json", SPAN("{}"));
	assert_fails(FB_ETOONEW, open_again(depot, &err));
	assert_ok(fb_store_open(depot->url, true, NULL, &store, &err));
	assert_fails(
	    FB_ETOONEW, fb_repo_init(store, depot->key, &made, &err));
}

static void
a_session_announces_itself_and_ends(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *key = NULL;
	FB_AUTO_FREE char *end = NULL;
	struct fb_session session, again;
	struct fb_session_doc doc;

	assert_ok(fb_session_begin(
	    depot->repo, "", "download", "demo", &session, &err));
	key = fb_format("sessions/%s", session.id);
	end = fb_format("sessions/%s.end", session.id);
	read_object(depot, key, &text);
	assert_ok(fb_session_doc_decode(fb_buf_span(&text), &doc, &err));
	assert_string_equal(doc.kind, "download");
	assert_string_equal(doc.fleet, "demo");
	assert_int_equal(doc.pid, getpid());
	assert_ok(fb_session_begin(
	    depot->repo, session.id, "download", "demo", &again, &err));
	assert_string_equal(again.id, session.id);
	assert_ok(fb_session_end(depot->repo, &session, &err));
	assert_ok(fb_session_end(depot->repo, &session, &err));
	fb_buf_clear(&text);
	read_object(depot, end, &text);
	assert_int_equal(text.len, 0);
	fb_session_release(&session);
	fb_session_release(&again);
}

static void
a_session_knows_what_is_condemned(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *key = NULL;
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest pack = { { 7 } };
	struct fb_gc_set set = { .generation = 1 };
	struct fb_gc_doc doc = { .generation = 1, .phase = FB_GC_CONDEMNED };
	struct fb_session session;

	fb_id_list_add(&set.packs, &pack);
	fb_gc_set_encode(&set, &text);
	fb_digest_of(fb_buf_span(&text), &doc.set);
	fb_digest_hex(&doc.set, hex);
	key = fb_format("gc/sets/%s", hex);
	assert_ok(fb_store_create(
	    depot->repo->store, key, fb_buf_span(&text), &err));
	fb_buf_clear(&text);
	fb_gc_doc_encode(&doc, &text);
	assert_ok(fb_store_replace(depot->repo->store, "gc/current",
	    fb_buf_span(&text), "", &err));
	assert_ok(fb_session_begin(
	    depot->repo, "", "download", "demo", &session, &err));
	assert_true(fb_id_list_has(&session.condemned, &pack));
	fb_session_release(&session);
	/* A set that is not what its name says is not believed. */
	spoil_object(depot, key, 30);
	assert_fails(FB_ECORRUPT,
	    fb_session_begin(
	        depot->repo, "", "download", "demo", &session, &err));
	fb_gc_set_release(&set);
}

static struct fb_register
a_register(void)
{
	return (struct fb_register){ .session = RUN1,
		.run = RUN1,
		.fleet = "demo",
		.time = "2026-11-21T01:33:00Z",
		.signer = "0123456789abcdef" };
}

static void
a_commit_is_made_once_and_again_the_same(void **state)
{
	struct depot *depot = *state;
	struct fb_register reg = a_register(), there = { 0 };

	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	assert_ok(fb_repo_register(depot->repo, RUN1, &there, &err));
	assert_string_equal(there.run, RUN1);
	fb_register_release(&there);
	reg.sums.bytes[0] = 1;
	assert_fails(FB_ECORRUPT, fb_repo_commit(depot->repo, &reg, &err));
	assert_fails(FB_ENOTFOUND,
	    fb_repo_register(depot->repo, RUN2, &there, &err));
	assert_fails(FB_ENOTFOUND,
	    fb_repo_register(depot->repo, "../x", &there, &err));
}

static void
a_fenced_session_cannot_commit(void **state)
{
	struct depot *depot = *state;
	struct fb_register fence = { .fence = true,
		.session = RUN1,
		.reason = "silent for a day" };
	struct fb_register reg = a_register();
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_register_encode(&fence, &text);
	assert_ok(fb_store_create(depot->repo->store, "commits/" RUN1,
	    fb_buf_span(&text), &err));
	assert_fails(FB_ECONFLICT, fb_repo_commit(depot->repo, &reg, &err));
	assert_string_equal(err.id, "E-FENCED");
	assert_non_null(strstr(err.msg, "silent for a day"));
}

static void
a_lost_signature_object_is_made_again(void **state)
{
	struct depot *depot = *state;
	struct fb_register reg = a_register();

	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	remove_object(depot, "runs/" RUN1 "/SHA256SUMS.sig");
	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	spoil_object(depot, "runs/" RUN1 "/SHA256SUMS.sig", 5);
	assert_fails(FB_ECORRUPT, fb_repo_commit(depot->repo, &reg, &err));
}

/* Runs as a text: "<run>[!] ". */
static int
list_run(const struct fb_run_ref *run, void *arg, struct fb_error *error)
{
	(void)error;
	fb_buf_add_fmt(
	    arg, "%s%s ", run->run, run->damage != NULL ? "!" : "");
	return FB_OK;
}

static void
expect_runs(struct depot *depot, const char *want)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	assert_ok(fb_repo_runs(depot->repo, list_run, &text, &err));
	assert_string_equal(fb_buf_str(&text), want);
}

static void
runs_are_listed_newest_first_past_damage_and_fences(void **state)
{
	struct depot *depot = *state;
	struct fb_register reg = a_register();
	struct fb_register fence = { .fence = true,
		.session = "20261121-030000000-00000003" };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	expect_runs(depot, "");
	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	memcpy(reg.session, RUN2, sizeof(RUN2));
	memcpy(reg.run, RUN2, sizeof(RUN2));
	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	fb_register_encode(&fence, &text);
	assert_ok(fb_store_create(depot->repo->store,
	    "commits/20261121-030000000-00000003", fb_buf_span(&text), &err));
	expect_runs(depot, RUN2 " " RUN1 " ");
	spoil_object(depot, "commits/" RUN2, 100);
	expect_runs(depot, RUN2 "! " RUN1 " ");
	write_object(depot, "commits/" RUN2, SPAN(""));
	expect_runs(depot, RUN2 "! " RUN1 " ");
}

static void
only_a_signed_record_forgets_a_run(void **state)
{
	struct depot *depot = *state;
	struct fb_register reg = a_register();
	struct fb_forget forget = { .session = RUN1,
		.run = RUN1,
		.fleet = "demo",
		.time = "2026-11-22T00:00:00Z" };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	assert_ok(fb_repo_commit(depot->repo, &reg, &err));
	memcpy(forget.signer, fb_sign_key_id(depot->key), FB_KEY_ID_SIZE);
	fb_forget_encode_signed(&forget, &text);
	assert_ok(fb_sign(
	    depot->key, fb_buf_span(&text), forget.signature, &err));
	fb_forget_encode_signature(&forget, &text);
	assert_ok(fb_store_create(depot->repo->store, "forgets/" RUN1,
	    fb_buf_span(&text), &err));
	expect_runs(depot, "");
	spoil_object(depot, "forgets/" RUN1, text.len - 10);
	expect_runs(depot, RUN1 " ");
}

static void
checksums_are_believed_by_digest_and_signature_only(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	struct fb_register reg = a_register();
	struct fb_run_ref ref = { .run = RUN1, .session = RUN1 };
	static const char foreign[] =
	    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	    "  format/1.json\n";
	FB_AUTO_BUF struct fb_buf format = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest, ours;

	read_object(depot, "format/1.json", &format);
	fb_digest_of(fb_buf_span(&format), &ours);
	fb_digest_hex(&ours, hex);
	fb_buf_add_fmt(&text, "%s  format/1.json\n", hex);
	fb_digest_of(fb_buf_span(&text), &reg.sums);
	ref.sums = reg.sums;
	assert_ok(fb_sign(depot->key, fb_buf_span(&text), ref.signature, &err));
	memcpy(ref.signer, fb_sign_key_id(depot->key), FB_KEY_ID_SIZE);
	assert_fails(FB_ECORRUPT,
	    fb_repo_run_sums(depot->repo, &ref, &sums, &err));
	write_object(depot, "format/1.json.x", SPAN("x"));
	assert_ok(fb_store_create(depot->repo->store,
	    "runs/" RUN1 "/SHA256SUMS", fb_buf_span(&text), &err));
	assert_ok(fb_repo_run_sums(depot->repo, &ref, &sums, &err));
	assert_ok(fb_sums_find(
	    fb_buf_span(&sums), "format/1.json", &digest, &err));
	assert_int_equal(fb_digest_cmp(&digest, &ours), 0);
	assert_fails(FB_ECORRUPT,
	    fb_sums_find(fb_buf_span(&sums), "1.json", &digest, &err));
	ref.signature[0] ^= 1;
	assert_fails(FB_EUNTRUSTED,
	    fb_repo_run_sums(depot->repo, &ref, &sums, &err));
	ref.signature[0] ^= 1;
	ref.signer[0] ^= 1;
	assert_fails(FB_EUNTRUSTED,
	    fb_repo_run_sums(depot->repo, &ref, &sums, &err));
	spoil_object(depot, "runs/" RUN1 "/SHA256SUMS", 1);
	assert_fails(FB_ECORRUPT,
	    fb_repo_run_sums(depot->repo, &ref, &sums, &err));

	/* Signed by the same key, but of another repository. */
	fb_digest_of(SPAN(foreign), &ref.sums);
	assert_ok(fb_sign(depot->key, SPAN(foreign), ref.signature, &err));
	memcpy(ref.signer, fb_sign_key_id(depot->key), FB_KEY_ID_SIZE);
	write_object(depot, "runs/" RUN1 "/SHA256SUMS", SPAN(foreign));
	assert_fails(FB_EUNTRUSTED,
	    fb_repo_run_sums(depot->repo, &ref, &sums, &err));
	assert_non_null(strstr(err.msg, "not made in this repository"));
}

/* What does not depend on the compressor. */
static void
the_example_of_the_manual_holds(void **state)
{
	struct depot *depot = *state;
	struct content one[] = { { "web-01", "root",
	    (const uint8_t *)"hello, world\n", 13 } };
	FB_AUTO_BUF struct fb_buf volumes = { 0 };

	make_run(depot, "20261121-013206456-0000002a", one, 1);
	read_object(depot, "runs/20261121-013206456-0000002a/VOLUMES",
	    &volumes);
	assert_non_null(strstr(fb_buf_str(&volumes),
	    " 50ca44962b93a450c5d9989283d0f1df6ee11fd0c041fb00d0d25a408f2"
	    "1115f\n"));
}

/* Run the script; its exit status. */
static int
run_script(struct depot *depot, const char *run, const char *machine,
    const char *volume, const char *output)
{
	FB_AUTO_FREE char *script = object_path(depot, "restore.sh");
	FB_AUTO_FREE char *key = fb_format("%s/pub.pem", depot->dir);
	const char *argv[] = { "/bin/sh", script, "-k", key, "-r", run,
		machine, volume, output, NULL };
	struct fb_child_spec spec = { .argv = argv, .dir = depot->dir,
		.lock_fd = -1 };
	struct fb_child_result result = { 0 };
	int status;

	if (run == NULL)
		memmove(&argv[4], &argv[6], 4 * sizeof(*argv));
	assert_ok(fb_io_replace(
	    key, fb_buf_span(&depot->public_pem), 0600, &err));
	assert_ok(fb_child_run(&spec, &result, &err));
	status = result.exit_code;
	fb_child_result_release(&result);
	return status;
}

static void
expect_file(struct depot *depot, const char *name, const struct content *want)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", depot->dir, name);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_io_read_file(path, 1u << 26, &bytes, &err));
	assert_int_equal(bytes.len, want->len);
	assert_memory_equal(bytes.data, want->bytes, want->len);
}

static void
the_script_restores_with_stock_tools_and_checks(void **state)
{
	struct depot *depot = *state;
	const size_t len = 3 * 1024 * 1024 + 517;
	FB_AUTO_FREE uint8_t *first = make_noise(len, 1);
	FB_AUTO_FREE uint8_t *second = NULL;
	struct content one[] = { { "db", "root", first, len } };
	struct content two[] = { { "db", "root", NULL, len },
		{ "web", "root", first, 1000 } };
	FB_AUTO_FREE char *path = fb_format("%s/hole.img", depot->dir);
	struct stat st;

	memset(first + 1048576, 0, 1048576);
	second = memcpy(fb_alloc(len, 1), first, len);
	memset(second + 100000, 'x', 5000);
	two[0].bytes = second;
	make_run(depot, RUN1, one, 1);
	make_run(depot, RUN2, two, 2);
	assert_int_equal(run_script(depot, NULL, "db", "root", "new.img"), 0);
	expect_file(depot, "new.img", &two[0]);
	assert_int_equal(
	    run_script(depot, RUN1, "lab/db", "root", "hole.img"), 0);
	expect_file(depot, "hole.img", &one[0]);
	assert_int_equal(stat(path, &st), 0);
	assert_true((size_t)st.st_blocks * 512 < len - 512 * 1024);
	assert_int_equal(run_script(depot, NULL, "web", "root", "w.img"), 0);
	expect_file(depot, "w.img", &two[1]);
	/* It refuses what it should. */
	assert_int_equal(run_script(depot, NULL, "db", "root", "w.img"), 1);
	assert_int_equal(run_script(depot, NULL, "db", "data", "x.img"), 1);
	assert_int_equal(run_script(depot, NULL, "nas", "root", "x.img"), 1);
	assert_int_equal(run_script(depot, RUN1, "web", "root", "x.img"), 1);
	assert_int_equal(
	    run_script(depot, "20250101", "db", "root", "x.img"), 1);
}

static int
spoil_pack(const char *key, uint64_t size, void *arg, struct fb_error *error)
{
	(void)error;
	spoil_object(arg, key, (size_t)size / 2);
	return FB_OK;
}

static void
the_script_leaves_nothing_of_damaged_bytes(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE uint8_t *bytes = make_noise(200000, 1);
	FB_AUTO_FREE char *path = fb_format("%s/x.img", depot->dir);
	struct content one[] = { { "db", "root", bytes, 200000 } };

	make_run(depot, RUN1, one, 1);
	spoil_object(depot, "runs/" RUN1 "/SHA256SUMS.sig", 3);
	assert_int_equal(run_script(depot, NULL, "db", "root", "x.img"), 1);
	spoil_object(depot, "runs/" RUN1 "/SHA256SUMS.sig", 3);
	/* Without it the register's signature is as good. */
	remove_object(depot, "runs/" RUN1 "/SHA256SUMS.sig");
	assert_int_equal(run_script(depot, NULL, "db", "root", "y.img"), 0);
	assert_ok(fb_store_list(
	    depot->repo->store, "packs/", spoil_pack, depot, &err));
	assert_int_equal(run_script(depot, NULL, "db", "root", "x.img"), 1);
	spoil_object(depot, "runs/" RUN1 "/VOLUMES", 30);
	assert_int_equal(run_script(depot, NULL, "db", "root", "x.img"), 1);
	spoil_object(depot, "runs/" RUN1 "/SHA256SUMS", 30);
	assert_int_equal(run_script(depot, NULL, "db", "root", "x.img"), 1);
	assert_int_equal(access(path, F_OK), -1);
}

int
main(void)
{
#define IN(setup, test) \
	cmocka_unit_test_setup_teardown(test, setup, remove_depot)
	const struct CMUnitTest tests[] = {
		IN(make_depot, a_new_repository_says_how_to_restore),
		IN(make_depot, making_it_again_changes_nothing),
		IN(make_depot, what_a_crash_left_out_is_completed),
		IN(make_depot, a_store_that_holds_other_things_is_left_alone),
		IN(make_depot, an_empty_store_is_no_repository),
		IN(make_depot,
		    a_repository_that_is_not_signed_by_us_is_not_opened),
		IN(make_depot, an_altered_format_is_not_opened),
		IN(make_depot, a_newer_format_is_refused),
		IN(make_repository, a_session_announces_itself_and_ends),
		IN(make_repository, a_session_knows_what_is_condemned),
		IN(make_repository, a_commit_is_made_once_and_again_the_same),
		IN(make_repository, a_fenced_session_cannot_commit),
		IN(make_repository, a_lost_signature_object_is_made_again),
		IN(make_repository,
		    runs_are_listed_newest_first_past_damage_and_fences),
		IN(make_repository, only_a_signed_record_forgets_a_run),
		IN(make_repository,
		    checksums_are_believed_by_digest_and_signature_only),
		IN(make_repository, the_example_of_the_manual_holds),
		IN(make_repository,
		    the_script_restores_with_stock_tools_and_checks),
		IN(make_repository,
		    the_script_leaves_nothing_of_damaged_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
