/*
 * What the parts of verify share.  Private to src/engine/verify*.c.
 *
 * It goes over the repository up to three times, holding no more than 64
 * bytes per pack, one run, and what is damaged: first the runs and their recipes, which
 * gives the packs; then the packs, each once; and, if some are damaged, the
 * recipes again to say whom that harms.
 */
#ifndef ENGINE_VERIFY_IMPL_H
#define ENGINE_VERIFY_IMPL_H

#include "fleetbak/engine/verify.h"
#include "fleetbak/format/id_set.h"

/* Harms kept per damaged object. */
#define VERIFY_HARMS_MAX 65536

/* Objects that are of a run as a whole, at most. */
#define VERIFY_RUN_OBJECTS 16

/* The mark of an id: 0 fine, 1 damaged; VERIFY_BODY: only what a pack holds
 * is, so it harms the volumes that need just that. */
#define VERIFY_BODY 2

struct verify_run {
	struct fb_run_ref ref; /* without its predecessors */
	struct fb_register reg;
	struct fb_error *unreadable; /* its register, or NULL */
	bool unsound; /* a pack that it names is damaged */
	bool damaged; /* something of the run as a whole ... */
	size_t damages[VERIFY_RUN_OBJECTS]; /* ... these */
	size_t damage_count;
};

struct verify {
	const struct fb_engine *engine; /* may be NULL */
	struct fb_repo *repo;
	const struct fb_verify_request *request;
	struct fb_verify_report *report;
	struct verify_run *runs; /* newest first */
	size_t run_count;
	struct fb_id_set packs;
	struct fb_id_set recipes; /* of the run at hand: no other has them */
	struct fb_id_set damaged_recipes;
	size_t damaged_packs;
	char **harmed; /* "run source/id", sorted when all is known */
	size_t harmed_count, harmed_cap;
};

/* Is this failure damage to report, or the end of looking? */
bool is_damage(const struct fb_error *err);
int check_cancel(const struct verify *verify, struct fb_error *err);

/* Does the request mean this machine? */
bool wants_machine(
    const struct verify *verify, const struct fb_manifest_machine *machine);

/* Report a damaged object, once; returns its number. */
size_t add_damage(struct verify *verify, const char *object,
    const struct fb_error *cause);
/* ... whom it harms; `volume` NULL: all of the run. */
void add_harm(struct verify *verify, size_t damage, const char *run,
    const struct fb_manifest_machine *machine, const char *volume);

/* Format, and each run's register, checksums, signature, manifest. */
int verify_format(struct verify *verify, struct fb_error *err);
int verify_run_head(
    struct verify *verify, struct verify_run *run, struct fb_error *err);

/* The recipes of a run's volumes; collects packs. */
int verify_run_volumes(
    struct verify *verify, struct verify_run *run, struct fb_error *err);

/* Every pack, in parallel. */
int verify_packs(struct verify *verify, struct fb_error *err);

/* What was deleted or overwritten, where versions are kept. */
int verify_versions(struct verify *verify, struct fb_error *err);

/* After the packs: who is harmed by the damaged ones? */
int verify_attribute(struct verify *verify, struct fb_error *err);

/* Whole runs, of the fleet and of every harmed machine. */
int verify_wholes(struct verify *verify, struct fb_error *err);

/* Open a run's manifest for looking, whatever its signature. */
int open_manifest(struct verify *verify, const struct verify_run *run,
    struct fb_manifest **ret_manifest, struct fb_error *err);

#endif
