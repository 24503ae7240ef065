/*
 * What the files of a restore share.
 *
 *	restore.c          run, report, release
 *	restore_spec.c     options <-> the JSON that is journaled
 *	restore_map.c      what becomes something else
 *	restore_across.c   what goes to a machine that is another one
 *	restore_pick.c     which machines of which runs
 *	restore_index.c    machines by name
 *	restore_record.c   a machine, made of its record
 *	restore_plan.c     what will happen, and whether it can
 *	restore_paths.c    single paths and removals, by the catalogue
 *	restore_volume.c   one volume from the repository into a target
 *	restore_disk.c     disks from one end to the other
 *	restore_together.c disks that have none, several at once
 *	restore_update.c   disks that have content: what differs
 *	restore_dir.c      machines into a plain directory
 *	restore_machine.c  machines through their driver
 *	restore_journal.c  what survives a crash
 */
#ifndef FB_ENGINE_RESTORE_PARTS_H
#define FB_ENGINE_RESTORE_PARTS_H

#include <jansson.h>
#include <pthread.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/engine/recover.h"
#include "fleetbak/engine/reader.h"
#include "fleetbak/engine/restore.h"
#include "fleetbak/repo/volumes.h"

/* A stretch of a tree's archive. */
struct fb_rst_range {
	uint64_t offset, end;
};

/* The members of an archive that some paths choose. */
struct fb_rst_paths {
	struct fb_rst_range *ranges; /* ascending, apart */
	size_t count;
	uint64_t bytes;   /* of archive */
	uint64_t content; /* of files, what they take when restored */
};

struct fb_rst_volume {
	const struct fb_manifest_volume *record;
	struct fb_volume *there; /* as the driver knows it; NULL: it does not */
	char *called; /* across: what it is called there */
	bool chosen;
	uint64_t data_bytes; /* that are not zeros */
	struct fb_rst_paths paths;
	/* From the journal: */
	bool begun;      /* an earlier attempt may have written */
	bool whole;      /* all of it is there, durably */
	uint64_t offset; /* disks: this much is */
};

struct fb_rst_machine {
	struct fb_manifest_machine record;
	char run[FB_RUN_ID_SIZE], session[FB_RUN_ID_SIZE];
	char run_time[32];
	struct fb_digest manifest;
	char *origin; /* "source/id" in the backup */
	char *key;    /* "source/id" of the one that is written, by which the
	               * journal knows it; the same but across */
	char *as;  /* what it becomes: an id, or a name in the directory */
	char *called; /* across: what people call that one */
	bool across;  /* its volumes become those of another one, which keeps
	               * its definition */
	bool covers;  /* across: ... all of them */
	struct fb_rst_volume *volumes; /* as record.volumes */

	/* Order: machines with one `root` share a family. */
	size_t root;
	size_t depth;
	size_t turn; /* in its family: smaller ones start first */

	/* Through a driver; the strings of `model` are the record's. */
	struct fb_machine model, result_model;
	struct fb_driver *driver;
	const struct fb_machine *now;
	struct fb_restore_plan plan;
	char token[FB_NAME_MAX + 1]; /* of the verbs that write it */
	char *definition_dir;

	const struct fb_error *problem; /* kept: why it fails; or NULL */

	/* From the journal: */
	bool noted;     /* `existed` and `was` are known */
	bool existed;   /* before this restore touched it */
	enum fb_power was;
	bool owed;      /* an obligation is open */
	bool suspended; /* half-restored: it stays down */
	bool finishing; /* made visible, perhaps */
	bool finished;
	bool closed;    /* nothing is left to do */

	bool awaited; /* by what reads several machines at once */
};

struct fb_rst_others;
struct fb_restore {
	const struct fb_engine *engine;
	struct fb_repo *repo;
	char id[FB_RUN_ID_SIZE];
	char *dir; /* restores/<id> in the state directory */
	bool resumed;

	/* What was asked for; the strings are the spec's or our own. */
	json_t *spec;
	enum fb_restore_kind kind;
	const char *new_id;
	char *directory;
	char **volumes;
	size_t volume_count;
	char **paths;
	size_t path_count;
	bool start, no_start, untrusted, rollback;
	struct fb_restore_map *maps;
	size_t map_count;
	bool keep_mac, keep_uuid;

