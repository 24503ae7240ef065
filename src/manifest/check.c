/*
 * The rules of a manifest, the same on write and on read.
 * Spec: fleetbak-format(5), "Manifest rules".
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"

int
break_rule(enum fb_code code, struct fb_error *err, const char *rule,
    const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return fb_fail_id(err, code,
	    code == FB_ETOONEW ? "E-TOO-NEW" : "E-MANIFEST-RULE",
	    "manifest rule %s: %s", rule, text);
}

/* M04 */
static int
check_run_id(struct checker *checker, const char *what, const char *id,
    struct fb_error *err)
{
	if (fb_run_id_ok(id, strlen(id)))
		return FB_OK;
	return break_rule(checker->code, err, "M04 (ids)",
	    "%s '%s' is no run or session id", what, id);
}

/* M05 */
static int
check_name(struct checker *checker, const char *what, const char *name,
    struct fb_error *err)
{
	if (name != NULL && fb_name_ok(name, strlen(name)))
		return FB_OK;
	return break_rule(checker->code, err, "M05 (names)",
	    "%s '%s' is no name", what, name != NULL ? name : "");
}

/* M06 */
static int
check_text(struct checker *checker, const char *what, const char *text,
    bool may_be_empty, struct fb_error *err)
{
	size_t len = text != NULL ? strlen(text) : 0;
	json_t *utf8;

	if (len == 0 && !may_be_empty)
		return break_rule(
		    checker->code, err, "M06 (texts)", "%s is empty", what);
	if (len > MANIFEST_TEXT_MAX)
		return break_rule(checker->code, err, "M06 (texts)",
		    "%s has %zu bytes, more than %d", what, len,
		    MANIFEST_TEXT_MAX);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return break_rule(checker->code, err, "M06 (texts)",
			    "%s has a control character", what);
	utf8 = json_stringn(len > 0 ? text : "", len);
	if (utf8 == NULL)
		return break_rule(checker->code, err, "M06 (texts)",
		    "%s is not UTF-8", what);
	json_decref(utf8);
	return FB_OK;
}

/* M07 */
static int
check_time(struct checker *checker, const char *what, const char *text,
    int64_t *ret_ns, struct fb_error *err)
{
	if (fb_time_parse(text, ret_ns, err) == FB_OK)
		return FB_OK;
	return break_rule(checker->code, err, "M07 (times)",
	    "%s '%s' is no time", what, text);
}

static int
check_times(struct checker *checker, struct fb_error *err)
{
	const struct fb_manifest_head *head = checker->head;
	int64_t started, finished;
	int rc;

	if ((rc = check_time(
	         checker, "'started'", head->started, &started, err)) < 0 ||
	    (rc = check_time(
	         checker, "'finished'", head->finished, &finished, err)) < 0)
		return rc;
	if (finished < started)
		return break_rule(checker->code, err, "M07 (times)",
		    "finished %s before it started %s", head->finished,
		    head->started);
	return FB_OK;
}

/* M08 */
static int
check_number(struct checker *checker, const char *what, uint64_t number,
    struct fb_error *err)
{
	if (number <= INT64_MAX)
		return FB_OK;
	return break_rule(checker->code, err, "M08 (numbers)",
	    "%s %llu is out of range", what, (unsigned long long)number);
}

static int
check_problem(struct checker *checker, const char *what,
    const struct fb_error *problem, struct fb_error *err)
{
	if (problem == NULL || problem->code >= 0 ||
	    problem->msg[0] == '\0')
		return break_rule(checker->code, err, "M14 (failures)",
		    "%s has no error code and message", what);
	return FB_OK;
}

/* M09 */
static int
check_sources(struct checker *checker, struct fb_error *err)
{
	const struct fb_manifest_head *head = checker->head;
	int rc;

	for (size_t i = 0; i < head->source_count; i++) {
		const struct fb_manifest_source *source = &head->sources[i];

		if ((rc = check_name(
		         checker, "source", source->name, err)) < 0 ||
		    (rc = check_name(
		         checker, "driver", source->driver, err)) < 0)
			return rc;
		for (size_t j = 0; j < i; j++)
			if (strcmp(head->sources[j].name, source->name) == 0)
				return break_rule(checker->code, err,
				    "M09 (sources)", "source '%s' twice",
				    source->name);
		if (source->problem.code < 0 &&
		    (rc = check_problem(checker, source->name,
		         &source->problem, err)) < 0)
			return rc;
	}
	return FB_OK;
}

