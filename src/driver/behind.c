#include "behind.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* At a time, so that it is few calls; a smaller file is not worth one. */
#define STEP (UINT64_C(8) << 20)

/* A large folio that is read up to its middle would stay. */
#define FOLIO_MAX (UINT64_C(2) << 20)

/* Pages that are looked at, and those of them that may be in the cache: a
 * look at the file's head and tail is not yet work with it. */
#define SAMPLES 64
#define IN_USE  4

/* Where the kernel does not tell, it says that all is in the cache. */
static bool
is_in_use(int fd, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned char there = 0;
	unsigned found = 0;
	uint8_t *map =
	    mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return true;
	for (unsigned i = 0; i < SAMPLES; i++)
		if (mincore(map + size / SAMPLES * i / page * page,
		        (size_t)page, &there) == -1 ||
		    (there & 1) != 0)
			found++;
	(void)munmap(map, (size_t)size);
	return found > IN_USE;
}

static void
drop(struct fb_behind *behind, uint64_t to)
{
	if (to > behind->from)
		(void)posix_fadvise(behind->fd, (off_t)behind->from,
		    (off_t)(to - behind->from), POSIX_FADV_DONTNEED);
	behind->from = to;
}

void
fb_behind_begin(struct fb_behind *behind, int fd, uint64_t size)
{
	*behind = (struct fb_behind){ .fd = fd };
	behind->drops =
	    size >= STEP && size <= SIZE_MAX / 2 && !is_in_use(fd, size);
}

void
fb_behind_note(struct fb_behind *behind, uint64_t offset, size_t len)
{
	if (!behind->drops)
		return;
	if (offset < behind->from || behind->to == behind->from)
		behind->from = offset / FOLIO_MAX * FOLIO_MAX;
	behind->to = offset + len;
	if (behind->to - behind->from >= STEP)
		drop(behind, behind->to / FOLIO_MAX * FOLIO_MAX);
}

void
fb_behind_end(struct fb_behind *behind)
{
	if (behind->drops)
		drop(behind, behind->to);
}
