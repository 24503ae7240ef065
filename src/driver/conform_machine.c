/* The conformance suite: one machine, from up to another one made of it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conform_internal.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

#define STEP (256u * 1024)

/* What was read of a volume: its bytes in an unnamed file. */
struct kept {
	int fd;
	uint64_t size;
	struct fb_digest digest;
};

struct stage {
	struct suite *s;
	struct fb_machine *machine;
	struct kept *volumes;
	char *dir; /* the definition, unpacked */
	uint8_t *room;
};

static struct fb_verb
verb_of(const struct stage *g)
{
	return (struct fb_verb){ .token = g->s->token,
		.lock_fd = -1,
		.cancel = g->s->conform->cancel,
		.for_backup = true,
		.for_export = true };
}

/* Of what brings the machine back: it is done also when we are to stop. */
static struct fb_verb
steady_verb_of(const struct stage *g)
{
	struct fb_verb verb = verb_of(g);

	verb.cancel = NULL;
	return verb;
}

static int
open_scratch(struct fb_error *err)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	dir = dir != NULL && dir[0] == '/' ? dir : "/tmp";
	fd = fb_io_openat(AT_FDCWD, dir, O_TMPFILE | O_RDWR, 0600, dir);
	return fd >= 0 ? fd
	               : fb_fail_sys(err, "cannot make a file in '%s'", dir);
}

/* ------------------------------------------------------- power, snapshot */

static int
is_power(struct stage *g, enum fb_power wanted, struct fb_error *err)
{
	struct fb_verb verb =
	    wanted == FB_POWER_UP ? steady_verb_of(g) : verb_of(g);
	enum fb_power power;
	int rc;

	verb.token = "";
	rc = fb_driver_power_get(
	    g->s->driver, g->machine, &verb, &power, err);
	if (rc == FB_OK && power != wanted)
		rc = fb_fail(err, FB_EPROTO, "then power_get says %s",
		    fb_power_name(power));
	return rc;
}

/* Twice: the second time there is nothing to do. */
static bool
check_power(struct stage *g, const char *name, bool up)
{
	struct fb_error err = { 0 };
	struct fb_verb verb = up ? steady_verb_of(g) : verb_of(g);
	int rc = FB_OK;

	for (int i = 0; rc == FB_OK && i < 2; i++) {
		rc = up ? fb_driver_start(g->s->driver, g->machine, &verb, &err)
		        : fb_driver_stop(g->s->driver, g->machine, &verb, &err);
		if (rc == FB_OK)
			rc = is_power(
			    g, up ? FB_POWER_UP : FB_POWER_DOWN, &err);
	}
	return fb_conform_check(g->s, name, rc, FB_OK, &err);
}

struct search {
	const struct stage *g;
	bool found;
};

static int
look_for(const char *machine, const char *token, void *arg,
    struct fb_error *err)
{
	struct search *search = arg;

	(void)err;
	search->found = search->found ||
	    (strcmp(machine, search->g->machine->id) == 0 &&
	        strcmp(token, search->g->s->token) == 0);
	return FB_OK;
}

static void
check_listed(struct stage *g, const char *name, bool wanted)
{
	struct search search = { .g = g };
	struct fb_error err = { 0 };
	int rc;

	if (!fb_conform_can(g->s, FB_PLUGIN_LIST_SNAPSHOTS))
		return;
	rc = fb_driver_list_snapshots(g->s->driver, look_for, &search, &err);
	if (rc == FB_OK && search.found != wanted)
		rc = fb_fail(&err, FB_EPROTO, "it is %s",
		    wanted ? "not listed" : "listed still");
	(void)fb_conform_check(g->s, name, rc, FB_OK, &err);
}

