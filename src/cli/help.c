#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/help.h"
#include "fleetbak/cli/option.h"

#define WIDTH 79

/* One paragraph without a newline. */
static void
add_paragraph(struct fb_buf *dst, const char *text, size_t len,
    unsigned indent, unsigned width)
{
	unsigned column = 0;
	size_t at = 0;

	while (at < len) {
		size_t space = strspn(text + at, " ");
		size_t word;

		at += space;
		word = strcspn(text + at, " \n");
		if (at + word > len)
			word = len - at;
		if (word == 0)
			break;
		if (column > 0 && column + 1 + word > width) {
			fb_buf_add(dst, "\n", 1);
			column = 0;
		}
		if (column == 0) {
			fb_buf_add_fmt(dst, "%*s", (int)indent, "");
			column = indent;
		} else {
			fb_buf_add(dst, " ", 1);
			column++;
		}
		fb_buf_add(dst, text + at, word);
		column += (unsigned)word;
		at += word;
	}
	fb_buf_add(dst, "\n", 1);
}

void
fb_help_wrap(
    struct fb_buf *dst, const char *text, unsigned indent, unsigned width)
{
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		if (text[0] == ' ') {
			fb_buf_add_fmt(dst, "%*s", (int)indent, "");
			fb_buf_add(dst, text, len);
			fb_buf_add(dst, "\n", 1);
		} else {
			add_paragraph(dst, text, len, indent, width);
		}
		text += len;
		if (*text == '\n')
			text++;
	}
}

/* "  -j, --jobs N            machines at the same time" */
static void
add_option(struct fb_buf *dst, const struct fb_option *option)
{
	FB_AUTO_BUF struct fb_buf left = { 0 };

	if (option->letter != 0)
		fb_buf_add_fmt(&left, "-%c", option->letter);
	else
		fb_buf_add_str(&left, "  ");
	if (option->name != NULL)
		fb_buf_add_fmt(&left, "%s --%s%s",
		    option->letter != 0 ? "," : " ",
		    option->negatable ? "[no-]" : "", option->name);
	if (option->value != NULL)
		fb_buf_add_fmt(&left, " %s", option->value);
	fb_buf_add_fmt(
	    dst, "  %-24s  %s\n", fb_buf_str(&left), option->help);
}

static size_t
add_own_options(struct fb_buf *dst, const char *command)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows), added = 0;

	for (size_t i = 0; i < count; i++) {
		if (rows[i].commands == NULL ||
		    !fb_option_in(&rows[i], command))
			continue;
		if (added++ == 0)
			fb_buf_add_str(dst, "\nOptions:\n");
		add_option(dst, &rows[i]);
	}
	return added;
}

/* The ones with a letter, or all. */
static void
add_common_options(struct fb_buf *dst, bool full)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);

	fb_buf_add_str(
	    dst, "\nOptions of all commands (before or after the command):\n");
	for (size_t i = 0; i < count; i++)
		if (rows[i].commands == NULL &&
		    (full || rows[i].letter != 0 ||
			rows[i].id == FB_OPT_HELP_FULL))
			add_option(dst, &rows[i]);
}

static void
add_groups(struct fb_buf *dst)
{
	const struct fb_command *const *commands;
	size_t count = fb_commands(&commands);
	const char *group = "";

	for (size_t i = 0; i < count; i++) {
		if (strcmp(group, commands[i]->group) != 0) {
			group = commands[i]->group;
			fb_buf_add_fmt(dst, "%s%-11s", i > 0 ? "\n" : "",
			    group);
		}
		fb_buf_add_fmt(dst, "  %s", commands[i]->name);
	}
	fb_buf_add_str(dst, "\n");
}

static void
add_command_list(struct fb_buf *dst)
{
	const struct fb_command *const *commands;
	size_t count = fb_commands(&commands);

	fb_buf_add_str(dst, "\nCommands:\n");
	for (size_t i = 0; i < count; i++)
		fb_buf_add_fmt(dst, "  %-10s  %s\n", commands[i]->name,
		    commands[i]->help);
}

void
fb_help_overview(struct fb_buf *dst, bool full)
{
	fb_buf_add_str(dst,
	    "fleetbak - back up whole fleets of machines, and bring them "
	    "back\n\n"
	    "  fleetbak download -n               what a backup would do\n"
	    "  fleetbak download                  back up every machine\n"
	    "  fleetbak restore web-01 --target /tmp/out\n"
	    "                                     get one back, as files\n\n");
	add_groups(dst);
	if (full)
		add_command_list(dst);
	add_common_options(dst, full);
	fb_buf_add_str(dst,
	    full ? "\nfleetbak help COMMAND says more about one of them; "
		   "topics:\n  "
		 : "\nMore: fleetbak --help, fleetbak help COMMAND, "
		   "fleetbak help TOPIC:\n  ");
	const struct fb_help_topic *topics;
	size_t count = fb_help_topics(&topics);

	for (size_t i = 0; i < count; i++)
		fb_buf_add_fmt(dst, "%s%s", i > 0 ? ", " : "", topics[i].name);
	fb_buf_add_str(dst, "\n");
}

static void
add_examples(struct fb_buf *dst, const char *examples)
{
	while (*examples != '\0') {
		size_t len = strcspn(examples, "\n");
		size_t tab = strcspn(examples, "\t");

		if (tab >= len)
			tab = len;
		fb_buf_add_fmt(dst, "  %-44.*s", (int)tab, examples);
		if (tab > 44)
			fb_buf_add_fmt(dst, "\n  %-44s", "");
		if (tab < len)
			fb_buf_add_fmt(dst, "  %.*s", (int)(len - tab - 1),
			    examples + tab + 1);
		fb_buf_add_str(dst, "\n");
		examples += len + (examples[len] == '\n');
	}
}

void
fb_help_command(
    struct fb_buf *dst, const struct fb_command *command, bool full)
{
	fb_buf_add_fmt(dst, "fleetbak %s - %s\n\n", command->name,
	    command->help);
	add_examples(dst, command->examples);
	fb_buf_add_fmt(dst, "\nUsage: fleetbak %s [OPTION ...]%s%s\n",
	    command->name, command->args[0] != '\0' ? " " : "",
	    command->args);
	if (full) {
		fb_buf_add_str(dst, "\n");
		fb_help_wrap(dst, command->about, 0, WIDTH);
	}
	(void)add_own_options(dst, command->name);
	if (full)
		add_common_options(dst, true);
	else
		fb_buf_add_fmt(dst,
		    "\nAll options: fleetbak %s --help   "
		    "Manual: man fleetbak-%s\n",
		    command->name, command->name);
}
