/*
 * What every part of the engine works with: the configuration, what it
 * names, and whoever watches.  A thin command line stands on these headers;
 * a test or another program can drive a whole backup through them.
 */
#ifndef FB_ENGINE_ENGINE_H
#define FB_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "fleetbak/base/observer.h"
#include "fleetbak/driver/driver.h"
#include "fleetbak/fleet/topology.h"
#include "fleetbak/repo/repo.h"

struct fb_engine {
	const struct fb_config *config;
	struct fb_observer observer;
	atomic_bool *cancel;     /* set by a signal: start nothing new */
	const char *repository;  /* name chosen by -r, NULL: the first */
	uint64_t lock_wait_ms;
	bool assume_yes;         /* --yes */
	const char *const *guardian_argv; /* what fb_guardian_start() executes
	                          * when we die; NULL: no guardian */
};

/* Result of one machine in a run, for reports. */
enum fb_result { FB_RESULT_OK, FB_RESULT_FAILED, FB_RESULT_SKIPPED };

/*
 * Open every source and ask it, in parallel; a source that cannot be asked
 * goes to fleet->failures.  `drivers` has one entry per configured source
 * (NULL where opening failed).
 */
struct fb_drivers {
	struct fb_driver **items;
	size_t count;
};
FB_MUST_USE int fb_engine_discover(const struct fb_engine *engine,
    struct fb_drivers *ret_drivers, struct fb_fleet *ret_fleet,
    struct fb_error *err);
/* The same for the sources whose `wanted` is set (one per configured source;
 * NULL: all); the others are left out of the fleet. */
FB_MUST_USE int fb_engine_discover_only(const struct fb_engine *engine,
    const bool *wanted, struct fb_drivers *ret_drivers,
    struct fb_fleet *ret_fleet, struct fb_error *err);
/* The driver of a machine's source, or NULL. */
struct fb_driver *fb_engine_driver(const struct fb_engine *engine,
    const struct fb_drivers *drivers, const char *source);
void fb_drivers_close(struct fb_drivers *drivers);

/* Open the chosen repository with the trusted signers. */
FB_MUST_USE int fb_engine_repo(const struct fb_engine *engine,
    struct fb_repo **ret_repo, struct fb_error *err);
/* The same for who was told to go on (restore --allow-untrusted): why the
 * repository is not trusted stands in *ret_doubt, code 0: it is. */
FB_MUST_USE int fb_engine_repo_doubting(const struct fb_engine *engine,
    struct fb_error *ret_doubt, struct fb_repo **ret_repo,
    struct fb_error *err);
const struct fb_config_repository *fb_engine_repo_config(
    const struct fb_engine *engine);
/* Read the signing key of the chosen repository.  FB_EKEY. */
FB_MUST_USE int fb_engine_sign_key(const struct fb_engine *engine,
    struct fb_sign_key **ret_key, struct fb_error *err);

/*
 * Of an encrypted repository, before it is written to: bring the recipients
 * and this host's domain key, which is made where there is none.  Refuses a
 * repository that is not encrypted though the configuration has recipients.
 * Errors: FB_EKEY, FB_EREFUSED (E-NOT-ENCRYPTED).
 */
FB_MUST_USE int fb_engine_encrypt(
    const struct fb_engine *engine, struct fb_repo *repo, struct fb_error *err);

/* The configured recipients, in their order; none is an empty set.
 * Owner: the caller's.  Errors: FB_EKEY. */
struct fb_recipients;
FB_MUST_USE int fb_engine_recipients(const struct fb_engine *engine,
    struct fb_recipients **ret_recipients, struct fb_error *err);

/*
 * `init`: the repository and, where they do not exist yet, the signing key
 * and its public half at the first trusted signer; and for an encrypted one
 * the private key at decrypt_with and its certificate at the first of
 * encrypt_to.
 */
struct fb_init_report {
	bool made_repository, made_key, made_public;
	bool encrypted, made_recovery; /* the pair that opens it */
	char repository[33];
	char key_id[FB_KEY_ID_SIZE];
	struct fb_store_traits traits; /* of the place, tried out */
	bool one_writer; /* it knows no conditions: fb_store_one_writer() */
	bool leased;     /* ... and a lease service decides in their stead */
};
FB_MUST_USE int fb_engine_init(const struct fb_engine *engine,
    struct fb_init_report *ret_report, struct fb_error *err);

/*
 * Paths in the state directory.  The caller frees.
 *
 *	lock                      held by download, restore, recover
 *	children.lock             held by every child that has an effect
 *	runs/<run>/               journal, spool of a download in progress
 *	restores/<id>/            journal of a restore in progress
 *	index/<repository>/       which chunks its packs hold; can be lost
 *	newest/<repository>.<fleet>   memory for fb_history_check(); of a
 *	                          copy with .<its name> behind it
 */
char *fb_state_path(const struct fb_engine *engine, const char *format, ...)
    FB_PRINTF(2, 3);
/* The memory of the newest run that was seen: of a repository wherever it is,
 * and of one that is configured as a copy (copy_of) its own, for it may be
 * behind.  The caller frees. */
char *fb_state_memory(const struct fb_engine *engine, const char *repository);
/* Make the state directory, durably, where it is not there yet. */
FB_MUST_USE int fb_state_make(
    const struct fb_engine *engine, struct fb_error *err);
/* Take the fleet's lock, or FB_EBUSY; returns the descriptor.  FB_ENOTFOUND
 * without a state directory. */
FB_MUST_USE int fb_state_lock(const struct fb_engine *engine,
    const char *command, struct fb_error *err);
/* FB_EBUSY (E-LOCKED): a command that holds the fleet's lock is under way, as
 * the message says; nobody is kept out by asking. */
FB_MUST_USE int fb_state_busy(
    const struct fb_engine *engine, struct fb_error *err);
/* Open children.lock to hand to children, having proved that no child of an
 * earlier run still lives (waits lock_wait_ms, then FB_EBUSY, id
 * E-CHILD-ALIVE).  Call it with the fleet's lock held. */
FB_MUST_USE int fb_state_children(
    const struct fb_engine *engine, struct fb_error *err);

#endif