	struct fb_rst_machine *machines; /* in the order of starts */
	size_t count;
	bool discovered;
	struct fb_drivers drivers;
	struct fb_fleet fleet;

	struct fb_journal *journal;
	struct fb_rst_others *others; /* NULL: not read yet */
	struct fb_reader reader;
	int children_fd;
	int own_fd; /* lock of `dir`, once that is there; -1 */
	struct fb_restore_report *report;

	/* From far away, disks are read at once; what is read as a stream is
	 * read alone, for the memory it takes. */
	struct fb_volumes *together; /* NULL: one after the other */
	pthread_mutex_t alone;
	pthread_mutex_t telling; /* whoever watches */
};

/* restore_spec.c */
FB_MUST_USE int fb_rst_spec_from(struct fb_restore *restore,
    const struct fb_restore_options *options, struct fb_error *err);
/* Take `restore->spec` apart. */
FB_MUST_USE int fb_rst_spec_read(
    struct fb_restore *restore, struct fb_error *err);
/* Note in the spec which machines of which runs were picked. */
void fb_rst_spec_pin(struct fb_restore *restore);
/* "MACHINE[@RUN]" into its parts, MACHINE being an id or a name; `source` and
 * `run` may be NULL. */
FB_MUST_USE int fb_rst_parse(const char *argument, char **ret_source,
    char **ret_id, char **ret_run, struct fb_error *err);

/* restore_map.c: the same for its maps, and what is kept. */
FB_MUST_USE int fb_rst_maps_write(json_t *spec,
    const struct fb_restore_options *options, struct fb_error *err);
FB_MUST_USE int fb_rst_maps_read(
    struct fb_restore *restore, struct fb_error *err);
void fb_rst_maps_free(struct fb_restore *restore);
/* One that moves is made there, and written over nothing. */
FB_MUST_USE int fb_rst_check_moved(const struct fb_restore *restore,
    const struct fb_rst_machine *machine, struct fb_error *err);
/* Where it is restored to. */
const char *fb_rst_source(
    const struct fb_restore *restore, const struct fb_rst_machine *machine);

/* restore_across.c */
/* Find the driver that writes it, and, of a machine whose volumes go to
 * another one, or by another driver, that one and what becomes what. */
FB_MUST_USE int fb_rst_across(struct fb_restore *restore,
    struct fb_rst_machine *machine, struct fb_error *err);
/* No two of them become one; nothing is mapped that is not there. */
FB_MUST_USE int fb_rst_across_judge(
    struct fb_restore *restore, struct fb_error *err);
/* What is to be done, into what is journaled of a machine, and from it: it is
 * gone on with as it was planned. */
void fb_rst_across_pin(const struct fb_rst_machine *machine, json_t *item);
FB_MUST_USE int fb_rst_across_pinned(
    struct fb_restore *restore, struct fb_error *err);

/* restore_pick.c */
FB_MUST_USE int fb_rst_pick(struct fb_restore *restore,
    const struct fb_restore_options *options, struct fb_error *err);
/* The same machines again, from the spec. */
FB_MUST_USE int fb_rst_pick_again(
    struct fb_restore *restore, struct fb_error *err);
struct fb_rst_machine *fb_rst_add(
    struct fb_restore *restore, const struct fb_manifest_machine *record);
void fb_rst_machine_release(struct fb_rst_machine *machine);
/* A deep copy: it outlives the manifest that `src` came from. */
void fb_rst_copy_record(struct fb_manifest_machine *dst,
    const struct fb_manifest_machine *src);
static inline char *
fb_rst_copy_str(const char *str)
{
	return str != NULL ? fb_strdup(str) : NULL;
}
/* restore_index.c: by their keys or origins; as long as no machine is added or
 * moved. */
struct fb_rst_index {
	struct fb_rst_machine **sorted;
	size_t count;
	bool origins;
};
void fb_rst_index_make(const struct fb_restore *restore, bool origins,
    struct fb_rst_index *index);
void fb_rst_index_release(struct fb_rst_index *index);
struct fb_rst_machine *fb_rst_index_find(
    const struct fb_rst_index *index, const char *key); /* or NULL */
