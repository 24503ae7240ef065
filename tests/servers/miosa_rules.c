/* What goes wrong for which request, and the log. */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "miosa.h"

#define RULES_MAX 48

struct rule {
	char line[512];
	enum miosa_kind kind;
	int64_t argument;
	char text[MIOSA_TEXT], method[16], path[256];
	long skip, times, seen;
};

static const char *const kinds[MIOSA_KINDS] = {
	[MIOSA_ERROR] = "error",
	[MIOSA_RAW] = "raw",
	[MIOSA_RESET] = "reset",
	[MIOSA_LOST] = "lost",
	[MIOSA_LOST_HANG] = "lost-hang",
	[MIOSA_DELAY] = "delay",
	[MIOSA_SLOW] = "slow",
	[MIOSA_CUT] = "cut",
	[MIOSA_CORRUPT] = "corrupt",
	[MIOSA_NO_RANGE] = "no-range",
	[MIOSA_NO_LENGTH] = "no-length",
	[MIOSA_CHUNKED] = "chunked",
	[MIOSA_ETAG] = "etag",
	[MIOSA_TOUCH] = "touch",
	[MIOSA_GONE] = "gone",
	[MIOSA_SHAPE] = "shape",
	[MIOSA_RETRY_MS] = "retry-ms",
	[MIOSA_ENVELOPE] = "envelope",
	[MIOSA_PAGING] = "paging",
	[MIOSA_TOTAL] = "total",
	[MIOSA_POLLS] = "polls",
	[MIOSA_BECOMES] = "becomes",
	[MIOSA_SAYS] = "says",
	[MIOSA_CLI_FIELDS] = "cli-fields",
	[MIOSA_NO_CONTENT] = "no-content",
	[MIOSA_CONFLICT] = "conflict",
	[MIOSA_STAYS] = "stays",
	[MIOSA_IN_USE] = "in-use",
	[MIOSA_FORGET_KEYS] = "forget-keys",
	[MIOSA_WARMING] = "warming",
	[MIOSA_NOT_BROWSABLE] = "not-browsable",
	[MIOSA_TAR_BYTES] = "tar-bytes",
	[MIOSA_TAR_ENTRIES] = "tar-entries",
	[MIOSA_TAR_DIRS] = "tar-dirs",
	[MIOSA_FILE_BYTES] = "file-bytes",
	[MIOSA_TAR_NAMES] = "tar-names",
	[MIOSA_EVIL] = "evil",
	[MIOSA_SSE] = "sse",
	[MIOSA_GAP] = "gap",
	[MIOSA_NEED_JSON] = "need-json",
	[MIOSA_JSON_ONLY] = "json-only",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *rules_path = "/dev/null";
static struct rule rules[RULES_MAX];
static size_t rule_count;
static FILE *log_file;

void
miosa_rules_open(const char *path)
{
	rules_path = path;
}

void
miosa_log_open(const char *path)
{
	log_file = fopen(path, "ae");
	if (log_file == NULL) {
		perror(path);
		exit(1);
	}
	(void)setvbuf(log_file, NULL, _IOLBF, 0);
}

void
miosa_log(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vfprintf(log_file, fmt, args);
	va_end(args);
}

void
miosa_complain(const struct miosa_request *request, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	miosa_log("! %lu %s %s: %s\n", request->number, request->head.method,
	    request->head.target, text);
}

/* A test with a mistake in its rules must not pass. */
static _Noreturn void
bad_rule(const char *line)
{
	(void)fprintf(
	    stderr, "miosa: what does this rule mean: %s\n", line);
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
	struct rule rule = { .kind = MIOSA_KINDS, .times = -1 };
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
		(void)snprintf(rule.text, sizeof(rule.text), "%s", value);
	}
	for (size_t i = 0; i < MIOSA_KINDS; i++)
		if (strcmp(word, kinds[i]) == 0)
			rule.kind = (enum miosa_kind)i;
	if (rule.kind == MIOSA_KINDS)
		bad_rule(line);
	while ((word = strtok_r(NULL, " \t", &state)) != NULL)
		parse_word(&rule, word);
	return rule;
}

/* A rule whose line stands where it stood goes on counting, unless another
 * comment stands before it. */
static void
read_rules(void)
{
	static char heading[512];
	FILE *file = fopen(rules_path, "re");
	char line[512];
	size_t count = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#' && strcmp(line, heading) != 0) {
			memcpy(heading, line, sizeof(heading));
			rule_count = 0;
		}
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
holds(struct rule *rule, const struct miosa_request *request)
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
miosa_rules_choose(struct miosa_request *request)
{
	(void)pthread_mutex_lock(&lock);
	read_rules();
	for (size_t i = 0; i < rule_count; i++) {
		enum miosa_kind kind = rules[i].kind;

		if (!holds(&rules[i], request))
			continue;
		request->on[kind] = true;
		request->argument[kind] = rules[i].argument;
		memcpy(request->text[kind], rules[i].text, MIOSA_TEXT);
	}
	(void)pthread_mutex_unlock(&lock);
}
