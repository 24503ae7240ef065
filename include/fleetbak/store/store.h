/*
 * A store keeps objects under keys: a directory, or an S3 bucket.
 *
 * A key is 1 to FB_STORE_KEY_MAX characters of [A-Za-z0-9._/-], with no empty
 * part and none that begins with a '.' (those names are a store's own);
 * others are refused with FB_ECONFIG, E-STORE-KEY.  Objects are immutable, but
 * for those that callers replace by fb_store_replace().  What create returned
 * FB_OK for is durable.
 */
#ifndef FB_STORE_STORE_H
#define FB_STORE_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;
struct fb_store;

#define FB_STORE_KEY_MAX 255

/* Version of an object for replace-if-match; "" is "there is none". */
#define FB_STORE_TAG_SIZE 80

/* Called for each key; a negative return stops the listing. */
typedef int fb_store_visit(
    const char *key, uint64_t size, void *arg, struct fb_error *err);

/* Takes bytes of an object as they come, in order; it may wait.  A negative
 * return ends the read, which returns it. */
typedef int fb_store_take(
    void *arg, struct fb_span piece, struct fb_error *err);

enum fb_trait { FB_TRAIT_UNKNOWN, FB_TRAIT_NO, FB_TRAIT_YES };

/* How an object is kept from being deleted: so that who has the right may do
 * it all the same, or nobody. */
enum fb_lock_mode { FB_LOCK_NONE, FB_LOCK_GOVERNANCE, FB_LOCK_COMPLIANCE };

/* What the place of a store can do, tried out. */
struct fb_store_traits {
	enum fb_trait create_if;  /* of two that create, one is told so */
	enum fb_trait replace_if; /* nothing is overwritten that was not seen */
	enum fb_trait read_after_write;
	enum fb_trait list_after_write;
	enum fb_trait versioning; /* what is overwritten stays there */
	enum fb_trait object_lock;
	enum fb_lock_mode lock_mode; /* that the place gives each object ... */
	uint64_t lock_days;          /* ... for so long; 0: none */
	int64_t clock_ms;   /* its clock is ahead of ours by so much */
};

/* Objects that are to be removed. */
struct fb_store_removal {
	const char *const *keys;
	size_t count;
	bool *gone; /* of each: it was removed, or there was none */
	/* Asked right before each request that removes, also when it is sent
	 * again: a negative return ends it.  NULL: nobody is asked. */
	int (*check)(void *arg, struct fb_error *err);
	void *arg;
};

/*
 * What a store implements.  Callers use the fb_store_*() functions below,
 * which check keys and results, pass the seam, and wrap errors with verb and
 * key; only store.c calls through this table.
 *
 * Every operation except `close` may be called from several threads at once.
 * All return FB_OK or a negative fb_code.
 */
struct fb_store_ops {
	const char *scheme; /* "file", "s3", "mem" */
	unsigned parallel;  /* useful concurrent calls, at least 1 */

	/* Store `bytes` under a new key, atomically and durably.  FB_EEXISTS
	 * when the key is taken, whatever it holds; nothing is changed. */
	int (*create)(struct fb_store *, const char *key, struct fb_span bytes,
	    struct fb_error *);

	/* The same from a file that is `size` bytes long and synced; the store
	 * may link it or copy it; the caller removes it afterwards and must
	 * not write to it again.  A large one may go in parts, and a second
	 * call goes on with those that are there; of two that create such a
	 * one at once, some servers tell both that they did.  A key whose last part is 64 hex digits, up
	 * to a dot, says the SHA-256 of the bytes: FB_ECORRUPT when a store
	 * that looks finds another. */
	int (*create_file)(struct fb_store *, const char *key, const char *path,
	    uint64_t size, struct fb_error *);

	/* Replace the object if its tag still is `tag` ("": there is none);
	 * FB_ECONFLICT when not; FB_EUNKNOWN when it was replaced by us, or by
	 * nobody, and by somebody else since: only a lost answer does that. */
	int (*replace)(struct fb_store *, const char *key, struct fb_span bytes,
	    const char *tag, struct fb_error *);

	/* Append the object to `dst`; FB_ENOTFOUND when there is none;
	 * FB_ECORRUPT when it is larger than `max`.  `tag` may be NULL. */
	int (*get)(struct fb_store *, const char *key, size_t max,
	    struct fb_buf *dst, char tag[FB_STORE_TAG_SIZE], struct fb_error *);

	/* Read exactly `len` bytes at `offset`; FB_ECORRUPT when the object
	 * is too short. */
	int (*get_range)(struct fb_store *, const char *key, uint64_t offset,
	    void *bytes, size_t len, struct fb_error *);

	/* Read exactly `len` bytes at `offset`, of any number, in one request:
	 * what came before a failure that passes is not asked for again.
	 * NULL: get_range does as well, in steps. */
	int (*read)(struct fb_store *, const char *key, uint64_t offset,
	    uint64_t len, fb_store_take *, void *arg, struct fb_error *);