static bool
check_snapshot(struct stage *g)
{
	struct fb_error err = { 0 };
	struct fb_verb verb = verb_of(g);
	int rc = FB_OK;

	for (int i = 0; rc == FB_OK && i < 2; i++) {
		rc = fb_driver_create_snapshot(
		    g->s->driver, g->machine, &verb, &err);
		if (rc == FB_OK)
			rc = fb_driver_find_by_token(
			    g->s->driver, g->machine, verb.token, &err);
	}
	if (!fb_conform_check(g->s, "snapshot-twice-is-once", rc, FB_OK, &err))
		return false;
	check_listed(g, "snapshot-listed", true);
	return true;
}

static void
check_removed(struct stage *g)
{
	struct fb_error err = { 0 };
	struct fb_verb verb = steady_verb_of(g);
	int rc = FB_OK;

	for (int i = 0; rc == FB_OK && i < 2; i++)
		rc = fb_driver_remove_snapshot(
		    g->s->driver, g->machine, &verb, &err);
	if (!fb_conform_check(g->s, "remove-twice", rc, FB_OK, &err))
		return;
	rc = fb_driver_find_by_token(
	    g->s->driver, g->machine, verb.token, &err);
	(void)fb_conform_check(
	    g->s, "removed-is-gone", rc, FB_ENOTFOUND, &err);
	check_listed(g, "removed-is-not-listed", false);
}

/* --------------------------------------------------------------- reading */

static int
read_disk(struct stage *g, struct fb_artifact *artifact, struct kept *kept,
    struct fb_error *err)
{
	uint64_t at = 0, start, end;
	int rc = fb_io_truncate(kept->fd, "scratch", (off_t)artifact->size, err);

	kept->size = artifact->size;
	while (rc == FB_OK && at < kept->size) {
		rc = artifact->ops->extent(artifact, at, &start, &end, err);
		for (at = start; rc == FB_OK && at < end;) {
			size_t len =
			    end - at < STEP ? (size_t)(end - at) : STEP;

			rc = artifact->ops->read(
			    artifact, at, g->room, len, err);
			if (rc == FB_OK)
				rc = fb_io_pwrite_all(kept->fd, "scratch",
				    (struct fb_span){ g->room, len }, at, err);
			at += len;
		}
		if (rc == FB_OK && start == end)
			break;
	}
	if (rc == FB_OK && artifact->ops->prove != NULL)
		rc = artifact->ops->prove(artifact, err);
	return rc;
}

static int
keep_bytes(void *arg, const void *bytes, size_t len, struct fb_error *err)
{
	struct kept *kept = arg;
	int rc = fb_io_pwrite_all(kept->fd, "scratch",
	    (struct fb_span){ bytes, len }, kept->size, err);

	kept->size += len;
	return rc;
}

static int
no_cut(void *arg, struct fb_error *err)
{
	(void)arg;
	(void)err;
	return FB_OK;
}

static int
digest_kept(struct stage *g, struct kept *kept, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();

	for (uint64_t at = 0; at < kept->size;) {
		size_t got;
		int rc = fb_io_pread(
		    kept->fd, "scratch", g->room, STEP, at, &got, err);

		if (rc < 0)
			return rc;
		fb_digester_add(digester, (struct fb_span){ g->room, got });
		at += got;
	}
	fb_digester_peek(digester, &kept->digest);
	return FB_OK;
}

static int
read_volume(struct stage *g, const struct fb_volume *volume,
    struct kept *kept, struct fb_error *err)
{
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct fb_sink sink = { .arg = kept, .data = keep_bytes,
		.cut = no_cut };
	int rc;

	kept->size = 0;
	kept->fd = open_scratch(err);
	if (kept->fd < 0)
		return kept->fd;
	rc = fb_driver_open_volume(g->s->driver, g->machine, volume,
	    volume->read_stopped ? NULL : g->s->token, &artifact, err);
	if (rc == FB_OK)
		rc = artifact->ops->produce != NULL
		    ? artifact->ops->produce(artifact, &sink, err)
		    : read_disk(g, artifact, kept, err);
	return rc == FB_OK ? digest_kept(g, kept, err) : rc;
}

