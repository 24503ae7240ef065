/*
 * What an earlier run has of the volumes of a planned machine.
 */
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "run.h"

/* Can anything of it be taken over without being read? */
static bool
is_of_use(const struct fb_manifest_volume *then)
{
	if (!then->captured)
		return false;
	return then->change_token != NULL ||
	    (then->kind == FB_VOLUME_TREE && then->has_catalogue);
}

static const struct fb_manifest_volume *
find_then(const struct fb_manifest_machine *then, const struct fb_volume *now)
{
	for (size_t i = 0; i < then->volume_count; i++)
		if (then->volumes[i].kind == now->kind &&
		    strcmp(then->volumes[i].name, now->name) == 0)
			return is_of_use(&then->volumes[i])
			    ? &then->volumes[i]
			    : NULL;
	return NULL;
}

static void
note_volume(struct fb_plan_past *past, const struct fb_manifest_volume *then,
    int64_t time_ns)
{
	*past = (struct fb_plan_past){ .known = true,
		.recipe = then->recipe,
		.root = then->root,
		.size = then->size,
		.has_flat = then->has_flat,
		.flat = then->flat,
		.has_catalogue = then->has_catalogue,
		.catalogue_recipe = then->catalogue_recipe,
		.catalogue_root = then->catalogue_root,
		.catalogue_size = then->catalogue_size,
		.time_ns = time_ns };
	if (then->change_token != NULL)
		past->token = fb_strdup(then->change_token);
}

static bool
is_same(const struct fb_plan_past *past, const struct fb_volume *now)
{
	return past->token != NULL && now->token != NULL &&
	    strcmp(past->token, now->token) == 0 && past->size == now->size;
}

void
fb_plan_note_past(struct fb_plan_machine *planned,
    const struct fb_manifest_machine *then)
{
	const struct fb_machine *now = planned->machine;
	struct fb_error ignored = { 0 };
	int64_t time_ns;

	if (planned->past != NULL || planned->refusal != NULL ||
	    fb_time_parse(then->snapshot_time, &time_ns, &ignored) < 0)
		return;
	for (size_t i = 0; i < now->volume_count; i++) {
		const struct fb_manifest_volume *volume =
		    find_then(then, &now->volumes[i]);

		if (volume == NULL)
			continue;
		if (planned->past == NULL)
			planned->past = fb_alloc(
			    now->volume_count, sizeof(*planned->past));
		note_volume(&planned->past[i], volume, time_ns);
		if (!is_same(&planned->past[i], &now->volumes[i]))
			continue;
		planned->past[i].unchanged = true;
		planned->read_bytes -= now->volumes[i].allocated;
	}
}

const struct fb_plan_past *
fb_job_past(const struct fb_job *job, const struct fb_volume *volume)
{
	const struct fb_plan_machine *planned = job->planned;

	if (planned == NULL || planned->past == NULL)
		return NULL;
	for (size_t i = 0; i < planned->machine->volume_count; i++)
		if (planned->machine->volumes[i].kind == volume->kind &&
		    strcmp(planned->machine->volumes[i].name, volume->name) ==
		        0)
			return planned->past[i].known ? &planned->past[i]
			                              : NULL;
	return NULL;
}
