/*
 * The `libvirt` driver: domains of one libvirt as machines.
 *
 * A machine's id is the domain's UUID, its name the domain's.  The driver
 * keeps a connection and its configuration, and no other state: what it has
 * done it finds again in libvirt and in its scratch directory.
 *
 * Threads: any number of verbs at once share the connection.
 */
#ifndef DRIVER_LIBVIRT_INTERNAL_H
#define DRIVER_LIBVIRT_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "libvirt_far.h"
#include "libvirt_late.h"
#include "libvirt_ops.h"
#include "libvirt_xml.h"

/* Their definition, beside the disks' targets. */
#define FB_LIBVIRT_DEFINITION "definition"

/* In it, the firmware's variables; and how large a file in it may be. */
#define FB_LIBVIRT_NVRAM    "nvram"
#define FB_LIBVIRT_FILE_MAX ((size_t)64 << 20)
/* Or neither a regular file nor a block device of its host. */
struct fb_libvirt_driver;
bool fb_libvirt_is_too_large(
    const struct fb_libvirt_driver *driver, const char *path);

/* Bytes that are free where this directory is, or will be made. */
uint64_t fb_libvirt_room(const char *dir);

/* Are the file systems of a guest that is captured live frozen? */
enum fb_libvirt_freezing {
	FB_LIBVIRT_FREEZE_TRY, /* where its agent can; otherwise it is not */
	FB_LIBVIRT_FREEZE_REQUIRE,
	FB_LIBVIRT_FREEZE_NEVER,
};

struct fb_libvirt_driver {
	struct fb_driver base;
	char *name;
	char *uri;
	char *scratch;   /* directory of what a capture needs */
	char *tpm;       /* directory of the state of emulated TPMs */
	char *images;    /* directory of images that a restore makes; "": where
	                  * they were */
	char **machines; /* globs of names, ends with NULL; NULL: all */
	bool local;      /* the hypervisor is this host's */
	struct fb_libvirt_far *far; /* or its host is reached by ssh; or NULL */
	char *far_mark; /* of this host, in names on that one */
	bool live;       /* captured without being stopped */
	enum fb_libvirt_freezing freeze;
	uint64_t freeze_timeout_ms; /* nothing is frozen for longer */
	bool force_off; /* one that does not shut down in time is switched off */
	bool checkpoints; /* kept, so that changes are known */
	bool refuse_left_out; /* a disk that cannot be captured fails its
	                       * machine */
	uint64_t stop_timeout_ms, start_timeout_ms;
	int64_t opened_ns; /* on the boot's clock */

	pthread_mutex_t lock; /* of: */
	virConnectPtr connection;
	struct fb_libvirt_held *held; /* the domains that are captured */
	struct fb_libvirt_below *below; /* what is read below overlays */
	bool watches, watch_ends;
	unsigned rescues; /* guests that are let go on just now */
	pthread_cond_t watch_cond; /* on the monotonic clock */
	pthread_t watch_thread;    /* while it watches */
};

/* A reference to the connection, which is made or made anew when needed;
 * give it back with virConnectClose(). */
FB_MUST_USE int fb_libvirt_connect(struct fb_libvirt_driver *driver,
    virConnectPtr *ret_connection, struct fb_error *err);
static inline void
fb_libvirt_disconnect(virConnectPtr *connection)
{
	if (*connection != NULL)
		(void)fb_libvirt.virConnectClose(*connection);
}
#define FB_AUTO_CONNECTION FB_CLEANUP(fb_libvirt_disconnect)

static inline void
fb_libvirt_let_go(virDomainPtr *domain)
{
	if (*domain != NULL)
		(void)fb_libvirt.virDomainFree(*domain);
}
#define FB_AUTO_DOMAIN_REF FB_CLEANUP(fb_libvirt_let_go)

/*
 * Raise libvirt's last error of this thread, with what was tried before it.
 * After an `effect` a connection that broke is FB_EUNKNOWN, else FB_EUNREACH.
 */
int fb_libvirt_fail(struct fb_error *err, bool effect, const char *fmt, ...)
    FB_PRINTF(3, 4);

/* Before anything that changes a domain: "backup-begin".  A verb may do
 * several such things, and end between any two. */
