/*
 * A disk over NBD: from the socket of a backup job, or from an image through
 * qemu-nbd, which lives as long as the artifact.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_internal.h"

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

struct nbd_artifact {
	struct fb_artifact base;
	char *what; /* for messages */
	struct nbd_handle *nbd;
	uint64_t align; /* of requests, a power of two */
	bool maps;      /* it tells where zeros are */
	struct extent *extents; /* what it told last, one after the other */
	size_t count;
	uint64_t told; /* where that ends */
};

static int
fail_nbd(const struct nbd_artifact *artifact, const char *tried,
    struct fb_error *err)
{
	const char *why = fb_nbd.nbd_get_error();

	return fb_fail(err, FB_EFAILED, "%s: cannot %s: %s", artifact->what,
	    tried, why != NULL ? why : "it does not say why");
}

/* Until a command has ended, or nothing happens for too long. */
static int
await(const struct nbd_artifact *artifact, int64_t cookie, const char *tried,
    struct fb_error *err)
{
	int64_t deadline = fb_clock_mono_ns() + STALL_MS * 1000000;

	for (;;) {
		int done = fb_nbd.nbd_aio_command_completed(
		    artifact->nbd, (uint64_t)cookie);

		if (done == 1)
			return FB_OK;
		if (done < 0 || fb_nbd.nbd_poll(artifact->nbd, 1000) < 0)
			return fail_nbd(artifact, tried, err);
		if (fb_clock_mono_ns() > deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "%s: no answer for %" PRId64 " s", artifact->what,
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
	struct nbd_artifact *artifact = arg;

	(void)error;
	if (strcmp(context, ALLOCATION) != 0 || offset != artifact->told)
		return 0;
	for (size_t i = 0;
	     i + 1 < count && artifact->count < EXTENTS_MAX; i += 2) {
		struct extent *last = artifact->count > 0
		    ? &artifact->extents[artifact->count - 1]
		    : NULL;
		bool zero = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0;
		uint64_t left = artifact->base.size - artifact->told;
		uint64_t len = entries[i] < left ? entries[i] : left;

		if (last != NULL && last->zero == zero)
			last->end += len;
		else
			artifact->extents[artifact->count++] = (struct extent){
				artifact->told, artifact->told + len, zero
			};
		artifact->told += len;
	}
	return 0;
}

/* What lies at `offset`, for as far as the server tells. */
static int
ask_extents(
    struct nbd_artifact *artifact, uint64_t offset, struct fb_error *err)
{
	uint64_t from = offset & ~(artifact->align - 1);
	uint64_t len = artifact->base.size - from;
	int64_t cookie;
	int rc;

	if (len > STATUS_MAX)
		len = STATUS_MAX;
	artifact->count = 0;
	artifact->told = from;
	cookie = fb_nbd.nbd_aio_block_status(artifact->nbd, len, from,
	    (nbd_extent_callback){
	        .callback = take_extents, .user_data = artifact },
	    NBD_NULL_COMPLETION, 0);
	if (cookie < 0)
		return fail_nbd(artifact, "ask where data is", err);
	rc = await(artifact, cookie, "ask where data is", err);
	if (rc == FB_OK && artifact->told <= offset)
		rc = fb_fail(err, FB_EPROTO,
		    "%s: it does not say what lies at %" PRIu64,
		    artifact->what, offset);
	return rc;
}

/* The extent that `offset` lies in. */
static int
find_extent(struct nbd_artifact *artifact, uint64_t offset,
    struct extent *ret_extent, struct fb_error *err)
{
	size_t low = 0, high;
	int rc = FB_OK;

	if (artifact->count == 0 || offset < artifact->extents[0].start ||
	    offset >= artifact->told)
		rc = ask_extents(artifact, offset, err);
	if (rc < 0)
		return rc;
	high = artifact->count - 1;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (artifact->extents[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_extent = artifact->extents[low];
	return FB_OK;
}

static int
nbd_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct nbd_artifact *artifact = (struct nbd_artifact *)base;
	struct extent extent = { 0 };

	*ret_start = from < base->size ? from : base->size;
	*ret_end = base->size;
	if (!artifact->maps)
		return FB_OK;
	while (*ret_start < base->size) {
		int rc = find_extent(artifact, *ret_start, &extent, err);

		if (rc < 0)
			return rc;
		if (!extent.zero)
			break;
		*ret_start = extent.end;
	}
	/* A smaller piece than there may be: the next one is asked for. */
	if (*ret_start < base->size)
		*ret_end = extent.end;
	return FB_OK;
}

/*
 * Data.
 */

/* Of a whole number of the server's blocks. */
static int
read_aligned(struct nbd_artifact *artifact, uint64_t offset, uint8_t *bytes,
    size_t len, struct fb_error *err)
{
	int64_t cookies[PIECES];
	size_t began = 0, ended = 0, at = 0;
	int rc = FB_OK;

	while (rc == FB_OK && (at < len || ended < began)) {
		if (at < len && began - ended < PIECES) {
			size_t piece = len - at < PIECE_MAX
			    ? len - at
			    : (size_t)PIECE_MAX;
			int64_t cookie = fb_nbd.nbd_aio_pread(artifact->nbd,
			    bytes + at, piece, offset + at,
			    NBD_NULL_COMPLETION, 0);

			if (cookie < 0)
				return fail_nbd(artifact, "read", err);
			cookies[began++ % PIECES] = cookie;
			at += piece;
			continue;
		}
		rc = await(artifact, cookies[ended++ % PIECES], "read", err);
	}
	return rc;
}

static int
nbd_read(struct fb_artifact *base, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct nbd_artifact *artifact = (struct nbd_artifact *)base;
	uint64_t first = offset & ~(artifact->align - 1);
	uint64_t last =
	    (offset + len + artifact->align - 1) & ~(artifact->align - 1);
	FB_AUTO_FREE uint8_t *room = NULL;
	int rc;

	if (last > base->size)
		last = base->size;
	if (first == offset && last == offset + len)
		return read_aligned(artifact, offset, bytes, len, err);
	room = fb_alloc((size_t)(last - first), 1);
	rc = read_aligned(
	    artifact, first, room, (size_t)(last - first), err);
	if (rc == FB_OK)
		memcpy(bytes, room + (offset - first), len);
	return rc;
}

/*
 * Opening and closing.
 */

static void
nbd_close_artifact(struct fb_artifact *base)
{
	struct nbd_artifact *artifact = (struct nbd_artifact *)base;

	/* A server of our own is ended by it, and waited for. */
	if (artifact->nbd != NULL)
		fb_nbd.nbd_close(artifact->nbd);
	free(artifact->extents);
	free(artifact->what);
	free(artifact);
}

static const struct fb_artifact_ops nbd_ops = {
	.extent = nbd_extent,
	.read = nbd_read,
	.close = nbd_close_artifact,
};

static int
make(const char *what, struct nbd_artifact **ret, struct fb_error *err)
{
	const char *why = fb_nbd_load();
	struct nbd_artifact *artifact;

	if (why != NULL) {
		(void)fb_fail_id(err, FB_EUNSUP, "E-DRIVER-ABSENT",
		    "libnbd is not there: %s", why);
		return fb_hint(err, "install libnbd0");
	}
	artifact = fb_alloc(1, sizeof(*artifact));
	artifact->base.ops = &nbd_ops;
	artifact->what = fb_strdup(what);
	artifact->extents = fb_alloc(EXTENTS_MAX, sizeof(struct extent));
	artifact->nbd = fb_nbd.nbd_create();
	*ret = artifact;
	if (artifact->nbd == NULL ||
	    fb_nbd.nbd_add_meta_context(artifact->nbd, ALLOCATION) < 0)
		return fail_nbd(artifact, "begin", err);
	return FB_OK;
}

static int
look_at(struct nbd_artifact *artifact, struct fb_error *err)
{
	int64_t size = fb_nbd.nbd_get_size(artifact->nbd);
	int64_t align =
	    fb_nbd.nbd_get_block_size(artifact->nbd, LIBNBD_SIZE_MINIMUM);

	if (size < 0)
		return fail_nbd(artifact, "tell its size", err);
	if (align > (int64_t)PIECE_MAX || (align & (align - 1)) != 0)
		return fb_fail(err, FB_EPROTO,
		    "%s: it wants requests of %" PRId64 " bytes",
		    artifact->what, align);
	artifact->base.size = (uint64_t)size;
	artifact->align = align > 0 ? (uint64_t)align : 1;
	artifact->maps =
	    fb_nbd.nbd_can_meta_context(artifact->nbd, ALLOCATION) == 1;
	return FB_OK;
}

int
fb_libvirt_read_job(const char *socket, const char *export_,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *what = fb_format("backup job, disk '%s'", export_);
	FB_AUTO_ARTIFACT struct fb_artifact *base = NULL;
	struct nbd_artifact *artifact = NULL;
	int rc = make(what, &artifact, err);

	base = (struct fb_artifact *)artifact;
	if (rc == FB_OK &&
	    (fb_nbd.nbd_set_export_name(artifact->nbd, export_) < 0 ||
	        fb_nbd.nbd_connect_unix(artifact->nbd, socket) < 0))
		rc = fail_nbd(artifact, "connect", err);
	if (rc == FB_OK)
		rc = look_at(artifact, err);
	if (rc == FB_OK)
		*ret_artifact = FB_STEAL(base);
	return rc;
}

int
fb_libvirt_read_image(const char *path, const char *format,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	/* In a session of its own: what interrupts us is not meant for it.
	 * It ends with its only client, however that ends. */
	const char *const words[] = { "setsid", "qemu-nbd", "--read-only",
		"--format", format, path, NULL };
	char **argv = (char **)(uintptr_t)words;
	FB_AUTO_FREE char *what = fb_format("image '%s'", path);
	FB_AUTO_ARTIFACT struct fb_artifact *base = NULL;
	struct nbd_artifact *artifact = NULL;
	int rc;

	if (path[0] != '/')
		return fb_fail(
		    err, FB_EPROTO, "'%s' is no absolute path", path);
	rc = make(what, &artifact, err);
	base = (struct fb_artifact *)artifact;
	if (rc == FB_OK && fb_seam_fails(FB_STEP_CHILD, "qemu-nbd"))
		rc = fb_fail_sys(err, "cannot run qemu-nbd");
	if (rc == FB_OK &&
	    fb_nbd.nbd_connect_systemd_socket_activation(
	        artifact->nbd, argv) < 0) {
		rc = fail_nbd(artifact, "run qemu-nbd for it", err);
		(void)fb_hint(err, "is qemu-nbd installed (qemu-utils), and "
		                   "the image not in use?");
	}
	if (rc == FB_OK)
		rc = look_at(artifact, err);
	if (rc == FB_OK)
		*ret_artifact = FB_STEAL(base);
	return rc;
}
