/*
 * The catalogue of a tree: one text line per archive member, in archive
 * order, so that paths can be shown and single ones restored without reading
 * the volume.
 *
 *	<type> <mode> <uid> <gid> <size> <mtime> <ctime> <dev> <ino>
 *	<offset> <length> <path> [<link target>]
 *
 * one line, single spaces; mode octal; times seconds.nanoseconds; offset and
 * length in bytes of the member's headers and data in the archive; path and
 * target percent-escaped.  The first line is "fleetbak-catalogue 1".
 * Spec: fleetbak-format(5), "Catalogue".
 */
#ifndef FB_FORMAT_CATALOGUE_H
#define FB_FORMAT_CATALOGUE_H

#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

#define FB_CATALOGUE_HEAD "fleetbak-catalogue 1\n"

/* Longest line, with its newline: two paths of 4096 bytes, escaped. */
#define FB_CATALOGUE_LINE_MAX 32768

enum fb_entry_type {
	FB_ENTRY_FILE = 'f',
	FB_ENTRY_DIR = 'd',
	FB_ENTRY_SYMLINK = 'l',
	FB_ENTRY_HARDLINK = 'h', /* target: path of an earlier member */
	FB_ENTRY_CHAR = 'c',
	FB_ENTRY_BLOCK = 'b',
	FB_ENTRY_FIFO = 'p',
	FB_ENTRY_SOCKET = 's', /* listed, not archived */
};

struct fb_entry {
	enum fb_entry_type type;
	uint32_t mode; /* permission bits, 07777 */
	uint32_t uid, gid;
	uint64_t size;
	int64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
	uint64_t dev, ino;
	uint64_t offset, length;
	struct fb_span path;   /* relative, raw bytes */
	struct fb_span target; /* of links; else empty */
};

void fb_catalogue_add(struct fb_buf *dst, const struct fb_entry *entry);

/*
 * Decode one line without its newline; path and target are unescaped into
 * `scratch` and borrowed from it.  Errors: FB_ECORRUPT.
 */
FB_MUST_USE int fb_catalogue_decode(struct fb_span line,
    struct fb_buf *scratch, struct fb_entry *ret_entry, struct fb_error *err);

#endif
