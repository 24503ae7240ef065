/*
 * Extended attributes and POSIX ACLs, between a file and an archive entry.
 *
 * The kernel shows an ACL as an attribute of a fixed binary form (see
 * linux/posix_acl_xattr.h); archives carry it as text that libarchive makes
 * from entries.  Working on the attribute spares a second library and lets
 * everything go through descriptors.
 */
#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/mem.h"
#include "tree_internal.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* Entries of one ACL: what fits into the largest attribute. */
#define ACL_MAX ((FB_XATTR_MAX - 4) / 8)

static const struct {
	uint16_t kernel;
	int archive;
} tags[] = {
	{ ACL_USER_OBJ, ARCHIVE_ENTRY_ACL_USER_OBJ },
	{ ACL_USER, ARCHIVE_ENTRY_ACL_USER },
	{ ACL_GROUP_OBJ, ARCHIVE_ENTRY_ACL_GROUP_OBJ },
	{ ACL_GROUP, ARCHIVE_ENTRY_ACL_GROUP },
	{ ACL_MASK, ARCHIVE_ENTRY_ACL_MASK },
	{ ACL_OTHER, ARCHIVE_ENTRY_ACL_OTHER },
};

/* A file as the *xattr calls want it: a descriptor that is more than a name
 * of it, or a path through /proc/self/fd. */
struct place {
	int fd;       /* -1: by the path */
	char *path;
	bool follow;  /* the magic link itself; never the file's own */
};

static ssize_t
list_attributes(const struct place *place, char *list, size_t size)
{
	if (place->fd >= 0)
		return flistxattr(place->fd, list, size);
	return place->follow ? listxattr(place->path, list, size)
	                     : llistxattr(place->path, list, size);
}

static ssize_t
get_attribute(const struct place *place, const char *name, void *value,
    size_t size)
{
	if (place->fd >= 0)
		return fgetxattr(place->fd, name, value, size);
	return place->follow ? getxattr(place->path, name, value, size)
	                     : lgetxattr(place->path, name, value, size);
}

static int
set_attribute(const struct place *place, const char *name, const void *value,
    size_t size)
{
	return place->fd >= 0 ? fsetxattr(place->fd, name, value, size, 0)
	                      : setxattr(place->path, name, value, size, 0);
}

static int
remove_attribute(const struct place *place, const char *name)
{
	return place->fd >= 0 ? fremovexattr(place->fd, name)
	                      : removexattr(place->path, name);
}

static void
add_acl(struct archive_entry *entry, int type, const uint8_t *value,
    size_t size)
{
	struct posix_acl_xattr_entry item;
	size_t count = size >= 4 ? (size - 4) / sizeof(item) : 0;

	for (size_t i = 0; i < count; i++) {
		memcpy(&item, value + 4 + i * sizeof(item), sizeof(item));
		for (size_t t = 0; t < FB_COUNT(tags); t++)
			if (tags[t].kernel == le16toh(item.e_tag))
				(void)archive_entry_acl_add_entry(entry, type,
				    le16toh(item.e_perm), tags[t].archive,
				    (int)le32toh(item.e_id), NULL);
	}
}

static void
note_sys(const char *what, const char *name, fb_tree_note *note, void *arg)
{
	FB_AUTO_FREE char *text =
	    fb_format("%s '%s': %s", what, name, strerror(errno));

	if (note != NULL)
		note(arg, text);
}

static void
take_attribute(const struct place *place, const char *name, uint8_t *value,
    struct archive_entry *entry, fb_tree_note *note, void *arg)
{
	ssize_t size = get_attribute(place, name, value, FB_XATTR_MAX);

	if (size == -1) {
		if (errno != ENODATA && errno != ENOTSUP)
			note_sys("cannot read attribute", name, note, arg);
		return;
	}
	if (strcmp(name, ACL_ACCESS) == 0)
		add_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, value,
		    (size_t)size);
	else if (strcmp(name, ACL_DEFAULT) == 0)
		add_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, value,
		    (size_t)size);
	else if (strchr(name, '=') != NULL)
		note(arg, "an attribute with '=' in its name was left out");
	else
		archive_entry_xattr_add_entry(
		    entry, name, value, (size_t)size);
}

static int
compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of a file's attributes, sorted, so that equal files make equal
 * headers; pointers into `list`. */
static size_t
attribute_names(const struct place *place, char *list, char ***ret_names)
{
	ssize_t size = list_attributes(place, list, FB_XATTR_MAX);
	size_t count = 0, room = 0;
	char **names = NULL;

	for (char *p = list; size > 0 && p < list + size; p += strlen(p) + 1) {
		if (count == room) {
			room = 2 * room + 8;
			names = fb_realloc(names, room, sizeof(*names));
		}
		names[count++] = p;
	}
	if (count > 1)
		qsort(names, count, sizeof(*names), compare_strings);
	*ret_names = names;
	return count;
}

void
fb_tree_meta_read(int fd, int dirfd, const char *name,
    struct archive_entry *entry, fb_tree_note *note, void *arg)
{
	struct place place = { .fd = -1, .follow = fd >= 0 };
	FB_AUTO_FREE char *list = NULL;
	FB_AUTO_FREE uint8_t *value = NULL;
	FB_AUTO_FREE char **names = NULL;
	size_t count;

	place.path = fd >= 0 ? fb_format("/proc/self/fd/%d", fd)
	                     : fb_format("/proc/self/fd/%d/%s", dirfd, name);
	if (list_attributes(&place, NULL, 0) > 0) {
		list = fb_alloc(FB_XATTR_MAX + 1, 1);
		value = fb_alloc(FB_XATTR_MAX, 1);
		count = attribute_names(&place, list, &names);
		/* libarchive gives them out in the reverse order. */
		for (size_t i = count; i-- > 0;)
			take_attribute(
			    &place, names[i], value, entry, note, arg);
	}
	free(place.path);
}