/* From the middle on it is what it was from the start. */
static int
read_from(struct stage *g, const struct fb_volume *volume,
    const struct kept *kept, struct fb_error *err)
{
	FB_AUTO_JSON json_t *params = fb_plugin_volume_params(g->machine,
	    volume, volume->read_stopped ? NULL : g->s->token);
	struct fb_plugin_call call = { .verb = FB_PLUGIN_READ_STREAM,
		.params = params };
	FB_AUTO_PIPE struct fb_pipe *pipe = NULL;
	FB_AUTO_FREE uint8_t *old = fb_alloc(STEP, 1);
	uint64_t at = kept->size / 2;
	int rc;

	(void)json_object_set_new(
	    params, "offset", json_integer((json_int_t)at));
	rc = fb_pipe_open(g->s->plugin, &call, &pipe, err);
	while (rc == FB_OK) {
		size_t len, got = 0;

		rc = fb_pipe_read(pipe, g->room, STEP, &len, err);
		if (rc < 0 || len == 0)
			break;
		rc = fb_io_pread(
		    kept->fd, "scratch", old, len, at, &got, err);
		if (rc == FB_OK &&
		    (got != len || memcmp(old, g->room, len) != 0))
			rc = fb_fail(err, FB_EPROTO,
			    "from %" PRIu64 " on it is not what it was", at);
		at += len;
	}
	if (rc == FB_OK)
		rc = fb_pipe_end(pipe, NULL, err);
	if (rc == FB_OK && at != kept->size)
		rc = fb_fail(err, FB_EPROTO,
		    "it ends at %" PRIu64 ", and before at %" PRIu64, at,
		    kept->size);
	return rc;
}

static void
check_volume(struct stage *g, size_t index)
{
	struct fb_volume *volume = &g->machine->volumes[index];
	FB_AUTO_FREE char *name = fb_format("read-%s", volume->name);
	FB_AUTO_FREE char *from = fb_format("resume-%s", volume->name);
	struct kept again = { .fd = -1 };
	struct fb_error err = { 0 };
	int rc = read_volume(g, volume, &g->volumes[index], &err);

	if (rc == FB_OK)
		rc = read_volume(g, volume, &again, &err);
	if (rc == FB_OK && (again.size != g->volumes[index].size ||
	        fb_digest_cmp(&again.digest, &g->volumes[index].digest) != 0))
		rc = fb_fail(&err, FB_EPROTO, "a second time it is another");
	fb_closep(&again.fd);
	if (!fb_conform_check(g->s, name, rc, FB_OK, &err) ||
	    volume->kind == FB_VOLUME_DISK || !g->s->hello.resume) {
		/* A source may tell it with the bytes only. */
		if (volume->kind == FB_VOLUME_DISK && volume->size == 0)
			volume->size = g->volumes[index].size;
		return;
	}
	rc = read_from(g, volume, &g->volumes[index], &err);
	(void)fb_conform_check(g->s, from, rc, FB_OK, &err);
}

static void
check_volumes(struct stage *g, bool stopped)
{
	for (size_t i = 0; i < g->machine->volume_count; i++)
		if (fb_volume_is_captured(&g->machine->volumes[i]) &&
		    g->machine->volumes[i].read_stopped == stopped)
			check_volume(g, i);
}

/* --------------------------------------------------------------- restore */

struct feed {
	struct stage *g;
	const struct kept *kept;
	uint64_t at;
};

static int
feed_next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct feed *feed = arg;
	size_t got = 0;
	int rc = FB_OK;

	if (feed->at < feed->kept->size)
		rc = fb_io_pread(feed->kept->fd, "scratch", feed->g->room,
		    STEP, feed->at, &got, err);
	feed->at += got;
	*ret_bytes = (struct fb_span){ feed->g->room, got };
	return rc;
}

static int
write_disk(struct stage *g, struct fb_target *target, const struct kept *kept,
    struct fb_error *err)
{
	int rc = target->fresh
	    ? FB_OK
	    : target->ops->zero(target, 0, target->size, err);

