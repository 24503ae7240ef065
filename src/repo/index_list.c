/* The files of an index that outlive a run. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

#include "index_files.h"

#define LIST_NAME "list"
#define FILE_NUMBER_MAX UINT64_C(99999999)

static const char what[] = "list of the index";

static void
add_session_json(json_t *sessions, const char *id, uint64_t entries)
{
	(void)json_object_set_new(
	    sessions, id, json_integer((json_int_t)entries));
}

void
fb_index_list_encode(const struct fb_index_list *list, struct fb_buf *dst)
{
	FB_AUTO_JSON json_t *object = NULL;
	json_t *files = json_array(), *sessions = json_object();
	char hex[FB_DIGEST_HEX_SIZE];

	for (size_t i = 0; i < list->file_count; i++) {
		fb_digest_hex(&list->files[i].digest, hex);
		(void)json_array_append_new(files,
		    json_pack("{s:I, s:s}", "number",
		        (json_int_t)list->files[i].number, "sha256", hex));
	}
	for (size_t i = 0; i < list->sessions.count; i++)
		add_session_json(
		    sessions, list->sessions.ids[i], list->entries[i]);
	fb_digest_hex(&list->trust, hex);
	object = json_pack("{s:i, s:s, s:s, s:o, s:o}", "version", 1,
	    "repository", list->repository, "trust", hex, "files", files,
	    "sessions", sessions);
	fb_json_add(dst, object);
}

void
fb_index_list_add(
    struct fb_index_list *list, const char *session, uint64_t entries)
{
	size_t before = list->sessions.count, at;

	fb_run_ids_add(&list->sessions, session);
	if (list->sessions.count == before)
		return;
	for (at = before; at > 0 &&
	     strcmp(list->sessions.ids[at], session) != 0; at--)
		;
	list->entries =
	    fb_realloc(list->entries, before + 1, sizeof(*list->entries));
	memmove(&list->entries[at + 1], &list->entries[at],
	    (before - at) * sizeof(*list->entries));
	list->entries[at] = entries;
}

static int
take_digest(const json_t *object, const char *key, struct fb_digest *digest,
    struct fb_error *err)
{
	const char *hex;
	int rc = fb_json_str(object, key, what, &hex, err);

	return rc < 0 ? rc
	              : fb_digest_parse((struct fb_span){ (const uint8_t *)hex,
	                                    strlen(hex) },
	                    digest, err);
}

static int
take_files(const json_t *files, struct fb_index_list *list,
    struct fb_error *err)
{
	static const char *const keys[] = { "number", "sha256", NULL };
	size_t count = json_array_size(files);

	list->files = fb_alloc(count + 1, sizeof(*list->files));
	for (size_t i = 0; i < count; i++) {
		struct fb_index_listed *file = &list->files[i];
		const json_t *item = json_array_get(files, i);
		int rc = fb_json_only(item, what, keys, err);

		if (rc == FB_OK)
			rc = fb_json_u64(item, "number", what,
			    FILE_NUMBER_MAX, &file->number, err);
		if (rc == FB_OK)
			rc = take_digest(item, "sha256", &file->digest, err);
		if (rc < 0)
			return rc;
		list->file_count++;
	}
	return FB_OK;
}

static int
take_sessions(json_t *sessions, struct fb_index_list *list,
    struct fb_error *err)
{
	const char *id;
	json_t *value;

	json_object_foreach(sessions, id, value) {
		uint64_t entries;
		int rc = fb_json_u64(
		    sessions, id, what, INT64_MAX, &entries, err);

		if (rc < 0)
			return rc;
		if (!fb_run_id_ok(id, strlen(id)))
			return fb_fail(err, FB_ECORRUPT,
			    "%s: '%s' is no session", what, id);
		fb_index_list_add(list, id, entries);
	}
	return FB_OK;
}

static int
take_list(const json_t *object, struct fb_index_list *list,
    struct fb_error *err)
{
	static const char *const keys[] = { "version", "repository", "trust",
		"files", "sessions", NULL };
	json_t *files, *sessions;
	const char *repository;
	uint64_t version;
	int rc = fb_json_only(object, what, keys, err);

	if (rc == FB_OK)
		rc = fb_json_u64(object, "version", what, 1, &version, err);
	if (rc == FB_OK)
		rc = fb_json_str(
		    object, "repository", what, &repository, err);
	if (rc == FB_OK)
		rc = take_digest(object, "trust", &list->trust, err);
	if (rc == FB_OK)
		rc = fb_json_array(object, "files", what, &files, err);
	if (rc == FB_OK)
		rc = fb_json_object(object, "sessions", what, &sessions, err);
	if (rc < 0)
		return rc;
	if (version != 1 || strlen(repository) != sizeof(list->repository) - 1)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: it is of another kind", what);
	memcpy(list->repository, repository, sizeof(list->repository));
	rc = take_files(files, list, err);
	return rc < 0 ? rc : take_sessions(sessions, list, err);
}

int
fb_index_list_decode(struct fb_span text, struct fb_index_list *ret_list,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *object = NULL;
	struct fb_index_list list = { 0 };
	int rc = fb_json_parse(text, FB_INDEX_LIST_MAX, what, &object, err);

	if (rc == FB_OK)
		rc = take_list(object, &list, err);
	if (rc < 0) {
		fb_index_list_release(&list);
		return rc;
	}
	*ret_list = list;
	return FB_OK;
}

void
fb_index_list_release(struct fb_index_list *list)
{
	free(list->files);
	free(list->entries);
	fb_run_ids_release(&list->sessions);
	*list = (struct fb_index_list){ 0 };
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Hints are believed by these keys' seals: with others the files are void. */
static void
digest_trust(const struct fb_trust *trust, struct fb_digest *ret_digest)
{
	FB_AUTO_FREE const char **ids =
	    fb_alloc(trust->count + 1, sizeof(*ids));
	FB_AUTO_BUF struct fb_buf all = { 0 };

	for (size_t i = 0; i < trust->count; i++)
		ids[i] = fb_verify_key_id(trust->keys[i]);
	qsort(ids, trust->count, sizeof(*ids), compare_texts);
	for (size_t i = 0; i < trust->count; i++)
		fb_buf_add_fmt(&all, "%s\n", ids[i]);
	fb_digest_of(fb_buf_span(&all), ret_digest);
}

