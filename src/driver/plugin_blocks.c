/*
 * A disk of a plugin: short commands one way, bytes and short replies the
 * other, as long as the disk is open.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "plugin_internal.h"

/* Longest reply, with its newline. */
#define REPLY_MAX 512

/* Asked for at once: a plugin that reads it into memory is not asked for
 * much. */
#define READ_MAX (1u << 20)

struct disk {
	struct fb_plugin *plugin;
	struct fb_pipe *pipe;
	pthread_mutex_t lock;
	uint64_t size;
	bool fresh;
	uint8_t held[65536]; /* read ahead of a reply's end */
	size_t from, to;
	bool broken; /* nobody knows any more what comes next */
};

static int
broken(struct disk *d, struct fb_error *err)
{
	d->broken = true;
	return fb_plugin_broken(err);
}

/* At least one byte into what is held; the process's own error at its end. */
static int
fill(struct disk *d, struct fb_error *err)
{
	size_t len;
	int rc = fb_pipe_read(d->pipe, d->held, sizeof(d->held), &len, err);

	d->from = 0;
	d->to = len;
	if (rc < 0 || len > 0)
		return rc;
	d->broken = true;
	rc = fb_pipe_end(d->pipe, NULL, err);
	if (rc < 0)
		return rc;
	(void)fb_fail(err, FB_EPROTO, "the plugin ended while its disk was "
	                              "in use");
	return fb_plugin_broken(err);
}

static int
read_line(struct disk *d, char line[REPLY_MAX], struct fb_error *err)
{
	size_t len = 0;

	for (;;) {
		int rc = d->from == d->to ? fill(d, err) : FB_OK;

		if (rc < 0)
			return rc;
		if (d->held[d->from] == '\n')
			break;
		if (len == REPLY_MAX - 1 || d->held[d->from] == '\0') {
			(void)fb_fail(err, FB_EPROTO,
			    "the plugin's reply is no line of less than %d "
			    "bytes",
			    REPLY_MAX);
			return broken(d, err);
		}
		line[len++] = (char)d->held[d->from++];
	}
	d->from++;
	line[len] = '\0';
	return FB_OK;
}

static int
read_bytes(struct disk *d, uint8_t *bytes, size_t len, struct fb_error *err)
{
	while (len > 0) {
		size_t step = d->to - d->from;
		int rc = FB_OK;

		if (step == 0 && len >= sizeof(d->held))
			rc = fb_pipe_read(d->pipe, bytes, len, &step, err);
		else if (step > 0) {
			step = step < len ? step : len;
			memcpy(bytes, d->held + d->from, step);
			d->from += step;
		}
		if (rc == FB_OK && step == 0)
			rc = fill(d, err);
		if (rc < 0) {
			d->broken = true;
			return rc;
		}
		bytes += step;
		len -= step;
	}
	return FB_OK;
}

/* Send a command and take "ok ..." apart: what follows is in `line`. */
static int
ask(struct disk *d, const char *command, char line[REPLY_MAX],
    struct fb_error *err)
{
	struct fb_span bytes = { (const uint8_t *)command, strlen(command) };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = FB_OK;

	if (d->broken)
		return fb_fail(err, FB_EPROTO, "the plugin's disk is not "
		                               "usable any more");
	/* It would pass for the reply to what it has not heard yet. */
	if (d->from != d->to || fb_pipe_spoke(d->pipe)) {
		(void)fb_fail(err, FB_EPROTO,
		    "the plugin replies before it is asked '%.*s'",
		    (int)strcspn(command, "\n"), command);
		return broken(d, err);
	}
	rc = fb_pipe_write(d->pipe, bytes, err);
	if (rc == FB_OK)
		rc = read_line(d, line, err);
	if (rc < 0) {
		d->broken = true;
		return rc;
	}
	if (strcmp(line, "ok") == 0) {
		line[0] = '\0';
		return FB_OK;
	}
	if (strncmp(line, "ok ", 3) == 0) {
		memmove(line, line + 3, strlen(line + 3) + 1);
		return FB_OK;
	}
	fb_buf_add_str(&text, line);
	fb_redact(&text);
	if (strncmp(line, "no ", 3) == 0)
		return fb_fail(err, FB_EFAILED, "the plugin says '%.*s': %s",
		    (int)strcspn(command, "\n"), command,
		    fb_buf_str(&text) + 3);
	(void)fb_fail(err, FB_EPROTO,
	    "the plugin replies '%.64s' to '%.*s', neither ok nor no",
	    fb_buf_str(&text), (int)strcspn(command, "\n"), command);
	return broken(d, err);
}