	for (uint64_t at = 0; rc == FB_OK && at < kept->size;) {
		size_t got;

		rc = fb_io_pread(
		    kept->fd, "scratch", g->room, STEP, at, &got, err);
		if (rc == FB_OK)
			rc = target->ops->write(
			    target, at, g->room, got, err);
		at += got;
	}
	return rc;
}

static int
write_volume(struct stage *g, const struct fb_restore_request *request,
    size_t index, struct fb_error *err)
{
	FB_AUTO_TARGET struct fb_target *target = NULL;
	const struct kept *kept = &g->volumes[index];
	struct feed feed = { g, kept, 0 };
	struct fb_pull pull = { &feed, feed_next };
	struct fb_verb verb = verb_of(g);
	int rc = fb_driver_restore_open(g->s->driver, request,
	    &g->machine->volumes[index], &verb, &target, err);

	if (rc == FB_OK)
		rc = target->ops->absorb != NULL
		    ? target->ops->absorb(target, &pull, err)
		    : write_disk(g, target, kept, err);
	return rc == FB_OK ? target->ops->sync(target, err) : rc;
}

/* What a restore gives the plugin to look into. */
static int
unpack_definition(struct stage *g, struct fb_error *err)
{
	const char *tmp = getenv("TMPDIR");
	struct fb_tree_options options = { 0 };

	g->dir = fb_format("%s/fleetbak-test-XXXXXX",
	    tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
	if (mkdtemp(g->dir) == NULL)
		return fb_fail_sys(err, "cannot make a directory");
	for (size_t i = 0; i < g->machine->volume_count; i++) {
		struct feed feed = { g, &g->volumes[i], 0 };
		struct fb_pull pull = { &feed, feed_next };
		int rc;

		if (g->machine->volumes[i].kind != FB_VOLUME_DEFINITION)
			continue;
		rc = fb_tree_unpack(g->dir, &pull, &options, NULL, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

static int
check_plan(struct stage *g, const struct fb_restore_request *request,
    struct fb_error *err)
{
	struct fb_restore_plan plan;
	int rc = fb_driver_restore_check(
	    g->s->driver, &g->s->fleet, request, &plan, err);

	for (size_t i = 0; rc == FB_OK && i < plan.volume_count; i++)
		if (plan.volumes[i].problem != NULL)
			rc = fb_fail(err, FB_EPROTO, "volume '%s': %.300s",
			    plan.volumes[i].volume, plan.volumes[i].problem);
	fb_restore_plan_release(&plan);
	return rc;
}

/* All of it twice, as after a crash. */
static int
write_all(struct stage *g, const struct fb_restore_request *request,
    struct fb_error *err)
{
	struct fb_verb verb = verb_of(g);
	int rc = FB_OK;

	for (int again = 0; rc == FB_OK && again < 2; again++) {
		rc = fb_driver_restore_begin(
		    g->s->driver, request, &verb, err);
		for (size_t i = 0;
		     rc == FB_OK && i < g->machine->volume_count; i++)
			if (fb_volume_is_captured(&g->machine->volumes[i]) &&
			    g->machine->volumes[i].kind !=
			        FB_VOLUME_DEFINITION)
				rc = write_volume(g, request, i, err);
	}
	for (int again = 0; rc == FB_OK && again < 2; again++)
		rc = fb_driver_restore_finish(
		    g->s->driver, request, &verb, err);
	return rc;
}

static int
is_made(struct stage *g, struct fb_error *err)
{
	const char *name = g->s->conform->as_new;
	struct fb_fleet fleet = { 0 };
	const struct fb_machine *made = NULL;
	int rc = fb_driver_discover(g->s->driver, &fleet, err);

	for (size_t i = 0; rc == FB_OK && i < fleet.count; i++)
		if (strcmp(fleet.machines[i].id, name) == 0 ||
		    (fleet.machines[i].name != NULL &&
		        strcmp(fleet.machines[i].name, name) == 0))
			made = &fleet.machines[i];
	if (rc == FB_OK && made == NULL)
		rc = fb_fail(err, FB_EPROTO, "it is not discovered");
	else if (rc == FB_OK && made->power == FB_POWER_UP)
		rc = fb_fail(err, FB_EPROTO, "it was started");
	fb_fleet_release(&fleet);
	return rc;
}

static void
check_restore(struct stage *g)
{
	struct fb_restore_request request = { .mode = FB_RESTORE_AS_NEW,
		.machine = g->machine, .new_id = g->s->conform->as_new,
		.token = g->s->token, .all_volumes = true };
	struct fb_error err = { 0 };
	int rc = unpack_definition(g, &err);

	request.definition_dir = g->dir;
	if (rc == FB_OK)
		rc = check_plan(g, &request, &err);
	if (!fb_conform_check(g->s, "restore-check", rc, FB_OK, &err))
		return;
	rc = write_all(g, &request, &err);
	if (!fb_conform_check(g->s, "restore-twice-is-once", rc, FB_OK, &err))
		return;
	rc = is_made(g, &err);
	(void)fb_conform_check(g->s, "restore-is-discovered", rc, FB_OK, &err);
}

/* ----------------------------------------------------------------- whole */

static void
release(struct stage *g)
{
	struct fb_error ignored;

	for (size_t i = 0; i < g->machine->volume_count; i++)
		if (g->volumes[i].fd >= 0)
			(void)close(g->volumes[i].fd);
	if (g->dir != NULL)
		(void)!fb_io_remove_tree(g->dir, &ignored);
	free(g->dir);
	free(g->volumes);
	free(g->room);
}

static void
capture(struct stage *g)
{
	bool up = g->machine->power == FB_POWER_UP;
	bool stops = up && g->machine->lifecycle !=
	        FB_LIFECYCLE_PAUSE_IN_CREATE &&
	    g->machine->lifecycle != FB_LIFECYCLE_SNAPSHOT_LIVE;
	size_t failed = g->s->conform->failed;
	bool stopped = true, tried = false, frozen = false;

	if (stops)
		stopped = check_power(g, "stop-twice", false);
	else
		fb_conform_skip(g->s, "stop-twice",
		    up ? "its lifecycle does not stop it"
		       : "the machine is down");
	if (stopped)
		check_volumes(g, true);
	if (stopped && fb_conform_can(g->s, FB_PLUGIN_CREATE_SNAPSHOT)) {
		tried = true;
		frozen = check_snapshot(g);
	} else if (stopped)
		fb_conform_skip(
		    g->s, "snapshot-twice-is-once", "it makes none");
	/* Whatever went wrong, what was up comes up. */
	if (stops)
		(void)check_power(g, "start-twice", true);
	if (frozen)
		check_volumes(g, false);
	if (tried)
		check_removed(g);
	if (g->s->conform->as_new == NULL)
		fb_conform_skip(g->s, "restore-check",
		    "name a new machine with --as");
	else if (g->s->conform->failed > failed)
		fb_conform_skip(g->s, "restore-check",
		    "what was captured is not to be trusted");
	else
		check_restore(g);
}

void
fb_conform_machine(struct suite *s)
{
	struct stage g = { .s = s };
	const char *id = s->conform->machine;

	for (size_t i = 0; i < s->fleet.count; i++)
		if (strcmp(s->fleet.machines[i].id, id) == 0)
			g.machine = &s->fleet.machines[i];
	if (g.machine == NULL) {
		fb_conform_fail(s, "machine", "there is no such machine");
		return;
	}
	if (g.machine->problem != NULL) {
		fb_conform_fail(s, "machine", g.machine->problem->msg);
		return;
	}
	g.room = fb_alloc(STEP, 1);
	g.volumes =
	    fb_alloc(g.machine->volume_count + 1, sizeof(*g.volumes));
	for (size_t i = 0; i < g.machine->volume_count; i++)
		g.volumes[i].fd = -1;
	capture(&g);
	release(&g);
}
