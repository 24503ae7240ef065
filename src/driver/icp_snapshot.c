/* Snapshots of canisters: made against an inventory that was written down,
 * found by what is new, removed by their ids. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

#include "icp_internal.h"

#define NS_PER_MS INT64_C(1000000)

/* After a create without an answer it may come about yet. */
#define LOST_MS 8000
#define LOOK_MS 500

static uint64_t
fact_u64(const json_t *facts, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(facts, key));

	return value > 0 ? (uint64_t)value : 0;
}

/*
 * May it be what was asked for then?  Who dies before he asks, and comes back
 * much later, may find one that somebody else has made: only what was taken
 * within the time of the command counts.
 */
static bool
is_of_then(const struct fb_icp *icp, const json_t *facts,
    const struct fb_icp_snapshot *snapshot)
{
	int64_t claimed = (int64_t)fact_u64(facts, "claimed_ns");
	int64_t taken = snapshot->taken_ns > 0 && snapshot->taken_ns < INT64_MAX
	    ? (int64_t)snapshot->taken_ns
	    : fb_clock_wall_ns();

	return taken >= claimed - FB_CLOCK_SLACK_NS &&
	    taken <= claimed + (int64_t)icp->command_ms * NS_PER_MS +
	        FB_CLOCK_SLACK_NS;
}

static int
ambiguous(const char *machine, const json_t *before,
    const struct fb_icp_inventory *now, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf ids = { 0 };

	for (size_t i = 0; i < now->count; i++) {
		struct fb_icp_inventory one = { &now->items[i], 1 };
		const struct fb_icp_snapshot *new;
		bool ignored;

		if (fb_icp_new_ones(before, &one, &new, &ignored) == 1)
			fb_buf_add_fmt(&ids, " %s", new->id);
	}
	(void)fb_fail_id(err, FB_ECONFLICT, "E-ICP-AMBIGUOUS",
	    "canister '%s' has other new snapshots than the one that was "
	    "asked for:%s",
	    machine, ids.len > 0 ? fb_buf_str(&ids) : " none");
	return fb_hint(err, "who else makes snapshots of it?  Remove by hand "
			    "what nobody needs, and run it again");
}

static int
lost(const char *machine, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFLICT, "E-ICP-AMBIGUOUS",
	    "a snapshot that canister '%s' had went away while another one "
	    "was made",
	    machine);
	return fb_hint(err, "who else removes snapshots of it?  Run it again "
			    "when that is done");
}

/* Without the id: what is new, when it is one.  What was once more than one
 * stays nobody's: who removes the others might leave his own. */
static int
find_new(struct fb_icp *icp, const char *machine,
    const struct fb_icp_record *record, const struct fb_icp_inventory *now,
    struct fb_error *err)
{
	const json_t *before = json_object_get(record->facts, "before");
	const struct fb_icp_snapshot *one;
	bool gone;
	size_t count = fb_icp_new_ones(before, now, &one, &gone);
	int rc = FB_OK;

	if (json_is_true(json_object_get(record->facts, "ambiguous")))
		return ambiguous(machine, before, now, err);
	if (count == 0 || (count == 1 && !is_of_then(icp, record->facts, one)))
		return fb_fail(err, FB_ENOTFOUND,
		    "no snapshot of canister '%s' came about", machine);
	if (count > 1 || gone) {
		rc = fb_icp_record_set(
		    record, "ambiguous", json_true(), err);
		if (rc < 0)
			return rc;
		return count > 1 ? ambiguous(machine, before, now, err)
		                 : lost(machine, err);
	}
	(void)json_object_set_new(record->facts, "taken_ns",
	    json_integer((json_int_t)one->taken_ns));
	(void)json_object_set_new(
	    record->facts, "size", json_integer((json_int_t)one->size));
	return fb_icp_record_set(
	    record, "snapshot", json_string(one->id), err);
}

/* Is it there?  The record has its id then. */
static int
find(struct fb_icp *icp, const char *machine,
    const struct fb_icp_record *record, const struct fb_icp_how *how,
    struct fb_error *err)
{
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now = { 0 };
	const char *id = fb_icp_fact(record->facts, "snapshot");
	int rc = fb_icp_inventory(icp, machine, how, &now, err);

