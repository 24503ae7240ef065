/*
 * Asking S3: one request signed and sent, and again where that is right.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"
#include "s3.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

#define PAUSE_FIRST_NS (100 * NS_PER_MS)
#define PAUSE_MAX_NS   (20 * NS_PER_S)
#define PAUSE_ASKED_NS (120 * NS_PER_S) /* of Retry-After, at most */
#define HURRY_NS       (5 * NS_PER_S)

#define READ_STEP ((size_t)1 << 20)

/* So often is sent what the server says was damaged on the way. */
#define DAMAGED_MAX 3

/* A try that brings less is no progress: this is what comes, until it is given
 * up, at a rate that counts as none. */
#define PROGRESS_MIN 4096

/* What of the limit comes back with each answer that is no refusal. */
#define CLIMB 0.05

void
s3_answer_release(struct s3_answer *answer)
{
	fb_http_response_release(&answer->http);
}

void
s3_payload(struct fb_span bytes, char hex[FB_DIGEST_HEX_SIZE])
{
	struct fb_digest digest;

	fb_digest_of(bytes, &digest);
	fb_digest_hex(&digest, hex);
}

int
s3_payload_file(int fd, const char *path, uint64_t offset, uint64_t size,
    char hex[FB_DIGEST_HEX_SIZE], struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(READ_STEP, 1);
	struct fb_digest digest;

	for (uint64_t done = 0; done < size;) {
		size_t len =
		    size - done < READ_STEP ? (size_t)(size - done) : READ_STEP;
		size_t got = 0;
		int rc =
		    fb_io_pread(fd, path, bytes, len, offset + done, &got, err);

		if (rc == FB_OK && got < len)
			rc = fb_fail(
			    err, FB_ECORRUPT, "'%s' has become shorter", path);
		if (rc < 0)
			return rc;
		fb_digester_add(digester, (struct fb_span){ bytes, got });
		done += got;
	}
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, hex);
	return FB_OK;
}

/*
 * How many at once.  A server that says SlowDown gets half as many, once a
 * second at most; each good answer brings a little of it back.
 */
static void
enter(struct s3_store *s3)
{
	(void)pthread_mutex_lock(&s3->lock);
	while (s3->under_way >= (unsigned)s3->limit)
		(void)pthread_cond_wait(&s3->room, &s3->lock);
	s3->under_way++;
	(void)pthread_mutex_unlock(&s3->lock);
}

static void
leave(struct s3_store *s3, enum s3_verdict verdict)
{
	int64_t now = fb_clock_mono_ns();

	(void)pthread_mutex_lock(&s3->lock);
	s3->under_way--;
	if (verdict == S3_SLOW && now - s3->slowed_ns > NS_PER_S) {
		s3->limit = s3->limit / 2 < 1 ? 1 : s3->limit / 2;
		s3->slowed_ns = now;
	} else if (verdict == S3_DONE && s3->limit < S3_PARALLEL) {
		s3->limit += CLIMB;
	}
	(void)pthread_cond_broadcast(&s3->room);
	(void)pthread_mutex_unlock(&s3->lock);
}

void
s3_set_apart(struct s3_store *s3)
{
	leave(s3, S3_DONE);
}

/* What is sent: the texts that the headers are made of. */
struct sending {
	struct fb_buf path, query, url, authorization;
	struct s3_pair headers[S3_HEADERS_MAX];
	size_t header_count;
	char *lines[S3_HEADERS_MAX + 2];
	char date[S3_DATE_SIZE];
	char payload[FB_DIGEST_HEX_SIZE];
	struct s3_guard guard;
};

static void
release_sending(struct sending *sending)
{
	fb_buf_release(&sending->path);
	fb_buf_release(&sending->query);
	fb_buf_release(&sending->url);
	fb_buf_release(&sending->authorization);
	for (size_t i = 0; sending->lines[i] != NULL; i++) {
		explicit_bzero(sending->lines[i], strlen(sending->lines[i]));
		free(sending->lines[i]);
	}
}

static void
add_header(struct sending *sending, const char *name, const char *value)
{
	sending->headers[sending->header_count++] =
	    (struct s3_pair){ name, value };
}

