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
#include <string.h>

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

/* Takes what has gathered, at every line; `bytes` is then empty again. */
typedef void take_bytes(void *arg, struct fb_buf *bytes);

static void
produce(const struct fb_fleet *fleet, bool selected_only, struct fb_buf *bytes,
    take_bytes *take, void *arg)
{
	fb_buf_add_str(bytes, HEADER);
	for (size_t i = 0; i < fleet->count; i++) {
		if (selected_only && !fleet->machines[i].selected)
			continue;
		add_machine(bytes, &fleet->machines[i]);
		take(arg, bytes);
	}
	for (size_t i = 0; !selected_only && i < fleet->failure_count; i++) {
		fb_buf_add_str(bytes, "source");
		add_counted(bytes, fleet->failures[i].source);
		fb_buf_add_str(bytes, " unreachable\n");
	}
	take(arg, bytes);
}

static void
keep_bytes(void *arg, struct fb_buf *bytes)
{
	(void)arg;
	(void)bytes;
}

static void
digest_bytes(void *arg, struct fb_buf *bytes)
{
	fb_digester_add(arg, fb_buf_span(bytes));
	fb_buf_clear(bytes);
}

void
fb_topology_add(
    struct fb_buf *dst, const struct fb_fleet *fleet, bool selected_only)
{
	produce(fleet, selected_only, dst, keep_bytes, NULL);
}

void
fb_topology_digest(const struct fb_fleet *fleet, bool selected_only,
    struct fb_digest *ret_digest)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	produce(fleet, selected_only, &bytes, digest_bytes, digester);
	fb_digester_peek(digester, ret_digest);
}

/*
 * The difference, in facts.
 */

struct facts {
	struct fb_buf *dst;
	size_t count; /* also of those there was no room for */
	size_t changes;
};

/* One line; a place for it, and NULL when there have been enough. */
static struct fb_buf *
begin_fact(struct facts *facts, const char *mark)
{
	facts->changes += mark[0] != '!';
	if (facts->count++ >= FB_TOPOLOGY_FACTS_MAX)
		return NULL;
	fb_buf_add_fmt(facts->dst, "%s ", mark);
	return facts->dst;
}

static void
add_escaped(struct fb_buf *dst, const char *text)
{
	fb_text_add_escaped(
	    dst, (struct fb_span){ (const uint8_t *)text, strlen(text) });
}

static struct fb_buf *
begin_machine(
    struct facts *facts, const char *mark, const struct fb_machine *machine)
{
	struct fb_buf *dst = begin_fact(facts, mark);

	if (dst == NULL)
		return NULL;
	add_escaped(dst, machine->source);
	fb_buf_add_str(dst, "/");
	add_escaped(dst, machine->id);
	return dst;
}

static void
say_machine(struct facts *facts, const char *mark,
    const struct fb_machine *machine, const char *what)
{
	struct fb_buf *dst = begin_machine(facts, mark, machine);

	if (dst != NULL)
		fb_buf_add_fmt(dst, " %s\n", what);
}

static void
diff_text(struct facts *facts, const struct fb_machine *machine,
    const char *what, const char *old, const char *new)
{
	struct fb_buf *dst;

	old = old != NULL ? old : "";
	new = new != NULL ? new : "";
	if (strcmp(old, new) == 0 ||
	    (dst = begin_machine(facts, "~", machine)) == NULL)
		return;
	fb_buf_add_fmt(dst, ": %s ", what);
	add_escaped(dst, old[0] != '\0' ? old : "none");
	fb_buf_add_str(dst, " -> ");
	add_escaped(dst, new[0] != '\0' ? new : "none");
	fb_buf_add_str(dst, "\n");
}

static void
diff_volume(struct facts *facts, const struct fb_machine *machine,
    const struct fb_volume *old, const struct fb_volume *new)
{
	bool kind = old->kind != new->kind;
	struct fb_buf *dst;

	if (!kind && (new->kind != FB_VOLUME_DISK || old->size == new->size))
		return;
	dst = begin_machine(facts, "~", machine);
	if (dst == NULL)
		return;
	fb_buf_add_fmt(
	    dst, ": %s '", kind ? "volume" : fb_volume_kind_name(new->kind));
	add_escaped(dst, new->name);
	if (kind)
		fb_buf_add_fmt(dst, "' %s -> %s\n",
		    fb_volume_kind_name(old->kind),
		    fb_volume_kind_name(new->kind));
	else
		fb_buf_add_fmt(dst, "' %" PRIu64 " -> %" PRIu64 " bytes\n",
		    old->size, new->size);
}

