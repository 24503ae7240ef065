/*
 * Segments of the chunk index: immutable files of index entries, sorted by
 * prefix, with the packs that they name.
 *
 *	magic, counts             64 bytes
 *	packs                     72 bytes each: id, table's place and digest
 *	fences                     8 bytes each: where the entries of each
 *	                          share of all prefixes begin
 *	filter                    64 bytes a block: what cannot be there
 *	digest                    32 bytes, of all of the above
 *	entries                   16 bytes each: prefix, pack, chunk
 *
 * What is held in memory of one are its fences and its filter, both bounded
 * however many entries there are; making and merging them takes a few small
 * buffers.  All of it is a hint: the digest keeps the tables' digests from
 * changing unseen, an entry that lies is found out by its pack's table.
 *
 * Threads: one segment may be searched by many.
 */
#ifndef REPO_SEGMENT_H
#define REPO_SEGMENT_H

#include "index.h"
#include "packer.h"

struct fb_segment;
struct fb_segment_writer;

/* At most so large; with more entries it lets more through. */
#define FB_SEGMENT_FILTER_MAX ((size_t)80 << 20)

/* Write to `path`, which is made or replaced: first all packs, which get the
 * numbers 0, 1, ..., then at most `most` entries, prefixes ascending; one
 * that was there already is left out. */
FB_MUST_USE int fb_segment_begin(const char *path, uint64_t most,
    struct fb_segment_writer **ret_writer, struct fb_error *err);
FB_MUST_USE int fb_segment_add_pack(struct fb_segment_writer *writer,
    const struct fb_hint_pack *pack, struct fb_error *err);
FB_MUST_USE int fb_segment_add(struct fb_segment_writer *writer,
    const struct fb_index_entry *entry, struct fb_error *err);
/* `sync`: it survives power loss, but for its name.  Frees the writer; after
 * a failure the file is gone. */
FB_MUST_USE int fb_segment_end(
    struct fb_segment_writer *writer, bool sync, struct fb_error *err);
void fb_segment_abandon(struct fb_segment_writer *writer);

/* A filter that is larger than `filter_max` is left on the disk.
 * Errors: FB_ECORRUPT, FB_ENOTFOUND. */
FB_MUST_USE int fb_segment_open(const char *path, size_t filter_max,
    struct fb_segment **ret_segment, struct fb_error *err);
void fb_segment_close(struct fb_segment *segment);

const char *fb_segment_path(const struct fb_segment *segment);
const struct fb_digest *fb_segment_digest(const struct fb_segment *segment);
uint64_t fb_segment_count(const struct fb_segment *segment);
size_t fb_segment_filter_size(const struct fb_segment *segment);
void fb_segment_drop_filter(struct fb_segment *segment);

/* The entry of that prefix, its pack as numbered in the segment. */
FB_MUST_USE int fb_segment_find(const struct fb_segment *segment,
    uint64_t prefix, struct fb_index_entry *ret_entry, bool *ret_found,
    struct fb_error *err);
FB_MUST_USE int fb_segment_pack(const struct fb_segment *segment,
    uint32_t number, struct fb_hint_pack *ret_pack, struct fb_error *err);

/* One segment of all of them, at `path`; of a prefix that several have, the
 * later source's entry stays. */
FB_MUST_USE int fb_segment_merge(struct fb_segment *const *sources,
    size_t count, const char *path, bool sync, struct fb_error *err);

#endif