/* M10 */
static int
check_predecessors(struct checker *checker, struct fb_error *err)
{
	const struct fb_manifest_head *head = checker->head;
	int rc;

	if (head->predecessor_count > FB_PREDECESSORS_MAX)
		return break_rule(checker->code, err, "M10 (predecessors)",
		    "%zu of them", head->predecessor_count);
	for (size_t i = 0; i < head->predecessor_count; i++) {
		const char *run = head->predecessors[i].run;

		rc = check_run_id(checker, "predecessor", run, err);
		if (rc < 0)
			return rc;
		if (strcmp(run, head->run) == 0)
			return break_rule(checker->code, err,
			    "M10 (predecessors)", "the run is its own");
		if (i > 0 && strcmp(head->predecessors[i - 1].run, run) >= 0)
			return break_rule(checker->code, err,
			    "M10 (predecessors)", "'%s' is out of order",
			    run);
	}
	return FB_OK;
}

static int
compare_members(const void *a, const void *b)
{
	return strcmp(((const struct member *)a)->machine,
	    ((const struct member *)b)->machine);
}

/* M11: the units themselves. */
static int
check_unit(struct checker *checker, size_t number, struct fb_error *err)
{
	const struct fb_manifest_unit *unit = &checker->head->units[number];
	int rc = check_text(checker, "unit name", unit->name, false, err);

	if (rc < 0 ||
	    (rc = check_number(checker, "epoch", unit->epoch, err)) < 0)
		return rc;
	if (number > 0 &&
	    strcmp(checker->head->units[number - 1].name, unit->name) >= 0)
		return break_rule(checker->code, err, "M11 (units)",
		    "unit '%s' is out of order or there twice", unit->name);
	if (unit->machine_count == 0)
		return break_rule(checker->code, err, "M11 (units)",
		    "unit '%s' has no machine", unit->name);
	return FB_OK;
}

static int
collect_members(struct checker *checker, struct fb_error *err)
{
	const struct fb_manifest_head *head = checker->head;
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < head->unit_count; i++) {
		rc = check_unit(checker, i, err);
		if (rc < 0)
			return rc;
		count += head->units[i].machine_count;
	}
	checker->members = fb_alloc(count, sizeof(*checker->members));
	for (size_t i = 0; i < head->unit_count; i++)
		for (size_t j = 0; j < head->units[i].machine_count; j++)
			checker->members[checker->member_count++] =
			    (struct member){ head->units[i].machines[j], i,
				    false };
	if (count > 0)
		qsort(checker->members, count, sizeof(*checker->members),
		    compare_members);
	for (size_t i = 1; i < count; i++)
		if (compare_members(&checker->members[i - 1],
		        &checker->members[i]) == 0)
			return break_rule(checker->code, err, "M11 (units)",
			    "machine '%s' is in two units",
			    checker->members[i].machine);
	return FB_OK;
}

/* M12 */
static int
check_drift(struct checker *checker, struct fb_error *err)
{
	const struct fb_manifest_head *head = checker->head;
	bool differ =
	    fb_digest_cmp(&head->topology, &head->topology_after) != 0;

	if (head->drift != differ)
		return break_rule(checker->code, err, "M12 (drift)",
		    "drift is %s but the topology hashes %s",
		    head->drift ? "true" : "false",
		    differ ? "differ" : "are equal");
	return FB_OK;
}

int
check_head(struct checker *checker, enum fb_code code,
    const struct fb_manifest_head *head, struct fb_error *err)
{
	int rc;

	checker->code = code;
	checker->head = head;
	if ((rc = check_run_id(checker, "run", head->run, err)) < 0 ||
	    (rc = check_run_id(checker, "session", head->session, err)) < 0 ||
	    (rc = check_name(checker, "fleet", head->fleet, err)) < 0 ||
	    (rc = check_text(checker, "tool version", head->tool_version,
	         false, err)) < 0 ||
	    (rc = check_text(checker, "host", head->host, false, err)) < 0 ||
	    (rc = check_times(checker, err)) < 0 ||
	    (rc = check_sources(checker, err)) < 0 ||
	    (rc = check_predecessors(checker, err)) < 0 ||
	    (rc = check_drift(checker, err)) < 0)
		return rc;
	return collect_members(checker, err);
}

/* M13 */
static int
check_order(struct checker *checker, const struct fb_manifest_machine *machine,
    struct fb_error *err)
{
	if (checker->last_source != NULL) {
		int order = strcmp(checker->last_source, machine->source);

		if (order == 0)
			order = strcmp(checker->last_id, machine->id);
		if (order >= 0)
			return break_rule(checker->code, err,
			    "M13 (order)",
			    "machine '%s/%s' is %s", machine->source,
			    machine->id,
			    order == 0 ? "there twice" : "out of order");
	}
	free(checker->last_source);
	free(checker->last_id);
	checker->last_source = fb_strdup(machine->source);
	checker->last_id = fb_strdup(machine->id);
	return FB_OK;
}

