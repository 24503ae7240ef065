/*
 * Domain XML, by libxml2: libvirt's own reader, so that both see the same
 * document.
 */
#include "libvirt_xml.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "libvirt_xml_parts.h"

/* Of one domain; libvirt allows fewer. */
#define DISKS_MAX 1024

static const char agent_channel[] = "org.qemu.guest_agent.0";

/*
 * The digest.  Every element and attribute that stays is written with the
 * lengths of its texts, so that no two documents look alike.
 */

static void
add_text(struct fb_buf *dst, char tag, const char *text, size_t len)
{
	fb_buf_add_fmt(dst, "%c%zu:", tag, len);
	fb_buf_add(dst, text, len);
}

static int
compare_attributes(const void *a, const void *b)
{
	const xmlAttr *const *one = a, *const *two = b;
	int order = strcmp(
	    (const char *)(*one)->name, (const char *)(*two)->name);
	const char *space[2] = {
		(*one)->ns != NULL ? (const char *)(*one)->ns->href : "",
		(*two)->ns != NULL ? (const char *)(*two)->ns->href : "",
	};

	return order != 0 ? order : strcmp(space[0], space[1]);
}

static void
add_attributes(struct fb_buf *dst, const xmlNode *node)
{
	FB_AUTO_FREE const xmlAttr **list = NULL;
	size_t count = 0;

	for (const xmlAttr *at = node->properties; at != NULL; at = at->next)
		count++;
	list = fb_alloc(count, sizeof(xmlAttr *));
	count = 0;
	for (const xmlAttr *at = node->properties; at != NULL; at = at->next)
		list[count++] = at;
	qsort(list, count, sizeof(xmlAttr *), compare_attributes);
	for (size_t i = 0; i < count; i++) {
		const xmlAttr *at = list[i];
		xmlChar *value = xmlNodeGetContent((const xmlNode *)at);
		const char *text = value != NULL ? (const char *)value : "";

		if (at->ns != NULL)
			add_text(dst, 'n', (const char *)at->ns->href,
			    strlen((const char *)at->ns->href));
		add_text(dst, 'a', (const char *)at->name,
		    strlen((const char *)at->name));
		add_text(dst, '=', text, strlen(text));
		xmlFree(value);
	}
}

static bool
is_drive(const xmlNode *node)
{
	return is_named(node, "disk") &&
	    (attribute_is(node, "device", "cdrom") ||
	        attribute_is(node, "device", "floppy"));
}

/*
 * What is another one although nobody changed the definition: names that
 * libvirt gives while a domain runs, labels it makes up, the images below a
 * disk's own (which it may list or not), the copy that is under way, and the
 * medium in a drive.
 */
static bool
is_volatile(const xmlNode *node)
{
	FB_AUTO_FREE char *name = NULL;

	if (is_named(node, "backingStore") || is_named(node, "mirror"))
		return true;
	if (is_named(node, "seclabel"))
		return attribute_is(node, "type", "dynamic");
	if (is_named(node, "source") && is_drive(node->parent))
		return true;
	if (!is_named(node, "alias"))
		return false;
	name = attribute(node, "name");
	return name == NULL || strncmp(name, "ua-", 3) != 0;
}

static bool
is_blank(const xmlNode *node)
{
	return node->content == NULL ||
	    strspn((const char *)node->content, " \t\r\n") ==
	    strlen((const char *)node->content);
}

static void add_element(struct fb_buf *dst, xmlNode *node);

static void
add_children(struct fb_buf *dst, const xmlNode *node)
{
	for (xmlNode *child = node->children; child != NULL;
	     child = child->next) {
		if (child->type == XML_ELEMENT_NODE && !is_volatile(child))
			add_element(dst, child);
		else if ((child->type == XML_TEXT_NODE ||
		             child->type == XML_CDATA_SECTION_NODE) &&
		    !is_blank(child))
			add_text(dst, 't', (const char *)child->content,
			    strlen((const char *)child->content));
	}
}

/* As deep as libxml2 lets a document be, which is 256. */
static void
add_element(struct fb_buf *dst, xmlNode *node)
{
	const char *space = node->ns != NULL && node->ns->href != NULL
	    ? (const char *)node->ns->href
	    : "";

	if (space[0] != '\0')
		add_text(dst, 'N', space, strlen(space));
	add_text(dst, 'e', (const char *)node->name,
	    strlen((const char *)node->name));
	add_attributes(dst, node);
	add_children(dst, node);
	fb_buf_add_str(dst, ".");
}

