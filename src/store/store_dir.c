#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/crypto/digest.h"
#include "store_dir.h"

/* Directories remembered as settled; the others are synced once more. */
#define SETTLED_MAX 4096

#define READ_STEP 65536

static struct dir_store *
dir_of(struct fb_store *store)
{
	return (struct dir_store *)store;
}

void
fb_dir_place_release(struct place *place)
{
	if (place->dir_fd >= 0)
		(void)close(place->dir_fd);
	place->dir_fd = -1;
}

static bool
is_settled(struct dir_store *dir, const char *path, size_t len)
{
	bool found = false;

	(void)pthread_mutex_lock(&dir->lock);
	for (size_t i = 0; i < dir->settled_count && !found; i++)
		found = strncmp(dir->settled[i], path, len) == 0 &&
		    dir->settled[i][len] == '\0';
	(void)pthread_mutex_unlock(&dir->lock);
	return found;
}

static void
note_settled(struct dir_store *dir, const char *path, size_t len)
{
	(void)pthread_mutex_lock(&dir->lock);
	if (dir->settled_count < SETTLED_MAX) {
		dir->settled = fb_realloc(dir->settled, dir->settled_count + 1,
		    sizeof(*dir->settled));
		dir->settled[dir->settled_count++] =
		    fb_format("%.*s", (int)len, path);
	}
	(void)pthread_mutex_unlock(&dir->lock);
}

static int
fail_at(const struct place *place, const char *verb, struct fb_error *err)
{
	return fb_fail_sys(
	    err, "cannot %s '%s/%s'", verb, place->root, place->key);
}

/* An object in a directory's place means that there is nothing below it;
 * anything else does not belong here. */
static int
fail_not_dir(const struct place *place, const char *name, size_t len, bool make,
    struct fb_error *err)
{
	bool odd;
	struct stat st;

	odd = fstatat(place->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode);
	return fb_fail(err, odd || make ? FB_ECORRUPT : FB_ENOTFOUND,
	    "'%s/%.*s' is not a directory", place->root, (int)len, place->key);
}

/*
 * Step into the directory `name`, the end of the first `len` bytes of the
 * key.  A directory that is there need not be durable yet: whoever made it
 * may be just about to sync it, or dead.  So each one is settled by us, once
 * per process.
 */
static int
enter(struct dir_store *dir, struct place *place, const char *name, size_t len,
    bool make, struct fb_error *err)
{
	static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	bool settled = !make || is_settled(dir, place->key, len);
	int fd = fb_io_openat(place->dir_fd, name, flags, 0, place->key);
	int rc;

	if (fd == -1 && errno == ENOENT && make) {
		settled = false;
		fb_seam_made(place->dir_fd, name);
		if (fb_seam_fails(FB_STEP_RENAME, place->key) ||
		    (mkdirat(place->dir_fd, name, 0755) == -1 &&
		        errno != EEXIST))
			return fail_at(place, "make a directory of", err);
		fd = fb_io_openat(place->dir_fd, name, flags, 0, place->key);
	}
	if (fd == -1 && (errno == ENOTDIR || errno == ELOOP))
		return fail_not_dir(place, name, len, make, err);
	if (fd == -1)
		return fail_at(place, "open", err);
	if (!settled) {
		rc = fb_io_sync(place->dir_fd, place->root, err);
		if (rc < 0) {
			(void)close(fd);
			return rc;
		}
		note_settled(dir, place->key, len);
	}
	(void)close(place->dir_fd);
	place->dir_fd = fd;
	return FB_OK;
}

int
fb_dir_place(struct dir_store *dir, const char *key, bool make,
    struct place *place, struct fb_error *err)
{
	const char *part = key, *slash;

	*place = (struct place){ fcntl(dir->root_fd, F_DUPFD_CLOEXEC, 3), NULL,
		dir->root, key };
	if (place->dir_fd == -1)
		return fail_at(place, "open", err);
	for (; (slash = strchr(part, '/')) != NULL; part = slash + 1) {
		char name[FB_STORE_KEY_MAX + 1];
		size_t len = (size_t)(slash - part);
		int rc;

		memcpy(name, part, len);
		name[len] = '\0';
		rc = enter(dir, place, name, (size_t)(slash - key), make, err);
		if (rc < 0)
			return rc;
	}
	place->leaf = part;
	return FB_OK;
}