FB_MUST_USE int fb_libvirt_effect(
    virDomainPtr domain, const char *what, struct fb_error *err);

/* Is this a URI of a hypervisor on this host? */
bool fb_libvirt_is_local(const char *uri);
/* Are files of the hypervisor's host in reach? */
static inline bool
fb_libvirt_reaches(const struct fb_libvirt_driver *driver)
{
	return driver->local || driver->far != NULL;
}

/* The domain's XML; of one that does not run both are the same. */
FB_MUST_USE int fb_libvirt_xml(virDomainPtr domain, bool live,
    struct fb_buf *ret_xml, struct fb_error *err);
FB_MUST_USE int fb_libvirt_read(virDomainPtr domain, bool live,
    struct fb_domain *ret_domain, struct fb_error *err);

/* Fill a machine from its domain; what is wrong is its problem. */
void fb_libvirt_describe(const struct fb_libvirt_driver *driver,
    virConnectPtr connection, virDomainPtr domain,
    struct fb_machine *machine);

/* Is it down while its disks are read, although it runs otherwise?  `live`: it
 * is not stopped, because its source says so or because it would be gone. */
bool fb_libvirt_reads_stopped(const struct fb_libvirt_driver *driver,
    bool live, const struct fb_domain *domain);
/* Has it a disk that is captured and hands errors to the guest? */
bool fb_libvirt_hands_errors(const struct fb_domain *domain);

/* The domain of this UUID, on a connection that is given back with it.
 * FB_ENOTFOUND (E-MACHINE-GONE). */
struct fb_libvirt_ref {
	virConnectPtr connection;
	virDomainPtr domain;
};
FB_MUST_USE int fb_libvirt_find(struct fb_libvirt_driver *driver,
    const char *uuid, struct fb_libvirt_ref *ret_ref, struct fb_error *err);
void fb_libvirt_ref_release(struct fb_libvirt_ref *ref);
#define FB_AUTO_REF FB_CLEANUP(fb_libvirt_ref_release)

/* A virDomainState. */
FB_MUST_USE int fb_libvirt_state(
    virDomainPtr domain, int *ret_state, struct fb_error *err);
enum fb_power fb_libvirt_power(const struct fb_libvirt_driver *driver,
    const char *uuid, int state);
bool fb_libvirt_is_off(int state);
bool fb_libvirt_is_up(int state);

/*
 * Places of a capture, all below the source's `scratch`:
 *
 *	<uuid>/paused                the domain was started paused by us
 *	<uuid>/asked                 it was asked by us to shut down
 *	<uuid>/unclean               it was cut off, and has not run since
 *	<uuid>/frozen                its agent was asked by us to freeze it
 *	<uuid>/overlay               its images have overlays of ours
 *	<uuid>/<token>/whole         made last; says what kind it is
 *	<uuid>/<token>/unclean       it was cut off before
 *	<uuid>/<token>/definition/   the XML
 *	<uuid>/<token>/changes       what the job can tell of changes
 *	<uuid>/<token>/q/            QEMU's: its socket and scratch files
 *
 * Each is the caller's to free.
 */
#define FB_LIBVIRT_PAUSED       "paused"
#define FB_LIBVIRT_OVERLAY_MARK "overlay"
char *fb_libvirt_place(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *name);
/* Make scratch, if it is not there, passable for QEMU. */
FB_MUST_USE int fb_libvirt_make_scratch(
    const struct fb_libvirt_driver *driver, struct fb_error *err);
/* ... and the directory of a domain, or of a capture of it. */
FB_MUST_USE int fb_libvirt_make_place(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err);
char *fb_libvirt_part(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, const char *name);
/*
 * QEMU's directory of a capture.  On another host it is
 *
 *	<scratch>/<mark of this host>-<digest of the capture>
 *
 * there, as everything else is here.
 */
char *fb_libvirt_own(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token);
FB_MUST_USE int fb_libvirt_make_own(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err);
FB_MUST_USE int fb_libvirt_give_own(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, uint32_t uid, uint32_t gid,
    struct fb_error *err);
