/*
 * Reading a journal from its beginning, a line at a time.
 */
#ifndef JOURNAL_REPLAY_H
#define JOURNAL_REPLAY_H

#include "fleetbak/journal/journal.h"
#include "fleetbak/journal/record.h"

/* Where a replay ended. */
struct replay_end {
	uint64_t sequence; /* of the last record */
	struct fb_digest chain;
	uint64_t size;     /* bytes up to its end */
	bool torn;         /* there are more bytes: the torn tail */
};

/* Replay `fd` from its position, its beginning, into `visit` (may be NULL). */
FB_MUST_USE int replay_file(int fd, const char *path, fb_journal_visit *visit,
    void *arg, struct replay_end *ret_end, struct fb_error *err);

#endif