	if (rc < 0)
		return rc;
	if (id[0] == '\0')
		return find_new(icp, machine, record, &now, err);
	if (fb_icp_inventory_find(&now, id) == NULL)
		return fb_fail(err, FB_ENOTFOUND,
		    "snapshot '%s' of canister '%s' is gone", id, machine);
	if (json_is_true(json_object_get(record->facts, "ambiguous")))
		return fb_fail_id(err, FB_EFAILED, "E-ICP-AMBIGUOUS",
		    "snapshot '%s' of canister '%s' was not the only new one",
		    id, machine);
	return FB_OK;
}

int
fb_icp_find_by_token(struct fb_driver *base, const struct fb_machine *machine,
    const char *token, struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	FB_AUTO_ICP_RECORD struct fb_icp_record record = { 0 };
	struct fb_icp_how how = fb_icp_plain(0);
	int rc = fb_icp_record_load(icp, machine->id, token, &record, err);

	return rc < 0 ? rc : find(icp, machine->id, &record, &how, err);
}

/* ---------------------------------------------------------------- making */

/* Only what is down is snapshotted; and what its code is then is what a restore
 * has to bring back. */
static int
begin_record(struct fb_icp *icp, const struct fb_machine *machine,
    const struct fb_icp_how *how, struct fb_icp_record *record,
    struct fb_error *err)
{
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now = { 0 };
	int rc = fb_icp_status(icp, machine->id, how, &status, err);

	if (rc == FB_OK && status.state != FB_ICP_STOPPED)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-ICP-RUNNING",
		    "canister '%s' is %s: it is not snapshotted before it is "
		    "stopped",
		    machine->id, fb_icp_state_name(status.state));
	if (rc == FB_OK)
		rc = fb_icp_inventory(icp, machine->id, how, &now, err);
	if (rc < 0)
		return rc;
	/* What is left of one that has gone is of no use. */
	rc = fb_io_remove_tree(record->dir, err);
	if (rc < 0)
		return rc;
	json_decref(record->facts);
	record->facts = json_pack("{s:i,s:I,s:o,s:s}", "format", 1,
	    "claimed_ns", (json_int_t)fb_clock_wall_ns(), "before",
	    fb_icp_ids(&now), "module_hash", status.module);
	return fb_icp_record_save(record, err);
}

static bool
was_there(const json_t *before, const struct fb_icp_snapshot *snapshot)
{
	struct fb_icp_inventory one = {
		(struct fb_icp_snapshot *)(uintptr_t)snapshot, 1
	};
	const struct fb_icp_snapshot *new;
	bool ignored;

	return fb_icp_new_ones(before, &one, &new, &ignored) == 0;
}

/* The answer came: it is the only new one, or nothing is. */
static int
take_made(struct fb_icp *icp, const char *machine,
    const struct fb_icp_record *record, const struct fb_icp_snapshot *made,
    const struct fb_icp_how *how, struct fb_error *err)
{
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now = { 0 };
	const json_t *before = json_object_get(record->facts, "before");
	const struct fb_icp_snapshot *one;
	bool gone, only;
	int rc;

	(void)json_object_set_new(record->facts, "taken_ns",
	    json_integer((json_int_t)made->taken_ns));
	(void)json_object_set_new(
	    record->facts, "size", json_integer((json_int_t)made->size));
	/* Until it has been looked at. */
	(void)json_object_set_new(
	    record->facts, "ambiguous", json_true());
	/* What is written down is removed one day. */
	rc = was_there(before, made)
	    ? fb_icp_record_save(record, err)
	    : fb_icp_record_set(
	          record, "snapshot", json_string(made->id), err);
	if (rc == FB_OK)
		rc = fb_icp_inventory(icp, machine, how, &now, err);
	if (rc < 0)
		return rc;
	only = fb_icp_new_ones(before, &now, &one, &gone) == 1 &&
	    strcmp(one->id, made->id) == 0;
	if (!only || gone)
		return !only ? ambiguous(machine, before, &now, err)
		             : lost(machine, err);
	return fb_icp_record_set(record, "ambiguous", json_false(), err);
}

/* No answer, or a bad one: what came of it? */
static int
look_for_lost(struct fb_icp *icp, const char *machine,
    const struct fb_icp_record *record, const struct fb_icp_how *how,
    bool refused, int rc, struct fb_error *err)
{
	for (int i = 0; i < LOST_MS / LOOK_MS; i++) {
		struct fb_error why = { 0 };
		int found = find(icp, machine, record, how, &why);

		if (found == FB_OK || found == FB_ECONFLICT) {
			*err = found == FB_OK ? (struct fb_error){ 0 } : why;
			return found;
		}
		/* That it failed does not say that it has not begun. */
		if (found == FB_ENOTFOUND && refused)
			return rc;
		fb_icp_wait(LOOK_MS, how->cancel);
	}
	return rc;
}

