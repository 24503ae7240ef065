/* An archive of a plugin: what goes on is what came, and the members of the
 * catalogue lie in it, one behind the other. */
#include "../../src/driver/plugin_internal.h"
#include "fleetbak/base/name.h"
#include "fuzz.h"

struct world {
	struct fb_span in;
	size_t step;
	struct fb_buf out;
	uint64_t end; /* of the last member */
};

static int
next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct world *w = arg;
	size_t len = w->in.len < w->step ? w->in.len : w->step;

	(void)err;
	*ret_bytes = (struct fb_span){ w->in.ptr, len };
	if (len > 0)
		w->in.ptr += len;
	w->in.len -= len;
	return FB_OK;
}

static int
take(void *arg, const void *bytes, size_t len, struct fb_error *err)
{
	(void)err;
	fb_buf_add(&((struct world *)arg)->out, bytes, len);
	return FB_OK;
}

static int
cut(void *arg, struct fb_error *err)
{
	(void)arg;
	(void)err;
	return FB_OK;
}

static int
entry(void *arg, const struct fb_entry *e, struct fb_error *err)
{
	struct world *w = arg;

	must(e->offset >= w->end && e->length > 0);
	w->end = e->offset + e->length;
	must(w->end <= w->out.len);
	if (!span_is(e->path, "."))
		must(fb_path_check_inside("p", (const char *)e->path.ptr,
		         e->path.len, 4096, err) == FB_OK);
	return FB_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .in = { data, size },
		.step = size > 0 ? (size_t)data[0] * 64 + 1 : 1 };
	const struct fb_pull pull = { &w, next };
	const struct fb_sink sink = { .arg = &w, .data = take, .cut = cut,
		.entry = entry };
	struct fb_error err = { 0 };
	int rc = fb_plugin_tar(&pull, &sink, &err);

	must(w.out.len <= size);
	must(w.out.len == 0 || memcmp(w.out.data, data, w.out.len) == 0);
	if (rc < 0)
		must(err.msg[0] != '\0');
	else
		must(w.out.len == size);
	fb_buf_release(&w.out);
	return 0;
}
