/*
 * Restoring canisters: a snapshot is unpacked into the spool, must have the
 * checksum of the backup, is uploaded, and what the upload called it is loaded
 * while the canister is stopped.
 *
 * Only that: one that is new on the canister after an upload whose answer was
 * lost may be half of it, or somebody else's.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/driver/canic.h"

#include "definition.h"
#include "icp_internal.h"
#include "local_internal.h"

/* Of a restore that was finished: 90 days. */
#define MARKER_NS (INT64_C(90) * 86400 * INT64_C(1000000000))

/* What a run that died has left at work is waited for so long. */
#define LOCK_MS 60000

/* The canister that is written. */
static const char *
target_of(const struct fb_restore_request *request)
{
	return request->mode == FB_RESTORE_AS_NEW ? request->new_id
	                                          : request->machine->id;
}

/* ------------------------------------------------------------ definition */

static int
load_definition(const struct fb_restore_request *request,
    json_t **ret_definition, struct fb_error *err)
{
	const char *dir = request->definition_dir;
	FB_AUTO_FREE char *path = fb_format("%s/" FB_DEFINITION_FILE,
	    dir != NULL ? dir : "");
	FB_AUTO_JSON json_t *definition = NULL;
	struct fb_digest digest;
	struct fb_error why = { 0 };
	const char *hex;
	int rc = FB_ENOTFOUND;

	if (dir != NULL && dir[0] != '\0')
		rc = fb_icp_read_facts(path, &definition, &why);
	hex = fb_icp_fact(definition, "checksum");
	if (rc == FB_OK &&
	    (fb_icp_fact(definition, "canister")[0] == '\0' ||
	        fb_digest_parse((struct fb_span){ (const uint8_t *)hex,
	                            strlen(hex) },
	            &digest, &why) < 0))
		rc = FB_ECORRUPT;
	if (rc == FB_OK) {
		*ret_definition = FB_STEAL(definition);
		return FB_OK;
	}
	(void)fb_fail_id(err, FB_EUNSUP, "E-RST-DEFINITION",
	    "the backup has no definition of a canister");
	return fb_hint(err, "restore its volumes with --target DIR");
}

/* ------------------------------------------------------------------ site */

/* A restore under way: spool/restores/TOKEN. */
struct site {
	char *dir, *tree;
	json_t *facts;
};

static void
site_release(struct site *site)
{
	free(site->dir);
	free(site->tree);
	json_decref(site->facts);
}
#define AUTO_SITE FB_CLEANUP(site_release)

static int
site_load(const struct fb_icp *icp, const char *token, struct site *ret_site,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;

	ret_site->dir = fb_format("%s/restores/%s", icp->spool, token);
	ret_site->tree = fb_format("%s/artifact", ret_site->dir);
	path = fb_format("%s/restore.json", ret_site->dir);
	return fb_icp_read_facts(path, &ret_site->facts, err);
}

static int
site_save(const struct site *site, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/restore.json", site->dir);

	return fb_icp_write_facts(path, site->facts, err);
}

static int
set(const struct site *site, const char *key, json_t *value,
    struct fb_error *err)
{
	(void)json_object_set_new(site->facts, key, value);
	return site_save(site, err);
}

static bool
is_set(const struct site *site, const char *key)
{
	return json_is_true(json_object_get(site->facts, key));
}

/* Those of finished restores that nobody will go on with any more. */
static void
sweep(const struct fb_icp *icp)
{
	FB_AUTO_FREE char *dir = fb_format("%s/restores", icp->spool);
	FB_AUTO_LISTING char **tokens = NULL;
	struct fb_error ignored = { 0 };

	if (fb_io_list(dir, &tokens, &ignored) < 0)
		return;
	for (char **token = tokens; *token != NULL; token++) {
		AUTO_SITE struct site site = { 0 };
		json_int_t done_ns;

		if (!fb_name_ok(*token, strlen(*token)) ||
		    site_load(icp, *token, &site, &ignored) < 0)
			continue;
		done_ns = json_integer_value(
		    json_object_get(site.facts, "done_ns"));
		if (done_ns > 0 &&
		    done_ns < fb_clock_wall_ns() - MARKER_NS)
			(void)!fb_io_remove_tree(site.dir, &ignored);
	}
}