	/* Size of the object; FB_ENOTFOUND when there is none. */
	int (*head)(struct fb_store *, const char *key, uint64_t *ret_size,
	    struct fb_error *);

	/* Visit every key that starts with `prefix`, sorted bytewise. */
	int (*list)(struct fb_store *, const char *prefix, fb_store_visit *,
	    void *arg, struct fb_error *);

	/* Remove the object; FB_OK also when there was none.  A version of it
	 * that may not go is there no more for those who get or list.  One
	 * that asks a server asks `of` first, each time: see there; NULL: it
	 * asks nobody. */
	int (*remove)(struct fb_store *, const char *key,
	    const struct fb_store_removal *of, struct fb_error *);

	/* How many objects one request removes; NULL: one.  Where it is more
	 * than one, `remove_many` removes so many at most, with one request,
	 * before which it asks as the removal says:
	 * those that it can, in any order, which it notes.  The others are
	 * removed one by one afterwards, and tell what is the matter. */
	size_t (*bulk)(struct fb_store *);
	int (*remove_many)(struct fb_store *, const struct fb_store_removal *,
	    struct fb_error *);

	/* Bytes that can still be stored; UINT64_MAX: no limit known. */
	int (*space)(struct fb_store *, uint64_t *ret_bytes, struct fb_error *);

	/* Try out what the place can do, with objects that no list shows; a
	 * NULL function: it can do all of it. */
	int (*probe)(
	    struct fb_store *, struct fb_store_traits *, struct fb_error *);

	/* See fb_store_set_lease() and fb_store_ready(); NULL: it has
	 * conditions, and is always ready. */
	void (*lease)(struct fb_store *, const char *space);
	int (*ready)(struct fb_store *, struct fb_error *);

	/* Give up what was begun before that (wall clock, ns since 1970) and
	 * never became an object, which no list shows; *ret_count starts at
	 * 0.  NULL: there is no such thing. */
	int (*abandon)(struct fb_store *, int64_t before_ns,
	    uint64_t *ret_count, struct fb_error *);

	/* Free everything.  Called once, with no other call in progress. */
	void (*close)(struct fb_store *);

	/* Locks and versions; NULL: the place knows neither.  versions.h */
	const struct fb_store_past_ops *past;
};

/* Requests as object storage counts them: lists come in pages of 1,000 keys,
 * a look at an object (HEAD) is one of `gets`. */
struct fb_store_usage {
	uint64_t lists, gets, puts, removes;
	uint64_t read_bytes, written_bytes;
};

/* First member of every store. */
struct fb_store {
	const struct fb_store_ops *ops;
	char *url; /* as given, for messages */
	atomic_bool one_writer; /* see fb_store_one_writer() */
	_Atomic uint64_t used[6]; /* as in fb_store_usage */
	bool has_lease;         /* a lease service is configured */
};

/* Does a bucket's name stand in the path of a request, or in its host? */
enum fb_path_style { FB_PATH_STYLE_AUTO, FB_PATH_STYLE_ON, FB_PATH_STYLE_OFF };

/*
 * How a store is reached, and with whose rights: the keys of a repository in
 * fleetbak.conf(5).  All-zero is every default; what a kind of store does not
 * know it does not look at.  All of it is borrowed for the call.
 */
struct fb_store_options {
	const char *endpoint;    /* "https://host[:port]"; NULL: AWS's own */
	const char *region;      /* NULL: us-east-1 */
	enum fb_path_style path_style;
	const char *credentials; /* "env", "profile:NAME", "file:PATH",
	                          * "cmd:ARGV", "cred:NAME", "imds", "auto";
	                          * NULL: auto */
	const char *ca;       /* PEM file of the only trusted authorities */
	const char *proxy;    /* "http://host:port"; NULL: as the environment
	                       * says, "": none */
	const char *base_dir; /* where relative paths begin; NULL: here */
	uint64_t retry_ms;    /* how long a failure that may pass is tried
	                       * again; 0: 5 min */
	enum fb_lock_mode lock_mode; /* of what is put there ... */
	uint64_t lock_ms;            /* ... for so long, and an eighth more */
	/* A lease service, for a place that knows no conditions: */
	const char *etcd; /* "https://host:port" of etcd's JSON gateway; NULL:
	                   * there is none */
	const char *etcd_ca, *etcd_cert, *etcd_key; /* PEM files; NULL: none */
	uint64_t lease_ttl_ms;    /* how long a writer counts that says
	                           * nothing; 0: 30 s */
	const atomic_bool *hurry; /* set: a few seconds more at most; lives as
	                           * long as the store; NULL: never */
};

/*
 * Open the store a URL names ("file:/abs/path", "s3://bucket/prefix",
 * "mem:").  It need not exist yet with `make` (which makes the directory);
 * without, FB_ENOREPO.  `options` may be NULL.
 * Errors: FB_ECONFIG for an unknown scheme; FB_EUNREACH, FB_EDENIED.
 */
