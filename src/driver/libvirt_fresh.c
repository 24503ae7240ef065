#include "libvirt_fresh.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_files.h"
#include "libvirt_upload.h"

#define CLAIM_MODE 0600
#define DIR_MODE   0700

/* Of a claim: two names of libvirt's, or a path. */
#define CLAIM_MAX 8192

/* Making an empty image is no work. */
#define CREATE_MS 60000

#define FAR_OUTPUT_MAX 4096

char *
fb_libvirt_fresh_text(const struct fb_libvirt_fresh *place)
{
	return place->path != NULL
	    ? fb_format("%s '%s'", place->format, place->path)
	    : fb_format("%s volume '%s' of pool '%s'", place->format,
	          place->volume, place->pool);
}

/*
 * Claims.
 */

static char *
claim_path(const struct fb_libvirt_fresh *place)
{
	return fb_format("%s/new/%s/%s", place->driver->scratch, place->token,
	    place->target);
}

static void
claim_text(const struct fb_libvirt_fresh *place, struct fb_buf *dst)
{
	if (place->path != NULL)
		fb_buf_add_fmt(dst, "file %s\n", place->path);
	else
		fb_buf_add_fmt(
		    dst, "volume %s %s\n", place->pool, place->volume);
}

static bool
is_claimed(const struct fb_libvirt_fresh *place)
{
	FB_AUTO_FREE char *path = claim_path(place);
	FB_AUTO_BUF struct fb_buf is = { 0 };
	FB_AUTO_BUF struct fb_buf wanted = { 0 };
	struct fb_error ignored;

	claim_text(place, &wanted);
	return fb_io_read_file(path, CLAIM_MAX, &is, &ignored) == FB_OK &&
	    is.len == wanted.len &&
	    memcmp(is.data, wanted.data, is.len) == 0;
}

static int
claim(const struct fb_libvirt_fresh *place, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_format(
	    "%s/new/%s", place->driver->scratch, place->token);
	FB_AUTO_FREE char *path = claim_path(place);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_libvirt_make_scratch(place->driver, err);

	if (rc == FB_OK)
		rc = fb_io_mkdirs(dir, DIR_MODE, err);
	claim_text(place, &text);
	return rc < 0 ? rc
	              : fb_io_replace(path, fb_buf_span(&text), CLAIM_MODE,
	                    err);
}

bool
fb_libvirt_fresh_is_claimed(
    const struct fb_libvirt_driver *driver, const char *token)
{
	FB_AUTO_FREE char *dir = fb_format("%s/new/%s", driver->scratch, token);
	struct stat st;

	return stat(dir, &st) == 0;
}

int
fb_libvirt_fresh_done(const struct fb_libvirt_driver *driver,
    const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_format("%s/new/%s", driver->scratch, token);
	FB_AUTO_FREE char *all = fb_format("%s/new", driver->scratch);
	int rc = fb_io_remove_tree(dir, err);

	if (rc == FB_OK && !fb_seam_fails(FB_STEP_RENAME, all))
		(void)rmdir(all); /* not empty: another one is there */
	return rc;
}

/*
 * Pools.
 */

struct found {
	virStoragePoolPtr pool;
	virStorageVolPtr volume; /* NULL: there is none */
	bool files; /* its volumes are files, sparse ones when asked for */
	uint64_t space;
};

static void
release_found(struct found *found)
{
	if (found->volume != NULL)
		(void)fb_libvirt.virStorageVolFree(found->volume);
	if (found->pool != NULL)
		(void)fb_libvirt.virStoragePoolFree(found->pool);
}
#define AUTO_FOUND FB_CLEANUP(release_found)

static int
look_up(const struct fb_libvirt_fresh *place, struct found *found,
    struct fb_error *err)
{
	virStoragePoolInfo info;
	char *xml;

	found->pool = fb_libvirt.virStoragePoolLookupByName(
	    place->connection, place->pool);
	if (found->pool == NULL)
		return fb_libvirt_fail(
		    err, false, "cannot find the pool '%s'", place->pool);
	/* What was made behind its back it does not know. */
	if (fb_libvirt.virStoragePoolRefresh(found->pool, 0) < 0 ||
	    fb_libvirt.virStoragePoolGetInfo(found->pool, &info) < 0)
		return fb_libvirt_fail(
		    err, false, "cannot look at the pool '%s'", place->pool);
	found->space = info.available;
	xml = fb_libvirt.virStoragePoolGetXMLDesc(found->pool, 0);
	found->files = xml != NULL &&
	    fb_pool_has_files(
	        (struct fb_span){ (const uint8_t *)xml, strlen(xml) });
	free(xml);
	found->volume = fb_libvirt.virStorageVolLookupByName(
	    found->pool, place->volume);
	return FB_OK;
}

static int
effect(const struct fb_libvirt_fresh *place, const char *what,
    struct fb_error *err)
{
	FB_AUTO_FREE char *step =
	    fb_format("libvirt %s %s", what, place->target);

	return fb_seam_refuse(fb_seam(FB_STEP_DRIVER, step), err);
}

