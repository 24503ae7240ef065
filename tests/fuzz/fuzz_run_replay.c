/*
 * A cut-off download: lines "TYPE JSON" make a journal, which is replayed
 * into a run.  What the run says about its machines is journaled again and
 * replayed again: it must say the same.  What it owes is read, too.
 */
#include <sys/stat.h>

#include "../../src/engine/run.h"
#include "journal_writer.h"

#define RUN "20261121-013205123-3fa92c17"

static char *journal;
static struct fb_config config;
static struct fb_engine engine = { .config = &config };

static void
make_state(void)
{
	FB_AUTO_FREE char *dir = NULL;
	struct fb_error err;

	if (journal != NULL)
		return;
	config.fleet_name = fb_strdup("demo");
	config.state_dir = fb_strdup(scratch_dir());
	dir = fb_format("%s/runs/" RUN, config.state_dir);
	must(fb_io_mkdirs_later(dir, 0700, &err) == FB_OK);
	journal = fb_format("%s/journal", dir);
}

/* Do facts of this type stand in a run for ever? */
static bool
is_plan(const char *type)
{
	static const char *const types[] = { "run", "source", "plan", "unit",
		"begin" };

	for (size_t i = 0; i < FB_COUNT(types); i++)
		if (strcmp(types[i], type) == 0)
			return true;
	return false;
}

static void
add_input(struct writer *writer, struct fb_span input, bool plan_only)
{
	while (input.len > 0) {
		struct fb_span line = take_line(&input);
		const uint8_t *space =
		    line.len > 0 ? memchr(line.ptr, ' ', line.len) : NULL;
		FB_AUTO_JSON json_t *body = NULL;
		FB_AUTO_FREE char *type = NULL;
		struct fb_error ignored;
		size_t len;

		if (space == NULL)
			continue;
		len = (size_t)(space - line.ptr);
		type = fb_format("%.*s", (int)len, (const char *)line.ptr);
		if (fb_json_parse((struct fb_span){ space + 1,
		                      line.len - len - 1 },
		        65536, "input", &body, &ignored) == FB_OK &&
		    (!plan_only || is_plan(type)))
			add(writer, type, body);
	}
}

/* What the run knows of its machines, as records. */
static void
add_run(struct writer *writer, const struct fb_run *run, json_t *said)
{
	for (size_t i = 0; i < run->job_count; i++) {
		const struct fb_job *job = &run->jobs[i];
		json_t *body = fb_run_machine_json(job);

		must(body != NULL);
		add(writer, "machine", body);
		must(json_array_append_new(said, body) == 0);
		for (size_t k = 0; k < job->machine->volume_count; k++) {
			if (!job->parts[k].spooled)
				continue;
			body = fb_run_part_json(job, k);
			must(body != NULL);
			add(writer, "volume", body);
			must(json_array_append_new(said, body) == 0);
		}
	}
}

static struct fb_run *
replay(const struct writer *writer)
{
	struct fb_run *run = NULL;
	struct fb_error err;

	put_file(journal, fb_buf_span(&writer->text));
	if (fb_run_replay(&engine, NULL, RUN, false, &run, NULL, &err) < 0)
		return NULL;
	return run;
}

static void
check_owed(void)
{
	struct fb_recover_report report;
	struct fb_error err;

	must(fb_recover_list(&engine, &report, &err) == FB_OK);
	fb_recover_report_release(&report);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span input = { data, size };
	FB_AUTO_JSON json_t *said = json_array();
	FB_AUTO_JSON json_t *again = json_array();
	FB_AUTO_RUN struct fb_run *run = NULL;
	FB_AUTO_RUN struct fb_run *second = NULL;
	struct writer writer;

	make_state();
	begin(&writer);
	add_input(&writer, input, false);
	run = replay(&writer);
	check_owed();
	fb_buf_release(&writer.text);
	if (run == NULL)
		return 0;
	begin(&writer);
	add_input(&writer, input, true);
	add_run(&writer, run, said);
	second = replay(&writer);
	must(second != NULL && second->job_count == run->job_count);
	fb_buf_release(&writer.text);
	begin(&writer);
	add_run(&writer, second, again);
	must(json_equal(said, again) == 1);
	fb_buf_release(&writer.text);
	return 0;
}
