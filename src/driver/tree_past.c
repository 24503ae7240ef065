#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "fleetbak/base/err.h"
#include "tree_past.h"

void
fb_tree_past_begin(struct fb_tree_past *past, const char *root,
    const struct fb_sink *sink)
{
	struct statfs fs;

	past->sink = sink;
	/* Each snapshot of a btrfs subvolume is a device of its own; inode
	 * numbers are never used twice there. */
	past->any_dev = statfs(root, &fs) == 0 &&
	    (uint32_t)fs.f_type == BTRFS_SUPER_MAGIC;
}

void
fb_tree_past_release(struct fb_tree_past *past)
{
	fb_buf_release(&past->path);
}

static int
advance(struct fb_tree_past *past, struct fb_error *err)
{
	int rc = past->sink->past(past->sink->arg, &past->entry, err);

	if (rc < 0)
		past->entry = NULL;
	fb_buf_clear(&past->path);
	if (past->entry != NULL)
		fb_buf_add(&past->path, past->entry->path.ptr,
		    past->entry->path.len);
	return rc;
}

/* The root is before all that is in it. */
static int
compare_paths(const char *a, const char *b)
{
	if (strcmp(a, ".") == 0)
		return strcmp(b, ".") == 0 ? 0 : -1;
	return strcmp(b, ".") == 0 ? 1 : fb_tree_path_cmp(a, b);
}

static bool
is_target(const struct fb_entry *entry, const char *target)
{
	return target == NULL ||
	    (strlen(target) == entry->target.len &&
	        memcmp(target, entry->target.ptr, entry->target.len) == 0);
}

static bool
is_old(const struct fb_tree_past *past, const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec <=
	    past->sink->past_ns - FB_TREE_RACY_NS;
}

static bool
is_same(const struct fb_tree_past *past, const struct stat *st)
{
	const struct fb_entry *entry = past->entry;

	return (entry->ctime_s != 0 || entry->ctime_ns != 0) &&
	    entry->ctime_s == st->st_ctim.tv_sec &&
	    entry->ctime_ns == st->st_ctim.tv_nsec &&
	    entry->mtime_s == st->st_mtim.tv_sec &&
	    entry->mtime_ns == st->st_mtim.tv_nsec &&
	    entry->ino == st->st_ino &&
	    (past->any_dev || entry->dev == st->st_dev) &&
	    (entry->type != FB_ENTRY_FILE ||
	        entry->size == (uint64_t)st->st_size) &&
	    entry->mode == (st->st_mode & 07777) &&
	    entry->uid == st->st_uid && entry->gid == st->st_gid &&
	    is_old(past, &st->st_ctim) && is_old(past, &st->st_mtim);
}

int
fb_tree_past_find(struct fb_tree_past *past, const struct fb_tree_node *node,
    enum fb_entry_type type, const char *target,
    const struct fb_entry **ret_entry, struct fb_error *err)
{
	int order = -1, rc = FB_OK;

	*ret_entry = NULL;
	if (past->sink->past == NULL)
		return FB_OK;
	if (!past->begun)
		rc = advance(past, err);
	past->begun = true;
	while (rc == FB_OK && past->entry != NULL &&
	    (order = compare_paths(fb_buf_str(&past->path), node->path)) < 0)
		rc = advance(past, err);
	if (rc == FB_OK && past->entry != NULL && order == 0 &&
	    past->entry->type == type && is_target(past->entry, target) &&
	    past->entry->offset >= past->from + past->length &&
	    is_same(past, &node->st))
		*ret_entry = past->entry;
	return rc;
}

int
fb_tree_past_flush(struct fb_tree_past *past, struct fb_error *err)
{
	uint64_t length = past->length;

	past->from += length;
	past->length = 0;
	return length == 0 ? FB_OK
	                   : past->sink->same(past->sink->arg,
	                         past->from - length, length, err);
}

int
fb_tree_past_take(struct fb_tree_past *past, const struct fb_entry *entry,
    struct fb_error *err)
{
	int rc = FB_OK;

	if (past->length > 0 && entry->offset != past->from + past->length)
		rc = fb_tree_past_flush(past, err);
	if (past->length == 0)
		past->from = entry->offset;
	past->length += entry->length;
	return rc;
}
