/*
 * Lines for people: on standard error, with priorities when that is the
 * journal of systemd, and in a log file when there is one.  Known secrets are
 * taken out of every line.
 *
 * Threads: any.
 */
#ifndef FB_BASE_LOG_H
#define FB_BASE_LOG_H

#include <stdbool.h>

#include "fleetbak/base/buf.h"

struct fb_error;

/* As in syslog(3). */
enum fb_log_level {
	FB_LOG_ERROR = 3,
	FB_LOG_WARNING = 4,
	FB_LOG_INFO = 6,
};

/* One or more lines; the last may lack its newline. */
void fb_log(enum fb_log_level level, const char *text);
/* Into the log file only, when there is one. */
void fb_log_file(enum fb_log_level level, const char *text);

/* Append to this file from now on (mode 0640), or FB_ESYS and so on. */
FB_MUST_USE int fb_log_open(const char *path, struct fb_error *err);
/* Is there a log file? */
bool fb_log_is_open(void);
/* Open it anew before the next line: somebody moved it away.  For signal
 * handlers too. */
void fb_log_reopen(void);
void fb_log_close(void);

/* Is this descriptor the stream that $JOURNAL_STREAM names? */
bool fb_log_is_journal(int fd);

/*
 * Secrets that were loaded: their lines of at least FB_REDACT_MIN bytes are
 * never to leave this process in a text.
 */
#define FB_REDACT_MIN 8
void fb_redact_add(struct fb_span secret);
/* Put "[secret]" for each of them in `text`. */
void fb_redact(struct fb_buf *text);

#endif
