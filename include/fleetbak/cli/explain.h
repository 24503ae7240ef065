/*
 * What each error id means.  `fleetbak explain`, fleetbak-errors(7) and
 * tests/lint/errors.sh read the same table.
 */
#ifndef FB_CLI_EXPLAIN_H
#define FB_CLI_EXPLAIN_H

#include <stddef.h>

struct fb_explanation {
	const char *id;
	const char *title;   /* one line, no final stop */
	const char *exit;    /* "2", "3, or 15 alone" */
	const char *meaning; /* sentences */
	const char *causes;  /* most often; sentences */
	const char *advice;  /* what to try; sentences */
};

size_t fb_explanations(const struct fb_explanation **ret_rows); /* sorted */
const struct fb_explanation *fb_explanation_find(const char *id);

/* The list of fleetbak-errors(7) in mdoc, on standard output. */
void fb_explain_mdoc(void);

#endif
