/* What the targets that are more than a decoder share.  Each is one file. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void
must(bool good)
{
	if (!good)
		abort();
}

/* The next line, without its newline. */
static inline struct fb_span
take_line(struct fb_span *rest)
{
	const uint8_t *end =
	    rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
	struct fb_span line = { rest->ptr,
		end != NULL ? (size_t)(end - rest->ptr) : rest->len };
	size_t used = line.len + (end != NULL);

	if (used > 0)
		rest->ptr += used;
	rest->len -= used;
	return line;
}

static inline bool
span_is(struct fb_span span, const char *text)
{
	return span.len == strlen(text) &&
	    (span.len == 0 || memcmp(span.ptr, text, span.len) == 0);
}

static inline bool
same_bytes(struct fb_span a, struct fb_span b)
{
	return a.len == b.len &&
	    (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* A directory of this process's own, removed when it ends. */
static char fuzz_dir[128];

static inline void
remove_fuzz_dir(void)
{
	struct fb_error ignored;

	(void)!fb_io_remove_tree(fuzz_dir, &ignored);
}

static inline const char *
scratch_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (fuzz_dir[0] != '\0')
		return fuzz_dir;
	(void)snprintf(fuzz_dir, sizeof(fuzz_dir), "%.100s/fbfuzz-XXXXXX",
	    tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
	must(mkdtemp(fuzz_dir) != NULL);
	must(atexit(remove_fuzz_dir) == 0);
	return fuzz_dir;
}

/* A file with these bytes; not durable, for it need not last. */
static inline void
put_file(const char *path, struct fb_span bytes)
{
	FILE *file = fopen(path, "we");

	must(file != NULL);
	must(fwrite(bytes.len > 0 ? bytes.ptr : (const uint8_t *)"", 1,
	         bytes.len, file) == bytes.len);
	must(fclose(file) == 0);
}

#endif
