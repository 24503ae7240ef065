/*
 * The sections about running with nobody watching: copies, notify, metrics,
 * log.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

#include "schema.h"

/* In the order of the bits of enum fb_notify_on. */
static const char *const events[] = { "start", "success", "failure", "budget" };

static const char *const commands[] = { "download", "verify", "prune", "copy",
	"status" };

static const char *const types[] = {
	[FB_NOTIFY_EXEC] = "exec",
	[FB_NOTIFY_HEALTHCHECKS] = "healthchecks",
	[FB_NOTIFY_WEBHOOK] = "webhook",
};

static unsigned
event_of(const char *word)
{
	for (size_t i = 0; i < FB_COUNT(events); i++)
		if (strcmp(events[i], word) == 0)
			return 1U << i;
	return 0;
}

static enum fb_notify_type
type_of(const json_t *section)
{
	const char *word = json_string_value(json_object_get(section, "type"));
	enum fb_notify_type type = FB_NOTIFY_EXEC;

	while (strcmp(types[type], word) != 0)
		type++;
	return type;
}

/* Each word of the list is one of these. */
static int
check_words(const struct fb_schema *schema, const char *path,
    const json_t *list, const char *const *words, size_t count,
    struct fb_error *err)
{
	const json_t *word;
	size_t i;

	json_array_foreach(list, i, word)
	{
		const char *text = json_string_value(word);
		const char *near;
		bool known = false;

		for (size_t k = 0; k < count; k++)
			known |= strcmp(words[k], text) == 0;
		if (known)
			continue;
		near = fb_name_nearest(text, words, count);
		(void)fb_schema_fail(schema, path, text, "E-CFG-TYPE", err,
		    "not one of its words");
		if (near[0] != '\0')
			return fb_hint(err, "did you mean '%s'?", near);
		return fb_hint(err, "see fleetbak.conf(5)");
	}
	return FB_OK;
}

static int
check_lists(const struct fb_schema *schema, const char *name,
    const json_t *section, struct fb_error *err)
{
	FB_AUTO_FREE char *on = fb_format("notify.%s.on", name);
	FB_AUTO_FREE char *of = fb_format("notify.%s.commands", name);
	int rc = check_words(schema, on, json_object_get(section, "on"), events,
	    FB_COUNT(events), err);

	if (rc == FB_OK)
		rc = check_words(schema, of,
		    json_object_get(section, "commands"), commands,
		    FB_COUNT(commands), err);
	return rc;
}

static int
check_one(const struct fb_schema *schema, const char *name,
    const json_t *section, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("notify.%s", name);
	bool exec = type_of(section) == FB_NOTIFY_EXEC;
	const char *wanted = exec ? "command" : "url";
	const char *other = exec ? "url" : "command";

	if (json_object_get(section, wanted) == NULL) {
		(void)fb_schema_fail(schema, path, NULL, "E-CFG-MISSING", err,
		    "needs a %s", wanted);
		return fb_hint(err,
		    exec ? "write command: [/path/to/program]"
		         : "write url: \"cred:NAME\" or "
		           "\"file:PATH\"");
	}
	if (json_object_get(section, other) != NULL) {
		(void)fb_schema_fail(schema, path, NULL, "E-CFG-KEY", err,
		    "a %s for what has a %s", other, wanted);
		return fb_hint(err, "take the %s away", other);
	}
	return check_lists(schema, name, section, err);
}

int
fb_config_check_copies(const struct fb_schema *schema, struct fb_error *err)
{
	const char *name;
	json_t *section;

	json_object_foreach(
	    json_object_get(schema->values, "repositories"), name, section)
	{
		const char *of =
		    json_string_value(json_object_get(section, "copy_of"));
		FB_AUTO_FREE char *path =
		    fb_format("repositories.%s.copy_of", name);

		if (of == NULL ||
		    (strcmp(of, name) != 0 &&
		        json_object_get(
		            json_object_get(schema->values, "repositories"),
		            of) != NULL))
			continue;
		(void)fb_schema_fail(schema, path, of, "E-CFG-REFERENCE", err,
		    "not the name of another repository");
		return fb_hint(err,
		    "write the name of the one it is copied "
		    "from");
	}
	return FB_OK;
}

int
fb_config_check_notify(const struct fb_schema *schema, struct fb_error *err)
{
	const char *name;
	json_t *section;
	int rc = FB_OK;

	json_object_foreach(
	    json_object_get(schema->values, "notify"), name, section)
	{
		rc = check_one(schema, name, section, err);
		if (rc < 0)
			break;
	}
	return rc;
}

static char **
words_of(const json_t *list)
{
	const json_t *word;
	char **words;
	size_t i;

	if (list == NULL)
		return NULL;
	words = fb_alloc(json_array_size(list) + 1, sizeof(*words));
	json_array_foreach(list, i, word) words[i] =
	    fb_strdup(json_string_value(word));
	return words;
}

/* A dead man's switch is about the nights; who may not confuse it with
 * anything else is told of nothing else. */
static char **
commands_of(const json_t *section)
{
	const json_t *list = json_object_get(section, "commands");
	FB_AUTO_JSON json_t *nights = json_pack("[s]", "download");

	if (list == NULL && type_of(section) == FB_NOTIFY_HEALTHCHECKS)
		list = nights;
	return words_of(list);
}

static void
free_words(char **words)
{
	for (char **word = words; word != NULL && *word != NULL; word++)
		free(*word);
	free(words);
}

static unsigned
events_of(const json_t *section)
{
	const json_t *words = json_object_get(section, "on");
	const json_t *word;
	unsigned on = 0;
	size_t i;

	if (words == NULL)
		return type_of(section) == FB_NOTIFY_HEALTHCHECKS
		    ? FB_NOTIFY_START | FB_NOTIFY_SUCCESS | FB_NOTIFY_FAILURE |
		        FB_NOTIFY_BUDGET
		    : FB_NOTIFY_FAILURE;
	json_array_foreach(words, i, word) on |=
	    event_of(json_string_value(word));
	return on;
}

static char *
text_of(const json_t *section, const char *key)
{
	const char *text = json_string_value(json_object_get(section, key));

	return text != NULL ? fb_strdup(text) : NULL;
}

void
fb_config_fill_unattended(struct fb_config *config, const json_t *values)
{
	json_t *map = json_object_get(values, "notify");
	const char *name;
	json_t *section;

	config->metrics_textfile =
	    text_of(json_object_get(values, "metrics"), "textfile");
	config->log_file = text_of(json_object_get(values, "log"), "file");
	config->notify =
	    fb_alloc(json_object_size(map) + 1, sizeof(*config->notify));
	json_object_foreach(map, name, section)
	{
		const char *body =
		    json_string_value(json_object_get(section, "body"));

		config->notify[config->notify_count++] =
		    (struct fb_config_notify){
			    .name = fb_strdup(name),
			    .type = type_of(section),
			    .url = text_of(section, "url"),
			    .command =
			        words_of(json_object_get(section, "command")),
			    .commands = commands_of(section),
			    .on = events_of(section),
			    .summary =
			        body == NULL || strcmp(body, "none") != 0,
		    };
	}
}

void
fb_config_free_unattended(struct fb_config *config)
{
	for (size_t i = 0; i < config->notify_count; i++) {
		struct fb_config_notify *notify = &config->notify[i];

		free_words(notify->command);
		free_words(notify->commands);
		free(notify->name);
		free(notify->url);
	}
	fb_freep(&config->notify);
	fb_freep(&config->metrics_textfile);
	fb_freep(&config->log_file);
}
