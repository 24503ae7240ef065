/*
 * The topology hash: has the fleet changed?
 *
 * SHA-256 over the canonical bytes: a domain and version line, then per
 * machine, sorted by source and id, length-prefixed fields source, id,
 * parent, role, description digest, and each volume's name, kind and (disks)
 * capacity.  Power and anything volatile are not in it.
 * Spec: fleetbak-format(5), "Topology".
 */
#ifndef FB_FLEET_TOPOLOGY_H
#define FB_FLEET_TOPOLOGY_H

#include "fleetbak/fleet/fleet.h"

/* Append the canonical bytes of the whole fleet, or of the selection. */
void fb_topology_add(
    struct fb_buf *dst, const struct fb_fleet *fleet, bool selected_only);

/* Their SHA-256, without ever holding all of them. */
void fb_topology_digest(const struct fb_fleet *fleet, bool selected_only,
    struct fb_digest *ret_digest);

/* Facts said one by one; beyond them only their number. */
#define FB_TOPOLOGY_FACTS_MAX 200

/*
 * A readable difference between two settled fleets, one line a fact:
 * "+ lab/web-02 new", "- lab/old gone", "~ lab/db: disk 'root' 1073741824 ->
 * 2147483648 bytes", "! lab/db cannot be looked at now".  Nothing is appended
 * exactly when their canonical bytes are the same.
 *
 * Returns how many facts are changes; the others, which begin with "!", say
 * that it cannot be told, of a source or of a machine.
 */
size_t fb_topology_diff(const struct fb_fleet *before,
    const struct fb_fleet *after, struct fb_buf *dst);

/*
 * Units: machines that share one quiescence window.  Sets machine->unit.
 * A machine that two configured units claim is FB_ECONFIG.
 */
struct fb_unit {
	char *name; /* configured name, with "-<label value>" for label units;
	             * a machine alone: "source/id" */
	size_t *members; /* indices of selected machines, in stop order:
	                  * children before parents */
	size_t count;
};

struct fb_units {
	struct fb_unit *items; /* sorted by name */
	size_t count;
};

FB_MUST_USE int fb_units_make(struct fb_fleet *fleet,
    const struct fb_config *config, struct fb_units *ret_units,
    struct fb_error *err);
void fb_units_release(struct fb_units *units);

#endif
