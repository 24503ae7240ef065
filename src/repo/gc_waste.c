/* What packs hold beside what is still needed: they go whole, or stay. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"

#include "gc_impl.h"

/* So many are got from far away for a figure that nobody insists on. */
#define FAR_MAX 1000

/* ... and so many are asked for ahead. */
#define AHEAD_MAX 100000

/* So many stretches are collected before they are joined. */
#define JOIN_AT (1u << 20)

struct stretch {
	uint32_t pack, from, end; /* pack: its number in `packs` */
};

struct wasting {
	struct fb_id_list packs; /* of the kept runs */
	uint32_t *sizes;         /* what each of them stores */
	struct stretch *items;
	size_t count, cap, joined;
};

static int
compare(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;

	if (x->pack != y->pack)
		return x->pack < y->pack ? -1 : 1;
	return x->from < y->from ? -1 : x->from > y->from;
}

static void
join(struct wasting *w)
{
	size_t kept = 0;

	if (w->count == 0)
		return;
	qsort(w->items, w->count, sizeof(*w->items), compare);
	for (size_t i = 1; i < w->count; i++) {
		struct stretch *last = &w->items[kept];

		if (w->items[i].pack != last->pack ||
		    w->items[i].from > last->end)
			w->items[++kept] = w->items[i];
		else if (w->items[i].end > last->end)
			last->end = w->items[i].end;
	}
	w->count = w->joined = kept + 1;
}

static void
add_stretch(struct wasting *w, uint32_t pack, uint32_t from, uint32_t len)
{
	if (w->count == w->cap) {
		if (w->count - w->joined >= JOIN_AT)
			join(w);
		if (2 * w->count >= w->cap) {
			w->cap = 2 * w->cap + 1024;
			w->items = fb_realloc(
			    w->items, w->cap, sizeof(*w->items));
		}
	}
	w->items[w->count++] = (struct stretch){ pack, from, from + len };
}

static uint32_t
number_of(const struct wasting *w, const struct fb_digest *id)
{
	size_t low = 0, high = w->packs.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = fb_digest_cmp(&w->packs.ids[middle], id);

		if (order == 0)
			return (uint32_t)middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return UINT32_MAX;
}

/* The lines of one recipe; its packs become numbers of ours. */
static int
add_lines(struct wasting *w, struct fb_span text, struct fb_error *err)
{
	struct fb_recipe_decoder decoder = { 0 };
	FB_AUTO_FREE uint32_t *numbers = NULL;
	size_t count = 0;

	while (text.len > 0) {
		const uint8_t *end = memchr(text.ptr, '\n', text.len);
		size_t len = end != NULL ? (size_t)(end - text.ptr) : text.len;
		enum fb_recipe_step step;
		int rc = fb_recipe_decode_line(&decoder,
		    (struct fb_span){ text.ptr, len }, &step, err);

		if (rc < 0)
			return rc;
		if (step == FB_RECIPE_PACK) {
			numbers = fb_realloc(
			    numbers, count + 1, sizeof(*numbers));
			numbers[count] = number_of(w, &decoder.pack.id);
			if (numbers[count] != UINT32_MAX)
				w->sizes[numbers[count]] =
				    decoder.pack.table_offset;
			count++;
		} else if (step == FB_RECIPE_RUN &&
		    decoder.run.pack < count &&
		    numbers[decoder.run.pack] != UINT32_MAX) {
			add_stretch(w, numbers[decoder.run.pack],
			    decoder.run.pack_offset, decoder.run.pack_length);
		}
		if (end == NULL)
			break;
		text.ptr += len + 1;
		text.len -= len + 1;
	}
	return FB_OK;
}

static int
get_recipe(struct fb_repo *repo, const struct fb_digest *id,
    struct fb_buf *text, struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_digest digest;
	int rc;

	fb_recipe_key(id, key);
	rc = fb_repo_get(repo, key, FB_GC_RECIPE_MAX, text, err);
	if (rc < 0)
		return rc;
	fb_digest_of(fb_buf_span(text), &digest);
	return fb_digest_cmp(&digest, id) == 0
	    ? FB_OK
	    : fb_fail(
	          err, FB_ECORRUPT, "'%s' is not what its name says", key);
}

