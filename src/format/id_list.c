/* Sorted lists of object ids, and of run and session ids. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/format/register.h"

/* Index of the first id that is not below `id`. */
static size_t
lower_bound(const struct fb_id_list *list, const struct fb_digest *id)
{
	size_t low = 0, high = list->count;

	/* Ids usually arrive in order. */
	if (high > 0 && fb_digest_cmp(&list->ids[high - 1], id) < 0)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (fb_digest_cmp(&list->ids[middle], id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
fb_id_list_has(const struct fb_id_list *list, const struct fb_digest *id)
{
	size_t at = lower_bound(list, id);

	return at < list->count && fb_digest_cmp(&list->ids[at], id) == 0;
}

void
fb_id_list_add(struct fb_id_list *list, const struct fb_digest *id)
{
	size_t at = lower_bound(list, id);

	if (at < list->count && fb_digest_cmp(&list->ids[at], id) == 0)
		return;
	list->ids =
	    fb_realloc(list->ids, list->count + 1, sizeof(*list->ids));
	memmove(&list->ids[at + 1], &list->ids[at],
	    (list->count - at) * sizeof(*list->ids));
	list->ids[at] = *id;
	list->count++;
}

void
fb_id_list_release(struct fb_id_list *list)
{
	fb_freep(&list->ids);
	list->ids = NULL;
	list->count = 0;
}

static size_t
place_of(const struct fb_run_ids *list, const char *id)
{
	size_t low = 0, high = list->count;

	if (high > 0 && strcmp(list->ids[high - 1], id) < 0)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(list->ids[middle], id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
fb_run_ids_have(const struct fb_run_ids *list, const char *id)
{
	size_t at = place_of(list, id);

	return at < list->count && strcmp(list->ids[at], id) == 0;
}

void
fb_run_ids_add(struct fb_run_ids *list, const char *id)
{
	size_t at = place_of(list, id);

	if (at < list->count && strcmp(list->ids[at], id) == 0)
		return;
	list->ids =
	    fb_realloc(list->ids, list->count + 1, sizeof(*list->ids));
	memmove(&list->ids[at + 1], &list->ids[at],
	    (list->count - at) * sizeof(*list->ids));
	memcpy(list->ids[at], id, sizeof(*list->ids));
	list->count++;
}

void
fb_run_ids_release(struct fb_run_ids *list)
{
	fb_freep(&list->ids);
	list->count = 0;
}

static int
compare(const void *a, const void *b)
{
	return fb_digest_cmp(a, b);
}

void
fb_id_list_settle(struct fb_id_list *list)
{
	size_t kept = 0;

	if (list->count == 0)
		return;
	qsort(list->ids, list->count, sizeof(*list->ids), compare);
	for (size_t i = 1; i < list->count; i++)
		if (fb_digest_cmp(&list->ids[kept], &list->ids[i]) != 0)
			list->ids[++kept] = list->ids[i];
	list->count = kept + 1;
}
