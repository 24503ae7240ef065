/* Canisters of a root's registry: what they are, whether they run, and how
 * they are stopped and started. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

#include "icp_internal.h"

#define NS_PER_MS INT64_C(1000000)

#define POLL_MS 250

#define REGISTRY "canic_subnet_registry"

/* ------------------------------------------------------------- registry */

/* What a root that is down would say is what it said last: it cannot have
 * changed that since. */
static char *
registry_path(const struct fb_icp *icp)
{
	return fb_format("%s/registry-%s.json", icp->spool, icp->root);
}

static int
keep_registry(
    const struct fb_icp *icp, const struct fb_buf *answer, struct fb_error *err)
{
	FB_AUTO_FREE char *path = registry_path(icp);
	FB_AUTO_BUF struct fb_buf kept = { 0 };
	struct fb_error ignored = { 0 };
	int rc;

	if (fb_io_read_file(path, FB_ICP_REGISTRY_MAX, &kept, &ignored) ==
	        FB_OK &&
	    kept.len == answer->len &&
	    memcmp(kept.data, answer->data, kept.len) == 0)
		return FB_OK;
	rc = fb_io_mkdirs(icp->spool, 0700, err);
	return rc < 0 ? rc
	              : fb_io_replace(path, fb_buf_span(answer), 0600, err);
}

static int
ask_registry(struct fb_icp *icp, struct fb_icp_registry *ret_registry,
    struct fb_error *err)
{
	const char *const words[] = { "call", icp->root, REGISTRY, "()",
		"--json", NULL };
	struct fb_icp_how how = fb_icp_plain(0);
	FB_AUTO_BUF struct fb_buf answer = { 0 };
	int rc;

	how.answer_max = FB_ICP_REGISTRY_MAX;
	rc = fb_icp_ask(icp, words, &how, &answer, err);
	if (rc == FB_OK)
		rc = fb_icp_parse_registry(
		    fb_buf_span(&answer), ret_registry, err);
	return rc < 0 ? rc : keep_registry(icp, &answer, err);
}

static int
read_registry(struct fb_icp *icp, enum fb_icp_state state,
    struct fb_icp_registry *ret_registry, struct fb_error *err)
{
	FB_AUTO_FREE char *path = registry_path(icp);
	FB_AUTO_BUF struct fb_buf kept = { 0 };
	int rc = fb_io_read_file(path, FB_ICP_REGISTRY_MAX, &kept, err);

	if (rc == FB_OK)
		return fb_icp_parse_registry(
		    fb_buf_span(&kept), ret_registry, err);
	if (rc != FB_ENOTFOUND)
		return rc;
	(void)fb_fail_id(err, FB_EUNREACH, "E-ICP-REGISTRY",
	    "root '%s' is %s and cannot say what its fleet is", icp->root,
	    fb_icp_state_name(state));
	return fb_hint(err, "start it: icp canister start %s", icp->root);
}

static bool
has_root(const struct fb_icp *icp, const struct fb_icp_registry *registry)
{
	for (size_t i = 0; i < registry->count; i++)
		if (strcmp(registry->rows[i].id, icp->root) == 0)
			return true;
	return false;
}

static int
get_registry(struct fb_icp *icp, struct fb_icp_registry *ret_registry,
    struct fb_error *err)
{
	struct fb_icp_how how = fb_icp_plain(0);
	FB_AUTO_ICP_STATUS struct fb_icp_status root = { 0 };
	int rc = fb_icp_status(icp, icp->root, &how, &root, err);

	if (rc < 0)
		return fb_wrap(err, "root '%s'", icp->root);
	rc = root.state == FB_ICP_RUNNING
	    ? ask_registry(icp, ret_registry, err)
	    : read_registry(icp, root.state, ret_registry, err);
	if (rc == FB_OK && !has_root(icp, ret_registry))
		rc = fb_fail_id(err, FB_EPROTO, "E-ICP-REGISTRY",
		    "the registry of root '%s' does not have the root itself",
		    icp->root);
	return rc;
}

/* -------------------------------------------------------------- describe */

static void
set_text(json_t *document, const char *key, const char *text)
{
	if (text != NULL && text[0] != '\0')
		(void)json_object_set_new(document, key, json_string(text));
}

/* What makes it what it is; the code that runs is what it says itself. */
static void
describe(const struct fb_icp *icp, const struct fb_icp_row *row,
    const struct fb_icp_status *status, struct fb_digest *ret_digest)
{
	FB_AUTO_JSON json_t *document = json_object();
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	set_text(document, "id", row->id);
	set_text(document, "role", row->role);
	set_text(document, "kind", row->kind);
	set_text(document, "parent", row->parent);
	set_text(document, "root", icp->root);
	set_text(document, "environment", icp->environment);
	set_text(document, "network", icp->network);
	set_text(document, "module_hash", status->module);
	if (status->controllers != NULL)
		(void)json_object_set(
		    document, "controllers", status->controllers);
	fb_json_add(&bytes, document);
	fb_digest_of(fb_buf_span(&bytes), ret_digest);
}

