/*
 * Restoring to MIOSA.  What a backup can be replayed to depends on what was
 * captured, and on whether the provider still has the snapshot that it was
 * read from: that one goes back in place, or becomes a new computer; files go
 * into a running guest, old or new; and nobody takes an export back.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "definition.h"
#include "miosa_internal.h"

#define NS_PER_MS INT64_C(1000000)

#define POWER_MS 600000

/* How long a restore that was accepted may show nothing of itself, in times of
 * settle_time. */
#define SIGN_TIMES 6

enum way {
	WAY_NONE,
	WAY_BACK,   /* the provider's snapshot, in place */
	WAY_FORK,   /* a new computer of it */
	WAY_FILES,  /* into the guest that is there */
	WAY_NEW,    /* into the guest of a new computer */
};

struct restoring {
	struct fb_miosa *miosa;
	const struct fb_restore_request *request;
	enum fb_miosa_family family;
	enum way way;
	char *sid; /* NULL: the provider has none any more */
};

static void
restoring_release(struct restoring *r)
{
	free(r->sid);
}
#define AUTO_RESTORING FB_CLEANUP(restoring_release)

/* ---------------------------------------------------------------- check */

static bool
has_kind(const struct fb_machine *machine, enum fb_volume_kind kind)
{
	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].kind == kind &&
		    fb_volume_is_captured(&machine->volumes[i]))
			return true;
	return false;
}

/* Files by themselves, where only some are asked for. */
static enum way
choose_way(const struct restoring *r)
{
	const struct fb_restore_request *request = r->request;
	bool as_new = request->mode == FB_RESTORE_AS_NEW;
	bool whole = request->all_volumes && r->sid != NULL;

	if (whole && as_new && r->family == FB_MIOSA_ACCOUNT)
		return WAY_FORK;
	if (whole && !as_new && r->family == FB_MIOSA_CHECKPOINTS)
		return WAY_BACK;
	if (has_kind(request->machine, FB_VOLUME_TREE))
		return as_new ? WAY_NEW : WAY_FILES;
	return WAY_NONE;
}

/* The family is known of the fleet that was found, or of the computer. */
static int
begin(struct fb_miosa *miosa, const struct fb_restore_request *request,
    struct restoring *r, struct fb_error *err)
{
	const char *computer = request->machine->id;
	int rc;

	*r = (struct restoring){ .miosa = miosa, .request = request };
	rc = fb_miosa_family(miosa, computer, &r->family, err);
	if (rc == FB_ENOTFOUND)
		return fb_hint(err, "name the family of the source");
	if (rc == FB_OK && request->snapshot != NULL &&
	    request->snapshot[0] != '\0') {
		rc = fb_miosa_find(
		    miosa, computer, request->snapshot, &r->sid, err);
		if (rc == FB_ENOTFOUND || rc == FB_EFAILED) {
			*err = (struct fb_error){ 0 };
			rc = FB_OK;
		}
	}
	r->way = choose_way(r);
	return rc;
}

static const char *
why_not(const struct restoring *r)
{
	if (r->request->mode == FB_RESTORE_AS_NEW &&
	    r->family == FB_MIOSA_CHECKPOINTS)
		return "a checkpoint goes back in its place only: --in-place";
	if (r->request->mode == FB_RESTORE_AS_NEW &&
	    r->family == FB_MIOSA_SNAPSHOTS)
		return "this family names new computers by itself: restore it "
		       "with the provider's own means";
	if (r->family != FB_MIOSA_CHECKPOINTS)
		return "this family makes new computers only: --as NAME";
	if (r->request->all_volumes)
		return "MIOSA has the snapshot of this run no more, and takes "
		       "no export back: --target DIR gives the file";
	return "MIOSA's snapshot goes back whole only";
}

static char *
problem_of(const struct restoring *r, const struct fb_volume *volume,
    const struct fb_machine *now)
{
	bool file = volume->kind == FB_VOLUME_TREE;

	if (volume->kind == FB_VOLUME_DEFINITION)
		return r->request->all_volumes
		    ? NULL
		    : fb_strdup("it is not restored alone");
	if (volume->kind != FB_VOLUME_OPAQUE && !file)
		return fb_format("MIOSA takes no %s",
		    fb_volume_kind_name(volume->kind));
	if (r->request->mode == FB_RESTORE_IN_PLACE && now == NULL)
		return fb_strdup("the computer is gone, and ids are MIOSA's: "
				 "restore it --as NAME");
	if (r->way == WAY_BACK || r->way == WAY_FORK)
		return NULL;
	if (!file)
		return fb_strdup(why_not(r));
	if (r->way == WAY_FILES && now->power != FB_POWER_UP)
		return fb_strdup("files go into a running guest: start it");
	return NULL;
}

