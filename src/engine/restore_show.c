#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "restore_parts.h"
#include "restore_show.h"

static struct fb_restore_action *
add_action(struct fb_restore *r, const struct fb_rst_machine *m,
    const char *volume, const char *action)
{
	struct fb_restore_report *report = r->report;
	struct fb_restore_action *row;

	report->actions = fb_realloc(report->actions,
	    report->action_count + 1, sizeof(*report->actions));
	row = &report->actions[report->action_count++];
	memset(row, 0, sizeof(*row));
	row->machine = fb_strdup(m->key);
	row->name = fb_strdup(m->across ? m->called : m->record.name);
	row->origin = m->across ? fb_strdup(m->origin) : NULL;
	row->volume = fb_strdup(volume);
	row->action = action;
	return row;
}

static const struct fb_restore_volume_plan *
plan_of(const struct fb_rst_machine *m, const struct fb_rst_volume *v)
{
	for (size_t i = 0; v->there != NULL && i < m->plan.volume_count; i++)
		if (strcmp(m->plan.volumes[i].volume, v->there->name) == 0)
			return &m->plan.volumes[i];
	return NULL;
}

static char *
place_of(const struct fb_restore *r, const struct fb_rst_machine *m,
    const struct fb_rst_volume *v)
{
	const struct fb_restore_volume_plan *p = plan_of(m, v);
	const char *end = v->record->kind == FB_VOLUME_DISK ? ".img" : ".bin";

	if (r->kind == FB_RESTORE_TO_DIR)
		return fb_format("%s/%s/%s%s", r->directory, m->as,
		    v->record->name,
		    fb_rst_is_stream(v->record->kind) ? "/" : end);
	return fb_strdup(p && p->location ? p->location : m->as);
}

static const char *
action_of(const struct fb_restore *r, const struct fb_rst_machine *m,
    const struct fb_rst_volume *v)
{
	const struct fb_restore_volume_plan *p = plan_of(m, v);

	if (!v->record->captured)
		return "leave";
	if (!v->chosen || v->whole)
		return "skip";
	if (r->kind != FB_RESTORE_TO_MACHINE || p == NULL || !p->exists)
		return "create";
	if (r->path_count > 0 || !fb_rst_is_stream(v->record->kind))
		return "rewrite";
	return "mirror";
}

static void
show_volume(struct fb_restore *r, const struct fb_rst_machine *m,
    const struct fb_rst_volume *v)
{
	const struct fb_restore_volume_plan *p = plan_of(m, v);
	const char *name =
	    v->there != NULL ? v->there->name : v->record->name;
	struct fb_restore_action *row =
	    add_action(r, m, name, action_of(r, m, v));

	if (m->across)
		row->origin_volume = fb_strdup(v->record->name);
	row->from = fb_format("%s@%s", m->origin, m->run);
	row->to = v->record->captured ? place_of(r, m, v) : fb_strdup("-");
	row->size = v->record->size;
	if (p)
		row->need_bytes = p->need_bytes;
	else if (v->chosen)
		row->need_bytes =
		    r->path_count > 0 ? v->paths.content : v->data_bytes;
	if (!v->record->captured)
		row->problem = fb_strdup(fb_volume_captured(v->record->kind)
		        ? "it was not captured"
		        : "removable media are not in a backup");
	else if (m->across && v->record->kind == FB_VOLUME_DEFINITION)
		row->problem = fb_strdup("it keeps its own");
	else if (p && p->problem)
		row->problem = fb_strdup(p->problem);
}

