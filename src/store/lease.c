/*
 * Being a writer: the lease, its entry, and the thread that keeps them.
 */
#include "lease.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"

#define NS_PER_MS INT64_C(1000000)

#define ROOT     "fleetbak/"
#define TTL_MS   30000
#define RETRY_MS 300000
#define READY_MS 3000
#define WAIT_NS  (200 * NS_PER_MS)

struct lease {
	struct etcd *etcd;
	struct etcd *quick;  /* the same, for who does not wait */
	char *place, *space; /* space NULL: there is no repository yet */
	uint64_t ttl_ms, retry_ms;
	const atomic_bool *hurry;

	pthread_mutex_t lock;       /* all below, and becoming a writer */
	char id[LEASE_ID_SIZE];     /* of our entry */
	char granted[ETCD_ID_SIZE]; /* the lease; "": none */
	uint64_t revision;          /* of our entry; 0: we are none */
	int64_t kept_ns;            /* it holds for ttl_ms from then on */
	bool holds_init;
	struct fb_group *keeper;
	atomic_bool over;
};

struct lease *
lease_new(const struct fb_store_options *options, const char *place)
{
	struct lease *lease = fb_alloc(1, sizeof(*lease));
	struct etcd_options etcd = { .url = options->etcd,
		.ca = options->etcd_ca,
		.cert = options->etcd_cert,
		.key = options->etcd_key,
		.hurry = options->hurry };

	lease->retry_ms = options->retry_ms > 0 ? options->retry_ms : RETRY_MS;
	lease->ttl_ms =
	    options->lease_ttl_ms > 0 ? options->lease_ttl_ms : TTL_MS;
	lease->hurry = options->hurry;
	etcd.retry_ms = lease->retry_ms;
	lease->etcd = etcd_new(&etcd);
	etcd.retry_ms = READY_MS;
	lease->quick = etcd_new(&etcd);
	lease->place = fb_strdup(place);
	(void)pthread_mutex_init(&lease->lock, NULL);
	return lease;
}

static void
give_back(struct lease *lease)
{
	if (lease->granted[0] != '\0')
		etcd_revoke(lease->quick, lease->granted);
	lease->granted[0] = '\0';
	lease->revision = 0;
	lease->holds_init = false;
}

void
lease_free(struct lease *lease)
{
	struct fb_error ignored;

	if (lease == NULL)
		return;
	atomic_store(&lease->over, true);
	if (lease->keeper != NULL)
		(void)!fb_group_wait(lease->keeper, &ignored);
	give_back(lease);
	etcd_free(lease->etcd);
	etcd_free(lease->quick);
	free(lease->place);
	free(lease->space);
	(void)pthread_mutex_destroy(&lease->lock);
	free(lease);
}

struct etcd *
lease_etcd(struct lease *lease)
{
	return lease->etcd;
}

void
lease_set_space(struct lease *lease, const char *space)
{
	(void)pthread_mutex_lock(&lease->lock);
	if (lease->space == NULL || strcmp(lease->space, space) != 0) {
		give_back(lease);
		free(lease->space);
		lease->space = fb_strdup(space);
	}
	(void)pthread_mutex_unlock(&lease->lock);
}

char *
lease_key(const struct lease *lease, const char *kind, const char *key)
{
	return fb_format(ROOT "%s/%s/%s", lease->space, kind, key);
}

void
lease_stand_release(struct lease_stand *stand)
{
	free(stand->entry);
	*stand = (struct lease_stand){ .revision = 0 };
}

/* The clock says only whether it is worth asking: whether we still are a
 * writer, the service decides. */
static bool
is_fresh(const struct lease *lease)
{
	int64_t age = fb_clock_mono_ns() - lease->kept_ns;

	return lease->revision != 0 && age >= 0 &&
	    (uint64_t)age < lease->ttl_ms * 2 / 3 * NS_PER_MS;
}

/* Keeps the lease while the store is open. */
static int
keep(void *arg, struct fb_error *err)
{
	struct lease *lease = arg;
	int64_t step = (int64_t)(lease->ttl_ms / 3) * NS_PER_MS;
	int64_t next = fb_clock_mono_ns() + step;

	(void)err;
	while (!atomic_load(&lease->over)) {
		char granted[ETCD_ID_SIZE];
		struct fb_error why;
		bool alive = false;
		int64_t now = fb_clock_mono_ns();

		if (now < next) {
			fb_clock_wait(next);
			continue;
		}
		next = now + step;
		(void)pthread_mutex_lock(&lease->lock);
		memcpy(granted, lease->granted, sizeof(granted));
		(void)pthread_mutex_unlock(&lease->lock);
		if (granted[0] == '\0' ||
		    etcd_keep(lease->quick, granted, lease->ttl_ms / 3, &alive,
		        &why) < 0)
			continue; /* who wants to write asks again */
		(void)pthread_mutex_lock(&lease->lock);
		if (strcmp(granted, lease->granted) == 0) {
			lease->kept_ns = alive ? now : lease->kept_ns;
			lease->revision = alive ? lease->revision : 0;
		}
		(void)pthread_mutex_unlock(&lease->lock);
	}
	return FB_OK;
}

