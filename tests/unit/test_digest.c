#include "test.h"

#include <stdlib.h>

#include "fleetbak/base/group.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

static struct fb_error err;

#define ABC_HEX                            \
	"ba7816bf8f01cfea414140de5dae2223" \
	"b00361a396177a9cb410ff61f20015ad"
#define EMPTY_HEX                          \
	"e3b0c44298fc1c149afbf4c8996fb924" \
	"27ae41e4649b934ca495991b7852b855"

static void
assert_digest(const struct fb_digest *digest, const char *hex)
{
	char text[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(digest, text);
	assert_string_equal(text, hex);
}

static void
the_standard_vectors_hold(void **state)
{
	struct fb_digest digest;

	(void)state;
	fb_digest_of(SPAN(""), &digest);
	assert_digest(&digest, EMPTY_HEX);
	fb_digest_of((struct fb_span){ NULL, 0 }, &digest);
	assert_digest(&digest, EMPTY_HEX);
	fb_digest_of(SPAN("abc"), &digest);
	assert_digest(&digest, ABC_HEX);
	fb_digest_of2(SPAN("ab"), SPAN("c"), &digest);
	assert_digest(&digest, ABC_HEX);
}

static void
a_running_digest_goes_on_after_a_peek(void **state)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	struct fb_digest digest;

	(void)state;
	fb_digester_peek(digester, &digest);
	assert_digest(&digest, EMPTY_HEX);
	fb_digester_add(digester, SPAN("ab"));
	fb_digester_peek(digester, &digest);
	fb_digester_add(digester, SPAN("c"));
	fb_digester_peek(digester, &digest);
	assert_digest(&digest, ABC_HEX);
	fb_digester_peek(digester, &digest);
	assert_digest(&digest, ABC_HEX);
}

static void
a_digest_is_read_back(void **state)
{
	struct fb_digest a, b;

	(void)state;
	fb_digest_of(SPAN("abc"), &a);
	assert_ok(fb_digest_parse(SPAN(ABC_HEX), &b, &err));
	assert_int_equal(fb_digest_cmp(&a, &b), 0);
	assert_fails(FB_ECORRUPT, fb_digest_parse(SPAN(ABC_HEX "0"), &b, &err));
	assert_fails(FB_ECORRUPT, fb_digest_parse(SPAN("abc"), &b, &err));
}

static int
hash_much(void *arg, struct fb_error *task_err)
{
	struct fb_digest digest;
	struct fb_digest *expected = arg;

	for (int i = 0; i < 1000; i++) {
		fb_digest_of(SPAN("abc"), &digest);
		if (fb_digest_cmp(&digest, expected) != 0)
			return fb_fail(task_err, FB_EBUG, "wrong digest");
	}
	return FB_OK;
}

static void
threads_hash_at_the_same_time(void **state)
{
	struct fb_group *group = fb_group_new();
	struct fb_digest expected;

	(void)state;
	fb_digest_of(SPAN("abc"), &expected);
	for (int i = 0; i < 8; i++)
		fb_group_start(group, hash_much, &expected);
	assert_ok(fb_group_wait(group, &err));
}

/* The tree once more, by the words of the RFC: leaves kept, split at the
 * largest power of two. */
struct leaves {
	struct fb_digest at[80];
	size_t count;
	uint64_t size;
};

static void
keep_leaf(struct leaves *leaves, uint8_t tag, uint64_t length,
    const struct fb_digest *id)
{
	FB_AUTO_BUF struct fb_buf leaf = { 0 };

	fb_buf_add(&leaf, &tag, 1);
	fb_buf_add_le64(&leaf, leaves->size);
	fb_buf_add_le64(&leaf, length);
	if (id != NULL)
		fb_buf_add(&leaf, id->bytes, FB_DIGEST_LEN);
	fb_digest_of(fb_buf_span(&leaf), &leaves->at[leaves->count++]);
	leaves->size += length;
}

static void
slow_top(const struct fb_digest *leaves, size_t n, struct fb_digest *top)
{
	FB_AUTO_BUF struct fb_buf node = { 0 };
	struct fb_digest half;
	size_t k = 1;

	if (n == 1) {
		*top = leaves[0];
		return;
	}
	while (k * 2 < n)
		k *= 2;
	fb_buf_add(&node, "\1", 1);
	slow_top(leaves, k, &half);
	fb_buf_add(&node, half.bytes, FB_DIGEST_LEN);
	slow_top(leaves + k, n - k, &half);
	fb_buf_add(&node, half.bytes, FB_DIGEST_LEN);
	fb_digest_of(fb_buf_span(&node), top);
}

static void
slow_root(const struct leaves *leaves, struct fb_digest *root)
{
	FB_AUTO_BUF struct fb_buf message = { 0 };
	struct fb_digest top = { { 0 } };

	if (leaves->count > 0)
		slow_top(leaves->at, leaves->count, &top);
	fb_buf_add(&message, "\3", 1);
	fb_buf_add_le64(&message, leaves->size);
	fb_buf_add(&message, top.bytes, FB_DIGEST_LEN);
	fb_digest_of(fb_buf_span(&message), root);
}

