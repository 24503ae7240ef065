/* Checkpoints: what the copier is, as JSON to be journaled. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/json.h"

#include "bytes.h"
#include "copier_impl.h"
#include "packer_impl.h"

#define LEAVES_MAX     (UINT64_C(1) << 48)
#define FINISHED_BYTES 4096

/* Behind the leaves of a finished copy: its record, the record's length, and
 * this. */
#define ENDED_MAGIC UINT64_C(0x6465646e65206266) /* "fb ended" */
#define ENDED_LEN   16

/* Files of finished copies that are held open until the next state. */
#define ENDED_MAX 64

#define LEAVES_SUFFIX ".leaves"
#define PACK_PREFIX   "pack."

static const char what_copy[] = "journaled state of a copy";
static const char what_record[] = "record of a finished copy";

void
fb_copier_drop_ended(struct fb_copier *copier)
{
	for (size_t i = 0; i < copier->ended_count; i++)
		fb_leaves_close(&copier->ended[i]);
	copier->ended_count = 0;
}

static int
sync_ended(struct fb_copier *copier, struct fb_error *err)
{
	for (size_t i = 0; i < copier->ended_count; i++) {
		int rc = fb_leaves_sync(&copier->ended[i], err);

		if (rc < 0)
			return rc;
	}
	fb_copier_drop_ended(copier);
	return FB_OK;
}

static int
add_copies(struct fb_copier *copier, json_t *copies, struct fb_error *err)
{
	(void)json_object_update(copies, copier->resumed);
	for (struct fb_copy *copy = copier->copies; copy != NULL;
	     copy = copy->next) {
		int rc = fb_leaves_sync(&copy->leaves, err);

		if (rc < 0)
			return rc;
		(void)json_object_set_new(copies, copy->key,
		    json_pack("{s:I, s:I, s:I}", "leaves",
		        (json_int_t)copy->leaves.count, "new",
		        (json_int_t)copy->new_bytes, "stored",
		        (json_int_t)copy->stored_bytes));
	}
	return FB_OK;
}

int
fb_copier_state(
    struct fb_copier *copier, json_t **ret_state, struct fb_error *err)
{
	json_t *packer = NULL, *copies = json_object();
	int rc = sync_ended(copier, err);

	if (rc == FB_OK)
		rc = add_copies(copier, copies, err);
	if (rc == FB_OK)
		rc = fb_packer_state(copier->packer, &packer, err);
	if (rc < 0) {
		json_decref(copies);
		return rc;
	}
	copier->serial++;
	*ret_state = json_pack("{s:I, s:o, s:o}", "serial",
	    (json_int_t)copier->serial, "packer", packer, "copies", copies);
	return FB_OK;
}

/* Hand over what was sealed, and the state that says so with the last. */
static int
put_sealed(struct fb_copier *copier, struct fb_sealed_pack *sealed,
    unsigned count, struct fb_error *err)
{
	json_t *state = NULL;
	int rc = count > 0 ? fb_copier_state(copier, &state, err) : FB_OK;

	for (unsigned i = 0; rc == FB_OK && i < count; i++) {
		json_t *with = i == count - 1 ? FB_STEAL(state) : NULL;

		rc = fb_sender_put(copier->sender, &sealed[i], with, err);
		if (rc < 0 && state != NULL)
			json_decref(state);
	}
	return rc;
}

int
fb_copier_cut_packs(
    struct fb_copier *copier, uint64_t least, struct fb_error *err)
{
	struct fb_sealed_pack sealed[FB_PACKER_LANES];
	unsigned count = 0;
	int rc = FB_OK;

	for (unsigned i = 0; rc == FB_OK && i < FB_PACKER_LANES; i++) {
		uint64_t bytes;

		fb_packer_select(copier->packer, i);
		bytes = fb_packer_open_bytes(copier->packer);
		if (bytes == 0 || (bytes < least && i != copier->lane))
			continue;
		rc = fb_packer_seal(copier->packer, &sealed[count], err);
		count += rc == FB_OK;
	}
	fb_packer_select(copier->packer, copier->lane);
	if (rc == FB_OK)
		rc = put_sealed(copier, sealed, count, err);
	for (unsigned i = 0; i < count; i++)
		fb_sealed_pack_release(&sealed[i]);
	return rc;
}

/* As the appender. */
static int
checkpoint(struct fb_copier *copier, struct fb_error *err)
{
	FB_AUTO_JSON json_t *state = NULL;
	int rc = fb_sender_wait(copier->sender, err);

	if (rc == FB_OK)
		rc = fb_copier_state(copier, &state, err);
	if (rc == FB_OK)
		rc = fb_sender_journal(copier->sender, state, err);
	return rc;
}

