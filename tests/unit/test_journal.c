#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/format/json.h"
#include "fleetbak/journal/journal.h"
#include "fleetbak/journal/record.h"

static struct fb_error err;
static char dir[64];
static char path[96];

static int
make_dir(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/fb-journal-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/journal", dir);
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	return fb_io_remove_tree(dir, &err);
}

/* What a replay has seen: facts are numbered, a "sum" stands for many. */
struct seen {
	uint64_t records;
	uint64_t last_sequence;
	uint64_t facts;
};

static int
see(const struct fb_journal_record *record, void *arg, struct fb_error *e)
{
	struct seen *seen = arg;
	uint64_t n;
	int rc = fb_json_u64(record->body, "n", "fact", UINT64_MAX, &n, e);

	if (rc < 0)
		return rc;
	if (strcmp(record->type, "sum") == 0)
		seen->facts = n;
	else if (n != ++seen->facts)
		return fb_fail(e, FB_ECORRUPT, "a fact is missing");
	seen->records++;
	seen->last_sequence = record->sequence;
	return FB_OK;
}

static int
append(struct fb_journal *journal, const char *type, uint64_t n, bool durable,
    struct fb_error *e)
{
	FB_AUTO_JSON json_t *body = json_object();

	(void)json_object_set_new(body, "n", json_integer((json_int_t)n));
	return fb_journal_append(journal, type, body, durable, e);
}

static void
write_facts(uint64_t count)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;

	assert_ok(fb_journal_create(path, &journal, &err));
	for (uint64_t n = 1; n <= count; n++)
		assert_ok(append(journal, "fact", n, n == count, &err));
}

static void
load(struct fb_buf *bytes)
{
	fb_buf_clear(bytes);
	assert_ok(fb_io_read_file(path, 1 << 24, bytes, &err));
}

static void
store(const struct fb_buf *bytes)
{
	assert_ok(fb_io_replace(path, fb_buf_span(bytes), 0600, &err));
}

static int
open_and_see(struct seen *seen)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;

	*seen = (struct seen){ 0 };
	return fb_journal_open(path, see, seen, &journal, &err);
}

static void
what_was_appended_comes_back_in_order(void **state)
{
	struct seen seen;

	(void)state;
	write_facts(3);
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.facts, 3);
	assert_int_equal(seen.last_sequence, 4);
}

static void
the_bytes_are_as_specified(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	(void)state;
	write_facts(1);
	load(&bytes);
	assert_string_equal(fb_buf_str(&bytes),
	    "1 1994ce847046aa86327670266020bdd9c3ee310a45fbb9e09d75f5708758f8bb"
	    " journal {\"format\":1}\n"
	    "2 94c788036865e30d510fa907e22f3fe5024104a85ebf76186489150210cf60ad"
	    " fact {\"n\":1}\n");
}

static void
a_taken_path_is_not_overwritten(void **state)
{
	struct fb_journal *journal;
	struct seen seen;

	(void)state;
	write_facts(2);
	assert_fails(FB_EEXISTS, fb_journal_create(path, &journal, &err));
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.facts, 2);
}

static void
a_torn_tail_is_cut_wherever_it_was_torn(void **state)
{
	FB_AUTO_BUF struct fb_buf whole = { 0 };
	size_t last = 0;

	(void)state;
	write_facts(3);
	load(&whole);
	for (size_t i = 0; i + 1 < whole.len; i++)
		if (whole.data[i] == '\n')
			last = i + 1;
	for (size_t len = last; len < whole.len; len++) {
		struct fb_buf torn = { whole.data, len, 0 };
		FB_AUTO_BUF struct fb_buf after = { 0 };
		FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
		struct seen seen = { 0 };

		store(&torn);
		assert_ok(fb_journal_read(path, see, &seen, &err));
		assert_int_equal(seen.facts, 2);
		load(&after);
		assert_int_equal(after.len, len); /* reading cuts nothing */
		seen = (struct seen){ 0 };
		assert_ok(fb_journal_open(path, see, &seen, &journal, &err));
		assert_int_equal(seen.facts, 2);
		assert_ok(append(journal, "fact", 3, true, &err));
		load(&after);
		assert_int_equal(after.len, whole.len);
		assert_memory_equal(after.data, whole.data, whole.len);
	}
}

