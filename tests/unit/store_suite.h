/*
 * What every store promises, tried on every store: the promises are in
 * store_*.c, the stores in test_store.c.
 *
 * An assertion leaves its test, so it is for the test's own thread; the others
 * return what failed.
 */
#ifndef UNIT_STORE_SUITE_H
#define UNIT_STORE_SUITE_H

#include "test.h"

#include "fleetbak/base/buf.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/store/store.h"

/* A store of the test's own, empty at its beginning. */
struct fixture {
	struct fb_store *store;
	char *url;
	char *dir; /* for spool files, and for what the store keeps */
};

struct promise {
	const char *name;
	CMUnitTestFunction test;
};

#define PROMISE(test)       \
	{                   \
#test, test \
	}

/* Each ends with an all-zero one. */
extern const struct promise store_object_promises[];
extern const struct promise store_size_promises[];
extern const struct promise store_list_promises[];
extern const struct promise store_race_promises[];

/* Another handle of the same store; NULL when it dies with its handle. */
struct fb_store *suite_open_again(const struct fixture *fix);

static inline struct fb_store *
store_of(void **state)
{
	return ((struct fixture *)*state)->store;
}

static inline struct fb_span
text(const char *string)
{
	return (struct fb_span){ (const uint8_t *)string, strlen(string) };
}

void suite_put(struct fb_store *store, const char *key, const char *content);
void suite_assert_object(
    struct fb_store *store, const char *key, const char *content);

/* A file beside the store; its path is the caller's. */
char *suite_file(void **state, const char *name, struct fb_span bytes);

/* `len` bytes that do not repeat and compress badly; the same for a seed. */
void suite_fill(uint8_t *bytes, size_t len, uint32_t seed);

/* Keys and sizes as "key=size " each, in the order they came. */
void suite_assert_list(
    struct fb_store *store, const char *prefix, const char *expected);

#endif