static int
add_recipe(struct fb_repo *repo, struct fb_gc_recipes *kept,
    struct wasting *w, const struct fb_digest *id, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_span span;
	int rc = FB_OK;

	if (!fb_gc_recipes_find(kept, id, &span)) {
		rc = get_recipe(repo, id, &text, err);
		span = fb_buf_span(&text);
	}
	if (rc < 0)
		return rc;
	fb_gc_recipes_keep(kept, span);
	return add_lines(w, span, err);
}

static int
add_recipes(struct fb_repo *repo, struct fb_gc_marks *marks,
    struct fb_gc_recipes *kept, struct wasting *w, struct fb_error *err)
{
	struct fb_digest id;
	bool more = true;
	int rc = FB_OK;

	while (rc == FB_OK && (rc = fb_gc_next_mark(&marks->packs, &id,
	           &more, err)) == FB_OK && more)
		fb_id_list_add(&w->packs, &id);
	w->sizes = fb_alloc(w->packs.count + 1, sizeof(*w->sizes));
	more = true;
	while (rc == FB_OK && (rc = fb_gc_next_mark(&marks->recipes, &id,
	           &more, err)) == FB_OK && more)
		rc = add_recipe(repo, kept, w, &id, err);
	join(w);
	return rc;
}

/* Those that are not here yet. */
struct missing {
	char **keys;
	size_t cap, max;
	size_t count; /* beyond `max` they are counted only */
};

static void
release_missing(struct missing *missing)
{
	for (size_t i = 0; i < missing->count && i < missing->max; i++)
		free(missing->keys[i]);
	free(missing->keys);
}

static void
add_missing(struct missing *missing, const struct fb_digest *id)
{
	char key[FB_OBJECT_KEY_SIZE];

	if (missing->count >= missing->max) {
		missing->count++;
		return;
	}
	if (missing->count == missing->cap) {
		missing->cap = 2 * missing->cap + 64;
		missing->keys = fb_realloc(
		    missing->keys, missing->cap, sizeof(*missing->keys));
	}
	fb_recipe_key(id, key);
	missing->keys[missing->count++] = fb_strdup(key);
}

static int
find_missing(struct fb_gc_marks *marks, struct fb_gc_recipes *kept,
    struct missing *missing, struct fb_error *err)
{
	struct fb_digest id;
	struct fb_span text;
	bool more = true;
	int rc = fb_gc_marks_begin(marks, err);

	while (rc == FB_OK && (rc = fb_gc_next_mark(&marks->recipes, &id,
	           &more, err)) == FB_OK && more)
		if (!fb_gc_recipes_find(kept, &id, &text))
			add_missing(missing, &id);
	fb_gc_recipes_rewind(kept);
	return rc < 0 ? rc : fb_gc_marks_begin(marks, err);
}

int
fb_gc_weigh_waste(struct fb_repo *repo, struct fb_gc_marks *marks,
    const struct fb_gc_question *question, struct fb_gc_estimate *estimate,
    struct fb_error *err)
{
	bool far = fb_store_is_far(repo->store);
	/* What is beyond the maximum is got one after the other. */
	FB_CLEANUP(release_missing)
	struct missing missing = { .max = question->waste_whatever ? AHEAD_MAX
		                                                   : FAR_MAX };
	struct fb_gc_recipes kept;
	struct wasting w = { 0 };
	int rc;

	fb_gc_recipes_open(&kept, far ? question->dir : NULL,
	    repo->format.repository);
	rc = far ? find_missing(marks, &kept, &missing, err)
	         : fb_gc_marks_begin(marks, err);
	if (rc < 0 || (!question->waste_whatever && missing.count > FAR_MAX)) {
		estimate->unread = rc == FB_OK ? missing.count : 0;
		fb_gc_recipes_close(&kept, false);
		return rc;
	}
	if (missing.count > 0)
		fb_gc_recipes_begin(&kept);
	fb_repo_read_ahead(repo, missing.keys,
	    missing.count < missing.max ? missing.count : missing.max);
	rc = add_recipes(repo, marks, &kept, &w, err);
	fb_repo_read_ahead_end(repo);
	for (size_t i = 0; rc == FB_OK && i < w.packs.count; i++)
		estimate->waste += w.sizes[i];
	for (size_t i = 0; rc == FB_OK && i < w.count; i++)
		estimate->waste -= w.items[i].end - w.items[i].from;
	estimate->weighed = rc == FB_OK;
	fb_gc_recipes_close(&kept, rc == FB_OK);
	free(w.sizes);
	free(w.items);
	fb_id_list_release(&w.packs);
	return rc;
}
