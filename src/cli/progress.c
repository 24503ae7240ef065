#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/progress.h"
#include "fleetbak/cli/unattended.h"

#define REDRAW_NS 100000000LL /* ten times a second at most */
#define STATUS_NS 1000000000LL

enum style { STYLE_NONE, STYLE_PLAIN, STYLE_LINE, STYLE_EVENTS };

/* A volume that is being read. */
struct part {
	char *machine, *volume;
	uint64_t done;
};

struct fb_progress {
	struct fb_cli *cli;
	enum style style;
	int64_t started_ns, drawn_ns, told_ns;
	bool shown; /* a line stands on the terminal */
	uint64_t total, finished; /* bytes; of volumes that are done */
	size_t ok, failed;
	size_t copied; /* of `ok`: not committed yet */
	struct part *parts;
	size_t part_count;
};

static enum style
style_of(const struct fb_cli *cli)
{
	const char *when = fb_arguments_value(&cli->args, FB_OPT_PROGRESS);
	const char *term = getenv("TERM");

	if (cli->output == FB_OUTPUT_NDJSON)
		return STYLE_EVENTS;
	if (cli->quiet || (when != NULL && strcmp(when, "never") == 0))
		return STYLE_NONE;
	if (when != NULL && strcmp(when, "plain") == 0)
		return STYLE_PLAIN;
	return isatty(STDERR_FILENO) && term != NULL &&
	        strcmp(term, "dumb") != 0
	    ? STYLE_LINE
	    : STYLE_PLAIN;
}

struct fb_progress *
fb_progress_begin(struct fb_cli *cli)
{
	struct fb_progress *progress = fb_alloc(1, sizeof(*progress));

	progress->cli = cli;
	progress->style = style_of(cli);
	progress->started_ns = fb_clock_mono_ns();
	return progress;
}

static uint64_t
bytes_done(const struct fb_progress *progress)
{
	uint64_t done = progress->finished;

	for (size_t i = 0; i < progress->part_count; i++)
		done += progress->parts[i].done;
	return done;
}

static struct part *
find_part(struct fb_progress *progress, const struct fb_event *event)
{
	const char *volume = event->volume != NULL ? event->volume : "";
	struct part *part;

	for (size_t i = 0; i < progress->part_count; i++)
		if (strcmp(progress->parts[i].machine, event->machine) == 0 &&
		    strcmp(progress->parts[i].volume, volume) == 0)
			return &progress->parts[i];
	progress->parts = fb_realloc(progress->parts,
	    progress->part_count + 1, sizeof(*progress->parts));
	part = &progress->parts[progress->part_count++];
	*part = (struct part){ fb_strdup(event->machine), fb_strdup(volume),
		0 };
	return part;
}

/* The machine is through: its volumes count as read. */
static void
finish_machine(struct fb_progress *progress, const char *machine)
{
	size_t kept = 0;

	for (size_t i = 0; i < progress->part_count; i++) {
		struct part *part = &progress->parts[i];

		if (machine == NULL || strcmp(part->machine, machine) == 0) {
			progress->finished += part->done;
			free(part->machine);
			free(part->volume);
		} else {
			progress->parts[kept++] = *part;
		}
	}
	progress->part_count = kept;
}

static void
clear_line(struct fb_progress *progress)
{
	if (progress->shown)
		fprintf(stderr, "\r\033[K");
	progress->shown = false;
}

static size_t
terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

static void
draw_line(struct fb_progress *progress)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };
	uint64_t done = bytes_done(progress);
	int64_t now = fb_clock_mono_ns();
	uint64_t ms = (uint64_t)((now - progress->started_ns) / 1000000);
	char text[FB_CLI_TEXT];
	size_t width = terminal_width() - 1;

	if (now - progress->drawn_ns < REDRAW_NS)
		return;
	progress->drawn_ns = now;
	fb_buf_add_fmt(&line, "%zu done, %zu failed  ", progress->ok,
	    progress->failed);
	if (progress->total > 0)
		fb_buf_add_fmt(&line, "%3u %%  ",
		    done >= progress->total
		        ? 100u
		        : (unsigned)(100.0 * (double)done /
		              (double)progress->total));
	fb_buf_add_fmt(&line, "read %s",
	    fb_cli_size(progress->cli, done, text));
	if (ms > 1000)
		fb_buf_add_fmt(&line, "  %s/s",
		    fb_cli_size(progress->cli,
		        (uint64_t)((double)done * 1000.0 / (double)ms), text));
	if (progress->part_count > 0)
		fb_buf_add_fmt(&line, "  %s %s", progress->parts[0].machine,
		    progress->parts[0].volume);
	fprintf(stderr, "\r%.*s\033[K",
	    (int)(line.len < width ? line.len : width), fb_buf_str(&line));
	progress->shown = true;
}

