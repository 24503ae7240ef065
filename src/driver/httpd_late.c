#include "httpd_late.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#define LIBRARY "libmicrohttpd.so.12"

struct fb_httpd fb_httpd;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char trouble[256];

static void
load(void)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (library == NULL) {
		const char *why = dlerror();

		(void)snprintf(trouble, sizeof(trouble), "%s",
		    why != NULL ? why : LIBRARY ": cannot be loaded");
		return;
	}
#define TAKE(name) \
	*(void **)&fb_httpd.name = dlsym(library, "MHD_" #name); \
	if (fb_httpd.name == NULL) \
		(void)snprintf(trouble, sizeof(trouble), "%s has no MHD_%s", \
		    LIBRARY, #name);
	FB_HTTPD_FUNCTIONS(TAKE)
}

const char *
fb_httpd_load(void)
{
	(void)pthread_once(&once, load);
	return trouble[0] != '\0' ? trouble : NULL;
}
