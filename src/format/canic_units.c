/* Which members of canic's manifest belong together; they do by role. */
#include "canic_units.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

static int
check_role(const char *role, const char *what, struct fb_error *err)
{
	return fb_name_ok(role, strlen(role))
	    ? FB_OK
	    : canic_fail(err, "%s: role '%.80s' is no name", what, role);
}

int
canic_role(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	int rc = canic_text(object, key, what, ret, err);

	return rc < 0 ? rc : check_role(*ret, what, err);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names, sorted and each there once; borrowed, the caller frees the array. */
struct names {
	const char **items;
	size_t count;
};

static void
release_names(struct names *names)
{
	free(names->items);
}
#define AUTO_NAMES FB_CLEANUP(release_names)

static bool
have(const struct names *names, const char *name)
{
	return names->count > 0 &&
	    bsearch(&name, names->items, names->count, sizeof(*names->items),
	        compare_names) != NULL;
}

/* The first of two that are equal, or NULL. */
static const char *
sort_names(struct names *names)
{
	if (names->count > 1)
		qsort(names->items, names->count, sizeof(*names->items),
		    compare_names);
	for (size_t i = 1; i < names->count; i++)
		if (strcmp(names->items[i - 1], names->items[i]) == 0)
			return names->items[i];
	return NULL;
}

/* "roles" of an object, each once. */
static int
take_roles(const json_t *object, const char *what, size_t min,
    struct names *ret, struct fb_error *err)
{
	const json_t *list, *item;
	const char *again;
	size_t i;
	int rc = canic_list(
	    object, "roles", what, min, FB_CANIC_MEMBERS_MAX, &list, err);

	if (rc < 0)
		return rc;
	ret->items =
	    fb_alloc(json_array_size(list) + 1, sizeof(*ret->items));
	json_array_foreach(list, i, item) {
		const char *role = json_string_value(item);

		if (role == NULL)
			return canic_fail(
			    err, "%s: a role is no string", what);
		rc = check_role(role, what, err);
		if (rc < 0)
			return rc;
		ret->items[ret->count++] = role;
	}
	again = sort_names(ret);
	return again == NULL
	    ? FB_OK
	    : canic_fail(err, "%s: role '%s' is repeated", what, again);
}

/* -------------------------------------------------------------- checks */

static int
check_check(const json_t *item, bool strict, struct fb_error *err)
{
	static const char *const keys[] = { "kind", "roles", NULL };
	AUTO_NAMES struct names roles = { 0 };
	const char *kind;
	int rc = canic_only(item, strict, "check", keys, err);

	if (rc == FB_OK)
		rc = canic_text(item, "kind", "check", &kind, err);
	if (rc == FB_OK && strcmp(kind, "status") != 0)
		rc = canic_fail(
		    err, "check: kind '%.32s' is not known", kind);
	return rc < 0 ? rc : take_roles(item, "check", 0, &roles, err);
}

int
canic_checks(const json_t *list, bool strict, struct fb_error *err)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		int rc = check_check(item, strict, err);

		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/* They have been checked: all are names. */
static int
check_known(const json_t *checks, const struct names *known,
    struct fb_error *err)
{
	const json_t *item, *role;
	size_t i, k;

	json_array_foreach(checks, i, item)
		json_array_foreach(json_object_get(item, "roles"), k, role)
			if (!have(known, json_string_value(role)))
				return canic_fail(err,
				    "check: no member has role '%s'",
				    json_string_value(role));
	return FB_OK;
}

static int
take_group(const json_t *item, bool strict, const struct names *known,
    const char **ret_role, struct fb_error *err)
{
	static const char *const keys[] = { "checks", "role", NULL };
	static const char what[] = "member_checks";
	const json_t *checks;
	int rc = canic_only(item, strict, what, keys, err);

	if (rc == FB_OK)
		rc = canic_role(item, "role", what, ret_role, err);
	if (rc == FB_OK)
		rc = canic_list(item, "checks", what, 1, FB_CANIC_UNITS_MAX,
		    &checks, err);
	if (rc == FB_OK)
		rc = canic_checks(checks, strict, err);
	if (rc == FB_OK)
		rc = check_known(checks, known, err);
	if (rc == FB_OK && !have(known, *ret_role))
		rc = canic_fail(
		    err, "%s: no member has role '%s'", what, *ret_role);
	return rc;
}

static int
check_groups(const json_t *list, bool strict, const struct names *known,
    struct fb_error *err)
{
	AUTO_NAMES struct names roles = { 0 };
	const json_t *item;
	const char *again;
	size_t i;

	roles.items =
	    fb_alloc(json_array_size(list) + 1, sizeof(*roles.items));
	json_array_foreach(list, i, item) {
		int rc = take_group(item, strict, known,
		    &roles.items[roles.count++], err);

		if (rc < 0)
			return rc;
	}
	again = sort_names(&roles);
	return again == NULL ? FB_OK
	                     : canic_fail(err,
	                           "member_checks: role '%s' is repeated",
	                           again);
}

static int
check_verification(const struct fb_canic_manifest *manifest,
    const struct names *known, struct fb_error *err)
{
	static const char *const keys[] = { "deployment_checks",
		"fleet_checks", "member_checks", NULL };
	static const char what[] = "verification";
	bool strict = manifest->deployment;
	const json_t *checks, *groups;
	const json_t *item;
	json_t *plan;
	size_t i;
	int rc = canic_settle(fb_json_object(manifest->document, what,
	                          "manifest", &plan, err),
	    err);

	if (rc == FB_OK)
		rc = canic_only(plan, strict, what, keys, err);
	if (rc == FB_OK)
		rc = canic_list(plan,
		    strict ? "deployment_checks" : "fleet_checks", what, 0,
		    FB_CANIC_UNITS_MAX, &checks, err);
	if (rc == FB_OK)
		rc = canic_checks(checks, strict, err);
	if (rc == FB_OK)
		rc = check_known(checks, known, err);
	for (i = 0; rc == FB_OK && i < manifest->count; i++) {
		item = manifest->members[i].facts;
		rc = check_known(
		    json_object_get(item, "verification_checks"), known, err);
	}
	if (rc == FB_OK)
		rc = canic_list(plan, "member_checks", what, 0,
		    FB_CANIC_UNITS_MAX, &groups, err);
	return rc < 0 ? rc : check_groups(groups, strict, known, err);
}

/* ------------------------------------------------------------- parents */

static int
compare_member(const void *key, const void *item)
{
	const struct fb_canic_member *member = item;

	return strcmp(key, member->canister);
}

static void
find_parents(struct fb_canic_manifest *manifest)
{
	for (size_t i = 0; i < manifest->count; i++) {
		struct fb_canic_member *member = &manifest->members[i];
		const struct fb_canic_member *parent = member->parent == NULL
		    ? NULL
		    : bsearch(member->parent, manifest->members,
		          manifest->count, sizeof(*manifest->members),
		          compare_member);

		member->parent_at = parent == NULL
		    ? SIZE_MAX
		    : (size_t)(parent - manifest->members);
	}
}

/* Canic does not look; without an end there is no order to stop them in. */
static int
check_cycles(const struct fb_canic_manifest *manifest, struct fb_error *err)
{
	FB_AUTO_FREE size_t *seen = fb_alloc(manifest->count, sizeof(*seen));

	for (size_t i = 0; i < manifest->count; i++) {
		size_t at = i;

		while (at != SIZE_MAX && seen[at] == 0) {
			seen[at] = i + 1;
			at = manifest->members[at].parent_at;
		}
		if (at != SIZE_MAX && seen[at] == i + 1)
			return canic_fail(err,
			    "fleet: canister '%s' is among its own parents",
			    manifest->members[at].canister);
	}
	return FB_OK;
}

/* --------------------------------------------------------------- units */

/* Of a unit that is a subtree: is a member in it, or neither in it nor below
 * it?  Each way up is gone once. */
enum side { SIDE_UNKNOWN, SIDE_IN, SIDE_OUT };

static bool
is_under(const struct fb_canic_manifest *manifest, const enum side *sides,
    size_t at)
{
	at = manifest->members[at].parent_at;
	while (at != SIZE_MAX && sides[at] == SIDE_UNKNOWN)
		at = manifest->members[at].parent_at;
	return at != SIZE_MAX && sides[at] == SIDE_IN;
}

static void
note_out(
    const struct fb_canic_manifest *manifest, enum side *sides, size_t at)
{
	while (at != SIZE_MAX && sides[at] == SIDE_UNKNOWN) {
		sides[at] = SIDE_OUT;
		at = manifest->members[at].parent_at;
	}
}

/* One of its members has no parent in it, and no member that is not in it
 * stands below one that is. */
static int
check_subtree(const struct fb_canic_manifest *manifest, const char *unit,
    const struct names *roles, struct fb_error *err)
{
	FB_AUTO_FREE enum side *sides =
	    fb_alloc(manifest->count, sizeof(*sides));
	size_t tops = 0;

	for (size_t i = 0; i < manifest->count; i++)
		if (have(roles, manifest->members[i].role))
			sides[i] = SIDE_IN;
	for (size_t i = 0; i < manifest->count; i++) {
		size_t parent = manifest->members[i].parent_at;

		if (sides[i] == SIDE_IN &&
		    (parent == SIZE_MAX || sides[parent] != SIDE_IN))
			tops++;
	}
	if (tops != 1)
		return canic_fail(err, "unit '%.80s' is not connected", unit);
	for (size_t i = 0; i < manifest->count; i++) {
		if (sides[i] != SIDE_UNKNOWN)
			continue;
		if (is_under(manifest, sides, i))
			return canic_fail(err,
			    "unit '%.80s' omits canister '%s', which is below "
			    "one of it",
			    unit, manifest->members[i].canister);
		note_out(manifest, sides, i);
	}
	return FB_OK;
}

static int
take_unit(const struct fb_canic_manifest *manifest, const json_t *item,
    const struct names *known, struct names *covered, const char **ret_id,
    struct fb_error *err)
{
	static const char *const keys[] = { "kind", "roles", "unit_id", NULL };
	AUTO_NAMES struct names roles = { 0 };
	const char *kind;
	bool subtree;
	int rc = canic_only(item, manifest->deployment, "unit", keys, err);

	if (rc == FB_OK)
		rc = canic_text(item, "unit_id", "unit", ret_id, err);
	if (rc == FB_OK)
		rc = canic_text(item, "kind", "unit", &kind, err);
	if (rc == FB_OK)
		rc = take_roles(item, "unit", 1, &roles, err);
	if (rc < 0)
		return rc;
	subtree = strcmp(kind, "subtree") == 0;
	if (!subtree && strcmp(kind, "single") != 0)
		return canic_fail(err,
		    "unit '%.80s': kind '%.32s' is neither single nor subtree",
		    *ret_id, kind);
	covered->items = fb_realloc(covered->items,
	    covered->count + roles.count, sizeof(*covered->items));
	for (size_t i = 0; i < roles.count; i++) {
		if (!have(known, roles.items[i]))
			return canic_fail(err,
			    "unit '%.80s': no member has role '%s'", *ret_id,
			    roles.items[i]);
		covered->items[covered->count++] = roles.items[i];
	}
	return subtree ? check_subtree(manifest, *ret_id, &roles, err) : FB_OK;
}

static int
take_units(const struct fb_canic_manifest *manifest, const json_t *list,
    const struct names *known, struct fb_error *err)
{
	AUTO_NAMES struct names ids = { 0 };
	AUTO_NAMES struct names covered = { 0 };
	const json_t *item;
	const char *again;
	size_t i;

	ids.items = fb_alloc(json_array_size(list) + 1, sizeof(*ids.items));
	json_array_foreach(list, i, item) {
		int rc = take_unit(manifest, item, known, &covered,
		    &ids.items[ids.count++], err);

		if (rc < 0)
			return rc;
	}
	again = sort_names(&ids);
	if (again != NULL)
		return canic_fail(err, "two units are '%.80s'", again);
	(void)sort_names(&covered);
	for (i = 0; i < known->count; i++)
		if (!have(&covered, known->items[i]))
			return canic_fail(err, "no unit has role '%s'",
			    known->items[i]);
	return FB_OK;
}

int
canic_units(struct fb_canic_manifest *manifest, struct fb_error *err)
{
	static const char *const keys[] = { "backup_units", NULL };
	AUTO_NAMES struct names known = { 0 };
	const json_t *list = NULL;
	json_t *part;
	int rc = canic_settle(fb_json_object(manifest->document,
	                          "consistency", "manifest", &part, err),
	    err);

	if (rc == FB_OK)
		rc = canic_only(part, manifest->deployment, "consistency",
		    keys, err);
	if (rc == FB_OK)
		rc = canic_list(part, "backup_units", "consistency", 1,
		    FB_CANIC_UNITS_MAX, &list, err);
	if (rc < 0)
		return rc;
	known.items = fb_alloc(manifest->count, sizeof(*known.items));
	for (size_t i = 0; i < manifest->count; i++)
		known.items[known.count++] = manifest->members[i].role;
	(void)sort_names(&known); /* several may have one role */
	find_parents(manifest);
	rc = check_cycles(manifest, err);
	if (rc == FB_OK)
		rc = take_units(manifest, list, &known, err);
	return rc < 0 ? rc : check_verification(manifest, &known, err);
}