FB_MUST_USE int fb_store_open(const char *url, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err);
/* Is it far away, so that requests are what counts, their number and that
 * several are under way?  Else a call is as cheap as its bytes. */
bool fb_store_is_far(const struct fb_store *store);
void fb_store_close(struct fb_store *store);
void fb_store_closep(struct fb_store **store);
#define FB_AUTO_STORE FB_CLEANUP(fb_store_closep)

FB_MUST_USE int fb_store_create(struct fb_store *store, const char *key,
    struct fb_span bytes, struct fb_error *err);
FB_MUST_USE int fb_store_create_file(struct fb_store *store, const char *key,
    const char *path, uint64_t size, struct fb_error *err);
/* At most 64 KiB: where a lease service decides, it holds them too. */
FB_MUST_USE int fb_store_replace(struct fb_store *store, const char *key,
    struct fb_span bytes, const char *tag, struct fb_error *err);
FB_MUST_USE int fb_store_get(struct fb_store *store, const char *key,
    size_t max, struct fb_buf *dst, char tag[FB_STORE_TAG_SIZE],
    struct fb_error *err);
/* Append an object that is text, which holds no NUL: the first one is
 * FB_ECORRUPT, so that a large file of holes is not brought into memory. */
FB_MUST_USE int fb_store_get_text(struct fb_store *store, const char *key,
    size_t max, struct fb_buf *dst, struct fb_error *err);
FB_MUST_USE int fb_store_get_range(struct fb_store *store, const char *key,
    uint64_t offset, void *bytes, size_t len, struct fb_error *err);
FB_MUST_USE int fb_store_read(struct fb_store *store, const char *key,
    uint64_t offset, uint64_t len, fb_store_take *take, void *arg,
    struct fb_error *err);
FB_MUST_USE int fb_store_head(struct fb_store *store, const char *key,
    uint64_t *ret_size, struct fb_error *err);
FB_MUST_USE int fb_store_list(struct fb_store *store, const char *prefix,
    fb_store_visit *visit, void *arg, struct fb_error *err);
FB_MUST_USE int fb_store_remove(
    struct fb_store *store, const char *key, struct fb_error *err);
/*
 * Remove many, in few requests where the place knows how; in no order that
 * could be relied on.  It ends at the first that cannot be removed, which is
 * the error; `gone` says what went before, whatever is returned.
 */
FB_MUST_USE int fb_store_remove_many(struct fb_store *store,
    const struct fb_store_removal *removal, struct fb_error *err);
/* How many one request removes: 1, or more. */
size_t fb_store_bulk(struct fb_store *store);
FB_MUST_USE int fb_store_space(
    struct fb_store *store, uint64_t *ret_bytes, struct fb_error *err);

/*
 * Uploads in parts that were begun before this time and never ended: they
 * cost, and whoever still is about them begins again.  What the keys may not
 * do, or the server cannot, is left: *ret_count is 0 then.
 */
FB_MUST_USE int fb_store_abandon(struct fb_store *store, int64_t before_ns,
    uint64_t *ret_count, struct fb_error *err);

/*
 * Try out what the store's place can do, as `init` does.
 * Errors: FB_EUNSUP, id E-STORE-PROBE: it breaks a promise of this header, so
 *         that no repository can be kept there.
 */
FB_MUST_USE int fb_store_probe(struct fb_store *store,
    struct fb_store_traits *ret_traits, struct fb_error *err);

/* What was asked of the store since it was opened, without what was asked
 * again.  Any thread. */
void fb_store_get_usage(
    const struct fb_store *store, struct fb_store_usage *ret_usage);

/*
 * Does the place know no conditions?  Then a create looks first and writes
 * afterwards, and only one host may write at a time.  fb_store_probe() finds it
 * out and sets it; a repository remembers it.  A store is never taken for such
 * a one because of a single answer.  Both may be called from any thread.
 */
bool fb_store_one_writer(const struct fb_store *store);
void fb_store_set_one_writer(struct fb_store *store, bool one);

/*
 * Let a lease service decide what conditions would, under a name that is the
 * repository's own: then as many may write as like.  Where none is configured
 * (fb_store_has_lease()) nothing can be written: FB_ECONFIG, id E-LEASE-NONE.
 * NULL: nobody decides.  To be called before the store is used by others.
 */
void fb_store_set_lease(struct fb_store *store, const char *space);
bool fb_store_has_lease(const struct fb_store *store);

/*
 * Is there all that a write needs?  To be asked before something is begun that
 * waits for one.  FB_OK where that is the store alone; FB_EUNREACH, id
 * E-LEASE-AWAY, within seconds, and FB_ECONFIG, id E-LEASE-NONE.
 */
FB_MUST_USE int fb_store_ready(struct fb_store *store, struct fb_error *err);

#endif