/* The next word of a reply as a number of at most `max`. */
static int
take_number(char **rest, uint64_t max, uint64_t *ret, struct fb_error *err)
{
	size_t len = strcspn(*rest, " ");
	struct fb_span word = { (const uint8_t *)*rest, len };
	int rc = fb_text_u64(word, max, ret, err);

	*rest += len;
	*rest += **rest == ' ';
	return rc;
}

static int
bad_reply(struct disk *d, int rc, const char *rest, struct fb_error *err)
{
	if (rc == FB_OK && rest[0] != '\0')
		rc = fb_fail(err, FB_EPROTO, "'%.64s' is too much", rest);
	if (rc == FB_OK)
		return FB_OK;
	(void)fb_wrap(err, "the plugin's reply");
	return broken(d, err);
}

/* "SIZE fresh|used [TOKEN]". */
static int
take_info(struct disk *d, char *token, struct fb_error *err)
{
	char line[REPLY_MAX], *rest = line;
	int rc = ask(d, "info\n", line, err);

	if (rc < 0)
		return rc;
	rc = take_number(&rest, INT64_MAX, &d->size, err);
	if (rc == FB_OK && strncmp(rest, "fresh", 5) == 0)
		d->fresh = true;
	else if (rc == FB_OK && strncmp(rest, "used", 4) != 0)
		rc = fb_fail(err, FB_EPROTO, "it is neither fresh nor used");
	if (rc < 0)
		return bad_reply(d, rc, rest, err);
	rest += strcspn(rest, " ");
	rest += *rest == ' ';
	if (token != NULL && strlen(rest) < FB_CHANGE_TOKEN_SIZE &&
	    fb_change_token_ok(rest))
		memcpy(token, rest, strlen(rest) + 1);
	return FB_OK;
}

static int
open_disk(struct fb_plugin *plugin, const struct fb_plugin_call *call,
    struct disk *d, char *token, struct fb_error *err)
{
	int rc;

	d->plugin = plugin;
	(void)pthread_mutex_init(&d->lock, NULL);
	rc = fb_pipe_open(plugin, call, &d->pipe, err);
	return rc == FB_OK ? take_info(d, token, err) : rc;
}

static void
close_disk(struct disk *d)
{
	fb_pipe_closep(&d->pipe);
	(void)pthread_mutex_destroy(&d->lock);
}

static int
find_extent(struct disk *d, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	char command[64], line[REPLY_MAX], *rest = line;
	int rc;

	*ret_start = *ret_end = d->size;
	if (from >= d->size)
		return FB_OK;
	(void)snprintf(command, sizeof(command), "extent %" PRIu64 "\n", from);
	(void)pthread_mutex_lock(&d->lock);
	rc = ask(d, command, line, err);
	if (rc == FB_OK) {
		rc = take_number(&rest, d->size, ret_start, err);
		if (rc == FB_OK)
			rc = take_number(&rest, d->size, ret_end, err);
		if (rc == FB_OK &&
		    (*ret_start < from || *ret_end < *ret_start ||
		        (*ret_end == *ret_start && *ret_start < d->size)))
			rc = fb_fail(err, FB_EPROTO,
			    "[%" PRIu64 ", %" PRIu64 ") is no extent at or "
			    "after %" PRIu64,
			    *ret_start, *ret_end, from);
		rc = bad_reply(d, rc, rest, err);
	}
	(void)pthread_mutex_unlock(&d->lock);
	return rc;
}

static int
read_range(struct disk *d, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	uint8_t *at = bytes;
	int rc = FB_OK;

	if (offset > d->size || len > d->size - offset)
		return fb_fail(err, FB_ECONFLICT,
		    "%zu bytes at %" PRIu64 " are not in a disk of %" PRIu64,
		    len, offset, d->size);
	(void)pthread_mutex_lock(&d->lock);
	while (rc == FB_OK && len > 0) {
		size_t step = len < READ_MAX ? len : READ_MAX;
		char command[64], line[REPLY_MAX];

		(void)snprintf(command, sizeof(command),
		    "read %" PRIu64 " %zu\n", offset, step);
		rc = ask(d, command, line, err);
		if (rc == FB_OK)
			rc = bad_reply(d, rc, line, err);
		if (rc == FB_OK)
			rc = read_bytes(d, at, step, err);
		at += step;
		offset += step;
		len -= step;
	}
	(void)pthread_mutex_unlock(&d->lock);
	return rc;
}

