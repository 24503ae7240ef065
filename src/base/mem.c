#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"

static FB_NORETURN void
die_nomem(void)
{
	static const char text[] = "fleetbak: out of memory\n";

	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(FB_EXIT_NOMEM);
}

void *
fb_alloc(size_t count, size_t size)
{
	void *ptr = calloc(count ? count : 1, size ? size : 1);

	if (ptr == NULL)
		die_nomem();
	return ptr;
}

void *
fb_alloc_or_fail(size_t count, size_t size, struct fb_error *err)
{
	void *ptr = fb_seam_fails(FB_STEP_ALLOC, "array")
	    ? NULL
	    : calloc(count ? count : 1, size ? size : 1);

	if (ptr == NULL)
		(void)fb_fail_sys(err,
		    "cannot get memory for %zu times %zu bytes", count, size);
	return ptr;
}

void *
fb_realloc(void *ptr, size_t count, size_t size)
{
	if (size != 0 && count > SIZE_MAX / size)
		die_nomem();
	ptr = realloc(ptr, count * size > 0 ? count * size : 1);
	if (ptr == NULL)
		die_nomem();
	return ptr;
}

char *
fb_strdup(const char *str)
{
	size_t size = strlen(str) + 1;

	return memcpy(fb_alloc(size, 1), str, size);
}

char *
fb_format(const char *fmt, ...)
{
	va_list args;
	char *str;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);

	str = fb_alloc((size_t)len + 1, 1);
	va_start(args, fmt);
	(void)vsnprintf(str, (size_t)len + 1, fmt, args);
	va_end(args);
	return str;
}

void
fb_freep(void *ptr_to_ptr)
{
	void *ptr, *none = NULL;

	memcpy(&ptr, ptr_to_ptr, sizeof(ptr));
	memcpy(ptr_to_ptr, &none, sizeof(none));
	free(ptr);
	ptr = NULL; /* a second release finds nothing */
	memcpy(ptr_to_ptr, &ptr, sizeof(ptr));
}

void
fb_closep(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}
