/*
 * `fleetbak __complete SHELL ...`: what could stand at the cursor, one a line.
 *
 *	__complete bash POINT LINE     the raw line: bash splits words at '='
 *	__complete zsh|fish -- WORD... the words, the last one being typed
 *	__complete table               every option of every command, for lint
 *	__complete errors              fleetbak-errors(7), for lint
 *
 * ":files" asks the shell for file names.  Nothing is read but our tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/command.h"
#include "fleetbak/cli/explain.h"
#include "fleetbak/cli/help.h"
#include "fleetbak/cli/option.h"

struct words {
	char **items; /* the last one is being typed */
	size_t count;
	char separator; /* between a candidate and its help; 0: no help */
};

static void
add_word(struct words *words, const char *text, size_t len)
{
	char *word = fb_alloc(len + 1, 1);

	memcpy(word, text, len);
	words->items =
	    fb_realloc(words->items, words->count + 1, sizeof(*words->items));
	words->items[words->count++] = word;
}

static void
offer(const struct words *words, const char *candidate, const char *help)
{
	const char *typed = words->items[words->count - 1];

	if (strncmp(candidate, typed, strlen(typed)) != 0)
		return;
	if (words->separator != 0 && help != NULL)
		printf("%s%c%s\n", candidate, words->separator, help);
	else
		puts(candidate);
}

static void
offer_list(const struct words *words, const char *list)
{
	char word[64];

	for (; list != NULL && *list != '\0'; list += strspn(list, " ")) {
		size_t len = strcspn(list, " ");

		(void)snprintf(word, sizeof(word), "%.*s", (int)len, list);
		offer(words, word, NULL);
		list += len;
	}
}

static void
offer_commands(const struct words *words)
{
	const struct fb_command *const *commands;
	size_t count = fb_commands(&commands);

	for (size_t i = 0; i < count; i++)
		offer(words, commands[i]->name, commands[i]->help);
}

static void
offer_options(const struct words *words, const char *command)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);
	char text[64];

	for (size_t i = 0; i < count; i++) {
		if (rows[i].name == NULL || (rows[i].commands != NULL &&
		    (command == NULL || !fb_option_in(&rows[i], command))))
			continue;
		(void)snprintf(text, sizeof(text), "--%s", rows[i].name);
		offer(words, text, rows[i].help);
		if (!rows[i].negatable)
			continue;
		(void)snprintf(text, sizeof(text), "--no-%s", rows[i].name);
		offer(words, text, rows[i].help);
	}
}

/* The option whose value is being typed, or NULL. */
static const struct fb_option *
open_option(const struct words *words)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);
	const char *before;

	if (words->count < 2)
		return NULL;
	before = words->items[words->count - 2];
	for (size_t i = 0; i < count; i++) {
		if (rows[i].value == NULL)
			continue;
		if (rows[i].name != NULL && strncmp(before, "--", 2) == 0 &&
		    strcmp(before + 2, rows[i].name) == 0)
			return &rows[i];
		if (before[0] == '-' && before[1] == rows[i].letter &&
		    before[1] != '\0' && before[2] == '\0')
			return &rows[i];
	}
	return NULL;
}

static bool
takes_files(const struct fb_option *option)
{
	return option->id == FB_OPT_CONFIG || option->id == FB_OPT_TARGET;
}

static void
offer_value(const struct words *words, const struct fb_option *option)
{
	if (takes_files(option))
		puts(":files");
	else
		offer_list(words, option->choices);
}

static void
offer_explanations(const struct words *words)
{
	const struct fb_explanation *rows;
	size_t count = fb_explanations(&rows);

	for (size_t i = 0; i < count; i++)
		offer(words, rows[i].id, rows[i].title);
}

static const char *
command_of(const struct words *words)
{
	for (size_t i = 0; i + 1 < words->count; i++)
		if (fb_command_find(words->items[i]) != NULL)
			return words->items[i];
	return NULL;
}

static void
offer_all(const struct words *words)
{
	const char *command = command_of(words);
	const struct fb_option *open = open_option(words);

	if (open != NULL) {
		offer_value(words, open);
	} else if (words->items[words->count - 1][0] == '-') {
		offer_options(words, command);
	} else if (command == NULL) {
		offer_commands(words);
	} else {
		offer_list(words, fb_command_find(command)->words);
		if (strcmp(command, "help") == 0)
			offer_commands(words);
		if (strcmp(command, "explain") == 0)
			offer_explanations(words);
	}
}

/* Words of a bash line up to the cursor; quotes are taken away. */
static void
split_line(struct words *words, const char *line, size_t point)
{
	FB_AUTO_BUF struct fb_buf word = { 0 };
	char quote = 0;

	for (size_t i = 0; i < point && line[i] != '\0'; i++) {
		char c = line[i];

		if (quote != 0 && c == quote) {
			quote = 0;
		} else if (quote == 0 && (c == '"' || c == '\'')) {
			quote = c;
		} else if (quote == 0 && (c == ' ' || c == '\t')) {
			if (word.len > 0)
				add_word(words, fb_buf_str(&word), word.len);
			fb_buf_clear(&word);
		} else {
			fb_buf_add(&word, &c, 1);
		}
	}
	/* The one being typed, perhaps still empty. */
	add_word(words, fb_buf_str(&word), word.len);
}

static void
print_table(void)
{
	const struct fb_command *const *commands;
	const struct fb_option *rows;
	size_t command_count = fb_commands(&commands);
	size_t count = fb_option_rows(&rows);

	for (size_t i = 0; i < count; i++) {
		const char *name = rows[i].name != NULL ? rows[i].name : "-";
		const char *value = rows[i].value != NULL ? rows[i].value : "-";
		char letter = '-';

		if (rows[i].letter != 0)
			letter = rows[i].letter;
		if (rows[i].commands == NULL)
			printf("*\t%s\t%c\t%s\n", name, letter, value);
		for (size_t c = 0; c < command_count; c++)
			if (rows[i].commands != NULL &&
			    fb_option_in(&rows[i], commands[c]->name))
				printf("%s\t%s\t%c\t%s\n", commands[c]->name,
				    name, letter, value);
	}
	for (size_t c = 0; c < command_count; c++)
		printf("%s\t-\t-\t-\n", commands[c]->name);
}

static size_t
point_of(const char *text)
{
	struct fb_error ignored;
	uint64_t point = 0;
	struct fb_span span = { (const uint8_t *)text, strlen(text) };

	return fb_text_u64(span, 1u << 20, &point, &ignored) == FB_OK
	    ? (size_t)point
	    : 0;
}

int
fb_complete(int argc, const char *const *argv)
{
	struct words words = { 0 };

	if (argc == 1 && strcmp(argv[0], "table") == 0) {
		print_table();
		return 0;
	}
	if (argc == 1 && strcmp(argv[0], "errors") == 0) {
		fb_explain_mdoc();
		return 0;
	}
	if (argc == 3 && strcmp(argv[0], "bash") == 0) {
		split_line(&words, argv[2], point_of(argv[1]));
		if (words.count > 1) {
			free(words.items[0]); /* the program's name */
			memmove(words.items, words.items + 1,
			    --words.count * sizeof(*words.items));
		}
	} else if (argc >= 3 && strcmp(argv[1], "--") == 0) {
		words.separator = strcmp(argv[0], "zsh") == 0 ? ':' : '\t';
		for (int i = 2; i < argc; i++)
			add_word(&words, argv[i], strlen(argv[i]));
	} else {
		return 2;
	}
	offer_all(&words);
	for (size_t i = 0; i < words.count; i++)
		free(words.items[i]);
	free(words.items);
	return 0;
}
