/*
 * Running with nobody watching: what the supervisor, Prometheus and whoever
 * is to be notified get to know of a command, and its limit of time.
 *
 * None of it decides how the command fares: what goes wrong here is a warning.
 */
#ifndef FB_CLI_UNATTENDED_H
#define FB_CLI_UNATTENDED_H

#include "fleetbak/cli/cli.h"

struct fb_download_report;
struct fb_prune_plan;
struct fb_prune_report;

/* With the configuration read, before the command does anything: the log file
 * is open, the start is told, the time begins to run.  Errors: FB_ECONFIG and
 * so on, when the log file cannot be opened. */
FB_MUST_USE int fb_unattended_begin(struct fb_cli *cli, struct fb_error *err);

/* How far it is, for the supervisor: "18 done, 1 failed, read 12 GiB". */
void fb_unattended_say(struct fb_cli *cli, const char *status);

/* It is over: metrics, notifications.  `rc` and `err` as the command returned
 * them; nothing has been printed yet. */
void fb_unattended_end(struct fb_cli *cli, int rc,
    const struct fb_error *err, int status);

/* What a command knows for the metrics, in cli->facts. */
void fb_facts_download(
    struct fb_cli *cli, const struct fb_download_report *report);
/* Of one that was carried out. */
void fb_facts_prune(struct fb_cli *cli, const struct fb_prune_plan *plan,
    const struct fb_prune_report *report);
/* Good snapshots of all runs, and how large they are together. */
void fb_facts_status(struct fb_cli *cli, uint64_t snapshots, uint64_t bytes);

/* keeper.c: a thread that looks at the time. */
struct fb_keeper;
struct fb_keeper *fb_keeper_start(struct fb_cli *cli, uint64_t max_ms);
void fb_keeper_say(struct fb_keeper *keeper, const char *status);
void fb_keeper_stop(struct fb_keeper *keeper);

/* metrics.c: the file's new content from its old one and what is known now. */
struct fb_metrics_input {
	struct fb_span old; /* what the file holds */
	const char *fleet, *repository, *command;
	int64_t now_ns;
	uint64_t elapsed_ms, rpo_ms;
	int status;
	const json_t *facts; /* see fb_facts_download(), or NULL */
};
void fb_metrics_make(const struct fb_metrics_input *input, struct fb_buf *dst);
/* Replace the configured file; a warning when it cannot be. */
void fb_metrics_write(struct fb_cli *cli, int status);

/* notify.c: tell everybody whose `on` has the event. */
void fb_notify(struct fb_cli *cli, enum fb_notify_on event, json_t *document);
/* The document about this command; a new reference. */
json_t *fb_notify_document(const struct fb_cli *cli, const char *event);

#endif
