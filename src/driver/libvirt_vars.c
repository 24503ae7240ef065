/* The firmware's variables (NVRAM) of a guest that is restored. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "libvirt_internal.h"

/* libvirt gives a new one to the domain's user when that starts. */
#define FILE_MODE 0600
#define DIR_MODE  0711

static int
read_backup(const struct fb_libvirt_vars *vars, struct fb_buf *dst,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_path_join(vars->definition_dir, FB_LIBVIRT_NVRAM);

	return fb_io_read_file(path, FB_LIBVIRT_FILE_MAX, dst, err);
}

static bool
has_backup(const struct fb_libvirt_vars *vars)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_error ignored;

	return vars->definition_dir != NULL &&
	    vars->definition_dir[0] != '\0' &&
	    read_backup(vars, &bytes, &ignored) == FB_OK;
}

/* One that a restore which was cut off has put there is whole. */
static bool
is_same(const struct fb_libvirt_vars *vars, const char *path)
{
	FB_AUTO_BUF struct fb_buf is = { 0 };
	FB_AUTO_BUF struct fb_buf wanted = { 0 };
	struct fb_error ignored;

	return read_backup(vars, &wanted, &ignored) == FB_OK &&
	    fb_io_read_file(path, FB_LIBVIRT_FILE_MAX, &is, &ignored) ==
	        FB_OK &&
	    is.len == wanted.len &&
	    memcmp(is.data, wanted.data, is.len) == 0;
}

/* The caller's; NULL: they can be written. */
static char *
find_problem(const struct fb_libvirt_vars *vars)
{
	const char *path = vars->domain->nvram;
	bool block = vars->domain->nvram_is_block;
	struct stat st;

	if (path[0] != '/')
		return fb_format(
		    "the firmware's variables: '%s' is no absolute path",
		    path);
	if ((block ? stat(path, &st) : lstat(path, &st)) == -1)
		return !block && (errno == ENOENT || errno == ENOTDIR)
		    ? NULL
		    : fb_format("the firmware's variables: cannot look at "
		                "'%s': %s", path, strerror(errno));
	if (block ? !S_ISBLK(st.st_mode) : !S_ISREG(st.st_mode))
		return fb_format("the firmware's variables: '%s' is no %s",
		    path, block ? "block device" : "file");
	if (vars->own != NULL && strcmp(vars->own, path) == 0)
		return NULL;
	if (is_same(vars, path))
		return NULL;
	return fb_format("the firmware's variables: '%s' is there already, "
	                 "and not this domain's", path);
}

char *
fb_libvirt_vars_check(const struct fb_libvirt_vars *vars, struct fb_buf *text)
{
	const struct fb_domain *domain = vars->domain;

	if (domain->nvram == NULL && domain->nvram_elsewhere == NULL)
		return NULL;
	if (!has_backup(vars)) {
		fb_buf_add_str(text, "; without the firmware's variables, "
		                     "which are not in the backup");
		return NULL;
	}
	if (domain->nvram == NULL)
		return fb_format("the firmware's variables are on a source "
		                 "of type '%s', which cannot be written",
		    domain->nvram_elsewhere);
	fb_buf_add_fmt(text, "; the firmware's variables into '%s'",
	    domain->nvram);
	return find_problem(vars);
}

static int
write_new(const char *path, const struct fb_buf *bytes, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_strdup(path);
	int rc;

	strrchr(dir, '/')[0] = '\0'; /* it is absolute */
	rc = fb_io_mkdirs(dir[0] != '\0' ? dir : "/", DIR_MODE, err);
	return rc < 0
	    ? rc
	    : fb_io_replace(path, fb_buf_span(bytes), FILE_MODE, err);
}

/* Over what is there, so that its owner stays. */
static int
write_over(const char *path, const struct fb_buf *bytes, struct fb_error *err)
{
	FB_AUTO_TARGET struct fb_target *target = NULL;
	int rc = fb_target_open_file(path, bytes->len, false, &target, err);

	if (rc == FB_OK)
		rc = target->ops->write(
		    target, 0, bytes->data, bytes->len, err);
	return rc < 0 ? rc : target->ops->sync(target, err);
}

int
fb_libvirt_vars_put(const struct fb_libvirt_vars *vars, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *problem = fb_libvirt_vars_check(vars, &text);
	struct stat st;
	int rc;

	if (problem != NULL)
		return fb_fail_id(
		    err, FB_EREFUSED, "E-RST-EXISTS", "%s", problem);
	if (vars->domain->nvram == NULL || !has_backup(vars))
		return FB_OK;
	rc = read_backup(vars, &bytes, err);
	if (rc < 0)
		return rc;
	return fb_io_look(vars->domain->nvram, &st, err) == FB_ENOTFOUND
	    ? write_new(vars->domain->nvram, &bytes, err)
	    : write_over(vars->domain->nvram, &bytes, err);
}
