/* What a server with a JSON API, or whoever answers in its place, sends: a
 * stream of events cut anywhere, pages of a list, errors, Content-Range. */
#include "fleetbak/base/sse.h"
#include "fleetbak/format/api.h"
#include "fuzz.h"

static int
note_event(void *arg, const struct fb_sse_event *event, struct fb_error *err)
{
	(void)err;
	must(event->data.ptr[event->data.len] == '\0');
	must(strchr(event->type, '\n') == NULL);
	fb_buf_add_fmt(arg, "%s\n%s\n%zu\n", event->type, event->id,
	    event->data.len);
	fb_buf_add(arg, event->data.ptr, event->data.len);
	return FB_OK;
}

/* However it is cut, the same events come. */
static int
read_stream(struct fb_span bytes, size_t step, struct fb_buf *all)
{
	FB_AUTO_SSE struct fb_sse sse = { .visit = note_event, .arg = all,
		.max = 1000 };
	struct fb_error err = { 0 };
	int rc = FB_OK;

	for (size_t at = 0; at < bytes.len && rc == FB_OK; at += step)
		rc = fb_sse_feed(&sse,
		    (struct fb_span){ bytes.ptr + at,
		        bytes.len - at < step ? bytes.len - at : step },
		    &err);
	if (rc == FB_OK)
		rc = fb_sse_end(&sse, true, &err);
	must(rc == FB_OK || rc == FB_EPROTO);
	return rc;
}

static void
read_events(struct fb_span bytes)
{
	FB_AUTO_BUF struct fb_buf whole = { 0 }, cut = { 0 };
	int rc;

	if (bytes.len == 0)
		return;
	rc = read_stream(bytes, bytes.len, &whole);
	if (read_stream(bytes, 3, &cut) == FB_OK && rc == FB_OK)
		must(same_bytes(fb_buf_span(&whole), fb_buf_span(&cut)));
}

static int
note_item(void *arg, const json_t *item, struct fb_error *err)
{
	size_t *count = arg;

	(void)err;
	must(json_object_get(item, "id") != NULL);
	(*count)++;
	return FB_OK;
}

static void
read_page(const json_t *json, enum fb_page_style style)
{
	static const char *const keys[] = { "data", "items", NULL };
	FB_AUTO_PAGE struct fb_page page = { .style = style, .size = 2,
		.keys = keys, .id = "id" };
	FB_AUTO_BUF struct fb_buf query = { 0 };
	struct fb_error err = { 0 };
	size_t count = 0;
	bool more = false;
	int rc = fb_page_take(&page, json, note_item, &count, &more, &err);

	must(rc == FB_OK || (rc == FB_EPROTO && err.msg[0] != '\0'));
	must(count == json_object_size(page.seen));
	/* The same once more brings nothing new, and must not go on. */
	if (rc == FB_OK && more) {
		rc = fb_page_take(&page, json, note_item, &count, &more, &err);
		must(rc == FB_EPROTO || !more);
	}
	fb_page_query(&page, &query);
	must(strpbrk(fb_buf_str(&query), " \r\n#") == NULL);
}

static bool
is_plain(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

static void
read_error(struct fb_span bytes)
{
	struct fb_api_error error;

	fb_api_error_parse(bytes, &error);
	must(is_plain(error.code) && is_plain(error.message) &&
	    is_plain(error.request_id));
	must(error.retryable >= -1 && error.retryable <= 1);
}

static void
read_range(struct fb_span bytes)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	uint64_t first, last, total;

	fb_buf_add(&text, bytes.ptr, bytes.len);
	if (fb_content_range_parse(
	        fb_buf_str(&text), &first, &last, &total) &&
	    first != UINT64_MAX)
		must(first <= last && last < total);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_JSON json_t *json = NULL;
	struct fb_span bytes = { data, size };
	struct fb_error err = { 0 };

	read_events(bytes);
	read_error(bytes);
	read_range(bytes);
	if (fb_json_parse(bytes, 1 << 16, "fuzz", &json, &err) == FB_OK)
		for (int style = FB_PAGE_NONE; style <= FB_PAGE_CURSOR; style++)
			read_page(json, (enum fb_page_style)style);
	return 0;
}