/* Every single changed byte in front of the last line is found; one in the
 * last line, or what parts it from the others, is found or cuts it off; none
 * brings back another fact. */
static void
a_changed_byte_is_never_believed(void **state)
{
	FB_AUTO_BUF struct fb_buf whole = { 0 };
	size_t last = 0;

	(void)state;
	write_facts(3);
	load(&whole);
	for (size_t i = 0; i + 1 < whole.len; i++)
		if (whole.data[i] == '\n')
			last = i + 1;
	for (size_t i = 0; i < whole.len; i++) {
		struct seen seen = { 0 };
		int rc;

		whole.data[i] ^= 1;
		store(&whole);
		whole.data[i] ^= 1;
		rc = fb_journal_read(path, see, &seen, &err);
		if (i + 1 < last && rc != FB_ETOONEW) {
			assert_int_equal(rc, FB_ECORRUPT);
		} else if (rc == FB_OK) {
			assert_true(seen.facts <= 2);
		}
	}
}

static void
a_refusal_says_after_which_record_and_changes_nothing(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_BUF struct fb_buf after = { 0 };
	struct seen seen;
	char *at;

	(void)state;
	write_facts(3);
	load(&bytes);
	at = strstr((char *)bytes.data, "{\"n\":2}");
	at[5] = '7';
	store(&bytes);
	assert_fails(FB_ECORRUPT, open_and_see(&seen));
	assert_string_equal(err.id, "E-JOURNAL");
	assert_non_null(strstr(err.msg, "after record 2"));
	load(&after);
	assert_int_equal(after.len, bytes.len);
	assert_memory_equal(after.data, bytes.data, bytes.len);
}

static void
a_record_taken_out_is_found(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct seen seen;
	char *third, *fourth;

	(void)state;
	write_facts(3);
	load(&bytes);
	third = strstr((char *)bytes.data, "\n3 ") + 1;
	fourth = strstr((char *)bytes.data, "\n4 ") + 1;
	memmove(third, fourth, strlen(fourth) + 1);
	bytes.len -= (size_t)(fourth - third);
	store(&bytes);
	assert_fails(FB_ECORRUPT, open_and_see(&seen));
}

static void
an_empty_or_headless_file_is_refused(void **state)
{
	struct fb_buf bytes = { 0 };
	struct seen seen;

	(void)state;
	store(&bytes);
	assert_fails(FB_ECORRUPT, open_and_see(&seen));
	fb_buf_add_str(&bytes, "1 00");
	store(&bytes);
	assert_fails(FB_ECORRUPT, open_and_see(&seen));
	fb_buf_release(&bytes);
}

static void
a_line_longer_than_legal_is_no_record(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct seen seen;

	(void)state;
	write_facts(2);
	load(&bytes);
	memset(fb_buf_reserve(&bytes, 3 << 20), 'x', 3 << 20);
	bytes.len += 3 << 20;
	store(&bytes);
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.facts, 2);
	/* So, too, when the file ends with what was read last. */
	for (size_t pieces = 16; pieces <= 18; pieces++) {
		size_t more = pieces * 65536;

		load(&bytes);
		more -= bytes.len;
		memset(fb_buf_reserve(&bytes, more), 'x', more);
		bytes.len += more;
		store(&bytes);
		assert_ok(open_and_see(&seen));
		assert_int_equal(seen.facts, 2);
	}
}

static void
a_newer_format_is_refused_as_newer(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_JSON json_t *body = json_pack("{s:i}", "format", 2);
	struct fb_digest chain;
	struct seen seen;

	(void)state;
	fb_journal_seed(&chain);
	assert_ok(fb_journal_line_add(
	    &bytes, 1, &chain, "journal", body, &err));
	store(&bytes);
	assert_fails(FB_ETOONEW, open_and_see(&seen));
}