/* ----------------------------------------------------------------- check */

static char *
problem_of(
    const struct fb_restore_request *request, const struct fb_volume *volume)
{
	if (volume->kind != FB_VOLUME_DEFINITION &&
	    (volume->kind != FB_VOLUME_TREE ||
	        strcmp(volume->name, FB_ICP_SNAPSHOT) != 0))
		return fb_format("icp takes the snapshot of a canister, and "
				 "this is the %s '%s'",
		    fb_volume_kind_name(volume->kind), volume->name);
	if (!request->all_volumes)
		return fb_strdup("icp restores canisters whole only");
	return NULL;
}

/* Who is fixed is restored as itself, or not at all. */
static int
check_identity(const struct fb_icp *icp,
    const struct fb_restore_request *request, const json_t *definition,
    struct fb_error *err)
{
	const char *target = target_of(request);
	const char *was = fb_icp_fact(definition, "canister");

	if (!fb_canic_principal_ok(target))
		return fb_fail_id(err, FB_ECONFIG, "E-NAME",
		    "'%s' is no principal of a canister", target);
	if (strcmp(target, was) == 0 ||
	    (strcmp(fb_icp_fact(definition, "identity"), "relocatable") ==
	            0 &&
	        !fb_icp_is_fixed(icp, was)))
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-ICP-FIXED",
	    "canister '%s' has a fixed identity: it is not restored as '%s'",
	    was, target);
	return fb_hint(err, "restore it --in-place");
}

/* One that is no machine of this source is filled only when it is empty, or
 * when it is this very restore that filled it. */
static int
check_empty(struct fb_icp *icp, const char *target, const char *token,
    const struct fb_icp_how *how, struct fb_error *err)
{
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	AUTO_SITE struct site site = { 0 };
	struct fb_error ignored = { 0 };
	int rc = fb_icp_status(icp, target, how, &status, err);

	if (rc == FB_ENOTFOUND)
		return fb_hint(err,
		    "the platform gives ids: make one with icp canister "
		    "create --detached, and name that");
	if (rc < 0 || status.module[0] == '\0' ||
	    site_load(icp, token, &site, &ignored) == FB_OK)
		return rc;
	(void)fb_fail_id(err, FB_EREFUSED, "E-ICP-EMPTY",
	    "canister '%s' has code, and is no machine of this source",
	    target);
	return fb_hint(err, "name one that is empty, or have the root "
			    "register it and restore --in-place");
}

static void
plan_space(const struct fb_icp *icp, struct fb_restore_plan *plan)
{
	FB_AUTO_FREE char *dir = fb_strdup(icp->spool);
	struct statvfs st;
	char *slash = strrchr(dir, '/');

	plan->space_bytes = INT64_MAX;
	if (statvfs(dir, &st) == 0) {
		plan->space_bytes = (uint64_t)st.f_bavail * st.f_frsize;
		return;
	}
	*slash = '\0'; /* it is made when it is needed */
	if (statvfs(dir, &st) == 0)
		plan->space_bytes = (uint64_t)st.f_bavail * st.f_frsize;
}

