/* The places of captures below the scratch directory, and the file in each
 * that is made last and says of which kind it is. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "libvirt_internal.h"

#define WHOLE    "whole"
#define KIND_MAX 32

static const char *const kinds[] = {
	[FB_LIBVIRT_PART] = "",
	[FB_LIBVIRT_JOB] = "job\n",
	[FB_LIBVIRT_DOWN] = "down\n",
	[FB_LIBVIRT_DEFINITION_ONLY] = "definition\n",
};

char *
fb_libvirt_place(
    const struct fb_libvirt_driver *driver, const char *uuid, const char *name)
{
	return fb_format("%s/%s%s%s", driver->scratch, uuid,
	    name[0] != '\0' ? "/" : "", name);
}

char *
fb_libvirt_part(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, const char *name)
{
	return fb_format("%s/%s/%s/%s", driver->scratch, uuid, token, name);
}

char *
fb_libvirt_socket(
    const struct fb_libvirt_driver *driver, const char *uuid, const char *token)
{
	return fb_libvirt_part(driver, uuid, token, "q/nbd");
}

bool
fb_libvirt_is_ours_paused(
    const struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	struct fb_error ignored;
	struct stat st;

	return driver->local && fb_io_look(path, &st, &ignored) == FB_OK;
}

/*
 * What kind it is.
 */

int
fb_libvirt_read_kind(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, enum fb_libvirt_kind *ret_kind, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_part(driver, uuid, token, WHOLE);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_io_read_file(path, KIND_MAX, &text, err);

	*ret_kind = FB_LIBVIRT_PART;
	if (rc < 0)
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(fb_buf_str(&text), kinds[i]) == 0)
			*ret_kind = (enum fb_libvirt_kind)i;
	return FB_OK;
}

int
fb_libvirt_write_kind(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, enum fb_libvirt_kind kind, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_part(driver, uuid, token, WHOLE);
	const char *text = kinds[kind];

	return fb_io_replace(path,
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, 0600, err);
}

/*
 * All of them.
 */

static bool
is_uuid_dir(const char *name)
{
	return strlen(name) == FB_UUID_LEN && fb_name_ok(name, FB_UUID_LEN);
}

static int
visit_machine(const struct fb_libvirt_driver *driver, const char *uuid,
    fb_driver_visit_token *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, "");
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(place, &names, err);

	for (size_t i = 0; rc == FB_OK && names[i] != NULL; i++)
		if (strcmp(names[i], FB_LIBVIRT_PAUSED) != 0 &&
		    fb_name_ok(names[i], strlen(names[i])))
			rc = visit(uuid, names[i], arg, err);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

int
fb_libvirt_list_snapshots(struct fb_driver *base, fb_driver_visit_token *visit,
    void *arg, struct fb_error *err)
{
	const struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)base;
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(driver->scratch, &names, err);

	for (size_t i = 0; rc == FB_OK && names[i] != NULL; i++)
		if (is_uuid_dir(names[i]))
			rc = visit_machine(driver, names[i], visit, arg, err);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}
