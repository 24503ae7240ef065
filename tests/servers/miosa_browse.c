/* A snapshot's bytes: all of them in one stream, or by directory and file. */
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static char *
temporary(void)
{
	return fb_format("%s/tmp/%ld.tar", miosa.dir, ++miosa.next);
}

/* What is asked for again is the same bytes, until it is touched. */
void
miosa_export(struct miosa_request *request, const char *id)
{
	FB_AUTO_FREE char *dir = miosa_dir("snapshots", id);

	request->file = fb_format("%s/tmp/%s.export", miosa.dir, id);
	request->status = 200;
	request->type = "application/octet-stream";
	if (access(request->file, F_OK) == 0)
		return;
	if (!miosa_tool((const char *const[]){ "tar", "--format=pax",
	        "--sort=name", "--numeric-owner", "-C", dir, "-cf",
	        request->file, ".", NULL })) {
		free(request->file);
		request->file = NULL;
		miosa_error(request, 500, "INTERNAL_ERROR", "No export");
	}
}

char *
miosa_path(struct miosa_request *request, const char *dir, const char *path)
{
	FB_AUTO_FREE char *framed = fb_format("%s/", path);

	if (path[0] != '/' || strstr(framed, "/../") != NULL) {
		miosa_complain(request, "a path that is not absolute and "
		                        "plain: %s", path);
		miosa_error(request, 400, "INVALID_PATH", "Invalid path");
		return NULL;
	}
	return fb_format("%s%s", dir, path);
}

static void
not_there(struct miosa_request *request)
{
	miosa_error(request, 404, "NOT_FOUND", "No such file or directory");
}

static void
add_entry(json_t *list, const char *dir, const char *shown, const char *name)
{
	FB_AUTO_FREE char *at = fb_format("%s/%s", dir, name);
	FB_AUTO_FREE char *path = fb_format(
	    "%s/%s", strcmp(shown, "/") == 0 ? "" : shown, name);
	struct stat st;

	if (lstat(at, &st) != 0)
		return;
	(void)json_array_append_new(list,
	    json_pack("{s:s,s:s,s:s,s:I,s:o}", "name", name, "path", path,
	        "type",
	        S_ISDIR(st.st_mode)       ? "directory"
	            : S_ISLNK(st.st_mode) ? "symlink"
	                                  : "file",
	        "size", (json_int_t)st.st_size, "mode",
	        json_sprintf("%04o", st.st_mode & 07777)));
}

static int
by_name(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 &&
	    strcmp(entry->d_name, "..") != 0;
}

/* Names that nobody should obey. */
static void
add_evil(json_t *list)
{
	static const char *const names[] = { "..", "../evil", "", "a/b", "." };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)json_array_append_new(list,
		    json_pack("{s:s,s:o,s:s,s:i,s:s}", "name", names[i],
		        "path", json_sprintf("/%s", names[i]), "type",
		        i == 0 ? "directory" : "file", "size", 3, "mode",
		        "0644"));
}

