/*
 * A disk over NBD: from the socket of a backup job, or an image through
 * qemu-nbd, which lives as long as what was opened.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_nbd.h"

#define ALLOCATION "base:allocation"

/* The server is asked for the state of so much at a time, and for so much
 * data; so many requests are on their way at once. */
#define STATUS_MAX (UINT64_C(1) << 30)
#define PIECE_MAX  (UINT64_C(1) << 20)
#define PIECES     4

/* Of one answer; more are asked for again. */
#define EXTENTS_MAX 4096

int64_t fb_disk_patience_ms = 120000;

#define LOOK_MS 1000

static int
fail_nbd(const struct fb_disk *disk, const char *tried, struct fb_error *err)
{
	const char *why = fb_nbd.nbd_get_error();

	return fb_fail(err, FB_EFAILED, "%s: cannot %s: %s", disk->what, tried,
	    why != NULL ? why : "it does not say why");
}

static int
look_alive(const struct fb_disk *disk, struct fb_error *err)
{
	return disk->dead ? fb_fail(err, FB_EFAILED,
	                        "%s: it did not answer before", disk->what)
	                  : FB_OK;
}

static int64_t
deadline_from_now(void)
{
	return fb_clock_mono_ns() + fb_disk_patience_ms * 1000000;
}

/* Until something happens; FB_ETIMEOUT: for too long nothing did. */
static int
poll_until(struct fb_disk *disk, int64_t deadline, const char *tried,
    struct fb_error *err)
{
	int64_t left_ms = (deadline - fb_clock_mono_ns()) / 1000000;

	if (left_ms <= 0)
		return fb_fail(err, FB_ETIMEOUT,
		    "%s: no answer for %" PRId64 " s", disk->what,
		    fb_disk_patience_ms / 1000);
	return fb_nbd.nbd_poll(
	           disk->nbd, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS) < 0
	    ? fail_nbd(disk, tried, err)
	    : FB_OK;
}

/* Until a command has ended, or nothing happens for too long. */
static int
await(struct fb_disk *disk, int64_t cookie, const char *tried,
    struct fb_error *err)
{
	int64_t deadline = deadline_from_now();

	disk->dead = true; /* until it is known */
	for (;;) {
		int done = fb_nbd.nbd_aio_command_completed(
		    disk->nbd, (uint64_t)cookie);

		if (done != 0)
			disk->dead = false;
		if (done == 1)
			return FB_OK;
		if (done < 0)
			return fail_nbd(disk, tried, err);
		if (poll_until(disk, deadline, tried, err) < 0)
			return err->code;
	}
}

/* Once a connection was begun: until both sides know enough of each other. */
static int
await_ready(struct fb_disk *disk, const char *tried, struct fb_error *err)
{
	int64_t deadline = deadline_from_now();

	disk->dead = true;
	while (fb_nbd.nbd_aio_is_connecting(disk->nbd) == 1)
		if (poll_until(disk, deadline, tried, err) < 0)
			return err->code;
	if (fb_nbd.nbd_aio_is_ready(disk->nbd) != 1)
		return fail_nbd(disk, tried, err);
	disk->dead = false;
	return FB_OK;
}

/*
 * Where data is.
 */

/* Called with pairs of length and flags from `offset` on. */
static int
take_extents(void *arg, const char *context, uint64_t offset, uint32_t *entries,
    size_t count, int *error)
{
	struct fb_disk *disk = arg;

	(void)error;
	if (strcmp(context, ALLOCATION) != 0 || offset != disk->told)
		return 0;
	for (size_t i = 0; i + 1 < count && disk->count < EXTENTS_MAX; i += 2) {
		struct fb_disk_extent *last =
		    disk->count > 0 ? &disk->extents[disk->count - 1] : NULL;
		bool zero = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0;
		uint64_t left = disk->size - disk->told;
		uint64_t len = entries[i] < left ? entries[i] : left;

		if (last != NULL && last->zero == zero)
			last->end += len;
		else
			disk->extents[disk->count++] =
			    (struct fb_disk_extent){ disk->told,
				    disk->told + len, zero };
		disk->told += len;
	}
	return 0;
}

/* From `from` on, for as far as the server tells. */
int
fb_disk_ask(struct fb_disk *disk, uint64_t from, nbd_extent_callback callback,
    struct fb_error *err)
{
	static const char tried[] = "ask where data is";
	uint64_t len = disk->size - from;
	int64_t cookie;

