/*
 * A writer's standing with the lease service, for stores whose place knows no
 * conditional writes.
 *
 *	fleetbak/<space>/place           where the repository is
 *	fleetbak/<space>/writer/<id>     a writer that lives, under a lease
 *	fleetbak/<space>/intent/<key>    what is being put under a key
 *	fleetbak/<space>/value/<key>     what stands under a key that is
 *replaced fleetbak/init/<place>            who makes a repository, under a
 *lease
 *
 * A writer has an entry of its own, which its lease keeps; the revision of the
 * entry is his token: every decision is a transaction on the condition that
 * the entry still is that one.  Who was asleep for longer than his lease
 * decides nothing on what he saw before.
 */
#ifndef FB_SRC_STORE_LEASE_H
#define FB_SRC_STORE_LEASE_H

#include "etcd.h"
#include "fleetbak/store/store.h"

struct lease;

#define LEASE_ID_SIZE 33 /* of a writer: hex */

/* `place` names the repository ("s3://bucket/prefix").  Asks nobody. */
struct lease *lease_new(
    const struct fb_store_options *options, const char *place);
void lease_free(struct lease *lease);

struct etcd *lease_etcd(struct lease *lease);

/* From here on keys are those of this repository; what was held to make one is
 * given back. */
void lease_set_space(struct lease *lease, const char *space);
/* "fleetbak/<space>/<kind>/<key>"; the caller frees. */
char *lease_key(const struct lease *lease, const char *kind, const char *key);

/* We as a writer: the entry, and the revision it must have. */
struct lease_stand {
	char id[LEASE_ID_SIZE];
	char *entry; /* key */
	uint64_t revision;
};
void lease_stand_release(struct lease_stand *stand);
#define AUTO_STAND FB_CLEANUP(lease_stand_release)

/*
 * Become a writer, or stay one.
 * Errors: those of etcd.h; FB_EREFUSED, id E-LEASE-PLACE.  Threads: any.
 */
FB_MUST_USE int lease_enter(
    struct lease *lease, struct lease_stand *ret_stand, struct fb_error *err);
/* The service has said that this entry is no more. */
void lease_lost(struct lease *lease, uint64_t revision);
/* Is the service there, and are we a writer?  In seconds, not minutes. */
FB_MUST_USE int lease_ready(struct lease *lease, struct fb_error *err);

/* Before there is a repository: be the only one who makes it. */
FB_MUST_USE int lease_hold_init(struct lease *lease, struct fb_error *err);

/* Is it over with what another one holds?  Wait a little; FB_EBUSY, id
 * E-LEASE-HELD, when it has been for too long. */
FB_MUST_USE int lease_wait(struct lease *lease, const char *whose,
    int64_t began_ns, struct fb_error *err);

#endif
