/*
 * rejournal FILE: make a journal of the lines "<type> <JSON object>" on
 * standard input, with numbers and chains as they must be: for tests of what
 * is said in a journal that is whole and not true.
 */
#include <stdio.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/json.h"
#include "fleetbak/journal/journal.h"

static int
append_line(struct fb_journal *journal, char *line, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	char *space = strchr(line, ' ');

	if (space == NULL)
		return fb_fail(err, FB_ECONFIG, "a line without a body");
	*space = '\0';
	body = json_loads(space + 1, 0, NULL);
	if (body == NULL)
		return fb_fail(err, FB_ECONFIG, "a body that is no JSON");
	return fb_journal_append(journal, line, body, true, err);
}

int
main(int argc, char **argv)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	static char line[1 << 20];
	struct fb_error err = { 0 };
	int rc;

	if (argc != 2)
		return 2;
	rc = fb_journal_create(argv[1], &journal, &err);
	while (rc == FB_OK && fgets(line, sizeof(line), stdin) != NULL)
		rc = append_line(journal, line, &err);
	if (rc != FB_OK)
		(void)fprintf(stderr, "rejournal: %s\n", err.msg);
	return rc == FB_OK ? 0 : 1;
}
