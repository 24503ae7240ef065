/*
 * The store in a bucket: what asking (s3_ask.c), judging answers (s3_error.c)
 * and the verbs (store_s3*.c) share.
 */
#ifndef FB_SRC_STORE_S3_H
#define FB_SRC_STORE_S3_H

#include <pthread.h>
#include <stdatomic.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/http.h"
#include "s3_cred.h"
#include "fleetbak/store/versions.h"
#include "s3_sign.h"
#include "stores.h"

#define S3_CODE_SIZE   64
#define S3_REGION_SIZE 64

/* Useful requests at once; fewer while the server says SlowDown. */
#define S3_PARALLEL 16

/* The header by which a create that is told "taken" knows its own. */
#define S3_NONCE_HEADER "x-amz-meta-fleetbak-put"
#define S3_NONCE_SIZE   33

struct lease;

struct s3_store {
	struct fb_store base;
	struct lease *lease; /* NULL: no lease service is configured */
	bool leased;         /* ... and it decides; without one nothing may be
	                      * written */
	struct fb_http *http;
	struct s3_cred *cred;
	char *server; /* "http://host:port", with the bucket or without */
	char *host;   /* of it, with its port: the Host header */
	char *bucket, *region;
	char *root;   /* of each path: "/bucket/" or "/" */
	char *prefix; /* of each key: "" or "a/b/" */
	uint64_t retry_ns;         /* how long failures are tried again */
	const atomic_bool *hurry;  /* set: not much longer; may be NULL */

	enum fb_lock_mode lock_mode; /* of what is put ... */
	uint64_t lock_ns;            /* ... for so long */
	atomic_bool checksums;       /* the server wants one with each put */
	atomic_bool no_bulk;         /* it cannot remove many at once */
	atomic_int locks, versions;  /* enum fb_trait of the bucket, once it is
	                              * asked for */

	pthread_mutex_t lock; /* all below: how many requests at once */
	pthread_cond_t room;
	double limit;
	unsigned under_way;
	int64_t slowed_ns;
};

/* One request.  All is borrowed. */
struct s3_ask {
	const char *method;
	const char *key; /* NULL: the bucket itself */
	const struct s3_pair *query;
	size_t query_count;
	const struct s3_pair *headers; /* but for host and x-amz-*, of ours */
	size_t header_count;
	struct fb_span body;
	const char *body_path; /* NULL: `body` */
	int body_fd;
	uint64_t body_offset, body_size;
	const char *payload; /* SHA-256 of the body; NULL: of `body` */
	bool straight;       /* as in struct fb_http_request */
	size_t body_max;     /* of a good answer; 0: 1 MiB */
	fb_http_sink *sink;
	void (*again)(void *sink_arg); /* before each try: what the sink took was
	                                * for nothing, or is not wanted twice */
	void *sink_arg;

	/* Asked right before it is sent, each time; a negative return ends it;
	 * may be NULL. */
	int (*check)(void *check_arg, struct fb_error *err);
	void *check_arg;
	bool once; /* libcurl must not send it again by itself; nor with a
	            * check */

	/* For an answer that is taken slowly; both may be NULL. */
	const uint64_t *moved; /* grows while bytes come: the budget is for the
	                        * time in which hardly any do */
	const bool *apart; /* it is not one of those under way any more, see
	                    * s3_set_apart() */
};

struct s3_answer {
	struct fb_http_response http;
	char code[S3_CODE_SIZE];     /* of S3's error, or "" */
	char region[S3_REGION_SIZE]; /* that it names, or "" */
	char text[256];              /* of it, for people */
	bool doubt; /* an earlier try may have had its effect all the same */
	bool stopped; /* by the ask's check, whose error it is */
};
void s3_answer_release(struct s3_answer *answer);
#define AUTO_ANSWER FB_CLEANUP(s3_answer_release)

/*
 * Ask until there is an answer: tries again, with pauses, what may be tried
 * again, for as long as the budget lasts.  FB_OK for 2xx and for what only the
 * verb can judge: 304, 404 (but for a missing bucket), 412, 416, and 409s
 * that stay.  Everything else is an error with its id.
 */
FB_MUST_USE int s3_ask(struct s3_store *s3, const struct s3_ask *ask,
    struct s3_answer *answer, struct fb_error *err);

/* A sink may wait for others, who may wait for an answer in turn: its request
 * does not count any more among those that are under way. */
void s3_set_apart(struct s3_store *s3);

/* What is to become of an answer, or of none. */
enum s3_verdict {
	S3_DONE,  /* the verb judges it */
	S3_AGAIN, /* try again later */
	S3_SLOW,  /* try again later, and fewer at once */
	S3_KEYS,  /* with other keys, if there are any */
	S3_FAIL,
};
enum s3_verdict s3_judge(struct s3_answer *answer);
/* Raise the error that an answer is. */
int s3_fail(const struct s3_store *s3, const struct s3_answer *answer,
    struct fb_error *err);
/* The same; FB_ECORRUPT, id E-S3-UNREADABLE: of that one object. */
int s3_fail_asked(const struct s3_store *s3, const struct s3_ask *ask,
    const struct s3_answer *answer, struct fb_error *err);

/* SHA-256 in hex, of bytes and of `size` bytes of a file at `offset`. */
void s3_payload(struct fb_span bytes, char hex[FB_DIGEST_HEX_SIZE]);
FB_MUST_USE int s3_payload_file(int fd, const char *path, uint64_t offset,
    uint64_t size, char hex[FB_DIGEST_HEX_SIZE], struct fb_error *err);