/* That of another host; here it goes with its capture. */
FB_MUST_USE int fb_libvirt_remove_own(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err);
char *fb_libvirt_socket(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token);
/* Is it that of any capture of this domain? */
bool fb_libvirt_is_our_socket(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *socket);

/* Has the name of that socket room in a socket's address?  FB_ECONFIG. */
FB_MUST_USE int fb_libvirt_check_socket(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err);

/* What `whole` says: of a domain that is off also what its images are, so that
 * one that ran meanwhile is told from it. */
enum fb_libvirt_kind {
	FB_LIBVIRT_PART, /* it is not there: the capture is not whole */
	FB_LIBVIRT_JOB,  /* a pull-mode backup job of libvirt, by QEMU */
	FB_LIBVIRT_DOWN, /* it was off and stays so; its images are read */
	FB_LIBVIRT_OVERLAY, /* its images, below overlays of ours */
	FB_LIBVIRT_DEFINITION_ONLY, /* every disk is read elsewhere */
};
FB_MUST_USE int fb_libvirt_read_kind(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, enum fb_libvirt_kind *ret_kind,
    struct fb_buf *ret_stamp, struct fb_error *err);
FB_MUST_USE int fb_libvirt_write_kind(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, enum fb_libvirt_kind kind,
    struct fb_span stamp, struct fb_error *err);
/* While it is the same, nobody has written to an image. */
FB_MUST_USE int fb_libvirt_stamp(const struct fb_libvirt_driver *driver,
    const struct fb_libvirt_ref *ref, struct fb_buf *ret_stamp,
    struct fb_error *err);

/* Fill a capture's definition: the XML and what the guest writes, at its
 * moment; what it does not write may come later. */
FB_MUST_USE int fb_libvirt_keep_definition(
    const struct fb_libvirt_driver *driver, virDomainPtr domain, bool running,
    const char *dir, struct fb_error *err);
FB_MUST_USE int fb_libvirt_keep_kernel(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *dir, struct fb_error *err);

/*
 * Before a domain is asked to shut down: it may do so for so long from now,
 * whatever becomes of who asked.  For how many nanoseconds may it yet?  Nobody
 * watches a guest for longer than a day.
 */
#define FB_LIBVIRT_ASKED        "asked"
#define FB_LIBVIRT_ASKED_MAX_MS ((uint64_t)24 * 60 * 60 * 1000)
FB_MUST_USE int fb_libvirt_note_asked(const struct fb_libvirt_driver *driver,
    const char *uuid, uint64_t span_ms, struct fb_error *err);
int64_t fb_libvirt_asked(
    const struct fb_libvirt_driver *driver, const char *uuid);
/*
 * It did not shut down, but was cut off: of a domain (the token is ""), until it
 * runs again, which libvirt forgets when it is restarted; and of a capture of
 * it.
 */
#define FB_LIBVIRT_UNCLEAN "unclean"
FB_MUST_USE int fb_libvirt_note_unclean(
    const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err);
bool fb_libvirt_was_unclean(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token);

/* Take a mark of a domain away. */
FB_MUST_USE int fb_libvirt_forget(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *mark, struct fb_error *err);

/* A domain that is paused: was that us, for a capture? */
bool fb_libvirt_is_ours_paused(
    const struct fb_libvirt_driver *driver, const char *uuid);

/*
 * The file systems of a guest that runs, frozen by its agent.  A mark is
 * durable before the agent is asked, and goes when it is known that nothing is
 * frozen any more: until then fb_libvirt_is_frozen(), and whoever comes next
 * thaws it.
 */
#define FB_LIBVIRT_FROZEN "frozen"
struct fb_libvirt_freeze {
	struct fb_libvirt_driver *driver;
	virDomainPtr domain; /* borrowed */
	const char *uuid;    /* borrowed */
	struct fb_error why; /* set: it is not frozen, and why */
	int count;           /* private: of file systems that were frozen */
	struct fb_libvirt_timer *timer; /* private */
};
/*
 * Freeze it, or say in `why` that it is not.  Once it is frozen, and if it is
 * not thawed before, a thread thaws it at the deadline that its source has,
 * counted from the call.
 *
 * Errors: FB_EFAILED (E-THAW): it may be frozen, and is not known to be thawed.
 */
