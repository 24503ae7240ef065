/*
 * A directory of a snapshot of the account's, as one archive.
 *
 * The provider packs a directory, if it is not too large; else its parts are
 * asked for one by one.  Each answer is gathered in a file first: it cannot be
 * gone on with where it broke off, and half of it is not used.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "tree_internal.h"

#include "miosa_internal.h"

#define TRIES_MAX  4
#define DEPTH_MAX  64
#define WARMING_MS 120000
#define READ_STEP  ((size_t)256 << 10)

/* More than the provider gives at once: 2 GiB. */
#define ANSWER_MAX (UINT64_C(3) << 30)
/* That much of an answer is looked at when it says that it warms up. */
#define WARM_MAX 65536

#define WALL 0755

struct tree {
	struct fb_artifact base;
	struct fb_miosa *miosa;
	char *sid, *root;
	const struct fb_sink *sink;
	struct fb_miosa_tar *tar;
	int fd; /* where answers are gathered */
	uint64_t size;
	uint8_t *room;
	bool told; /* that some come without owners and times */
};

/* -------------------------------------------------------------- entries */

static int
no_entry(const char *dir, const char *what, struct fb_error *err)
{
	return fb_fail(err, FB_EPROTO,
	    "MIOSA's list of '%s' in a snapshot is none: %s", dir, what);
}

static uint32_t
mode_of(const json_t *item)
{
	const json_t *mode = json_object_get(item, "mode");
	const char *text = json_string_value(mode);

	if (json_is_integer(mode))
		return (uint32_t)json_integer_value(mode) & 07777;
	/* As text it is octal, "0644" or "100644". */
	return text != NULL ? (uint32_t)strtoul(text, NULL, 8) & 07777 : 0;
}

static int
take_entry(const json_t *item, const char *dir, struct fb_miosa_entry *entry,
    struct fb_error *err)
{
	const char *type = fb_miosa_text(item, "type");
	const json_t *size = json_object_get(item, "size");
	FB_AUTO_FREE char *path = NULL;

	entry->name = fb_miosa_text(item, "name");
	entry->path = fb_miosa_text(item, "path");
	if (entry->name[0] == '\0' || strchr(entry->name, '/') != NULL ||
	    strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
		return no_entry(dir, "a name is none", err);
	path = fb_format("%s%s%s", dir,
	    dir[strlen(dir) - 1] == '/' ? "" : "/", entry->name);
	if (strcmp(path, entry->path) != 0)
		return no_entry(dir, "a path is of another directory", err);
	entry->type = strcmp(type, "file") == 0 ? FB_MIOSA_FILE
	    : strcmp(type, "directory") == 0    ? FB_MIOSA_DIR
	    : strcmp(type, "symlink") == 0      ? FB_MIOSA_LINK
	                                        : FB_MIOSA_ODD;
	if (entry->type == FB_MIOSA_FILE &&
	    (!json_is_integer(size) || json_integer_value(size) < 0))
		return no_entry(dir, "a file has no size", err);
	entry->size = json_is_integer(size) && json_integer_value(size) > 0
	    ? (uint64_t)json_integer_value(size)
	    : 0;
	entry->mode = mode_of(item);
	return FB_OK;
}

static int
compare_entries(const void *a, const void *b)
{
	const struct fb_miosa_entry *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int
fb_miosa_entries(const json_t *answer, const char *dir,
    struct fb_miosa_entry **ret_entries, size_t *ret_count,
    struct fb_error *err)
{
	const json_t *list = json_object_get(answer, "entries");
	FB_AUTO_FREE struct fb_miosa_entry *entries = NULL;
	const json_t *item;
	size_t index;

	if (!json_is_array(list))
		return no_entry(dir, "it has no entries", err);
	entries = fb_alloc(json_array_size(list) + 1, sizeof(*entries));
	json_array_foreach(list, index, item) {
		int rc = take_entry(item, dir, &entries[index], err);

		if (rc < 0)
			return rc;
	}
	*ret_count = json_array_size(list);
	if (*ret_count > 1)
		qsort(entries, *ret_count, sizeof(*entries), compare_entries);
	for (size_t i = 1; i < *ret_count; i++)
		if (strcmp(entries[i - 1].name, entries[i].name) == 0)
			return no_entry(dir, "a name comes twice", err);
	*ret_entries = FB_STEAL(entries);
	return FB_OK;
}

/* -------------------------------------------------------------- asking */

static char *
query_path(const struct tree *tree, const char *kind, const char *path)
{
	FB_AUTO_FREE char *rest = fb_format("/%s?path=", kind);
	FB_AUTO_FREE char *head =
	    fb_miosa_path("snapshots", tree->sid, rest);
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add_str(&text, head);
	fb_api_add_encoded(&text, path);
	return (char *)fb_buf_steal(&text);
}

static int
still_warming(const char *path, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ERETRY, "E-MIOSA-WARMING",
	    "MIOSA has not unpacked the snapshot for '%s' yet", path);
	return fb_hint(err, "run the command again later: the snapshot is not "
			    "the worse for it");
}

/* "202 warming": wait as long as it says, two minutes in all. */
static int
wait_warm(struct fb_miosa_wait *wait, const json_t *answer, const char *path,
    struct fb_error *err)
{
	const json_t *ms = json_object_get(answer, "retry_after_ms");
	int rc;

