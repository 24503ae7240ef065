/*
 * The journal: an append-only file that says what is known to have happened.
 *
 * A record is one line: "<sequence> <chain> <type> <canonical JSON object>";
 * chain is the SHA-256 over the previous record's chain, the type and the
 * JSON, in hex.  A fact is appended after it is durable and before anything
 * depends on it; what may leave debris elsewhere is announced first.
 * Only the last append can have been interrupted: a torn tail is cut, and
 * anything else that does not check is refused.
 * Spec: fleetbak-journal(5).
 */
#ifndef FB_JOURNAL_JOURNAL_H
#define FB_JOURNAL_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_error;
struct fb_journal;

struct fb_journal_record {
	uint64_t sequence; /* 1, 2, 3, ... */
	const char *type;  /* a name */
	const json_t *body;
};

/* Called for each record in order; a negative return stops the replay. */
typedef int fb_journal_visit(const struct fb_journal_record *record,
    void *arg, struct fb_error *err);

/*
 * Create a journal (FB_EEXISTS), or open one and replay it into `visit`.
 * Errors: FB_ECORRUPT (id E-JOURNAL) saying after which record, at which
 * byte; FB_ETOONEW; what `visit` returned.
 */
FB_MUST_USE int fb_journal_create(const char *path,
    struct fb_journal **ret_journal, struct fb_error *err);
FB_MUST_USE int fb_journal_open(const char *path, fb_journal_visit *visit,
    void *arg, struct fb_journal **ret_journal, struct fb_error *err);

/* Replay without opening for append and without cutting anything (status,
 * show): a torn tail is passed over. */
FB_MUST_USE int fb_journal_read(const char *path, fb_journal_visit *visit,
    void *arg, struct fb_error *err);

/*
 * Append one record; with `durable` it and all before it survive power loss
 * on return, else they will at the next durable one.  After a failure the
 * journal takes no further record.
 * Owner: borrows `body`.  Threads: any (appends are serialised).
 */
FB_MUST_USE int fb_journal_append(struct fb_journal *journal,
    const char *type, const json_t *body, bool durable, struct fb_error *err);

/* Replace all records so far by these, atomically; the sequence goes on. */
FB_MUST_USE int fb_journal_compact(struct fb_journal *journal,
    const struct fb_journal_record *records, size_t count,
    struct fb_error *err);

/*
 * Somebody else keeps what is recorded, too.  `note` is called for each
 * record in order, with nothing else going on; `flush` after the record is
 * durable here, from any thread: what it returns is what the append returns,
 * so that no effect is begun whose record is not there as well.
 */
struct fb_journal_mirror {
	void (*note)(
	    void *arg, uint64_t sequence, const char *type, const json_t *body);
	int (*flush)(void *arg, struct fb_error *err);
	void *arg;
};
void fb_journal_set_mirror(
    struct fb_journal *journal, const struct fb_journal_mirror *mirror);

/* Bytes in the file, to decide when to compact. */
uint64_t fb_journal_size(const struct fb_journal *journal);

void fb_journal_close(struct fb_journal *journal);
void fb_journal_closep(struct fb_journal **journal);
#define FB_AUTO_JOURNAL FB_CLEANUP(fb_journal_closep)

#endif
