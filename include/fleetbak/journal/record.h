/*
 * One line of a journal, as bytes.  Pure.
 *
 * Spec: fleetbak-journal(5), "Records".
 */
#ifndef FB_JOURNAL_RECORD_H
#define FB_JOURNAL_RECORD_H

#include <jansson.h>
#include <stdint.h>

#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

struct fb_error;

/* Longest line, its newline included. */
#define FB_JOURNAL_LINE_MAX (1u << 20)

struct fb_journal_line {
	uint64_t sequence;
	struct fb_digest chain;
	char type[FB_NAME_MAX + 1];
	struct fb_span json; /* inside the line */
	json_t *body;        /* owned */
};

/* The chain before the first record of a file. */
void fb_journal_seed(struct fb_digest *ret_chain);

/* The chain after a record. */
void fb_journal_link(const struct fb_digest *before, const char *type,
    struct fb_span json, struct fb_digest *ret_chain);

/* Append the line and move `chain` forward.  Errors: FB_EBUG when `type` is
 * no name, `body` no object, or the line too long, or one that the decoder
 * refuses. */
FB_MUST_USE int fb_journal_line_add(struct fb_buf *dst, uint64_t sequence,
    struct fb_digest *chain, const char *type, const json_t *body,
    struct fb_error *err);

/* Decode a line without its newline.  Whether sequence and chain fit is the
 * caller's to judge.  Errors: FB_ECORRUPT. */
FB_MUST_USE int fb_journal_line_decode(
    struct fb_span line, struct fb_journal_line *ret, struct fb_error *err);
void fb_journal_line_release(struct fb_journal_line *line);
#define FB_AUTO_JOURNAL_LINE FB_CLEANUP(fb_journal_line_release)

#endif
