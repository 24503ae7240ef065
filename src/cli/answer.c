/*
 * The answer: what a command found, in the form that was asked for.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/crypto/digest.h"

bool
fb_cli_json(const struct fb_cli *cli)
{
	return cli->output == FB_OUTPUT_JSON ||
	    cli->output == FB_OUTPUT_NDJSON;
}

void
fb_cli_status(struct fb_cli *cli, enum fb_exit status)
{
	cli->failed = true;
	cli->status = status;
}

/* jansson refuses what is not UTF-8: names from a disk may be anything. */
static json_t *
text_json(const char *text)
{
	json_t *value = json_string(text);
	FB_AUTO_BUF struct fb_buf escaped = { 0 };

	if (value != NULL)
		return value;
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x80)
			fb_buf_add(&escaped, text, 1);
		else
			fb_buf_add_fmt(
			    &escaped, "%%%02x", (unsigned char)*text);
	}
	return json_string(fb_buf_str(&escaped));
}

void
fb_json_put_str(json_t *object, const char *key, const char *text)
{
	(void)json_object_set_new(
	    object, key, text != NULL ? text_json(text) : json_null());
}

void
fb_json_put_u64(json_t *object, const char *key, uint64_t value)
{
	if (value > INT64_MAX)
		value = INT64_MAX;
	(void)json_object_set_new(
	    object, key, json_integer((json_int_t)value));
}

void
fb_json_put_seconds(json_t *object, const char *key, uint64_t ms)
{
	(void)json_object_set_new(
	    object, key, json_real((double)ms / 1000.0));
}

void
fb_json_put_digest(
    json_t *object, const char *key, const struct fb_digest *digest)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(digest, hex);
	fb_json_put_str(object, key, hex);
}

json_t *
fb_json_labels(const struct fb_labels *labels)
{
	json_t *object = json_object();

	for (size_t i = 0; i < labels->count; i++)
		fb_json_put_str(
		    object, labels->items[i].key, labels->items[i].value);
	return object;
}

json_t *
fb_cli_error_json(const char *machine, const struct fb_error *error)
{
	json_t *object = json_object();

	fb_json_put_str(object, "id",
	    error->id != NULL ? error->id : fb_code_id(error->code));
	fb_json_put_str(object, "message", error->msg);
	fb_json_put_str(
	    object, "hint", error->hint[0] != '\0' ? error->hint : NULL);
	if (machine != NULL)
		fb_json_put_str(object, "machine", machine);
	return object;
}

void
fb_cli_add_error(struct fb_cli *cli, const char *machine,
    const struct fb_error *error)
{
	(void)json_array_append_new(
	    cli->errors, fb_cli_error_json(machine, error));
}

void
fb_cli_add_failure(struct fb_buf *dst, const struct fb_error *error)
{
	fb_buf_add_fmt(dst, "%s: %s\n",
	    error->id != NULL ? error->id : fb_code_id(error->code),
	    error->msg);
	if (error->hint[0] != '\0')
		fb_buf_add_fmt(dst, "  fix    %s\n", error->hint);
}

void
fb_cli_warn(struct fb_cli *cli, const char *machine,
    const struct fb_error *error)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)json_array_append_new(
	    cli->warnings, fb_cli_error_json(machine, error));
	if (cli->quiet) {
		fb_buf_add_fmt(&cli->summary, "warning: %s%s%s\n",
		    machine != NULL ? machine : "",
		    machine != NULL ? ": " : "", error->msg);
		return;
	}
	fb_buf_add_fmt(&text, "fleetbak: warning: %s%s%s\n",
	    machine != NULL ? machine : "", machine != NULL ? ": " : "",
	    error->msg);
	if (error->hint[0] != '\0')
		fb_buf_add_fmt(&text, "  fix    %s\n", error->hint);
	fb_log(FB_LOG_WARNING, fb_buf_str(&text));
}

