/*
 * What a restore will do, and whether it can: everything that can be known
 * before anything is touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/cipher.h"
#include "fleetbak/repo/vault.h"
#include "restore_parts.h"
#include "restore_show.h"

bool
fb_rst_is_stream(enum fb_volume_kind kind)
{
	return kind == FB_VOLUME_TREE || kind == FB_VOLUME_DEFINITION;
}

struct fb_restore_request
fb_rst_request(
    const struct fb_restore *restore, const struct fb_rst_machine *machine)
{
	bool across = machine->across;

	return (struct fb_restore_request){
		.mode = restore->kind == FB_RESTORE_TO_NEW
		    ? FB_RESTORE_AS_NEW
		    : FB_RESTORE_IN_PLACE,
		.machine = &machine->model,
		.new_id = machine->as,
		.token = machine->token,
		.start = fb_rst_starts_new(restore, machine),
		.snapshot = across ? NULL : machine->record.token,
		.definition_dir = machine->definition_dir,
		.across = across,
		.all_volumes = !across && restore->volume_count == 0 &&
		    restore->path_count == 0,
		.maps = restore->maps,
		.map_count = across ? 0 : restore->map_count,
		.keep_mac = restore->keep_mac, .keep_uuid = restore->keep_uuid,
	};
}

char *
fb_rst_part_path(
    const struct fb_restore *restore, const struct fb_rst_machine *machine)
{
	return fb_format("%s/.%s.part-%s", restore->directory, machine->as,
	    restore->id);
}

static int
check_history(struct fb_restore *r, struct fb_error *err)
{
	const struct fb_engine *engine = r->engine;
	const char *fleet = engine->config->fleet_name;
	FB_AUTO_FREE char *memory = fb_state_memory(
	    engine, r->repo->format.repository);
	int rc = fb_history_check(r->repo, fleet, memory, false,
	    &r->report->history_known, err);

	if (rc != FB_EUNTRUSTED)
		return rc;
	if (!r->rollback)
		return fb_hint(err,
		    "if you know why, --allow-rollback restores all the same");
	r->report->trusted = false;
	fb_rst_warn(r, NULL, err);
	return FB_OK;
}

/* Which volumes: all that are in the backup, or those named. */
static bool
is_named(const struct fb_restore *r, const char *name)
{
	for (size_t i = 0; i < r->volume_count; i++)
		if (strcmp(r->volumes[i], name) == 0)
			return true;
	return r->volume_count == 0;
}

static int
check_named(const struct fb_restore *r, const struct fb_rst_machine *m,
    struct fb_error *err)
{
	for (size_t i = 0; i < r->volume_count; i++) {
		const struct fb_manifest_volume *found = NULL;
		FB_AUTO_FREE const char **names =
		    fb_alloc(m->record.volume_count + 1, sizeof(*names));
		const char *near;

		for (size_t k = 0; k < m->record.volume_count; k++) {
			names[k] = m->record.volumes[k].name;
			if (strcmp(names[k], r->volumes[i]) == 0)
				found = &m->record.volumes[k];
		}
		if (found && found->captured)
			continue;
		if (found)
			return fb_fail_id(err, FB_ECONFIG, "E-RST-VOLUME",
			    "volume '%s' is removable media and never in a "
			    "backup", found->name);
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-VOLUME",
		    "it has no volume '%s' in run %s", r->volumes[i], m->run);
		near = fb_name_nearest(
		    r->volumes[i], names, m->record.volume_count);
		return near[0] != '\0'
		    ? fb_hint(err, "did you mean '%s'?", near)
		    : fb_hint(err, "`fleetbak show %s` lists them", m->run);
	}
	return FB_OK;
}

/* --path means one tree: the only one, or the one --volume names. */
static int
choose_tree(const struct fb_restore *r, struct fb_rst_machine *m,
    struct fb_error *err)
{
	size_t trees = 0;

	for (size_t i = 0; i < m->record.volume_count; i++) {
		struct fb_rst_volume *v = &m->volumes[i];
		bool fits = v->record->kind == FB_VOLUME_TREE ||
		    (r->volume_count > 0 &&
		        v->record->kind == FB_VOLUME_DEFINITION);

		v->chosen = fits && v->record->captured && v->there != NULL &&
		    is_named(r, v->record->name);
		trees += v->chosen;
	}
	if (trees == 1)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-RST-VOLUME",
	    trees == 0 ? "it has no such tree to take paths from"
	               : "it has several trees to take paths from");
	return fb_hint(err, "say which one: --volume NAME");
}

