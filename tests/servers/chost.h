/*
 * A stand-in for computer-host, the Firecracker host daemon: its HTTP API over
 * a Unix socket, for tests.  Its machines are directories of disk images.
 *
 *	computer_host [option...] DIR
 *
 *	--socket PATH     listen there; --port-file FILE: on TCP too
 *	--rules FILE      what goes wrong; read again whenever it changes
 *	--log FILE        one line for each request
 *	--reconcile MS    how often what is pending is put right (5000)
 *	--era seed|head   the routes of the first daemon, or of the last one
 *
 * DIR/machines.json lists what is there when it begins: [{"machine_id",
 * "phase", "memory_mib", "storage_bytes", "users"}]; disks are
 * DIR/machine-disks/ID/system.img and user-N.img, snapshots
 * DIR/snapshots/SID/.
 *
 * A rule is "KIND[=NUMBER] [method=M] [path=GLOB] [skip=N] [times=N]"; each
 * that holds for a request is applied:
 *
 *	error=STATUS      that answer, and nothing done
 *	raw=BYTES         so many bytes that are no JSON as the answer
 *	reset             the connection is reset, and nothing done
 *	lost              done, and the connection is reset
 *	lost-hang         done, and silence
 *	delay=MS          later
 *	slow=MS           a create's pause lasts; without the client the machine
 *	                  stays paused until it is put right
 *	create-fails      a create fails with its operation pending
 *	starting=MS       what starts is "starting" for so long
 *	failed            a restored machine's phase is "failed"
 *	die               the machine is dead: a GET of it finds that out
 *	cut=N             an artifact's body ends behind N bytes
 *	corrupt=N         byte N of an artifact's body is another one
 *	touch             another Last-Modified after this answer
 *	no-range          the whole artifact whatever Range says
 *	vanish            the artifact's snapshot is gone after this answer
 *	stuck             of method=RECONCILE path=/machines/ID: what is pending
 *	                  of it cannot be put right, and nothing behind it is
 *	race=0            a create is put right while it clones: nothing to clone
 *	                  into, and it is not pending
 *	race=1            ... when it was recorded: a 201 of files that are gone
 *
 * The log: "NUMBER METHOD TARGET STATUS BYTES BODY", with a request's body of
 * at most 2000 bytes in one line, and "! NUMBER WHAT" for what no client may
 * do.
 */
#ifndef TESTS_CHOST_H
#define TESTS_CHOST_H

#include <jansson.h>
#include <pthread.h>

#include "proxy.h"

enum chost_kind {
	CHOST_ERROR,
	CHOST_RAW,
	CHOST_RESET,
	CHOST_LOST,
	CHOST_LOST_HANG,
	CHOST_DELAY,
	CHOST_SLOW,
	CHOST_CREATE_FAILS,
	CHOST_STARTING,
	CHOST_FAILED,
	CHOST_DIE,
	CHOST_CUT,
	CHOST_CORRUPT,
	CHOST_TOUCH,
	CHOST_NO_RANGE,
	CHOST_VANISH,
	CHOST_STUCK,
	CHOST_RACE,
	CHOST_KINDS,
};

struct chost_request {
	unsigned long number;
	struct head head;
	struct fb_buf body;
	struct end *client;
	char *path;                  /* without the query, decoded */
	bool on[CHOST_KINDS];        /* what goes wrong */
	int64_t argument[CHOST_KINDS];
	json_t *json;                /* of the body, or NULL */

	/* The answer. */
	int status;
	const char *type; /* NULL: JSON */
	struct fb_buf headers, answer;
	char *file;       /* in place of `answer`: its bytes from `from` on */
	int64_t from, length;
};

/* chost_rules.c */
void chost_rules_open(const char *path);
void chost_rules_choose(struct chost_request *request);
void chost_log_open(const char *path);
void chost_log(const char *fmt, ...) FB_PRINTF(1, 2);

/* chost_state.c: what the daemon knows; the lock guards it. */

struct chost_machine {
	char *id, *phase, *error, *kernel, *rootfs;
	char created[40], started[40];
	int64_t memory_mib, storage_bytes, starting_until_ms;
	size_t users;
	bool paused;
	json_t *guest; /* its configuration, never shown */
};

struct chost_snapshot {
	char *id, *machine;
	char created[40];
};

/* What is under way of a machine. */
struct chost_op {
	char *machine, *snapshot;
	const char *type;
	char started[40];
	bool held; /* its request is being served */
};

#define CHOST_MAX 64

extern struct chost {
	pthread_mutex_t lock;
	const char *dir;
	bool seed_era;
	struct chost_machine *machines[CHOST_MAX];
	struct chost_snapshot *snapshots[CHOST_MAX];
	struct chost_op *ops[CHOST_MAX];
} chost;

void chost_load(void);
void chost_now(char text[40]);
struct chost_machine *chost_machine(const char *id);
struct chost_machine *chost_machine_add(const char *id);
void chost_machine_remove(const char *id);
void chost_phase(struct chost_machine *machine, const char *phase,
    const char *error);
/* What its phase is by now. */
void chost_refresh(struct chost_machine *machine);
struct chost_snapshot *chost_snapshot(const char *id);
void chost_snapshot_add(const char *id, const char *machine);
void chost_snapshot_remove(const char *id);
struct chost_op *chost_op(const char *machine);
/* In the place of any other of that machine. */
struct chost_op *chost_op_begin(
    const char *machine, const char *type, const char *snapshot);
void chost_op_end(struct chost_op *op);
void chost_reconcile(void);
json_t *chost_machine_json(const struct chost_machine *machine);
json_t *chost_snapshot_json(const struct chost_snapshot *snapshot);

/* chost_disk.c */
bool chost_copy(const char *from, const char *to);
int64_t chost_size(const char *path);
bool chost_sha256(const char *path, char hex[65]);
void chost_remove_dir(const char *path);
/* The URL's body into a file; false, with why, when it did not come. */
bool chost_fetch(const char *url, const char *path, char why[256]);
/* A part of a file to a URL; the ETag it answers, which the caller frees. */
char *chost_put(const char *url, const char *path, int64_t offset,
    int64_t size, char why[256]);

/* chost_routes.c: find out what is asked, and do it. */
void chost_route(struct chost_request *request);
void chost_answer_json(
    struct chost_request *request, int status, json_t *json);
/* Its status follows from the text. */
void chost_answer_error(struct chost_request *request, const char *fmt, ...)
    FB_PRINTF(2, 3);

/* chost_snapshots.c */
void chost_create(struct chost_request *request, const char *machine);
void chost_artifact(
    struct chost_request *request, const char *snapshot, const char *id);
void chost_upload(struct chost_request *request, const char *snapshot);

/* chost_restore.c */
void chost_restore(struct chost_request *request, const char *snapshot);

#endif