/* No text of the answer can hold a mark: nobody knew it before. */
static void
make_mark(char mark[40])
{
	uint8_t random[16];

	fb_random(random, sizeof(random));
	memcpy(mark, "list-", 6);
	for (size_t i = 0; i < sizeof(random); i++)
		(void)snprintf(mark + 5 + 2 * i, 3, "%02x", random[i]);
}

json_t *
fb_cli_new_list(struct fb_cli *cli)
{
	json_t *array = json_array();
	struct fb_cli_list *list = &cli->lists[cli->list_count];

	assert(cli->list_count < FB_CLI_LISTS);
	if (!fb_cli_json(cli))
		return array;
	cli->list_count++;
	make_mark(list->mark);
	(void)json_array_append_new(array, json_string(list->mark));
	return array;
}

void
fb_cli_add_item(struct fb_cli *cli, json_t *item)
{
	FB_AUTO_FREE char *text = NULL;

	if (fb_cli_json(cli)) {
		struct fb_spool *items =
		    &cli->lists[cli->list_count - 1].items;

		text = json_dumps(
		    item, JSON_COMPACT | JSON_REAL_PRECISION(15));
		if (text != NULL && !fb_spool_empty(items))
			fb_spool_add(items, ",", 1);
		if (text != NULL)
			fb_spool_add(items, text, strlen(text));
	}
	json_decref(item);
}

/* The list whose mark comes first in the text, and where. */
static struct fb_cli_list *
next_list(struct fb_cli *cli, const char *text, const char **ret_at)
{
	struct fb_cli_list *next = NULL;

	for (size_t i = 0; i < cli->list_count; i++) {
		const char *at = strstr(text, cli->lists[i].mark);

		if (at != NULL && (next == NULL || at < *ret_at)) {
			next = &cli->lists[i];
			*ret_at = at;
		}
	}
	return next;
}

void
fb_cli_print_json(struct fb_cli *cli, const json_t *document)
{
	FB_AUTO_FREE char *raw =
	    json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(15));
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const char *rest, *at = NULL;
	struct fb_cli_list *list;

	fb_buf_add_str(&text, raw != NULL ? raw : "");
	fb_redact(&text);
	rest = fb_buf_str(&text);

	while ((list = next_list(cli, rest, &at)) != NULL) {
		/* the mark stands between two quotes */
		(void)fwrite(rest, 1, (size_t)(at - rest) - 1, stdout);
		fb_spool_print(&list->items, stdout);
		rest = at + strlen(list->mark) + 1;
	}
	(void)fputs(rest, stdout);
	(void)fputc('\n', stdout);
}

void
fb_cli_turn_page(struct fb_cli *cli)
{
	if (cli->text.len < (size_t)1 << 18)
		return;
	fb_spool_add(&cli->pages, cli->text.data, cli->text.len);
	fb_buf_clear(&cli->text);
}

void
fb_cli_flush(struct fb_cli *cli)
{
	bool good = fflush(stdout) == 0 && !ferror(stdout);

	if (!good && cli->stdout_errno == 0)
		cli->stdout_errno = errno != 0 ? errno : EIO;
}

void
fb_cli_event(struct fb_cli *cli, const char *type, json_t *event)
{
	char now[FB_TIME_SIZE];
	json_t *line = json_object();

	errno = 0;
	fb_time_format_ms(fb_clock_wall_ns(), now);
	fb_json_put_u64(line, "v", 1);
	fb_json_put_u64(line, "seq", ++cli->seq);
	fb_json_put_str(line, "time", now);
	fb_json_put_str(line, "type", type);
	(void)json_object_update(line, event);
	fb_cli_print_json(cli, line);
	fb_cli_flush(cli);
	json_decref(line);
	json_decref(event);
}

void
fb_cli_add_table(struct fb_cli *cli, struct fb_table *table)
{
	if (cli->output == FB_OUTPUT_TSV)
		fb_table_add_tsv(
		    table, !cli->no_header, &cli->text, &cli->pages);
	else
		fb_table_add_text(
		    table, !cli->no_header, &cli->text, &cli->pages);
}

