/*
 * The small documents of the repository: format, sessions, registers.
 *
 * format/1.json     canonical JSON, one line; format/1.json.sig: raw Ed25519
 * sessions/<sid>    canonical JSON, one line; sessions/<sid>.end: empty
 * commits/<sid>     text:
 *
 *	fleetbak-commit 1            or   fleetbak-fence 1
 *	session <sid>                     session <sid>
 *	run <run id>                      reason <escaped text>
 *	fleet <name>                      end
 *	time <RFC 3339, UTC>
 *	sums <SHA-256 of SHA256SUMS>
 *	signer <key id>
 *	signature <Ed25519 over SHA256SUMS, 128 hex>
 *	recipes <count>
 *	<recipe id> ...              sorted, one a line
 *	packs <count>
 *	<pack id> ...                sorted, one a line
 *	end
 *
 * Spec: fleetbak-format(5).
 */
#ifndef FB_FORMAT_REGISTER_H
#define FB_FORMAT_REGISTER_H

#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/sign.h"

struct fb_error;

#define FB_FORMAT_VERSION 1
#define FB_REGISTER_MAX   (64u << 20)

struct fb_format_doc {
	char repository[33]; /* 32 hex digits */
	char domain[33];
	char created[32];
	char mode[16]; /* "clear"; "encrypted" is decided and comes later */
	uint32_t chunk_min, chunk_average, chunk_max;
};
void fb_format_doc_encode(const struct fb_format_doc *doc, struct fb_buf *dst);
/* Errors: FB_ECORRUPT; FB_ETOONEW for a higher version or unknown mode. */
FB_MUST_USE int fb_format_doc_decode(
    struct fb_span text, struct fb_format_doc *ret_doc, struct fb_error *err);

struct fb_id_list { /* sorted, unique */
	struct fb_digest *ids;
	size_t count;
};

struct fb_register {
	bool fence;
	char session[FB_RUN_ID_SIZE];
	char run[FB_RUN_ID_SIZE];
	char fleet[FB_NAME_MAX + 1];
	char time[32];
	struct fb_digest sums;
	char signer[FB_KEY_ID_SIZE];
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_id_list recipes, packs;
};
void fb_register_encode(const struct fb_register *reg, struct fb_buf *dst);
FB_MUST_USE int fb_register_decode(
    struct fb_span text, struct fb_register *ret_reg, struct fb_error *err);
void fb_register_release(struct fb_register *reg);

#endif
