/*
 * A disk over NBD: from the socket of a backup job, or an image through
 * qemu-nbd, which lives as long as what was opened.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_checkpoint.h"

#define ALLOCATION "base:allocation"

/* The server is asked for the state of so much at a time, and for so much
 * data; so many requests are on their way at once. */
#define STATUS_MAX (UINT64_C(1) << 30)
#define PIECE_MAX  (UINT64_C(1) << 20)
#define PIECES     4

/* Of one answer; more are asked for again. */
#define EXTENTS_MAX 4096

/* A server that does not answer for so long has hung. */
#define STALL_MS INT64_C(120000)

struct extent {
	uint64_t start, end;
	bool zero;
};

struct disk {
	char *what; /* for messages */
	uint64_t size;
	struct nbd_handle *nbd;
	uint64_t align; /* of requests, a power of two */
	bool maps;      /* it tells where zeros are */
	struct extent *extents; /* what it told last, one after the other */
	size_t count;
	uint64_t told; /* where that ends */
	/* A request was given up whose answer may yet come, to memory that
	 * has been freed: nothing is asked any more. */
	bool dead;
};

static int
fail_nbd(const struct disk *disk, const char *tried,
    struct fb_error *err)
{
	const char *why = fb_nbd.nbd_get_error();

	return fb_fail(err, FB_EFAILED, "%s: cannot %s: %s", disk->what,
	    tried, why != NULL ? why : "it does not say why");
}

static int
look_alive(const struct disk *disk, struct fb_error *err)
{
	return disk->dead ? fb_fail(err, FB_EFAILED,
	                        "%s: it did not answer before", disk->what)
	                  : FB_OK;
}

/* Until a command has ended, or nothing happens for too long. */
static int
await(struct disk *disk, int64_t cookie, const char *tried,
    struct fb_error *err)
{
	int64_t deadline = fb_clock_mono_ns() + STALL_MS * 1000000;

	disk->dead = true; /* until it is known */
	for (;;) {
		int done = fb_nbd.nbd_aio_command_completed(
		    disk->nbd, (uint64_t)cookie);

		if (done != 0)
			disk->dead = false;
		if (done == 1)
			return FB_OK;
		if (done < 0 || fb_nbd.nbd_poll(disk->nbd, 1000) < 0)
			return fail_nbd(disk, tried, err);
		if (fb_clock_mono_ns() > deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "%s: no answer for %" PRId64 " s", disk->what,
			    STALL_MS / 1000);
	}
}

/*
 * Where data is.
 */

/* Called with pairs of length and flags from `offset` on. */
static int
take_extents(void *arg, const char *context, uint64_t offset,
    uint32_t *entries, size_t count, int *error)
{
	struct disk *disk = arg;

	(void)error;
	if (strcmp(context, ALLOCATION) != 0 || offset != disk->told)
		return 0;
	for (size_t i = 0;
	     i + 1 < count && disk->count < EXTENTS_MAX; i += 2) {
		struct extent *last = disk->count > 0
		    ? &disk->extents[disk->count - 1]
		    : NULL;
		bool zero = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0;
		uint64_t left = disk->size - disk->told;
		uint64_t len = entries[i] < left ? entries[i] : left;

		if (last != NULL && last->zero == zero)
			last->end += len;
		else
			disk->extents[disk->count++] = (struct extent){
				disk->told, disk->told + len, zero
			};
		disk->told += len;
	}
	return 0;
}