int fb_rst_check_twice(const struct fb_restore *r, struct fb_error *err);
/* As selectors know them. */
void fb_rst_fill_fleet(
    struct fb_fleet *fleet, const struct fb_restore *restore);
/* Families together, parents before children; controllers after them. */
void fb_rst_order(struct fb_restore *restore);

/* restore_plan.c */
bool fb_rst_is_stream(enum fb_volume_kind kind);
struct fb_restore_request fb_rst_request(
    const struct fb_restore *restore, const struct fb_rst_machine *machine);
void fb_rst_refuse(struct fb_rst_machine *machine, struct fb_error *why);
/* "<restore>-<machine>-<verb>" */
void fb_rst_token(const struct fb_restore *restore,
    const struct fb_rst_machine *machine, const char *verb,
    char ret_token[FB_NAME_MAX + 1]);
/* Is one that is made by it started? */
bool fb_rst_starts_new(
    const struct fb_restore *restore, const struct fb_rst_machine *machine);
char *fb_rst_part_path(
    const struct fb_restore *restore, const struct fb_rst_machine *machine);

/* restore_paths.c */
FB_MUST_USE int fb_rst_paths_find(struct fb_restore *restore,
    struct fb_rst_volume *volume, struct fb_error *err);
/* Append to the report what mirroring `volume` will remove. */
FB_MUST_USE int fb_rst_removals(struct fb_restore *restore,
    struct fb_rst_machine *machine, size_t index, struct fb_error *err);
FB_MUST_USE int fb_rst_open(struct fb_restore *restore,
    const struct fb_digest *recipe, const struct fb_digest *root,
    uint64_t size, struct fb_volume_reader **ret_reader,
    struct fb_error *err);

/* restore_disk.c */
struct fb_rst_disk {
	struct fb_volume_reader *reader;
	struct fb_volumes *together; /* NULL: by itself */
	bool expected; /* by those it goes together with */
	struct fb_target *target;
	uint64_t size;
	uint64_t end;  /* of the target: zeros from `size` to there */
	uint64_t from; /* what lies before is there already */
	const atomic_bool *cancel;
	struct fb_digester *flat; /* of the bytes before `from`; may be NULL */
	/* What lies before `offset` is durable: note it. */
	int (*checkpoint)(void *arg, uint64_t offset, struct fb_error *err);
	void (*progress)(void *arg, uint64_t done);
	void *arg;
	uint64_t read_bytes, written_bytes, same_bytes;
};
/* Write all of it; zeros only where the target is not fresh. */
FB_MUST_USE int fb_rst_disk_write(
    struct fb_rst_disk *disk, struct fb_error *err);
/* What lies between its size and its end becomes zeros, durably. */
FB_MUST_USE int fb_rst_disk_clear_rest(
    struct fb_rst_disk *disk, struct fb_error *err);
/* restore_update.c: compare first, then fetch and write only what differs. */
FB_MUST_USE int fb_rst_disk_update(
    struct fb_rst_disk *disk, struct fb_error *err);

/* Write all of it to a target that is fresh, by several threads. */
FB_MUST_USE int fb_rst_disk_together(
    struct fb_rst_disk *disk, struct fb_error *err);

/* restore_volume.c: one chosen volume of a machine. */
struct fb_rst_totals {
	uint64_t read_bytes, written_bytes, same_bytes, removed;
};
FB_MUST_USE int fb_rst_volume_to_target(struct fb_restore *restore,
    struct fb_rst_machine *machine, size_t index, struct fb_target *target,
    struct fb_rst_totals *totals, struct fb_error *err);
FB_MUST_USE int fb_rst_volume_to_tree(struct fb_restore *restore,
    struct fb_rst_machine *machine, size_t index, const char *path,
    struct fb_rst_totals *totals, struct fb_error *err);
/* Unpack the definition into a private directory. */
FB_MUST_USE int fb_rst_definition(struct fb_restore *restore,
    struct fb_rst_machine *machine, size_t number, struct fb_error *err);
/* Its next disk is on its way, or not any more: others wait for it to come
 * along. */
void fb_rst_await(struct fb_restore *restore, struct fb_rst_machine *machine);
void fb_rst_forgo(struct fb_restore *restore, struct fb_rst_machine *machine);
void fb_rst_warn(struct fb_restore *restore,
    const struct fb_rst_machine *machine, const struct fb_error *err);
