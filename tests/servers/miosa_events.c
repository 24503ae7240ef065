/* Streams of events, in all the forms that the standard allows. */
#include <stdlib.h>
#include <string.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static bool
has(const struct miosa_request *request, const char *flag)
{
	size_t len = strlen(flag);
	const char *at = request->text[MIOSA_SSE];

	while (*at != '\0') {
		size_t size = strcspn(at, ",");

		if (size == len && strncmp(at, flag, len) == 0)
			return true;
		at += size + (at[size] == ',');
	}
	return false;
}

static const char *
line_end(const struct miosa_request *request)
{
	return has(request, "crlf") ? "\r\n" : has(request, "cr") ? "\r" : "\n";
}

static bool
is_last(const struct miosa_event *event)
{
	return event[1].type == NULL;
}

static char *
payload(const struct miosa_request *request, const struct miosa_event *event)
{
	const char *status = event->status;
	json_t *json;
	char *text;

	if (has(request, "text"))
		return fb_strdup("what is this");
	if (is_last(event) && has(request, "failed"))
		status = "failed";
	if (is_last(event) && has(request, "unknown"))
		status = "frobnicated";
	json = json_pack("{s:s,s:s,s:s,s:s,s:i}", "type", event->type,
	    "snapshot_id", request->subject, "status", status, "step", status,
	    "progress", event->progress);
	if (strcmp(status, "failed") == 0)
		(void)json_object_set_new(
		    json, "error", json_string("the disk is full"));
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return text;
}

static void
add_frame(const struct miosa_request *request, struct fb_buf *out,
    const struct miosa_event *event, int number)
{
	FB_AUTO_FREE char *data = payload(request, event);
	const char *end = line_end(request);
	/* Behind a comma a document may be broken. */
	size_t half = strcspn(data, ",");

	if (has(request, "comment"))
		fb_buf_add_fmt(out, ": heartbeat%s%s", end, end);
	if (has(request, "ids"))
		fb_buf_add_fmt(out, "id: 01J%010d%sretry: 3000%s", number, end,
		    end);
	if (has(request, "empty"))
		fb_buf_add_fmt(out, "event: nothing%sdata:%s%s", end, end, end);
	fb_buf_add_fmt(out, "event: %s%s", event->type, end);
	if (has(request, "two-lines") && data[half] == ',') {
		fb_buf_add_str(out, "data: ");
		fb_buf_add(out, data, half + 1);
		fb_buf_add_fmt(out, "%sdata:%s", end, data + half + 1);
	} else
		fb_buf_add_fmt(out, "data: %s", data);
	if (is_last(event) && has(request, "open"))
		return;
	fb_buf_add_fmt(out, "%s%s", end, end);
}

static bool
send_text(const struct miosa_request *request, const struct fb_buf *text)
{
	size_t step = has(request, "split") ? 3 : text->len, n;

	for (size_t at = 0; at < text->len; at += n) {
		n = step < text->len - at ? step : text->len - at;
		if (!end_send(request->client, text->data + at, n))
			return false;
		if (has(request, "split"))
			pause_ms(1);
	}
	return true;
}

static void
hang(const struct miosa_request *request)
{
	while (!end_wait(request->client, 100))
		;
}

static void
finish_subject(const struct miosa_request *request)
{
	json_t *snapshot;

	(void)pthread_mutex_lock(&miosa.lock);
	snapshot = json_object_get(miosa.snapshots, request->subject);
	if (snapshot != NULL)
		miosa_finish(snapshot);
	(void)pthread_mutex_unlock(&miosa.lock);
}

static bool
send_all(struct miosa_request *request)
{
	const char *end = line_end(request);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int number = 0;

	if (has(request, "bom"))
		fb_buf_add_str(&text, "\xef\xbb\xbf");
	for (const struct miosa_event *event = request->events;
	     event->type != NULL; event++) {
		if (is_last(event) &&
		    (has(request, "eof") || has(request, "reset") ||
		        has(request, "silent")))
			break;
		if (is_last(event))
			finish_subject(request);
		if (has(request, "huge"))
			for (int i = 0; i < 1 << 20; i++)
				fb_buf_add_str(&text, "data: huge\n");
		add_frame(request, &text, event, ++number);
		if (!send_text(request, &text))
			return false;
		fb_buf_clear(&text);
		pause_ms(request->on[MIOSA_GAP] ? request->argument[MIOSA_GAP]
		                                : 10);
	}
	if (has(request, "reset")) {
		end_reset(request->client);
		return false;
	}
	if (has(request, "silent"))
		hang(request);
	else if (!has(request, "eof") && !has(request, "open") &&
	    !has(request, "no-done")) {
		fb_buf_add_fmt(&text, "data: [DONE]%s%s", end, end);
		if (has(request, "after-done"))
			fb_buf_add_fmt(&text,
			    "event: late%sdata: {\"status\":\"failed\"}%s%s",
			    end, end, end);
	}
	if (!send_text(request, &text))
		return false;
	if (has(request, "stays-open"))
		hang(request);
	return false;
}

/* The connection ends behind it, always. */
bool
miosa_send_events(struct miosa_request *request)
{
	static const char head[] = "HTTP/1.1 200 X\r\n"
	                           "Content-Type: text/event-stream\r\n"
	                           "Cache-Control: no-cache\r\n"
	                           "Connection: close\r\n\r\n";

	miosa_log_request(request, 200, 0);
	if (!end_send(request->client, head, sizeof(head) - 1))
		return false;
	return send_all(request);
}
