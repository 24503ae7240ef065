/*
 * Restoring to Morpheus: it goes back to a snapshot that it still has, when
 * that holds what was backed up.
 *
 * It takes no bytes, and does not tell where a live disk is.  It reverts
 * instances, and nothing can be asked of that but the state of the server.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "equal.h"
#include "morpheus_internal.h"

#define NS_PER_MS INT64_C(1000000)

/* -------------------------------------------------------------- check */

/* What a plan is made of. */
struct judging {
	struct fb_morpheus *m;
	const struct fb_restore_request *request;
	const char *problem; /* of all of it, or NULL */
};

struct counting {
	int64_t instance;
	size_t count;
};

static int
count_server(void *arg, const json_t *item, struct fb_error *err)
{
	struct counting *counting = arg;

	(void)err;
	counting->count +=
	    fb_morpheus_id(json_object_get(item, "instance"), "id") ==
	    counting->instance;
	return FB_OK;
}

/* Has the instance this server only? */
static int
check_alone(struct fb_morpheus *m, int64_t instance, bool *ret_alone,
    struct fb_error *err)
{
	struct counting counting = { .instance = instance };
	int rc = fb_morpheus_servers(m, false, count_server, &counting, err);

	*ret_alone = rc == FB_OK && counting.count == 1;
	return rc;
}

/* Why the machine cannot go back; *ret_why NULL: it can. */
static int
judge_machine(struct judging *j, const char **ret_why, struct fb_error *err)
{
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	bool alone = false;
	int rc = fb_morpheus_server(
	    j->m, j->request->machine->id, &server, err);

	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		*ret_why = "the server is gone, and morpheus makes none of "
			   "the bytes of a backup";
		return FB_OK;
	}
	if (rc < 0)
		return rc;
	if (server.instance < 0) {
		*ret_why = "the server belongs to no instance, and morpheus "
			   "reverts instances only";
		return FB_OK;
	}
	rc = check_alone(j->m, server.instance, &alone, err);
	if (rc == FB_OK && !alone)
		*ret_why = "its instance has several servers, which would "
			   "all be reverted";
	return rc;
}

static int
judge_snapshot(struct judging *j, const char **ret_why, struct fb_error *err)
{
	FB_AUTO_MORPHEUS_SNAPSHOT struct fb_morpheus_snapshot found = { 0 };
	const char *token = j->request->snapshot;
	int rc = token != NULL && token[0] != '\0'
	    ? fb_morpheus_look(
	          j->m, j->request->machine->id, token, &found, err)
	    : FB_ENOTFOUND;

	/* What somebody wrote to is told before the machine is stopped. */
	if (rc == FB_OK && fb_morpheus_is_whole(&found))
		return fb_morpheus_check_export(
		    j->m, j->request->machine->id, &found, err);
	if (rc < 0 && rc != FB_ENOTFOUND)
		return rc;
	*err = (struct fb_error){ 0 };
	*ret_why = "morpheus takes no bytes, and has the snapshot that was "
		   "backed up no more (keep_snapshot); --target DIR gives "
		   "the disks";
	return FB_OK;
}

static int
judge(struct judging *j, struct fb_error *err)
{
	int rc = FB_OK;

	if (j->request->mode == FB_RESTORE_AS_NEW)
		j->problem = "morpheus makes no machine of the bytes of a "
			     "backup; --target DIR gives the disks";
	else if (!j->request->all_volumes)
		j->problem = "morpheus reverts machines whole only";
	if (j->problem == NULL)
		rc = judge_machine(j, &j->problem, err);
	if (rc == FB_OK && j->problem == NULL)
		rc = judge_snapshot(j, &j->problem, err);
	return rc;
}

int
fb_morpheus_restore_check(struct fb_driver *base,
    const struct fb_fleet *fleet, const struct fb_restore_request *request,
    struct fb_restore_plan *ret_plan, struct fb_error *err)
{
	const struct fb_machine *machine = request->machine;
	struct judging j = { (struct fb_morpheus *)base, request, NULL };
	int rc = judge(&j, err);

	if (rc < 0)
		return rc;
	if (request->mode == FB_RESTORE_IN_PLACE)
		ret_plan->now =
		    fb_fleet_find(fleet, base->source, machine->id);
	ret_plan->volumes =
	    fb_alloc(machine->volume_count + 1, sizeof(*ret_plan->volumes));
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];
		struct fb_restore_volume_plan *plan;

		if (!fb_volume_is_captured(volume))
			continue;
		plan = &ret_plan->volumes[ret_plan->volume_count++];
		plan->volume = fb_strdup(volume->name);
		plan->location = fb_format(
		    "%s of '%s' on the appliance, from its own snapshot",
		    volume->name, machine->name);
		plan->exists = ret_plan->now != NULL;
		plan->problem =
		    j.problem != NULL ? fb_strdup(j.problem) : NULL;
	}
	ret_plan->space_bytes = INT64_MAX;
	return FB_OK;
}

/* ------------------------------------------------------------ reverting */

/* It is down, alone in its instance, and the snapshot is there.  What the plan
 * saw of that may be hours old. */
static int
look_ready(struct fb_morpheus *m, const struct fb_restore_request *request,
    struct fb_morpheus_server *ret_server,
    struct fb_morpheus_snapshot *ret_snapshot, struct fb_error *err)
{
	const char *id = request->machine->id;
	bool alone = false;
	int rc;

