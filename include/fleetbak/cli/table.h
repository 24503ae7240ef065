/*
 * Rows of text: as aligned columns for people, or tab-separated with the
 * exact values for programs.  Any number of rows: many wait in a file.
 */
#ifndef FB_CLI_TABLE_H
#define FB_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/cli/spool.h"

#define FB_TABLE_COLUMNS 12

struct fb_column {
	const char *title;
	bool right; /* numbers */
};

struct fb_table { /* set the first two, leave the rest zero */
	const struct fb_column *columns;
	size_t column_count;
	size_t row_count;
	size_t filled; /* cells of the last row */
	struct fb_spool cells;
	size_t widths[FB_TABLE_COLUMNS]; /* of what people see */
};

/* Begin a row; its cells follow with fb_table_cell(), from the left. */
void fb_table_row(struct fb_table *table);
/* `exact` NULL: the same. Both are copied. */
void fb_table_cell(
    struct fb_table *table, const char *shown, const char *exact);

/*
 * Header, columns two spaces apart, numbers to the right, no boxes.  `pages`,
 * when not NULL, takes what is in `dst` whenever that is long.
 */
void fb_table_add_text(struct fb_table *table, bool header,
    struct fb_buf *dst, struct fb_spool *pages);
/* Tabs, newlines and backslashes in cells are escaped as \t, \n and \\. */
void fb_table_add_tsv(struct fb_table *table, bool header,
    struct fb_buf *dst, struct fb_spool *pages);
void fb_table_release(struct fb_table *table);
#define FB_AUTO_TABLE FB_CLEANUP(fb_table_release)

#endif
