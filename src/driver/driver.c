/* The registry, and what every verb of every driver has in common. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/driver/driver.h"
#include "canic_internal.h"
#include "computer_host_internal.h"
#include "icp_internal.h"
#include "libvirt_ops.h"
#include "local_internal.h"
#include "miosa_internal.h"
#include "morpheus_ops.h"
#include "plugin_internal.h"

static const struct {
	const char *name;
	const struct fb_driver_ops *ops;
} drivers[] = {
	{ "canic", &fb_canic_ops }, /* of an import's source only */
	{ "computer-host", &fb_computer_host_ops },
	{ "icp", &fb_icp_ops },
	{ "libvirt", &fb_libvirt_ops },
	{ "local", &fb_local_ops },
	{ "miosa", &fb_miosa_ops },
	{ "morpheus", &fb_morpheus_ops },
	{ "plugin", &fb_plugin_ops },
};

const struct fb_driver_ops *
fb_driver_find(const char *name)
{
	for (size_t i = 0; i < FB_COUNT(drivers); i++)
		if (strcmp(drivers[i].name, name) == 0)
			return drivers[i].ops;
	return NULL;
}

bool
fb_driver_imports(const char *name)
{
	const struct fb_driver_ops *ops = fb_driver_find(name);

	return ops != NULL && ops->imports;
}

size_t
fb_driver_names(const char *const **ret_names)
{
	static const char *const names[] = { "computer-host", "icp",
		"libvirt", "local", "miosa", "morpheus", "plugin" };

	*ret_names = names;
	return FB_COUNT(names);
}

void
fb_restore_plan_release(struct fb_restore_plan *plan)
{
	for (size_t i = 0; i < plan->volume_count; i++) {
		free(plan->volumes[i].volume);
		free(plan->volumes[i].location);
		free(plan->volumes[i].problem);
	}
	free(plan->volumes);
	free(plan->id);
	*plan = (struct fb_restore_plan){ 0 };
}

static int
lacks(const struct fb_driver *driver, const char *verb, struct fb_error *err)
{
	return fb_fail(
	    err, FB_EUNSUP, "driver '%s' cannot %s", driver->ops->name, verb);
}

/* An answer that no verb may give is the driver's fault, not the caller's. */
static int
check_answer(int rc, const struct fb_driver *driver, const char *verb,
    struct fb_error *err)
{
	if (rc == FB_OK || rc == FB_PENDING || (rc < 0 && rc == err->code))
		return rc;
	return fb_fail(err, FB_EBUG, "driver '%s' answers %s with %d",
	    driver->ops->name, verb, rc);
}

/* The answer of a verb about a machine. */
static int
answer(int rc, const struct fb_driver *driver, const struct fb_machine *machine,
    const char *verb, struct fb_error *err)
{
	rc = check_answer(rc, driver, verb, err);
	if (rc < 0)
		return fb_wrap(err, "%s/%s: %s", driver->source,
		    machine != NULL ? machine->id : "*", verb);
	return rc;
}

/* Before a verb with an effect. */
static int
effect(const struct fb_driver *driver, const struct fb_machine *machine,
    const struct fb_verb *verb, const char *name, enum fb_fault *ret_fault,
    struct fb_error *err)
{
	FB_AUTO_FREE char *what = NULL;
	int rc = fb_name_check("token", verb->token, strlen(verb->token), err);

	if (rc == FB_OK)
		rc = fb_name_check(
		    "machine id", machine->id, strlen(machine->id), err);
	if (rc < 0)
		return fb_wrap(err, "%s: %s", driver->source, name);
	what = fb_format("%s %s/%s", name, driver->source, machine->id);
	*ret_fault = fb_seam(FB_STEP_DRIVER, what);
	rc = fb_seam_refuse(*ret_fault, err);
	return rc < 0
	    ? fb_wrap(err, "%s/%s: %s", driver->source, machine->id, name)
	    : rc;
}

static int
question(const struct fb_driver *driver, const struct fb_machine *machine,
    const char *name, struct fb_error *err)
{
	int rc = FB_OK;

	if (machine != NULL)
		rc = fb_name_check(
		    "machine id", machine->id, strlen(machine->id), err);
	if (rc == FB_OK)
		rc = fb_seam_refuse(fb_seam(FB_STEP_ASK, name), err);
	return rc < 0 ? fb_wrap(err, "%s: %s", driver->source, name) : FB_OK;
}