static void
a_count_that_is_no_number_is_refused(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_JSON json_t *body =
	    json_pack("{s:i,s:s}", "format", 1, "compacted_from", "many");
	struct fb_digest chain;
	struct seen seen;

	(void)state;
	fb_journal_seed(&chain);
	assert_ok(fb_journal_line_add(
	    &bytes, 1, &chain, "journal", body, &err));
	store(&bytes);
	assert_fails(FB_ECORRUPT, open_and_see(&seen));
	assert_non_null(strstr(err.msg, "compacted_from"));
}

static void
compaction_keeps_the_count_and_drops_the_rest(void **state)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	FB_AUTO_JSON json_t *body = json_pack("{s:i}", "n", 100);
	struct fb_journal_record sum = { 0, "sum", body };
	struct seen seen;
	uint64_t before;

	(void)state;
	assert_ok(fb_journal_create(path, &journal, &err));
	for (uint64_t n = 1; n <= 100; n++)
		assert_ok(append(journal, "fact", n, false, &err));
	before = fb_journal_size(journal);
	assert_ok(fb_journal_compact(journal, &sum, 1, &err));
	assert_true(fb_journal_size(journal) < before / 10);
	assert_ok(append(journal, "fact", 101, true, &err));
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.records, 2);
	assert_int_equal(seen.facts, 101);
	assert_int_equal(seen.last_sequence, 104);
}

static void
what_is_no_record_is_not_written(void **state)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	FB_AUTO_JSON json_t *text = json_string("x");
	FB_AUTO_JSON json_t *empty = json_object();
	struct seen seen;

	(void)state;
	assert_ok(fb_journal_create(path, &journal, &err));
	assert_fails(
	    FB_EBUG, fb_journal_append(journal, "fact", text, true, &err));
	assert_fails(
	    FB_EBUG, fb_journal_append(journal, "a b", empty, true, &err));
	assert_ok(append(journal, "fact", 1, true, &err));
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.facts, 1);
}

#define WRITERS 8
#define EACH    50

static void *
write_some(void *arg)
{
	struct fb_error e;

	for (int i = 0; i < EACH; i++)
		if (append(arg, "sum", (uint64_t)i, i % 5 == 0, &e) != FB_OK)
			return arg;
	return NULL;
}

static void
many_writers_make_one_chain(void **state)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	pthread_t threads[WRITERS];
	struct seen seen;
	void *failed;

	(void)state;
	assert_ok(fb_journal_create(path, &journal, &err));
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, write_some, journal), 0);
	for (int i = 0; i < WRITERS; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.records, WRITERS * EACH);
}

/*
 * Crashes.  A child of its own works on the journal and tells by a byte each
 * fact that it was promised; it is ended before every durable step.
 */
#define FACTS 8

static int
child_steps(struct fb_journal *journal, struct seen *seen)
{
	while (seen->facts < FACTS) {
		uint64_t n = seen->facts + 1;
		bool durable = n % 2 == 0;

		if (append(journal, "fact", n, durable, &err) < 0)
			return 1;
		seen->facts = n;
		if (durable && write(STDOUT_FILENO, &n, 1) != 1)
			return 1;
		if (n % 4 == 0) {
			FB_AUTO_JSON json_t *body =
			    json_pack("{s:I}", "n", (json_int_t)n);
			struct fb_journal_record sum = { 0, "sum", body };

			if (fb_journal_compact(journal, &sum, 1, &err) < 0)
				return 1;
		}
	}
	return 0;
}

static int
child_main(const char *where)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	struct seen seen = { 0 };
	int rc = fb_journal_open(where, see, &seen, &journal, &err);

	if (rc == FB_ENOTFOUND)
		rc = fb_journal_create(where, &journal, &err);
	if (rc < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	return child_steps(journal, &seen);
}

