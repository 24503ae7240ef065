#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/fleet/fleet.h"

/* Room for one more in an array that doubles: it is full exactly when its
 * count is zero or a power of two. */
static void *
grow(void *items, size_t count, size_t size)
{
	if ((count & (count - 1)) != 0)
		return items;
	return fb_realloc(items, count == 0 ? 1 : 2 * count, size);
}

struct fb_machine *
fb_fleet_add(struct fb_fleet *fleet)
{
	struct fb_machine *machine;

	fleet->machines =
	    grow(fleet->machines, fleet->count, sizeof(*fleet->machines));
	machine = &fleet->machines[fleet->count++];
	*machine = (struct fb_machine){ 0 };
	return machine;
}

struct fb_volume *
fb_machine_add_volume(struct fb_machine *machine)
{
	struct fb_volume *volume;

	machine->volumes = grow(machine->volumes, machine->volume_count,
	    sizeof(*machine->volumes));
	volume = &machine->volumes[machine->volume_count++];
	*volume = (struct fb_volume){ 0 };
	return volume;
}

bool
fb_volume_is_captured(const struct fb_volume *volume)
{
	return fb_volume_captured(volume->kind) &&
	    (volume->method == NULL ||
	        strcmp(volume->method, FB_METHOD_LEFT_OUT) != 0);
}

struct fb_source_failure *
fb_fleet_add_failure(struct fb_fleet *fleet)
{
	struct fb_source_failure *failure;

	fleet->failures = grow(
	    fleet->failures, fleet->failure_count, sizeof(*fleet->failures));
	failure = &fleet->failures[fleet->failure_count++];
	*failure = (struct fb_source_failure){ 0 };
	return failure;
}

static void
release_machine(struct fb_machine *machine)
{
	fb_error_drop(machine->problem);
	for (size_t i = 0; i < machine->volume_count; i++) {
		free(machine->volumes[i].name);
		free(machine->volumes[i].note);
		free(machine->volumes[i].token);
	}
	free(machine->volumes);
	fb_labels_release(&machine->labels);
	free(machine->source);
	free(machine->driver);
	free(machine->id);
	free(machine->name);
	free(machine->role);
	free(machine->parent);
}

void
fb_fleet_release(struct fb_fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		release_machine(&fleet->machines[i]);
	for (size_t i = 0; i < fleet->failure_count; i++)
		free(fleet->failures[i].source);
	free(fleet->machines);
	free(fleet->failures);
	free(fleet->name);
	*fleet = (struct fb_fleet){ 0 };
}

static int
compare_key(const char *source, const char *id, const struct fb_machine *other)
{
	int order = strcmp(source, other->source);

	return order != 0 ? order : strcmp(id, other->id);
}

