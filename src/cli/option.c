#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/command.h"
#include "fleetbak/cli/option.h"

#define JOBS_MAX 1024

/* Where the parser stands. */
struct reader {
	int argc;
	const char *const *argv;
	int at;
	struct fb_arguments *args;
};

static const struct fb_option *
find_name(const char *name, size_t len)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);

	for (size_t i = 0; i < count; i++)
		if (rows[i].name != NULL && strlen(rows[i].name) == len &&
		    memcmp(rows[i].name, name, len) == 0)
			return &rows[i];
	return NULL;
}

static const struct fb_option *
find_letter(char letter)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);

	for (size_t i = 0; i < count; i++)
		if (rows[i].letter != 0 && rows[i].letter == letter)
			return &rows[i];
	return NULL;
}

static bool
takes_value(const struct fb_option *option)
{
	return option->kind != FB_OPTION_SWITCH &&
	    option->kind != FB_OPTION_COUNTED;
}

/* As a user would write it. */
static const char *
spelling(const struct fb_option *option, char text[48])
{
	if (option->name != NULL)
		(void)snprintf(text, 48, "--%s", option->name);
	else
		(void)snprintf(text, 48, "-%c", option->letter);
	return text;
}

static int
fail_unknown(const char *name, size_t len, struct fb_error *err)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);
	const char **names = fb_alloc(count, sizeof(*names));
	FB_AUTO_FREE char *wrong = fb_alloc(len + 1, 1);
	const char *near;
	size_t used = 0;

	memcpy(wrong, name, len);
	for (size_t i = 0; i < count; i++)
		if (rows[i].name != NULL)
			names[used++] = rows[i].name;
	near = fb_name_nearest(wrong, names, used);
	free(names);
	(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-UNKNOWN",
	    "there is no option '--%s'", wrong);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '--%s'?", near);
	return fb_hint(err, "fleetbak --help lists the options");
}

static bool
among(const char *word, const char *words)
{
	struct fb_option row = { .commands = words };

	return fb_option_in(&row, word);
}

static int
read_number(const struct fb_option *option, const char *text,
    uint64_t *ret_number, struct fb_error *err)
{
	struct fb_span span = { (const uint8_t *)text, strlen(text) };

	if (option->kind == FB_OPTION_SPAN)
		return fb_text_span(text, ret_number, err);
	return fb_text_u64(span, JOBS_MAX, ret_number, err);
}

static int
check_value(const struct fb_option *option, const char *text,
    struct fb_option_value *value, struct fb_error *err)
{
	char name[48];
	int rc;

	(void)spelling(option, name);
	if (option->kind == FB_OPTION_CHOICE && !among(text, option->choices)) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '%s' cannot be '%s'", name, text);
		return fb_hint(err, "one of: %s", option->choices);
	}
	if (option->kind == FB_OPTION_NUMBER ||
	    option->kind == FB_OPTION_SPAN) {
		rc = read_number(option, text, &value->number, err);
		if (rc < 0) {
			err->id = "E-OPT-VALUE";
			return fb_wrap(err, "option '%s'", name);
		}
	}
	if (text[0] == '\0') {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '%s' has an empty value", name);
		return fb_hint(
		    err, "leave it out, or give it %s", option->value);
	}
	return FB_OK;
}

static int
put_value(struct reader *in, const struct fb_option *option,
    const char *text, struct fb_error *err)
{
	struct fb_option_value *value = &in->args->options[option->id];
	char name[48];
	int rc;

	if (value->set && option->kind != FB_OPTION_LIST) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-TWICE",
		    "option '%s' is given twice: '%s' and '%s'",
		    spelling(option, name), value->values[0], text);
		return fb_hint(err, "give it once");
	}
	rc = check_value(option, text, value, err);
	if (rc < 0)
		return rc;
	value->values = fb_realloc(
	    value->values, value->count + 1, sizeof(*value->values));
	value->values[value->count++] = text;
	value->set = true;
	value->times++;
	return FB_OK;
}

static int
put_switch(struct reader *in, const struct fb_option *option, bool on,
    struct fb_error *err)
{
	struct fb_option_value *value = &in->args->options[option->id];

	if (value->set && value->on != on) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-TWICE",
		    "options '--%s' and '--no-%s' contradict each other",
		    option->name, option->name);
		return fb_hint(err, "give one of them");
	}
	value->set = true;
	value->on = on;
	value->times++;
	return FB_OK;
}

/* The value that follows as an argument of its own. */
static int
next_value(struct reader *in, const struct fb_option *option,
    struct fb_error *err)
{
	char name[48];

	if (in->at + 1 >= in->argc) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '%s' needs a value", spelling(option, name));
		return fb_hint(err, "%s %s", name, option->value);
	}
	return put_value(in, option, in->argv[++in->at], err);
}

