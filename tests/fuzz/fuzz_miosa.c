/* What MIOSA sends beside JSON of the shapes that all APIs share: archives of
 * directories, which become members of ours; lists of what is in them; events,
 * and names of snapshots. */
#include "../../src/driver/miosa_internal.h"
#include "fleetbak/base/name.h"
#include "fuzz.h"

struct world {
	struct fb_span in;
	uint64_t size, end; /* of what was written; of its last member */
};

static int
next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct world *w = arg;
	size_t len = w->in.len < 777 ? w->in.len : 777;

	(void)err;
	*ret_bytes = (struct fb_span){ w->in.ptr, len };
	if (len > 0)
		w->in.ptr += len;
	w->in.len -= len;
	return FB_OK;
}

/* An archive may say that it holds more zeros than anybody wants. */
static int
take(void *arg, const void *bytes, size_t len, struct fb_error *err)
{
	struct world *w = arg;

	(void)bytes;
	w->size += len;
	return w->size < (UINT64_C(4) << 20)
	    ? FB_OK
	    : fb_fail(err, FB_ENOSPACE, "enough");
}

static int
entry(void *arg, const struct fb_entry *e, struct fb_error *err)
{
	struct world *w = arg;

	must(e->offset >= w->end && e->length > 0);
	w->end = e->offset + e->length;
	must(w->end <= w->size);
	must(fb_path_check_inside("p", (const char *)e->path.ptr, e->path.len,
	         FB_NAME_MAX + 4096, err) == FB_OK);
	return FB_OK;
}

static void
merge(struct fb_span in, const char *dir)
{
	static const char *const names[] = { "a", "b", "data", NULL };
	struct world w = { .in = in };
	struct fb_sink sink = { .arg = &w, .data = take, .entry = entry };
	struct fb_pull pull = { &w, next };
	struct fb_error err = { 0 };
	bool seen[4] = { false };
	FB_AUTO_MIOSA_TAR struct fb_miosa_tar *tar = NULL;

	must(fb_miosa_tar_new(&sink, &tar, &err) == FB_OK);
	if (fb_miosa_tar_merge(
	        tar, &pull, dir, "root", names, seen, &err) == FB_OK)
		(void)!fb_miosa_tar_end(tar, &err);
}

static void
list(struct fb_span in)
{
	FB_AUTO_JSON json_t *json = NULL;
	FB_AUTO_FREE struct fb_miosa_entry *entries = NULL;
	struct fb_error err = { 0 };
	size_t count = 0;

	if (fb_json_parse(in, 1 << 20, "list", &json, &err) < 0 ||
	    fb_miosa_entries(json, "/srv", &entries, &count, &err) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		must(entries[i].name[0] != '\0' &&
		    strchr(entries[i].name, '/') == NULL &&
		    strcmp(entries[i].name, "..") != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span in = { data, size };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_sse_event event = { .type = "message", .id = "" };
	char owner[FB_MIOSA_OWNER_SIZE];
	const char *token;

	merge(in, "/");
	merge(in, "/srv/data");
	list(in);
	fb_buf_add(&text, data, size);
	fb_buf_add(&text, "", 1);
	event.data = (struct fb_span){ text.data, size };
	(void)fb_miosa_event_ends(&event, "snap_1");
	if (fb_miosa_label_parse((const char *)text.data, owner, &token))
		must(fb_name_ok(token, strlen(token)));
	if (fb_miosa_root_ok((const char *)text.data))
		must(strchr((const char *)text.data, '\'') == NULL &&
		    strstr((const char *)text.data, "/../") == NULL);
	return 0;
}
