/* Ids that runs need, sorted on disk. */
#include <string.h>

#include "fleetbak/base/err.h"

#include "gc_impl.h"

static int
compare(struct fb_span a, struct fb_span b, void *arg)
{
	(void)arg;
	return memcmp(a.ptr, b.ptr, FB_DIGEST_LEN);
}

void
fb_gc_marks_make(struct fb_gc_marks *marks, const char *dir)
{
	*marks = (struct fb_gc_marks){
		.packs.rows = fb_rows_new(dir, 0, compare, NULL),
		.recipes.rows = fb_rows_new(dir, 0, compare, NULL),
	};
}

void
fb_gc_marks_release(struct fb_gc_marks *marks)
{
	fb_rows_free(marks->packs.rows);
	fb_rows_free(marks->recipes.rows);
	*marks = (struct fb_gc_marks){ 0 };
}

int
fb_gc_marks_add(struct fb_gc_mark_list *list, const struct fb_id_list *ids,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < ids->count; i++)
		rc = fb_rows_add(list->rows,
		    (struct fb_span){ ids->ids[i].bytes, FB_DIGEST_LEN }, err);
	return rc;
}

/* To the first that is not the head. */
static int
pass(struct fb_gc_mark_list *list, bool first, struct fb_error *err)
{
	struct fb_span row;
	int rc;

	do
		rc = fb_rows_next(list->rows, &row, &list->more, err);
	while (rc == FB_OK && list->more && !first &&
	    memcmp(row.ptr, list->head.bytes, FB_DIGEST_LEN) == 0);
	if (rc == FB_OK && list->more)
		memcpy(list->head.bytes, row.ptr, FB_DIGEST_LEN);
	return rc;
}

static int
begin(struct fb_gc_mark_list *list, struct fb_error *err)
{
	int rc = fb_rows_rewind(list->rows, err);

	list->any_asked = false;
	return rc < 0 ? rc : pass(list, true, err);
}

int
fb_gc_marks_begin(struct fb_gc_marks *marks, struct fb_error *err)
{
	int rc = begin(&marks->packs, err);

	return rc < 0 ? rc : begin(&marks->recipes, err);
}

int
fb_gc_has(struct fb_gc_mark_list *list, const struct fb_digest *id,
    bool *ret_has, struct fb_error *err)
{
	int rc = FB_OK;

	/* What is asked for out of order would seem to be needed by nobody. */
	if (list->any_asked && fb_digest_cmp(id, &list->asked) < 0)
		return fb_fail(
		    err, FB_ECORRUPT, "the store lists objects in no order");
	list->asked = *id;
	list->any_asked = true;
	while (rc == FB_OK && list->more && fb_digest_cmp(&list->head, id) < 0)
		rc = pass(list, false, err);
	*ret_has = rc == FB_OK && list->more &&
	    fb_digest_cmp(&list->head, id) == 0;
	return rc;
}

int
fb_gc_next_mark(struct fb_gc_mark_list *list, struct fb_digest *ret_id,
    bool *ret_more, struct fb_error *err)
{
	*ret_more = list->more;
	if (!list->more)
		return FB_OK;
	*ret_id = list->head;
	return pass(list, false, err);
}
