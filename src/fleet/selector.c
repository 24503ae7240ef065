#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/fleet/selector.h"
#include "match.h"

#define TERM_MAX 512

bool
match_is_plain(const char *text)
{
	return strpbrk(text, "*?[") == NULL;
}

static bool
matches(const char *glob, const char *text)
{
	return text != NULL && fnmatch(glob, text, 0) == 0;
}

/* The value a "key=" term looks at, or NULL. */
static const char *
value_of(const struct fb_machine *machine, const char *key)
{
	if (strcmp(key, "role") == 0)
		return machine->role;
	if (strcmp(key, "source") == 0)
		return machine->source;
	if (strcmp(key, "name") == 0)
		return machine->name;
	return fb_labels_get(&machine->labels, key);
}

static int
fail_syntax(const char *term, const char *why, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-SEL-SYNTAX",
	    "selector '%s': %s", term, why);
	return fb_hint(err, "see fleetbak(1), \"Selecting machines\"");
}

static int
check_term(const char *term, struct fb_error *err)
{
	bool bracket = false;

	if (term[0] == '\0')
		return fail_syntax(term, "a term is empty", err);
	if (strlen(term) > TERM_MAX)
		return fail_syntax(term, "a term is too long", err);
	for (const char *at = term; *at != '\0'; at++) {
		unsigned char byte = (unsigned char)*at;

		if (byte < ' ' || byte == 0x7f || byte == '\\')
			return fail_syntax(
			    term, "a character that no name has", err);
		if (byte == '[')
			bracket = true;
		else if (byte == ']')
			bracket = false;
	}
	if (bracket)
		return fail_syntax(term, "'[' without ']'", err);
	return FB_OK;
}

struct words {
	char **items;
	size_t count;
};

static void
add_word(struct words *words, char *word)
{
	if ((words->count & (words->count - 1)) == 0)
		words->items = fb_realloc(words->items,
		    words->count == 0 ? 1 : 2 * words->count,
		    sizeof(*words->items));
	words->items[words->count++] = word;
}

static void
release_words(struct words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->items[i]);
	free(words->items);
}

/* Every way to call a machine, so that the nearest can be offered. */
static void
collect_words(
    const struct fb_fleet *fleet, bool labels, struct words *words)
{
	for (size_t i = 0; i < fleet->count; i++) {
		const struct fb_machine *machine = &fleet->machines[i];

		if (!labels) {
			add_word(words, fb_strdup(machine->id));
			add_word(words, fb_strdup(machine->name));
			add_word(words, fb_format("%s/%s", machine->source,
			    machine->id));
			continue;
		}
		add_word(words, fb_format("role=%s", machine->role));
		add_word(words, fb_format("source=%s", machine->source));
		for (size_t l = 0; l < machine->labels.count; l++)
			add_word(words,
			    fb_format("%s=%s", machine->labels.items[l].key,
			        machine->labels.items[l].value));
	}
}

static int
fail_none(
    const struct fb_fleet *fleet, const char *term, struct fb_error *err)
{
	bool labels = strchr(term, '=') != NULL;
	struct words words = { 0 };
	const char *nearest;

	(void)fb_fail_id(
	    err, FB_ECONFIG, "E-SEL-NONE", "no machine is '%s'", term);
	collect_words(fleet, labels, &words);
	nearest = fb_name_nearest(
	    term, (const char *const *)words.items, words.count);
	if (nearest[0] != '\0')
		(void)fb_hint(err, "did you mean '%s'?", nearest);
	else if (fleet->failure_count > 0)
		(void)fb_hint(err, "source '%s' could not be asked",
		    fleet->failures[0].source);
	else
		(void)fb_hint(err, "'fleetbak discover' lists the machines");
	release_words(&words);
	return err->code;
}

static int
fail_ambiguous(const struct fb_fleet *fleet, const char *term,
    const bool *set, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf list = { 0 };
	size_t shown = 0;

	for (size_t i = 0; i < fleet->count; i++)
		if (set[i] && shown++ < 8)
			fb_buf_add_fmt(&list, "%s%s/%s", shown > 1 ? ", " : "",
			    fleet->machines[i].source, fleet->machines[i].id);
	if (shown > 8)
		fb_buf_add_fmt(&list, " and %zu more", shown - 8);
	(void)fb_fail_id(err, FB_ECONFIG, "E-SEL-AMBIGUOUS",
	    "'%s' may be %s", term, fb_buf_str(&list));
	return fb_hint(err, "say which: source/id");
}

static size_t
match_labels(const struct fb_fleet *fleet, const char *key, const char *glob,
    bool *set)
{
	size_t count = 0;

	for (size_t i = 0; i < fleet->count; i++) {
		set[i] = matches(glob, value_of(&fleet->machines[i], key));
		count += set[i];
	}
	return count;
}

/* `source` may be NULL: any. */
static size_t
match_names(const struct fb_fleet *fleet, const char *source,
    const char *glob, bool by_name, bool *set)
{
	size_t count = 0;

	for (size_t i = 0; i < fleet->count; i++) {
		const struct fb_machine *machine = &fleet->machines[i];

		set[i] =
		    (source == NULL || matches(source, machine->source)) &&
		    (matches(glob, machine->id) ||
		        (by_name && matches(glob, machine->name)));
		count += set[i];
	}
	return count;
}

/* Set every machine of which an ancestor is set. */
static void
add_descendants(const struct fb_fleet *fleet, bool *set)
{
	FB_AUTO_FREE size_t *parents = fb_fleet_parents(fleet);
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < fleet->count; i++)
			if (!set[i] && parents[i] != SIZE_MAX &&
			    set[parents[i]])
				set[i] = more = true;
	}
}

