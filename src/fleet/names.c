/* The words of the fleet, to and from text. */
#include <string.h>

#include "fleetbak/fleet/fleet.h"

static const char *const powers[] = {
	[FB_POWER_UNKNOWN] = "unknown",
	[FB_POWER_UP] = "up",
	[FB_POWER_DOWN] = "down",
};

static const char *const volume_kinds[] = {
	[FB_VOLUME_DISK] = "disk",
	[FB_VOLUME_TREE] = "tree",
	[FB_VOLUME_MEMORY] = "memory",
	[FB_VOLUME_DEFINITION] = "definition",
	[FB_VOLUME_OPAQUE] = "opaque",
	[FB_VOLUME_CDROM] = "cdrom",
	[FB_VOLUME_FLOPPY] = "floppy",
};

static const char *const lifecycles[] = {
	[FB_LIFECYCLE_STOP_SNAPSHOT_START] = "stop-snapshot-start",
	[FB_LIFECYCLE_STOP_COPY_START] = "stop-copy-start",
	[FB_LIFECYCLE_PAUSE_IN_CREATE] = "pause-in-create",
	[FB_LIFECYCLE_SNAPSHOT_LIVE] = "snapshot-live",
	[FB_LIFECYCLE_READ_DOWN] = "read-down",
};

static const char *const levels[] = {
	[FB_LEVEL_OFFLINE] = "offline",
	[FB_LEVEL_PAUSED] = "paused",
	[FB_LEVEL_FROZEN] = "frozen",
	[FB_LEVEL_CRASH] = "crash",
	[FB_LEVEL_FUZZY] = "fuzzy",
};

static const char *
name_of(const char *const *names, size_t count, size_t value)
{
	return value < count ? names[value] : "?";
}

static int
parse_name(const char *const *names, size_t count, const char *what,
    const char *text, struct fb_error *err)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], text) == 0)
			return (int)i;
	return fb_fail(err, FB_ECORRUPT, "'%s' is no %s", text, what);
}

const char *
fb_power_name(enum fb_power power)
{
	return name_of(powers, FB_COUNT(powers), power);
}

const char *
fb_volume_kind_name(enum fb_volume_kind kind)
{
	return name_of(volume_kinds, FB_COUNT(volume_kinds), kind);
}

const char *
fb_lifecycle_name(enum fb_lifecycle lifecycle)
{
	return name_of(lifecycles, FB_COUNT(lifecycles), lifecycle);
}

const char *
fb_level_name(enum fb_level level)
{
	return name_of(levels, FB_COUNT(levels), level);
}

int
fb_power_parse(const char *text, enum fb_power *ret, struct fb_error *err)
{
	int rc =
	    parse_name(powers, FB_COUNT(powers), "power state", text, err);

	if (rc < 0)
		return rc;
	*ret = (enum fb_power)rc;
	return FB_OK;
}

int
fb_volume_kind_parse(
    const char *text, enum fb_volume_kind *ret, struct fb_error *err)
{
	int rc = parse_name(volume_kinds, FB_COUNT(volume_kinds),
	    "kind of volume", text, err);

	if (rc < 0)
		return rc;
	*ret = (enum fb_volume_kind)rc;
	return FB_OK;
}

int
fb_lifecycle_parse(
    const char *text, enum fb_lifecycle *ret, struct fb_error *err)
{
	int rc = parse_name(
	    lifecycles, FB_COUNT(lifecycles), "lifecycle", text, err);

	if (rc < 0)
		return rc;
	*ret = (enum fb_lifecycle)rc;
	return FB_OK;
}

int
fb_level_parse(const char *text, enum fb_level *ret, struct fb_error *err)
{
	int rc = parse_name(
	    levels, FB_COUNT(levels), "consistency level", text, err);

	if (rc < 0)
		return rc;
	*ret = (enum fb_level)rc;
	return FB_OK;
}
