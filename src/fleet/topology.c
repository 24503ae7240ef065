/*
 * The canonical bytes of a fleet.
 *
 *	fleetbak-topology 1
 *	machine <source> <id> <parent> <role> <description> {<volume>}
 *	source <source> unreachable
 *
 * Lines end with a newline, words are parted by one space.  <source>, <id>,
 * <role> and volume names are counted texts, "<length>:<text>", of the
 * percent-escaped value; so is <parent>, or "-" when there is none.
 * <description> is the digest in hex.  A <volume> is three words: its name,
 * its kind and, of a disk, its capacity in bytes, of others "0".
 * Machines are sorted by source and id, then come the sources that could not
 * be asked, sorted, so that what is missing shows in the hash.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/fleet/topology.h"

#define HEADER "fleetbak-topology 1\n"

static void
add_counted(struct fb_buf *dst, const char *str)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_text_add_escaped(&text,
	    (struct fb_span){ (const uint8_t *)str, strlen(str) });
	fb_buf_add_fmt(dst, " %zu:", text.len);
	fb_buf_add(dst, text.data, text.len);
}

static void
add_machine(struct fb_buf *dst, const struct fb_machine *machine)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_buf_add_str(dst, "machine");
	add_counted(dst, machine->source);
	add_counted(dst, machine->id);
	if (machine->parent != NULL)
		add_counted(dst, machine->parent);
	else
		fb_buf_add_str(dst, " -");
	add_counted(dst, machine->role);
	fb_digest_hex(&machine->description, hex);
	fb_buf_add_fmt(dst, " %s", hex);
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];

		add_counted(dst, volume->name);
		fb_buf_add_fmt(dst, " %s %" PRIu64,
		    fb_volume_kind_name(volume->kind),
		    volume->kind == FB_VOLUME_DISK ? volume->size : 0);
	}
	fb_buf_add_str(dst, "\n");
}

void
fb_topology_add(
    struct fb_buf *dst, const struct fb_fleet *fleet, bool selected_only)
{
	fb_buf_add_str(dst, HEADER);
	for (size_t i = 0; i < fleet->count; i++)
		if (!selected_only || fleet->machines[i].selected)
			add_machine(dst, &fleet->machines[i]);
	if (selected_only)
		return;
	for (size_t i = 0; i < fleet->failure_count; i++) {
		fb_buf_add_str(dst, "source");
		add_counted(dst, fleet->failures[i].source);
		fb_buf_add_str(dst, " unreachable\n");
	}
}

/*
 * The way back.
 */

struct volume_fact {
	char *name, *kind;
	uint64_t capacity;
};

struct machine_fact {
	char *source, *id, *parent, *role;
	char description[FB_DIGEST_HEX_SIZE];
	struct volume_fact *volumes;
	size_t volume_count;
};

struct facts {
	struct machine_fact *machines;
	size_t count;
	char **unreachable;
	size_t unreachable_count;
};

static void
release_facts(struct facts *facts)
{
	for (size_t i = 0; i < facts->count; i++) {
		struct machine_fact *machine = &facts->machines[i];

		for (size_t v = 0; v < machine->volume_count; v++) {
			free(machine->volumes[v].name);
			free(machine->volumes[v].kind);
		}
		free(machine->volumes);
		free(machine->source);
		free(machine->id);
		free(machine->parent);
		free(machine->role);
	}
	for (size_t i = 0; i < facts->unreachable_count; i++)
		free(facts->unreachable[i]);
	free(facts->unreachable);
	free(facts->machines);
}
#define AUTO_FACTS FB_CLEANUP(release_facts)

/* Take the bytes up to `end` off `rest`; false when it is not there. */
static bool
take_until(struct fb_span *rest, char end, struct fb_span *ret)
{
	const uint8_t *at =
	    rest->len > 0 ? memchr(rest->ptr, end, rest->len) : NULL;

	if (at == NULL)
		return false;
	*ret = (struct fb_span){ rest->ptr, (size_t)(at - rest->ptr) };
	rest->ptr += ret->len + 1;
	rest->len -= ret->len + 1;
	return true;
}

/* Take a word off a line; the last one ends with the line. */
static struct fb_span
take_word(struct fb_span *line)
{
	struct fb_span word = *line;

	if (!take_until(line, ' ', &word)) {
		word = *line;
		*line = (struct fb_span){ 0 };
	}
	return word;
}

static bool
span_is(struct fb_span span, const char *text)
{
	return span.len == strlen(text) &&
	    (span.len == 0 || memcmp(span.ptr, text, span.len) == 0);
}

static char *
copy_span(struct fb_span span)
{
	return fb_format("%.*s", (int)span.len, (const char *)span.ptr);
}

/* A counted text; the escapes stay, but they must be right. */
static int
take_counted(struct fb_span *line, char **ret, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf plain = { 0 };
	struct fb_span word = take_word(line), count;
	uint64_t length;

	if (!take_until(&word, ':', &count) ||
	    fb_text_u64(count, 1 << 16, &length, err) < 0 ||
	    length != word.len || fb_text_unescape(word, &plain, err) < 0)
		return fb_fail(err, FB_ECORRUPT, "a counted text is wrong");
	*ret = copy_span(word);
	return FB_OK;
}

