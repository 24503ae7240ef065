/* What is to become something else where it is restored: --map. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/maps.h"
#include "restore_parts.h"

static int
fail_map(const char *text, const char *why, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-RST-MAP",
	    "'--map %s': %s", text, why);
	return fb_hint(err, "KIND:OLD=NEW, of the kinds source, "
	                    "machine, volume, pool, network, disk and "
	                    "format; OLD may be *");
}

/* "kind:from=to", a copy of which the map is made of. */
static int
take(struct fb_restore_map *map, const char *text, struct fb_error *err)
{
	FB_AUTO_FREE char *copy = fb_strdup(text);
	char *colon = strchr(copy, ':');
	char *equals = colon != NULL ? strchr(colon, '=') : NULL;

	if (equals == NULL || equals == colon + 1 || equals[1] == '\0')
		return fail_map(text, "it is not of this form", err);
	*colon = *equals = '\0';
	if (!fb_map_kind_ok(copy, strlen(copy)))
		return fail_map(text, "there is no such kind", err);
	map->from = colon + 1;
	map->to = equals + 1;
	map->kind = FB_STEAL(copy);
	return FB_OK;
}

int
fb_rst_maps_read(struct fb_restore *restore, struct fb_error *err)
{
	const json_t *list = json_object_get(restore->spec, "maps"), *item;
	size_t i;

	restore->maps =
	    fb_alloc(json_array_size(list) + 1, sizeof(*restore->maps));
	json_array_foreach(list, i, item)
	{
		const char *text = json_string_value(item);
		int rc;

		if (text == NULL || strlen(text) > FB_MAP_BYTES_MAX)
			return fb_fail(err, FB_ECORRUPT,
			    "restore journal: 'maps' holds something else");
		rc = take(&restore->maps[i], text, err);
		if (rc < 0)
			return rc;
		restore->map_count = i + 1;
		if (restore->kind == FB_RESTORE_TO_NEW &&
		    fb_restore_map_places(restore->maps[i].kind) &&
		    strcmp(restore->maps[i].kind, "source") != 0) {
			(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
			    "--map %s names what is there, and --as makes a "
			    "new one", restore->maps[i].kind);
			return fb_hint(err, "it goes with --in-place");
		}
	}
	restore->keep_mac =
	    json_is_true(json_object_get(restore->spec, "keep_mac"));
	restore->keep_uuid =
	    json_is_true(json_object_get(restore->spec, "keep_uuid"));
	return FB_OK;
}

int
fb_rst_maps_write(json_t *spec, const struct fb_restore_options *options,
    struct fb_error *err)
{
	json_t *list = json_array();

	json_object_set_new(spec, "maps", list);
	json_object_set_new(spec, "keep_mac", json_boolean(options->keep_mac));
	json_object_set_new(
	    spec, "keep_uuid", json_boolean(options->keep_uuid));
	for (size_t i = 0; i < options->map_count; i++)
		if (strlen(options->maps[i]) > FB_MAP_BYTES_MAX ||
		    json_array_append_new(
		        list, json_string(options->maps[i])) != 0)
			return fail_map(options->maps[i],
			    "it is too long, or no UTF-8", err);
	if ((options->keep_mac || options->keep_uuid) &&
	    options->kind != FB_RESTORE_TO_NEW)
		return fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "--keep-mac and --keep-uuid go with --as");
	if (options->map_count > 0 && options->kind == FB_RESTORE_TO_DIR)
		return fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "--map has nothing to map in a directory");
	return FB_OK;
}

void
fb_rst_maps_free(struct fb_restore *restore)
{
	for (size_t i = 0; i < restore->map_count; i++)
		free((char *)restore->maps[i].kind); /* all of its text */
	free(restore->maps);
}

int
fb_rst_check_moved(const struct fb_restore *restore,
    const struct fb_rst_machine *machine, struct fb_error *err)
{
	const char *source = fb_rst_source(restore, machine);

	if (machine->across || machine->now == NULL || (machine->noted && !machine->existed) ||
	    strcmp(source, machine->record.source) == 0)
		return FB_OK;
	return fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
	    "it is at source '%s' already", source);
}

const char *
fb_rst_source(
    const struct fb_restore *restore, const struct fb_rst_machine *machine)
{
	const char *source = machine->record.source;
	const char *mapped = fb_restore_mapped(
	    restore->maps, restore->map_count, "source", source);

	return mapped != NULL ? mapped : source;
}
