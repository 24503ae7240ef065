/*
 * Rows of text: as aligned columns for people, or tab-separated with the
 * exact values for programs.
 */
#ifndef FB_CLI_TABLE_H
#define FB_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/buf.h"

#define FB_TABLE_COLUMNS 12

struct fb_column {
	const char *title;
	bool right; /* numbers */
};

struct fb_table {
	const struct fb_column *columns;
	size_t column_count;
	char **shown; /* row by row, what people see */
	char **exact; /* the same cells for programs */
	size_t row_count;
};

/* Begin a row; its cells follow with fb_table_cell(), from the left. */
void fb_table_row(struct fb_table *table);
/* `exact` NULL: the same. Both are copied. */
void fb_table_cell(
    struct fb_table *table, const char *shown, const char *exact);

/* Header, columns two spaces apart, numbers to the right, no boxes. */
void fb_table_add_text(
    const struct fb_table *table, bool header, struct fb_buf *dst);
/* Tabs, newlines and backslashes in cells are escaped as \t, \n and \\. */
void fb_table_add_tsv(
    const struct fb_table *table, bool header, struct fb_buf *dst);
void fb_table_release(struct fb_table *table);
#define FB_AUTO_TABLE FB_CLEANUP(fb_table_release)

#endif