static int
take_volume(struct fb_span *line, struct machine_fact *machine,
    struct fb_error *err)
{
	struct volume_fact *volume = &machine->volumes[machine->volume_count++];
	enum fb_volume_kind kind;
	int rc = take_counted(line, &volume->name, err);

	if (rc < 0)
		return rc;
	volume->kind = copy_span(take_word(line));
	rc = fb_volume_kind_parse(volume->kind, &kind, err);
	if (rc < 0)
		return rc;
	if (fb_text_u64(take_word(line), UINT64_MAX, &volume->capacity, err) <
	    0)
		return fb_fail(err, FB_ECORRUPT, "a capacity is wrong");
	return FB_OK;
}

static size_t
count_words(struct fb_span line)
{
	size_t count = 1;

	for (size_t i = 0; i < line.len; i++)
		count += line.ptr[i] == ' ';
	return count;
}

static int
take_machine(struct fb_span line, struct facts *facts, struct fb_error *err)
{
	struct machine_fact *machine;
	struct fb_digest digest;
	struct fb_span word, ahead;
	int rc;

	if ((facts->count & (facts->count - 1)) == 0)
		facts->machines = fb_realloc(facts->machines,
		    facts->count == 0 ? 1 : 2 * facts->count,
		    sizeof(*machine));
	machine = &facts->machines[facts->count++];
	*machine = (struct machine_fact){ 0 };

	rc = take_counted(&line, &machine->source, err);
	if (rc == FB_OK)
		rc = take_counted(&line, &machine->id, err);
	ahead = line;
	if (rc == FB_OK && span_is(take_word(&ahead), "-"))
		line = ahead;
	else if (rc == FB_OK)
		rc = take_counted(&line, &machine->parent, err);
	if (rc == FB_OK)
		rc = take_counted(&line, &machine->role, err);
	if (rc < 0)
		return rc;
	word = take_word(&line);
	if (word.len != 2 * FB_DIGEST_LEN ||
	    fb_digest_parse(word, &digest, err) < 0)
		return fb_fail(err, FB_ECORRUPT, "a description is wrong");
	fb_digest_hex(&digest, machine->description);

	if (line.len == 0)
		return FB_OK;
	machine->volumes =
	    fb_alloc(count_words(line) / 3 + 1, sizeof(*machine->volumes));
	while (rc == FB_OK && line.len > 0)
		rc = take_volume(&line, machine, err);
	return rc;
}

static int
take_source(struct fb_span line, struct facts *facts, struct fb_error *err)
{
	char *source = NULL;
	int rc = take_counted(&line, &source, err);

	if (rc < 0)
		return rc;
	facts->unreachable = fb_realloc(facts->unreachable,
	    facts->unreachable_count + 1, sizeof(*facts->unreachable));
	facts->unreachable[facts->unreachable_count++] = source;
	if (!span_is(line, "unreachable"))
		return fb_fail(err, FB_ECORRUPT, "a source line is wrong");
	return FB_OK;
}

static int
parse_facts(struct fb_span bytes, struct facts *facts, struct fb_error *err)
{
	struct fb_span line, word;
	size_t number = 1;

	if (!take_until(&bytes, '\n', &line) ||
	    !span_is(line, "fleetbak-topology 1"))
		return fb_fail(
		    err, FB_ECORRUPT, "these are no topology bytes");
	while (bytes.len > 0) {
		int rc;

		number++;
		if (!take_until(&bytes, '\n', &line))
			return fb_fail(err, FB_ECORRUPT,
			    "topology line %zu is cut off", number);
		word = take_word(&line);
		if (span_is(word, "machine"))
			rc = take_machine(line, facts, err);
		else if (span_is(word, "source"))
			rc = take_source(line, facts, err);
		else
			rc = fb_fail(err, FB_ECORRUPT, "no such record");
		if (rc < 0) {
			(void)fb_wrap(err, "topology line %zu", number);
			return err->code = FB_ECORRUPT;
		}
	}
	return FB_OK;
}

/*
 * The difference.
 */

static int
compare_facts(const void *a, const void *b)
{
	const struct machine_fact *one = a, *two = b;
	int order = strcmp(one->source, two->source);

	return order != 0 ? order : strcmp(one->id, two->id);
}

static int
compare_volumes(const void *a, const void *b)
{
	const struct volume_fact *one = a, *two = b;

	return strcmp(one->name, two->name);
}

/* By the escaped texts, which is what is compared below. */
static void
sort_facts(struct facts *facts)
{
	for (size_t i = 0; i < facts->count; i++)
		if (facts->machines[i].volume_count > 1)
			qsort(facts->machines[i].volumes,
			    facts->machines[i].volume_count,
			    sizeof(*facts->machines[i].volumes),
			    compare_volumes);
	if (facts->count > 1)
		qsort(facts->machines, facts->count,
		    sizeof(*facts->machines), compare_facts);
}