/* M09: of a source that the head names, with its driver. */
static int
check_source(struct checker *checker,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	const struct fb_manifest_head *head = checker->head;

	for (size_t i = 0; i < head->source_count; i++)
		if (strcmp(head->sources[i].name, machine->source) == 0 &&
		    strcmp(head->sources[i].driver, machine->driver) == 0)
			return FB_OK;
	return break_rule(checker->code, err, "M09 (sources)",
	    "machine '%s': no source '%s' with driver '%s'", machine->id,
	    machine->source, machine->driver);
}

/* M11 and M15 */
static int
check_membership(struct checker *checker,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	FB_AUTO_FREE char *name =
	    fb_format("%s/%s", machine->source, machine->id);
	struct member wanted = { .machine = name }, *member = NULL;

	if (checker->member_count > 0)
		member = bsearch(&wanted, checker->members,
		    checker->member_count, sizeof(*checker->members),
		    compare_members);
	if (member == NULL)
		return break_rule(checker->code, err, "M11 (units)",
		    "machine '%s' is in no unit", name);
	member->seen = true;
	if (!machine->failed &&
	    checker->head->units[member->unit].epoch != machine->epoch)
		return break_rule(checker->code, err, "M15 (epochs)",
		    "machine '%s' has epoch %llu, its unit '%s' %llu", name,
		    (unsigned long long)machine->epoch,
		    checker->head->units[member->unit].name,
		    (unsigned long long)
		        checker->head->units[member->unit].epoch);
	return FB_OK;
}

static int
check_identity(struct checker *checker,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	int rc;

	if ((rc = check_name(checker, "machine id", machine->id, err)) < 0 ||
	    (rc = check_name(checker, "source", machine->source, err)) < 0 ||
	    (rc = check_name(checker, "driver", machine->driver, err)) < 0 ||
	    (rc = check_text(
	         checker, "machine name", machine->name, true, err)) < 0 ||
	    (rc = check_text(checker, "role", machine->role, true, err)) < 0)
		return rc;
	if (machine->parent != NULL && machine->parent[0] != '\0') {
		rc = check_name(checker, "parent", machine->parent, err);
		if (rc < 0)
			return rc;
		if (strcmp(machine->parent, machine->id) == 0)
			return break_rule(checker->code, err,
			    "M16 (parents)", "machine '%s' is its own",
			    machine->id);
	}
	for (size_t i = 0; i < machine->labels.count; i++) {
		const struct fb_label *label = &machine->labels.items[i];

		if ((rc = check_text(
		         checker, "label", label->key, false, err)) < 0 ||
		    (rc = check_text(
		         checker, "label", label->value, true, err)) < 0)
			return rc;
	}
	return FB_OK;
}

/* M14 */
static int
check_outcome(struct checker *checker,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	int64_t ignored;
	int rc;

	if (machine->failed) {
		checker->any_failed = true;
		return check_problem(
		    checker, machine->id, machine->failure, err);
	}
	if ((rc = check_time(checker, "'snapshot_time'",
	         machine->snapshot_time, &ignored, err)) < 0 ||
	    (rc = check_number(checker, "epoch", machine->epoch, err)) < 0)
		return rc;
	if (machine->token != NULL && machine->token[0] != '\0')
		return check_name(checker, "token", machine->token, err);
	return FB_OK;
}

/* M17 */
static int
check_capture(struct checker *checker,
    const struct fb_manifest_machine *machine,
    const struct fb_manifest_volume *volume, struct fb_error *err)
{
	const char *why = NULL;

	if (volume->captured && !fb_volume_captured(volume->kind))
		why = "removable, yet captured";
	else if (volume->captured && machine->failed)
		why = "captured, yet its machine failed";
	else if (!volume->captured && !machine->failed &&
	    fb_volume_captured(volume->kind) &&
	    (volume->method == NULL ||
	        strcmp(volume->method, FB_METHOD_LEFT_OUT) != 0))
		why = "not captured, yet its machine is good";
	else if (volume->has_catalogue && volume->kind != FB_VOLUME_TREE &&
	    volume->kind != FB_VOLUME_DEFINITION)
		why = "a catalogue, yet no tree";
	if (why == NULL)
		return FB_OK;
	return break_rule(checker->code, err, "M17 (captures)",
	    "machine '%s': volume '%s': %s", machine->id, volume->name, why);
}

