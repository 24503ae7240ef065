#include "curl_late.h"

#include <pthread.h>
#include <stdlib.h>

#include "fleetbak/base/late.h"

struct fb_curl fb_curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char trouble[FB_LATE_TROUBLE];

#define ROW(name) { "curl_" #name, (void **)&fb_curl.name },
static const struct fb_late_row rows[] = { FB_CURL_FUNCTIONS(ROW) };

static void
load(void)
{
	if (fb_late_load("libcurl.so.4", rows, FB_COUNT(rows), trouble) &&
	    fb_curl.global_init(CURL_GLOBAL_ALL) != 0)
		abort();
}

const char *
fb_curl_load(void)
{
	(void)pthread_once(&once, load);
	return trouble[0] != '\0' ? trouble : NULL;
}