/* ----------------------------------------------------------- artifact */

struct blocks {
	struct fb_artifact base;
	struct disk disk;
};

static int
blocks_extent(struct fb_artifact *artifact, uint64_t from,
    uint64_t *ret_start, uint64_t *ret_end, struct fb_error *err)
{
	return find_extent(&((struct blocks *)artifact)->disk, from, ret_start,
	    ret_end, err);
}

static int
blocks_read(struct fb_artifact *artifact, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	return read_range(
	    &((struct blocks *)artifact)->disk, offset, bytes, len, err);
}

/* What was read counts when the plugin says so: once, and with nothing more to
 * say. */
static int
blocks_prove(struct fb_artifact *artifact, struct fb_error *err)
{
	struct disk *d = &((struct blocks *)artifact)->disk;
	int rc;

	(void)pthread_mutex_lock(&d->lock);
	if (d->broken)
		rc = fb_fail(err, FB_EPROTO, "the plugin's disk is not "
		                             "usable any more");
	else if (d->from != d->to)
		rc = fb_fail(err, FB_EPROTO,
		    "the plugin replies before it is asked");
	else
		rc = fb_pipe_end(d->pipe, NULL, err);
	d->broken = true;
	(void)pthread_mutex_unlock(&d->lock);
	return rc;
}

/* "ok LENGTH" and a change map of that length, or "no TEXT". */
static int
blocks_changed(struct fb_artifact *artifact, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	struct disk *d = &((struct blocks *)artifact)->disk;
	FB_AUTO_FREE char *command =
	    fb_format("changed %s\n", since[0] != '\0' ? since : "-");
	FB_AUTO_BUF struct fb_buf map = { 0 };
	char line[REPLY_MAX], *rest = line;
	char token[FB_RANGES_TOKEN_MAX + 1];
	uint64_t len = 0;
	int rc;

	(void)pthread_mutex_lock(&d->lock);
	rc = ask(d, command, line, err);
	if (rc == FB_OK) {
		rc = take_number(&rest, FB_RANGES_TEXT_MAX, &len, err);
		rc = bad_reply(d, rc, rest, err);
	}
	if (rc == FB_OK)
		rc = fb_buf_reserve_or_fail(&map, (size_t)len, err);
	if (rc == FB_OK)
		rc = read_bytes(d, map.data + map.len, (size_t)len, err);
	(void)pthread_mutex_unlock(&d->lock);
	if (rc < 0)
		return rc;
	map.len = (size_t)len;
	rc = fb_ranges_parse(
	    fb_buf_span(&map), d->size, token, ret_changed, err);
	if (rc == FB_OK)
		memcpy(artifact->token, token, strlen(token) + 1);
	return rc;
}

static void
blocks_close(struct fb_artifact *artifact)
{
	struct blocks *blocks = (struct blocks *)artifact;

	close_disk(&blocks->disk);
	free(blocks);
}

static const struct fb_artifact_ops blocks_ops = {
	.extent = blocks_extent,
	.read = blocks_read,
	.prove = blocks_prove,
	.close = blocks_close,
};

/* Of a plugin that has change maps. */
static const struct fb_artifact_ops mapped_ops = {
	.extent = blocks_extent,
	.read = blocks_read,
	.changed_blocks = blocks_changed,
	.prove = blocks_prove,
	.close = blocks_close,
};