static void
prepare(const struct s3_store *s3, const struct s3_ask *ask,
    const struct s3_access *access, struct sending *sending)
{
	const struct s3_keys keys = { access->id, access->secret };
	struct s3_signing signing = { .method = ask->method,
		.payload = sending->payload,
		.region = s3->region,
		.service = "s3" };
	FB_AUTO_FREE char *plain =
	    fb_format("%s%s%s", s3->root, ask->key != NULL ? s3->prefix : "",
	        ask->key != NULL ? ask->key : "");
	size_t lines = 0;

	s3_add_encoded(&sending->path, plain, true);
	s3_add_query(&sending->query, ask->query, ask->query_count);
	fb_buf_add_fmt(&sending->url, "%s%s%s%s", s3->server,
	    fb_buf_str(&sending->path), ask->query_count > 0 ? "?" : "",
	    fb_buf_str(&sending->query));
	s3_date(fb_clock_wall_ns(), sending->date);
	add_header(sending, "host", s3->host);
	add_header(sending, "x-amz-date", sending->date);
	add_header(sending, "x-amz-content-sha256", sending->payload);
	if (access->token != NULL)
		add_header(sending, "x-amz-security-token", access->token);
	for (size_t i = 0; i < ask->header_count; i++)
		add_header(
		    sending, ask->headers[i].name, ask->headers[i].value);
	s3_guard(s3, ask, sending->payload, &sending->guard);
	for (size_t i = 0; i < sending->guard.count; i++)
		add_header(sending, sending->guard.headers[i].name,
		    sending->guard.headers[i].value);
	signing.path = fb_buf_str(&sending->path);
	signing.query = fb_buf_str(&sending->query);
	signing.headers = sending->headers;
	signing.header_count = sending->header_count;
	s3_add_authorization(
	    &sending->authorization, &signing, &keys, sending->date);
	for (size_t i = 0; i < sending->header_count; i++)
		sending->lines[lines++] = fb_format("%s: %s",
		    sending->headers[i].name, sending->headers[i].value);
	sending->lines[lines++] =
	    fb_format("authorization: %s", fb_buf_str(&sending->authorization));
}

/* One try.  FB_OK: there is an answer, whatever it says. */
static int
send_once(struct s3_store *s3, const struct s3_ask *ask,
    const struct s3_access *access, struct s3_answer *answer,
    struct fb_error *err)
{
	FB_CLEANUP(release_sending) struct sending sending = { 0 };
	struct fb_http_request request = { .method = ask->method,
		.step = ask->method[0] == 'G' || ask->method[0] == 'H'
		    ? FB_STEP_ASK
		    : FB_STEP_STORE,
		.what = ask->key != NULL ? ask->key : s3->bucket,
		.body = ask->body,
		.body_path = ask->body_path,
		.body_fd = ask->body_fd,
		.body_offset = ask->body_offset,
		.body_size = ask->body_size,
		.straight = ask->straight,
		.once = ask->once || ask->check != NULL,
		.body_max = ask->body_max,
		.sink = ask->sink,
		.sink_arg = ask->sink_arg };

	if (ask->payload != NULL)
		memcpy(sending.payload, ask->payload, FB_DIGEST_HEX_SIZE);
	else
		s3_payload(ask->body, sending.payload);
	if (ask->again != NULL)
		ask->again(ask->sink_arg);
	prepare(s3, ask, access, &sending);
	request.url = fb_buf_str(&sending.url);
	request.headers = (const char *const *)sending.lines;
	return fb_http_send(s3->http, &request, &answer->http, err);
}

/* Half of it at least, the rest at random, so that many that failed at once
 * do not come back at once. */
static int64_t
pause_of(unsigned tries)
{
	int64_t pause = PAUSE_FIRST_NS;
	uint16_t dice;

	for (unsigned i = 1; i < tries && pause < PAUSE_MAX_NS; i++)
		pause *= 2;
	if (pause > PAUSE_MAX_NS)
		pause = PAUSE_MAX_NS;
	fb_random(&dice, sizeof(dice));
	return pause / 2 + pause / 2 * dice / UINT16_MAX;
}

/* What the server asks for. */
static int64_t
asked_pause(const struct s3_answer *answer)
{
	uint64_t seconds = answer->http.retry_after_s;

	return seconds > PAUSE_ASKED_NS / NS_PER_S
	    ? PAUSE_ASKED_NS
	    : (int64_t)seconds * NS_PER_S;
}

static bool
hurries(const struct s3_store *s3)
{
	return s3->hurry != NULL && atomic_load(s3->hurry);
}

/* Wait before the next try; false when the budget ends before. */
static bool
wait_again(const struct s3_store *s3, const struct s3_answer *answer,
    unsigned tries, int64_t begin_ns)
{
	int64_t began = fb_clock_mono_ns();
	int64_t until = began + pause_of(tries);
	int64_t end = begin_ns + (int64_t)s3->retry_ns;

	/* One that asks for more than is left is asked once more at the end. */
	if (until < began + asked_pause(answer) && until < end) {
		until = began + asked_pause(answer);
		until = until < end ? until : end;
	}
	for (;;) {
		int64_t budget = hurries(s3) && (int64_t)s3->retry_ns > HURRY_NS
		    ? HURRY_NS
		    : (int64_t)s3->retry_ns;
		int64_t now = fb_clock_mono_ns();

		if (until > begin_ns + budget)
			return false;
		if (now >= until)
			return true;
		fb_clock_wait(until);
	}
}

