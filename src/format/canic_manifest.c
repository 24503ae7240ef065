/* The manifest of a backup of canic's, under either of its names. */
#include <stdlib.h>
#include <string.h>

#include "canic_fields.h"
#include "canic_units.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

static const char what[] = "manifest";

void
fb_canic_manifest_free(struct fb_canic_manifest *manifest)
{
	if (manifest == NULL)
		return;
	json_decref(manifest->document);
	free(manifest->members);
	free(manifest);
}

void
fb_canic_manifest_freep(struct fb_canic_manifest **manifest)
{
	fb_canic_manifest_free(*manifest);
	*manifest = NULL;
}

/* What is not null and an object. */
static int
take_part(const struct fb_canic_manifest *manifest, const char *key,
    const char *const *keys, const json_t **ret, struct fb_error *err)
{
	json_t *part;
	int rc = canic_settle(
	    fb_json_object(manifest->document, key, what, &part, err), err);

	if (rc == FB_OK)
		rc = canic_only(part, manifest->deployment, key, keys, err);
	if (rc == FB_OK)
		*ret = part;
	return rc;
}

static int
take_origin(struct fb_canic_manifest *manifest, struct fb_error *err)
{
	static const char *const tool_keys[] = { "name", "version", NULL };
	static const char *const source_keys[] = { "environment",
		"root_canister", NULL };
	const json_t *document = manifest->document;
	const json_t *tool = NULL, *source = NULL;
	int rc = canic_version(document, "manifest_version", what, err);

	if (rc == FB_OK)
		rc = canic_text(
		    document, "backup_id", what, &manifest->backup, err);
	if (rc == FB_OK)
		rc = canic_text(
		    document, "created_at", what, &manifest->created, err);
	if (rc == FB_OK)
		rc = take_part(manifest, "tool", tool_keys, &tool, err);
	if (rc == FB_OK)
		rc = canic_text(tool, "name", "tool", &manifest->tool, err);
	if (rc == FB_OK)
		rc = canic_text(
		    tool, "version", "tool", &manifest->tool_version, err);
	if (rc == FB_OK)
		rc = take_part(manifest, "source", source_keys, &source, err);
	if (rc == FB_OK)
		rc = canic_text(source, "environment", "source",
		    &manifest->environment, err);
	return rc < 0 ? rc
	              : canic_principal(source, "root_canister", "source",
	                    &manifest->root, err);
}

/* ------------------------------------------------------------- members */

static int
take_snapshot(const json_t *item, bool strict, struct fb_canic_member *member,
    struct fb_error *err)
{
	static const char *const keys[] = { "artifact_path", "checksum",
		"checksum_algorithm", "code_version", "module_hash",
		"snapshot_id", NULL };
	static const char part[] = "source_snapshot";
	json_t *snapshot;
	int rc = canic_settle(
	    fb_json_object(item, part, "member", &snapshot, err), err);

	if (rc == FB_OK)
		rc = canic_only(snapshot, strict, part, keys, err);
	if (rc == FB_OK)
		rc = canic_text(
		    snapshot, "snapshot_id", part, &member->snapshot, err);
	if (rc == FB_OK)
		rc = canic_text_opt(snapshot, "module_hash", part,
		    &member->module_hash, err);
	if (rc == FB_OK)
		rc = canic_text_opt(snapshot, "code_version", part,
		    &member->code_version, err);
	if (rc == FB_OK)
		rc = canic_path(snapshot, part, &member->path, err);
	if (rc == FB_OK)
		rc = canic_sha256(snapshot, "checksum_algorithm", part, err);
	return rc < 0 ? rc
	              : canic_hash_opt(snapshot, "checksum", part,
	                    &member->checksum, err);
}

static int
take_identity(
    const json_t *item, struct fb_canic_member *member, struct fb_error *err)
{
	const char *mode;
	int rc = canic_text(item, "identity_mode", "member", &mode, err);

	if (rc < 0)
		return rc;
	member->fixed = strcmp(mode, "fixed") == 0;
	return member->fixed || strcmp(mode, "relocatable") == 0
	    ? FB_OK
	    : canic_fail(err,
	          "member: 'identity_mode' is '%.32s', neither fixed nor "
	          "relocatable",
	          mode);
}

static int
take_member(const json_t *item, bool strict, struct fb_canic_member *member,
    struct fb_error *err)
{
	static const char *const keys[] = { "canister_id", "controller_hint",
		"identity_mode", "parent_canister_id", "role",
		"source_snapshot", "subnet_canister_id",
		"verification_checks", NULL };
	const char *ignored;
	const json_t *checks;
	int rc = canic_only(item, strict, "member", keys, err);

