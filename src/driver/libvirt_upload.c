/*
 * Each transfer is a stream of libvirt's, which begins somewhere and goes on
 * from there: as long as what comes next lies right behind, it is the same one.
 *
 * The end of a stream may lose that a write has failed.  So what was sent is
 * read back before it counts; nobody tells when a disk has it.
 */
#include "libvirt_upload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/crypto/digest.h"

/* Of zeros that are sent, and of bytes that are read back, at a time. */
#define ZEROS ((size_t)1 << 18)
#define BACK  ((size_t)1 << 18)

/* Bytes one behind the other that were sent, and are not proven to be there. */
struct sent {
	uint64_t start, end;
	struct fb_digest digest;
};

struct upload {
	struct fb_target base;
	virConnectPtr connection;
	virStorageVolPtr volume;
	char *what;
	pthread_mutex_t lock; /* of: */
	virStreamPtr stream;  /* NULL: none is under way */
	bool sends;           /* ... or receives */
	uint64_t at;          /* where it has come to */
	struct sent *sent;    /* ascending */
	size_t sent_count, sent_room;
	struct fb_digester *digester; /* of the last of them; NULL: it is whole */
};

static int
fail_stream(const struct upload *upload, const char *tried,
    struct fb_error *err)
{
	return fb_libvirt_fail(
	    err, true, "%s: cannot %s", upload->what, tried);
}

static void
drop(struct upload *upload)
{
	if (upload->stream == NULL)
		return;
	(void)fb_libvirt.virStreamAbort(upload->stream);
	(void)fb_libvirt.virStreamFree(upload->stream);
	upload->stream = NULL;
}

static int
finish(struct upload *upload, struct fb_error *err)
{
	int rc = FB_OK;

	if (upload->stream == NULL)
		return FB_OK;
	if (!upload->sends) {
		drop(upload);
		return FB_OK;
	}
	if (fb_libvirt.virStreamFinish(upload->stream) < 0)
		rc = fail_stream(upload, "end the transfer", err);
	(void)fb_libvirt.virStreamFree(upload->stream);
	upload->stream = NULL;
	return rc;
}

static int
begin(struct upload *upload, bool sends, uint64_t offset, struct fb_error *err)
{
	int rc, began;

	if (upload->stream != NULL && upload->sends == sends &&
	    upload->at == offset)
		return FB_OK;
	rc = finish(upload, err);
	if (rc < 0)
		return rc;
	upload->stream = fb_libvirt.virStreamNew(upload->connection, 0);
	if (upload->stream == NULL)
		return fail_stream(upload, "begin a transfer", err);
	began = sends ? fb_libvirt.virStorageVolUpload(
	                    upload->volume, upload->stream, offset, 0, 0)
	              : fb_libvirt.virStorageVolDownload(
	                    upload->volume, upload->stream, offset, 0, 0);
	if (began < 0) {
		rc = fail_stream(upload, "begin a transfer", err);
		drop(upload);
		return rc;
	}
	upload->sends = sends;
	upload->at = offset;
	return FB_OK;
}

static int
receive(struct upload *upload, uint64_t offset, char *bytes, size_t len,
    struct fb_error *err)
{
	int rc = begin(upload, false, offset, err);

	while (rc == FB_OK && len > 0) {
		int got =
		    fb_libvirt.virStreamRecv(upload->stream, bytes, len);

		if (got == 0)
			rc = fb_fail(err, FB_EFAILED,
			    "%s: it ends before it should", upload->what);
		else if (got < 0)
			rc = fail_stream(upload, "read", err);
		if (got <= 0) {
			drop(upload);
			return rc;
		}
		upload->at += (uint64_t)got;
		bytes += got;
		len -= (size_t)got;
	}
	return rc;
}

/*
 * What was sent.
 */

static struct sent *
last_sent(const struct upload *upload)
{
	return upload->sent_count > 0 ? &upload->sent[upload->sent_count - 1]
	                              : NULL;
}

static void
end_sent(struct upload *upload)
{
	if (upload->digester == NULL)
		return;
	fb_digester_peek(upload->digester, &last_sent(upload)->digest);
	fb_digester_free(FB_STEAL(upload->digester));
}

static void
begin_sent(struct upload *upload, uint64_t offset)
{
	end_sent(upload);
	if (upload->sent_count == upload->sent_room) {
		upload->sent_room = 2 * upload->sent_room + 16;
		upload->sent = fb_realloc(upload->sent, upload->sent_room,
		    sizeof(*upload->sent));
	}
	upload->sent[upload->sent_count++] =
	    (struct sent){ .start = offset, .end = offset };
	upload->digester = fb_digester_new();
}

static void
note_sent(struct upload *upload, uint64_t offset, const char *bytes, size_t len)
{
	const struct sent *last = last_sent(upload);

	if (upload->digester == NULL || last->end != offset)
		begin_sent(upload, offset);
	fb_digester_add(upload->digester,
	    (struct fb_span){ (const uint8_t *)bytes, len });
	last_sent(upload)->end += len;
}

static int
read_back(struct upload *upload, const struct sent *sent, char *bytes,
    struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	struct fb_digest digest;

	for (uint64_t at = sent->start; at < sent->end;) {
		uint64_t left = sent->end - at;
		size_t piece = left < BACK ? (size_t)left : BACK;
		int rc = receive(upload, at, bytes, piece, err);

		if (rc < 0)
			return rc;
		fb_digester_add(digester,
		    (struct fb_span){ (const uint8_t *)bytes, piece });
		at += piece;
	}
	fb_digester_peek(digester, &digest);
	return fb_digest_cmp(&digest, &sent->digest) == 0
	    ? FB_OK
	    : fb_fail(err, FB_EFAILED,
	          "%s: what was written from byte %llu to %llu is not there: "
	          "its host may have no room for it, or a disk that fails",
	          upload->what, (unsigned long long)sent->start,
	          (unsigned long long)sent->end);
}