int
fb_icp_restore_check(struct fb_driver *base, const struct fb_fleet *fleet,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	const struct fb_machine *machine = request->machine;
	FB_AUTO_JSON json_t *definition = NULL;
	struct fb_icp_how how = fb_icp_plain(0);
	int rc = load_definition(request, &definition, err);

	if (rc == FB_OK)
		rc = check_identity(icp, request, definition, err);
	if (rc < 0)
		return rc;
	ret_plan->now = fb_fleet_find(fleet, base->source, target_of(request));
	if (ret_plan->now == NULL || request->mode == FB_RESTORE_AS_NEW)
		rc = check_empty(
		    icp, target_of(request), request->token, &how, err);
	if (rc < 0)
		return rc;
	ret_plan->volumes =
	    fb_alloc(machine->volume_count + 1, sizeof(*ret_plan->volumes));
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];
		struct fb_restore_volume_plan *plan;

		if (!fb_volume_is_captured(volume))
			continue;
		plan = &ret_plan->volumes[ret_plan->volume_count++];
		plan->volume = fb_strdup(volume->name);
		plan->location = fb_format("%s of canister '%s'%s%s",
		    volume->name, target_of(request),
		    icp->environment != NULL ? ", environment " : "",
		    icp->environment != NULL ? icp->environment : "");
		plan->exists = ret_plan->now != NULL;
		if (volume->kind == FB_VOLUME_TREE)
			plan->need_bytes = volume->size;
		plan->problem = problem_of(request, volume);
	}
	plan_space(icp, ret_plan);
	return FB_OK;
}

/* ----------------------------------------------------------------- begin */

/* In place the engine has stopped it; what is no machine yet is stopped here,
 * once it is known that there is nothing in it. */
static int
check_down(struct fb_icp *icp, const char *target,
    const struct fb_icp_how *how, struct fb_error *err)
{
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	int rc = fb_icp_status(icp, target, how, &status, err);

	if (rc == FB_OK && status.state != FB_ICP_STOPPED)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-ICP-RUNNING",
		    "canister '%s' is %s: nothing is loaded before it is "
		    "stopped",
		    target, fb_icp_state_name(status.state));
	return rc;
}

static int
make_down(struct fb_icp *icp, const struct fb_restore_request *request,
    const struct fb_verb *verb, struct fb_error *err)
{
	const char *target = target_of(request);
	struct fb_icp_how how = fb_icp_how(verb, 0);
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	int rc = fb_icp_status(icp, target, &how, &status, err);

	if (rc < 0 || status.state == FB_ICP_STOPPED)
		return rc;
	return status.module[0] == '\0'
	    ? fb_icp_bring_down(icp, target, verb, err)
	    : check_down(icp, target, &how, err);
}

int
fb_icp_restore_begin(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	struct fb_icp_how how = fb_icp_how(verb, 0);
	AUTO_SITE struct site site = { 0 };
	int rc = site_load(icp, request->token, &site, err);

	if (rc != FB_ENOTFOUND)
		return rc; /* it was begun before */
	*err = (struct fb_error){ 0 };
	sweep(icp);
	rc = FB_OK;
	if (request->mode == FB_RESTORE_AS_NEW)
		rc = check_empty(icp, target_of(request), request->token,
		    &how, err);
	if (rc == FB_OK)
		rc = make_down(icp, request, verb, err);
	if (rc == FB_OK)
		rc = fb_io_mkdirs(site.tree, 0700, err);
	if (rc < 0)
		return rc;
	site.facts =
	    json_pack("{s:i,s:s}", "format", 1, "target", target_of(request));
	return site_save(&site, err);
}

int
fb_icp_restore_open(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	AUTO_SITE struct site site = { 0 };
	int rc;

	(void)verb;
	if (volume->kind != FB_VOLUME_TREE ||
	    strcmp(volume->name, FB_ICP_SNAPSHOT) != 0)
		return fb_fail(err, FB_EUNSUP,
		    "icp has no volume '%s' to write", volume->name);
	rc = site_load(icp, request->token, &site, err);
	if (rc == FB_OK && is_set(&site, "done"))
		rc = fb_fail(err, FB_ECONFLICT,
		    "canister '%s' was restored already", target_of(request));
	return rc < 0 ? rc
	              : fb_local_tree_target(
	                    site.tree, NULL, true, ret_target, err);
}

/* ---------------------------------------------------------------- finish */

struct making {
	struct fb_icp *icp;
	const char *target;
	struct site site;
	json_t *definition;
	struct fb_icp_how how;
	struct fb_error *missing; /* or NULL */
};