/* Was it the way to the server, or the server, and may it pass? */
static bool
may_pass(int rc, const struct fb_error *err)
{
	if (rc == FB_EUNREACH)
		return strcmp(err->id, "E-TLS") != 0;
	return rc == FB_EUNKNOWN || rc == FB_ETIMEOUT;
}

static bool
has_effect(const struct s3_ask *ask)
{
	return ask->method[0] == 'P' || ask->method[0] == 'D';
}

/* The budget is used up: what the last try said, and how sure we are. */
static int
give_up(struct s3_store *s3, const struct s3_ask *ask,
    const struct s3_answer *answer, int rc, struct fb_error *err)
{
	if (rc == FB_OK)
		(void)s3_fail(s3, answer, err);
	if (has_effect(ask) && answer->doubt) {
		err->code = FB_ETIMEOUT;
		(void)fb_wrap(err, "no answer says whether it was done");
		(void)fb_hint(err,
		    "see whether the server is full or overloaded; then run "
		    "it again: it goes on where it was");
	} else if (rc == FB_EUNKNOWN || rc == FB_ETIMEOUT) {
		err->code = FB_EUNREACH; /* nothing was to be done */
		err->id = fb_code_id(FB_EUNREACH);
	}
	if (err->code == FB_EUNREACH)
		(void)fb_hint(err,
		    "check the network, 'endpoint' and 'proxy'; then run it "
		    "again");
	return err->code;
}

/* The refusal of a HEAD has no body, so no reason: the same as a GET has. */
static int
ask_why(struct s3_store *s3, const struct s3_ask *head,
    const struct s3_access *access, struct s3_answer *answer,
    enum s3_verdict *verdict, struct fb_error *err)
{
	const struct s3_pair one_byte = { "range", "bytes=0-0" };
	const struct s3_ask ask = { .method = "GET",
		.key = head->key,
		.headers = &one_byte,
		.header_count = 1 };
	int rc = send_once(s3, &ask, access, answer, err);

	*verdict = rc == FB_OK ? s3_judge(answer) : S3_AGAIN;
	if (*verdict == S3_DONE) /* it passed meanwhile */
		*verdict = S3_AGAIN;
	return rc;
}

int
s3_ask(struct s3_store *s3, const struct s3_ask *ask, struct s3_answer *answer,
    struct fb_error *err)
{
	int64_t begin = fb_clock_mono_ns();
	bool keys_tried = false;
	unsigned damaged = 0;
	uint64_t moved = 0;

	answer->doubt = answer->stopped = false;
	for (unsigned tries = 1;; tries++) {
		AUTO_ACCESS struct s3_access access = { 0 };
		enum s3_verdict verdict = S3_AGAIN;
		int rc = s3_cred_get(s3->cred, &access, err);

		if (rc < 0)
			return rc;
		/* It may ask something itself: so before it has its place. */
		rc = ask->check != NULL ? ask->check(ask->check_arg, err)
		                        : FB_OK;
		answer->stopped = rc < 0;
		if (rc < 0)
			return rc;
		enter(s3);
		rc = send_once(s3, ask, &access, answer, err);
		if (rc == FB_OK)
			verdict = s3_judge(answer);
		if (verdict == S3_FAIL && ask->method[0] == 'H' &&
		    answer->code[0] == '\0')
			rc = ask_why(s3, ask, &access, answer, &verdict, err);
		if (ask->apart == NULL || !*ask->apart)
			leave(s3, verdict);
		if (rc < 0 && !may_pass(rc, err))
			return rc;
		if (verdict == S3_DONE)
			return FB_OK;
		if (verdict == S3_KEYS && !keys_tried &&
		    s3_cred_expired(s3->cred, &access)) {
			keys_tried = true;
			continue;
		}
		/* Another try sends the same bytes, whole this time. */
		if (verdict == S3_FAIL &&
		    strcmp(answer->code, "XAmzContentSHA256Mismatch") == 0 &&
		    ++damaged < DAMAGED_MAX)
			continue;
		if (verdict == S3_FAIL && s3_wants_checksums(s3, ask, answer))
			continue;
		if (verdict == S3_KEYS || verdict == S3_FAIL)
			return s3_fail_asked(s3, ask, answer, err);
		if (rc != FB_EUNREACH)
			answer->doubt = true;
		if (ask->moved != NULL && *ask->moved >= moved + PROGRESS_MIN) {
			tries = 1;
			begin = fb_clock_mono_ns();
		}
		moved = ask->moved != NULL ? *ask->moved : 0;
		if (!wait_again(s3, answer, tries, begin))
			return give_up(s3, ask, answer, rc, err);
	}
}
