/*
 * import: verified first, then a download from a source of its own.
 */
#include "fleetbak/engine/import.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

void
fb_import_report_release(struct fb_import_report *report)
{
	fb_canic_dir_release(&report->dir);
	free(report->sizes);
	fb_download_report_release(&report->download);
	*report = (struct fb_import_report){ 0 };
}

static int
verify(const struct fb_engine *engine, struct fb_import_report *report,
    struct fb_error *err)
{
	const struct fb_canic_manifest *manifest = report->dir.manifest;
	int rc = FB_OK;

	report->sizes = fb_alloc(manifest->count, sizeof(*report->sizes));
	for (size_t i = 0; rc == FB_OK && i < manifest->count; i++) {
		if (engine->cancel != NULL && atomic_load(engine->cancel))
			return fb_fail(
			    err, FB_ECANCELED, "stopped on request");
		rc = fb_canic_verify(&report->dir, &manifest->members[i],
		    &report->sizes[i], err);
	}
	return rc;
}

/* ------------------------------------------------- is it there already? */

struct search {
	struct fb_repo *repo;
	const char *fleet;
	struct fb_import_report *report;
	size_t found; /* in the run at hand */
};

static int
compare_canister(const void *key, const void *item)
{
	const struct fb_canic_member *member = item;

	return strcmp(key, member->canister);
}

static int
count_machine(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	struct search *search = arg;
	const struct fb_canic_dir *dir = &search->report->dir;
	const struct fb_canic_member *member;
	struct fb_digest wanted;

	(void)err;
	if (machine->failed || strcmp(machine->driver, FB_CANIC_NAME) != 0)
		return FB_OK;
	member = bsearch(machine->id, dir->manifest->members,
	    dir->manifest->count, sizeof(*dir->manifest->members),
	    compare_canister);
	if (member == NULL)
		return FB_OK;
	fb_canic_describe(dir, member, &wanted);
	search->found +=
	    fb_digest_cmp(&wanted, &machine->description) == 0;
	return FB_OK;
}

/* A run that cannot be read has nothing of it, for all we know. */
static int
look_into(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct search *search = arg;
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct fb_error ignored = { 0 };
	int rc;

	if (search->report->already[0] != '\0' || run->damage != NULL ||
	    strcmp(run->fleet, search->fleet) != 0)
		return FB_OK;
	if (fb_manifest_open(search->repo, run, false, &ignored, &manifest,
	        &ignored) < 0)
		return FB_OK;
	search->found = 0;
	rc = fb_manifest_machines(manifest, count_machine, search, err);
	if (rc == FB_OK &&
	    search->found == search->report->dir.manifest->count)
		memcpy(search->report->already, run->run, sizeof(run->run));
	return rc;
}

static int
find_already(const struct fb_engine *engine, struct fb_import_report *report,
    struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct search search = { .fleet = engine->config->fleet_name,
		.report = report };
	int rc = fb_engine_repo(engine, &repo, err);

	search.repo = repo;
	return rc < 0 ? rc : fb_repo_runs(repo, look_into, &search, err);
}

/* ------------------------------------------------------------- the run */

static int
check_source(const struct fb_config *config, struct fb_error *err)
{
	for (size_t i = 0; i < config->source_count; i++)
		if (strcmp(config->sources[i].name, FB_CANIC_NAME) == 0) {
			(void)fb_fail_id(err, FB_ECONFIG, "E-IMPORT-SOURCE",
			    "the configuration has a source '%s', which "
			    "imported canisters are of",
			    FB_CANIC_NAME);
			return fb_hint(err, "give it another name");
		}
	return FB_OK;
}

/* The fleet's configuration with the directory for its only source; borrows
 * all else.  What is cut off goes on with the same directory only. */
static void
make_config(const struct fb_config *config, struct fb_config_source *source,
    struct fb_config *ret)
{
	json_t *sources = json_object(), *facts = json_object();

	*ret = *config;
	ret->sources = source;
	ret->source_count = 1;
	ret->units = NULL;
	ret->unit_count = 0;
	ret->download.max_downtime_ms = 0; /* nothing is down for it */
	ret->effective = json_copy(config->effective);
	(void)json_object_set(facts, "options", source->options);
	(void)json_object_set_new(
	    facts, "driver", json_string(source->driver));
	(void)json_object_set_new(sources, source->name, facts);
	(void)json_object_set_new(ret->effective, "sources", sources);
}

static int
make_run(const struct fb_engine *engine, struct fb_import_report *report,
    struct fb_error *err)
{
	static char name[] = FB_CANIC_NAME;
	FB_AUTO_JSON json_t *options =
	    json_pack("{s:s}", "dir", report->dir.path);
	struct fb_config_source source = { .name = name, .driver = name,
		.options = options };
	const struct fb_download_request request = { .full = true,
		.alone = true };
	struct fb_engine own = *engine;
	struct fb_config config;
	int rc;

	if (options == NULL)
		return fb_fail(err, FB_ECONFIG,
		    "'%s' is not named in UTF-8", report->dir.path);
	make_config(engine->config, &source, &config);
	own.config = &config;
	own.guardian_argv = NULL;
	rc = fb_download(&own, &request, &report->download, err);
	json_decref(config.effective);
	return rc;
}

int
fb_import_canic(const struct fb_engine *engine, const char *path, bool dry_run,
    struct fb_import_report *report, struct fb_error *err)
{
	int rc = check_source(engine->config, err);

	if (rc == FB_OK)
		rc = fb_canic_dir_open(path, &report->dir, err);
	if (rc == FB_OK)
		rc = verify(engine, report, err);
	if (rc == FB_OK)
		rc = find_already(engine, report, err);
	if (rc == FB_OK && !dry_run && report->already[0] == '\0')
		rc = make_run(engine, report, err);
	return rc;
}
