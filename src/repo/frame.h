/*
 * Frames that hold their content as it is: zstd makes them of what does not
 * get smaller.
 */
#ifndef REPO_FRAME_H
#define REPO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fb_cipher_stream;

/* Whether a frame of `stored` bytes can be one, of `length` of content, and
 * is worth a look. */
bool fb_frame_may_be_plain(size_t stored, size_t length);

/*
 * Take the `length` bytes of content out of a frame of `stored` bytes, and
 * decrypt them on the way with `cipher`, which is at the frame's place; NULL:
 * nothing is encrypted.  False: it is another frame, or none, and `content` is
 * worth nothing.  The frame may be anybody's; the content has to be checked.
 */
bool fb_frame_take_plain(struct fb_cipher_stream *cipher, const uint8_t *frame,
    size_t stored, uint8_t *content, size_t length);

#endif
