/*
 * Single paths of a tree, and what mirroring one removes: both by the
 * catalogue alone, without reading the volume.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/catalogue.h"
#include "restore_parts.h"

/* Paths compared at once to suggest one of. */
#define NEAR_BATCH 256

int
fb_rst_open(struct fb_restore *restore, const struct fb_digest *recipe,
    const struct fb_digest *root, uint64_t size,
    struct fb_volume_reader **ret_reader, struct fb_error *err)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	const struct fb_recipe_head *head;
	int rc = fb_volume_open(restore->repo, recipe, &reader, err);

	if (rc < 0)
		return rc;
	head = fb_volume_head(reader);
	if (fb_digest_cmp(&head->root, root) != 0 || head->size != size)
		return fb_fail_id(err, FB_ECORRUPT, "E-RST-ROOT",
		    "the recipe makes other bytes than the manifest records");
	*ret_reader = FB_STEAL(reader);
	return FB_OK;
}

typedef int visit_entry(
    const struct fb_entry *entry, void *arg, struct fb_error *err);

/* Archives write directories with a final slash, people do not. */
static struct fb_span
bare_path(struct fb_span path)
{
	while (path.len > 0 && path.ptr[path.len - 1] == '/')
		path.len--;
	return path;
}

static int
take_line(struct fb_span line, struct fb_buf *scratch, uint64_t number,
    visit_entry *visit, void *arg, struct fb_error *err)
{
	static const char head[] = FB_CATALOGUE_HEAD;
	struct fb_entry entry;
	int rc;

	if (number == 1) {
		if (line.len == sizeof(head) - 2 &&
		    memcmp(line.ptr, head, line.len) == 0)
			return FB_OK;
		return fb_fail(err, FB_ECORRUPT,
		    "the catalogue does not begin like one");
	}
	fb_buf_clear(scratch);
	rc = fb_catalogue_decode(line, scratch, &entry, err);
	if (rc < 0)
		return fb_wrap(err, "catalogue, line %llu",
		    (unsigned long long)number);
	entry.path = bare_path(entry.path);
	entry.target = bare_path(entry.target);
	return visit(&entry, arg, err);
}

/* Feed the lines that `bytes` completes; what is left stays in `line`. */
struct splitter {
	struct fb_buf line, scratch;
	uint64_t number;
	visit_entry *visit;
	void *arg;
};

static int
split_lines(struct splitter *s, struct fb_span bytes, struct fb_error *err)
{
	while (bytes.len > 0) {
		const uint8_t *end = memchr(bytes.ptr, '\n', bytes.len);
		size_t len = end ? (size_t)(end - bytes.ptr) : bytes.len;
		int rc;

		if (s->line.len + len > FB_CATALOGUE_LINE_MAX)
			return fb_fail(err, FB_ECORRUPT,
			    "a line of the catalogue is too long");
		fb_buf_add(&s->line, bytes.ptr, len);
		if (end == NULL)
			return FB_OK;
		rc = take_line(fb_buf_span(&s->line), &s->scratch,
		    ++s->number, s->visit, s->arg, err);
		if (rc < 0)
			return rc;
		fb_buf_clear(&s->line);
		bytes.ptr += len + 1;
		bytes.len -= len + 1;
	}
	return FB_OK;
}

static int
pull_lines(struct fb_restore *restore, struct splitter *s,
    struct fb_pull *pull, struct fb_error *err)
{
	const atomic_bool *cancel = restore->engine->cancel;

	for (;;) {
		struct fb_span bytes;
		int rc = pull->next(pull->arg, &bytes, err);

		if (rc < 0)
			return rc;
		if (cancel && atomic_load(cancel))
			return fb_fail(err, FB_ECANCELED, "canceled");
		if (bytes.len == 0)
			break;
		rc = split_lines(s, bytes, err);
		if (rc < 0)
			return rc;
	}
	if (s->line.len > 0 || s->number == 0)
		return fb_fail(err, FB_ECORRUPT, "the catalogue is cut off");
	return FB_OK;
}

