#include "curl_late.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define LIBRARY "libcurl.so.4"

struct fb_curl fb_curl;

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
	*(void **)&fb_curl.name = dlsym(library, "curl_" #name); \
	if (fb_curl.name == NULL) \
		(void)snprintf(trouble, sizeof(trouble), "%s has no curl_%s", \
		    LIBRARY, #name);
	FB_CURL_FUNCTIONS(TAKE)
	if (trouble[0] == '\0' && fb_curl.global_init(CURL_GLOBAL_ALL) != 0)
		abort();
}

const char *
fb_curl_load(void)
{
	(void)pthread_once(&once, load);
	return trouble[0] != '\0' ? trouble : NULL;
}
