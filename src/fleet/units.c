#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/topology.h"
#include "match.h"

/* Units while they are made, over all machines, selected or not: whether the
 * configuration is right does not depend on the selection. */
struct draft {
	struct fb_fleet *fleet;
	char **names; /* of the unit that claims a machine, NULL: none */
};

static int
claim(struct draft *draft, size_t machine, const char *unit,
    struct fb_error *err)
{
	const struct fb_machine *what = &draft->fleet->machines[machine];

	if (draft->names[machine] != NULL)
		return fb_fail_id(err, FB_ECONFIG, "E-UNIT-OVERLAP",
		    "machine '%s/%s' is in unit '%s' and in unit '%s'",
		    what->source, what->id, draft->names[machine], unit);
	draft->names[machine] = fb_strdup(unit);
	return FB_OK;
}

static int
claim_subtree(struct draft *draft, const struct fb_config_unit *unit,
    struct fb_error *err)
{
	const struct fb_fleet *fleet = draft->fleet;
	FB_AUTO_FREE bool *set = fb_alloc(fleet->count, sizeof(*set));
	size_t length = strlen(unit->subtree);
	bool plus = length > 0 && unit->subtree[length - 1] == '+';
	FB_AUTO_FREE char *term =
	    fb_format("%s%s", unit->subtree, plus ? "" : "+");
	int rc = match_term(fleet, term, true, set, err);

	if (rc < 0) {
		/* Its machines may be those of a source that is silent. */
		if (strcmp(err->id, "E-SEL-NONE") == 0 &&
		    fleet->failure_count > 0)
			return FB_OK;
		return fb_wrap(err, "unit '%s'", unit->name);
	}
	for (size_t i = 0; rc == FB_OK && i < fleet->count; i++)
		if (set[i])
			rc = claim(draft, i, unit->name, err);
	return rc;
}

static int
claim_label(struct draft *draft, const struct fb_config_unit *unit,
    struct fb_error *err)
{
	const char *equals = strchr(unit->label, '=');
	FB_AUTO_FREE char *key = fb_format("%.*s",
	    (int)(equals != NULL ? equals - unit->label
	                         : (ptrdiff_t)strlen(unit->label)),
	    unit->label);
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < draft->fleet->count; i++) {
		FB_AUTO_FREE char *name = NULL;
		const char *value =
		    fb_labels_get(&draft->fleet->machines[i].labels, key);

		if (value == NULL ||
		    (equals != NULL && strcmp(equals + 1, value) != 0))
			continue;
		name = equals != NULL
		    ? fb_strdup(unit->name)
		    : fb_format("%s-%s", unit->name, value);
		rc = claim(draft, i, name, err);
	}
	return rc;
}

static int
claim_all(struct draft *draft, const struct fb_config *config,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < config->unit_count; i++) {
		const struct fb_config_unit *unit = &config->units[i];

		if (unit->subtree != NULL)
			rc = claim_subtree(draft, unit, err);
		if (rc == FB_OK && unit->label != NULL)
			rc = claim_label(draft, unit, err);
	}
	return rc;
}

/* What a machine is sorted by. */
struct place {
	const char *unit;
	size_t turn; /* larger ones stop first */
	size_t machine;
};

/* By unit, then children before parents, or where those are controllers the
 * other way round, then as in the fleet. */
static int
compare_places(const void *a, const void *b)
{
	const struct place *one = a, *two = b;
	int order = strcmp(one->unit, two->unit);

	if (order != 0)
		return order;
	if (one->turn != two->turn)
		return one->turn > two->turn ? -1 : 1;
	return one->machine < two->machine ? -1 : 1;
}

/* Ancestors of a machine; a cycle, which is a problem of its own, counts as
 * deep as the fleet is large. */
static size_t
depth_of(const size_t *parents, size_t count, size_t machine)
{
	size_t depth = 0;

	while (parents[machine] != SIZE_MAX && depth < count) {
		machine = parents[machine];
		depth++;
	}
	return depth;
}

static size_t
turn_of(const struct fb_fleet *fleet, const size_t *parents, size_t machine)
{
	size_t depth = depth_of(parents, fleet->count, machine);

	return fleet->machines[machine].parent_first ? fleet->count - depth
	                                             : depth;
}

static struct place *
place_machines(const struct draft *draft, size_t *ret_count)
{
	const struct fb_fleet *fleet = draft->fleet;
	struct place *places = fb_alloc(fleet->count, sizeof(*places));
	FB_AUTO_FREE size_t *parents = fb_fleet_parents(fleet);
	size_t count = 0;

	for (size_t i = 0; i < fleet->count; i++) {
		const struct fb_machine *machine = &fleet->machines[i];

		if (!machine->selected)
			continue;
		/* A machine alone has a "/" in its unit's name, which no
		 * configured name has; doubled ids stay one unit. */
		if (draft->names[i] == NULL)
			draft->names[i] = fb_format(
			    "%s/%s", machine->source, machine->id);
		places[count++] = (struct place){ draft->names[i],
			turn_of(fleet, parents, i), i };
	}
	if (count > 1)
		qsort(places, count, sizeof(*places), compare_places);
	*ret_count = count;
	return places;
}

static void
add_member(struct fb_units *units, struct fb_fleet *fleet,
    const struct place *place)
{
	struct fb_unit *unit =
	    units->count > 0 ? &units->items[units->count - 1] : NULL;

	if (unit == NULL || strcmp(unit->name, place->unit) != 0) {
		units->items = fb_realloc(units->items, units->count + 1,
		    sizeof(*units->items));
		unit = &units->items[units->count++];
		*unit = (struct fb_unit){ .name = fb_strdup(place->unit) };
	}
	unit->members = fb_realloc(
	    unit->members, unit->count + 1, sizeof(*unit->members));
	unit->members[unit->count++] = place->machine;
	fleet->machines[place->machine].unit = units->count - 1;
}

int
fb_units_make(struct fb_fleet *fleet, const struct fb_config *config,
    struct fb_units *ret_units, struct fb_error *err)
{
	FB_AUTO_FREE char **names = fb_alloc(fleet->count, sizeof(*names));
	FB_AUTO_FREE struct place *places = NULL;
	struct draft draft = { fleet, names };
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < fleet->count; i++)
		fleet->machines[i].unit = SIZE_MAX;
	rc = claim_all(&draft, config, err);
	*ret_units = (struct fb_units){ 0 };
	if (rc == FB_OK) {
		places = place_machines(&draft, &count);
		for (size_t i = 0; i < count; i++)
			add_member(ret_units, fleet, &places[i]);
	}
	for (size_t i = 0; i < fleet->count; i++)
		free(names[i]);
	return rc;
}

void
fb_units_release(struct fb_units *units)
{
	for (size_t i = 0; i < units->count; i++) {
		free(units->items[i].name);
		free(units->items[i].members);
	}
	free(units->items);
	*units = (struct fb_units){ 0 };
}
