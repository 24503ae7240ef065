/* Writing a manifest and its VOLUMES, a machine at a time. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

#define FLUSH_AT (1u << 20)

struct output {
	char *path;
	int fd;
	struct fb_buf buf;
	struct fb_digester *digester;
};

struct fb_manifest_writer {
	struct output manifest, volumes;
	struct fb_manifest_head head; /* a copy of our own */
	struct checker checker;
	struct fb_buf tail; /* what follows the machines */
	bool any;
};

static int
open_output(struct output *output, const char *path, struct fb_error *err)
{
	output->path = fb_strdup(path);
	output->digester = fb_digester_new();
	output->fd =
	    fb_io_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, err);
	return output->fd < 0 ? output->fd : FB_OK;
}

static int
flush_output(struct output *output, size_t at, struct fb_error *err)
{
	struct fb_span bytes = fb_buf_span(&output->buf);
	int rc;

	if (bytes.len <= at)
		return FB_OK;
	fb_digester_add(output->digester, bytes);
	rc = fb_io_write_all(output->fd, output->path, bytes, err);
	fb_buf_clear(&output->buf);
	return rc;
}

static int
finish_output(
    struct output *output, struct fb_digest *ret_digest, struct fb_error *err)
{
	int rc = flush_output(output, 0, err);

	if (rc < 0 ||
	    (rc = fb_io_sync(output->fd, output->path, err)) < 0)
		return rc;
	fb_digester_peek(output->digester, ret_digest);
	return FB_OK;
}

static void
close_output(struct output *output)
{
	fb_closep(&output->fd);
	fb_buf_release(&output->buf);
	fb_digester_free(output->digester);
	free(output->path);
}

/* The head's canonical form, cut where the machines belong. */
static int
begin_text(struct fb_manifest_writer *writer, struct fb_error *err)
{
	FB_AUTO_JSON json_t *value = head_to_json(&writer->head);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const char *mark;
	size_t cut;

	if (value == NULL)
		/* uncovered: checked before: JSON can hold it */
		return fb_fail(err, FB_EBUG, "manifest: no JSON of its head");
	fb_json_add(&text, value);
	mark = strstr(fb_buf_str(&text), MACHINES_MARK);
	if (mark == NULL)
		/* uncovered: the encoder always writes it */
		return fb_fail(err, FB_EBUG, "manifest: no place of machines");
	cut = (size_t)(mark - fb_buf_str(&text)) + sizeof(MACHINES_MARK) - 2;
	if (cut >= MANIFEST_HEAD_LINE_MAX ||
	    text.len - cut >= MANIFEST_HEAD_LINE_MAX)
		return fb_fail(err, FB_EUNSUP,
		    "the run has more units than a manifest can name");
	fb_buf_add(&writer->manifest.buf, text.data, cut);
	fb_buf_add(&writer->tail, text.data + cut, text.len - cut);
	fb_buf_add_str(&writer->manifest.buf, "\n");
	fb_buf_add_str(&writer->tail, "\n");
	fb_buf_add_str(&writer->volumes.buf, VOLUMES_HEAD);
	return FB_OK;
}

/* The clock may have been set back during the run, which is no reason to
 * lose it. */
static void
settle_times(struct fb_manifest_head *head)
{
	struct fb_error ignored = { 0 };
	int64_t started, finished;

	if (fb_time_parse(head->started, &started, &ignored) == FB_OK &&
	    fb_time_parse(head->finished, &finished, &ignored) == FB_OK &&
	    finished < started)
		memcpy(head->finished, head->started, sizeof(head->finished));
}

/* The caller's head lives no longer than the call: go through JSON. */
static int
copy_head(struct fb_manifest_writer *writer,
    const struct fb_manifest_head *given, struct fb_error *err)
{
	struct fb_manifest_head head = *given;
	struct checker checker = { 0 };
	FB_AUTO_JSON json_t *value = NULL;
	int rc;

	settle_times(&head);
	rc = check_head(&checker, FB_EBUG, &head, err);
	release_checker(&checker);
	if (rc < 0)
		return rc;
	value = head_to_json(&head);
	if (value == NULL)
		/* uncovered: checked before: JSON can hold it */
		return fb_fail(err, FB_EBUG, "manifest: no JSON of its head");
	rc = head_from_json(value, &writer->head, err);
	if (rc < 0)
		return rc;
	return check_head(&writer->checker, FB_EBUG, &writer->head, err);
}

