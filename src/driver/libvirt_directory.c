/* A guest in a plain directory: XML that starts it from what lies there. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "libvirt_rest.h"

#define XML_NAME  "domain.xml"
#define FILE_MODE 0600

struct moving {
	const char *dir;   /* as it is now */
	const char *final; /* as it will be called */
	struct fb_domain then;
	struct fb_domain_place *places;
	char **paths;
	size_t count;
};

static void
release_moving(struct moving *moving)
{
	for (size_t i = 0; moving->paths != NULL && i < moving->count; i++)
		free(moving->paths[i]);
	free(moving->paths);
	free(moving->places);
	fb_domain_release(&moving->then);
}

static bool
is_there(const char *dir, const char *name)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, name);
	struct stat st;

	return stat(path, &st) == 0;
}

/* Its name in the directory's own; NULL: it is not there. */
static char *
find(const struct moving *moving, const char *name)
{
	return is_there(moving->dir, name) ? fb_path_join(moving->final, name)
	                                   : NULL;
}

/* A disk that is not there cannot be started from; a medium that is not on
 * this host is left out. */
static void
place_disk(struct moving *moving, const struct fb_domain_disk *disk)
{
	FB_AUTO_FREE char *name = fb_format("%s.img", disk->target);
	struct fb_domain_place *place = &moving->places[moving->count];
	struct stat st;

	*place = (struct fb_domain_place){ .target = disk->target };
	if (disk->device == FB_DOMAIN_CDROM ||
	    disk->device == FB_DOMAIN_FLOPPY) {
		if (disk->source == NULL || stat(disk->source, &st) == 0)
			return;
		place->kind = FB_PLACE_EMPTY;
	} else {
		moving->paths[moving->count] = find(moving, name);
		place->path = moving->paths[moving->count];
		place->kind = place->path != NULL ? FB_PLACE_FILE
		                                  : FB_PLACE_NOWHERE;
		place->format = "raw";
	}
	moving->count++;
}

int
fb_libvirt_restore_directory(
    const char *dir, const char *final, struct fb_error *err)
{
	FB_CLEANUP(release_moving)
	struct moving moving = { .dir = dir, .final = final };
	FB_AUTO_FREE char *from =
	    fb_format("%s/" FB_LIBVIRT_DEFINITION "/" XML_NAME, dir);
	FB_AUTO_FREE char *to = fb_path_join(dir, XML_NAME);
	FB_AUTO_FREE char *nvram =
	    find(&moving, FB_LIBVIRT_DEFINITION "/" FB_LIBVIRT_NVRAM);
	FB_AUTO_FREE char *kernel =
	    find(&moving, FB_LIBVIRT_DEFINITION "/kernel");
	FB_AUTO_FREE char *initrd =
	    find(&moving, FB_LIBVIRT_DEFINITION "/initrd");
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	FB_AUTO_BUF struct fb_buf made = { 0 };
	struct fb_domain_change change = { .nvram = nvram,
		.kernel = kernel,
		.initrd = initrd };
	int rc;

	if (!is_there(dir, FB_LIBVIRT_DEFINITION "/" XML_NAME))
		return FB_OK;
	rc = fb_io_read_file(from, FB_DOMAIN_XML_MAX, &xml, err);
	if (rc == FB_OK)
		rc = fb_domain_read(fb_buf_span(&xml), &moving.then, err);
	if (rc < 0)
		return fb_wrap(err, "the backup's definition");
	moving.places =
	    fb_alloc(moving.then.disk_count + 1, sizeof(*moving.places));
	moving.paths = fb_alloc(moving.then.disk_count + 1, sizeof(char *));
	for (size_t i = 0; i < moving.then.disk_count; i++)
		place_disk(&moving, &moving.then.disks[i]);
	change.places = moving.places;
	change.place_count = moving.count;
	rc = fb_domain_change(fb_buf_span(&xml), &change, &made, err);
	return rc < 0 ? rc
	              : fb_io_replace(to, fb_buf_span(&made), FILE_MODE, err);
}
