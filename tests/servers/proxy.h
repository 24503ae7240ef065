/*
 * The fault proxy: an HTTP/1.1 proxy before a real server, for tests.
 *
 *	faultproxy [option...] ADDRESS:PORT      of the server
 *
 *	--rules FILE      what goes wrong; read again whenever it changes
 *	--log FILE        one line for each request
 *	--port-file FILE  the port it got, written when it is ready
 *	--secrets FILE    words, one a line, that must not come by in clear
 *	--cert FILE --key FILE   speak TLS with clients
 *	--seed N          of what is random
 *	--plain           do not look at requests as S3's
 *
 * A rule is a line "KIND[=ARGUMENTS] [condition...]"; the first one whose
 * conditions all hold is applied to a request, and "lag" and "date" besides.
 *
 *	method=PUT   path=GLOB   of the request's target, its query included
 *	skip=N       not to the first N requests that it would hold for
 *	times=N      to the N requests behind these, and no more
 *	prob=P       by chance
 *	key=ID       signed with this access key
 *
 *	refuse              nobody listens (with prob=: connections are reset)
 *	error=STATUS,CODE[,SECONDS]   S3's error; SECONDS: Retry-After
 *	early=STATUS,CODE[,SECONDS]   the same before the body was read
 *	answer=FILE         the file's bytes are the answer, whatever they are
 *	hang[=MS]           silence, for so long or until the rules change
 *	reset               connection reset in place of an answer
 *	reset-upload=N      ... when N bytes of the body were passed on
 *	lost                done by the server, and then reset
 *	lost-hang[=MS]      done by the server, and then silence
 *	cut=N               the end behind N bytes of the answer's body
 *	reset-answer=N      ... and a reset
 *	close               the end behind the answer, unannounced
 *	slow=N              the answer's body at N bytes a second
 *	slow-upload=N       the request's body
 *	delay=MS            later
 *	corrupt=N           another byte N in the answer's body
 *	corrupt-upload=N    another byte N in the request's body
 *	lag=MS              lists know nothing of what was put so recently
 *	date=SECONDS        the Date of answers is off
 *
 * The log: "NUMBER MS METHOD TARGET STATUS UP DOWN FAULT AT-ONCE" at the end
 * of each request (STATUS 0: no answer was sent; UP, DOWN: bytes of bodies;
 * AT-ONCE: so many were under way when it began, itself included); before
 * that "# NUMBER FAULT METHOD TARGET" when a fault begins; and
 * "! NUMBER WHAT" for each thing that is wrong with a request.
 */
#ifndef TESTS_PROXY_H
#define TESTS_PROXY_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

/* proxy_io.c: one end of a connection. */

#define PIECE ((size_t)64 << 10)

struct end {
	int fd; /* -1: none */
	SSL *ssl;
	struct fb_buf in; /* received and not yet taken */
	bool ended;       /* the other side has closed */
};

bool end_fill(struct end *end);
bool end_send(struct end *end, const void *bytes, size_t len);
void end_close(struct end *end);
void end_reset(struct end *end);

/* Wait up to `ms` for something to read, or the end, on the first one. */
bool end_wait(const struct end *end, int ms);

int64_t now_ms(void);
void pause_ms(int64_t ms);
void pause_ns(int64_t ns);

/* proxy_http.c: heads and bodies. */

struct head {
	struct fb_buf text; /* first line and headers, as they came */
	char method[16];    /* of a request */
	char *target;       /* of a request */
	int status;         /* of an answer */
	int64_t length;     /* Content-Length; -1: none */
	bool chunked;
	bool close;  /* the connection ends behind it */
	bool expect; /* Expect: 100-continue */
};

bool head_read(struct end *from, struct head *head, bool answer);
void head_clear(struct head *head);

/* The value of a header, which the caller frees; NULL when there is none. */
char *head_value(const struct head *head, const char *name);

/* Put another value in its place, or add it; NULL takes it away. */
void head_set(struct head *head, const char *name, const char *value);

/* Calls `take` with the bytes of a body as they come, frames of chunks
 * included in `raw` and taken off in `body`. */
typedef bool take_fn(
    void *arg, const void *raw, size_t raw_len, const void *body, size_t len);
bool body_read(
    struct end *from, const struct head *head, take_fn *take, void *arg);

/* proxy_rules.c */

enum fault {
	FAULT_NONE,
	FAULT_REFUSE,
	FAULT_ERROR,
	FAULT_EARLY,
	FAULT_ANSWER,
	FAULT_HANG,
	FAULT_RESET,
	FAULT_RESET_UPLOAD,
	FAULT_LOST,
	FAULT_LOST_HANG,
	FAULT_CUT,
	FAULT_RESET_ANSWER,
	FAULT_CLOSE,
	FAULT_SLOW,
	FAULT_SLOW_UPLOAD,
	FAULT_DELAY,
	FAULT_CORRUPT,
	FAULT_CORRUPT_UPLOAD,
	FAULT_LAG,
	FAULT_DATE,
};

/* What was chosen for one request. */
struct choice {
	enum fault fault;
	int64_t number;     /* its argument, the STATUS of an error */
	int64_t seconds;    /* Retry-After; 0: none */
	char text[256];     /* CODE, or the file's name */
	int64_t lag_ms;     /* 0: no lag */
	int64_t date_shift; /* seconds */
	unsigned long generation;
};

void rules_open(const char *path, long seed);

/* Read them again if they have changed, once for each turn of the listener. */
void rules_refresh(void);
bool rules_refuse(void);      /* nobody is to listen */
bool rules_refuse_once(void); /* this connection is to be reset */
bool rules_changed(unsigned long generation);
void rules_choose(const struct head *request, struct choice *choice);
const char *fault_name(enum fault fault);

/* proxy_check.c: what a request of ours must be like. */

struct check {
	unsigned long number;
	char promised[65]; /* payload hash of the head */
	EVP_MD_CTX *hash;
	struct fb_buf tail; /* the end of what was looked at for secrets */
};

void check_setup(const char *secrets_path, bool plain);
void check_head(struct check *check, const struct head *head);
void check_body(struct check *check, const void *bytes, size_t len);
void check_end(struct check *check, bool whole);

/* proxy_log.c */

void log_open(const char *path);
unsigned long log_number(unsigned long *ret_at_once);
void log_begin(unsigned long number, enum fault fault, const struct head *head);
void log_wrong(unsigned long number, const char *fmt, ...) FB_PRINTF(2, 3);
void log_end(unsigned long number, int64_t began_ms, const struct head *head,
    int status, int64_t up, int64_t down, enum fault fault,
    unsigned long at_once);

/* proxy_list.c: what was put when, and lists without it. */

void list_put(const char *target);
void list_hide(struct fb_buf *xml, const char *target, int64_t lag_ms);

/* proxy_serve.c */

struct settings {
	const char *address; /* of the server */
	const char *port;
	SSL_CTX *tls;
};

extern struct settings settings;

/* One client's connection to its end; takes over the descriptor. */
void serve_client(int fd);

#endif