static int
choose_volumes(const struct fb_restore *r, struct fb_rst_machine *m,
    struct fb_error *err)
{
	int rc = check_named(r, m, err);

	if (rc < 0)
		return rc;
	if (r->path_count > 0)
		return choose_tree(r, m, err);
	for (size_t i = 0; i < m->record.volume_count; i++)
		m->volumes[i].chosen = m->volumes[i].record->captured &&
		    m->volumes[i].there != NULL &&
		    is_named(r, m->volumes[i].record->name);
	return FB_OK;
}

/* Is everything that makes the volume there, and bound to the manifest? */
static int
check_volume(struct fb_restore *r, struct fb_rst_volume *v,
    struct fb_error *err)
{
	const struct fb_manifest_volume *record = v->record;
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	const struct fb_cipher_key *use;
	struct fb_cipher_key domain;
	int rc = fb_rst_open(
	    r, &record->recipe, &record->root, record->size, &reader, err);

	if (rc >= 0) /* else a machine would be stopped for nothing */
		rc = fb_volume_domain(reader, &domain, &use, err);
	if (rc >= 0)
		v->data_bytes = fb_volume_data_size(reader);
	/* A few paths must not cost reading every table. */
	if (rc >= 0 && r->path_count > 0)
		rc = fb_rst_paths_find(r, v, err);
	else if (rc >= 0)
		rc = fb_volume_check(reader, err);
	return rc < 0 ? fb_wrap(err, "volume '%s'", record->name) : FB_OK;
}

static int
check_machine(struct fb_restore *r, struct fb_rst_machine *m,
    struct fb_error *err)
{
	int rc = FB_OK;

	if (m->record.failed) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-FAILED",
		    "it failed in run %s: there is no backup of it there",
		    m->run);
		return fb_hint(err, "%s@latest is its newest backup", m->key);
	}
	rc = choose_volumes(r, m, err);
	for (size_t i = 0; i < m->record.volume_count && rc >= 0; i++) {
		struct fb_rst_volume *v = &m->volumes[i];

		if (!v->chosen || v->whole)
			continue;
		rc = check_volume(r, v, err);
		v->there->allocated =
		    r->path_count > 0 ? v->paths.content : v->data_bytes;
	}
	return rc;
}

/* Into a directory. */
static bool
is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int
compare_ids(const void *a, const void *b)
{
	const struct fb_rst_machine *const *x = a, *const *y = b;

	return strcmp((*x)->record.id, (*y)->record.id);
}

/* Those that share an id get their source's name too; '+' is in no name, so
 * none of these is another machine's. */
static void
name_in_directory(struct fb_restore *r)
{
	FB_AUTO_FREE struct fb_rst_machine **sorted =
	    fb_alloc(r->count + 1, sizeof(*sorted));

	for (size_t i = 0; i < r->count; i++)
		sorted[i] = &r->machines[i];
	if (r->count > 1)
		qsort(sorted, r->count, sizeof(*sorted), compare_ids);
	for (size_t i = 0; i < r->count; i++) {
		struct fb_rst_machine *m = sorted[i];

		if ((i == 0 || compare_ids(&sorted[i - 1], &m) != 0) &&
		    (i + 1 == r->count || compare_ids(&sorted[i + 1], &m) != 0))
			continue;
		free(m->as);
		m->as = fb_format("%s+%s", m->record.source, m->record.id);
	}
}

/* Does the directory hold anything?  What a cut-off restore left half made
 * there is hidden, and does not count. */
static int
check_empty(const char *path, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = NULL;
	bool found = false;
	struct stat st;
	int rc;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		found = true;
	else if ((rc = fb_io_list(path, &names, err)) < 0)
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	for (char **name = names; name != NULL && *name != NULL; name++)
		found = found || (*name)[0] != '.';
	if (!found)
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
	    "'%s' exists already and is not empty", path);
	return fb_hint(err, "nothing is ever restored over it: name another "
	                    "directory, or move it away");
}

/* Into a directory that is new, or empty: nothing is mixed with what was
 * there before, and nothing is taken for what was restored. */
