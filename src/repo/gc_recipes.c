/*
 * Recipes from far away, kept in a file of the state directory: a prune that
 * weighs waste wants those of all runs, and they never change.
 *
 * The file is the recipes that the last one wanted, each behind its length
 * (32 bits, little-endian), by rising id.  A recipe is named by the digest of
 * its bytes, so that one that was damaged is one that nobody asks for.  What
 * is not there, or not in order, is got once more; the file may go at any time.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "gc_impl.h"

#define LEN_SIZE  4
#define WRITE_AT  ((size_t)1 << 20)
#define FILE_MAX  (UINT64_C(256) << 20)
#define FILE_MODE 0600
#define DIR_MODE  0700

static uint32_t
le32(const uint8_t *bytes)
{
	return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
	    (uint32_t)bytes[3] << 24;
}

void
fb_gc_recipes_open(
    struct fb_gc_recipes *recipes, const char *dir, const char *repository)
{
	struct fb_error ignored = { 0 };
	struct stat st;

	*recipes = (struct fb_gc_recipes){ .fd = -1, .new_fd = -1 };
	if (dir == NULL)
		return;
	recipes->dir = fb_format("%s/cache", dir);
	recipes->path = fb_format("%s/recipes-%s", recipes->dir, repository);
	recipes->new_path = fb_format("%s.new", recipes->path);
	recipes->fd = fb_io_open(
	    recipes->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, &ignored);
	if (recipes->fd >= 0 && fstat(recipes->fd, &st) == 0 &&
	    S_ISREG(st.st_mode) && (uint64_t)st.st_size <= FILE_MAX)
		recipes->size = (uint64_t)st.st_size;
	fb_gc_recipes_rewind(recipes);
}

void
fb_gc_recipes_begin(struct fb_gc_recipes *recipes)
{
	struct fb_error ignored = { 0 };

	if (recipes->path != NULL &&
	    fb_io_mkdirs(recipes->dir, DIR_MODE, &ignored) == FB_OK)
		recipes->new_fd = fb_io_open(recipes->new_path,
		    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, FILE_MODE,
		    &ignored);
}

/* The next one that is there; none is the end. */
static void
read_next(struct fb_gc_recipes *recipes)
{
	struct fb_error ignored = { 0 };
	uint8_t head[LEN_SIZE];
	size_t len, got;

	recipes->here = false;
	if (recipes->size - recipes->at < LEN_SIZE ||
	    fb_io_pread(recipes->fd, recipes->path, head, LEN_SIZE, recipes->at,
	        &got, &ignored) < 0 ||
	    got < LEN_SIZE)
		return;
	len = le32(head);
	if (len > FB_GC_RECIPE_MAX ||
	    len > recipes->size - recipes->at - LEN_SIZE)
		return;
	fb_buf_clear(&recipes->text);
	if (fb_io_pread(recipes->fd, recipes->path,
	        fb_buf_reserve(&recipes->text, len), len,
	        recipes->at + LEN_SIZE, &got, &ignored) < 0 ||
	    got < len)
		return;
	recipes->text.len = len;
	recipes->at += LEN_SIZE + len;
	recipes->here = true;
	fb_digest_of(fb_buf_span(&recipes->text), &recipes->id);
}

void
fb_gc_recipes_rewind(struct fb_gc_recipes *recipes)
{
	recipes->at = 0;
	read_next(recipes);
}

bool
fb_gc_recipes_find(struct fb_gc_recipes *recipes, const struct fb_digest *id,
    struct fb_span *ret_text)
{
	while (recipes->here && fb_digest_cmp(&recipes->id, id) < 0)
		read_next(recipes);
	if (!recipes->here || fb_digest_cmp(&recipes->id, id) != 0)
		return false;
	*ret_text = fb_buf_span(&recipes->text);
	return true;
}

static void
write_out(struct fb_gc_recipes *recipes)
{
	struct fb_error ignored = { 0 };

	if (recipes->new_fd < 0)
		return;
	if (fb_io_write_all(recipes->new_fd, recipes->new_path,
	        fb_buf_span(&recipes->out), &ignored) < 0) {
		fb_closep(&recipes->new_fd); /* there is no new one */
		(void)!fb_io_unlink(recipes->new_path, &ignored);
	}
	fb_buf_clear(&recipes->out);
}

void
fb_gc_recipes_keep(struct fb_gc_recipes *recipes, struct fb_span text)
{
	if (recipes->new_fd < 0 ||
	    recipes->kept + LEN_SIZE + text.len > FILE_MAX)
		return;
	recipes->kept += LEN_SIZE + text.len;
	fb_buf_add_le32(&recipes->out, (uint32_t)text.len);
	fb_buf_add(&recipes->out, text.ptr, text.len);
	if (recipes->out.len >= WRITE_AT)
		write_out(recipes);
}

void
fb_gc_recipes_close(struct fb_gc_recipes *recipes, bool good)
{
	struct fb_error ignored = { 0 };

	write_out(recipes);
	if (recipes->new_fd >= 0 && good)
		(void)!fb_io_rename(
		    recipes->new_path, recipes->path, false, &ignored);
	else if (recipes->new_fd >= 0)
		(void)!fb_io_unlink(recipes->new_path, &ignored);
	fb_closep(&recipes->fd);
	fb_closep(&recipes->new_fd);
	fb_buf_release(&recipes->text);
	fb_buf_release(&recipes->out);
	free(recipes->dir);
	free(recipes->path);
	free(recipes->new_path);
}
