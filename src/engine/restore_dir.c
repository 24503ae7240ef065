/*
 * Machines into a plain directory.  A machine is built under a hidden name
 * and gets its own when it is whole, so nothing half is taken for whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "restore_parts.h"

/* Machines that are restored at once from far away. */
#define AT_ONCE 4

static bool
is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* All that was written to the file system of `path` survives power loss. */
static int
sync_all(const char *path, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_DIRECTORY, 0, err);

	return fd < 0 ? fd : fb_io_sync_all(fd, path, err);
}

static int
write_file(struct fb_restore *restore, struct fb_rst_machine *machine,
    size_t index, const char *path, struct fb_rst_totals *totals,
    struct fb_error *err)
{
	struct fb_rst_volume *volume = &machine->volumes[index];
	FB_AUTO_TARGET struct fb_target *target = NULL;
	int rc;

	volume->begun = is_there(path);
	if (!volume->begun)
		volume->offset = 0;
	rc = fb_target_open_file(
	    path, volume->record->size, !volume->begun, &target, err);
	if (rc < 0)
		return rc;
	return fb_rst_volume_to_target(
	    restore, machine, index, target, totals, err);
}

static int
write_tree(struct fb_restore *restore, struct fb_rst_machine *machine,
    size_t index, const char *path, struct fb_rst_totals *totals,
    struct fb_error *err)
{
	int rc = fb_io_remove_tree(path, err);

	if (rc >= 0)
		rc = fb_io_mkdirs(path, 0700, err);
	if (rc >= 0)
		rc = fb_rst_volume_to_tree(
		    restore, machine, index, path, totals, err);
	return rc < 0 ? rc : sync_all(path, err);
}

/* A tree has the volume's name, what else is a file a suffix. */
static char *
place_of(const char *dir, const struct fb_manifest_volume *record)
{
	if (fb_rst_is_stream(record->kind))
		return fb_format("%s/%s", dir, record->name);
	return fb_format("%s/%s.%s", dir, record->name,
	    record->kind == FB_VOLUME_DISK ? "img" : "bin");
}

int
fb_rst_check_dir(const struct fb_rst_machine *machine, struct fb_error *err)
{
	const struct fb_manifest_volume *volumes = machine->record.volumes;

	for (size_t i = 0; i < machine->record.volume_count; i++) {
		FB_AUTO_FREE char *place = place_of("", &volumes[i]);

		for (size_t k = 0; k < i; k++) {
			FB_AUTO_FREE char *other = place_of("", &volumes[k]);

			if (!machine->volumes[i].chosen ||
			    !machine->volumes[k].chosen ||
			    strcmp(place, other) != 0)
				continue;
			(void)fb_fail_id(err, FB_EUNSUP, "E-RST-VOLUME",
			    "volumes '%s' and '%s' would both be '%s'",
			    volumes[k].name, volumes[i].name, place + 1);
			return fb_hint(err, "restore one at a time: "
			                    "--volume NAME");
		}
	}
	return FB_OK;
}

static int
write_volume(struct fb_restore *restore, struct fb_rst_machine *machine,
    size_t index, const char *part, struct fb_rst_totals *totals,
    struct fb_error *err)
{
	struct fb_rst_volume *volume = &machine->volumes[index];
	FB_AUTO_FREE char *path = place_of(part, volume->record);
	int rc;

	if (!volume->chosen || volume->whole)
		return FB_OK;
	rc = fb_rst_is_stream(volume->record->kind)
	    ? write_tree(restore, machine, index, path, totals, err)
	    : write_file(restore, machine, index, path, totals, err);
	if (rc >= 0)
		rc = fb_io_sync_parent(path, err);
	if (rc < 0)
		return rc;
	volume->whole = true;
	return fb_rst_note(restore, "volume", machine, "volume",
	    volume->record->name, err);
}

static int
write_volumes(struct fb_restore *restore, struct fb_rst_machine *machine,
    const char *part, struct fb_rst_totals *totals, struct fb_error *err)
{
	int rc = fb_io_mkdirs(part, 0700, err);

	for (size_t i = 0; i < machine->record.volume_count && rc >= 0; i++)
		rc = write_volume(restore, machine, i, part, totals, err);
	return rc;
}

/* It makes the files of more use; they are whole without it. */
static void
write_definition(struct fb_restore *restore, struct fb_rst_machine *machine,
    const char *part)
{
	FB_AUTO_FREE char *final =
	    fb_format("%s/%s", restore->directory, machine->as);
	struct fb_error err = { 0 };

	if (machine->record.driver != NULL &&
	    fb_driver_restore_directory(
	        machine->record.driver, part, final, &err) < 0)
		fb_rst_warn(restore, machine, &err);
}

