/* The rules: a file that a test writes anew while the proxy runs. */
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy.h"

#define RULES_MAX 64

struct rule {
	struct choice what;
	char method[16];
	char path[256];
	char key[64];
	double chance;    /* 1: always */
	long skip, times; /* times < 0: no end */
};

static const struct {
	const char *name;
	int arguments; /* 0: none; 1: a number; -1: perhaps one; 2: an error;
	                * 3: a name */
} faults[] = {
	[FAULT_NONE] = { "-", 0 },
	[FAULT_REFUSE] = { "refuse", 0 },
	[FAULT_ERROR] = { "error", 2 },
	[FAULT_EARLY] = { "early", 2 },
	[FAULT_ANSWER] = { "answer", 3 },
	[FAULT_HANG] = { "hang", -1 },
	[FAULT_RESET] = { "reset", 0 },
	[FAULT_RESET_UPLOAD] = { "reset-upload", 1 },
	[FAULT_LOST] = { "lost", 0 },
	[FAULT_LOST_HANG] = { "lost-hang", -1 },
	[FAULT_CUT] = { "cut", 1 },
	[FAULT_RESET_ANSWER] = { "reset-answer", 1 },
	[FAULT_CLOSE] = { "close", 0 },
	[FAULT_SLOW] = { "slow", 1 },
	[FAULT_SLOW_UPLOAD] = { "slow-upload", 1 },
	[FAULT_DELAY] = { "delay", 1 },
	[FAULT_CORRUPT] = { "corrupt", 1 },
	[FAULT_CORRUPT_UPLOAD] = { "corrupt-upload", 1 },
	[FAULT_LAG] = { "lag", 1 },
	[FAULT_DATE] = { "date", 1 },
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES_MAX];
static size_t rule_count;
static unsigned long generation;
static const char *rules_path;
static struct stat seen;
static struct drand48_data random_state;

const char *
fault_name(enum fault fault)
{
	return faults[fault].name;
}

/* A test with a mistake in its rules must not pass. */
static _Noreturn void
bad_rule(const char *line)
{
	(void)fprintf(
	    stderr, "faultproxy: what does this rule mean: %s\n", line);
	exit(3);
}

static void
parse_arguments(struct rule *rule, int arguments, char *value, const char *line)
{
	struct choice *what = &rule->what;
	char *end = NULL;

	if (arguments == 0 ? value != NULL : arguments > 0 && value == NULL)
		bad_rule(line);
	if (value == NULL)
		return;
	if (arguments == 3) {
		(void)snprintf(what->text, sizeof(what->text), "%s", value);
		return;
	}
	what->number = strtoll(value, &end, 10);
	if (arguments == 2 && *end == ',') {
		char *comma = strchr(++end, ',');

		if (comma != NULL) {
			*comma = '\0';
			what->seconds = strtoll(comma + 1, NULL, 10);
		}
		(void)snprintf(what->text, sizeof(what->text), "%s", end);
	} else if (end == value || *end != '\0')
		bad_rule(line);
}

static void
parse_condition(struct rule *rule, char *word, const char *line)
{
	char *value = strchr(word, '=');

	if (value == NULL)
		bad_rule(line);
	*value++ = '\0';
	if (strcmp(word, "method") == 0)
		(void)snprintf(rule->method, sizeof(rule->method), "%s", value);
	else if (strcmp(word, "path") == 0)
		(void)snprintf(rule->path, sizeof(rule->path), "%s", value);
	else if (strcmp(word, "key") == 0)
		(void)snprintf(rule->key, sizeof(rule->key), "%s", value);
	else if (strcmp(word, "prob") == 0)
		rule->chance = strtod(value, NULL);
	else if (strcmp(word, "skip") == 0)
		rule->skip = strtol(value, NULL, 10);
	else if (strcmp(word, "times") == 0)
		rule->times = strtol(value, NULL, 10);
	else
		bad_rule(line);
}