	wait->next_ms = json_integer_value(ms) > 0 &&
	        json_integer_value(ms) <= WARMING_MS
	    ? (uint64_t)json_integer_value(ms)
	    : 2000;
	rc = fb_miosa_pause(wait, path, err);
	return rc == FB_ETIMEOUT ? still_warming(path, err) : rc;
}

static int
list_dir(struct tree *tree, const char *dir, json_t **ret_answer,
    struct fb_error *err)
{
	static const char *const keys[] = { "data", NULL };
	FB_AUTO_FREE char *path = query_path(tree, "tree", dir);
	struct fb_miosa_wait wait = fb_miosa_wait_until(WARMING_MS, 0, NULL);

	for (;;) {
		FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
		struct fb_api_call call = { .method = "GET", .path = path,
			.what = "tree", .safe = true,
			.answer_max = (size_t)16 << 20 };
		int rc = fb_api_send(tree->miosa->api, &call, &answer, err);

		if (rc == FB_OK && answer.status != 202) {
			*ret_answer = json_incref(
			    fb_api_object(answer.json, keys));
			return *ret_answer != NULL
			    ? FB_OK
			    : no_entry(dir, "it is no object", err);
		}
		if (rc == FB_OK)
			rc = wait_warm(&wait, answer.json, dir, err);
		if (rc < 0)
			return rc;
	}
}

static int
gather(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct tree *tree = arg;
	int rc;

	if (piece.len > ANSWER_MAX - tree->size)
		return fb_fail(err, FB_EPROTO, "the answer has no end");
	rc = fb_io_pwrite_all(tree->fd, "spool", piece, tree->size, err);
	if (rc == FB_OK)
		tree->size += piece.len;
	return rc;
}

static json_t *
read_warming(const struct tree *tree)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(WARM_MAX, 1);
	struct fb_error ignored = { 0 };
	json_t *json = NULL;
	size_t got = 0;

	if (fb_io_pread(tree->fd, "spool", bytes, WARM_MAX, 0, &got,
	        &ignored) < 0 ||
	    fb_json_parse((struct fb_span){ bytes, got }, WARM_MAX, "answer",
	        &json, &ignored) < 0)
		return NULL;
	return json;
}

/* One try; *ret_status as the answer's.  *ret_framed: it says where it ends. */
static int
gather_once(struct tree *tree, const char *path, int *ret_status,
    bool *ret_framed, struct fb_error *err)
{
	struct fb_api_fetch fetch = { .path = path,
		.what = "files",
		.end = UINT64_MAX,
		.total = UINT64_MAX,
		.whole = true,
		.sink = gather,
		.arg = tree };
	int rc = fb_io_truncate(tree->fd, "spool", 0, err);

	tree->size = 0;
	if (rc == FB_OK)
		rc = fb_api_get_bytes(tree->miosa->api, &fetch, err);
	*ret_status = fetch.status;
	*ret_framed = fetch.framed;
	return rc;
}

static bool
may_try_again(int rc)
{
	return rc == FB_EUNREACH || rc == FB_EUNKNOWN || rc == FB_ETIMEOUT ||
	    rc == FB_ERETRY;
}

/* What lies at `where`, into the file.  FB_ENOSPACE with *ret_status 413: it
 * is too large. */
static int
gather_all(struct tree *tree, const char *where, int *ret_status,
    bool *ret_framed, struct fb_error *err)
{
	FB_AUTO_FREE char *path = query_path(tree, "files", where);
	struct fb_miosa_wait warm = fb_miosa_wait_until(WARMING_MS, 0, NULL);
	struct fb_miosa_wait wait = fb_miosa_wait_until(INT32_MAX, 0, NULL);
	unsigned tries = 0;

	for (;;) {
		int rc = gather_once(
		    tree, path, ret_status, ret_framed, err);

		if (rc == FB_OK && *ret_status == 202) {
			FB_AUTO_JSON json_t *answer = read_warming(tree);

			rc = wait_warm(&warm, answer, where, err);
			if (rc < 0)
				return rc;
			continue;
		}
		if (!may_try_again(rc) || ++tries == TRIES_MAX)
			return rc;
		*err = (struct fb_error){ 0 };
		rc = fb_miosa_pause(&wait, where, err);
		if (rc < 0)
			return rc;
	}
}

