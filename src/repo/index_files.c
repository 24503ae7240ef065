#include "index_files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

/* More are not asked for one chunk. */
#define FILES_MANY 10

char *
fb_index_files_path(const struct fb_index_files *files, uint64_t number)
{
	return fb_format("%s/index.%08" PRIu64, files->dir, number);
}

static size_t
filters(const struct fb_index_files *files)
{
	size_t size = 0;

	for (size_t i = 0; i < files->count; i++)
		size += fb_segment_filter_size(files->items[i]);
	return size;
}

int
fb_index_files_add(
    struct fb_index_files *files, uint64_t number, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_index_files_path(files, number);
	size_t used = filters(files);
	struct fb_segment *segment;
	int rc = fb_segment_open(path,
	    used < files->filter_max ? files->filter_max - used : 0, &segment,
	    err);

	if (rc < 0)
		return rc;
	files->items = fb_realloc(
	    files->items, files->count + 1, sizeof(struct fb_segment *));
	files->items[files->count++] = segment;
	if (files->next <= number)
		files->next = number + 1;
	return FB_OK;
}

static uint64_t
number_of(const struct fb_segment *segment)
{
	return strtoull(strrchr(fb_segment_path(segment), '.') + 1, NULL, 10);
}

void
fb_index_files_drop(struct fb_index_files *files, size_t from)
{
	struct fb_error ignored = { 0 };

	while (files->count > from) {
		struct fb_segment *segment = files->items[--files->count];

		/* A list may still name the others. */
		if (number_of(segment) >= files->listed)
			(void)!fb_io_unlink(
			    fb_segment_path(segment), &ignored);
		fb_segment_close(segment);
	}
}

void
fb_index_files_close(struct fb_index_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		fb_segment_close(files->items[i]);
	free(files->items);
	free(files->dir);
	*files = (struct fb_index_files){ 0 };
}

/* From here on they are to be joined: each is no larger than all behind it
 * together, so that whoever is written again is in a file of twice the size
 * afterwards; and the last two in any case. */
static size_t
choose(const struct fb_index_files *files, size_t from)
{
	size_t i = files->count - 1;
	uint64_t sum = fb_segment_count(files->items[i]);

	while (i > from) {
		uint64_t count = fb_segment_count(files->items[i - 1]);

		if (count > sum && i + 1 < files->count)
			break;
		sum += count;
		i--;
	}
	return i;
}

int
fb_index_files_settle(
    struct fb_index_files *files, size_t from, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	uint64_t number = files->next;
	size_t first;
	int rc;

	if (files->count < from + FILES_MANY)
		return FB_OK;
	first = choose(files, from);
	path = fb_index_files_path(files, number);
	for (size_t i = first; i < files->count; i++)
		fb_segment_drop_filter(files->items[i]);
	rc = fb_segment_merge(files->items + first, files->count - first,
	    path, files->sync, err);
	if (rc < 0)
		return rc;
	files->next = number + 1;
	fb_index_files_drop(files, first);
	return fb_index_files_add(files, number, err);
}
