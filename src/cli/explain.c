#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "explain_rows.h"
#include "fleetbak/base/mem.h"

static int
compare_ids(const void *a, const void *b)
{
	const struct fb_explanation *left = a, *right = b;

	return strcmp(left->id, right->id);
}

/* Made once, by the only thread there is. */
size_t
fb_explanations(const struct fb_explanation **ret_rows)
{
	static size_t (*const tables[])(const struct fb_explanation **) = {
		fb_explain_general,
		fb_explain_store,
		fb_explain_crypt,
		fb_explain_copy,
		fb_explain_import,
		fb_explain_guests,
		fb_explain_api,
		fb_explain_miosa,
		fb_explain_morpheus,
		fb_explain_icp,
		fb_explain_plugin,
		fb_explain_script,
		fb_explain_shard,
	};
	static struct fb_explanation *all;
	static size_t count;
	bool made = all != NULL;

	for (size_t i = 0; !made && i < FB_COUNT(tables); i++) {
		const struct fb_explanation *rows;
		size_t more = tables[i](&rows);

		all = fb_realloc(all, count + more, sizeof(*all));
		memcpy(all + count, rows, more * sizeof(*all));
		count += more;
	}
	if (!made)
		qsort(all, count, sizeof(*all), compare_ids);
	*ret_rows = all;
	return count;
}

const struct fb_explanation *
fb_explanation_find(const char *id)
{
	const struct fb_explanation *rows;
	size_t count = fb_explanations(&rows);

	for (size_t i = 0; i < count; i++)
		if (strcasecmp(rows[i].id, id) == 0)
			return &rows[i];
	return NULL;
}

/* mdoc: a line that begins with a dot or quote would be a request. */
static void
print_text(const char *text)
{
	for (bool start = true; *text != '\0'; text++) {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '.' && text[1] == ' ')
			fputs(".\n", stdout);
		else
			putchar(*text);
		start = *text == '.' && text[1] == ' ';
		if (start)
			text++;
	}
	putchar('\n');
}

void
fb_explain_mdoc(void)
{
	const struct fb_explanation *rows;
	size_t count = fb_explanations(&rows);

	for (size_t i = 0; i < count; i++) {
		printf(".It Sy %s Pq exit %s\n", rows[i].id, rows[i].exit);
		print_text(rows[i].title);
		puts(".Pp");
		print_text(rows[i].meaning);
		puts(".br\n.Em Most often :");
		print_text(rows[i].causes);
		puts(".br\n.Em Try :");
		print_text(rows[i].advice);
	}
}
