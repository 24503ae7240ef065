/* A machine of a local source as the fleet sees it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/json.h"
#include "local_internal.h"
#include "tree_internal.h"

#define XFS_MAGIC      0x58465342
#define BCACHEFS_MAGIC 0xca451a4e

/* Inode of the root of every btrfs subvolume. */
#define BTRFS_ROOT_INODE 256

/* A tree's size is an estimate for the plan; counting stops here, so that
 * discovery stays quick. */
#define COUNT_MAX 200000u

/* From xfs_fs.h, which only xfsprogs installs. */
struct xfs_geometry_v1 {
	uint32_t sizes[8];
	uint64_t blocks[4];
	uint8_t uuid[16];
	uint32_t sunit, swidth;
	int32_t version;
	uint32_t flags;
	uint32_t more[4];
};
#define XFS_GEOMETRY_V1      _IOR('X', 100, struct xfs_geometry_v1)
#define XFS_GEOMETRY_REFLINK (1u << 20)

static bool
xfs_reflinks(int fd)
{
	struct xfs_geometry_v1 geometry = { .sizes = { 0 } };

	return ioctl(fd, XFS_GEOMETRY_V1, &geometry) == 0 &&
	    (geometry.flags & XFS_GEOMETRY_REFLINK) != 0;
}

/* Discovery must not write, so the file system is judged by its name; should
 * the clone fail after all, the machine fails and says so. */
static bool
can_reflink(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == -1)
		return false;
	switch ((uint32_t)fs.f_type) {
	case BTRFS_SUPER_MAGIC:
	case BCACHEFS_MAGIC:
		return true;
	case XFS_MAGIC:
		return xfs_reflinks(fd);
	default:
		return false;
	}
}

static bool
is_subvolume(int fd, const struct stat *st)
{
	struct statfs fs;

	return geteuid() == 0 && st->st_ino == BTRFS_ROOT_INODE &&
	    fstatfs(fd, &fs) == 0 && (uint32_t)fs.f_type == BTRFS_SUPER_MAGIC;
}

/* The snapshot goes beside the volume: that must be the same file system. */
static bool
same_file_system(const char *path, int fd)
{
	FB_AUTO_FREE char *parent = fb_local_parent(path);
	struct statfs a, b;
	struct stat st, up;

	if (fstat(fd, &st) == -1 || stat(parent, &up) == -1)
		return false;
	if (st.st_dev == up.st_dev)
		return true;
	/* Subvolumes of one btrfs have device numbers of their own; the
	 * first word of its id is that of the file system alone. */
	return fstatfs(fd, &a) == 0 && statfs(parent, &b) == 0 &&
	    a.f_type == b.f_type &&
	    (uint32_t)a.f_type == BTRFS_SUPER_MAGIC &&
	    a.f_blocks == b.f_blocks;
}

struct counter {
	uint64_t bytes;
	unsigned entries;
};

static int
count_node(void *arg, const struct fb_tree_node *node, struct fb_error *err)
{
	struct counter *counter = arg;

	if (S_ISREG(node->st.st_mode)) {
		uint64_t held = (uint64_t)node->st.st_blocks * 512;
		uint64_t size = (uint64_t)node->st.st_size;

		counter->bytes += held < size ? held : size;
	}
	counter->bytes += 1024; /* its headers */
	if (++counter->entries < COUNT_MAX)
		return FB_OK;
	return fb_fail(err, FB_EBUDGET, "too many to count");
}

static int
count_tree(const char *path, const struct fb_local_volume *volume,
    struct fb_local_shape *shape, struct fb_error *err)
{
	FB_AUTO_FREE const char **exclude = fb_local_excludes(volume);
	struct counter counter = { 0 };
	int rc = fb_tree_walk(path,
	    &(struct fb_tree_walk){
	        .exclude = exclude, .visit = count_node, .arg = &counter },
	    err);

	shape->at_least = rc == FB_EBUDGET;
	shape->size = counter.bytes;
	shape->allocated = counter.bytes;
	return shape->at_least ? FB_OK : rc;
}

static int
tree_shape(const char *path, const struct fb_local_volume *volume, bool count,
    struct fb_local_shape *shape, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_DIRECTORY, 0, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == -1)
		return fb_fail_sys(err, "cannot look at '%s'", path);
	shape->method = is_subvolume(fd, &st) && same_file_system(path, fd)
	    ? FB_LOCAL_BTRFS
	    : FB_LOCAL_STOPPED;
	return count ? count_tree(path, volume, shape, err) : FB_OK;
}

