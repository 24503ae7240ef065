/*
 * etcd, through its JSON gateway: what a lease service is to this layer.
 *
 * Keys are texts, values bytes.  Every call is tried again while its failure
 * may pass, for as long as the budget lasts; what a lost answer may have done
 * is told (`doubt`), and judged by who knows what he wrote.
 * Threads: any.
 */
#ifndef FB_SRC_STORE_ETCD_H
#define FB_SRC_STORE_ETCD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;
struct etcd;

struct etcd_options {
	const char *url;             /* "http://host:port" */
	const char *ca, *cert, *key; /* PEM files, or NULL */
	uint64_t retry_ms;
	const atomic_bool *hurry; /* set: not much longer; may be NULL */
};

/* Copies all but `hurry`, which has to live as long. */
struct etcd *etcd_new(const struct etcd_options *options);
void etcd_free(struct etcd *etcd);
const char *etcd_url(const struct etcd *etcd);

/* A lease; `id` is decimal.
 * Errors of all calls: FB_EUNREACH, id E-LEASE-AWAY: no answer within the
 * budget; FB_EDENIED, FB_ENOSPACE or FB_EPROTO, id E-LEASE-ANSWER. */
#define ETCD_ID_SIZE 24
FB_MUST_USE int etcd_grant(struct etcd *etcd, uint64_t ttl_s,
    char id[ETCD_ID_SIZE], struct fb_error *err);
/* Keep it for its time to live from now on; false: it has ended.  Does not
 * try for longer than `budget_ms`. */
FB_MUST_USE int etcd_keep(struct etcd *etcd, const char *id, uint64_t budget_ms,
    bool *ret_alive, struct fb_error *err);
/* Give it up, and all that was written under it; one try. */
void etcd_revoke(struct etcd *etcd, const char *id);

/* What stands under a key. */
struct etcd_value {
	uint64_t created, modified; /* revisions; 0: there is nothing */
	struct fb_buf bytes;
};
void etcd_value_release(struct etcd_value *value);
#define AUTO_ETCD_VALUE FB_CLEANUP(etcd_value_release)
FB_MUST_USE int etcd_get(struct etcd *etcd, const char *key,
    struct etcd_value *ret_value, struct fb_error *err);

/*
 * One transaction: if all of `ifs` hold then `writes`, else `looks`.
 *
 * *ret_revision is the store's then: the one that what was written has.
 * *ret_doubt: an earlier try may have been carried out.
 */
enum etcd_field { ETCD_CREATED, ETCD_MODIFIED };
struct etcd_if {
	const char *key;
	enum etcd_field field;
	uint64_t revision; /* 0: there is no such key */
};
struct etcd_write {
	const char *key;
	struct fb_span value;
	const char *lease; /* NULL: for ever */
	bool remove;
};
#define ETCD_LOOKS_MAX 3
struct etcd_txn {
	const struct etcd_if *ifs;
	size_t if_count;
	const struct etcd_write *writes;
	size_t write_count;
	const char *const *looks;
	size_t look_count;
};
struct etcd_outcome {
	bool done, doubt;
	uint64_t revision;
	struct etcd_value looks[ETCD_LOOKS_MAX];
};
void etcd_outcome_release(struct etcd_outcome *outcome);
#define AUTO_ETCD_OUTCOME FB_CLEANUP(etcd_outcome_release)
FB_MUST_USE int etcd_txn(struct etcd *etcd, const struct etcd_txn *txn,
    struct etcd_outcome *ret_outcome, struct fb_error *err);

#endif