int
fb_manifest_begin(const char *manifest_path, const char *volumes_path,
    const struct fb_manifest_head *head,
    struct fb_manifest_writer **ret_writer, struct fb_error *err)
{
	struct fb_manifest_writer *writer = fb_alloc(1, sizeof(*writer));
	int rc;

	writer->manifest.fd = writer->volumes.fd = -1;
	if ((rc = copy_head(writer, head, err)) < 0 ||
	    (rc = open_output(&writer->manifest, manifest_path, err)) < 0 ||
	    (rc = open_output(&writer->volumes, volumes_path, err)) < 0 ||
	    (rc = begin_text(writer, err)) < 0) {
		fb_manifest_abandon(writer);
		return rc;
	}
	*ret_writer = writer;
	return FB_OK;
}

static int
add_machine(struct fb_manifest_writer *writer,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	struct fb_buf *text = &writer->manifest.buf;
	FB_AUTO_JSON json_t *value = NULL;
	size_t before;
	int rc = check_machine(&writer->checker, machine, err);

	if (rc < 0)
		return rc;
	value = machine_to_json(machine);
	if (value == NULL)
		/* uncovered: checked before: JSON can hold it */
		return fb_fail(err, FB_EBUG, "manifest: no JSON of '%s/%s'",
		    machine->source, machine->id);
	if (writer->any)
		fb_buf_add_str(text, ",\n");
	writer->any = true;
	before = text->len;
	fb_json_add(text, value);
	if (text->len - before > FB_MANIFEST_MACHINE_MAX)
		return break_rule(FB_EBUG, err, "M03 (lines)",
		    "machine '%s/%s' takes %zu bytes", machine->source,
		    machine->id, text->len - before);
	add_volume_lines(&writer->volumes.buf, machine);
	rc = flush_output(&writer->manifest, FLUSH_AT, err);
	if (rc < 0)
		return rc;
	return flush_output(&writer->volumes, FLUSH_AT, err);
}

/* A failed machine has nothing in the run, even if some of its volumes were
 * read to their end. */
static int
add_failed(struct fb_manifest_writer *writer,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	struct fb_manifest_machine bare = *machine;
	FB_AUTO_FREE struct fb_manifest_volume *volumes =
	    fb_alloc(machine->volume_count, sizeof(*volumes));

	for (size_t i = 0; i < machine->volume_count; i++)
		volumes[i] = (struct fb_manifest_volume){
			.name = machine->volumes[i].name,
			.kind = machine->volumes[i].kind,
			.size = machine->volumes[i].size,
			.method = machine->volumes[i].method,
		};
	bare.volumes = volumes;
	return add_machine(writer, &bare, err);
}

int
fb_manifest_add(struct fb_manifest_writer *writer,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	return machine->failed ? add_failed(writer, machine, err)
	                       : add_machine(writer, machine, err);
}

static int
finish(struct fb_manifest_writer *writer, struct fb_digest *ret_manifest,
    struct fb_digest *ret_volumes, struct fb_error *err)
{
	int rc = check_end(&writer->checker, err);

	if (rc < 0)
		return rc;
	if (writer->any)
		fb_buf_add_str(&writer->manifest.buf, "\n");
	fb_buf_add(
	    &writer->manifest.buf, writer->tail.data, writer->tail.len);
	rc = finish_output(&writer->volumes, ret_volumes, err);
	if (rc < 0)
		return rc;
	return finish_output(&writer->manifest, ret_manifest, err);
}

int
fb_manifest_finish(struct fb_manifest_writer *writer,
    struct fb_digest *ret_manifest, struct fb_digest *ret_volumes,
    struct fb_error *err)
{
	int rc = finish(writer, ret_manifest, ret_volumes, err);

	fb_manifest_abandon(writer);
	return rc;
}

void
fb_manifest_abandon(struct fb_manifest_writer *writer)
{
	if (writer == NULL)
		return;
	close_output(&writer->manifest);
	close_output(&writer->volumes);
	release_checker(&writer->checker);
	fb_manifest_head_release(&writer->head);
	fb_buf_release(&writer->tail);
	free(writer);
}
