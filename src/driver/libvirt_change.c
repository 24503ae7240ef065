/*
 * Domain XML of a backup, changed into that of the domain which is made of it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/driver/driver.h"
#include "libvirt_xml.h"
#include "libvirt_xml_parts.h"

static void
put_attribute(xmlNode *node, const char *name, const char *value)
{
	(void)xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

static void
drop_attribute(xmlNode *node, const char *name)
{
	(void)xmlUnsetProp(node, (const xmlChar *)name);
}

static void
put_text(xmlNode *node, const char *text)
{
	xmlNodeSetContent(node, NULL);
	xmlNodeAddContent(node, (const xmlChar *)text);
}

static void
drop(xmlNode *node)
{
	if (node == NULL)
		return;
	xmlUnlinkNode(node);
	xmlFreeNode(node);
}

static void
drop_all(xmlNode *parent, const char *name)
{
	for (xmlNode *child = child_of(parent, name); child != NULL;
	     child = child_of(parent, name))
		drop(child);
}

/*
 * Disks.
 */

static const struct fb_domain_place *
place_of(const struct fb_domain_change *change, const xmlNode *disk)
{
	FB_AUTO_FREE char *target = attribute(child_of(disk, "target"), "dev");

	for (size_t i = 0; target != NULL && i < change->place_count; i++)
		if (strcmp(change->places[i].target, target) == 0)
			return &change->places[i];
	return NULL;
}

/* How QEMU keeps tables of the one in memory says nothing of the other. */
static void
change_format(xmlNode *disk, const char *format)
{
	xmlNode *driver = child_of(disk, "driver");

	if (driver == NULL) {
		driver = xmlNewChild(
		    disk, NULL, (const xmlChar *)"driver", NULL);
		put_attribute(driver, "name", "qemu");
	}
	drop_all(driver, "metadata_cache");
	put_attribute(driver, "type", format);
}

/* What lies below the image is not its backup's. */
static void
move_disk(xmlNode *disk, const struct fb_domain_place *place)
{
	xmlNode *source = child_of(disk, "source"), *fresh;

	drop_all(disk, "backingStore");
	if (place->kind == FB_PLACE_EMPTY) {
		drop(source);
		return;
	}
	if (place->format != NULL)
		change_format(disk, place->format);
	/* Its labels and its encryption were the other image's. */
	fresh = xmlNewNode(NULL, (const xmlChar *)"source");
	if (source != NULL)
		drop(xmlReplaceNode(source, fresh));
	else
		(void)xmlAddChild(disk, fresh);
	if (place->kind == FB_PLACE_FILE) {
		put_attribute(disk, "type", "file");
		put_attribute(fresh, "file", place->path);
	} else if (place->kind == FB_PLACE_BLOCK) {
		put_attribute(disk, "type", "block");
		put_attribute(fresh, "dev", place->path);
	} else {
		put_attribute(disk, "type", "volume");
		put_attribute(fresh, "pool", place->pool);
		put_attribute(fresh, "volume", place->volume);
	}
}

/*
 * What two domains on one host cannot both have.
 */

static bool
is_host_device(const xmlNode *node)
{
	return is_named(node, "hostdev") ||
	    (is_named(node, "interface") &&
	        attribute_is(node, "type", "hostdev"));
}

/* Of QEMU's range, as libvirt makes them. */
static void
change_mac(xmlNode *interface, const struct fb_digest *seed, size_t number)
{
	xmlNode *mac = child_of(interface, "mac");
	struct fb_digest digest;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	char text[18];

	fb_buf_add_fmt(&bytes, "mac %zu\n", number);
	fb_buf_add(&bytes, seed->bytes, sizeof(seed->bytes));
	fb_digest_of(fb_buf_span(&bytes), &digest);
	(void)snprintf(text, sizeof(text), "52:54:00:%02x:%02x:%02x",
	    digest.bytes[0], digest.bytes[1], digest.bytes[2]);
	if (mac == NULL)
		mac = xmlNewChild(
		    interface, NULL, (const xmlChar *)"mac", NULL);
	put_attribute(mac, "address", text);
}

