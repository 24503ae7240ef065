/* The kernel and the initrd of a guest that boots them directly. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"
#include "libvirt_files.h"
#include "libvirt_rest.h"

#define FILE_MODE 0644
#define DIR_MODE  0755

/* Of a digest, in a name. */
#define DIGITS 12

bool
fb_libvirt_has_part(const char *definition_dir, const char *name)
{
	FB_AUTO_FREE char *path = NULL;
	struct stat st;

	if (definition_dir == NULL || definition_dir[0] == '\0')
		return false;
	path = fb_path_join(definition_dir, name);
	return lstat(path, &st) == 0;
}

static int
read_part(const char *definition_dir, const char *name, struct fb_buf *bytes,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(definition_dir, name);

	return fb_io_read_file(path, FB_LIBVIRT_FILE_MAX, bytes, err);
}

static int
look_at(const struct fb_libvirt_driver *driver, const char *path,
    const struct fb_buf *wanted, bool *ret_same, bool *ret_missing,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf is = { 0 };
	struct fb_libvirt_file file;
	struct fb_error ignored;
	int rc = fb_libvirt_file_look(driver, path, &file, err);

	if (rc < 0)
		return rc;
	*ret_missing = !file.there;
	*ret_same = file.regular && file.size == wanted->len &&
	    fb_libvirt_file_read(driver, path, &is, &ignored) == FB_OK &&
	    is.len == wanted->len &&
	    memcmp(is.data, wanted->data, is.len) == 0;
	return FB_OK;
}

static int
find_one(const struct fb_libvirt_driver *driver, const char *path,
    const char *definition_dir, const char *name, char **ret_path,
    bool *ret_missing, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	bool same = false;
	int rc;

	/* Where it cannot be put it has to be there. */
	if (path == NULL || path[0] != '/' || !fb_libvirt_reaches(driver) ||
	    !fb_libvirt_has_part(definition_dir, name))
		return FB_OK;
	rc = read_part(definition_dir, name, &bytes, err);
	if (rc == FB_OK)
		rc = look_at(driver, path, &bytes, &same, ret_missing, err);
	if (rc < 0 || same || *ret_missing)
		return rc;
	fb_digest_of(fb_buf_span(&bytes), &digest);
	fb_digest_hex(&digest, hex);
	*ret_path = fb_format("%s-%.*s", path, DIGITS, hex);
	rc = look_at(driver, *ret_path, &bytes, &same, ret_missing, err);
	if (rc < 0 || same || *ret_missing)
		return rc;
	return fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
	    "the %s: '%s' is there already, and not the backup's", name,
	    *ret_path);
}

int
fb_libvirt_boot_find(const struct fb_libvirt_driver *driver,
    const struct fb_domain *then, const char *definition_dir,
    struct fb_libvirt_boot *ret_boot, struct fb_error *err)
{
	int rc = find_one(driver, then->kernel, definition_dir, "kernel",
	    &ret_boot->kernel.path, &ret_boot->kernel.missing, err);

	return rc < 0 ? rc
	              : find_one(driver, then->initrd, definition_dir,
	                    "initrd", &ret_boot->initrd.path,
	                    &ret_boot->initrd.missing, err);
}

void
fb_libvirt_boot_release(struct fb_libvirt_boot *boot)
{
	free(boot->kernel.path);
	free(boot->initrd.path);
}

static void
say_one(const char *name, const char *was, const char *path, bool missing,
    struct fb_buf *text)
{
	if (path != NULL)
		fb_buf_add_fmt(text, "; its %s %s '%s', as '%s' is another "
		                     "one now", name,
		    missing ? "into" : "from", path, was);
	else if (missing)
		fb_buf_add_fmt(text, "; its %s into '%s'", name, was);
}

void
fb_libvirt_boot_say(const struct fb_libvirt_boot *boot,
    const struct fb_domain *then, struct fb_buf *text)
{
	say_one("kernel", then->kernel, boot->kernel.path,
	    boot->kernel.missing, text);
	say_one("initrd", then->initrd, boot->initrd.path,
	    boot->initrd.missing, text);
}

static int
put_one(const struct fb_libvirt_driver *driver, const char *path,
    const char *definition_dir, const char *name, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = read_part(definition_dir, name, &bytes, err);

	if (rc == FB_OK)
		rc = fb_libvirt_file_replace(driver, path,
		    fb_buf_span(&bytes), FILE_MODE, DIR_MODE, err);
	return rc < 0 ? fb_wrap(err, "the %s", name) : FB_OK;
}

int
fb_libvirt_boot_put(const struct fb_libvirt_driver *driver,
    const struct fb_libvirt_boot *boot, const struct fb_domain *then, const char *definition_dir,
    struct fb_error *err)
{
	int rc = FB_OK;

	if (boot->kernel.missing)
		rc = put_one(driver, boot->kernel.path != NULL ? boot->kernel.path
		                                       : then->kernel,
		    definition_dir, "kernel", err);
	if (rc == FB_OK && boot->initrd.missing)
		rc = put_one(driver, boot->initrd.path != NULL ? boot->initrd.path
		                                       : then->initrd,
		    definition_dir, "initrd", err);
	return rc;
}