	if (request->mode != FB_RESTORE_IN_PLACE || !request->all_volumes ||
	    request->snapshot == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "morpheus reverts whole machines, in their place");
	rc = fb_morpheus_look(m, id, request->snapshot, ret_snapshot, err);
	if (rc == FB_OK && !fb_morpheus_is_whole(ret_snapshot))
		rc = fb_fail(err, FB_EFAILED, "the snapshot '%s' is %s",
		    ret_snapshot->name, ret_snapshot->status);
	if (rc == FB_OK)
		rc = fb_morpheus_server(m, id, ret_server, err);
	if (rc == FB_OK && ret_server->instance < 0)
		rc = fb_fail(err, FB_EUNSUP,
		    "machine '%s' belongs to no instance", id);
	if (rc == FB_OK && ret_server->power != FB_POWER_DOWN)
		rc = fb_fail(err, FB_ECONFLICT,
		    "machine '%s' is not off: it is not reverted", id);
	if (rc == FB_OK)
		rc = check_alone(m, ret_server->instance, &alone, err);
	if (rc == FB_OK && !alone)
		rc = fb_fail(err, FB_ECONFLICT,
		    "the instance of machine '%s' has not only this server: "
		    "all would be reverted", id);
	return rc;
}

int
fb_morpheus_restore_begin(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	FB_AUTO_MORPHEUS_SNAPSHOT struct fb_morpheus_snapshot found = { 0 };

	(void)verb;
	return look_ready(
	    (struct fb_morpheus *)base, request, &server, &found, err);
}

int
fb_morpheus_restore_open(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	static const struct fb_equal_words words = { "E-MORPHEUS-DIFFERS",
		"the snapshot on the appliance is not what was backed up",
		"restore with --target DIR, which gives the disks" };
	struct fb_artifact *disk = NULL;
	int rc;

	(void)verb;
	if (volume->kind != FB_VOLUME_DISK || request->snapshot == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "morpheus has no volume '%s' to write", volume->name);
	rc = fb_morpheus_open_disk((struct fb_morpheus *)base,
	    request->machine->id, request->snapshot, volume->name, &disk,
	    err);
	if (rc < 0)
		return rc;
	if (disk->size != volume->size) {
		disk->ops->close(disk);
		return fb_fail_id(err, FB_ECONFLICT, "E-MORPHEUS-DIFFERS",
		    "disk '%s' of the snapshot has another size",
		    volume->name);
	}
	*ret_target = fb_target_equal(disk, false, &words);
	return FB_OK;
}

/* Words of what goes on, as far as they are known: there is no list. */
static bool
passes(const char *status)
{
	size_t len = strlen(status);

	return strcmp(status, "running") != 0 &&
	    (strcmp(status, "pending") == 0 ||
	        (len > 3 && strcmp(status + len - 3, "ing") == 0));
}

/* Until its state was the same for as long as what it says may lag. */
static int
await_steady(struct fb_morpheus *m, const char *id,
    const atomic_bool *cancel, enum fb_power *ret_power,
    struct fb_error *err)
{
	struct fb_morpheus_wait wait =
	    fb_morpheus_wait_for(m->settle_ms + m->create_ms, cancel);
	FB_AUTO_FREE char *last = NULL;
	int64_t since = fb_clock_mono_ns();

	for (;;) {
		FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server now = { 0 };
		FB_AUTO_FREE char *state = NULL;
		int rc = fb_morpheus_server(m, id, &now, err);

		if (rc < 0)
			return rc;
		if (strcmp(now.status, "failed") == 0 ||
		    strcmp(now.status, "error") == 0)
			return fb_fail_id(err, FB_EFAILED,
			    "E-MORPHEUS-REVERT",
			    "machine '%s' is %s after it was to be reverted",
			    id, now.status);
		state = fb_format("%s %s", now.status, now.power_text);
		if (last == NULL || strcmp(state, last) != 0 ||
		    passes(now.status) || now.power == FB_POWER_UNKNOWN)
			since = fb_clock_mono_ns();
		free(last);
		last = FB_STEAL(state);
		*ret_power = now.power;
		if (fb_clock_mono_ns() - since >=
		    (int64_t)m->settle_ms * NS_PER_MS)
			return FB_OK;
		rc = fb_morpheus_wait(
		    &wait, "the machine is being reverted", err);
		if (rc < 0)
			return rc;
	}
}

/* Of a machine that is down, so that it may be done twice.  Whoever starts it
 * afterwards is not the appliance: it is as it should be when this is done. */
int
fb_morpheus_restore_finish(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	FB_AUTO_MORPHEUS_SNAPSHOT struct fb_morpheus_snapshot found = { 0 };
	FB_AUTO_JSON json_t *body = json_object();
	FB_AUTO_FREE char *path = NULL;
	enum fb_power power = FB_POWER_UNKNOWN;
	int rc = look_ready(m, request, &server, &found, err);

	if (rc < 0)
		return rc;
	path = fb_format("/api/instances/%lld/revert-snapshot/%lld",
	    (long long)server.instance, (long long)found.id);
	rc = fb_morpheus_do(m, "PUT", path, body, true, NULL, err);
	if (rc == FB_OK)
		rc = await_steady(m, request->machine->id, verb->cancel,
		    &power, err);
	if (rc == FB_OK && power == FB_POWER_UP)
		rc = fb_morpheus_bring(m, request->machine->id, FB_POWER_DOWN,
		    m->stop_ms, verb->cancel, err);
	return rc;
}
