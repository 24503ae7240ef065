/* The machines of a restore by name, however many they are. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "restore_parts.h"

static int
compare_machines(const void *a, const void *b)
{
	const struct fb_rst_machine *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

void
fb_rst_index_make(const struct fb_restore *r, struct fb_rst_index *index)
{
	index->sorted = fb_alloc(r->count + 1, sizeof(*index->sorted));
	index->count = r->count;
	for (size_t i = 0; i < r->count; i++)
		index->sorted[i] = &r->machines[i];
	if (r->count > 1)
		qsort(index->sorted, r->count, sizeof(*index->sorted),
		    compare_machines);
}

void
fb_rst_index_release(struct fb_rst_index *index)
{
	free(index->sorted);
	*index = (struct fb_rst_index){ 0 };
}

struct fb_rst_machine *
fb_rst_index_find(const struct fb_rst_index *index, const char *key)
{
	size_t low = 0, high = index->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(index->sorted[middle]->key, key);

		if (order == 0)
			return index->sorted[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
