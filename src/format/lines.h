/*
 * Reading the text documents of a repository line by line.
 *
 * Every helper names the document and the line in its error.  Private to
 * src/format.
 */
#ifndef FB_FORMAT_LINES_H
#define FB_FORMAT_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/format/register.h"

struct fb_lines {
	const char *what; /* "commit register" */
	struct fb_span rest;
	uint64_t number; /* of the line taken last, from 1 */
	bool cut;        /* the text ended before a newline */
};

/* Take a line, without its newline.  Errors: FB_ECORRUPT. */
int fb_lines_next(
    struct fb_lines *lines, struct fb_span *ret_line, struct fb_error *err);

/* Take the line "<key> <value>". */
int fb_lines_value(struct fb_lines *lines, const char *key,
    struct fb_span *ret_value, struct fb_error *err);
int fb_lines_u64(struct fb_lines *lines, const char *key, uint64_t max,
    uint64_t *ret_value, struct fb_error *err);
int fb_lines_digest(struct fb_lines *lines, const char *key,
    struct fb_digest *ret_digest, struct fb_error *err);
int fb_lines_run_id(struct fb_lines *lines, const char *key,
    char ret_id[FB_RUN_ID_SIZE], struct fb_error *err);
int fb_lines_name(struct fb_lines *lines, const char *key,
    char ret_name[FB_NAME_MAX + 1], struct fb_error *err);
int fb_lines_time(struct fb_lines *lines, const char *key, char ret_time[32],
    struct fb_error *err);
int fb_lines_signer(struct fb_lines *lines, char ret_signer[FB_KEY_ID_SIZE],
    struct fb_error *err);
int fb_lines_signature(struct fb_lines *lines,
    uint8_t ret_signature[FB_SIGNATURE_LEN], struct fb_error *err);

/* Take the line "<key> <count>" and as many ids, sorted and unique. */
int fb_lines_ids(struct fb_lines *lines, const char *key,
    struct fb_id_list *ret_list, struct fb_error *err);

/* Take the line `text`. */
int fb_lines_exactly(
    struct fb_lines *lines, const char *text, struct fb_error *err);

/* Nothing is left. */
int fb_lines_end(const struct fb_lines *lines, struct fb_error *err);

/* The first line is "<name> <version>": FB_ETOONEW for a higher version. */
int fb_lines_version(const struct fb_lines *lines, struct fb_span line,
    const char *name, uint64_t version, struct fb_error *err);

int fb_lines_fail(const struct fb_lines *lines, struct fb_error *err,
    const char *fmt, ...) FB_PRINTF(3, 4);

/* Append the lines that fb_lines_ids() and the others take. */
void fb_lines_add_ids(
    struct fb_buf *dst, const char *key, const struct fb_id_list *list);
void fb_lines_add_digest(
    struct fb_buf *dst, const char *key, const struct fb_digest *digest);
void fb_lines_add_signature(struct fb_buf *dst,
    const uint8_t signature[FB_SIGNATURE_LEN]);

#endif