/* What the command itself puts into the directory, and leaves there when it is
 * cut off; a snapshot may have been downloaded with its lock. */
static void
remove_of_command(const struct making *m, const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", m->site.tree, name);
	struct fb_error ignored = { 0 };

	(void)!fb_io_unlink(path, &ignored);
}

static int
sum_tree(const struct making *m, bool *ret_equal, struct fb_error *err)
{
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	uint64_t size = 0;
	int rc = fb_canic_sum(m->site.tree, &digest, &size, err);

	if (rc < 0)
		return rc;
	fb_digest_hex(&digest, hex);
	*ret_equal =
	    strcmp(hex, fb_icp_fact(m->definition, "checksum")) == 0;
	return FB_OK;
}

/* What is uploaded is what was backed up. */
static int
check_sum(const struct making *m, struct fb_error *err)
{
	bool again = json_object_get(m->site.facts, "before") != NULL;
	bool equal = false;
	int rc;

	if (again)
		remove_of_command(m, ".upload_progress.json");
	rc = sum_tree(m, &equal, err);
	if (rc == FB_OK && !equal && again) {
		remove_of_command(m, ".lock");
		rc = sum_tree(m, &equal, err);
	}
	return rc < 0 || equal
	    ? rc
	    : fb_fail_id(err, FB_ECORRUPT, "E-ICP-CHECKSUM",
	          "what was restored to '%s' has not the checksum of the "
	          "backup: nothing is uploaded",
	          m->site.tree);
}

static void
say_left(struct making *m, const char *what)
{
	if (m->missing == NULL || m->missing->code < 0)
		return;
	(void)fb_fail_id(m->missing, FB_ECONFLICT, "E-ICP-LEFT",
	    "snapshot %s of canister '%s' may be left of this restore: it is "
	    "not known whose it is, or it could not be removed",
	    what, m->target);
	(void)fb_hint(m->missing, "when it is nobody's: icp canister snapshot "
				  "delete %s %s",
	    m->target, what);
}

/* An upload before this one was cut off: what is new may be half of it. */
static void
note_left(struct making *m, const struct fb_icp_inventory *now)
{
	const json_t *before = json_object_get(m->site.facts, "before");
	const struct fb_icp_snapshot *one;
	bool gone;

	if (before != NULL &&
	    fb_icp_new_ones(before, now, &one, &gone) > 0)
		(void)json_object_set_new(
		    m->site.facts, "left", json_string(one->id));
}

static int
take_uploaded(struct making *m, const struct fb_icp_snapshot *made,
    struct fb_error *err)
{
	const json_t *before = json_object_get(m->site.facts, "before");
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now = { 0 };
	const struct fb_icp_snapshot *one;
	bool gone;
	int rc = fb_icp_inventory(m->icp, m->target, &m->how, &now, err);

	if (rc < 0)
		return rc;
	if (fb_icp_new_ones(before, &now, &one, &gone) != 1 ||
	    strcmp(one->id, made->id) != 0) {
		(void)fb_fail_id(err, FB_ECONFLICT, "E-ICP-AMBIGUOUS",
		    "snapshot '%s', which was uploaded to canister '%s', is "
		    "not the only new one there",
		    made->id, m->target);
		return fb_hint(err, "who else makes snapshots of it?  Remove "
				    "by hand what nobody needs, and resume");
	}
	return set(&m->site, "uploaded", json_string(made->id), err);
}

