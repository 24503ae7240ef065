/*
 * A directory that holds a lock and a journal, for checkpoints and states.
 */
#ifndef JOURNAL_OWN_DIR_H
#define JOURNAL_OWN_DIR_H

#include "fleetbak/journal/journal.h"

/*
 * Make the directory (0700), or see that it is one of ours, before a lock is
 * written there.  Errors: FB_EREFUSED (E-SCRIPT-DIR): it has no journal, and
 * something else in it.
 */
FB_MUST_USE int own_dir_take(const char *dir, struct fb_error *err);

/* fb_journal_read(), and what was read survives a power cut on return. */
FB_MUST_USE int own_dir_read(const char *path, fb_journal_visit *visit,
    void *arg, struct fb_error *err);

#endif
