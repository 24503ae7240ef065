/*
 * What scripts keep: lines "TYPE JSON" make a journal, which is read as a
 * state and as checkpoints.  What a state holds is written into another one,
 * which must hold the same; checkpoints have numbers that grow and names for
 * labels.
 */
#include "fleetbak/base/name.h"
#include "fleetbak/journal/checkpoint.h"
#include "fleetbak/journal/state.h"
#include "journal_writer.h"

static void
add_line(struct writer *writer, struct fb_span line)
{
	const uint8_t *space = line.len > 0 ? memchr(line.ptr, ' ', line.len)
	                                    : NULL;
	FB_AUTO_JSON json_t *body = NULL;
	FB_AUTO_FREE char *type = NULL;
	struct fb_error ignored;
	size_t len;

	if (space == NULL)
		return;
	len = (size_t)(space - line.ptr);
	type = fb_format("%.*s", (int)(len < 200 ? len : 200),
	    (const char *)line.ptr);
	if (fb_json_parse((struct fb_span){ space + 1, line.len - len - 1 },
	        line.len, "record", &body, &ignored) < 0 ||
	    !json_is_object(body))
		return;
	add(writer, type, body);
}

static void
finish(struct writer *writer)
{
	FB_AUTO_FREE char *path = fb_path_join(scratch_dir(), "journal");
	FILE *file = fopen(path, "w");

	must(file != NULL);
	must(fwrite(writer->text.data, 1, writer->text.len, file) ==
	    writer->text.len);
	must(fclose(file) == 0);
	fb_buf_release(&writer->text);
}

static json_t *
all_of(const struct fb_state *state)
{
	json_t *all = json_array();

	for (int kind = 0; kind < FB_STATE_KIND_COUNT; kind++)
		(void)json_array_append_new(all,
		    fb_state_list(state, (enum fb_state_kind)kind, NULL));
	return all;
}

/* An entry of `all` as a record of a journal that was written anew. */
static void
add_entries(struct writer *writer, const json_t *all)
{
	FB_AUTO_JSON json_t *head = json_pack("{s:i}", "format", 1);

	add(writer, "state", head);
	for (size_t kind = 0; kind < FB_STATE_KIND_COUNT; kind++) {
		const json_t *list = json_array_get(all, kind);

		for (size_t i = 0; i < json_array_size(list); i++) {
			FB_AUTO_JSON json_t *body =
			    json_copy(json_array_get(list, i));

			(void)json_object_set_new(body, "kind",
			    json_string(fb_state_kind_name(
			        (enum fb_state_kind)kind)));
			add(writer, "entry", body);
		}
	}
}

static void
check_state(void)
{
	FB_AUTO_STATE struct fb_state *state = NULL, *again = NULL;
	FB_AUTO_JSON json_t *all = NULL, *same = NULL;
	struct writer writer;
	struct fb_error err = { 0 };

	if (fb_state_look(scratch_dir(), &state, &err) < 0) {
		must(err.msg[0] != '\0');
		return;
	}
	all = all_of(state);
	begin(&writer);
	add_entries(&writer, all);
	finish(&writer);
	must(fb_state_look(scratch_dir(), &again, &err) == FB_OK);
	same = all_of(again);
	must(json_equal(all, same));
}

static void
check_checkpoints(void)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;
	const struct fb_checkpoint *items;
	struct fb_error err = { 0 };
	uint64_t last = 0;
	size_t count;

	if (fb_checkpoints_look(scratch_dir(), &all, &err) < 0) {
		must(err.msg[0] != '\0');
		return;
	}
	items = fb_checkpoints_list(all, &count);
	for (size_t i = 0; i < count; i++) {
		must(items[i].id > last);
		must(items[i].size <= FB_CHECKPOINT_MAX);
		must(items[i].label[0] == '\0' ||
		    fb_name_ok(items[i].label, strlen(items[i].label)));
		last = items[i].id;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span rest = { data, size };
	struct writer writer;

	begin(&writer);
	while (rest.len > 0)
		add_line(&writer, take_line(&rest));
	finish(&writer);
	check_checkpoints();
	check_state();
	return 0;
}
