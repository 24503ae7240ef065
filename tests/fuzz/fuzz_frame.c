#include <zstd.h>

#include "fuzz.h"

#include "../../src/repo/frame.h"
#include "fleetbak/crypto/cipher.h"

/*
 * A frame that is taken without zstd is one to zstd too, and holds the same;
 * whether it lies there encrypted or not.  The first three bytes are the
 * length of the content.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fb_cipher_key key = { "a key that is not random" };
	size_t length = size < 3
	    ? 0
	    : (size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16;
	FB_AUTO_FREE uint8_t *content = NULL, *other = NULL, *frame = NULL;
	struct fb_cipher_stream *cipher;
	bool taken;

	if (length == 0 || length > 1u << 20)
		return 0;
	data += 3;
	size -= 3;
	content = fb_alloc(length, 1);
	other = fb_alloc(length, 1);
	frame = fb_alloc(size + 1, 1);
	memcpy(frame, data, size);
	taken = fb_frame_take_plain(NULL, data, size, content, length);
	if (taken)
		must(ZSTD_decompress(other, length, data, size) == length &&
		    memcmp(content, other, length) == 0);
	fb_cipher_apply(&key, 77, frame, size);
	cipher = fb_cipher_stream_new(&key);
	fb_cipher_stream_seek(cipher, 77);
	must(fb_frame_take_plain(cipher, frame, size, other, length) == taken);
	must(!taken || memcmp(content, other, length) == 0);
	fb_cipher_stream_free(cipher);
	return 0;
}
