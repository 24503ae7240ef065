/*
 * What makes a host run fleetbak by itself: units for systemd, a crontab, and
 * rules for Prometheus, made for the configuration at hand.
 */
#ifndef FB_CLI_TIMETABLE_H
#define FB_CLI_TIMETABLE_H

#include "fleetbak/cli/cli.h"

struct fb_timetable_spec {
	const struct fb_config *config;
	const char *program; /* absolute path of fleetbak */
	const char *user;    /* who it runs as */
};

/* Visit each file: its name, such as "fleetbak-download.timer", and text. */
typedef int fb_timetable_visit(const char *name, struct fb_span text, void *arg,
    struct fb_error *err);
FB_MUST_USE int fb_timetable_units(const struct fb_timetable_spec *spec,
    fb_timetable_visit *visit, void *arg, struct fb_error *err);

/* A file for /etc/cron.d, for hosts without systemd. */
void fb_timetable_cron(const struct fb_timetable_spec *spec, struct fb_buf *dst);

/* Rules for Prometheus over the metrics that fleetbak writes. */
const char *fb_timetable_alerts(void);

/* `text` as one word of a unit's command line, or of a crontab's. */
void fb_timetable_quote(struct fb_buf *dst, const char *text);
void fb_timetable_quote_cron(struct fb_buf *dst, const char *text);

#endif