static int
make_volume(const struct fb_libvirt_fresh *place, struct found *found,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	int rc = effect(place, "volume-create", err);

	if (rc < 0)
		return rc;
	fb_volume_xml(place->volume, place->format, place->size, found->files,
	    &xml);
	found->volume = fb_libvirt.virStorageVolCreateXML(
	    found->pool, fb_buf_str(&xml), 0);
	return found->volume != NULL
	    ? FB_OK
	    : fb_libvirt_fail(err, true,
	          "cannot make the volume '%s' in pool '%s'", place->volume,
	          place->pool);
}

static int
upload(const struct fb_libvirt_fresh *place, struct found *found,
    struct fb_target **ret_target, struct fb_error *err)
{
	FB_AUTO_FREE char *what = fb_libvirt_fresh_text(place);

	return fb_libvirt_upload_open(place->connection,
	    FB_STEAL(found->volume), what, place->size, ret_target, err);
}

/* By its path, where files are in reach and it has one. */
static int
write_volume(const struct fb_libvirt_fresh *place, struct found *found,
    struct fb_target **ret_target, struct fb_error *err)
{
	char *path;
	int rc;

	if (!fb_libvirt_reaches(place->driver))
		return upload(place, found, ret_target, err);
	path = fb_libvirt.virStorageVolGetPath(found->volume);
	if (path == NULL)
		return fb_libvirt_fail(err, false,
		    "cannot find the volume '%s'", place->volume);
	rc = path[0] == '/'
	    ? fb_libvirt_write_image(place->driver->far, path, place->format,
	          ret_target, err)
	    : upload(place, found, ret_target, err);
	free(path);
	return rc;
}

static int
open_volume(const struct fb_libvirt_fresh *place, bool claimed,
    struct fb_target **ret_target, struct fb_error *err)
{
	AUTO_FOUND struct found found = { 0 };
	bool fresh;
	int rc = look_up(place, &found, err);

	if (rc < 0)
		return rc;
	fresh = found.volume == NULL;
	if (!fresh && !claimed && !place->existing)
		return fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "pool '%s' has a volume '%s' already", place->pool,
		    place->volume);
	if (!claimed)
		rc = claim(place, err);
	if (rc == FB_OK && fresh)
		rc = make_volume(place, &found, err);
	if (rc < 0)
		return rc;
	rc = write_volume(place, &found, ret_target, err);
	if (rc == FB_OK) /* what a device held before is no zeros */
		(*ret_target)->fresh = fresh && found.files;
	return rc;
}

/*
 * Files.
 */

static int
run_qemu_img(const struct fb_libvirt_fresh *place, struct fb_error *err)
{
	FB_AUTO_FREE char *size =
	    fb_format("%llu", (unsigned long long)place->size);
	const char *const words[] = { "qemu-img", "create", "-q", "-f",
		place->format, place->path, size, NULL };
	struct fb_child_spec spec = { .argv = words,
		.timeout_ms = CREATE_MS, .lock_fd = place->lock_fd };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	int rc = fb_child_run(&spec, &result, err);

	if (rc == FB_ENOTFOUND)
		return fb_hint(err, "install qemu-utils");
	if (rc < 0 || result.exit_code == 0)
		return rc;
	return fb_fail(err, result.timed_out ? FB_ETIMEOUT : FB_EFAILED,
	    "qemu-img cannot make '%s': %s", place->path,
	    fb_buf_str(&result.err));
}

/* On the other host; nobody's is written over. */
static int
make_far(const struct fb_libvirt_fresh *place, struct fb_error *err)
{
	static const char script[] =
	    "[ -e \"$1\" ] || (set -C && : >\"$1\") || exit 1\n"
	    "exec qemu-img create -q -f \"$2\" \"$1\" \"$3\"\n";
	FB_AUTO_FREE char *what = fb_format("make '%s'", place->path);
	FB_AUTO_FREE char *size =
	    fb_format("%llu", (unsigned long long)place->size);
	const char *const args[] = { place->path, place->format, size, NULL };

	return fb_libvirt_far_run(place->driver->far, what, script, args,
	    (struct fb_span){ 0 }, FAR_OUTPUT_MAX, NULL, err);
}

static int
open_far(const struct fb_libvirt_fresh *place, bool claimed,
    struct fb_target **ret_target, struct fb_error *err)
{
	struct fb_libvirt_file file;
	bool fresh;
	int rc = fb_libvirt_file_look(place->driver, place->path, &file, err);

	if (rc == FB_OK && file.there && !claimed && !place->existing)
		return fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "'%s' exists already", place->path);
	fresh = !place->existing && (!file.there || file.size == 0);
	if (rc == FB_OK && !claimed)
		rc = claim(place, err);
	if (rc == FB_OK && fresh)
		rc = make_far(place, err);
	if (rc == FB_OK)
		rc = fb_libvirt_write_image(place->driver->far, place->path,
		    place->format, ret_target, err);
	if (rc == FB_OK)
		(*ret_target)->fresh = fresh;
	return rc;
}