static void
say_volume(struct facts *facts, const struct fb_machine *machine,
    const struct fb_volume *volume, const char *what)
{
	struct fb_buf *dst = begin_machine(facts, "~", machine);

	if (dst == NULL)
		return;
	fb_buf_add_fmt(dst, ": %s '", fb_volume_kind_name(volume->kind));
	add_escaped(dst, volume->name);
	fb_buf_add_fmt(dst, "' %s\n", what);
}

static void
diff_volumes(struct facts *facts, const struct fb_machine *old,
    const struct fb_machine *new)
{
	size_t o = 0, n = 0;

	while (o < old->volume_count || n < new->volume_count) {
		int order = o == old->volume_count ? 1
		    : n == new->volume_count
		    ? -1
		    : strcmp(old->volumes[o].name, new->volumes[n].name);

		if (order == 0)
			diff_volume(facts, new, &old->volumes[o++],
			    &new->volumes[n++]);
		else if (order < 0)
			say_volume(facts, new, &old->volumes[o++], "gone");
		else
			say_volume(facts, new, &new->volumes[n++], "new");
	}
}

/* Did the system keep us from describing it? */
static bool
is_dark(const struct fb_machine *machine)
{
	return machine->problem != NULL && machine->problem->sys != 0;
}

static void
diff_machine(struct facts *facts, const struct fb_machine *old,
    const struct fb_machine *new)
{
	char was[FB_DIGEST_HEX_SIZE], is[FB_DIGEST_HEX_SIZE];

	if (is_dark(old) || is_dark(new)) {
		if (is_dark(old) != is_dark(new))
			say_machine(facts, "!", new,
			    is_dark(new) ? "cannot be looked at now"
			                 : "can be looked at again");
		return;
	}
	fb_digest_hex(&old->description, was);
	fb_digest_hex(&new->description, is);
	was[12] = is[12] = '\0'; /* enough to tell them apart */
	diff_text(facts, new, "parent", old->parent, new->parent);
	diff_text(facts, new, "role", old->role, new->role);
	if (fb_digest_cmp(&old->description, &new->description) != 0)
		diff_text(facts, new, "definition", was, is);
	diff_volumes(facts, old, new);
}

static bool
is_unreachable(const struct fb_fleet *fleet, const char *source)
{
	for (size_t i = 0; i < fleet->failure_count; i++)
		if (strcmp(fleet->failures[i].source, source) == 0)
			return true;
	return false;
}

/* Of the sources that only `here` could not ask. */
static void
diff_sources(struct facts *facts, const struct fb_fleet *here,
    const struct fb_fleet *there, const char *what)
{
	for (size_t i = 0; i < here->failure_count; i++) {
		const char *source = here->failures[i].source;
		struct fb_buf *dst;

		if (is_unreachable(there, source) ||
		    (dst = begin_fact(facts, "!")) == NULL)
			continue;
		fb_buf_add_str(dst, "source ");
		add_escaped(dst, source);
		fb_buf_add_fmt(dst, " %s\n", what);
	}
}

static int
compare(const struct fb_machine *a, const struct fb_machine *b)
{
	int order;

	if (a == NULL || b == NULL)
		return a == NULL ? 1 : -1;
	order = strcmp(a->source, b->source);
	return order != 0 ? order : strcmp(a->id, b->id);
}

size_t
fb_topology_diff(const struct fb_fleet *before, const struct fb_fleet *after,
    struct fb_buf *dst)
{
	struct facts facts = { .dst = dst };
	size_t o = 0, n = 0;

	diff_sources(&facts, after, before, "cannot be asked");
	diff_sources(&facts, before, after, "answers again");
	while (o < before->count || n < after->count) {
		const struct fb_machine *old =
		    o < before->count ? &before->machines[o] : NULL;
		const struct fb_machine *new =
		    n < after->count ? &after->machines[n] : NULL;
		int order = compare(old, new);

		if (order == 0)
			diff_machine(&facts, old, new);
		else if (order < 0 && !is_unreachable(after, old->source))
			say_machine(&facts, "-", old, "gone");
		else if (order > 0 && !is_unreachable(before, new->source))
			say_machine(&facts, "+", new, "new");
		o += order <= 0;
		n += order >= 0;
	}
	if (facts.count > FB_TOPOLOGY_FACTS_MAX)
		fb_buf_add_fmt(dst, "and %zu more\n",
		    facts.count - FB_TOPOLOGY_FACTS_MAX);
	return facts.changes;
}
