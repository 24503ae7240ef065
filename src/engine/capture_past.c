/*
 * What need not be read: what an earlier run has of a volume is taken over
 * where the source's metadata say that it did not change.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"
#include "fleetbak/repo/vault.h"
#include "fleetbak/repo/volume.h"
#include "capture.h"

/* The entries of a tree's catalogue, one after the other. */
struct fb_past_entries {
	struct fb_volume_reader *reader;
	struct fb_pull pull;
	struct fb_span piece; /* what was pulled and not used */
	struct fb_buf line;   /* one that two pieces share */
	struct fb_buf scratch;
	struct fb_entry entry;
	bool begun, failed;
};

static void
close_entries(struct fb_past_entries *entries)
{
	if (entries == NULL)
		return;
	fb_volume_close(entries->reader);
	fb_buf_release(&entries->line);
	fb_buf_release(&entries->scratch);
	free(entries);
}

static int
open_entries(struct capture *capture, struct fb_error *err)
{
	const struct fb_plan_past *known = capture->known;
	struct fb_past_entries *entries = fb_alloc(1, sizeof(*entries));
	const struct fb_recipe_head *head;
	int rc = fb_volume_open(capture->run->repo, &known->catalogue_recipe,
	    &entries->reader, err);

	if (rc == FB_OK) {
		head = fb_volume_head(entries->reader);
		if (head->size != known->catalogue_size ||
		    fb_digest_cmp(&head->root, &known->catalogue_root) != 0)
			rc = fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
			    "its catalogue is not what its manifest has");
	}
	if (rc == FB_OK)
		rc = fb_volume_pull(entries->reader, 0, known->catalogue_size,
		    &entries->pull, err);
	if (rc < 0) {
		close_entries(entries);
		return rc;
	}
	capture->entries = entries;
	return FB_OK;
}

/* The next line without its newline; an empty one is the end.  It is there
 * until the next call. */
static int
next_line(struct fb_past_entries *entries, struct fb_span *ret_line,
    struct fb_error *err)
{
	struct fb_span *piece = &entries->piece;

	fb_buf_clear(&entries->line);
	*ret_line = (struct fb_span){ NULL, 0 };
	for (;;) {
		const uint8_t *end = piece->len > 0
		    ? memchr(piece->ptr, '\n', piece->len)
		    : NULL;
		size_t len = end != NULL ? (size_t)(end - piece->ptr)
		                         : piece->len;

		if (end != NULL && entries->line.len == 0)
			*ret_line = (struct fb_span){ piece->ptr, len };
		else if (entries->line.len + len < FB_CATALOGUE_LINE_MAX)
			fb_buf_add(&entries->line, piece->ptr, len);
		else
			return fb_fail(err, FB_ECORRUPT,
			    "a line of the catalogue is too long");
		if (end != NULL) {
			piece->ptr += len + 1;
			piece->len -= len + 1;
			if (entries->line.len > 0)
				*ret_line = fb_buf_span(&entries->line);
			return FB_OK;
		}
		if (entries->pull.next(entries->pull.arg, piece, err) < 0)
			return err->code;
		if (piece->len == 0)
			return FB_OK;
	}
}

static int
next_entry(struct fb_past_entries *entries,
    const struct fb_entry **ret_entry, struct fb_error *err)
{
	static const char head[] = FB_CATALOGUE_HEAD;
	struct fb_span line;
	int rc = next_line(entries, &line, err);

	if (rc == FB_OK && !entries->begun) {
		entries->begun = true;
		if (line.len != sizeof(head) - 2 ||
		    memcmp(line.ptr, head, line.len) != 0)
			return fb_fail(err, FB_ECORRUPT,
			    "the catalogue does not begin like one");
		rc = next_line(entries, &line, err);
	}
	*ret_entry = NULL;
	if (rc < 0 || line.len == 0)
		return rc;
	rc = fb_catalogue_decode(
	    line, &entries->scratch, &entries->entry, err);
	if (rc == FB_OK)
		*ret_entry = &entries->entry;
	return rc;
}

int
fb_capture_entry(
    void *arg, const struct fb_entry **ret_entry, struct fb_error *err)
{
	struct capture *capture = arg;
	int rc = next_entry(capture->entries, ret_entry, err);

	capture->entries->failed |= rc < 0;
	return rc;
}

int
fb_capture_same(
    void *arg, uint64_t offset, uint64_t length, struct fb_error *err)
{
	struct capture *capture = arg;
	int rc = fb_capture_check(capture, err);

	if (rc == FB_OK)
		rc = fb_capture_copier_rc(capture,
		    fb_copy_same(
		        capture->copy, capture->past, offset, length, err));
	capture->offset += length;
	return rc;
}