/* An empty file is nothing yet: it was claimed, and no more. */
static int
make_file(const struct fb_libvirt_fresh *place, bool *ret_fresh,
    struct fb_error *err)
{
	FB_AUTO_TARGET struct fb_target *empty = NULL;
	struct stat st;
	int rc = fb_io_look(place->path, &st, err);

	*ret_fresh = rc == FB_ENOTFOUND;
	if (rc == FB_OK && place->existing)
		return FB_OK;
	if (rc == FB_OK && !S_ISREG(st.st_mode))
		return fb_fail(
		    err, FB_ECONFLICT, "'%s' is no file", place->path);
	if (*ret_fresh)
		rc = fb_target_open_file(place->path, 0, true, &empty, err);
	else if (rc == FB_OK && st.st_size == 0)
		*ret_fresh = true;
	if (rc == FB_OK && *ret_fresh && strcmp(place->format, "raw") != 0)
		rc = run_qemu_img(place, err);
	return rc;
}

static int
open_file(const struct fb_libvirt_fresh *place, bool claimed,
    struct fb_target **ret_target, struct fb_error *err)
{
	bool fresh = false;
	struct stat st;
	int rc = fb_io_look(place->path, &st, err);

	if (rc == FB_OK && !claimed && !place->existing)
		return fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "'%s' exists already", place->path);
	rc = claimed ? FB_OK : claim(place, err);
	if (rc == FB_OK)
		rc = make_file(place, &fresh, err);
	if (rc < 0)
		return rc;
	rc = strcmp(place->format, "raw") == 0
	    ? fb_target_open_file(
	          place->path, place->size, false, ret_target, err)
	    : fb_libvirt_write_image(
	          NULL, place->path, place->format, ret_target, err);
	if (rc == FB_OK)
		(*ret_target)->fresh = fresh;
	return rc;
}

int
fb_libvirt_fresh_open(const struct fb_libvirt_fresh *place,
    struct fb_target **ret_target, struct fb_error *err)
{
	bool claimed = is_claimed(place);

	return place->path != NULL
	    ? (place->driver->far == NULL ? open_file : open_far)(
	          place, claimed, ret_target, err)
	    : open_volume(place, claimed, ret_target, err);
}

/*
 * Before anything is made.
 */

static int
check_size(const struct fb_libvirt_fresh *place, uint64_t has,
    struct fb_error *err)
{
	return has >= place->size
	    ? FB_OK
	    : fb_fail_id(err, FB_ENOSPACE, "E-RST-SMALL",
	          "it holds %llu bytes, the disk has %llu",
	          (unsigned long long)has, (unsigned long long)place->size);
}

static int
check_file(const struct fb_libvirt_fresh *place, bool *ret_there,
    uint64_t *ret_free, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_strdup(place->path);
	char *slash = strrchr(dir, '/');
	struct fb_libvirt_file file;
	int rc;

	if (dir[0] != '/')
		return fb_fail(err, FB_ECONFIG, "'%s' is no absolute path",
		    place->path);
	slash[slash == dir ? 1 : 0] = '\0';
	rc = fb_libvirt_file_space(place->driver, dir, ret_free, err);
	if (rc < 0)
		return fb_hint(err, rc == FB_EUNSUP
		        ? "into a pool: --map 'disk:*=POOL/'"
		        : "make it, or set 'images' of the source");
	rc = fb_libvirt_file_look(place->driver, place->path, &file, err);
	*ret_there = file.there || file.link;
	return rc == FB_OK && place->existing
	    ? check_size(place, file.size, err)
	    : rc;
}

static int
check_volume(const struct fb_libvirt_fresh *place, bool *ret_there,
    uint64_t *ret_free, struct fb_error *err)
{
	AUTO_FOUND struct found found = { 0 };
	virStorageVolInfo info;
	int rc = look_up(place, &found, err);

	if (rc < 0)
		return fb_hint(err, "define and start it, or set 'images' of "
		                    "the source");
	*ret_there = found.volume != NULL;
	*ret_free = found.space;
	if (found.volume == NULL || !place->existing)
		return FB_OK;
	if (fb_libvirt.virStorageVolGetInfo(found.volume, &info) < 0)
		return fb_libvirt_fail(err, false,
		    "cannot look at the volume '%s'", place->volume);
	return check_size(place, info.capacity, err);
}

int
fb_libvirt_fresh_check(const struct fb_libvirt_fresh *place, bool *ret_made,
    uint64_t *ret_free, struct fb_error *err)
{
	FB_AUTO_FREE char *text = fb_libvirt_fresh_text(place);
	bool there = false;
	int rc = place->path != NULL
	    ? check_file(place, &there, ret_free, err)
	    : check_volume(place, &there, ret_free, err);

	*ret_made = there && is_claimed(place);
	if (place->existing)
		*ret_free = UINT64_MAX;
	if (rc == FB_OK && there && !*ret_made && !place->existing)
		rc = fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "%s exists already", text);
	return rc;
}