static void
map_attribute(xmlNode *source, const char *name,
    const struct fb_restore_request *request)
{
	FB_AUTO_FREE char *is = attribute(source, name);
	const char *mapped = is != NULL
	    ? fb_restore_mapped(
	          request->maps, request->map_count, "network", is)
	    : NULL;

	if (mapped != NULL)
		put_attribute(source, name, mapped);
}

static void
map_network(xmlNode *interface, const struct fb_restore_request *request)
{
	xmlNode *source = child_of(interface, "source");

	if (attribute_is(interface, "type", "network"))
		map_attribute(source, "network", request);
	if (attribute_is(interface, "type", "bridge"))
		map_attribute(source, "bridge", request);
}

static void
free_port(xmlNode *graphics)
{
	if (attribute_is(graphics, "autoport", "yes") ||
	    xmlHasProp(graphics, (const xmlChar *)"port") == NULL)
		return;
	put_attribute(graphics, "autoport", "yes");
	drop_attribute(graphics, "port");
	drop_attribute(graphics, "tlsPort");
	drop_attribute(graphics, "websocket");
}

/* "/log/web.txt" becomes "/log/NEW-web.txt". */
static void
rename_path(xmlNode *node, const char *name, const char *new_name)
{
	FB_AUTO_FREE char *path = attribute(node, name);
	FB_AUTO_FREE char *other = NULL;
	const char *slash = path != NULL ? strrchr(path, '/') : NULL;

	if (slash == NULL)
		return;
	other = fb_format("%.*s/%s-%s", (int)(slash - path), path, new_name,
	    slash + 1);
	put_attribute(node, name, other);
}

static bool
is_character_device(const xmlNode *node)
{
	return is_named(node, "serial") || is_named(node, "console") ||
	    is_named(node, "parallel") || is_named(node, "channel");
}

static void
set_apart(xmlNode *node, const struct fb_domain_change *change, size_t *macs)
{
	if (is_named(node, "interface")) {
		if (change->request == NULL || !change->request->keep_mac)
			change_mac(node, change->beside, *macs);
		(*macs)++;
		drop_all(node, "target"); /* its name on the host */
	}
	if (is_named(node, "graphics"))
		free_port(node);
	if (is_named(node, "vsock") && child_of(node, "cid") != NULL) {
		put_attribute(child_of(node, "cid"), "auto", "yes");
		drop_attribute(child_of(node, "cid"), "address");
	}
	if (!is_character_device(node))
		return;
	if (attribute_is(node, "type", "file") ||
	    attribute_is(node, "type", "unix"))
		rename_path(child_of(node, "source"), "path", change->name);
	rename_path(child_of(node, "log"), "file", change->name);
}

/*
 * Storage.
 */

