/* One regular file of an archive: written, or compared with what is there. */
#ifndef FB_DRIVER_TREE_FILE_H
#define FB_DRIVER_TREE_FILE_H

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_error;
struct fb_tree_links;

struct fb_tree_file {
	struct archive *archive; /* stands at the file's content */
	struct archive_entry *entry;
	int dirfd;
	const char *name; /* in dirfd */
	const char *path; /* for messages */
	bool compare; /* a file that is there is written only if it differs,
	               * and then replaced at once */
	struct fb_tree_links *kept; /* with compare: the files of several
	                             * names that were left as they are */
	uint64_t written_bytes, unchanged_bytes; /* added to */
	int fd; /* set to the file as it is now, for its metadata: the caller's
	         * to close; -1 after a failure */
	bool archive_failed; /* why FB_ECORRUPT: libarchive knows */
};

/* FB_EEXISTS, and nothing read: something is there that is no file, or,
 * without `compare`, anything. */
FB_MUST_USE int fb_tree_file_write(
    struct fb_tree_file *file, struct fb_error *err);

#endif