FB_MUST_USE int fb_libvirt_freeze_begin(
    struct fb_libvirt_freeze *freeze, struct fb_error *err);
/* Thaw it, after fb_libvirt_freeze_begin() returned FB_OK; `why` is set when it
 * is not proven to have been frozen all the time.  E-THAW, as above. */
FB_MUST_USE int fb_libvirt_freeze_end(
    struct fb_libvirt_freeze *freeze, struct fb_error *err);
bool fb_libvirt_is_frozen(
    const struct fb_libvirt_driver *driver, const char *uuid);
/* Thaw what was frozen, by whomever of us, trying for this long. */
FB_MUST_USE int fb_libvirt_thaw(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, uint64_t span_ms,
    struct fb_error *err);
/* Would its agent freeze it? */
bool fb_libvirt_freezes(const struct fb_libvirt_driver *driver,
    const struct fb_domain *live);

/* Whose backup job runs? */
enum fb_libvirt_job {
	FB_LIBVIRT_NO_JOB,
	FB_LIBVIRT_OUR_JOB,     /* of this token */
	FB_LIBVIRT_OLD_JOB,     /* of another token of ours */
	FB_LIBVIRT_FOREIGN_JOB, /* of any kind */
};
FB_MUST_USE int fb_libvirt_job(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token,
    enum fb_libvirt_job *ret_job, struct fb_error *err);

/* End one of ours, and wait until it has ended; a guest that QEMU paused
 * because the job's scratch file could not grow goes on. */
FB_MUST_USE int fb_libvirt_end_job(virDomainPtr domain, struct fb_error *err);
/* Does QEMU hold it, because it could not write? */
bool fb_libvirt_is_held_up(virDomainPtr domain);
/* Then it goes on. */
FB_MUST_USE int fb_libvirt_let_go_on(
    virDomainPtr domain, struct fb_error *err);
/* Start a domain that is off, paused; the mark comes first: one that is paused
 * without it is somebody else's. */
FB_MUST_USE int fb_libvirt_start_paused(
    const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const char *token, struct fb_error *err);
/* The same of a dead run's job, if it has brought that about. */
FB_MUST_USE int fb_libvirt_free_held_up(
    struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, struct fb_error *err);

/*
 * A domain that is captured is held, from before its stop until its capture
 * is removed, against another fleetbak with the same scratch directory, which
 * would take its job for a dead run's.  Both: E-DOMAIN-BUSY.  A driver holds a
 * domain once, however often it says so.
 */
FB_MUST_USE int fb_libvirt_hold(struct fb_libvirt_driver *driver,
    const char *uuid, struct fb_error *err);
/* Does this process hold it? */
bool fb_libvirt_has_hold(
    struct fb_libvirt_driver *driver, const char *uuid);
FB_MUST_USE int fb_libvirt_check_held(const struct fb_libvirt_driver *driver,
    const char *uuid, struct fb_error *err);
/* Those that are held, the caller's; ends with NULL. */
char **fb_libvirt_list_held(struct fb_libvirt_driver *driver);
/* Of one that is held: the scratch file of its job was full. */
void fb_libvirt_note_full(struct fb_libvirt_driver *driver, const char *uuid);
void fb_libvirt_note_new_job(struct fb_libvirt_driver *driver, const char *uuid);
bool fb_libvirt_is_full(struct fb_libvirt_driver *driver, const char *uuid);
/* ... and its guest is let go on, by one at a time: false, somebody does so. */
bool fb_libvirt_begin_rescue(
    struct fb_libvirt_driver *driver, const char *uuid);
void fb_libvirt_end_rescue(struct fb_libvirt_driver *driver, const char *uuid);
/* NULL: all. */
void fb_libvirt_let_go_of(struct fb_libvirt_driver *driver, const char *uuid);

/* E-DOMAIN-BUSY while a job of somebody else runs, on it or on its disks. */
FB_MUST_USE int fb_libvirt_check_job(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, struct fb_error *err);

/* On the hypervisor's host, which is this one when `far` is NULL: */
/* Read a disk from the socket of a backup job, or from its image while nobody
 * writes to it, with what this can tell of its changes, which it takes over. */