/* Returns the exit status; *promised is the last fact told. */
static int
run_child(const char *crash, uint8_t *promised)
{
	int pipes[2], status;
	uint8_t byte;
	pid_t pid;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(pipes[1], STDOUT_FILENO);
		if (crash != NULL)
			(void)setenv("FLEETBAK_CRASH", crash, 1);
		(void)execl("/proc/self/exe", "test_journal", path, NULL);
		_exit(99);
	}
	(void)close(pipes[1]);
	while (read(pipes[0], &byte, 1) == 1)
		*promised = byte;
	(void)close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* True when the child was ended; false when it had no such step. */
static bool
crash_once(const char *mode, int step)
{
	FB_AUTO_FREE char *crash = fb_format("%d:%s", step, mode);
	struct seen seen = { 0 };
	uint8_t promised = 0;
	int status = run_child(crash, &promised), rc;

	assert_true(status == 0 || status == FB_EXIT_CRASH);
	rc = fb_journal_read(path, see, &seen, &err);
	if (rc == FB_ENOTFOUND)
		assert_int_equal(promised, 0);
	else
		assert_ok(rc);
	assert_true(seen.facts >= promised);
	assert_true(seen.facts <= promised + 2u);

	/* The next one goes on to the end. */
	promised = (uint8_t)seen.facts;
	assert_int_equal(run_child(NULL, &promised), 0);
	seen = (struct seen){ 0 };
	assert_ok(fb_journal_read(path, see, &seen, &err));
	assert_int_equal(seen.facts, FACTS);
	assert_ok(fb_io_unlink(path, &err));
	return status == FB_EXIT_CRASH;
}

static void
no_promised_record_is_lost_by_any_crash(void **state)
{
	static const char *const modes[] = { "kill", "torn", "lost" };

	(void)state;
	for (size_t m = 0; m < FB_COUNT(modes); m++) {
		int step = 1;

		while (crash_once(modes[m], step))
			step++;
		assert_true(step > 20);
	}
}

/* Facts are written until one is refused; then the journal takes no more. */
static uint64_t
write_until_refused(struct fb_journal *journal)
{
	for (uint64_t n = 1; n <= 3; n++) {
		int rc = append(journal, "fact", n, n != 2, &err);

		if (rc == FB_OK)
			continue;
		faults_disarm();
		assert_fails(rc, append(journal, "fact", n, true, &err));
		assert_non_null(strstr(err.msg, "nothing more is recorded"));
		return n - 1;
	}
	return 3;
}

static void
after_any_failure_what_was_acknowledged_is_there(void **state)
{
	static const char *const how[] = { "EIO", "ENOSPC" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(how); i++)
		for (unsigned long at = faults_begin();
		     faults_arm(at, how[i]); at++) {
			struct fb_journal *journal = NULL;
			uint64_t taken = 0;
			struct seen seen;

			(void)unlink(path);
			if (fb_journal_create(path, &journal, &err) == FB_OK)
				taken = write_until_refused(journal);
			faults_disarm();
			fb_journal_closep(&journal);
			if (access(path, F_OK) != 0) {
				assert_int_equal(taken, 0);
				continue;
			}
			assert_ok(open_and_see(&seen));
			assert_true(seen.facts >= taken);
		}
}

static void
a_journal_that_cannot_be_opened_keeps_its_records(void **state)
{
	FB_AUTO_BUF struct fb_buf before = { 0 };
	FB_AUTO_BUF struct fb_buf after = { 0 };
	struct seen seen;

	(void)state;
	write_facts(3);
	load(&before);
	fb_buf_add_str(&before, "5 torn");
	store(&before);
	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		int rc = open_and_see(&seen);

		faults_disarm();
		if (rc == FB_OK)
			assert_int_equal(seen.facts, 3);
		load(&after);
		/* Its torn end may be cut, and nothing else. */
		assert_true(after.len >= before.len - 6);
		assert_memory_equal(after.data, before.data, before.len - 6);
		store(&before);
	}
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.facts, 3);
}

