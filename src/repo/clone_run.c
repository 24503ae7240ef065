/* One run from store to store. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/rate.h"

#include "clone_impl.h"
#include "tables.h"

#define WORKERS    2
#define MEMORY_MAX (64U << 20) /* of an object; larger ones are spooled */
#define RECIPE_MAX (UINT64_C(1) << 30)
#define PIECE      (4U << 20)

const char *const clone_run_files[CLONE_RUN_FILES] = { "manifest.json",
	"VOLUMES", "SHA256SUMS", "SHA256SUMS.sig" };

/* What the workers of one run share. */
struct crew {
	struct fb_clone *clone;
	struct clone_want *want;
	size_t next;
};

static int
check_cancel(const struct fb_clone *clone, struct fb_error *err)
{
	if (clone->spec.cancel != NULL && atomic_load(clone->spec.cancel))
		return fb_fail(err, FB_ECANCELED, "stopped on request");
	return FB_OK;
}

/* Wait until so many bytes may go. */
static int
pace(const struct fb_clone *clone, struct fb_rate *rate, uint64_t len,
    struct fb_error *err)
{
	int64_t due, now = fb_clock_mono_ns();
	uint64_t place = fb_rate_queue(rate, len, now);
	int rc = check_cancel(clone, err);

	while (rc == FB_OK && (due = fb_rate_due(rate, place, now)) > now) {
		fb_clock_wait(due);
		rc = check_cancel(clone, err);
		now = fb_clock_mono_ns();
	}
	return rc;
}

static int
fail_digest(const char *key, struct fb_error *err)
{
	(void)fb_fail(err, FB_ECORRUPT, "'%s' is not what its name says", key);
	return fb_hint(err, "fleetbak verify tells what it harms");
}

/* A piece of an object, for whoever takes it. */
typedef int take_piece(
    void *arg, uint64_t offset, struct fb_span piece, struct fb_error *err);

struct reading {
	struct fb_clone *clone;
	struct fb_digester *digester;
	uint64_t at;
	take_piece *take;
	void *arg;
};

/* As the bytes come, at the pace at which they may. */
static int
pass_on(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct reading *reading = arg;
	struct fb_clone *clone = reading->clone;
	int rc = pace(clone, clone->spec.read, piece.len, err);

	if (rc == FB_OK) {
		fb_digester_add(reading->digester, piece);
		rc = reading->take(reading->arg, reading->at, piece, err);
	}
	reading->at += piece.len;
	return rc;
}

static int
read_by_steps(struct reading *reading, const char *key, uint64_t size,
    struct fb_error *err)
{
	struct fb_clone *clone = reading->clone;
	FB_AUTO_FREE uint8_t *piece = fb_alloc(PIECE, 1);
	int rc = FB_OK;

	while (rc == FB_OK && reading->at < size) {
		uint64_t left = size - reading->at;
		size_t len = (size_t)fb_rate_step(
		    clone->spec.read, left < PIECE ? (size_t)left : PIECE);
		struct fb_span span = { piece, len };

		rc = pace(clone, clone->spec.read, len, err);
		if (rc == FB_OK)
			rc = fb_store_get_range(clone->spec.from->store, key,
			    reading->at, piece, len, err);
		if (rc == FB_OK) {
			fb_digester_add(reading->digester, span);
			rc =
			    reading->take(reading->arg, reading->at, span, err);
		}
		reading->at += len;
	}
	return rc;
}

static int
read_pieces(struct fb_clone *clone, const char *key, uint64_t size,
    struct fb_digest *ret_digest, take_piece *take, void *arg,
    struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	struct reading reading = { clone, digester, 0, take, arg };
	struct fb_store *store = clone->spec.from->store;
	int rc = fb_store_is_far(store)
	    ? fb_store_read(store, key, 0, size, pass_on, &reading, err)
	    : read_by_steps(&reading, key, size, err);

	if (rc == FB_OK)
		fb_digester_peek(digester, ret_digest);
	return rc;
}

static int
take_into_buf(
    void *arg, uint64_t offset, struct fb_span piece, struct fb_error *err)
{
	(void)offset;
	(void)err;
	fb_buf_add(arg, piece.ptr, piece.len);
	return FB_OK;
}

struct spool {
	int fd;
	const char *path;
};

static int
take_into_file(
    void *arg, uint64_t offset, struct fb_span piece, struct fb_error *err)
{
	const struct spool *spool = arg;

	return fb_io_pwrite_all(spool->fd, spool->path, piece, offset, err);
}

