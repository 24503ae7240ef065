/* libvirt's pools and networks that a domain needs. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "libvirt_rest.h"

#define DIR_MODE  0700
#define FILE_MODE 0600

/* The XML of one more, which libvirt has given out; NULL: it has none. */
static int
keep_xml(char *xml, const char *definition_dir, const char *kind,
    size_t number, struct fb_error *err)
{
	FB_AUTO_FREE char *text = xml;
	FB_AUTO_FREE char *dir = fb_format("%s/%s", definition_dir, kind);
	FB_AUTO_FREE char *path = fb_format("%s/%02zu.xml", dir, number);
	int rc;

	if (text == NULL)
		return FB_OK;
	rc = fb_io_mkdirs(dir, DIR_MODE, err);
	return rc < 0 ? rc
	              : fb_io_replace(path,
	                    (struct fb_span){
	                        (const uint8_t *)text, strlen(text) },
	                    FILE_MODE, err);
}

static int
keep_networks(virConnectPtr connection, const struct fb_domain *domain,
    const char *definition_dir, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < domain->host.network_count;
	     i++) {
		virNetworkPtr network = fb_libvirt.virNetworkLookupByName(
		    connection, domain->host.networks[i]);

		if (network == NULL)
			continue;
		rc = keep_xml(fb_libvirt.virNetworkGetXMLDesc(
		                  network, VIR_NETWORK_XML_INACTIVE),
		    definition_dir, "networks", i + 1, err);
		(void)fb_libvirt.virNetworkFree(network);
	}
	return rc;
}

/* Of a file too, if a pool has it. */
static virStoragePoolPtr
pool_of(virConnectPtr connection, const struct fb_domain_disk *disk)
{
	virStorageVolPtr volume;
	virStoragePoolPtr pool;

	if (disk->pool != NULL)
		return fb_libvirt.virStoragePoolLookupByName(
		    connection, disk->pool);
	if (disk->source == NULL || disk->source[0] != '/')
		return NULL;
	volume = fb_libvirt.virStorageVolLookupByPath(
	    connection, disk->source);
	if (volume == NULL)
		return NULL;
	pool = fb_libvirt.virStoragePoolLookupByVolume(volume);
	(void)fb_libvirt.virStorageVolFree(volume);
	return pool;
}

struct pools {
	char **names;
	size_t count;
};

static void
release_pools(struct pools *pools)
{
	for (size_t i = 0; i < pools->count; i++)
		free(pools->names[i]);
	free(pools->names);
}

/* False: it has been seen. */
static bool
is_new(struct pools *pools, const char *name)
{
	for (size_t i = 0; i < pools->count; i++)
		if (strcmp(pools->names[i], name) == 0)
			return false;
	pools->names[pools->count++] = fb_strdup(name);
	return true;
}

static int
keep_pools(virConnectPtr connection, const struct fb_domain *domain,
    const char *definition_dir, struct fb_error *err)
{
	FB_CLEANUP(release_pools) struct pools pools = { 0 };
	int rc = FB_OK;

	pools.names = fb_alloc(domain->disk_count + 1, sizeof(char *));
	for (size_t i = 0; rc == FB_OK && i < domain->disk_count; i++) {
		virStoragePoolPtr pool =
		    pool_of(connection, &domain->disks[i]);

		if (pool == NULL)
			continue;
		if (is_new(&pools, fb_libvirt.virStoragePoolGetName(pool)))
			rc = keep_xml(fb_libvirt.virStoragePoolGetXMLDesc(
			                  pool, VIR_STORAGE_XML_INACTIVE),
			    definition_dir, "pools", pools.count, err);
		(void)fb_libvirt.virStoragePoolFree(pool);
	}
	return rc;
}

int
fb_libvirt_host_keep(virConnectPtr connection, const struct fb_domain *domain,
    const char *definition_dir, struct fb_error *err)
{
	int rc = keep_networks(connection, domain, definition_dir, err);

	return rc < 0 ? rc
	              : keep_pools(connection, domain, definition_dir, err);
}

char *
fb_libvirt_host_check(virConnectPtr connection, const struct fb_domain *domain)
{
	for (size_t i = 0; i < domain->host.network_count; i++) {
		const char *name = domain->host.networks[i];
		virNetworkPtr network = fb_libvirt.virNetworkLookupByName(
		    connection, name);
		int active;

		if (network == NULL)
			return fb_format("libvirt has no network '%s': define "
			                 "it (the backup's definition has its "
			                 "XML), or take another one: --map "
			                 "'network:%s=OTHER'", name, name);
		active = fb_libvirt.virNetworkIsActive(network);
		(void)fb_libvirt.virNetworkFree(network);
		if (active == 0)
			return fb_format("the network '%s' is not started: "
			                 "virsh net-start %s", name, name);
	}
	return NULL;
}
