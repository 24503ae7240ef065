/*
 * Reading a manifest: its digest first, then the rules, then a machine at a
 * time.  A small one stays in memory, a large one in an unlinked file.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model.h"

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

#define INLINE_MAX   (4u << 20)
#define PIECE        (1u << 20)
#define MANIFEST_MAX (UINT64_C(4) << 30)

struct fb_manifest {
	struct fb_manifest_head head;
	struct fb_digest digest;
	uint64_t size;
	struct fb_buf bytes; /* small */
	int fd;              /* large; else -1 */
	char *path;          /* for messages */
	uint64_t machines_at, machines_end; /* the lines between */
};

/* A cursor over lines. */
struct cursor {
	const struct fb_manifest *manifest;
	uint64_t at; /* of the line after the one taken last */
	struct fb_buf window;
	uint64_t window_at;
};

static int
read_at(const struct fb_manifest *manifest, uint64_t offset, void *dst,
    size_t len, struct fb_error *err)
{
	size_t got;
	int rc;

	if (manifest->fd < 0) {
		memcpy(dst, manifest->bytes.data + offset, len);
		return FB_OK;
	}
	rc = fb_io_pread(
	    manifest->fd, manifest->path, dst, len, offset, &got, err);
	if (rc < 0)
		return rc;
	if (got != len)
		/* uncovered: our own file, unlinked and written whole */
		return fb_fail(
		    err, FB_ECORRUPT, "'%s' is cut short", manifest->path);
	return FB_OK;
}

/* Make the window begin at `at` and hold `len` bytes, or what there is. */
static int
fill_window(struct cursor *cursor, uint64_t at, size_t len,
    struct fb_error *err)
{
	uint64_t left = cursor->manifest->size - at;
	int rc;

	if (left < len)
		len = (size_t)left;
	fb_buf_clear(&cursor->window);
	rc = fb_buf_reserve_or_fail(&cursor->window, len, err);
	if (rc < 0)
		return fb_wrap(err, "'%s'", cursor->manifest->path);
	cursor->window.len = len;
	cursor->window_at = at;
	return read_at(cursor->manifest, at, cursor->window.data, len, err);
}

/* The line at the cursor as far as the window has all of it. */
static bool
line_in_window(const struct cursor *cursor, struct fb_span *ret_line)
{
	const uint8_t *begin, *end;
	uint64_t skip = cursor->at - cursor->window_at;

	if (cursor->at < cursor->window_at || skip >= cursor->window.len)
		return false;
	begin = cursor->window.data + skip;
	end = memchr(begin, '\n', cursor->window.len - (size_t)skip);
	if (end == NULL)
		return false;
	*ret_line = (struct fb_span){ begin, (size_t)(end - begin) };
	return true;
}

/* The next line, without its newline; borrowed until the next call. */
static int
next_line(struct cursor *cursor, size_t max, struct fb_span *ret_line,
    struct fb_error *err)
{
	uint64_t left = cursor->manifest->size - cursor->at;
	size_t want = PIECE;

	while (!line_in_window(cursor, ret_line)) {
		int rc;

		if (want > PIECE && (want / 4 >= left || want / 4 > max))
			return break_rule(FB_ECORRUPT, err, "M03 (lines)",
			    "the line at %llu is too long or cut",
			    (unsigned long long)cursor->at);
		rc = fill_window(cursor, cursor->at, want, err);
		if (rc < 0)
			return rc;
		want *= 4;
	}
	cursor->at += ret_line->len + 1;
	return FB_OK;
}

/* A large object on its way into an unlinked file. */
struct spooling {
	struct fb_manifest *manifest;
	struct fb_digester *digester;
	uint64_t offset;
};

static int
spool_piece(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct spooling *spooling = arg;
	struct fb_manifest *manifest = spooling->manifest;
	int rc;

	/* Text has none; a file of holes must not be filled. */
	if (memchr(piece.ptr, '\0', piece.len) != NULL)
		return break_rule(FB_ECORRUPT, err, "M03 (lines)",
		    "'%s' holds NUL bytes", manifest->path);
	fb_digester_add(spooling->digester, piece);
	rc = fb_io_pwrite_all(manifest->fd, manifest->path, piece,
	    spooling->offset, err);
	spooling->offset += piece.len;
	return rc;
}

