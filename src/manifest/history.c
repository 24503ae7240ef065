/*
 * The history of a fleet: who came after whom, and is anything gone?
 *
 * Registers repeat the predecessors of their manifests, so that no manifest
 * but the newest is read here; verify compares the two for every run.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "fleetbak/manifest/manifest.h"

#define MEMORY_MAX 65536

struct entry {
	struct fb_run_ref ref; /* its predecessors are in the history's list */
	size_t first, count;   /* ... from here */
	bool unusable;         /* its checksums do not hold */
};

struct history {
	struct fb_repo *repo;
	const char *fleet;
	struct entry *entries; /* newest first */
	size_t count;
	struct fb_predecessor *links;
	size_t link_count;
	char (*damaged)[FB_RUN_ID_SIZE]; /* sessions whose register is bad */
	size_t damaged_count;
	char (*forgotten)[FB_RUN_ID_SIZE]; /* runs */
	size_t forgotten_count;
	bool strict; /* what is there and not listed is an error */
};

static void
release_history(struct history *history)
{
	free(history->entries);
	free(history->links);
	free(history->damaged);
	free(history->forgotten);
}

static void
add_id(char (**list)[FB_RUN_ID_SIZE], size_t *count, const char *id)
{
	*list = fb_realloc(*list, *count + 1, sizeof(**list));
	memcpy((*list)[(*count)++], id, FB_RUN_ID_SIZE);
}

static bool
has_id(char (*list)[FB_RUN_ID_SIZE], size_t count, const char *id)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i], id) == 0)
			return true;
	return false;
}

static int
add_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct history *history = arg;
	struct entry *entry;

	(void)err;
	if (run->damage != NULL) {
		add_id(&history->damaged, &history->damaged_count, run->run);
		return FB_OK;
	}
	if (strcmp(run->fleet, history->fleet) != 0)
		return FB_OK;
	history->entries = fb_realloc(history->entries, history->count + 1,
	    sizeof(*history->entries));
	entry = &history->entries[history->count++];
	*entry = (struct entry){ .ref = *run,
		.first = history->link_count,
		.count = run->predecessor_count };
	entry->ref.predecessors = NULL;
	if (run->predecessor_count == 0)
		return FB_OK;
	history->links = fb_realloc(history->links,
	    history->link_count + run->predecessor_count,
	    sizeof(*history->links));
	memcpy(history->links + history->link_count, run->predecessors,
	    run->predecessor_count * sizeof(*history->links));
	history->link_count += run->predecessor_count;
	return FB_OK;
}

static int
add_forget(const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	struct history *history = arg;

	(void)err;
	if (strcmp(forget->fleet, history->fleet) == 0)
		add_id(&history->forgotten, &history->forgotten_count,
		    forget->run);
	return FB_OK;
}

static struct history
begin_history(struct fb_repo *repo, const char *fleet, bool strict)
{
	return (struct history){
		.repo = repo, .fleet = fleet, .strict = strict
	};
}

static int
load_history(struct history *history, struct fb_error *err)
{
	return fb_repo_runs_and_forgets(
	    history->repo, add_run, add_forget, history, err);
}

