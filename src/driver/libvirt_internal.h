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

struct fb_libvirt_driver {
	struct fb_driver base;
	char *name;
	char *uri;
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

#endif
