/*
 * What drivers read from and write to: disks by ranges, trees as streams.
 *
 * A tree (and a definition) travels as a pax archive.  Beside the bytes go
 * hints where content begins, so that equal files make equal chunks, and the
 * catalogue: one entry per member, with its place in the archive.
 */
#ifndef FB_DRIVER_ARTIFACT_H
#define FB_DRIVER_ARTIFACT_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/format/catalogue.h"
#include "fleetbak/format/ranges.h"

struct fb_error;

/* Where a stream goes.  A negative return of any stops the producer. */
struct fb_sink {
	void *arg;
	int (*data)(void *arg, const void *bytes, size_t len,
	    struct fb_error *err);
	/* A chunk boundary here is worth it: content starts or ends. */
	int (*cut)(void *arg, struct fb_error *err);
	/* One catalogue entry, after its bytes; may be NULL. */
	int (*entry)(void *arg, const struct fb_entry *entry,
	    struct fb_error *err);
	/* `path` changed, vanished or could not be read while it was being
	 * read; the archive stays well-formed.  Not fatal. */
	void (*warn)(void *arg, const char *path, const char *what);
	/* Of a tree that is packed: the next bytes of the content of a regular
	 * file as they go into the archive, holes as zeros, all of them before
	 * its entry; may be NULL. */
	void (*content)(void *arg, const void *bytes, size_t len);

	/* What an earlier run has of the same stream; NULL: nothing.
	 * The next entry of its catalogue, NULL at the end; borrowed until
	 * the next call.  An entry whose ctime is 0.000000000 is of nothing
	 * that can be told to be the same. */
	int (*past)(void *arg, const struct fb_entry **ret_entry,
	    struct fb_error *err);
	/* The next `length` bytes are those that lie at `offset` there. */
	int (*same)(void *arg, uint64_t offset, uint64_t length,
	    struct fb_error *err);
	/* When it was taken: what changed shortly before that may have
	 * changed once more without another time. */
	int64_t past_ns;
};

/* Where a stream comes from: *ret_bytes is borrowed until the next call; an
 * empty span is the end. */
struct fb_pull {
	void *arg;
	int (*next)(void *arg, struct fb_span *ret_bytes, struct fb_error *err);
};

/*
 * What a source's metadata says of a volume's content: while the token is the
 * same, so is the content.  Printable ASCII without spaces, "": it cannot
 * tell.  Nobody but the driver looks into it.
 */
#define FB_CHANGE_TOKEN_SIZE 192

/* An open volume to be read. */
struct fb_artifact;
struct fb_artifact_ops {
	/* Disks: */
	/* The next data at or after `from`: [*ret_start, *ret_end); both are
	 * the size when there is none.  What lies between is zeros. */
	int (*extent)(struct fb_artifact *, uint64_t from, uint64_t *ret_start,
	    uint64_t *ret_end, struct fb_error *);
	/* Exactly `len` bytes at `offset`, never past the size. */
	int (*read)(struct fb_artifact *, uint64_t offset, void *bytes,
	    size_t len, struct fb_error *);
	/* Before anything is read: what may differ from the content that had
	 * the token `since` ("": all), and the token of what is read now;
	 * NULL: nobody knows.  It decides what is read, never what is true:
	 * a share of the rest is compared.  When it fails all is read; the
	 * token, if it left one, is of what is read all the same. */
	int (*changed_blocks)(struct fb_artifact *, const char *since,
	    struct fb_ranges *ret_changed, struct fb_error *);
	/* Trees, definitions, opaque: the whole stream into `sink`. */
	int (*produce)(struct fb_artifact *, const struct fb_sink *sink,
	    struct fb_error *);
	/* Whether what was read may have changed meanwhile (size or time of a
	 * disk that was read live); NULL: never. */
	bool (*changed)(struct fb_artifact *);
	/* Disks, after all was read and before anything is made of it: was it
	 * frozen all the time, and does its source stand by it?  Nothing is
	 * read any more.  NULL: nobody doubts it. */
	int (*prove)(struct fb_artifact *, struct fb_error *);
	void (*close)(struct fb_artifact *);
};
struct fb_artifact {
	const struct fb_artifact_ops *ops;
	uint64_t size; /* disks: bytes; streams: 0 */
	/* Disks: of what is read, taken before it could be. */
	char token[FB_CHANGE_TOKEN_SIZE];
};
static inline void
fb_artifact_closep(struct fb_artifact **artifact)
{
	if (*artifact)
		(*artifact)->ops->close(*artifact);
}
#define FB_AUTO_ARTIFACT FB_CLEANUP(fb_artifact_closep)

