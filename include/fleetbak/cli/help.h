/*
 * Help texts, made from the tables of commands and options.
 */
#ifndef FB_CLI_HELP_H
#define FB_CLI_HELP_H

#include <stdbool.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/cli/command.h"

/* The overview: fits a screen; `full` adds every option. */
void fb_help_overview(struct fb_buf *dst, bool full);
/* One command: examples first; `full` adds its text and all options. */
void fb_help_command(
    struct fb_buf *dst, const struct fb_command *command, bool full);

struct fb_help_topic {
	const char *name;
	const char *help;
	const char *text; /* NULL: made from a table */
};
size_t fb_help_topics(const struct fb_help_topic **ret_topics);
/* False when there is no such topic. */
bool fb_help_topic(struct fb_buf *dst, const char *name);

/* Text in lines of at most `width` columns, each after `indent` spaces;
 * lines that begin with a space are left alone, "\n" ends a paragraph. */
void fb_help_wrap(
    struct fb_buf *dst, const char *text, unsigned indent, unsigned width);

#endif
