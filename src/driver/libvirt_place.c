/* The places of captures below the scratch directory, and the file in each
 * that is made last and says of which kind it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"
#include "libvirt_internal.h"

#define WHOLE     "whole"
#define KIND_MAX  ((size_t)1 << 20)
#define ASKED_MAX 128

/* QEMU's user passes through, and lists nothing. */
#define PLACE_MODE 0711

/* Its own directory of a capture, and how many digits tell it from others. */
#define OWN        "q"
#define OWN_MODE   0700
#define OWN_DIGITS 16

static const char *const kinds[] = {
	[FB_LIBVIRT_PART] = "",
	[FB_LIBVIRT_JOB] = "job\n",
	[FB_LIBVIRT_DOWN] = "down\n",
	[FB_LIBVIRT_OVERLAY] = "overlay\n",
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
fb_libvirt_own(
    const struct fb_libvirt_driver *driver, const char *uuid, const char *token)
{
	FB_AUTO_FREE char *name = NULL;
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	if (driver->far == NULL)
		return fb_libvirt_part(driver, uuid, token, OWN);
	name = fb_format("%s\n%s\n", uuid, token);
	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)name, strlen(name) }, &digest);
	fb_digest_hex(&digest, hex);
	return fb_format("%s/%s-%.*s", driver->scratch, driver->far_mark,
	    OWN_DIGITS, hex);
}

char *
fb_libvirt_socket(
    const struct fb_libvirt_driver *driver, const char *uuid, const char *token)
{
	FB_AUTO_FREE char *own = fb_libvirt_own(driver, uuid, token);

	return fb_format("%s/nbd", own);
}

bool
fb_libvirt_is_our_socket(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *socket)
{
	FB_AUTO_FREE char *above = driver->far == NULL
	    ? fb_libvirt_place(driver, uuid, "")
	    : fb_format("%s/%s", driver->scratch, driver->far_mark);
	size_t len = strlen(above);

	return strncmp(socket, above, len) == 0 &&
	    socket[len] == (driver->far == NULL ? '/' : '-');
}

/* On the other host, with its directory's name before what may come. */
static int
run_far(const struct fb_libvirt_driver *driver, const char *what,
    const char *script, const char *own, const char *more,
    struct fb_error *err)
{
	const char *const args[] = { own, more, NULL };
	FB_AUTO_FREE char *tried = fb_format("%s '%s'", what, own);

	return fb_libvirt_far_run(driver->far, tried, script, args,
	    (struct fb_span){ 0 }, 0, NULL, err);
}

int
fb_libvirt_make_own(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *own = fb_libvirt_own(driver, uuid, token);

	return driver->far == NULL
	    ? fb_io_mkdirs(own, OWN_MODE, err)
	    : run_far(driver, "make",
	          "dir=$(dirname \"$1\")\n"
	          "[ -d \"$dir\" ] || mkdir -p -m 0711 \"$dir\" || exit 1\n"
	          "[ -d \"$1\" ] || mkdir -m 0700 \"$1\"\n",
	          own, NULL, err);
}

int
fb_libvirt_give_own(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, uint32_t uid, uint32_t gid, struct fb_error *err)
{
	FB_AUTO_FREE char *own = fb_libvirt_own(driver, uuid, token);
	FB_AUTO_FREE char *owner =
	    fb_format("%u:%u", (unsigned)uid, (unsigned)gid);

	if (driver->far != NULL)
		return run_far(driver, "give the domain's user",
		    "chown \"$2\" \"$1\"", own, owner, err);
	if (uid == geteuid())
		return FB_OK;
	if (fb_seam_fails(FB_STEP_RENAME, own) || chown(own, uid, gid) == -1)
		return fb_fail_sys(err,
		    "cannot give '%s' to the domain's user", own);
	return FB_OK;
}

int
fb_libvirt_remove_own(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *own = fb_libvirt_own(driver, uuid, token);

	return driver->far == NULL
	    ? FB_OK
	    : run_far(driver, "remove", "rm -rf \"$1\"", own, NULL, err);
}

static int
make_passable(const char *path, bool always, struct fb_error *err)
{
	struct stat st;
	int rc = fb_io_look(path, &st, err);

	if (rc == FB_OK && !always)
		return FB_OK;
	if (rc == FB_ENOTFOUND)
		rc = fb_io_mkdirs(path, PLACE_MODE, err);
	if (rc == FB_OK &&
	    (fb_seam_fails(FB_STEP_RENAME, path) ||
	        chmod(path, PLACE_MODE) == -1))
		rc = fb_fail_sys(err, "cannot open '%s' up", path);
	return rc;
}

int
fb_libvirt_make_scratch(
    const struct fb_libvirt_driver *driver, struct fb_error *err)
{
	return make_passable(driver->scratch, false, err);
}

/* Whatever the umask; but a scratch that is there is its owner's. */
int
fb_libvirt_make_place(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *machine = fb_libvirt_place(driver, uuid, "");
	FB_AUTO_FREE char *capture = fb_libvirt_place(driver, uuid, token);
	int rc = fb_libvirt_make_scratch(driver, err);

	if (rc == FB_OK)
		rc = make_passable(machine, true, err);
	return rc < 0 || token[0] == '\0' ? rc
	                                  : make_passable(capture, true, err);
}

/* By the clock of one boot, which a guest does not outlive; those of another
 * host do, and only the wall's goes on. */