/*
 * A question changes nothing, so when its answer is lost it is asked again.
 * One that was waited for long is not: that is an answer of a kind.
 */
#define ASK_TRIES   3
#define ASK_LONG_NS (INT64_C(2) * 1000 * 1000 * 1000)

struct asking {
	int tries;
	int64_t began_ns;
};

static bool
ask_again(struct asking *asking, int rc)
{
	return (rc == FB_EUNKNOWN || rc == FB_ETIMEOUT || rc == FB_EUNREACH) &&
	    ++asking->tries < ASK_TRIES &&
	    fb_clock_mono_ns() - asking->began_ns < ASK_LONG_NS;
}

int
fb_driver_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err)
{
	const struct fb_driver_ops *ops = fb_driver_find(source->driver);
	int rc;

	if (ops == NULL)
		return fb_fail(err, FB_ECONFIG,
		    "source '%s': there is no driver '%s'", source->name,
		    source->driver);
	rc = ops->open(source, ret_driver, err);
	return rc < 0 ? fb_wrap(err, "source '%s'", source->name) : rc;
}

void
fb_driver_close(struct fb_driver *driver)
{
	if (driver != NULL)
		driver->ops->close(driver);
}

int
fb_driver_probe(struct fb_driver *driver, struct fb_error *err)
{
	struct asking asking = { 0, fb_clock_mono_ns() };
	int rc;

	if (driver->ops->probe == NULL)
		return FB_OK;
	do {
		rc = fb_seam_refuse(fb_seam(FB_STEP_ASK, "probe"), err);
		if (rc == FB_OK)
			rc = check_answer(driver->ops->probe(driver, err),
			    driver, "probe", err);
	} while (ask_again(&asking, rc));
	return rc < 0 ? fb_wrap(err, "source '%s'", driver->source) : rc;
}

int
fb_driver_discover(
    struct fb_driver *driver, struct fb_fleet *fleet, struct fb_error *err)
{
	size_t before = fleet->count;
	int rc;

	rc = fb_seam_refuse(fb_seam(FB_STEP_ASK, "discover"), err);
	if (rc == FB_OK)
		rc = check_answer(driver->ops->discover(driver, fleet, err),
		    driver, "discover", err);
	for (size_t i = before; i < fleet->count; i++)
		fleet->machines[i].parent_first = driver->ops->parents_first;
	return rc < 0 ? fb_wrap(err, "source '%s'", driver->source) : rc;
}

int
fb_driver_power_get(struct fb_driver *driver, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power, struct fb_error *err)
{
	struct asking asking = { 0, fb_clock_mono_ns() };
	int rc;

	*ret_power = FB_POWER_UNKNOWN;
	if (driver->ops->power_get == NULL)
		return lacks(driver, "tell a machine's power state", err);
	do {
		rc = question(driver, machine, "power_get", err);
		if (rc == FB_OK)
			rc = answer(driver->ops->power_get(driver, machine,
			                verb, ret_power, err),
			    driver, machine, "power_get", err);
	} while (ask_again(&asking, rc));
	return rc;
}

int
fb_driver_stop(struct fb_driver *driver, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	enum fb_fault fault;
	int rc;

	if (driver->ops->stop == NULL)
		return lacks(driver, "stop a machine", err);
	rc = effect(driver, machine, verb, "stop", &fault, err);
	if (rc == FB_OK)
		rc = answer(
		    fb_seam_answer(fault,
		        driver->ops->stop(driver, machine, verb, err), err),
		    driver, machine, "stop", err);
	return rc;
}

int
fb_driver_start(struct fb_driver *driver, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	enum fb_fault fault;
	int rc;

	if (driver->ops->start == NULL)
		return lacks(driver, "start a machine", err);
	rc = effect(driver, machine, verb, "start", &fault, err);
	if (rc == FB_OK)
		rc = answer(
		    fb_seam_answer(fault,
		        driver->ops->start(driver, machine, verb, err), err),
		    driver, machine, "start", err);
	return rc;
}

int
fb_driver_create_snapshot(struct fb_driver *driver,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	enum fb_fault fault = FB_FAULT_NONE;
	int rc;

	if (driver->ops->create_snapshot == NULL)
		return lacks(driver, "make a snapshot", err);
	rc = verb->adopts
	    ? question(driver, machine, "create_snapshot", err)
	    : effect(driver, machine, verb, "create_snapshot", &fault, err);
	if (rc == FB_OK)
		rc = answer(fb_seam_answer(fault,
		                driver->ops->create_snapshot(
		                    driver, machine, verb, err),
		                err),
		    driver, machine, "create_snapshot", err);
	return rc;
}

