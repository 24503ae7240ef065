/*
 * The conformance suite for a driver that is built in:
 *
 *	conform DRIVER DIRECTORY OPTIONS [MACHINE [NEW]]
 *
 * OPTIONS is the source's part of the configuration, as JSON; names in it are
 * relative to DIRECTORY.  A line for each check, then the counts.
 */
#include <stdio.h>

#include "fleetbak/base/err.h"
#include "fleetbak/driver/conform.h"

static void
report(void *arg, const char *check, enum fb_conform_result result,
    const char *why)
{
	static const char *const results[] = { "pass", "fail", "skip" };

	(void)arg;
	(void)printf("%s %s %s\n", results[result], check, why);
}

int
main(int argc, char **argv)
{
	char name[] = "test";
	struct fb_config_source source = { .name = name };
	struct fb_conform conform = { .source = &source, .report = report };
	struct fb_error err = { 0 };

	if (argc < 4)
		return 2;
	source.driver = argv[1];
	source.base_dir = argv[2];
	source.options = json_loads(argv[3], 0, NULL);
	conform.machine = argc > 4 ? argv[4] : NULL;
	conform.as_new = argc > 5 ? argv[5] : NULL;
	if (fb_conform_run(&conform, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 2;
	}
	(void)printf("%zu passed, %zu failed, %zu skipped\n", conform.passed,
	    conform.failed, conform.skipped);
	json_decref(source.options);
	return conform.failed > 0;
}
