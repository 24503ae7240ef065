/*
 * Files: whole reads, whole writes, and durable replacement.
 *
 * Every system call that changes a disk goes through this module and no
 * other.  That gives one place to handle EINTR and short transfers, and one
 * place where tests stop the process between two writes (see seam.h).
 *
 * Threads: any, on different files.
 */
#ifndef FB_BASE_IO_H
#define FB_BASE_IO_H

#include <dirent.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fleetbak/base/buf.h"

struct fb_error;

/* Open with O_CLOEXEC; returns a descriptor >= 0, or a negative fb_code. */
FB_MUST_USE int fb_io_open(
    const char *path, int flags, mode_t mode, struct fb_error *err);

/* openat(2) with O_CLOEXEC, tried again when a signal interrupts it; -1 with
 * errno.  `what` says which file it is. */
FB_MUST_USE int fb_io_openat(
    int dirfd, const char *name, int flags, mode_t mode, const char *what);

/* lstat(2); FB_ENOTFOUND when there is nothing of that name, and another
 * error when that cannot be told. */
FB_MUST_USE int fb_io_look(
    const char *path, struct stat *ret_st, struct fb_error *err);

/*
 * The names in a directory but for "." and "..", sorted bytewise, and a NULL;
 * FB_ENOTFOUND when there is no such directory.
 *
 * Owner: the caller (FB_AUTO_LISTING).
 */
FB_MUST_USE int fb_io_list(
    const char *path, char ***ret_names, struct fb_error *err);
void fb_io_listing_freep(char ***names);
#define FB_AUTO_LISTING FB_CLEANUP(fb_io_listing_freep)

/* readdir(3), the end of which (NULL) leaves 0 in errno and an error does
 * not. */
struct dirent *fb_io_readdir(DIR *dir, const char *what);

/* Append to `dst` everything up to the end of the file, at most `max` bytes
 * (FB_ECORRUPT beyond that: the file is not what its name promises). */
FB_MUST_USE int fb_io_read_all(int fd, const char *path, size_t max,
    struct fb_buf *dst, struct fb_error *err);

/* Open `path`, read all of it (at most `max` bytes), close it. */
FB_MUST_USE int fb_io_read_file(
    const char *path, size_t max, struct fb_buf *dst, struct fb_error *err);

/* Read up to `len` bytes at `offset`; fewer only at the end of the file. */
FB_MUST_USE int fb_io_pread(int fd, const char *path, void *bytes, size_t len,
    uint64_t offset, size_t *ret_len, struct fb_error *err);

/* Write all the bytes or fail; a failure may leave a prefix behind. */
FB_MUST_USE int fb_io_write_all(
    int fd, const char *path, struct fb_span bytes, struct fb_error *err);
FB_MUST_USE int fb_io_pwrite_all(int fd, const char *path,
    struct fb_span bytes, uint64_t offset, struct fb_error *err);

/* Make the file's bytes survive power loss. */
FB_MUST_USE int fb_io_sync(int fd, const char *path, struct fb_error *err);

/* Make everything on the file system of `fd` survive power loss. */
FB_MUST_USE int fb_io_sync_all(int fd, const char *path, struct fb_error *err);

/* Make the directory entry of `path` survive power loss. */
FB_MUST_USE int fb_io_sync_parent(const char *path, struct fb_error *err);

/* Cut or extend the file to `size` bytes. */
FB_MUST_USE int fb_io_truncate(
    int fd, const char *path, off_t size, struct fb_error *err);

/* Make a directory and its missing parents, durably; FB_OK if it is there,
 * and then it is durable too: its maker may have died before. */
FB_MUST_USE int fb_io_mkdirs(
    const char *path, mode_t mode, struct fb_error *err);

/* The same, but durable only after fb_io_sync_all() on that file system. */
FB_MUST_USE int fb_io_mkdirs_later(
    const char *path, mode_t mode, struct fb_error *err);

/* Remove a file; FB_OK also when there is none. */
FB_MUST_USE int fb_io_unlink(const char *path, struct fb_error *err);

/* Rename, durably (the directories of both are synced); an existing `to` is
 * replaced, or, with `fresh`, FB_EEXISTS. */
FB_MUST_USE int fb_io_rename(
    const char *from, const char *to, bool fresh, struct fb_error *err);

/* Remove a directory and what is in it, not following symbolic links, not
 * crossing mounts; FB_OK also when there is none. */
FB_MUST_USE int fb_io_remove_tree(const char *path, struct fb_error *err);

/*
 * Replace `path` by `bytes`, durably and at once.
 *
 * Writes a temporary name in the same directory, syncs it, renames it over
 * `path` and syncs the directory.  Whenever the process dies, `path` holds
 * either its former content or all of the new; after FB_OK it holds the new
 * even across power loss.  A failure removes the temporary name.
 */
FB_MUST_USE int fb_io_replace(
    const char *path, struct fb_span bytes, mode_t mode, struct fb_error *err);

/* The same by what the file `from` holds, a piece at a time.  FB_ENOTFOUND:
 * there is none.  FB_ECORRUPT: it has more than `max` bytes. */
FB_MUST_USE int fb_io_replace_by(const char *path, const char *from,
    uint64_t max, mode_t mode, struct fb_error *err);

#endif