/* Does its source say that it is what the earlier run has? */
static bool
is_unchanged(const struct capture *capture)
{
	const struct fb_plan_past *known = capture->known;

	return !capture->mapped && known->token != NULL &&
	    strcmp(known->token, capture->artifact->token) == 0 &&
	    known->size == capture->artifact->size;
}

static bool
is_flat(const struct capture *capture)
{
	return capture->run->engine->config->download.digest ==
	    FB_DIGEST_FLAT;
}

/* The flat digest is of all bytes: only that of a whole volume is known. */
static bool
is_wanted(const struct capture *capture)
{
	/* A catalogue is in a pack, and has to be opened. */
	if (capture->artifact->ops->produce != NULL)
		return capture->part->volume->kind == FB_VOLUME_TREE &&
		    capture->known->has_catalogue && !is_flat(capture) &&
		    fb_vault_opens(capture->run->repo->vault);
	return capture->mapped ||
	    (is_unchanged(capture) &&
	        (!is_flat(capture) || capture->known->has_flat));
}

static void
warn(struct capture *capture, const struct fb_error *why)
{
	struct fb_error warning = *why;

	(void)fb_wrap(&warning,
	    "volume '%s' is read as a whole, for what the last run has of it "
	    "cannot be used",
	    capture->part->volume->name);
	fb_run_notify(capture->run,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING,
	        .machine = capture->job->name,
	        .error = &warning });
}

void
fb_capture_ask(struct capture *capture)
{
	struct fb_artifact *artifact = capture->artifact;
	const char *since = capture->known != NULL ? capture->known->token
	                                           : NULL;
	struct fb_error err = { 0 };

	if (artifact->ops->changed_blocks == NULL)
		return;
	if (artifact->ops->changed_blocks(artifact,
	        since != NULL ? since : "", &capture->changed, &err) < 0)
		warn(capture, &err);
	else
		capture->mapped = since != NULL && !capture->changed.all &&
		    !is_flat(capture);
	if (!capture->mapped)
		capture->known = NULL;
}

void
fb_capture_open_past(struct capture *capture)
{
	struct fb_past_spec spec = { .kind = fb_volume_kind_name(
		                         capture->part->volume->kind) };
	struct fb_error err = { 0 };
	int rc;

	if (capture->known == NULL || !is_wanted(capture))
		return;
	spec.recipe = capture->known->recipe;
	spec.root = capture->known->root;
	spec.size = capture->known->size;
	rc = fb_past_open(
	    capture->run->copier, &spec, 0, &capture->past, &err);
	if (rc == FB_OK && capture->artifact->ops->produce != NULL)
		rc = open_entries(capture, &err);
	if (rc == FB_OK)
		return;
	fb_capture_close_past(capture);
	if (rc != FB_ENOTFOUND) /* what is deleted meanwhile is no trouble */
		warn(capture, &err);
}

void
fb_capture_close_past(struct capture *capture)
{
	fb_past_close(FB_STEAL(capture->past));
	close_entries(FB_STEAL(capture->entries));
	capture->known = NULL;
	capture->mapped = false;
}

bool
fb_capture_past_failed(struct capture *capture, const struct fb_error *err)
{
	bool failed = capture->lied ||
	    (capture->past != NULL && fb_past_failed(capture->past)) ||
	    (capture->entries != NULL && capture->entries->failed);

	if (failed && err->code != FB_ECANCELED)
		warn(capture, err);
	return failed && err->code != FB_ECANCELED;
}

/* A share of what is not read is read all the same, another one each run. */
static bool
is_sampled(const struct capture *capture, uint64_t offset)
{
	unsigned percent =
	    capture->run->engine->config->download.verify_unchanged_percent;
	uint64_t hash = UINT64_C(14695981039346656037) ^ offset;

	for (const char *c = capture->run->id; *c != '\0'; c++)
		hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
	hash ^= hash >> 32;
	return capture->mapped && hash % 100 < percent;
}

/* Of zeros: of so many bytes each is sampled by itself. */
#define ZEROS_STEP ((uint64_t)64 << 10)

static bool
is_same(const struct capture *capture, const struct fb_past_piece *piece,
    struct fb_span bytes)
{
	struct fb_digest_job job = { .bytes = bytes };

	if (piece->zeros)
		return bytes.ptr[0] == 0 &&
		    memcmp(bytes.ptr, bytes.ptr + 1, bytes.len - 1) == 0;
	fb_cipher_ids(fb_vault_domain(capture->run->repo->vault), &job, 1);
	return fb_digest_cmp(&job.digest, &piece->id) == 0;
}

/* Is the piece, which is not empty, what it was? */
static int
compare_piece(struct capture *capture, const struct fb_past_piece *piece,
    struct fb_error *err)
{
	size_t len = (size_t)piece->length; /* a chunk's */
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(len, 1);
	int rc = fb_capture_wait(capture, len, err);