static int
disk_shape(const char *path, struct fb_local_shape *shape, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_NONBLOCK, 0, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == -1)
		return fb_fail_sys(err, "cannot look at '%s'", path);
	shape->method = FB_LOCAL_STOPPED;
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &shape->size) == -1)
			return fb_fail_sys(
			    err, "cannot tell the size of '%s'", path);
		shape->allocated = shape->size;
		return FB_OK;
	}
	if (!S_ISREG(st.st_mode))
		return fb_fail(err, FB_ECONFIG,
		    "'%s' is neither a regular file nor a block device", path);
	fb_file_token(&st, shape->token);
	shape->size = (uint64_t)st.st_size;
	shape->allocated = (uint64_t)st.st_blocks * 512;
	if (shape->allocated > shape->size)
		shape->allocated = shape->size;
	if (can_reflink(fd) && same_file_system(path, fd))
		shape->method = FB_LOCAL_REFLINK;
	return FB_OK;
}

int
fb_local_shape(const struct fb_local_found *found,
    const struct fb_local_volume *volume, bool count,
    struct fb_local_shape *ret_shape, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_local_volume_path(found, volume);
	struct fb_local_shape shape = { .method = FB_LOCAL_NONE };
	struct stat st;
	int rc = FB_OK;

	switch (volume->kind) {
	case FB_LOCAL_DISK:
		rc = disk_shape(path, &shape, err);
		break;
	case FB_LOCAL_TREE:
		rc = tree_shape(path, volume, count, &shape, err);
		break;
	case FB_LOCAL_CDROM:
	case FB_LOCAL_FLOPPY:
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			shape.size = (uint64_t)st.st_size;
		break;
	}
	*ret_shape = shape;
	return rc;
}

static const char *
method_name(enum fb_local_method method)
{
	static const char *const names[] = {
		[FB_LOCAL_NONE] = "none",
		[FB_LOCAL_REFLINK] = "reflink",
		[FB_LOCAL_BTRFS] = "btrfs",
		[FB_LOCAL_STOPPED] = "read-stopped",
	};

	return names[method];
}

static enum fb_volume_kind
kind_of(enum fb_local_volume_kind kind)
{
	static const enum fb_volume_kind kinds[] = {
		[FB_LOCAL_DISK] = FB_VOLUME_DISK,
		[FB_LOCAL_TREE] = FB_VOLUME_TREE,
		[FB_LOCAL_CDROM] = FB_VOLUME_CDROM,
		[FB_LOCAL_FLOPPY] = FB_VOLUME_FLOPPY,
	};

	return kinds[kind];
}

/* What the method means, said in the plan. */
static char *
note_of(const struct fb_local_found *found,
    const struct fb_local_volume *volume, const struct fb_local_shape *shape)
{
	bool live = found->spec->stop == NULL;
	const char *more = shape->at_least
	    ? "; it has many files, and its size is only a lower bound"
	    : volume->changed != NULL
	    ? "; of what it held before only what its change map names is read"
	    : "";

	if (shape->method == FB_LOCAL_NONE)
		return fb_strdup("removable: listed, never captured");
	if (shape->method != FB_LOCAL_STOPPED)
		return fb_format("read from a snapshot while the machine "
		                 "runs%s",
		    volume->changed != NULL
		        ? "; its change map is not asked"
		        : more);
	if (live)
		return fb_format("no commands to stop it: read live, so what "
		                 "changes meanwhile may not fit together%s",
		    more);
	return fb_format("the file system of '%s' offers no snapshot%s: the "
	                 "machine stays down while it is read%s",
	    volume->path,
	    volume->kind == FB_LOCAL_TREE ? " of a directory" : "", more);
}

static int
add_volume(const struct fb_local_found *found,
    const struct fb_local_volume *volume, struct fb_machine *machine,
    struct fb_error *err)
{
	struct fb_local_shape shape;
	int rc = fb_local_shape(found, volume, true, &shape, err);
	struct fb_volume *added = fb_machine_add_volume(machine);

	added->name = fb_strdup(volume->name);
	added->kind = kind_of(volume->kind);
	added->size = shape.size;
	added->allocated = shape.allocated;
	added->method = method_name(shape.method);
	added->read_stopped = shape.method == FB_LOCAL_STOPPED;
	added->note = note_of(found, volume, &shape);
	if (shape.token[0] != '\0')
		added->token = fb_strdup(shape.token);
	if (rc < 0) {
		(void)fb_hint(err, "correct 'path' in %s/%s, or put the "
		                   "volume there", found->dir, FB_LOCAL_YAML);
		return fb_wrap(err, "volume '%s'", volume->name);
	}
	return FB_OK;
}

static int
add_definition(const struct fb_local_found *found, struct fb_machine *machine,
    struct fb_error *err)
{
	FB_AUTO_STRINGS char **files =
	    fb_local_definition_files(found->dir, found->spec);
	struct fb_volume *added = fb_machine_add_volume(machine);
	struct stat st;