static int
spool(struct fb_repo *repo, struct fb_manifest *manifest,
    struct fb_digester *digester, struct fb_error *err)
{
	const char *dir = getenv("TMPDIR");
	struct spooling spooling = { manifest, digester, 0 };

	if (dir == NULL || dir[0] != '/')
		dir = "/tmp";
	manifest->fd = fb_io_open(dir, O_TMPFILE | O_RDWR, 0600, err);
	if (manifest->fd < 0)
		return fb_wrap(err, "temporary file in '%s'", dir);
	return fb_store_read(repo->store, manifest->path, 0, manifest->size,
	    spool_piece, &spooling, err);
}

static int
fetch_whole(struct fb_repo *repo, struct fb_manifest *manifest,
    struct fb_digester *digester, struct fb_error *err)
{
	int rc = fb_repo_get(
	    repo, manifest->path, INLINE_MAX, &manifest->bytes, err);

	manifest->size = manifest->bytes.len;
	if (rc == FB_OK)
		fb_digester_add(digester, fb_buf_span(&manifest->bytes));
	return rc;
}

/* Its size says how to go on. */
static int
fetch_by_size(struct fb_repo *repo, struct fb_manifest *manifest,
    struct fb_digester *digester, struct fb_error *err)
{
	int rc = fb_store_head(
	    repo->store, manifest->path, &manifest->size, err);

	if (rc < 0)
		return rc;
	if (manifest->size > MANIFEST_MAX)
		return fb_fail(err, FB_ECORRUPT, "'%s' has %llu bytes",
		    manifest->path, (unsigned long long)manifest->size);
	return (manifest->size > INLINE_MAX ? spool : fetch_whole)(
	    repo, manifest, digester, err);
}

static int
fetch(struct fb_repo *repo, struct fb_manifest *manifest, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	bool far = fb_store_is_far(repo->store);
	/* Most are small: one request, where requests count. */
	int rc = far ? fetch_whole(repo, manifest, digester, err) : FB_ECORRUPT;

	if (rc == FB_ECORRUPT)
		rc = fetch_by_size(repo, manifest, digester, err);
	if (rc == FB_ENOTFOUND)
		return fb_fail(
		    err, FB_ECORRUPT, "'%s' is missing", manifest->path);
	if (rc < 0)
		return rc;
	fb_digester_peek(digester, &manifest->digest);
	return FB_OK;
}

/* Where does the last line begin? */
static int
find_last_line(const struct fb_manifest *manifest, uint64_t *ret_at,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf piece = { 0 };
	uint64_t end = manifest->size;
	uint8_t last = 0;
	int rc = end == 0 ? FB_OK : read_at(manifest, end - 1, &last, 1, err);

	if (rc < 0)
		return rc;
	if (last != '\n')
		return break_rule(
		    FB_ECORRUPT, err, "M03 (lines)", "no final newline");
	end--;
	while (end > 0 && manifest->size - end <= MANIFEST_HEAD_LINE_MAX) {
		size_t len = end < PIECE ? (size_t)end : PIECE;
		const uint8_t *newline;

		fb_buf_clear(&piece);
		(void)fb_buf_reserve(&piece, len);
		rc = read_at(manifest, end - len, piece.data, len, err);
		if (rc < 0)
			return rc;
		newline = memrchr(piece.data, '\n', len);
		if (newline != NULL) {
			*ret_at =
			    end - len + (uint64_t)(newline - piece.data) + 1;
			return FB_OK;
		}
		end -= len;
	}
	return break_rule(FB_ECORRUPT, err, "M03 (lines)",
	    "the last line is too long or all there is");
}

/* The first and the last line, put together, are the head. */
static int
read_head_text(
    struct fb_manifest *manifest, struct fb_buf *dst, struct fb_error *err)
{
	static const char mark[] = ",\"machines\":[";
	struct cursor cursor = { .manifest = manifest };
	uint64_t last_at = 0;
	struct fb_span line;
	int rc = find_last_line(manifest, &last_at, err);

