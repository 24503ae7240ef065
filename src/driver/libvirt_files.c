#include "libvirt_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"

/* Of an answer in one line. */
#define LINE_MAX_BYTES 4096

static const struct fb_span nothing = { 0 };

static int
fail_unreached(const char *path, struct fb_error *err)
{
	return fb_fail(err, FB_EUNSUP,
	    "'%s' is on another host, which is not reached by ssh", path);
}

/* FB_OK: it is there to be asked. */
static int
reach(const struct fb_libvirt_driver *driver, const char *path,
    struct fb_error *err)
{
	return driver->far != NULL ? FB_OK : fail_unreached(path, err);
}

/*
 * Looking.
 */

static int
look_here(
    const char *path, struct fb_libvirt_file *ret_file, struct fb_error *err)
{
	struct stat st;

	ret_file->link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
	if (stat(path, &st) == -1)
		return errno == ENOENT || errno == ENOTDIR
		    ? FB_OK
		    : fb_fail_sys(err, "cannot look at '%s'", path);
	ret_file->there = true;
	ret_file->regular = S_ISREG(st.st_mode);
	ret_file->block = S_ISBLK(st.st_mode);
	ret_file->size = (uint64_t)st.st_size;
	ret_file->inode = st.st_ino;
	if (ret_file->regular)
		(void)snprintf(ret_file->stamp, sizeof(ret_file->stamp),
		    "%llu %llu %lld %lld.%09ld",
		    (unsigned long long)st.st_dev,
		    (unsigned long long)st.st_ino, (long long)st.st_size,
		    (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	if (ret_file->block) {
		FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY, 0, err);
		off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

		if (fd < 0)
			return fd;
		if (end == -1)
			return fb_fail_sys(err, "cannot look at '%s'", path);
		ret_file->size = (uint64_t)end;
	}
	return FB_OK;
}

static const char look_there[] =
    "[ -L \"$1\" ] && link=link || link=plain\n"
    "[ -e \"$1\" ] || { echo none $link; exit; }\n"
    "kind=other\n"
    "size=$(stat -L -c %s -- \"$1\") || exit 1\n"
    "if [ -f \"$1\" ]; then\n"
    "	kind=regular\n"
    "elif [ -b \"$1\" ]; then\n"
    "	kind=block\n"
    "	size=$(blockdev --getsize64 \"$1\") || exit 1\n"
    "fi\n"
    "stat -L -c \"$kind $link $size %i %d %y\" -- \"$1\"\n";

static int
take_answer(const char *path, struct fb_span line,
    struct fb_libvirt_file *ret_file, struct fb_error *err)
{
	char kind[16] = "", link[16] = "", rest[96] = "";
	FB_AUTO_FREE char *text =
	    fb_format("%.*s", (int)line.len, (const char *)line.ptr);

	int count = sscanf(text,
	    "%15s %15s %" SCNu64 " %" SCNu64 " %95[0-9 .:+-]", kind, link,
	    &ret_file->size, &ret_file->inode, rest);

	ret_file->link = strcmp(link, "link") == 0;
	if (count == 2 && strcmp(kind, "none") == 0)
		return FB_OK;
	if (count != 5)
		return fb_fail(err, FB_EPROTO,
		    "cannot look at '%s': its host does not answer as stat "
		    "does", path);
	ret_file->there = true;
	ret_file->regular = strcmp(kind, "regular") == 0;
	ret_file->block = strcmp(kind, "block") == 0;
	if (ret_file->regular)
		(void)snprintf(ret_file->stamp, sizeof(ret_file->stamp),
		    "%" PRIu64 " %s", ret_file->size, rest);
	return FB_OK;
}

int
fb_libvirt_file_look(const struct fb_libvirt_driver *driver, const char *path,
    struct fb_libvirt_file *ret_file, struct fb_error *err)
{
	const char *const args[] = { path, NULL };
	FB_AUTO_FREE char *what = fb_format("look at '%s'", path);
	FB_AUTO_BUF struct fb_buf line = { 0 };
	int rc;

	*ret_file = (struct fb_libvirt_file){ 0 };
	if (driver->local)
		return look_here(path, ret_file, err);
	rc = reach(driver, path, err);
	if (rc == FB_OK)
		rc = fb_libvirt_far_run(driver->far, what, look_there, args,
		    nothing, LINE_MAX_BYTES, &line, err);
	return rc < 0 ? rc
	              : take_answer(path, fb_buf_span(&line), ret_file, err);
}

/*
 * Their bytes.
 */

int
fb_libvirt_file_read(const struct fb_libvirt_driver *driver, const char *path,
    struct fb_buf *dst, struct fb_error *err)
{
	static const char script[] = "[ -e \"$1\" ] || exit 44\n"
				     "exec cat -- \"$1\"\n";
	const char *const args[] = { path, NULL };
	FB_AUTO_FREE char *what = fb_format("read '%s'", path);
	int rc;

	if (driver->local)
		return fb_io_read_file(path, FB_LIBVIRT_FILE_MAX, dst, err);
	rc = reach(driver, path, err);
	return rc < 0 ? rc
	              : fb_libvirt_far_run(driver->far, what, script, args,
	                    nothing, FB_LIBVIRT_FILE_MAX, dst, err);
}

static int
make_above(const char *path, unsigned mode, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_strdup(path);
	char *slash = strrchr(dir, '/');

	if (slash == NULL)
		return fb_fail(
		    err, FB_EPROTO, "'%s' is no absolute path", path);
	slash[slash == dir ? 1 : 0] = '\0';
	return fb_io_mkdirs(dir, mode, err);
}

/* A connection that is cut is the end of its input there, too. */
#define TAKE \
	"part=$(mktemp \"$1.XXXXXX\") || exit 1\n" \
	"take() {\n" \
	"	cat >\"$part\" || return 1\n" \
	"	[ \"$(wc -c <\"$part\")\" -eq \"$1\" ] && return\n" \
	"	echo 'not all of it came' >&2\n" \
	"	return 1\n" \
	"}\n"

int
fb_libvirt_file_replace(const struct fb_libvirt_driver *driver,
    const char *path, struct fb_span bytes, unsigned mode, unsigned dir_mode,
    struct fb_error *err)
{
	static const char script[] =
	    "dir=$(dirname \"$1\")\n"
	    "[ -d \"$dir\" ] || (umask 077 && mkdir -p \"$dir\" && "
	    "chmod \"$4\" \"$dir\") || exit 1\n"
	    TAKE
	    "take \"$2\" && chmod \"$3\" \"$part\" && sync \"$part\" &&\n"
	    "	mv -f \"$part\" \"$1\" && sync \"$dir\" && exit\n"
	    "rm -f \"$part\"\n"
	    "exit 1\n";
	FB_AUTO_FREE char *what = fb_format("write '%s'", path);
	FB_AUTO_FREE char *len = fb_format("%zu", bytes.len);
	FB_AUTO_FREE char *file_mode = fb_format("%o", mode);
	FB_AUTO_FREE char *above_mode = fb_format("%o", dir_mode);
	const char *const args[] = { path, len, file_mode, above_mode, NULL };
	int rc;

	if (driver->local) {
		rc = make_above(path, dir_mode, err);
		return rc < 0 ? rc : fb_io_replace(path, bytes, mode, err);
	}
	rc = reach(driver, path, err);
	return rc < 0 ? rc
	              : fb_libvirt_far_run(driver->far, what, script, args,
	                    bytes, LINE_MAX_BYTES, NULL, err);
}

static int
write_over_here(
    const char *path, struct fb_span bytes, struct fb_error *err)
{
	FB_AUTO_TARGET struct fb_target *target = NULL;
	int rc = fb_target_open_file(path, bytes.len, false, &target, err);

	if (rc == FB_OK)
		rc = target->ops->write(target, 0, bytes.ptr, bytes.len, err);
	return rc < 0 ? rc : target->ops->sync(target, err);
}

int
fb_libvirt_file_write_over(const struct fb_libvirt_driver *driver,
    const char *path, struct fb_span bytes, struct fb_error *err)
{
	/* All of it is durable beside it before the old one is written over. */
	static const char script[] =
	    TAKE
	    "take \"$2\" && sync \"$part\" || { rm -f \"$part\"; exit 1; }\n"
	    "cat \"$part\" >\"$1\" && sync \"$1\" &&\n"
	    "	rm -f \"$part\" && exit\n"
	    "echo \"what it should hold is in $part\" >&2\n"
	    "exit 1\n";
	FB_AUTO_FREE char *what = fb_format("write '%s'", path);
	FB_AUTO_FREE char *len = fb_format("%zu", bytes.len);
	const char *const args[] = { path, len, NULL };
	int rc;

	if (driver->local)
		return write_over_here(path, bytes, err);
	rc = reach(driver, path, err);
	return rc < 0 ? rc
	              : fb_libvirt_far_run(driver->far, what, script, args,
	                    bytes, LINE_MAX_BYTES, NULL, err);
}

/*
 * Space.
 */

static int
space_here(const char *dir, uint64_t *ret_bytes, struct fb_error *err)
{
	struct statvfs fs;

	if (statvfs(dir, &fs) == -1)
		return fb_fail_sys(err, "cannot look at '%s'", dir);
	*ret_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return FB_OK;
}

int
fb_libvirt_file_space(const struct fb_libvirt_driver *driver, const char *dir,
    uint64_t *ret_bytes, struct fb_error *err)
{
	static const char script[] =
	    "[ -d \"$1\" ] || exit 44\n"
	    "df -Pk -- \"$1\" | { read -r line && read -r device size used "
	    "free rest && echo \"$free\"; }\n";
	FB_AUTO_FREE char *what = fb_format("look at '%s'", dir);
	const char *const args[] = { dir, NULL };
	FB_AUTO_BUF struct fb_buf line = { 0 };
	uint64_t kib;
	int rc;

	if (driver->local)
		return space_here(dir, ret_bytes, err);
	rc = reach(driver, dir, err);
	if (rc == FB_OK)
		rc = fb_libvirt_far_run(driver->far, what, script, args,
		    nothing, LINE_MAX_BYTES, &line, err);
	if (rc < 0)
		return rc;
	if (line.len > 0 && line.data[line.len - 1] == '\n')
		line.len--;
	rc = fb_text_u64(fb_buf_span(&line), UINT64_MAX >> 10, &kib, err);
	if (rc == FB_OK)
		*ret_bytes = kib << 10;
	return rc;
}