static void
a_journal_that_cannot_be_read_says_so(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct seen seen;

	(void)state;
	write_facts(3);
	load(&bytes);
	/* A torn tail is one only when all behind it was read. */
	for (int line = 0; line < 60000; line++)
		fb_buf_add_str(&bytes, "x\n");
	store(&bytes);
	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		int rc;

		seen = (struct seen){ 0 };
		rc = fb_journal_read(path, see, &seen, &err);
		faults_disarm();
		if (rc == FB_OK)
			assert_int_equal(seen.facts, 3);
		else
			assert_fails(FB_ESYS, rc);
	}
	assert_fails(FB_ENOTFOUND,
	    fb_journal_read("/nowhere/journal", see, &seen, &err));
}

static void
a_compaction_that_fails_loses_nothing(void **state)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:i}", "n", 3);
	struct fb_journal_record sum = { .type = "sum", .body = body };

	(void)state;
	for (unsigned long at = faults_begin();; at++) {
		struct fb_journal *journal = NULL;
		struct seen seen;
		bool more;
		int rc;

		(void)unlink(path);
		write_facts(3);
		assert_ok(fb_journal_open(
		    path, see, &(struct seen){ 0 }, &journal, &err));
		(void)faults_arm(at, "EIO");
		rc = fb_journal_compact(journal, &sum, 1, &err);
		faults_disarm();
		more = rc < 0;
		/* It goes on with what it had, or takes nothing more. */
		rc = append(journal, "fact", 4, true, &err);
		fb_journal_closep(&journal);
		assert_ok(open_and_see(&seen));
		assert_int_equal(seen.facts, rc == FB_OK ? 4 : 3);
		if (!more)
			break;
	}
}

static void
a_record_that_is_too_long_leaves_the_journal_as_it_was(void **state)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	FB_AUTO_JSON json_t *body = json_object();
	FB_AUTO_FREE char *text = fb_alloc(FB_JOURNAL_LINE_MAX, 1);
	struct seen seen;

	(void)state;
	assert_ok(fb_journal_create(path, &journal, &err));
	assert_fails(FB_EBUG,
	    fb_journal_compact(journal,
	        &(struct fb_journal_record){ .type = "no type!", .body = body },
	        1, &err));
	memset(text, 'a', FB_JOURNAL_LINE_MAX - 1);
	(void)json_object_set_new(body, "much", json_string(text));
	assert_fails(FB_EBUG,
	    fb_journal_append(journal, "fact", body, true, &err));
	assert_ok(append(journal, "fact", 1, true, &err));
	assert_ok(open_and_see(&seen));
	assert_int_equal(seen.facts, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int
main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_torn_tail_is_cut_wherever_it_was_torn),
		TEST(a_changed_byte_is_never_believed),
		TEST(a_refusal_says_after_which_record_and_changes_nothing),
		TEST(a_record_taken_out_is_found),
		TEST(an_empty_or_headless_file_is_refused),
		TEST(a_line_longer_than_legal_is_no_record),
		TEST(a_newer_format_is_refused_as_newer),
		TEST(a_count_that_is_no_number_is_refused),
		TEST(what_was_appended_comes_back_in_order),
		TEST(the_bytes_are_as_specified),
		TEST(a_taken_path_is_not_overwritten),
		TEST(compaction_keeps_the_count_and_drops_the_rest),
		TEST(what_is_no_record_is_not_written),
		TEST(many_writers_make_one_chain),
		TEST(no_promised_record_is_lost_by_any_crash),
		TEST(after_any_failure_what_was_acknowledged_is_there),
		TEST(a_journal_that_cannot_be_opened_keeps_its_records),
		TEST(a_journal_that_cannot_be_read_says_so),
		TEST(a_compaction_that_fails_loses_nothing),
		TEST(a_record_that_is_too_long_leaves_the_journal_as_it_was),
	};

	if (argc == 2)
		return child_main(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