/* What happens to the machine as a whole, beside its volumes. */
static void
show_power(struct fb_restore *r, const struct fb_rst_machine *m, bool before)
{
	bool existed = m->now != NULL;
	bool up = existed ? m->now->power == FB_POWER_UP
	                  : m->record.power == FB_POWER_UP;
	struct fb_restore_action *row;

	if (r->kind == FB_RESTORE_TO_DIR || m->problem != NULL)
		return;
	if (m->noted)
		up = m->existed ? m->was == FB_POWER_UP
		                : m->record.power == FB_POWER_UP;
	if (existed && r->kind == FB_RESTORE_TO_MACHINE &&
	    m->now->lifecycle == FB_LIFECYCLE_SNAPSHOT_LIVE) {
		if (before) {
			row = add_action(r, m, "-", "leave");
			row->from = fb_strdup("-");
			row->to = fb_strdup(m->as);
			row->problem = fb_strdup("it has no stop command: "
			                         "written as it stands, so "
			                         "see that it is down");
			return;
		}
		if (!r->start)
			return;
	}
	if (before) {
		if (r->kind != FB_RESTORE_TO_MACHINE || !existed ||
		    m->now->power != FB_POWER_UP)
			return;
		row = add_action(r, m, "-", "stop");
	} else {
		if (r->kind == FB_RESTORE_TO_NEW ? !r->start
		        : r->no_start || !(up || r->start))
			return;
		row = add_action(r, m, "-", "start");
	}
	row->from = fb_strdup("-");
	row->to = fb_strdup(m->as);
}

static void
show_machine(struct fb_restore *r, const struct fb_rst_machine *m)
{
	for (size_t i = 0; i < m->record.volume_count; i++)
		if (!m->record.failed)
			show_volume(r, m, &m->volumes[i]);
	if (m->problem != NULL) {
		struct fb_restore_action *row = add_action(r, m, "-", "skip");

		row->from = fb_format("%s@%s", m->origin, m->run);
		row->to = fb_strdup(m->as);
		row->problem = fb_strdup(m->problem->msg);
	}
}

static void
show_family(struct fb_restore *r, size_t first, size_t end)
{
	for (size_t i = end; i-- > first;)
		show_power(r, &r->machines[i], true);
	for (size_t i = first; i < end; i++)
		show_machine(r, &r->machines[i]);
	for (size_t i = first; i < end; i++)
		show_power(r, &r->machines[i], false);
}

static void
add_results(struct fb_restore *r)
{
	struct fb_restore_report *report = r->report;

	report->results = fb_alloc(r->count + 1, sizeof(*report->results));
	report->result_count = r->count;
	for (size_t i = 0; i < r->count; i++) {
		struct fb_restore_result *row = &report->results[i];

		row->machine = fb_strdup(r->machines[i].key);
		row->name = fb_strdup(r->machines[i].across
		        ? r->machines[i].called
		        : r->machines[i].record.name);
		if (r->machines[i].across)
			row->origin = fb_strdup(r->machines[i].origin);
		row->as = r->kind == FB_RESTORE_TO_DIR
		    ? fb_format("%s/%s", r->directory, r->machines[i].as)
		    : fb_strdup(r->machines[i].as);
		row->result = FB_RESULT_SKIPPED;
		if (r->machines[i].problem != NULL) {
			row->result = FB_RESULT_FAILED;
			row->err = fb_error_share(r->machines[i].problem);
		}
	}
}

/* Over what will be done; not over estimates. */
static void
digest_plan(struct fb_restore *r)
{
	FB_AUTO_JSON json_t *plan = json_object();
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	json_t *rows = json_array();
	struct fb_digest digest;
	char hex[FB_DIGEST_HEX_SIZE];

	json_object_set(plan, "spec", r->spec);
	json_object_set_new(plan, "actions", rows);
	for (size_t i = 0; i < r->report->action_count; i++) {
		const struct fb_restore_action *row = &r->report->actions[i];

		json_array_append_new(rows,
		    json_pack("[s,s,s,I]", row->machine, row->volume,
		        row->action, (json_int_t)row->size));
	}
	fb_json_add(&bytes, plan);
	fb_digest_of(fb_buf_span(&bytes), &digest);
	fb_digest_hex(&digest, hex);
	memcpy(r->report->plan, hex, sizeof(r->report->plan) - 1);
	r->report->plan[sizeof(r->report->plan) - 1] = '\0';
}

void
fb_rst_show_plan(struct fb_restore *r)
{
	for (size_t first = 0; first < r->count;) {
		size_t end = first + 1;

		while (end < r->count &&
		    r->machines[end].root == r->machines[first].root)
			end++;
		show_family(r, first, end);
		first = end;
	}
	add_results(r);
	digest_plan(r);
}
