/* A backup directory of canic's: its documents, and the bytes they speak of. */
#include "fleetbak/driver/canic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "canic_internal.h"
#include "tree_internal.h"

#define READ_STEP (256u * 1024)

/* ----------------------------------------------------------- documents */

/* FB_ENOTFOUND: there is none. */
static int
read_document(
    const char *dir, const char *name, struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, name);
	struct stat st;
	int rc = fb_io_look(path, &st, err);

	if (rc < 0)
		return rc;
	if (!S_ISREG(st.st_mode))
		return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-ENTRY",
		    "'%s' is not a regular file", path);
	rc = fb_io_read_file(path, FB_CANIC_DOC_MAX, dst, err);
	if (rc == FB_ECORRUPT)
		err->id = "E-CANIC-FORMAT";
	return rc;
}

static int
fail_missing(const char *dir, const char *name, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECORRUPT, "E-CANIC-INCOMPLETE",
	    "'%s' has no %s", dir, name);
	return fb_hint(err, "it is another directory, or a backup that was "
			    "not completed: canic backup status");
}

/* One of the two names, not both. */
static int
read_manifest(struct fb_canic_dir *dir, struct fb_buf *dst,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf other = { 0 };
	int rc = read_document(
	    dir->path, FB_CANIC_MANIFEST_DEPLOYMENT, dst, err);
	bool later = rc == FB_OK;

	if (rc < 0 && rc != FB_ENOTFOUND)
		return rc;
	rc = read_document(dir->path, FB_CANIC_MANIFEST_FLEET, &other, err);
	if (rc == FB_OK && later)
		return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-MISMATCH",
		    "'%s' has two manifests", dir->path);
	if (rc < 0 && rc != FB_ENOTFOUND)
		return rc;
	if (rc == FB_ENOTFOUND && !later)
		return fail_missing(
		    dir->path, "manifest of a backup of canic's", err);
	if (!later)
		fb_buf_add(dst, other.data, other.len);
	dir->manifest_name = later ? FB_CANIC_MANIFEST_DEPLOYMENT
	                           : FB_CANIC_MANIFEST_FLEET;
	return FB_OK;
}

static int
read_documents(struct fb_canic_dir *dir, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf manifest = { 0 };
	FB_AUTO_BUF struct fb_buf journal = { 0 };
	int rc = read_manifest(dir, &manifest, err);
	bool later;

	if (rc < 0)
		return rc;
	later = strcmp(dir->manifest_name, FB_CANIC_MANIFEST_FLEET) != 0;
	rc = fb_canic_manifest_parse(
	    fb_buf_span(&manifest), later, &dir->manifest, err);
	if (rc < 0)
		return rc;
	rc = read_document(dir->path, FB_CANIC_JOURNAL, &journal, err);
	if (rc == FB_ENOTFOUND)
		return fail_missing(dir->path, FB_CANIC_JOURNAL, err);
	if (rc == FB_OK)
		rc = fb_canic_journal_parse(
		    fb_buf_span(&journal), later, &dir->journal, err);
	if (rc == FB_OK)
		rc = fb_canic_agree(dir->manifest, dir->journal, err);
	fb_digest_of(fb_buf_span(&manifest), &dir->manifest_digest);
	fb_digest_of(fb_buf_span(&journal), &dir->journal_digest);
	return rc;
}

int
fb_canic_dir_open(
    const char *path, struct fb_canic_dir *ret_dir, struct fb_error *err)
{
	int rc;

	*ret_dir = (struct fb_canic_dir){ .path = fb_strdup(path) };
	rc = read_documents(ret_dir, err);
	if (rc < 0)
		fb_canic_dir_release(ret_dir);
	return rc;
}

void
fb_canic_dir_release(struct fb_canic_dir *dir)
{
	fb_canic_manifest_free(dir->manifest);
	fb_canic_journal_free(dir->journal);
	free(dir->path);
	*dir = (struct fb_canic_dir){ 0 };
}

const char *
fb_canic_checksum(
    const struct fb_canic_dir *dir, const struct fb_canic_member *member)
{
	return fb_canic_row_of(dir->journal, member)->checksum;
}

void
fb_canic_describe(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, struct fb_digest *ret_digest)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(&dir->manifest_digest, hex);
	fb_buf_add_fmt(&text, "fleetbak-canic 1\n%s\n%s\n%s\n", hex,
	    member->canister, fb_canic_checksum(dir, member));
	fb_digest_of(fb_buf_span(&text), ret_digest);
}

/* ------------------------------------------------------------ checksums */

static int
sum_file(int dirfd, const char *name, const char *path,
    struct fb_digest *ret_digest, uint64_t *size, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_openat(
	    dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, path);
	FB_AUTO_DIGESTER struct fb_digester *digester = NULL;
	FB_AUTO_FREE uint8_t *room = NULL;
	uint64_t offset = 0;
	size_t got;

	if (fd == -1)
		return fb_fail_sys(err, "cannot open '%s'", path);
	digester = fb_digester_new();
	room = fb_alloc(READ_STEP, 1);
	do {
		int rc = fb_io_pread(
		    fd, path, room, READ_STEP, offset, &got, err);

		if (rc < 0)
			return rc;
		fb_digester_add(digester, (struct fb_span){ room, got });
		offset += got;
	} while (got == READ_STEP);
	fb_digester_peek(digester, ret_digest);
	*size += offset;
	return FB_OK;
}

/* Canic takes bytes that are no UTF-8 for others, which are then not told
 * apart. */