	member->facts = item;
	if (rc == FB_OK)
		rc = canic_role(item, "role", "member", &member->role, err);
	if (rc == FB_OK)
		rc = canic_principal(
		    item, "canister_id", "member", &member->canister, err);
	if (rc == FB_OK)
		rc = canic_principal_opt(item, "parent_canister_id", "member",
		    &member->parent, err);
	if (rc == FB_OK)
		rc = canic_principal_opt(
		    item, "subnet_canister_id", "member", &ignored, err);
	if (rc == FB_OK)
		rc = canic_principal_opt(
		    item, "controller_hint", "member", &ignored, err);
	if (rc == FB_OK)
		rc = take_identity(item, member, err);
	if (rc == FB_OK)
		rc = canic_list(item, "verification_checks", "member", 1,
		    FB_CANIC_UNITS_MAX, &checks, err);
	if (rc == FB_OK)
		rc = canic_checks(checks, strict, err);
	if (rc == FB_OK)
		rc = take_snapshot(item, strict, member, err);
	return rc;
}

static int
compare_members(const void *a, const void *b)
{
	const struct fb_canic_member *x = a, *y = b;

	return strcmp(x->canister, y->canister);
}

static int
take_members(struct fb_canic_manifest *manifest, const json_t *fleet,
    const char *key, struct fb_error *err)
{
	const json_t *list, *item;
	size_t i;
	int rc = canic_list(
	    fleet, "members", key, 1, FB_CANIC_MEMBERS_MAX, &list, err);

	if (rc < 0)
		return rc;
	manifest->members =
	    fb_alloc(json_array_size(list), sizeof(*manifest->members));
	json_array_foreach(list, i, item) {
		rc = take_member(item, manifest->deployment,
		    &manifest->members[manifest->count++], err);
		if (rc < 0)
			return rc;
	}
	qsort(manifest->members, manifest->count, sizeof(*manifest->members),
	    compare_members);
	for (i = 1; i < manifest->count; i++)
		if (compare_members(&manifest->members[i - 1],
		        &manifest->members[i]) == 0)
			return canic_fail(err,
			    "%s: two members are canister '%s'", what,
			    manifest->members[i].canister);
	return FB_OK;
}

/* --------------------------------------------------------------- fleet */

static int
take_topology(struct fb_canic_manifest *manifest, const json_t *fleet,
    const char *key, struct fb_error *err)
{
	const char *input, *discovery, *before;
	int rc = canic_sha256(fleet, "topology_hash_algorithm", key, err);

	if (rc == FB_OK)
		rc = canic_text(
		    fleet, "topology_hash_input", key, &input, err);
	if (rc == FB_OK)
		rc = canic_hash(fleet, "discovery_topology_hash", key,
		    &discovery, err);
	if (rc == FB_OK)
		rc = canic_hash(fleet, "pre_snapshot_topology_hash", key,
		    &before, err);
	if (rc == FB_OK)
		rc = canic_hash(
		    fleet, "topology_hash", key, &manifest->topology, err);
	if (rc == FB_OK && (strcmp(discovery, before) != 0 ||
	                       strcmp(discovery, manifest->topology) != 0))
		rc = canic_fail(
		    err, "%s: its three topology hashes differ", key);
	return rc;
}

static int
take_fleet(struct fb_canic_manifest *manifest, struct fb_error *err)
{
	static const char *const keys[] = { "discovery_topology_hash",
		"members", "pre_snapshot_topology_hash", "topology_hash",
		"topology_hash_algorithm", "topology_hash_input", NULL };
	const char *key = manifest->deployment ? "deployment" : "fleet";
	const json_t *fleet = NULL;
	int rc = take_part(manifest, key, keys, &fleet, err);

	if (rc == FB_OK)
		rc = take_topology(manifest, fleet, key, err);
	return rc < 0 ? rc : take_members(manifest, fleet, key, err);
}

/* Another name of a member is no member: it is the wrong file. */
static int
check_names(const struct fb_canic_manifest *manifest, struct fb_error *err)
{
	static const char *const keys[] = { "backup_id", "consistency",
		"created_at", "deployment", "fleet", "manifest_version",
		"source", "tool", "verification", NULL };
	const char *other = manifest->deployment ? "fleet" : "deployment";
	int rc = canic_only(
	    manifest->document, manifest->deployment, what, keys, err);

	if (rc == FB_OK &&
	    json_object_get(manifest->document, other) != NULL)
		rc = canic_fail(err,
		    "%s: member '%s' is of another version than its name",
		    what, other);
	return rc;
}

int
fb_canic_manifest_parse(struct fb_span text, bool deployment,
    struct fb_canic_manifest **ret_manifest, struct fb_error *err)
{
	FB_AUTO_CANIC_MANIFEST struct fb_canic_manifest *manifest =
	    fb_alloc(1, sizeof(*manifest));
	int rc = canic_settle(fb_json_parse(text, FB_CANIC_DOC_MAX, what,
	                          &manifest->document, err),
	    err);

	manifest->deployment = deployment;
	if (rc == FB_OK)
		rc = check_names(manifest, err);
	if (rc == FB_OK)
		rc = take_origin(manifest, err);
	if (rc == FB_OK)
		rc = take_fleet(manifest, err);
	if (rc == FB_OK)
		rc = canic_units(manifest, err);
	if (rc == FB_OK)
		*ret_manifest = FB_STEAL(manifest);
	return rc;
}