static char *
location_of(const struct restoring *r, const struct fb_volume *volume)
{
	const struct fb_restore_request *request = r->request;
	const char *id = request->machine->id;

	if (volume->kind == FB_VOLUME_DEFINITION)
		return fb_strdup(
		    r->way == WAY_NEW ? "size and template of the new computer"
		                      : "nothing of it is changed");
	switch (r->way) {
	case WAY_BACK:
		return fb_format("computer '%s', from MIOSA's own snapshot "
		                 "'%s': no bytes are sent", id, r->sid);
	case WAY_FORK:
		return fb_format("new computer '%s', of MIOSA's own snapshot "
		                 "'%s': no bytes are sent", request->new_id,
		    r->sid);
	case WAY_FILES:
		return fb_format("files in the running guest of '%s'; what is "
		                 "not in the backup stays", id);
	case WAY_NEW:
		return fb_format("files in the guest of a new computer '%s'",
		    request->new_id);
	case WAY_NONE:
		break;
	}
	return fb_strdup("-");
}

int
fb_miosa_restore_check(struct fb_driver *base, const struct fb_fleet *fleet,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	const struct fb_machine *machine = request->machine;
	bool as_new = request->mode == FB_RESTORE_AS_NEW;
	AUTO_RESTORING struct restoring r = { 0 };
	int rc = begin((struct fb_miosa *)base, request, &r, err);

	if (rc < 0)
		return rc;
	ret_plan->now = as_new
	    ? NULL
	    : fb_fleet_find(fleet, base->source, machine->id);
	ret_plan->space_bytes = INT64_MAX;
	ret_plan->volumes =
	    fb_alloc(machine->volume_count + 1, sizeof(*ret_plan->volumes));
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];
		struct fb_restore_volume_plan *plan;

		if (!fb_volume_is_captured(volume))
			continue;
		plan = &ret_plan->volumes[ret_plan->volume_count++];
		plan->volume = fb_strdup(volume->name);
		plan->location = location_of(&r, volume);
		plan->exists = ret_plan->now != NULL;
		plan->problem = problem_of(&r, volume, ret_plan->now);
	}
	return FB_OK;
}

/* ---------------------------------------------------------- definition */

static int
load_definition(const struct fb_restore_request *request, json_t **ret_json,
    struct fb_error *err)
{
	const char *dir = request->definition_dir;
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc;

	if (dir == NULL || dir[0] == '\0') {
		(void)fb_fail_id(err, FB_EUNSUP, "E-RST-DEFINITION",
		    "the backup has no definition of a computer");
		return fb_hint(err, "restore its volumes with --target DIR");
	}
	path = fb_format("%s/%s", dir, FB_DEFINITION_FILE);
	rc = fb_io_read_file(path, 1 << 20, &bytes, err);
	return rc < 0 ? rc
	              : fb_json_parse(fb_buf_span(&bytes), 1 << 20,
	                    FB_DEFINITION_FILE, ret_json, err);
}

/* ------------------------------------------------------ a new computer */

/* Is the one of that name what this restore asked for? */
static int
check_ours(struct fb_miosa *miosa, const struct fb_restore_request *request,
    const char *id, struct fb_error *err)
{
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	int rc = fb_miosa_computer(miosa, id, &now, err);

	if (rc < 0)
		return rc;
	return strcmp(fb_miosa_text(json_object_get(now.json, "metadata"),
	                  "fleetbak_restore"),
	           request->token) == 0
	    ? FB_OK
	    : fb_fail(err, FB_ECONFLICT,
	          "somebody else made a computer '%s'", request->new_id);
}

static int
ask_new(struct fb_miosa *miosa, const struct fb_restore_request *request,
    const char *path, const json_t *body, struct fb_error *err)
{
	FB_AUTO_FREE char *key =
	    fb_miosa_key(path, request->new_id, request->token);
	FB_AUTO_FREE char *id = NULL;
	int rc = fb_miosa_do(
	    miosa, "POST", path, body, key, NULL, NULL, err);

	if (rc < 0)
		return rc;
	rc = fb_miosa_named(miosa, request->new_id, &id, err);
	return rc == FB_ENOTFOUND
	    ? fb_fail(err, FB_EUNKNOWN,
	          "MIOSA accepted the new computer, and has none called '%s'",
	          request->new_id)
	    : rc;
}

static int
make_new(struct fb_miosa *miosa, const struct fb_restore_request *request,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *definition = NULL;
	FB_AUTO_JSON json_t *body = NULL;
	FB_AUTO_FREE char *id = NULL;
	int rc = fb_miosa_named(miosa, request->new_id, &id, err);

	if (rc == FB_OK)
		return check_ours(miosa, request, id, err);
	if (rc != FB_ENOTFOUND)
		return rc;
	*err = (struct fb_error){ 0 };
	rc = load_definition(request, &definition, err);
	if (rc < 0)
		return rc;
	body = json_pack("{s:s,s:s,s:s,s:{s:s}}", "name", request->new_id,
	    "template_type", fb_miosa_text(definition, "template_type"),
	    "size", fb_miosa_text(definition, "size"), "metadata",
	    "fleetbak_restore", request->token);
	return ask_new(miosa, request, "/computers", body, err);
}

