/*
 * What deleting costs: the requests that it takes, and the time that is paid
 * for although an object is gone.
 */
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/store/versions.h"

#include "gc_impl.h"

#define ROW_LEN (FB_DIGEST_LEN + 8)

/* How often collecting looks at every run: to condemn, after the sessions,
 * before it deletes, whose records go, and what is left of dead sessions. */
#define LOOKS 5

/* Requests whatever there is: gc/current and its set, the sessions and, by
 * name, their registers. */
#define OVERHEAD_GETS  24
#define OVERHEAD_PUTS  5
#define OVERHEAD_LISTS 19

static int
compare(struct fb_span a, struct fb_span b, void *arg)
{
	(void)arg;
	return memcmp(a.ptr, b.ptr, ROW_LEN);
}

void
fb_gc_ages_make(struct fb_gc_ages *ages, const char *dir)
{
	*ages =
	    (struct fb_gc_ages){ .rows = fb_rows_new(dir, 0, compare, NULL) };
}

void
fb_gc_ages_release(struct fb_gc_ages *ages)
{
	fb_rows_free(ages->rows);
	*ages = (struct fb_gc_ages){ 0 };
}

/* The time stands behind the id with its highest byte first, so that the
 * first row of an id is its oldest. */
int
fb_gc_ages_add(struct fb_gc_ages *ages, const struct fb_id_list *ids,
    int64_t time_ns, struct fb_error *err)
{
	uint64_t time = time_ns > 0 ? (uint64_t)time_ns : 0;
	uint8_t row[ROW_LEN];
	int rc = FB_OK;

	for (size_t i = 0; i < 8; i++)
		row[FB_DIGEST_LEN + i] = (uint8_t)(time >> (56 - 8 * i));
	for (size_t i = 0; rc == FB_OK && i < ids->count; i++) {
		memcpy(row, ids->ids[i].bytes, FB_DIGEST_LEN);
		rc = fb_rows_add(
		    ages->rows, (struct fb_span){ row, sizeof(row) }, err);
	}
	return rc;
}

static int
pass(struct fb_gc_ages *ages, struct fb_error *err)
{
	struct fb_span row;
	int rc = fb_rows_next(ages->rows, &row, &ages->more, err);

	if (rc == FB_OK && ages->more)
		memcpy(ages->head, row.ptr, ROW_LEN);
	return rc;
}

int
fb_gc_ages_begin(struct fb_gc_ages *ages, struct fb_error *err)
{
	int rc = fb_rows_rewind(ages->rows, err);

	return rc < 0 ? rc : pass(ages, err);
}

int
fb_gc_ages_find(struct fb_gc_ages *ages, const struct fb_digest *id,
    int64_t *ret_time_ns, struct fb_error *err)
{
	uint64_t time = 0;

	while (ages->more && memcmp(ages->head, id->bytes, FB_DIGEST_LEN) < 0) {
		int rc = pass(ages, err);

		if (rc < 0)
			return rc;
	}
	*ret_time_ns = INT64_MAX;
	if (!ages->more || memcmp(ages->head, id->bytes, FB_DIGEST_LEN) != 0)
		return FB_OK;
	for (size_t i = 0; i < 8; i++)
		time = time << 8 | ages->head[FB_DIGEST_LEN + i];
	*ret_time_ns = (int64_t)time;
	return FB_OK;
}

struct loading {
	struct fb_repo *repo;
	struct fb_gc_ages *packs, *recipes;
};

/* One that cannot be read makes objects seem younger than they are. */
static int
add_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	const struct loading *loading = arg;
	const struct fb_id_list *packs, *recipes;
	struct fb_register reg = { 0 };
	struct fb_error ignored = { 0 };
	int64_t time_ns;
	int rc;

	if (run->damage != NULL ||
	    fb_time_parse(run->time, &time_ns, &ignored) < 0)
		return FB_OK;
	if (!fb_gc_needs_find(loading->repo, run, &packs, &recipes)) {
		rc = fb_repo_register(loading->repo, run->session, &reg, err);
		if (rc == FB_ECORRUPT || rc == FB_ENOTFOUND ||
		    rc == FB_ETOONEW)
			return FB_OK;
		if (rc < 0)
			return rc;
		packs = &reg.packs;
		recipes = &reg.recipes;
	}
	rc = fb_gc_ages_add(loading->packs, packs, time_ns, err);
	if (rc == FB_OK)
		rc = fb_gc_ages_add(loading->recipes, recipes, time_ns, err);
	fb_register_release(&reg);
	return rc;
}

int
fb_gc_ages_load(struct fb_repo *repo, struct fb_gc_ages *packs,
    struct fb_gc_ages *recipes, struct fb_error *err)
{
	struct loading loading = { repo, packs, recipes };
	int rc = fb_gc_needs_ahead(repo, FB_GC_REGISTERS, NULL, NULL, err);

	if (rc == FB_OK)
		rc = fb_repo_all_runs(repo, add_run, &loading, err);
	fb_repo_read_ahead_end(repo);
	if (rc == FB_OK)
		rc = fb_gc_ages_begin(packs, err);
	return rc < 0 ? rc : fb_gc_ages_begin(recipes, err);
}

void
fb_gc_early_add(struct fb_gc_early *early, uint64_t size, int64_t time_ns,
    int64_t at_ns, uint64_t min_storage_ms)
{
	int64_t age_ns = time_ns < at_ns ? at_ns - time_ns : 0;
	uint64_t age_ms = (uint64_t)age_ns / 1000000;

	if (age_ms >= min_storage_ms)
		return;
	early->objects++;
	early->bytes += size;
	early->kib_minutes +=
	    (size + 1023) / 1024 * ((min_storage_ms - age_ms) / 60000);
}

/* Requests for so many objects, `bulk` of them with one. */
static uint64_t
in_bulk(uint64_t objects, uint64_t bulk)
{
	return (objects + bulk - 1) / bulk;
}

void
fb_gc_forecast(struct fb_store *store, struct fb_gc_estimate *estimate,
    const struct fb_store_usage *look)
{
	uint64_t objects = estimate->now.packs + estimate->now.recipes;
	uint64_t looks = objects > 0 ? LOOKS : 1;
	uint64_t bulk = fb_store_bulk(store);
	bool far = fb_store_is_far(store);
	/* What came from far away once is remembered; only where objects are
	 * locked, or near, each is asked for before it is removed. */
	uint64_t reads = far ? 1 : looks;
	bool asked = !far || fb_store_locks(store);

	estimate->requests = (struct fb_store_usage){
		.lists = looks * look->lists + OVERHEAD_LISTS,
		.gets = reads * look->gets + (asked ? objects : 0) +
		    OVERHEAD_GETS,
		.puts = objects > 0 ? OVERHEAD_PUTS : 0,
		.removes = in_bulk(estimate->now.packs, bulk) +
		    in_bulk(estimate->now.recipes, bulk),
		.read_bytes = reads * look->read_bytes,
		.written_bytes = objects * 2 * FB_DIGEST_HEX_SIZE,
	};
}
