/*
 * What comes before a run is given up, and what stands against it.
 *
 * pending/<sid>.<n>       text: the n-th time that the run is to be given up;
 *                         the signature is over the lines before it:
 *
 *	fleetbak-pending 1
 *	session <sid>
 *	run <run id>
 *	fleet <name>
 *	sums <SHA-256 of the run's SHA256SUMS>
 *	number <n>
 *	time <RFC 3339, UTC>
 *	reason <escaped text>
 *	signer <key id>
 *	signature <Ed25519, 128 hex>
 *
 * pending/<sid>.<n>.end   made once: the bytes of the forget record that
 *                         forgets/<sid> gets, or, when it was undone:
 *
 *	fleetbak-undo 1
 *	session <sid>
 *	number <n>
 *	time <RFC 3339, UTC>
 *	end
 *
 * holds/<sid>             the run must not be given up:
 *
 *	fleetbak-hold 1
 *	session <sid>
 *	run <run id>
 *	time <RFC 3339, UTC>
 *	reason <escaped text>
 *	end
 *
 * Every decoder accepts exactly what the encoder writes.
 * Spec: fleetbak-format(5), "Forgetting a run".
 */
#ifndef FB_FORMAT_PENDING_H
#define FB_FORMAT_PENDING_H

#include "fleetbak/format/register.h"

#define FB_PENDING_MAX  4096
#define FB_REASON_SIZE  256 /* of a reason, with its NUL */

/* The numbers of a run's pending records, from 1. */
#define FB_PENDING_NUMBER_MAX 999999

struct fb_pending {
	char session[FB_RUN_ID_SIZE];
	char run[FB_RUN_ID_SIZE];
	char fleet[FB_NAME_MAX + 1];
	struct fb_digest sums;
	uint64_t number;
	char time[32];
	char reason[FB_REASON_SIZE]; /* not empty */
	char signer[FB_KEY_ID_SIZE];
	uint8_t signature[FB_SIGNATURE_LEN];
};
/* Append the lines that are signed; then the line of the signature. */
void fb_pending_encode_signed(
    const struct fb_pending *pending, struct fb_buf *dst);
void fb_pending_encode_signature(
    const struct fb_pending *pending, struct fb_buf *dst);
/* *ret_signed is the part of `text` that the signature covers. */
FB_MUST_USE int fb_pending_decode(struct fb_span text,
    struct fb_pending *ret_pending, struct fb_span *ret_signed,
    struct fb_error *err);

struct fb_undo {
	char session[FB_RUN_ID_SIZE];
	uint64_t number;
	char time[32];
};
void fb_undo_encode(const struct fb_undo *undo, struct fb_buf *dst);
FB_MUST_USE int fb_undo_decode(
    struct fb_span text, struct fb_undo *ret_undo, struct fb_error *err);

struct fb_hold {
	char session[FB_RUN_ID_SIZE];
	char run[FB_RUN_ID_SIZE];
	char time[32];
	char reason[FB_REASON_SIZE]; /* not empty */
};
void fb_hold_encode(const struct fb_hold *hold, struct fb_buf *dst);
FB_MUST_USE int fb_hold_decode(
    struct fb_span text, struct fb_hold *ret_hold, struct fb_error *err);

#endif