static void
tree(struct miosa_request *request, const char *dir, const char *path)
{
	FB_AUTO_FREE char *at = miosa_path(request, dir, path);
	struct dirent **names = NULL;
	json_t *list;
	int count;

	if (at == NULL)
		return;
	count = scandir(at, &names, by_name, alphasort);
	if (count < 0) {
		not_there(request);
		return;
	}
	list = json_array();
	for (int i = 0; i < count; i++) {
		add_entry(list, at, path, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	if (request->on[MIOSA_EVIL])
		add_evil(list);
	miosa_json(request, 200,
	    json_pack("{s:{s:s,s:o}}", "data", "path", path, "entries", list));
}

/* Counted by nftw, under the lock. */
static int64_t seen_bytes, seen_entries, seen_dirs;

static int
count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	seen_entries++;
	seen_dirs += type == FTW_D;
	seen_bytes += S_ISREG(st->st_mode) ? st->st_size : 0;
	return 0;
}

static int64_t
limit(const struct miosa_request *request, enum miosa_kind kind,
    int64_t otherwise)
{
	return request->on[kind] ? request->argument[kind] : otherwise;
}

static bool
fits(const struct miosa_request *request, const char *at)
{
	seen_bytes = seen_entries = seen_dirs = 0;
	(void)nftw(at, count_one, 16, FTW_PHYS);
	return seen_bytes <=
	    limit(request, MIOSA_TAR_BYTES, INT64_C(1) << 30) &&
	    seen_entries <= limit(request, MIOSA_TAR_ENTRIES, 50000) &&
	    seen_dirs <= limit(request, MIOSA_TAR_DIRS, 5000);
}

/* "tar-names=dot|base|plain": "./a", "folder/a" or "a". */
static bool
pack(const struct miosa_request *request, const char *at, const char *file)
{
	const char *names = request->on[MIOSA_TAR_NAMES]
	    ? request->text[MIOSA_TAR_NAMES]
	    : "dot";
	FB_AUTO_FREE char *parent = fb_strdup(at);
	char *slash;

	while ((slash = strrchr(parent, '/')) != NULL && slash[1] == '\0')
		*slash = '\0';
	if (strcmp(names, "base") == 0 && slash != NULL) {
		*slash = '\0';
		return miosa_tool((const char *const[]){ "tar",
		    "--format=pax", "--sort=name", "-C", parent, "-cf", file,
		    "--", slash + 1, NULL });
	}
	return miosa_tool((const char *const[]){ "tar", "--format=pax",
	    "--sort=name", "-C", at,
	    strcmp(names, "plain") == 0 ? "--transform=s,^\\./,,"
	                                : "--transform=s,^$,,",
	    "-cf", file, ".", NULL });
}

static void
files(struct miosa_request *request, const char *dir, const char *path)
{
	FB_AUTO_FREE char *at = miosa_path(request, dir, path);
	struct stat st;

	if (at == NULL)
		return;
	if (lstat(at, &st) != 0 ||
	    (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))) {
		not_there(request);
		return;
	}
	if (S_ISDIR(st.st_mode)
	        ? !fits(request, at)
	        : st.st_size >
	            limit(request, MIOSA_FILE_BYTES, INT64_C(2) << 30)) {
		miosa_error(request, 413, "TOO_LARGE", "Too large");
		return;
	}
	request->status = 200;
	request->type = "application/octet-stream";
	if (S_ISREG(st.st_mode)) {
		request->file = fb_strdup(at);
		return;
	}
	request->file = temporary();
	request->remove_file = true;
	request->type = "application/x-tar";
	if (!pack(request, at, request->file))
		miosa_complain(request, "the stand-in cannot pack it");
}

void
miosa_browse(struct miosa_request *request, json_t *snapshot)
{
	FB_AUTO_FREE char *dir =
	    miosa_dir("snapshots", miosa_get(snapshot, "id"));
	FB_AUTO_FREE char *given = miosa_query(request, "path");
	const char *path = given != NULL ? given : "/";

	if (strcmp(miosa_get(snapshot, "status"), "ready") != 0)
		miosa_error(request, 409, "SNAPSHOT_NOT_READY",
		    "Snapshot is not ready");
	else if (request->on[MIOSA_NOT_BROWSABLE])
		miosa_error(request, 422, "NOT_BROWSABLE", "Not browsable");
	else if (request->on[MIOSA_WARMING])
		miosa_json(request, 202,
		    request->argument[MIOSA_WARMING] != 0
		        ? json_pack("{s:s,s:I}", "status", "warming",
		              "retry_after_ms",
		              (json_int_t)request->argument[MIOSA_WARMING])
		        : json_pack("{s:s}", "status", "warming"));
	else if (strcmp(request->part[2], "tree") == 0)
		tree(request, dir, path);
	else if (given == NULL)
		miosa_error(request, 400, "MISSING_PARAM", "path is missing");
	else
		files(request, dir, path);
}