int
fb_plugin_open_blocks(struct fb_plugin *plugin, json_t *params,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_JSON json_t *owned = params;
	struct fb_plugin_call call = { .verb = FB_PLUGIN_READ_BLOCKS,
		.params = owned,
		.cancel = plugin->base.cancel };
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct fb_plugin_hello hello;
	struct blocks *blocks;
	int rc = fb_plugin_can(plugin, call.verb, err);

	if (rc == FB_OK)
		rc = fb_plugin_greet(plugin, &hello, err);
	if (rc < 0)
		return rc;
	blocks = fb_alloc(1, sizeof(*blocks));
	artifact = &blocks->base;
	artifact->ops = hello.changes ? &mapped_ops : &blocks_ops;
	rc = open_disk(plugin, &call, &blocks->disk, artifact->token, err);
	if (rc < 0)
		return rc;
	artifact->size = blocks->disk.size;
	*ret_artifact = FB_STEAL(artifact);
	return FB_OK;
}

/* ------------------------------------------------------------- target */

struct writing {
	struct fb_target base;
	struct disk disk;
};

static int
writing_extent(struct fb_target *target, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	return find_extent(&((struct writing *)target)->disk, from, ret_start,
	    ret_end, err);
}

static int
writing_read(struct fb_target *target, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	return read_range(
	    &((struct writing *)target)->disk, offset, bytes, len, err);
}

/* Without a reply: what went wrong is said by the next sync. */
static int
put(struct writing *w, const char *verb, uint64_t offset, uint64_t len,
    const void *bytes, struct fb_error *err)
{
	struct disk *d = &w->disk;
	char command[64];
	struct fb_span head = { (const uint8_t *)command, 0 };
	struct fb_span body = { bytes, bytes != NULL ? (size_t)len : 0 };
	int rc;

	if (offset > d->size || len > d->size - offset)
		return fb_fail(err, FB_EBUG, "write past the end of a disk");
	head.len = (size_t)snprintf(command, sizeof(command),
	    "%s %" PRIu64 " %" PRIu64 "\n", verb, offset, len);
	(void)pthread_mutex_lock(&d->lock);
	rc = d->broken
	    ? fb_fail(err, FB_EPROTO, "the plugin's disk is not usable any "
	                              "more")
	    : fb_pipe_write(d->pipe, head, err);
	if (rc == FB_OK)
		rc = fb_pipe_write(d->pipe, body, err);
	d->broken = d->broken || rc < 0;
	(void)pthread_mutex_unlock(&d->lock);
	return rc;
}

static int
writing_write(struct fb_target *target, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	return len == 0 ? FB_OK
	                : put((struct writing *)target, "write", offset, len,
	                      bytes, err);
}

static int
writing_zero(struct fb_target *target, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	return len == 0 ? FB_OK
	                : put((struct writing *)target, "zero", offset, len,
	                      NULL, err);
}

static int
writing_sync(struct fb_target *target, struct fb_error *err)
{
	struct disk *d = &((struct writing *)target)->disk;
	char line[REPLY_MAX];
	int rc;

	(void)pthread_mutex_lock(&d->lock);
	rc = ask(d, "sync\n", line, err);
	if (rc == FB_OK)
		rc = bad_reply(d, rc, line, err);
	(void)pthread_mutex_unlock(&d->lock);
	return rc;
}

static void
writing_close(struct fb_target *target)
{
	struct writing *w = (struct writing *)target;

	close_disk(&w->disk);
	free(w);
}

static const struct fb_target_ops writing_ops = {
	.extent = writing_extent,
	.read = writing_read,
	.write = writing_write,
	.zero = writing_zero,
	.sync = writing_sync,
	.close = writing_close,
};

int
fb_plugin_target_blocks(struct fb_plugin *plugin, json_t *params,
    uint64_t size, const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *owned = params;
	struct fb_plugin_call call = { .verb = FB_PLUGIN_WRITE_BLOCKS,
		.effect = true, .params = owned, .how = verb };
	FB_AUTO_TARGET struct fb_target *target = NULL;
	struct writing *w;
	int rc = fb_plugin_can(plugin, call.verb, err);

	if (rc < 0)
		return rc;
	w = fb_alloc(1, sizeof(*w));
	target = &w->base;
	target->ops = &writing_ops;
	rc = open_disk(plugin, &call, &w->disk, NULL, err);
	if (rc < 0)
		return rc;
	if (w->disk.size != size)
		return fb_fail(err, FB_ECONFLICT,
		    "the plugin's disk has %" PRIu64 " bytes, the backup's "
		    "%" PRIu64,
		    w->disk.size, size);
	target->size = size;
	target->fresh = w->disk.fresh;
	*ret_target = FB_STEAL(target);
	return FB_OK;
}