	if (look_alive(disk, err) < 0)
		return err->code;
	cookie = fb_nbd.nbd_aio_block_status(disk->nbd,
	    len < STATUS_MAX ? len : STATUS_MAX, from, callback,
	    NBD_NULL_COMPLETION, 0);
	return cookie < 0 ? fail_nbd(disk, tried, err)
	                  : await(disk, cookie, tried, err);
}

/* What lies at `offset`. */
static int
ask_extents(struct fb_disk *disk, uint64_t offset, struct fb_error *err)
{
	int rc;

	disk->count = 0;
	disk->told = offset & ~(disk->align - 1);
	rc = fb_disk_ask(disk, disk->told,
	    (nbd_extent_callback){
	        .callback = take_extents, .user_data = disk },
	    err);
	if (rc == FB_OK && disk->told <= offset)
		rc = fb_fail(err, FB_EPROTO,
		    "%s: it does not say what lies at %" PRIu64, disk->what,
		    offset);
	return rc;
}

/* The extent that `offset` lies in. */
static int
find_extent(struct fb_disk *disk, uint64_t offset,
    struct fb_disk_extent *ret_extent, struct fb_error *err)
{
	size_t low = 0, high;
	int rc = FB_OK;

	if (disk->count == 0 || offset < disk->extents[0].start ||
	    offset >= disk->told)
		rc = ask_extents(disk, offset, err);
	if (rc < 0)
		return rc;
	high = disk->count - 1;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (disk->extents[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_extent = disk->extents[low];
	return FB_OK;
}

int
fb_disk_extent(struct fb_disk *disk, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct fb_disk_extent extent = { 0 };

	*ret_start = from < disk->size ? from : disk->size;
	*ret_end = disk->size;
	if (!disk->maps)
		return FB_OK;
	while (*ret_start < disk->size) {
		int rc = find_extent(disk, *ret_start, &extent, err);

		if (rc < 0)
			return rc;
		if (!extent.zero)
			break;
		*ret_start = extent.end;
	}
	/* A smaller piece than there may be: the next one is asked for. */
	if (*ret_start < disk->size)
		*ret_end = extent.end;
	return FB_OK;
}

/*
 * Data.
 */

/* Pieces of `len` bytes at `bytes`, one way or the other; of whole blocks. */
static int
move_aligned(struct fb_disk *disk, uint64_t offset, uint8_t *bytes, size_t len,
    bool write, struct fb_error *err)
{
	const char *tried = write ? "write" : "read";
	int64_t cookies[PIECES];
	size_t began = 0, ended = 0, at = 0;
	int rc = look_alive(disk, err);

	while (rc == FB_OK && (at < len || ended < began)) {
		size_t piece =
		    len - at < PIECE_MAX ? len - at : (size_t)PIECE_MAX;
		int64_t cookie;

		if (at == len || began - ended == PIECES) {
			rc = await(disk, cookies[ended++ % PIECES], tried, err);
			continue;
		}
		cookie = write
		    ? fb_nbd.nbd_aio_pwrite(disk->nbd, bytes + at, piece,
		          offset + at, NBD_NULL_COMPLETION, 0)
		    : fb_nbd.nbd_aio_pread(disk->nbd, bytes + at, piece,
		          offset + at, NBD_NULL_COMPLETION, 0);
		if (cookie < 0) {
			rc = fail_nbd(disk, tried, err);
			break;
		}
		cookies[began++ % PIECES] = cookie;
		at += piece;
	}
	disk->dead |= rc < 0; /* others may be on their way */
	return rc;
}

/* The whole blocks that a range touches. */
static void
widen(const struct fb_disk *disk, uint64_t offset, uint64_t len,
    uint64_t *ret_first, uint64_t *ret_last)
{
	*ret_first = offset & ~(disk->align - 1);
	*ret_last = (offset + len + disk->align - 1) & ~(disk->align - 1);
	if (*ret_last > disk->size)
		*ret_last = disk->size;
}

int
fb_disk_read(struct fb_disk *disk, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *room = NULL;
	uint64_t first, last;
	int rc;

	widen(disk, offset, len, &first, &last);
	if (first == offset && last == offset + len)
		return move_aligned(disk, offset, bytes, len, false, err);
	room = fb_alloc((size_t)(last - first), 1);
	rc =
	    move_aligned(disk, first, room, (size_t)(last - first), false, err);
	if (rc == FB_OK)
		memcpy(bytes, room + (offset - first), len);
	return rc;
}

int
fb_disk_write(struct fb_disk *disk, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *room = NULL;
	uint64_t first, last;
	int rc;

	widen(disk, offset, len, &first, &last);
	if (first == offset && last == offset + len)
		return move_aligned(
		    disk, offset, (uint8_t *)(uintptr_t)bytes, len, true, err);
	room = fb_alloc((size_t)(last - first), 1);
	rc =
	    move_aligned(disk, first, room, (size_t)(last - first), false, err);
	if (rc < 0)
		return rc;
	memcpy(room + (offset - first), bytes, len);
	return move_aligned(
	    disk, first, room, (size_t)(last - first), true, err);
}

/* As a hole, where the image can have one. */
static int
zero_blocks(
    struct fb_disk *disk, uint64_t offset, uint64_t len, struct fb_error *err)
{
	while (len > 0) {
		uint64_t step = len < STATUS_MAX ? len : STATUS_MAX;
		int64_t cookie;
		int rc = look_alive(disk, err);

		if (rc < 0)
			return rc;
		cookie = fb_nbd.nbd_aio_zero(
		    disk->nbd, step, offset, NBD_NULL_COMPLETION, 0);
		if (cookie < 0)
			return fail_nbd(disk, "clear", err);
		rc = await(disk, cookie, "clear", err);
		if (rc < 0)
			return rc;
		offset += step;
		len -= step;
	}
	return FB_OK;
}

int
fb_disk_zero(
    struct fb_disk *disk, uint64_t offset, uint64_t len, struct fb_error *err)
{
	uint64_t end = offset + len;
	uint64_t first = (offset + disk->align - 1) & ~(disk->align - 1);
	uint64_t last = end == disk->size ? end : end & ~(disk->align - 1);
	FB_AUTO_FREE uint8_t *zeros = fb_alloc((size_t)disk->align * 2, 1);
	int rc = FB_OK;

	if (first >= last)
		return fb_disk_write(disk, offset, zeros, (size_t)len, err);
	if (first > offset)
		rc = fb_disk_write(
		    disk, offset, zeros, (size_t)(first - offset), err);
	if (rc == FB_OK)
		rc = zero_blocks(disk, first, last - first, err);
	if (rc == FB_OK && end > last)
		rc =
		    fb_disk_write(disk, last, zeros, (size_t)(end - last), err);
	return rc;
}

int
fb_disk_flush(struct fb_disk *disk, struct fb_error *err)
{
	int64_t cookie;
	int rc = look_alive(disk, err);

	if (rc < 0)
		return rc;
	cookie = fb_nbd.nbd_aio_flush(disk->nbd, NBD_NULL_COMPLETION, 0);
	return cookie < 0 ? fail_nbd(disk, "flush", err)
	                  : await(disk, cookie, "flush", err);
}

/*
 * Opening and closing.
 */

static void *
close_late(void *nbd)
{
	fb_nbd.nbd_close(nbd);
	return NULL;
}

/* A server of our own is ended by it, and waited for; but nobody waits for one
 * that has hung. */
void
fb_disk_close(struct fb_disk *disk)
{
	pthread_t thread;

	if (disk->nbd != NULL && !disk->dead)
		fb_nbd.nbd_close(disk->nbd);
	else if (disk->nbd != NULL &&
	    pthread_create(&thread, NULL, close_late, disk->nbd) == 0)
		(void)pthread_detach(thread);
	free(disk->extents);
	free(disk->what);
}

static int
make(struct fb_disk *disk, const char *what, struct fb_error *err)
{
	const char *why = fb_nbd_load();

	disk->what = fb_strdup(what);
	if (why != NULL) {
		(void)fb_fail_id(err, FB_EUNSUP, "E-DRIVER-ABSENT",
		    "libnbd is not there: %s", why);
		return fb_hint(err, "install libnbd0");
	}
	disk->extents = fb_alloc(EXTENTS_MAX, sizeof(struct fb_disk_extent));
	disk->nbd = fb_nbd.nbd_create();
	if (disk->nbd == NULL ||
	    fb_nbd.nbd_add_meta_context(disk->nbd, ALLOCATION) < 0)
		return fail_nbd(disk, "begin", err);
	return FB_OK;
}

static int
look_at(struct fb_disk *disk, struct fb_error *err)
{
	int64_t size = fb_nbd.nbd_get_size(disk->nbd);
	int64_t align =
	    fb_nbd.nbd_get_block_size(disk->nbd, LIBNBD_SIZE_MINIMUM);

	if (size < 0)
		return fail_nbd(disk, "tell its size", err);
	if (align > (int64_t)PIECE_MAX || (align & (align - 1)) != 0)
		return fb_fail(err, FB_EPROTO,
		    "%s: it wants requests of %" PRId64 " bytes", disk->what,
		    align);
	disk->size = (uint64_t)size;
	disk->align = align > 0 ? (uint64_t)align : 1;
	disk->maps = fb_nbd.nbd_can_meta_context(disk->nbd, ALLOCATION) == 1;
	return FB_OK;
}

static int
choose_export(struct fb_disk *disk, const char *export_, const char *context,
    struct fb_error *err)
{
	return (context != NULL &&
	           fb_nbd.nbd_add_meta_context(disk->nbd, context) < 0) ||
	        fb_nbd.nbd_set_export_name(disk->nbd, export_) < 0
	    ? fail_nbd(disk, "begin", err)
	    : FB_OK;
}

int
fb_disk_open_socket(struct fb_disk *disk, const char *what, const char *socket,
    const char *export_, const char *context, struct fb_error *err)
{
	int rc = make(disk, what, err);

	if (rc == FB_OK)
		rc = choose_export(disk, export_, context, err);
	if (rc == FB_OK &&
	    fb_nbd.nbd_aio_connect_unix(disk->nbd, socket) < 0)
		rc = fail_nbd(disk, "connect", err);
	if (rc == FB_OK)
		rc = await_ready(disk, "connect", err);
	return rc < 0 ? rc : look_at(disk, err);
}

int
fb_disk_open_command(struct fb_disk *disk, const char *what,
    char *const *words, const char *export_, const char *context,
    struct fb_error *err)
{
	int rc = make(disk, what, err);

	if (rc == FB_OK)
		rc = choose_export(disk, export_, context, err);
	if (rc == FB_OK && fb_seam_fails(FB_STEP_CHILD, words[0]))
		rc = fb_fail_sys(err, "cannot run %s", words[0]);
	if (rc == FB_OK &&
	    fb_nbd.nbd_aio_connect_command(
	        disk->nbd, (char **)(uintptr_t)words) < 0)
		rc = fail_nbd(disk, "connect", err);
	if (rc == FB_OK)
		rc = await_ready(disk, "connect", err);
	return rc < 0 ? rc : look_at(disk, err);
}

/* In a session of its own: what interrupts us is not meant for it.  It ends
 * with its only client, however that ends. */
static int
serve_image(struct fb_disk *disk, const char *path, const char *const *words,
    const char *context, struct fb_error *err)
{
	static const char tried[] = "run qemu-nbd for it";
	FB_AUTO_FREE char *what = fb_format("image '%s'", path);
	int rc = make(disk, what, err);

	if (rc == FB_OK && path[0] != '/')
		rc = fb_fail(err, FB_EPROTO, "'%s' is no absolute path", path);
	if (rc == FB_OK && context != NULL &&
	    fb_nbd.nbd_add_meta_context(disk->nbd, context) < 0)
		rc = fail_nbd(disk, "begin", err);
	if (rc == FB_OK && fb_seam_fails(FB_STEP_CHILD, "qemu-nbd"))
		rc = fb_fail_sys(err, "cannot run qemu-nbd");
	if (rc < 0)
		return rc;
	rc = fb_nbd.nbd_aio_connect_systemd_socket_activation(
	         disk->nbd, (char **)(uintptr_t)words) == 0
	    ? await_ready(disk, tried, err)
	    : fail_nbd(disk, tried, err);
	if (rc == FB_OK)
		return look_at(disk, err);
	return fb_hint(err,
	    "is qemu-nbd installed (qemu-utils), and the image "
	    "not in use?");
}

int
fb_disk_open_image(struct fb_disk *disk, const char *path, const char *format,
    bool write, struct fb_error *err)
{
	const char *const words[] = { "setsid", "qemu-nbd", "--format", format,
		write ? "--discard=unmap" : "--read-only", path, NULL };

	return serve_image(disk, path, words, NULL, err);
}

int
fb_disk_open_changes(struct fb_disk *disk, const char *path,
    const char *format, const char *bitmap, const char *context,
    struct fb_error *err)
{
	const char *const words[] = { "setsid", "qemu-nbd", "--format", format,
		"--read-only", "--bitmap", bitmap, path, NULL };

	return serve_image(disk, path, words, context, err);
}