/* All that was sent so far is there. */
static int
prove(struct upload *upload, struct fb_error *err)
{
	FB_AUTO_FREE char *bytes = NULL;
	int rc = finish(upload, err);

	end_sent(upload);
	if (upload->sent_count > 0)
		bytes = fb_alloc(BACK, 1);
	for (size_t i = 0; rc == FB_OK && i < upload->sent_count; i++)
		rc = read_back(upload, &upload->sent[i], bytes, err);
	drop(upload);
	if (rc == FB_OK)
		upload->sent_count = 0;
	return rc;
}

static int
send_bytes(struct upload *upload, uint64_t offset, const char *bytes,
    size_t len, struct fb_error *err)
{
	const struct sent *last = last_sent(upload);
	int rc = FB_OK;

	if (len == 0)
		return FB_OK;
	if (last != NULL && offset < last->end) /* or it would be two things */
		rc = prove(upload, err);
	if (rc == FB_OK)
		rc = begin(upload, true, offset, err);
	if (rc == FB_OK)
		note_sent(upload, offset, bytes, len);
	while (rc == FB_OK && len > 0) {
		int sent =
		    fb_libvirt.virStreamSend(upload->stream, bytes, len);

		if (sent <= 0) {
			rc = fail_stream(upload, "write", err);
			drop(upload);
			return rc;
		}
		upload->at += (uint64_t)sent;
		bytes += sent;
		len -= (size_t)sent;
	}
	return rc;
}

/*
 * As a target.
 */

/* Nobody tells where zeros are. */
static int
upload_extent(struct fb_target *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	(void)err;
	*ret_start = from < base->size ? from : base->size;
	*ret_end = base->size;
	return FB_OK;
}

static int
upload_read(struct fb_target *base, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct upload *upload = (struct upload *)base;
	int rc;

	(void)pthread_mutex_lock(&upload->lock);
	rc = receive(upload, offset, bytes, len, err);
	(void)pthread_mutex_unlock(&upload->lock);
	return rc;
}

static int
check_range(const struct upload *upload, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	if (offset > upload->base.size || len > upload->base.size - offset)
		return fb_fail(
		    err, FB_EBUG, "%s: write past its end", upload->what);
	return fb_seam_fails(FB_STEP_WRITE, upload->what)
	    ? fb_fail_sys(err, "%s: cannot write", upload->what)
	    : FB_OK;
}

static int
upload_write(struct fb_target *base, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	struct upload *upload = (struct upload *)base;
	int rc = check_range(upload, offset, len, err);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&upload->lock);
	rc = send_bytes(upload, offset, bytes, len, err);
	(void)pthread_mutex_unlock(&upload->lock);
	return rc;
}

static int
upload_zero(
    struct fb_target *base, uint64_t offset, uint64_t len, struct fb_error *err)
{
	struct upload *upload = (struct upload *)base;
	FB_AUTO_FREE char *zeros = NULL;
	int rc = check_range(upload, offset, len, err);

	if (rc < 0 || len == 0)
		return rc;
	zeros = fb_alloc(ZEROS, 1);
	(void)pthread_mutex_lock(&upload->lock);
	while (rc == FB_OK && len > 0) {
		size_t piece = len < ZEROS ? (size_t)len : ZEROS;

		rc = send_bytes(upload, offset, zeros, piece, err);
		offset += piece;
		len -= piece;
	}
	(void)pthread_mutex_unlock(&upload->lock);
	return rc;
}

/* It is there; that its host has it on a disk is not known. */
static int
upload_sync(struct fb_target *base, struct fb_error *err)
{
	struct upload *upload = (struct upload *)base;
	int rc;

	if (fb_seam_fails(FB_STEP_SYNC, upload->what))
		return fb_fail_sys(err, "%s: cannot flush", upload->what);
	(void)pthread_mutex_lock(&upload->lock);
	rc = prove(upload, err);
	(void)pthread_mutex_unlock(&upload->lock);
	return rc;
}

static void
upload_close(struct fb_target *base)
{
	struct upload *upload = (struct upload *)base;

	drop(upload);
	(void)fb_libvirt.virStorageVolFree(upload->volume);
	fb_libvirt_disconnect(&upload->connection);
	(void)pthread_mutex_destroy(&upload->lock);
	fb_digester_free(upload->digester);
	free(upload->sent);
	free(upload->what);
	free(upload);
}

static const struct fb_target_ops upload_ops = {
	.extent = upload_extent,
	.read = upload_read,
	.write = upload_write,
	.zero = upload_zero,
	.sync = upload_sync,
	.close = upload_close,
};

int
fb_libvirt_upload_open(virConnectPtr connection, virStorageVolPtr owned_volume,
    const char *what, uint64_t size, struct fb_target **ret_target,
    struct fb_error *err)
{
	struct upload *upload;

	if (fb_libvirt.virConnectRef(connection) < 0) {
		(void)fb_libvirt.virStorageVolFree(owned_volume);
		return fb_libvirt_fail(
		    err, false, "%s: cannot open it", what);
	}
	upload = fb_alloc(1, sizeof(*upload));
	upload->base.ops = &upload_ops;
	upload->base.size = size;
	upload->connection = connection;
	upload->volume = owned_volume;
	upload->what = fb_strdup(what);
	(void)pthread_mutex_init(&upload->lock, NULL);
	*ret_target = &upload->base;
	return FB_OK;
}
