/*
 * The fleet as found: machines, their volumes, and what could not be asked.
 */
#ifndef FB_FLEET_FLEET_H
#define FB_FLEET_FLEET_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/err.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/format/config.h"

enum fb_power { FB_POWER_UNKNOWN, FB_POWER_UP, FB_POWER_DOWN };

enum fb_volume_kind {
	FB_VOLUME_DISK,
	FB_VOLUME_TREE,
	FB_VOLUME_MEMORY,
	FB_VOLUME_DEFINITION,
	FB_VOLUME_OPAQUE,
	FB_VOLUME_CDROM,  /* listed, never captured */
	FB_VOLUME_FLOPPY, /* listed, never captured */
};

/* What a machine goes through; see driver/driver.h. */
enum fb_lifecycle {
	FB_LIFECYCLE_STOP_SNAPSHOT_START, /* bytes read while up again */
	FB_LIFECYCLE_STOP_COPY_START,     /* bytes read while stopped */
	FB_LIFECYCLE_PAUSE_IN_CREATE,     /* the driver freezes it inside */
	FB_LIFECYCLE_SNAPSHOT_LIVE,
	FB_LIFECYCLE_READ_DOWN,           /* it is down: nothing to stop */
};

/* Consistency reached, best first. */
enum fb_level { FB_LEVEL_OFFLINE, FB_LEVEL_PAUSED, FB_LEVEL_FROZEN,
	FB_LEVEL_CRASH, FB_LEVEL_FUZZY };

struct fb_volume {
	char *name;
	enum fb_volume_kind kind;
	uint64_t size;       /* bytes; disks: capacity; trees: an estimate */
	uint64_t allocated;  /* bytes a full read takes, an estimate */
	const char *method;  /* "reflink", "btrfs", "read-stopped", "none",
	                      * "left-out": static; how its snapshot is
	                      * taken */
	bool read_stopped;   /* read while the machine is stopped */
	char *note;          /* said in the plan, or NULL */
	char *token;         /* as of driver/artifact.h, now; or NULL */
};

struct fb_machine {
	char *source, *driver;
	char *id;      /* stable, unique in its source */
	char *name;    /* what people call it; often the id */
	char *role;    /* "" when none */
	char *parent;  /* id in the same source, or NULL */
	bool parent_first; /* its parent controls it: stops before it and
	                    * starts after it; else the other way round */
	struct fb_labels labels; /* the source's and its own, own ones win */
	enum fb_power power;
	enum fb_lifecycle lifecycle; /* when it is up */
	struct fb_digest description; /* of the canonical document */
	uint64_t stop_timeout_ms, start_timeout_ms;
	struct fb_volume *volumes; /* sorted by name; "definition" among them */
	size_t volume_count;
	const struct fb_error *problem; /* kept: why it cannot be backed up;
	                                 * NULL: it can */
	bool selected;
	size_t unit; /* index into fb_units, set by fb_units_make() */
};

struct fb_source_failure {
	char *source;
	struct fb_error err;
};

struct fb_fleet {
	char *name;
	struct fb_machine *machines; /* sorted by source, then id (bytewise) */
	size_t count;
	struct fb_source_failure *failures;
	size_t failure_count;
};

/* Machines of one fleet, and their volumes: what a process holds of them in
 * memory keeps its bound. */
#define FB_FLEET_MACHINES_MAX 25000
#define FB_FLEET_VOLUMES_MAX  75000

/* E-FLEET-SIZE when there are more. */
FB_MUST_USE int fb_fleet_check_size(
    const struct fb_fleet *fleet, struct fb_error *err);

/* Append an all-zero machine / volume and return it; pointers to earlier
 * ones become invalid. */
struct fb_machine *fb_fleet_add(struct fb_fleet *fleet);
struct fb_volume *fb_machine_add_volume(struct fb_machine *machine);
struct fb_source_failure *fb_fleet_add_failure(struct fb_fleet *fleet);

/* Note why a machine cannot be backed up.  It keeps a problem it has. */
void fb_machine_refuse(
    struct fb_machine *machine, const struct fb_error *problem);

/* Sort, fill in what a driver left NULL (but `parent`), and mark as a
 * `problem` every machine whose id, parent or volume names are bad (E-NAME),
 * doubled (E-TOPO-DUPLICATE), missing (E-TOPO-PARENT) or in a cycle
 * (E-TOPO-CYCLE).  A machine keeps a problem it has. */
void fb_fleet_settle(struct fb_fleet *fleet);
void fb_fleet_release(struct fb_fleet *fleet);

/* In a settled fleet; NULL when there is none. */
struct fb_machine *fb_fleet_find(
    const struct fb_fleet *fleet, const char *source, const char *id);

/* Index of each machine's parent in a settled fleet, SIZE_MAX for none or a
 * missing one.  The caller frees. */
size_t *fb_fleet_parents(const struct fb_fleet *fleet);

const char *fb_power_name(enum fb_power power);
const char *fb_volume_kind_name(enum fb_volume_kind kind);
const char *fb_lifecycle_name(enum fb_lifecycle lifecycle);
const char *fb_level_name(enum fb_level level);
FB_MUST_USE int fb_power_parse(
    const char *, enum fb_power *, struct fb_error *);
FB_MUST_USE int fb_volume_kind_parse(
    const char *, enum fb_volume_kind *, struct fb_error *);
FB_MUST_USE int fb_lifecycle_parse(
    const char *, enum fb_lifecycle *, struct fb_error *);
FB_MUST_USE int fb_level_parse(
    const char *, enum fb_level *, struct fb_error *);
static inline bool
fb_volume_captured(enum fb_volume_kind kind)
{
	return kind != FB_VOLUME_CDROM && kind != FB_VOLUME_FLOPPY;
}

/* Method of a disk that its driver cannot capture: it is listed, with the
 * reason in its note. */
#define FB_METHOD_LEFT_OUT "left-out"
bool fb_volume_is_captured(const struct fb_volume *volume);

#endif