/* Whoever was faster put the same bytes there: the name is their digest. */
static int
taken(struct fb_clone *clone, const char *key, uint64_t size,
    struct fb_error *err)
{
	uint64_t there = 0;
	int rc = fb_store_head(clone->spec.to->store, key, &there, err);

	if (rc == FB_OK && there != size)
		rc = fb_fail(err, FB_ECORRUPT,
		    "'%s' has %llu bytes there instead of %llu", key,
		    (unsigned long long)there, (unsigned long long)size);
	return rc;
}

/* A small object; one that is there has the same bytes: *ret_found. */
static int
copy_small(struct fb_clone *clone, const char *key,
    const struct fb_digest *digest, bool *ret_found, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf ours = { 0 }, theirs = { 0 };
	struct fb_digest own;
	int rc = fb_store_get(
	    clone->spec.from->store, key, FB_SUMS_MAX, &ours, NULL, err);

	*ret_found = false;
	if (rc < 0)
		return rc;
	fb_digest_of(fb_buf_span(&ours), &own);
	if (digest != NULL && fb_digest_cmp(&own, digest) != 0)
		return fb_fail(
		    err, FB_ECORRUPT, "'%s' is not what SHA256SUMS says", key);
	rc = fb_store_create(
	    clone->spec.to->store, key, fb_buf_span(&ours), err);
	*ret_found = rc == FB_EEXISTS;
	if (rc != FB_EEXISTS)
		return rc;
	rc = fb_store_get(
	    clone->spec.to->store, key, FB_SUMS_MAX, &theirs, NULL, err);
	if (rc == FB_OK &&
	    (ours.len != theirs.len ||
	        memcmp(ours.data, theirs.data, ours.len) != 0))
		rc = fb_fail(
		    err, FB_ECORRUPT, "'%s' holds something else there", key);
	return rc;
}

struct extras {
	char **keys;
	size_t count;
};

static int
note_key(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct extras *extras = arg;

	(void)size;
	(void)err;
	extras->keys =
	    fb_realloc(extras->keys, extras->count + 1, sizeof(*extras->keys));
	extras->keys[extras->count++] = fb_strdup(key);
	return FB_OK;
}

/* Wrapped keys of the session, without which nobody opens its packs, and its
 * hints, without which it would only be slower: their loss is no error. */
static int
copy_extras(struct fb_clone *clone, const char *prefix, const char *session,
    bool needed, struct fb_error *err)
{
	FB_AUTO_FREE char *start = fb_format("%s/%s", prefix, session);
	struct extras extras = { 0 };
	int rc = fb_store_list(
	    clone->spec.from->store, start, note_key, &extras, err);

	for (size_t i = 0; rc == FB_OK && i < extras.count; i++) {
		bool found;

		rc = copy_small(clone, extras.keys[i], NULL, &found, err);
		if (!needed && (rc == FB_ECORRUPT || rc == FB_ENOTFOUND))
			rc = FB_OK;
	}
	for (size_t i = 0; i < extras.count; i++)
		free(extras.keys[i]);
	free(extras.keys);
	return rc;
}

/*
 * The keys of the session that made a pack, which is another one than the run's
 * when the run uses the pack again.  They are there before the pack is, so that
 * a copy that is cut off leaves none that cannot be opened.
 */
static int
copy_keys(struct fb_clone *clone, const struct fb_pack_table *table,
    struct fb_error *err)
{
	bool done;
	int rc;

	(void)pthread_mutex_lock(&clone->lock);
	done = fb_run_ids_have(&clone->keyed, table->session);
	(void)pthread_mutex_unlock(&clone->lock);
	if (done)
		return FB_OK;
	rc = copy_extras(clone, "keys", table->session, true, err);
	(void)pthread_mutex_lock(&clone->lock);
	if (rc == FB_OK)
		fb_run_ids_add(&clone->keyed, table->session);
	(void)pthread_mutex_unlock(&clone->lock);
	return rc;
}

static int
copy_keys_of_pack(struct fb_clone *clone, const struct clone_wanted *object,
    struct fb_error *err)
{
	struct fb_table_place place = { .pack = object->id };
	struct fb_table table = { 0 };
	int rc;

	if (!object->pack || clone->spec.from->vault == NULL)
		return FB_OK;
	rc = fb_table_fetch(clone->spec.from->store, &place, &table, err);
	if (rc < 0)
		return rc;
	rc = copy_keys(clone, &table.table, err);
	fb_pack_table_release(&table.table);
	return rc;
}

