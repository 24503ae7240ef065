/*
 * What belongs to a guest besides its disks, its XML and its firmware's
 * variables: kept in a capture's definition, and given back by a restore.
 *
 *	tpm/NAME             files of an emulated TPM's state
 *	kernel, initrd       what it boots directly
 *	snapshots/NNNN.xml   libvirt's records of its snapshots, each after the
 *	                     one that it is based on; NNNN.current.xml
 *	networks/NN.xml      libvirt's networks that it is in
 *	pools/NN.xml         libvirt's pools that its disks are in
 *
 * Where a text is added to, it is what a plan says after a semicolon; where a
 * problem is returned it is the caller's, and NULL means that there is none.
 */
#ifndef DRIVER_LIBVIRT_REST_H
#define DRIVER_LIBVIRT_REST_H

#include "libvirt_internal.h"

/* Does the definition have anything of this name? */
bool fb_libvirt_has_part(const char *definition_dir, const char *name);

/*
 * libvirt_tpm.c.  What cannot be read is said by the note of a plan, and is
 * then not kept.
 */
FB_MUST_USE int fb_libvirt_tpm_keep(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, const char *definition_dir,
    struct fb_error *err);
void fb_libvirt_tpm_note(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, struct fb_buf *note);
char *fb_libvirt_tpm_check(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, const char *definition_dir,
    struct fb_buf *text);
/* Again: nothing more.  The domain is off. */
FB_MUST_USE int fb_libvirt_tpm_put(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, const char *definition_dir,
    struct fb_error *err);

/*
 * libvirt_boot.c.  A file that is there and is another one stays: other guests
 * may boot it.  Then the backup's goes beside it, under a name that has its
 * digest, and the domain boots that.
 */
struct fb_libvirt_boot {
	struct {
		char *path; /* where it is to be; NULL: as the XML has it */
		bool missing; /* and is not */
	} kernel, initrd;
};
FB_MUST_USE int fb_libvirt_boot_find(const struct fb_libvirt_driver *driver,
    const struct fb_domain *then, const char *definition_dir, struct fb_libvirt_boot *ret_boot,
    struct fb_error *err);
void fb_libvirt_boot_release(struct fb_libvirt_boot *boot);
void fb_libvirt_boot_say(const struct fb_libvirt_boot *boot,
    const struct fb_domain *then, struct fb_buf *text);
FB_MUST_USE int fb_libvirt_boot_put(const struct fb_libvirt_driver *driver,
    const struct fb_libvirt_boot *boot, const struct fb_domain *then, const char *definition_dir,
    struct fb_error *err);

/*
 * libvirt_past.c: the records of a domain's snapshots.  What they hold is in
 * its images, or in files beside them, and not in a backup: a record is made
 * again only where that is there still.
 */
FB_MUST_USE int fb_libvirt_past_keep(
    virDomainPtr domain, const char *definition_dir, struct fb_error *err);
void fb_libvirt_past_note(virDomainPtr domain, struct fb_buf *note);
/* Of the domain as it is now; `domain` NULL: it is made anew. */
struct fb_libvirt_past {
	virConnectPtr connection;
	virDomainPtr domain;
	const struct fb_domain *now;
	bool local; /* its files are this host's */
	const char *definition_dir;
	int lock_fd; /* as of a verb */
};
void fb_libvirt_past_check(
    const struct fb_libvirt_past *past, struct fb_buf *text);
FB_MUST_USE int fb_libvirt_past_put(
    const struct fb_libvirt_past *past, struct fb_error *err);

/* libvirt_host.c: pools and networks. */
FB_MUST_USE int fb_libvirt_host_keep(virConnectPtr connection,
    const struct fb_domain *domain, const char *definition_dir,
    struct fb_error *err);
char *fb_libvirt_host_check(
    virConnectPtr connection, const struct fb_domain *domain);

#endif
