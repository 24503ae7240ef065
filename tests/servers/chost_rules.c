/* What goes wrong for which request, and the log. */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chost.h"

#define RULES_MAX 32

struct rule {
	char line[512];
	enum chost_kind kind;
	int64_t argument;
	char method[16], path[256];
	long skip, times, seen;
};

static const char *const kinds[CHOST_KINDS] = {
	[CHOST_ERROR] = "error",
	[CHOST_RAW] = "raw",
	[CHOST_RESET] = "reset",
	[CHOST_LOST] = "lost",
	[CHOST_LOST_HANG] = "lost-hang",
	[CHOST_DELAY] = "delay",
	[CHOST_SLOW] = "slow",
	[CHOST_CREATE_FAILS] = "create-fails",
	[CHOST_STARTING] = "starting",
	[CHOST_FAILED] = "failed",
	[CHOST_DIE] = "die",
	[CHOST_CUT] = "cut",
	[CHOST_CORRUPT] = "corrupt",
	[CHOST_TOUCH] = "touch",
	[CHOST_NO_RANGE] = "no-range",
	[CHOST_VANISH] = "vanish",
	[CHOST_STUCK] = "stuck",
	[CHOST_RACE] = "race",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *rules_path = "/dev/null";
static struct rule rules[RULES_MAX];
static size_t rule_count;
static FILE *log_file;

void
chost_rules_open(const char *path)
{
	rules_path = path;
}

void
chost_log_open(const char *path)
{
	log_file = fopen(path, "ae");
	if (log_file == NULL) {
		perror(path);
		exit(1);
	}
	(void)setvbuf(log_file, NULL, _IOLBF, 0);
}

void
chost_log(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vfprintf(log_file, fmt, args);
	va_end(args);
}

/* A test with a mistake in its rules must not pass. */
static _Noreturn void
bad_rule(const char *line)
{
	(void)fprintf(
	    stderr, "computer_host: what does this rule mean: %s\n", line);
	exit(3);
}

static void
parse_word(struct rule *rule, char *word)
{
	char *value = strchr(word, '=');

	if (value == NULL)
		bad_rule(rule->line);
	*value++ = '\0';
	if (strcmp(word, "method") == 0)
		(void)snprintf(rule->method, sizeof(rule->method), "%s", value);
	else if (strcmp(word, "path") == 0)
		(void)snprintf(rule->path, sizeof(rule->path), "%s", value);
	else if (strcmp(word, "skip") == 0)
		rule->skip = strtol(value, NULL, 10);
	else if (strcmp(word, "times") == 0)
		rule->times = strtol(value, NULL, 10);
	else
		bad_rule(rule->line);
}

static struct rule
parse_rule(const char *line)
{
	struct rule rule = { .kind = CHOST_KINDS, .times = -1 };
	char text[512], *state = NULL, *word, *value;

	(void)snprintf(rule.line, sizeof(rule.line), "%s", line);
	(void)snprintf(text, sizeof(text), "%s", line);
	word = strtok_r(text, " \t", &state);
	if (word == NULL)
		bad_rule(line);
	value = strchr(word, '=');
	if (value != NULL) {
		*value++ = '\0';
		rule.argument = strtoll(value, NULL, 10);
	}
	for (size_t i = 0; i < CHOST_KINDS; i++)
		if (strcmp(word, kinds[i]) == 0)
			rule.kind = (enum chost_kind)i;
	if (rule.kind == CHOST_KINDS)
		bad_rule(line);
	while ((word = strtok_r(NULL, " \t", &state)) != NULL)
		parse_word(&rule, word);
	return rule;
}

/* A rule whose line stands where it stood goes on counting. */
static void
read_rules(void)
{
	FILE *file = fopen(rules_path, "re");
	char line[512];
	size_t count = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (count == RULES_MAX)
			bad_rule(line);
		if (count >= rule_count ||
		    strcmp(rules[count].line, line) != 0)
			rules[count] = parse_rule(line);
		count++;
	}
	if (file != NULL)
		(void)fclose(file);
	rule_count = count;
}

static bool
holds(struct rule *rule, const struct chost_request *request)
{
	if (rule->method[0] != '\0' &&
	    strcmp(rule->method, request->head.method) != 0)
		return false;
	if (rule->path[0] != '\0' &&
	    fnmatch(rule->path, request->head.target, 0) != 0)
		return false;
	rule->seen++;
	return rule->seen > rule->skip &&
	    (rule->times < 0 || rule->seen <= rule->skip + rule->times);
}

void
chost_rules_choose(struct chost_request *request)
{
	(void)pthread_mutex_lock(&lock);
	read_rules();
	for (size_t i = 0; i < rule_count; i++) {
		if (!holds(&rules[i], request))
			continue;
		request->on[rules[i].kind] = true;
		request->argument[rules[i].kind] = rules[i].argument;
	}
	(void)pthread_mutex_unlock(&lock);
}
