/*
 * What a plugin says, read: lines of JSON, one object each.  Pure.
 * Spec: fleetbak-driver(7), "THE PLUGIN DRIVER".
 */
#ifndef DRIVER_PLUGIN_ANSWER_H
#define DRIVER_PLUGIN_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/fleet/fleet.h"
#include "fleetbak/format/json.h"

#define FB_PLUGIN_PROTOCOL 1

/* Longest line, and most warnings of one verb. */
#define FB_PLUGIN_LINE_MAX (1u << 20)
#define FB_PLUGIN_WARN_MAX 1000

/* The verbs, as bits of what a plugin says it can. */
enum fb_plugin_verb {
	FB_PLUGIN_HELLO,
	FB_PLUGIN_PROBE,
	FB_PLUGIN_DISCOVER,
	FB_PLUGIN_POWER_GET,
	FB_PLUGIN_STOP,
	FB_PLUGIN_START,
	FB_PLUGIN_CREATE_SNAPSHOT,
	FB_PLUGIN_FIND_BY_TOKEN,
	FB_PLUGIN_LIST_SNAPSHOTS,
	FB_PLUGIN_REMOVE_SNAPSHOT,
	FB_PLUGIN_READ_BLOCKS,
	FB_PLUGIN_READ_STREAM,
	FB_PLUGIN_RESTORE_CHECK,
	FB_PLUGIN_RESTORE_LIST,
	FB_PLUGIN_RESTORE_BEGIN,
	FB_PLUGIN_WRITE_BLOCKS,
	FB_PLUGIN_WRITE_STREAM,
	FB_PLUGIN_RESTORE_FINISH,
	FB_PLUGIN_VERBS,
};
const char *fb_plugin_verb_name(enum fb_plugin_verb verb);

/* What it said of itself. */
struct fb_plugin_hello {
	char name[129], version[129];
	uint32_t verbs; /* 1u << verb */
	bool resume;    /* streams go on from an offset */
	bool changes;   /* disks tell what changed */
};

/* The answer to a verb. */
struct fb_plugin_reply {
	enum fb_code code;   /* FB_OK, FB_PENDING, or what it failed with */
	const char *answer;  /* "DONE": static */
	char text[301];      /* why, "" if it did not say */
	uint64_t retry_ms;   /* of PENDING and RETRY_AFTER */
	json_t *body;        /* "result", NULL: none */
};
void fb_plugin_reply_release(struct fb_plugin_reply *reply);
#define FB_AUTO_REPLY FB_CLEANUP(fb_plugin_reply_release)

/* Called for each item; borrowed. */
typedef int fb_plugin_visit(
    void *arg, const json_t *item, struct fb_error *err);

struct fb_plugin_listener {
	fb_plugin_visit *item; /* NULL: the verb has none */
	void *arg;
	/* `path` may be NULL; NULL: warnings are passed over. */
	void (*warn)(void *arg, const char *path, const char *what);
};

/*
 * Read all that a plugin said to hello and, with `verb`, to one verb after
 * it.  When hello was refused, that is the reply.
 * Errors: FB_EPROTO, id E-PLUGIN-ANSWER; what the listener returned.
 */
FB_MUST_USE int fb_plugin_decode(struct fb_span said, bool verb,
    const struct fb_plugin_listener *listener,
    struct fb_plugin_hello *ret_hello, struct fb_plugin_reply *ret_reply,
    struct fb_error *err);

/* An item of discover into an all-zero machine; `labels` are the source's.
 * Errors: FB_EPROTO. */
FB_MUST_USE int fb_plugin_machine(const json_t *item, const char *source,
    const struct fb_labels *labels, struct fb_machine *machine,
    struct fb_error *err);

/* The raised error as one of a plugin that breaks its contract. */
int fb_plugin_broken(struct fb_error *err);

#endif
