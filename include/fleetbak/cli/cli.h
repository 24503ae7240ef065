/*
 * What a command works with: its arguments, the configuration, the engine,
 * and the answer it builds.
 *
 * Standard output gets the answer and nothing else: a table, tab-separated
 * lines, or exactly one JSON document, which is printed on failure too.
 * Everything else goes to standard error.
 */
#ifndef FB_CLI_CLI_H
#define FB_CLI_CLI_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/err.h"
#include "fleetbak/cli/command.h"
#include "fleetbak/cli/exit.h"
#include "fleetbak/cli/option.h"
#include "fleetbak/cli/spool.h"
#include "fleetbak/cli/table.h"
#include "fleetbak/engine/engine.h"

enum fb_output { FB_OUTPUT_TABLE, FB_OUTPUT_TSV, FB_OUTPUT_JSON,
	FB_OUTPUT_NDJSON };

/* A long array of an answer in JSON: in the document stands its mark, its
 * items wait in a file. */
#define FB_CLI_LISTS 4
struct fb_keeper;
struct fb_cli_list {
	char mark[40];
	struct fb_spool items;
};

struct fb_cli {
	const struct fb_command *command;
	struct fb_arguments args;
	enum fb_output output;
	bool quiet, dry_run, utc, exact_bytes, no_header;
	unsigned verbose;
	bool color;             /* on standard error */

	struct fb_config *config; /* NULL until fb_cli_configure() */
	struct fb_engine engine;
	char *guardian_argv[6];
	atomic_bool cancel;
	atomic_bool late; /* --max-duration is over: that is why */

	/* Running with nobody watching; see unattended.h. */
	struct fb_keeper *keeper;
	int64_t began_ns;    /* monotonic; 0: nobody is told anything */
	uint64_t elapsed_ms; /* at the end */
	json_t *facts;       /* for the metrics, or NULL */
	uint8_t ping_id[16];
	bool has_ping_id;

	/* The answer. */
	const char *schema; /* NULL: the command's name */
	json_t *members;    /* top-level members beside the envelope's */
	json_t *data;       /* NULL: null */
	struct fb_cli_list lists[FB_CLI_LISTS]; /* in `data` or `members` */
	size_t list_count;
	json_t *warnings, *errors;
	struct fb_spool pages; /* what comes before `text` */
	struct fb_buf text; /* standard output in table and tsv form */
	struct fb_buf summary; /* standard error at the end; with --quiet
	                        * only when the status is not 0 */
	bool failed;        /* `status` was set */
	enum fb_exit status;
	uint64_t seq;       /* of ndjson events */
	int stdout_errno;   /* of the first write that failed; 0: none */
};

/* Answers in JSON of either kind. */
bool fb_cli_json(const struct fb_cli *cli);

/* Read the configuration and fill in `engine`.  FB_ECONFIG ... */
FB_MUST_USE int fb_cli_configure(struct fb_cli *cli, struct fb_error *err);
/* Where it is; the caller frees.  `err` names the places looked at. */
FB_MUST_USE int fb_cli_config_path(
    const struct fb_cli *cli, char **ret_path, struct fb_error *err);
/* The environment without what is not a setting; free() the vector. */
const char **fb_cli_environment(void);

/* The command's status when it is not that of its error. */
void fb_cli_status(struct fb_cli *cli, enum fb_exit status);

/* Something to know: on standard error at once, and in the document. */
void fb_cli_warn(
    struct fb_cli *cli, const char *machine, const struct fb_error *error);
/* A machine's (or object's) failure: in the document's errors. */
void fb_cli_add_error(
    struct fb_cli *cli, const char *machine, const struct fb_error *error);
/*
 * A long array of the answer: put what fb_cli_new_list() returns, a new
 * reference, into `data` or `members`, then add its items one by one, taking
 * the reference, before the next list is begun.  Only an answer in JSON has
 * any: in another form the list is empty and the items are let go.
 */
json_t *fb_cli_new_list(struct fb_cli *cli);
void fb_cli_add_item(struct fb_cli *cli, json_t *item);
/* Print a document in JSON, with the items of its lists, and a newline. */
void fb_cli_print_json(struct fb_cli *cli, const json_t *document);
/* `text` may be long by now: let what is there wait in a file. */
void fb_cli_turn_page(struct fb_cli *cli);
/* {"id","message","hint"?,"machine"?}; a new reference. */
json_t *fb_cli_error_json(
    const char *machine, const struct fb_error *error);
/* "E-ID: message" and a line "  fix    hint". */
void fb_cli_add_failure(struct fb_buf *dst, const struct fb_error *error);

/* One event line of -o ndjson; takes `event` over. */
void fb_cli_event(struct fb_cli *cli, const char *type, json_t *event);

/* Flush standard output; a failure is kept, and told at the end.  errno was
 * 0 before what is flushed was written. */
void fb_cli_flush(struct fb_cli *cli);

/* Put a table into `text` in the chosen form. */
void fb_cli_add_table(struct fb_cli *cli, struct fb_table *table);
/* Print the text there is so far, or let it go. */
void fb_cli_print_text(struct fb_cli *cli);
void fb_cli_clear_text(struct fb_cli *cli);

/* Ask on the terminal for `answer`; FB_EREFUSED without a terminal, or when
 * something else is typed, naming --yes. */
FB_MUST_USE int fb_cli_confirm(struct fb_cli *cli, const char *question,
    const char *answer, struct fb_error *err);

/* Members of JSON objects; NULL strings become null. */
void fb_json_put_str(json_t *object, const char *key, const char *text);
void fb_json_put_u64(json_t *object, const char *key, uint64_t value);
void fb_json_put_seconds(json_t *object, const char *key, uint64_t ms);
void fb_json_put_digest(
    json_t *object, const char *key, const struct fb_digest *digest);
json_t *fb_json_labels(const struct fb_labels *labels);

/* "source/id" for people, "source/id (name)" when that is another one; the
 * caller's. */
char *fb_cli_machine(const char *machine, const char *name);

/* A size or a time as the options want it; FB_CLI_TEXT bytes. */
#define FB_CLI_TEXT 40
const char *fb_cli_size(
    const struct fb_cli *cli, uint64_t bytes, char text[FB_CLI_TEXT]);
const char *fb_cli_time(
    const struct fb_cli *cli, const char *utc, char text[FB_CLI_TEXT]);
/* "2 d 7 h", two units; "4 min 27 s". */
const char *fb_cli_span(uint64_t ms, char text[FB_CLI_TEXT]);

/* The limits of the configuration and what they are now: lines of the text,
 * and a new list for the JSON. */
json_t *fb_cli_limits(struct fb_cli *cli);

/* What each of the obligations that are still open is, into warnings. */
void fb_cli_warn_half_restored(struct fb_cli *cli);

#endif
