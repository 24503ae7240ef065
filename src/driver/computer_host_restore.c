/*
 * Restoring to computer-host: what a restore needs, and where its disks go
 * before the host has them.
 *
 * The daemon makes a machine only whole, and only where none of its id is.  So
 * the disks are gathered in the spool, or compared with a snapshot that the
 * host still has, and nothing is touched there before all of them are whole.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

#include "computer_host_internal.h"

#define FACTS_MAX 65536

/* Of a restore that was finished: 90 days. */
#define MARKER_S (INT64_C(90) * 86400)

/* The id of the machine that comes about. */
static const char *
id_of(const struct fb_restore_request *request)
{
	return request->mode == FB_RESTORE_AS_NEW ? request->new_id
	                                          : request->machine->id;
}

/* -------------------------------------------------------------- check */

/* The first disk of the machine that is there which nothing is given for; its
 * bytes go with it.  NULL: none. */
static const char *
left_disk(const struct fb_restore_request *request,
    const struct fb_machine *now)
{
	for (size_t i = 0; now != NULL && i < now->volume_count; i++) {
		const struct fb_volume *has = &now->volumes[i];
		bool given = has->kind != FB_VOLUME_DISK;

		for (size_t k = 0;
		     !given && k < request->machine->volume_count; k++)
			given = strcmp(request->machine->volumes[k].name,
			            has->name) == 0;
		if (!given)
			return has->name;
	}
	return NULL;
}

static char *
problem_of(const struct fb_chost *host,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    bool local, const char *left)
{
	if (request->across && left != NULL)
		return fb_format("computer-host makes machines whole only, "
				 "and nothing is given for its disk '%s'",
		    left);
	if (volume->kind != FB_VOLUME_DISK &&
	    volume->kind != FB_VOLUME_DEFINITION)
		return fb_format("computer-host takes disks, and this is %s",
		    fb_volume_kind_name(volume->kind));
	if (volume->kind == FB_VOLUME_DISK && !fb_chost_disk_ok(volume->name))
		return fb_strdup("computer-host has no disk of that name: "
				 "they are system and user-0, user-1, ...");
	if (!request->all_volumes && !request->across)
		return fb_strdup(
		    "computer-host restores machines whole only");
	if (host->spool == NULL)
		return fb_strdup("the source has no 'spool', where its disks "
				 "are gathered");
	if (host->serve == NULL && !local)
		return fb_strdup("the source has no 'serve', the address "
				 "where the host fetches it");
	return NULL;
}

/* Where a restore needs no bytes sent: the run's snapshot is still there. */
static bool
is_local(struct fb_chost *host, const struct fb_restore_request *request)
{
	struct fb_error ignored = { 0 };

	return request->all_volumes && request->snapshot != NULL &&
	    request->snapshot[0] != '\0' &&
	    fb_chost_find_by_token(&host->base, request->machine,
	        request->snapshot, &ignored) == FB_OK;
}

static int
check_definition(
    const struct fb_restore_request *request, struct fb_error *err)
{
	const char *dir = request->definition_dir;
	FB_AUTO_FREE char *path = NULL;
	struct stat st;

	if (request->across)
		return FB_OK; /* that of the machine that is there */
	if (dir != NULL && dir[0] != '\0') {
		path = fb_format("%s/machine.json", dir);
		if (lstat(path, &st) == 0 && S_ISREG(st.st_mode))
			return FB_OK;
	}
	(void)fb_fail_id(err, FB_EUNSUP, "E-RST-DEFINITION",
	    "the backup has no definition of a machine of computer-host");
	return fb_hint(err, "restore its volumes with --target DIR");
}

static void
plan_space(const struct fb_chost *host, struct fb_restore_plan *plan)
{
	struct statvfs st;

	plan->space_bytes = INT64_MAX;
	if (host->spool != NULL && statvfs(host->spool, &st) == 0)
		plan->space_bytes = (uint64_t)st.f_bavail * st.f_frsize;
}