void
fb_cli_print_text(struct fb_cli *cli)
{
	fb_spool_print(&cli->pages, stdout);
	(void)fwrite(fb_buf_str(&cli->text), 1, cli->text.len, stdout);
	fb_cli_clear_text(cli);
}

void
fb_cli_clear_text(struct fb_cli *cli)
{
	fb_spool_release(&cli->pages);
	fb_buf_clear(&cli->text);
}

char *
fb_cli_machine(const char *machine, const char *name)
{
	const char *slash = strchr(machine, '/');

	return strcmp(slash != NULL ? slash + 1 : machine, name) == 0
	    ? fb_strdup(machine)
	    : fb_format("%s (%s)", machine, name);
}

const char *
fb_cli_size(const struct fb_cli *cli, uint64_t bytes, char text[FB_CLI_TEXT])
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };

	if (cli->exact_bytes)
		fb_buf_add_fmt(&buf, "%llu", (unsigned long long)bytes);
	else
		fb_text_add_size(&buf, bytes);
	(void)snprintf(text, FB_CLI_TEXT, "%s", fb_buf_str(&buf));
	return text;
}

/* "2026-11-21 02:11 +01:00" from "2026-11-21T01:11:00Z". */
const char *
fb_cli_time(const struct fb_cli *cli, const char *utc, char text[FB_CLI_TEXT])
{
	struct fb_error ignored;
	struct tm parts;
	int64_t ns;
	time_t seconds;
	size_t used;
	long east;

	if (fb_time_parse(utc, &ns, &ignored) != FB_OK) {
		(void)snprintf(text, FB_CLI_TEXT, "%s", utc);
		return text;
	}
	seconds = (time_t)(ns / 1000000000);
	if (cli->utc || localtime_r(&seconds, &parts) == NULL)
		(void)gmtime_r(&seconds, &parts);
	east = parts.tm_gmtoff / 60;
	used = strftime(text, FB_CLI_TEXT, "%Y-%m-%d %H:%M", &parts);
	(void)snprintf(text + used, FB_CLI_TEXT - used, " %c%02u:%02u",
	    east < 0 ? '-' : '+', (unsigned)(labs(east) / 60) % 100,
	    (unsigned)(labs(east) % 60));
	return text;
}

const char *
fb_cli_span(uint64_t ms, char text[FB_CLI_TEXT])
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };
	uint64_t minutes = ms / 60000;

	if (ms >= 48 * 3600000ULL)
		fb_buf_add_fmt(&buf, "%llu d %llu h",
		    (unsigned long long)(minutes / 1440),
		    (unsigned long long)(minutes / 60 % 24));
	else if (ms >= 3600000)
		fb_buf_add_fmt(&buf, "%llu h %llu min",
		    (unsigned long long)(minutes / 60),
		    (unsigned long long)(minutes % 60));
	else
		fb_text_add_span(&buf, ms);
	(void)snprintf(text, FB_CLI_TEXT, "%s", fb_buf_str(&buf));
	return text;
}

static int
read_answer(char *line, size_t size)
{
	size_t used = 0;

	/* Not stdio: what is typed ahead stays where it is. */
	while (used + 1 < size) {
		ssize_t n = read(STDIN_FILENO, line + used, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || line[used] == '\n')
			break;
		used++;
	}
	line[used] = '\0';
	return (int)used;
}

int
fb_cli_confirm(struct fb_cli *cli, const char *question, const char *answer,
    struct fb_error *err)
{
	char line[256];

	if (cli->engine.assume_yes)
		return FB_OK;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-CONFIRM",
		    "%s: nobody here to say yes", question);
		return fb_hint(err, "--yes answers every question");
	}
	fprintf(stderr, "%s\nType %s to go on: ", question, answer);
	(void)read_answer(line, sizeof(line));
	if (strcmp(line, answer) == 0)
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-CONFIRM",
	    "'%s' was not confirmed; nothing was changed", answer);
	return fb_hint(err, "type %s, or give --yes", answer);
}