/* --------------------------------------------------------------- giving */

struct spooled {
	struct tree *tree;
	uint64_t at;
};

static int
pull_spooled(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct spooled *s = arg;
	struct tree *tree = s->tree;
	size_t got = 0;
	int rc = fb_io_pread(
	    tree->fd, "spool", tree->room, READ_STEP, s->at, &got, err);

	s->at += got;
	*ret_bytes = (struct fb_span){ tree->room, got };
	return rc;
}

static void
warn(struct tree *tree, const char *path, const char *what)
{
	if (tree->sink->warn != NULL)
		tree->sink->warn(tree->sink->arg, path, what);
}

/* Said once: it is so of every file of a directory that is too large. */
static void
warn_bare(struct tree *tree, const char *path)
{
	if (!tree->told)
		warn(tree, path,
		    "its directory is too large to come as one archive: it "
		    "and others there come without owner, times and "
		    "attributes");
	tree->told = true;
}

static int
too_large(const char *path, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EUNSUP, "E-MIOSA-LARGE",
	    "MIOSA does not give '%s': it is a single file of more than it "
	    "gives at once", path);
	return fb_hint(err, "leave it out by naming other trees, or use a "
			    "deployment that exports checkpoints");
}

static int
give_file(struct tree *tree, const struct fb_miosa_entry *entry,
    const char *path, struct fb_error *err)
{
	struct spooled spooled = { tree, 0 };
	struct fb_pull pull = { &spooled, pull_spooled };
	int status;
	bool framed;
	int rc = gather_all(tree, entry->path, &status, &framed, err);

	if (rc == FB_ENOSPACE && status == 413)
		return too_large(entry->path, err);
	if (rc < 0)
		return rc;
	if (tree->size != entry->size)
		return fb_fail(err, FB_EPROTO,
		    "'%s' of the snapshot came with %" PRIu64 " bytes, and "
		    "has %" PRIu64, entry->path, tree->size, entry->size);
	warn_bare(tree, path);
	return fb_miosa_tar_add(
	    tree->tar, path, entry->mode, entry->size, &pull, err);
}

static int give_dir(struct tree *tree, const char *dir, const char *path,
    uint32_t mode, unsigned depth, struct fb_error *err);

static int
give_entry(struct tree *tree, const struct fb_miosa_entry *entry,
    const char *above, unsigned depth, struct fb_error *err)
{
	FB_AUTO_FREE char *path = strcmp(above, ".") == 0
	    ? fb_strdup(entry->name)
	    : fb_format("%s/%s", above, entry->name);

	switch (entry->type) {
	case FB_MIOSA_FILE:
		return give_file(tree, entry, path, err);
	case FB_MIOSA_DIR:
		return give_dir(
		    tree, entry->path, path, entry->mode, depth + 1, err);
	case FB_MIOSA_LINK:
		warn(tree, path, "left out: its directory is too large to "
				 "come as one archive, and MIOSA does not say "
				 "where this link points");
		return FB_OK;
	case FB_MIOSA_ODD:
		break;
	}
	warn(tree, path, "left out: MIOSA gives only files and directories");
	return FB_OK;
}

/* It is too large to come at once: each part by itself. */
static int
split_dir(struct tree *tree, const struct fb_miosa_entry *entries,
    size_t count, const char *path, uint32_t mode, unsigned depth,
    struct fb_error *err)
{
	int rc = fb_miosa_tar_add(tree->tar, path, mode, 0, NULL, err);

	for (size_t i = 0; rc == FB_OK && i < count; i++)
		rc = give_entry(tree, &entries[i], path, depth, err);
	return rc;
}

/* An answer that does not say where it ends must end as archives do. */
static int
check_end(const struct tree *tree, bool framed, struct fb_error *err)
{
	uint8_t last[1024];
	size_t got = 0;
	int rc = FB_OK;

	if (tree->size >= sizeof(last))
		rc = fb_io_pread(tree->fd, "spool", last, sizeof(last),
		    tree->size - sizeof(last), &got, err);
	for (size_t i = 0; rc == FB_OK && i < got; i++)
		if (last[i] != 0 && !framed)
			got = 0;
	if (rc == FB_OK && (got == 0 || tree->size == 0))
		rc = fb_fail_id(err, FB_EPROTO, "E-MIOSA-TAR",
		    "an archive of the snapshot ends before its end");
	return rc;
}

