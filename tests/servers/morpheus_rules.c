/* What goes wrong for which request, and the log. */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "morpheus.h"

#define RULES_MAX 32

struct rule {
	char line[512];
	enum mo_kind kind;
	char argument[64];
	char method[16], path[256];
	long skip, times, seen;
};

static const char *const kinds[MO_KINDS] = { "error", "error-late", "html",
	"raw", "reset", "lost", "lost-hang", "delay", "refused", "errors",
	"expire", "expire-all", "page", "total", "no-total", "repeat", "power",
	"status", "no-instance", "parent", "power-lag", "stuck", "step",
	"process", "snapshot", "late", "similar", "export", "cd", "revert",
	"delete" };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *rules_path = "/dev/null";
static struct rule rules[RULES_MAX];
static size_t rule_count;
static FILE *log_file;

void
mo_rules_open(const char *path)
{
	rules_path = path;
}

void
mo_log_open(const char *path)
{
	log_file = fopen(path, "ae");
	if (log_file == NULL) {
		perror(path);
		exit(1);
	}
	(void)setvbuf(log_file, NULL, _IOLBF, 0);
}

void
mo_log(const char *fmt, ...)
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
	(void)fprintf(stderr, "morpheus: what does this rule mean: %s\n", line);
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
	struct rule rule = { .kind = MO_KINDS, .times = -1 };
	char text[512], *state = NULL, *word, *value;

	(void)snprintf(rule.line, sizeof(rule.line), "%s", line);
	(void)snprintf(text, sizeof(text), "%s", line);
	word = strtok_r(text, " \t", &state);
	if (word == NULL)
		bad_rule(line);
	value = strchr(word, '=');
	if (value != NULL) {
		*value++ = '\0';
		(void)snprintf(
		    rule.argument, sizeof(rule.argument), "%s", value);
	}
	for (size_t i = 0; i < MO_KINDS; i++)
		if (strcmp(word, kinds[i]) == 0)
			rule.kind = (enum mo_kind)i;
	if (rule.kind == MO_KINDS)
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
		if (count >= rule_count || strcmp(rules[count].line, line) != 0)
			rules[count] = parse_rule(line);
		count++;
	}
	if (file != NULL)
		(void)fclose(file);
	rule_count = count;
}

static bool
holds(struct rule *rule, const struct mo_request *request)
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
mo_rules_choose(struct mo_request *request)
{
	(void)pthread_mutex_lock(&lock);
	read_rules();
	for (size_t i = 0; i < rule_count; i++) {
		enum mo_kind kind = rules[i].kind;

		if (!holds(&rules[i], request))
			continue;
		/* Rules may be read again before this one has done. */
		free(request->on[kind]);
		request->on[kind] = strdup(rules[i].argument);
	}
	(void)pthread_mutex_unlock(&lock);
}

int64_t
mo_number(
    const struct mo_request *request, enum mo_kind kind, int64_t otherwise)
{
	return request->on[kind] != NULL ? strtoll(request->on[kind], NULL, 10)
	                                 : otherwise;
}

bool
mo_is(const struct mo_request *request, enum mo_kind kind, const char *argument)
{
	return request->on[kind] != NULL &&
	    strcmp(request->on[kind], argument) == 0;
}