/* O_NONBLOCK: a fifo in an object's place must not hold us up. */
int
fb_dir_open_object(
    const struct place *place, uint64_t *ret_size, struct fb_error *err)
{
	struct stat st;
	int fd = fb_io_openat(place->dir_fd, place->leaf,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, place->key);

	if (fd == -1 && errno != ELOOP)
		return fail_at(place, "open", err);
	if (fd == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			(void)close(fd);
		return fb_fail(err, FB_ECORRUPT, "'%s/%s' is not a file",
		    place->root, place->key);
	}
	*ret_size = (uint64_t)st.st_size;
	return fd;
}

static int
open_key(struct fb_store *store, const char *key, uint64_t *ret_size,
    struct fb_error *err)
{
	AUTO_PLACE struct place place = { .dir_fd = -1 };
	int rc = fb_dir_place(dir_of(store), key, false, &place, err);

	if (rc < 0)
		return rc;
	return fb_dir_open_object(&place, ret_size, err);
}

int
fb_dir_tag(
    int fd, const char *key, char tag[FB_STORE_TAG_SIZE], struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(READ_STEP, 1);
	struct fb_digest digest;
	uint64_t offset = 0;
	size_t got;

	do {
		int rc =
		    fb_io_pread(fd, key, bytes, READ_STEP, offset, &got, err);

		if (rc < 0)
			return rc;
		fb_digester_add(digester, (struct fb_span){ bytes, got });
		offset += got;
	} while (got == READ_STEP);
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, tag);
	return FB_OK;
}

static int
dir_get(struct fb_store *store, const char *key, size_t max, struct fb_buf *dst,
    char tag[FB_STORE_TAG_SIZE], struct fb_error *err)
{
	uint64_t size = 0;
	FB_AUTO_CLOSE int fd = open_key(store, key, &size, err);
	struct fb_digest digest;
	size_t before = dst->len;
	int rc;

	if (fd < 0)
		return fd;
	if (size > max)
		return fb_fail(err, FB_ECORRUPT,
		    "the object is larger than %zu bytes", max);
	rc = fb_io_read_all(fd, key, max, dst, err);
	if (rc < 0)
		return rc;
	if (tag != NULL) {
		fb_digest_of(
		    (struct fb_span){ dst->data + before, dst->len - before },
		    &digest);
		fb_digest_hex(&digest, tag);
	}
	return FB_OK;
}

static int
dir_get_range(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *err)
{
	uint64_t size = 0;
	FB_AUTO_CLOSE int fd = open_key(store, key, &size, err);
	size_t got = 0;
	int rc;

	if (fd < 0)
		return fd;
	rc = fb_io_pread(fd, key, bytes, len, offset, &got, err);
	if (rc < 0)
		return rc;
	if (got < len)
		return fb_fail(err, FB_ECORRUPT,
		    "the object ends before byte %llu",
		    (unsigned long long)offset + len);
	return FB_OK;
}

static int
dir_head(struct fb_store *store, const char *key, uint64_t *ret_size,
    struct fb_error *err)
{
	AUTO_PLACE struct place place = { .dir_fd = -1 };
	int rc = fb_dir_place(dir_of(store), key, false, &place, err);
	struct stat st;

