#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/json.h"
#include "local_internal.h"

/* Machines that are asked for their power state at once at discovery, and
 * how long each may take to answer. */
#define STATUS_THREADS    8
#define STATUS_TIMEOUT_MS 10000

static void
local_close(struct fb_driver *base)
{
	struct fb_local_driver *driver = (struct fb_local_driver *)base;

	free(driver->name);
	free(driver->root);
	fb_labels_release(&driver->labels);
	free(driver);
}

static int
local_open(const struct fb_config_source *source, struct fb_driver **ret_driver,
    struct fb_error *err)
{
	const char *root =
	    json_string_value(json_object_get(source->options, "root"));
	struct fb_local_driver *driver;

	if (root == NULL || root[0] != '/')
		return fb_fail(err, FB_ECONFIG,
		    "the local driver needs 'root', the directory that holds "
		    "the machines");
	driver = fb_alloc(1, sizeof(*driver));
	driver->name = fb_strdup(source->name);
	driver->root = fb_strdup(root);
	driver->labels.items = fb_alloc(
	    source->labels.count + 1, sizeof(*driver->labels.items));
	for (size_t i = 0; i < source->labels.count; i++) {
		driver->labels.items[i].key =
		    fb_strdup(source->labels.items[i].key);
		driver->labels.items[i].value =
		    fb_strdup(source->labels.items[i].value);
	}
	driver->labels.count = source->labels.count;
	driver->base.ops = &fb_local_ops;
	driver->base.source = driver->name;
	*ret_driver = &driver->base;
	return FB_OK;
}

static int
local_probe(struct fb_driver *base, struct fb_error *err)
{
	FB_AUTO_STRINGS char **dirs = NULL;

	return fb_local_dirs((struct fb_local_driver *)base, &dirs, err);
}

/* One machine directory, asked and described by a thread.  What was read for
 * it is given back at once: a fleet is large, and only its machines stay. */
struct item {
	const struct fb_local_driver *driver;
	const char *dir;
	struct fb_machine *machine; /* NULL: the directory is no machine */
};

struct share {
	struct item *items;
	size_t first, count, step;
};

/* A machine whose machine.yaml cannot be read has the name of its directory,
 * if that is one. */
static void
describe_broken(const struct item *item, const struct fb_local_found *found,
    const struct fb_error *why, struct fb_machine *machine)
{
	const char *base = strrchr(item->dir, '/') + 1;
	FB_AUTO_BUF struct fb_buf id = { 0 };

	for (const char *p = base; *p != '\0' && id.len < FB_NAME_MAX; p++)
		fb_buf_add(&id,
		    fb_name_ok(p, 1) || strchr("._-", *p) != NULL ? p : "_", 1);
	if (!fb_name_ok(fb_buf_str(&id), id.len) && id.len > 0)
		id.data[0] = '_';
	machine->source = fb_strdup(item->driver->name);
	machine->driver = fb_strdup("local");
	machine->id = fb_strdup(fb_buf_str(&id));
	machine->name = fb_strdup(machine->id);
	machine->role = fb_strdup("");
	fb_digest_of(fb_buf_span(&found->yaml), &machine->description);
	fb_machine_refuse(machine, why);
}

static void
describe(const struct item *item, const struct fb_local_found *found,
    struct fb_machine *machine)
{
	struct fb_verb verb = { .token = "",
		.timeout_ms = STATUS_TIMEOUT_MS, .lock_fd = -1 };
	struct fb_error err = { 0 };

	fb_local_describe(item->driver, found, machine);
	if (found->spec->status != NULL &&
	    fb_local_status(found, &verb, &machine->power, &err) < 0)
		fb_machine_refuse(machine, &err);
}

static void
ask_item(struct item *item)
{
	struct fb_local_found found = { 0 };
	struct fb_error err = { 0 };
	int rc = fb_local_load(item->dir, &found, &err);

	/* A directory without machine.yaml is no machine. */
	if (rc != FB_ENOTFOUND)
		item->machine = fb_alloc(1, sizeof(*item->machine));
	if (rc == FB_OK)
		describe(item, &found, item->machine);
	else if (rc != FB_ENOTFOUND)
		describe_broken(item, &found, &err, item->machine);
	fb_local_found_release(&found);
}

static int
ask_share(void *arg, struct fb_error *err)
{
	const struct share *share = arg;

	(void)err;
	for (size_t i = share->first; i < share->count; i += share->step)
		ask_item(&share->items[i]);
	return FB_OK;
}

static int
ask_all(struct item *items, size_t count, struct fb_error *err)
{
	struct share shares[STATUS_THREADS];
	size_t threads = count < STATUS_THREADS ? count : STATUS_THREADS;
	struct fb_group *group = fb_group_new();

	for (size_t i = 0; i < threads; i++) {
		shares[i] = (struct share){ items, i, count, threads };
		fb_group_start(group, ask_share, &shares[i]);
	}
	return fb_group_wait(group, err);
}

static int
local_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	const struct fb_local_driver *driver = (struct fb_local_driver *)base;
	FB_AUTO_STRINGS char **dirs = NULL;
	FB_AUTO_FREE struct item *items = NULL;
	size_t count = 0;
	int rc = fb_local_dirs(driver, &dirs, err);

	if (rc < 0)
		return rc;
	while (dirs[count] != NULL)
		count++;
	items = fb_alloc(count, sizeof(*items));
	for (size_t i = 0; i < count; i++)
		items[i] = (struct item){ .driver = driver, .dir = dirs[i] };
	rc = ask_all(items, count, err);
	for (size_t i = 0; i < count; i++)
		if (items[i].machine != NULL) {
			*fb_fleet_add(fleet) = *items[i].machine;
			free(items[i].machine);
		}
	return rc;
}

const struct fb_driver_ops fb_local_ops = {
	.name = "local",
	.takes = FB_TAKES(FB_VOLUME_DISK) | FB_TAKES(FB_VOLUME_TREE),
	.open = local_open,
	.probe = local_probe,
	.discover = local_discover,
	.power_get = fb_local_power_get,
	.stop = fb_local_stop,
	.start = fb_local_start,
	.create_snapshot = fb_local_create_snapshot,
	.find_by_token = fb_local_find_by_token,
	.list_snapshots = fb_local_list_snapshots,
	.remove_snapshot = fb_local_remove_snapshot,
	.open_volume = fb_local_open_volume,
	.restore_check = fb_local_restore_check,
	.restore_list = fb_local_restore_list,
	.restore_begin = fb_local_restore_begin,
	.restore_open = fb_local_restore_open,
	.restore_finish = fb_local_restore_finish,
	.close = local_close,
};