/* An open volume to be written by a restore. */
struct fb_target;
struct fb_target_ops {
	/* Disks: */
	/* The next data at or after `from`, as of fb_artifact_ops.extent. */
	int (*extent)(struct fb_target *, uint64_t from, uint64_t *ret_start,
	    uint64_t *ret_end, struct fb_error *);
	/* May be called from several threads at once. */
	int (*read)(struct fb_target *, uint64_t offset, void *bytes,
	    size_t len, struct fb_error *);
	int (*write)(struct fb_target *, uint64_t offset, const void *bytes,
	    size_t len, struct fb_error *);
	/* Make zeros of a range, as a hole where that is possible. */
	int (*zero)(struct fb_target *, uint64_t offset, uint64_t len,
	    struct fb_error *);
	/* Trees: take the archive that `pull` gives; see driver/tree.h. */
	int (*absorb)(struct fb_target *, const struct fb_pull *pull,
	    struct fb_error *);
	/* Durable now. */
	int (*sync)(struct fb_target *, struct fb_error *);
	void (*close)(struct fb_target *);
};
struct fb_target {
	const struct fb_target_ops *ops;
	uint64_t size;  /* disks: bytes, already as the volume's */
	bool fresh;     /* all zeros so far: zeros need no writing */
	bool parallel;  /* `write` may be called from several threads at once */
	bool kept;      /* the source has a snapshot of it, and puts that back by
	                 * itself: nothing is written */
	/* Trees: set by the caller before absorb ... */
	bool partial;   /* only some paths come: remove nothing */
	void (*report)(void *arg, const char *path, const char *what);
	void *report_arg; /* each removal and inexactness; may be NULL */
	/* ... and by absorb. */
	uint64_t written_bytes, unchanged_bytes, removed;
};
static inline void
fb_target_closep(struct fb_target **target)
{
	if (*target)
		(*target)->ops->close(*target);
}
#define FB_AUTO_TARGET FB_CLEANUP(fb_target_closep)

/*
 * A regular file or block device as a target (used by --target DIR and by
 * the local driver).  `create`: the file must not exist and is made `size`
 * bytes long, sparse; else it is opened in place and, if a file, cut or
 * extended to `size`; a device must be at least that large.
 */
FB_MUST_USE int fb_target_open_file(const char *path, uint64_t size,
    bool create, struct fb_target **ret_target, struct fb_error *err);

/* A regular file or block device as an artifact; holes by SEEK_DATA. */
FB_MUST_USE int fb_artifact_open_file(const char *path,
    struct fb_artifact **ret_artifact, struct fb_error *err);
/*
 * The token of a file: its device, inode, size and times.  "" for a device,
 * whose times say nothing, and for a file that changed so lately that it may
 * change again without another time.
 */
struct stat;
void fb_file_token(
    const struct stat *st, char ret_token[FB_CHANGE_TOKEN_SIZE]);
/* Is it one that a driver could have made? */
bool fb_change_token_ok(const char *token);
/* Whoever writes to it goes on meanwhile: of a device, which cannot tell,
 * `changed` is then to say yes. */
void fb_artifact_file_is_live(struct fb_artifact *artifact);

#endif
