#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/table.h"

void
fb_table_row(struct fb_table *table)
{
	size_t cells = (table->row_count + 1) * table->column_count;

	table->shown =
	    fb_realloc(table->shown, cells, sizeof(*table->shown));
	table->exact =
	    fb_realloc(table->exact, cells, sizeof(*table->exact));
	for (size_t i = cells - table->column_count; i < cells; i++)
		table->shown[i] = table->exact[i] = NULL;
	table->row_count++;
}

void
fb_table_cell(struct fb_table *table, const char *shown, const char *exact)
{
	size_t end = table->row_count * table->column_count;

	for (size_t i = end - table->column_count; i < end; i++) {
		if (table->shown[i] != NULL)
			continue;
		table->shown[i] = fb_strdup(shown);
		table->exact[i] = fb_strdup(exact != NULL ? exact : shown);
		return;
	}
}

static const char *
cell(char *const *cells, size_t i)
{
	return cells[i] != NULL ? cells[i] : "";
}

/* Columns on a terminal; a byte that continues a character takes none. */
static size_t
width_of(const char *text)
{
	size_t width = 0;

	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void
add_spaces(struct fb_buf *dst, size_t count)
{
	while (count-- > 0)
		fb_buf_add(dst, " ", 1);
}

/* A name from outside must not move the terminal's cursor. */
static void
add_printable(struct fb_buf *dst, const char *text)
{
	for (; *text != '\0'; text++)
		fb_buf_add(dst,
		    (unsigned char)*text < ' ' || *text == 0x7f ? "?" : text,
		    1);
}

static void
add_cell(const struct fb_table *table, size_t column, const char *text,
    size_t width, struct fb_buf *dst)
{
	size_t own = width_of(text);
	size_t pad = width > own ? width - own : 0;

	if (column > 0)
		add_spaces(dst, 2);
	if (table->columns[column].right)
		add_spaces(dst, pad);
	add_printable(dst, text);
	if (!table->columns[column].right && column + 1 < table->column_count)
		add_spaces(dst, pad);
}

static void
trim_line(struct fb_buf *dst)
{
	while (dst->len > 0 && dst->data[dst->len - 1] == ' ')
		dst->len--;
	fb_buf_add(dst, "\n", 1);
}

void
fb_table_add_text(const struct fb_table *table, bool header,
    struct fb_buf *dst)
{
	size_t widths[FB_TABLE_COLUMNS] = { 0 };

	for (size_t c = 0; c < table->column_count; c++) {
		if (header)
			widths[c] = width_of(table->columns[c].title);
		for (size_t r = 0; r < table->row_count; r++) {
			size_t width = width_of(cell(
			    table->shown, r * table->column_count + c));

			if (width > widths[c])
				widths[c] = width;
		}
	}
	if (header) {
		for (size_t c = 0; c < table->column_count; c++)
			add_cell(table, c, table->columns[c].title, widths[c],
			    dst);
		trim_line(dst);
	}
	for (size_t r = 0; r < table->row_count; r++) {
		for (size_t c = 0; c < table->column_count; c++)
			add_cell(table, c,
			    cell(table->shown, r * table->column_count + c),
			    widths[c], dst);
		trim_line(dst);
	}
}

static void
add_field(struct fb_buf *dst, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\t')
			fb_buf_add_str(dst, "\\t");
		else if (*text == '\n')
			fb_buf_add_str(dst, "\\n");
		else if (*text == '\\')
			fb_buf_add_str(dst, "\\\\");
		else
			fb_buf_add(dst, text, 1);
	}
}

void
fb_table_add_tsv(const struct fb_table *table, bool header,
    struct fb_buf *dst)
{
	for (size_t c = 0; header && c < table->column_count; c++) {
		fb_buf_add_str(dst, table->columns[c].title);
		fb_buf_add(
		    dst, c + 1 < table->column_count ? "\t" : "\n", 1);
	}
	for (size_t i = 0; i < table->row_count * table->column_count; i++) {
		add_field(dst, cell(table->exact, i));
		fb_buf_add(
		    dst, (i + 1) % table->column_count != 0 ? "\t" : "\n", 1);
	}
}

void
fb_table_release(struct fb_table *table)
{
	for (size_t i = 0; i < table->row_count * table->column_count; i++) {
		free(table->shown[i]);
		free(table->exact[i]);
	}
	free(table->shown);
	free(table->exact);
	table->shown = table->exact = NULL;
	table->row_count = 0;
}