static int
upload(struct making *m, struct fb_error *err)
{
	const char *const words[] = { "snapshot", "upload", m->target,
		"--input", m->site.tree, "--json", NULL };
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now = { 0 };
	FB_AUTO_BUF struct fb_buf answer = { 0 };
	struct fb_icp_how how = m->how;
	struct fb_icp_snapshot made = { 0 };
	int rc = check_sum(m, err);

	if (rc == FB_OK)
		rc = fb_icp_inventory(
		    m->icp, m->target, &m->how, &now, err);
	if (rc < 0)
		return rc;
	note_left(m, &now);
	rc = set(&m->site, "before", fb_icp_ids(&now), err);
	how.timeout_ms = m->icp->transfer_ms;
	if (rc == FB_OK)
		rc = fb_icp_run(m->icp, words, &how, &answer, err);
	if (rc == FB_OK)
		rc = fb_icp_parse_made(fb_buf_span(&answer), &made, err);
	return rc < 0 ? rc : take_uploaded(m, &made, err);
}

static int
check_module(struct making *m, struct fb_error *err)
{
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	const char *wanted = fb_icp_fact(m->definition, "module_hash");
	int rc = fb_icp_status(m->icp, m->target, &m->how, &status, err);

	if (rc < 0 || wanted[0] == '\0' ||
	    strcmp(status.module, wanted) == 0)
		return rc;
	(void)fb_fail_id(err, FB_EFAILED, "E-ICP-MODULE",
	    "canister '%s' has the module %s after its snapshot was loaded, "
	    "and %s was backed up",
	    m->target, status.module[0] != '\0' ? status.module : "(none)",
	    wanted);
	return fb_hint(err, "it is left stopped");
}

static int
load(struct making *m, struct fb_error *err)
{
	const char *uploaded = fb_icp_fact(m->site.facts, "uploaded");
	const char *const words[] = { "snapshot", "restore", m->target,
		uploaded, NULL };
	int rc = check_down(m->icp, m->target, &m->how, err);

	/* Done once more it does the same, as long as it is down. */
	if (rc == FB_OK)
		rc = fb_icp_run(m->icp, words, &m->how, NULL, err);
	if (rc == FB_OK)
		rc = check_module(m, err);
	return rc < 0 ? rc : set(&m->site, "loaded", json_true(), err);
}

/* The canister is whole: what cannot be cleared away is said. */
static void
clear_away(struct making *m)
{
	const char *uploaded = fb_icp_fact(m->site.facts, "uploaded");
	const char *left = fb_icp_fact(m->site.facts, "left");
	struct fb_error why = { 0 };

	if (fb_icp_delete_snapshot(
	        m->icp, m->target, uploaded, &m->how, &why) < 0)
		say_left(m, uploaded);
	else if (left[0] != '\0')
		say_left(m, left);
}

static int
make(struct making *m, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/lock", m->site.dir);
	FB_AUTO_CLOSE int lock_fd =
	    fb_lock_take(path, LOCK_MS, NULL, "upload of a snapshot", err);
	int rc = lock_fd < 0 ? lock_fd : FB_OK;

	if (rc == FB_OK && m->how.lock_fd < 0)
		m->how.lock_fd = lock_fd;
	if (rc == FB_OK && fb_icp_fact(m->site.facts, "uploaded")[0] == '\0')
		rc = upload(m, err);
	if (rc == FB_OK && !is_set(&m->site, "loaded"))
		rc = load(m, err);
	if (rc < 0)
		return rc;
	clear_away(m);
	(void)json_object_set_new(m->site.facts, "done_ns",
	    json_integer((json_int_t)fb_clock_wall_ns()));
	rc = set(&m->site, "done", json_true(), err);
	return rc < 0 ? rc : fb_io_remove_tree(m->site.tree, err);
}

int
fb_icp_restore_finish(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct making m = { .icp = (struct fb_icp *)base,
		.target = target_of(request),
		.how = fb_icp_how(verb, 0),
		.missing = verb->ret_missing };
	int rc = site_load(m.icp, request->token, &m.site, err);

	/* It was finished before, and nobody noted it. */
	if (rc == FB_OK && !is_set(&m.site, "done"))
		rc = load_definition(request, &m.definition, err);
	if (rc == FB_OK && m.definition != NULL)
		rc = make(&m, err);
	json_decref(m.definition);
	site_release(&m.site);
	return rc;
}