int
fb_driver_find_by_token(struct fb_driver *driver,
    const struct fb_machine *machine, const char *token, struct fb_error *err)
{
	struct asking asking = { 0, fb_clock_mono_ns() };
	int rc;

	if (driver->ops->find_by_token == NULL)
		return lacks(driver, "find a snapshot", err);
	do {
		rc = question(driver, machine, "find_by_token", err);
		if (rc == FB_OK)
			rc = fb_name_check("token", token, strlen(token), err);
		if (rc == FB_OK)
			rc = answer(driver->ops->find_by_token(
			                driver, machine, token, err),
			    driver, machine, "find_by_token", err);
	} while (ask_again(&asking, rc));
	return rc;
}

int
fb_driver_list_snapshots(struct fb_driver *driver, fb_driver_visit_token *visit,
    void *arg, struct fb_error *err)
{
	int rc;

	if (driver->ops->list_snapshots == NULL)
		return FB_OK;
	rc = question(driver, NULL, "list_snapshots", err);
	if (rc == FB_OK)
		rc = driver->ops->list_snapshots(driver, visit, arg, err);
	return rc < 0 ? fb_wrap(err, "source '%s'", driver->source) : rc;
}

int
fb_driver_remove_snapshot(struct fb_driver *driver,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	enum fb_fault fault;
	int rc;

	if (driver->ops->remove_snapshot == NULL)
		return lacks(driver, "remove a snapshot", err);
	rc = effect(driver, machine, verb, "remove_snapshot", &fault, err);
	if (rc == FB_OK)
		rc = answer(fb_seam_answer(fault,
		                driver->ops->remove_snapshot(
		                    driver, machine, verb, err),
		                err),
		    driver, machine, "remove_snapshot", err);
	return rc;
}

int
fb_driver_relieve(struct fb_driver *driver, const struct fb_machine *machine,
    const struct fb_verb *verb, bool *ret_done, struct fb_error *err)
{
	enum fb_fault fault;
	int rc;

	*ret_done = false;
	if (driver->ops->relieve == NULL)
		return FB_OK;
	rc = effect(driver, machine, verb, "relieve", &fault, err);
	if (rc == FB_OK)
		rc = answer(fb_seam_answer(fault,
		                driver->ops->relieve(
		                    driver, machine, verb, ret_done, err),
		                err),
		    driver, machine, "relieve", err);
	return rc;
}

int
fb_driver_open_volume(struct fb_driver *driver,
    const struct fb_machine *machine, const struct fb_volume *volume,
    const char *token, struct fb_artifact **ret_artifact, struct fb_error *err)
{
	int rc;

	*ret_artifact = NULL;
	if (driver->ops->open_volume == NULL)
		return lacks(driver, "read a volume", err);
	rc = question(driver, machine, "open_volume", err);
	if (rc == FB_OK && token != NULL)
		rc = fb_name_check("token", token, strlen(token), err);
	if (rc == FB_OK)
		rc = answer(driver->ops->open_volume(driver, machine, volume,
		                token, ret_artifact, err),
		    driver, machine, "open_volume", err);
	if (rc == FB_OK && !fb_change_token_ok((*ret_artifact)->token))
		(*ret_artifact)->token[0] = '\0';
	return rc;
}

/* What a restore is asked for, before any driver sees it. */
bool
fb_restore_map_places(const char *kind)
{
	return strcmp(kind, "source") == 0 || strcmp(kind, "machine") == 0 ||
	    strcmp(kind, "volume") == 0;
}

const char *
fb_restore_mapped(const struct fb_restore_map *maps, size_t count,
    const char *kind, const char *name)
{
	const char *rest = NULL;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(maps[i].kind, kind) != 0)
			continue;
		if (strcmp(maps[i].from, name) == 0)
			return maps[i].to;
		if (rest == NULL && strcmp(maps[i].from, "*") == 0)
			rest = maps[i].to;
	}
	return rest;
}

