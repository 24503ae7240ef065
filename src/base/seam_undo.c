/*
 * What power loss takes back of names: those that were made, removed or
 * replaced since their directory was synced.  Only for crashes "lost".
 */
#include "fleetbak/base/seam.h"

#ifdef FB_FAULTS

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/attr.h"
#include "fleetbak/base/buf.h"
#include "fleetbak/base/mem.h"

/* What a name was before, newest last. */
struct change {
	enum { WAS_ABSENT, WAS_FILE, WAS_DIR, WAS_LINK, WAS_ELSEWHERE } was;
	char *path;
	char *from;          /* WAS_ELSEWHERE: its name before; a link's end */
	struct fb_buf bytes; /* WAS_FILE */
	mode_t mode;
	dev_t device;        /* of the directory that is to be synced */
	ino_t inode;
};

static struct change *changes;
static size_t change_count, change_room;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *tree_root; /* while a tree is remembered */

static bool
is_lossy(void)
{
	const char *plan = getenv("FLEETBAK_CRASH");
	const char *colon = plan != NULL ? strchr(plan, ':') : NULL;

	return colon != NULL && strcmp(colon, ":lost") == 0;
}

/* Locks are for processes that live: whoever lives on must find the same. */
static bool
is_lock(const char *path)
{
	size_t len = strlen(path);

	return len >= 4 && strcmp(path + len - 4, "lock") == 0;
}

static char *
full_path(int dirfd, const char *name)
{
	char link[64], dir[PATH_MAX];
	ssize_t len;

	if (name[0] == '/')
		return fb_strdup(name);
	if (dirfd == AT_FDCWD) {
		if (getcwd(dir, sizeof(dir)) == NULL)
			return NULL;
		return fb_format("%s/%s", dir, name);
	}
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
	len = readlink(link, dir, sizeof(dir) - 1);
	if (len <= 0)
		return NULL;
	dir[len] = '\0';
	return fb_format("%s/%s", dir, name);
}

static void
set_directory(struct change *change, const char *path)
{
	FB_AUTO_FREE char *dir = fb_strdup(path);
	char *slash = strrchr(dir, '/');
	struct stat st;

	slash[slash == dir] = '\0';
	if (stat(dir, &st) == 0) {
		change->device = st.st_dev;
		change->inode = st.st_ino;
	}
}

static void
read_file(struct change *change)
{
	int fd = open(change->path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 1;

	while (fd >= 0 && got > 0) {
		got = read(fd, fb_buf_reserve(&change->bytes, 65536), 65536);
		change->bytes.len += got > 0 ? (size_t)got : 0;
	}
	if (fd >= 0)
		(void)close(fd);
}

/* With the lock held; takes `path` over. */
static void
remember(char *path, const char *durable_with)
{
	struct change change = { .path = path };
	char end[PATH_MAX] = "";
	struct stat st;

	if (lstat(path, &st) == -1) {
		change.was = WAS_ABSENT;
	} else {
		change.mode = st.st_mode & 07777;
		change.was = S_ISREG(st.st_mode) ? WAS_FILE
		    : S_ISLNK(st.st_mode)        ? WAS_LINK
		                                 : WAS_DIR;
	}
	if (change.was == WAS_FILE)
		read_file(&change);
	if (change.was == WAS_LINK &&
	    readlink(path, end, sizeof(end) - 1) > 0)
		change.from = fb_strdup(end);
	set_directory(&change, durable_with);
	if (change_count == change_room) {
		change_room = change_room * 2 + 64;
		changes = fb_realloc(changes, change_room, sizeof(*changes));
	}
	changes[change_count++] = change;
}

void
fb_seam_name(int dirfd, const char *name)
{
	char *path;

	if (!is_lossy() || (path = full_path(dirfd, name)) == NULL)
		return;
	(void)pthread_mutex_lock(&lock);
	if (is_lock(path))
		free(path);
	else
		remember(path, path);
	(void)pthread_mutex_unlock(&lock);
}

void
fb_seam_made(int dirfd, const char *name)
{
	struct stat st;

	if (is_lossy() && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		fb_seam_name(dirfd, name);
}

void
fb_seam_move(const char *from, const char *to)
{
	struct change *change;

	if (!is_lossy())
		return;
	fb_seam_name(AT_FDCWD, to);
	(void)pthread_mutex_lock(&lock);
	remember(full_path(AT_FDCWD, to), to);
	change = &changes[change_count - 1];
	change->was = WAS_ELSEWHERE;
	change->from = full_path(AT_FDCWD, from);
	(void)pthread_mutex_unlock(&lock);
}

static int
remember_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remember(full_path(AT_FDCWD, path), tree_root);
	return 0;
}

void
fb_seam_tree(const char *path)
{
	FB_AUTO_FREE char *root = NULL;

	if (!is_lossy())
		return;
	root = full_path(AT_FDCWD, path);
	(void)pthread_mutex_lock(&lock);
	tree_root = root;
	(void)nftw(path, remember_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	tree_root = NULL;
	(void)pthread_mutex_unlock(&lock);
}

static void
release(struct change *change)
{
	free(change->path);
	free(change->from);
	fb_buf_release(&change->bytes);
}

void
fb_seam_names_kept(const struct stat *st, bool all)
{
	size_t kept = 0;

	(void)pthread_mutex_lock(&lock);
	for (size_t i = 0; i < change_count; i++) {
		struct change *change = &changes[i];

		if (change->device == st->st_dev &&
		    (all || change->inode == st->st_ino))
			release(change);
		else
			changes[kept++] = *change;
	}
	change_count = kept;
	(void)pthread_mutex_unlock(&lock);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void
put_file(const struct change *change)
{
	int fd = open(change->path,
	    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
	    change->mode);

	if (fd == -1)
		return;
	(void)!write(fd, change->bytes.data, change->bytes.len);
	(void)!fchmod(fd, change->mode);
	(void)close(fd);
}

void
fb_seam_names_lost(void)
{
	(void)pthread_mutex_lock(&lock);
	while (change_count > 0) {
		struct change *change = &changes[--change_count];

		switch (change->was) {
		case WAS_ABSENT:
			(void)nftw(change->path, remove_one, 16,
			    FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
			break;
		case WAS_FILE:
			(void)unlink(change->path);
			put_file(change);
			break;
		case WAS_LINK:
			(void)!symlink(change->from, change->path);
			break;
		case WAS_DIR:
			(void)mkdir(change->path, change->mode);
			break;
		case WAS_ELSEWHERE:
			(void)rename(change->path, change->from);
			break;
		}
	}
	(void)pthread_mutex_unlock(&lock);
}

#endif

/* ISO C wants one declaration even when the module is built out. */
typedef int fb_seam_undo_unit_is_not_empty;
