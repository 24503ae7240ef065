/* What the parts of deletion share.  Private to src/repo. */
#ifndef FB_REPO_GC_IMPL_H
#define FB_REPO_GC_IMPL_H

#include "fleetbak/base/rows.h"
#include "fleetbak/repo/gc.h"

#define GC_KEY_SIZE 96

/* Is the object locked?  Then it is counted.  An object that is
 * gone is not. */
int fb_gc_look_at_lock(struct fb_repo *repo, const char *key,
    struct fb_gc_locks *locks, bool *ret_locked, struct fb_error *err);
void fb_gc_count_lock(struct fb_gc_locks *locks, const char *key,
    uint64_t size, int64_t until_ns);

/* Add the ids of `more` to `list`: both sorted, the result too. */
void fb_id_list_join(struct fb_id_list *list, const struct fb_id_list *more);

/*
 * What runs need: ids of any number, so they are not held in memory.  They
 * are asked for in rising order, from fb_gc_marks_begin() on.
 */
struct fb_gc_mark_list {
	struct fb_rows *rows;
	struct fb_digest head; /* the first that was not passed */
	struct fb_digest asked; /* last */
	bool more, any_asked;
};
struct fb_gc_marks {
	struct fb_gc_mark_list packs, recipes;
};
/* `dir`: see fb_rows_new(). */
void fb_gc_marks_make(struct fb_gc_marks *marks, const char *dir);
void fb_gc_marks_release(struct fb_gc_marks *marks);
FB_MUST_USE int fb_gc_marks_begin(
    struct fb_gc_marks *marks, struct fb_error *err);
FB_MUST_USE int fb_gc_marks_add(struct fb_gc_mark_list *list,
    const struct fb_id_list *ids, struct fb_error *err);
/* FB_ECORRUPT: it is below one that was asked for before. */
FB_MUST_USE int fb_gc_has(struct fb_gc_mark_list *list,
    const struct fb_digest *id, bool *ret_has, struct fb_error *err);
/* The next one, each once; *ret_more: there was one. */
FB_MUST_USE int fb_gc_next_mark(struct fb_gc_mark_list *list,
    struct fb_digest *ret_id, bool *ret_more, struct fb_error *err);

/* Sessions whose runs are forgotten, by a record that a trusted key signed;
 * `runs`, when it is not NULL, gets their runs. */
int fb_gc_forgotten(struct fb_repo *repo, struct fb_run_ids *sessions,
    struct fb_run_ids *runs, struct fb_error *err);

/* What a run needs, if that is remembered; borrowed. */
bool fb_gc_needs_find(const struct fb_repo *repo, const struct fb_run_ref *run,
    const struct fb_id_list **ret_packs,
    const struct fb_id_list **ret_recipes);
/* Remember it, where that is worth it and there is room: takes the lists over
 * then. */
void fb_gc_needs_keep(struct fb_repo *repo, const struct fb_run_ref *run,
    struct fb_id_list *packs, struct fb_id_list *recipes);
/* Read ahead what says what runs need: their registers and checksums, or, of
 * all that there ever were, the registers alone.  Not of those that are not
 * wanted (NULL: all are), nor where it is remembered.
 * fb_repo_read_ahead_end() ends it. */
enum fb_gc_scope { FB_GC_KEPT_RUNS, FB_GC_ALL_RUNS, FB_GC_REGISTERS };
typedef bool fb_gc_wants(const struct fb_run_ref *run, void *arg);
FB_MUST_USE int fb_gc_needs_ahead(struct fb_repo *repo, enum fb_gc_scope scope,
    fb_gc_wants *wants, void *arg, struct fb_error *err);

/*
 * What the committed runs need, those of `except` left out; begun.
 * Errors: FB_EBUSY, id E-LIST-BEHIND: one of the sessions `there`, whose
 * registers were seen before this call, has committed and is not listed.
 */
int fb_gc_mark(struct fb_repo *repo, const struct fb_run_ids *except,
    const struct fb_run_ids *there, struct fb_gc_marks *marks,
    struct fb_error *err);

/* The sessions that made what the set holds, and all that made that or these
 * other recipes, as it says itself; but for what the register of a forgotten
 * run names. */
struct fb_gc_makers {
	struct fb_run_ids of_set, all;
};
void fb_gc_makers_release(struct fb_gc_makers *makers);
FB_MUST_USE int fb_gc_find_makers(struct fb_repo *repo,
    const struct fb_gc_request *request, const struct fb_gc_set *set,
    const struct fb_id_list *others, struct fb_gc_makers *ret_makers,
    struct fb_error *err);