/* With the lock held: a lease of our own. */
static int
grant(struct lease *lease, struct etcd *etcd, struct fb_error *err)
{
	int64_t now = fb_clock_mono_ns();
	char granted[ETCD_ID_SIZE];
	int rc = etcd_grant(etcd, (lease->ttl_ms + 999) / 1000, granted, err);

	if (rc < 0)
		return rc;
	memcpy(lease->granted, granted, sizeof(granted));
	lease->kept_ns = now;
	if (lease->keeper == NULL) {
		lease->keeper = fb_group_new();
		fb_group_start(lease->keeper, keep, lease);
	}
	return FB_OK;
}

static int
fail_place(const struct lease *lease, const struct etcd_value *place,
    struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EREFUSED, "E-LEASE-PLACE",
	    "the lease service keeps the records of this repository at "
	    "'%.200s', and it is opened at '%s'",
	    fb_buf_str(&place->bytes), lease->place);
	return fb_hint(err,
	    "a copy that was made by other means than fleetbak copy must not "
	    "be written to");
}

/* With the lock held: our entry, and where the repository is, which the first
 * writer of all says. */
static int
register_writer(struct lease *lease, struct etcd *etcd, struct fb_error *err)
{
	AUTO_ETCD_OUTCOME struct etcd_outcome outcome = { .done = false };
	FB_AUTO_FREE char *place = fb_format(ROOT "%s/place", lease->space);
	FB_AUTO_FREE char *entry = NULL;
	char host[65] = "";
	FB_AUTO_FREE char *who = NULL;
	uint8_t raw[LEASE_ID_SIZE / 2];
	struct etcd_if ifs[2];
	struct etcd_write writes[2];
	struct etcd_txn txn = { .ifs = ifs,
		.if_count = 2,
		.writes = writes,
		.write_count = 2,
		.look_count = 2 };
	const char *looks[2];
	int rc;

	fb_random(raw, sizeof(raw));
	fb_text_hex(raw, sizeof(raw), lease->id);
	entry = lease_key(lease, "writer", lease->id);
	if (gethostname(host, sizeof(host) - 1) == -1)
		host[0] = '\0';
	who = fb_format("%s %d", host, (int)getpid());
	looks[0] = place;
	looks[1] = entry;
	txn.looks = looks;
	ifs[0] = (struct etcd_if){ entry, ETCD_CREATED, 0 };
	ifs[1] = (struct etcd_if){ place, ETCD_CREATED, 0 };
	writes[0] = (struct etcd_write){ .key = entry,
		.value = { (const uint8_t *)who, strlen(who) },
		.lease = lease->granted };
	writes[1] = (struct etcd_write){ .key = place,
		.value = {
		    (const uint8_t *)lease->place, strlen(lease->place) } };
	rc = etcd_txn(etcd, &txn, &outcome, err);
	if (rc == FB_OK && !outcome.done && outcome.looks[0].created != 0 &&
	    strcmp(fb_buf_str(&outcome.looks[0].bytes), lease->place) != 0)
		rc = fail_place(lease, &outcome.looks[0], err);
	if (rc == FB_OK && !outcome.done && outcome.looks[1].created == 0) {
		ifs[1].revision = outcome.looks[0].created;
		txn.write_count = 1;
		rc = etcd_txn(etcd, &txn, &outcome, err);
	}
	if (rc < 0)
		return rc;
	/* Its name is ours alone: what is there, a try of ours has written. */
	lease->revision =
	    outcome.done ? outcome.revision : outcome.looks[1].created;
	if (lease->revision == 0)
		return fb_fail_id(err, FB_EPROTO, "E-LEASE-ANSWER",
		    "the lease service refuses what it should not");
	return FB_OK;
}

static int
enter(struct lease *lease, struct etcd *etcd, struct lease_stand *ret_stand,
    struct fb_error *err)
{
	int rc = FB_OK;

