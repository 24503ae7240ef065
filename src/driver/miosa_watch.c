/*
 * Events of a snapshot that is being made.  They only save waiting: what they
 * say is never believed, and a stream that ends, breaks or says nothing means
 * that the snapshot itself is asked.
 */
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "miosa_internal.h"

/* Somebody who says nothing for so long is not worth listening to. */
#define IDLE_MS 15000

bool
fb_miosa_event_ends(const struct fb_sse_event *event, const char *sid)
{
	FB_AUTO_JSON json_t *data = NULL;
	struct fb_error ignored = { 0 };
	const char *status, *of;

	if (event->data.len == 6 && memcmp(event->data.ptr, "[DONE]", 6) == 0)
		return true;
	if (fb_json_parse(event->data, 65536, "event", &data, &ignored) < 0)
		return false;
	of = fb_miosa_text(data, "snapshot_id");
	status = fb_miosa_text(data, "status");
	return (of[0] == '\0' || strcmp(of, sid) == 0) &&
	    fb_miosa_state_class(status) != FB_MIOSA_MAKING;
}

static int
visit(void *arg, const struct fb_sse_event *event, struct fb_error *err)
{
	(void)err;
	return fb_miosa_event_ends(event, arg) ? FB_PENDING : FB_OK;
}

/* A ticket of one use; its bytes are a secret as long as it is good. */
static bool
get_ticket(struct fb_miosa *miosa, const atomic_bool *cancel,
    struct fb_buf *ret_query)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	static const char *const keys[] = { "data", NULL };
	struct fb_error ignored = { 0 };
	const char *ticket;

	if (fb_miosa_do(miosa, "POST", "/auth/sse-ticket", NULL, NULL, cancel,
	        &answer, &ignored) < 0)
		return false;
	ticket = fb_miosa_text(fb_api_object(answer.json, keys), "ticket");
	if (ticket[0] == '\0' || strlen(ticket) > 512)
		return false;
	fb_buf_add_str(ret_query, "?ticket=");
	fb_api_add_encoded(ret_query, ticket);
	return true;
}

void
fb_miosa_watch(struct fb_miosa *miosa, const char *computer, const char *sid,
    const atomic_bool *cancel)
{
	FB_AUTO_BUF struct fb_buf query = { 0 };
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *whole = NULL;
	struct fb_error ignored = { 0 };
	enum fb_api_end end;

	if (!get_ticket(miosa, cancel, &query))
		return;
	path = fb_miosa_snapshot_path(
	    FB_MIOSA_SNAPSHOTS, computer, sid, "/events");
	whole = fb_format("%s%s", path, fb_buf_str(&query));
	(void)!fb_api_events(miosa->api, whole, IDLE_MS, cancel, visit,
	    (void *)(uintptr_t)sid, &end, &ignored);
}