struct fb_libvirt_changes;
FB_MUST_USE int fb_libvirt_read_job(const struct fb_libvirt_far *far,
    const char *socket, const char *export_,
    struct fb_libvirt_changes *changes, struct fb_artifact **ret_artifact,
    struct fb_error *err);
FB_MUST_USE int fb_libvirt_read_image(const struct fb_libvirt_far *far,
    const char *path, const char *format, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact,
    struct fb_error *err);
/* Another descriptor of the connection to the server of such an image, the
 * caller's: once it is shut down nothing is read any more, and the image is let
 * go of.  -1, with errno. */
int fb_libvirt_image_fd(struct fb_artifact *image);

/*
 * From the first job on the domains that are held are watched: when the scratch
 * file of one's job is full, that job is ended.  With the end of the watch, of
 * which nothing needs to have begun, all jobs are: nobody is there any more to
 * see to their guests.
 */
FB_MUST_USE int fb_libvirt_begin_watch(
    struct fb_libvirt_driver *driver, struct fb_error *err);
void fb_libvirt_end_watch(struct fb_libvirt_driver *driver);
/* Has this domain's job been ended for that reason?  E-SCRATCH-FULL. */
FB_MUST_USE int fb_libvirt_check_full(struct fb_libvirt_driver *driver,
    const char *uuid, struct fb_error *err);
/* A disk of such a job: it says so when it cannot be read any more. */
struct fb_artifact *fb_libvirt_watch(struct fb_libvirt_driver *driver,
    const char *uuid, struct fb_artifact *owned_disk);
/* Ask the disk of a job for what a context of NBD has from `from` on. */
FB_MUST_USE int fb_libvirt_ask_context(struct fb_artifact *artifact,
    const char *context, uint64_t from, nbd_extent_callback callback,
    struct fb_error *err);

/* Write to the image of a domain that is off. */
FB_MUST_USE int fb_libvirt_write_image(const struct fb_libvirt_far *far,
    const char *path, const char *format, struct fb_target **ret_target,
    struct fb_error *err);
/* The path of a disk's image on its host, the caller's. */
FB_MUST_USE int fb_libvirt_image(virConnectPtr connection,
    const struct fb_domain_disk *disk, char **ret_path, struct fb_error *err);

/*
 * The firmware's variables of a backup, and where they go: to the place that
 * `domain`, as it will be defined, names.
 */
struct fb_libvirt_vars {
	const struct fb_libvirt_driver *driver;
	const char *definition_dir; /* of the backup */
	const struct fb_domain *domain;
	const char *own; /* what is the domain's there now; NULL: nothing is */
};
/* Add to `text` what becomes of them; what is wrong is the caller's, NULL:
 * nothing. */
char *fb_libvirt_vars_check(
    const struct fb_libvirt_vars *vars, struct fb_buf *text);
/* Whole and durable after FB_OK; also when there is nothing to do. */
FB_MUST_USE int fb_libvirt_vars_put(
    const struct fb_libvirt_vars *vars, struct fb_error *err);

/* The verbs, for the table in libvirt.c. */
int fb_libvirt_power_get(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, enum fb_power *, struct fb_error *);
int fb_libvirt_stop(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_libvirt_start(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_libvirt_create_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_libvirt_find_by_token(struct fb_driver *, const struct fb_machine *,
    const char *token, struct fb_error *);
int fb_libvirt_list_snapshots(struct fb_driver *, fb_driver_visit_token *,
    void *arg, struct fb_error *);
int fb_libvirt_remove_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_libvirt_relieve(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, bool *ret_done, struct fb_error *);
int fb_libvirt_open_volume(struct fb_driver *, const struct fb_machine *,
    const struct fb_volume *, const char *token, struct fb_artifact **,
    struct fb_error *);
int fb_libvirt_restore_check(struct fb_driver *, const struct fb_fleet *,
    const struct fb_restore_request *, struct fb_restore_plan *,
    struct fb_error *);
int fb_libvirt_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
int fb_libvirt_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
int fb_libvirt_restore_directory(
    const char *dir, const char *final, struct fb_error *err);
int fb_libvirt_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

#endif