static int
read_catalogue(struct fb_restore *restore,
    const struct fb_manifest_volume *record, visit_entry *visit, void *arg,
    struct fb_error *err)
{
	FB_AUTO_VOLUME struct fb_volume_reader *reader = NULL;
	struct splitter s = { .visit = visit, .arg = arg };
	struct fb_pull pull;
	int rc;

	if (!record->has_catalogue)
		return fb_fail(err, FB_EUNSUP,
		    "volume '%s' has no catalogue in this backup",
		    record->name);
	rc = fb_rst_open(restore, &record->catalogue_recipe,
	    &record->catalogue_root, record->catalogue_size, &reader, err);
	if (rc >= 0)
		rc = fb_volume_pull(
		    reader, 0, record->catalogue_size, &pull, err);
	if (rc >= 0)
		rc = pull_lines(restore, &s, &pull, err);
	fb_buf_release(&s.line);
	fb_buf_release(&s.scratch);
	return rc < 0 ? fb_wrap(err, "catalogue of volume '%s'", record->name)
	              : FB_OK;
}

/* A set of names, as 64 bits of the digest of each.  A catalogue may say the
 * same any number of times: what is there twice is dropped before the set
 * grows. */
struct hashes {
	uint64_t *items;
	size_t count, cap;
};

#define SET_MIN 65536 /* elements, before anything is dropped */

static uint64_t
hash_name(struct fb_span name)
{
	struct fb_digest digest;
	uint64_t value;

	fb_digest_of(name, &digest);
	memcpy(&value, digest.bytes, sizeof(value));
	return value;
}

static int
compare_hashes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
sort_hashes(struct hashes *h)
{
	size_t kept = 0;

	if (h->count < 2)
		return;
	qsort(h->items, h->count, sizeof(*h->items), compare_hashes);
	for (size_t i = 1; i < h->count; i++)
		if (h->items[i] != h->items[kept])
			h->items[++kept] = h->items[i];
	h->count = kept + 1;
}

static void
add_hash(struct hashes *h, struct fb_span name)
{
	if (h->count == h->cap && h->cap >= SET_MIN)
		sort_hashes(h);
	if (h->count >= h->cap - h->cap / 4) {
		h->cap = h->cap ? 2 * h->cap : 1024;
		h->items = fb_realloc(h->items, h->cap, sizeof(*h->items));
	}
	h->items[h->count++] = hash_name(name);
}

/* Of a sorted set. */
static bool
has_hash(const struct hashes *h, struct fb_span name)
{
	uint64_t hash = hash_name(name);

	return h->count > 0 &&
	    bsearch(&hash, h->items, h->count, sizeof(hash), compare_hashes) !=
	    NULL;
}

/* The nearest spelling so far, of any number of paths. */
struct nearest {
	const char *wrong;
	char *names[NEAR_BATCH];
	size_t count;
};

static const char *
settle_nearest(struct nearest *n)
{
	const char *best = fb_name_nearest(
	    n->wrong, (const char *const *)n->names, n->count);
	char *kept = best[0] != '\0' ? fb_strdup(best) : NULL;

	for (size_t i = 0; i < n->count; i++)
		free(n->names[i]);
	n->count = 0;
	if (kept == NULL)
		return "";
	n->names[n->count++] = kept;
	return kept;
}

static void
offer_nearest(struct nearest *n, struct fb_span path)
{
	size_t len = strlen(n->wrong);

	/* Nothing of a very different length is near. */
	if (path.len > 2 * len || len > 2 * path.len ||
	    memchr(path.ptr, '\0', path.len) != NULL)
		return;
	if (n->count == NEAR_BATCH)
		(void)settle_nearest(n);
	n->names[n->count++] =
	    fb_format("%.*s", (int)path.len, (const char *)path.ptr);
}

/* Choosing members. */
struct chooser {
	const struct fb_restore *restore;
	struct fb_rst_paths *paths;
	bool *matched;       /* one for each path that is wanted */
	struct nearest near; /* to the first */
	struct hashes targets; /* of hard links, chosen without them */
	size_t cap;
};

