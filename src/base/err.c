#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

static const struct {
	enum fb_code code;
	const char *name;
	const char *id;
} codes[] = {
	{ FB_PENDING, "pending", "E-PENDING" },
	{ FB_OK, "ok", "E-OK" },
	{ FB_ESYS, "system", "E-SYSTEM" },
	{ FB_ENOTFOUND, "not-found", "E-NOT-FOUND" },
	{ FB_EEXISTS, "exists", "E-EXISTS" },
	{ FB_ECORRUPT, "damaged", "E-DAMAGED" },
	{ FB_EUNTRUSTED, "untrusted", "E-UNTRUSTED" },
	{ FB_ECONFIG, "usage", "E-USAGE" },
	{ FB_EBUSY, "locked", "E-LOCKED" },
	{ FB_ERETRY, "retry", "E-RETRY" },
	{ FB_ECANCELED, "canceled", "E-CANCELED" },
	{ FB_EUNSUP, "unsupported", "E-UNSUPPORTED" },
	{ FB_EBUG, "bug", "E-BUG" },
	{ FB_ENOREPO, "no-repo", "E-NO-REPO" },
	{ FB_EKEY, "wrong-key", "E-KEY" },
	{ FB_EUNREACH, "unreachable", "E-UNREACHABLE" },
	{ FB_EDENIED, "denied", "E-DENIED" },
	{ FB_ENOSPACE, "no-space", "E-NO-SPACE" },
	{ FB_ETOONEW, "too-new", "E-TOO-NEW" },
	{ FB_ESTALE, "stale-plan", "E-STALE" },
	{ FB_EREFUSED, "refused", "E-REFUSED" },
	{ FB_EBUDGET, "budget", "E-BUDGET" },
	{ FB_ECONFLICT, "conflict", "E-CONFLICT" },
	{ FB_EPROTO, "protocol", "E-PROTOCOL" },
	{ FB_EUNKNOWN, "unknown-outcome", "E-UNKNOWN-OUTCOME" },
	{ FB_ETIMEOUT, "timeout", "E-TIMEOUT" },
	{ FB_EFAILED, "failed", "E-FAILED" },
};

const char *
fb_code_name(enum fb_code code)
{
	for (size_t i = 0; i < FB_COUNT(codes); i++)
		if (codes[i].code == code)
			return codes[i].name;
	return "unknown";
}

const char *
fb_code_id(enum fb_code code)
{
	for (size_t i = 0; i < FB_COUNT(codes); i++)
		if (codes[i].code == code)
			return codes[i].id;
	return "E-BUG";
}

static enum fb_code
code_of(int sys)
{
	switch (sys) {
	case ENOENT:
		return FB_ENOTFOUND;
	case EEXIST:
		return FB_EEXISTS;
	case EACCES:
	case EPERM:
	case EROFS:
		return FB_EDENIED;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return FB_ENOSPACE;
	default:
		return FB_ESYS;
	}
}

/* Bytes of the character of UTF-8 that begins here; 0 when none does, or one
 * that moves a terminal's cursor. */
static size_t
printable_len(const unsigned char *p)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t code;

	if (p[0] < 0x80)
		return p[0] >= ' ' && p[0] != 0x7f;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	code = p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3fu);
	}
	if (code < least[len] || code < 0xa0 || code > 0x10ffff ||
	    (code >= 0xd800 && code < 0xe000))
		return 0;
	return len;
}

/* What comes from outside may be any bytes, and may have been cut anywhere:
 * a message is text all the same, and fits into `size` as a whole. */
static void
make_printable(char *text, size_t size)
{
	char safe[FB_ERROR_MSG_SIZE];
	size_t used = 0;

	for (const char *p = text; *p != '\0';) {
		size_t len = printable_len((const unsigned char *)p);
		char escape[4];

		if (used + (len > 0 ? len : 3) >= size)
			break;
		if (len > 0) {
			memcpy(safe + used, p, len);
			used += len;
			p += len;
			continue;
		}
		(void)snprintf(escape, sizeof(escape), "%%%02x",
		    (unsigned)(unsigned char)*p++);
		memcpy(safe + used, escape, 3);
		used += 3;
	}
	memcpy(text, safe, used);
	text[used] = '\0';
}

FB_PRINTF(7, 0)
static int
raise_v(struct fb_error *err, enum fb_code code, int sys, const char *id,
    const char *file, int line, const char *fmt, va_list args)
{
	size_t used;

	err->code = code;
	err->sys = sys;
	err->id = id != NULL ? id : fb_code_id(code);
	err->file = file;
	err->line = line;
	err->hint[0] = '\0';
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, args);

	if (sys != 0) {
		used = strlen(err->msg);
		(void)snprintf(err->msg + used, sizeof(err->msg) - used, ": %s",
		    strerror(sys));
	}
	make_printable(err->msg, sizeof(err->msg));
	return code;
}

int
fb_error_raise(struct fb_error *err, enum fb_code code, const char *id,
    const char *file, int line, const char *fmt, ...)
{
	va_list args;
	int rc;

	va_start(args, fmt);
	rc = raise_v(err, code, 0, id, file, line, fmt, args);
	va_end(args);
	return rc;
}

int
fb_error_raise_sys(
    struct fb_error *err, const char *file, int line, const char *fmt, ...)
{
	int sys = errno;
	va_list args;
	int rc;

	va_start(args, fmt);
	rc = raise_v(err, code_of(sys), sys, NULL, file, line, fmt, args);
	va_end(args);
	return rc;
}

int
fb_wrap(struct fb_error *err, const char *fmt, ...)
{
	char prefix[FB_ERROR_MSG_SIZE];
	size_t have = strlen(err->msg);
	va_list args;
	size_t n;

	va_start(args, fmt);
	(void)vsnprintf(prefix, sizeof(prefix), fmt, args);
	va_end(args);
	make_printable(prefix, sizeof(prefix));

	n = strlen(prefix);
	if (n + 2 + have < sizeof(err->msg)) {
		memmove(err->msg + n + 2, err->msg, have + 1);
		memcpy(err->msg, prefix, n);
		memcpy(err->msg + n, ": ", 2);
	}
	return err->code;
}

int
fb_hint(struct fb_error *err, const char *fmt, ...)
{
	va_list args;

	if (err->hint[0] != '\0')
		return err->code;
	va_start(args, fmt);
	(void)vsnprintf(err->hint, sizeof(err->hint), fmt, args);
	va_end(args);
	make_printable(err->hint, sizeof(err->hint));
	return err->code;
}

struct kept {
	atomic_uint owners;
	struct fb_error err;
};

static struct kept *
kept_of(const struct fb_error *err)
{
	return (struct kept *)((uintptr_t)err - offsetof(struct kept, err));
}

const struct fb_error *
fb_error_keep(const struct fb_error *err)
{
	struct kept *kept;

	if (err == NULL || err->code >= FB_OK)
		return NULL;
	kept = fb_alloc(1, sizeof(*kept));
	atomic_init(&kept->owners, 1);
	kept->err = *err;
	return &kept->err;
}

const struct fb_error *
fb_error_share(const struct fb_error *kept)
{
	if (kept != NULL)
		(void)atomic_fetch_add(&kept_of(kept)->owners, 1);
	return kept;
}

void
fb_error_drop(const struct fb_error *kept)
{
	if (kept != NULL &&
	    atomic_fetch_sub(&kept_of(kept)->owners, 1) == 1)
		free(kept_of(kept));
}
