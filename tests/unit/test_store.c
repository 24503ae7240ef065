/*
 * Every store keeps the promises of store_*.c.
 *
 * Stores that need no server are tried here.  With FB_STORE_URL in the
 * environment that one is, reached as FB_STORE_ENDPOINT, _REGION, _CA and
 * _CREDENTIALS say: each promise under a prefix of its own, without those that
 * FB_STORE_WITHOUT names (words), or only what FB_STORE_ONLY names.  With
 * FB_STORE_ETCD the etcd there decides what conditions would; with
 * FB_STORE_ONE_WRITER nobody does, and the races of many writers are no promise
 * of that store.
 */
#include "store_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fleetbak/base/io.h"

static struct fb_error err;

static int
open_store(const char *url, struct fb_store **ret_store)
{
	const struct fb_store_options options = {
		.endpoint = getenv("FB_STORE_ENDPOINT"),
		.region = getenv("FB_STORE_REGION"),
		.ca = getenv("FB_STORE_CA"),
		.credentials = getenv("FB_STORE_CREDENTIALS"),
		.etcd = getenv("FB_STORE_ETCD"),
	};
	int rc = fb_store_open(url, true, &options, ret_store, &err);

	if (rc == FB_OK && getenv("FB_STORE_ONE_WRITER") != NULL)
		fb_store_set_one_writer(*ret_store, true);
	if (rc == FB_OK && options.etcd != NULL)
		fb_store_set_lease(*ret_store, strrchr(url, '/') + 1);
	return rc;
}

static char *
dir_url(const char *dir)
{
	return fb_format("file:%s/repo", dir);
}

static char *
mem_url(const char *dir)
{
	(void)dir;
	return fb_strdup("mem:");
}

static char *
given_url(const char *dir)
{
	static unsigned long number;

	(void)dir;
	return fb_format(
	    "%s/%d-%lu", getenv("FB_STORE_URL"), (int)getpid(), ++number);
}

static int
set_up(void **state, char *(*url_of)(const char *dir))
{
	struct fixture *fix = fb_alloc(1, sizeof(*fix));
	int rc;

	fix->dir = fb_strdup("/tmp/fb-store-XXXXXX");
	if (mkdtemp(fix->dir) == NULL)
		return -1;
	fix->url = url_of(fix->dir);
	*state = fix;
	rc = open_store(fix->url, &fix->store);
	if (rc < 0)
		print_error("%s: %s\n", fix->url, err.msg);
	return rc;
}

static int
set_up_dir(void **state)
{
	return set_up(state, dir_url);
}

static int
set_up_mem(void **state)
{
	return set_up(state, mem_url);
}

static int
set_up_given(void **state)
{
	return set_up(state, given_url);
}

static int
tear_down(void **state)
{
	struct fixture *fix = *state;

	fb_store_close(fix->store);
	if (fb_io_remove_tree(fix->dir, &err) < 0)
		return -1;
	free(fix->dir);
	free(fix->url);
	free(fix);
	return 0;
}

struct fb_store *
suite_open_again(const struct fixture *fix)
{
	struct fb_store *store = NULL;

	if (strcmp(fix->url, "mem:") != 0)
		assert_ok(open_store(fix->url, &store));
	return store;
}

void
suite_put(struct fb_store *store, const char *key, const char *content)
{
	assert_ok(fb_store_create(store, key, text(content), &err));
}

void
suite_assert_object(
    struct fb_store *store, const char *key, const char *content)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_store_get(store, key, 1 << 20, &bytes, NULL, &err));
	assert_string_equal(fb_buf_str(&bytes), content);
}

char *
suite_file(void **state, const char *name, struct fb_span bytes)
{
	const struct fixture *fix = *state;
	char *path = fb_format("%s/%s", fix->dir, name);

	assert_ok(fb_io_replace(path, bytes, 0600, &err));
	return path;
}

void
suite_fill(uint8_t *bytes, size_t len, uint32_t seed)
{
	uint64_t x = seed + UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = (uint8_t)(x >> 32);
	}
}

static int
collect(const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	(void)visit_err;
	fb_buf_add_fmt(arg, "%s=%llu ", key, (unsigned long long)size);
	return FB_OK;
}

void
suite_assert_list(
    struct fb_store *store, const char *prefix, const char *expected)
{
	FB_AUTO_BUF struct fb_buf keys = { 0 };

	assert_ok(fb_store_list(store, prefix, collect, &keys, &err));
	assert_string_equal(fb_buf_str(&keys), expected);
}

static const struct kind {
	const char *name;
	CMFixtureFunction set_up;
} local_kinds[] = {
	{ "dir", set_up_dir },
	{ "mem", set_up_mem },
	{ 0 },
};

static const struct kind given_kind[] = {
	{ "given", set_up_given },
	{ 0 },
};

static const struct promise *const suites[] = {
	store_object_promises,
	store_size_promises,
	store_list_promises,
	store_race_promises,
};

static bool
is_named(const char *variable, const char *name)
{
	const char *words = getenv(variable);
	size_t len = strlen(name);

	while (words != NULL && (words = strstr(words, name)) != NULL) {
		words += len;
		if (*words == ' ' || *words == '\0')
			return true;
	}
	return false;
}

#define TESTS_MAX 200

int
main(void)
{
	static struct CMUnitTest tests[TESTS_MAX];
	static char names[TESTS_MAX][80];
	size_t n = 0;

	for (const struct kind *kind =
	         getenv("FB_STORE_URL") != NULL ? given_kind : local_kinds;
	     kind->name != NULL; kind++)
		for (size_t i = 0; i < FB_COUNT(suites); i++)
			for (const struct promise *p = suites[i];
			     p->name != NULL && n < TESTS_MAX; p++) {
				if (is_named("FB_STORE_WITHOUT", p->name) ||
				    (getenv("FB_STORE_ONLY") != NULL &&
				        !is_named("FB_STORE_ONLY", p->name)))
					continue;
				(void)snprintf(names[n], sizeof(names[n]),
				    "%s: %s", kind->name, p->name);
				tests[n] =
				    (struct CMUnitTest){ names[n], p->test,
					    kind->set_up, tear_down, NULL };
				n++;
			}
	return run_group("stores", tests, n, NULL, NULL);
}