static int
check_absent(struct fb_restore *r, struct fb_error *err)
{
	int rc = r->resumed ? FB_OK : check_empty(r->directory, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < r->count; i++) {
		const struct fb_rst_machine *m = &r->machines[i];
		FB_AUTO_FREE char *path =
		    fb_format("%s/%s", r->directory, m->as);

		if (!is_there(path) || m->finishing || m->closed)
			continue;
		(void)fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "'%s' exists already", path);
		return fb_hint(err,
		    "nothing is ever restored over it: name another "
		    "directory, or move it away");
	}
	return FB_OK;
}

/* Free space where `path` will be made. */
static int
space_for(const char *path, uint64_t *ret_space, struct fb_error *err)
{
	FB_AUTO_FREE char *at = fb_strdup(path);
	struct statvfs st;

	while (statvfs(at, &st) == -1) {
		char *slash = strrchr(at, '/');

		if (errno != ENOENT || slash == NULL)
			return fb_fail_sys(err, "cannot look at '%s'", at);
		slash[slash == at ? 1 : 0] = '\0';
	}
	*ret_space = (uint64_t)st.f_bavail * st.f_frsize;
	return FB_OK;
}

static uint64_t
volume_need(const struct fb_restore *r, const struct fb_rst_volume *v)
{
	uint64_t bytes = r->path_count > 0 ? v->paths.content : v->data_bytes;

	if (!v->chosen || v->whole)
		return 0;
	return bytes > v->offset ? bytes - v->offset : 0;
}

static int
no_space(const char *where, uint64_t need, uint64_t space,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf a = { 0 }, b = { 0 };

	fb_text_add_size(&a, need);
	fb_text_add_size(&b, space);
	(void)fb_fail_id(err, FB_ENOSPACE, "E-RST-SPACE",
	    "'%s' has %s free and the restore needs %s", where,
	    fb_buf_str(&b), fb_buf_str(&a));
	return fb_hint(err, "nothing was touched; make room or choose "
	                    "another place");
}

void
fb_rst_refuse(struct fb_rst_machine *m, struct fb_error *why)
{
	(void)fb_wrap(why, "machine '%s'", m->key);
	fb_error_drop(m->problem);
	m->problem = fb_error_keep(why);
}

static int
plan_directory(struct fb_restore *r, struct fb_error *err)
{
	struct fb_restore_report *report = r->report;
	int rc;

	name_in_directory(r);
	for (size_t i = 0; i < r->count; i++) {
		struct fb_rst_machine *m = &r->machines[i];
		struct fb_error why = { 0 };

		if (m->problem == NULL && fb_rst_check_dir(m, &why) < 0)
			fb_rst_refuse(m, &why);
	}
	rc = check_absent(r, err);
	if (rc >= 0)
		rc = space_for(r->directory, &report->space_bytes, err);
	for (size_t i = 0; i < r->count && rc >= 0; i++)
		for (size_t k = 0; k < r->machines[i].record.volume_count; k++)
			if (r->machines[i].problem == NULL)
				report->need_bytes += volume_need(
				    r, &r->machines[i].volumes[k]);
	if (rc >= 0 && report->need_bytes > report->space_bytes)
		rc = no_space(r->directory, report->need_bytes,
		    report->space_bytes, err);
	return rc;
}

/* Through drivers, which judge every volume; those that stay as they are do
 * not matter. */
static bool
is_chosen(const struct fb_rst_machine *m, const char *volume)
{
	for (size_t i = 0; i < m->record.volume_count; i++) {
		const struct fb_rst_volume *v = &m->volumes[i];

		if (v->there != NULL && strcmp(v->there->name, volume) == 0)
			return v->chosen && !v->whole;
	}
	return false;
}

static int
check_plan(struct fb_restore *r, struct fb_rst_machine *m,
    struct fb_error *err)
{
	for (size_t i = 0; i < m->plan.volume_count; i++) {
		const struct fb_restore_volume_plan *v = &m->plan.volumes[i];

		if (v->problem && is_chosen(m, v->volume))
			return fb_fail_id(err, FB_EUNSUP, "E-RST-VOLUME",
			    "volume '%s': %s", v->volume, v->problem);
	}
	if (r->kind == FB_RESTORE_TO_MACHINE && m->plan.now &&
	    m->plan.now->lifecycle != FB_LIFECYCLE_SNAPSHOT_LIVE &&
	    m->plan.now->power == FB_POWER_UNKNOWN) {
		(void)fb_fail_id(err, FB_ECONFLICT, "E-RST-POWER",
		    "it is not known whether it is up%s%s",
		    m->plan.now->problem != NULL ? ": " : "",
		    m->plan.now->problem != NULL
		        ? m->plan.now->problem->msg : "");
		if (m->plan.now->problem != NULL)
			return fb_hint(err, "mend that, or move its "
			    "directory away: then it is made anew");
		return fb_hint(err, "what is not surely down is not "
		                    "overwritten; see to its status command");
	}
	return FB_OK;
}

