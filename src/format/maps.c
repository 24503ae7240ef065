/* Maps of a restore in a file. */
#include "fleetbak/format/maps.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "yaml_tree.h"

static const char *const kinds[] = { "source", "machine", "volume", "pool",
	"network", "disk", "format" };

bool
fb_map_kind_ok(const char *kind, size_t len)
{
	for (size_t i = 0; i < FB_COUNT(kinds); i++)
		if (strlen(kinds[i]) == len &&
		    memcmp(kinds[i], kind, len) == 0)
			return true;
	return false;
}

void
fb_maps_free(char ***maps)
{
	for (size_t i = 0; *maps != NULL && (*maps)[i] != NULL; i++)
		free((*maps)[i]);
	free(*maps);
	*maps = NULL;
}

static int
fail_at(const struct fb_yaml_node *node, const char *path, const char *id,
    const char *why, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, id, "%s:%zu:%zu: %s", path,
	    node->line, node->column, why);
	return fb_hint(err, "KIND: {OLD: NEW, ...}, of the kinds source, "
	                    "machine, volume, pool, network, disk and "
	                    "format; OLD may be \"*\"");
}

/* Of the caller's list, which has room for it. */
static int
take(const struct fb_yaml_node *kind, const struct fb_yaml_node *from,
    const struct fb_yaml_node *to, const char *path, char **ret_map,
    struct fb_error *err)
{
	if (to->kind != FB_YAML_SCALAR)
		return fail_at(to, path, "E-CFG-TYPE", "not a name", err);
	if (from->text[0] == '\0' || to->text[0] == '\0')
		return fail_at(
		    from, path, "E-CFG-TYPE", "a name is empty", err);
	/* The first one ends OLD. */
	if (strchr(from->text, '=') != NULL)
		return fail_at(from, path, "E-CFG-TYPE",
		    "what has a '=' in its name cannot be mapped", err);
	*ret_map = fb_format("%s:%s=%s", kind->text, from->text, to->text);
	return strlen(*ret_map) <= FB_MAP_BYTES_MAX
	    ? FB_OK
	    : fail_at(from, path, "E-CFG-RANGE", "it is too long", err);
}

static int
check_kind(const struct fb_yaml_node *kind, const struct fb_yaml_node *maps,
    const char *path, struct fb_error *err)
{
	if (!fb_map_kind_ok(kind->text, strlen(kind->text)))
		return fail_at(
		    kind, path, "E-CFG-KEY", "there is no such kind", err);
	return maps->kind == FB_YAML_MAP
	    ? FB_OK
	    : fail_at(maps, path, "E-CFG-TYPE",
	          "not what becomes what", err);
}

int
fb_maps_read(struct fb_span yaml, const char *path, char ***ret_maps,
    struct fb_error *err)
{
	FB_AUTO_YAML struct fb_yaml_node *root = NULL;
	FB_AUTO_MAPS char **list = NULL;
	size_t count = 0;
	int rc = fb_yaml_parse(yaml, FB_MAPS_MAX, path, &root, err);

	if (rc == FB_OK && root->kind != FB_YAML_MAP)
		rc = fail_at(root, path, "E-CFG-TYPE", "no kinds", err);
	if (rc == FB_OK)
		list = fb_alloc(FB_YAML_NODES_MAX + 1, sizeof(*list));
	for (size_t i = 0; rc == FB_OK && i < root->count; i++) {
		const struct fb_yaml_node *kind = root->keys[i];
		const struct fb_yaml_node *maps = root->items[i];

		rc = check_kind(kind, maps, path, err);
		for (size_t j = 0; rc == FB_OK && j < maps->count; j++)
			rc = take(kind, maps->keys[j], maps->items[j], path,
			    &list[count++], err);
	}
	if (rc == FB_OK)
		*ret_maps = FB_STEAL(list);
	return rc;
}