static const char *
clock_text(char text[16])
{
	time_t seconds = (time_t)(fb_clock_wall_ns() / 1000000000);
	struct tm parts;

	if (localtime_r(&seconds, &parts) == NULL)
		return "";
	(void)strftime(text, 16, "%H:%M:%S", &parts);
	return text;
}

/* One line that stays, above the one that is redrawn. */
static void
say(struct fb_progress *progress, const char *word, bool bad,
    const struct fb_event *event, const char *text)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };
	bool hidden = progress->style == STYLE_NONE;
	bool color = bad && progress->cli->color && !hidden;
	char when[16];

	clear_line(progress);
	fb_buf_add_fmt(&line, "%s %s%-4s%s  %-20s  %s\n", clock_text(when),
	    color ? "\033[1;31m" : "", word, color ? "\033[0m" : "",
	    event->machine != NULL ? event->machine : "", text);
	(hidden ? fb_log_file : fb_log)(
	    bad ? FB_LOG_ERROR : FB_LOG_INFO, fb_buf_str(&line));
}

static void
emit_status(struct fb_progress *progress)
{
	int64_t now = fb_clock_mono_ns();
	json_t *event;

	if (now - progress->drawn_ns < STATUS_NS)
		return;
	progress->drawn_ns = now;
	event = json_object();
	fb_json_put_u64(event, "done", progress->ok);
	fb_json_put_u64(event, "failed", progress->failed);
	fb_json_put_u64(event, "read_bytes", bytes_done(progress));
	fb_json_put_u64(event, "total_bytes", progress->total);
	fb_cli_event(progress->cli, "status", event);
}

static void
emit(struct fb_progress *progress, const struct fb_event *event)
{
	static const char *const types[] = {
		[FB_EVENT_RUN_START] = "run.start",
		[FB_EVENT_MACHINE_START] = "machine.start",
		[FB_EVENT_STATE] = "machine.state",
		[FB_EVENT_PROGRESS] = NULL,
		[FB_EVENT_MACHINE_COPIED] = "machine.copied",
		[FB_EVENT_MACHINE_OK] = "machine.end",
		[FB_EVENT_MACHINE_FAILED] = "machine.error",
		[FB_EVENT_WARNING] = "warning",
		[FB_EVENT_NOTE] = "note",
		[FB_EVENT_RUN_END] = NULL, /* said last, with the status */
	};
	json_t *line;

	if (event->kind == FB_EVENT_PROGRESS) {
		emit_status(progress);
		return;
	}
	if (types[event->kind] == NULL)
		return;
	line = json_object();
	if (event->machine != NULL)
		fb_json_put_str(line, "machine", event->machine);
	if (event->kind == FB_EVENT_RUN_START)
		fb_json_put_str(line, "run", event->text);
	else if (event->kind == FB_EVENT_STATE)
		fb_json_put_str(line, "state", event->text);
	else if (event->text != NULL)
		fb_json_put_str(line, "text", event->text);
	if (event->error != NULL)
		(void)json_object_set_new(line, "error",
		    fb_cli_error_json(NULL, event->error));
	fb_cli_event(progress->cli, types[event->kind], line);
}

static void
say_error(struct fb_progress *progress, const char *word, bool bad,
    const struct fb_event *event)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	if (event->error == NULL)
		return;
	fb_buf_add_fmt(&text, "%s %s",
	    event->error->id != NULL ? event->error->id : "",
	    event->error->msg);
	say(progress, word, bad, event, fb_buf_str(&text));
}

/* How large the volumes are of the machine that is through. */
static const char *
figures_of(const struct fb_progress *progress, const struct fb_event *event,
    char text[FB_CLI_TEXT + 8])
{
	char size[FB_CLI_TEXT];
	uint64_t bytes = 0;

	for (size_t i = 0; i < progress->part_count; i++)
		if (event->machine != NULL &&
		    strcmp(progress->parts[i].machine, event->machine) == 0)
			bytes += progress->parts[i].done;
	if (event->done > 0)
		bytes = event->done;
	(void)snprintf(text, FB_CLI_TEXT + 8, "%s",
	    fb_cli_size(progress->cli, bytes, size));
	return text;
}

