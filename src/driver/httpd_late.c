#include "httpd_late.h"

#include <pthread.h>

#include "fleetbak/base/late.h"

struct fb_httpd fb_httpd;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char trouble[FB_LATE_TROUBLE];

#define ROW(name) { "MHD_" #name, (void **)&fb_httpd.name },
static const struct fb_late_row rows[] = { FB_HTTPD_FUNCTIONS(ROW) };

static void
load(void)
{
	(void)!fb_late_load(
	    "libmicrohttpd.so.12", rows, FB_COUNT(rows), trouble);
}

const char *
fb_httpd_load(void)
{
	(void)pthread_once(&once, load);
	return trouble[0] != '\0' ? trouble : NULL;
}