static int
copy_in_memory(struct fb_clone *clone, const char *key,
    const struct clone_wanted *object, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_digest digest;
	int rc = fb_buf_reserve_or_fail(&bytes, (size_t)object->size, err);

	if (rc == FB_OK)
		rc = read_pieces(clone, key, object->size, &digest,
		    take_into_buf, &bytes, err);
	if (rc == FB_OK && fb_digest_cmp(&digest, &object->id) != 0)
		rc = fail_digest(key, err);
	if (rc == FB_OK)
		rc = pace(clone, clone->spec.upload, object->size, err);
	if (rc == FB_OK)
		rc = fb_store_create(
		    clone->spec.to->store, key, fb_buf_span(&bytes), err);
	return rc;
}

static int
copy_by_file(struct fb_clone *clone, const char *key,
    const struct clone_wanted *object, struct fb_error *err)
{
	char hex[FB_DIGEST_HEX_SIZE];
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_CLOSE int fd = -1;
	struct fb_error ignored = { 0 };
	struct fb_digest digest;
	struct spool spool;
	int rc = fb_io_mkdirs(clone->spec.spool_dir, 0700, err);

	if (rc < 0)
		return rc;
	fb_digest_hex(&object->id, hex);
	path = fb_format("%s/%s", clone->spec.spool_dir, hex);
	rc = fb_io_unlink(path, err);
	if (rc < 0)
		return rc;
	fd = fb_io_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, err);
	if (fd < 0)
		return fd;
	spool = (struct spool){ fd, path };
	rc = read_pieces(
	    clone, key, object->size, &digest, take_into_file, &spool, err);
	if (rc == FB_OK && fb_digest_cmp(&digest, &object->id) != 0)
		rc = fail_digest(key, err);
	if (rc == FB_OK)
		rc = fb_io_sync(fd, path, err);
	if (rc == FB_OK)
		rc = pace(clone, clone->spec.upload, object->size, err);
	if (rc == FB_OK)
		rc = fb_store_create_file(
		    clone->spec.to->store, key, path, object->size, err);
	(void)!fb_io_unlink(path, &ignored);
	return rc;
}

static int
copy_object(
    struct crew *crew, const struct clone_wanted *object, struct fb_error *err)
{
	struct fb_clone *clone = crew->clone;
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t max = object->pack ? FB_PACK_SIZE_MAX : RECIPE_MAX;
	int rc;

	(object->pack ? fb_pack_key : fb_recipe_key)(&object->id, key);
	if (object->size > max)
		return fb_fail(err, FB_ECORRUPT, "'%s' has %llu bytes", key,
		    (unsigned long long)object->size);
	rc = copy_keys_of_pack(clone, object, err);
	if (rc < 0)
		return rc;
	rc = object->size <= MEMORY_MAX
	    ? copy_in_memory(clone, key, object, err)
	    : copy_by_file(clone, key, object, err);
	if (rc != FB_EEXISTS)
		return rc;
	(void)pthread_mutex_lock(&clone->lock);
	fb_id_list_add(object->pack ? &crew->want->found.packs
	                            : &crew->want->found.recipes,
	    &object->id);
	(void)pthread_mutex_unlock(&clone->lock);
	return taken(clone, key, object->size, err);
}

/* The next object, packs before recipes: a recipe names packs. */
static const struct clone_wanted *
take_next(struct crew *crew, bool packs)
{
	const struct clone_wanted *object = NULL;

	(void)pthread_mutex_lock(&crew->clone->lock);
	if (crew->next < crew->want->count &&
	    crew->want->objects[crew->next].pack == packs)
		object = &crew->want->objects[crew->next++];
	(void)pthread_mutex_unlock(&crew->clone->lock);
	return object;
}

static void
report(struct fb_clone *clone, uint64_t bytes)
{
	(void)pthread_mutex_lock(&clone->lock);
	clone->done += bytes;
	if (clone->spec.progress != NULL)
		clone->spec.progress(clone->spec.arg, clone->done);
	(void)pthread_mutex_unlock(&clone->lock);
}

static int
work(struct crew *crew, bool packs, struct fb_error *err)
{
	const struct clone_wanted *object;
	int rc = FB_OK;

	while (rc == FB_OK && (object = take_next(crew, packs)) != NULL) {
		rc = check_cancel(crew->clone, err);
		if (rc == FB_OK)
			rc = copy_object(crew, object, err);
		if (rc == FB_OK)
			report(crew->clone, object->size);
	}
	if (rc < 0) { /* nobody goes on */
		(void)pthread_mutex_lock(&crew->clone->lock);
		crew->next = crew->want->count;
		(void)pthread_mutex_unlock(&crew->clone->lock);
	}
	return rc;
}

