#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/table.h"

/* `dst` goes to the pages when it is as long as this. */
#define PAGE ((size_t)256 << 10)

/* Behind what people see, before the exact value. */
#define SAME  '\001' /* ... which is not there */
#define OTHER '\002'

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
fill_row(struct fb_table *table)
{
	while (table->row_count > 0 && table->filled < table->column_count)
		fb_table_cell(table, "", NULL);
}

void
fb_table_row(struct fb_table *table)
{
	fill_row(table);
	table->row_count++;
	table->filled = 0;
}

void
fb_table_cell(struct fb_table *table, const char *shown, const char *exact)
{
	bool same = exact == NULL || strcmp(shown, exact) == 0;
	size_t width = width_of(shown);

	if (table->filled == table->column_count)
		return;
	if (width > table->widths[table->filled])
		table->widths[table->filled] = width;
	table->filled++;
	fb_spool_add(&table->cells, shown, strlen(shown) + 1);
	fb_spool_add(&table->cells, (char[]){ same ? SAME : OTHER }, 1);
	if (!same)
		fb_spool_add(&table->cells, exact, strlen(exact) + 1);
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

/* The cells as they come out of the spool, in pieces. */
struct printer {
	struct fb_table *table;
	bool tsv;
	size_t widths[FB_TABLE_COLUMNS];
	size_t column;
	struct fb_buf shown, exact;
	enum { IN_SHOWN, IN_KIND, IN_EXACT } at;
	struct fb_buf *dst;
	struct fb_spool *pages;
};

static void
end_line(struct printer *printer)
{
	struct fb_buf *dst = printer->dst;

	if (!printer->tsv)
		trim_line(dst);
	if (printer->pages != NULL && dst->len >= PAGE) {
		fb_spool_add(printer->pages, dst->data, dst->len);
		fb_buf_clear(dst);
	}
}

static void
put_cell(struct printer *printer, const char *shown, const char *exact)
{
	size_t column = printer->column;
	bool last = column + 1 == printer->table->column_count;

	if (printer->tsv) {
		add_field(printer->dst, exact);
		fb_buf_add(printer->dst, last ? "\n" : "\t", 1);
	} else {
		add_cell(printer->table, column, shown,
		    printer->widths[column], printer->dst);
	}
	printer->column = last ? 0 : column + 1;
	if (last)
		end_line(printer);
}

static void
put_spooled(struct printer *printer, bool same)
{
	put_cell(printer, fb_buf_str(&printer->shown),
	    fb_buf_str(same ? &printer->shown : &printer->exact));
	fb_buf_clear(&printer->shown);
	fb_buf_clear(&printer->exact);
	printer->at = IN_SHOWN;
}

static void
take_piece(struct fb_span piece, void *arg)
{
	struct printer *printer = arg;

	while (piece.len > 0) {
		struct fb_buf *cell = printer->at == IN_SHOWN
		    ? &printer->shown
		    : &printer->exact;
		const uint8_t *end;
		size_t len;

		if (printer->at == IN_KIND) {
			bool same = *piece.ptr == SAME;

			piece.ptr++;
			piece.len--;
			printer->at = IN_EXACT;
			if (same)
				put_spooled(printer, true);
			continue;
		}
		end = memchr(piece.ptr, '\0', piece.len);
		len = end != NULL ? (size_t)(end - piece.ptr) : piece.len;
		fb_buf_add(cell, piece.ptr, len);
		piece.ptr += len;
		piece.len -= len;
		if (end == NULL)
			return;
		piece.ptr++;
		piece.len--;
		if (printer->at == IN_SHOWN)
			printer->at = IN_KIND;
		else
			put_spooled(printer, false);
	}
}

static void
print_table(struct printer *printer, bool header)
{
	struct fb_table *table = printer->table;

	fill_row(table);
	for (size_t c = 0; c < table->column_count; c++) {
		size_t width = header ? width_of(table->columns[c].title) : 0;

		printer->widths[c] = width > table->widths[c]
		    ? width
		    : table->widths[c];
	}
	for (size_t c = 0; header && c < table->column_count; c++)
		put_cell(printer, table->columns[c].title,
		    table->columns[c].title);
	fb_spool_each(&table->cells, take_piece, printer);
	fb_buf_release(&printer->shown);
	fb_buf_release(&printer->exact);
}

void
fb_table_add_text(struct fb_table *table, bool header, struct fb_buf *dst,
    struct fb_spool *pages)
{
	struct printer printer = { .table = table, .dst = dst, .pages = pages };

	print_table(&printer, header);
}

void
fb_table_add_tsv(struct fb_table *table, bool header, struct fb_buf *dst,
    struct fb_spool *pages)
{
	struct printer printer = {
		.table = table, .tsv = true, .dst = dst, .pages = pages
	};

	print_table(&printer, header);
}

void
fb_table_release(struct fb_table *table)
{
	fb_spool_release(&table->cells);
	memset(table->widths, 0, sizeof(table->widths));
	table->row_count = table->filled = 0;
}