static int
check_driver(struct fb_restore *r, size_t index, struct fb_error *err)
{
	struct fb_rst_machine *m = &r->machines[index];
	struct fb_restore_request request;
	int rc = fb_rst_across(r, m, err);

	fb_rst_token(r, m, "restore", m->token);
	if (rc >= 0 && !m->across)
		rc = fb_rst_definition(r, m, index, err);
	if (rc < 0)
		return rc;
	request = fb_rst_request(r, m);
	rc = fb_driver_restore_check(
	    m->driver, &r->fleet, &request, &m->plan, err);
	if (rc < 0)
		return rc;
	m->now = m->plan.now;
	rc = fb_rst_check_moved(r, m, err);
	return rc < 0 ? rc : check_plan(r, m, err);
}

static uint64_t
machine_need(const struct fb_rst_machine *m)
{
	uint64_t need = 0;

	for (size_t i = 0; i < m->plan.volume_count; i++)
		if (is_chosen(m, m->plan.volumes[i].volume))
			need += m->plan.volumes[i].need_bytes;
	return need;
}

/* What all machines of a source need. */
struct source_need {
	const char *source;
	uint64_t bytes;
};

static uint64_t *
need_of(struct source_need *needs, size_t *count, const char *source)
{
	for (size_t i = 0; i < *count; i++)
		if (strcmp(needs[i].source, source) == 0)
			return &needs[i].bytes;
	needs[*count].source = source;
	return &needs[(*count)++].bytes;
}

/* Each source's machines share its space. */
static int
check_space(struct fb_restore *r, struct fb_error *err)
{
	FB_AUTO_FREE struct source_need *needs =
	    fb_alloc(r->count + 1, sizeof(*needs));
	size_t count = 0;

	for (size_t i = 0; i < r->count; i++) {
		const struct fb_rst_machine *m = &r->machines[i];

		if (m->problem == NULL && !m->finished)
			*need_of(needs, &count, fb_rst_source(r, m)) +=
			    machine_need(m);
	}
	for (size_t i = 0; i < r->count; i++) {
		const struct fb_rst_machine *m = &r->machines[i];
		uint64_t need, space = m->plan.space_bytes;

		if (m->problem != NULL || m->finished)
			continue;
		need = *need_of(needs, &count, fb_rst_source(r, m));
		if (need > space)
			return no_space(
			    fb_rst_source(r, m), need, space, err);
		r->report->need_bytes = need;
		r->report->space_bytes = space;
	}
	return FB_OK;
}

/* By its id or, where ids are given by others, by what it is called. */
static bool
is_taken(const struct fb_restore *r, const char *source)
{
	for (size_t i = 0; i < r->fleet.count; i++) {
		const struct fb_machine *m = &r->fleet.machines[i];

		if (strcmp(m->source, source) == 0 &&
		    (strcmp(m->id, r->new_id) == 0 ||
		        strcmp(m->name, r->new_id) == 0))
			return true;
	}
	return false;
}

static int
check_new(struct fb_restore *r, struct fb_error *err)
{
	struct fb_rst_machine *m = &r->machines[0];

	if (r->kind != FB_RESTORE_TO_NEW)
		return FB_OK;
	free(m->as);
	m->as = fb_strdup(r->new_id);
	if (m->finishing || m->closed ||
	    !is_taken(r, fb_rst_source(r, m)))
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
	    "source '%s' has a machine '%s' already",
	    fb_rst_source(r, m), r->new_id);
	return fb_hint(err, "choose another name; --in-place restores over "
	                    "a machine");
}

static int
plan_drivers(struct fb_restore *r, struct fb_error *err)
{
	int rc = fb_engine_discover(r->engine, &r->drivers, &r->fleet, err);

	if (rc < 0)
		return rc;
	r->discovered = true;
	rc = check_new(r, err);
	for (size_t i = 0; i < r->count && rc >= 0; i++) {
		struct fb_rst_machine *m = &r->machines[i];
		struct fb_error why = { 0 };

		if (m->problem == NULL && !m->closed &&
		    check_driver(r, i, &why) < 0)
			fb_rst_refuse(m, &why);
	}
	if (rc >= 0)
		rc = fb_rst_across_judge(r, err);
	return rc < 0 ? rc : check_space(r, err);
}