	if (rc == FB_OK)
		rc = next_line(&cursor, MANIFEST_HEAD_LINE_MAX, &line, err);
	if (rc == FB_OK) {
		manifest->machines_at = cursor.at;
		manifest->machines_end = last_at;
		fb_buf_add(dst, line.ptr, line.len);
		cursor.at = last_at;
		if (line.len < sizeof(mark) ||
		    memcmp(line.ptr + line.len - (sizeof(mark) - 1), mark,
		        sizeof(mark) - 1) != 0)
			rc = break_rule(FB_ECORRUPT, err, "M03 (lines)",
			    "the first line does not end where the machines "
			    "begin");
	}
	if (rc == FB_OK)
		rc = next_line(&cursor, MANIFEST_HEAD_LINE_MAX, &line, err);
	if (rc == FB_OK)
		fb_buf_add(dst, line.ptr, line.len);
	fb_buf_release(&cursor.window);
	return rc;
}

static int
same_bytes(const json_t *value, struct fb_span text, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };

	fb_json_add(&again, value);
	if (again.len != text.len ||
	    memcmp(again.data, text.ptr, text.len) != 0)
		return break_rule(FB_ECORRUPT, err, "M03 (lines)",
		    "not in canonical form");
	return FB_OK;
}

static int
read_head(struct fb_manifest *manifest, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_JSON json_t *value = NULL;
	FB_AUTO_JSON json_t *again = NULL;
	int rc = read_head_text(manifest, &text, err);

	if (rc < 0 ||
	    (rc = fb_json_parse(fb_buf_span(&text), 2 * MANIFEST_HEAD_LINE_MAX,
	         "manifest", &value, err)) < 0 ||
	    (rc = head_from_json(value, &manifest->head, err)) < 0)
		return rc;
	json_decref(FB_STEAL(value)); /* of a large fleet, much */
	again = head_to_json(&manifest->head);
	if (again == NULL)
		/* uncovered: what came from JSON can go back */
		return fb_fail(err, FB_ECORRUPT, "manifest: odd texts");
	return same_bytes(again, fb_buf_span(&text), err);
}

/* One line to one machine; all but the last end with a comma. */
static int
parse_machine(struct fb_span line, bool last,
    struct fb_manifest_machine *ret_machine, struct fb_error *err)
{
	FB_AUTO_JSON json_t *value = NULL;
	FB_AUTO_JSON json_t *again = NULL;
	int rc;

	if (line.len == 0 || (line.ptr[line.len - 1] == ',') == last)
		return break_rule(FB_ECORRUPT, err, "M03 (lines)",
		    "machines are separated by a comma at the line's end");
	line.len -= last ? 0 : 1;
	rc = fb_json_parse(
	    line, FB_MANIFEST_MACHINE_MAX, "machine", &value, err);
	if (rc < 0 || (rc = machine_from_json(value, ret_machine, err)) < 0)
		return rc;
	again = machine_to_json(ret_machine);
	if (again == NULL)
		/* uncovered: what came from JSON can go back */
		rc = fb_fail(err, FB_ECORRUPT, "machine: odd texts");
	else
		rc = same_bytes(again, line, err);
	if (rc < 0)
		fb_manifest_machine_release(ret_machine);
	return rc;
}

int
fb_manifest_machines(struct fb_manifest *manifest, fb_manifest_visit *visit,
    void *arg, struct fb_error *err)
{
	struct cursor cursor = { .manifest = manifest,
		.at = manifest->machines_at };
	int rc = FB_OK;

	while (rc >= 0 && cursor.at < manifest->machines_end) {
		struct fb_manifest_machine machine = { 0 };
		struct fb_span line;

		rc = next_line(
		    &cursor, FB_MANIFEST_MACHINE_MAX + 1, &line, err);
		if (rc == FB_OK)
			rc = parse_machine(line,
			    cursor.at >= manifest->machines_end, &machine,
			    err);
		if (rc < 0) {
			(void)fb_wrap(err, "'%s'", manifest->path);
			break;
		}
		rc = visit(&machine, arg, err);
		fb_manifest_machine_release(&machine);
	}
	fb_buf_release(&cursor.window);
	return rc < 0 ? rc : FB_OK;
}

