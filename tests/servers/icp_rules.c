/* What goes wrong for which run; what was counted stays in a file. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "icp.h"

#include "fleetbak/base/mem.h"

struct rule {
	const char *line;
	char *key; /* what it is counted by: with the comment before it */
	enum icp_kind kind;
	char *value;
	char *command;
	long skip, times;
};

static const char *const kinds[ICP_KINDS] = {
	[ICP_FAIL] = "fail",
	[ICP_HANG] = "hang",
	[ICP_HANG_AFTER] = "hang-after",
	[ICP_DIE] = "die",
	[ICP_DIE_AFTER] = "die-after",
	[ICP_DELAY] = "delay",
	[ICP_DELAY_AFTER] = "delay-after",
	[ICP_MUTE] = "mute",
	[ICP_GARBAGE] = "garbage",
	[ICP_FLOOD] = "flood",
	[ICP_FLOOD_ERR] = "flood-err",
	[ICP_LINGER] = "linger",
	[ICP_PROMPT] = "prompt",
	[ICP_VERSION] = "version",
	[ICP_TWO] = "two",
	[ICP_WRONG_ID] = "wrong-id",
	[ICP_VANISH] = "vanish",
	[ICP_CUT] = "cut",
	[ICP_SHORT] = "short",
	[ICP_CORRUPT] = "corrupt",
	[ICP_STOPPING] = "stopping",
	[ICP_SAYS] = "says",
	[ICP_PUBLIC] = "public",
	[ICP_MODULE] = "module",
	[ICP_NO_MODULE] = "no-module",
	[ICP_REGISTRY] = "registry",
};

/* A test with a mistake in its rules must not pass. */
static _Noreturn void
bad_rule(const char *line)
{
	(void)fprintf(stderr, "icp: what does this rule mean: %s\n", line);
	icp_complain("what does this rule mean: %s", line);
	exit(70);
}

static void
parse_word(struct rule *rule, char *word)
{
	char *value = strchr(word, '=');

	if (value == NULL)
		bad_rule(rule->line);
	*value++ = '\0';
	if (strcmp(word, "command") == 0)
		rule->command = value;
	else if (strcmp(word, "skip") == 0)
		rule->skip = strtol(value, NULL, 10);
	else if (strcmp(word, "times") == 0)
		rule->times = strtol(value, NULL, 10);
	else
		bad_rule(rule->line);
}

/* "KIND[=VALUE] [command=GLOB] [skip=N] [times=N]"; a GLOB's spaces are
 * written "_", as the arguments' are for it. */
static struct rule
parse_rule(const char *line, char *text)
{
	struct rule rule = { .line = line, .kind = ICP_KINDS, .times = -1 };
	char *state = NULL, *word = strtok_r(text, " \t", &state);

	if (word == NULL)
		bad_rule(line);
	rule.value = strchr(word, '=');
	if (rule.value != NULL)
		*rule.value++ = '\0';
	for (size_t i = 0; i < ICP_KINDS; i++)
		if (strcmp(word, kinds[i]) == 0)
			rule.kind = (enum icp_kind)i;
	if (rule.kind == ICP_KINDS)
		bad_rule(line);
	while ((word = strtok_r(NULL, " \t", &state)) != NULL)
		parse_word(&rule, word);
	return rule;
}

static bool
holds(const struct rule *rule, json_t *seen, json_t *counts)
{
	FB_AUTO_FREE char *line = fb_strdup(icp.line);
	json_int_t n = json_integer_value(json_object_get(seen, rule->key));

	for (char *c = line; *c != '\0'; c++)
		if (*c == ' ')
			*c = '_';
	if (rule->command != NULL && fnmatch(rule->command, line, 0) != 0) {
		(void)json_object_set_new(counts, rule->key, json_integer(n));
		return false;
	}
	n++;
	(void)json_object_set_new(counts, rule->key, json_integer(n));
	return n > rule->skip &&
	    (rule->times < 0 || n <= rule->skip + rule->times);
}

static void
apply(const struct rule *rule)
{
	icp.on[rule->kind] = true;
	if (rule->value == NULL)
		return;
	icp.argument[rule->kind] = strtoll(rule->value, NULL, 10);
	(void)snprintf(
	    icp.text[rule->kind], ICP_TEXT, "%s", rule->value);
}

/* Under the lock. */
void
icp_rules_choose(void)
{
	FB_AUTO_FREE char *path = fb_format("%s/rules", icp.dir);
	json_t *seen = json_object_get(icp.state, "seen");
	json_t *counts = json_object();
	FILE *file = fopen(path, "re");
	char line[512], heading[512] = "";

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		FB_AUTO_FREE char *text = NULL, *key = NULL;
		struct rule rule;

		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#')
			memcpy(heading, line, sizeof(heading));
		if (line[0] == '\0' || line[0] == '#')
			continue;
		text = fb_strdup(line);
		rule = parse_rule(line, text);
		rule.key = key = fb_format("%s %s", heading, line);
		if (holds(&rule, seen, counts))
			apply(&rule);
	}
	if (file != NULL)
		(void)fclose(file);
	(void)json_object_set_new(icp.state, "seen", counts);
}
