/* Whose an image is.  A file has many names: what counts is where a name leads
 * to, and of a name that leads nowhere yet where it would. */
#include "libvirt_clash.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

/* A chain that is longer goes in a circle. */
#define CHAIN_MAX 200

/* Looking at an image's header is no work. */
#define LOOK_MS    10000
#define ANSWER_MAX ((size_t)1 << 20)

struct image {
	char *domain, *target;
	char *place;   /* where its name leads to */
	bool is_below; /* it is not the disk's, but below that one */
};

struct fb_libvirt_images {
	bool local; /* paths are this host's */
	struct image *list;
	size_t count, room;
};

void
fb_libvirt_images_free(struct fb_libvirt_images **images)
{
	for (size_t i = 0; *images != NULL && i < (*images)->count; i++) {
		free((*images)->list[i].domain);
		free((*images)->list[i].target);
		free((*images)->list[i].place);
	}
	if (*images != NULL)
		free((*images)->list);
	free(*images);
	*images = NULL;
}

/*
 * Places.
 */

/* Of one that is not there yet: its directory's, and its name. */
static char *
lead_to(const char *path)
{
	char *real = realpath(path, NULL);
	FB_AUTO_FREE char *dir = NULL;
	const char *slash = strrchr(path, '/');
	char *place;

	if (real != NULL || slash == NULL)
		return real != NULL ? real : fb_strdup(path);
	dir = slash == path ? fb_strdup("/")
	                    : fb_format("%.*s", (int)(slash - path), path);
	real = realpath(dir, NULL);
	if (real == NULL)
		return fb_strdup(path);
	place = fb_format("%s%s", strcmp(real, "/") == 0 ? "" : real, slash);
	free(real);
	return place;
}

/* Of a volume that is not there yet; NULL: its pool is not known. */
static char *
place_in_pool(virConnectPtr connection, const struct fb_domain_disk *disk)
{
	virStoragePoolPtr pool = fb_libvirt.virStoragePoolLookupByName(
	    connection, disk->pool);
	char *xml = pool != NULL
	    ? fb_libvirt.virStoragePoolGetXMLDesc(pool, 0)
	    : NULL;
	FB_AUTO_FREE char *dir = xml == NULL ? NULL
	                                     : fb_pool_path((struct fb_span){
	                                           (const uint8_t *)xml,
	                                           strlen(xml) });

	free(xml);
	if (pool != NULL)
		(void)fb_libvirt.virStoragePoolFree(pool);
	return dir != NULL ? fb_format("%s/%s", dir, disk->volume) : NULL;
}

/* The caller's; NULL: it has none, or it is not known. */
static char *
place_of(const struct fb_libvirt_images *images, virConnectPtr connection,
    const struct fb_domain_disk *disk)
{
	FB_AUTO_FREE char *path = NULL;
	struct fb_error ignored;

	if (disk->source == NULL || disk->network)
		return NULL;
	if (fb_libvirt_image(connection, disk, &path, &ignored) < 0)
		path = disk->pool != NULL ? place_in_pool(connection, disk)
		                          : NULL;
	return path == NULL || !images->local || path[0] != '/'
	    ? FB_STEAL(path)
	    : lead_to(path);
}

/* By another name that is no link, too. */
static bool
is_same(
    const struct fb_libvirt_images *images, const char *one, const char *two)
{
	struct stat a, b;

	if (strcmp(one, two) == 0)
		return true;
	if (!images->local || stat(one, &a) == -1 || stat(two, &b) == -1)
		return false;
	if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode))
		return a.st_rdev == b.st_rdev;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/*
 * What lies below.
 */

static char *
text_of(const json_t *info, const char *key)
{
	const char *text = json_string_value(json_object_get(info, key));

	return text != NULL ? fb_strdup(text) : NULL;
}

/* By the image's own header; *format is that of the one below then. */
static bool
ask_image(const char *path, char **format, char **ret_below)
{
	const char *const words[] = { "qemu-img", "info", "--output=json", "-U",
		"-f", *format, path, NULL };
	struct fb_child_spec spec = { .argv = words, .timeout_ms = LOOK_MS,
		.lock_fd = -1, .stdout_max = ANSWER_MAX };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_JSON json_t *info = NULL;
	struct fb_error ignored;

	if (fb_child_run(&spec, &result, &ignored) < 0 ||
	    result.exit_code != 0)
		return false;
	info = json_loadb(
	    (const char *)result.out.data, result.out.len, 0, NULL);
	if (info == NULL)
		return false;
	*ret_below = text_of(info, "full-backing-filename");
	free(*format);
	*format = text_of(info, "backing-filename-format");
	if (*format == NULL)
		*format = fb_strdup("raw");
	return true;
}

/* By the pools: of another host's images nobody else tells. */
static char *
ask_pools(virConnectPtr connection, const char *path)
{
	virStorageVolPtr image =
	    fb_libvirt.virStorageVolLookupByPath(connection, path);
	char *xml = image != NULL
	    ? fb_libvirt.virStorageVolGetXMLDesc(image, 0)
	    : NULL;
	char *below = xml == NULL ? NULL
	                          : fb_volume_backing((struct fb_span){
	                                (const uint8_t *)xml, strlen(xml) });

	free(xml);
	if (image != NULL)
		(void)fb_libvirt.virStorageVolFree(image);
	return below;
}

static bool
is_known(const struct fb_libvirt_images *images, const char *place)
{
	for (size_t i = 0; i < images->count; i++)
		if (strcmp(images->list[i].place, place) == 0)
			return true;
	return false;
}