static void
parse_rule(const char *line)
{
	struct rule rule = { .chance = 1, .times = -1 };
	char *copy = strdup(line), *state = NULL;
	char *word = strtok_r(copy, " \t", &state);
	char *value;

	if (word == NULL || rule_count == RULES_MAX)
		bad_rule(line);
	value = strchr(word, '=');
	if (value != NULL)
		*value++ = '\0';
	for (size_t i = 1; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (strcmp(word, faults[i].name) == 0)
			rule.what.fault = (enum fault)i;
	if (rule.what.fault == FAULT_NONE)
		bad_rule(line);
	parse_arguments(&rule, faults[rule.what.fault].arguments, value, line);
	while ((word = strtok_r(NULL, " \t", &state)) != NULL)
		parse_condition(&rule, word, line);
	rules[rule_count++] = rule;
	free(copy);
}

static void
read_rules(void)
{
	FILE *file = fopen(rules_path, "re");
	char line[1024];

	rule_count = 0;
	generation++;
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != '\0' && line[0] != '#')
			parse_rule(line);
	}
	(void)fclose(file);
}

static void
refresh(void)
{
	struct stat now = { 0 };

	(void)stat(rules_path, &now);
	if (now.st_ino == seen.st_ino && now.st_size == seen.st_size &&
	    now.st_mtim.tv_sec == seen.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
		return;
	seen = now;
	read_rules();
}

void
rules_open(const char *path, long seed)
{
	rules_path = path;
	(void)srand48_r(seed, &random_state);
	rules_refresh();
}

void
rules_refresh(void)
{
	(void)pthread_mutex_lock(&lock);
	refresh();
	(void)pthread_mutex_unlock(&lock);
}

/* Its turn, with the lock held: the conditions hold but for the counts. */
static bool
its_turn(struct rule *rule)
{
	double chance = 0;

	if (rule->skip > 0) {
		rule->skip--;
		return false;
	}
	if (rule->times == 0)
		return false;
	(void)drand48_r(&random_state, &chance);
	if (chance >= rule->chance)
		return false;
	if (rule->times > 0)
		rule->times--;
	return true;
}

static bool
find_refusal(bool by_chance)
{
	bool refuse = false;

	(void)pthread_mutex_lock(&lock);
	for (size_t i = 0; i < rule_count && !refuse; i++)
		if (rules[i].what.fault == FAULT_REFUSE &&
		    (rules[i].chance < 1 || rules[i].times >= 0) == by_chance)
			refuse = its_turn(&rules[i]);
	(void)pthread_mutex_unlock(&lock);
	return refuse;
}

bool
rules_refuse(void)
{
	return find_refusal(false);
}

bool
rules_refuse_once(void)
{
	return find_refusal(true);
}

bool
rules_changed(unsigned long known)
{
	bool changed;

	(void)pthread_mutex_lock(&lock);
	changed = generation != known;
	(void)pthread_mutex_unlock(&lock);
	return changed;
}

static bool
is_signed_with(const struct head *request, const char *key)
{
	char *value = head_value(request, "Authorization");
	const char *found = value != NULL ? strstr(value, "Credential=") : NULL;
	size_t len = strlen(key);
	bool is = found != NULL && strncmp(found + 11, key, len) == 0 &&
	    found[11 + len] == '/';

	free(value);
	return is;
}

static bool
holds_for(const struct rule *rule, const struct head *request)
{
	return (rule->method[0] == '\0' ||
	           strcmp(rule->method, request->method) == 0) &&
	    (rule->path[0] == '\0' ||
	        fnmatch(rule->path, request->target, 0) == 0) &&
	    (rule->key[0] == '\0' || is_signed_with(request, rule->key));
}

void
rules_choose(const struct head *request, struct choice *choice)
{
	int64_t lag_ms = 0, date_shift = 0;

	(void)pthread_mutex_lock(&lock);
	refresh();
	*choice = (struct choice){ .fault = FAULT_NONE };
	for (size_t i = 0; i < rule_count; i++) {
		struct rule *rule = &rules[i];

		if (rule->what.fault == FAULT_REFUSE ||
		    !holds_for(rule, request))
			continue;
		if (rule->what.fault == FAULT_LAG) {
			if (its_turn(rule))
				lag_ms = rule->what.number;
		} else if (rule->what.fault == FAULT_DATE) {
			if (its_turn(rule))
				date_shift = rule->what.number;
		} else if (choice->fault == FAULT_NONE && its_turn(rule))
			*choice = rule->what;
	}
	choice->lag_ms = lag_ms;
	choice->date_shift = date_shift;
	choice->generation = generation;
	(void)pthread_mutex_unlock(&lock);
}