int
fb_copier_checkpoint(struct fb_copier *copier, struct fb_error *err)
{
	int rc = fb_copier_own(copier, err);

	if (rc == FB_OK) {
		rc = checkpoint(copier, err);
		if (rc < 0)
			(void)fb_copier_fail(copier, rc, err);
	}
	fb_copier_disown(copier);
	return rc;
}

int
fb_copier_flush(struct fb_copier *copier, struct fb_error *err)
{
	int rc = fb_copier_own(copier, err);

	if (rc == FB_OK) {
		rc = fb_copier_cut_packs(copier, 0, err);
		if (rc == FB_OK)
			rc = checkpoint(copier, err);
		if (rc < 0)
			(void)fb_copier_fail(copier, rc, err);
	}
	fb_copier_disown(copier);
	return rc;
}

static void
keep_ended(struct fb_copier *copier, struct fb_leaves *leaves)
{
	if (copier->ended_count == copier->ended_cap) {
		copier->ended_cap = copier->ended_cap * 2 + 8;
		copier->ended = fb_realloc(copier->ended, copier->ended_cap,
		    sizeof(*copier->ended));
	}
	copier->ended[copier->ended_count++] = *leaves;
	*leaves = (struct fb_leaves){ .fd = -1 };
}

int
fb_finished_write(struct fb_copy *copy, const struct finished *finished,
    struct fb_error *err)
{
	const struct fb_copy_result *result = &finished->result;
	struct fb_copier *copier = copy->copier;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_JSON json_t *record = NULL;
	char root[FB_DIGEST_HEX_SIZE], flat[FB_DIGEST_HEX_SIZE];
	size_t len;
	int rc;

	fb_digest_hex(&result->root, root);
	fb_digest_hex(&result->flat, flat);
	record = json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:s}",
	    "serial", (json_int_t)copier->serial, "kind", finished->kind,
	    "leaves", (json_int_t)finished->leaves, "size",
	    (json_int_t)result->size, "zero", (json_int_t)result->zero_bytes,
	    "new", (json_int_t)result->new_bytes, "stored",
	    (json_int_t)result->stored_bytes, "root", root);
	if (result->has_flat)
		(void)json_object_set_new(record, "flat", json_string(flat));
	fb_json_add(&text, record);
	len = text.len;
	fb_buf_add_le64(&text, len);
	fb_buf_add_le64(&text, ENDED_MAGIC);
	rc = fb_leaves_end(&copy->leaves, fb_buf_span(&text), err);
	if (rc == FB_OK && copier->ended_count == ENDED_MAX)
		rc = sync_ended(copier, err);
	if (rc == FB_OK)
		keep_ended(copier, &copy->leaves);
	return rc;
}

static int
fail_unfinished(const char *path, struct fb_error *err)
{
	return fb_fail(err, FB_ENOTFOUND, "'%s' has no end", path);
}

/* FB_ENOTFOUND when the file ends in no record. */
static int
read_record(const char *path, json_t **ret_record, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	uint8_t text[FINISHED_BYTES], end[ENDED_LEN];
	uint64_t size, len, leaves;
	struct stat st;
	size_t got;
	int rc = fd < 0 ? fd : FB_OK;

	if (rc == FB_OK && fstat(fd, &st) == -1)
		rc = fb_fail_sys(err, "cannot look at '%s'", path);
	if (rc < 0)
		return rc;
	size = (uint64_t)st.st_size;
	if (size < ENDED_LEN)
		return fail_unfinished(path, err);
	size -= ENDED_LEN;
	rc = fb_io_pread(fd, path, end, ENDED_LEN, size, &got, err);
	len = rc == FB_OK && got == ENDED_LEN ? fb_load_le64(end) : 0;
	if (rc < 0)
		return rc;
	if (len == 0 || len > sizeof(text) || len > size ||
	    fb_load_le64(end + 8) != ENDED_MAGIC)
		return fail_unfinished(path, err);
	rc = fb_io_pread(fd, path, text, len, size - len, &got, err);
	if (rc == FB_OK)
		rc = fb_json_parse((struct fb_span){ text, got },
		    FINISHED_BYTES, what_record, ret_record, err);
	if (rc == FB_OK)
		rc = fb_json_u64(*ret_record, "leaves", what_record,
		    LEAVES_MAX, &leaves, err);
	if (rc == FB_OK && leaves * FB_LEAF_LEN != size - len)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
		    "'%s' does not hold the leaves it names", path);
	return rc;
}