static uint64_t
clock_of(const struct fb_libvirt_driver *driver, char name[FB_BOOT_ID_SIZE])
{
	if (driver->far == NULL)
		fb_clock_boot_id(name);
	else
		(void)snprintf(name, FB_BOOT_ID_SIZE, "wall");
	return (uint64_t)((driver->far == NULL ? fb_clock_boot_ns()
	                                       : fb_clock_wall_ns()) /
	    1000000);
}

int
fb_libvirt_note_asked(const struct fb_libvirt_driver *driver,
    const char *uuid, uint64_t span_ms, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_ASKED);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char clock[FB_BOOT_ID_SIZE];
	uint64_t now_ms = clock_of(driver, clock);
	int rc = fb_libvirt_reaches(driver) ? fb_libvirt_make_place(driver, uuid, "", err)
	                       : FB_OK;

	fb_buf_add_fmt(&text, "%s %" PRIu64 "\n", clock, now_ms + span_ms);
	return rc < 0 || !fb_libvirt_reaches(driver)
	    ? rc
	    : fb_io_replace(path, fb_buf_span(&text), 0600, err);
}

/* A clock that was set back lets nobody wait for ever. */
static int64_t
span_left(uint64_t until_ms, uint64_t now_ms)
{
	uint64_t left = until_ms > now_ms ? until_ms - now_ms : 0;

	return (int64_t)(left < FB_LIBVIRT_ASKED_MAX_MS
	               ? left
	               : FB_LIBVIRT_ASKED_MAX_MS) *
	    1000000;
}

int64_t
fb_libvirt_asked(const struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_ASKED);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char clock[FB_BOOT_ID_SIZE];
	uint64_t until_ms, now_ms = clock_of(driver, clock);
	size_t len = strlen(clock) + 1;
	struct fb_error ignored;
	struct fb_span number;

	if (!fb_libvirt_reaches(driver) ||
	    fb_io_read_file(path, ASKED_MAX, &text, &ignored) < 0 ||
	    text.len < len + 2 || memcmp(text.data, clock, len - 1) != 0)
		return 0;
	number = (struct fb_span){ text.data + len, text.len - len - 1 };
	return fb_text_u64(number, INT64_MAX / 1000000, &until_ms, &ignored) <
	        0
	    ? 0
	    : span_left(until_ms, now_ms);
}

int
fb_libvirt_forget(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *mark, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_place(driver, uuid, mark);
	struct fb_error ignored;
	struct stat st;

	return !fb_libvirt_reaches(driver) || fb_io_look(path, &st, &ignored) < 0
	    ? FB_OK
	    : fb_io_unlink(path, err);
}

bool
fb_libvirt_is_ours_paused(
    const struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	struct fb_error ignored;
	struct stat st;

	return fb_io_look(path, &st, &ignored) == FB_OK;
}

static char *
unclean_mark(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token)
{
	return token[0] == '\0'
	    ? fb_libvirt_place(driver, uuid, FB_LIBVIRT_UNCLEAN)
	    : fb_libvirt_part(driver, uuid, token, FB_LIBVIRT_UNCLEAN);
}

int
fb_libvirt_note_unclean(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *path = unclean_mark(driver, uuid, token);
	int rc = fb_libvirt_reaches(driver) ? fb_libvirt_make_place(driver, uuid, "", err)
	                       : FB_OK;

	return rc < 0 || !fb_libvirt_reaches(driver)
	    ? rc
	    : fb_io_replace(path, (struct fb_span){ 0 }, 0600, err);
}

bool
fb_libvirt_was_unclean(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token)
{
	FB_AUTO_FREE char *path = unclean_mark(driver, uuid, token);
	struct fb_error ignored;
	struct stat st;

	return fb_libvirt_reaches(driver) && fb_io_look(path, &st, &ignored) == FB_OK;
}

/*
 * What kind it is.
 */

int
fb_libvirt_read_kind(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, enum fb_libvirt_kind *ret_kind,
    struct fb_buf *ret_stamp, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_part(driver, uuid, token, WHOLE);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_io_read_file(path, KIND_MAX, &text, err);

	*ret_kind = FB_LIBVIRT_PART;
	if (rc < 0)
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	for (size_t i = FB_LIBVIRT_PART + 1; i < FB_COUNT(kinds); i++) {
		size_t len = strlen(kinds[i]);

		if (text.len < len || memcmp(text.data, kinds[i], len) != 0)
			continue;
		*ret_kind = (enum fb_libvirt_kind)i;
		fb_buf_add(ret_stamp, text.data + len, text.len - len);
	}
	return FB_OK;
}

int
fb_libvirt_write_kind(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, enum fb_libvirt_kind kind, struct fb_span stamp,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_part(driver, uuid, token, WHOLE);
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add_str(&text, kinds[kind]);
	fb_buf_add(&text, stamp.ptr, stamp.len);
	return fb_io_replace(path, fb_buf_span(&text), 0600, err);
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
		    strcmp(names[i], FB_LIBVIRT_ASKED) != 0 &&
		    strcmp(names[i], FB_LIBVIRT_UNCLEAN) != 0 &&
		    strcmp(names[i], FB_LIBVIRT_FROZEN) != 0 &&
		    strcmp(names[i], FB_LIBVIRT_OVERLAY_MARK) != 0 &&
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
