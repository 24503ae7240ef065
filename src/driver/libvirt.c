#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/json.h"
#include "libvirt_internal.h"

static void
libvirt_close(struct fb_driver *base)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;

	fb_libvirt_end_watch(driver);
	fb_libvirt_let_go_of(driver, NULL);
	if (driver->connection != NULL)
		(void)fb_libvirt.virConnectClose(driver->connection);
	for (size_t i = 0;
	     driver->machines != NULL && driver->machines[i] != NULL; i++)
		free(driver->machines[i]);
	free(driver->machines);
	fb_libvirt_far_free(driver->far);
	free(driver->far_mark);
	free(driver->uri);
	free(driver->scratch);
	free(driver->tpm);
	free(driver->images);
	free(driver->name);
	(void)pthread_cond_destroy(&driver->watch_cond);
	(void)pthread_mutex_destroy(&driver->lock);
	free(driver);
}

static const char *
option(const struct fb_config_source *source, const char *key)
{
	const char *value =
	    json_string_value(json_object_get(source->options, key));

	return value != NULL ? value : "";
}

/* The configuration's reader has judged it. */
static uint64_t
span_of(const struct fb_config_source *source, const char *key)
{
	struct fb_error ignored;
	uint64_t ms;

	return fb_text_span(option(source, key), &ms, &ignored) == FB_OK ? ms
	                                                                  : 0;
}

static enum fb_libvirt_freezing
freezing_of(const char *policy)
{
	return strcmp(policy, "require") == 0 ? FB_LIBVIRT_FREEZE_REQUIRE
	    : strcmp(policy, "never") == 0    ? FB_LIBVIRT_FREEZE_NEVER
	                                      : FB_LIBVIRT_FREEZE_TRY;
}

static char **
globs_of(const json_t *list)
{
	size_t count = json_array_size(list);
	char **globs;

	if (count == 0)
		return NULL;
	globs = fb_alloc(count + 1, sizeof(*globs));
	for (size_t i = 0; i < count; i++)
		globs[i] =
		    fb_strdup(json_string_value(json_array_get(list, i)));
	return globs;
}

static void
init_lock(struct fb_libvirt_driver *driver)
{
	pthread_condattr_t attr;

	(void)pthread_mutex_init(&driver->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&driver->watch_cond, &attr);
	(void)pthread_condattr_destroy(&attr);
}

static int
libvirt_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err)
{
	const char *why = fb_libvirt_load();
	struct fb_libvirt_driver *driver;

	if (why != NULL) {
		(void)fb_fail_id(err, FB_EUNSUP, "E-DRIVER-ABSENT",
		    "libvirt is not there: %s", why);
		return fb_hint(err, "install libvirt0");
	}
	driver = fb_alloc(1, sizeof(*driver));
	driver->base.ops = &fb_libvirt_ops;
	driver->name = fb_strdup(source->name);
	driver->base.source = driver->name;
	driver->uri = fb_strdup(option(source, "uri"));
	driver->scratch = fb_strdup(option(source, "scratch"));
	driver->tpm = fb_strdup(option(source, "tpm"));
	driver->images = fb_strdup(option(source, "images"));
	driver->machines =
	    globs_of(json_object_get(source->options, "machines"));
	driver->local = fb_libvirt_is_local(driver->uri);
	driver->far_mark = fb_libvirt_far_mark();
	driver->far = fb_libvirt_far_new(driver->uri, driver->far_mark);
	driver->live = strcmp(option(source, "capture"), "live") == 0;
	driver->freeze = freezing_of(option(source, "freeze"));
	driver->freeze_timeout_ms = span_of(source, "freeze_timeout");
	driver->force_off =
	    strcmp(option(source, "after_stop_timeout"), "force") == 0;
	driver->checkpoints = strcmp(option(source, "changes"), "none") != 0;
	driver->refuse_left_out =
	    strcmp(option(source, "uncaptured"), "refuse") == 0;
	driver->stop_timeout_ms = span_of(source, "stop_timeout");
	driver->start_timeout_ms = span_of(source, "start_timeout");
	driver->opened_ns = fb_clock_boot_ns();
	init_lock(driver);
	*ret_driver = &driver->base;
	return FB_OK;
}

static int
libvirt_probe(struct fb_driver *base, struct fb_error *err)
{
	FB_AUTO_CONNECTION virConnectPtr connection = NULL;

	return fb_libvirt_connect(
	    (struct fb_libvirt_driver *)base, &connection, err);
}

static bool
is_wanted(const struct fb_libvirt_driver *driver, const char *name)
{
	if (driver->machines == NULL)
		return true;
	for (size_t i = 0; driver->machines[i] != NULL; i++)
		if (fnmatch(driver->machines[i], name, 0) == 0)
			return true;
	return false;
}

/* A domain that went away since it was listed is none. */
static void
add_machine(const struct fb_libvirt_driver *driver, virConnectPtr connection,
    virDomainPtr domain, struct fb_fleet *fleet)
{
	const char *name = fb_libvirt.virDomainGetName(domain);
	char uuid[VIR_UUID_STRING_BUFLEN];
	struct fb_machine *machine;

	if (name == NULL || !is_wanted(driver, name) ||
	    fb_libvirt.virDomainGetUUIDString(domain, uuid) < 0)
		return;
	machine = fb_fleet_add(fleet);
	machine->source = fb_strdup(driver->name);
	machine->driver = fb_strdup("libvirt");
	machine->id = fb_strdup(uuid);
	machine->name = fb_strdup(name);
	machine->stop_timeout_ms = driver->stop_timeout_ms;
	machine->start_timeout_ms = driver->start_timeout_ms;
	fb_libvirt_describe(driver, connection, domain, machine);
}

static int
libvirt_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_CONNECTION virConnectPtr connection = NULL;
	virDomainPtr *domains = NULL;
	int rc = fb_libvirt_connect(driver, &connection, err);
	int count;

	if (rc < 0)
		return rc;
	count = fb_libvirt.virConnectListAllDomains(connection, &domains, 0);
	if (count < 0)
		return fb_libvirt_fail(
		    err, false, "cannot list the domains of '%s'", driver->uri);
	for (int i = 0; i < count; i++) {
		add_machine(driver, connection, domains[i], fleet);
		(void)fb_libvirt.virDomainFree(domains[i]);
	}
	free(domains);
	return FB_OK;
}

const struct fb_driver_ops fb_libvirt_ops = {
	.name = "libvirt",
	.takes = FB_TAKES(FB_VOLUME_DISK),
	.maps = true,
	.open = libvirt_open,
	.probe = libvirt_probe,
	.discover = libvirt_discover,
	.power_get = fb_libvirt_power_get,
	.stop = fb_libvirt_stop,
	.start = fb_libvirt_start,
	.create_snapshot = fb_libvirt_create_snapshot,
	.find_by_token = fb_libvirt_find_by_token,
	.list_snapshots = fb_libvirt_list_snapshots,
	.remove_snapshot = fb_libvirt_remove_snapshot,
	.relieve = fb_libvirt_relieve,
	.open_volume = fb_libvirt_open_volume,
	.restore_check = fb_libvirt_restore_check,
	.restore_begin = fb_libvirt_restore_begin,
	.restore_open = fb_libvirt_restore_open,
	.restore_finish = fb_libvirt_restore_finish,
	.restore_directory = fb_libvirt_restore_directory,
	.close = libvirt_close,
};
