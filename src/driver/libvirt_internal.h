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

#include "libvirt_late.h"
#include "libvirt_ops.h"
#include "libvirt_xml.h"

/* Their definition, beside the disks' targets. */
#define FB_LIBVIRT_DEFINITION "definition"

/* In it, the firmware's variables; and how large a file in it may be. */
#define FB_LIBVIRT_NVRAM    "nvram"
#define FB_LIBVIRT_FILE_MAX ((size_t)64 << 20)
/* Or no regular file of this host. */
bool fb_libvirt_is_too_large(const char *path);

struct fb_libvirt_driver {
	struct fb_driver base;
	char *name;
	char *uri;
	char *scratch;   /* directory of what a capture needs */
	char **machines; /* globs of names, ends with NULL; NULL: all */
	bool local;      /* the hypervisor is this host's */
	bool live;       /* captured without being stopped */
	bool refuse_left_out; /* a disk that cannot be captured fails its
	                       * machine */
	uint64_t stop_timeout_ms, start_timeout_ms;

	pthread_mutex_t lock; /* of: */
	virConnectPtr connection;
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

/* The domain's XML; of one that does not run both are the same. */
FB_MUST_USE int fb_libvirt_xml(virDomainPtr domain, bool live,
    struct fb_buf *ret_xml, struct fb_error *err);
FB_MUST_USE int fb_libvirt_read(virDomainPtr domain, bool live,
    struct fb_domain *ret_domain, struct fb_error *err);

/* Fill a machine from its domain; what is wrong is its problem. */
void fb_libvirt_describe(const struct fb_libvirt_driver *driver,
    virConnectPtr connection, virDomainPtr domain,
    struct fb_machine *machine);

/* Is it down while its disks are read, although it runs otherwise? */
bool fb_libvirt_reads_stopped(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain);

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
 *	<uuid>/<token>/whole         made last; says what kind it is
 *	<uuid>/<token>/definition/   the XML
 *	<uuid>/<token>/q/            QEMU's: its socket and scratch files
 *
 * Each is the caller's to free.
 */
#define FB_LIBVIRT_PAUSED "paused"
char *fb_libvirt_place(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *name);
char *fb_libvirt_part(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, const char *name);
char *fb_libvirt_socket(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token);

/* What `whole` says. */
enum fb_libvirt_kind {
	FB_LIBVIRT_PART, /* it is not there: the capture is not whole */
	FB_LIBVIRT_JOB,  /* a pull-mode backup job of libvirt, by QEMU */
	FB_LIBVIRT_DOWN, /* it was off and stays so; its images are read */
	FB_LIBVIRT_DEFINITION_ONLY, /* every disk is read elsewhere */
};
FB_MUST_USE int fb_libvirt_read_kind(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, enum fb_libvirt_kind *ret_kind,
    struct fb_error *err);
FB_MUST_USE int fb_libvirt_write_kind(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, enum fb_libvirt_kind kind,
    struct fb_error *err);

/* Fill a capture's definition: the XML and what the guest writes, at its
 * moment; what it does not write may come later. */
FB_MUST_USE int fb_libvirt_keep_definition(virDomainPtr domain, bool running,
    const char *dir, struct fb_error *err);
FB_MUST_USE int fb_libvirt_keep_kernel(
    virDomainPtr domain, const char *dir, struct fb_error *err);

/* A domain that is paused: was that us, for a capture? */
bool fb_libvirt_is_ours_paused(
    const struct fb_libvirt_driver *driver, const char *uuid);

/* Whose backup job runs? */
enum fb_libvirt_job {
	FB_LIBVIRT_NO_JOB,
	FB_LIBVIRT_OUR_JOB,     /* of this token */
	FB_LIBVIRT_OLD_JOB,     /* of another token of ours */
	FB_LIBVIRT_FOREIGN_JOB, /* of any kind */
};
enum fb_libvirt_job fb_libvirt_job(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token);

/* End one of ours, and wait until it has ended. */
FB_MUST_USE int fb_libvirt_end_job(virDomainPtr domain, struct fb_error *err);

/* E-DOMAIN-BUSY while a job of somebody else runs. */
FB_MUST_USE int fb_libvirt_check_job(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, struct fb_error *err);

/* Read a disk from the socket of a backup job, or, of a domain that is off,
 * from its image. */
FB_MUST_USE int fb_libvirt_read_job(const char *socket, const char *export_,
    struct fb_artifact **ret_artifact, struct fb_error *err);
FB_MUST_USE int fb_libvirt_read_image(const char *path, const char *format,
    struct fb_artifact **ret_artifact, struct fb_error *err);

/* Write to the image of a domain that is off. */
FB_MUST_USE int fb_libvirt_write_image(const char *path, const char *format,
    struct fb_target **ret_target, struct fb_error *err);
/* The path of a disk's image on this host, the caller's. */
FB_MUST_USE int fb_libvirt_image(virConnectPtr connection,
    const struct fb_domain_disk *disk, char **ret_path, struct fb_error *err);

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
int fb_libvirt_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

#endif
