/*
 * Of the frames of RFC 8878 only those are read here whose blocks are all raw:
 * there is nothing to them but lengths, so that they need not be trusted to be
 * read.  Any other is left to zstd, which sees what was checked and no more.
 */
#include <string.h>

#include "fleetbak/crypto/cipher.h"

#include "frame.h"

#define MAGIC            0xFD2FB528u
#define BLOCK_HEADER_LEN 3
#define BLOCK_MAX        131072u

/* The descriptor: a single segment, so that nothing is said of a window, and
 * no dictionary, no checksum and nothing that is reserved; then how the size
 * of the content is told. */
#define KIND_MASK       0x2fu
#define KIND            0x20u
#define SIZE_FLAG_SHIFT 6

/* Below this a digest is cheaper than to look. */
#define LENGTH_MIN 1024u

/* Longer than its content by headers of few blocks. */
#define OVERHEAD_MAX 64u

struct source {
	struct fb_cipher_stream *cipher;
	const uint8_t *at;
	size_t left;
};

bool
fb_frame_may_be_plain(size_t stored, size_t length)
{
	return length >= LENGTH_MIN && stored > length &&
	    stored - length <= OVERHEAD_MAX;
}

static bool
take(struct source *source, uint8_t *to, size_t len)
{
	if (len > source->left)
		return false;
	if (source->cipher != NULL)
		fb_cipher_stream_apply(source->cipher, source->at, to, len);
	else
		memcpy(to, source->at, len);
	source->at += len;
	source->left -= len;
	return true;
}

static bool
take_number(struct source *source, size_t len, uint64_t *ret_number)
{
	uint8_t bytes[8];

	*ret_number = 0;
	if (!take(source, bytes, len))
		return false;
	for (size_t i = 0; i < len; i++)
		*ret_number |= (uint64_t)bytes[i] << (8 * i);
	return true;
}

/* A header that tells of that much content. */
static bool
take_header(struct source *source, size_t length)
{
	uint64_t magic, descriptor, size;
	size_t flag;

	if (!take_number(source, 4, &magic) || magic != MAGIC ||
	    !take_number(source, 1, &descriptor) ||
	    (descriptor & KIND_MASK) != KIND)
		return false;
	flag = (size_t)(descriptor >> SIZE_FLAG_SHIFT);
	return take_number(source, (size_t)1 << flag, &size) &&
	    size + (flag == 1 ? 256 : 0) == length;
}

bool
fb_frame_take_plain(struct fb_cipher_stream *cipher, const uint8_t *frame,
    size_t stored, uint8_t *content, size_t length)
{
	struct source source = { cipher, frame, stored };
	uint64_t header = 0;

	if (!take_header(&source, length))
		return false;
	while ((header & 1) == 0) { /* not the last one */
		size_t len;

		if (!take_number(&source, BLOCK_HEADER_LEN, &header))
			return false;
		len = (size_t)(header >> 3);
		if ((header >> 1 & 3) != 0 || len > BLOCK_MAX || len > length ||
		    !take(&source, content, len))
			return false;
		content += len;
		length -= len;
	}
	return length == 0 && source.left == 0;
}