	(void)pthread_mutex_lock(&lease->lock);
	if (lease->revision == 0) {
		rc = grant(lease, etcd, err);
		if (rc == FB_OK)
			rc = register_writer(lease, etcd, err);
	}
	if (rc == FB_OK) {
		lease_stand_release(ret_stand);
		memcpy(ret_stand->id, lease->id, sizeof(lease->id));
		ret_stand->entry = lease_key(lease, "writer", lease->id);
		ret_stand->revision = lease->revision;
	}
	(void)pthread_mutex_unlock(&lease->lock);
	return rc;
}

int
lease_enter(
    struct lease *lease, struct lease_stand *ret_stand, struct fb_error *err)
{
	return enter(lease, lease->etcd, ret_stand, err);
}

void
lease_lost(struct lease *lease, uint64_t revision)
{
	(void)pthread_mutex_lock(&lease->lock);
	if (lease->revision == revision)
		lease->revision = 0;
	(void)pthread_mutex_unlock(&lease->lock);
}

int
lease_ready(struct lease *lease, struct fb_error *err)
{
	AUTO_STAND struct lease_stand stand = { .revision = 0 };
	char granted[ETCD_ID_SIZE];
	uint64_t revision;
	bool fresh, alive = false;
	int64_t now = fb_clock_mono_ns();
	int rc;

	(void)pthread_mutex_lock(&lease->lock);
	fresh = is_fresh(lease);
	revision = lease->revision;
	memcpy(granted, lease->granted, sizeof(granted));
	(void)pthread_mutex_unlock(&lease->lock);
	if (fresh)
		return FB_OK;
	if (revision == 0)
		return enter(lease, lease->quick, &stand, err);
	rc = etcd_keep(lease->quick, granted, READY_MS, &alive, err);
	if (rc < 0)
		return rc;
	if (!alive) {
		lease_lost(lease, revision);
		return enter(lease, lease->quick, &stand, err);
	}
	(void)pthread_mutex_lock(&lease->lock);
	if (lease->revision == revision)
		lease->kept_ns = now;
	(void)pthread_mutex_unlock(&lease->lock);
	return FB_OK;
}

int
lease_wait(struct lease *lease, const char *whose, int64_t began_ns,
    struct fb_error *err)
{
	int64_t now = fb_clock_mono_ns();
	int64_t until = now + WAIT_NS;
	uint64_t limit_ms = lease->ttl_ms + lease->retry_ms;

	if ((uint64_t)(now - began_ns) / NS_PER_MS > limit_ms) {
		(void)fb_fail_id(err, FB_EBUSY, "E-LEASE-HELD",
		    "another writer (%.100s) has been at it for %llu s", whose,
		    (unsigned long long)limit_ms / 1000);
		return fb_hint(err, "look what keeps it, then run it again");
	}
	while (fb_clock_mono_ns() < until) {
		if (lease->hurry != NULL && atomic_load(lease->hurry))
			return fb_fail(err, FB_ECANCELED, "canceled");
		fb_clock_wait(until);
	}
	return FB_OK;
}

int
lease_hold_init(struct lease *lease, struct fb_error *err)
{
	FB_AUTO_FREE char *key = fb_format(
	    ROOT "init/%s", lease->place + strcspn(lease->place, "/") + 2);
	AUTO_ETCD_OUTCOME struct etcd_outcome outcome = { .done = false };
	int64_t began = fb_clock_mono_ns();
	const struct etcd_if free_key = { key, ETCD_CREATED, 0 };
	struct etcd_write mine = { .key = key };
	const char *const looks[] = { key };
	const struct etcd_txn txn = { .ifs = &free_key,
		.if_count = 1,
		.writes = &mine,
		.write_count = 1,
		.looks = looks,
		.look_count = 1 };
	int rc = FB_OK;

	(void)pthread_mutex_lock(&lease->lock);
	if (!lease->holds_init && lease->granted[0] == '\0')
		rc = grant(lease, lease->etcd, err);
	mine.lease = lease->granted;
	mine.value = (struct fb_span){ (const uint8_t *)lease->granted,
		strlen(lease->granted) };
	while (rc == FB_OK && !lease->holds_init) {
		rc = etcd_txn(lease->etcd, &txn, &outcome, err);
		lease->holds_init = rc == FB_OK &&
		    (outcome.done ||
		        strcmp(fb_buf_str(&outcome.looks[0].bytes),
		            lease->granted) == 0);
		if (rc == FB_OK && !lease->holds_init)
			rc = lease_wait(
			    lease, "it is making the repository", began, err);
	}
	(void)pthread_mutex_unlock(&lease->lock);
	return rc;
}