int
fb_chost_restore_check(struct fb_driver *base, const struct fb_fleet *fleet,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	const struct fb_machine *machine = request->machine;
	bool local = is_local(host, request);
	const char *left;
	int rc = check_definition(request, err);

	if (rc == FB_OK && host->serve != NULL)
		rc = fb_chost_serve_check(host->serve, err);
	if (rc < 0)
		return rc;
	ret_plan->now = fb_fleet_find(fleet, base->source, id_of(request));
	left = left_disk(request, ret_plan->now);
	ret_plan->volumes =
	    fb_alloc(machine->volume_count + 1, sizeof(*ret_plan->volumes));
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];
		struct fb_restore_volume_plan *plan;

		if (!fb_volume_is_captured(volume))
			continue;
		plan = &ret_plan->volumes[ret_plan->volume_count++];
		plan->volume = fb_strdup(volume->name);
		plan->location = fb_format("%s of '%s' on the host%s",
		    volume->name, id_of(request),
		    local ? ", from its own snapshot" : "");
		plan->exists = ret_plan->now != NULL;
		if (volume->kind == FB_VOLUME_DISK && !local)
			plan->need_bytes = volume->size;
		plan->problem = problem_of(host, request, volume, local, left);
	}
	plan_space(host, ret_plan);
	return FB_OK;
}

/* --------------------------------------------------------------- site */

void
fb_chost_site_release(struct fb_chost_site *site)
{
	free(site->dir);
	json_decref(site->facts);
}

/* What is known of a restore that was finished, until nobody asks any more. */
static char *
marker_of(const char *dir)
{
	const char *token = strrchr(dir, '/') + 1;

	return fb_format("%.*s.done-%s", (int)(token - dir), dir, token);
}

static int
read_facts(const char *path, json_t **ret_facts, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = fb_io_read_file(path, FACTS_MAX, &bytes, err);

	return rc < 0 ? rc
	              : fb_json_parse(fb_buf_span(&bytes), FACTS_MAX, path,
	                    ret_facts, err);
}

int
fb_chost_site_load(struct fb_chost *host,
    const struct fb_restore_request *request, struct fb_chost_site *ret_site,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *marker = NULL;
	int rc;

	if (host->spool == NULL)
		return fb_fail(err, FB_ECONFIG, "the source has no 'spool'");
	ret_site->id = id_of(request);
	ret_site->dir = fb_format("%s/%s", host->spool, request->token);
	path = fb_format("%s/restore.json", ret_site->dir);
	marker = marker_of(ret_site->dir);
	rc = read_facts(path, &ret_site->facts, err);
	if (rc != FB_ENOTFOUND)
		return rc;
	*err = (struct fb_error){ 0 };
	return read_facts(marker, &ret_site->facts, err);
}

int
fb_chost_site_close(const struct fb_chost_site *site, struct fb_error *err)
{
	FB_AUTO_FREE char *marker = marker_of(site->dir);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc;

	fb_json_add(&bytes, site->facts);
	rc = fb_io_replace(marker, fb_buf_span(&bytes), 0600, err);
	return rc < 0 ? rc : fb_io_remove_tree(site->dir, err);
}