static void
add_volume(struct fb_machine *machine, const char *name,
    enum fb_volume_kind kind, uint64_t size)
{
	struct fb_volume *volume = fb_machine_add_volume(machine);

	volume->name = fb_strdup(name);
	volume->kind = kind;
	volume->size = volume->allocated = size;
	volume->method = "snapshot";
}

static void
refuse_empty(struct fb_machine *machine)
{
	struct fb_error why = { 0 };

	(void)fb_fail_id(&why, FB_ECONFLICT, "E-ICP-EMPTY",
	    "the canister has no module: there is nothing to snapshot");
	(void)fb_hint(&why, "install its code, or leave it out of the "
			    "selection");
	fb_machine_refuse(machine, &why);
}

static void
fill_machine(const struct fb_icp *icp, const struct fb_icp_row *row,
    struct fb_machine *machine)
{
	const struct fb_labels *from = &icp->labels;
	struct fb_labels *labels = &machine->labels;

	machine->source = fb_strdup(icp->name);
	machine->driver = fb_strdup("icp");
	machine->id = fb_strdup(row->id);
	machine->name = fb_strdup(row->id);
	machine->role = fb_strdup(row->role);
	machine->parent = row->parent != NULL ? fb_strdup(row->parent) : NULL;
	machine->lifecycle = FB_LIFECYCLE_STOP_SNAPSHOT_START;
	machine->power = FB_POWER_UNKNOWN;
	machine->stop_timeout_ms = icp->stop_ms;
	machine->start_timeout_ms = icp->start_ms;
	labels->items = fb_alloc(from->count + 1, sizeof(*labels->items));
	for (size_t i = 0; i < from->count; i++)
		labels->items[labels->count++] =
		    (struct fb_label){ fb_strdup(from->items[i].key),
			    fb_strdup(from->items[i].value) };
}

static enum fb_power
power_of(enum fb_icp_state state)
{
	return state == FB_ICP_RUNNING ? FB_POWER_UP
	    : state == FB_ICP_STOPPED  ? FB_POWER_DOWN
	                               : FB_POWER_UNKNOWN;
}

/* One that cannot be asked is there all the same, and fails alone; but what
 * cannot be asked at all is the source. */
static int
add_machine(struct fb_icp *icp, const struct fb_icp_row *row,
    struct fb_fleet *fleet, struct fb_error *err)
{
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	struct fb_icp_how how = fb_icp_plain(0);
	struct fb_machine *machine;
	struct fb_error why = { 0 };
	int rc = fb_icp_status(icp, row->id, &how, &status, &why);

	if (rc == FB_EUNREACH || rc == FB_ETIMEOUT || rc == FB_ECANCELED) {
		*err = why;
		return rc;
	}
	machine = fb_fleet_add(fleet);
	fill_machine(icp, row, machine);
	describe(icp, row, &status, &machine->description);
	add_volume(machine, "definition", FB_VOLUME_DEFINITION, 0);
	add_volume(
	    machine, FB_ICP_SNAPSHOT, FB_VOLUME_TREE, status.memory);
	if (rc < 0) {
		fb_machine_refuse(machine, &why);
		return FB_OK;
	}
	machine->power = power_of(status.state);
	if (status.module[0] == '\0')
		refuse_empty(machine);
	return FB_OK;
}

int
fb_icp_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	FB_AUTO_ICP_REGISTRY struct fb_icp_registry registry = { 0 };
	int rc = get_registry(icp, &registry, err);

	for (size_t i = 0; rc == FB_OK && i < registry.count; i++)
		rc = add_machine(icp, &registry.rows[i], fleet, err);
	return rc;
}

/* ----------------------------------------------------------------- power */

static bool
is_canceled(const struct fb_verb *verb)
{
	return verb->cancel != NULL && atomic_load(verb->cancel);
}

static int64_t
deadline_of(const struct fb_verb *verb, uint64_t own_ms)
{
	uint64_t ms = own_ms;

	if (verb->timeout_ms > 0 && (ms == 0 || verb->timeout_ms < ms))
		ms = verb->timeout_ms;
	return fb_clock_mono_ns() + (int64_t)ms * NS_PER_MS;
}

static uint64_t
left_until(int64_t deadline)
{
	int64_t left = (deadline - fb_clock_mono_ns()) / NS_PER_MS;

	return left > 0 ? (uint64_t)left : 1;
}

static int
look(struct fb_icp *icp, const char *id, const struct fb_verb *verb,
    enum fb_icp_state *ret_state, struct fb_error *err)
{
	struct fb_icp_how how = fb_icp_how(verb, 0);
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	int rc = fb_icp_status(icp, id, &how, &status, err);

	*ret_state = status.state;
	return rc;
}

/* Once no stop that was given up can come late: it is down, or it has been
 * running for a while without a break. */