	added->name = fb_strdup(FB_LOCAL_DEFINITION);
	added->kind = FB_VOLUME_DEFINITION;
	added->method = "copy";
	for (size_t i = 0; files[i] != NULL; i++) {
		FB_AUTO_FREE char *path = fb_path_join(found->dir, files[i]);

		if (lstat(path, &st) == 0)
			added->size += (uint64_t)st.st_size;
	}
	added->allocated = added->size;
	if (added->size <= FB_LOCAL_DEFINITION_MAX)
		return FB_OK;
	return fb_fail(err, FB_EUNSUP,
	    "the files that its commands name are larger than %u MiB",
	    FB_LOCAL_DEFINITION_MAX >> 20);
}

static json_t *
vector_json(char *const *vector)
{
	json_t *array = json_array();

	for (; vector != NULL && *vector != NULL; vector++)
		(void)json_array_append_new(
		    array, json_stringn(*vector, strlen(*vector)));
	return array;
}

static json_t *
volumes_json(const struct fb_local_machine *spec)
{
	static const char *const kinds[] = { "disk", "tree", "cdrom",
		"floppy" };
	json_t *array = json_array();

	for (size_t i = 0; i < spec->volume_count; i++) {
		const struct fb_local_volume *volume = &spec->volumes[i];

		json_t *item = json_pack("{s:s,s:s,s:s,s:o}", "name",
		    volume->name, "kind", kinds[volume->kind], "path",
		    volume->path, "exclude", vector_json(volume->exclude));

		if (volume->changed != NULL)
			(void)json_object_set_new(
			    item, "changed", vector_json(volume->changed));
		(void)json_array_append_new(array, item);
	}
	return array;
}

/* The digest of what machine.yaml means: comments and layout do not count. */
static void
describe_digest(const struct fb_local_machine *spec, struct fb_digest *digest)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_JSON json_t *labels = json_object();
	FB_AUTO_JSON json_t *document = NULL;

	for (size_t i = 0; i < spec->labels.count; i++)
		(void)json_object_set_new(labels, spec->labels.items[i].key,
		    json_string(spec->labels.items[i].value));
	document = json_pack("{s:s,s:s*,s:O,s:o,s:o,s:o,s:I,s:I,s:o}", "role",
	    spec->role, "parent", spec->parent, "labels", labels, "start",
	    vector_json(spec->start), "stop", vector_json(spec->stop),
	    "status", vector_json(spec->status), "stop_timeout_ms",
	    (json_int_t)spec->stop_timeout_ms, "start_timeout_ms",
	    (json_int_t)spec->start_timeout_ms, "volumes", volumes_json(spec));
	fb_json_add(&bytes, document);
	fb_digest_of(fb_buf_span(&bytes), digest);
}

static void
add_label(struct fb_labels *labels, const struct fb_label *label)
{
	labels->items[labels->count].key = fb_strdup(label->key);
	labels->items[labels->count++].value = fb_strdup(label->value);
}

/* Both are sorted; of two with one key the machine's own wins. */
static void
merge_labels(const struct fb_labels *source, const struct fb_labels *own,
    struct fb_labels *labels)
{
	size_t s = 0, o = 0;

	labels->items = fb_alloc(
	    source->count + own->count + 1, sizeof(*labels->items));
	while (s < source->count || o < own->count) {
		int order = s == source->count ? 1
		    : o == own->count
		    ? -1
		    : strcmp(source->items[s].key, own->items[o].key);

		add_label(labels,
		    order < 0 ? &source->items[s] : &own->items[o]);
		s += order <= 0;
		o += order >= 0;
	}
}

static enum fb_lifecycle
lifecycle_of(
    const struct fb_local_machine *spec, const struct fb_machine *machine)
{
	if (spec->stop == NULL)
		return FB_LIFECYCLE_SNAPSHOT_LIVE;
	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].read_stopped)
			return FB_LIFECYCLE_STOP_COPY_START;
	return FB_LIFECYCLE_STOP_SNAPSHOT_START;
}

void
fb_local_describe(const struct fb_local_driver *driver,
    const struct fb_local_found *found, struct fb_machine *machine)
{
	const struct fb_local_machine *spec = found->spec;
	struct fb_error err = { 0 };
	int rc;

	machine->source = fb_strdup(driver->name);
	machine->driver = fb_strdup("local");
	machine->id = fb_strdup(spec->id);
	machine->name = fb_strdup(spec->id);
	machine->role = fb_strdup(spec->role);
	machine->parent = spec->parent != NULL ? fb_strdup(spec->parent) : NULL;
	machine->stop_timeout_ms = spec->stop_timeout_ms;
	machine->start_timeout_ms = spec->start_timeout_ms;
	merge_labels(&driver->labels, &spec->labels, &machine->labels);
	describe_digest(spec, &machine->description);
	rc = add_definition(found, machine, &err);
	if (rc < 0)
		fb_machine_refuse(machine, &err);
	for (size_t i = 0; i < spec->volume_count; i++) {
		rc = add_volume(found, &spec->volumes[i], machine, &err);
		if (rc < 0)
			fb_machine_refuse(machine, &err);
	}
	machine->lifecycle = lifecycle_of(spec, machine);
}