static int
parse_digest(const json_t *record, const char *name,
    struct fb_digest *ret_digest, struct fb_error *err)
{
	const char *text;
	int rc = fb_json_str(record, name, what_record, &text, err);

	return rc < 0
	    ? rc
	    : fb_digest_parse((struct fb_span){ (const uint8_t *)text,
	                          strlen(text) },
	          ret_digest, err);
}

int
fb_copier_holds(struct fb_copier *copier, const char *key, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_copier_path(copier, key, LEAVES_SUFFIX);
	struct finished finished;
	int rc = fb_finished_read(copier, key, &finished, err);

	return rc != FB_ENOTFOUND
	    ? rc
	    : fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
	          "'%s' does not hold what was journaled", path);
}

int
fb_finished_read(struct fb_copier *copier, const char *key,
    struct finished *ret_finished, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_copier_path(copier, key, LEAVES_SUFFIX);
	FB_AUTO_JSON json_t *record = NULL;
	struct finished finished = { 0 };
	struct fb_copy_result *result = &finished.result;
	const struct {
		const char *name;
		uint64_t *value;
	} numbers[] = {
		{ "leaves", &finished.leaves },
		{ "size", &result->size },
		{ "zero", &result->zero_bytes },
		{ "new", &result->new_bytes },
		{ "stored", &result->stored_bytes },
	};
	const char *kind;
	int rc = read_record(path, &record, err);

	for (size_t i = 0; rc == FB_OK && i < FB_COUNT(numbers); i++)
		rc = fb_json_u64(record, numbers[i].name, what_record,
		    INT64_MAX, numbers[i].value, err);
	if (rc == FB_OK)
		rc = fb_json_str(record, "kind", what_record, &kind, err);
	if (rc == FB_OK)
		rc = parse_digest(record, "root", &result->root, err);
	result->has_flat =
	    rc == FB_OK && json_object_get(record, "flat") != NULL;
	if (result->has_flat)
		rc = parse_digest(record, "flat", &result->flat, err);
	if (rc < 0)
		return rc;
	(void)snprintf(finished.kind, sizeof(finished.kind), "%s", kind);
	*ret_finished = finished;
	return FB_OK;
}

/* Continuing copies. */

static int
rebuild_leaf(const struct fb_leaf *leaf, void *arg, struct fb_error *err)
{
	struct fb_copy *copy = arg;

	if (leaf->pack == FB_LEAF_ZERO) {
		copy->pending_zeros += leaf->length;
		return FB_OK;
	}
	if (leaf->pack >= fb_packer_local_count(copy->copier->packer))
		return fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
		    "copy '%s' uses a pack that there is not", copy->key);
	if (copy->pending_zeros > 0)
		fb_merkle_add_zero(&copy->merkle, copy->pending_zeros);
	copy->zero_bytes += copy->pending_zeros;
	copy->pending_zeros = 0;
	fb_merkle_add_data(&copy->merkle, leaf->length, &leaf->id);
	return FB_OK;
}

/* How many leaves are to be kept: those of the state, or of the record. */
static int
find_leaves(struct fb_copy *copy, uint64_t *ret_count, struct fb_error *err)
{
	const json_t *saved =
	    json_object_get(copy->copier->resumed, copy->key);
	struct finished finished;
	int rc;

	if (saved == NULL) {
		rc = fb_finished_read(
		    copy->copier, copy->key, &finished, err);
		*ret_count = 0;
		if (rc < 0)
			return rc == FB_ENOTFOUND ? FB_OK : rc;
		*ret_count = finished.leaves;
		copy->new_bytes = finished.result.new_bytes;
		copy->stored_bytes = finished.result.stored_bytes;
		return FB_OK;
	}
	rc = fb_json_u64(
	    saved, "leaves", what_copy, LEAVES_MAX, ret_count, err);
	if (rc == FB_OK)
		rc = fb_json_u64(saved, "new", what_copy, INT64_MAX,
		    &copy->new_bytes, err);
	if (rc == FB_OK)
		rc = fb_json_u64(saved, "stored", what_copy, INT64_MAX,
		    &copy->stored_bytes, err);
	return rc;
}

/* What it had is lost: from the beginning. */
static void
begin_anew(struct fb_copy *copy)
{
	fb_merkle_init(&copy->merkle);
	copy->pending_zeros = copy->zero_bytes = 0;
	copy->new_bytes = copy->stored_bytes = 0;
}

