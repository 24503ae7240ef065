/*
 * A domain of libvirt, from its XML.  Pure: no connection, no files.
 */
#ifndef DRIVER_LIBVIRT_XML_H
#define DRIVER_LIBVIRT_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"
#include "fleetbak/base/buf.h"
#include "fleetbak/crypto/digest.h"

struct fb_error;

/* Largest XML that is read. */
#define FB_DOMAIN_XML_MAX (4u << 20)

/* With its hyphens, as libvirt writes it. */
#define FB_UUID_LEN  36
#define FB_UUID_SIZE (FB_UUID_LEN + 1)

enum fb_domain_device {
	FB_DOMAIN_DISK,
	FB_DOMAIN_LUN,
	FB_DOMAIN_CDROM,
	FB_DOMAIN_FLOPPY,
};

struct fb_domain_disk {
	char *target; /* "vda" */
	enum fb_domain_device device;
	char *type;    /* "file", "block", "volume", "network", ... */
	char *format;  /* of the image: "qcow2", "raw" */
	char *source;  /* path, "pool/volume", "protocol:name@host:port", or
	                * NULL */
	char *pool, *volume; /* of type "volume", or NULL */
	bool read_only;      /* the guest cannot write to it */
	bool network;        /* only its hypervisor has a way to it: it is
	                      * read from a backup job or not at all */
	bool hands_errors;   /* to the guest, when it has no room; others hold
	                      * the guest then */
	unsigned backing;    /* images below it, as far as the XML says */
	/* Why its content cannot be captured, in words; NULL: it can. */
	char *why;
};

/* What it needs of its host besides its disks. */
struct fb_domain_host {
	char *tpm; /* the directory below its UUID's that an emulated TPM has,
	            * "tpm2"; NULL: it has none */
	char *tpm_path;      /* ... which is this one when the XML names it */
	char *tpm_elsewhere; /* a TPM of another kind, in words */
	char **networks;     /* of libvirt, by name, each once */
	size_t network_count;
	char **bridges; /* of the host, each once */
	size_t bridge_count;
	char **macs; /* of its interfaces */
	size_t mac_count;
};

struct fb_domain {
	char uuid[FB_UUID_SIZE];
	char *name;
	struct fb_domain_disk *disks; /* in the XML's order */
	size_t disk_count;
	bool agent;       /* it has a channel for the guest agent ... */
	bool agent_there; /* ... and somebody answers on it (live XML) */
	bool poweroff_destroys; /* what "shut down" means: on_poweroff */
	size_t host_devices;
	/* Paths of files that it starts with, or NULL. */
	char *nvram, *kernel, *initrd;
	bool nvram_is_block;   /* it is a device, not a file */
	char *nvram_elsewhere; /* or of another type, which is this one */
	struct fb_domain_host host;
	bool has_owner; /* of its process, numbers (live XML) */
	uint32_t uid, gid;
	/* Of what it means: without what differs between two looks at an
	 * unchanged definition, and without the media in its drives. */
	struct fb_digest digest;
};

/*
 * Read a domain's XML.
 *
 * Owner:  `*ret_domain` starts all-zero and is the caller's: release it.
 * Errors: FB_EPROTO: no XML, too large, with a document type, or no domain
 *         with a UUID, a name and disks of different targets.
 */
FB_MUST_USE int fb_domain_read(struct fb_span xml,
    struct fb_domain *ret_domain, struct fb_error *err);
void fb_domain_release(struct fb_domain *domain);
#define FB_AUTO_DOMAIN FB_CLEANUP(fb_domain_release)

/* Where a disk goes, or a drive: its image, or that it is left out. */
struct fb_domain_place {
	const char *target;
	enum {
		FB_PLACE_FILE,    /* `path` */
		FB_PLACE_BLOCK,   /* `path`, of a device */
		FB_PLACE_VOLUME,  /* `pool`, `volume` */
		FB_PLACE_NOWHERE, /* the device is left out */
		FB_PLACE_EMPTY,   /* a drive without its medium */
	} kind;
	const char *path, *pool, *volume;
	const char *format; /* NULL: as it is */
};

struct fb_restore_request;

/* What is to be another one; NULL: as it is. */
struct fb_domain_change {
	const char *name, *uuid;
	const char *nvram;
	bool nvram_is_block;
	const char *kernel, *initrd;
	const struct fb_domain_place *places; /* of the disks that move */
	size_t place_count;
	/*
	 * It is to run beside the domain that the XML is of: devices of the
	 * host stay with that one; MAC addresses are made of these bytes;
	 * fixed ports, ids and names on the host are given up, and files that
	 * a device writes get the new name in theirs.
	 */
	const struct fb_digest *beside;
	/* Its maps of networks, and whether it keeps addresses; may be NULL. */
	const struct fb_restore_request *request;
};

/*
 * The same XML, changed.
 *
 * Owner:  `dst` is the caller's.
 * Errors: FB_EPROTO, as fb_domain_read().
 */
FB_MUST_USE int fb_domain_change(struct fb_span xml,
    const struct fb_domain_change *change, struct fb_buf *dst,
    struct fb_error *err);

/*
 * The XML of a pull-mode backup job of the domain's disks whose targets are
 * in `wanted` (ends with NULL): served at `socket`, with a scratch file for
 * each in the directory `scratch`; the other disks are left alone.  With
 * `since`, the disk wanted[i] comes with what changed since the checkpoint
 * since[i]; NULL, as such a checkpoint: without.
 */
void fb_domain_backup_xml(const struct fb_domain *domain,
    const char *const *wanted, const char *const *since, const char *socket,
    const char *scratch, struct fb_buf *dst);

/* The XML of a snapshot of these disks, of no others, by an overlay for each in
 * the directory `dir`. */
void fb_domain_snapshot_xml(const struct fb_domain *domain,
    const char *const *wanted, const char *dir, struct fb_buf *dst);

/* The XML of a checkpoint of these disks, of no others. */
void fb_domain_checkpoint_xml(const struct fb_domain *domain,
    const char *const *wanted, const char *name, struct fb_buf *dst);

/* When a checkpoint was made, in seconds, from its XML; 0: it does not say. */
uint64_t fb_checkpoint_time(struct fb_span xml);

/* The path of the socket that a job's XML names, the caller's; NULL: none. */
char *fb_domain_backup_socket(struct fb_span xml);

/* The path of the image below a storage volume, from the volume's XML; the
 * caller's; NULL: there is none. */
char *fb_volume_backing(struct fb_span xml);

/* The format of a storage volume, the same. */
char *fb_volume_format(struct fb_span xml);

/* The path of the directory that a pool's volumes are in, the same. */
char *fb_pool_path(struct fb_span xml);

/* Are a pool's volumes files, by the pool's XML? */
bool fb_pool_has_files(struct fb_span xml);

/* The XML of a volume that is to be made; sparse: takes no space yet. */
void fb_volume_xml(const char *name, const char *format, uint64_t size,
    bool sparse, struct fb_buf *dst);

/* NULL when there is none of that target. */
const struct fb_domain_disk *fb_domain_disk(
    const struct fb_domain *domain, const char *target);

#endif