	if (rc < 0)
		return rc;
	if (fb_seam_fails(FB_STEP_LOOK, key) ||
	    fstatat(place.dir_fd, place.leaf, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return fail_at(&place, "look at", err);
	if (!S_ISREG(st.st_mode))
		return fb_fail(
		    err, FB_ECORRUPT, "'%s/%s' is not a file", place.root, key);
	*ret_size = (uint64_t)st.st_size;
	return FB_OK;
}

/*
 * Listing.  A directory stands among its neighbours as its name and a '/':
 * so the whole keys come out in the order of their bytes ("a-b" before
 * "a/b").  Names are read before the first visit; what a visitor does to the
 * store does not disturb the walk.
 */
struct names {
	char **at;
	size_t count;
};

static void
free_names(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->at[i]);
	free(names->at);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The name as it is sorted, or NULL for what is no object of ours. */
static char *
sortable(int dir_fd, const struct dirent *entry)
{
	unsigned char type = entry->d_type;
	struct stat st;

	if (!fb_store_key_ok(entry->d_name))
		return NULL;
	if (type == DT_UNKNOWN &&
	    fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		type = (unsigned char)IFTODT(st.st_mode);
	if (type == DT_REG || type == DT_DIR)
		return fb_format(
		    "%s%s", entry->d_name, type == DT_DIR ? "/" : "");
	return NULL;
}

static int
read_names(
    int dir_fd, const char *prefix, struct names *names, struct fb_error *err)
{
	int fd = fb_io_openat(dir_fd, ".", O_RDONLY | O_DIRECTORY, 0, prefix);
	DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (stream == NULL) {
		int rc = fb_fail_sys(err, "cannot list a directory");

		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	while ((entry = fb_io_readdir(stream, prefix)) != NULL) {
		char *name;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		name = sortable(dir_fd, entry);
		if (name == NULL)
			continue;
		names->at =
		    fb_realloc(names->at, names->count + 1, sizeof(*names->at));
		names->at[names->count++] = name;
	}
	if (errno != 0) {
		int rc = fb_fail_sys(err, "cannot list a directory");

		(void)closedir(stream);
		return rc;
	}
	(void)closedir(stream);
	if (names->count > 0)
		qsort(
		    names->at, names->count, sizeof(*names->at), compare_names);
	return FB_OK;
}

struct walk {
	fb_store_visit *visit;
	void *arg;
	struct fb_error *err;
	char key[FB_STORE_KEY_MAX + 1];
};

static int walk_dir(
    struct walk *walk, int dir_fd, size_t key_len, const char *prefix);

static int
walk_entry(struct walk *walk, int dir_fd, size_t key_len, const char *name)
{
	size_t len = strlen(name);
	struct stat st;

	if (key_len + len > FB_STORE_KEY_MAX)
		return FB_OK;
	memcpy(walk->key + key_len, name, len + 1);
	if (name[len - 1] == '/') {
		FB_AUTO_CLOSE int fd = fb_io_openat(
		    dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, name);

		if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
			return FB_OK; /* gone meanwhile */
		if (fd == -1)
			return fb_fail_sys(
			    walk->err, "cannot open '%s'", walk->key);
		return walk_dir(walk, fd, key_len + len, "");
	}
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode))
		return FB_OK;
	return walk->visit(
	    walk->key, (uint64_t)st.st_size, walk->arg, walk->err);
}

static int
walk_dir(struct walk *walk, int dir_fd, size_t key_len, const char *prefix)
{
	struct names names = { NULL, 0 };
	int rc = read_names(dir_fd, prefix, &names, walk->err);

	for (size_t i = 0; i < names.count && rc == FB_OK; i++)
		rc = walk_entry(walk, dir_fd, key_len, names.at[i]);
	free_names(&names);
	return rc;
}

static int
dir_list(struct fb_store *store, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *err)
{
	AUTO_PLACE struct place place = { .dir_fd = -1 };
	struct walk walk = { visit, arg, err, "" };
	int rc = fb_dir_place(dir_of(store), prefix, false, &place, err);
	size_t len;

	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc < 0)
		return rc;
	len = (size_t)(place.leaf - prefix);
	memcpy(walk.key, prefix, len);
	return walk_dir(&walk, place.dir_fd, len, place.leaf);
}

static int
dir_remove(struct fb_store *store, const char *key,
    const struct fb_store_removal *of, struct fb_error *err)
{
	AUTO_PLACE struct place place = { .dir_fd = -1 };
	int rc = fb_dir_place(dir_of(store), key, false, &place, err);

	(void)of;
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc < 0)
		return rc;
	fb_seam_name(place.dir_fd, place.leaf);
	if (fb_seam_fails(FB_STEP_RENAME, key) ||
	    (unlinkat(place.dir_fd, place.leaf, 0) == -1 && errno != ENOENT))
		return fail_at(&place, "remove", err);
	return fb_io_sync(place.dir_fd, place.root, err);
}