extern const struct fb_store_ops fb_s3_ops;

/* Of the verbs, used by more than one file. */
int s3_abandon(struct fb_store *store, int64_t before_ns, uint64_t *ret_count,
    struct fb_error *err);
/* A large file, as s3_create_file(); `hex` is the digest of all of it. */
int s3_create_in_parts(struct s3_store *s3, const char *key, const char *path,
    int fd, uint64_t size, const char *hex, struct fb_error *err);
/* So large that it goes in parts? */
bool s3_in_parts(uint64_t size);
int s3_list_keys(struct fb_store *store, const char *prefix,
    fb_store_visit *visit, void *arg, struct fb_error *err);
/* What one page of a listing, its XML, says of keys below `prefix`. */
FB_MUST_USE int s3_list_page(struct fb_span xml, const char *prefix,
    fb_store_visit *visit, void *arg, struct fb_error *err);
int s3_read(struct fb_store *store, const char *key, uint64_t offset,
    uint64_t len, fb_store_take *take, void *arg, struct fb_error *err);
int s3_create_file(struct fb_store *store, const char *key, const char *path,
    uint64_t size, struct fb_error *err);
int s3_remove(struct fb_store *store, const char *key,
    const struct fb_store_removal *of, struct fb_error *err);
/* s3_bulk.c: see struct fb_store_ops. */
size_t s3_bulk(struct fb_store *store);
int s3_remove_many(struct fb_store *store,
    const struct fb_store_removal *removal, struct fb_error *err);

/* s3_lock.c: what a request says of locks, beside what it is about.  Borrows
 * from itself: it stays where it is until the request is sent. */
struct s3_guard {
	char until[FB_TIME_SIZE];
	char checksum[FB_DIGEST_BASE64_SIZE];
	struct s3_pair headers[3];
	size_t count;
};
void s3_guard(const struct s3_store *s3, const struct s3_ask *ask,
    const char *payload, struct s3_guard *guard);
/* The server refuses a put without a checksum: from now on each has one.
 * False: that is not what it says, or it was sent. */
bool s3_wants_checksums(
    struct s3_store *s3, const struct s3_ask *ask,
    const struct s3_answer *answer);
/* "2026-11-28T10:00:00Z", with parts of a second or without; the end of time
 * for what is after it.  False: something else. */
bool s3_time(const char *text, int64_t *ret_ns);
/* Until when an answer says that its object is locked; 0: it is not any more,
 * or never was. */
FB_MUST_USE int s3_read_lock(
    const struct s3_answer *answer, int64_t *ret_until_ns, struct fb_error *err);
/* Read a setting of the bucket: "versioning", "object-lock". */
void s3_ask_setting(struct s3_store *s3, const char *name,
    struct fb_store_traits *traits);
bool s3_keeps_versions(struct s3_store *s3);

/* s3_versions.c: a page of the versions of a bucket. */
struct s3_version {
	char *key; /* without the store's prefix; NULL: no object of ours */
	char *id;
	uint64_t size;
	int64_t time_ns;
	bool latest, removed;
};
struct s3_versions {
	const char *prefix; /* of the store */
	struct s3_version *items;
	size_t count;
	struct s3_version next; /* being read */
	bool more, good;
	char *key_marker, *id_marker; /* where the next page begins; or NULL */
};
void s3_versions_release(struct s3_versions *page);
FB_MUST_USE int s3_versions_read(
    struct fb_span xml, struct s3_versions *page, struct fb_error *err);

extern const struct fb_store_past_ops fb_s3_past;
bool s3_locks(struct fb_store *store);
int s3_locked(struct fb_store *store, const char *key, uint64_t *ret_size,
    int64_t *ret_until_ns, struct fb_error *err);
int s3_extend(struct fb_store *store, const char *key, int64_t until_ns,
    struct fb_error *err);

/* s3_list.c: percent-decode what encoding-type=url has encoded; NULL: no such
 * text.  The caller frees. */
char *s3_decoded(const char *text);

/* Try out what the bucket can do. */
int s3_probe(struct fb_store *store, struct fb_store_traits *ret_traits,
    struct fb_error *err);
/* s3_lease.c: a create, a replace, and a get of what is replaced, where the
 * lease service decides.  *ret_there: it knows the object.  What is removed it
 * forgets, before the object goes. */
FB_MUST_USE int s3_lease_create(
    struct s3_store *s3, struct s3_ask *ask, struct fb_error *err);
FB_MUST_USE int s3_lease_replace(struct s3_store *s3, const char *key,
    struct fb_span bytes, const char *tag, struct fb_error *err);
FB_MUST_USE int s3_lease_remove(
    struct s3_store *s3, const char *key, struct fb_error *err);
FB_MUST_USE int s3_lease_get(struct s3_store *s3, const char *key, size_t max,
    struct fb_buf *dst, char tag[FB_STORE_TAG_SIZE], bool *ret_there,
    struct fb_error *err);

void s3_make_nonce(char nonce[S3_NONCE_SIZE]);
/* The tag of an object; "": there is none. */
FB_MUST_USE int s3_tag_of(struct s3_store *s3, const char *key,
    char tag[FB_STORE_TAG_SIZE], struct fb_error *err);
/* After "taken": is what is there what a try of ours has put? */
FB_MUST_USE int s3_is_ours(struct s3_store *s3, const char *key,
    const char *nonce, uint64_t size, bool *ret_ours, struct fb_error *err);

#endif