static bool
is_unreachable(const struct facts *facts, const char *source)
{
	for (size_t i = 0; i < facts->unreachable_count; i++)
		if (strcmp(facts->unreachable[i], source) == 0)
			return true;
	return false;
}

static void
diff_sources(const struct facts *before, const struct facts *after,
    struct fb_buf *dst)
{
	for (size_t i = 0; i < after->unreachable_count; i++)
		if (!is_unreachable(before, after->unreachable[i]))
			fb_buf_add_fmt(dst, "! source %s cannot be asked\n",
			    after->unreachable[i]);
	for (size_t i = 0; i < before->unreachable_count; i++)
		if (!is_unreachable(after, before->unreachable[i]))
			fb_buf_add_fmt(dst, "! source %s answers again\n",
			    before->unreachable[i]);
}

static const char *
or_none(const char *text)
{
	return text == NULL || text[0] == '\0' ? "none" : text;
}

static bool
differs(const char *a, const char *b)
{
	return (a == NULL) != (b == NULL) ||
	    (a != NULL && strcmp(a, b) != 0);
}

static void
diff_volume(const struct machine_fact *machine, const struct volume_fact *old,
    const struct volume_fact *new, struct fb_buf *dst)
{
	if (strcmp(old->kind, new->kind) != 0)
		fb_buf_add_fmt(dst, "~ %s/%s: volume '%s' %s -> %s\n",
		    machine->source, machine->id, new->name, old->kind,
		    new->kind);
	else if (old->capacity != new->capacity)
		fb_buf_add_fmt(dst,
		    "~ %s/%s: %s '%s' %" PRIu64 " -> %" PRIu64 " bytes\n",
		    machine->source, machine->id, new->kind, new->name,
		    old->capacity, new->capacity);
}

static void
say_volume(const struct machine_fact *machine,
    const struct volume_fact *volume, const char *what, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst, "~ %s/%s: %s '%s' %s\n", machine->source,
	    machine->id, volume->kind, volume->name, what);
}

static void
diff_volumes(const struct machine_fact *old, const struct machine_fact *new,
    struct fb_buf *dst)
{
	size_t o = 0, n = 0;

	while (o < old->volume_count || n < new->volume_count) {
		int order = o == old->volume_count ? 1
		    : n == new->volume_count
		    ? -1
		    : strcmp(old->volumes[o].name, new->volumes[n].name);

		if (order == 0)
			diff_volume(
			    new, &old->volumes[o++], &new->volumes[n++], dst);
		else if (order < 0)
			say_volume(new, &old->volumes[o++], "gone", dst);
		else
			say_volume(new, &new->volumes[n++], "new", dst);
	}
}

static void
diff_machine(const struct machine_fact *old, const struct machine_fact *new,
    struct fb_buf *dst)
{
	if (differs(old->parent, new->parent))
		fb_buf_add_fmt(dst, "~ %s/%s: parent %s -> %s\n", new->source,
		    new->id, or_none(old->parent), or_none(new->parent));
	if (differs(old->role, new->role))
		fb_buf_add_fmt(dst, "~ %s/%s: role %s -> %s\n", new->source,
		    new->id, or_none(old->role), or_none(new->role));
	if (strcmp(old->description, new->description) != 0)
		fb_buf_add_fmt(dst, "~ %s/%s: definition %.12s -> %.12s\n",
		    new->source, new->id, old->description, new->description);
	diff_volumes(old, new, dst);
}

static void
diff_facts(const struct facts *before, const struct facts *after,
    struct fb_buf *dst)
{
	size_t o = 0, n = 0;

	while (o < before->count || n < after->count) {
		const struct machine_fact *old =
		    o < before->count ? &before->machines[o] : NULL;
		const struct machine_fact *new =
		    n < after->count ? &after->machines[n] : NULL;
		int order = old == NULL ? 1
		    : new == NULL       ? -1
		                        : compare_facts(old, new);

		if (order == 0)
			diff_machine(old, new, dst);
		else if (order < 0 && !is_unreachable(after, old->source))
			fb_buf_add_fmt(
			    dst, "- %s/%s gone\n", old->source, old->id);
		else if (order > 0 && !is_unreachable(before, new->source))
			fb_buf_add_fmt(
			    dst, "+ %s/%s new\n", new->source, new->id);
		o += order <= 0;
		n += order >= 0;
	}
}

int
fb_topology_diff(struct fb_span before, struct fb_span after,
    struct fb_buf *dst, struct fb_error *err)
{
	AUTO_FACTS struct facts old = { 0 };
	AUTO_FACTS struct facts new = { 0 };
	int rc = parse_facts(before, &old, err);

	if (rc == FB_OK)
		rc = parse_facts(after, &new, err);
	if (rc < 0)
		return rc;
	sort_facts(&old);
	sort_facts(&new);
	diff_sources(&old, &new, dst);
	diff_facts(&old, &new, dst);
	return FB_OK;
}