/* Those of finished restores that nobody will go on with any more. */
static void
sweep_markers(const char *spool)
{
	DIR *dir = opendir(spool);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		int64_t now_s = fb_clock_wall_ns() / INT64_C(1000000000);
		struct stat st;

		if (strncmp(entry->d_name, ".done-", 6) == 0 &&
		    fstatat(dirfd(dir), entry->d_name, &st,
		        AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_mtime < now_s - MARKER_S)
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

int
fb_chost_site_save(const struct fb_chost_site *site, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/restore.json", site->dir);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	fb_json_add(&bytes, site->facts);
	return fb_io_replace(path, fb_buf_span(&bytes), 0600, err);
}

/* What may be put in the place of the machine that is there; "" there is
 * none. */
static int
look_before(struct fb_chost *host, const struct fb_restore_request *request,
    char **ret_created, struct fb_error *err)
{
	FB_AUTO_CHOST_MACHINE struct fb_chost_machine now = { 0 };
	int rc = fb_chost_machine(host, id_of(request), &now, err);

	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		*ret_created = fb_strdup("");
		return FB_OK;
	}
	if (rc < 0)
		return rc;
	if (request->mode == FB_RESTORE_AS_NEW)
		return fb_fail(err, FB_ECONFLICT,
		    "there is a machine '%s' on the host", id_of(request));
	if (now.phase != FB_CHOST_STOPPED && now.phase != FB_CHOST_FAILED)
		return fb_fail(err, FB_ECONFLICT,
		    "machine '%s' is %s: it is not replaced", id_of(request),
		    now.text);
	*ret_created = fb_strdup(now.created);
	return FB_OK;
}

/* The machine that is there goes; what is made is to be as it was. */
static int
keep_definition(struct fb_chost *host, const struct fb_chost_site *site,
    struct fb_error *err)
{
	json_t *definition = NULL;
	int rc = fb_chost_definition(host, site->id, &definition, err);

	if (rc == FB_OK)
		(void)json_object_set_new(
		    site->facts, "definition", definition);
	return rc;
}

int
fb_chost_restore_begin(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	FB_AUTO_CHOST_SITE struct fb_chost_site site = { 0 };
	FB_AUTO_FREE char *created = NULL;
	int rc = fb_chost_site_load(host, request, &site, err);

	(void)verb;
	if (rc != FB_ENOTFOUND)
		return rc; /* it was begun before */
	*err = (struct fb_error){ 0 };
	sweep_markers(host->spool);
	rc = look_before(host, request, &created, err);
	if (rc == FB_OK)
		rc = fb_io_mkdirs(site.dir, 0700, err);
	if (rc < 0)
		return rc;
	site.facts = json_pack("{s:s,s:b,s:i,s:b}", "was", created, "local",
	    is_local(host, request), "tries", 0, "asked", 0);
	if (request->across)
		rc = keep_definition(host, &site, err);
	return rc < 0 ? rc : fb_chost_site_save(&site, err);
}

/* --------------------------------------------------------------- disks */

static int
open_spooled(const struct fb_chost_site *site, const struct fb_volume *volume,
    struct fb_target **ret_target, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_format("%s/%s.img", site->dir, volume->name);
	struct stat st;
	bool there = lstat(path, &st) == 0;

	if (there && !S_ISREG(st.st_mode))
		return fb_fail(err, FB_ECONFLICT, "'%s' is no file", path);
	return fb_target_open_file(
	    path, volume->size, !there, ret_target, err);
}

static int
open_equal(struct fb_chost *host, const struct fb_restore_request *request,
    const struct fb_volume *volume, bool fresh, struct fb_target **ret_target,
    struct fb_error *err)
{
	struct fb_artifact *disk = NULL;
	char sid[FB_CHOST_SID_SIZE];
	int rc;

	rc = fb_chost_find_sid(
	    host, request->machine->id, request->snapshot, sid, err);
	if (rc == FB_OK)
		rc = fb_chost_open_disk(host, sid, volume->name, &disk, err);
	if (rc < 0)
		return rc;
	if (disk->size != volume->size) {
		disk->ops->close(disk);
		return fb_fail_id(err, FB_ECONFLICT, "E-CHOST-DIFFERS",
		    "disk '%s' of the snapshot on the host has another size",
		    volume->name);
	}
	*ret_target = fb_chost_target_equal(disk, fresh);
	return FB_OK;
}

int
fb_chost_restore_open(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	FB_AUTO_CHOST_SITE struct fb_chost_site site = { 0 };
	const char *was;
	int rc;

	(void)verb;
	if (volume->kind != FB_VOLUME_DISK || !fb_chost_disk_ok(volume->name))
		return fb_fail(err, FB_EUNSUP,
		    "computer-host has no volume '%s' to write", volume->name);
	rc = fb_chost_site_load(host, request, &site, err);
	if (rc < 0)
		return rc;
	if (json_is_true(json_object_get(site.facts, "done")))
		return fb_fail(err, FB_ECONFLICT,
		    "machine '%s' was restored already", site.id);
	was = json_string_value(json_object_get(site.facts, "was"));
	return json_is_true(json_object_get(site.facts, "local"))
	    ? open_equal(host, request, volume,
	          was == NULL || was[0] == '\0', ret_target, err)
	    : open_spooled(&site, volume, ret_target, err);
}