static int
match_machine_term(const struct fb_fleet *fleet, const char *term,
    bool one_only, bool *set, struct fb_error *err)
{
	FB_AUTO_FREE char *text = fb_strdup(term);
	char *glob = strchr(text, '/');
	char *source = NULL;
	size_t length = strlen(text), count;
	bool descend = text[length - 1] == '+', plain;

	if (descend)
		text[length - 1] = '\0';
	if (glob != NULL) {
		source = text;
		*glob++ = '\0';
	} else {
		glob = text;
	}
	if (glob[0] == '\0' || (source != NULL && source[0] == '\0') ||
	    strchr(glob, '/') != NULL)
		return fail_syntax(term, "write [source/]name[+]", err);

	/* A plain word is an id; only if there is none, a name. */
	plain = match_is_plain(glob);
	count = match_names(fleet, source, glob, !plain, set);
	if (count == 0 && plain)
		count = match_names(fleet, source, glob, true, set);
	if (count == 0)
		return fail_none(fleet, term, err);
	if (count > 1 &&
	    (one_only ||
	        (plain && (source == NULL || match_is_plain(source)))))
		return fail_ambiguous(fleet, term, set, err);
	if (descend)
		add_descendants(fleet, set);
	return FB_OK;
}

int
match_term(const struct fb_fleet *fleet, const char *term, bool one_only,
    bool *set, struct fb_error *err)
{
	const char *equals;
	int rc = check_term(term, err);

	if (rc < 0)
		return rc;
	equals = strchr(term, '=');
	if (equals != NULL) {
		FB_AUTO_FREE char *key =
		    fb_format("%.*s", (int)(equals - term), term);

		if (key[0] == '\0' || equals[1] == '\0')
			return fail_syntax(term, "write key=value", err);
		if (match_labels(fleet, key, equals + 1, set) == 0)
			return fail_none(fleet, term, err);
		return FB_OK;
	}
	return match_machine_term(fleet, term, one_only, set, err);
}

/* What an expression has chosen so far. */
struct choice {
	const struct fb_fleet *fleet;
	bool *or_set, *and_set, *not_set;
	bool any_or;
};

static int
apply_term(struct choice *choice, const char *term, struct fb_error *err)
{
	const struct fb_fleet *fleet = choice->fleet;
	FB_AUTO_FREE bool *set = fb_alloc(fleet->count, sizeof(*set));
	char sign = term[0] == '&' || term[0] == '!' ? term[0] : '\0';
	int rc = match_term(fleet, sign ? term + 1 : term, false, set, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < fleet->count; i++) {
		if (sign == '&')
			choice->and_set[i] &= set[i];
		else if (sign == '!')
			choice->not_set[i] |= set[i];
		else
			choice->or_set[i] |= set[i];
	}
	choice->any_or |= sign == '\0';
	return FB_OK;
}

/* The order of the terms does not matter: first all that are meant, or the
 * whole fleet, then what each "&" leaves, then without what "!" names. */
static int
apply_terms(struct choice *choice, const char *expression, bool *set,
    struct fb_error *err)
{
	const char *at = expression;

	for (;;) {
		size_t length = strcspn(at, ",");
		FB_AUTO_FREE char *term =
		    fb_format("%.*s", (int)length, at);
		int rc = apply_term(choice, term, err);

		if (rc < 0)
			return rc;
		if (at[length] == '\0')
			break;
		at += length + 1;
	}
	for (size_t i = 0; i < choice->fleet->count; i++)
		set[i] = (choice->or_set[i] || !choice->any_or) &&
		    choice->and_set[i] && !choice->not_set[i];
	return FB_OK;
}

static int
evaluate(const struct fb_fleet *fleet, const char *expression, bool *set,
    struct fb_error *err)
{
	FB_AUTO_FREE bool *sets = fb_alloc(3 * fleet->count, sizeof(*sets));
	struct choice choice = { fleet, sets, sets + fleet->count,
		sets + 2 * fleet->count, false };

	memset(choice.and_set, true, fleet->count);
	return apply_terms(&choice, expression, set, err);
}

static int
choose(const struct fb_fleet *fleet, const char *const *expressions,
    size_t expression_count, const char *const *machines, size_t machine_count,
    bool *chosen, struct fb_error *err)
{
	FB_AUTO_FREE bool *set = fb_alloc(fleet->count, sizeof(*set));
	int rc;

	memset(chosen, machine_count == 0, fleet->count);
	for (size_t i = 0; i < machine_count; i++) {
		rc = evaluate(fleet, machines[i], set, err);
		if (rc < 0)
			return rc;
		for (size_t m = 0; m < fleet->count; m++)
			chosen[m] |= set[m];
	}
	for (size_t i = 0; i < expression_count; i++) {
		rc = evaluate(fleet, expressions[i], set, err);
		if (rc < 0)
			return rc;
		for (size_t m = 0; m < fleet->count; m++)
			chosen[m] &= set[m];
	}
	return FB_OK;
}

int
fb_select(struct fb_fleet *fleet, const char *const *expressions,
    size_t expression_count, const char *const *machines, size_t machine_count,
    struct fb_error *err)
{
	FB_AUTO_FREE bool *chosen = fb_alloc(fleet->count, sizeof(*chosen));
	bool any = expression_count + machine_count == 0;
	int rc;

	for (size_t i = 0; i < fleet->count; i++)
		fleet->machines[i].selected = false;
	rc = choose(fleet, expressions, expression_count, machines,
	    machine_count, chosen, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < fleet->count; i++)
		any |= chosen[i];
	if (!any) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-SEL-NONE",
		    "the selection leaves no machine");
		return fb_hint(err,
		    "each term has machines, but none is in all of them");
	}
	for (size_t i = 0; i < fleet->count; i++)
		fleet->machines[i].selected = chosen[i];
	return FB_OK;
}
