/*
 * What changed in a domain's disks since the last run, by checkpoints of
 * libvirt: bitmaps that QEMU keeps in the images.
 *
 * Each backup job begins with a checkpoint of ours, "fb-OWNER-TOKEN", and so
 * does each capture below overlays.  Its name is in the change token of each
 * disk that it is of, and so in what the archive keeps of that run; the next job
 * is begun with what changed since, or the image below the next overlay is asked.
 * Where anything of that is not as it was, the disk is read in full.
 */
#ifndef DRIVER_LIBVIRT_CHECKPOINT_H
#define DRIVER_LIBVIRT_CHECKPOINT_H

#include "fleetbak/format/json.h"
#include "libvirt_internal.h"

/* The record of a capture's changes, in its place. */
#define FB_LIBVIRT_CHANGES "changes"

/* The bitmap that a job has of a disk's changes. */
#define FB_LIBVIRT_JOB_BITMAP "backup-%s"

/* What a capture can tell of a disk's changes.  All-zero: nothing. */
struct fb_libvirt_changes {
	char *token; /* of what is read, or NULL */
	char *since; /* the token of what it tells the changes from, or NULL */
	char *bitmap; /* where it does; NULL without `since`, and with `same` */
	bool same;    /* since then nobody has written to it */
	bool unknown; /* it ran since it was captured off: it is read in full,
	               * and nothing is wrong with that */
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
	/* Of a job alone: where it is served, the directory of its files. */
	const char *socket;
	const char *scratch;
	/* Of a domain that is off alone: what its images are. */
	const char *stamp;
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

/*
 * Make such a checkpoint, and the record, without a job: of a domain that is
 * paused, whose images will be read.  Where it cannot be made there is none.
 */
FB_MUST_USE int fb_libvirt_begin_account(
    const struct fb_libvirt_begin *begin, struct fb_error *err);

/*
 * Make the record of a domain that is off, and cannot have another checkpoint:
 * what changed since the last one is what its images tell, for the next run as
 * well.
 */
FB_MUST_USE int fb_libvirt_go_on_account(
    const struct fb_libvirt_begin *begin, struct fb_error *err);

/* Has it a checkpoint of fleetbak's, whoever is its owner? */
bool fb_libvirt_has_account(virDomainPtr domain);

/* The record itself, the caller's; FB_ENOTFOUND. */
FB_MUST_USE int fb_libvirt_load_changes(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, json_t **ret_record,
    struct fb_error *err);

/* What the record of a capture says of a disk; nothing without a record. */
FB_MUST_USE int fb_libvirt_read_changes(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, const char *target,
    struct fb_libvirt_changes *ret_changes, struct fb_error *err);

/* Is it in the image itself, and does it have all that was written?
 * FB_EFAILED: it cannot be used, and why. */
FB_MUST_USE int fb_libvirt_check_bitmap(const struct fb_libvirt_far *far,
    const char *path, const char *bitmap, struct fb_error *err);

/* How NBD calls a bitmap; the caller's. */
char *fb_libvirt_context(const char *bitmap);

/* fb_artifact_ops.changed_blocks of a capture's disk. */
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
