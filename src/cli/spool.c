#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/spool.h"

/* As much stays in memory. */
#define SPOOL_AT ((size_t)1 << 20)

static FILE *
open_file(void)
{
	const char *dir = getenv("TMPDIR");
	FILE *file = NULL;
	int fd;

	if (dir == NULL || dir[0] != '/')
		dir = "/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		file = fdopen(fd, "w+");
		if (file == NULL)
			(void)close(fd);
	}
	return file;
}

/* A write that was cut short is taken back: no byte is there twice. */
static void
move_out(struct fb_spool *spool)
{
	long before;

	if (spool->file == NULL)
		spool->file = open_file();
	if (spool->file == NULL) {
		spool->full = true;
		return;
	}
	before = ftell(spool->file);
	if (before >= 0 &&
	    fwrite(spool->tail.data, 1, spool->tail.len, spool->file) ==
	        spool->tail.len &&
	    fflush(spool->file) == 0) {
		fb_buf_clear(&spool->tail);
		return;
	}
	spool->full = true;
	clearerr(spool->file);
	if (before < 0 || fseek(spool->file, before, SEEK_SET) != 0 ||
	    ftruncate(fileno(spool->file), before) != 0)
		clearerr(spool->file);
}

void
fb_spool_add(struct fb_spool *spool, const void *bytes, size_t len)
{
	fb_buf_add(&spool->tail, bytes, len);
	if (spool->tail.len >= SPOOL_AT && !spool->full)
		move_out(spool);
}

bool
fb_spool_empty(const struct fb_spool *spool)
{
	return spool->file == NULL && spool->tail.len == 0;
}

void
fb_spool_each(struct fb_spool *spool, fb_spool_visit *visit, void *arg)
{
	FB_AUTO_FREE uint8_t *bytes = NULL;
	size_t got;

	if (spool->file != NULL) {
		bytes = fb_alloc(SPOOL_AT / 16, 1);
		rewind(spool->file);
		while ((got = fread(bytes, 1, SPOOL_AT / 16, spool->file)) > 0)
			visit((struct fb_span){ bytes, got }, arg);
		(void)fseek(spool->file, 0, SEEK_END);
	}
	if (spool->tail.len > 0)
		visit(fb_buf_span(&spool->tail), arg);
}

static void
print_piece(struct fb_span piece, void *arg)
{
	(void)fwrite(piece.ptr, 1, piece.len, arg);
}

void
fb_spool_print(struct fb_spool *spool, FILE *out)
{
	fb_spool_each(spool, print_piece, out);
}

void
fb_spool_release(struct fb_spool *spool)
{
	if (spool->file != NULL)
		(void)fclose(spool->file);
	fb_buf_release(&spool->tail);
	*spool = (struct fb_spool){ 0 };
}
