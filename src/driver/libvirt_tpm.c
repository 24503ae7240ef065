/* The state of an emulated TPM, which swtpm keeps in a few small files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "libvirt_rest.h"

#define PART "tpm"

/* swtpm has three at most. */
#define FILES_MAX 16

/* As libvirt makes them; it gives them to the user of swtpm itself, each time
 * that the domain starts. */
#define FILE_MODE  0600
#define STATE_MODE 0700
#define DIR_MODE   0711

/* The caller's; the domain has an emulated TPM. */
static char *
state_dir(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain)
{
	return domain->host.tpm_path != NULL
	    ? fb_strdup(domain->host.tpm_path)
	    : fb_format("%s/%s/%s", driver->tpm, domain->uuid,
	          domain->host.tpm);
}

/* No lock, and nothing that is half written. */
static bool
is_state(const char *dir, const char *name)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, name);
	struct stat st;

	return fb_name_ok(name, strlen(name)) && lstat(path, &st) == 0 &&
	    S_ISREG(st.st_mode);
}

static int
copy_file(const char *from_dir, const char *to_dir, const char *name,
    struct fb_error *err)
{
	FB_AUTO_FREE char *from = fb_path_join(from_dir, name);
	FB_AUTO_FREE char *to = fb_path_join(to_dir, name);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = fb_io_read_file(from, FB_LIBVIRT_FILE_MAX, &bytes, err);

	return rc < 0
	    ? rc
	    : fb_io_replace(to, fb_buf_span(&bytes), FILE_MODE, err);
}

static int
copy_files(const char *from, const char *to, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = NULL;
	size_t count = 0;
	int rc = fb_io_list(from, &names, err);

	for (size_t i = 0; rc == FB_OK && names[i] != NULL; i++) {
		if (!is_state(from, names[i]))
			continue;
		if (++count > FILES_MAX)
			return fb_fail(err, FB_EPROTO,
			    "'%s' has more than %d files", from, FILES_MAX);
		rc = copy_file(from, to, names[i], err);
	}
	return rc;
}

/*
 * Keeping it.
 */

static bool
is_readable(const char *dir)
{
	return access(dir, R_OK | X_OK) == 0;
}

int
fb_libvirt_tpm_keep(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, const char *definition_dir,
    struct fb_error *err)
{
	FB_AUTO_FREE char *part = fb_path_join(definition_dir, PART);
	FB_AUTO_FREE char *dir = NULL;
	int rc;

	if (domain->host.tpm == NULL || !driver->local)
		return FB_OK;
	dir = state_dir(driver, domain);
	if (!is_readable(dir))
		return FB_OK;
	rc = fb_io_mkdirs(part, STATE_MODE, err);
	if (rc == FB_OK)
		rc = copy_files(dir, part, err);
	return rc < 0 ? fb_wrap(err, "the TPM's state") : FB_OK;
}

void
fb_libvirt_tpm_note(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, struct fb_buf *note)
{
	const char *and = note->len > 0 ? "; " : "";
	FB_AUTO_FREE char *dir = NULL;
	struct stat st;

	if (domain->host.tpm_elsewhere != NULL)
		fb_buf_add_fmt(note, "%sthe TPM's state is not captured: it "
		                     "is %s", and, domain->host.tpm_elsewhere);
	if (domain->host.tpm == NULL)
		return;
	if (!driver->local) {
		fb_buf_add_fmt(note, "%sthe TPM's state is not captured: it "
		                     "is on another host", and);
		return;
	}
	dir = state_dir(driver, domain);
	/* Before its first start it has none. */
	if (!is_readable(dir) && (stat(dir, &st) == 0 || errno != ENOENT))
		fb_buf_add_fmt(note, "%sthe TPM's state is not captured: '%s' "
		                     "cannot be read", and, dir);
}

/*
 * Giving it back.
 */

char *
fb_libvirt_tpm_check(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, const char *definition_dir,
    struct fb_buf *text)
{
	FB_AUTO_FREE char *dir = NULL;
	struct stat st;

	if (domain->host.tpm == NULL && domain->host.tpm_elsewhere == NULL)
		return NULL;
	if (!fb_libvirt_has_part(definition_dir, PART)) {
		fb_buf_add_str(text, "; without the TPM's state, which is not "
		                     "in the backup");
		return NULL;
	}
	if (domain->host.tpm == NULL || !driver->local) {
		fb_buf_add_str(text, "; without the TPM's state, which cannot "
		                     "be written where it goes");
		return NULL;
	}
	dir = state_dir(driver, domain);
	fb_buf_add_fmt(text, "; the TPM's state into '%s'", dir);
	return dir[0] == '/' && (lstat(dir, &st) == -1 || S_ISDIR(st.st_mode))
	    ? NULL
	    : fb_format("the TPM's state: '%s' is no directory", dir);
}

/* What the backup does not have was made by a later state. */
static int
remove_others(const char *dir, const char *part, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(dir, &names, err);

	for (size_t i = 0; rc == FB_OK && names[i] != NULL; i++) {
		FB_AUTO_FREE char *path = fb_path_join(dir, names[i]);

		if (is_state(dir, names[i]) && !is_state(part, names[i]))
			rc = fb_io_unlink(path, err);
	}
	return rc;
}

static int
make_dir(const char *dir, struct fb_error *err)
{
	FB_AUTO_FREE char *above = fb_strdup(dir);
	char *slash = strrchr(above, '/');
	int rc = FB_OK;

	if (slash != NULL && slash != above) {
		*slash = '\0';
		rc = fb_io_mkdirs(above, DIR_MODE, err);
	}
	return rc < 0 ? rc : fb_io_mkdirs(dir, STATE_MODE, err);
}

int
fb_libvirt_tpm_put(const struct fb_libvirt_driver *driver,
    const struct fb_domain *domain, const char *definition_dir,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *problem = fb_libvirt_tpm_check(
	    driver, domain, definition_dir, &text);
	FB_AUTO_FREE char *part = NULL;
	FB_AUTO_FREE char *dir = NULL;
	int rc;

	if (problem != NULL)
		return fb_fail(err, FB_ECONFLICT, "%s", problem);
	if (domain->host.tpm == NULL || !driver->local ||
	    !fb_libvirt_has_part(definition_dir, PART))
		return FB_OK;
	part = fb_path_join(definition_dir, PART);
	dir = state_dir(driver, domain);
	rc = make_dir(dir, err);
	if (rc == FB_OK)
		rc = copy_files(part, dir, err);
	if (rc == FB_OK)
		rc = remove_others(dir, part, err);
	return rc < 0 ? fb_wrap(err, "the TPM's state") : FB_OK;
}
