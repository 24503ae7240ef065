/* The stand-in for the `icp` command; the head of icp_main.c says all. */
#ifndef TESTS_ICP_H
#define TESTS_ICP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

#define ICP_TEXT 256

enum icp_kind {
	ICP_FAIL,
	ICP_HANG,
	ICP_HANG_AFTER,
	ICP_DIE,
	ICP_DIE_AFTER,
	ICP_DELAY,
	ICP_DELAY_AFTER,
	ICP_MUTE,
	ICP_GARBAGE,
	ICP_FLOOD,
	ICP_FLOOD_ERR,
	ICP_LINGER,
	ICP_PROMPT,
	ICP_VERSION,
	ICP_TWO,
	ICP_WRONG_ID,
	ICP_VANISH,
	ICP_CUT,
	ICP_SHORT,
	ICP_CORRUPT,
	ICP_STOPPING,
	ICP_SAYS,
	ICP_PUBLIC,
	ICP_MODULE,
	ICP_NO_MODULE,
	ICP_REGISTRY,
	ICP_KINDS,
};

/* One run of the command. */
struct icp {
	const char *dir;
	const char *words[8]; /* "canister", "stop", ID... */
	size_t count;
	char *line; /* all arguments, for the log and the rules */
	bool json, quiet, resume, query;
	const char *environment, *network, *root_key, *identity;
	const char *password_file, *project, *input, *output, *replace;

	bool on[ICP_KINDS];
	int64_t argument[ICP_KINDS];
	char text[ICP_KINDS][ICP_TEXT];

	struct fb_buf out; /* what it will print */
	json_t *state;     /* while it is locked */
	int lock;
};

extern struct icp icp;

/* icp_rules.c */
void icp_rules_choose(void);

/* icp_state.c */
void icp_open(void);
void icp_close(void);
void icp_log(const char *fmt, ...) FB_PRINTF(1, 2);
void icp_complain(const char *fmt, ...) FB_PRINTF(1, 2);
void icp_effect(const char *effect, const char *id, const char *snapshot);
/* "Error: ..." and the end. */
_Noreturn void icp_error(const char *fmt, ...) FB_PRINTF(1, 2);
_Noreturn void icp_exit(int status);
const char *icp_get(const json_t *object, const char *name);
/* The canister of words[i], or the end. */
json_t *icp_canister(size_t word);
/* The snapshot that its canister has, or the end. */
json_t *icp_snapshot(json_t *canister, const char *id);
char *icp_canister_dir(const json_t *canister);
char *icp_snapshot_dir(const json_t *canister, const char *id);
char *icp_module_hash(const char *dir);
int64_t icp_size(const char *dir, const char *name);
/* Run a tool; what it cannot do is the end. */
void icp_tool(const char *const argv[]);

/* icp_canisters.c */
void icp_status(void);
void icp_stop(void);
void icp_start(void);
void icp_call(void);
void icp_must_be_stopped(json_t *canister);

/* icp_snapshots.c */
void icp_create(void);
void icp_list(void);
void icp_restore(void);
void icp_delete(void);
char *icp_add_snapshot(json_t *canister, bool uploaded);

/* icp_transfer.c */
void icp_download(void);
void icp_upload(void);
extern const char *const icp_blobs[3];

#endif
