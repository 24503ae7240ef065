#include "fleetbak/cli/ping.h"

#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/http.h"
#include "fleetbak/base/mem.h"

/* The server's own words may repeat the URL: they are left out. */
static int
judge(int status, struct fb_error *err)
{
	if (status >= 200 && status < 300)
		return FB_OK;
	if (status >= 400 && status < 500 && status != 408 && status != 429) {
		(void)fb_fail(err, FB_EDENIED,
		    "the server refuses it with status %d", status);
		return fb_hint(err, "is the URL still right?");
	}
	return fb_fail(
	    err, FB_ERETRY, "the server answered with status %d", status);
}

int
fb_ping(const struct fb_ping *ping, struct fb_error *err)
{
	struct fb_http_options options = { .connect_ms = ping->timeout_ms };
	FB_AUTO_HTTP struct fb_http *http = fb_http_new(&options);
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	FB_AUTO_FREE char *type = fb_format("Content-Type: %s", ping->type);
	FB_AUTO_FREE char *agent =
	    fb_format("User-Agent: fleetbak/%s", FB_VERSION);
	/* The body is small: it is sent without asking whether it may be. */
	const char *const headers[] = { type, agent, "Expect:", NULL };
	struct fb_http_request request = {
		.method = "POST",
		.url = ping->url,
		.headers = headers,
		.step = FB_STEP_ASK,
		.what = "notification",
		.body = ping->body,
		.timeout_ms = ping->timeout_ms,
	};
	int rc = fb_http_send(http, &request, &response, err);

	return rc < 0 ? rc : judge(response.status, err);
}
