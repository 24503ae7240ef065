#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

static struct tally {
	char what[48];
	unsigned long times;
} tallies[80];
static size_t tally_count;

void
count(const char *what)
{
	for (size_t i = 0; i < tally_count; i++)
		if (strcmp(tallies[i].what, what) == 0) {
			tallies[i].times++;
			return;
		}
	if (tally_count < 80) {
		(void)snprintf(tallies[tally_count].what,
		    sizeof(tallies[0].what), "%s", what);
		tallies[tally_count++].times = 1;
	}
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(
	    ((const struct tally *)a)->what, ((const struct tally *)b)->what);
}

void
print_counts(void)
{
	qsort(tallies, tally_count, sizeof(tallies[0]), by_name);
	for (size_t i = 0; i < tally_count; i++)
		printf("  %-28s %8lu\n", tallies[i].what, tallies[i].times);
	(void)fflush(stdout);
}

/* What this step does, for the list that replays it. */
void
say(const char *format, ...)
{
	char text[700];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	walk.said =
	    realloc(walk.said, (walk.said_count + 1) * sizeof(*walk.said));
	if (walk.said == NULL ||
	    asprintf(&walk.said[walk.said_count++], "%3u  %s", walk.step,
	        text) == -1)
		abort();
	if (getenv("SOAK_VERBOSE") != NULL)
		puts(walk.said[walk.said_count - 1]);
}

static void
show_tail(const char *path)
{
	size_t size = 0;
	char *text = read_file(path, &size);

	if (text != NULL && size > 0)
		printf("--- %s\n%s\n", path,
		    size > 3000 ? text + size - 3000 : text);
	free(text);
}

void
fail(const char *format, ...)
{
	va_list args;

	printf("FAIL  seed %llu, step %u: ", (unsigned long long)walk.seed,
	    walk.step);
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	printf("\nThe steps:\n");
	for (size_t i = 0; i < walk.said_count; i++)
		puts(walk.said[i]);
	show_tail(path_of("out"));
	show_tail(path_of("err"));
	printf("Again: SOAK_SEED=%llu SOAK_STEPS=%u make soak\n",
	    (unsigned long long)walk.seed, walk.step);
	if (getenv("SOAK_KEEP") != NULL)
		printf("Kept: %s\n", walk.dir);
	else
		remove_tree(walk.dir);
	exit(1);
}