/* Nothing that was asked for is left out in silence. */
static int
check_maps(const struct fb_driver *driver,
    const struct fb_restore_request *request, struct fb_error *err)
{
	bool any = request->keep_mac || request->keep_uuid;

	for (size_t i = 0; i < request->map_count; i++)
		any = any || !fb_restore_map_places(request->maps[i].kind);
	return !any || driver->ops->maps
	    ? FB_OK
	    : fb_fail_id(err, FB_EUNSUP, "E-RST-MAP",
	          "a machine of driver '%s' has nothing to map or to keep",
	          driver->ops->name);
}

static int
check_request(const struct fb_restore_request *request, struct fb_error *err)
{
	int rc;

	if (request->mode != FB_RESTORE_AS_NEW)
		return FB_OK;
	if (request->new_id == NULL)
		return fb_fail(err, FB_EBUG, "a new machine needs an id");
	rc = fb_name_check(
	    "new machine id", request->new_id, strlen(request->new_id), err);
	return rc;
}

int
fb_driver_restore_check(struct fb_driver *driver, const struct fb_fleet *fleet,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	int rc;

	*ret_plan = (struct fb_restore_plan){ 0 };
	if (driver->ops->restore_check == NULL)
		return lacks(driver, "restore a machine", err);
	rc = check_request(request, err);
	if (rc == FB_OK)
		rc = check_maps(driver, request, err);
	if (rc == FB_OK)
		rc = question(driver, request->machine, "restore_check", err);
	if (rc == FB_OK)
		rc = answer(driver->ops->restore_check(
		                driver, fleet, request, ret_plan, err),
		    driver, request->machine, "restore_check", err);
	if (rc < 0)
		fb_restore_plan_release(ret_plan);
	return rc;
}

int
fb_driver_restore_list(struct fb_driver *driver,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    fb_tree_visit *visit, void *arg, struct fb_error *err)
{
	int rc;

	if (driver->ops->restore_list == NULL)
		return FB_OK;
	rc = question(driver, request->machine, "restore_list", err);
	if (rc == FB_OK)
		rc = answer(driver->ops->restore_list(
		                driver, request, volume, visit, arg, err),
		    driver, request->machine, "restore_list", err);
	return rc;
}

int
fb_driver_restore_begin(struct fb_driver *driver,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	enum fb_fault fault;
	int rc;

	if (driver->ops->restore_begin == NULL)
		return lacks(driver, "restore a machine", err);
	rc = check_request(request, err);
	if (rc == FB_OK)
		rc = effect(driver, request->machine, verb, "restore_begin",
		    &fault, err);
	if (rc == FB_OK)
		rc = answer(
		    fb_seam_answer(fault,
		        driver->ops->restore_begin(driver, request, verb, err),
		        err),
		    driver, request->machine, "restore_begin", err);
	return rc;
}

int
fb_driver_restore_open(struct fb_driver *driver,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	enum fb_fault fault;
	int rc;

	*ret_target = NULL;
	if (driver->ops->restore_open == NULL)
		return lacks(driver, "restore a volume", err);
	rc = check_request(request, err);
	if (rc == FB_OK)
		rc = effect(driver, request->machine, verb, "restore_open",
		    &fault, err);
	if (rc == FB_OK)
		rc = answer(fb_seam_answer(fault,
		                driver->ops->restore_open(driver, request,
		                    volume, verb, ret_target, err),
		                err),
		    driver, request->machine, "restore_open", err);
	if (rc < 0) /* of a lost answer */
		fb_target_closep(ret_target);
	if (rc < 0)
		*ret_target = NULL;
	return rc;
}

int
fb_driver_restore_directory(const char *driver, const char *dir,
    const char *final, struct fb_error *err)
{
	const struct fb_driver_ops *ops = fb_driver_find(driver);

	return ops == NULL || ops->restore_directory == NULL
	    ? FB_OK
	    : ops->restore_directory(dir, final, err);
}

int
fb_driver_restore_finish(struct fb_driver *driver,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	enum fb_fault fault;
	int rc;

	if (driver->ops->restore_finish == NULL)
		return lacks(driver, "restore a machine", err);
	rc = check_request(request, err);
	if (rc == FB_OK)
		rc = effect(driver, request->machine, verb, "restore_finish",
		    &fault, err);
	if (rc == FB_OK)
		rc = answer(
		    fb_seam_answer(fault,
		        driver->ops->restore_finish(driver, request, verb, err),
		        err),
		    driver, request->machine, "restore_finish", err);
	return rc;
}
