/*
 * The files of the chunk index: segments that are joined as they become many,
 * so that an entry is written again a few times only however many there are,
 * and few files have to be asked.
 *
 * Threads: many may search while nobody adds.
 */
#ifndef REPO_INDEX_FILES_H
#define REPO_INDEX_FILES_H

#include "segment.h"

struct fb_index_files {
	char *dir;            /* NULL: none can be made */
	struct fb_segment **items;
	size_t count;
	uint64_t next;        /* number of the next file */
	uint64_t listed;      /* files below this number are not removed */
	size_t filter_max;    /* bytes of all filters in memory */
	bool sync;            /* they are to survive power loss */
	bool broken;          /* one could not be made: there are no more */
};

/* The path of a file; the caller frees. */
char *fb_index_files_path(const struct fb_index_files *files, uint64_t number);

/* Open file `number` and add it. */
FB_MUST_USE int fb_index_files_add(
    struct fb_index_files *files, uint64_t number, struct fb_error *err);

/* Join some of those from `from` on, when they are many. */
FB_MUST_USE int fb_index_files_settle(
    struct fb_index_files *files, size_t from, struct fb_error *err);

/* Those from `from` on are of no use. */
void fb_index_files_drop(struct fb_index_files *files, size_t from);
void fb_index_files_close(struct fb_index_files *files);

/*
 * What a directory of files that outlive a run holds: a small document that is
 * replaced whole.  Files that it does not name are leftovers.
 */
#define FB_INDEX_LIST_MAX (64u << 20)
struct fb_index_list {
	char repository[33];
	struct fb_digest trust; /* of the keys whose seals were believed */
	struct fb_index_listed {
		uint64_t number;
		struct fb_digest digest;
	} *files;
	size_t file_count;
	struct fb_run_ids sessions; /* whose hints are in the files */
	uint64_t *entries;          /* of each session */
};
void fb_index_list_encode(
    const struct fb_index_list *list, struct fb_buf *dst);
/* Errors: FB_ECORRUPT. */
FB_MUST_USE int fb_index_list_decode(struct fb_span text,
    struct fb_index_list *ret_list, struct fb_error *err);
void fb_index_list_release(struct fb_index_list *list);
/* Add a session, or nothing when it is there. */
void fb_index_list_add(
    struct fb_index_list *list, const char *session, uint64_t entries);

/* Open what `files->dir` holds for this repository and these keys; anything
 * that does not fit is as good as nothing.  Sets the list either way. */
void fb_index_files_load(struct fb_index_files *files,
    const struct fb_repo *repo, struct fb_index_list *list);
/* Make the files and the list what the next one loads. */
FB_MUST_USE int fb_index_files_save(struct fb_index_files *files,
    struct fb_index_list *list, struct fb_error *err);

#endif
