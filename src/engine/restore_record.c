/*
 * A machine of a restore: made of its record in a manifest, which it outlives.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "restore_parts.h"

void
fb_rst_copy_record(struct fb_manifest_machine *dst,
    const struct fb_manifest_machine *src)
{
	*dst = *src;
	dst->source = fb_rst_copy_str(src->source);
	dst->driver = fb_rst_copy_str(src->driver);
	dst->id = fb_rst_copy_str(src->id);
	dst->name = fb_rst_copy_str(src->name);
	dst->role = fb_rst_copy_str(src->role);
	dst->parent = fb_rst_copy_str(src->parent);
	dst->token = fb_rst_copy_str(src->token);
	dst->failure = fb_error_share(src->failure);
	dst->labels.items =
	    fb_alloc(src->labels.count + 1, sizeof(*dst->labels.items));
	for (size_t i = 0; i < src->labels.count; i++) {
		dst->labels.items[i].key = fb_rst_copy_str(src->labels.items[i].key);
		dst->labels.items[i].value =
		    fb_rst_copy_str(src->labels.items[i].value);
	}
	dst->volumes = fb_alloc(src->volume_count + 1, sizeof(*dst->volumes));
	for (size_t i = 0; i < src->volume_count; i++) {
		dst->volumes[i] = src->volumes[i];
		dst->volumes[i].name = fb_rst_copy_str(src->volumes[i].name);
		dst->volumes[i].method = fb_rst_copy_str(src->volumes[i].method);
		dst->volumes[i].flat_by = fb_rst_copy_str(src->volumes[i].flat_by);
		dst->volumes[i].change_token =
		    fb_rst_copy_str(src->volumes[i].change_token);
	}
}

/* The machine as drivers know machines; it borrows the record's strings. */
static void
make_model(struct fb_rst_machine *m)
{
	struct fb_manifest_machine *record = &m->record;
	struct fb_machine *model = &m->model;

	model->source = record->source;
	model->driver = record->driver;
	model->id = record->id;
	model->name = record->name ? record->name : record->id;
	model->role = record->role;
	model->parent = record->parent;
	model->labels = record->labels;
	model->power = record->power;
	model->lifecycle = record->lifecycle;
	model->description = record->description;
	model->stop_timeout_ms = record->stop_timeout_ms;
	model->start_timeout_ms = record->start_timeout_ms;
	model->volumes =
	    fb_alloc(record->volume_count + 1, sizeof(*model->volumes));
	model->volume_count = record->volume_count;
	for (size_t i = 0; i < record->volume_count; i++) {
		model->volumes[i].name = record->volumes[i].name;
		model->volumes[i].kind = record->volumes[i].kind;
		model->volumes[i].size = record->volumes[i].size;
		model->volumes[i].method = record->volumes[i].captured
		    ? "none"
		    : FB_METHOD_LEFT_OUT;
		m->volumes[i].there = &model->volumes[i];
	}
	model->selected = true;
}

struct fb_rst_machine *
fb_rst_add(struct fb_restore *restore, const struct fb_manifest_machine *record)
{
	struct fb_rst_machine *m;

	/* There is room for the next power of two. */
	if ((restore->count & (restore->count - 1)) == 0)
		restore->machines = fb_realloc(restore->machines,
		    restore->count > 0 ? 2 * restore->count : 1,
		    sizeof(*restore->machines));
	m = &restore->machines[restore->count++];
	memset(m, 0, sizeof(*m));
	fb_rst_copy_record(&m->record, record);
	m->origin = fb_format("%s/%s", record->source, record->id);
	m->key = fb_strdup(m->origin);
	m->as = fb_strdup(record->id);
	m->volumes = fb_alloc(record->volume_count + 1, sizeof(*m->volumes));
	for (size_t i = 0; i < record->volume_count; i++)
		m->volumes[i].record = &m->record.volumes[i];
	make_model(m);
	return m;
}

void
fb_rst_machine_release(struct fb_rst_machine *m)
{
	for (size_t i = 0; i < m->record.volume_count; i++) {
		free(m->volumes[i].paths.ranges);
		free(m->volumes[i].called);
	}
	free(m->volumes);
	free(m->model.volumes);
	free(m->origin);
	free(m->key);
	free(m->called);
	free(m->as);
	free(m->definition_dir);
	fb_error_drop(m->problem);
	fb_restore_plan_release(&m->plan);
	fb_manifest_machine_release(&m->record);
	memset(m, 0, sizeof(*m));
}