/* One of the manifests that are merged: the machine that comes next. */
struct stream {
	struct cursor cursor;
	struct fb_manifest_machine machine;
	bool have;
};

static int
advance(struct stream *stream, struct fb_error *err)
{
	uint64_t end = stream->cursor.manifest->machines_end;
	struct fb_span line;
	int rc;

	fb_manifest_machine_release(&stream->machine);
	stream->machine = (struct fb_manifest_machine){ 0 };
	stream->have = stream->cursor.at < end;
	if (!stream->have)
		return FB_OK;
	rc =
	    next_line(&stream->cursor, FB_MANIFEST_MACHINE_MAX + 1, &line, err);
	if (rc == FB_OK)
		rc = parse_machine(
		    line, stream->cursor.at >= end, &stream->machine, err);
	stream->have = rc == FB_OK;
	return rc < 0 ? fb_wrap(err, "'%s'", stream->cursor.manifest->path)
	              : FB_OK;
}

static bool
comes_first(
    const struct fb_manifest_machine *a, const struct fb_manifest_machine *b)
{
	int order = strcmp(a->source, b->source);

	return order < 0 || (order == 0 && strcmp(a->id, b->id) < 0);
}

int
fb_manifests_merge(struct fb_manifest *const *manifests, size_t count,
    fb_manifest_visit *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_FREE struct stream *streams = fb_alloc(count, sizeof(*streams));
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		streams[i].cursor = (struct cursor){ .manifest = manifests[i],
			.at = manifests[i]->machines_at };
		rc = advance(&streams[i], err);
	}
	while (rc >= 0) {
		struct stream *first = NULL;

		for (size_t i = 0; i < count; i++)
			if (streams[i].have &&
			    (first == NULL ||
			        comes_first(
			            &streams[i].machine, &first->machine)))
				first = &streams[i];
		if (first == NULL)
			break;
		rc = visit(&first->machine, arg, err);
		if (rc >= 0)
			rc = advance(first, err);
	}
	for (size_t i = 0; i < count; i++) {
		fb_manifest_machine_release(&streams[i].machine);
		fb_buf_release(&streams[i].cursor.window);
	}
	return rc < 0 ? rc : FB_OK;
}

static int
check_one(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	return check_machine(arg, machine, err);
}

static int
check_rules(struct fb_manifest *manifest, struct fb_error *err)
{
	struct checker checker = { 0 };
	int rc = check_head(&checker, FB_ECORRUPT, &manifest->head, err);

	if (rc == FB_OK)
		rc = fb_manifest_machines(manifest, check_one, &checker, err);
	if (rc == FB_OK)
		rc = check_end(&checker, err);
	release_checker(&checker);
	return rc;
}

/* What the register says in the clear, the signed bytes must say too. */
static int
check_run(const struct fb_manifest *manifest, const struct fb_run_ref *run,
    struct fb_error *err)
{
	const struct fb_manifest_head *head = &manifest->head;

	if (strcmp(head->run, run->run) != 0 ||
	    strcmp(head->session, run->session) != 0 ||
	    strcmp(head->fleet, run->fleet) != 0 ||
	    strcmp(head->finished, run->time) != 0 ||
	    strcmp(head->shard.of, run->shard.of) != 0 ||
	    head->shard.number != run->shard.number ||
	    head->shard.count != run->shard.count)
		return break_rule(FB_ECORRUPT, err, "M20 (register)",
		    "it is of run %s of session %s of fleet '%s', finished %s",
		    head->run, head->session, head->fleet, head->finished);
	return FB_OK;
}