static void
show(struct fb_progress *progress, const struct fb_event *event)
{
	const char *text = event->text != NULL ? event->text : "";
	char figures[FB_CLI_TEXT + 8];

	switch (event->kind) {
	case FB_EVENT_RUN_START:
		if (progress->cli->verbose > 0)
			say(progress, "run", false, event, text);
		break;
	case FB_EVENT_MACHINE_COPIED:
		say(progress, "read", false, event,
		    figures_of(progress, event, figures));
		break;
	case FB_EVENT_MACHINE_OK:
		if (text[0] == '\0')
			text = figures_of(progress, event, figures);
		say(progress, "ok", false, event, text);
		break;
	case FB_EVENT_MACHINE_FAILED:
		say_error(progress, "FAIL", true, event);
		break;
	case FB_EVENT_STATE:
	case FB_EVENT_NOTE:
		if (progress->cli->verbose > 0)
			say(progress, "", false, event, text);
		break;
	case FB_EVENT_WARNING:
	case FB_EVENT_MACHINE_START:
	case FB_EVENT_PROGRESS:
	case FB_EVENT_RUN_END:
		break;
	}
	if (progress->style == STYLE_LINE)
		draw_line(progress);
}

static void
count_event(struct fb_progress *progress, const struct fb_event *event)
{
	switch (event->kind) {
	case FB_EVENT_RUN_START:
		progress->total = event->total;
		break;
	case FB_EVENT_PROGRESS:
		if (event->machine != NULL)
			find_part(progress, event)->done = event->done;
		break;
	case FB_EVENT_MACHINE_COPIED:
		progress->copied++;
		progress->ok++;
		finish_machine(progress, event->machine);
		break;
	case FB_EVENT_MACHINE_OK:
		if (progress->copied > 0)
			progress->copied--; /* it is counted */
		else
			progress->ok++;
		finish_machine(progress, event->machine);
		break;
	case FB_EVENT_MACHINE_FAILED:
		progress->failed++;
		finish_machine(progress, event->machine);
		break;
	case FB_EVENT_MACHINE_START:
	case FB_EVENT_STATE:
	case FB_EVENT_WARNING:
	case FB_EVENT_NOTE:
	case FB_EVENT_RUN_END:
		break;
	}
}

/* The supervisor too wants to know how far it is. */
static void
tell(struct fb_progress *progress)
{
	int64_t now = fb_clock_mono_ns();
	FB_AUTO_BUF struct fb_buf text = { 0 };
	uint64_t done = bytes_done(progress);
	char size[FB_CLI_TEXT];

	if (progress->cli->keeper == NULL ||
	    now - progress->told_ns < STATUS_NS)
		return;
	progress->told_ns = now;
	fb_buf_add_fmt(&text, "%zu done, %zu failed, ", progress->ok,
	    progress->failed);
	if (progress->total > 0)
		fb_buf_add_fmt(&text, "%u %%, ",
		    done >= progress->total
		        ? 100u
		        : (unsigned)(100.0 * (double)done /
		              (double)progress->total));
	fb_buf_add_fmt(
	    &text, "read %s", fb_cli_size(progress->cli, done, size));
	fb_unattended_say(progress->cli, fb_buf_str(&text));
}

static void
on_event(void *arg, const struct fb_event *event)
{
	struct fb_progress *progress = arg;

	if (event->kind == FB_EVENT_WARNING && event->error != NULL) {
		clear_line(progress);
		fb_cli_warn(progress->cli, event->machine, event->error);
	}
	if (progress->style == STYLE_EVENTS)
		emit(progress, event);
	else
		show(progress, event);
	count_event(progress, event);
	tell(progress);
}

struct fb_observer
fb_progress_observer(struct fb_progress *progress)
{
	return (struct fb_observer){ on_event, progress };
}

void
fb_progress_end(struct fb_progress *progress)
{
	if (progress == NULL)
		return;
	clear_line(progress);
	finish_machine(progress, NULL);
	free(progress->parts);
	progress->cli->engine.observer = (struct fb_observer){ 0 };
	free(progress);
}

void
fb_progress_endp(struct fb_progress **progress)
{
	fb_progress_end(*progress);
}
