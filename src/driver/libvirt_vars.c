/* The firmware's variables (NVRAM) of a guest that is restored. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "libvirt_files.h"

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
	    fb_libvirt_file_read(vars->driver, path, &is, &ignored) ==
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
	struct fb_libvirt_file file;
	struct fb_error err = { 0 };

	if (path[0] != '/')
		return fb_format(
		    "the firmware's variables: '%s' is no absolute path",
		    path);
	if (fb_libvirt_file_look(vars->driver, path, &file, &err) < 0)
		return fb_format("the firmware's variables: %s", err.msg);
	if (!file.there && !file.link && !block)
		return NULL;
	if (block ? !file.block : !file.regular || file.link)
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
	if (!fb_libvirt_reaches(vars->driver)) {
		fb_buf_add_str(text, "; without the firmware's variables, "
		                     "which cannot be written where they go");
		return NULL;
	}
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

int
fb_libvirt_vars_put(const struct fb_libvirt_vars *vars, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *problem = fb_libvirt_vars_check(vars, &text);
	struct fb_libvirt_file file;
	int rc;

	if (problem != NULL)
		return fb_fail_id(
		    err, FB_EREFUSED, "E-RST-EXISTS", "%s", problem);
	if (vars->domain->nvram == NULL || !has_backup(vars) ||
	    !fb_libvirt_reaches(vars->driver))
		return FB_OK;
	rc = read_backup(vars, &bytes, err);
	if (rc == FB_OK)
		rc = fb_libvirt_file_look(
		    vars->driver, vars->domain->nvram, &file, err);
	if (rc < 0)
		return rc;
	return file.there
	    ? fb_libvirt_file_write_over(vars->driver, vars->domain->nvram,
	          fb_buf_span(&bytes), err)
	    : fb_libvirt_file_replace(vars->driver, vars->domain->nvram,
	          fb_buf_span(&bytes), FILE_MODE, DIR_MODE, err);
}
