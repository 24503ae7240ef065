/*
 * One volume on its way into the copier: what capture.c and capture_past.c
 * share.  Private to src/engine.
 */
#ifndef FB_ENGINE_CAPTURE_H
#define FB_ENGINE_CAPTURE_H

#include "run.h"

struct fb_past_entries;

struct capture {
	struct fb_run *run;
	struct fb_job *job;
	struct fb_part *part;
	size_t index; /* of the part */
	struct fb_artifact *artifact;
	bool live;    /* read without a snapshot */
	bool continued; /* the copy goes on after a crash */
	struct fb_copy *copy;
	struct fb_rate *source_rate; /* NULL: no limit */
	int64_t deadline_ns;
	uint64_t offset;      /* of the next byte of the volume */
	bool store_failed;    /* not the machine's fault: the run ends */
	int catalogue_fd;     /* unlinked; -1: no catalogue */
	struct fb_buf catalogue;
	uint64_t catalogue_size;

	/* What an earlier run has of it; NULL: it is read as a whole. */
	const struct fb_plan_past *known;
	struct fb_past *past;
	struct fb_past_entries *entries; /* of a tree */
	bool mapped, lied;        /* a change map is used; it was wrong */
	struct fb_ranges changed; /* what it says */
};

/* capture.c */
/* Copier errors are the repository's or the spool's: they end the run. */
int fb_capture_copier_rc(struct capture *capture, int rc);
FB_MUST_USE int fb_capture_check(
    struct capture *capture, struct fb_error *err);
void fb_capture_progress(struct capture *capture);
/* Wait until the limits of bandwidth let `len` more bytes be read. */
FB_MUST_USE int fb_capture_wait(
    struct capture *capture, uint64_t len, struct fb_error *err);
/* Read the disk from where the capture is up to `end`. */
FB_MUST_USE int fb_capture_read(
    struct capture *capture, uint64_t end, struct fb_error *err);

/* capture_past.c */
/* Ask who knows what changed since the earlier run, if somebody does. */
void fb_capture_ask(struct capture *capture);
/* Find what can be taken over, and open it; what cannot be used is left
 * alone, with a warning where something is wrong with it. */
void fb_capture_open_past(struct capture *capture);
void fb_capture_close_past(struct capture *capture);
/* Did the earlier run's objects fail, and not the volume?  Says so. */
bool fb_capture_past_failed(
    struct capture *capture, const struct fb_error *err);
/* The whole disk: taken over, or read where that is not possible. */
FB_MUST_USE int fb_capture_disk(
    struct capture *capture, struct fb_error *err);
/* What is known of a volume that was taken over as a whole. */
FB_MUST_USE int fb_capture_settle(
    struct capture *capture, struct fb_error *err);
/* For the sink of a tree. */
FB_MUST_USE int fb_capture_entry(
    void *arg, const struct fb_entry **ret_entry, struct fb_error *err);
FB_MUST_USE int fb_capture_same(
    void *arg, uint64_t offset, uint64_t length, struct fb_error *err);

#endif
