/*
 * Labels: texts by name, sorted.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"

#include "schema.h"

static int
compare_labels(const void *a, const void *b)
{
	const struct fb_label *left = a;
	const struct fb_label *right = b;

	return strcmp(left->key, right->key);
}

void
fb_labels_fill(struct fb_labels *labels, const json_t *object)
{
	const char *key;
	json_t *value;

	labels->items =
	    fb_alloc(json_object_size(object) + 1, sizeof(*labels->items));
	/* jansson's iterator takes no const; it changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		struct fb_label *label = &labels->items[labels->count++];

		label->key = fb_strdup(key);
		label->value = fb_strdup(json_string_value(value));
	}
	if (labels->count > 1)
		qsort(labels->items, labels->count, sizeof(*labels->items),
		    compare_labels);
}

void
fb_labels_release(struct fb_labels *labels)
{
	for (size_t i = 0; i < labels->count; i++) {
		fb_freep(&labels->items[i].key);
		fb_freep(&labels->items[i].value);
	}
	fb_freep(&labels->items);
	labels->count = 0;
}

const char *
fb_labels_get(const struct fb_labels *labels, const char *key)
{
	for (size_t i = 0; i < labels->count; i++)
		if (strcmp(labels->items[i].key, key) == 0)
			return labels->items[i].value;
	return NULL;
}