struct acl {
	struct posix_acl_xattr_entry items[ACL_MAX];
	size_t count;
};

static int
compare_acl(const void *a, const void *b)
{
	const struct posix_acl_xattr_entry *x = a, *y = b;

	if (x->e_tag != y->e_tag)
		return le16toh(x->e_tag) < le16toh(y->e_tag) ? -1 : 1;
	if (x->e_id != y->e_id)
		return le32toh(x->e_id) < le32toh(y->e_id) ? -1 : 1;
	return 0;
}

static void
acl_of(struct archive_entry *entry, int type, struct acl *acl)
{
	int got_type, permset, tag, id;
	const char *name;

	acl->count = 0;
	if (archive_entry_acl_reset(entry, type) == 0)
		return;
	while (archive_entry_acl_next(entry, type, &got_type, &permset, &tag,
	           &id, &name) == ARCHIVE_OK &&
	    acl->count < ACL_MAX) {
		struct posix_acl_xattr_entry *item = &acl->items[acl->count];

		for (size_t t = 0; t < FB_COUNT(tags); t++) {
			bool named = tag == ARCHIVE_ENTRY_ACL_USER ||
			    tag == ARCHIVE_ENTRY_ACL_GROUP;

			if (tags[t].archive != tag)
				continue;
			item->e_tag = htole16(tags[t].kernel);
			item->e_perm = htole16((uint16_t)(permset & 7));
			item->e_id = htole32(named ? (uint32_t)id
			                           : (uint32_t)ACL_UNDEFINED_ID);
			acl->count++;
			break;
		}
	}
	qsort(acl->items, acl->count, sizeof(acl->items[0]), compare_acl);
}

static void
write_acl(const struct place *place, struct archive_entry *entry, int type,
    const char *attribute, fb_tree_note *note, void *arg)
{
	FB_AUTO_FREE struct acl *acl = NULL;
	FB_AUTO_BUF struct fb_buf value = { 0 };

	if ((archive_entry_acl_types(entry) & type) == 0) {
		(void)remove_attribute(place, attribute);
		return;
	}
	acl = fb_alloc(1, sizeof(*acl));
	acl_of(entry, type, acl);
	fb_buf_add_le32(&value, POSIX_ACL_XATTR_VERSION);
	fb_buf_add(&value, acl->items, acl->count * sizeof(acl->items[0]));
	if (set_attribute(place, attribute, value.data, value.len) == -1)
		note_sys("cannot set", attribute, note, arg);
}

/* Attributes that are ours to set and to remove. */
static bool
is_ours(const char *name, bool owners)
{
	if (strncmp(name, "user.", 5) == 0)
		return true;
	return owners && strncmp(name, "system.", 7) != 0;
}

static bool
has_attribute(struct archive_entry *entry, const char *name)
{
	const char *have;
	const void *value;
	size_t size;

	(void)archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &have, &value, &size) ==
	    ARCHIVE_OK)
		if (have != NULL && strcmp(have, name) == 0)
			return true;
	return false;
}

static void
drop_others(const struct place *place, struct archive_entry *entry,
    bool owners, fb_tree_note *note, void *arg)
{
	FB_AUTO_FREE char *list = fb_alloc(FB_XATTR_MAX + 1, 1);
	FB_AUTO_FREE char **names = NULL;
	size_t count = attribute_names(place, list, &names);

	for (size_t i = 0; i < count; i++) {
		/* A label that the system sets by itself stays. */
		if (!is_ours(names[i], owners) ||
		    has_attribute(entry, names[i]) ||
		    strcmp(names[i], "security.selinux") == 0)
			continue;
		if (remove_attribute(place, names[i]) == -1)
			note_sys("cannot remove attribute", names[i], note,
			    arg);
	}
}

static void
write_attribute(const struct place *place, const char *name,
    const void *value, size_t size, fb_tree_note *note, void *arg)
{
	uint8_t now[4096];
	ssize_t have = get_attribute(place, name, now, sizeof(now));

	if (have >= 0 && (size_t)have == size && memcmp(now, value, size) == 0)
		return;
	if (set_attribute(place, name, value, size) == -1)
		note_sys("cannot set attribute", name, note, arg);
}

void
fb_tree_meta_write(int fd, bool opened, struct archive_entry *entry,
    bool owners, fb_tree_note *note, void *arg)
{
	const char *name;
	const void *value;
	size_t size;
	char path[32];
	struct place place = { opened ? fd : -1, path, true };
	mode_t type = archive_entry_filetype(entry);
	int acls = archive_entry_acl_types(entry);
	bool any; /* it has attributes, perhaps by inheritance */

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	any = list_attributes(&place, NULL, 0) > 0;
	if (any)
		drop_others(&place, entry, owners, note, arg);
	(void)archive_entry_xattr_reset(entry);
	while (archive_entry_xattr_next(entry, &name, &value, &size) ==
	    ARCHIVE_OK)
		if (name != NULL && is_ours(name, owners) &&
		    size <= FB_XATTR_MAX)
			write_attribute(&place, name, value, size, note, arg);
	if (type == AE_IFLNK || (!any && acls == 0))
		return;
	write_acl(&place, entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, ACL_ACCESS,
	    note, arg);
	if (type == AE_IFDIR)
		write_acl(&place, entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT,
		    ACL_DEFAULT, note, arg);
}
