/* Inside reading a volume ahead: volume_stream.c and volume_fetch.c. */
#ifndef REPO_STREAM_IMPL_H
#define REPO_STREAM_IMPL_H

#include <pthread.h>

#include "fleetbak/base/err.h"

#include "volume_impl.h"

#define JOB_CHUNKS OPEN_CHUNKS_MAX

struct job {
	uint64_t offset, length;
	bool done;
	struct fb_volume_reader *reader; /* `pack` is of its recipe */
	uint32_t pack, first, count;     /* no chunk: zeros */
	uint32_t stored_length;
	struct fb_pack_chunk chunks[JOB_CHUNKS];
	uint8_t *stored, *content;
	int rc;
	struct fb_error err;

	/* Of a job that is fetched together with its neighbours. */
	unsigned fetch;  /* which one of the stream's */
	bool here;       /* the stored bytes are */
	bool harmed;     /* `rc` is of bytes that others wanted, or nobody */
	size_t room_end; /* where the room behind them begins */
};

/* Jobs whose bytes lie near each other in a pack, got by one request. */
enum fetch_state { FETCH_FREE, FETCH_OPEN, FETCH_READY, FETCH_UNDER_WAY };

struct fetch {
	struct stream *stream;
	unsigned number;
	enum fetch_state state;
	struct fb_digest pack;
	uint64_t begin, end;  /* in the pack */
	uint64_t first, last; /* jobs: those between may be another's */
	pthread_cond_t room;  /* for a job that its thread waits for ... */
	bool waits;
	uint64_t awaited;     /* ... this one */
	/* Of the thread that gets it. */
	uint64_t at;  /* in the pack */
	uint64_t job; /* that the bytes at hand are for */
};

#define FETCHES_MAX 6

/* What a stream from far away has besides; the stream's lock protects it. */
struct far {
	struct fetch fetches[FETCHES_MAX];
	pthread_t threads[FETCHES_MAX];
	unsigned thread_count;
	pthread_cond_t ready; /* a fetch is, and its first job has room */
	uint8_t *stored; /* a ring of bytes: jobs get and give it in order */
	size_t room_size, head, tail, used;
	uint64_t granted, freed; /* jobs: have room; gave it back */
	uint8_t **contents;      /* a ring too */
	size_t content_count;
	uint64_t contents_taken, contents_given;
};

struct stream {
	struct fb_repo *repo;
	struct fb_volume_reader *reader; /* NULL: of several (volumes.c) */
	struct cursor cursor;
	struct job *ring;
	size_t ring_size;
	pthread_t *threads;
	unsigned thread_count;
	bool ended;      /* the caller's: nothing more to put in */
	bool holding;    /* the caller's: it uses the oldest job */
	struct far *far; /* NULL: each thread gets what it opens by itself */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t work, done;
	uint64_t oldest, next, newest; /* out, for threads, in */
	bool closing;
};

static inline struct job *
job_at(struct stream *stream, uint64_t number)
{
	return &stream->ring[number % stream->ring_size];
}

static inline const struct fb_recipe_pack *
pack_of(const struct job *job)
{
	return &job->reader->packs[job->pack];
}

/* A job of the chunk, or one more for it: one that lies right behind, if there
 * is room. */
void fb_job_begin(struct job *job, struct fb_volume_reader *reader,
    const struct piece *piece);
bool fb_job_goes_on(const struct job *job, const struct piece *piece);
void fb_job_add(struct job *job, const struct piece *piece);

/* As many threads as are wanted; 0: as there are processors. */
unsigned fb_stream_threads(unsigned wanted);

/* volume_fetch.c; `fb_far_close` after all threads of the stream ended. */
/* `data_size`: about as many bytes come. */
struct far *fb_far_open(struct stream *stream, uint64_t data_size);
void fb_far_stop(struct stream *stream); /* `closing` is set: join them */
void fb_far_close(struct far *far);

/* All of these with the lock held. */
bool fb_far_has_place(const struct stream *stream); /* for any job */
/* The newest job has been put in: plan how to get it. */
void fb_far_plan(struct stream *stream);
/* No more can be put in for now: begin what is worth it. */
void fb_far_begin(struct stream *stream);
/* Can the next job be opened?  Then take room for its content. */
bool fb_far_can_open(const struct stream *stream);
void fb_far_take_content(struct stream *stream, struct job *job);
/* A thread that opens waits only while it cannot: wake one if the next job is
 * here.  Whoever takes one calls it for the one after. */
void fb_far_wake_opener(struct stream *stream);
/* Without the lock: what failed with others is got by itself. */
void fb_far_get_alone(struct stream *stream, struct job *job);
/* A job was opened; the oldest one is not used any more. */
void fb_far_opened(struct stream *stream);
void fb_far_let_go(struct stream *stream, const struct job *job);

#endif