void fb_rst_state(struct fb_restore *restore,
    const struct fb_rst_machine *machine, const char *state);

/* restore_dir.c: would each chosen volume be a file or tree of its own? */
FB_MUST_USE int fb_rst_check_dir(
    const struct fb_rst_machine *machine, struct fb_error *err);

/* Tell whoever watches.  Threads: any. */
void fb_rst_tell(struct fb_restore *restore, const struct fb_event *event);

/* restore_dir.c, restore_machine.c: carry out; results into the report. */
void fb_rst_run_dir(struct fb_restore *restore);
void fb_rst_run_machines(struct fb_restore *restore);
void fb_rst_failed(struct fb_restore *restore,
    const struct fb_rst_machine *machine, const struct fb_error *err);
void fb_rst_succeeded(struct fb_restore *restore,
    const struct fb_rst_machine *machine, const struct fb_rst_totals *totals);

/* restore_journal.c */
/* The versions of the record "restore": 2 has "machines" before it, 3 may have
 * machines that are written over others. */
#define FB_RST_SPEC_PARTS  2
#define FB_RST_SPEC_ACROSS 3
#define FB_RST_SPEC_MAX    3
/* In the record "restore": what it does is for the machine itself. */
#define FB_RST_IN_PLACE "in-place"
FB_MUST_USE int fb_rst_journal_spec(const struct fb_engine *engine,
    const char *id, json_t **ret_spec, struct fb_error *err);
/* Create it, or open it and take over what it says. */
/* Clear away what restores left that have nothing more to do. */
/* Make the directory of this restore and take its lock: who holds that is
 * alive.  Again: nothing. */
FB_MUST_USE int fb_rst_claim(struct fb_restore *restore, struct fb_error *err);
void fb_rst_sweep(struct fb_restore *restore);
FB_MUST_USE int fb_rst_journal_open(
    struct fb_restore *restore, struct fb_error *err);
/* Take over what it says, reading only. */
FB_MUST_USE int fb_rst_journal_peek(
    struct fb_restore *restore, struct fb_error *err);
FB_MUST_USE int fb_rst_note(struct fb_restore *restore, const char *type,
    const struct fb_rst_machine *machine, const char *key, const char *value,
    struct fb_error *err);
FB_MUST_USE int fb_rst_note_was(struct fb_restore *restore,
    struct fb_rst_machine *machine, struct fb_error *err);
FB_MUST_USE int fb_rst_note_progress(struct fb_restore *restore,
    const struct fb_rst_machine *machine, const char *volume,
    uint64_t offset, struct fb_error *err);

/* Restores of this state directory, by their ids. */
typedef int fb_rst_visit(const char *id, void *arg, struct fb_error *err);
FB_MUST_USE int fb_rst_each(const struct fb_engine *engine,
    fb_rst_visit *visit, void *arg, struct fb_error *err);
char *fb_rst_journal_path(const struct fb_engine *engine, const char *id);
/* A member that is text; "" when there is none. */
const char *fb_rst_member(
    const struct fb_journal_record *record, const char *key);
/* How many machines a journal has, and how many of them are closed; `arg` of
 * the visit is a struct fb_rst_open. */
struct fb_rst_open {
	size_t machines, closed;
	bool begun, ended;
};
int fb_rst_visit_open(const struct fb_journal_record *record, void *arg,
    struct fb_error *err);

/*
 * restore_others.c: what other restores in place of this state directory have
 * left.  Their journals are read once: whoever holds the state's lock, as a
 * restore in place does, is the only one to write them.
 *
 * Was the machine left half-restored, and was it up before that?
 */
FB_MUST_USE int fb_rst_inherited(struct fb_restore *restore,
    const struct fb_rst_machine *machine, bool *ret_half, bool *ret_up,
    struct fb_error *err);
/* Those, and those that had not begun to write, are overtaken: the machine is
 * whole again. */
FB_MUST_USE int fb_rst_supersede(struct fb_restore *restore,
    const struct fb_rst_machine *machine, struct fb_error *err);
void fb_rst_others_free(struct fb_rst_others *others);

#endif
