/*
 * The plugin driver: an executable that answers the verbs.
 *
 * Each verb is a process of its own: hello and the verb are written to its
 * standard input, which then ends; its answers are read when it has ended.
 * So a crash, a hang or a flood is the trouble of one verb.  Bulk data goes
 * through two pipes, its descriptors 3 (to it) and 4 (from it).
 */
#ifndef DRIVER_PLUGIN_INTERNAL_H
#define DRIVER_PLUGIN_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fleetbak/base/child.h"
#include "fleetbak/driver/driver.h"
#include "plugin_answer.h"

extern const struct fb_driver_ops fb_plugin_ops;

struct fb_plugin {
	struct fb_driver base;
	char *name;
	char **argv; /* ends with NULL */
	char *dir;   /* where it runs */
	char **env;  /* "K=V", secrets among them; ends with NULL */
	json_t *options;
	struct fb_labels labels;
	uint64_t timeout_ms; /* of a verb without a deadline of its own */
	uint64_t stall_ms;   /* of a stream of which no byte moves */

	pthread_mutex_t lock; /* guards the rest */
	bool greeted;
	struct fb_plugin_hello hello;
};

/* One verb. */
struct fb_plugin_call {
	enum fb_plugin_verb verb;
	bool effect;   /* what is not known to have come about is unknown */
	json_t *params; /* members of the request; may be NULL */
	const struct fb_verb *how; /* token, deadline, cancel, lock; or NULL */
	bool endless;   /* a stream: it ends when it stops moving */
	const atomic_bool *cancel; /* in place of how->cancel; may be NULL */
	const int *pass; /* two descriptors, or NULL */
	size_t said_max; /* bytes of its answers; 0: FB_PLUGIN_LINE_MAX */
	/* A stream that is read: when to ask again, where that is FB_PENDING;
	 * NULL: nothing with pipes may be pending. */
	uint64_t *ret_pause_ms;
	struct fb_plugin_listener listener;
};

/*
 * Call the verb, again and again while it is pending, until it is done.
 * *ret_result is its result, or NULL; ret_result may be NULL.  Errors: what it
 * answered; FB_EUNKNOWN of an effect, FB_EPROTO or FB_EUNREACH of a question
 * whose answer makes no sense; FB_ETIMEOUT; FB_ECANCELED; FB_EUNSUP.
 */
FB_MUST_USE int fb_plugin_call(struct fb_plugin *plugin,
    const struct fb_plugin_call *call, json_t **ret_result,
    struct fb_error *err);

/* FB_ECANCELED when `cancel`, which may be NULL, becomes true meanwhile. */
FB_MUST_USE int fb_plugin_wait(
    uint64_t ms, const atomic_bool *cancel, struct fb_error *err);

/* What it can, asked once. */
FB_MUST_USE int fb_plugin_greet(struct fb_plugin *plugin,
    struct fb_plugin_hello *ret_hello, struct fb_error *err);
/* FB_EUNSUP when it lacks the verb. */
FB_MUST_USE int fb_plugin_can(struct fb_plugin *plugin,
    enum fb_plugin_verb verb, struct fb_error *err);

/* ------------------------------------------------------------- pipes */

/*
 * A verb with pipes, which runs beside us.
 *
 * fb_pipe_open() starts it.  fb_pipe_read() gives up to `len` bytes, 0 at the
 * end (the process has ended and left no more).  fb_pipe_write() writes all.
 * Both fail with FB_ETIMEOUT when nothing moves for plugin->stall_ms, and with
 * the verb's own error when it ended too early.  fb_pipe_end() says that
 * nothing more comes, waits for its end and gives its answer.  All three end
 * with FB_ECANCELED when call->how, or else call->cancel, says so.
 *
 * Threads: one at a time.
 */
struct fb_pipe;
FB_MUST_USE int fb_pipe_open(struct fb_plugin *plugin,
    const struct fb_plugin_call *call, struct fb_pipe **ret_pipe,
    struct fb_error *err);
FB_MUST_USE int fb_pipe_read(struct fb_pipe *pipe, void *bytes, size_t len,
    size_t *ret_len, struct fb_error *err);
/* Is there something to be read already? */
bool fb_pipe_spoke(const struct fb_pipe *pipe);
FB_MUST_USE int fb_pipe_write(
    struct fb_pipe *pipe, struct fb_span bytes, struct fb_error *err);
FB_MUST_USE int fb_pipe_end(
    struct fb_pipe *pipe, json_t **ret_result, struct fb_error *err);
/* Ends it, however it stands: a stream that is written and was not ended by
 * fb_pipe_end() is killed before its end can be seen. */
void fb_pipe_close(struct fb_pipe *pipe);
void fb_pipe_closep(struct fb_pipe **pipe);
#define FB_AUTO_PIPE FB_CLEANUP(fb_pipe_closep)

/* ------------------------------------------------------- the volumes */

/* Takes `params` over. */
FB_MUST_USE int fb_plugin_open_blocks(struct fb_plugin *plugin,
    json_t *params, struct fb_artifact **ret_artifact, struct fb_error *err);
FB_MUST_USE int fb_plugin_open_stream(struct fb_plugin *plugin,
    json_t *params, enum fb_volume_kind kind,
    struct fb_artifact **ret_artifact, struct fb_error *err);
FB_MUST_USE int fb_plugin_target_blocks(struct fb_plugin *plugin,
    json_t *params, uint64_t size, const struct fb_verb *verb,
    struct fb_target **ret_target, struct fb_error *err);
FB_MUST_USE int fb_plugin_target_stream(struct fb_plugin *plugin,
    json_t *params, const struct fb_verb *verb,
    struct fb_target **ret_target, struct fb_error *err);

/*
 * A foreign tar archive into a sink, as it comes, with a catalogue of what is
 * in it.  Errors: FB_EPROTO (E-PLUGIN-ANSWER) when it is no whole archive, or
 * a member's name leads out of it; what `pull` and `sink` return.
 */
FB_MUST_USE int fb_plugin_tar(const struct fb_pull *pull,
    const struct fb_sink *sink, struct fb_error *err);

/* The names that may stand in a volume's request. */
json_t *fb_plugin_volume_params(const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token);

/* Restoring (plugin_restore.c). */
int fb_plugin_restore_check(struct fb_driver *, const struct fb_fleet *,
    const struct fb_restore_request *, struct fb_restore_plan *,
    struct fb_error *);
int fb_plugin_restore_list(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    fb_tree_visit *, void *arg, struct fb_error *);
int fb_plugin_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
int fb_plugin_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
int fb_plugin_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

#endif