/* The recipes that are there and that no listed run needs but the forgotten
 * ones. */
FB_MUST_USE int fb_gc_unneeded_recipes(struct fb_repo *repo,
    const struct fb_gc_request *request, const struct fb_run_ids *forgotten,
    struct fb_id_list *ret_ids, struct fb_error *err);
/* Add to `there` those of these sessions whose registers are there, fences
 * too: each is asked for by its name. */
FB_MUST_USE int fb_gc_have_registers(struct fb_repo *repo,
    const struct fb_run_ids *sessions, struct fb_run_ids *there,
    struct fb_error *err);
/* The same, of all that sessions/ has and that have not ended otherwise. */
FB_MUST_USE int fb_gc_resolved_sessions(
    struct fb_repo *repo, struct fb_run_ids *there, struct fb_error *err);
/* FB_EBUSY, id E-LIST-BEHIND: one of `there`, which is no fence, is not
 * listed. */
FB_MUST_USE int fb_gc_check_listed(struct fb_repo *repo,
    const struct fb_run_ids *there, const struct fb_run_ids *listed,
    struct fb_error *err);

/* Weigh the bytes that these packs store and none of these recipes needs.
 * FB_OK also when it is not worth that; FB_ECORRUPT, FB_ENOTFOUND: a recipe
 * cannot be read. */
int fb_gc_weigh_waste(struct fb_repo *repo, struct fb_gc_marks *marks,
    const struct fb_gc_question *question, struct fb_gc_estimate *estimate,
    struct fb_error *err);

/* Recipes that were got before; asked for by rising id. */
#define FB_GC_RECIPE_MAX (64u << 20) /* a longer one is not looked at */
struct fb_gc_recipes {
	char *dir, *path, *new_path;
	int fd, new_fd;
	uint64_t size, at; /* of the file; in it */
	uint64_t kept;     /* bytes, for the next time */
	bool here;         /* the one that was read last: */
	struct fb_digest id;
	struct fb_buf text, out;
};
/* `dir`: the state directory; NULL: there are none.  What cannot be opened is
 * empty. */
void fb_gc_recipes_open(struct fb_gc_recipes *recipes, const char *dir,
    const char *repository);
void fb_gc_recipes_rewind(struct fb_gc_recipes *recipes);
/* Borrowed until the next call. */
bool fb_gc_recipes_find(struct fb_gc_recipes *recipes,
    const struct fb_digest *id, struct fb_span *ret_text);
/* From here on, what is to be there the next time, by rising id. */
void fb_gc_recipes_begin(struct fb_gc_recipes *recipes);
void fb_gc_recipes_keep(struct fb_gc_recipes *recipes, struct fb_span text);
/* Not good, or not begun: the next time finds what this one found. */
void fb_gc_recipes_close(struct fb_gc_recipes *recipes, bool good);

/* Visit the packs, or recipes, that are there. */
typedef int fb_gc_visit_object(const struct fb_digest *id, uint64_t size,
    void *arg, struct fb_error *err);
int fb_gc_list_packs(struct fb_repo *repo, fb_gc_visit_object *visit,
    void *arg, struct fb_error *err);
int fb_gc_list_recipes(struct fb_repo *repo, fb_gc_visit_object *visit,
    void *arg, struct fb_error *err);

/* FB_ENOTFOUND when it is gone, as it is once its generation is over. */
int fb_gc_read_set(struct fb_repo *repo, const struct fb_digest *id,
    struct fb_gc_set *ret_set, struct fb_error *err);

/* Of these sessions, those that are open; `there`: of these a register is
 * known.  Owner: free() them. */
FB_MUST_USE int fb_gc_open_among(struct fb_repo *repo,
    const struct fb_run_ids *ids, const struct fb_run_ids *there,
    struct fb_gc_session **ret_sessions, size_t *ret_count,
    struct fb_error *err);
/* So that it can never commit, or is known to be gone. */
int fb_gc_fence(struct fb_repo *repo, const struct fb_gc_session *session,
    struct fb_error *err);
/* Fence those of these that gave no sign of life for long.  FB_EBUSY, id
 * E-SESSIONS-OPEN: the others are waited for, report->waiting. */
FB_MUST_USE int fb_gc_settle(struct fb_repo *repo,
    const struct fb_gc_request *request, const struct fb_gc_session *sessions,
    size_t count, struct fb_gc_report *report, struct fb_error *err);

/*
 * How old objects are: the time of the first run that names each.  Asked for
 * in rising order, from fb_gc_ages_begin() on.
 */
