#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/driver/tree.h"
#include "tree_internal.h"

/* Directories kept open at once; above them, ".." finds the way back. */
#define OPEN_LEVELS 64

/* Room for a name is made in steps of this many. */
#define NAMES_STEP 64

void
fb_names_add(struct fb_names *names, const char *name)
{
	size_t size = strlen(name) + 1;

	if (names->used + size > names->room) {
		names->room = 2 * (names->used + size) + 256;
		names->bytes = fb_realloc(names->bytes, names->room, 1);
	}
	if (names->count == names->at_room) {
		names->at_room = 2 * names->at_room + NAMES_STEP;
		names->at = fb_realloc(
		    names->at, names->at_room, sizeof(*names->at));
	}
	memcpy(names->bytes + names->used, name, size);
	names->at[names->count++] = names->used;
	names->used += size;
}

void
fb_names_release(struct fb_names *names)
{
	free(names->bytes);
	free(names->at);
	*names = (struct fb_names){ 0 };
}

static int
compare_names(const void *a, const void *b, void *arg)
{
	const char *bytes = arg;

	return strcmp(
	    bytes + *(const size_t *)a, bytes + *(const size_t *)b);
}

bool
fb_names_have(const struct fb_names *names, const char *name)
{
	size_t low = 0, high = names->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(names->bytes + names->at[middle], name);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static locale_t c_locale;

static void
make_locale(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

locale_t
fb_tree_locale_enter(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, make_locale);
	return uselocale(c_locale);
}

/* 0, or -1 with errno and what was read before. */
int
fb_names_read(int dirfd, struct fb_names *names)
{
	int fd = fb_io_openat(dirfd, ".", O_RDONLY | O_DIRECTORY, 0, "names");
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	const struct dirent *item;
	int sys;

	if (dir == NULL) {
		sys = errno;
		fb_closep(&fd);
		errno = sys;
		return -1;
	}
	while ((item = fb_io_readdir(dir, "names")) != NULL)
		if (strcmp(item->d_name, ".") != 0 &&
		    strcmp(item->d_name, "..") != 0)
			fb_names_add(names, item->d_name);
	sys = errno;
	(void)closedir(dir);
	if (names->count > 0)
		qsort_r(names->at, names->count, sizeof(*names->at),
		    compare_names, names->bytes);
	errno = sys;
	return sys == 0 ? 0 : -1;
}

static bool
pattern_matches(const char *pattern, const char *path)
{
	size_t len = strlen(pattern);
	FB_AUTO_FREE char *copy = NULL;
	const char *base = strrchr(path, '/');

	while (len > 1 && pattern[len - 1] == '/')
		len--;
	copy = fb_format("%.*s", (int)len, pattern);
	if (strchr(copy, '/') == NULL)
		return fnmatch(copy, base != NULL ? base + 1 : path, 0) == 0;
	return fnmatch(copy[0] == '/' ? copy + 1 : copy, path,
	           FNM_PATHNAME) == 0;
}

bool
fb_tree_excluded(const char *const *patterns, const char *path)
{
	for (; patterns != NULL && *patterns != NULL; patterns++)
		if (pattern_matches(*patterns, path))
			return true;
	return false;
}

static int
path_byte(const char *p)
{
	if (*p == '\0')
		return -1;
	return *p == '/' ? 0 : (unsigned char)*p;
}

int
fb_tree_path_cmp(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return path_byte(a) - path_byte(b);
}

/* One directory on the way down. */
struct level {
	int fd; /* -1: closed for now, see OPEN_LEVELS */
	dev_t dev;
	ino_t ino;
	size_t path_len;
	struct fb_names names;
	size_t next;
};

struct walker {
	const struct fb_tree_walk *walk;
	struct fb_buf path;
	dev_t dev; /* of the root: others are not entered */
	struct level *levels;
	size_t depth, room;
};

static const char *
shown_path(const struct walker *w)
{
	return w->path.len == 0 ? "." : fb_buf_str(&w->path);
}

static void
cut_path(struct walker *w, size_t len)
{
	w->path.len = len;
	if (w->path.data != NULL)
		w->path.data[len] = '\0';
}

bool
fb_tree_is_our_want(int sys)
{
	return sys == EMFILE || sys == ENFILE || sys == ENOMEM ||
	    sys == ENOBUFS;
}

/* Something of the tree cannot be had, because of `sys`: a warning, unless
 * it is our own fault or there is nobody to warn. */
static int
miss(struct walker *w, const char *what, int sys, struct fb_error *err)
{
	FB_AUTO_FREE char *text = NULL;

	if (w->walk->warn == NULL && (sys == ENOENT || sys == ENAMETOOLONG))
		return FB_OK;
	if (w->walk->warn == NULL || fb_tree_is_our_want(sys)) {
		errno = sys;
		return fb_fail_sys(err, "'%s': %s", shown_path(w), what);
	}
	if (sys == ENOENT)
		text = fb_strdup("vanished while the tree was being read");
	else
		text = fb_format("%s: %s", what, strerror(sys));
	w->walk->warn(w->walk->arg, shown_path(w), text);
	return FB_OK;
}

/* The walker owns `fd` from here on.  Without its root a tree is nothing. */
static int
push_level(
    struct walker *w, int fd, const struct stat *st, struct fb_error *err)
{
	static const char what[] = "the directory cannot be read";
	struct level *level;
	int rc = FB_OK;

	if (w->depth == w->room) {
		w->room = 2 * w->room + 16;
		w->levels =
		    fb_realloc(w->levels, w->room, sizeof(*w->levels));
	}
	level = &w->levels[w->depth++];
	*level = (struct level){ .fd = fd, .dev = st->st_dev,
		.ino = st->st_ino, .path_len = w->path.len };
	if (fb_names_read(fd, &level->names) == -1)
		rc = w->depth == 1
		    ? fb_fail_sys(err, "'%s': %s", shown_path(w), what)
		    : miss(w, what, errno, err);
	if (w->depth > OPEN_LEVELS) {
		struct level *above = &w->levels[w->depth - 1 - OPEN_LEVELS];

		fb_closep(&above->fd);
		above->fd = -1;
	}
	return rc;
}

/* The parent's descriptor was closed: its child knows the way. */
static int
reopen_level(struct walker *w, struct level *level, int child_fd,
    struct fb_error *err)
{
	struct stat st;

	level->fd = fb_io_openat(
	    child_fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, "..");
	if (level->fd >= 0 && fstat(level->fd, &st) == 0 &&
	    st.st_dev == level->dev && st.st_ino == level->ino)
		return FB_OK;
	if (level->fd == -1 && fb_tree_is_our_want(errno))
		return fb_fail_sys(
		    err, "'%s': cannot go back", shown_path(w));
	fb_closep(&level->fd);
	level->fd = -1;
	level->next = level->names.count;
	if (w->walk->warn != NULL)
		w->walk->warn(w->walk->arg, shown_path(w),
		    "a directory was moved while the tree was being read");
	return FB_OK;
}

static int
pop_level(struct walker *w, struct fb_error *err)
{
	struct level *level = &w->levels[--w->depth];
	int rc = FB_OK;

	if (w->depth > 0 && w->levels[w->depth - 1].fd == -1) {
		if (level->fd >= 0)
			rc = reopen_level(
			    w, &w->levels[w->depth - 1], level->fd, err);
		else
			w->levels[w->depth - 1].next =
			    w->levels[w->depth - 1].names.count;
	}
	fb_closep(&level->fd);
	fb_names_release(&level->names);
	return rc;
}

static int
visit_directory(struct walker *w, struct fb_tree_node *node,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_openat(node->dirfd, node->name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, node->path);
	int rc, kept, sys = errno;

	if (fd == -1) {
		rc = miss(w, "the directory cannot be entered", sys, err);
		if (rc < 0 || sys == ENOENT || sys == ENOTDIR || sys == ELOOP)
			return rc;
	} else if (fb_seam_fails(FB_STEP_LOOK, node->path) ||
	    fstat(fd, &node->st) == -1) {
		return miss(
		    w, "the directory cannot be looked at", errno, err);
	}
	node->fd = fd;
	rc = w->walk->visit(w->walk->arg, node, err);
	if (rc < 0 || fd == -1 || node->st.st_dev != w->dev)
		return rc;
	kept = fd;
	fd = -1;
	return push_level(w, kept, &node->st, err);
}

static int
visit_name(struct walker *w, struct level *level, const char *name,
    struct fb_error *err)
{
	struct fb_tree_node node = { .dirfd = level->fd, .name = name,
		.fd = -1 };

	cut_path(w, level->path_len);
	if (w->path.len > 0)
		fb_buf_add(&w->path, "/", 1);
	fb_buf_add_str(&w->path, name);
	node.path = fb_buf_str(&w->path);
	if (fb_tree_excluded(w->walk->exclude, node.path))
		return FB_OK;
	if (w->path.len > FB_TREE_PATH_MAX)
		return miss(w, "left out", ENAMETOOLONG, err);
	if (fb_seam_fails(FB_STEP_LOOK, node.path) ||
	    fstatat(level->fd, name, &node.st, AT_SYMLINK_NOFOLLOW) == -1)
		return miss(w, "it cannot be looked at", errno, err);
	if (S_ISDIR(node.st.st_mode))
		return visit_directory(w, &node, err);
	return w->walk->visit(w->walk->arg, &node, err);
}

static int
enter_root(struct walker *w, const char *root, struct fb_error *err)
{
	struct fb_tree_node node = { .path = ".", .name = "." };
	int rc;

	node.fd = fb_io_open(root, O_RDONLY | O_DIRECTORY, 0, err);
	if (node.fd < 0)
		return node.fd;
	node.dirfd = node.fd;
	if (fstat(node.fd, &node.st) == -1) {
		rc = fb_fail_sys(err, "cannot look at '%s'", root);
		fb_closep(&node.fd);
		return rc;
	}
	w->dev = node.st.st_dev;
	rc = w->walk->visit(w->walk->arg, &node, err);
	if (rc < 0) {
		fb_closep(&node.fd);
		return rc;
	}
	return push_level(w, node.fd, &node.st, err);
}

int
fb_tree_walk(
    const char *root, const struct fb_tree_walk *walk, struct fb_error *err)
{
	struct walker w = { .walk = walk };
	int rc = enter_root(&w, root, err);

	while (rc == FB_OK && w.depth > 0) {
		struct level *level = &w.levels[w.depth - 1];

		if (level->next == level->names.count) {
			cut_path(&w, level->path_len);
			rc = pop_level(&w, err);
			continue;
		}
		rc = visit_name(&w, level,
		    level->names.bytes + level->names.at[level->next++], err);
	}
	while (w.depth > 0) {
		struct level *level = &w.levels[--w.depth];

		fb_closep(&level->fd);
		fb_names_release(&level->names);
	}
	free(w.levels);
	fb_buf_release(&w.path);
	return rc;
}

struct lister {
	fb_tree_visit *visit;
	void *arg;
};

static int
list_node(void *arg, const struct fb_tree_node *node, struct fb_error *err)
{
	struct lister *lister = arg;

	/* A socket is never archived and never removed. */
	if (S_ISSOCK(node->st.st_mode) || strcmp(node->path, ".") == 0)
		return FB_OK;
	return lister->visit(lister->arg, node->path, err);
}

int
fb_tree_list(const char *root, const char *const *exclude,
    fb_tree_visit *visit, void *arg, struct fb_error *err)
{
	struct lister lister = { visit, arg };

	return fb_tree_walk(root,
	    &(struct fb_tree_walk){
	        .exclude = exclude, .visit = list_node, .arg = &lister },
	    err);
}