int
fb_copy_open_leaves(struct fb_copy *copy, bool resume, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_copier_path(copy->copier, copy->key, LEAVES_SUFFIX);
	uint64_t count = 0;
	int rc = FB_OK;

	if (resume)
		rc = find_leaves(copy, &count, err);
	if (rc == FB_OK && count > 0)
		rc = fb_leaves_read(path, count, rebuild_leaf, copy, err);
	if (count > 0 && (rc == FB_ENOTFOUND || rc == FB_ECORRUPT)) {
		begin_anew(copy);
		count = 0;
		rc = FB_OK;
	}
	if (rc == FB_OK) /* zeros at the end may go on */
		rc = fb_leaves_open(&copy->leaves, path,
		    count - (copy->pending_zeros > 0), err);
	if (rc == FB_OK) {
		fb_packer_new_name(copy->copier->packer);
		(void)json_object_del(copy->copier->resumed, copy->key);
	}
	return rc;
}

static bool
has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), tail = strlen(suffix);

	return len > tail && strcmp(name + len - tail, suffix) == 0;
}

static bool
is_pack(const char *name)
{
	return strncmp(name, PACK_PREFIX, strlen(PACK_PREFIX)) == 0;
}

/* Whether the copy was under way when the state was taken. */
static bool
is_under_way(const json_t *state, const char *name)
{
	FB_AUTO_FREE char *key = fb_format(
	    "%.*s", (int)(strlen(name) - strlen(LEAVES_SUFFIX)), name);

	return json_object_get(json_object_get(state, "copies"), key) != NULL;
}

/* Whether "pack.<number>..." is of a pack that was open then. */
static bool
is_of_open(const json_t *state, const char *name)
{
	const char *number = name + strlen(PACK_PREFIX);
	size_t len = strspn(number, "0123456789");
	struct fb_span digits = { (const uint8_t *)number, len };
	struct fb_error ignored = { 0 };
	uint64_t local;

	return fb_text_u64(digits, UINT32_MAX, &local, &ignored) == FB_OK &&
	    fb_packer_state_opens(json_object_get(state, "packer"), local) &&
	    (number[len] == '\0' || strcmp(number + len, ".chunks") == 0 ||
	        strcmp(number + len, ".key") == 0);
}

/* Finished after the state was taken: its chunks may be lost.  What cannot be
 * read at the moment may be as good as ever. */
static int
is_covered(struct fb_copier *copier, const json_t *state, const char *name,
    bool *ret_covered, struct fb_error *err)
{
	uint64_t serial = state != NULL ? copier->serial : 0;
	FB_AUTO_JSON json_t *record = NULL;
	FB_AUTO_FREE char *path = fb_copier_path(copier, name, "");
	struct fb_error why = { 0 };
	uint64_t made = UINT64_MAX;
	int rc = read_record(path, &record, &why);

	if (rc < 0 && rc != FB_ENOTFOUND && why.sys != 0) {
		*err = why;
		return rc;
	}
	if (rc == FB_OK)
		rc = fb_json_u64(
		    record, "serial", what_record, INT64_MAX, &made, &why);
	*ret_covered = rc == FB_OK && made < serial;
	return FB_OK;
}

/* Whether a file of the spool directory belongs to the state. */
static int
is_wanted(struct fb_copier *copier, const json_t *state, const char *name,
    bool *ret_wanted, struct fb_error *err)
{
	if (is_pack(name) && !has_suffix(name, LEAVES_SUFFIX))
		*ret_wanted = is_of_open(state, name);
	else if (strncmp(name, "index.", 6) == 0 &&
	    !has_suffix(name, LEAVES_SUFFIX))
		*ret_wanted = false;
	else if (!has_suffix(name, LEAVES_SUFFIX) || is_under_way(state, name))
		*ret_wanted = true;
	else
		return is_covered(copier, state, name, ret_wanted, err);
	return FB_OK;
}

int
fb_copier_clean(
    struct fb_copier *copier, const json_t *state, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(copier->spool_dir, &names, err);

	for (char **name = names; rc == FB_OK && *name != NULL; name++) {
		FB_AUTO_FREE char *path = fb_copier_path(copier, *name, "");
		bool wanted = true;

		rc = is_wanted(copier, state, *name, &wanted, err);
		if (rc < 0 || wanted)
			continue;
		rc = is_pack(*name) && has_suffix(*name, ".key")
		    ? fb_spool_key_remove(path, err)
		    : fb_io_unlink(path, err);
	}
	return rc;
}