int
fb_icp_create_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	const char *const words[] = { "snapshot", "create", machine->id,
		"--json", NULL };
	FB_AUTO_ICP_RECORD struct fb_icp_record record = { 0 };
	FB_AUTO_BUF struct fb_buf answer = { 0 };
	struct fb_icp_how how = fb_icp_how(verb, verb->timeout_ms);
	struct fb_icp_snapshot made = { 0 };
	bool refused = false;
	int rc = fb_icp_record_load(
	    icp, machine->id, verb->token, &record, err);

	how.ret_refused = &refused;
	if (rc == FB_OK)
		rc = find(icp, machine->id, &record, &how, err);
	if (rc != FB_ENOTFOUND || verb->adopts)
		return rc;
	*err = (struct fb_error){ 0 };
	rc = begin_record(icp, machine, &how, &record, err);
	if (rc < 0)
		return rc;
	refused = false;
	rc = fb_icp_run(icp, words, &how, &answer, err);
	how.ret_refused = NULL; /* the looks' own are not meant */
	if (rc == FB_OK)
		rc = fb_icp_parse_made(fb_buf_span(&answer), &made, err);
	return rc == FB_OK
	    ? take_made(icp, machine->id, &record, &made, &how, err)
	    : look_for_lost(
	          icp, machine->id, &record, &how, refused, rc, err);
}

/* --------------------------------------------------------------- listing */

static int
list_machine(const struct fb_icp *icp, const char *machine,
    fb_driver_visit_token *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_FREE char *dir =
	    fb_format("%s/captures/%s", icp->spool, machine);
	FB_AUTO_LISTING char **tokens = NULL;
	int rc = fb_io_list(dir, &tokens, err);

	for (char **token = tokens; rc == FB_OK && *token != NULL; token++)
		if (fb_name_ok(*token, strlen(*token)))
			rc = visit(machine, *token, arg, err);
	return rc;
}

/* Those that this spool knows of. */
int
fb_icp_list_snapshots(struct fb_driver *base, fb_driver_visit_token *visit,
    void *arg, struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	FB_AUTO_FREE char *dir = fb_format("%s/captures", icp->spool);
	FB_AUTO_LISTING char **machines = NULL;
	int rc = fb_io_list(dir, &machines, err);

	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	for (char **machine = machines; rc == FB_OK && *machine != NULL;
	     machine++)
		if (fb_name_ok(*machine, strlen(*machine)))
			rc = list_machine(icp, *machine, visit, arg, err);
	return rc;
}

/* -------------------------------------------------------------- removing */

/* The record goes last: as long as it is there somebody comes back. */
static int
forget(const struct fb_icp_record *record, struct fb_error *err)
{
	char *slash;
	int rc = fb_io_remove_tree(record->dir, err);

	slash = strrchr(record->dir, '/');
	*slash = '\0';
	(void)rmdir(record->dir); /* unless it has others */
	*slash = '/';
	return rc;
}

int
fb_icp_remove_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	FB_AUTO_ICP_RECORD struct fb_icp_record record = { 0 };
	struct fb_icp_how how = fb_icp_how(verb, verb->timeout_ms);
	const char *id;
	bool told;
	int rc = fb_icp_record_load(
	    icp, machine->id, verb->token, &record, err);

	told = json_is_true(json_object_get(record.facts, "ambiguous"));
	if (rc == FB_OK && fb_icp_fact(record.facts, "snapshot")[0] == '\0')
		rc = find(icp, machine->id, &record, &how, err);
	/* Of several, or of those that came later, none is known as ours;
	 * which they are has been said once. */
	if (rc == FB_ENOTFOUND || (rc == FB_ECONFLICT && told)) {
		*err = (struct fb_error){ 0 };
		return record.facts != NULL ? forget(&record, err) : FB_OK;
	}
	if (rc < 0)
		return rc;
	id = fb_icp_fact(record.facts, "snapshot");
	rc = fb_icp_delete_snapshot(icp, machine->id, id, &how, err);
	if (rc == FB_ENOTFOUND) { /* the canister itself has gone */
		*err = (struct fb_error){ 0 };
		rc = FB_OK;
	}
	return rc < 0 ? rc : forget(&record, err);
}