static void
digest_domain(xmlNode *root, struct fb_digest *ret)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	(void)xmlUnsetProp(root, (const xmlChar *)"id");
	fb_buf_add_str(&bytes, "fleetbak-libvirt-domain 1\n");
	add_element(&bytes, root);
	fb_digest_of(fb_buf_span(&bytes), ret);
}

/*
 * Disks.
 */

static enum fb_domain_device
device_of(const xmlNode *node)
{
	if (attribute_is(node, "device", "cdrom"))
		return FB_DOMAIN_CDROM;
	if (attribute_is(node, "device", "floppy"))
		return FB_DOMAIN_FLOPPY;
	return attribute_is(node, "device", "lun") ? FB_DOMAIN_LUN
	                                           : FB_DOMAIN_DISK;
}

static bool
is_type(const struct fb_domain_disk *disk, const char *type)
{
	return strcmp(disk->type, type) == 0;
}

/* The first of its servers: two may have images of the same name. */
static char *
network_source(const xmlNode *source, const char *protocol)
{
	FB_AUTO_FREE char *name = attribute(source, "name");
	FB_AUTO_FREE char *host = attribute(child_of(source, "host"), "name");
	FB_AUTO_FREE char *port = attribute(child_of(source, "host"), "port");
	FB_AUTO_FREE char *socket =
	    attribute(child_of(source, "host"), "socket");
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add_fmt(&text, "%s:%s", protocol, name != NULL ? name : "");
	if (host != NULL || socket != NULL)
		fb_buf_add_fmt(&text, "@%s", host != NULL ? host : socket);
	if (host != NULL && port != NULL)
		fb_buf_add_fmt(&text, ":%s", port);
	return fb_strdup(fb_buf_str(&text));
}

static void
read_source(const xmlNode *source, struct fb_domain_disk *disk)
{
	FB_AUTO_FREE char *protocol = attribute(source, "protocol");

	disk->source =
	    attribute(source, is_type(disk, "block") ? "dev" : "file");
	disk->pool = attribute(source, "pool");
	disk->volume = attribute(source, "volume");
	if (is_type(disk, "volume") && disk->pool != NULL &&
	    disk->volume != NULL) {
		free(disk->source);
		disk->source = fb_format("%s/%s", disk->pool, disk->volume);
	} else if (is_type(disk, "network") && protocol != NULL) {
		free(disk->source);
		disk->source = network_source(source, protocol);
		disk->network = true;
	}
}

static unsigned
count_backing(const xmlNode *node)
{
	unsigned count = 0;

	for (;;) {
		node = child_of(node, "backingStore");
		if (node == NULL || child_of(node, "source") == NULL)
			return count;
		count++;
	}
}

/* In words that follow the disk's name. */
static char *
why_not(const xmlNode *node, const struct fb_domain_disk *disk)
{
	if (disk->device == FB_DOMAIN_LUN)
		return fb_strdup("it is passed through to the guest as a LUN");
	if (!is_type(disk, "file") && !is_type(disk, "block") &&
	    !is_type(disk, "volume") && !is_type(disk, "network"))
		return fb_format(
		    "a disk of type '%s' cannot be read", disk->type);
	if (disk->source == NULL)
		return fb_strdup("it has no source");
	if (child_of(node, "readonly") != NULL)
		return fb_strdup("the guest cannot write to it");
	if (child_of(node, "shareable") != NULL)
		return fb_strdup("it is shared with other guests");
	if (child_of(node, "transient") != NULL)
		return fb_strdup("what is written to it does not last");
	if (child_of(node, "encryption") != NULL ||
	    child_of(child_of(node, "source"), "encryption") != NULL)
		return fb_strdup("an image that the hypervisor encrypts "
		                 "cannot be read yet");
	if (child_of(child_of(node, "source"), "slices") != NULL)
		return fb_strdup("a slice of an image cannot be read yet");
	if (strcmp(disk->format, "raw") != 0 &&
	    strcmp(disk->format, "qcow2") != 0)
		return fb_format("an image in the format '%s' cannot be read",
		    disk->format);
	return NULL;
}

static const struct fb_domain_disk *
same_source(const struct fb_domain *domain, const struct fb_domain_disk *disk)
{
	for (size_t i = 0; i < domain->disk_count; i++)
		if (domain->disks[i].why == NULL &&
		    domain->disks[i].device == FB_DOMAIN_DISK &&
		    domain->disks[i].source != NULL &&
		    strcmp(domain->disks[i].source, disk->source) == 0)
			return &domain->disks[i];
	return NULL;
}

