#include "libvirt_where.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "libvirt_files.h"

void
fb_libvirt_where_release(struct fb_libvirt_where *where)
{
	free(where->pool);
	free(where->volume);
	free(where->path);
	free(where->format);
	free(where->problem);
}

static const char *
mapped(const struct fb_restore_request *request, const char *kind,
    const char *name)
{
	return fb_restore_mapped(
	    request->maps, request->map_count, kind, name);
}

/* "web-vda.qcow2": one of ours in a directory or pool that has others. */
static char *
image_name(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, const char *format)
{
	return fb_format("%s-%s.%s", made->name, disk->target,
	    strcmp(format, "raw") == 0 ? "img" : format);
}

/* Beside the image that it had, or in the directory of the configuration. */
static char *
image_path(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, const char *format)
{
	FB_AUTO_FREE char *name = image_name(made, disk, format);
	const char *images = made->driver->images;
	const char *slash = strrchr(disk->source, '/');

	if (images[0] != '\0')
		return fb_path_join(images, name);
	if (!made->other || slash == NULL)
		return fb_strdup(disk->source);
	return fb_format(
	    "%.*s/%s", (int)(slash - disk->source), disk->source, name);
}

/* One that is there keeps its format. */
static void
look_at_volume(const struct fb_libvirt_made *made,
    struct fb_libvirt_where *where)
{
	virStoragePoolPtr pool = fb_libvirt.virStoragePoolLookupByName(
	    made->connection, where->pool);
	virStorageVolPtr volume = pool == NULL
	    ? NULL
	    : fb_libvirt.virStorageVolLookupByName(pool, where->volume);
	char *xml = volume == NULL
	    ? NULL
	    : fb_libvirt.virStorageVolGetXMLDesc(volume, 0);
	char *format = xml == NULL ? NULL
	                           : fb_volume_format((struct fb_span){
	                                 (const uint8_t *)xml, strlen(xml) });

	where->existing = volume != NULL;
	if (format != NULL) {
		free(where->format);
		where->format = format;
	}
	free(xml);
	if (volume != NULL)
		(void)fb_libvirt.virStorageVolFree(volume);
	if (pool != NULL)
		(void)fb_libvirt.virStoragePoolFree(pool);
}

static void
put_into_path(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, const char *to,
    struct fb_libvirt_where *where)
{
	FB_AUTO_FREE char *name = image_name(made, disk, where->format);
	struct fb_libvirt_file file;
	struct fb_error err = { 0 };

	if (to[strlen(to) - 1] == '/') {
		where->path = fb_format("%s%s", to, name);
		return;
	}
	where->path = fb_strdup(to);
	if (fb_libvirt_file_look(made->driver, to, &file, &err) < 0 &&
	    where->problem == NULL)
		where->problem = fb_strdup(err.msg);
	where->existing = file.block;
	if (where->existing) {
		free(where->format);
		where->format = fb_strdup("raw");
	}
}

static void
put_into_pool(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, const char *to,
    struct fb_libvirt_where *where)
{
	const char *slash = strchr(to, '/');

	if (slash == NULL || slash == to) {
		where->problem = fb_format("'%s' is neither a path nor POOL/ "
		                           "or POOL/VOLUME", to);
		return;
	}
	where->pool = fb_format("%.*s", (int)(slash - to), to);
	if (slash[1] == '\0') {
		where->volume = image_name(made, disk, where->format);
		return;
	}
	where->volume = fb_strdup(slash + 1);
	look_at_volume(made, where);
}

static void
put_as_it_was(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, struct fb_libvirt_where *where)
{
	const char *pool;

	if (disk->pool == NULL || made->driver->images[0] != '\0') {
		where->path = image_path(made, disk, where->format);
		if (made->driver->images[0] == '\0' &&
		    (strcmp(disk->type, "block") == 0 || disk->network))
			where->problem = fb_format(
			    "it was the %s '%s', which may be somebody else's "
			    "now: say where it goes, as in --map "
			    "disk:%s=/DIR/, or set 'images' of its source",
			    disk->network ? "network disk" : "device",
			    disk->source, disk->target);
		return;
	}
	pool = mapped(made->request, "pool", disk->pool);
	where->pool = fb_strdup(pool != NULL ? pool : disk->pool);
	where->volume = made->other
	    ? image_name(made, disk, where->format)
	    : fb_strdup(disk->volume);
}

void
fb_libvirt_where(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, struct fb_libvirt_where *where,
    struct fb_domain_place *place)
{
	const char *to = mapped(made->request, "disk", disk->target);
	const char *format = mapped(made->request, "format", disk->target);

	where->format = fb_strdup(format != NULL ? format : disk->format);
	if (strcmp(where->format, "raw") != 0 &&
	    strcmp(where->format, "qcow2") != 0)
		where->problem = fb_format(
		    "an image in the format '%s' cannot be made: --map "
		    "format:%s=raw, or =qcow2", where->format, disk->target);
	if (to == NULL)
		put_as_it_was(made, disk, where);
	else if (to[0] == '/')
		put_into_path(made, disk, to, where);
	else
		put_into_pool(made, disk, to, where);
	if (where->problem == NULL &&
	    !fb_libvirt_reaches(made->driver) &&
	    strcmp(where->format, "raw") != 0)
		where->problem = fb_format(
		    "its host is not reached by ssh, and libvirt alone writes "
		    "raw images only: --map format:%s=raw", disk->target);
	place->kind = where->path == NULL ? FB_PLACE_VOLUME
	    : where->existing             ? FB_PLACE_BLOCK
	                                  : FB_PLACE_FILE;
	place->path = where->path;
	place->pool = where->pool != NULL ? where->pool : "";
	place->volume = where->volume != NULL ? where->volume : "";
	place->format = strcmp(where->format, disk->format) != 0
	    ? where->format
	    : NULL;
}

/*
 * Maps.
 */

static bool
is_in(char *const *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return false;
}

static bool
is_pool(const struct fb_domain *then, const char *name)
{
	for (size_t i = 0; i < then->disk_count; i++)
		if (then->disks[i].pool != NULL &&
		    strcmp(then->disks[i].pool, name) == 0)
			return true;
	return false;
}

static bool
has_what_is_mapped(
    const struct fb_domain *then, const struct fb_restore_map *map)
{
	if (strcmp(map->from, "*") == 0 || fb_restore_map_places(map->kind))
		return true;
	if (strcmp(map->kind, "network") == 0)
		return is_in(then->host.networks, then->host.network_count,
		           map->from) ||
		    is_in(then->host.bridges, then->host.bridge_count,
		        map->from);
	if (strcmp(map->kind, "pool") == 0)
		return is_pool(then, map->from);
	return fb_domain_disk(then, map->from) != NULL;
}

int
fb_libvirt_check_maps(const struct fb_restore_request *request,
    const struct fb_domain *then, struct fb_error *err)
{
	for (size_t i = 0; i < request->map_count; i++)
		if (!has_what_is_mapped(then, &request->maps[i]))
			return fb_fail_id(err, FB_ECONFIG, "E-RST-MAP",
			    "--map %s:%s=%s: the backup has no such %s",
			    request->maps[i].kind, request->maps[i].from,
			    request->maps[i].to,
			    strcmp(request->maps[i].kind, "format") == 0
			        ? "disk"
			        : request->maps[i].kind);
	return FB_OK;
}
