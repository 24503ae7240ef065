/* libvirt's records of a domain's snapshots. */
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/json.h"
#include "libvirt_rest.h"
#include "libvirt_xml_parts.h"

#define PART      "snapshots"
#define CURRENT   ".current.xml"
#define DIR_MODE  0700
#define FILE_MODE 0600

/* Of one domain; QEMU gets slow long before. */
#define COUNT_MAX 1000

/* A look at an image's table. */
#define LOOK_MS    60000
#define ANSWER_MAX ((size_t)4 << 20)

/*
 * Keeping them.
 */

static int
keep_one(virDomainSnapshotPtr snapshot, const char *dir, int number,
    struct fb_error *err)
{
	bool current =
	    fb_libvirt.virDomainSnapshotIsCurrent(snapshot, 0) == 1;
	FB_AUTO_FREE char *path = fb_format(
	    "%s/%04d%s", dir, number, current ? CURRENT : ".xml");
	FB_AUTO_FREE char *xml = fb_libvirt.virDomainSnapshotGetXMLDesc(
	    snapshot, VIR_DOMAIN_SNAPSHOT_XML_SECURE);

	if (xml == NULL)
		return fb_libvirt_fail(err, false, "cannot read its XML");
	return fb_io_replace(path,
	    (struct fb_span){ (const uint8_t *)xml, strlen(xml) }, FILE_MODE,
	    err);
}

static int
list_all(virDomainPtr domain, virDomainSnapshotPtr **ret_list,
    struct fb_error *err)
{
	int count = fb_libvirt.virDomainListAllSnapshots(
	    domain, ret_list, VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);

	if (count < 0)
		return fb_libvirt_fail(
		    err, false, "cannot list its snapshots");
	if (count == 0) /* that is a list, too */
		free(FB_STEAL(*ret_list));
	return count;
}

static void
free_all(virDomainSnapshotPtr *list, int count)
{
	for (int i = 0; i < count; i++)
		(void)fb_libvirt.virDomainSnapshotFree(list[i]);
	free(list);
}

int
fb_libvirt_past_keep(
    virDomainPtr domain, const char *definition_dir, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_path_join(definition_dir, PART);
	virDomainSnapshotPtr *list = NULL;
	int rc, count = list_all(domain, &list, err);

	/* A hypervisor without snapshots has none. */
	if (count <= 0)
		return count == FB_EUNSUP ? FB_OK : count;
	rc = count > COUNT_MAX ? fb_fail(err, FB_EPROTO,
	                             "it has %d snapshots", count)
	                       : fb_io_mkdirs(dir, DIR_MODE, err);
	for (int i = 0; rc == FB_OK && i < count; i++)
		rc = keep_one(list[i], dir, i + 1, err);
	free_all(list, count);
	return rc < 0 ? fb_wrap(err, "its snapshots' records") : FB_OK;
}

void
fb_libvirt_past_note(virDomainPtr domain, struct fb_buf *note)
{
	virDomainSnapshotPtr *list = NULL;
	struct fb_error ignored;
	int count = list_all(domain, &list, &ignored);

	if (count <= 0)
		return;
	free_all(list, count);
	fb_buf_add_fmt(note, "%sof its %d snapshot%s the record%s kept, and "
	                     "not what %s", note->len > 0 ? "; " : "",
	    count, count == 1 ? "" : "s", count == 1 ? " is" : "s are",
	    count == 1 ? "it holds" : "they hold");
}

/*
 * Is what a record tells of there still?
 */

/* The image has a snapshot of this name in itself. */
static bool
is_in_image(const char *path, const char *name, int lock_fd)
{
	const char *const words[] = { "qemu-img", "info", "--output=json", "-U",
		path, NULL };
	struct fb_child_spec spec = { .argv = words,
		.timeout_ms = LOOK_MS, .lock_fd = lock_fd,
		.stdout_max = ANSWER_MAX };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_JSON json_t *info = NULL;
	struct fb_error ignored;
	const json_t *list, *item;
	size_t i;

	if (fb_child_run(&spec, &result, &ignored) < 0 ||
	    result.exit_code != 0)
		return false;
	info = json_loadb((const char *)result.out.data, result.out.len, 0,
	    NULL);
	list = json_object_get(info, "snapshots");
	json_array_foreach(list, i, item)
	{
		const char *is =
		    json_string_value(json_object_get(item, "name"));

		if (is != NULL && strcmp(is, name) == 0)
			return true;
	}
	return false;
}

static bool
is_file(const char *path)
{
	struct stat st;

	return path != NULL && path[0] == '/' && stat(path, &st) == 0;
}

/* The disk of this target in the domain as it was at the snapshot. */
static bool
is_base_there(const xmlNode *root, const char *target)
{
	const xmlNode *devices =
	    child_of(child_of(root, "domain"), "devices");

	for (const xmlNode *node = devices != NULL ? devices->children : NULL;
	     node != NULL; node = node->next) {
		FB_AUTO_FREE char *path = NULL;

		if (!is_named(node, "disk") ||
		    !attribute_is(child_of(node, "target"), "dev", target))
			continue;
		path = attribute(child_of(node, "source"),
		    attribute_is(node, "type", "block") ? "dev" : "file");
		return is_file(path);
	}
	return false;
}

