/* What a manifest's structs own. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/manifest/manifest.h"

static void
release_units(struct fb_manifest_head *head)
{
	for (size_t i = 0; i < head->unit_count; i++) {
		struct fb_manifest_unit *unit = &head->units[i];

		for (size_t j = 0; j < unit->machine_count; j++)
			free(unit->machines[j]);
		free(unit->machines);
		free(unit->name);
	}
	free(head->units);
}

void
fb_manifest_head_release(struct fb_manifest_head *head)
{
	for (size_t i = 0; i < head->source_count; i++) {
		free(head->sources[i].name);
		free(head->sources[i].driver);
	}
	free(head->sources);
	free(head->predecessors);
	release_units(head);
	free(head->fleet);
	free(head->tool_version);
	free(head->host);
	memset(head, 0, sizeof(*head));
}

void
fb_manifest_machine_release(struct fb_manifest_machine *machine)
{
	fb_error_drop(machine->failure);
	for (size_t i = 0; i < machine->volume_count; i++) {
		free(machine->volumes[i].name);
		free(machine->volumes[i].method);
		free(machine->volumes[i].flat_by);
		free(machine->volumes[i].change_token);
	}
	free(machine->volumes);
	fb_labels_release(&machine->labels);
	free(machine->source);
	free(machine->driver);
	free(machine->id);
	free(machine->name);
	free(machine->role);
	free(machine->parent);
	free(machine->token);
	memset(machine, 0, sizeof(*machine));
}