/* From `from` on, for as far as the server tells. */
static int
ask_status(struct disk *disk, uint64_t from, nbd_extent_callback callback,
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
ask_extents(
    struct disk *disk, uint64_t offset, struct fb_error *err)
{
	int rc;

	disk->count = 0;
	disk->told = offset & ~(disk->align - 1);
	rc = ask_status(disk, disk->told,
	    (nbd_extent_callback){
	        .callback = take_extents, .user_data = disk },
	    err);
	if (rc == FB_OK && disk->told <= offset)
		rc = fb_fail(err, FB_EPROTO,
		    "%s: it does not say what lies at %" PRIu64,
		    disk->what, offset);
	return rc;
}

/* The extent that `offset` lies in. */
static int
find_extent(struct disk *disk, uint64_t offset,
    struct extent *ret_extent, struct fb_error *err)
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

static int
extent_of(struct disk *disk, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct extent extent = { 0 };

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
move_aligned(struct disk *disk, uint64_t offset, uint8_t *bytes, size_t len,
    bool write, struct fb_error *err)
{
	const char *tried = write ? "write" : "read";
	int64_t cookies[PIECES];
	size_t began = 0, ended = 0, at = 0;
	int rc = look_alive(disk, err);

	while (rc == FB_OK && (at < len || ended < began)) {
		size_t piece = len - at < PIECE_MAX ? len - at
		                                    : (size_t)PIECE_MAX;
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
widen(const struct disk *disk, uint64_t offset, uint64_t len,
    uint64_t *ret_first, uint64_t *ret_last)
{
	*ret_first = offset & ~(disk->align - 1);
	*ret_last = (offset + len + disk->align - 1) & ~(disk->align - 1);
	if (*ret_last > disk->size)
		*ret_last = disk->size;
}

static int
read_at(struct disk *disk, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *room = NULL;
	uint64_t first, last;
	int rc;

	widen(disk, offset, len, &first, &last);
	if (first == offset && last == offset + len)
		return move_aligned(disk, offset, bytes, len, false, err);
	room = fb_alloc((size_t)(last - first), 1);
	rc = move_aligned(
	    disk, first, room, (size_t)(last - first), false, err);
	if (rc == FB_OK)
		memcpy(bytes, room + (offset - first), len);
	return rc;
}

static int
write_at(struct disk *disk, uint64_t offset, const void *bytes, size_t len,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *room = NULL;
	uint64_t first, last;
	int rc;

	widen(disk, offset, len, &first, &last);
	if (first == offset && last == offset + len)
		return move_aligned(disk, offset, (uint8_t *)(uintptr_t)bytes,
		    len, true, err);
	room = fb_alloc((size_t)(last - first), 1);
	rc = move_aligned(
	    disk, first, room, (size_t)(last - first), false, err);
	if (rc < 0)
		return rc;
	memcpy(room + (offset - first), bytes, len);
	return move_aligned(
	    disk, first, room, (size_t)(last - first), true, err);
}

/*
 * Opening and closing.
 */

struct artifact {
	struct fb_artifact base;
	struct disk disk;
	struct fb_libvirt_changes changes; /* of a job */
};

/* A target is used by several threads; one at a time. */
struct target {
	struct fb_target base;
	struct disk disk;
	pthread_mutex_t lock;
};

/* A server of our own is ended by it, and waited for. */
static void
release_disk(struct disk *disk)
{
	if (disk->nbd != NULL)
		fb_nbd.nbd_close(disk->nbd);
	free(disk->extents);
	free(disk->what);
}

static int
artifact_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	return extent_of(&((struct artifact *)base)->disk, from, ret_start,
	    ret_end, err);
}

static int
artifact_read(struct fb_artifact *base, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	return read_at(
	    &((struct artifact *)base)->disk, offset, bytes, len, err);
}

static void
artifact_close(struct fb_artifact *base)
{
	struct artifact *artifact = (struct artifact *)base;

	release_disk(&artifact->disk);
	fb_libvirt_changes_release(&artifact->changes);
	free(artifact);
}

static const struct fb_artifact_ops artifact_ops = {
	.extent = artifact_extent,
	.read = artifact_read,
	.close = artifact_close,
};

int
fb_libvirt_ask_context(struct fb_artifact *base, const char *context,
    uint64_t from, nbd_extent_callback callback, struct fb_error *err)
{
	struct disk *disk = &((struct artifact *)base)->disk;

	return fb_nbd.nbd_can_meta_context(disk->nbd, context) == 1
	    ? ask_status(disk, from, callback, err)
	    : fb_fail(err, FB_EFAILED, "%s: it has no '%s'", disk->what,
	          context);
}

static int
job_blocks(struct fb_artifact *base, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	return fb_libvirt_tell_changes(base,
	    &((struct artifact *)base)->changes, since, ret_changed, err);
}

static const struct fb_artifact_ops job_ops = {
	.extent = artifact_extent,
	.read = artifact_read,
	.changed_blocks = job_blocks,
	.close = artifact_close,
};

static int
target_extent(struct fb_target *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc;

	(void)pthread_mutex_lock(&target->lock);
	rc = extent_of(&target->disk, from, ret_start, ret_end, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static int
target_read(struct fb_target *base, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc;

	(void)pthread_mutex_lock(&target->lock);
	rc = read_at(&target->disk, offset, bytes, len, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static int
check_range(const struct disk *disk, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	return offset > disk->size || len > disk->size - offset
	    ? fb_fail(err, FB_EBUG, "%s: write past its end", disk->what)
	    : FB_OK;
}

static int
target_write(struct fb_target *base, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc = check_range(&target->disk, offset, len, err);

	if (rc == FB_OK && fb_seam_fails(FB_STEP_WRITE, target->disk.what))
		rc = fb_fail_sys(err, "%s: cannot write", target->disk.what);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&target->lock);
	target->disk.count = 0; /* what it said of zeros is past */
	rc = write_at(&target->disk, offset, bytes, len, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

/* As a hole, where the image can have one. */
static int
zero_blocks(struct disk *disk, uint64_t offset, uint64_t len,
    struct fb_error *err)
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

static int
zero_at(struct disk *disk, uint64_t offset, uint64_t len, struct fb_error *err)
{
	uint64_t end = offset + len;
	uint64_t first = (offset + disk->align - 1) & ~(disk->align - 1);
	uint64_t last = end == disk->size ? end : end & ~(disk->align - 1);
	FB_AUTO_FREE uint8_t *zeros = fb_alloc((size_t)disk->align * 2, 1);
	int rc = FB_OK;

	if (first >= last)
		return write_at(disk, offset, zeros, (size_t)len, err);
	if (first > offset)
		rc = write_at(
		    disk, offset, zeros, (size_t)(first - offset), err);
	if (rc == FB_OK)
		rc = zero_blocks(disk, first, last - first, err);
	if (rc == FB_OK && end > last)
		rc = write_at(disk, last, zeros, (size_t)(end - last), err);
	return rc;
}

static int
target_zero(struct fb_target *base, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc = check_range(&target->disk, offset, len, err);

	if (rc == FB_OK && fb_seam_fails(FB_STEP_WRITE, target->disk.what))
		rc = fb_fail_sys(err, "%s: cannot clear", target->disk.what);
	if (rc < 0 || len == 0)
		return rc;
	(void)pthread_mutex_lock(&target->lock);
	target->disk.count = 0;
	rc = zero_at(&target->disk, offset, len, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static int
target_sync(struct fb_target *base, struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int64_t cookie;
	int rc;

	if (fb_seam_fails(FB_STEP_SYNC, target->disk.what))
		return fb_fail_sys(err, "%s: cannot flush", target->disk.what);
	(void)pthread_mutex_lock(&target->lock);
	rc = look_alive(&target->disk, err);
	if (rc == FB_OK) {
		cookie = fb_nbd.nbd_aio_flush(
		    target->disk.nbd, NBD_NULL_COMPLETION, 0);
		rc = cookie < 0 ? fail_nbd(&target->disk, "flush", err)
		                : await(&target->disk, cookie, "flush", err);
	}
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static void
target_close(struct fb_target *base)
{
	struct target *target = (struct target *)base;

	release_disk(&target->disk);
	(void)pthread_mutex_destroy(&target->lock);
	free(target);
}

static const struct fb_target_ops target_ops = {
	.extent = target_extent,
	.read = target_read,
	.write = target_write,
	.zero = target_zero,
	.sync = target_sync,
	.close = target_close,
};

static int
make(struct disk *disk, const char *what, struct fb_error *err)
{
	const char *why = fb_nbd_load();

	disk->what = fb_strdup(what);
	if (why != NULL) {
		(void)fb_fail_id(err, FB_EUNSUP, "E-DRIVER-ABSENT",
		    "libnbd is not there: %s", why);
		return fb_hint(err, "install libnbd0");
	}
	disk->extents = fb_alloc(EXTENTS_MAX, sizeof(struct extent));
	disk->nbd = fb_nbd.nbd_create();
	if (disk->nbd == NULL ||
	    fb_nbd.nbd_add_meta_context(disk->nbd, ALLOCATION) < 0)
		return fail_nbd(disk, "begin", err);
	return FB_OK;
}

static int
look_at(struct disk *disk, struct fb_error *err)
{
	int64_t size = fb_nbd.nbd_get_size(disk->nbd);
	int64_t align =
	    fb_nbd.nbd_get_block_size(disk->nbd, LIBNBD_SIZE_MINIMUM);

	if (size < 0)
		return fail_nbd(disk, "tell its size", err);
	if (align > (int64_t)PIECE_MAX || (align & (align - 1)) != 0)
		return fb_fail(err, FB_EPROTO,
		    "%s: it wants requests of %" PRId64 " bytes",
		    disk->what, align);
	disk->size = (uint64_t)size;
	disk->align = align > 0 ? (uint64_t)align : 1;
	disk->maps =
	    fb_nbd.nbd_can_meta_context(disk->nbd, ALLOCATION) == 1;
	return FB_OK;
}

int
fb_libvirt_read_job(const char *socket, const char *export_,
    struct fb_libvirt_changes *changes, struct fb_artifact **ret_artifact,
    struct fb_error *err)
{
	FB_AUTO_FREE char *what = fb_format("backup job, disk '%s'", export_);
	FB_AUTO_ARTIFACT struct fb_artifact *base = NULL;
	struct artifact *artifact = fb_alloc(1, sizeof(*artifact));
	struct disk *disk = &artifact->disk;
	int rc = make(disk, what, err);

	base = &artifact->base;
	base->ops = changes->token != NULL || changes->why != NULL
	    ? &job_ops
	    : &artifact_ops;
	artifact->changes = *changes;
	*changes = (struct fb_libvirt_changes){ 0 };
	if (rc == FB_OK && artifact->changes.bitmap != NULL &&
	    fb_nbd.nbd_add_meta_context(
	        disk->nbd, artifact->changes.bitmap) < 0)
		rc = fail_nbd(disk, "begin", err);
	if (rc == FB_OK &&
	    (fb_nbd.nbd_set_export_name(disk->nbd, export_) < 0 ||
	        fb_nbd.nbd_connect_unix(disk->nbd, socket) < 0))
		rc = fail_nbd(disk, "connect", err);
	if (rc == FB_OK)
		rc = look_at(disk, err);
	if (rc < 0)
		return rc;
	base->size = disk->size;
	if (artifact->changes.token != NULL)
		(void)snprintf(base->token, sizeof(base->token), "%s",
		    artifact->changes.token);
	*ret_artifact = FB_STEAL(base);
	return FB_OK;
}

/* In a session of its own: what interrupts us is not meant for it.  It ends
 * with its only client, however that ends. */
static int
serve_image(struct disk *disk, const char *path, const char *format,
    bool write, struct fb_error *err)
{
	const char *const words[] = { "setsid", "qemu-nbd", "--format", format,
		write ? "--discard=unmap" : "--read-only", path, NULL };
	FB_AUTO_FREE char *what = fb_format("image '%s'", path);
	int rc = make(disk, what, err);

	if (rc == FB_OK && path[0] != '/')
		rc = fb_fail(
		    err, FB_EPROTO, "'%s' is no absolute path", path);
	if (rc == FB_OK && fb_seam_fails(FB_STEP_CHILD, "qemu-nbd"))
		rc = fb_fail_sys(err, "cannot run qemu-nbd");
	if (rc < 0)
		return rc;
	if (fb_nbd.nbd_connect_systemd_socket_activation(
	        disk->nbd, (char **)(uintptr_t)words) == 0)
		return look_at(disk, err);
	(void)fail_nbd(disk, "run qemu-nbd for it", err);
	return fb_hint(err, "is qemu-nbd installed (qemu-utils), and the image "
	                    "not in use?");
}

int
fb_libvirt_read_image(const char *path, const char *format,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_ARTIFACT struct fb_artifact *base = NULL;
	struct artifact *artifact = fb_alloc(1, sizeof(*artifact));
	int rc;

	base = &artifact->base;
	base->ops = &artifact_ops;
	rc = serve_image(&artifact->disk, path, format, false, err);
	if (rc < 0)
		return rc;
	base->size = artifact->disk.size;
	*ret_artifact = FB_STEAL(base);
	return FB_OK;
}

int
fb_libvirt_write_image(const char *path, const char *format,
    struct fb_target **ret_target, struct fb_error *err)
{
	FB_AUTO_TARGET struct fb_target *base = NULL;
	struct target *target = fb_alloc(1, sizeof(*target));
	int rc;

	(void)pthread_mutex_init(&target->lock, NULL);
	base = &target->base;
	base->ops = &target_ops;
	rc = serve_image(&target->disk, path, format, true, err);
	if (rc < 0)
		return rc;
	base->size = target->disk.size;
	*ret_target = FB_STEAL(base);
	return FB_OK;
}
