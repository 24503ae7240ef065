/* verify: is what we have whole, ours, and complete? */
#include "fleetbak/engine/verify.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "verify_impl.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/engine/reader.h"

bool
is_damage(const struct fb_error *err)
{
	switch (err->code) {
	case FB_ECORRUPT:
	case FB_EUNTRUSTED:
	case FB_ENOTFOUND:
	case FB_ETOONEW:
		return true;
	case FB_ESYS: /* a medium that cannot be read, but no want of our own */
		return err->sys == EIO || err->sys == EUCLEAN ||
		    err->sys == EBADMSG;
	default:
		return false;
	}
}

int
check_cancel(const struct verify *verify, struct fb_error *err)
{
	if (verify->engine != NULL && verify->engine->cancel != NULL &&
	    atomic_load(verify->engine->cancel))
		return fb_fail(err, FB_ECANCELED, "verify was interrupted");
	return FB_OK;
}

bool
wants_machine(
    const struct verify *verify, const struct fb_manifest_machine *machine)
{
	const struct fb_verify_request *request = verify->request;
	FB_AUTO_FREE char *full =
	    fb_format("%s/%s", machine->source, machine->id);

	for (size_t i = 0; i < request->machine_count; i++) {
		const char *glob = request->machines[i];
		const char *name =
		    strchr(glob, '/') != NULL ? full : machine->id;

		if (fnmatch(glob, name, 0) == 0)
			return true;
	}
	return request->machine_count == 0;
}

static const char *
fleet_of(const struct verify *verify)
{
	return verify->engine != NULL && verify->engine->config != NULL
	    ? verify->engine->config->fleet_name
	    : NULL;
}

/* Is this run asked for?  Newest first, so "latest" is the first. */
static bool
wants_run(const struct verify *verify, const struct fb_run_ref *ref)
{
	const char *fleet = fleet_of(verify);
	const char *run = verify->request->run;

	if (ref->damage == NULL && fleet != NULL &&
	    strcmp(ref->fleet, fleet) != 0)
		return false;
	if (run == NULL)
		return true;
	if (strcmp(run, "latest") != 0)
		return strcmp(run, ref->run) == 0;
	for (size_t i = 0; i < verify->run_count; i++)
		if (verify->runs[i].unreadable == NULL)
			return false; /* that was the latest */
	return true;
}

static int
collect_run(const struct fb_run_ref *ref, void *arg, struct fb_error *err)
{
	struct verify *verify = arg;
	struct verify_run *run;

	(void)err;
	if (!wants_run(verify, ref))
		return FB_OK;
	verify->runs = fb_realloc(
	    verify->runs, verify->run_count + 1, sizeof(*verify->runs));
	run = &verify->runs[verify->run_count++];
	*run = (struct verify_run){ .ref = *ref };
	run->ref.predecessors = NULL;
	run->ref.predecessor_count = 0;
	run->ref.damage = NULL;
	if (ref->damage != NULL) {
		run->unreadable = fb_alloc(1, sizeof(*run->unreadable));
		*run->unreadable = *ref->damage;
	}
	return FB_OK;
}

/* Nothing is missing between the runs, nor after them. */
static int
check_history(struct verify *verify, struct fb_error *err)
{
	FB_AUTO_FREE char *memory = NULL;
	FB_AUTO_FREE char *object = NULL;
	const char *fleet = fleet_of(verify);
	int rc;

	if (fleet == NULL)
		return FB_OK;
	memory = fb_state_memory(
	    verify->engine, verify->repo->format.repository);
	rc = fb_history_check(verify->repo, fleet, memory, false,
	    &verify->report->history_known, err);
	if (rc < 0 && is_damage(err)) {
		object = fb_format("history of fleet %s", fleet);
		(void)add_damage(verify, object, err);
		return FB_OK;
	}
	return rc;
}

static int
look_at_runs(struct verify *verify, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < verify->run_count; i++) {
		struct verify_run *run = &verify->runs[i];

		rc = check_cancel(verify, err);
		if (rc == FB_OK)
			rc = verify_run_head(verify, run, err);
		if (rc == FB_OK && verify->request->depth >= FB_VERIFY_STRUCTURE)
			rc = verify_run_volumes(verify, run, err);
		fb_register_release(&run->reg);
		verify->report->runs++;
	}
	return rc;
}

static int
verify_all(struct verify *verify, struct fb_error *err)
{
	const struct fb_verify_request *request = verify->request;
	int rc = verify_format(verify, err);

	if (rc < 0 ||
	    (rc = fb_repo_kept_runs(verify->repo, collect_run, verify, err)) <
	        0)
		return rc;
	if (request->run != NULL && verify->run_count == 0) {
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-RUN-NONE",
		    "there is no run '%s'", request->run);
		return fb_hint(err, "'fleetbak list' shows the runs");
	}
	if ((rc = check_history(verify, err)) < 0 ||
	    (rc = look_at_runs(verify, err)) < 0)
		return rc;
	if (request->depth >= FB_VERIFY_PACKS &&
	    (rc = verify_packs(verify, err)) < 0)
		return rc;
	verify->report->packs = verify->packs.count;
	if ((rc = verify_attribute(verify, err)) < 0 ||
	    (rc = verify_versions(verify, err)) < 0)
		return rc;
	return verify_wholes(verify, err);
}

int
fb_verify(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_verify_request *request, struct fb_verify_report *report,
    struct fb_error *err)
{
	struct verify verify = { .engine = engine,
		.repo = repo,
		.request = request,
		.report = report };
	struct fb_error ignored = { 0 };
	struct fb_reader reader;
	int rc;

	memset(report, 0, sizeof(*report));
	rc = fb_reader_begin(engine, repo, "verify", &reader, err);
	if (rc == FB_ECORRUPT) {
		/* Nobody deletes anything by it, either. */
		(void)add_damage(&verify, "gc/current", err);
		rc = FB_OK;
	} else if (rc == FB_OK) {
		fb_reader_warn(engine, &reader, "verify", err);
	}
	if (rc == FB_OK)
		rc = verify_all(&verify, err);
	if (fb_reader_end(repo, &reader, &ignored) < 0 && engine != NULL)
		fb_observe(&engine->observer,
		    &(struct fb_event){ .kind = FB_EVENT_WARNING,
		        .error = &ignored });
	for (size_t i = 0; i < verify.run_count; i++) {
		fb_register_release(&verify.runs[i].reg);
		free(verify.runs[i].unreadable);
	}
	free(verify.runs);
	fb_id_set_release(&verify.packs);
	fb_id_set_release(&verify.recipes);
	fb_id_set_release(&verify.damaged_recipes);
	for (size_t i = 0; i < verify.harmed_count; i++)
		free(verify.harmed[i]);
	free(verify.harmed);
	return rc;
}