	if (rc == FB_OK)
		rc = capture->artifact->ops->read(
		    capture->artifact, piece->offset, bytes, len, err);
	if (rc < 0)
		return rc;
	capture->part->read_bytes += len;
	if (is_same(capture, piece, (struct fb_span){ bytes, len }))
		return FB_OK;
	capture->lied = true;
	return fb_fail_id(err, FB_ECONFLICT, "E-CHANGE-MAP",
	    "%llu bytes at %llu are not what they were, though its change map "
	    "says so",
	    (unsigned long long)piece->length,
	    (unsigned long long)piece->offset);
}

/* Zeros up to `end` that nobody says have changed: where the source has data
 * now, which may be zeros too, a share of it is read. */
static int
compare_zeros(struct capture *capture, uint64_t end, struct fb_error *err)
{
	struct fb_artifact *artifact = capture->artifact;
	uint64_t at = capture->offset;
	int rc = FB_OK;

	while (rc == FB_OK && at < end) {
		uint64_t until;

		rc = artifact->ops->extent(artifact, at, &at, &until, err);
		if (rc == FB_OK)
			rc = fb_capture_check(capture, err);
		while (rc == FB_OK && at < until && at < end) {
			struct fb_past_piece piece = { .offset = at,
				.length = ZEROS_STEP - at % ZEROS_STEP,
				.zeros = true };

			if (piece.length > until - at)
				piece.length = until - at;
			if (piece.length > end - at)
				piece.length = end - at;
			if (is_sampled(capture, at))
				rc = compare_piece(capture, &piece, err);
			at += piece.length;
		}
	}
	return rc;
}

static int
take_same(struct capture *capture, uint64_t end, struct fb_error *err)
{
	int rc = fb_capture_copier_rc(capture,
	    fb_copy_same(capture->copy, capture->past, capture->offset,
	        end - capture->offset, err));

	capture->offset = end;
	return rc;
}

/* Zeros of any length: what changed in them is read, the rest is no chunk. */
static int
capture_zeros(struct capture *capture, uint64_t end, struct fb_error *err)
{
	int rc = FB_OK;

	while (rc == FB_OK && capture->offset < end) {
		uint64_t start, until;

		fb_ranges_next(
		    &capture->changed, capture->offset, end, &start, &until);
		if (start > end)
			start = end;
		if (until > end)
			until = end;
		if (start > capture->offset && capture->mapped)
			rc = compare_zeros(capture, start, err);
		if (rc == FB_OK && start > capture->offset)
			rc = take_same(capture, start, err);
		if (rc == FB_OK)
			rc = fb_capture_read(capture, until, err);
	}
	return rc;
}

static int
capture_piece(struct capture *capture, const struct fb_past_piece *piece,
    struct fb_error *err)
{
	uint64_t end = piece->offset + piece->length;
	int rc = FB_OK;

	if (end > capture->artifact->size)
		return fb_capture_read(capture, capture->artifact->size, err);
	if (piece->zeros)
		return capture_zeros(capture, end, err);
	/* When it was resumed, the copy may stand in the middle of it. */
	if (piece->offset != capture->offset ||
	    fb_ranges_touch(&capture->changed, piece->offset, end))
		return fb_capture_read(capture, end, err);
	if (is_sampled(capture, piece->offset))
		rc = compare_piece(capture, piece, err);
	return rc < 0 ? rc : take_same(capture, end, err);
}

int
fb_capture_disk(struct capture *capture, struct fb_error *err)
{
	uint64_t size = capture->artifact->size;

	while (capture->past != NULL && capture->offset < size) {
		struct fb_past_piece piece;
		int rc = fb_past_peek(capture->past, &piece, err);

		if (rc == FB_OK)
			rc = fb_capture_check(capture, err);
		if (rc < 0)
			return rc;
		if (piece.length == 0)
			break;
		if (piece.offset + piece.length <= capture->offset)
			rc = fb_past_skip(capture->past, err);
		else
			rc = capture_piece(capture, &piece, err);
		if (rc < 0)
			return rc;
		fb_capture_progress(capture);
	}
	return fb_capture_read(capture, size, err);
}

int
fb_capture_settle(struct capture *capture, struct fb_error *err)
{
	struct fb_copy_result *result = &capture->part->result;

	if (capture->past == NULL || capture->entries != NULL)
		return FB_OK;
	/* One that went on after a crash may have other chunks. */
	if (!capture->continued && !capture->mapped &&
	    fb_digest_cmp(&result->root, &capture->known->root) != 0) {
		(void)fb_fail_id(err, FB_ECORRUPT, "E-ROOT",
		    "what was taken over from an earlier run is not what its "
		    "manifest has");
		return fb_hint(err, "read it as a whole: fleetbak download "
				    "--full");
	}
	if (capture->mapped)
		return FB_OK;
	result->has_flat = capture->known->has_flat;
	result->flat = capture->known->flat;
	return FB_OK;
}