static int
read_disk(const xmlNode *node, struct fb_domain *domain, struct fb_error *err)
{
	struct fb_domain_disk *disk = &domain->disks[domain->disk_count];
	const struct fb_domain_disk *twin;
	FB_AUTO_FREE char *target = attribute(child_of(node, "target"), "dev");

	if (target == NULL)
		return fb_fail(err, FB_EPROTO, "a disk has no target");
	if (fb_domain_disk(domain, target) != NULL)
		return fb_fail(
		    err, FB_EPROTO, "two disks have the target '%s'", target);
	disk->target = FB_STEAL(target);
	disk->device = device_of(node);
	disk->type = attribute(node, "type");
	if (disk->type == NULL)
		disk->type = fb_strdup("file");
	disk->format = attribute(child_of(node, "driver"), "type");
	if (disk->format == NULL)
		disk->format = fb_strdup("raw");
	read_source(child_of(node, "source"), disk);
	disk->read_only = child_of(node, "readonly") != NULL;
	disk->hands_errors =
	    attribute_is(child_of(node, "driver"), "error_policy", "report") ||
	    attribute_is(child_of(node, "driver"), "error_policy", "ignore");
	disk->backing = count_backing(node);
	if (disk->device == FB_DOMAIN_DISK || disk->device == FB_DOMAIN_LUN)
		disk->why = why_not(node, disk);
	twin = disk->why == NULL && disk->device == FB_DOMAIN_DISK
	    ? same_source(domain, disk) : NULL;
	if (twin != NULL)
		disk->why = fb_format("it is the same image as '%s'",
		    twin->target);
	domain->disk_count++;
	return FB_OK;
}

static int
read_devices(const xmlNode *devices, struct fb_domain *domain,
    struct fb_error *err)
{
	size_t count = 0;