static int
dir_space(struct fb_store *store, uint64_t *ret_bytes, struct fb_error *err)
{
	const struct dir_store *dir = dir_of(store);
	struct statvfs fs;

	if (fstatvfs(dir->root_fd, &fs) == -1)
		return fb_fail_sys(
		    err, "cannot ask for the space of '%s'", dir->root);
	if (__builtin_mul_overflow(
	        (uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, ret_bytes))
		*ret_bytes = UINT64_MAX;
	return FB_OK;
}

static void
dir_close(struct fb_store *store)
{
	struct dir_store *dir = dir_of(store);

	for (size_t i = 0; i < dir->settled_count; i++)
		free(dir->settled[i]);
	free(dir->settled);
	(void)close(dir->root_fd);
	(void)pthread_mutex_destroy(&dir->lock);
	free(dir->root);
	free(dir);
}

static const struct fb_store_ops dir_ops = {
	.scheme = "file",
	.parallel = 4,
	.create = fb_dir_create,
	.create_file = fb_dir_create_file,
	.replace = fb_dir_replace,
	.get = dir_get,
	.get_range = dir_get_range,
	.head = dir_head,
	.list = dir_list,
	.remove = dir_remove,
	.space = dir_space,
	.close = dir_close,
};

/* umask(2) can only be asked by changing it, under the feet of the other
 * threads; the kernel tells it elsewhere. */
static mode_t
current_umask(void)
{
	static const char label[] = "\nUmask:\t";
	FB_AUTO_BUF struct fb_buf status = { 0 };
	struct fb_error err;
	const char *at;

	if (fb_io_read_file("/proc/self/status", 1 << 16, &status, &err) < 0)
		return 077;
	at = strstr(fb_buf_str(&status), label);
	if (at == NULL)
		return 077;
	return (mode_t)strtoul(at + sizeof(label) - 1, NULL, 8) & 0777;
}

static int
fail_open(const char *path, struct fb_error *err)
{
	int rc;

	switch (errno) {
	case ENOENT:
		(void)fb_fail(
		    err, FB_ENOREPO, "there is no directory '%s'", path);
		return fb_hint(
		    err, "is its file system mounted? is it set up already?");
	case ENOTDIR:
		return fb_fail(
		    err, FB_ENOREPO, "'%s' is not a directory", path);
	case EIO:
	case ESTALE:
	case ENOTCONN:
	case EHOSTDOWN:
	case ETIMEDOUT:
		rc = fb_fail_sys(err, "cannot reach '%s'", path);
		if (rc == FB_ESYS) {
			err->code = FB_EUNREACH;
			err->id = fb_code_id(FB_EUNREACH);
		}
		return err->code;
	default:
		return fb_fail_sys(err, "cannot open '%s'", path);
	}
}

int
fb_store_dir_open(const char *path, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err)
{
	struct dir_store *dir;
	int fd, rc;

	(void)options;
	if (path[0] != '/') {
		(void)fb_fail_id(err, FB_ECONFIG, "E-STORE-URL",
		    "'file:%s' is not an absolute path", path);
		return fb_hint(err, "write file:/absolute/path");
	}
	if (make) {
		rc = fb_io_mkdirs(path, 0755, err);
		if (rc < 0)
			return rc;
	}
	fd = fb_io_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, path);
	if (fd == -1)
		return fail_open(path, err);
	dir = fb_alloc(1, sizeof(*dir));
	dir->base.ops = &dir_ops;
	dir->root_fd = fd;
	dir->root = fb_strdup(path);
	dir->umask = current_umask();
	(void)pthread_mutex_init(&dir->lock, NULL);
	*ret_store = &dir->base;
	return FB_OK;
}
