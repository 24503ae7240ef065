/* Where the holes of a file are, told to an archive. */
#include <unistd.h>

#include "tree_internal.h"

/* A hole of less is stored as zeros; it doubles with every so many found, so
 * that a map stays small whatever the file. */
#define HOLE_MIN  4096u
#define HOLE_STEP 4096u

void
fb_tree_map_holes(struct archive_entry *entry, int fd, uint64_t size)
{
	uint64_t data = 0, end = 0, count = 0, hole_min = HOLE_MIN;
	off_t hole = size > 0 ? lseek(fd, 0, SEEK_HOLE) : -1;
	off_t next;

	if (hole < 0 || (uint64_t)hole >= size)
		return;
	for (;;) {
		/* [data, end) is the data found so far, perhaps empty. */
		next = lseek(fd, (off_t)end, SEEK_DATA);
		if (next < 0 || (uint64_t)next >= size)
			break;
		if ((uint64_t)next - end >= hole_min) {
			if (end > data)
				archive_entry_sparse_add_entry(entry,
				    (int64_t)data, (int64_t)(end - data));
			count += end > data;
			hole_min = HOLE_MIN << (count / HOLE_STEP < 40
			    ? count / HOLE_STEP : 40);
			data = (uint64_t)next;
		}
		hole = lseek(fd, next, SEEK_HOLE);
		end = hole < 0 || (uint64_t)hole > size ? size
		                                        : (uint64_t)hole;
		if (end == size)
			break;
	}
	if (end > data)
		archive_entry_sparse_add_entry(
		    entry, (int64_t)data, (int64_t)(end - data));
	else if (count == 0)
		archive_entry_sparse_add_entry(entry, 0, 0);
}