static int
fork_new(struct restoring *r, const struct fb_verb *verb,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_path("snapshots", r->sid, "/fork");
	FB_AUTO_JSON json_t *body =
	    json_pack("{s:s}", "name", r->request->new_id);
	FB_AUTO_FREE char *id = NULL;
	/* None had that name before the restore came this far. */
	int rc = fb_miosa_named(r->miosa, r->request->new_id, &id, err);

	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		rc = ask_new(r->miosa, r->request, path, body, err);
	}
	return rc < 0 ? rc
	              : fb_miosa_bring_up(r->miosa, r->request->new_id,
	                    POWER_MS, verb->cancel, err);
}

/* ------------------------------------------------------------- in place */

/* What shows that a restore which was accepted is under way, or over. */
struct signs {
	char *updated; /* of the computer, before */
	bool seen;
	enum fb_miosa_power power;
	int64_t since_ns; /* it is so */
};

static int
look_for_signs(struct restoring *r, struct signs *signs, bool *ret_rests,
    struct fb_error *err)
{
	const char *id = r->request->machine->id;
	FB_AUTO_FREE char *path = fb_miosa_snapshot_path(
	    FB_MIOSA_CHECKPOINTS, id, r->sid, "");
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	FB_AUTO_JSON json_t *snapshot = NULL;
	bool ready;
	int rc = fb_miosa_get(r->miosa, path, &snapshot, err);

	if (rc == FB_OK)
		rc = fb_miosa_computer(r->miosa, id, &now, err);
	if (rc < 0)
		return rc;
	if (now.power == FB_MIOSA_BAD)
		return fb_fail_id(err, FB_EFAILED, "E-MIOSA-STATE",
		    "the restore failed: MIOSA says of computer '%s': %s", id,
		    now.status);
	ready = fb_miosa_state_class(fb_miosa_status_of(snapshot)) ==
	    FB_MIOSA_READY;
	if (!ready || now.power != FB_MIOSA_DOWN ||
	    strcmp(signs->updated,
	        fb_miosa_text(now.json, "updated_at")) != 0)
		signs->seen = true;
	if (now.power != signs->power || !ready)
		signs->since_ns = fb_clock_mono_ns();
	signs->power = now.power;
	*ret_rests = ready &&
	    (now.power == FB_MIOSA_UP || now.power == FB_MIOSA_DOWN);
	return FB_OK;
}

static int
no_sign(const struct restoring *r, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EFAILED, "E-MIOSA-UNSEEN",
	    "MIOSA accepted the restore of '%s', and nothing shows that it was "
	    "done", r->request->machine->id);
	return fb_hint(err, "see to the computer with the provider; restore "
			    "--resume asks for it again");
}

/*
 * It is accepted and then done by itself, and nobody says when.  The computer
 * was down: it is done when it runs again, or when something was seen to
 * happen and nothing does any more.
 */
static int
await_back(struct restoring *r, struct signs *signs,
    const struct fb_verb *verb, struct fb_error *err)
{
	int64_t steady = (int64_t)r->miosa->settle_ms * NS_PER_MS;
	struct fb_miosa_wait wait = fb_miosa_wait_until(
	    r->miosa->create_ms, verb->timeout_ms, verb->cancel);
	int64_t began = fb_clock_mono_ns();

	signs->since_ns = began;
	signs->power = FB_MIOSA_DOWN;
	for (;;) {
		bool rests = false;
		int rc = look_for_signs(r, signs, &rests, err);
		int64_t now = fb_clock_mono_ns();

		if (rc < 0)
			return rc;
		if (rests && signs->seen &&
		    (signs->power == FB_MIOSA_UP ||
		        now - signs->since_ns >= steady))
			return FB_OK;
		if (!signs->seen && now - began >= steady * SIGN_TIMES)
			return no_sign(r, err);
		rc = fb_miosa_pause(&wait, "restoring", err);
		if (rc < 0)
			return rc;
	}
}

static int
ask_back(struct restoring *r, const struct fb_verb *verb,
    struct fb_error *err)
{
	const char *id = r->request->machine->id;
	FB_AUTO_FREE char *path = fb_miosa_snapshot_path(
	    FB_MIOSA_CHECKPOINTS, id, r->sid, "/restore");