/* M18: digests that are there are of something. */
static int
check_digests(struct checker *checker,
    const struct fb_manifest_machine *machine,
    const struct fb_manifest_volume *volume, struct fb_error *err)
{
	static const struct fb_digest none;

	if (fb_digest_cmp(&volume->recipe, &none) == 0 ||
	    fb_digest_cmp(&volume->root, &none) == 0 ||
	    (volume->has_catalogue &&
	        (fb_digest_cmp(&volume->catalogue_recipe, &none) == 0 ||
	            fb_digest_cmp(&volume->catalogue_root, &none) == 0)))
		return break_rule(checker->code, err, "M18 (digests)",
		    "machine '%s': volume '%s' has no recipe or root",
		    machine->id, volume->name);
	if (volume->has_flat &&
	    (volume->flat_by == NULL ||
	        (strcmp(volume->flat_by, "fleetbak") != 0 &&
	            strcmp(volume->flat_by, "source") != 0)))
		return break_rule(checker->code, err, "M18 (digests)",
		    "machine '%s': volume '%s': flat digest by '%s'",
		    machine->id, volume->name,
		    volume->flat_by != NULL ? volume->flat_by : "");
	return FB_OK;
}

static int
check_volume(struct checker *checker,
    const struct fb_manifest_machine *machine,
    const struct fb_manifest_volume *volume, struct fb_error *err)
{
	int rc;

	if ((rc = check_name(checker, "volume", volume->name, err)) < 0 ||
	    (rc = check_capture(checker, machine, volume, err)) < 0 ||
	    (rc = check_number(checker, "size", volume->size, err)) < 0)
		return rc;
	if (volume->method != NULL &&
	    (rc = check_text(
	         checker, "method", volume->method, false, err)) < 0)
		return rc;
	if (!volume->captured)
		return FB_OK;
	if (volume->change_token != NULL &&
	    (rc = check_text(checker, "change token", volume->change_token,
	         false, err)) < 0)
		return rc;
	if ((rc = check_number(
	         checker, "catalogue size", volume->catalogue_size, err)) <
	        0 ||
	    (rc = check_number(
	         checker, "read_bytes", volume->read_bytes, err)) < 0 ||
	    (rc = check_number(
	         checker, "new_bytes", volume->new_bytes, err)) < 0 ||
	    (rc = check_number(
	         checker, "stored_bytes", volume->stored_bytes, err)) < 0 ||
	    (rc = check_number(checker, "changed_files",
	         volume->changed_files, err)) < 0)
		return rc;
	return check_digests(checker, machine, volume, err);
}

int
check_machine(struct checker *checker,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	int rc;

	if ((rc = check_identity(checker, machine, err)) < 0 ||
	    (rc = check_order(checker, machine, err)) < 0 ||
	    (rc = check_source(checker, machine, err)) < 0 ||
	    (rc = check_membership(checker, machine, err)) < 0 ||
	    (rc = check_outcome(checker, machine, err)) < 0 ||
	    (rc = check_number(
	         checker, "downtime_ms", machine->downtime_ms, err)) < 0 ||
	    (rc = check_number(checker, "stop_timeout_ms",
	         machine->stop_timeout_ms, err)) < 0 ||
	    (rc = check_number(checker, "start_timeout_ms",
	         machine->start_timeout_ms, err)) < 0)
		return rc;
	for (size_t i = 0; i < machine->volume_count; i++) {
		rc = check_volume(checker, machine, &machine->volumes[i], err);
		if (rc < 0)
			return rc;
		if (i > 0 &&
		    strcmp(machine->volumes[i - 1].name,
		        machine->volumes[i].name) >= 0)
			return break_rule(checker->code, err, "M13 (order)",
			    "machine '%s': volume '%s' is out of order or "
			    "there twice",
			    machine->id, machine->volumes[i].name);
	}
	return FB_OK;
}

int
check_end(struct checker *checker, struct fb_error *err)
{
	const struct fb_manifest_head *head = checker->head;
	bool source_failed = false;

	for (size_t i = 0; i < checker->member_count; i++)
		if (!checker->members[i].seen)
			return break_rule(checker->code, err, "M11 (units)",
			    "machine '%s' of unit '%s' is not there",
			    checker->members[i].machine,
			    head->units[checker->members[i].unit].name);
	for (size_t i = 0; i < head->source_count; i++)
		if (head->sources[i].problem.code < 0)
			source_failed = true;
	if (checker->any_failed && !head->partial)
		return break_rule(checker->code, err, "M19 (partial)",
		    "a machine failed, yet the run is not partial");
	if (head->partial && !checker->any_failed && !source_failed)
		return break_rule(checker->code, err, "M19 (partial)",
		    "the run is partial, yet nothing failed");
	return FB_OK;
}

void
release_checker(struct checker *checker)
{
	free(checker->members);
	free(checker->last_source);
	free(checker->last_id);
	memset(checker, 0, sizeof(*checker));
}