static void
the_tree_has_the_shape_of_rfc_6962(void **state)
{
	struct leaves leaves = { .count = 0 };
	struct fb_merkle merkle;
	struct fb_digest fast, slow, id;

	(void)state;
	fb_merkle_init(&merkle);
	for (uint64_t n = 0; n < FB_COUNT(leaves.at); n++) {
		fb_merkle_root(&merkle, &fast);
		slow_root(&leaves, &slow);
		assert_int_equal(fb_digest_cmp(&fast, &slow), 0);

		if (n % 5 == 3) {
			fb_merkle_add_zero(&merkle, 4096);
			keep_leaf(&leaves, 2, 4096, NULL);
		} else {
			fb_digest_of((struct fb_span){ (uint8_t *)&n, 1 }, &id);
			fb_merkle_add_data(&merkle, n + 1, &id);
			keep_leaf(&leaves, 0, n + 1, &id);
		}
	}
	assert_int_equal(merkle.size, leaves.size);
}

/* Computed once with sha256sum; whoever changes it breaks every archive:
 * the root of a volume without a byte, and of one of 4096 zeros. */
static void
the_root_of_nothing_is_fixed(void **state)
{
	struct fb_merkle merkle;
	struct fb_digest root;

	(void)state;
	fb_merkle_init(&merkle);
	fb_merkle_root(&merkle, &root);
	assert_digest(&root,
	    "94e22166cd1a329e912315275b7f3628"
	    "3c9a7e29890d7316123843a00c5f4743");
	fb_merkle_add_zero(&merkle, 4096);
	fb_merkle_root(&merkle, &root);
	assert_digest(&root,
	    "8aea07e3d36d5b15dc10ad3a46613d1c"
	    "5fe12186113f26c48ebd1c855306bb59");
}

static void
random_bytes_differ(void **state)
{
	uint8_t a[1000] = { 0 }, b[1000] = { 0 };

	(void)state;
	fb_random(a, sizeof(a));
	fb_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	fb_random(a, 0);
}

static void
run_ids_are_valid_and_unique_within_a_second(void **state)
{
	char ids[50][FB_RUN_ID_SIZE];

	(void)state;
	for (size_t i = 0; i < FB_COUNT(ids); i++) {
		fb_random_run_id(ids[i]);
		assert_true(fb_run_id_ok(ids[i], strlen(ids[i])));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(ids[i], ids[j]);
	}
}

static void
a_run_id_sorts_after_the_one_it_follows(void **state)
{
	char now[FB_RUN_ID_SIZE], after[FB_RUN_ID_SIZE];
	char again[FB_RUN_ID_SIZE];

	(void)state;
	fb_random_run_id(now);
	/* perhaps in the same millisecond */
	assert_true(fb_random_run_id_after(now, after) < 1000000000);
	assert_true(fb_random_run_id_after(after, again) < 1000000000);
	assert_true(strcmp(now, after) < 0 && strcmp(after, again) < 0);
	assert_int_equal(fb_random_run_id_after(NULL, after), 0);
	assert_int_equal(fb_random_run_id_after("no id", after), 0);

	/* written while the clock was wrong */
	assert_true(fb_random_run_id_after(
	                "22001231-235959999-00000000", after) > 0);
	assert_memory_equal(after, "22010101-000000000-", 19);
	assert_true(fb_run_id_ok(after, strlen(after)));
	/* nothing that counts in nanoseconds can follow this one */
	assert_int_equal(fb_random_run_id_after(
	                     "99991231-235959999-00000000", after), 0);
	assert_true(fb_run_id_ok(after, strlen(after)));
}

#ifdef FB_FAULTS
/* Runs first: only the first id of a process can be fixed. */
static void
the_first_run_id_can_be_fixed_for_a_test(void **state)
{
	static const char fixed[] = "20261121-013205123-3fa92c17";
	char id[FB_RUN_ID_SIZE];

	(void)state;
	assert_int_equal(setenv("FLEETBAK_SESSION", fixed, 1), 0);
	fb_random_run_id(id);
	assert_string_equal(id, fixed);
	fb_random_run_id(id);
	assert_string_not_equal(id, fixed);

	/* The rest of an id is the time it was made. */
	assert_int_equal(setenv("FLEETBAK_CLOCK", "1795222923.004", 1), 0);
	fb_random_run_id(id);
	assert_memory_equal(id, "20261121-010203004-", 19);
	assert_int_equal(unsetenv("FLEETBAK_CLOCK"), 0);
}
#endif

int
main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef FB_FAULTS
		cmocka_unit_test(the_first_run_id_can_be_fixed_for_a_test),
#endif
		cmocka_unit_test(the_standard_vectors_hold),
		cmocka_unit_test(a_running_digest_goes_on_after_a_peek),
		cmocka_unit_test(a_digest_is_read_back),
		cmocka_unit_test(threads_hash_at_the_same_time),
		cmocka_unit_test(the_tree_has_the_shape_of_rfc_6962),
		cmocka_unit_test(the_root_of_nothing_is_fixed),
		cmocka_unit_test(random_bytes_differ),
		cmocka_unit_test(run_ids_are_valid_and_unique_within_a_second),
		cmocka_unit_test(a_run_id_sorts_after_the_one_it_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