static void
add(struct fb_libvirt_images *images, const struct fb_domain *domain,
    const char *target, char *owned_place, bool is_below)
{
	if (images->count == images->room) {
		images->room = images->room * 2 + 16;
		images->list = fb_realloc(images->list, images->room,
		    sizeof(*images->list));
	}
	images->list[images->count++] =
	    (struct image){ .domain = fb_strdup(domain->name),
		    .target = fb_strdup(target),
		    .place = owned_place,
		    .is_below = is_below };
}

/* As far as somebody knows, or as another one's chain has told already. */
static void
add_chain(struct fb_libvirt_images *images, virConnectPtr connection,
    const struct fb_domain *domain, const struct fb_domain_disk *disk)
{
	char *place = place_of(images, connection, disk);
	FB_AUTO_FREE char *format = fb_strdup(disk->format);

	for (size_t i = 0; place != NULL && i < CHAIN_MAX; i++) {
		bool known = is_known(images, place);
		char *below = NULL;

		if (known) {
			free(place);
			return;
		}
		add(images, domain, disk->target, place, i > 0);
		if (place[0] != '/')
			return;
		if (!images->local || !ask_image(place, &format, &below))
			below = ask_pools(connection, place);
		place = below;
		if (below != NULL && images->local && below[0] == '/') {
			place = lead_to(below);
			free(below);
		}
	}
	free(place);
}

static void
add_domain(struct fb_libvirt_images *images, virConnectPtr connection,
    virDomainPtr ref, bool live, const char *but_uuid)
{
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
	struct fb_error ignored;

	if (fb_libvirt_read(ref, live, &domain, &ignored) < 0 ||
	    strcmp(domain.uuid, but_uuid) == 0)
		return;
	for (size_t i = 0; i < domain.disk_count; i++)
		add_chain(images, connection, &domain, &domain.disks[i]);
}

int
fb_libvirt_images_read(const struct fb_libvirt_driver *driver,
    virConnectPtr connection, const char *but_uuid,
    struct fb_libvirt_images **ret_images, struct fb_error *err)
{
	struct fb_libvirt_images *images = fb_alloc(1, sizeof(*images));
	virDomainPtr *domains = NULL;
	int count = fb_libvirt.virConnectListAllDomains(
	    connection, &domains, 0);

	*ret_images = images;
	images->local = driver->local;
	if (count < 0)
		return fb_libvirt_fail(
		    err, false, "cannot list the domains");
	for (int i = 0; i < count; i++) {
		add_domain(images, connection, domains[i], false, but_uuid);
		add_domain(images, connection, domains[i], true, but_uuid);
		(void)fb_libvirt.virDomainFree(domains[i]);
	}
	free(domains);
	return FB_OK;
}

/*
 * Whose it is.
 */

char *
fb_libvirt_clash(const struct fb_libvirt_images *images,
    virConnectPtr connection, const struct fb_domain_disk *disk)
{
	FB_AUTO_FREE char *place = place_of(images, connection, disk);

	for (size_t i = 0; place != NULL && i < images->count; i++) {
		const struct image *image = &images->list[i];

		if (!is_same(images, place, image->place))
			continue;
		return image->is_below
		    ? fb_format("the disk '%s' of the domain '%s' lies above "
		                "it", image->target, image->domain)
		    : fb_format("it is the disk '%s' of the domain '%s'",
		          image->target, image->domain);
	}
	return NULL;
}

char *
fb_libvirt_clash_of_own(const struct fb_libvirt_images *images,
    virConnectPtr connection, const struct fb_domain *domain,
    const char *target)
{
	const struct fb_domain_disk *disk = fb_domain_disk(domain, target);
	FB_AUTO_FREE char *place =
	    disk != NULL ? place_of(images, connection, disk) : NULL;

	for (size_t i = 0; place != NULL && i < domain->disk_count; i++) {
		FB_AUTO_FREE char *its = &domain->disks[i] == disk
		    ? NULL
		    : place_of(images, connection, &domain->disks[i]);

		if (its != NULL && is_same(images, place, its))
			return fb_format("its disk '%s' goes there too",
			    domain->disks[i].target);
	}
	return NULL;
}

static char *
find_mac(const struct fb_domain *domain, const struct fb_domain *other)
{
	for (size_t i = 0; i < domain->host.mac_count; i++)
		for (size_t j = 0; j < other->host.mac_count; j++)
			if (strcmp(domain->host.macs[i],
			        other->host.macs[j]) == 0)
				return fb_format("the network address %s is "
				                 "the domain '%s's",
				    domain->host.macs[i], other->name);
	return NULL;
}

char *
fb_libvirt_clash_of_macs(
    virConnectPtr connection, const struct fb_domain *domain)
{
	virDomainPtr *domains = NULL;
	char *clash = NULL;
	int count = fb_libvirt.virConnectListAllDomains(
	    connection, &domains, 0);

	for (int i = 0; i < count; i++) {
		FB_AUTO_DOMAIN struct fb_domain other = { 0 };
		struct fb_error ignored;

		if (clash == NULL &&
		    fb_libvirt_read(domains[i], false, &other, &ignored) ==
		        FB_OK &&
		    strcmp(other.uuid, domain->uuid) != 0)
			clash = find_mac(domain, &other);
		(void)fb_libvirt.virDomainFree(domains[i]);
	}
	free(domains);
	return clash;
}
