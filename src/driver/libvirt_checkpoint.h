/*
 * What changed in a domain's disks since the last run, by checkpoints of
 * libvirt: bitmaps that QEMU keeps in the images.
 *
 * Each backup job begins with a checkpoint of ours, "fb-OWNER-TOKEN".  Its name
 * is in the change token of each disk that it is of, and so in what the archive
 * keeps of that run; the next job is begun with what changed since.  Where
 * anything of that is not as it was, the disk is read in full.
 */
#ifndef DRIVER_LIBVIRT_CHECKPOINT_H
#define DRIVER_LIBVIRT_CHECKPOINT_H

#include "libvirt_internal.h"

/* What a job can tell of a disk's changes.  All-zero: nothing. */
struct fb_libvirt_changes {
	char *token; /* of what the job serves, or NULL */
	char *since; /* the token of what it tells the changes from, or NULL */
	char *bitmap; /* how NBD calls where it does; NULL with `since` */
	char *why;   /* in words: why it cannot although it should; or NULL */
};
void fb_libvirt_changes_release(struct fb_libvirt_changes *changes);
#define FB_AUTO_CHANGES FB_CLEANUP(fb_libvirt_changes_release)

struct fb_libvirt_begin {
	const struct fb_libvirt_driver *driver;
	virDomainPtr domain;
	const struct fb_machine *machine;
	const struct fb_verb *verb;
	const struct fb_domain *live;
	const char *const *wanted; /* targets; ends with NULL */
	const char *socket;        /* where the job is served */
	const char *scratch;       /* directory of its files */
};

/*
 * Begin the backup job, with a checkpoint where the disks can have one, and
 * record in the capture's place what it can tell.
 *
 * Errors: FB_EUNKNOWN and others: there is no job, or it is not known, and no
 *         record.
 */
FB_MUST_USE int fb_libvirt_begin_backup(
    const struct fb_libvirt_begin *begin, struct fb_error *err);

/* What the record of a capture says of a disk; nothing without a record. */
FB_MUST_USE int fb_libvirt_read_changes(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, const char *target,
    struct fb_libvirt_changes *ret_changes, struct fb_error *err);

/* fb_artifact_ops.changed_blocks of a job's disk. */
FB_MUST_USE int fb_libvirt_tell_changes(struct fb_artifact *disk,
    const struct fb_libvirt_changes *changes, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err);

/* Delete the owner's checkpoints of the domain, but for those that the record
 * of this capture names.  Without a record, and of a domain that is off, none is touched.  One
 * that cannot be deleted stays until the next time. */
FB_MUST_USE int fb_libvirt_drop_checkpoints(
    const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const struct fb_verb *verb, struct fb_error *err);

#endif