int
fb_manifest_parse(struct fb_span text, struct fb_manifest **ret_manifest,
    struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest =
	    fb_alloc(1, sizeof(*manifest));
	int rc;

	manifest->fd = -1;
	manifest->path = fb_strdup("manifest.json");
	manifest->size = text.len;
	fb_buf_add(&manifest->bytes, text.ptr, text.len);
	fb_digest_of(text, &manifest->digest);
	if ((rc = read_head(manifest, err)) < 0 ||
	    (rc = check_rules(manifest, err)) < 0)
		return rc;
	*ret_manifest = FB_STEAL(manifest);
	return FB_OK;
}

/* SHA256SUMS names the digest, and the bytes have it. */
static int
open_checked(struct fb_repo *repo, struct fb_span sums,
    struct fb_manifest *manifest, struct fb_error *err)
{
	struct fb_digest digest;
	int rc = fb_sums_find(sums, manifest->path, &digest, err);

	if (rc < 0 || (rc = fetch(repo, manifest, err)) < 0)
		return rc;
	if (fb_digest_cmp(&digest, &manifest->digest) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "'%s' is not what SHA256SUMS says", manifest->path);
	return FB_OK;
}

void
fb_manifests_ahead(
    struct fb_repo *repo, const char *const *runs, size_t count)
{
	char **keys = fb_alloc(2 * count + 1, sizeof(*keys));

	for (size_t i = 0; i < count; i++) {
		keys[2 * i] = fb_format("runs/%s/SHA256SUMS", runs[i]);
		keys[2 * i + 1] = fb_format("runs/%s/manifest.json", runs[i]);
	}
	fb_repo_read_ahead(repo, keys, 2 * count);
	for (size_t i = 0; i < 2 * count; i++)
		free(keys[i]);
	free(keys);
}

int
fb_manifest_open(struct fb_repo *repo, const struct fb_run_ref *run,
    bool untrusted, struct fb_error *ret_doubt,
    struct fb_manifest **ret_manifest, struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest =
	    fb_alloc(1, sizeof(*manifest));
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	int rc = fb_repo_run_sums(repo, run, &sums, err);

	manifest->fd = -1;
	if (ret_doubt != NULL)
		memset(ret_doubt, 0, sizeof(*ret_doubt));
	if (rc == FB_EUNTRUSTED && untrusted) {
		if (ret_doubt != NULL)
			*ret_doubt = *err;
		rc = FB_OK;
	}
	if (rc < 0)
		return rc;
	manifest->path = fb_format("runs/%s/manifest.json", run->run);
	if ((rc = open_checked(repo, fb_buf_span(&sums), manifest, err)) <
	        0 ||
	    (rc = read_head(manifest, err)) < 0 ||
	    (rc = check_run(manifest, run, err)) < 0 ||
	    (rc = check_rules(manifest, err)) < 0)
		return fb_wrap(err, "run %s", run->run);
	*ret_manifest = FB_STEAL(manifest);
	return FB_OK;
}

void
fb_manifest_close(struct fb_manifest *manifest)
{
	if (manifest == NULL)
		return;
	fb_manifest_head_release(&manifest->head);
	fb_buf_release(&manifest->bytes);
	fb_closep(&manifest->fd);
	free(manifest->path);
	free(manifest);
}

void
fb_manifest_closep(struct fb_manifest **manifest)
{
	fb_manifest_close(*manifest);
	*manifest = NULL;
}

const struct fb_manifest_head *
fb_manifest_get_head(const struct fb_manifest *manifest)
{
	return &manifest->head;
}

const struct fb_digest *
fb_manifest_digest(const struct fb_manifest *manifest)
{
	return &manifest->digest;
}

static int
digest_volumes(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf lines = { 0 };

	(void)err;
	add_volume_lines(&lines, machine);
	fb_digester_add(arg, fb_buf_span(&lines));
	return FB_OK;
}

int
fb_manifest_volumes_digest(struct fb_manifest *manifest,
    struct fb_digest *ret_digest, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	int rc;

	fb_digester_add(digester,
	    (struct fb_span){ (const uint8_t *)VOLUMES_HEAD,
	        sizeof(VOLUMES_HEAD) - 1 });
	rc = fb_manifest_machines(manifest, digest_volumes, digester, err);
	if (rc < 0)
		return rc;
	fb_digester_peek(digester, ret_digest);
	return FB_OK;
}