enum relation { APART, INSIDE, ABOVE };

/* How does a member stand to a wanted path: at or below it, or above? */
static enum relation
relate(struct fb_span member, const char *wanted)
{
	size_t len = strlen(wanted);

	if (member.len >= len && memcmp(member.ptr, wanted, len) == 0 &&
	    (member.len == len || member.ptr[len] == '/'))
		return INSIDE;
	if (member.len > 0 && member.len < len &&
	    memcmp(member.ptr, wanted, member.len) == 0 &&
	    wanted[member.len] == '/')
		return ABOVE;
	return APART;
}

static bool
is_chosen(struct chooser *c, struct fb_span path, bool mark)
{
	const struct fb_restore *r = c->restore;
	bool chosen = false;

	for (size_t i = 0; i < r->path_count; i++) {
		if (relate(path, r->paths[i]) != INSIDE)
			continue;
		chosen = true;
		if (mark)
			c->matched[i] = true;
	}
	return chosen;
}

static int
compare_ranges(const void *a, const void *b)
{
	const struct fb_rst_range *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Sorted, and those that meet are one. */
static void
merge_ranges(struct fb_rst_paths *p)
{
	size_t kept = 0;

	if (p->count > 1)
		qsort(p->ranges, p->count, sizeof(*p->ranges), compare_ranges);
	for (size_t i = 0; i < p->count; i++) {
		struct fb_rst_range range = p->ranges[i];

		if (kept == 0 || p->ranges[kept - 1].end < range.offset)
			p->ranges[kept++] = range;
		else if (p->ranges[kept - 1].end < range.end)
			p->ranges[kept - 1].end = range.end;
	}
	p->count = kept;
}

static int
add_range(struct chooser *c, const struct fb_entry *entry,
    struct fb_error *err)
{
	struct fb_rst_paths *p = c->paths;
	uint64_t end;

	if (entry->length == 0)
		return FB_OK;
	if (entry->length > UINT64_MAX / 4 || entry->offset > UINT64_MAX / 4)
		return fb_fail(err, FB_ECORRUPT,
		    "the catalogue places a member outside the archive");
	/* Members are padded to tar's blocks. */
	end = (entry->offset + entry->length + 511) / 512 * 512;
	p->content += entry->size;
	if (p->count > 0 && p->ranges[p->count - 1].end >= entry->offset &&
	    p->ranges[p->count - 1].offset <= entry->offset) {
		if (p->ranges[p->count - 1].end < end)
			p->ranges[p->count - 1].end = end;
		return FB_OK;
	}
	if (p->count == c->cap && c->cap >= SET_MIN)
		merge_ranges(p);
	if (p->count >= c->cap - c->cap / 4) {
		c->cap = c->cap ? 2 * c->cap : 64;
		p->ranges = fb_realloc(p->ranges, c->cap, sizeof(*p->ranges));
	}
	p->ranges[p->count++] = (struct fb_rst_range){ entry->offset, end };
	return FB_OK;
}

static int
choose_entry(const struct fb_entry *entry, void *arg, struct fb_error *err)
{
	struct chooser *c = arg;
	const struct fb_restore *r = c->restore;

	if (!c->matched[0])
		offer_nearest(&c->near, entry->path);
	if (is_chosen(c, entry->path, true)) {
		if (entry->type == FB_ENTRY_HARDLINK &&
		    !is_chosen(c, entry->target, false))
			add_hash(&c->targets, entry->target);
		return add_range(c, entry, err);
	}
	/* A plain directory gets the directories above as they were; a
	 * machine's own are not touched. */
	for (size_t i = 0; i < r->path_count; i++)
		if (r->kind == FB_RESTORE_TO_DIR &&
		    entry->type == FB_ENTRY_DIR &&
		    relate(entry->path, r->paths[i]) == ABOVE)
			return add_range(c, entry, err);
	return FB_OK;
}

/* The second pass: files that chosen hard links point at. */
static int
choose_target(const struct fb_entry *entry, void *arg, struct fb_error *err)
{
	struct chooser *c = arg;

	return has_hash(&c->targets, entry->path)
	    ? add_range(c, entry, err)
	    : FB_OK;
}

static int
join_ranges(struct fb_rst_paths *p, uint64_t size, struct fb_error *err)
{
	merge_ranges(p);
	p->bytes = 0;
	for (size_t i = 0; i < p->count; i++) {
		if (p->ranges[i].end > size)
			return fb_fail(err, FB_ECORRUPT,
			    "the catalogue places a member outside the "
			    "archive");
		p->bytes += p->ranges[i].end - p->ranges[i].offset;
	}
	return FB_OK;
}

static int
check_matched(struct chooser *c, const char *volume, struct fb_error *err)
{
	for (size_t i = 0; i < c->restore->path_count; i++) {
		const char *near;

		if (c->matched[i])
			continue;
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-PATH",
		    "volume '%s' has no path '%s' in this backup", volume,
		    c->restore->paths[i]);
		near = i == 0 ? settle_nearest(&c->near) : "";
		return near[0] != '\0'
		    ? fb_hint(err, "did you mean '%s'?", near)
		    : fb_hint(err, "`fleetbak show --files` lists them");
	}
	return FB_OK;
}