struct fb_machine *
fb_fleet_find(const struct fb_fleet *fleet, const char *source, const char *id)
{
	size_t low = 0, high = fleet->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order =
		    compare_key(source, id, &fleet->machines[middle]);

		if (order == 0)
			return &fleet->machines[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static int
compare_machines(const void *a, const void *b)
{
	const struct fb_machine *machine = a;

	return compare_key(machine->source, machine->id, b);
}

static int
compare_volumes(const void *a, const void *b)
{
	const struct fb_volume *one = a, *two = b;

	return strcmp(one->name, two->name);
}

static int
compare_failures(const void *a, const void *b)
{
	const struct fb_source_failure *one = a, *two = b;

	return strcmp(one->source, two->source);
}

static void
default_str(char **str, const char *value)
{
	if (*str == NULL)
		*str = fb_strdup(value);
}

/* A driver may leave out what does not exist; nobody after us needs to ask. */
static void
fill_in(struct fb_machine *machine)
{
	default_str(&machine->source, "");
	default_str(&machine->driver, "");
	default_str(&machine->id, "");
	default_str(&machine->name, machine->id);
	default_str(&machine->role, "");
	for (size_t i = 0; i < machine->volume_count; i++)
		default_str(&machine->volumes[i].name, "");
	if (machine->volume_count > 1)
		qsort(machine->volumes, machine->volume_count,
		    sizeof(*machine->volumes), compare_volumes);
}

void
fb_machine_refuse(
    struct fb_machine *machine, const struct fb_error *problem)
{
	if (machine->problem == NULL)
		machine->problem = fb_error_keep(problem);
}

static int
check_names(const struct fb_machine *machine, struct fb_error *err)
{
	int rc = fb_name_check(
	    "machine id", machine->id, strlen(machine->id), err);

	if (rc == FB_OK && machine->parent != NULL)
		rc = fb_name_check("parent", machine->parent,
		    strlen(machine->parent), err);
	if (rc == FB_OK && machine->role[0] != '\0')
		rc = fb_name_check(
		    "role", machine->role, strlen(machine->role), err);
	for (size_t i = 0; rc == FB_OK && i < machine->volume_count; i++) {
		const char *name = machine->volumes[i].name;

		rc = fb_name_check("volume name", name, strlen(name), err);
		if (rc == FB_OK && i > 0 &&
		    strcmp(machine->volumes[i - 1].name, name) == 0)
			rc = fb_fail_id(err, FB_ECONFIG, "E-TOPO-DUPLICATE",
			    "two volumes are named '%s'", name);
	}
	return rc;
}

static void
mark_bad_names(struct fb_fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++) {
		struct fb_machine *machine = &fleet->machines[i];
		struct fb_error err = { 0 };

		if (check_names(machine, &err) < 0)
			fb_machine_refuse(machine, &err);
	}
}

static void
mark_duplicate(struct fb_machine *machine)
{
	struct fb_error err = { 0 };

	(void)fb_fail_id(&err, FB_ECONFIG, "E-TOPO-DUPLICATE",
	    "source '%s' has two machines with the id '%s'", machine->source,
	    machine->id);
	(void)fb_hint(
	    &err, "an id must be unique in its source: give one another id");
	fb_machine_refuse(machine, &err);
}

static void
mark_duplicates(struct fb_fleet *fleet)
{
	for (size_t i = 1; i < fleet->count; i++)
		if (compare_machines(&fleet->machines[i - 1],
		        &fleet->machines[i]) == 0) {
			mark_duplicate(&fleet->machines[i - 1]);
			mark_duplicate(&fleet->machines[i]);
		}
}

size_t *
fb_fleet_parents(const struct fb_fleet *fleet)
{
	size_t *parents = fb_alloc(fleet->count, sizeof(*parents));

	for (size_t i = 0; i < fleet->count; i++) {
		const struct fb_machine *machine = &fleet->machines[i];
		const struct fb_machine *parent = machine->parent == NULL
		    ? NULL
		    : fb_fleet_find(fleet, machine->source, machine->parent);

		parents[i] = parent == NULL
		    ? SIZE_MAX
		    : (size_t)(parent - fleet->machines);
	}
	return parents;
}

static void
mark_orphans(struct fb_fleet *fleet, const size_t *parents)
{
	for (size_t i = 0; i < fleet->count; i++) {
		struct fb_machine *machine = &fleet->machines[i];
		struct fb_error err = { 0 };

		if (machine->parent == NULL || parents[i] != SIZE_MAX)
			continue;
		(void)fb_fail_id(&err, FB_ECONFIG, "E-TOPO-PARENT",
		    "its parent '%s' is not in source '%s'", machine->parent,
		    machine->source);
		fb_machine_refuse(machine, &err);
	}
}

/* Every machine on the cycle that `start` is on. */
static void
mark_cycle(struct fb_fleet *fleet, const size_t *parents, size_t start)
{
	size_t at = start;

	do {
		struct fb_machine *machine = &fleet->machines[at];
		struct fb_error err = { 0 };

		(void)fb_fail_id(&err, FB_ECONFIG, "E-TOPO-CYCLE",
		    "it is its own ancestor: '%s' has parent '%s'",
		    machine->id, machine->parent);
		fb_machine_refuse(machine, &err);
		at = parents[at];
	} while (at != start);
}

/* Follow the parents from every machine; `walk` remembers which walk saw a
 * machine first: meeting one's own walk again closes a cycle. */
static void
mark_cycles(struct fb_fleet *fleet, const size_t *parents)
{
	FB_AUTO_FREE size_t *walk = fb_alloc(fleet->count, sizeof(*walk));

	for (size_t i = 0; i < fleet->count; i++) {
		size_t at = i;

		while (at != SIZE_MAX && walk[at] == 0) {
			walk[at] = i + 1;
			at = parents[at];
		}
		if (at != SIZE_MAX && walk[at] == i + 1)
			mark_cycle(fleet, parents, at);
	}
}

int
fb_fleet_check_size(const struct fb_fleet *fleet, struct fb_error *err)
{
	size_t volumes = 0;

	for (size_t i = 0; i < fleet->count; i++)
		volumes += fleet->machines[i].volume_count;
	if (fleet->count <= FB_FLEET_MACHINES_MAX &&
	    volumes <= FB_FLEET_VOLUMES_MAX)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-FLEET-SIZE",
	    "the fleet has %zu machines with %zu volumes; at most %d with %d "
	    "go into one",
	    fleet->count, volumes, FB_FLEET_MACHINES_MAX,
	    FB_FLEET_VOLUMES_MAX);
	return fb_hint(err,
	    "divide the sources among several fleets; they may share a "
	    "repository");
}

void
fb_fleet_settle(struct fb_fleet *fleet)
{
	FB_AUTO_FREE size_t *parents = NULL;

	for (size_t i = 0; i < fleet->count; i++)
		fill_in(&fleet->machines[i]);
	if (fleet->count > 1)
		qsort(fleet->machines, fleet->count, sizeof(*fleet->machines),
		    compare_machines);
	if (fleet->failure_count > 1)
		qsort(fleet->failures, fleet->failure_count,
		    sizeof(*fleet->failures), compare_failures);
	if (fleet->count == 0)
		return;

	mark_bad_names(fleet);
	mark_duplicates(fleet);
	parents = fb_fleet_parents(fleet);
	mark_orphans(fleet, parents);
	mark_cycles(fleet, parents);
}