	for (const xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = node->next)
		count += is_named(node, "disk");
	if (count > DISKS_MAX)
		return fb_fail(err, FB_EPROTO, "it has %zu disks", count);
	domain->disks = fb_alloc(count + 1, sizeof(*domain->disks));
	for (const xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = node->next) {
		const xmlNode *target = child_of(node, "target");
		int rc = FB_OK;

		if (is_named(node, "disk"))
			rc = read_disk(node, domain, err);
		else if (is_named(node, "hostdev"))
			domain->host_devices++;
		else if (is_named(node, "channel") &&
		    attribute_is(target, "name", agent_channel)) {
			domain->agent = true;
			domain->agent_there =
			    attribute_is(target, "state", "connected");
		}
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/*
 * The rest.
 */

/* Its text is the path, or a source as a disk's says where it is. */
static void
read_nvram(const xmlNode *node, struct fb_domain *domain)
{
	FB_AUTO_FREE char *type = attribute(node, "type");
	const xmlNode *source = child_of(node, "source");

	if (type == NULL)
		domain->nvram = content(node);
	else if (strcmp(type, "file") == 0)
		domain->nvram = attribute(source, "file");
	else if (strcmp(type, "block") == 0)
		domain->nvram = attribute(source, "dev");
	else
		domain->nvram_elsewhere = FB_STEAL(type);
	domain->nvram_is_block = type != NULL && strcmp(type, "block") == 0;
}

/* "+64055:+109": numbers, as the live XML has them. */
static void
read_owner(const xmlNode *root, struct fb_domain *domain)
{
	for (const xmlNode *node = root->children; node != NULL;
	     node = node->next) {
		FB_AUTO_FREE char *label = NULL;
		struct fb_error ignored;
		uint64_t uid, gid;
		const char *colon;

		if (!is_named(node, "seclabel") ||
		    !attribute_is(node, "model", "dac"))
			continue;
		label = content(child_of(node, "label"));
		colon = label != NULL ? strstr(label, ":+") : NULL;
		if (colon == NULL || label[0] != '+' ||
		    fb_text_u64((struct fb_span){ (uint8_t *)label + 1,
		                    (size_t)(colon - label) - 1 },
		        UINT32_MAX - 1, &uid, &ignored) < 0 ||
		    fb_text_u64((struct fb_span){ (const uint8_t *)colon + 2,
		                    strlen(colon + 2) },
		        UINT32_MAX - 1, &gid, &ignored) < 0)
			continue;
		domain->has_owner = true;
		domain->uid = (uint32_t)uid;
		domain->gid = (uint32_t)gid;
	}
}

/* As libvirt writes it: lower case, with hyphens. */
static bool
is_uuid(const char *text)
{
	if (strlen(text) != FB_UUID_LEN ||
	    strspn(text, "0123456789abcdef-") != FB_UUID_LEN)
		return false;
	for (size_t i = 0; i < FB_UUID_LEN; i++)
		if ((text[i] == '-') != (i == 8 || i == 13 || i == 18 || i == 23))
			return false;
	return true;
}

static int
read_domain(xmlNode *root, struct fb_domain *domain, struct fb_error *err)
{
	FB_AUTO_FREE char *uuid = NULL;
	FB_AUTO_FREE char *poweroff = NULL;
	int rc;

	if (root == NULL || !is_named(root, "domain"))
		return fb_fail(err, FB_EPROTO, "the XML is of no domain");
	uuid = content(child_of(root, "uuid"));
	if (uuid == NULL || !is_uuid(uuid))
		return fb_fail(err, FB_EPROTO, "the domain has no UUID");
	memcpy(domain->uuid, uuid, FB_UUID_SIZE);
	domain->name = content(child_of(root, "name"));
	if (domain->name == NULL)
		return fb_fail(err, FB_EPROTO, "the domain has no name");
	poweroff = content(child_of(root, "on_poweroff"));
	domain->poweroff_destroys =
	    poweroff == NULL || strcmp(poweroff, "destroy") == 0;
	read_nvram(child_of(child_of(root, "os"), "nvram"), domain);
	domain->kernel = content(child_of(child_of(root, "os"), "kernel"));
	domain->initrd = content(child_of(child_of(root, "os"), "initrd"));
	rc = read_devices(child_of(root, "devices"), domain, err);
	read_owner(root, domain);
	read_host(root, &domain->host);
	if (rc == FB_OK)
		digest_domain(root, &domain->digest);
	return rc;
}

int
fb_domain_read(struct fb_span xml, struct fb_domain *ret_domain,
    struct fb_error *err)
{
	xmlDoc *document;
	int rc;

	if (xml.len == 0 || xml.len > FB_DOMAIN_XML_MAX)
		return fb_fail(err, FB_EPROTO,
		    "a domain's XML of %zu bytes is not read", xml.len);
	document = xmlReadMemory((const char *)xml.ptr, (int)xml.len, NULL,
	    NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (document == NULL)
		return fb_fail(err, FB_EPROTO, "the domain's XML is no XML");
	/* Nobody needs one, and entities come with it. */
	if (document->intSubset != NULL || document->extSubset != NULL)
		rc = fb_fail(err, FB_EPROTO,
		    "the domain's XML has a document type");
	else
		rc = read_domain(
		    xmlDocGetRootElement(document), ret_domain, err);
	xmlFreeDoc(document);
	return rc;
}

void
fb_domain_release(struct fb_domain *domain)
{
	for (size_t i = 0; i < domain->disk_count; i++) {
		struct fb_domain_disk *disk = &domain->disks[i];

		free(disk->target);
		free(disk->type);
		free(disk->format);
		free(disk->source);
		free(disk->pool);
		free(disk->volume);
		free(disk->why);
	}
	free(domain->disks);
	release_host(&domain->host);
	free(domain->nvram);
	free(domain->nvram_elsewhere);
	free(domain->kernel);
	free(domain->initrd);
	free(domain->name);
	*domain = (struct fb_domain){ 0 };
}

const struct fb_domain_disk *
fb_domain_disk(const struct fb_domain *domain, const char *target)
{
	for (size_t i = 0; i < domain->disk_count; i++)
		if (strcmp(domain->disks[i].target, target) == 0)
			return &domain->disks[i];
	return NULL;
}

/* Where `target` is in a list that ends with NULL; -1: nowhere. */
static long
place_in(const char *const *list, const char *target)
{
	for (long i = 0; list[i] != NULL; i++)
		if (strcmp(list[i], target) == 0)
			return i;
	return -1;
}

static void
set(xmlNode *node, const char *name, const char *value)
{
	(void)xmlNewProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

static xmlNode *
add(xmlNode *node, const char *name)
{
	return xmlNewChild(node, NULL, (const xmlChar *)name, NULL);
}

static xmlNode *
new_document(const char *name)
{
	xmlDoc *document = xmlNewDoc((const xmlChar *)"1.0");
	xmlNode *root = xmlNewNode(NULL, (const xmlChar *)name);

	(void)xmlDocSetRootElement(document, root);
	return root;
}

static void
fill_backup_disk(xmlNode *node, const char *target, const char *since,
    const char *scratch)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", scratch, target);

	set(node, "type", "file");
	set(node, "exportname", target);
	if (since != NULL) {
		set(node, "backupmode", "incremental");
		set(node, "incremental", since);
	}
	set(add(node, "scratch"), "file", path);
}

void
fb_domain_backup_xml(const struct fb_domain *domain, const char *const *wanted,
    const char *const *since, const char *socket, const char *scratch,
    struct fb_buf *dst)
{
	xmlNode *root = new_document("domainbackup");
	xmlNode *server, *disks;

	set(root, "mode", "pull");
	server = add(root, "server");
	set(server, "transport", "unix");
	set(server, "socket", socket);
	disks = add(root, "disks");
	for (size_t i = 0; i < domain->disk_count; i++) {
		const char *target = domain->disks[i].target;
		long place = place_in(wanted, target);
		xmlNode *node = add(disks, "disk");

		set(node, "name", target);
		set(node, "backup", place >= 0 ? "yes" : "no");
		if (place >= 0)
			fill_backup_disk(node, target,
			    since != NULL ? since[place] : NULL, scratch);
	}
	write_document(root->doc, dst);
}

void
fb_domain_snapshot_xml(const struct fb_domain *domain,
    const char *const *wanted, const char *dir, struct fb_buf *dst)
{
	xmlNode *root = new_document("domainsnapshot");
	xmlNode *disks = add(root, "disks");

	for (size_t i = 0; i < domain->disk_count; i++) {
		const char *target = domain->disks[i].target;
		FB_AUTO_FREE char *path = fb_format("%s/%s", dir, target);
		xmlNode *node = add(disks, "disk");
		bool in = place_in(wanted, target) >= 0;

		set(node, "name", target);
		set(node, "snapshot", in ? "external" : "no");
		if (!in)
			continue;
		set(node, "type", "file");
		set(add(node, "driver"), "type", "qcow2");
		set(add(node, "source"), "file", path);
	}
	write_document(root->doc, dst);
}

void
fb_domain_checkpoint_xml(const struct fb_domain *domain,
    const char *const *wanted, const char *name, struct fb_buf *dst)
{
	xmlNode *root = new_document("domaincheckpoint");
	xmlNode *disks;

	(void)xmlNewTextChild(
	    root, NULL, (const xmlChar *)"name", (const xmlChar *)name);
	disks = add(root, "disks");
	for (size_t i = 0; i < domain->disk_count; i++) {
		const char *target = domain->disks[i].target;
		xmlNode *node = add(disks, "disk");

		set(node, "name", target);
		set(node, "checkpoint",
		    place_in(wanted, target) >= 0 ? "bitmap" : "no");
	}
	write_document(root->doc, dst);
}

/* NULL when it is none that is read. */
static xmlDoc *
read_small(struct fb_span xml, const char *name)
{
	xmlDoc *document;
	const xmlNode *root;

	if (xml.len == 0 || xml.len > FB_DOMAIN_XML_MAX)
		return NULL;
	document = xmlReadMemory((const char *)xml.ptr, (int)xml.len, NULL,
	    NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (document == NULL)
		return NULL;
	root = xmlDocGetRootElement(document);
	if (document->intSubset == NULL && root != NULL &&
	    is_named(root, name))
		return document;
	xmlFreeDoc(document);
	return NULL;
}

char *
fb_domain_backup_socket(struct fb_span xml)
{
	xmlDoc *document = read_small(xml, "domainbackup");
	char *socket;

	if (document == NULL)
		return NULL;
	socket = attribute(
	    child_of(xmlDocGetRootElement(document), "server"), "socket");
	xmlFreeDoc(document);
	return socket;
}

char *
fb_volume_backing(struct fb_span xml)
{
	xmlDoc *document = read_small(xml, "volume");
	char *path;

	if (document == NULL)
		return NULL;
	path = content(child_of(
	    child_of(xmlDocGetRootElement(document), "backingStore"),
	    "path"));
	xmlFreeDoc(document);
	return path;
}

char *
fb_volume_format(struct fb_span xml)
{
	xmlDoc *document = read_small(xml, "volume");
	char *format;

	if (document == NULL)
		return NULL;
	format = attribute(
	    child_of(child_of(xmlDocGetRootElement(document), "target"),
	        "format"),
	    "type");
	xmlFreeDoc(document);
	return format;
}

uint64_t
fb_checkpoint_time(struct fb_span xml)
{
	xmlDoc *document = read_small(xml, "domaincheckpoint");
	FB_AUTO_FREE char *text = NULL;
	struct fb_error ignored;
	uint64_t seconds = 0;

	if (document == NULL)
		return 0;
	text = content(
	    child_of(xmlDocGetRootElement(document), "creationTime"));
	xmlFreeDoc(document);
	if (text != NULL &&
	    fb_text_u64((struct fb_span){ (uint8_t *)text, strlen(text) },
	        UINT64_MAX - 1, &seconds, &ignored) < 0)
		seconds = 0;
	return seconds;
}
