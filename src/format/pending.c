/* Pending forgets, their undoing, and holds. */
#include "fleetbak/format/pending.h"

#include <inttypes.h>
#include <string.h>

#include "lines.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/text.h"

static void
add_reason(const char *reason, struct fb_buf *dst)
{
	fb_buf_add_str(dst, "reason ");
	fb_text_add_escaped(dst,
	    (struct fb_span){ (const uint8_t *)reason, strlen(reason) });
	fb_buf_add_str(dst, "\n");
}

static int
take_reason(struct fb_lines *lines, char ret[FB_REASON_SIZE],
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf reason = { 0 };
	struct fb_span value;
	int rc = fb_lines_value(lines, "reason", &value, err);

	if (rc < 0)
		return rc;
	if (fb_text_unescape(value, &reason, err) < 0 ||
	    reason.len >= FB_REASON_SIZE ||
	    memchr(reason.data, '\0', reason.len) != NULL)
		return fb_lines_fail(lines, err, "reason: not escaped text");
	memcpy(ret, reason.data, reason.len);
	ret[reason.len] = '\0';
	return FB_OK;
}

static int
take_first(struct fb_lines *lines, const char *name, struct fb_error *err)
{
	struct fb_span line;
	int rc = fb_lines_next(lines, &line, err);

	return rc < 0 ? rc : fb_lines_version(lines, line, name, 1, err);
}

static int
take_number(struct fb_lines *lines, uint64_t *ret, struct fb_error *err)
{
	int rc = fb_lines_u64(
	    lines, "number", FB_PENDING_NUMBER_MAX, ret, err);

	if (rc == FB_OK && *ret == 0)
		return fb_lines_fail(lines, err, "number: they begin with 1");
	return rc;
}

void
fb_pending_encode_signed(const struct fb_pending *pending, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst,
	    "fleetbak-pending 1\nsession %s\nrun %s\nfleet %s\n",
	    pending->session, pending->run, pending->fleet);
	fb_lines_add_digest(dst, "sums", &pending->sums);
	fb_buf_add_fmt(dst, "number %" PRIu64 "\ntime %s\n", pending->number,
	    pending->time);
	add_reason(pending->reason, dst);
	fb_buf_add_fmt(dst, "signer %s\n", pending->signer);
}

void
fb_pending_encode_signature(
    const struct fb_pending *pending, struct fb_buf *dst)
{
	fb_lines_add_signature(dst, pending->signature);
}

static int
decode_pending(struct fb_lines *lines, struct fb_pending *pending,
    size_t *ret_left, struct fb_error *err)
{
	int rc;

	if ((rc = take_first(lines, "fleetbak-pending", err)) < 0 ||
	    (rc = fb_lines_run_id(lines, "session", pending->session, err)) <
	        0 ||
	    (rc = fb_lines_run_id(lines, "run", pending->run, err)) < 0 ||
	    (rc = fb_lines_name(lines, "fleet", pending->fleet, err)) < 0 ||
	    (rc = fb_lines_digest(lines, "sums", &pending->sums, err)) < 0 ||
	    (rc = take_number(lines, &pending->number, err)) < 0 ||
	    (rc = fb_lines_time(lines, "time", pending->time, err)) < 0 ||
	    (rc = take_reason(lines, pending->reason, err)) < 0 ||
	    (rc = fb_lines_signer(lines, pending->signer, err)) < 0)
		return rc;
	*ret_left = lines->rest.len;
	rc = fb_lines_signature(lines, pending->signature, err);
	return rc < 0 ? rc : fb_lines_end(lines, err);
}

int
fb_pending_decode(struct fb_span text, struct fb_pending *ret_pending,
    struct fb_span *ret_signed, struct fb_error *err)
{
	struct fb_lines lines = { .what = "pending record", .rest = text };
	struct fb_pending pending = { 0 };
	size_t left = 0;
	int rc = decode_pending(&lines, &pending, &left, err);

	if (rc < 0)
		return rc;
	*ret_pending = pending;
	*ret_signed = (struct fb_span){ text.ptr, text.len - left };
	return FB_OK;
}

void
fb_undo_encode(const struct fb_undo *undo, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst,
	    "fleetbak-undo 1\nsession %s\nnumber %" PRIu64 "\ntime %s\nend\n",
	    undo->session, undo->number, undo->time);
}

int
fb_undo_decode(
    struct fb_span text, struct fb_undo *ret_undo, struct fb_error *err)
{
	struct fb_lines lines = { .what = "undo record", .rest = text };
	struct fb_undo undo = { 0 };
	int rc;

	if ((rc = take_first(&lines, "fleetbak-undo", err)) < 0 ||
	    (rc = fb_lines_run_id(&lines, "session", undo.session, err)) <
	        0 ||
	    (rc = take_number(&lines, &undo.number, err)) < 0 ||
	    (rc = fb_lines_time(&lines, "time", undo.time, err)) < 0 ||
	    (rc = fb_lines_exactly(&lines, "end", err)) < 0 ||
	    (rc = fb_lines_end(&lines, err)) < 0)
		return rc;
	*ret_undo = undo;
	return FB_OK;
}

void
fb_hold_encode(const struct fb_hold *hold, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst, "fleetbak-hold 1\nsession %s\nrun %s\ntime %s\n",
	    hold->session, hold->run, hold->time);
	add_reason(hold->reason, dst);
	fb_buf_add_str(dst, "end\n");
}

int
fb_hold_decode(
    struct fb_span text, struct fb_hold *ret_hold, struct fb_error *err)
{
	struct fb_lines lines = { .what = "hold", .rest = text };
	struct fb_hold hold = { 0 };
	int rc;

	if ((rc = take_first(&lines, "fleetbak-hold", err)) < 0 ||
	    (rc = fb_lines_run_id(&lines, "session", hold.session, err)) <
	        0 ||
	    (rc = fb_lines_run_id(&lines, "run", hold.run, err)) < 0 ||
	    (rc = fb_lines_time(&lines, "time", hold.time, err)) < 0 ||
	    (rc = take_reason(&lines, hold.reason, err)) < 0 ||
	    (rc = fb_lines_exactly(&lines, "end", err)) < 0 ||
	    (rc = fb_lines_end(&lines, err)) < 0)
		return rc;
	*ret_hold = hold;
	return FB_OK;
}