int
fb_rst_paths_find(struct fb_restore *restore, struct fb_rst_volume *volume,
    struct fb_error *err)
{
	FB_AUTO_FREE bool *matched =
	    fb_alloc(restore->path_count + 1, sizeof(*matched));
	struct chooser c = { .restore = restore, .paths = &volume->paths,
		.matched = matched, .near = { .wrong = restore->paths[0] } };
	const struct fb_manifest_volume *record = volume->record;
	int rc = read_catalogue(restore, record, choose_entry, &c, err);

	if (rc >= 0 && c.targets.count > 0) {
		sort_hashes(&c.targets);
		rc = read_catalogue(
		    restore, record, choose_target, &c, err);
	}
	if (rc >= 0)
		rc = check_matched(&c, record->name, err);
	if (rc >= 0)
		rc = join_ranges(&volume->paths, record->size, err);
	for (size_t i = 0; i < c.near.count; i++)
		free(c.near.names[i]);
	free(c.targets.items);
	return rc;
}

/* Removals: which names does the archive lack?  A collision hides a line of
 * the plan and nothing else. */
static int
add_name(const struct fb_entry *entry, void *arg, struct fb_error *err)
{
	(void)err;
	add_hash(arg, entry->path);
	return FB_OK;
}

struct remover {
	struct hashes names;
	struct fb_restore_report *report;
	const char *machine, *volume;
};

static int
judge_path(void *arg, const char *path, struct fb_error *err)
{
	struct remover *rm = arg;
	struct fb_restore_report *report = rm->report;
	size_t len = strlen(path);

	(void)err;
	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len == 0 ||
	    has_hash(&rm->names,
	        (struct fb_span){ (const uint8_t *)path, len }))
		return FB_OK;
	report->removals = fb_realloc(report->removals,
	    report->removal_count + 1, sizeof(*report->removals));
	report->removals[report->removal_count++] =
	    fb_format("%s %s %s", rm->machine, rm->volume, path);
	return FB_OK;
}

int
fb_rst_removals(struct fb_restore *restore, struct fb_rst_machine *machine,
    size_t index, struct fb_error *err)
{
	const struct fb_manifest_volume *record =
	    machine->volumes[index].record;
	struct fb_restore_request request = fb_rst_request(restore, machine);
	struct remover rm = { .report = restore->report,
		.machine = machine->key,
		.volume = machine->volumes[index].there->name };
	int rc = FB_OK;

	rc = read_catalogue(restore, record, add_name, &rm.names, err);
	sort_hashes(&rm.names);
	if (rc >= 0)
		rc = fb_driver_restore_list(machine->driver, &request,
		    machine->volumes[index].there, judge_path, &rm, err);
	free(rm.names.items);
	return rc;
}
