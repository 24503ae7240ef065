/* The stand-in for a Morpheus appliance; morpheus_main.c says what it does. */
#ifndef TESTS_MORPHEUS_H
#define TESTS_MORPHEUS_H

#include <jansson.h>
#include <pthread.h>

#include "proxy.h"

/* What goes wrong; morpheus_rules.c has their names in this order. */
enum mo_kind {
	MO_ERROR,
	MO_ERROR_LATE,
	MO_HTML,
	MO_RAW,
	MO_RESET,
	MO_LOST,
	MO_LOST_HANG,
	MO_DELAY,
	MO_REFUSED,
	MO_ERRORS,
	MO_EXPIRE,
	MO_EXPIRE_ALL,
	MO_PAGE,
	MO_TOTAL,
	MO_NO_TOTAL,
	MO_REPEAT,
	MO_POWER,
	MO_STATUS,
	MO_NO_INSTANCE,
	MO_PARENT,
	MO_POWER_LAG,
	MO_STUCK,
	MO_STEP,
	MO_PROCESS,
	MO_SNAPSHOT,
	MO_LATE,
	MO_SIMILAR,
	MO_EXPORT,
	MO_CD,
	MO_REVERT,
	MO_DELETE,
	MO_KINDS,
};

struct mo_request {
	unsigned long number;
	struct head head;
	struct fb_buf body;
	struct end *client;
	char *path, *query; /* the path decoded; the query as it came, or "" */
	char *on[MO_KINDS]; /* its argument: it goes wrong so; or NULL */
	json_t *json;       /* of the body, or NULL */
	bool secret;        /* its body is not for the log */

	/* The answer. */
	int status;
	const char *type; /* NULL: JSON */
	struct fb_buf answer;
};

/* The argument as a number; `otherwise` when that does not go wrong. */
int64_t mo_number(
    const struct mo_request *request, enum mo_kind kind, int64_t otherwise);
/* Does it go wrong in just this way? */
bool mo_is(
    const struct mo_request *request, enum mo_kind kind, const char *argument);

/* morpheus_rules.c */
void mo_rules_open(const char *path);
void mo_rules_choose(struct mo_request *request);
void mo_log_open(const char *path);
void mo_log(const char *fmt, ...) FB_PRINTF(1, 2);

/* morpheus_auth.c; the lock guards its tokens. */
void mo_auth_setup(
    const char *user, const char *password, const char *fixed, int64_t life_ms);
void mo_auth_token(struct mo_request *request);
/* False: answered with a 401. */
bool mo_auth_check(struct mo_request *request);

/* morpheus_state.c: what the appliance knows; the lock guards it. */

#define MO_MAX   64
#define MO_DISKS 8

struct mo_volume {
	int64_t id, size;
	const char *name, *type; /* of the document */
	char *file; /* its live bytes, within the host's directory */
	bool cd;
};

struct mo_server {
	int64_t id;
	json_t *doc;            /* as machines.json has it */
	const char *name, *dir; /* "dir": of its host */
	bool vm, on, goal, shown;
	int64_t change_ms,
	    shown_ms; /* when `on`, `shown` follow; 0: they have */
	struct mo_volume volumes[MO_DISKS];
	size_t volume_count;
	/* A revert under way. */
	struct mo_snapshot *revert;
	int64_t revert_ms;
	char revert_how[16];
};

struct mo_file {
	struct mo_volume *volume;
	char *frozen;        /* its file, to revert to and to remove */
	char *path, *export; /* as the API names them, or NULL */
	char *loop;          /* the device it is behind, or NULL */
	bool moving;         /* it changes, and must not */
};

struct mo_snapshot {
	int64_t id;
	struct mo_server *server;
	char *name, *description;
	char status[32], final[32];
	char created[40];
	bool for_export, memory, active, with_cd;
	char how[16]; /* what is wrong with its export paths */
	int64_t visible_ms, late_ms, remove_ms; /* remove_ms: 0: stays */
	struct mo_file files[MO_DISKS];
	size_t file_count;
};

struct mo_process {
	int64_t id, began_ms, step_ms;
	struct mo_server *server;
	struct mo_snapshot *snapshot;
	char status[32], final[32];
	char began[40];
	int stage;
};

extern struct mo {
	pthread_mutex_t lock;
	const char *dir, *seen_as;
	int64_t power_ms, step_ms, revert_ms, delete_ms;
	int64_t next_id;
	struct mo_server *servers[MO_MAX];
	struct mo_snapshot *snapshots[MO_MAX];
	struct mo_process *processes[4 * MO_MAX];
} mo;

void mo_load(void);
void mo_now(char text[40]);
/* Whatever time has brought. */
void mo_advance(void);
struct mo_server *mo_server(int64_t id);
struct mo_snapshot *mo_snapshot(int64_t id);
struct mo_process *mo_process(int64_t id);
int64_t mo_instance_of(const struct mo_server *server); /* 0: none */
struct mo_process *mo_snapshot_begin(
    struct mo_server *server, struct mo_request *request);
/* It is to be so, some time from now. */
void mo_power(struct mo_server *server, bool on, struct mo_request *request);
/* Is something of it under way? */
bool mo_is_busy(const struct mo_server *server);

/* morpheus_json.c */
json_t *mo_server_json(
    const struct mo_server *server, const struct mo_request *request);
json_t *mo_instance_json(int64_t id);
json_t *mo_snapshot_json(const struct mo_snapshot *snapshot);
json_t *mo_process_json(const struct mo_process *process);

/* morpheus_disk.c */
int64_t mo_size(const struct mo_server *server, const char *file);
void mo_freeze(struct mo_snapshot *snapshot);
void mo_unfreeze(struct mo_snapshot *snapshot);
void mo_put_back(struct mo_snapshot *snapshot);
void mo_scribble(void); /* of guests that run, and of what moves */

/* morpheus_routes.c */
void mo_route(struct mo_request *request);
void mo_answer(struct mo_request *request, int status, json_t *json);
void mo_answer_bad(struct mo_request *request, int status, const char *msg);
/* A parameter of a query or a form, decoded; the caller frees it; or NULL. */
char *mo_parameter(const char *text, const char *name);

#endif
