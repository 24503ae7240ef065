/* What the two halves of the conformance suite share. */
#ifndef DRIVER_CONFORM_INTERNAL_H
#define DRIVER_CONFORM_INTERNAL_H

#include "fleetbak/driver/conform.h"
#include "plugin_internal.h"

struct suite {
	struct fb_conform *conform;
	struct fb_plugin *plugin; /* NULL: a driver that is built in */
	struct fb_driver *driver;
	struct fb_plugin_hello hello;
	struct fb_fleet fleet;
	char token[64];  /* of what is made: another one each time */
	char other[64];  /* of what never was */
};

/* Report one check, and whether it passed. */
bool fb_conform_check(struct suite *s, const char *name, int rc, int wanted,
    const struct fb_error *err);
void fb_conform_fail(struct suite *s, const char *name, const char *why);
void fb_conform_pass(struct suite *s, const char *name);
void fb_conform_skip(struct suite *s, const char *name, const char *why);
bool fb_conform_can(const struct suite *s, enum fb_plugin_verb verb);

/* Stop, snapshot, start, read; then make another one of it. */
void fb_conform_machine(struct suite *s);

#endif