/* NULL when it is no XML. */
static xmlDoc *
read_pool(struct fb_span xml)
{
	return xml.len == 0 || xml.len > FB_DOMAIN_XML_MAX
	    ? NULL
	    : xmlReadMemory((const char *)xml.ptr, (int)xml.len, NULL, NULL,
	          XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

bool
fb_pool_has_files(struct fb_span xml)
{
	static const char *const types[] = { "dir", "fs", "netfs" };
	bool has = false;
	xmlDoc *document = read_pool(xml);

	for (size_t i = 0; document != NULL && i < FB_COUNT(types); i++)
		has = has ||
		    attribute_is(
		        xmlDocGetRootElement(document), "type", types[i]);
	xmlFreeDoc(document);
	return has;
}

char *
fb_pool_path(struct fb_span xml)
{
	xmlDoc *document = read_pool(xml);
	char *path = document == NULL
	    ? NULL
	    : content(child_of(
	          child_of(xmlDocGetRootElement(document), "target"), "path"));

	xmlFreeDoc(document);
	return path;
}

static xmlNode *
add_text(xmlNode *parent, const char *name, const char *text)
{
	return xmlNewTextChild(
	    parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

void
fb_volume_xml(const char *name, const char *format, uint64_t size,
    bool sparse, struct fb_buf *dst)
{
	xmlDoc *document = xmlNewDoc((const xmlChar *)"1.0");
	xmlNode *root = xmlNewNode(NULL, (const xmlChar *)"volume");
	FB_AUTO_FREE char *bytes =
	    fb_format("%llu", (unsigned long long)size);
	xmlNode *target;

	(void)xmlDocSetRootElement(document, root);
	(void)add_text(root, "name", name);
	put_attribute(add_text(root, "capacity", bytes), "unit", "bytes");
	if (sparse)
		(void)add_text(root, "allocation", "0");
	target = add_text(root, "target", NULL);
	put_attribute(add_text(target, "format", NULL), "type", format);
	write_document(document, dst);
}

/*
 * All of it.
 */

static void
change_devices(xmlNode *devices, const struct fb_domain_change *change)
{
	xmlNode *next;
	size_t macs = 0;

	for (xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = next) {
		const struct fb_domain_place *place =
		    is_named(node, "disk") ? place_of(change, node) : NULL;

		next = node->next;
		if (change->request != NULL && is_named(node, "interface"))
			map_network(node, change->request);
		if ((place != NULL && place->kind == FB_PLACE_NOWHERE) ||
		    (change->beside != NULL && is_host_device(node)))
			drop(node);
		else if (place != NULL)
			move_disk(node, place);
		else if (change->beside != NULL)
			set_apart(node, change, &macs);
	}
}

static void
change_nvram(xmlNode *node, const struct fb_domain_change *change)
{
	if (node == NULL)
		return;
	if (!change->nvram_is_block) {
		drop_attribute(node, "type");
		put_text(node, change->nvram);
		return;
	}
	xmlNodeSetContent(node, NULL);
	put_attribute(node, "type", "block");
	put_attribute(
	    xmlNewChild(node, NULL, (const xmlChar *)"source", NULL), "dev",
	    change->nvram);
}

/* Where the firmware's tables repeat the UUID it has to be the same. */
static void
change_uuid(xmlNode *root, const char *uuid)
{
	const xmlNode *system = child_of(child_of(root, "sysinfo"), "system");
	xmlNode *genid = child_of(root, "genid");

	put_text(child_of(root, "uuid"), uuid);
	for (xmlNode *entry = system != NULL ? system->children : NULL;
	     entry != NULL; entry = entry->next)
		if (is_named(entry, "entry") &&
		    attribute_is(entry, "name", "uuid"))
			put_text(entry, uuid);
	if (genid != NULL) /* libvirt makes another one */
		xmlNodeSetContent(genid, NULL);
}

/* One that is named is the other domain's. */
static void
free_tpm(xmlNode *devices)
{
	drop_all(child_of(child_of(devices, "tpm"), "backend"), "source");
}

static void
change_root(xmlNode *root, const struct fb_domain_change *change)
{
	xmlNode *os = child_of(root, "os");

	if (change->name != NULL)
		put_text(child_of(root, "name"), change->name);
	if (change->uuid != NULL)
		change_uuid(root, change->uuid);
	if (change->nvram != NULL)
		change_nvram(child_of(os, "nvram"), change);
	if (change->kernel != NULL)
		put_text(child_of(os, "kernel"), change->kernel);
	if (change->initrd != NULL)
		put_text(child_of(os, "initrd"), change->initrd);
	if (change->beside != NULL)
		free_tpm(child_of(root, "devices"));
	change_devices(child_of(root, "devices"), change);
}

int
fb_domain_change(struct fb_span xml, const struct fb_domain_change *change,
    struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain judged = { 0 };
	xmlDoc *document;
	int rc = fb_domain_read(xml, &judged, err);

	if (rc < 0)
		return rc;
	document = xmlReadMemory((const char *)xml.ptr, (int)xml.len, NULL,
	    NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (document == NULL)
		return fb_fail(err, FB_EPROTO, "the domain's XML is no XML");
	change_root(xmlDocGetRootElement(document), change);
	write_document(document, dst);
	return FB_OK;
}
