/* The machines of a restore by name, however many they are. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "restore_parts.h"

static int
compare_keys(const void *a, const void *b)
{
	const struct fb_rst_machine *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

static int
compare_origins(const void *a, const void *b)
{
	const struct fb_rst_machine *const *x = a, *const *y = b;

	return strcmp((*x)->origin, (*y)->origin);
}

void
fb_rst_index_make(
    const struct fb_restore *r, bool origins, struct fb_rst_index *index)
{
	index->origins = origins;
	index->sorted = fb_alloc(r->count + 1, sizeof(*index->sorted));
	index->count = r->count;
	for (size_t i = 0; i < r->count; i++)
		index->sorted[i] = &r->machines[i];
	if (r->count > 1)
		qsort(index->sorted, r->count, sizeof(*index->sorted),
		    origins ? compare_origins : compare_keys);
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
		struct fb_rst_machine *found = index->sorted[middle];
		int order =
		    strcmp(index->origins ? found->origin : found->key, key);

		if (order == 0)
			return found;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

int
fb_rst_check_twice(const struct fb_restore *r, struct fb_error *err)
{
	struct fb_rst_index index;
	int rc = FB_OK;

	fb_rst_index_make(r, true, &index);
	for (size_t i = 1; i < index.count && rc >= 0; i++)
		if (strcmp(index.sorted[i - 1]->origin,
		        index.sorted[i]->origin) == 0)
			rc = fb_fail(err, FB_ECONFIG,
			    "machine '%s' is named twice",
			    index.sorted[i]->origin);
	fb_rst_index_release(&index);
	return rc;
}

void
fb_rst_fill_fleet(struct fb_fleet *fleet, const struct fb_restore *restore)
{
	for (size_t i = 0; i < restore->count; i++) {
		const struct fb_manifest_machine *record =
		    &restore->machines[i].record;
		struct fb_machine *m = fb_fleet_add(fleet);

		m->source = fb_rst_copy_str(record->source);
		m->driver = fb_rst_copy_str(record->driver);
		m->id = fb_rst_copy_str(record->id);
		m->name = fb_strdup(record->name ? record->name : record->id);
		m->role = fb_strdup(record->role ? record->role : "");
		m->parent = fb_rst_copy_str(record->parent);
		m->labels.items = fb_alloc(
		    record->labels.count + 1, sizeof(*m->labels.items));
		m->labels.count = record->labels.count;
		for (size_t k = 0; k < record->labels.count; k++) {
			m->labels.items[k].key =
			    fb_rst_copy_str(record->labels.items[k].key);
			m->labels.items[k].value =
			    fb_rst_copy_str(record->labels.items[k].value);
		}
	}
}
