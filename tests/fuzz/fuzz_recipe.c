#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
add_step(struct fb_buf *dst, const struct fb_recipe_decoder *decoder,
    enum fb_recipe_step step)
{
	switch (step) {
	case FB_RECIPE_HEAD:
		fb_recipe_add_head(dst, &decoder->head);
		break;
	case FB_RECIPE_PACK:
		fb_recipe_add_pack(dst, &decoder->pack);
		break;
	case FB_RECIPE_RUN:
		fb_recipe_add_run(dst, &decoder->run);
		break;
	case FB_RECIPE_END:
		fb_recipe_add_end(dst);
		break;
	case FB_RECIPE_OTHER:
		if (dst->len > 0) /* after the head: the count of runs */
			fb_recipe_add_runs(dst, decoder->runs_left);
		break;
	}
}

/* Whatever decodes to its end must encode back to the same bytes. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_error err = { 0 };
	struct fb_recipe_decoder decoder = { 0 };
	enum fb_recipe_step step = FB_RECIPE_OTHER;
	FB_AUTO_BUF struct fb_buf again = { 0 };
	size_t at = 0;

	while (at < size && step != FB_RECIPE_END) {
		const uint8_t *end = memchr(data + at, '\n', size - at);
		struct fb_span line = { data + at, 0 };

		if (end == NULL)
			return 0;
		line.len = (size_t)(end - line.ptr);
		if (fb_recipe_decode_line(&decoder, line, &step, &err) < 0)
			return 0;
		at += line.len + 1;
		add_step(&again, &decoder, step);
	}
	if (step == FB_RECIPE_END &&
	    (again.len != at || memcmp(again.data, data, at) != 0))
		abort();
	return 0;
}