static int
merge_dir(struct tree *tree, const struct fb_miosa_entry *entries,
    size_t count, const char *dir, const char *path, struct fb_error *err)
{
	FB_AUTO_FREE const char **names =
	    fb_alloc(count + 1, sizeof(*names));
	FB_AUTO_FREE bool *seen = fb_alloc(count + 1, sizeof(*seen));
	struct spooled spooled = { tree, 0 };
	struct fb_pull pull = { &spooled, pull_spooled };
	int rc;

	for (size_t i = 0; i < count; i++)
		names[i] = entries[i].name;
	rc = fb_miosa_tar_merge(
	    tree->tar, &pull, dir, path, names, seen, err);
	for (size_t i = 0; rc == FB_OK && i < count; i++)
		if (!seen[i])
			warn(tree, entries[i].path,
			    "MIOSA lists it, and left it out of its archive");
	return rc;
}

static int
give_dir(struct tree *tree, const char *dir, const char *path, uint32_t mode,
    unsigned depth, struct fb_error *err)
{
	FB_AUTO_FREE struct fb_miosa_entry *entries = NULL;
	FB_AUTO_JSON json_t *list = NULL;
	size_t count = 0;
	bool framed = false;
	int status = 0;
	int rc;

	if (depth > DEPTH_MAX)
		return fb_fail(err, FB_EPROTO,
		    "'%s' of the snapshot lies too deep", dir);
	rc = list_dir(tree, dir, &list, err);
	if (rc == FB_OK)
		rc = fb_miosa_entries(list, dir, &entries, &count, err);
	if (rc == FB_OK)
		rc = gather_all(tree, dir, &status, &framed, err);
	if (rc == FB_ENOSPACE && status == 413) {
		*err = (struct fb_error){ 0 };
		return split_dir(
		    tree, entries, count, path, mode, depth, err);
	}
	if (rc == FB_OK)
		rc = check_end(tree, framed, err);
	if (rc == FB_OK)
		rc = merge_dir(tree, entries, count, dir, path, err);
	if (rc != FB_ECONFLICT)
		return rc;
	*err = (struct fb_error){ 0 };
	return split_dir(tree, entries, count, path, mode, depth, err);
}

/* ------------------------------------------------------------- artifact */

/* An unnamed file in the spool, or where temporary files are. */
static int
open_spool(struct tree *tree, struct fb_error *err)
{
	const char *spool = tree->miosa->spool;
	const char *dir = spool != NULL ? spool : "/var/tmp";
	FB_AUTO_FREE char *path = NULL;

	tree->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (tree->fd >= 0)
		return FB_OK;
	path = fb_format("%s/fleetbak-XXXXXX", dir);
	tree->fd = mkostemp(path, O_CLOEXEC);
	if (tree->fd < 0)
		return fb_fail_sys(err, "cannot make a file in '%s'", dir);
	(void)unlink(path);
	return FB_OK;
}

static int
tree_produce(struct fb_artifact *artifact, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct tree *tree = (struct tree *)artifact;
	int rc;

	tree->sink = sink;
	fb_miosa_tar_freep(&tree->tar);
	rc = fb_miosa_tar_new(sink, &tree->tar, err);
	if (rc == FB_OK)
		rc = give_dir(tree, tree->root, ".", WALL, 0, err);
	return rc < 0 ? rc : fb_miosa_tar_end(tree->tar, err);
}

static void
tree_close(struct fb_artifact *artifact)
{
	struct tree *tree = (struct tree *)artifact;

	fb_miosa_tar_free(tree->tar);
	fb_closep(&tree->fd);
	free(tree->room);
	free(tree->sid);
	free(tree->root);
	free(tree);
}

static const struct fb_artifact_ops tree_ops = {
	.produce = tree_produce,
	.close = tree_close,
};

/* Only what says so can be looked into. */
static int
check_browsable(struct fb_miosa *miosa, const char *sid, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_miosa_path("snapshots", sid, "");
	FB_AUTO_JSON json_t *snapshot = NULL;
	int rc = fb_miosa_get(miosa, path, &snapshot, err);

	if (rc < 0 ||
	    json_is_true(json_object_get(snapshot, "browsable")))
		return rc;
	(void)fb_fail_id(err, FB_EUNSUP, "E-MIOSA-BROWSE",
	    "MIOSA does not let anybody look into snapshot '%s'", sid);
	return fb_hint(err, "see content of the source in fleetbak.conf(5)");
}

int
fb_miosa_open_tree(struct fb_miosa *miosa, const char *sid, const char *root,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct tree *tree;
	int rc = check_browsable(miosa, sid, err);

	if (rc < 0)
		return rc;
	tree = fb_alloc(1, sizeof(*tree));
	tree->base.ops = &tree_ops;
	tree->miosa = miosa;
	tree->fd = -1;
	tree->sid = fb_strdup(sid);
	tree->root = fb_strdup(root);
	tree->room = fb_alloc(READ_STEP, 1);
	rc = open_spool(tree, err);
	if (rc < 0) {
		tree_close(&tree->base);
		return rc;
	}
	*ret_artifact = &tree->base;
	return FB_OK;
}