/* Newest first, so a run is found by halving. */
static struct entry *
find_run(const struct history *history, const char *run)
{
	size_t low = 0, high = history->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(history->entries[middle].ref.run, run);

		if (order == 0)
			return &history->entries[middle];
		if (order > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int
manifest_digest(const struct history *history, const struct entry *entry,
    struct fb_digest *ret_digest, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	FB_AUTO_FREE char *path =
	    fb_format("runs/%s/manifest.json", entry->ref.run);
	int rc = fb_repo_run_sums(history->repo, &entry->ref, &sums, err);

	if (rc < 0)
		return rc;
	return fb_sums_find(fb_buf_span(&sums), path, ret_digest, err);
}

static bool *
mark_named(const struct history *history)
{
	bool *named = fb_alloc(history->count, sizeof(*named));

	for (size_t i = 0; i < history->count; i++) {
		const struct entry *entry = &history->entries[i];

		if (entry->unusable)
			continue;
		for (size_t j = 0; j < entry->count; j++) {
			const struct entry *older = find_run(
			    history, history->links[entry->first + j].run);

			if (older != NULL)
				named[older - history->entries] = true;
		}
	}
	return named;
}

/*
 * Collect the heads.  One whose checksums do not hold cannot be named; it
 * counts as if it were not there, and *ret_again says to look again.
 */
static int
collect_heads(struct history *history, struct fb_predecessor *heads,
    size_t *ret_count, bool *ret_again, struct fb_error *err)
{
	FB_AUTO_FREE bool *named = mark_named(history);
	size_t count = 0;

	*ret_again = false;
	/* Backwards: oldest first, which is the order of predecessors. */
	for (size_t i = history->count; i-- > 0 && !*ret_again;) {
		struct entry *entry = &history->entries[i];
		int rc;

		if (entry->unusable || named[i] ||
		    count == FB_PREDECESSORS_MAX)
			continue;
		rc = manifest_digest(
		    history, entry, &heads[count].manifest, err);
		if (rc == FB_ECORRUPT || rc == FB_EUNTRUSTED) {
			entry->unusable = true;
			*ret_again = true;
		} else if (rc < 0) {
			return rc;
		}
		memcpy(heads[count].run, entry->ref.run, FB_RUN_ID_SIZE);
		count++;
	}
	*ret_count = count;
	return FB_OK;
}

int
fb_history_heads(struct fb_repo *repo, const char *fleet,
    struct fb_predecessor **ret_heads, size_t *ret_count,
    struct fb_error *err)
{
	struct history history = begin_history(repo, fleet, false);
	FB_AUTO_FREE struct fb_predecessor *heads = NULL;
	size_t count = 0;
	bool again = true;
	int rc = load_history(&history, err);

	if (rc == FB_OK)
		heads = fb_alloc(history.count, sizeof(*heads));
	while (rc == FB_OK && again)
		rc = collect_heads(&history, heads, &count, &again, err);
	release_history(&history);
	if (rc < 0)
		return fb_wrap(err, "history of fleet '%s'", fleet);
	*ret_heads = FB_STEAL(heads);
	*ret_count = count;
	return FB_OK;
}

struct memory {
	bool known;
	char run[FB_RUN_ID_SIZE];
	struct fb_digest manifest;
};

static int
parse_memory(const struct history *history, struct fb_span text,
    struct memory *memory, struct fb_error *err)
{
	static const char *const keys[] = { "fleet", "manifest", "repository",
		"run", "version", NULL };
	static const char what[] = "memory of the newest run";
	const char *fleet, *manifest, *repository, *run;
	FB_AUTO_JSON json_t *value = NULL;
	uint64_t version;
	int rc = fb_json_parse(text, MEMORY_MAX, what, &value, err);

	if (rc < 0 || (rc = fb_json_only(value, what, keys, err)) < 0 ||
	    (rc = fb_json_u64(value, "version", what, 1, &version, err)) <
	        0 ||
	    (rc = fb_json_str(value, "fleet", what, &fleet, err)) < 0 ||
	    (rc = fb_json_str(value, "manifest", what, &manifest, err)) < 0 ||
	    (rc = fb_json_str(value, "repository", what, &repository, err)) <
	        0 ||
	    (rc = fb_json_str(value, "run", what, &run, err)) < 0)
		return rc;
	rc = fb_digest_parse((struct fb_span){ (const uint8_t *)manifest,
	                         strlen(manifest) },
	    &memory->manifest, err);
	if (rc < 0 || !fb_run_id_ok(run, strlen(run)))
		return fb_fail(err, FB_ECORRUPT, "%s: no run", what);
	/* Another repository took the place: it has a history of its own. */
	memory->known =
	    strcmp(repository, history->repo->format.repository) == 0 &&
	    strcmp(fleet, history->fleet) == 0;
	memcpy(memory->run, run, FB_RUN_ID_SIZE);
	return FB_OK;
}

static int
load_memory(const struct history *history, const char *path,
    struct memory *memory, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc;

	if (path == NULL)
		return FB_OK;
	rc = fb_io_read_file(path, MEMORY_MAX, &text, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_OK)
		rc = parse_memory(history, fb_buf_span(&text), memory, err);
	return rc < 0 ? fb_wrap(err, "'%s'", path) : FB_OK;
}

static int
save_memory(const struct history *history, const char *path, const char *run,
    const struct fb_digest *manifest, struct fb_error *err)
{
	char hex[FB_DIGEST_HEX_SIZE];
	FB_AUTO_JSON json_t *value = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *dir = fb_strdup(path);
	char *slash = strrchr(dir, '/');
	int rc = FB_OK;

	if (slash != NULL && slash != dir) {
		*slash = '\0';
		rc = fb_io_mkdirs(dir, 0700, err);
		if (rc < 0)
			return rc;
	}
	fb_digest_hex(manifest, hex);
	value = json_pack("{s:s,s:s,s:s,s:s,s:i}", "fleet", history->fleet,
	    "manifest", hex, "repository", history->repo->format.repository,
	    "run", run, "version", 1);
	fb_json_add(&text, value);
	fb_buf_add_str(&text, "\n");
	return fb_io_replace(path, fb_buf_span(&text), 0600, err);
}

static int
roll_back(struct fb_error *err, const char *fmt, ...) FB_PRINTF(2, 3);

static int
roll_back(struct fb_error *err, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	(void)fb_fail_id(err, FB_EUNTRUSTED, "E-ROLLBACK", "%s", text);
	return fb_hint(err,
	    "somebody removed runs or put back an older copy of the "
	    "repository: find out before you rely on it");
}

/* There, given up by a signed record, or at least damaged in place. */
static bool
accounted_for(const struct history *history, const char *run)
{
	return find_run(history, run) != NULL ||
	    has_id(history->forgotten, history->forgotten_count, run) ||
	    has_id(history->damaged, history->damaged_count, run);
}

/* What is not accounted for may only be missing from the listing, which some
 * servers let lag behind: its register says so.  One that is damaged counts
 * here as it does there. */
static int
is_gone(const struct history *history, const char *run, bool *ret_gone,
    struct fb_error *err)
{
	FB_AUTO_FREE char *key = fb_format("commits/%s", run);
	uint64_t size;
	int rc;

	*ret_gone = false;
	if (accounted_for(history, run))
		return FB_OK;
	rc = fb_store_head(history->repo->store, key, &size, err);
	*ret_gone = rc == FB_ENOTFOUND;
	if (rc == FB_OK && history->strict)
		return fb_repo_fail_unlisted(run, err);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
check_memory(const struct history *history, const struct memory *memory,
    struct fb_error *err)
{
	const struct entry *entry = find_run(history, memory->run);
	struct fb_error ignored = { 0 };
	struct fb_digest digest;
	bool gone;
	int rc = is_gone(history, memory->run, &gone, err);

	if (rc < 0)
		return rc;
	if (gone)
		return roll_back(err,
		    "run %s was seen here before and is gone", memory->run);
	if (entry != NULL &&
	    manifest_digest(history, entry, &digest, &ignored) == FB_OK &&
	    fb_digest_cmp(&digest, &memory->manifest) != 0)
		return roll_back(err,
		    "run %s is not the one that was seen here before",
		    memory->run);
	return FB_OK;
}

static int
check_links(const struct history *history, struct fb_error *err)
{
	for (size_t i = 0; i < history->count; i++) {
		const struct entry *entry = &history->entries[i];

		for (size_t j = 0; j < entry->count; j++) {
			const char *run =
			    history->links[entry->first + j].run;
			bool gone;
			int rc = is_gone(history, run, &gone, err);

			if (rc < 0)
				return rc;
			if (gone)
				return roll_back(err,
				    "run %s, which run %s names as its "
				    "predecessor, is gone",
				    run, entry->ref.run);
		}
	}
	return FB_OK;
}

/* The signed predecessors of the newest run are those of its register. */
static int
check_newest(const struct history *history, struct fb_error *err)
{
	const struct entry *entry = history->entries;
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	const struct fb_manifest_head *head;
	struct fb_error ignored = { 0 };

	/* A damaged or unsigned one is for whoever opens it to report. */
	if (history->count == 0 ||
	    fb_manifest_open(history->repo, &entry->ref, false, NULL,
	        &manifest, &ignored) < 0)
		return FB_OK;
	head = fb_manifest_get_head(manifest);
	if (!fb_predecessors_same(head->predecessors, head->predecessor_count,
	        history->links + entry->first, entry->count))
		return roll_back(err,
		    "the register of run %s names other predecessors than "
		    "its manifest",
		    entry->ref.run);
	return FB_OK;
}

bool
fb_predecessors_same(const struct fb_predecessor *a, size_t a_count,
    const struct fb_predecessor *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (strcmp(a[i].run, b[i].run) != 0 ||
		    fb_digest_cmp(&a[i].manifest, &b[i].manifest) != 0)
			return false;
	return true;
}

/* The newest run may lack its SHA256SUMS.sig, if its writer died just after
 * the commit and never came back.  Best effort. */
static void
complete_newest(const struct history *history)
{
	const struct fb_run_ref *run = &history->entries[0].ref;
	FB_AUTO_FREE char *key = fb_format("runs/%s/SHA256SUMS.sig", run->run);
	struct fb_error ignored = { 0 };
	uint64_t size;

	if (fb_store_head(history->repo->store, key, &size, &ignored) ==
	    FB_ENOTFOUND)
		(void)!fb_repo_complete(history->repo, run, &ignored);
}

/* The memory goes forward only: another command may have gone further since
 * it was read. */
static int
remember_newest(
    const struct history *history, const char *path, struct fb_error *err)
{
	struct fb_error ignored = { 0 };
	struct memory memory = { 0 };
	struct fb_digest digest;
	int rc;

	if (history->count == 0 || path == NULL)
		return FB_OK;
	complete_newest(history);
	rc = load_memory(history, path, &memory, err);
	if (rc < 0 ||
	    (memory.known &&
	        strcmp(history->entries[0].ref.run, memory.run) <= 0))
		return rc;
	if (manifest_digest(
	        history, &history->entries[0], &digest, &ignored) < 0)
		return FB_OK; /* what is not sound is not remembered */
	return save_memory(
	    history, path, history->entries[0].ref.run, &digest, err);
}

/* What is remembered is read before the list begins: then whatever commits
 * meanwhile, here too, is no sign of a list that lags. */
static int
check_once(struct history *history, const char *memory_path,
    struct memory *memory, struct fb_error *err)
{
	int rc = load_memory(history, memory_path, memory, err);

	if (rc == FB_OK)
		rc = load_history(history, err);
	if (rc == FB_OK && memory->known)
		rc = check_memory(history, memory, err);
	if (rc == FB_OK)
		rc = check_links(history, err);
	return rc < 0 ? rc : check_newest(history, err);
}

static int
check(struct fb_repo *repo, const char *fleet, const char *memory_path,
    bool remember, bool strict, bool *ret_known, struct fb_error *err)
{
	struct history history = begin_history(repo, fleet, strict);
	struct memory memory = { 0 };
	int rc = check_once(&history, memory_path, &memory, err);

	/* A run and one that names it may both have been committed while the
	 * list was made, which then has only one: the next one has both. */
	if (rc == FB_EBUSY && strict) {
		release_history(&history);
		history = begin_history(repo, fleet, strict);
		memory = (struct memory){ 0 };
		rc = check_once(&history, memory_path, &memory, err);
	}
	if (rc == FB_OK && remember)
		rc = remember_newest(&history, memory_path, err);
	release_history(&history);
	*ret_known = memory.known;
	return rc < 0 ? fb_wrap(err, "history of fleet '%s'", fleet) : FB_OK;
}

int
fb_history_check(struct fb_repo *repo, const char *fleet,
    const char *memory_path, bool remember, bool *ret_known,
    struct fb_error *err)
{
	return check(
	    repo, fleet, memory_path, remember, false, ret_known, err);
}

int
fb_history_check_lists(struct fb_repo *repo, const char *fleet,
    const char *memory_path, struct fb_error *err)
{
	bool known;

	return check(repo, fleet, memory_path, false, true, &known, err);
}

int
fb_history_remember(struct fb_repo *repo, const char *fleet,
    const char *memory_path, const char *session, struct fb_error *err)
{
	struct history history = begin_history(repo, fleet, false);
	struct memory memory = { 0 };
	struct entry entry = { 0 };
	struct fb_register reg = { 0 };
	struct fb_digest digest;
	int rc = load_memory(&history, memory_path, &memory, err);

	if (rc == FB_OK)
		rc = fb_repo_register(repo, session, &reg, err);
	if (rc < 0 || reg.fence) {
		fb_register_release(&reg);
		return rc;
	}
	memcpy(entry.ref.run, reg.run, sizeof(entry.ref.run));
	memcpy(entry.ref.signer, reg.signer, sizeof(entry.ref.signer));
	memcpy(
	    entry.ref.signature, reg.signature, sizeof(entry.ref.signature));
	entry.ref.sums = reg.sums;
	if (!memory.known || strcmp(reg.run, memory.run) > 0) {
		rc = manifest_digest(&history, &entry, &digest, err);
		if (rc == FB_OK)
			rc = save_memory(
			    &history, memory_path, reg.run, &digest, err);
	}
	fb_register_release(&reg);
	return rc;
}

int
fb_history_accept(struct fb_repo *repo, const char *fleet,
    const char *memory_path, struct fb_error *err)
{
	struct history history = begin_history(repo, fleet, false);
	struct fb_digest digest;
	int rc = load_history(&history, err);

	if (rc == FB_OK && history.count > 0)
		rc = manifest_digest(
		    &history, &history.entries[0], &digest, err);
	if (rc == FB_OK && history.count > 0)
		rc = save_memory(&history, memory_path,
		    history.entries[0].ref.run, &digest, err);
	else if (rc == FB_OK)
		rc = fb_io_unlink(memory_path, err);
	release_history(&history);
	return rc < 0 ? fb_wrap(err, "history of fleet '%s'", fleet) : FB_OK;
}