static int
publish(struct fb_restore *restore, struct fb_rst_machine *machine,
    const char *part, struct fb_error *err)
{
	FB_AUTO_FREE char *final =
	    fb_format("%s/%s", restore->directory, machine->as);
	int rc = fb_rst_note(
	    restore, "finishing", machine, NULL, NULL, err);

	if (rc >= 0)
		rc = fb_io_rename(part, final, true, err);
	if (rc == FB_EEXISTS) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "'%s' exists by now", final);
		return fb_hint(err,
		    "move it away, then: fleetbak restore --resume %s",
		    restore->id);
	}
	return rc;
}

static int
restore_one(struct fb_restore *restore, struct fb_rst_machine *machine,
    struct fb_rst_totals *totals, struct fb_error *err)
{
	FB_AUTO_FREE char *part = fb_rst_part_path(restore, machine);
	FB_AUTO_FREE char *final =
	    fb_format("%s/%s", restore->directory, machine->as);
	int rc = FB_OK;

	/* Cut off between the new name and its record?  Then that name may
	 * not survive power loss yet. */
	if (machine->finishing && !is_there(part) && is_there(final)) {
		rc = fb_io_sync_parent(final, err);
	} else {
		fb_rst_state(restore, machine, "writing");
		rc = write_volumes(restore, machine, part, totals, err);
		if (rc >= 0)
			write_definition(restore, machine, part);
		if (rc >= 0)
			rc = publish(restore, machine, part, err);
	}
	if (rc >= 0)
		rc = fb_rst_note(
		    restore, "closed", machine, "how", "ok", err);
	return rc;
}

static void
run_machine(struct fb_restore *restore, struct fb_rst_machine *machine)
{
	struct fb_event event = { .kind = FB_EVENT_MACHINE_START,
		.machine = machine->key };
	struct fb_rst_totals totals = { 0 };
	struct fb_error err = { 0 };
	int rc;

	if (machine->problem != NULL) {
		fb_rst_failed(restore, machine, machine->problem);
		return;
	}
	if (machine->closed) {
		fb_rst_succeeded(restore, machine, &totals);
		return;
	}
	fb_rst_tell(restore, &event);
	rc = restore_one(restore, machine, &totals, &err);
	if (rc < 0) {
		(void)fb_hint(&err,
		    "what is there stays; go on with: "
		    "fleetbak restore --resume %s", restore->id);
		fb_rst_failed(restore, machine, &err);
		return;
	}
	machine->closed = true;
	fb_rst_succeeded(restore, machine, &totals);
}

/* Threads that take one machine after the other. */
struct crew {
	struct fb_restore *restore;
	atomic_size_t next;
	pthread_mutex_t begins; /* held until all that begin are known */
};

static int
run_some(void *arg, struct fb_error *err)
{
	struct crew *crew = arg;
	struct fb_restore *restore = crew->restore;

	(void)err;
	(void)pthread_mutex_lock(&crew->begins);
	(void)pthread_mutex_unlock(&crew->begins);
	for (;;) {
		size_t number = atomic_fetch_add(&crew->next, 1);

		if (number >= restore->count)
			return FB_OK;
		fb_rst_await(restore, &restore->machines[number]);
		run_machine(restore, &restore->machines[number]);
		fb_rst_forgo(restore, &restore->machines[number]);
	}
}

void
fb_rst_run_dir(struct fb_restore *restore)
{
	struct crew crew = { restore, 0, PTHREAD_MUTEX_INITIALIZER };
	struct fb_error err = { 0 };
	struct fb_group *group;
	size_t count = restore->count < AT_ONCE ? restore->count : AT_ONCE;
	size_t begins = restore->count > 0;

	if (restore->together == NULL)
		count = 1;
	group = fb_group_new();
	(void)pthread_mutex_lock(&crew.begins);
	for (size_t i = 1; i < count; i++)
		begins += fb_group_start(group, run_some, &crew);
	/* One that is awaited and has no thread would be awaited for ever. */
	for (size_t i = 0; i < begins; i++)
		fb_rst_await(restore, &restore->machines[i]);
	(void)pthread_mutex_unlock(&crew.begins);
	(void)run_some(&crew, &err);
	if (fb_group_wait(group, &err) < 0)
		fb_rst_warn(restore, NULL, &err);
}
