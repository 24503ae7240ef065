#include "fleetbak/base/late.h"

#include <dlfcn.h>
#include <stdio.h>

bool
fb_late_load(const char *library, const struct fb_late_row *rows,
    size_t count, char trouble[FB_LATE_TROUBLE])
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);

	if (handle == NULL) {
		const char *why = dlerror();

		(void)snprintf(trouble, FB_LATE_TROUBLE, "%s",
		    why != NULL ? why : library);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		*rows[i].place = dlsym(handle, rows[i].name);
		if (*rows[i].place != NULL)
			continue;
		(void)snprintf(trouble, FB_LATE_TROUBLE, "%s has no %s",
		    library, rows[i].name);
		return false;
	}
	return true;
}