static bool
is_disk_there(const struct fb_libvirt_past *past, const xmlNode *root,
    const xmlNode *node, const char *name)
{
	FB_AUTO_FREE char *target = attribute(node, "name");
	FB_AUTO_FREE char *kind = attribute(node, "snapshot");
	FB_AUTO_FREE char *path = NULL;
	const struct fb_domain_disk *disk;
	struct fb_error ignored;

	if (target == NULL || (kind != NULL && strcmp(kind, "no") == 0))
		return true;
	if (kind != NULL && strcmp(kind, "internal") != 0)
		return is_base_there(root, target);
	disk = fb_domain_disk(past->now, target);
	return disk != NULL && disk->source != NULL &&
	    fb_libvirt_image(past->connection, disk, &path, &ignored) ==
	        FB_OK &&
	    is_in_image(path, name, past->lock_fd);
}

static bool
is_memory_there(const xmlNode *root)
{
	const xmlNode *memory = child_of(root, "memory");
	FB_AUTO_FREE char *path = attribute(memory, "file");

	return memory == NULL || !attribute_is(memory, "snapshot", "external") ||
	    is_file(path);
}

static bool
is_there(const struct fb_libvirt_past *past, const xmlNode *root,
    const char *name)
{
	const xmlNode *disks = child_of(root, "disks");

	if (disks == NULL || !is_memory_there(root))
		return false;
	for (const xmlNode *node = disks->children; node != NULL;
	     node = node->next)
		if (is_named(node, "disk") &&
		    !is_disk_there(past, root, node, name))
			return false;
	return true;
}

/*
 * Making them again.
 */

enum fate { HAS_IT, AGAIN, GONE };

static bool
has_snapshot(const struct fb_libvirt_past *past, const char *name)
{
	virDomainSnapshotPtr is = fb_libvirt.virDomainSnapshotLookupByName(
	    past->domain, name, 0);

	if (is != NULL)
		(void)fb_libvirt.virDomainSnapshotFree(is);
	return is != NULL;
}

static enum fate
judge(const struct fb_libvirt_past *past, const struct fb_buf *xml)
{
	xmlDoc *document = xmlReadMemory((const char *)xml->data,
	    (int)xml->len, NULL, NULL,
	    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	const xmlNode *root =
	    document != NULL ? xmlDocGetRootElement(document) : NULL;
	FB_AUTO_FREE char *name = NULL;
	enum fate fate = GONE;

	if (root != NULL && is_named(root, "domainsnapshot") &&
	    document->intSubset == NULL)
		name = content(child_of(root, "name"));
	if (name != NULL && has_snapshot(past, name))
		fate = HAS_IT;
	/* Of another host's files nobody asks. */
	else if (name != NULL && past->local && is_there(past, root, name))
		fate = AGAIN;
	xmlFreeDoc(document);
	return fate;
}

static int
redefine(const struct fb_libvirt_past *past, const struct fb_buf *xml,
    bool current, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	virDomainSnapshotPtr made;
	unsigned flags = VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
	int rc = fb_libvirt_effect(past->domain, "snapshot-redefine", err);

	if (rc < 0)
		return rc;
	if (current)
		flags |= VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
	fb_buf_add(&text, xml->data, xml->len);
	made = fb_libvirt.virDomainSnapshotCreateXML(
	    past->domain, fb_buf_str(&text), flags);
	if (made == NULL)
		return fb_libvirt_fail(
		    err, true, "cannot define a snapshot again");
	(void)fb_libvirt.virDomainSnapshotFree(made);
	return FB_OK;
}

struct counts {
	size_t of[GONE + 1];
	size_t all;
};

/* Each after the one that it is based on, as they are numbered; and what is
 * based on one that is gone is gone for libvirt too. */
static int
visit(const struct fb_libvirt_past *past, bool again, struct counts *counts,
    struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_path_join(past->definition_dir, PART);
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(dir, &names, err);

	for (size_t i = 0; rc == FB_OK && names[i] != NULL && i < COUNT_MAX;
	     i++) {
		FB_AUTO_FREE char *path = fb_path_join(dir, names[i]);
		FB_AUTO_BUF struct fb_buf xml = { 0 };
		enum fate fate = GONE;

		if (past->domain != NULL) {
			rc = fb_io_read_file(
			    path, FB_DOMAIN_XML_MAX, &xml, err);
			if (rc < 0)
				break;
			if (counts->of[GONE] == 0)
				fate = judge(past, &xml);
		}
		counts->all++;
		counts->of[fate]++;
		if (again && fate == AGAIN)
			rc = redefine(past, &xml,
			    strstr(names[i], CURRENT) != NULL, err);
	}
	return rc;
}

void
fb_libvirt_past_check(const struct fb_libvirt_past *past, struct fb_buf *text)
{
	struct counts counts = { 0 };
	struct fb_error err = { 0 };

	if (!fb_libvirt_has_part(past->definition_dir, PART))
		return;
	if (visit(past, false, &counts, &err) < 0) {
		fb_buf_add_fmt(text, "; its snapshots: %s", err.msg);
		return;
	}
	if (counts.of[AGAIN] > 0)
		fb_buf_add_fmt(text, "; %zu snapshot%s known again",
		    counts.of[AGAIN], counts.of[AGAIN] == 1 ? " is" : "s are");
	if (counts.of[GONE] > 0)
		fb_buf_add_fmt(text, "; without %zu of its %zu snapshot%s, of "
		                     "which the backup has the record alone",
		    counts.of[GONE], counts.all, counts.all == 1 ? "" : "s");
}

int
fb_libvirt_past_put(const struct fb_libvirt_past *past, struct fb_error *err)
{
	struct counts counts = { 0 };

	if (!fb_libvirt_has_part(past->definition_dir, PART))
		return FB_OK;
	return visit(past, true, &counts, err);
}