/* One machine that cannot be restored stops a restore of it alone. */
static int
judge_problems(struct fb_restore *r, struct fb_error *err)
{
	size_t bad = 0;

	for (size_t i = 0; i < r->count; i++) {
		struct fb_rst_machine *m = &r->machines[i];

		if (m->problem == NULL)
			continue;
		if (bad++ == 0)
			*err = *m->problem;
	}
	return bad > 0 && bad == r->count ? (int)err->code : FB_OK;
}

static int
plan_removals(struct fb_restore *r, struct fb_error *err)
{
	if (r->kind != FB_RESTORE_TO_MACHINE || r->path_count > 0)
		return FB_OK;
	for (size_t i = 0; i < r->count; i++) {
		struct fb_rst_machine *m = &r->machines[i];

		for (size_t k = 0; k < m->record.volume_count; k++) {
			struct fb_rst_volume *v = &m->volumes[k];
			int rc;

			if (m->problem != NULL || m->now == NULL ||
			    !v->chosen ||
			    v->record->kind != FB_VOLUME_TREE || v->whole)
				continue;
			rc = fb_rst_removals(r, m, k, err);
			if (rc < 0 && rc != FB_EUNSUP)
				return fb_wrap(err, "machine '%s'", m->key);
		}
	}
	return FB_OK;
}

static int
make_plan(struct fb_restore *r, struct fb_error *err)
{
	int rc = FB_OK;

	if (r->kind == FB_RESTORE_TO_NEW && r->count != 1)
		return fb_fail(err, FB_ECONFIG,
		    "one name cannot be given to %zu machines", r->count);
	fb_rst_order(r);
	for (size_t i = 0; i < r->count; i++) {
		struct fb_error why = { 0 };

		if (check_machine(r, &r->machines[i], &why) < 0)
			fb_rst_refuse(&r->machines[i], &why);
	}
	rc = r->kind == FB_RESTORE_TO_DIR ? plan_directory(r, err)
	                                  : plan_drivers(r, err);
	if (rc >= 0)
		rc = judge_problems(r, err);
	if (rc >= 0)
		rc = plan_removals(r, err);
	fb_rst_spec_pin(r);
	fb_rst_show_plan(r);
	return rc;
}

static int
begin_spec(struct fb_restore *r, const struct fb_restore_options *options,
    struct fb_error *err)
{
	int rc;

	if (options->resume == NULL) {
		fb_random_run_id(r->id);
		r->dir = fb_state_path(r->engine, "restores/%s", r->id);
		return fb_rst_spec_from(r, options, err);
	}
	rc = fb_rst_journal_spec(
	    r->engine, options->resume, &r->spec, err);
	if (rc < 0)
		return rc;
	memcpy(r->id, options->resume, sizeof(r->id));
	r->dir = fb_state_path(r->engine, "restores/%s", r->id);
	r->resumed = true;
	return fb_rst_spec_read(r, err);
}

int
fb_restore_prepare(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_restore_options *options,
    struct fb_restore **ret_restore, struct fb_restore_report *report,
    struct fb_error *err)
{
	struct fb_restore *r = fb_alloc(1, sizeof(*r));
	int rc;

	r->engine = engine;
	r->repo = repo;
	r->report = report;
	r->children_fd = r->own_fd = -1;
	(void)pthread_mutex_init(&r->alone, NULL);
	(void)pthread_mutex_init(&r->telling, NULL);
	report->trusted = true;
	rc = fb_vault_may_open(repo->vault, err);
	if (rc >= 0)
		rc = begin_spec(r, options, err);
	memcpy(report->id, r->id, sizeof(report->id));
	report->kind = r->kind;
	if (rc >= 0)
		rc = check_history(r, err);
	if (rc >= 0)
		rc = r->resumed ? fb_rst_pick_again(r, err)
		                : fb_rst_pick(r, options, err);
	if (rc >= 0 && r->resumed)
		rc = fb_rst_journal_peek(r, err);
	if (rc >= 0)
		rc = make_plan(r, err);
	if (rc < 0) {
		fb_restore_free(r);
		return rc;
	}
	*ret_restore = r;
	return FB_OK;
}