static int
work_packs(void *arg, struct fb_error *err)
{
	return work(arg, true, err);
}

static int
copy_objects(
    struct fb_clone *clone, struct clone_want *want, struct fb_error *err)
{
	struct crew crew = { clone, want, 0 };
	struct fb_group *group = fb_group_new();
	int rc;

	clone->done = 0;
	for (int i = 0; i < WORKERS; i++)
		fb_group_start(group, work_packs, &crew);
	rc = fb_group_wait(group, err);
	return rc < 0 ? rc : work(&crew, false, err);
}

/* manifest.json, VOLUMES, SHA256SUMS: the last says what the others are. */
static int
copy_run_files(struct fb_clone *clone, struct clone_want *want,
    const struct fb_run_ref *run, struct fb_span sums, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < CLONE_RUN_FILES - 1; i++) {
		FB_AUTO_FREE char *key =
		    fb_format("runs/%s/%s", run->run, clone_run_files[i]);
		bool own = strcmp(clone_run_files[i], "SHA256SUMS") == 0;
		struct fb_digest digest = run->sums;
		bool found = false;

		if (!own)
			rc = fb_sums_find(sums, key, &digest, err);
		if (rc == FB_OK)
			rc = copy_small(clone, key, &digest, &found, err);
		if (found && !want->committed)
			clone_note_key(want, key);
	}
	return rc;
}

/* A collector there that lost patience may have gone on without us.  The end
 * is looked for first: a session is tidied away before its end is. */
static int
check_session(struct fb_clone *clone, const char *run, struct fb_error *err)
{
	char key[GC_KEY_SIZE];
	uint64_t size;
	int rc;

	(void)snprintf(
	    key, sizeof(key), "sessions/%s.end", clone->spec.session);
	rc = fb_store_head(clone->spec.to->store, key, &size, err);
	if (rc == FB_ENOTFOUND) {
		(void)snprintf(
		    key, sizeof(key), "sessions/%s", clone->spec.session);
		rc = fb_store_head(clone->spec.to->store, key, &size, err);
		if (rc != FB_ENOTFOUND)
			return rc;
	} else if (rc < 0) {
		return rc;
	}
	(void)fb_fail_id(err, FB_ECONFLICT, "E-COPY-FENCED",
	    "a prune there did not wait for this copy: what run %s needs may "
	    "be deleted",
	    run);
	return fb_hint(err, "copy again: what is missing is copied then");
}

int
fb_clone_run(
    struct fb_clone *clone, const struct fb_run_ref *run, struct fb_error *err)
{
	FB_CLEANUP(clone_want_release) struct clone_want want = { 0 };
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	int rc = fb_repo_run_sums(clone->spec.from, run, &sums, err);

	if (rc == FB_OK)
		rc = clone_want_make(clone, run, &want, err);
	if (rc == FB_OK)
		rc = copy_objects(clone, &want, err);
	if (rc == FB_OK)
		rc = copy_extras(clone, "keys", run->session, true, err);
	if (rc == FB_OK)
		rc = copy_run_files(clone, &want, run, fb_buf_span(&sums), err);
	if (rc == FB_OK)
		rc = copy_extras(clone, "hints", run->session, false, err);
	if (rc == FB_OK)
		rc = clone_use_found(clone, &want, err);
	if (rc == FB_OK)
		rc = check_session(clone, run->run, err);
	if (rc == FB_OK)
		rc = fb_repo_commit(clone->spec.to, &want.reg, err);
	/* Whoever lost patience in between may have looked before that. */
	if (rc == FB_OK)
		rc = check_session(clone, run->run, err);
	if (rc < 0)
		return fb_wrap(err, "run %s", run->run);
	clone_note_copied(clone, &want);
	return FB_OK;
}

static int
copy_forget(const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	struct fb_clone *clone = arg;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[GC_KEY_SIZE];
	int rc;

	if (fb_run_ids_have(&clone->committed, forget->session) ||
	    fb_run_ids_have(&clone->forgotten, forget->session))
		return FB_OK; /* whether it stays is decided there */
	fb_forget_encode_signed(forget, &text);
	fb_forget_encode_signature(forget, &text);
	(void)snprintf(key, sizeof(key), "forgets/%s", forget->session);
	rc = fb_store_create(
	    clone->spec.to->store, key, fb_buf_span(&text), err);
	return rc == FB_EEXISTS ? FB_OK : rc;
}

int
fb_clone_forgets(struct fb_clone *clone, struct fb_error *err)
{
	return fb_repo_forgets(clone->spec.from, copy_forget, clone, err);
}