static int
look_settled(struct fb_icp *icp, const char *id, const struct fb_verb *verb,
    enum fb_icp_state *ret_state, struct fb_error *err)
{
	int64_t since = fb_clock_mono_ns();
	int64_t deadline =
	    verb->timeout_ms > 0 ? deadline_of(verb, 0) : INT64_MAX;
	int64_t steady = (int64_t)icp->settle_ms * NS_PER_MS;
	enum fb_icp_state last = FB_ICP_STOPPING;

	for (;;) {
		int rc = look(icp, id, verb, ret_state, err);
		int64_t at = fb_clock_mono_ns();

		if (rc < 0)
			return rc;
		if (*ret_state != last)
			since = at;
		last = *ret_state;
		if (last == FB_ICP_STOPPED ||
		    (last == FB_ICP_RUNNING && at - since >= steady))
			return FB_OK;
		if (at >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "canister '%s' is %s, and may be stopped yet", id,
			    fb_icp_state_name(last));
		if (is_canceled(verb))
			return fb_fail(err, FB_ECANCELED, "canceled");
		fb_icp_wait(POLL_MS, verb->cancel);
	}
}

int
fb_icp_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power,
    struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	enum fb_icp_state state = FB_ICP_STOPPING;
	int rc = verb->settle
	    ? look_settled(icp, machine->id, verb, &state, err)
	    : look(icp, machine->id, verb, &state, err);

	*ret_power = FB_POWER_UNKNOWN;
	if (rc == FB_ETIMEOUT && verb->settle) {
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	if (rc == FB_OK)
		*ret_power = power_of(state);
	return rc;
}

/* The command has ended, however: what came of it?  `rc` is its answer. */
static int
await(struct fb_icp *icp, const char *id, enum fb_icp_state wanted,
    int64_t deadline, const struct fb_verb *verb, int rc,
    struct fb_error *err)
{
	for (;;) {
		enum fb_icp_state state;
		struct fb_error why = { 0 };
		int seen = look(icp, id, verb, &state, &why);

		if (seen == FB_OK && state == wanted) {
			*err = (struct fb_error){ 0 };
			return FB_OK;
		}
		/* Neither here nor there: it is on its way. */
		if (rc < 0 &&
		    (seen < 0 || state != FB_ICP_STOPPING ||
		        wanted == FB_ICP_RUNNING))
			return rc;
		if (seen < 0) {
			*err = why;
			return seen;
		}
		if (fb_clock_mono_ns() >= deadline)
			return rc < 0
			    ? rc
			    : fb_fail_id(err, FB_ETIMEOUT, "E-ICP-TIMEOUT",
			          "canister '%s' is still %s", id,
			          fb_icp_state_name(state));
		if (is_canceled(verb))
			return fb_fail(err, FB_ECANCELED, "canceled");
		fb_icp_wait(POLL_MS, verb->cancel);
	}
}

static int
change(struct fb_icp *icp, const char *id, enum fb_icp_state wanted,
    uint64_t timeout_ms, const struct fb_verb *verb, struct fb_error *err)
{
	const char *const words[] = {
		wanted == FB_ICP_STOPPED ? "stop" : "start", id, NULL
	};
	int64_t deadline = deadline_of(
	    verb, timeout_ms > 0 ? timeout_ms : icp->command_ms);
	enum fb_icp_state state;
	struct fb_icp_how how;
	int rc = look(icp, id, verb, &state, err);

	if (rc < 0 || state == wanted)
		return rc;
	if (wanted == FB_ICP_STOPPED && state == FB_ICP_STOPPING)
		return await(icp, id, wanted, deadline, verb, FB_OK, err);
	how = fb_icp_how(verb, left_until(deadline));
	rc = fb_icp_run(icp, words, &how, NULL, err);
	return rc == FB_ECANCELED || rc == FB_ENOTFOUND
	    ? rc
	    : await(icp, id, wanted, deadline, verb, rc, err);
}

int
fb_icp_bring_down(struct fb_icp *icp, const char *id,
    const struct fb_verb *verb, struct fb_error *err)
{
	return change(icp, id, FB_ICP_STOPPED, icp->stop_ms, verb, err);
}

int
fb_icp_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	return change((struct fb_icp *)base, machine->id, FB_ICP_STOPPED,
	    machine->stop_timeout_ms, verb, err);
}

/* Up, and to stay so: what goes down late is started again. */
int
fb_icp_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	int64_t deadline = deadline_of(verb, 0);
	enum fb_icp_state state = FB_ICP_STOPPED;

	while (verb->settle) {
		int rc = look_settled(icp, machine->id, verb, &state, err);

		if (rc < 0 || state == FB_ICP_RUNNING)
			return rc;
		if (verb->timeout_ms > 0 && fb_clock_mono_ns() >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "canister '%s' does not stay up", machine->id);
		rc = change(icp, machine->id, FB_ICP_RUNNING,
		    machine->start_timeout_ms, verb, err);
		if (rc < 0)
			return rc;
	}
	return change(icp, machine->id, FB_ICP_RUNNING,
	    machine->start_timeout_ms, verb, err);
}