static bool
is_utf8(const char *text)
{
	FB_AUTO_JSON json_t *value = json_string(text);

	return value != NULL;
}

struct sum {
	struct fb_digester *digester;
	uint64_t size;
	bool sized_only; /* nothing is read */
};

int
fb_canic_fail_entry(const char *path, const char *why, struct fb_error *err)
{
	return fb_fail_id(err, FB_ECORRUPT, "E-CANIC-ENTRY",
	    "'%s' in a snapshot is %s", path, why);
}

int
fb_canic_sum_line(struct fb_digester *tree, const char *path,
    const char *hex, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };

	if (!is_utf8(path))
		return fb_canic_fail_entry(path, "not named in UTF-8", err);
	fb_buf_add_str(&line, path);
	fb_buf_add(&line, "", 1);
	fb_buf_add_fmt(&line, "%s\n", hex);
	fb_digester_add(tree, fb_buf_span(&line));
	return FB_OK;
}

/* The walk's order is canic's: part by part, bytewise. */
static int
sum_node(void *arg, const struct fb_tree_node *node, struct fb_error *err)
{
	struct sum *sum = arg;
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	int rc;

	if (S_ISDIR(node->st.st_mode))
		return FB_OK;
	if (!S_ISREG(node->st.st_mode))
		return fb_canic_fail_entry(node->path,
		    S_ISLNK(node->st.st_mode) ? "a symbolic link"
		                              : "no file and no directory",
		    err);
	if (!is_utf8(node->path))
		return fb_canic_fail_entry(
		    node->path, "not named in UTF-8", err);
	if (sum->sized_only) {
		sum->size += (uint64_t)node->st.st_size;
		return FB_OK;
	}
	rc = sum_file(node->dirfd, node->name, node->path, &digest, &sum->size,
	    err);
	if (rc < 0)
		return rc;
	fb_digest_hex(&digest, hex);
	return fb_canic_sum_line(sum->digester, node->path, hex, err);
}

static int
walk(const char *path, struct sum *sum, struct fb_error *err)
{
	struct fb_tree_walk walk = { .visit = sum_node, .arg = sum };

	return fb_tree_walk(path, &walk, err);
}

int
fb_canic_sum(const char *path, struct fb_digest *ret_digest,
    uint64_t *ret_size, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = NULL;
	struct sum sum = { 0 };
	struct stat st;
	int rc = fb_io_look(path, &st, err);

	*ret_size = 0;
	if (rc < 0)
		return rc;
	if (S_ISREG(st.st_mode))
		return sum_file(
		    AT_FDCWD, path, path, ret_digest, ret_size, err);
	if (!S_ISDIR(st.st_mode))
		return fb_canic_fail_entry(
		    path, "no file and no directory", err);
	digester = fb_digester_new();
	sum.digester = digester;
	rc = walk(path, &sum, err);
	fb_digester_peek(digester, ret_digest);
	*ret_size = sum.size;
	return rc;
}

/* ---------------------------------------------------------- one member */

/* Every part of the way is itself, not a link to elsewhere. */
int
fb_canic_way(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, char **ret_path, bool *ret_file,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf path = { 0 };
	const char *part = member->path;
	struct stat st = { 0 };

	fb_buf_add_str(&path, dir->path);
	while (*part != '\0') {
		size_t len = strcspn(part, "/");
		int rc;

		fb_buf_add_fmt(&path, "/%.*s", (int)len, part);
		part += len + (part[len] == '/');
		rc = fb_io_look(fb_buf_str(&path), &st, err);
		if (rc == FB_ENOTFOUND)
			return fb_fail_id(err, FB_ECORRUPT,
			    "E-CANIC-INCOMPLETE",
			    "its snapshot '%s' is not there", member->path);
		if (rc < 0)
			return rc;
		if (S_ISLNK(st.st_mode) ||
		    (*part != '\0' && !S_ISDIR(st.st_mode)))
			return fb_canic_fail_entry(fb_buf_str(&path),
			    "a symbolic link, or no directory", err);
	}
	*ret_file = S_ISREG(st.st_mode);
	*ret_path = (char *)fb_buf_steal(&path);
	return FB_OK;
}

/* Bytes of a member, without reading them. */
int
fb_canic_size(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, uint64_t *ret_size,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	struct sum sum = { .sized_only = true };
	struct stat st;
	bool file = false;
	int rc = fb_canic_way(dir, member, &path, &file, err);

	if (rc == FB_OK)
		rc = file ? fb_io_look(path, &st, err)
		          : walk(path, &sum, err);
	if (rc < 0)
		return fb_wrap(err, "canister '%s'", member->canister);
	*ret_size = file ? (uint64_t)st.st_size : sum.size;
	return FB_OK;
}

int
fb_canic_check(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, const struct fb_digest *found,
    struct fb_error *err)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(found, hex);
	if (strcmp(hex, fb_canic_checksum(dir, member)) == 0)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECORRUPT, "E-CANIC-CHECKSUM",
	    "canister '%s': its snapshot has not the checksum that canic "
	    "wrote down",
	    member->canister);
	return fb_hint(err, "it is damaged, or was altered after the backup; "
			    "take another copy of this directory");
}

int
fb_canic_verify(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, uint64_t *ret_size,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	struct fb_digest digest;
	bool file = false;
	int rc = fb_canic_way(dir, member, &path, &file, err);

	if (rc == FB_OK)
		rc = fb_canic_sum(path, &digest, ret_size, err);
	if (rc < 0)
		return fb_wrap(err, "canister '%s'", member->canister);
	return fb_canic_check(dir, member, &digest, err);
}
