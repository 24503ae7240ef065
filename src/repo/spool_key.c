/*
 * The key of the open pack, beside it in the spool: without it a run that was
 * cut off could not go on with what it has spooled.  It is there from a state
 * that is journaled until the pack is in the store.
 *
 * A pack whose key was here gets another one when it is closed: so no key of
 * a pack in the store was ever on a disk of the writer.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"

#include "packer_impl.h"

int
fb_spool_key_write(
    const char *path, const struct fb_cipher_key *key, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_open(
	    path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, err);
	int rc = fd < 0 ? fd : FB_OK;

	if (rc == FB_OK)
		rc = fb_io_pwrite_all(fd, path,
		    (struct fb_span){ key->bytes, sizeof(key->bytes) }, 0, err);
	return rc < 0 ? rc : fb_io_sync(fd, path, err);
}

int
fb_spool_key_read(
    const char *path, struct fb_cipher_key *ret_key, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	size_t got = 0;
	int rc = fd < 0 ? fd : FB_OK;

	if (rc == FB_OK)
		rc = fb_io_pread(fd, path, ret_key->bytes,
		    sizeof(ret_key->bytes), 0, &got, err);
	if (rc == FB_ENOTFOUND) /* what is not there was there */
		rc = FB_OK;
	if (rc < 0 || got == sizeof(ret_key->bytes))
		return rc;
	(void)fb_fail_id(
	    err, FB_ECORRUPT, "E-SPOOL", "'%s' does not hold a key", path);
	return fb_hint(err,
	    "the run is given up, and the next one takes everything again");
}

/* Overwritten first: the name is not all that there is of it. */
int
fb_spool_key_remove(const char *path, struct fb_error *err)
{
	static const uint8_t zeros[FB_CIPHER_KEY_LEN];
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_WRONLY | O_NOFOLLOW, 0, err);
	int rc = fd < 0 ? fd : FB_OK;

	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_OK)
		rc = fb_io_pwrite_all(
		    fd, path, (struct fb_span){ zeros, sizeof(zeros) }, 0, err);
	if (rc == FB_OK)
		rc = fb_io_sync(fd, path, err);
	return rc < 0 ? rc : fb_io_unlink(path, err);
}

/* From one key to the other. */
static void
encrypt_again(const struct fb_cipher_key *old, const struct fb_cipher_key *key,
    struct fb_pack_chunk *chunk, uint8_t *frame)
{
	struct fb_digest digest;

	fb_cipher_apply(old, chunk->offset, frame, chunk->stored_length);
	fb_cipher_apply(key, chunk->offset, frame, chunk->stored_length);
	fb_digest_pieces(
	    (struct fb_span){ frame, chunk->stored_length }, &digest);
	memcpy(chunk->stored_digest, digest.bytes, FB_STORED_DIGEST_LEN);
}

static int
copy_frames(struct fb_packer *packer, const struct spool_file *from,
    const struct fb_cipher_key *old, struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *frame = fb_alloc(FB_STORED_MAX, 1);
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < packer->at->table.count; i++) {
		struct fb_pack_chunk *chunk = &packer->at->table.chunks[i];
		struct fb_span bytes = { frame, chunk->stored_length };
		size_t got = 0;

		rc = fb_io_pread(from->fd, from->path, frame, bytes.len,
		    chunk->offset, &got, err);
		if (rc == FB_OK && got < bytes.len)
			rc = fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
			    "'%s' was cut short", from->path);
		if (rc < 0)
			break;
		encrypt_again(old, &packer->at->key, chunk, frame);
		fb_digester_add(packer->at->digester, bytes);
		rc = fb_spool_append(&packer->at->pack, bytes, err);
	}
	return rc;
}

int
fb_packer_change_key(struct fb_packer *packer, struct fb_error *err)
{
	struct spool_file from = packer->at->pack;
	struct fb_cipher_key old = packer->at->key;
	int rc;

	packer->at->pack = (struct spool_file){ .fd = -1 };
	rc = fb_packer_take_key(packer, err);
	if (rc == FB_OK)
		rc = fb_spool_open(
		    &packer->at->pack, fb_format("%s.new", from.path), 0, err);
	if (rc == FB_OK) {
		fb_digester_free(packer->at->digester);
		packer->at->digester = fb_digester_new();
		rc = copy_frames(packer, &from, &old, err);
	}
	fb_cipher_wipe(&old);
	free(packer->at->old_path);
	packer->at->old_path = FB_STEAL(from.path);
	fb_spool_close(&from);
	return rc;
}
