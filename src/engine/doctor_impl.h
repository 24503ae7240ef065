/* What the parts of doctor share.  Private to src/engine. */
#ifndef ENGINE_DOCTOR_IMPL_H
#define ENGINE_DOCTOR_IMPL_H

#include "fleetbak/engine/doctor.h"
#include "keys.h"

/* Add a line; `fix` may be NULL. */
void doctor_add(struct fb_doctor_report *report, bool part, const char *what,
    enum fb_health health, const char *fix, const char *fmt, ...)
    FB_PRINTF(6, 7);
/* The same from an error: its words and its hint. */
void doctor_add_error(struct fb_doctor_report *report, bool part,
    const char *what, enum fb_health health, const struct fb_error *why);

/* doctor_repo.c: the one that engine->repository names. */
void doctor_look_at_repo(
    const struct fb_engine *engine, struct fb_doctor_report *report);

#endif