static int
read_long(struct reader *in, const char *arg, struct fb_error *err)
{
	const char *name = arg + 2;
	size_t len = strcspn(name, "=");
	const struct fb_option *option = find_name(name, len);
	bool on = true;

	if (option == NULL && len > 3 && memcmp(name, "no-", 3) == 0) {
		option = find_name(name + 3, len - 3);
		if (option != NULL && option->kind != FB_OPTION_SWITCH)
			option = NULL;
		on = false;
	}
	if (option == NULL)
		return fail_unknown(name, len, err);
	if (takes_value(option))
		return name[len] == '='
		    ? put_value(in, option, name + len + 1, err)
		    : next_value(in, option, err);
	if (name[len] == '=') {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '--%s' takes no value", option->name);
		return option->kind == FB_OPTION_SWITCH
		    ? fb_hint(err, "--%s or --no-%s", option->name,
		          option->name)
		    : err->code;
	}
	return put_switch(in, option, on, err);
}

/* "-nq", "-j4", "-j 4". */
static int
read_letters(struct reader *in, const char *arg, struct fb_error *err)
{
	for (const char *p = arg + 1; *p != '\0'; p++) {
		const struct fb_option *option = find_letter(*p);
		int rc;

		if (option == NULL) {
			(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-UNKNOWN",
			    "there is no option '-%c'", *p);
			return fb_hint(
			    err, "fleetbak --help lists the options");
		}
		if (takes_value(option))
			return p[1] != '\0'
			    ? put_value(in, option, p + 1, err)
			    : next_value(in, option, err);
		rc = put_switch(in, option, true, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

static void
put_argument(struct fb_arguments *args, const char *arg)
{
	if (args->command == NULL) {
		args->command = arg;
		return;
	}
	args->items =
	    fb_realloc(args->items, args->count + 1, sizeof(*args->items));
	args->items[args->count++] = arg;
}

static bool
applies(enum fb_option_id id, const char *command)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);

	for (size_t i = 0; i < count; i++)
		if (rows[i].id == id && fb_option_in(&rows[i], command))
			return true;
	return false;
}

/* Every option that was given belongs to the command. */
static int
check_options(const struct fb_arguments *args, struct fb_error *err)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);
	char name[48];

	for (size_t i = 0; i < count; i++) {
		if (!args->options[rows[i].id].set ||
		    applies(rows[i].id, args->command))
			continue;
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "option '%s' does not belong to '%s'",
		    spelling(&rows[i], name), args->command);
		return fb_hint(err, "it is for: %s", rows[i].commands);
	}
	return FB_OK;
}

static int
check_command(const struct fb_arguments *args, struct fb_error *err)
{
	const struct fb_command *command = fb_command_find(args->command);
	const char *near;

	if (command == NULL) {
		near = fb_command_nearest(args->command);
		(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-UNKNOWN",
		    "there is no command '%s'", args->command);
		if (near[0] != '\0')
			return fb_hint(err, "did you mean '%s'?", near);
		return fb_hint(err, "fleetbak -h lists the commands");
	}
	if (args->count > command->args_max) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-ARGS",
		    "'%s' does not take the argument '%s'", command->name,
		    args->items[command->args_max]);
		return fb_hint(err, "fleetbak %s %s", command->name,
		    command->args);
	}
	return check_options(args, err);
}

static int
read_all(struct reader *in, struct fb_error *err)
{
	for (in->at = 1; in->at < in->argc; in->at++) {
		const char *arg = in->argv[in->at];
		int rc = FB_OK;

		if (strcmp(arg, "--") == 0) {
			while (++in->at < in->argc)
				put_argument(in->args, in->argv[in->at]);
			break;
		}
		if (arg[0] != '-' || arg[1] == '\0')
			put_argument(in->args, arg);
		else if (arg[1] == '-')
			rc = read_long(in, arg, err);
		else
			rc = read_letters(in, arg, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

int
fb_arguments_parse(int argc, const char *const *argv,
    struct fb_arguments *args, struct fb_error *err)
{
	struct reader in = { argc, argv, 1, args };
	int rc;

	rc = read_all(&in, err);
	if (rc < 0)
		return rc;
	return args->command != NULL ? check_command(args, err) : FB_OK;
}

void
fb_arguments_release(struct fb_arguments *args)
{
	for (size_t i = 0; i < FB_OPT_COUNT; i++)
		free(args->options[i].values);
	free(args->items);
	*args = (struct fb_arguments){ 0 };
}

const char *
fb_arguments_value(const struct fb_arguments *args, enum fb_option_id id)
{
	return args->options[id].count > 0 ? args->options[id].values[0]
					   : NULL;
}

bool
fb_arguments_on(const struct fb_arguments *args, enum fb_option_id id)
{
	return args->options[id].set && args->options[id].on;
}
