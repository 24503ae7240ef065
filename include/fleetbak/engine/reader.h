/*
 * Readers: while one reads, nothing of the runs it found is deleted.
 *
 * It announces itself in the repository, and only then looks which runs there
 * are.  A lock in the state directory tells a reader that works from one that
 * died: the next prune from here ends the session of the dead.
 */
#ifndef FB_ENGINE_READER_H
#define FB_ENGINE_READER_H

#include "fleetbak/engine/engine.h"

struct fb_reader {
	struct fb_session session;
	bool announced;
	bool doubtful;   /* it may be: the answer was lost */
	int lock_fd;     /* -1: none */
	char *lock_path;
};

/*
 * Announce a reader of this kind ("restore", "verify").  `engine` NULL: no
 * lock.  A repository that cannot be written to, or is full, is read all the
 * same, also when its writes hang: then *ret_reader is not announced, and
 * nothing protects what it reads.  End it in either case.  While nobody answers
 * the engine's observer is told so, from another thread, before this returns.
 */
FB_MUST_USE int fb_reader_begin(const struct fb_engine *engine,
    struct fb_repo *repo, const char *kind, struct fb_reader *ret_reader,
    struct fb_error *err);
/* After FB_OK: tell the observer when it was not announced though it should
 * have been; `err` is what fb_reader_begin() left. */
void fb_reader_warn(const struct fb_engine *engine,
    const struct fb_reader *reader, const char *kind,
    const struct fb_error *err);
/* FB_OK or what stood in the way of saying so. */
FB_MUST_USE int fb_reader_end(
    struct fb_repo *repo, struct fb_reader *reader, struct fb_error *err);

/* End the sessions of readers from here that died. */
FB_MUST_USE int fb_reader_sweep(const struct fb_engine *engine,
    struct fb_repo *repo, struct fb_error *err);

#endif