	for (int i = 0;; i++) {
		int rc = fb_miosa_bring_down(
		    r->miosa, id, POWER_MS, verb->cancel, err);

		if (rc == FB_OK)
			rc = fb_miosa_do(r->miosa, "POST", path, NULL, NULL,
			    verb->cancel, NULL, err);
		/* "Computer is running": it came up in between. */
		if (rc != FB_ECONFLICT || i > 0)
			return rc;
		*err = (struct fb_error){ 0 };
	}
}

static int
go_back(struct restoring *r, const struct fb_verb *verb, struct fb_error *err)
{
	const char *id = r->request->machine->id;
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	FB_AUTO_FREE char *updated = NULL;
	struct signs signs = { 0 };
	int rc = fb_miosa_bring_down(
	    r->miosa, id, POWER_MS, verb->cancel, err);

	if (rc == FB_OK)
		rc = fb_miosa_computer(r->miosa, id, &now, err);
	if (rc < 0)
		return rc;
	signs.updated = updated =
	    fb_strdup(fb_miosa_text(now.json, "updated_at"));
	rc = ask_back(r, verb, err);
	if (rc == FB_OK)
		rc = await_back(r, &signs, verb, err);
	/* It may have been started; who is to be up is started by others. */
	return rc < 0 ? rc
	              : fb_miosa_bring_down(
	                    r->miosa, id, POWER_MS, verb->cancel, err);
}

/* ---------------------------------------------------------------- verbs */

int
fb_miosa_restore_begin(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	AUTO_RESTORING struct restoring r = { 0 };
	int rc = begin(miosa, request, &r, err);

	if (rc < 0)
		return rc;
	if (r.way == WAY_NONE)
		return fb_fail(err, FB_EUNSUP, "%s", why_not(&r));
	if (r.way == WAY_NEW) {
		rc = make_new(miosa, request, err);
		return rc < 0 ? rc
		              : fb_miosa_bring_up(miosa, request->new_id,
		                    POWER_MS, verb->cancel, err);
	}
	if (r.way != WAY_FILES)
		return FB_OK;
	rc = fb_miosa_computer(miosa, request->machine->id, &now, err);
	if (rc == FB_OK && now.power != FB_MIOSA_UP)
		rc = fb_fail(err, FB_ECONFLICT,
		    "computer '%s' is %.64s, and files go into a running "
		    "guest", now.id, now.status);
	return rc;
}

/* The provider does it, in restore_finish. */
static void
kept_close(struct fb_target *target)
{
	free(target);
}

static const struct fb_target_ops kept_ops = { .close = kept_close };

static int
open_guest(struct restoring *r, const struct fb_volume *volume,
    struct fb_target **ret_target, struct fb_error *err)
{
	const struct fb_restore_request *request = r->request;
	FB_AUTO_JSON json_t *definition = NULL;
	FB_AUTO_FREE char *id = NULL;
	const char *root;
	int rc = load_definition(request, &definition, err);

	if (rc == FB_OK && r->way == WAY_NEW)
		rc = fb_miosa_named(r->miosa, request->new_id, &id, err);
	if (rc == FB_OK && r->way == WAY_NEW)
		rc = check_ours(r->miosa, request, id, err);
	if (rc < 0)
		return rc;
	root = fb_miosa_text(
	    json_object_get(definition, "trees"), volume->name);
	return fb_miosa_target_guest(r->miosa,
	    id != NULL ? id : request->machine->id, root, request->token,
	    volume->name, ret_target, err);
}

int
fb_miosa_restore_open(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	AUTO_RESTORING struct restoring r = { 0 };
	int rc = begin((struct fb_miosa *)base, request, &r, err);

	(void)verb;
	if (rc < 0)
		return rc;
	if (r.way == WAY_BACK || r.way == WAY_FORK) {
		struct fb_target *target = fb_alloc(1, sizeof(*target));

		target->ops = &kept_ops;
		target->size = volume->size;
		target->kept = true;
		*ret_target = target;
		return FB_OK;
	}
	if (volume->kind != FB_VOLUME_TREE || r.way == WAY_NONE)
		return fb_fail(err, FB_EUNSUP, "%s", why_not(&r));
	return open_guest(&r, volume, ret_target, err);
}

int
fb_miosa_restore_finish(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	AUTO_RESTORING struct restoring r = { 0 };
	int rc = begin(miosa, request, &r, err);

	if (rc == FB_OK && r.way == WAY_BACK)
		return go_back(&r, verb, err);
	if (rc == FB_OK && r.way == WAY_FORK)
		rc = fork_new(&r, verb, err);
	if (rc == FB_OK && (r.way == WAY_FORK || r.way == WAY_NEW) &&
	    !request->start)
		rc = fb_miosa_bring_down(miosa, request->new_id, POWER_MS,
		    verb->cancel, err);
	return rc;
}
