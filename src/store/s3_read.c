/*
 * Reading much of an object in one request.  The bytes go to whoever takes
 * them as they come; after a failure that may pass, the rest is asked for.
 */
#include <stdio.h>
#include <string.h>

#include "s3.h"

#define RANGE_SIZE 64

struct reading {
	struct s3_store *s3;
	const struct s3_answer *answer;
	uint64_t offset, len;
	uint64_t got;           /* so many were taken */
	char range[RANGE_SIZE]; /* of this try */
	char begin[RANGE_SIZE]; /* of the header that answers it */
	bool judged;            /* it is what was asked for */
	bool apart;
	fb_store_take *take;
	void *arg;
	int rc; /* of `take` */
	struct fb_error err;
};

static void
ask_for_rest(void *arg)
{
	struct reading *reading = arg;
	unsigned long long from = reading->offset + reading->got;

	(void)snprintf(reading->range, sizeof(reading->range),
	    "bytes=%llu-%llu", from,
	    (unsigned long long)reading->offset + reading->len - 1);
	(void)snprintf(
	    reading->begin, sizeof(reading->begin), "bytes %llu-", from);
	reading->judged = false;
	reading->apart = false;
}

static int
fail_range(struct fb_error *err)
{
	return fb_fail(err, FB_EPROTO,
	    "the server does not answer with the range that was asked for");
}

static int
take_piece(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct reading *reading = arg;
	const char *what =
	    fb_http_header(&reading->answer->http, "content-range");

	if (!reading->judged &&
	    (what == NULL ||
	        strncmp(what, reading->begin, strlen(reading->begin)) != 0))
		return fail_range(err);
	if (!reading->judged) {
		reading->judged = reading->apart = true;
		s3_set_apart(reading->s3);
	}
	if (piece.len > reading->len - reading->got)
		return fail_range(err);
	reading->rc = reading->take(reading->arg, piece, &reading->err);
	if (reading->rc < 0) /* whatever it is, it is not tried again */
		return fb_fail(err, FB_ECANCELED, "nobody takes the rest");
	reading->got += piece.len;
	return FB_OK;
}

int
s3_read(struct fb_store *store, const char *key, uint64_t offset, uint64_t len,
    fb_store_take *take, void *arg, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	struct reading reading = { .s3 = (struct s3_store *)store,
		.answer = &answer,
		.offset = offset,
		.len = len,
		.take = take,
		.arg = arg };
	const struct s3_pair headers[] = { { "range", reading.range } };
	const struct s3_ask ask = { .method = "GET",
		.key = key,
		.headers = headers,
		.header_count = 1,
		.sink = take_piece,
		.again = ask_for_rest,
		.sink_arg = &reading,
		.moved = &reading.got,
		.apart = &reading.apart };
	int rc = len > 0 ? s3_ask(reading.s3, &ask, &answer, err) : FB_OK;

	if (reading.rc < 0) {
		*err = reading.err;
		return reading.rc;
	}
	if (reading.got == len) /* whatever befell the end of the answer */
		return FB_OK;
	if (rc < 0)
		return rc;
	if (answer.http.status == 404)
		return fb_fail(err, FB_ENOTFOUND, "no such object");
	if (answer.http.status == 416 ||
	    (answer.http.status == 206 && reading.got < len))
		return fb_fail(err, FB_ECORRUPT,
		    "the object ends before byte %llu",
		    (unsigned long long)offset + len);
	return answer.http.status == 206 ? FB_OK : fail_range(err);
}