static int
load_files(struct fb_index_files *files, const struct fb_index_list *list,
    struct fb_error *err)
{
	for (size_t i = 0; i < list->file_count; i++) {
		const struct fb_index_listed *listed = &list->files[i];
		int rc = fb_index_files_add(files, listed->number, err);

		if (rc < 0)
			return rc;
		if (fb_digest_cmp(fb_segment_digest(files->items[i]),
		        &listed->digest) != 0)
			return fb_fail(err, FB_ECORRUPT,
			    "%s: a file is not the one that was written",
			    what);
	}
	return FB_OK;
}

void
fb_index_files_load(struct fb_index_files *files, const struct fb_repo *repo,
    struct fb_index_list *list)
{
	FB_AUTO_FREE char *path = fb_path_join(files->dir, LIST_NAME);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored = { 0 };
	struct fb_digest trust;
	int rc;

	digest_trust(&repo->trust, &trust);
	rc = fb_io_read_file(path, FB_INDEX_LIST_MAX, &text, &ignored);
	if (rc == FB_OK)
		rc = fb_index_list_decode(fb_buf_span(&text), list, &ignored);
	if (rc == FB_OK &&
	    strcmp(list->repository, repo->format.repository) == 0 &&
	    fb_digest_cmp(&list->trust, &trust) == 0 &&
	    load_files(files, list, &ignored) == FB_OK) {
		files->listed = files->next;
		return;
	}
	fb_index_files_drop(files, 0);
	fb_index_list_release(list);
	memcpy(list->repository, repo->format.repository,
	    sizeof(list->repository));
	list->trust = trust;
}

/* What the list does not name: of a load that was cut off, or joined. */
static int
remove_leftovers(const struct fb_index_files *files, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(files->dir, &names, err);

	for (char **name = names; rc == FB_OK && *name != NULL; name++) {
		FB_AUTO_FREE char *path = fb_path_join(files->dir, *name);
		bool known = strcmp(*name, LIST_NAME) == 0;

		for (size_t i = 0; !known && i < files->count; i++)
			known = strcmp(fb_segment_path(files->items[i]),
			            path) == 0;
		if (!known)
			rc = fb_io_unlink(path, err);
	}
	return rc;
}

int
fb_index_files_save(struct fb_index_files *files, struct fb_index_list *list,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(files->dir, LIST_NAME);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc;

	free(list->files);
	list->files = fb_alloc(files->count + 1, sizeof(*list->files));
	list->file_count = files->count;
	for (size_t i = 0; i < files->count; i++) {
		const char *file = fb_segment_path(files->items[i]);

		list->files[i] = (struct fb_index_listed){
			strtoull(strrchr(file, '.') + 1, NULL, 10),
			*fb_segment_digest(files->items[i])
		};
	}
	fb_index_list_encode(list, &text);
	/* The names of the files are durable with the list's. */
	rc = fb_io_replace(path, fb_buf_span(&text), 0600, err);
	if (rc < 0)
		return rc;
	files->listed = files->next;
	return remove_leftovers(files, err);
}