struct fb_gc_ages {
	struct fb_rows *rows;
	uint8_t head[FB_DIGEST_LEN + 8];
	bool more;
};
void fb_gc_ages_make(struct fb_gc_ages *ages, const char *dir);
void fb_gc_ages_release(struct fb_gc_ages *ages);
FB_MUST_USE int fb_gc_ages_add(struct fb_gc_ages *ages,
    const struct fb_id_list *ids, int64_t time_ns, struct fb_error *err);
FB_MUST_USE int fb_gc_ages_begin(
    struct fb_gc_ages *ages, struct fb_error *err);
/* INT64_MAX: no run names it. */
FB_MUST_USE int fb_gc_ages_find(struct fb_gc_ages *ages,
    const struct fb_digest *id, int64_t *ret_time_ns, struct fb_error *err);

/* Of every run that there ever was, as far as its register can be read. */
FB_MUST_USE int fb_gc_ages_load(struct fb_repo *repo, struct fb_gc_ages *packs,
    struct fb_gc_ages *recipes, struct fb_error *err);

/* An object of `size` bytes of that time goes at `at_ns`. */
void fb_gc_early_add(struct fb_gc_early *early, uint64_t size, int64_t time_ns,
    int64_t at_ns, uint64_t min_storage_ms);

/* What collecting will ask for, from what one look at everything did. */
void fb_gc_forecast(struct fb_store *store, struct fb_gc_estimate *estimate,
    const struct fb_store_usage *look);

/* Remove those of these objects that are not locked, which are counted.
 * `gone` says of each whether it was removed, whatever is returned. */
struct fb_gc_doomed {
	char *const *keys;
	size_t count;
	/* As in struct fb_store_removal. */
	int (*check)(void *arg, struct fb_error *err);
	void *arg;
};
FB_MUST_USE int fb_gc_remove_keys(struct fb_repo *repo,
    const struct fb_gc_doomed *doomed, struct fb_gc_locks *locks, bool *gone,
    struct fb_error *err);

/* How large objects were when they were listed, by rising id. */
struct fb_gc_sizes {
	struct fb_gc_size {
		struct fb_digest id;
		uint64_t size;
	} *items;
	size_t count, cap;
};
void fb_gc_sizes_add(
    struct fb_gc_sizes *sizes, const struct fb_digest *id, uint64_t size);
void fb_gc_sizes_release(struct fb_gc_sizes *sizes);

/* A fixed set that is being removed. */
struct fb_gc_removing {
	struct fb_repo *repo;
	const struct fb_gc_request *request;
	struct fb_gc_report *report;
	const struct fb_gc_set *set;
	const char *tag; /* of gc/current, while that names the set */
	const struct fb_gc_sizes *packs, *recipes; /* as far as known */
	int64_t looked_ns; /* when gc/current was seen to have that tag */
	bool stuck;        /* some of it is locked */
};
/* FB_ECONFLICT, FB_EUNKNOWN, FB_ENOTFOUND: others have finished it. */
FB_MUST_USE int fb_gc_remove_set(
    struct fb_gc_removing *removing, struct fb_error *err);

/* Remove the keys of packs that are gone.  `kept`, `forgotten`: sessions of
 * runs; one that has committed and is neither is not listed yet. */
FB_MUST_USE int fb_gc_tidy_keys(struct fb_repo *repo,
    const struct fb_run_ids *kept, const struct fb_run_ids *forgotten,
    struct fb_gc_report *report, struct fb_error *err);

/* Remove what is left of dead sessions, forgotten runs and old sets. */
int fb_gc_tidy(struct fb_repo *repo, struct fb_gc_report *report,
    struct fb_error *err);
/* Give up uploads that nobody can be about any more: they were begun before
 * any session that is open, or longer ago than a session is waited for. */
int fb_gc_tidy_uploads(struct fb_repo *repo,
    const struct fb_gc_request *request, struct fb_gc_report *report,
    struct fb_error *err);
/* Remove runs/<run>/ of these runs. */
int fb_gc_remove_runs(struct fb_repo *repo, const struct fb_run_ids *runs,
    struct fb_gc_report *report, struct fb_error *err);

/* The hints of a session, and whether a pack of them is there. */
struct gc_hints {
	struct fb_repo *repo;
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;
	bool any; /* ... or that is not known */
};
/* FB_ENOTFOUND: it has none. */
FB_MUST_USE int gc_hints_look(struct fb_repo *repo, const char *session,
    struct gc_hints *ret_hints, struct fb_error *err);
/* Their bytes, for a struct fb_hint_source; `arg`: a struct gc_hints. */
FB_MUST_USE int gc_hints_bytes(void *arg, uint64_t offset, void *bytes,
    size_t len, size_t *ret_len, struct fb_error *err);

#endif
