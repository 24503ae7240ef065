/* Canic's files as archives, and the checksum of what is in those: they are
 * read once, so that nothing comes between. */
#include <stdlib.h>
#include <string.h>

#include "canic_internal.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/driver/tree.h"

struct summing {
	const struct fb_sink *sink; /* where the archive goes */
	struct fb_digester *tree;   /* lines of canic's */
	struct fb_digester *file;   /* the one at hand */
	json_t *files;              /* path -> SHA-256 in hex, for links */
	struct fb_digest found;     /* of the last file */
};

static int
pass_data(void *arg, const void *bytes, size_t len, struct fb_error *err)
{
	const struct fb_sink *sink = ((struct summing *)arg)->sink;

	return sink->data(sink->arg, bytes, len, err);
}

static int
pass_cut(void *arg, struct fb_error *err)
{
	const struct fb_sink *sink = ((struct summing *)arg)->sink;

	return sink->cut != NULL ? sink->cut(sink->arg, err) : FB_OK;
}

static void
pass_warn(void *arg, const char *path, const char *what)
{
	const struct fb_sink *sink = ((struct summing *)arg)->sink;

	if (sink->warn != NULL)
		sink->warn(sink->arg, path, what);
}

static void
sum_content(void *arg, const void *bytes, size_t len)
{
	struct summing *summing = arg;

	fb_digester_add(summing->file, (struct fb_span){ bytes, len });
}

/* The digest of the file that was packed last. */
static int
end_file(struct summing *summing, const char *path, struct fb_error *err)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digester_peek(summing->file, &summing->found);
	fb_digester_free(summing->file);
	summing->file = fb_digester_new();
	fb_digest_hex(&summing->found, hex);
	return json_object_set_new(
	           summing->files, path, json_string(hex)) == 0
	    ? FB_OK
	    : fb_canic_fail_entry(path, "not named in UTF-8", err);
}

static int
sum_entry(struct summing *summing, const struct fb_entry *entry,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_format("%.*s", (int)entry->path.len, entry->path.ptr);
	FB_AUTO_FREE char *target =
	    fb_format("%.*s", (int)entry->target.len, entry->target.ptr);
	const char *hex;
	int rc = FB_OK;

	if (entry->type == FB_ENTRY_DIR)
		return FB_OK;
	if (entry->type == FB_ENTRY_FILE)
		rc = end_file(summing, path, err);
	else if (entry->type != FB_ENTRY_HARDLINK)
		rc = fb_canic_fail_entry(
		    path, "no file and no directory", err);
	if (rc < 0)
		return rc;
	hex = json_string_value(json_object_get(summing->files,
	    entry->type == FB_ENTRY_FILE ? path : target));
	if (hex == NULL)
		return fb_fail(err, FB_EBUG, "a link to what was not packed");
	return fb_canic_sum_line(summing->tree, path, hex, err);
}

static int
take_entry(void *arg, const struct fb_entry *entry, struct fb_error *err)
{
	struct summing *summing = arg;
	const struct fb_sink *sink = summing->sink;
	int rc = sum_entry(summing, entry, err);

	return rc < 0 || sink->entry == NULL
	    ? rc
	    : sink->entry(sink->arg, entry, err);
}

/* Nothing is taken from an earlier run: only what is read can be summed. */
static struct fb_sink
begin(struct summing *summing, const struct fb_sink *sink)
{
	*summing = (struct summing){ .sink = sink };
	summing->tree = fb_digester_new();
	summing->file = fb_digester_new();
	summing->files = json_object();
	return (struct fb_sink){
		.arg = summing,
		.data = pass_data,
		.cut = pass_cut,
		.entry = take_entry,
		.warn = pass_warn,
		.content = sum_content,
	};
}

static void
end(struct summing *summing)
{
	fb_digester_free(summing->tree);
	fb_digester_free(summing->file);
	json_decref(summing->files);
}

/* The snapshot is a file for itself. */
static int
pack_file(char *path, const struct fb_sink *sink, struct fb_error *err)
{
	char *slash = strrchr(path, '/');

	*slash = '\0';
	return fb_tree_pack_files(
	    path, (const char *const[]){ slash + 1, NULL }, sink, err);
}

int
fb_canic_pack_tree(const char *path, const struct fb_sink *sink,
    struct fb_digest *ret_digest, struct fb_error *err)
{
	struct summing summing;
	struct fb_sink inner = begin(&summing, sink);
	int rc = fb_tree_pack(path, NULL, &inner, err);

	fb_digester_peek(summing.tree, ret_digest);
	end(&summing);
	return rc;
}

int
fb_canic_pack(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, const struct fb_sink *sink,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	struct summing summing;
	struct fb_sink inner;
	bool single = false;
	int rc = fb_canic_way(dir, member, &path, &single, err);

	if (rc < 0)
		return rc;
	inner = begin(&summing, sink);
	rc = single ? pack_file(path, &inner, err)
	            : fb_tree_pack(path, NULL, &inner, err);
	if (!single)
		fb_digester_peek(summing.tree, &summing.found);
	if (rc == FB_OK)
		rc = fb_canic_check(dir, member, &summing.found, err);
	end(&summing);
	return rc;
}

static bool
was_packed(const struct summing *summing, const char *name,
    const struct fb_digest *wanted)
{
	const char *found =
	    json_string_value(json_object_get(summing->files, name));
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(wanted, hex);
	return found != NULL && strcmp(found, hex) == 0;
}

int
fb_canic_pack_documents(const struct fb_canic_dir *dir,
    const struct fb_sink *sink, struct fb_error *err)
{
	const char *const names[] = { dir->manifest_name, FB_CANIC_JOURNAL,
		NULL };
	struct summing summing;
	struct fb_sink inner = begin(&summing, sink);
	int rc = fb_tree_pack_files(dir->path, names, &inner, err);

	if (rc == FB_OK &&
	    !(was_packed(
	          &summing, dir->manifest_name, &dir->manifest_digest) &&
	        was_packed(
	            &summing, FB_CANIC_JOURNAL, &dir->journal_digest)))
		rc = fb_fail_id(err, FB_ESTALE, "E-DRIFT",
		    "canic's documents in '%s' changed while they were read",
		    dir->path);
	end(&summing);
	return rc;
}
