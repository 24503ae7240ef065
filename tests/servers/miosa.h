/* The stand-in for MIOSA; the head of miosa_main.c says what it does. */
#ifndef TESTS_MIOSA_H
#define TESTS_MIOSA_H

#include <jansson.h>
#include <pthread.h>

#include "proxy.h"

#define MIOSA_BASE  "/api/v1/"
#define MIOSA_PARTS 8
#define MIOSA_TEXT  128

enum miosa_kind {
	MIOSA_ERROR,
	MIOSA_RAW,
	MIOSA_RESET,
	MIOSA_LOST,
	MIOSA_LOST_HANG,
	MIOSA_DELAY,
	MIOSA_SLOW,
	MIOSA_CUT,
	MIOSA_CORRUPT,
	MIOSA_NO_RANGE,
	MIOSA_NO_LENGTH,
	MIOSA_CHUNKED,
	MIOSA_ETAG,
	MIOSA_TOUCH,
	MIOSA_GONE,
	MIOSA_SHAPE,
	MIOSA_RETRY_MS,
	MIOSA_ENVELOPE,
	MIOSA_PAGING,
	MIOSA_TOTAL,
	MIOSA_POLLS,
	MIOSA_BECOMES,
	MIOSA_SAYS,
	MIOSA_CLI_FIELDS,
	MIOSA_NO_CONTENT,
	MIOSA_CONFLICT,
	MIOSA_STAYS,
	MIOSA_IN_USE,
	MIOSA_FORGET_KEYS,
	MIOSA_WARMING,
	MIOSA_NOT_BROWSABLE,
	MIOSA_TAR_BYTES,
	MIOSA_TAR_ENTRIES,
	MIOSA_TAR_DIRS,
	MIOSA_FILE_BYTES,
	MIOSA_TAR_NAMES,
	MIOSA_EVIL,
	MIOSA_SSE,
	MIOSA_GAP,
	MIOSA_NEED_JSON,
	MIOSA_JSON_ONLY,
	MIOSA_KINDS,
};

struct miosa_event {
	const char *type, *status;
	int progress;
};

struct miosa_request {
	unsigned long number;
	struct head head;
	struct fb_buf body;
	struct end *client;
	char *path;               /* below the base, not decoded */
	char *part[MIOSA_PARTS];  /* its segments, decoded */
	size_t parts;
	const char *query;        /* not decoded; "" without one */
	json_t *json;             /* of the body, or NULL */
	bool on[MIOSA_KINDS];     /* what goes wrong */
	int64_t argument[MIOSA_KINDS];
	char text[MIOSA_KINDS][MIOSA_TEXT];

	/* The answer. */
	int status;
	const char *type;
	struct fb_buf headers, answer;
	char *file;       /* in place of `answer`: its bytes from `from` on */
	bool remove_file; /* when it was sent */
	int64_t from, length;
	const struct miosa_event *events; /* in place of both */
	char *subject;                    /* the snapshot that they are about */
};

/* miosa_rules.c */
void miosa_rules_open(const char *path);
void miosa_rules_choose(struct miosa_request *request);
void miosa_log_open(const char *path);
void miosa_log(const char *fmt, ...) FB_PRINTF(1, 2);
/* What no client may do. */
void miosa_complain(
    const struct miosa_request *request, const char *fmt, ...) FB_PRINTF(2, 3);

/* miosa_state.c: what is there; the lock guards it. */

extern struct miosa {
	pthread_mutex_t lock;
	const char *dir, *families, *key_file;
	int port, off_status;
	json_t *computers, *snapshots, *keys, *tickets; /* objects by id */
	long next;
} miosa;

void miosa_load(void);
void miosa_save(void);
char *miosa_new_id(const char *prefix);
void miosa_now(char text[40]);
/* Run a tool; false when it fails. */
bool miosa_tool(const char *const argv[]);
bool miosa_copy_tree(const char *from, const char *to);
void miosa_remove_tree(const char *path);
char *miosa_dir(const char *kind, const char *id);
/* "EFFECT ID [OTHER]" into DIR/effects. */
void miosa_effect(const char *effect, const char *id, const char *other);
const char *miosa_get(const json_t *object, const char *name);
void miosa_set(json_t *object, const char *name, const char *value);
/* It will be `then` when `polls` looks at it saw `now`. */
void miosa_becomes(const struct miosa_request *request, json_t *object,
    const char *now, const char *then);
void miosa_look(json_t *object);
void miosa_finish(json_t *object);

/* miosa_answer.c: the shapes. */
void miosa_json(struct miosa_request *request, int status, json_t *json);
/* In its envelope; `name` is "computer", "checkpoint", "snapshot". */
void miosa_object(struct miosa_request *request, int status, const char *name,
    json_t *object, json_t *beside);
void miosa_list(
    struct miosa_request *request, const char *name, json_t *list);
void miosa_error(struct miosa_request *request, int status, const char *code,
    const char *fmt, ...) FB_PRINTF(4, 5);
void miosa_error_with(struct miosa_request *request, int status,
    const char *code, json_t *details, const char *text);
bool miosa_method(struct miosa_request *request, const char *method);
/* A parameter of the query, decoded, which the caller frees; or NULL. */
char *miosa_query(const struct miosa_request *request, const char *name);
char *miosa_decode(const char *text, size_t len);

/* miosa_http.c */
bool miosa_read(struct end *client, struct miosa_request *request);
bool miosa_send(struct miosa_request *request);
void miosa_release(struct miosa_request *request);
void miosa_log_request(
    const struct miosa_request *request, int status, int64_t bytes);
char *miosa_sha256(const void *bytes, size_t len);

/* miosa_events.c */
bool miosa_send_events(struct miosa_request *request);

/* miosa_routes.c */
void miosa_route(struct miosa_request *request);

/* miosa_computers.c */
void miosa_computers(struct miosa_request *request);
json_t *miosa_computer_add(const char *name, const char *snapshot);
json_t *miosa_computer_json(
    const struct miosa_request *request, json_t *computer);

/* miosa_snapshots.c: F1 and F2 of one computer. */
void miosa_computer_snapshots(struct miosa_request *request, json_t *computer);
void miosa_restore_new(struct miosa_request *request, const char *id);

/* miosa_account.c: F4. */
void miosa_account(struct miosa_request *request);
bool miosa_snapshot_delete(struct miosa_request *request, const char *id);

/* miosa_browse.c */
void miosa_export(struct miosa_request *request, const char *id);
void miosa_browse(struct miosa_request *request, json_t *snapshot);
/* A path of a client below a directory; NULL, and answered, when it is none. */
char *miosa_path(
    struct miosa_request *request, const char *dir, const char *path);

/* miosa_guest.c */
void miosa_files(struct miosa_request *request, json_t *computer);
void miosa_exec(struct miosa_request *request, json_t *computer);
void miosa_presigned(struct miosa_request *request);

#endif
